"""Which formats there are."""

from typing import Final

from primesvc.formats.base import Format
from primesvc.formats.binary import ARROW, NPY
from primesvc.formats.text import CSV, JSON, JSON_STRINGS, NDJSON, NDJSON_STRINGS, TEXT

FORMATS: Final[dict[str, Format]] = {
    format_.name: format_ for format_ in (JSON, NDJSON, TEXT, CSV, NPY, ARROW)
}
"""The formats a client can ask for, by name, the default first."""

AS_STRINGS: Final[dict[str, Format]] = {"json": JSON_STRINGS, "ndjson": NDJSON_STRINGS}
"""Those whose numbers many readers alter above 2^53, with the numbers as strings."""
