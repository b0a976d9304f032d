"""What a kind of question is to the rest of the service. Jobs know of kinds what stands here.

A kind is a pair of classes in a module of this part:

- a `Question`: what somebody asks, immutable. It reads its parameters, says
  what they cost and whether they are within the limits, and plans its work;
- its `Work`: what is known of the answer so far. It runs, on the event loop,
  and has workers compute: through `collect.collect` for the pieces of a
  range, or through `queue.submit` for calls of its own.

To add one, write the two, with all that is abstract here, and name the
question in `catalog.KINDS`. The job API reads it, admits it, runs, shows and
cancels it, and the journal keeps it, without a change elsewhere.

    POST /jobs ──> Question.read ──> check, cost_s ──> plan ──> Work.run
                                                                  │
    GET /jobs/{id} <── Question.parameters, Work.progress, Work.findings
    journal <──> Question.parameters and read, Work.record and Question.recall
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Self

from primesvc.collect.collected import Collected
from primesvc.compute.dispatcher import Queue
from primesvc.compute.long_calls import LongCalls
from primesvc.sieve.engine import Engine
from primesvc.store.segments import SegmentStore

NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:primesvc:job")
"""What ids are derived from; another value would change the id of every question."""

JOB_BYTES: Final = 2048
"""About how much memory a job takes beside what is known of its answer."""

WORKING_BYTES: Final = 16 * 2**10
"""About how much memory an unfinished job takes for the calls that it waits for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a service lets in."""

    max_span: int
    """How far the end of a range that is sieved may lie above its start."""
    max_s: float
    """Seconds that a job may take here by its estimate."""
    max_bytes: int
    """Memory for all jobs."""


@dataclass(slots=True)
class CheckStats:
    """How the checks of answers ended so far."""

    agreed: int = 0
    disagreed: int = 0
    given_up: int = 0
    """They could not be made, or not in time: nothing is known then."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What work is done with."""

    store: SegmentStore
    engine: Engine
    cache_bytes: int
    """How much the cache of the store holds."""
    ahead: int
    """Calls that one job asks for at a time."""
    long_calls: LongCalls
    """Who may make calls of minutes, and with how many threads."""
    checks: CheckStats
    """What is told of checks."""


class Question(ABC):
    """A question of one kind: hashable, and equal to those that ask the same."""

    kind: ClassVar[str]
    """The name of the kind, as the API has it."""

    listed: ClassVar[bool] = False
    """Whether the answer is a list of primes, to be read as files."""

    @classmethod
    @abstractmethod
    def read(cls, values: Mapping[str, object]) -> Self:
        """The question that a query, a JSON object or a journal asks for: see `parameters`.

        Numbers are text; what else stands in JSON comes as it is. Other values
        than its own are to be passed over. Raises `InvalidParameter` and `RangeNotAllowed`.
        """

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, int | str]:
        """What is asked, by name, as documents show it. `read` makes an equal question of it."""

    @cached_property
    def key(self) -> str:
        """What the id is made of: never to change, and different for every question."""
        return ":".join((self.kind, *map(str, self.parameters.values())))

    @cached_property
    def job_id(self) -> str:
        """The id of the job for it: the same after a restart and on every replica."""
        return str(uuid.uuid5(NAMESPACE, self.key))

    @abstractmethod
    def __str__(self) -> str:
        """How messages call it: `the range 0..100`."""

    @abstractmethod
    def cost_s(self, engine: Engine, workers: int) -> float:
        """About how many seconds it takes so many idle workers, if nothing is known yet."""

    def check(self, limits: Limits, engine: Engine) -> None:  # noqa: B027 - most kinds need none
        """Raise `RangeNotAllowed` beyond the limits, but for `max_s`, which jobs see to.

        Before anything is planned: it is to cost nothing.
        """

    def expected(self) -> Mapping[str, Any]:
        """What can be said of the answer without work, as the document of an estimate shows it."""
        return {}

    @abstractmethod
    async def plan(self, resources: Resources) -> "Work":
        """The work to be done. Takes little memory before it runs."""

    @abstractmethod
    def recall(self, record: bytes, *, complete: bool) -> "Work":
        """The work of which `Work.record` wrote this, with `complete` for a job that succeeded.

        If nothing can be done with it (an older release counted otherwise) it
        is work that is yet to be done, and its progress 0. Raises `ValueError` for
        what cannot be true. Called in a thread, and before `check`.
        """


class Work(ABC):
    """The work on a question: what is known of the answer, more and more as it runs."""

    @abstractmethod
    async def run(self, resources: Resources, queue: Queue) -> None:
        """Find the answer, with calls in the queue, which is the job's share of the workers.

        Returns when all is found, and raises what makes the job fail. Cancelled, it
        leaves the calls that it waits for.
        """

    @property
    @abstractmethod
    def progress(self) -> float:
        """How much of the work is done, 0 to 1; exactly 1 in the end."""

    @property
    @abstractmethod
    def findings(self) -> Mapping[str, Any]:
        """What is found so far, as the document shows it: of JSON's types, and bounded."""

    @property
    def outline(self) -> Mapping[str, Any]:
        """What a list of many jobs shows of the findings: all, but for what is large."""
        return self.findings

    @abstractmethod
    def record(self, *, complete: bool) -> bytes:
        """What a restart needs: with `complete` all findings, else what to go on with.

        Written when the job begins and when it ends; see `Question.recall`.
        """

    @property
    def updates(self) -> int:
        """Grows whenever there is something new to tell of."""
        return round(self.progress * 1000)

    @property
    def done_numbers(self) -> int:
        """How many numbers of a range are done; 0 where none are sieved: there is no rate then."""
        return 0

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes beyond `JOB_BYTES`, now and later."""
        return 0

    @property
    def collected(self) -> Collected | None:
        """The pieces whose primes can be read; None if it collects none."""
        return None
