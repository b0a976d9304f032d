"""Bodies of requests in any bytes: a job of the range they say, or a problem that says why not."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from primesvc import Settings
from primesvc.web.bodies import MAX_BODY_BYTES
from tests.fuzz.search import cases, damages
from tests.fuzz.test_numbers import digits, reading, texts
from tests.fuzz.web import Answer, Server

SPAN = 1000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A service where every job that is allowed is small."""
    with Server(Settings(workers=1, max_span=SPAN), listens_on=None, jobs=0).serving() as server:
        yield server


def post(server: Server, body: bytes, content_type: str = "application/json") -> Answer:
    """The answer to a submission with a body; an error is a problem that can be read."""
    answer = server.ask("POST", "/jobs", [("Content-Type", content_type.encode())], body)
    assert answer.status in (200, 202, 400, 413, 415, 422), answer
    document = json.loads(answer.body)
    if answer.status >= 400:
        assert document["status"] == answer.status
        assert len(answer.body) < 2000
    else:
        assert 0 <= document["end"] - document["start"] < SPAN
    return answer


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.text(),
    st.sampled_from(["primes", "count", "statistics", "true", "false"]), st.integers(0, 50),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda more: st.lists(more, max_size=3) | st.dictionaries(st.text(max_size=5), more),
    max_leaves=5,
)
objects = st.dictionaries(
    st.sampled_from(["start", "end", "kind", "modulus", "bins", "dry_run", "more"]),
    values,
    max_size=5,
).map(lambda value: json.dumps(value).encode())

DEEP = [
    b'{"%s": %s%s}' % (name, opening * depth, closing * depth)
    for name in (b"kind", b"start", b"dry_run", b"more")
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"))
    for depth in (10, 900, 980, 990, 1000, 2500)
    if len(opening) * depth < 16000
]


@cases(250)
@given(st.one_of(st.binary(max_size=100), objects, objects.flatmap(damages)))
@example(b"[" * 10_000)
@example(b'{"a":' * 3000)
@example(b'{"start": NaN, "end": Infinity}')
@example(b'{"start": 1e999999999, "end": 1}')
@example(b'{"start": 1' + b"0" * 10_000 + b', "end": 1}')
@example(b'{"start": 1.0, "end": 2.50e1}')
@example(b'{"start": 5, "start": 1, "end": 7}')
@example(b'{"start": "\\ud800", "end": "\\udc00\\u0000", "\\ud800": 1}')
@example(b'{"kind": "\\ud800", "start": 0, "end": 5}')
@example(b'\xef\xbb\xbf{"start": 0, "end": 5}')
@example('{"start": 0, "end": 5}'.encode("utf-16"))
@example('{"start": 0, "end": 5}'.encode("utf-32-le"))
@example(b"\xff\xfe\xff")
@example(b"x" * (MAX_BODY_BYTES + 1))
def test_any_body_is_answered(server: Server, body: bytes) -> None:
    """Whatever the bytes: a job of a small range, or an error of the client's."""
    post(server, body)


@pytest.mark.parametrize("body", DEEP, ids=lambda body: f"{body[:14].decode()}-{len(body)}")
def test_a_deep_body_is_refused(server: Server, body: bytes) -> None:
    """However deep what stands in place of a number or a word, it is refused."""
    assert post(server, body).status == 400


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_is_refused(server: Server, constant: str) -> None:
    """Constants that Python reads and JSON does not have are refused wherever they stand."""
    body = f'{{"start": 0, "end": 5, "more": [{constant}]}}'.encode()
    assert post(server, body).status == 400


@cases(150)
@given(texts | digits, st.integers(-5, SPAN + 5), st.booleans())
@example("40000000000000000000**220", 0, True)
def test_numbers_are_read_from_json(server: Server, start: str, more: int, quoted: bool) -> None:
    """A start as a string or as a number of JSON is what it says, and so is the end."""
    value = reading(start) if len(start) <= 160 else None
    try:
        json.loads(start)
    except ValueError:
        quoted = True
    text = json.dumps(start) if quoted else start
    end = more if value is None or abs(value) >= 10**40 else int(value) + more
    answer = post(server, f'{{"start": {text}, "end": {max(end, 0)}}}'.encode())
    if value is None or value.denominator > 1 or not 0 <= value < 10**40 or more < 0:
        assert answer.status == 400
    elif more >= SPAN or end >= 2**64:
        assert answer.status in (400, 422)
    else:
        document: dict[str, Any] = json.loads(answer.body)
        assert (document["start"], document["end"]) == (value, end)


@cases(60)
@given(st.text("abcdefghijklmnopqrstuvwxyz/;=-\"' ", max_size=40))
def test_any_content_type_is_answered(server: Server, content_type: str) -> None:
    """A body is read as JSON where it says that it is, and is not guessed at otherwise."""
    answer = post(server, b'{"start": 0, "end": 5}', content_type)
    if content_type.partition(";")[0].strip() != "application/json":
        assert answer.status == 415
