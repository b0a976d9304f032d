"""The handbook as the service serves it: complete, safe, and linked under any prefix."""

import re
from urllib.parse import urldefrag, urljoin

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Settings
from primesvc.web.handbook import CHAPTERS, INDEX, heading_id, render
from tests.helpers import assert_problem
from tests.web.helpers import mounted
from tests.web.test_pages import Page, page_at

Client = TestClient[web.Request, web.Application]

PATHS = ["/docs/", *(f"/docs/{name}" for name in CHAPTERS)]


@pytest.mark.parametrize("prefix", ["", "/a/b"])
async def test_every_link_leads_somewhere(
    aiohttp_client: AiohttpClient, settings: Settings, prefix: str
) -> None:
    """Every address is relative, and is a page of the service with the part that it names."""
    client = await aiohttp_client(mounted(settings, prefix))
    pages = {prefix + path: await page_at(client, prefix + path) for path in PATHS}
    for path, page in pages.items():
        assert len(page.addresses) > 10
        for address in page.addresses:
            if address.startswith("https://"):
                continue
            assert not address.startswith("/")
            target, anchor = urldefrag(urljoin(path, address))
            if target not in pages:
                async with client.get(target) as response:
                    assert response.status == 200, address
            elif anchor:
                ids = {attributes.get("id") for _, attributes in pages[target].tags}
                assert anchor in ids, f"{path} links to {address}"


@pytest.mark.parametrize("path", PATHS)
async def test_pages_load_nothing_foreign(client: Client, path: str) -> None:
    """Nothing is loaded from elsewhere, nothing runs, nothing is styled where it stands."""
    page = await page_at(client, path)
    assert not page.inline
    for tag, attributes in page.tags:
        assert tag not in ("script", "style", "iframe", "object", "form")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        if tag in ("link", "img"):
            address = attributes.get("href") or attributes.get("src") or ""
            assert address.startswith("../static/")
    async with client.get(path) as response:
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
async def test_pages_have_an_order(client: Client, path: str) -> None:
    """A page has one title, names its neighbours, and says which one it is among all."""
    page = await page_at(client, path)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    current = [a["href"] for _, a in page.tags if a.get("aria-current") == "page"]
    assert [urljoin(path, str(address)) for address in current] == [path]
    around = {
        a["rel"]: urljoin(path, str(a["href"])) for t, a in page.tags if t == "a" and "rel" in a
    }
    at = PATHS.index(path)
    assert around.get("prev") == (PATHS[at - 1] if at else None)
    assert around.get("next") == (PATHS[at + 1] if at + 1 < len(PATHS) else None)


async def test_what_a_client_has_is_not_sent_again(client: Client) -> None:
    """A page has a tag, by which it is not sent a second time; HEAD tells its length."""
    async with client.get("/docs/http") as response:
        tag, length = response.headers["ETag"], len(await response.read())
    async with client.get("/docs/http", headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    async with client.get("/docs/speed", headers={"If-None-Match": tag}) as response:
        assert response.status == 200
    async with client.head("/docs/http") as response:
        assert int(response.headers["Content-Length"]) == length


async def test_without_the_slash_it_leads_to_the_index(client: Client) -> None:
    """Only behind the slash are the relative addresses of the index right."""
    async with client.get("/docs", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (308, "./docs/")
    async with client.get("/docs") as response:
        assert response.url.path == "/docs/"
        assert response.status == 200


@pytest.mark.parametrize("name", ["nothing", INDEX, "http.md", "HTTP", "..%2Fsettings", "http/"])
async def test_there_are_no_other_pages(client: Client, name: str) -> None:
    """A name that is none of the pages' is a 404."""
    async with client.get(f"/docs/{name}") as response:
        await assert_problem(response, 404, "about:blank")


def test_html_in_markdown_is_left_out() -> None:
    """What a page says is never taken for HTML, and links run nothing."""
    text = (
        "# A <b>title</b>\n\n<script>alert(1)</script>\n\n<!-- a note -->\n\n"
        "`<i>` <img src=x onerror=y> [a](javascript:alert(1)) &lt;\n\n```\n</pre><script>\n```\n"
    )
    page = Page(render(text).body)
    assert [tag for tag, _ in page.tags] == ["h1", "a", "p", "code", "pre", "code"]
    assert not page.inline


def test_links_between_pages_become_addresses() -> None:
    """Links that lead from file to file on GitHub lead from page to page here."""
    body = render("[a](http.md#the-errors) [b](index.md) [c](https://x.example/y.md) [d](#e)").body
    assert re.findall('href="([^"]+)"', body) == [
        "http#the-errors", "./", "https://x.example/y.md", "#e",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("heading", "id_"),
    [
        ("The two calls", "the-two-calls"),
        ("`executor=`, and more", "executor-and-more"),
        ("POST /primes: 2^64", "post-primes-264"),
        ("snake_case - dash", "snake_case---dash"),
    ],
)
def test_ids_are_those_of_github(heading: str, id_: str) -> None:
    """The same link with a fragment works in the repository and here."""
    assert heading_id(heading) == id_
    assert f'<h2 id="{id_}">' in render(f"## {heading}").body


def test_powers_are_set_as_powers() -> None:
    """In text, but not in code, where they are typed."""
    assert "below 2<sup>64</sup> - 1, &lt;" in render("below 2^64 - 1, <").body
    assert "<code>2^64</code>" in render("`2^64`").body


def test_a_table_and_code_keep_what_they_say() -> None:
    """Characters that mean something in HTML are shown as they are, prompts stand apart."""
    body = render("| a |\n|---|\n| `x \\| <y>` |\n\n```console\n$ echo '<&>'\n<&>\n```\n").body
    assert "<td><code>x | &lt;y&gt;</code></td>" in body
    assert "<span class=\"prompt\">$ </span><b>echo '&lt;&amp;&gt;'</b>\n&lt;&amp;&gt;\n" in body
