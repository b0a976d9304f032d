"""A service in this process, asked without HTTP."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final, Self

from primesvc.asking.asker import Asker, Found
from primesvc.asking.progress import Progress, Stage
from primesvc.formats.base import Format, total_bytes
from primesvc.formats.catalog import FORMATS
from primesvc.jobs.job import Job
from primesvc.kinds.count import Count
from primesvc.kinds.nth import Nth
from primesvc.kinds.primes import Primes
from primesvc.kinds.statistics import Statistics
from primesvc.numbers import MAX_NUMBERS, NumberFacts
from primesvc.results.growing import GrowingFile, grows
from primesvc.service import PrimeService
from primesvc.settings import Settings
from primesvc.sieve.estimate import estimate
from primesvc.sieve.range import Range
from primesvc.sieve.selection import Selection

_LOOK_S: Final = 0.05
"""Seconds between two looks at a job that runs."""


class LocalService(Asker):
    """Asks a `PrimeService` of its own."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._service = PrimeService(settings)
        self._progress = progress

    async def __aenter__(self) -> Self:
        await self._service.__aenter__()
        return self

    async def close(self) -> None:
        """Close the service."""
        await self._service.close()

    async def count(self, range_: Range, selection: Selection) -> int:
        """How many such primes the range holds. Raises as `PrimeService.count` does."""
        job = await self._service.submit(Count(range_, selection))
        await self._finish(job, range_)
        return job.count

    async def number(self, number: int) -> NumberFacts:
        """Everything about a number. Raises as `PrimeService.number` does."""
        return await self._service.number(number)

    async def are_prime(self, numbers: list[int]) -> list[bool]:
        """Whether each is a prime. Raises as `PrimeService.are_prime` does."""
        verdicts: list[bool] = []
        for at in range(0, len(numbers), MAX_NUMBERS):
            verdicts += await self._service.are_prime(numbers[at : at + MAX_NUMBERS])
        return verdicts

    async def nth(self, n: int, start: int) -> int:
        """The n-th prime above `start`. Raises as `PrimeService.nth` does."""
        job = await self._service.submit(Nth(n, start))
        await self._finish(job)
        return await self._service.nth(n, start)

    async def find(self, range_: Range, selection: Selection) -> Found:
        """Such primes of the range. Raises as `PrimeService.submit` and `Job.check` do."""
        job = await self._service.submit(Primes(range_, selection))
        await self._finish(job, range_)
        return Found(job.count, self._service.primes(job))

    async def statistics(self, range_: Range, modulus: int, bins: int) -> Mapping[str, Any]:
        """The statistics of the range. Raises as `PrimeService.statistics` does."""
        job = await self._service.submit(Statistics(range_, modulus, bins))
        await self._finish(job, range_)
        return await self._service.statistics(range_, modulus=modulus, bins=bins)

    async def _finish(self, job: Job, range_: Range | None = None) -> None:
        try:
            while not await job.ends_within(_LOOK_S):
                self._progress.show_share(job.progress, range_)
        except asyncio.CancelledError:
            self._service.cancel(job)
            raise
        job.check()

    async def read(
        self, range_: Range, selection: Selection, format_name: str
    ) -> AsyncGenerator[bytes, None]:
        """Such primes of the range as a file, in parts, at constant memory.

        What the job has finished is written while it runs on, so the first
        primes of a range of any length come at once. Closed early, it cancels the job.
        """
        job = await self._service.submit(Primes(range_, selection))
        try:
            async with aclosing(self._read(job, range_, selection, FORMATS[format_name])) as parts:
                async for part in parts:
                    yield part
        finally:
            self._service.cancel(job)  # nothing if it is finished

    async def _read(
        self, job: Job, range_: Range, selection: Selection, format_: Format
    ) -> AsyncGenerator[bytes, None]:
        if not grows(job.collected.plan, format_):
            await self._finish(job, range_)
        file = GrowingFile(job.collected, format_)
        total = total_bytes(format_, estimate(range_, selection))
        written = 0
        while True:
            # Asked first: all that is known of a finished job stays as it is.
            finished = job.state.final
            if finished:
                job.check()
            layout = file.next(finished=finished)
            if layout is not None:
                if finished:
                    total = written + layout.length
                async with aclosing(self._service.read(layout, 0, layout.length)) as parts:
                    async for part in parts:
                        written += part.raw_bytes
                        yield bytes(part.view)
                        self._progress.show(Stage.WRITING, written, total)
            if finished:
                return
            await job.ends_within(_LOOK_S)

    def __str__(self) -> str:
        return "to a service of its own"
