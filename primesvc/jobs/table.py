"""The jobs the service knows, bounded in number, in memory and, once finished, in time."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from primesvc.errors import JobGone, ServiceFull, UnknownJob
from primesvc.jobs.job import Job
from primesvc.kinds.base import JOB_BYTES, WORKING_BYTES, Question
from primesvc.states import SUCCEEDED

REMEMBERED: Final = 10_000
"""Ids of forgotten jobs that are told from ids that never were: 1 MB."""

RETRY_S: Final = 1.0
"""Seconds after which a client may ask again when the table is full."""


class _Entry:
    """A job in the table, and what goes with it."""

    __slots__ = ("job", "kept", "known_until_s", "size_bytes", "working_bytes")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.working_bytes = 0 if job.state.final else WORKING_BYTES
        self.size_bytes = job_bytes(job) + self.working_bytes
        self.known_until_s = math.inf
        """When the job is forgotten, on `time.monotonic`; set when it is finished."""
        self.kept: dict[str, bytes] = {}
        """See `JobTable.keep`."""


def job_bytes(job: Job) -> int:
    """About how much memory a finished job takes by itself."""
    return JOB_BYTES + job.work.size_bytes


class JobTable:
    """Jobs by id; forgets the oldest finished ones first.

    At most `max_jobs` jobs and `max_bytes` of memory together, finished ones
    for `ttl_s` seconds; at most `max_unfinished` of them unfinished (None: no
    bound but `max_jobs`). An unfinished job is never forgotten: when there
    are too many of them, `ServiceFull` is raised. `on_forget` is told the id of
    every job that is forgotten.
    """

    def __init__(
        self,
        *,
        max_jobs: int,
        max_bytes: int,
        ttl_s: float,
        max_unfinished: int | None = None,
        on_forget: Callable[[str], None] | None = None,
    ) -> None:
        self.ttl_s = ttl_s
        self._on_forget = on_forget
        self._max_jobs = max_jobs
        self._max_unfinished = max_jobs if max_unfinished is None else max_unfinished
        self._max_bytes = max_bytes
        self._by_id: dict[str, _Entry] = {}
        # Finished jobs in the order they finished: the first is the first to expire.
        self._finished: OrderedDict[str, _Entry] = OrderedDict()
        self._forgotten: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0

    def find(self, question: Question) -> Job | None:
        """The job for a question, unless it ended without a result: that one starts anew."""
        entry = self._by_id.get(question.job_id)
        if entry is None:
            return None
        if time.monotonic() >= entry.known_until_s:
            self._forget(entry)
            return None
        job = entry.job
        if job.finished_s is not None and job.state is not SUCCEEDED:
            return None
        return job

    def get(self, job_id: str) -> Job:
        """The job with this id. Raises `UnknownJob`, or `JobGone` if there was one."""
        entry = self._by_id.get(job_id)
        if entry is None:
            raise JobGone(job_id) if job_id in self._forgotten else UnknownJob(job_id)
        if time.monotonic() >= entry.known_until_s:
            self._forget(entry)
            raise JobGone(job_id)
        return entry.job

    def add(self, job: Job) -> None:
        """Keep a new job, in place of an earlier one with its question.

        Raises `ServiceFull` if there is no room and no finished job to forget.
        """
        earlier = self._by_id.get(job.id)
        if earlier is not None:
            self._forget(earlier)
        self.forget_expired()
        entry = _Entry(job)
        self._check_room(entry.size_bytes)
        while len(self._by_id) >= self._max_jobs or self._over(entry.size_bytes):
            self._forget(next(iter(self._finished.values())))
        self._by_id[job.id] = entry
        self._forgotten.pop(job.id, None)
        self._bytes += entry.size_bytes

    def _over(self, more_bytes: int) -> bool:
        return self._bytes + more_bytes > self._max_bytes

    def _check_room(self, more_bytes: int) -> None:
        """Raise `ServiceFull` if there is no room even when all finished jobs go.

        Before any of them goes: a job that is refused is to cost nobody a result.
        """
        most = min(self._max_unfinished, self._max_jobs)
        if self.unfinished >= most:
            raise ServiceFull("too many unfinished jobs", limit=most, retry_after_s=RETRY_S)
        if self._over(more_bytes) and self._over(
            more_bytes - sum(finished.size_bytes for finished in self._finished.values())
        ):
            raise ServiceFull(
                "the unfinished jobs take too many bytes",
                limit=self._max_bytes,
                retry_after_s=RETRY_S,
            )

    def keep(self, job: Job, name: str, data: bytes) -> None:
        """Keep what was made of a job's result as long as the job, and count its memory.

        Nothing if the job is forgotten, or something is kept by this name.
        """
        entry = self._by_id.get(job.id)
        if entry is not None and entry.job is job and name not in entry.kept:
            entry.kept[name] = data
            self._grow(entry, len(data))

    def kept(self, job: Job, name: str) -> bytes | None:
        """What is kept with a job by this name."""
        entry = self._by_id.get(job.id)
        return entry.kept.get(name) if entry is not None and entry.job is job else None

    def note_end(self, job: Job, *, left_s: float | None = None) -> None:
        """Note that a job is finished: from now on it may be forgotten, in `left_s` at the latest.

        By default after the table's time. May be told again.
        """
        entry = self._by_id.get(job.id)
        if entry is None or entry.job is not job or job.id in self._finished:
            return
        self._grow(entry, -entry.working_bytes)
        entry.known_until_s = time.monotonic() + (self.ttl_s if left_s is None else left_s)
        self._finished[job.id] = entry

    def _grow(self, entry: _Entry, more_bytes: int) -> None:
        entry.size_bytes += more_bytes
        self._bytes += more_bytes

    def forget(self, job: Job) -> None:
        """Forget a finished job now. Nothing if it is forgotten already."""
        entry = self._by_id.get(job.id)
        if entry is not None and entry.job is job:
            self._forget(entry)

    def _forget(self, entry: _Entry) -> None:
        job = entry.job
        del self._by_id[job.id]
        self._finished.pop(job.id, None)
        self._bytes -= entry.size_bytes
        if self._on_forget is not None:
            self._on_forget(job.id)
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

    @property
    def unfinished(self) -> int:
        """How many jobs are unfinished."""
        return len(self._by_id) - len(self._finished)

    def __iter__(self) -> Iterator[Job]:
        return (entry.job for entry in self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __repr__(self) -> str:
        return f"<JobTable {len(self)} jobs, {len(self._finished)} of them finished>"
