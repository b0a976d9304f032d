"""Links of the README and the handbook lead somewhere, as files and as served pages."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from primesvc.web.handbook import CHAPTERS, INDEX, heading_id
from tests.docs.pages import HANDBOOK, PAGES, README, name_of

MARKDOWN = MarkdownIt("commonmark").enable("table")


def tokens(page: Path) -> list[Token]:
    """A page as its parts."""
    return MARKDOWN.parse(page.read_text("utf-8"))


def headings(page: Path) -> list[str]:
    """The ids of a page's headings, as GitHub and the service give them."""
    parts = tokens(page)
    return [
        heading_id(parts[at + 1].content)
        for at, part in enumerate(parts)
        if part.type == "heading_open"
    ]


def links(page: Path) -> list[str]:
    """Where the links of a page lead."""
    return [
        str(part.attrs["href"])
        for token in tokens(page)
        for part in token.children or ()
        if part.type == "link_open"
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """A link names a page that is there and a heading that is in it, or a site on the web."""
    for link in links(page):
        if re.match(r"https://|http://127\.0\.0\.1:8080/", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target in PAGES, f"{name_of(page)} links to {link}"
        assert not anchor or anchor in headings(target), f"{name_of(page)} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_have_the_form_that_is_served(page: Path) -> None:
    """One title, ids that differ, a language for each block of code, no HTML but comments."""
    parts = tokens(page)
    assert [part.tag for part in parts if part.type == "heading_open"].count("h1") == 1
    ids = headings(page)
    assert len(ids) == len(set(ids))
    for part in [*parts, *(child for token in parts for child in token.children or ())]:
        assert part.type != "html_inline", part.content
        if part.type == "html_block":
            assert re.fullmatch(r"(<!-- [^>]+ -->\s*)+", part.content), part.content
        if part.type == "fence":
            assert part.info in ("", "caddyfile", "console", "nginx", "python", "sh")


def test_every_page_has_its_place() -> None:
    """The service knows every page, and the index and the README lead to each."""
    assert {page.stem for page in HANDBOOK} == {INDEX, *CHAPTERS}
    (index,) = (page for page in HANDBOOK if page.stem == INDEX)
    assert [link for link in links(index) if "#" not in link][: len(CHAPTERS)] == [
        f"{name}.md" for name in CHAPTERS
    ]
    assert {link.partition("#")[0] for link in links(README)} >= {
        f"primesvc/docs/{page.name}" for page in HANDBOOK
    }


def test_the_readme_is_short() -> None:
    """It is read on one or two screens; the rest belongs into the handbook."""
    assert len(README.read_text("utf-8").splitlines()) <= 200
