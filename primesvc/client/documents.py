"""What a service tells of a job, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

from primesvc.errors import JobCancelled, JobFailed, JobNotFinished
from primesvc.numbers import NumberFacts
from primesvc.states import State

_HUGE: Final = 1e300
"""Seconds, and numbers a second, at the most; Python reads `1e999` as a number too."""


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A job of a service elsewhere, as its document told of it at one time.

    If it is about a range, that is the closed range [start, end]. It does not change: ask
    for it again (`PrimeClient.job`) or `wait` for it to know more.
    """

    id: str
    kind: str
    """What is asked for: `primes` of the range, only their `count`, their `statistics`, or the
    `nth` prime."""
    state: State
    start: int
    end: int | None
    """None if it is not about a range."""
    progress: float
    """How much of the work is done, 0 to 1."""
    count: int
    """How many primes were found so far; of the whole range once it succeeded. 0 if it counts none.
    """
    rate: float | None
    """Numbers a second so far."""
    eta_s: float | None
    """About how many seconds are left."""
    created: datetime
    started: datetime | None
    finished: datetime | None
    error: Mapping[str, Any] | None = field(hash=False)
    """The problem document (RFC 9457) of a job that failed."""
    links: Mapping[str, str] = field(hash=False)
    """Where to go from here: paths on the service's host, by what they are to the job."""
    method: str | None = None
    """How primes are counted: `sieve` or `primecount`; None if it counts none."""
    second_count: int | None = None
    """How many primes there are by the check, another way of counting; None if there was none."""
    prime: int | None = None
    """The prime that was asked for, once it is known."""
    pattern: str | None = None
    """Of which constellations the first primes are meant; None for all primes."""
    modulus: int | None = None
    """Of which residue class the primes are meant, with `residue`; None for all primes. Of
    statistics by what residues they are told apart."""
    residue: int | None = None
    statistics: Mapping[str, Any] | None = field(default=None, hash=False)
    """The statistics of the numbers that are done, from the start on; a list of jobs has none."""

    @classmethod
    def read(cls, document: Any) -> Self:
        """The job that a document tells of.

        Raises `KeyError`, `TypeError` or `ValueError` for what is no such document.
        """
        error = document["error"]
        kind = _text(document["kind"])
        result = _mapping(document.get("result") or {})
        statistics = read_statistics(result) if kind == "statistics" and result else None
        check = _mapping(document.get("check") or {})
        return cls(
            id=_text(document["id"]),
            kind=kind,
            state=State(document["state"]),
            start=_whole(document["start"]),
            end=_whole(document["end"]) if "end" in document else None,
            progress=_real(document["progress"]),
            count=_whole(document.get("count", 0)),
            rate=None if document["rate"] is None else _real(document["rate"]),
            eta_s=None if document["eta_s"] is None else _real(document["eta_s"]),
            created=datetime.fromisoformat(document["created"]),
            started=_time(document["started"]),
            finished=_time(document["finished"]),
            error=None if error is None else dict(_mapping(error)),
            links={name: _text(link) for name, link in _mapping(document["links"]).items()},
            method=None if document.get("method") is None else _text(document["method"]),
            second_count=_whole(check["count"]) if "count" in check else None,
            prime=_whole(result["prime"]) if "prime" in result else None,
            pattern=None if document.get("pattern") is None else _text(document["pattern"]),
            modulus=_whole_or_none(document.get("modulus")),
            residue=_whole_or_none(document.get("residue")),
            statistics=statistics,
        )

    @property
    def final(self) -> bool:
        """Whether the job stays in this state."""
        return self.state.final

    def check(self) -> None:
        """Return if the job succeeded.

        Raises `JobNotFinished`, `JobCancelled` or `JobFailed` otherwise, as a
        `Job` in this process does.
        """
        if self.state is State.FAILED:
            detail = (self.error or {}).get("detail")
            raise JobFailed(self.id, detail if isinstance(detail, str) else "no reason is given")
        if self.state is State.CANCELLED:
            raise JobCancelled(self.id)
        if self.state is not State.SUCCEEDED:
            raise JobNotFinished(self.id)


def read_facts(document: Any) -> NumberFacts:
    """The facts that a document of one number tells.

    Raises `KeyError`, `TypeError` or `ValueError` for what is no such document.
    """
    return NumberFacts(
        number=_whole(document["number"]),
        is_prime=_boolean(document["is_prime"]),
        factors=tuple((_whole(prime), _whole(power)) for prime, power in document["factors"]),
        previous=_whole_or_none(document["previous"]),
        next=_whole_or_none(document["next"]),
        index=_whole_or_none(document["index"]),
    )


_PATTERN: Final = {"count": int, "by_bin": [int]}

_STATISTICS: Final = {
    "count": int, "first": (int,), "last": (int,),
    "bins": {"edges": [int], "counts": [int]},
    "gaps": [[int]],
    "largest_gap": ({"gap": int, "after": int},),
    "residues": {"modulus": int, "classes": [int], "counts": [int], "by_bin": [[int]]},
    "pairs": ([[int]],),
    "patterns": {"twins": _PATTERN, "cousins": _PATTERN, "sexy": _PATTERN},
}  # fmt: skip
"""What statistics are made of; in brackets what may be null instead."""


def read_statistics(document: Any) -> Mapping[str, Any]:
    """The statistics that a document tells, their numbers as `int`.

    Raises `KeyError`, `TypeError` or `ValueError` for what is no such document.
    """
    statistics: Mapping[str, Any] = _read_as(_STATISTICS, document)
    return statistics


def _read_as(form: Any, value: Any) -> Any:
    if isinstance(form, dict):
        document = _mapping(value)
        return {name: _read_as(member, document[name]) for name, member in form.items()}
    if isinstance(form, tuple):
        return None if value is None else _read_as(form[0], value)
    if isinstance(form, list):
        if not isinstance(value, list):
            raise TypeError(f"{type(value).__name__} is no array")
        return [_read_as(form[0], member) for member in value]
    return _whole(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} is no boolean")
    return value


def _whole_or_none(value: object) -> int | None:
    return None if value is None else _whole(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no text")
    return value


def _whole(value: object) -> int:
    """A whole number, zero or more, also in a string."""
    number = int(value) if isinstance(value, str) else value
    if type(number) is not int:
        raise TypeError(f"{type(value).__name__} is no whole number")
    if number < 0:
        raise ValueError("a negative number")
    return number


def _real(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} is no number")
    if not 0 <= value < _HUGE:
        raise ValueError("a number that is none, negative, or without bound")
    return float(value)


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{type(value).__name__} is no object")
    return value


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
