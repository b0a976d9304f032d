// The page of primesvc. All addresses are relative to the page's, so it works under any prefix;
// all numbers come as strings, for JavaScript's own are exact up to 2^53 only.

const PAGE_SIZE = 100;
const RECENT_SIZE = 10;
const TYPING_MS = 250;
const BUSY_MS = 2000;
const IDLE_MS = 15000;
const QUICK_S = 2;
const FORMATS = { json: "JSON", ndjson: "JSON lines", text: "Text", csv: "CSV", npy: "NumPy", arrow: "Arrow" };
const SELECTION = ["pattern", "modulus", "residue"];
const UNFINISHED = ["queued", "running"];

const $ = (id) => document.getElementById(id);

// --- Talking to the service ----------------------------------------------------------------------

/** What went wrong with a call, in words for the user. */
class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Call the API; the answer's headers, and its JSON as `data`. Throws a `Problem`. */
async function call(path, { method = "GET", json, signal } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      headers: json ? { "Content-Type": "application/json" } : {},
      body: json && JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The service does not answer. Is it still running?");
  }
  const type = response.headers.get("Content-Type") ?? "";
  const data = /json/.test(type) ? await response.json() : null;
  if (!response.ok) throw new Problem(data?.detail ?? response.statusText, response.status);
  return { data, headers: response.headers };
}

const jobPath = (id, rest = "") => `jobs/${encodeURIComponent(id)}${rest}`;

// --- Words and numbers ---------------------------------------------------------------------------

const whole = (digits) => BigInt(digits).toLocaleString();

/** Which of the primes are asked for: of a job's document, or of what was read from the address. */
const selectionOf = (job) => Object.fromEntries(SELECTION.filter((name) => job[name]).map((name) => [name, job[name]]));

const wordsOf = (job) => Object.entries(selectionOf(job)).map((pair) => pair.join(" "));

const rangeOf = (job) => [`${whole(job.start)} … ${whole(job.end)}`, ...wordsOf(job)].join(", ");

/** The same as elements, for a line breaks between the numbers only. */
function rangeSpans(job) {
  return [`${whole(job.start)} …`, whole(job.end), ...wordsOf(job).map((words) => `· ${words}`)].flatMap((text, at) => {
    const span = document.createElement("span");
    span.textContent = text;
    return at ? [" ", span] : [span];
  });
}

function short(number) {
  return new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 3 }).format(number);
}

function size(bytes) {
  let amount = Number(bytes);
  for (const unit of ["bytes", "kB", "MB", "GB", "TB", "PB"]) {
    if (amount < 1000) return `${amount < 10 && unit !== "bytes" ? amount.toFixed(1) : Math.round(amount)} ${unit}`;
    amount /= 1000;
  }
  return `${Math.round(amount)} EB`;
}

function duration(seconds) {
  if (seconds < 0.001) return "less than 1 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const rounded = Math.round(seconds);
  for (const [unit, length, part, smaller] of [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]]) {
    if (rounded >= length) {
      const rest = Math.floor((rounded % length) / smaller);
      return `${Math.floor(rounded / length)} ${unit}${rest ? ` ${rest} ${part}` : ""}`;
    }
  }
  return `${rounded} s`;
}

/** By the clock of the service, also while the job runs. */
function secondsTaken(job) {
  if (job.finished) return (Date.parse(job.finished) - Date.parse(job.started)) / 1000;
  const span = Number(BigInt(job.end) - BigInt(job.start) + 1n);
  return job.rate ? (span * job.progress) / job.rate : 0;
}

function percent(job) {
  // 100 % is said only of what is done.
  return `${Math.min(Math.floor(job.progress * 1000) / 10, job.progress < 1 ? 99.9 : 100)} %`;
}

function say(text) {
  $("said").textContent = text;
}

// --- The form ------------------------------------------------------------------------------------

let typing;
let estimating;
let selection = {}; // of the address: the form has no fields for it

function asked() {
  const form = new FormData($("ask"));
  return { start: form.get("start").trim(), end: form.get("end").trim(), kind: form.get("kind"), ...selection };
}

function showAskError(problem) {
  const message = problem?.message ?? "";
  $("ask-error").textContent = message;
  for (const name of ["start", "end"]) {
    $(name).setAttribute("aria-invalid", String(message.startsWith(`${name}:`)));
  }
}

/** Say about what the range in the form would give and cost; in how many seconds, if it can be asked for. */
async function estimate() {
  estimating?.abort();
  const wish = asked();
  if (!wish.start || !wish.end) {
    $("estimate").textContent = "";
    showAskError(null);
    return Infinity;
  }
  estimating = new AbortController();
  try {
    const { data } = await call("jobs?dry_run=true&numbers=string", {
      method: "POST",
      json: wish,
      signal: estimating.signal,
    });
    const { count, bytes, seconds } = data.estimate;
    const parts = [`About ${whole(count)} primes`, ...wordsOf(wish)];
    if (wish.kind === "primes") parts.push(`${size(bytes.text)} as text`);
    const work = duration(seconds);
    parts.push(`${work.startsWith("less") ? "" : "about "}${work} of work here`);
    $("estimate").textContent = parts.join(" · ");
    showAskError(null);
    return seconds;
  } catch (error) {
    if (error.name === "AbortError") return Infinity;
    $("estimate").textContent = "";
    showAskError(error);
    return Infinity;
  }
}

/** Fill in the range that the address names; ask for it if the user did and it takes no time. */
async function fillIn() {
  const query = Object.fromEntries(new URLSearchParams(location.search));
  for (const name of ["start", "end"]) {
    if (name in query) $(name).value = query[name];
  }
  selection = selectionOf(query);
  const seconds = await estimate();
  if (seconds <= QUICK_S && "asks" in document.documentElement.dataset) submit(asked());
}

function estimateSoon() {
  clearTimeout(typing);
  typing = setTimeout(estimate, TYPING_MS);
}

async function submit(wish) {
  clearTimeout(typing);
  estimating?.abort();
  try {
    const { data } = await call("jobs?numbers=string", { method: "POST", json: wish });
    showAskError(null);
    open(data);
    $("job").scrollIntoView({ block: "nearest" });
  } catch (error) {
    $("estimate").textContent = "";
    showAskError(error);
    const wrong = document.querySelector("[aria-invalid='true']");
    wrong?.focus();
  }
}

// --- The job that is shown -----------------------------------------------------------------------

let shown = null; // its document
let events = null;
let page = null; // of its primes: { offset, length, more, final }

function open(job) {
  events?.close();
  events = null;
  page = null;
  shown = null;
  $("job-error").textContent = "";
  $("primes").replaceChildren();
  $("formats").replaceChildren();
  history.replaceState(null, "", `#job=${job.id}`);
  render(job);
  recentSoon(0);
  if (UNFINISHED.includes(job.state)) watch(job.id);
}

function close() {
  events?.close();
  events = shown = page = null;
  $("job").hidden = true;
  document.title = "primesvc";
  history.replaceState(null, "", location.pathname + location.search);
}

/** Follow a job by its events; by asking again and again where there are no events to be had. */
function watch(id) {
  const source = (events = new EventSource(jobPath(id, "/events?numbers=string")));
  const tell = (event) => {
    if (source === events) render(JSON.parse(event.data));
  };
  source.addEventListener("progress", tell);
  source.addEventListener("done", (event) => {
    source.close();
    tell(event);
    recentSoon(0);
  });
  source.addEventListener("error", () => {
    if (source !== events) return;
    if (source.readyState === EventSource.CLOSED) poll(id);
    else $("job-error").textContent = "The connection is lost; trying again.";
  });
}

async function poll(id) {
  while (shown?.id === id && UNFINISHED.includes(shown.state)) {
    try {
      const { data } = await call(jobPath(id, "?wait=2&numbers=string"));
      if (shown?.id === id) render(data);
    } catch (error) {
      $("job-error").textContent = error.message;
      return;
    }
  }
  recentSoon(0);
}

function render(job) {
  const before = shown;
  shown = job;
  const unfinished = UNFINISHED.includes(job.state);
  $("job").hidden = false;
  $("job-title").replaceChildren(...rangeSpans(job));
  $("job-state").textContent = job.state;
  $("job-state").className = `badge ${job.state}`;
  $("bar").hidden = job.state === "succeeded";
  $("progress").value = job.progress;
  $("percent").textContent = percent(job);
  $("count-name").textContent = job.state === "succeeded" ? "Primes" : "Primes so far";
  $("count").textContent = whole(job.count);
  $("rate").textContent = job.rate ? short(job.rate) : "–";
  $("taken").textContent = job.started ? duration(secondsTaken(job)) : "–";
  $("left-fact").hidden = !unfinished;
  $("left").textContent = job.eta_s === null ? "–" : duration(job.eta_s);
  $("job-error").textContent = job.error?.detail ?? "";
  $("cancel").hidden = !unfinished;
  $("again").hidden = !["failed", "cancelled"].includes(job.state);
  $("delete").hidden = unfinished;
  document.title = unfinished ? `${percent(job)} · primesvc` : `${job.state} · primesvc`;
  if (before?.id !== job.id || before.state !== job.state) {
    say(job.state === "succeeded" ? `Done: ${whole(job.count)} primes.` : `The job is ${job.state}.`);
  }
  renderResult(job);
}

function renderResult(job) {
  const readable = job.kind === "primes" && (job.state === "running" || job.state === "succeeded");
  const final = job.state === "succeeded";
  $("preview").hidden = !readable || (!page && job.count === "0");
  $("downloads").hidden = job.kind !== "primes" || !final;
  if (!readable) return;
  // The first page fills up while the job runs; the last of them is looked at once more.
  if (!page || (!page.busy && final && !page.final) || (!page.busy && !final && page.length < PAGE_SIZE)) {
    showPage(page?.offset ?? 0n);
  } else {
    renderPageButtons();
  }
  if (final && !$("formats").childElementCount) showFormats(job);
}

async function showPage(offset) {
  const job = shown;
  const final = job.state === "succeeded";
  page = { ...(page ?? { offset, length: 0, more: false, final: false }), busy: true };
  const mine = page;
  try {
    const path = jobPath(job.id, `/primes?format=json&numbers=string&offset=${offset}&limit=${PAGE_SIZE}`);
    const { data, headers } = await call(path);
    if (page !== mine) return;
    page = { offset, length: data.length, more: /rel="?next/.test(headers.get("Link") ?? ""), final, busy: false };
    const items = data.map((prime) => {
      const item = document.createElement("li");
      item.textContent = prime;
      return item;
    });
    $("primes").style.setProperty("--digits", data.at(-1)?.length ?? 8);
    $("primes").start = Number(offset) + 1;
    $("primes").scrollTop = 0;
    $("primes").replaceChildren(...items);
    $("preview").hidden = false;
    renderPageButtons();
  } catch (error) {
    if (page !== mine) return;
    page.busy = false;
    // A job that ended meanwhile says so itself.
    if (error.status !== 409) $("job-error").textContent = error.message;
  }
}

function renderPageButtons() {
  if (!page || page.busy) return;
  const { offset, length } = page;
  const total = whole(shown.count);
  const so_far = shown.state === "succeeded" ? "" : " so far";
  $("shown").textContent = length
    ? `${whole(offset + 1n)} – ${whole(offset + BigInt(length))} of ${total}${so_far}`
    : `no primes${so_far}`;
  const more = page.more || (!page.final && length === PAGE_SIZE);
  const alone = !more && offset === 0n;
  for (const id of ["first", "previous", "next", "last"]) $(id).hidden = alone;
  $("first").disabled = $("previous").disabled = offset === 0n;
  $("next").disabled = !more;
  $("last").disabled = !more || shown.state !== "succeeded";
}

function lastOffset() {
  const count = BigInt(shown.count);
  const size = BigInt(PAGE_SIZE);
  return ((count - 1n) / size) * size;
}

function showFormats(job) {
  const items = Object.entries(FORMATS).map(([name, title]) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = jobPath(job.id, `/primes?format=${name}`);
    link.download = "";
    const bytes = document.createElement("small");
    link.append(title, bytes);
    item.append(link);
    fetch(link.href, { method: "HEAD" })
      .then((response) => {
        if (response.ok) bytes.textContent = size(response.headers.get("Content-Length"));
      })
      .catch(() => {}); // the size is a courtesy
    return item;
  });
  $("formats").replaceChildren(...items);
}

// --- What can be done with a job -----------------------------------------------------------------

async function cancelJob(job) {
  const { data } = await call(jobPath(job.id, "/cancel?numbers=string"), { method: "POST" });
  if (shown?.id === job.id) {
    events?.close();
    render(data);
  }
}

async function deleteJob(job) {
  await call(jobPath(job.id), { method: "DELETE" });
  if (shown?.id === job.id) close();
  say("Deleted.");
}

/** Do something with a job, say what goes wrong at `where`, and read the list anew. */
async function act(what, job, where) {
  $(where).textContent = "";
  try {
    await what(job);
  } catch (error) {
    // What is gone already need not be deleted.
    if (![404, 410].includes(error.status)) $(where).textContent = error.message;
  }
  recentSoon(0);
}

// --- Recent jobs ---------------------------------------------------------------------------------

let recentLimit = RECENT_SIZE;
let recentTimer;

function recentSoon(delay) {
  clearTimeout(recentTimer);
  recentTimer = setTimeout(showRecent, delay);
}

async function showRecent() {
  let delay = IDLE_MS;
  try {
    const { data } = await call(`jobs?limit=${recentLimit}&numbers=string`);
    $("recent-error").textContent = "";
    renderRecent(data);
    if (data.jobs.some((job) => UNFINISHED.includes(job.state))) delay = BUSY_MS;
  } catch (error) {
    $("recent-error").textContent = error.message;
  }
  if (!document.hidden) recentSoon(delay);
}

function renderRecent({ jobs, total }) {
  const focused = document.activeElement?.closest("#recent li")?.dataset;
  const which = document.activeElement?.tagName;
  $("none").hidden = jobs.length > 0;
  $("more").hidden = total <= jobs.length;
  $("recent").replaceChildren(...jobs.map(recentItem));
  // The list is made anew, but who stands in it stays there.
  if (focused) {
    const item = [...$("recent").children].find((each) => each.dataset.id === focused.id);
    item?.querySelector(which)?.focus();
  }
}

function recentItem(job) {
  const unfinished = UNFINISHED.includes(job.state);
  const item = document.createElement("li");
  item.dataset.id = job.id;
  if (shown?.id === job.id) item.setAttribute("aria-current", "true");
  const link = document.createElement("a");
  link.className = "what";
  link.href = `#job=${job.id}`;
  link.append(...rangeSpans(job));
  const about = document.createElement("small");
  const when = new Date(job.created).toLocaleTimeString();
  about.textContent = `${whole(job.count)} primes${job.state === "succeeded" ? "" : " so far"}${job.kind === "count" ? ", counted only" : ""} · ${when}`;
  const badge = document.createElement("span");
  badge.className = `badge ${job.state}`;
  badge.textContent = unfinished ? percent(job) : job.state;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = unfinished ? "Cancel" : "Delete";
  button.setAttribute("aria-label", `${button.textContent} ${rangeOf(job)}`);
  button.addEventListener("click", () => act(unfinished ? cancelJob : deleteJob, job, "recent-error"));
  item.append(link, about, badge, button);
  return item;
}

/** Show the job that the address names. */
async function follow() {
  const id = location.hash.match(/^#job=([0-9a-f-]{36})$/i)?.[1];
  if (!id || id === shown?.id) return;
  try {
    const { data } = await call(jobPath(id, "?numbers=string"));
    open(data);
    $("job-title").focus();
  } catch (error) {
    close();
    $("recent-error").textContent = error.message;
  }
}

// --- Begin ---------------------------------------------------------------------------------------

$("ask").addEventListener("input", estimateSoon);
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  submit(asked());
});
$("cancel").addEventListener("click", () => act(cancelJob, shown, "job-error"));
$("delete").addEventListener("click", () => act(deleteJob, shown, "job-error"));
$("again").addEventListener("click", () => submit({ start: shown.start, end: shown.end, kind: shown.kind, ...selectionOf(shown) }));
$("first").addEventListener("click", () => showPage(0n));
$("previous").addEventListener("click", () => showPage(page.offset > BigInt(PAGE_SIZE) ? page.offset - BigInt(PAGE_SIZE) : 0n));
$("next").addEventListener("click", () => showPage(page.offset + BigInt(PAGE_SIZE)));
$("last").addEventListener("click", () => showPage(lastOffset()));
$("more").addEventListener("click", () => {
  recentLimit += RECENT_SIZE;
  recentSoon(0);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) recentSoon(0);
});
addEventListener("hashchange", follow);
if (location.hash) follow();
else if (location.search) fillIn();
showRecent();
