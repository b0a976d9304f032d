"""The job API: POST /jobs, GET /jobs, and what can be done with one job."""

import json
import math
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict
from werkzeug.http import parse_list_header

from primesvc.errors import InvalidParameter, JobConflict
from primesvc.jobs.job import Job
from primesvc.kinds.catalog import read_question
from primesvc.kinds.parameters import read_choice
from primesvc.states import State
from primesvc.web.bodies import read_json_object
from primesvc.web.context import context_of, find_job
from primesvc.web.documents import estimate_document, job_document
from primesvc.web.links import add_page_links, path_of
from primesvc.web.negotiation import wants_strings
from primesvc.web.parameters import read_count, read_seconds
from primesvc.web.streams import send_body

MAX_WAIT_S: Final = 60.0
"""Seconds an answer is held back at the most; a client that asks for more gets this."""

_RELATIONS: Final = {"events": "monitor", "primes": "enclosure"}
"""The links of a document that have a registered relation, for `Link` (RFC 8288)."""

LARGE_BYTES: Final = 2**14
"""What is known of a job from which its document may take milliseconds to make."""

MAX_PAGE: Final = 1000
"""Jobs a page of the list at the most: a document is 1 KB."""

STEP: Final = 10
"""Documents that are made in one go, which takes a quarter of a millisecond."""


async def submit_job(request: web.Request) -> web.StreamResponse:
    """POST /jobs: a job for a question, or with `dry_run` an estimate of it.

    202, or 200 if the job is finished, also within `Prefer: wait=N` seconds.
    """
    service = context_of(request).service
    values = await _read_submission(request)
    question = read_question(values)
    if read_choice("dry_run", values.get("dry_run", "false"), ["true", "false"]) == "true":
        await context_of(request).turns.next()
        expected, seconds = service.estimate(question)
        return await _json(request, estimate_document(request, question, expected, seconds))
    wait_s, asynchronous = _read_prefer(request)
    job = await service.submit(question)
    await context_of(request).turns.after(job.ended, wait_s or 0)
    status = 200 if job.state.final else 202
    headers = CIMultiDict({"Location": _url_of(request, job)})
    applied = ["respond-async"] if asynchronous and status == 202 else []
    if wait_s is not None:
        applied.append(f"wait={wait_s:g}")
    if applied:
        headers["Preference-Applied"] = ", ".join(applied)
    return await _answer(request, job, status=status, headers=headers)


async def _read_submission(request: web.Request) -> dict[str, Any]:
    body = await read_json_object(request)
    for name in body:
        if name in request.query:
            raise InvalidParameter(name, "it is given twice, in the query and in the body")
    return {**request.query, **body}


async def get_job(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{id}: the job document; with `wait=N` when it is finished, or after N seconds.

    `Prefer: wait=N` does the same for clients that know RFC 7240.
    """
    job = find_job(request)
    headers: CIMultiDict[str] = CIMultiDict()
    wait_s, _ = _read_prefer(request)
    if (text := request.query.get("wait")) is not None:
        wait_s = min(read_seconds("wait", text), MAX_WAIT_S)
    elif wait_s is not None:
        headers["Preference-Applied"] = f"wait={wait_s:g}"
    await context_of(request).turns.after(job.ended, wait_s or 0)
    return await _answer(request, job, headers=headers)


async def list_jobs(request: web.Request) -> web.StreamResponse:
    """GET /jobs: the jobs there are, the newest first, by state, a page at a time."""
    service = context_of(request).service
    wants_strings(request)  # wrong, it is an error also where there are no jobs
    states = set(State)
    if (text := request.query.get("state")) is not None:
        names = [state.value for state in State]
        states = {State(read_choice("state", name.strip(), names)) for name in text.split(",")}
    offset, limit = read_count(request, "offset") or 0, read_count(request, "limit")
    limit = min(100 if limit is None else limit, MAX_PAGE)
    await context_of(request).turns.next()
    service.jobs.forget_expired()
    jobs = [job for job in reversed(list(service.jobs)) if job.state in states]
    headers: CIMultiDict[str] = CIMultiDict()
    if limit:
        add_page_links(request, headers, len(jobs), offset, limit)
    page = jobs[offset : offset + limit]
    documents: list[str] = []
    for start in range(0, len(page), STEP):
        await context_of(request).turns.next()
        documents += [
            json.dumps(job_document(request, job, outline=True))
            for job in page[start : start + STEP]
        ]
    _describe(headers)
    body = f'{{"jobs": [{", ".join(documents)}], "total": {len(jobs)}}}\n'
    return await send_body(request, body.encode(), headers)


async def cancel_job(request: web.Request) -> web.StreamResponse:
    """POST /jobs/{id}/cancel: stop a job. Raises `JobConflict` if it ended otherwise."""
    job = find_job(request)
    if job.state.final and job.state is not State.CANCELLED:
        raise JobConflict(job.id, job.state)
    service = context_of(request).service
    service.cancel(job)
    await service.written(job)
    return await _answer(request, job)


async def delete_job(request: web.Request) -> web.Response:
    """DELETE /jobs/{id}: forget a job, cancelled if it is unfinished."""
    service, job = context_of(request).service, find_job(request)
    service.forget(job)
    await service.written(job)
    return web.Response(status=204)


async def _answer(
    request: web.Request,
    job: Job,
    *,
    status: int = 200,
    headers: "CIMultiDict[str] | None" = None,
) -> web.StreamResponse:
    headers = CIMultiDict() if headers is None else headers
    if job.work.size_bytes > LARGE_BYTES:
        await context_of(request).turns.next()
    document = job_document(request, job)
    if request.method == "POST":
        # Whose document this is, and so where its links lead from (RFC 8288, 3.2).
        query = "?numbers=string" if wants_strings(request) else ""
        headers["Content-Location"] = _url_of(request, job) + query
    if not job.state.final:
        headers["Retry-After"] = str(min(max(math.ceil(document["eta_s"] or 1), 1), 60))
    for name, relation in _RELATIONS.items():
        if name in document["links"]:
            headers.add("Link", f'<{document["links"][name]}>; rel="{relation}"')
    return await _json(request, document, status=status, headers=headers)


async def _json(
    request: web.Request,
    document: dict[str, Any],
    *,
    status: int = 200,
    headers: "CIMultiDict[str] | None" = None,
) -> web.StreamResponse:
    headers = CIMultiDict() if headers is None else headers
    _describe(headers)
    return await send_body(request, _encoded(document), headers, status=status)


def _describe(headers: "CIMultiDict[str]") -> None:
    headers["Content-Type"] = "application/json"
    headers["Cache-Control"] = "no-store"


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _url_of(request: web.Request, job: Job) -> str:
    return path_of(request, "job", id=job.id)


def _read_prefer(request: web.Request) -> tuple[float | None, bool]:
    """Seconds to wait, and whether not to, as `Prefer` has it (RFC 7240)."""
    preferences: dict[str, str] = {}
    for preference in parse_list_header(", ".join(request.headers.getall("Prefer", []))):
        name, _, value = preference.partition(";")[0].partition("=")
        # Of several of one name the first counts, whether it can be read or not.
        preferences.setdefault(name.strip().lower(), value.strip().strip('"'))
    text = preferences.get("wait", "")
    wait_s = min(float(text), MAX_WAIT_S) if text.isascii() and text.isdigit() else None
    return wait_s, preferences.get("respond-async") == ""
