"""The tables of the handbook that follow from the code, made from it.

A page holds them between `<!-- table: NAME -->` and `<!-- end -->`.
`python -m tests.docs` writes them anew.
"""

import argparse
import ast
import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import Final

from aiohttp.test_utils import TestClient, TestServer

from primesvc import Settings, create_app
from primesvc.cli.parser import make_parser
from primesvc.formats.catalog import FORMATS
from tests.docs.pages import ROOT
from tests.test_imports import LAYERS
from tests.web.openapi import document

MARKED: Final = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

TREE_WIDTH: Final = 88
"""Characters of a line of the tree at the most."""

NOTES_ON_FORMATS: Final = {
    "json": ("JSON array", "anything"),
    "ndjson": ("JSON lines", "`jq`, DuckDB"),
    "text": ("text, one a line", "`sort`, `wc -l`"),
    "csv": ("CSV, with the header `prime`", "`pandas.read_csv(url)`"),
    "npy": ("NumPy, uint64", "`numpy.load`"),
    "arrow": ("Arrow stream, uint64", "`pyarrow.ipc.open_stream`"),
}

NOTES_ON_FOLDERS: Final = {
    "docs": "The handbook, as Markdown",
    "web/static": "The files of the pages, and `openapi.json`",
}
"""What is in the folders that hold no Python."""


def with_tables(text: str) -> str:
    """The text of a page, with its tables made anew."""
    return MARKED.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n{match[4]}", text)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


def settings() -> str:
    """Every setting: flag, default, unit and help, from the fields of `Settings`."""
    return table(("flag", "default", "unit", "what it is"), map(_setting, fields(Settings)))


def _setting(item: "object") -> Iterator[str]:
    name, default, metadata = (getattr(item, part) for part in ("name", "default", "metadata"))
    yield f"`--{name.replace('_', '-')}`"
    yield _default(default)
    yield metadata["unit"]
    yield metadata["help"] + _choices(metadata["choices"])


def _choices(choices: Iterable[str] | None) -> str:
    return f": {', '.join(f'`{choice}`' for choice in choices)}" if choices else ""


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    # Long rows of zeros are hard to count.
    return re.sub(r"^1(0{7,})$", lambda match: f"10^{len(match[1])}", text)


def _parsers() -> dict[str, argparse.ArgumentParser]:
    # There is no public way to the commands of a parser, nor to its arguments.
    (commands,) = (
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(commands.choices)


def commands() -> str:
    """Every command and what it is for, from the parser."""
    return table(
        ("command", "what it does"),
        ((f"`primesvc {name}`", parser.description or "") for name, parser in _parsers().items()),
    )


def options() -> str:
    """Every argument of the commands that is none of the settings, from the parser."""
    users: dict[tuple[str, str], list[str]] = {}
    ours = {item.name for item in fields(Settings)} - {"token"}
    for name, parser in _parsers().items():
        for action in parser._actions:
            if name != "serve" and action.dest not in ours | {"help"}:
                said = f"`{_shown(action)}`", str(action.help) + _choices(action.choices)
                users.setdefault(said, []).append(f"`{name}`")
    rows = ((shown, says, ", ".join(names)) for (shown, says), names in users.items())
    return table(("argument", "what it is", "of"), rows)


def _shown(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar)
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(action.option_strings) + value


def exits() -> str:
    """The exit codes, from the help of the program."""
    epilog = str(make_parser().epilog)
    rows = re.findall(r"^  (\d+) +(.+)$", epilog.partition("exit codes:")[2], re.MULTILINE)
    return table(("exit code", "meaning"), rows)


def formats() -> str:
    """The formats of downloads, from their catalog."""
    rows = (
        (what, f"`{name}`", f"`{FORMATS[name].media_type.partition(';')[0]}`", reader)
        for name in FORMATS
        for what, reader in [NOTES_ON_FORMATS[name]]
    )
    return table(("format", "`?format=`", "`Accept`", "read it with"), rows)


def problems() -> str:
    """The problem types, as `openapi.json` tells them."""
    says = document()["components"]["schemas"]["Problem"]["properties"]["type"]["description"]
    rows = re.findall(r"^- `urn:primesvc:problem:([a-z-]+)` \((\d+)\): (.+)$", says, re.MULTILINE)
    return table(
        ("status", "`type`, behind `urn:primesvc:problem:`", "meaning"),
        ((status, f"`{slug}`", meaning) for slug, status, meaning in rows),
    )


def metrics() -> str:
    """The metrics of a service that runs, as it tells them."""
    exposition = asyncio.run(_exposition())
    rows = re.findall(r"^# HELP (primesvc_\w+) (.+)\n# TYPE \1 (\w+)$", exposition, re.MULTILINE)
    return table(
        ("metric", "type", "what it is"),
        # The library adds times at which counting began.
        ((f"`{n}`", type_, says) for n, says, type_ in rows if not n.endswith("_created")),
    )


async def _exposition() -> str:
    with TemporaryDirectory() as folder:
        app = create_app(Settings(workers=2, journal=f"{folder}/journal"))
        async with TestClient(TestServer(app)) as client, client.get("/metrics") as response:
            return await response.text()


def tree() -> str:
    """Every module, with what its docstring begins with, in the order of the layers."""
    lines = [line for part in reversed(LAYERS) for line in _part(part)]
    lines += _line("docs/", 1, NOTES_ON_FOLDERS["docs"])
    return "\n".join(["```", "primesvc/", *lines, "```", ""])


def _part(part: str) -> Iterator[str]:
    folder = ROOT / "primesvc" / part
    if not folder.is_dir():
        yield from _line(f"{part}.py", 1, _says(folder.with_suffix(".py")))
        return
    yield from _line(f"{part}/", 1, _says(folder / "__init__.py"))
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py" and path.name != "__init__.py":
            yield from _line(path.name, 2, _says(path))
        elif (name := f"{part}/{path.name}") in NOTES_ON_FOLDERS:
            yield from _line(f"{path.name}/", 2, NOTES_ON_FOLDERS[name])


def _says(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    return docstring.partition("\n")[0]


def _line(name: str, depth: int, says: str) -> Iterator[str]:
    begin = f"{'  ' * depth}{name}".ljust(26)
    for row in wrap(says.rstrip(".").replace("`", ""), TREE_WIDTH - len(begin)):
        yield begin + row
        begin = " " * len(begin)


TABLES: Final[dict[str, Callable[[], str]]] = {
    table.__name__: table
    for table in (settings, commands, options, exits, formats, problems, metrics, tree)
}
