"""The jobs the service knows, bounded in number, in memory and, once finished, in time."""

import time
from collections import OrderedDict
from collections.abc import Iterator

from primesvc.errors import ServiceFull, UnknownJob
from primesvc.jobs.job import Job, State
from primesvc.sieve.range import Range


class JobTable:
    """Jobs by id and by range; forgets the oldest finished ones first.

    At most `max_jobs` jobs and `max_bytes` of memory together, finished ones
    for `ttl_s` seconds. An unfinished job is never forgotten: when the table
    is full of them, `ServiceFull` is raised.
    """

    def __init__(self, *, max_jobs: int, max_bytes: int, ttl_s: float) -> None:
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._by_id: dict[str, Job] = {}
        self._by_range: dict[Range, Job] = {}
        # Finished jobs in the order they finished: the first is the first to expire.
        self._finished: OrderedDict[str, Job] = OrderedDict()
        self._bytes = 0

    def find(self, range_: Range) -> Job | None:
        """The job for this range, unless it ended without a result: that one starts anew."""
        job = self._by_range.get(range_)
        if job is None:
            return None
        if time.monotonic() >= job.known_until_s:
            self._forget(job)
            return None
        if job.finished_s is not None and job.state is not State.SUCCEEDED:
            return None
        return job

    def get(self, job_id: str) -> Job:
        """The job with this id. Raises `UnknownJob`."""
        job = self._by_id.get(job_id)
        if job is None:
            raise UnknownJob(job_id)
        if time.monotonic() >= job.known_until_s:
            self._forget(job)
            raise UnknownJob(job_id)
        return job

    def add(self, job: Job) -> None:
        """Keep a new job, in place of an earlier one with its range.

        Raises `ServiceFull` if there is no room and no finished job to forget.
        """
        earlier = self._by_range.get(job.range)
        if earlier is not None:
            self._forget(earlier)
        now = time.monotonic()
        while self._finished and (
            next(iter(self._finished.values())).known_until_s <= now
            or len(self._by_id) >= self._max_jobs
            or self._bytes + job.size_bytes > self._max_bytes
        ):
            self._forget(next(iter(self._finished.values())))
        if len(self._by_id) >= self._max_jobs:
            raise ServiceFull("too many unfinished jobs", limit=self._max_jobs, retry_after_s=1)
        if self._bytes + job.size_bytes > self._max_bytes:
            raise ServiceFull(
                "the unfinished jobs take too many bytes", limit=self._max_bytes, retry_after_s=1
            )
        self._by_id[job.id] = self._by_range[job.range] = job
        self._bytes += job.size_bytes

    def charge(self, job: Job, more_bytes: int) -> None:
        """Note that a job takes so much more memory."""
        job.extra_bytes += more_bytes
        if self._by_id.get(job.id) is job:
            self._bytes += more_bytes

    def finished(self, job: Job) -> None:
        """Note that a job is finished: from now on it may be forgotten."""
        if self._by_id.get(job.id) is job:
            job.known_until_s = time.monotonic() + self._ttl_s
            self._finished[job.id] = job

    def _forget(self, job: Job) -> None:
        del self._by_id[job.id], self._by_range[job.range]
        self._finished.pop(job.id, None)
        self._bytes -= job.size_bytes

    @property
    def current_bytes(self) -> int:
        """About how much memory the jobs take."""
        return self._bytes

    def __iter__(self) -> Iterator[Job]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __repr__(self) -> str:
        return f"<JobTable {len(self)} jobs, {len(self._finished)} of them finished>"
