"""What a service tells of a job, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Self

from primesvc.errors import JobCancelled, JobFailed, JobNotFinished

Kind = Literal["primes", "count"]
"""What a job is asked for: the primes of its range, or only how many there are."""

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
"""Where a job stands; the last three are final."""

_FINAL: Final = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A job of a service elsewhere, as its document told of it at one time.

    It covers the closed range [start, end]. It does not change: ask for it
    again (`PrimeClient.job`) or `wait` for it to know more.
    """

    id: str
    kind: Kind
    state: State
    start: int
    end: int
    progress: float
    """The share of the range's numbers that are done, 0 to 1, exact."""
    count: int
    """How many primes were found so far; of the whole range once it succeeded."""
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

    @classmethod
    def read(cls, document: Any) -> Self:
        """The job that a document tells of.

        Raises `KeyError`, `TypeError` or `ValueError` for what is no such document.
        """
        return cls(
            id=str(document["id"]),
            kind=document["kind"],
            state=document["state"],
            start=int(document["start"]),
            end=int(document["end"]),
            progress=float(document["progress"]),
            count=int(document["count"]),
            rate=document["rate"],
            eta_s=document["eta_s"],
            created=datetime.fromisoformat(document["created"]),
            started=_time(document["started"]),
            finished=_time(document["finished"]),
            error=document["error"],
            links=document["links"],
        )

    @property
    def final(self) -> bool:
        """Whether the job stays in this state."""
        return self.state in _FINAL

    def check(self) -> None:
        """Return if the job succeeded.

        Raises `JobNotFinished`, `JobCancelled` or `JobFailed` otherwise, as a
        `Job` in this process does.
        """
        if self.state == "failed":
            raise JobFailed(self.id, str((self.error or {}).get("detail", "no reason is given")))
        if self.state == "cancelled":
            raise JobCancelled(self.id)
        if self.state != "succeeded":
            raise JobNotFinished(self.id)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
