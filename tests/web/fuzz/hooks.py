"""What schemathesis is told of the API that no schema can say."""

from typing import Any, Final

import schemathesis

from primesvc.numbers import read_whole_number

Case = schemathesis.Case[Any]

SPAN: Final = 1000
"""Numbers in most of the ranges that are asked for: what is asked for is worked on."""


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: Case) -> Case:
    """Make most wishes possible and short, and ask for no parts of JSON, which are no JSON."""
    if case.meta is not None and case.meta.generation.mode.is_positive:
        if case.operation.label == "POST /primes":
            _shorten(case.query, case.query, "start_num", "end_num")
        elif case.operation.label == "POST /jobs":
            body = case.body if isinstance(case.body, dict) else {}
            for name in ("start", "end", "kind", "dry_run"):
                if name in body:
                    case.query.pop(name, None)
            for name, missing in (("start", 0), ("end", SPAN)):
                if name not in body:
                    case.query.setdefault(name, missing)
            has_start, has_end = (body if name in body else case.query for name in ("start", "end"))
            _shorten(has_start, has_end, "start", "end")
    if "Range" in (case.headers or {}):
        if case.operation.label == "GET /jobs/{id}/primes":
            case.query["format"] = "text"
        else:
            del case.headers["Range"]
    return case


def _shorten(has_start: dict[str, Any], has_end: dict[str, Any], start: str, end: str) -> None:
    try:
        first, last = (read_whole_number(str(v)) for v in (has_start[start], has_end[end]))
    except (KeyError, ValueError):
        return  # it will be refused
    has_end[end] = first + 1 + abs(last - first) % SPAN
