"""What schemathesis is told of the API that no schema can say."""

from contextlib import suppress
from typing import Any, Final

import schemathesis

from primesvc.numbers import read_whole_number

Case = schemathesis.Case[Any]

SPAN: Final = 1000
"""Numbers in most of the ranges that are asked for: what is asked for is worked on."""


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: Case) -> Case:
    """Make most wishes possible and short, and ask for no parts of JSON, which are no JSON."""
    if case.operation.label == "POST /primes" and not _wrong(case):
        _shorten(case.query, case.query, "start_num", "end_num")
    if case.operation.label == "GET /primes" and not _wrong(case):
        _shorten(case.query, case.query, "start", "end")
    if case.operation.label == "POST /jobs":
        _make_possible(case)
    if "Range" in (case.headers or {}):
        if case.operation.label in ("GET /jobs/{id}/primes", "GET /primes"):
            case.query["format"] = "text"
        else:
            del case.headers["Range"]
    return case


def _wrong(case: Case) -> set[str]:
    """The parts of a request in which something is not as the schema says, on purpose."""
    components = {} if case.meta is None else case.meta.components
    return {place.name for place, info in components.items() if info.mode.is_negative}


def _make_possible(case: Case) -> None:
    """Ask for everything once, in the query or the body; for a short range if nothing is wrong."""
    wrong = _wrong(case)
    body = case.body if isinstance(case.body, dict) else {}
    keep, drop = (case.query, body) if "QUERY" in wrong else (body, case.query)
    for name in ("start", "end", "kind", "modulus", "bins", "dry_run"):
        if name in keep:
            drop.pop(name, None)
    for name, missing in (("start", 0), ("end", SPAN)):
        if name not in keep:
            drop.setdefault(name, missing)
    if not wrong:
        for name in {"modulus", "bins"} & set(keep):
            with suppress(ValueError):
                keep[name] = 1 + read_whole_number(str(keep[name])) % 20
        has_start, has_end = (body if name in body else case.query for name in ("start", "end"))
        _shorten(has_start, has_end, "start", "end")


def _shorten(has_start: dict[str, Any], has_end: dict[str, Any], start: str, end: str) -> None:
    try:
        first, last = (read_whole_number(str(v)) for v in (has_start[start], has_end[end]))
    except (KeyError, ValueError):
        return  # it will be refused
    has_end[end] = first + 1 + abs(last - first) % SPAN
