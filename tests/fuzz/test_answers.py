"""Headers that ask for a part, a form, or on a condition: answered as their words say."""

import email
import email.message
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from primesvc import Settings
from primesvc.formats.catalog import FORMATS
from primesvc.web.ranges import MAX_RANGES, ByteRange, Multipart, read_ranges
from tests.formats.files import file_of
from tests.fuzz.search import cases, misspelt
from tests.fuzz.web import LARGE, SMALL, Answer, Server

FILE = file_of("json", LARGE.start, LARGE.end)
LENGTH = len(FILE)

PART_OVERHEAD = 200
"""Bytes of a boundary and the head of a part at the most."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A service with its defaults."""
    with Server(Settings(workers=1), listens_on=None).serving() as server:
        yield server


def get(server: Server, *headers: tuple[str, str]) -> Answer:
    """The large file, or what is sent instead."""
    given = [(name, value.encode("latin1")) for name, value in headers]
    return server.ask("GET", f"/jobs/{server.ids[LARGE]}/primes", given)


def parts_of(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    """Content-Range and content of each part, by Python's parser of mail."""
    message = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    assert not message.defects
    found = []
    for part in message.get_payload():
        assert isinstance(part, email.message.Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((str(part["Content-Range"]), content))
    return found


# --- ranges --------------------------------------------------------------------------------------

places = st.integers(0, 200) | st.integers(LENGTH - 200, LENGTH + 200) | st.integers(0, 10**25)
spec = st.one_of(
    st.tuples(places, places).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    places.map(lambda at: f"{at}-"),
    places.map(lambda count: f"-{count}"),
)
shaped = st.lists(spec, min_size=1, max_size=8).map(lambda specs: "bytes=" + ", ".join(specs))
ranges = st.one_of(shaped, misspelt(shaped, "0123456789-,= \tbytes+.*"), st.text(max_size=30))


def wanted(header: str, length: int) -> list[tuple[int, int]]:
    """The bytes [first, stop) that a header of `shaped` asks for and that exist (RFC 9110, 14)."""
    found = []
    for part in header.removeprefix("bytes=").split(", "):
        first, last = part.split("-")
        if first:
            start, stop = int(first), int(last or length) + bool(last)
        else:
            start, stop = length - min(int(last), length), length
        if start < (stop := min(stop, length)):
            found.append((start, stop))
    return found


@cases(300)
@given(shaped, st.integers(1, 300) | st.just(LENGTH))
def test_ranges_are_those_that_are_asked_for(header: str, length: int) -> None:
    """Ranges that exist are read as they stand, but where they hold more than the file."""
    expected = wanted(header, length)
    found = read_ranges(header, length)
    if sum(stop - first for first, stop in expected) > length:
        assert found is None
    else:
        assert found == expected


@cases(300)
@given(ranges | st.integers(0, 5000).map(lambda n: "bytes=" + "0-," * n), st.integers(0, 300))
@example("bytes=" + "0-0," * (MAX_RANGES + 1), 300)
def test_no_header_asks_for_more_than_the_file(header: str, length: int) -> None:
    """Ranges are few, inside the file, and together not longer than it."""
    found = read_ranges(header, length) or []
    assert len(found) <= MAX_RANGES
    assert all(0 <= first < stop <= length for first, stop in found)
    assert sum(stop - first for first, stop in found) <= length


@cases(120)
@given(shaped)
@example("bytes=0-9, 20-29, 5-24")
@example("bytes=" + ", ".join(["0-0"] * MAX_RANGES))
@example("bytes=" + ", ".join(["0-"] * MAX_RANGES))
def test_ranges_are_sent(server: Server, header: str) -> None:
    """What is sent is what was asked for: one part, several parts, all of it, or 416."""
    answer = get(server, ("Range", header))
    expected = wanted(header, LENGTH)
    if not expected:
        assert answer.status == 416
        assert answer.headers["Content-Range"] == f"bytes */{LENGTH}"
    elif sum(stop - first for first, stop in expected) > LENGTH:
        assert (answer.status, answer.body) == (200, FILE)
    elif len(expected) == 1:
        ((first, stop),) = expected
        assert (answer.status, answer.body) == (206, FILE[first:stop])
        assert answer.headers["Content-Range"] == f"bytes {first}-{stop - 1}/{LENGTH}"
    else:
        assert answer.status == 206
        assert parts_of(answer.headers["Content-Type"], answer.body) == [
            (f"bytes {first}-{stop - 1}/{LENGTH}", FILE[first:stop]) for first, stop in expected
        ]


@cases(100)
@given(ranges.map(lambda text: text.encode("latin1", "replace").translate(None, b"\r\n\0")))
def test_any_range_is_a_bounded_answer(server: Server, header: bytes) -> None:
    """No header gets more than the file, and the frame of its parts."""
    path = f"/jobs/{server.ids[LARGE]}/primes"
    answer = server.ask("GET", path, [("Range", header)])
    assert answer.status in (200, 206, 400, 416)
    assert len(answer.body) <= LENGTH + (MAX_RANGES + 1) * PART_OVERHEAD


@cases(100)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=2, max_size=64))
def test_a_frame_of_parts_is_read_back(pairs: list[tuple[int, int]]) -> None:
    """The body of any ranges is as long as announced, and falls into the same parts again."""
    found = [ByteRange(min(pair), max(pair) + 1) for pair in pairs]
    frame = Multipart("x" * 20, "text/plain", found, LENGTH)
    contents = [FILE[first:stop] for first, stop in found]
    body = b"".join(head + part for head, part in zip(frame.heads, contents, strict=True))
    body += frame.tail
    assert len(body) == frame.length
    assert parts_of(frame.content_type, body) == [
        (f"bytes {first}-{stop - 1}/{LENGTH}", content)
        for (first, stop), content in zip(found, contents, strict=True)
    ]


# --- conditions ----------------------------------------------------------------------------------

OURS = "OURS"
tags = st.lists(
    st.sampled_from([f'"{OURS}"', f'W/"{OURS}"', '"other"', 'W/"other"', '""', '"*"', '"a,b"']),
    min_size=1, max_size=5,
)  # fmt: skip
lists = st.just("*") | tags.map(", ".join)


@cases(80)
@given(lists, st.none() | lists)
@example("*", "*")
@example(f'W/"{OURS}"', None)
def test_conditions_are_compared(server: Server, match: str, none_match: str | None) -> None:
    """`If-Match` compares strongly, `If-None-Match` weakly, `*` is any (RFC 9110, 13.1)."""
    etag = get(server).headers["ETag"]
    headers = [("If-Match", match.replace(f'"{OURS}"', etag))]
    if none_match is not None:
        headers.append(("If-None-Match", none_match.replace(f'"{OURS}"', etag)))
    answer = get(server, *headers)
    if match != "*" and f'"{OURS}"' not in match.split(", "):
        assert answer.status == 412
    elif none_match is not None and (none_match == "*" or OURS in none_match):
        assert (answer.status, answer.body) == (304, b"")
    else:
        assert (answer.status, answer.body) == (200, FILE)


@cases(60)
@given(st.one_of(lists, st.sampled_from(["Tue, 24 Nov 2026 08:27:41 GMT", ""])))
def test_if_range_is_the_tag_or_not(server: Server, value: str) -> None:
    """A range is sent of the very file only, else all of it (RFC 9110, 13.1.5)."""
    etag = get(server).headers["ETag"]
    answer = get(server, ("Range", "bytes=1-2"), ("If-Range", value.replace(f'"{OURS}"', etag)))
    if value == f'"{OURS}"':
        assert (answer.status, answer.body) == (206, FILE[1:3])
    else:
        assert (answer.status, answer.body) == (200, FILE)


# --- formats -------------------------------------------------------------------------------------

TYPES = {name: format_.media_type.partition(";")[0] for name, format_ in FORMATS.items()}


class Wish(NamedTuple):
    """One member of an `Accept` header."""

    range: str
    thousandths: int

    def __str__(self) -> str:
        return f"{self.range};q={self.thousandths // 1000}.{self.thousandths % 1000:03}"

    def fits(self, media_type: str) -> int:
        """How precisely the range names the type: 0 for not at all."""
        family = media_type.partition("/")[0]
        return {media_type: 3, f"{family}/*": 2, "*/*": 1}.get(self.range, 0)


wishes = st.lists(
    st.builds(
        Wish,
        st.sampled_from([*TYPES.values(), "text/*", "application/*", "*/*", "image/png"]),
        st.sampled_from([0, 1, 500, 999, 1000]),
    ),
    min_size=1, max_size=6, unique_by=lambda wish: wish.range,
)  # fmt: skip


def favourites(wanted: list[Wish]) -> set[str]:
    """The formats of the highest quality, each by the most precise range that names it."""
    qualities = {}
    for name, media_type in TYPES.items():
        fitting = [(wish.fits(media_type), wish.thousandths) for wish in wanted]
        precision, quality = max(((fit, q) for fit, q in fitting if fit), default=(0, 0))
        if precision and quality:
            qualities[name] = quality
    best = max(qualities.values(), default=0)
    return {name for name, quality in qualities.items() if quality == best}


@cases(200)
@given(wishes)
def test_the_format_is_among_the_favourites(server: Server, wanted: list[Wish]) -> None:
    """What is sent is what the client likes best, or 406 if it likes nothing of it."""
    path = f"/jobs/{server.ids[SMALL]}/primes"
    answer = server.ask("GET", path, [("Accept", ", ".join(map(str, wanted)).encode())])
    expected = favourites(wanted)
    if not expected:
        assert answer.status == 406
    else:
        assert answer.status == 200
        sent = answer.headers["Content-Type"].partition(";")[0]
        (name,) = (name for name, media_type in TYPES.items() if media_type == sent)
        assert name in expected
        assert answer.body == file_of(name, SMALL.start, SMALL.end)
