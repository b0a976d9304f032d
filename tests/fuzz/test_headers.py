"""Headers in any bytes that reach the application: an answer, and never a mistake of ours."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from primesvc import Settings
from tests.fuzz.search import cases, misspelt
from tests.fuzz.web import LARGE, SMALL, Answer, Server

TOKEN = "s3cret"  # noqa: S105 - of the tests


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    """A service with its defaults, on this machine."""
    with Server(Settings(workers=1), listens_on=["127.0.0.1"]).serving() as server:
        yield server
        assert not server.errors.found


@pytest.fixture(scope="module")
def open_to_all() -> Iterator[Server]:
    """A service with all that looks at headers turned on, and a log that is read by machines."""
    settings = Settings(
        workers=1, allow_origin=("*",), allow_host=("*",), trust_forwarded=True, access_log=True,
        log_format="json",
    )  # fmt: skip
    with Server(settings, listens_on=["127.0.0.1"]).serving() as server:
        yield server
    assert not server.errors.found
    for line in server.log.getvalue().splitlines():
        assert {"client", "path", "status", "request_id"} <= set(json.loads(line))


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A service with a token, that lets pages of one other site in."""
    settings = Settings(workers=1, token=TOKEN, allow_origin=("https://app.example",))
    with Server(settings, listens_on=["127.0.0.1"]).serving() as server:
        yield server
        assert not server.errors.found


# --- any bytes -----------------------------------------------------------------------------------

SHAPES = {
    "Accept": ["text/csv;q=0.5, */*;q=0.1", "application/json; charset=utf-8", "text/*;q=1e999"],
    "Accept-Encoding": ["gzip;q=0.5, zstd;q=1.0, identity;q=0", "*;q=nan", "gzip;q=-1", "br"],
    "Prefer": ['wait=5, respond-async; x="y"', 'wait="10"', "wait=1e999", "wait=" + "9" * 400],
    "If-Match": ['"a", W/"b", *', '"' + "x" * 99, "W/"],
    "If-None-Match": ['"a", W/"b"', "*", '"*"', 'w/"a"'],
    "If-Range": ['"a"', "Tue, 24 Nov 2026 08:27:41 GMT", 'W/"a"'],
    "If-Modified-Since": ["Tue, 24 Nov 2026 08:27:41 GMT", "Tue, 99 Nov 99999 99:99:99 GMT"],
    "Range": ["bytes=0-9,20-, -5", "bytes=" + "0-," * 64, "bytes=" + "9" * 500 + "-", "lines=1-2"],
    "Last-Event-ID": ["4-succeeded", "4-", "-1-running"],
    "Host": ["localhost:8080", "[::1]:80", "a.example", "[::", "localhost:99999999", "a@b:c"],
    "Origin": ["https://app.example", "null", "http://[::1", "https://localhost", "http://a\\b"],
    "Sec-Fetch-Site": ["same-origin", "cross-site", "none"],
    "Sec-Fetch-Mode": ["navigate", "no-cors"],
    "Sec-Fetch-Dest": ["document", "image"],
    "Authorization": [f"Bearer {TOKEN}", "Basic eDp5", "bearer", "Bearer  " + TOKEN],
    "X-Forwarded-For": ["10.0.0.1, [2001:db8::1]:80", "unknown", 'fe80::1%"e', "1.2.3.4:5", "::"],
    "X-Forwarded-Host": ["a.example, b.example", "[::1", ","],
    "X-Forwarded-Prefix": ["/some/path/", "//evil.example", "/a/../b", "/" + "a/" * 500],
    "X-Request-ID": ["5f0c2a91-17", "a b", '"', "x" * 129],
    "Content-Type": ["application/json; charset=utf-16", 'a/b; c="', "/", ";"],
    "Content-Encoding": ["gzip", "identity"],
    "Access-Control-Request-Method": ["POST", "G E T"],
    "Access-Control-Request-Headers": ["range, x-y"],
    "Cache-Control": ["no-cache"],
    "Cookie": ["a=b; c", "=;" * 20],
    "Accept-Language": ["de;q=0.5"],
    "Forwarded": ['for="[::1]:80";proto=https'],
}  # fmt: skip

# What servers refuse by themselves, and would not reach ours: the ends of lines, and zero.
raw = st.binary(max_size=60).map(lambda value: value.translate(None, b"\r\n\0"))
LETTERS = " \t\"'\\,;=:*/-+()[]<>@%?09azWq.\x7f\x80\xa0\xff\x01"


def values_of(name: str) -> st.SearchStrategy[bytes]:
    """Values of a header: any, nearly right ones, and very long ones."""
    shaped = misspelt(st.sampled_from(SHAPES[name]), LETTERS).map(lambda v: v.encode("latin1"))
    long = st.tuples(shaped, st.integers(2, 900)).map(lambda pair: (pair[0] * pair[1])[:8000])
    return st.one_of(raw, shaped, long)


headers = st.lists(
    st.sampled_from(sorted(SHAPES)).flatmap(
        lambda name: st.tuples(st.just(name), values_of(name))
    ),
    min_size=1, max_size=3,
)  # fmt: skip

REQUESTS = [
    ("GET", "/jobs/{small}/primes"), ("HEAD", "/jobs/{small}/primes"),
    ("GET", "/jobs/{small}/primes?offset=2&limit=5"), ("GET", "/jobs/{small}/primes?offset=99"),
    ("GET", "/jobs/{large}/primes?limit=0"), ("GET", "/result/{small}"), ("GET", "/jobs/{small}"),
    ("GET", "/jobs/{small}/events"), ("GET", "/jobs?state=succeeded"), ("GET", "/health/ready"),
    ("POST", "/jobs?start=0&end=100"), ("POST", "/jobs?start=0&end=1e9&dry_run=true"),
    ("GET", "/primes?start=0&end=100"), ("HEAD", "/primes?start=0&end=100"),
    ("GET", "/primes?start=0&end=100&format=csv&offset=2&limit=5"),
    ("POST", "/primes?start_num=0&end_num=100"), ("POST", "/jobs/{small}/cancel"),
    ("GET", "/"), ("GET", "/openapi.json"), ("OPTIONS", "/jobs"), ("GET", "/nowhere"),
    ("PUT", "/jobs"), ("GET", "/metrics"), ("DELETE", "/jobs/none"),
]  # fmt: skip


def ask(server: Server, request: tuple[str, str], given: list[tuple[str, bytes]]) -> Answer:
    """The answer to one of `REQUESTS`."""
    method, path = request
    return server.ask(method, path.format(small=server.ids[SMALL], large=server.ids[LARGE]), given)


@cases(200)
@given(st.sampled_from(REQUESTS), headers)
@example(REQUESTS[0], [("Accept", b"text/csv;q=nan, */*;q=1e999")])
@example(REQUESTS[10], [("Prefer", b"wait=" + b"9" * 5000)])
@example(REQUESTS[10], [("Prefer", b"wait=x, wait=1e999, wait=nan")])
def test_any_headers_are_answered(
    plain: Server, request_: tuple[str, str], given: list[tuple[str, bytes]]
) -> None:
    """Whatever the headers, the answer is none that tells of a mistake, and none is logged."""
    ask(plain, request_, given)


@cases(200)
@given(st.sampled_from(REQUESTS), headers)
@example(REQUESTS[0], [("Origin", b"http://\xff")])
@example(REQUESTS[0], [("Origin", b"h\thttps://app.example")])
@example(REQUESTS[0], [("X-Forwarded-For", b'fe80::1%"e')])
def test_any_headers_are_answered_where_all_are_believed(
    open_to_all: Server, request_: tuple[str, str], given: list[tuple[str, bytes]]
) -> None:
    """The same where pages of all sites may come, proxies are believed, and all is logged."""
    answer = ask(open_to_all, request_, given)
    allowed = answer.headers.get("Access-Control-Allow-Origin")
    origins = [value.strip(b" \t") for name, value in given if name == "Origin"]
    assert allowed is None or allowed.encode("latin1") in origins


@cases(100)
@given(st.sampled_from(REQUESTS), headers)
@example(REQUESTS[0], [("Authorization", b"Bearer \xff")])
@example(REQUESTS[0], [("Authorization", f"bearer  {TOKEN} ".encode())])
def test_any_headers_are_answered_with_a_token(
    guarded: Server, request_: tuple[str, str], given: list[tuple[str, bytes]]
) -> None:
    """The same with a token: and who does not send it gets nothing but health and preflights."""
    answer = ask(guarded, request_, given)
    says = [value.strip() for name, value in given if name == "Authorization"]
    sent = bool(says) and says[0].lower().startswith(b"bearer ") and (
        says[0][7:].strip() == TOKEN.encode()
    )  # fmt: skip
    if not sent and request_[1] != "/health/ready" and request_[0] != "OPTIONS":
        assert answer.status >= 400
