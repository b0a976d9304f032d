"""The handbook: the Markdown files in `primesvc/docs`, as pages under `/docs/`.

A page is rendered when it is first asked for, and then kept: that takes 50 ms,
half of it to import the library, and is done in a thread. Markdown is read as
GitHub reads it; HTML in it is left out, so that a page holds only what is made
here. Every address in a page is relative, so it works under any prefix.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import web

from primesvc.thread import in_thread
from primesvc.web.pages import File, answer, html_file, read_static

if TYPE_CHECKING:
    from markdown_it.token import Token

INDEX: Final = "index"

CHAPTERS: Final = (
    "http", "command-line", "python", "operation", "reliability", "speed", "architecture"
)  # fmt: skip
"""The pages behind the index in the order to read them in, by their files' names."""

_TO_PAGE: Final = re.compile(r"([a-z-]+)\.md(#.*)?")
"""A link to another page, as it stands in the Markdown files."""


_RENDERING: Final = Lock()


class Chapter(NamedTuple):
    """A page as HTML; `sections` are the ids and titles (HTML) of its second-level headings."""

    title: str
    body: str
    sections: Sequence[tuple[str, str]]


async def get_index(request: web.Request) -> web.StreamResponse:
    """GET /docs/: the first page of the handbook, which says what is where."""
    return await answer(request, await in_thread("handbook", _rendered, INDEX))


async def get_chapter(request: web.Request) -> web.StreamResponse:
    """GET /docs/{name}: a page of the handbook."""
    name = request.match_info["name"]
    if name not in CHAPTERS:
        raise web.HTTPNotFound
    return await answer(request, await in_thread("handbook", _rendered, name))


def _rendered(name: str) -> File:
    # One at a time: a crowd would have every page rendered once for each of them.
    with _RENDERING:
        return _page(name)


@cache
def _page(name: str) -> File:
    names = (INDEX, *CHAPTERS)
    at = names.index(name)
    chapter = _chapter(name)
    around = ""
    if at > 0:
        around += f'<a rel="prev" href="{_href(names[at - 1])}">{_chapter(names[at - 1]).title}</a>'
    if at + 1 < len(names):
        around += f'<a rel="next" href="{_href(names[at + 1])}">{_chapter(names[at + 1]).title}</a>'
    template = Template(read_static("handbook.html").decode())
    return html_file(
        template.substitute(
            title=chapter.title,
            body=chapter.body,
            contents="".join(_contents(names, name)),
            around=around,
        )
    )


def _contents(names: Iterable[str], current: str) -> Iterator[str]:
    """The list of all pages, with the sections of the current one."""
    for name in names:
        chapter = _chapter(name)
        here = ' aria-current="page"' if name == current else ""
        yield f'<li><a href="{_href(name)}"{here}>{chapter.title}</a>'
        if here and chapter.sections:
            items = (f'<li><a href="#{id_}">{title}</a></li>' for id_, title in chapter.sections)
            yield f"<ul>{''.join(items)}</ul>"
        yield "</li>"


def _href(name: str) -> str:
    return "./" if name == INDEX else name


@cache
def _chapter(name: str) -> Chapter:
    return render(files("primesvc").joinpath("docs", f"{name}.md").read_text("utf-8"))


def render(text: str) -> Chapter:
    """The page that a Markdown text says; its first heading is the title."""
    from markdown_it import MarkdownIt  # not before somebody reads

    markdown = MarkdownIt("commonmark").enable("table")
    for rule, function in _RULES.items():
        markdown.add_render_rule(rule, function)
    tokens = markdown.parse(text)
    title, sections = "", []
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[at + 1]
            id_ = heading_id(heading.content)
            token.attrSet("id", id_)
            said = markdown.renderer.render([heading], markdown.options, {})
            if token.tag == "h1":
                title = said
            elif token.tag == "h2":
                sections.append((id_, said))
        for part in token.children or ():
            if part.type == "link_open" and (link := _TO_PAGE.fullmatch(str(part.attrs["href"]))):
                part.attrSet("href", _href(link[1]) + (link[2] or ""))
    return Chapter(title, markdown.renderer.render(tokens, markdown.options, {}), sections)


def heading_id(heading: str) -> str:
    """The id of a heading, from its Markdown: the one that GitHub gives it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _nothing(*_: Any) -> str:
    return ""


def _text(_: Any, tokens: "Sequence[Token]", at: int, *__: Any) -> str:
    # Powers as they are set in print; in code they stay as they are typed.
    return re.sub(r"\b(\d+)\^(\d+)", r"\1<sup>\2</sup>", escape(tokens[at].content, quote=False))


def _heading_close(_: Any, tokens: "Sequence[Token]", at: int, *__: Any) -> str:
    tag, id_ = tokens[at].tag, tokens[at - 2].attrs["id"]
    return f' <a class="anchor" href="#{id_}" aria-label="Link to this section">#</a></{tag}>\n'


def _fence(_: Any, tokens: "Sequence[Token]", at: int, *__: Any) -> str:
    code = escape(tokens[at].content, quote=False)
    if tokens[at].info == "console":
        # What is typed stands out, and is copied without the prompt.
        code = re.sub(r"(?m)^\$ (.*)$", r'<span class="prompt">$ </span><b>\1</b>', code)
    return f'<pre tabindex="0"><code>{code}</code></pre>\n'


def _table_open(*_: Any) -> str:
    return '<div class="table" role="region" aria-label="Table" tabindex="0"><table>\n'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"


_RULES: Final = {
    "text": _text,
    "html_block": _nothing,
    "html_inline": _nothing,
    "heading_close": _heading_close,
    "fence": _fence,
    "table_open": _table_open,
    "table_close": _table_close,
}
"""How parts of a page are written that CommonMark writes otherwise."""
