"""What the tests hold against `openapi.json`: whether an answer is as it says."""

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from multidict import CIMultiDictProxy
from referencing import Registry
from referencing.jsonschema import DRAFT202012

URI: Final = "urn:primesvc:openapi"

UNTOLD: Final = frozenset(
    {
        # Of HTTP itself, the same everywhere.
        "connection", "content-length", "content-type", "date", "server", "transfer-encoding",
        # On every answer, as the description of the whole says.
        "allow", "x-content-type-options", "referrer-policy", "x-request-id",
    }
)  # fmt: skip
"""Headers that are not described with every answer."""

Schema = dict[str, Any]


@cache
def document() -> Schema:
    """The description of the API as it is packaged."""
    text = files("primesvc.web").joinpath("static", "openapi.json").read_text("utf-8")
    parsed: Schema = json.loads(text)
    return parsed


@cache
def _registry() -> "Registry[Any]":
    resource = DRAFT202012.create_resource(document())
    registry: Registry[Any] = Registry().with_resource(URI, resource)
    return registry


def check(schema: Schema, value: object) -> None:
    """Assert that a value is as a schema of the document says."""
    errors = [
        f"{list(error.absolute_path)}: {error.message}"
        for error in _validator(json.dumps(schema)).iter_errors(value)
    ]
    assert not errors, "\n".join(errors)


@lru_cache(maxsize=256)
def _validator(schema: str) -> Draft202012Validator:
    # References in the document are relative to its root: give them the document's name.
    absolute = json.loads(schema.replace('"$ref": "#', f'"$ref": "{URI}#'))
    return Draft202012Validator(absolute, registry=_registry(), format_checker=FormatChecker())


def resolved(part: Schema) -> Schema:
    """The part of the document itself, if it is a reference to one."""
    while "$ref" in part:
        target: Any = document()
        for name in part["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        part = target
    return part


def operations() -> dict[tuple[str, str], Schema]:
    """All operations, by path and method in upper case."""
    return {
        (path, method.upper()): operation
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def check_answer(
    path: str, method: str, status: int, headers: "CIMultiDictProxy[str]", body: bytes
) -> None:
    """Assert that an answer to a method of a path template is one that the document tells of."""
    operation = operations()[path, "GET" if method == "HEAD" else method]
    told = operation["responses"].get(str(status))
    assert told is not None, f"{method} {path} is not said to answer {status}: {body[:200]!r}"
    told = resolved(told)
    _check_headers(told.get("headers", {}), headers)
    content = told.get("content", {})
    if method == "HEAD" or not content:
        assert not body
        return
    media_type = headers["Content-Type"].partition(";")[0]
    assert media_type in content, f"{method} {path} is not said to answer {media_type}"
    if media_type in ("application/json", "application/problem+json") and status != 206:
        check(content[media_type]["schema"], json.loads(body))


def _check_headers(told: Mapping[str, Schema], headers: "CIMultiDictProxy[str]") -> None:
    known = {name.lower(): resolved(header) for name, header in told.items()}
    for name, header in known.items():
        values = headers.getall(name, [])
        assert values or not header.get("required"), f"the answer has no {name}"
        for value in values:
            is_number = header["schema"].get("type") == "integer"
            check(header["schema"], int(value) if is_number else value)
    untold = {name.lower() for name in headers} - set(known) - UNTOLD
    assert not untold, f"nothing tells of {untold}"
