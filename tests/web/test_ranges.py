"""Byte ranges: the header read, and what is answered to it (RFC 9110, 13 and 14)."""

import asyncio
import hashlib
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from primesvc.formats.catalog import FORMATS
from primesvc.web.ranges import MAX_RANGES, ByteRange, read_ranges
from tests.formats.files import file_of
from tests.helpers import WAIT_S, assert_problem
from tests.web.downloads import Answer, Downloads

SMALL = (0, 100)
LENGTH = 73
"""Of the small result as JSON."""

UNSATISFIABLE = "urn:primesvc:problem:range-not-satisfiable"
PRECONDITION_FAILED = "urn:primesvc:problem:precondition-failed"

NOT_TO_BE_READ = [
    "", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=x-y", "bytes=1", "bytes=1-2x", "bytes=--1",
    "bytes=5-2", "bytes=0-1,5-2", "bytes=0-1;2-3", "bytes=0-1,x", "bytes=1.5-2", "bytes=+1-2",
    "bytes=0x1-2", "bytes=1 -2", "bytes=\u0661-\u0662", "lines=0-1", "bytes 0-1", "0-1",
]  # fmt: skip
"""Not the grammar of byte ranges: such a header is as if it were not there."""


# --- the header read -----------------------------------------------------------------------------


class Spec(NamedTuple):
    """One range as a client writes it: `first` is None for the last so many bytes."""

    first: int | None
    last: int | None

    def __str__(self) -> str:
        first, last = ("" if n is None else str(n) for n in self)
        return f"{first}-{last}"

    def bytes_of(self, length: int) -> list[int]:
        """The positions asked for in a file of this length, one by one."""
        if self.first is None:
            assert self.last is not None
            return list(range(length))[-self.last :] if self.last else []
        return [
            n for n in range(length) if n >= self.first and (self.last is None or n <= self.last)
        ]


numbers = st.one_of(st.integers(0, 70), st.integers(0, 10**25))
specs = st.one_of(
    st.builds(Spec, numbers, st.one_of(st.none(), numbers)), st.builds(Spec, st.none(), numbers)
)
blanks = st.sampled_from(["", " ", "\t", "  "])


def naive_ranges(wanted: list[Spec], length: int) -> list[list[int]] | None:
    """The positions of each range that exists; None if the header is to be ignored."""
    if any(s.first is not None and s.last is not None and s.last < s.first for s in wanted):
        return None
    if length == 0 and any(s.first is None and s.last for s in wanted):
        return None
    found = [positions for s in wanted if (positions := s.bytes_of(length))]
    return None if len(found) > 1 and sum(map(len, found)) > length else found


@given(
    wanted=st.lists(st.tuples(specs, blanks, blanks), min_size=1, max_size=6),
    empty=st.lists(st.sampled_from(["", " "]), max_size=2),
    length=st.integers(0, 60),
)
def test_any_ranges_are_the_bytes_one_by_one(
    wanted: list[tuple[Spec, str, str]], empty: list[str], length: int
) -> None:
    """Whatever the ranges, the blanks around them and the empty ones between, each is right."""
    parts = [f"{before}{spec}{after}" for spec, before, after in wanted]
    ranges = read_ranges("bytes=" + ",".join([*empty, *parts, *empty]), length)
    expected = naive_ranges([spec for spec, _, _ in wanted], length)
    if expected is None:
        assert ranges is None
    else:
        assert ranges is not None
        assert [list(range(first, stop)) for first, stop in ranges] == expected


@given(header=st.one_of(st.text(), st.text("0123456789-,= \tbytes").map("bytes={}".format)),
       length=st.integers(0, 100))  # fmt: skip
def test_any_header_is_read_or_ignored(header: str, length: int) -> None:
    """No header raises, and no range reaches beyond the file or is empty."""
    ranges = read_ranges(header, length)
    assert ranges is None or all(0 <= first < stop <= length for first, stop in ranges)


@pytest.mark.parametrize("header", NOT_TO_BE_READ)
def test_what_is_no_byte_range_is_ignored(header: str) -> None:
    """Another unit or a wrong syntax, also of one range of several, asks for nothing."""
    assert read_ranges(header, 100) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-", [(0, 100)]),
        ("bytes=99-", [(99, 100)]),
        ("bytes=-1", [(99, 100)]),
        ("bytes=-100", [(0, 100)]),
        ("bytes=-101", [(0, 100)]),
        ("bytes=90-1000", [(90, 100)]),
        ("bytes=007-0008", [(7, 9)]),
        ("BYTES=1-2", [(1, 3)]),
        ("bytes=1-2,5-6", [(1, 3), (5, 7)]),
        ("bytes=5-6,1-2", [(5, 7), (1, 3)]),
        ("bytes= 1-2 ,\t5-6, ,", [(1, 3), (5, 7)]),
        ("bytes=1-2,100-,5-6", [(1, 3), (5, 7)]),
        ("bytes=0-9,5-14", [(0, 10), (5, 15)]),
        ("bytes=0-49,50-99", [(0, 50), (50, 100)]),
        ("bytes=100-", []),
        ("bytes=-0", []),
        ("bytes=100-200,300-,-0", []),
    ],
)
def test_ranges_that_exist(header: str, expected: list[tuple[int, int]]) -> None:
    """Ends are cut at the file's, ranges behind it left out, the order is the client's."""
    assert read_ranges(header, 100) == [ByteRange(*pair) for pair in expected]


@pytest.mark.parametrize("header", ["bytes=0-,0-0", "bytes=0-60,40-99", "bytes=-99,-2"])
def test_ranges_that_hold_more_than_the_file_are_ignored(header: str) -> None:
    """A file is not sent several times in one answer: the whole file is shorter."""
    assert read_ranges(header, 100) is None


def test_very_many_ranges_are_ignored() -> None:
    """There may be a bounded number of ranges in a header."""
    many = [f"{n}-{n}" for n in range(0, 2 * MAX_RANGES + 2, 2)]
    assert read_ranges("bytes=" + ",".join(many), 10**6) is None
    ranges = read_ranges("bytes=" + ",".join(many[:MAX_RANGES]), 10**6)
    assert ranges is not None
    assert len(ranges) == MAX_RANGES


# --- one range -----------------------------------------------------------------------------------


def assert_whole(answer: Answer, file: bytes) -> None:
    """Assert that an answer is the whole file, as if no range had been asked for."""
    assert answer.status == 200
    assert "Content-Range" not in answer.headers
    assert answer.body == file


@pytest.mark.parametrize(
    ("header", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, LENGTH),
        ("bytes=10-19", 10, 20),
        ("bytes=60-", 60, LENGTH),
        ("bytes=60-1000000", 60, LENGTH),
        ("bytes=-5", LENGTH - 5, LENGTH),
        ("bytes=-1000000", 0, LENGTH),
        ("Bytes= 3-4", 3, 5),
        ("bytes=1000-,7-8,-0", 7, 9),
    ],
)
async def test_one_range(downloads: Downloads, header: str, first: int, stop: int) -> None:
    """206 with the bytes asked for and where they stand, and the headers that the whole has."""
    path = await downloads.path(*SMALL)
    file = file_of("json", *SMALL)
    assert len(file) == LENGTH
    whole = await downloads.get(path)
    answer = await downloads.get(path, {"Range": header})
    assert answer.status == 206
    assert answer.body == file[first:stop]
    assert answer.headers["Content-Range"] == f"bytes {first}-{stop - 1}/{LENGTH}"
    assert answer.headers["Content-Length"] == str(stop - first)
    for name in ("Content-Type", "ETag", "Vary", "Cache-Control", "Accept-Ranges"):
        assert answer.headers[name] == whole.headers[name]
    assert "Date" in answer.headers


async def test_ranges_of_every_format(downloads: Downloads) -> None:
    """Ranges at the ends and in the midst of a file of several segments are exact in any format."""
    ends = (0, 5 * 10**6)
    path = await downloads.path(*ends)
    for name in FORMATS:
        file = file_of(name, *ends)
        middle, length = len(file) // 2, len(file)
        for first, stop in ((0, 5), (middle, middle + 10**6), (length - 9, length)):
            header = f"bytes={first}-{stop - 1}"
            answer = await downloads.get(f"{path}?format={name}", {"Range": header})
            assert answer.status == 206
            assert answer.body == file[first:stop]
            assert answer.headers["Content-Range"] == f"bytes {first}-{stop - 1}/{length}"


@pytest.mark.parametrize("ends", [(10**15, 10**15 + 10**6), (2**64 - 10**5, 2**64 - 1)], ids=str)
async def test_ranges_high_on_the_line(downloads: Downloads, ends: tuple[int, int]) -> None:
    """Ranges of results where sieving is dear, or numbers are tested one by one, are exact."""
    path = await downloads.path(*ends)
    file = file_of("json", *ends)
    middle = len(file) // 2
    answer = await downloads.get(path, {"Range": f"bytes={middle}-{middle + 999}"})
    assert answer.status == 206
    assert answer.body == file[middle : middle + 1000]


@pytest.mark.parametrize(
    "header", [*NOT_TO_BE_READ, "bytes=0-,0-", "bytes=" + ",".join(["0-0"] * 65)]
)
async def test_a_header_that_is_ignored_gets_the_whole(downloads: Downloads, header: str) -> None:
    """200 with all of the file, as if there were no such header."""
    path = await downloads.path(*SMALL)
    assert_whole(await downloads.get(path, {"Range": header}), file_of("json", *SMALL))


@pytest.mark.parametrize(
    "header", [f"bytes={LENGTH}-", "bytes=1000-2000", "bytes=-0", "bytes=100-,200-300,-0"]
)
async def test_no_range_that_exists_is_416(downloads: Downloads, header: str) -> None:
    """416 says how long the file is, in its header and in its document."""
    path = await downloads.path(*SMALL)
    async with downloads.client.get(path, headers={"Range": header}) as response:
        document = await assert_problem(response, 416, UNSATISFIABLE, says=f"{LENGTH} bytes")
        assert response.headers["Content-Range"] == f"bytes */{LENGTH}"
    assert document["length"] == LENGTH


async def test_ranges_of_an_empty_file(downloads: Downloads) -> None:
    """An empty file has no first byte; its last bytes are all of it, which only 200 can say."""
    path = await downloads.path(24, 28) + "?format=text"
    assert_whole(await downloads.get(path), b"")
    assert_whole(await downloads.get(path, {"Range": "bytes=-5"}), b"")
    async with downloads.client.get(path, headers={"Range": "bytes=0-"}) as response:
        await assert_problem(response, 416, UNSATISFIABLE)
        assert response.headers["Content-Range"] == "bytes */0"


async def test_head_has_no_ranges(downloads: Downloads) -> None:
    """Ranges are defined for GET only: HEAD with one tells of the whole file (RFC 9110, 14.2)."""
    path = await downloads.path(*SMALL)
    for header in ("bytes=0-1", "bytes=0-1,4-5", "bytes=1000-"):
        answer = await downloads.head(path, {"Range": header})
        assert answer.status == 200
        assert answer.headers["Content-Length"] == str(LENGTH)
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert "Content-Range" not in answer.headers


async def test_ranges_of_a_page(downloads: Downloads) -> None:
    """A page is a file of its own, and its ranges are of it."""
    path = await downloads.path(*SMALL) + "?offset=3&limit=4"
    assert (await downloads.get(path)).body == b"[7,11,13,17]\n"
    answer = await downloads.get(path, {"Range": "bytes=3-7"})
    assert answer.status == 206
    assert answer.body == b"11,13"
    assert answer.headers["Content-Range"] == "bytes 3-7/13"


async def test_ranges_of_a_result_of_the_original_contract(downloads: Downloads) -> None:
    """GET /result/{id} is a file too, which can be resumed."""
    path = (await downloads.path(4, 11)).replace("/jobs/", "/result/").removesuffix("/primes")
    answer = await downloads.get(path, {"Range": "bytes=2-4"})
    assert answer.status == 206
    assert answer.body == b"5, "
    assert answer.headers["Content-Range"] == "bytes 2-4/13"
    assert_whole(await downloads.get(path, {"Range": "bytes=x"}), b'"[5, 7, 11]"\n')
    head = await downloads.head(path, {"Range": "bytes=2-4"})
    assert (head.status, head.headers["Content-Length"]) == (200, "13")
    async with downloads.client.get(path, headers={"Range": "bytes=13-"}) as response:
        await assert_problem(response, 416, UNSATISFIABLE)


async def test_four_ranges_at_the_same_time_are_the_whole(downloads: Downloads) -> None:
    """A client that fetches four parts in parallel has the whole file."""
    ends = (0, 3 * 10**7)
    path = await downloads.path(*ends)
    length = int((await downloads.head(path)).headers["Content-Length"])
    cuts = [0, length // 4, length // 2, length * 3 // 4, length]
    headers = [{"Range": f"bytes={a}-{b - 1}"} for a, b in pairwise(cuts)]
    async with asyncio.timeout(WAIT_S):
        answers = await asyncio.gather(*(downloads.get(path, header) for header in headers))
    assert {answer.status for answer in answers} == {206}
    assert len({answer.headers["ETag"] for answer in answers}) == 1
    whole = hashlib.sha256(b"".join(answer.body for answer in answers))
    assert whole.digest() == hashlib.sha256(file_of("json", *ends)).digest()


# --- several ranges ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["json", "csv", "npy", "arrow"])
async def test_several_ranges_are_the_parts_of_a_message(downloads: Downloads, name: str) -> None:
    """Every part says its type and where it stands; the order is that of the request."""
    ends = (0, 5 * 10**6)
    path = f"{await downloads.path(*ends)}?format={name}"
    file = file_of(name, *ends)
    whole = await downloads.head(path)
    wanted = [
        (len(file) // 2, len(file) // 2 + 300_000),
        (0, 1),
        (5, 700),
        (len(file) - 3, len(file)),
        (len(file) // 3, len(file) // 3 + 17),
    ]
    header = "bytes=" + ",".join(f"{first}-{stop - 1}" for first, stop in wanted)
    answer = await downloads.get(path, {"Range": header})
    assert answer.status == 206
    assert "Content-Range" not in answer.headers
    assert answer.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
    for header in ("ETag", "Vary", "Cache-Control"):
        assert answer.headers[header] == whole.headers[header]
    assert answer.parts == [
        (whole.headers["Content-Type"], f"bytes {first}-{stop - 1}/{len(file)}", file[first:stop])
        for first, stop in wanted
    ]


async def test_parts_of_binary_files_are_safe(downloads: Downloads) -> None:
    """Bytes that look like ends of lines or headers, at the borders of parts too, are kept."""
    ends = (0, 10**5)
    path = f"{await downloads.path(*ends)}?format=npy"
    file = file_of("npy", *ends)
    wanted = [at for at in range(len(file)) if file[at] in b"\r\n-:"][:50]
    header = "bytes=" + ",".join(f"{at}-{at}" for at in wanted)
    answer = await downloads.get(path, {"Range": header})
    assert [content for _, _, content in answer.parts] == [file[at : at + 1] for at in wanted]


async def test_one_range_that_exists_of_several_is_no_multipart(downloads: Downloads) -> None:
    """Where only one of the ranges asked for exists, it is answered as if asked for alone."""
    path = await downloads.path(*SMALL)
    answer = await downloads.get(path, {"Range": "bytes=500-600,3-5,1000-"})
    assert answer.status == 206
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Range"] == f"bytes 3-5/{LENGTH}"
    assert answer.body == file_of("json", *SMALL)[3:6]


async def test_ranges_that_do_not_exist_are_left_out(downloads: Downloads) -> None:
    """Of several ranges those that exist are sent, overlapping ones as they are."""
    path = await downloads.path(*SMALL)
    file = file_of("json", *SMALL)
    answer = await downloads.get(path, {"Range": "bytes=900-,0-9,5-14,-2"})
    assert answer.status == 206
    assert [content for _, _, content in answer.parts] == [file[:10], file[5:15], file[-2:]]


async def test_as_many_ranges_as_are_served(downloads: Downloads) -> None:
    """The most ranges that a header may have are all there."""
    ends = (0, 10**6)
    path = await downloads.path(*ends)
    file = file_of("json", *ends)
    wanted = [(n * 7_001, n * 7_001 + 50) for n in range(MAX_RANGES)]
    header = "bytes=" + ",".join(f"{first}-{stop - 1}" for first, stop in wanted)
    answer = await downloads.get(path, {"Range": header})
    assert answer.status == 206
    assert [content for _, _, content in answer.parts] == [file[a:b] for a, b in wanted]


# --- conditions ----------------------------------------------------------------------------------


async def test_if_range_with_the_tag_of_the_file(downloads: Downloads) -> None:
    """The part, if the file is still the one that the client has the other part of."""
    path = await downloads.path(*SMALL)
    tag = (await downloads.head(path)).headers["ETag"]
    answer = await downloads.get(path, {"Range": "bytes=3-5", "If-Range": tag})
    assert answer.status == 206
    assert answer.body == file_of("json", *SMALL)[3:6]
    answer = await downloads.get(path, {"Range": "bytes=1000-", "If-Range": tag})
    assert answer.status == 416


@pytest.mark.parametrize(
    "validator",
    [
        '"another"',
        "W/{tag}",
        "Tue, 24 Nov 2026 06:42:28 GMT",
        "{bare}",
        "*",
        '"{bare}-gzip"',
    ],
)
async def test_if_range_with_anything_else(downloads: Downloads, validator: str) -> None:
    """The whole file: another tag, a weak one, which never proves equality of bytes, a date."""
    path = await downloads.path(*SMALL)
    tag = (await downloads.head(path)).headers["ETag"]
    value = validator.format(tag=tag, bare=tag.strip('"'))
    for header in ("bytes=3-5", "bytes=3-5,7-8", "bytes=1000-"):
        answer = await downloads.get(path, {"Range": header, "If-Range": value})
        assert_whole(answer, file_of("json", *SMALL))


async def test_if_range_without_a_range_means_nothing(downloads: Downloads) -> None:
    """Without a range there is nothing that the condition could be about."""
    path = await downloads.path(*SMALL)
    for value in ('"another"', (await downloads.head(path)).headers["ETag"]):
        answer = await downloads.get(path, {"If-Range": value})
        assert_whole(answer, file_of("json", *SMALL))


@pytest.mark.parametrize("header", ["bytes=3-5", "bytes=3-5,7-8", "bytes=1000-", "bytes=x"])
async def test_a_file_that_is_known_is_not_sent_in_parts(downloads: Downloads, header: str) -> None:
    """If-None-Match goes before Range: 304, whatever the range (RFC 9110, 13.2.2)."""
    path = await downloads.path(*SMALL)
    tag = (await downloads.head(path)).headers["ETag"]
    answer = await downloads.get(path, {"Range": header, "If-None-Match": tag, "If-Range": tag})
    assert answer.status == 304
    assert answer.body == b""
    answer = await downloads.get(path, {"Range": "bytes=3-5", "If-None-Match": '"another"'})
    assert answer.status == 206


async def test_if_match_goes_before_range(downloads: Downloads) -> None:
    """A part of another file than the one meant is not sent: 412, also where 416 would follow."""
    path = await downloads.path(*SMALL)
    tag = (await downloads.head(path)).headers["ETag"]
    answer = await downloads.get(path, {"Range": "bytes=3-5", "If-Match": tag})
    assert answer.status == 206
    for header in ("bytes=3-5", "bytes=1000-"):
        wrong = {"Range": header, "If-Match": '"another"'}
        async with downloads.client.get(path, headers=wrong) as response:
            await assert_problem(response, 412, PRECONDITION_FAILED, says=tag)


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize("header", ["bytes=3-5", "bytes=-9"])
async def test_a_range_is_of_the_file_that_is_not_coded(downloads: Downloads, header: str) -> None:
    """Where a range is asked for, no coding is applied, and the tag is that of the plain file."""
    path = await downloads.path(*SMALL)
    accepts = {"Accept-Encoding": "gzip, zstd"}
    coded = await downloads.head(path, accepts)
    assert coded.headers["Content-Encoding"] == "zstd"
    plain = await downloads.head(path)
    answer = await downloads.get(path, accepts | {"Range": header})
    assert answer.status == 206
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["ETag"] == plain.headers["ETag"] != coded.headers["ETag"]
    assert answer.headers["Content-Range"].endswith(f"/{LENGTH}")
    assert "Accept-Encoding" in answer.headers["Vary"]
    # What was begun coded cannot go on plain: the tag of the one is not that of the other.
    answer = await downloads.get(
        path, accepts | {"Range": header, "If-Range": coded.headers["ETag"]}
    )
    assert_whole(answer, file_of("json", *SMALL))
    assert "Content-Encoding" not in answer.headers


async def test_the_first_of_several_range_headers_counts(downloads: Downloads) -> None:
    """Range is no list of headers: a second one adds nothing."""
    path = await downloads.path(*SMALL)
    answer = await downloads.get(
        path, CIMultiDict([("Range", "bytes=3-5"), ("Range", "bytes=7-8")])
    )
    assert answer.status == 206
    assert answer.body == file_of("json", *SMALL)[3:6]
