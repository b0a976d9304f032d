"""The README and the pages of the handbook, and what the tests look for in them."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

README: Final = ROOT / "README.md"

HANDBOOK: Final = sorted((ROOT / "primesvc" / "docs").glob("*.md"))

PAGES: Final = [README, *HANDBOOK]


def name_of(page: Path) -> str:
    """The path of a page as it is named in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(language: str) -> dict[str, str]:
    """The fenced blocks in a language on all pages, each with the first place where it stands."""
    found: dict[str, str] = {}
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.setdefault(match[1], f"{name_of(page)}:{line}")
    return found
