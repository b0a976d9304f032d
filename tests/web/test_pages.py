"""The page and the documentation: all there, all ours, and nothing from anywhere else."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from urllib.parse import urljoin

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient
from yarl import URL

from primesvc import Settings, create_app
from primesvc.web import pages
from tests.web.helpers import mounted

Client = TestClient[web.Request, web.Application]

PAGES = ["/", "/docs/api"]
STATIC = files("primesvc.web").joinpath("static")


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_data(self, data: str) -> None:
        """Note what would be run or applied where it stands."""
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)

    @property
    def addresses(self) -> list[str]:
        """Whatever the page loads or leads to."""
        names = ("src", "href", "action", "poster", "data", "srcset")
        return [a[name] or "" for _, a in self.tags for name in names if name in a]


async def page_at(client: Client, path: str) -> Page:
    """The page at a path."""
    async with client.get(path) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        return Page(await response.text())


@pytest.mark.parametrize("prefix", ["", "/primes-api", "/a/b/c"])
@pytest.mark.parametrize("path", PAGES)
async def test_pages_work_under_any_prefix(
    aiohttp_client: AiohttpClient, settings: Settings, path: str, prefix: str
) -> None:
    """Every address in a page is relative, and leads to something where the page is served."""
    client = await aiohttp_client(mounted(settings, prefix))
    page = await page_at(client, prefix + path)
    assert page.addresses
    for address in page.addresses:
        assert re.fullmatch(r"[a-z0-9./-]+", address)
        assert not address.startswith("/")
        async with client.get(urljoin(prefix + path, address)) as response:
            assert response.status == 200
            assert await response.read()


@pytest.mark.parametrize("path", PAGES)
async def test_pages_allow_nothing_but_their_own_files(client: Client, path: str) -> None:
    """The policy of a page lets nothing inline run and nothing foreign load, and it needs none."""
    async with client.get(path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "same-origin"
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["img-src"] == "'self' data:"
    assert rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    page = await page_at(client, path)
    assert not page.inline
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)


async def test_the_page_can_be_used_by_all(client: Client) -> None:
    """Every field has a label, every picture a text, every button a name; the language is told."""
    page = await page_at(client, "/")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes.get("for") for tag, attributes in page.tags if tag == "label"}
    for tag, attributes in page.tags:
        if tag == "input" and attributes.get("type") != "radio":
            assert attributes["id"] in labelled
        if tag == "img":
            assert "alt" in attributes
        if tag == "html":
            assert attributes["lang"] == "en"
        for name in ("aria-labelledby", "aria-describedby", "for"):
            for target in (attributes.get(name) or "").split():
                assert target in ids


def test_the_page_knows_its_own_elements() -> None:
    """Every element that the script looks for by its id is in the page."""
    html, script = (STATIC.joinpath(name).read_text("utf-8") for name in ("index.html", "page.js"))
    wanted = set(re.findall(r'\$\("([^"]+)"\)', script))
    assert len(wanted) > 20
    assert wanted <= set(re.findall(r'id="([^"]+)"', html))


def test_nothing_is_loaded_from_elsewhere() -> None:
    """No file of ours names another server."""
    for name in (
        "index.html",
        "page.js",
        "page.css",
        "reference.html",
        "reference.js",
        "reference.css",
        "handbook.html",
        "handbook.css",
    ):
        text = STATIC.joinpath(name).read_text("utf-8")
        assert not re.search(r"(https?:)?//[a-z]", re.sub(r"(?m)^\s*//.*| // .*", "", text)), name


@pytest.mark.parametrize(
    ("name", "type_", "begin"),
    [
        ("page.css", "text/css; charset=utf-8", b"/*"),
        ("page.js", "text/javascript; charset=utf-8", b"//"),
        ("handbook.css", "text/css; charset=utf-8", b"/*"),
        ("reference.css", "text/css; charset=utf-8", b"/*"),
        ("reference.js", "text/javascript; charset=utf-8", b'"use strict"'),
        ("icon.svg", "image/svg+xml", b"<svg"),
        ("swagger-ui.css", "text/css; charset=utf-8", b""),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8", b"/*! For license"),
    ],
)
async def test_files_are_served(client: Client, name: str, type_: str, begin: bytes) -> None:
    """Each file has its type, which browsers are not to guess."""
    async with client.get(f"/static/{name}") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == type_
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        body = await response.read()
    assert body.startswith(begin)
    assert len(body) == int(response.headers["Content-Length"])


def test_every_packaged_file_is_served_or_belongs_to_one() -> None:
    """Nothing lies in the package that nobody can get, but for licences."""
    served = {name.rpartition("/")[2] for name in pages._STATIC} | {
        "index.html", "handbook.html", "reference.html", "openapi.json",
    }  # fmt: skip
    vendored = STATIC.joinpath("vendor", "swagger-ui")
    names = {file.name for folder in (STATIC, vendored) for file in folder.iterdir()}
    notes = {"LICENSE", "NOTICE", "README.md", "swagger-ui-bundle.js.LICENSE.txt"}
    assert names - {"vendor"} == served | notes
    assert "Apache License" in vendored.joinpath("LICENSE").read_text("utf-8")


@pytest.mark.parametrize(
    "name",
    ["", "nothing", "index.html", "..%2Fpages.py", "%2e%2e/pages.py", "vendor/swagger-ui/LICENSE",
     "vendor%2Fswagger-ui%2FLICENSE", "page.css%00", "PAGE.CSS", "page.css/", "..\\pages.py"],
)  # fmt: skip
async def test_nothing_else_is_served(client: Client, name: str) -> None:
    """A name that is none of the files' is a 404, whatever it tries."""
    async with client.get(URL(f"/static/{name}", encoded=True)) as response:
        assert response.status == 404
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("path", [*PAGES, "/openapi.json", "/static/page.js"])
async def test_what_a_client_has_is_not_sent_again(client: Client, path: str) -> None:
    """Files are kept by clients but asked for again, and unchanged they are not sent again."""
    async with client.get(path) as response:
        tag = response.headers["ETag"]
        assert response.headers["Cache-Control"] == "no-cache"
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        async with client.get(path, headers={"If-None-Match": known}) as response:
            assert response.status == 304
            assert response.headers["ETag"] == tag
            assert not await response.read()
    async with client.get(path, headers={"If-None-Match": '"other"'}) as response:
        assert response.status == 200
    async with client.head(path) as response:
        assert response.status == 200
        assert response.headers["ETag"] == tag
        assert int(response.headers["Content-Length"]) > 0


async def test_the_prefix_without_a_slash_leads_to_the_page(
    aiohttp_client: AiohttpClient, settings: Settings
) -> None:
    """Only behind the slash are the page's relative addresses right, so it sends clients there."""
    parent = web.Application()
    parent.add_subapp("/primes-api/", create_app(settings))
    client = await aiohttp_client(parent)
    for path in ("/primes-api", "/primes-api?a=b%20c"):
        async with client.get(URL(path, encoded=True), allow_redirects=False) as response:
            assert response.status == 308
            # Relative: a proxy in front may have cut something off.
            assert response.headers["Location"] == path.replace("/primes-api", "./primes-api/")
        async with client.get(URL(path, encoded=True)) as response:
            assert response.status == 200
            assert str(response.url.relative()) == path.replace("/primes-api", "/primes-api/")


async def test_two_applications_keep_apart(
    aiohttp_client: AiohttpClient, settings: Settings
) -> None:
    """Mounted twice, each describes itself where it is."""
    parent = web.Application()
    for prefix in ("/one/", "/two/"):
        parent.add_subapp(prefix, create_app(settings))
    client = await aiohttp_client(parent)
    for prefix in ("/one", "/two", "/one"):
        async with client.get(f"{prefix}/openapi.json") as response:
            assert (await response.json())["servers"] == [{"url": prefix}]
