"""PrimeClient: a service elsewhere, as if it were here."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from itertools import islice
from typing import Any, Final, Self, SupportsIndex

import aiohttp
import numpy as np
from numpy.typing import NDArray

from primesvc.client.documents import RemoteJob, read_facts
from primesvc.client.downloads import read_file, read_npy
from primesvc.client.events import watch
from primesvc.client.transport import Transport, shown
from primesvc.errors import ApiError, UnexpectedAnswer
from primesvc.numbers import MAX_NUMBERS, NumberFacts, whole
from primesvc.states import State

POLL_S: Final = 5.0
"""Seconds the service is asked to hold an answer back while a job runs, where no
event stream can be had: so old is what `on_progress` is told then."""

MAX_PAGE: Final = 1000
"""Jobs asked for at a time: the most that the service lists at once."""


class PrimeClient:
    """A client of one service; enter it with `async with`.

    `base_url` is the service's address, with the prefix it may be mounted
    under. `session` is an aiohttp session to use instead of one of our own
    (with a `UnixConnector`, a proxy, certificates ...); it stays open, and
    with it the client need not be entered. `token` is sent as a bearer token.

    A request that cannot be delivered, or is answered with 429, 502, 503 or
    504, is tried again up to `retries` times: after the answer's `Retry-After`
    if it has one of up to a minute, else after 0.1 s, 0.2 s ... All requests
    may safely come twice, for the id of a job follows from its range.
    `timeout_s` is how long the service may send nothing, `connect_timeout_s`
    how long a connection may take.

    Every method raises, of `primesvc.errors`, `ApiError` for what the service
    refuses, `ServerUnreachable` if there is no answer and `UnexpectedAnswer`
    for one that is not of this API; all three are a `RemoteError`. Numbers
    are exact up to 2^64 - 1. Raises `ValueError` for a `base_url` that is no
    http or https URL.
    """

    def __init__(
        self,
        base_url: str,
        *,
        session: aiohttp.ClientSession | None = None,
        token: str | None = None,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 10.0,
        retries: int = 4,
    ) -> None:
        self._transport = Transport(
            base_url,
            token=token,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            retries=retries,
        )
        self._transport.session = session
        self._own = session is None
        self._exit = AsyncExitStack()

    @property
    def url(self) -> str:
        """The address of the service, without the password it may hold."""
        return shown(self._transport.base)

    async def __aenter__(self) -> Self:
        if self._own and self._transport.session is None:
            session = aiohttp.ClientSession()
            self._transport.session = await self._exit.enter_async_context(session)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, unless they are those of a given session; may be called again."""
        if self._own:
            self._transport.session = None
        await self._exit.aclose()

    async def submit(
        self,
        start: int,
        end: int,
        kind: str = "primes",
        *,
        pattern: str | None = None,
        modulus: int | None = None,
        residue: int | None = None,
    ) -> RemoteJob:
        """The job for the closed range [start, end]: the one there is, or a new one.

        `kind` is `primes`, or `count` for how many there are alone. With `pattern`
        it is about the first primes of constellations, with `modulus` and `residue`
        about those of one residue class. Raises `ApiError` 400 or 422 for what is
        not allowed, 503 if the service stays full.
        """
        selection = {"pattern": pattern, "modulus": modulus, "residue": residue}
        return await self._submit({"start": start, "end": end, "kind": kind, **selection})

    async def submit_nth(self, n: int, start: int = 0) -> RemoteJob:
        """The job for the n-th prime above `start`, or for a negative n below it.

        Raises `ApiError` as `submit` does; 400 for an n of 0, 422 if there is no such prime.
        """
        return await self._submit({"n": n, "start": start, "kind": "nth"})

    async def submit_statistics(
        self, start: int, end: int, *, modulus: int = 10, bins: int = 500
    ) -> RemoteJob:
        """The job for the statistics of the closed range [start, end].

        Raises `ApiError` as `submit` does; 400 for other bins and moduli than there can be.
        """
        return await self._submit(
            {"start": start, "end": end, "modulus": modulus, "bins": bins, "kind": "statistics"}
        )

    async def _submit(self, body: dict[str, Any]) -> RemoteJob:
        return self._job(await self._transport.json("POST", "jobs", body=body))

    async def job(self, job_id: str) -> RemoteJob:
        """The job with this id. Raises `ApiError`: 404 for an unknown one, 410 for a former one."""
        return self._job(await self._transport.json("GET", "jobs", job_id))

    async def jobs(self, state: State | str | None = None) -> list[RemoteJob]:
        """The jobs the service knows, the newest first; only those in `state` if it is given."""
        params = {"limit": str(MAX_PAGE)} | ({} if state is None else {"state": str(state)})
        found: dict[str, RemoteJob] = {}
        offset = 0
        while True:
            page = await self._transport.json(
                "GET", "jobs", params=params | {"offset": str(offset)}
            )
            if not isinstance(page, dict) or not isinstance(page.get("jobs"), list):
                raise UnexpectedAnswer(shown(self._transport.url("jobs")), "no list of jobs")
            jobs = [self._job(document) for document in page["jobs"]]
            # One that ended meanwhile may be listed twice.
            found |= {job.id: job for job in jobs}
            offset += MAX_PAGE
            if len(jobs) < MAX_PAGE:
                return list(found.values())

    async def wait(
        self,
        job: RemoteJob | str,
        *,
        on_progress: Callable[[RemoteJob], object] | None = None,
    ) -> RemoteJob:
        """Wait until a job is finished, and return it as it is then.

        `on_progress` is called with the job whenever the service reports on it, about
        twice a second, and at its end. The job is watched through its event
        stream, which is taken up again where it broke, or by long polling.
        Raises `JobFailed` with the reason and `JobCancelled`, as `Job.wait` does.
        Cancelled, it leaves the job to go on.
        """
        known = await self.job(job) if isinstance(job, str) else job
        if not known.final:
            async with aclosing(self._follow(known.id)) as reports:
                async for known in reports:
                    if on_progress is not None:
                        on_progress(known)
        known.check()
        return known

    async def _follow(self, job_id: str) -> AsyncGenerator[RemoteJob, None]:
        """The job whenever something about it changes; the last time it is finished."""
        async with aclosing(watch(self._transport, job_id)) as told:
            async for job in told:
                yield job
                if job.final:
                    return
        wait_s = min(POLL_S, self._transport.timeout_s / 2)
        params = {"wait": f"{wait_s:.3f}"}
        while True:
            asked_s = time.monotonic()
            job = self._job(await self._transport.json("GET", "jobs", job_id, params=params))
            yield job
            if job.final:
                return
            # Something in between may answer at once.
            await asyncio.sleep(min(1.0, max(wait_s / 2 - (time.monotonic() - asked_s), 0)))

    async def count(
        self,
        start: int,
        end: int,
        *,
        pattern: str | None = None,
        modulus: int | None = None,
        residue: int | None = None,
    ) -> int:
        """How many primes, or constellations, the closed range [start, end] holds.

        Takes and raises what `submit` and `wait` do.
        """
        job = await self.submit(
            start, end, "count", pattern=pattern, modulus=modulus, residue=residue
        )
        return (await self.wait(job)).count

    async def number(self, number: int) -> NumberFacts:
        """Everything about a number: whether it is a prime, its factors, its neighbours.

        Raises `ApiError` 400 or 422 for one that is negative or above 2^64 - 1.
        """
        document = await self._transport.json("GET", "numbers", str(number))
        try:
            return read_facts(document)
        except (KeyError, TypeError, ValueError):
            raise UnexpectedAnswer(
                shown(self._transport.url("numbers")), "no document of a number"
            ) from None

    async def are_prime(self, numbers: Iterable[SupportsIndex | float]) -> list[bool]:
        """Whether each number is a prime, in their order; a request for every 100,000 of them.

        Raises `ApiError` 400 or 422 for one that is not from 0 to 2^64 - 1, and `InvalidParameter`
        or `TypeError` for what is no whole number.
        """
        rest = iter(numbers)
        verdicts: list[bool] = []
        while asked := [whole("numbers", number) for number in islice(rest, MAX_NUMBERS)]:
            verdicts += await self._are_prime(asked)
        return verdicts

    async def _are_prime(self, asked: list[int]) -> list[bool]:
        document = await self._transport.json("POST", "numbers", body={"numbers": asked})
        verdicts = document.get("prime") if isinstance(document, dict) else None
        if not isinstance(verdicts, list) or [type(v) for v in verdicts] != [bool] * len(asked):
            raise UnexpectedAnswer(shown(self._transport.url("numbers")), "no list of verdicts")
        return verdicts

    async def nth(self, n: int, start: int = 0) -> int:
        """The n-th prime above `start`, or for a negative n below it.

        Raises as `submit_nth` and `wait` do.
        """
        job = await self.wait(await self.submit_nth(n, start))
        if job.prime is None:
            raise UnexpectedAnswer(shown(self._transport.url("jobs")), "no prime")
        return job.prime

    async def statistics(
        self, start: int, end: int, *, modulus: int = 10, bins: int = 500
    ) -> Mapping[str, Any]:
        """The statistics of the primes of the closed range [start, end].

        How many lie in each of up to 2,000 bins, which gaps, residues by a modulus of up to
        10,000 and constellations there are, and how often: as the `result` of a job's
        document. Raises as `submit_statistics` and `wait` do.
        """
        job = await self.submit_statistics(start, end, modulus=modulus, bins=bins)
        job = await self.wait(job)
        if job.statistics is None:
            raise UnexpectedAnswer(shown(self._transport.url("jobs")), "no statistics")
        return job.statistics

    async def cancel(self, job: RemoteJob | str) -> RemoteJob:
        """Stop a job for everybody who waits for it.

        Raises `ApiError`: 404 or 410 without one, 409 if it ended otherwise.
        """
        return self._job(await self._transport.json("POST", "jobs", _id_of(job), "cancel"))

    async def delete(self, job: RemoteJob | str) -> None:
        """Make the service forget a job, cancelled if it is unfinished. Nothing if it did before.

        Raises `ApiError` 404 for an id without a job.
        """
        try:
            await self._transport.json("DELETE", "jobs", _id_of(job))
        except ApiError as error:
            # Gone: also if the answer to a first try was lost.
            if error.status != 410:
                raise

    async def primes(
        self, job: RemoteJob | str, *, offset: int | None = None, limit: int | None = None
    ) -> AsyncGenerator[NDArray[np.uint64], None]:
        """The primes of a job, ascending, as read-only uint64 arrays of any length but 0.

        All of them, or up to `limit` from the position `offset` on. It waits
        for the job first. Memory is constant whatever the range; after a
        broken connection it goes on where it was. Raises as `wait` does.
        """
        chunks = self.download(job, "npy", offset=offset, limit=limit)
        url = shown(self._transport.url("jobs", _id_of(job), "primes"))
        async with aclosing(read_npy(chunks, url)) as arrays:
            async for array in arrays:
                yield array

    async def download(
        self,
        job: RemoteJob | str,
        format: str = "json",  # noqa: A002 - the API's own word
        *,
        offset: int | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """The result of a job as a file, in chunks as they come from the network.

        `format` is `json`, `ndjson`, `text`, `csv`, `npy` or `arrow`. All the
        primes, or up to `limit` from the position `offset` on. It waits for
        the job first. After a broken connection it goes on where it was,
        also if the service was started anew or forgot the job meanwhile:
        then the range is submitted again. Raises as `wait` does.
        """
        done = await self.wait(job)

        async def restore() -> None:
            assert done.end is not None  # noqa: S101 - what has primes to read has a range
            again = self.submit(
                done.start, done.end, done.kind,
                pattern=done.pattern, modulus=done.modulus, residue=done.residue,
            )  # fmt: skip
            await self.wait(await again)

        params = {"format": format}
        if offset is not None:
            params["offset"] = str(offset)
        if limit is not None:
            params["limit"] = str(limit)
        async with aclosing(read_file(self._transport, done.id, params, restore=restore)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _job(self, document: Any) -> RemoteJob:
        try:
            return RemoteJob.read(document)
        except (KeyError, TypeError, ValueError):
            raise UnexpectedAnswer(
                shown(self._transport.url("jobs")), "no document of a job"
            ) from None

    def __repr__(self) -> str:
        state = "open" if self._transport.session is not None else "closed"
        return f"<PrimeClient {self.url} {state}>"


def _id_of(job: RemoteJob | str) -> str:
    return job if isinstance(job, str) else job.id
