"""`python -m tests.docs`: write the tables of the handbook anew that follow from the code."""

from tests.docs.pages import PAGES, name_of
from tests.docs.tables import with_tables

for page in PAGES:
    text = page.read_text("utf-8")
    if (new := with_tables(text)) != text:
        page.write_text(new, "utf-8")
        print(f"wrote {name_of(page)}")  # noqa: T201 - it is a program
