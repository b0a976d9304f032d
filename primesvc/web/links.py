"""Links to other paths of the application, and from one page to its neighbours (RFC 8288)."""

from aiohttp import web
from multidict import CIMultiDict

from primesvc.web.forwarded import path_prefix


def path_of(request: web.Request, name: str, **parts: str) -> str:
    """The path of a route as the client has to ask for it, with every prefix that is known of.

    `parts` hold nothing that a path would have to quote: a list of jobs needs
    thousands of these, and `url_for`, which quotes, takes 12 µs.
    """
    return path_prefix(request) + request.app.router[name].canonical.format_map(parts)


def add_page_links(
    request: web.Request, headers: "CIMultiDict[str]", count: int, offset: int, limit: int
) -> None:
    """Add the next and the previous page of `limit` things, as references relative to this one."""
    links = []
    if offset + limit < count:
        links.append((offset + limit, limit, "next"))
    # Behind the end, the page before is the last one.
    if (stop := min(offset, count)) > 0:
        links.append((max(stop - limit, 0), min(limit, stop), "prev"))
    for at, size, relation in links:
        query = request.rel_url.update_query(offset=str(at), limit=str(size)).raw_query_string
        headers.add("Link", f'<?{query}>; rel="{relation}"')
