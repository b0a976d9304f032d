"""The tables of the handbook are what the code says; `python -m tests.docs` writes them."""

from pathlib import Path

import pytest

import primesvc
from primesvc.cli.exits import Exit
from tests.docs.pages import HANDBOOK, PAGES, ROOT, name_of
from tests.docs.tables import MARKED, TABLES, exits, tree, with_tables


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tables_are_up_to_date(page: Path) -> None:
    """What stands between the marks of a table is what the code says now."""
    text = page.read_text("utf-8")
    for (_, name, written, _), made in zip(
        MARKED.findall(text), MARKED.findall(with_tables(text)), strict=True
    ):
        assert written == made[2], f"{name} has changed: run python -m tests.docs"


def test_every_table_stands_somewhere() -> None:
    """Each table is in the handbook once, and no page asks for one that is none."""
    names = [found[1] for page in HANDBOOK for found in MARKED.findall(page.read_text("utf-8"))]
    assert sorted(names) == sorted(TABLES)
    marks = sum(page.read_text("utf-8").count("<!-- table:") for page in PAGES)
    assert marks == len(names), "a mark has no end"


def test_the_tree_names_every_module() -> None:
    """The architecture's tree has a line for each module of the package."""
    named = [line.split()[0] for line in tree().splitlines() if line.strip()]
    package = Path(primesvc.__file__).parent
    assert package == ROOT / "primesvc"
    for module in package.rglob("*.py"):
        if module.name != "__init__.py":
            assert module.name in named, module


def test_every_exit_code_is_listed() -> None:
    """The table names every exit code there is."""
    table = exits()
    assert all(str(code.value) in table for code in Exit)
