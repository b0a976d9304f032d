"""How long is searched, and what makes input that is nearly right."""

import os
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FACTOR: Final = int(os.environ.get("PRIMESVC_TEST_EXAMPLES", "1"))
"""How many times as many cases are tried as by default."""


def cases(count: int) -> settings:
    """Try so many cases, times `FACTOR`; each may take its time, and make much of nothing."""
    return settings(
        max_examples=count * FACTOR,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


@st.composite
def damages(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with one damage: cut, longer, overwritten, with a bit flipped, or moved about."""
    kind = draw(st.sampled_from(["cut", "longer", "overwritten", "flipped", "moved", "other"]))
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    if kind == "cut":
        return data[:at]
    if kind == "longer":
        return data + draw(st.binary(min_size=1, max_size=20))
    if kind == "other" or not data:
        return draw(st.binary(max_size=200))
    if kind == "flipped":
        return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
    more = draw(st.binary(min_size=1, max_size=20))
    if kind == "overwritten":
        return (data[:at] + more + data[at + len(more) :])[: len(data)]
    return data[at:] + data[:at]


@st.composite
def misspelt(draw: st.DrawFn, texts: st.SearchStrategy[str], alphabet: str) -> str:
    """One of the texts after a few changes: characters put in, taken out, or repeated."""
    text = draw(texts)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        kind = draw(st.sampled_from(["put in", "taken out", "repeated"]))
        if kind == "put in":
            text = text[:at] + draw(st.sampled_from(alphabet)) + text[at:]
        elif kind == "taken out":
            text = text[:at] + text[at + draw(st.integers(1, 3)) :]
        else:
            text = text[:at] + text[max(at - 3, 0) :]
    return text
