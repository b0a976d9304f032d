"""What schemathesis is told of the API that no schema can say."""

from typing import Any, Final

import schemathesis

from primesvc.numbers import read_whole_number

SPAN: Final = 1000
"""Numbers in most of the ranges that are asked for: what is asked for is worked on."""

ENDS: Final = {"/jobs": ("start", "end"), "/primes": ("start_num", "end_num")}


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    """Make most ranges possible and short, and ask for no parts of JSON, which are no JSON."""
    if case.method == "POST" and case.operation.path in ENDS and _is_positive(case):
        for values in (case.query, case.body):
            if isinstance(values, dict):
                _shorten(values, *ENDS[case.operation.path])
    if "Range" in (case.headers or {}):
        if case.operation.path == "/jobs/{id}/primes":
            case.query = {**(case.query or {}), "format": "text"}
        else:
            del case.headers["Range"]
    return case


def _is_positive(case: schemathesis.Case) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


def _shorten(values: dict[str, Any], start_name: str, end_name: str) -> None:
    try:
        start, end = (read_whole_number(str(values[name])) for name in (start_name, end_name))
    except (KeyError, ValueError):
        return
    values[end_name] = start + 1 + abs(end - start) % SPAN
