"""Which format and which content coding a client is served (RFC 9110, 12)."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector, web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from primesvc import Settings, create_app, service_of
from primesvc.formats.catalog import FORMATS
from primesvc.web.negotiation import choose_coding
from tests.formats.files import file_of
from tests.helpers import WAIT_S, assert_problem, finished
from tests.web.downloads import Downloads

SMALL = (0, 100)

NOT_ACCEPTABLE = "urn:primesvc:problem:not-acceptable"
BAD_PARAMETER = "urn:primesvc:problem:invalid-parameter"

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
"""What `java.net.URLConnection` sends by itself, which is not the grammar."""


# --- formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("application/x-ndjson", "ndjson"),
        ("text/plain", "text"),
        ("text/csv", "csv"),
        ("application/x-npy", "npy"),
        ("application/vnd.apache.arrow.stream", "arrow"),
        ("TEXT/CSV", "csv"),
        (" text/csv ,\timage/png", "csv"),
        # The best quality wins, the first of the catalog among equals.
        ("text/*", "text"),
        ("application/*", "json"),
        ("text/csv, application/json", "json"),
        ("application/json;q=0.5, text/csv;q=0.8", "csv"),
        ("application/json; q=0.500 , text/csv; q=1.000", "csv"),
        ("application/json;q=0.001, image/png", "json"),
        ("*/*;q=0.1, text/csv", "csv"),
        ("*/*, text/csv", "csv"),
        # What is said of a type goes before what is said of a range that holds it.
        ("application/json;q=0, */*", "ndjson"),
        ("*/*, application/json;q=0.1", "ndjson"),
        ("text/*;q=0.9, text/plain;q=0, application/json;q=0.2", "csv"),
        ("application/*;q=0, */*;q=0.1", "text"),
        # Parameters choose none of them.
        ("application/json; charset=utf-8", "json"),
        ("text/csv;header=present", "csv"),
        ("text/plain; charset=utf-8; q=0.4, text/csv; q=0.3", "text"),
        # Qualities that are none are not read; a missing zero is.
        ("text/csv;q=2, text/plain;q=x, application/x-npy;q=0.1", "npy"),
        (BROWSER, "json"),
        (JAVA, "json"),
    ],
)
async def test_accept_chooses_the_format(
    downloads: Downloads, accept: str | None, name: str
) -> None:
    """The header is read as RFC 9110 has it, and as clients in use send it."""
    path = await downloads.path(*SMALL)
    answer = await downloads.get(path, {} if accept is None else {"Accept": accept})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == FORMATS[name].media_type
    assert answer.body == file_of(name, *SMALL)
    assert {"Accept", "Accept-Encoding"} <= set(answer.headers["Vary"].split(", "))


async def test_several_accept_headers_are_one(downloads: Downloads) -> None:
    """A list in several lines is the same list."""
    path = await downloads.path(*SMALL)
    headers = CIMultiDict([("Accept", "image/png, text/csv;q=0.3"), ("Accept", "text/plain;q=0.4")])
    assert (await downloads.head(path, headers)).headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "accept",
    [
        "image/png",
        "text/html, application/xml",
        "application/json;q=0",
        "*/*;q=0",
        "application/*;q=0, text/*;q=0.0",
        "json",
        "application/json+x",
        "*/json",
        ";;,",
    ],
)
async def test_what_is_not_there_is_406_with_what_is(downloads: Downloads, accept: str) -> None:
    """Where no format is accepted, the answer lists them all."""
    path = await downloads.path(*SMALL)
    async with downloads.client.get(path, headers={"Accept": accept}) as response:
        document = await assert_problem(response, 406, NOT_ACCEPTABLE, says=", ".join(FORMATS))
    assert document["formats"] == list(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
async def test_the_parameter_goes_before_the_header(downloads: Downloads, name: str) -> None:
    """`?format=` is what a link can say: it wins over `Accept`, which a browser sends by itself."""
    path = await downloads.path(*SMALL)
    for accept in ("text/csv", "image/png", "*/*;q=0"):
        answer = await downloads.get(f"{path}?format={name}", {"Accept": accept})
        assert answer.status == 200
        assert answer.headers["Content-Type"] == FORMATS[name].media_type
        assert answer.body == file_of(name, *SMALL)


@pytest.mark.parametrize("name", ["", "xml", "JSON", "json-strings", "contract", "x" * 5000])
async def test_an_unknown_format_is_406_with_those_there_are(
    downloads: Downloads, name: str
) -> None:
    """A name that is no format's is refused, shown in part only, with the list of the others."""
    path = await downloads.path(*SMALL)
    async with downloads.client.get(path, params={"format": name}) as response:
        document = await assert_problem(response, 406, NOT_ACCEPTABLE, says="json, ndjson, text")
    assert document["formats"] == list(FORMATS)
    assert len(document["detail"]) < 300


# --- numbers as strings --------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
async def test_numbers_as_strings(downloads: Downloads, name: str) -> None:
    """`?numbers=string` quotes the numbers of JSON, and changes nothing where none are altered."""
    ends = (2**64 - 200, 2**64 - 1)
    path = await downloads.path(*ends)
    kind = {"json": "json-strings", "ndjson": "ndjson-strings"}.get(name, name)
    answer = await downloads.get(f"{path}?format={name}&numbers=string")
    assert answer.status == 200
    assert answer.body == file_of(kind, *ends)
    assert answer.headers["Content-Type"] == FORMATS[name].media_type
    assert (b'"18446744073709551557"' in answer.body) == (kind != name)
    plain = await downloads.get(f"{path}?format={name}&numbers=number")
    assert plain.body == file_of(name, *ends)
    assert (plain.headers["ETag"] == answer.headers["ETag"]) == (kind == name)


async def test_numbers_as_strings_for_those_who_accept(downloads: Downloads) -> None:
    """The parameter goes with the header as well: JSON by `Accept`, or by default."""
    path = await downloads.path(*SMALL)
    for headers in ({}, {"Accept": "application/json"}):
        answer = await downloads.get(f"{path}?numbers=string", headers)
        assert answer.body == file_of("json-strings", *SMALL)


@pytest.mark.parametrize("numbers", ["", "strings", "String", "float", "x" * 5000])
async def test_numbers_of_another_kind_are_400(downloads: Downloads, numbers: str) -> None:
    """What the numbers shall be is one of two words."""
    path = await downloads.path(*SMALL)
    async with downloads.client.get(path, params={"numbers": numbers}) as response:
        document = await assert_problem(response, 400, BAD_PARAMETER, says="number, string")
    assert document["detail"].startswith("numbers: ")
    assert len(document["detail"]) < 300


# --- codings -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize(
    ("accepts", "coding"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("GZip", "gzip"),
        ("gzip, zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "gzip"),
        ("deflate, br", None),
        ("*", "zstd"),
        # The client's likes go before ours.
        ("zstd;q=0.5, gzip", "gzip"),
        ("zstd;q=0.5, gzip;q=0.5", "zstd"),
        ("gzip;q=0.001", "gzip"),
        # Zero means no.
        ("gzip;q=0", None),
        ("gzip;q=0.000, zstd;q=0", None),
        ("*;q=0", None),
        ("zstd;q=0, *", "gzip"),
        ("*;q=0, gzip", "gzip"),
        # No coding is a coding too, and may be liked better.
        ("identity", None),
        ("identity, gzip;q=0.9", None),
        ("identity;q=0.5, gzip;q=0.4", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity;q=0, zstd;q=0.1", "zstd"),
        # Nothing that there is: better the plain file than none (RFC 9110, 12.5.3).
        ("identity;q=0", None),
        ("br, identity;q=0, *;q=0", None),
    ],
)
async def test_accept_encoding_chooses_the_coding(
    downloads: Downloads, accepts: str | None, coding: str | None
) -> None:
    """A coding is applied where the client accepts one, the better one first."""
    path = await downloads.path(*SMALL)
    answer = await downloads.head(path, {} if accepts is None else {"Accept-Encoding": accepts})
    assert answer.status == 200
    assert answer.headers.get("Content-Encoding") == coding
    assert "Accept-Encoding" in answer.headers["Vary"]


@pytest.mark.usefixtures("far_away")
async def test_several_accept_encoding_headers_are_one(downloads: Downloads) -> None:
    """A list in several lines is the same list."""
    path = await downloads.path(*SMALL)
    headers = CIMultiDict([("Accept-Encoding", "br"), ("Accept-Encoding", "gzip, zstd;q=0")])
    assert (await downloads.head(path, headers)).headers["Content-Encoding"] == "gzip"


async def test_on_the_same_machine_nothing_is_coded(downloads: Downloads) -> None:
    """A network within one machine is faster than any compressor."""
    path = await downloads.path(*SMALL)
    answer = await downloads.get(path, {"Accept-Encoding": "gzip, zstd"})
    assert "Content-Encoding" not in answer.headers
    assert answer.body == file_of("json", *SMALL)
    assert "Accept-Encoding" in answer.headers["Vary"]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets")
async def test_through_a_unix_socket_nothing_is_coded(tmp_path: Path) -> None:
    """A socket in the file system is on the same machine, though its peer has no address."""
    app = create_app(Settings(workers=2))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        path = str(tmp_path / "primesvc")
        await web.UnixSite(runner, path).start()
        job = await finished(service_of(app), *SMALL)
        async with (
            asyncio.timeout(WAIT_S),
            ClientSession(connector=UnixConnector(path)) as session,
            session.get(
                f"http://localhost/jobs/{job.id}/primes", headers={"Accept-Encoding": "gzip"}
            ) as response,
        ):
            assert response.status == 200
            assert "Content-Encoding" not in response.headers
            assert await response.read() == file_of("json", *SMALL)
    finally:
        await runner.cleanup()


class Transport(asyncio.Transport):
    """A connection with somebody."""

    def __init__(self, peer: Any) -> None:
        super().__init__({"peername": peer})


@pytest.mark.parametrize(
    ("peer", "coding"),
    [
        (("127.0.0.1", 40000), None),
        (("127.1.2.3", 40000), None),
        (("::1", 40000, 0, 0), None),
        (None, None),
        ("", None),
        ("/run/primesvc", None),
        (b"", None),
        (("192.0.2.1", 40000), "gzip"),
        (("10.0.0.1", 40000), "gzip"),
        (("2001:db8::1", 40000, 0, 0), "gzip"),
        (("fe80::1%eth0", 40000, 0, 2), "gzip"),
    ],
)
async def test_who_is_on_another_machine(peer: Any, coding: str | None) -> None:
    """The address of the peer decides: one of a loopback, or none, is on this machine."""
    # A request made by hand: a test can have no connection from another machine.
    request = make_mocked_request(
        "GET",
        "/",
        {"Accept-Encoding": "gzip"},
        app=create_app(),
        transport=Transport(peer),
    )
    assert choose_coding(request) == coding
