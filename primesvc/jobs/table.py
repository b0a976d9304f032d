"""The jobs the service knows, bounded in number, in memory and, once finished, in time."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from primesvc.errors import JobGone, RangeNotAllowed, ServiceFull, UnknownJob
from primesvc.jobs.job import WORKING_BYTES, Job, Kind, Plan, State, job_bytes
from primesvc.sieve.range import Range

REMEMBERED: Final = 10_000
"""Ids of forgotten jobs that are told from ids that never were: 1 MB."""

RETRY_S: Final = 1.0
"""Seconds after which a client may ask again when the table is full."""


class JobTable:
    """Jobs by id and by range; forgets the oldest finished ones first.

    At most `max_jobs` jobs and `max_bytes` of memory together, finished ones
    for `ttl_s` seconds; at most `max_unfinished` of them unfinished (None: no
    bound but `max_jobs`). An unfinished job is never forgotten: when there
    are too many of them, `ServiceFull` is raised. `on_forget` is told of every
    job that is forgotten.
    """

    def __init__(
        self,
        *,
        max_jobs: int,
        max_bytes: int,
        ttl_s: float,
        max_unfinished: int | None = None,
        on_forget: Callable[[Job], None] | None = None,
    ) -> None:
        self._on_forget = on_forget
        self._max_jobs = max_jobs
        self._max_unfinished = max_jobs if max_unfinished is None else max_unfinished
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._by_id: dict[str, Job] = {}
        self._primes: dict[Range, Job] = {}
        self._counts: dict[Range, Job] = {}
        # Finished jobs in the order they finished: the first is the first to expire.
        self._finished: OrderedDict[str, Job] = OrderedDict()
        self._forgotten: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0

    def _by_range(self, kind: Kind) -> dict[Range, Job]:
        return self._counts if kind is Kind.COUNT else self._primes

    def find(self, range_: Range, kind: Kind = Kind.PRIMES) -> Job | None:
        """The job for this range, unless it ended without a result: that one starts anew."""
        job = self._by_range(kind).get(range_)
        if job is None:
            return None
        if time.monotonic() >= job.known_until_s:
            self._forget(job)
            return None
        if job.finished_s is not None and job.state is not State.SUCCEEDED:
            return None
        return job

    def get(self, job_id: str) -> Job:
        """The job with this id. Raises `UnknownJob`, or `JobGone` if there was one."""
        job = self._by_id.get(job_id)
        if job is None:
            raise JobGone(job_id) if job_id in self._forgotten else UnknownJob(job_id)
        if time.monotonic() >= job.known_until_s:
            self._forget(job)
            raise JobGone(job_id)
        return job

    def check_size(self, plan: Plan) -> None:
        """Raise `RangeNotAllowed` if a job for the plan could never be kept.

        Before it is made: the pieces of the whole line would take all memory.
        """
        pieces = len(plan.indices)
        if job_bytes(pieces) + WORKING_BYTES > self._max_bytes:
            raise RangeNotAllowed(
                f"the range {plan.range} has {pieces} pieces, too many to keep account of in "
                f"{self._max_bytes} bytes; ask for parts of it, or raise max_job_bytes",
                limit=self._max_bytes,
            )

    def add(self, job: Job) -> None:
        """Keep a new job, in place of an earlier one with its range.

        Raises `ServiceFull` if there is no room and no finished job to forget.
        """
        earlier = self._by_range(job.kind).get(job.range)
        if earlier is not None:
            self._forget(earlier)
        self.forget_expired()
        self._check_room(job)
        while len(self._by_id) >= self._max_jobs or self._over(job.size_bytes):
            self._forget(next(iter(self._finished.values())))
        self._by_id[job.id] = self._by_range(job.kind)[job.range] = job
        self._forgotten.pop(job.id, None)
        self._bytes += job.size_bytes

    def _over(self, more_bytes: int) -> bool:
        return self._bytes + more_bytes > self._max_bytes

    def _check_room(self, job: Job) -> None:
        """Raise `ServiceFull` if there is no room even when all finished jobs go.

        Before any of them goes: a job that is refused is to cost nobody a result.
        """
        most = min(self._max_unfinished, self._max_jobs)
        if self.unfinished >= most:
            raise ServiceFull("too many unfinished jobs", limit=most, retry_after_s=RETRY_S)
        if self._over(job.size_bytes) and self._over(
            job.size_bytes - sum(finished.size_bytes for finished in self._finished.values())
        ):
            raise ServiceFull(
                "the unfinished jobs take too many bytes",
                limit=self._max_bytes,
                retry_after_s=RETRY_S,
            )

    def charge(self, job: Job, more_bytes: int) -> None:
        """Note that a job takes so much more memory."""
        job.extra_bytes += more_bytes
        if self._by_id.get(job.id) is job:
            self._bytes += more_bytes

    def note_end(self, job: Job) -> None:
        """Note that a job is finished: from now on it may be forgotten."""
        if self._by_id.get(job.id) is job:
            self._bytes -= job.working_bytes
            job.working_bytes = 0
            if job.known_until_s == math.inf:
                job.known_until_s = time.monotonic() + self._ttl_s
            self._finished[job.id] = job

    def forget(self, job: Job) -> None:
        """Forget a finished job now. Nothing if it is forgotten already."""
        if self._by_id.get(job.id) is job:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        del self._by_id[job.id], self._by_range(job.kind)[job.range]
        self._finished.pop(job.id, None)
        self._bytes -= job.size_bytes
        if self._on_forget is not None:
            self._on_forget(job)
        self._forgotten[job.id] = None
        if len(self._forgotten) > REMEMBERED:
            self._forgotten.popitem(last=False)

    def forget_expired(self) -> None:
        """Forget the finished jobs whose time is over."""
        now = time.monotonic()
        while self._finished and next(iter(self._finished.values())).known_until_s <= now:
            self._forget(next(iter(self._finished.values())))

    @property
    def current_bytes(self) -> int:
        """About how much memory the jobs take."""
        return self._bytes

    def knows(self, job: Job) -> bool:
        """Whether the job is in the table."""
        return self._by_id.get(job.id) is job

    @property
    def unfinished(self) -> int:
        """How many jobs are unfinished."""
        return len(self._by_id) - len(self._finished)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __repr__(self) -> str:
        return f"<JobTable {len(self)} jobs, {len(self._finished)} of them finished>"
