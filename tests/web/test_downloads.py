"""Results as files over HTTP: exact for the readers of their format, however they are fetched."""

import asyncio
import hashlib
import io
import re
import shutil
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from itertools import product
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit
from urllib.request import urlopen

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it ships no stubs
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no stubs
import pytest
from aiohttp import ClientSession, TCPConnector
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict
from numpy.typing import NDArray
from pytest_aiohttp.plugin import AiohttpClient
from yarl import URL

from primesvc import Settings, create_app, service_of
from primesvc.formats.catalog import FORMATS
from primesvc.sieve.grid import CELLS, SEGMENTS
from primesvc.web import sending
from tests.formats.files import EVERY_FORMAT, decoded, file_of, primes_of
from tests.helpers import WAIT_S, assert_problem, eventually, finished, idle, submit
from tests.oracles import PI_OF_POWERS, primes_between
from tests.web.downloads import Downloads
from tests.web.helpers import (
    FaultyExecutor,
    narrow_client,
    narrow_server,
    raw_download,
    raw_exchange,
)

SMALL = (0, 100)
MEDIUM = (0, 3 * 10**6)
"""More than is made on the event loop: its parts come from workers."""
LARGE = (0, 3 * 10**7)
"""16 MB as JSON, and 5 of them coded."""

NO_JOB = "00000000-0000-4000-8000-000000000000"
LONG = (0, 10**11)
"""Minutes of work: unfinished for as long as a test looks."""

BAD_PARAMETER = "urn:primesvc:problem:invalid-parameter"
JOB_CANCELLED = "urn:primesvc:problem:job-cancelled"
JOB_FAILED = "urn:primesvc:problem:job-failed"
NOT_FINISHED = "urn:primesvc:problem:job-not-finished"
PRECONDITION_FAILED = "urn:primesvc:problem:precondition-failed"
UNKNOWN_JOB = "urn:primesvc:problem:unknown-job"

STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]+"')

# Of an answer, those that a second one to the same request need not repeat.
PASSING = ("Date", "Server", "Connection")


def lasting(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers that say something of the file, sorted."""
    return sorted((k.lower(), v) for k, v in headers.items() if k not in PASSING)


# --- whole files ---------------------------------------------------------------------------------


async def test_a_file_in_every_format(downloads: Downloads) -> None:
    """The bytes are those of the format, announced exactly, with the headers that caches need."""
    for (start, end), name in product((SMALL, MEDIUM, (24, 28)), FORMATS):
        path = f"{await downloads.path(start, end)}?format={name}"
        answer = await downloads.get(path)
        file = file_of(name, start, end)
        assert answer.status == 200
        assert answer.body == file
        assert answer.headers["Content-Length"] == str(len(file))
        assert answer.headers["Content-Type"] == FORMATS[name].media_type
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Cache-Control"] == "max-age=31536000, immutable"
        assert answer.headers["Vary"] == "Accept, Accept-Encoding"
        assert STRONG_TAG.fullmatch(answer.headers["ETag"])
        disposition = f'inline; filename="primes-{start}-{end}.{FORMATS[name].extension}"'
        assert answer.headers["Content-Disposition"] == disposition
        assert "Content-Encoding" not in answer.headers
        assert "Transfer-Encoding" not in answer.headers
        assert parsedate_to_datetime(answer.headers["Date"])


async def test_head_tells_of_the_file_without_making_it(downloads: Downloads) -> None:
    """HEAD has the headers of GET, no body, and costs no call to a worker."""
    for name in FORMATS:
        path = f"{await downloads.path(*MEDIUM)}?format={name}"
        await eventually(lambda: idle(downloads.service))
        before = downloads.service.runtime.dispatcher.calls
        head = await downloads.head(path)
        assert head.status == 200
        assert downloads.service.runtime.dispatcher.calls == before
        assert lasting(head.headers) == lasting((await downloads.get(path)).headers)
        assert head.headers["Content-Length"] == str(len(file_of(name, *MEDIUM)))


async def test_the_length_of_a_huge_file_is_known_at_once(downloads: Downloads) -> None:
    """Of all primes to 10^9 the length follows from their count, without sieving again."""
    path = await downloads.path(0, 10**9)
    before = downloads.service.runtime.dispatcher.calls
    head = await downloads.head(path + "?format=npy")
    assert head.headers["Content-Length"] == str(128 + 8 * PI_OF_POWERS[9])
    assert downloads.service.runtime.dispatcher.calls == before


async def test_a_file_can_be_fetched_again_and_again(downloads: Downloads) -> None:
    """Every download of a file is the same, at the same time as well."""
    path = await downloads.path(*MEDIUM)
    answers = await asyncio.gather(*(downloads.get(path) for _ in range(8)))
    assert {answer.body for answer in answers} == {file_of("json", *MEDIUM)}
    assert len({answer.headers["ETag"] for answer in answers}) == 1


# --- readers of the formats, straight from the address -------------------------------------------


def numpy_reads(url: str) -> NDArray[np.uint64]:
    """The primes at an address, by NumPy."""
    with urlopen(url, timeout=WAIT_S) as response:  # noqa: S310 - a server of our own
        primes: NDArray[np.uint64] = np.load(io.BytesIO(response.read()))
    return primes


def arrow_reads(url: str) -> NDArray[np.uint64]:
    """The primes at an address, by Arrow, from the socket as they arrive."""
    with (
        urlopen(url, timeout=WAIT_S) as response,  # noqa: S310 - a server of our own
        pa.ipc.open_stream(response) as reader,
    ):
        table = reader.read_all()
    primes: NDArray[np.uint64] = table.column("prime").to_numpy()
    return primes


def pandas_reads(url: str) -> NDArray[np.uint64]:
    """The primes at an address, by pandas, which is told nothing but the address."""
    primes: NDArray[np.uint64] = pd.read_csv(url, dtype=np.uint64)["prime"].to_numpy()
    return primes


def numpy_reads_text(url: str) -> NDArray[np.uint64]:
    """The primes at an address of text, by NumPy."""
    # Not the address itself: NumPy would keep a copy in the working directory.
    with urlopen(url, timeout=WAIT_S) as response:  # noqa: S310 - a server of our own
        primes: NDArray[np.uint64] = np.loadtxt(response, np.uint64)
    return primes


@pytest.mark.parametrize("ends", [(0, 10**6), (2**64 - 10**4, 2**64 - 1)], ids=str)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("npy", numpy_reads),
        ("arrow", arrow_reads),
        ("csv", pandas_reads),
        ("text", numpy_reads_text),
    ],
)
async def test_readers_take_an_address(
    downloads: Downloads,
    name: str,
    read: Callable[[str], NDArray[np.uint64]],
    ends: tuple[int, int],
) -> None:
    """NumPy, Arrow and pandas read a result from its address, exact up to the largest primes."""
    path = await downloads.path(*ends)
    async with asyncio.timeout(WAIT_S):
        primes = await asyncio.to_thread(read, downloads.url(f"{path}?format={name}"))
    assert primes.dtype == np.uint64
    np.testing.assert_array_equal(primes, primes_of(*ends))


# --- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
async def test_pages_lead_to_one_another(downloads: Downloads, name: str) -> None:
    """From the first page the links lead to the last, and back; each page is a whole file."""
    path = await downloads.path(*SMALL)
    primes = primes_between(*SMALL)
    format_ = EVERY_FORMAT[name]
    at = f"{path}?format={name}&limit=10"
    ways, offset = [at], 0
    while True:
        answer = await downloads.get(at)
        assert answer.status == 200
        page = primes[offset : offset + 10]
        assert answer.body == file_of(name, page[0], page[-1])
        disposition = f'filename="primes-0-100-from-{offset}-limit-10.{format_.extension}"'
        assert disposition in answer.headers["Content-Disposition"]
        if "next" not in answer.links:
            break
        at = urljoin(at, answer.links["next"])
        query = parse_qs(urlsplit(at).query)
        offset += 10
        assert query == {"format": [name], "limit": ["10"], "offset": [str(offset)]}
        ways.append(at)
    assert offset == 20
    back = [at]
    while "prev" in answer.links:
        at = urljoin(at, answer.links["prev"])
        answer = await downloads.get(at)
        back.append(at)
    assert [way + "&offset=0" * ("offset" not in way) for way in ways] == back[::-1]


@pytest.mark.parametrize(
    ("query", "first", "stop", "next_", "prev"),
    [
        ("offset=0&limit=5", 0, 5, (5, 5), None),
        ("limit=5", 0, 5, (5, 5), None),
        ("offset=3&limit=5", 3, 8, (8, 5), (0, 3)),
        ("offset=7&limit=5", 7, 12, (12, 5), (2, 5)),
        ("offset=20&limit=5", 20, 25, None, (15, 5)),
        ("offset=20&limit=6", 20, 25, None, (14, 6)),
        ("offset=0&limit=25", 0, 25, None, None),
        ("offset=0&limit=18446744073709551616", 0, 25, None, None),
        ("offset=3", 3, 25, None, None),
        ("offset=0", 0, 25, None, None),
        # Behind the end; the page before is the last that there is.
        ("offset=25&limit=5", 25, 25, None, (20, 5)),
        ("offset=1000&limit=5", 25, 25, None, (20, 5)),
        ("offset=18446744073709551616&limit=100", 25, 25, None, (0, 25)),
        ("offset=1000", 25, 25, None, None),
        ("offset=3&limit=0", 3, 3, None, None),
        ("limit=0", 0, 0, None, None),
    ],
)
async def test_a_page(
    downloads: Downloads,
    query: str,
    first: int,
    stop: int,
    next_: tuple[int, int] | None,
    prev: tuple[int, int] | None,
) -> None:
    """The primes at the positions [offset, offset + limit), as far as there are any, with links."""
    path = await downloads.path(*SMALL)
    answer = await downloads.get(f"{path}?{query}")
    assert answer.status == 200
    page = primes_between(*SMALL)[first:stop]
    assert answer.body == (file_of("json", page[0], page[-1]) if page else b"[]\n")
    assert STRONG_TAG.fullmatch(answer.headers["ETag"])
    assert answer.headers["Cache-Control"].endswith("immutable")
    links = {
        relation: tuple(int(parse_qs(urlsplit(way).query)[n][0]) for n in ("offset", "limit"))
        for relation, way in answer.links.items()
    }
    assert links == {
        relation: way for relation, way in (("next", next_), ("prev", prev)) if way is not None
    }
    head = await downloads.head(f"{path}?{query}")
    assert lasting(head.headers) == lasting(answer.headers)


async def test_a_page_behind_the_end_is_a_file_without_primes(downloads: Downloads) -> None:
    """In every format, a page without primes is what its readers take for an empty list."""
    path = await downloads.path(*SMALL)
    for name in FORMATS:
        query = f"?format={name}&offset=100&limit=10"
        answer = await downloads.get(path + query)
        assert answer.status == 200
        assert answer.body == file_of(name, 24, 28)
        assert answer.headers["Content-Type"] == FORMATS[name].media_type
        known = await downloads.get(path + query, {"If-None-Match": answer.headers["ETag"]})
        assert known.status == 304


async def test_links_keep_what_else_was_asked(downloads: Downloads) -> None:
    """Other parameters stay, and none can break out of the reference."""
    path = await downloads.path(*SMALL)
    query = "?numbers=string&limit=3&x=%3E%3B%20rel%3D%22next%22&y=a%26b&x=2"
    answer = await downloads.get(path + query)
    way = answer.links["next"]
    assert not set(way) & set('<>" ')
    assert parse_qs(urlsplit(way).query) == {
        "numbers": ["string"],
        "limit": ["3"],
        "offset": ["3"],
        "x": ['>; rel="next"', "2"],
        "y": ["a&b"],
    }
    assert (await downloads.get(urljoin(path, way))).body == b'["7","11","13"]\n'


async def test_a_page_far_into_a_large_result(downloads: Downloads) -> None:
    """A page across segments is exact, and small whatever the result is."""
    path = await downloads.path(*LARGE)
    primes = primes_of(*LARGE)
    at = int(np.searchsorted(primes, np.uint64(5 * 2**22))) - 7
    answer = await downloads.get(f"{path}?format=npy&offset={at}&limit=1000")
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.body)), primes[at : at + 1000])


@pytest.mark.parametrize("name", ["offset", "limit"])
@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "x",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "0x1",
        "1_000",
        "\u0661",
        "18446744073709551617",
        "9" * 21,
        "9" * 5000,
    ],
)
async def test_a_page_that_cannot_be_read_is_400(
    downloads: Downloads, name: str, value: str
) -> None:
    """Positions are whole numbers from 0 to 2^64, in digits."""
    path = await downloads.path(*SMALL)
    async with downloads.client.get(path, params={name: value}) as response:
        document = await assert_problem(response, 400, BAD_PARAMETER, says="not a whole number")
    assert document["detail"].startswith(f"{name}: ")
    assert len(document["detail"]) < 300


# --- jobs without a result -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_job_that_is_not_finished_is_a_conflict(downloads: Downloads, method: str) -> None:
    """409 while the job is worked on: its length is not known yet."""
    path = f"/jobs/{await submit(downloads.client, *LONG)}/primes"
    async with downloads.client.request(method, path) as response:
        assert response.status == 409
        assert response.content_type == "application/problem+json"
        if method == "GET":
            await assert_problem(response, 409, NOT_FINISHED, says="not finished")


async def test_the_front_of_a_job_can_be_read_while_it_runs(downloads: Downloads) -> None:
    """A page of what is found so far is exact, and not to be kept: there may be more of it soon."""
    path = f"/jobs/{await submit(downloads.client, *LONG)}/primes?offset=4&limit=3"
    answer = await downloads.get(path)
    async with asyncio.timeout(WAIT_S):
        while answer.body == b"[]\n":
            answer = await downloads.get(path)
    assert answer.status == 200
    assert answer.body == b"[11,13,17]\n"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers


async def test_a_cancelled_job_is_a_conflict(downloads: Downloads) -> None:
    """409 for a job that was stopped, since it never will have a result."""
    job = downloads.service.job(await submit(downloads.client, *LONG))
    downloads.service.cancel(job)
    async with downloads.client.get(f"/jobs/{job.id}/primes") as response:
        await assert_problem(response, 409, JOB_CANCELLED, says="was cancelled")


async def test_a_failed_job_is_500_with_its_reason(aiohttp_client: AiohttpClient) -> None:
    """The reason that ended the job is in the answer."""
    with FaultyExecutor(10**6, RuntimeError("the disk is on fire")) as executor:
        client = await aiohttp_client(create_app(Settings(workers=2), executor=executor))
        job = service_of(client.app).job(await submit(client, 0, 2 * 10**6))
        await eventually(lambda: job.state.final)
        async with client.get(f"/jobs/{job.id}/primes") as response:
            await assert_problem(response, 500, JOB_FAILED, says="the disk is on fire")
        await client.close()


@pytest.mark.parametrize("id_", [NO_JOB, "nonsense", NO_JOB[:-1], "%00", "%2e%2e", "x" * 3000])
async def test_an_unknown_job_is_404(downloads: Downloads, id_: str) -> None:
    """404 for an id that no job has, and for what is no id."""
    async with downloads.client.get(URL(f"/jobs/{id_}/primes", encoded=True)) as response:
        await assert_problem(response, 404, UNKNOWN_JOB)


async def test_the_id_is_read_in_upper_case_too(downloads: Downloads) -> None:
    """A UUID has no case."""
    path = await downloads.path(*SMALL)
    job_id = path.split("/")[2]
    answer = await downloads.get(path.replace(job_id, job_id.upper()))
    assert answer.body == file_of("json", *SMALL)


# --- tags and conditions -------------------------------------------------------------------------


@pytest.mark.usefixtures("far_away")
async def test_every_file_has_a_tag_of_its_own(downloads: Downloads) -> None:
    """No two files that differ, in range, format, numbers, page or coding, share a tag."""
    queries = [f"?format={name}" for name in FORMATS]
    queries += [f"?format={name}&numbers=string" for name in ("json", "ndjson")]
    queries += ["?limit=3", "?limit=4", "?offset=3&limit=4", "?offset=4&limit=3", "?offset=34"]
    tags: list[str] = []
    for ends in (SMALL, (0, 101)):
        path = await downloads.path(*ends)
        for query in queries:
            for accepts in ("identity", "gzip", "zstd"):
                head = await downloads.head(path + query, {"Accept-Encoding": accepts})
                assert STRONG_TAG.fullmatch(head.headers["ETag"])
                # Of a page behind the end there is the plain file only.
                if "offset=34" not in query or accepts == "identity":
                    tags.append(head.headers["ETag"])
    assert len(set(tags)) == len(tags)


async def test_tags_are_the_same_after_a_restart(aiohttp_client: AiohttpClient) -> None:
    """A download that was begun at one service can go on at the next: same tag, same bytes."""
    queries = [f"?format={name}" for name in FORMATS] + ["?offset=5&limit=7"]
    seen = []
    for workers in (1, 2):
        client = await aiohttp_client(create_app(Settings(workers=workers)), auto_decompress=False)
        downloads = Downloads(client, service_of(client.app))
        path = await downloads.path(*MEDIUM)
        answers = [await downloads.get(path + query) for query in queries]
        seen.append([(path, answer.headers["ETag"], answer.body) for answer in answers])
        await client.close()
    assert seen[0] == seen[1]


async def test_the_same_tag_is_the_same_bytes_whatever_was_cached(
    aiohttp_client: AiohttpClient,
) -> None:
    """How a result was collected, by cells or by segments, shows in no format."""
    border = 3 * 2**26
    ends = (border - 100_000, border + 100_000)
    seen = []
    for first in (None, (border - 2**22, border + 2**22)):
        client = await aiohttp_client(create_app(Settings(workers=2)), auto_decompress=False)
        downloads = Downloads(client, service_of(client.app))
        if first is not None:
            await downloads.path(*first)
        path = await downloads.path(*ends)
        job = await finished(downloads.service, *ends)
        assert job.collected.plan.grid is (CELLS if first is None else SEGMENTS)
        answers = [await downloads.get(f"{path}?format={name}") for name in FORMATS]
        seen.append([(answer.headers["ETag"], answer.body) for answer in answers])
        await client.close()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "known",
    ["{tag}", "W/{tag}", "*", '"another", {tag}', 'W/"another",W/{tag}', "{tag} , ", '"a,b",{tag}'],
)
async def test_a_file_that_is_known_is_not_sent(
    downloads: Downloads, method: str, known: str
) -> None:
    """304 with the headers that keep a cache right, where If-None-Match names the file."""
    path = await downloads.path(*SMALL)
    whole = await downloads.head(path)
    headers = {"If-None-Match": known.format(tag=whole.headers["ETag"])}
    answer = await downloads.get(path, headers, method=method)
    assert answer.status == 304
    assert answer.body == b""
    for name in ("ETag", "Cache-Control", "Vary"):
        assert answer.headers[name] == whole.headers[name]
    assert "Date" in answer.headers
    assert not {"Content-Type", "Content-Length", "Content-Disposition"} & set(answer.headers)


@pytest.mark.parametrize("known", ['"another"', '"*"', 'W/"another", "a"', "", ",", '"{tag}-x"'])
async def test_another_file_that_is_known_changes_nothing(downloads: Downloads, known: str) -> None:
    """200 where If-None-Match names other files only; `"*"` is a tag, and not any."""
    path = await downloads.path(*SMALL)
    tag = (await downloads.head(path)).headers["ETag"]
    headers = {"If-None-Match": known.format(tag=tag.strip('"'))}
    answer = await downloads.get(path, headers)
    assert answer.status == 200
    assert answer.body == file_of("json", *SMALL)


async def test_several_headers_of_tags_are_one(downloads: Downloads) -> None:
    """A list in several lines is the same list."""
    path = await downloads.path(*SMALL)
    tag = (await downloads.head(path)).headers["ETag"]
    for name, status in (("If-None-Match", 304), ("If-Match", 200)):
        headers = CIMultiDict([(name, '"another"'), (name, tag)])
        assert (await downloads.get(path, headers)).status == status


@pytest.mark.usefixtures("far_away")
async def test_a_file_is_known_in_the_coding_that_would_be_sent(downloads: Downloads) -> None:
    """Who has the file coded need not fetch it coded, but plain."""
    path = await downloads.path(*SMALL)
    tags = {
        accepts: (await downloads.head(path, {"Accept-Encoding": accepts})).headers["ETag"]
        for accepts in ("gzip", "zstd", "identity")
    }
    for known, tag in tags.items():
        for accepts in tags:
            headers = {"Accept-Encoding": accepts, "If-None-Match": tag}
            answer = await downloads.get(path, headers)
            assert answer.status == (304 if accepts == known else 200)
            assert answer.headers["ETag"] == tags[accepts]


@pytest.mark.parametrize("wanted", ["{tag}", "*", '"another", {tag}'])
async def test_the_file_that_is_meant_is_sent(downloads: Downloads, wanted: str) -> None:
    """If-Match that names the file is fulfilled."""
    path = await downloads.path(*SMALL)
    tag = (await downloads.head(path)).headers["ETag"]
    answer = await downloads.get(path, {"If-Match": wanted.format(tag=tag)})
    assert answer.status == 200
    assert answer.body == file_of("json", *SMALL)


@pytest.mark.parametrize("wanted", ['"another"', "W/{tag}", '"*"', "", ","])
async def test_another_file_than_the_one_meant_is_412(downloads: Downloads, wanted: str) -> None:
    """412 with the tag there is; a weak tag never proves that bytes are equal."""
    path = await downloads.path(*SMALL)
    tag = (await downloads.head(path)).headers["ETag"]
    # If-Match goes first, whatever If-None-Match says (RFC 9110, 13.2.2).
    for more in ({}, {"If-None-Match": tag}):
        headers = {"If-Match": wanted.format(tag=tag), **more}
        async with downloads.client.get(path, headers=headers) as response:
            await assert_problem(response, 412, PRECONDITION_FAILED, says=tag)


async def test_dates_are_no_conditions_here(downloads: Downloads) -> None:
    """A file without a date of its own is sent whatever the date asked for (RFC 9110, 13.1.3)."""
    path = await downloads.path(*SMALL)
    for name in ("If-Modified-Since", "If-Unmodified-Since"):
        answer = await downloads.get(path, {name: "Tue, 24 Nov 2026 06:42:28 GMT"})
        assert answer.status == 200
        assert "Last-Modified" not in answer.headers


# --- resumed -------------------------------------------------------------------------------------


async def test_a_download_that_was_cut_is_resumed(downloads: Downloads, tmp_path: Path) -> None:
    """`curl -C -` makes the file whole from what is there when a connection was lost."""
    curl = shutil.which("curl")
    path = await downloads.path(*LARGE)
    file = tmp_path / "primes.json"
    async with asyncio.timeout(WAIT_S), raw_download(*downloads.address, path) as raw:
        with file.open("wb") as out:
            while out.tell() < raw.length // 3:
                out.write(await raw.read(2**20))
    here = file.stat().st_size
    assert 0 < here < raw.length
    if curl is not None:
        process = await asyncio.create_subprocess_exec(
            curl, "--silent", "--show-error", "--fail", "-C", "-", "-o", file, downloads.url(path)
        )
        async with asyncio.timeout(WAIT_S):
            assert await process.wait() == 0
    else:  # what curl would do
        answer = await downloads.get(path, {"Range": f"bytes={here}-"})
        assert answer.status == 206
        with file.open("ab") as out:
            out.write(answer.body)
    assert file.stat().st_size == raw.length
    expected = hashlib.sha256(file_of("json", *LARGE))
    assert hashlib.sha256(file.read_bytes()).digest() == expected.digest()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_names_the_file_and_knows_when_it_is_whole(
    downloads: Downloads, tmp_path: Path
) -> None:
    """`curl -OJ` takes the file's name from the answer; `-C -` on a whole file does no harm."""
    curl = shutil.which("curl")
    assert curl is not None
    url = downloads.url(f"{await downloads.path(*SMALL)}?format=csv")
    for arguments in (["-OJ"], ["-C", "-", "-o", "primes-0-100.csv"]):
        process = await asyncio.create_subprocess_exec(
            curl, "--silent", *arguments, url, cwd=tmp_path
        )
        async with asyncio.timeout(WAIT_S):
            await process.wait()
        assert (tmp_path / "primes-0-100.csv").read_bytes() == file_of("csv", *SMALL)


# --- coded ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_coded_file_decodes_to_the_plain_one(downloads: Downloads, coding: str) -> None:
    """Whole, empty, and a page: what a client decodes is the file, byte for byte."""
    accepts = {"Accept-Encoding": coding}
    for name in FORMATS:
        for start, end in (SMALL, (24, 28), (0, 5 * 10**6)):
            path = f"{await downloads.path(start, end)}?format={name}"
            answer = await downloads.get(path, accepts)
            assert answer.status == 200
            assert answer.headers["Content-Encoding"] == coding
            assert answer.headers["Content-Type"] == FORMATS[name].media_type
            assert answer.headers["ETag"].endswith(f'-{coding}"')
            assert "Accept-Encoding" in answer.headers["Vary"]
            # It is sent while it is made, so its length is not known before.
            assert "Content-Length" not in answer.headers
            assert decoded(coding, answer.body) == file_of(name, start, end)
        page = await downloads.get(f"{path}&offset=25&limit=10", accepts)
        assert decoded(coding, page.body) == file_of(name, 101, 149)


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_slow_client_gets_the_right_coded_bytes(
    monkeypatch: pytest.MonkeyPatch,
    aiohttp_client: AiohttpClient,
    settings: Settings,
    coding: str,
) -> None:
    """A client that pauses costs nothing meanwhile, and what it gets decodes to the file."""
    # Shorter than the pauses here.
    monkeypatch.setattr(sending, "PATIENCE_S", 0.02)
    app = create_app(settings)
    server = TestServer(app, socket_factory=narrow_server)
    downloads = Downloads(await aiohttp_client(server), service_of(app))
    path = await downloads.path(*LARGE)

    def waits() -> bool:
        """Whether the server has bytes that nobody takes, and does nothing about it."""
        (connection,) = server.handler.connections
        unsent = connection.transport and connection.transport.get_write_buffer_size()
        return bool(unsent) and idle(downloads.service)

    pauses, body = 0, b""
    async with (
        asyncio.timeout(WAIT_S),
        ClientSession(
            connector=TCPConnector(socket_factory=narrow_client),
            headers={"Accept-Encoding": coding},
            auto_decompress=False,
            read_bufsize=2**14,
        ) as session,
        session.get(downloads.url(path)) as response,
    ):
        assert response.headers["Content-Encoding"] == coding
        while data := await response.content.read(2**18):
            body += data
            if pauses < 6 and len(body) >= pauses * 2**19:
                await eventually(waits)
                pauses += 1
    assert pauses == 6
    whole = hashlib.sha256(decoded(coding, body))
    assert whole.digest() == hashlib.sha256(file_of("json", *LARGE)).digest()


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_head_of_a_coded_file_has_no_body(downloads: Downloads, coding: str) -> None:
    """HEAD has the headers of the coded GET and not one byte more: the next answer follows."""
    path = await downloads.path(*MEDIUM)
    get = await downloads.get(path, {"Accept-Encoding": coding})
    head = await downloads.head(path, {"Accept-Encoding": coding})
    without_chunks = [item for item in lasting(get.headers) if item[0] != "transfer-encoding"]
    assert lasting(head.headers) == without_chunks
    request = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\n"
    data = await raw_exchange(downloads.address, f"{request}\r\n{request}Connection: close\r\n\r\n")
    first, second, end = data.split(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert end == b""


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_clients_of_http_1_0_know_where_a_coded_file_ends(
    downloads: Downloads, connection: str
) -> None:
    """Without chunks and without a length, only the end of the connection ends a body."""
    path = await downloads.path(*MEDIUM)
    data = await raw_exchange(
        downloads.address,
        f"GET {path} HTTP/1.0\r\nAccept-Encoding: gzip\r\nConnection: {connection}\r\n\r\n",
    )
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    assert b"chunked" not in head
    assert decoded("gzip", body) == file_of("json", *MEDIUM)


# --- broken off ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [RuntimeError("the disk is on fire"), ConnectionResetError()])
@pytest.mark.parametrize("accepts", ["identity", "gzip"])
@pytest.mark.usefixtures("far_away")
async def test_a_file_that_breaks_off_is_cut(
    aiohttp_client: AiohttpClient, accepts: str, fault: Exception
) -> None:
    """Whatever goes wrong in the midst of a body, no other answer is written into it: it ends."""
    with FaultyExecutor(25_000_000, None, only="render") as executor:
        app = create_app(Settings(workers=2, cache_bytes=2**20), executor=executor)
        downloads = Downloads(await aiohttp_client(app), service_of(app))
        path = await downloads.path(0, 3 * 10**7)
        executor.fault = fault
        data = await raw_exchange(
            downloads.address,
            f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accepts}\r\n\r\n",
        )
        await eventually(lambda: idle(downloads.service))
        await downloads.client.close()
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"HTTP/1.1" not in body
    if accepts == "identity":
        file = file_of("json", 0, 3 * 10**7)
        assert 0 < len(body) < len(file)
        assert file.startswith(body)
    else:
        assert not body.endswith(b"0\r\n\r\n")


async def test_only_get_and_head_are_allowed(downloads: Downloads) -> None:
    """A file is read, and nothing else: 405 says so."""
    path = await downloads.path(*SMALL)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = await downloads.get(path, method=method)
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}
