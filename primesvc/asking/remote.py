"""A service that runs elsewhere, asked through its client."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from primesvc.asking.asker import Asker, Found
from primesvc.asking.progress import Progress, Stage
from primesvc.client.client import PrimeClient
from primesvc.client.documents import RemoteJob
from primesvc.errors import ApiError, PrimesvcError, UnexpectedAnswer
from primesvc.formats.base import total_bytes
from primesvc.formats.catalog import FORMATS
from primesvc.numbers import NumberFacts
from primesvc.sieve.estimate import estimate
from primesvc.sieve.range import Range
from primesvc.sieve.selection import Selection

_CANCEL_S: Final = 5.0
"""Seconds that a cancelled question waits at the most until the service has cancelled the job."""


class RemoteService(Asker):
    """Asks through a `PrimeClient`, which it enters and closes."""

    def __init__(self, client: PrimeClient, progress: Progress) -> None:
        self._client = client
        self._progress = progress

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def count(self, range_: Range, selection: Selection) -> int:
        """How many such primes the range holds. Raises as `PrimeClient.count` does."""
        submitting = self.submit(range_, selection, "count")
        return (await self._finish(submitting, range_)).count

    async def nth(self, n: int, start: int) -> int:
        """The n-th prime above `start`. Raises as `PrimeClient.nth` does."""
        await self._finish(self._client.submit_nth(n, start))
        return await self._client.nth(n, start)

    async def find(self, range_: Range, selection: Selection) -> Found:
        """Such primes of the range. Raises as `PrimeClient.submit` and `wait` do."""
        job = await self._finish(self.submit(range_, selection, "primes"), range_)
        return Found(job.count, self._counted(job))

    async def _counted(self, job: RemoteJob) -> AsyncGenerator[NDArray[np.uint64], None]:
        """The primes of a finished job: as many as it counted, or `UnexpectedAnswer`."""
        count = 0
        async with aclosing(self._client.primes(job)) as arrays:
            async for array in arrays:
                count += len(array)
                if count > job.count:
                    break
                yield array
        if count != job.count:
            said = f"{'more' if count > job.count else 'fewer'} primes than the job counts"
            raise UnexpectedAnswer(self._client.url, said)

    async def statistics(self, range_: Range, modulus: int, bins: int) -> Mapping[str, Any]:
        """The statistics of the range. Raises as `PrimeClient.statistics` does."""
        asked = self._client.submit_statistics(range_.start, range_.end, modulus=modulus, bins=bins)
        await self._finish(asked, range_)
        return await self._client.statistics(range_.start, range_.end, modulus=modulus, bins=bins)

    async def read(
        self, range_: Range, selection: Selection, format_name: str
    ) -> AsyncGenerator[bytes, None]:
        """Such primes of the range as a file, in parts. Raises as `PrimeClient.download` does."""
        job = await self._finish(self.submit(range_, selection, "primes"), range_)
        expected = total_bytes(FORMATS[format_name], estimate(range_, selection))
        at = 0
        async with aclosing(self._client.download(job, format_name)) as chunks:
            async for chunk in chunks:
                at += len(chunk)
                yield chunk
                self._progress.show(Stage.WRITING, at, expected)

    async def number(self, number: int) -> NumberFacts:
        """Everything about a number. Raises as `PrimeClient.number` does."""
        return await self._client.number(number)

    async def are_prime(self, numbers: list[int]) -> list[bool]:
        """Whether each is a prime. Raises as `PrimeClient.are_prime` does."""
        return await self._client.are_prime(numbers)

    async def submit(self, range_: Range, selection: Selection, kind: str) -> RemoteJob:
        """The job for the range, which goes on by itself. Raises as `PrimeClient.submit` does."""
        selected: dict[str, Any] = selection.parameters
        return await self._client.submit(range_.start, range_.end, kind, **selected)

    async def _finish(
        self, submission: Coroutine[Any, Any, RemoteJob], range_: Range | None = None
    ) -> RemoteJob:
        def show(job: RemoteJob) -> None:
            self._progress.show_share(job.progress, range_)

        submitting = asyncio.ensure_future(submission)
        try:
            # Shielded: a job whose id did not come back could not be cancelled.
            job = await asyncio.shield(submitting)
            return await self._client.wait(job, on_progress=show)
        except asyncio.CancelledError:
            await self._cancel(submitting)
            raise

    async def _cancel(self, submitting: "asyncio.Future[RemoteJob]") -> None:
        try:
            async with asyncio.timeout(_CANCEL_S):
                await self._client.cancel(await submitting)
        except (PrimesvcError, TimeoutError) as error:
            if not (isinstance(error, ApiError) and error.status == 409):  # it is finished
                self._progress.warn(f"the job may go on there: {error or 'no answer'}")

    def __str__(self) -> str:
        return f"to {self._client.url}"
