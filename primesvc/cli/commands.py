"""The commands that do one thing and end, such as primes, count and cancel."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from primesvc.cli.exits import Exit, complain
from primesvc.cli.output import CannotWrite, Output, explained, progress_fits
from primesvc.cli.parser import LOCAL_SETTINGS, local_settings, misplaced
from primesvc.cli.progress import Bar, on_terminal
from primesvc.cli.statistics import summary
from primesvc.errors import (
    ApiError,
    EngineUnavailable,
    InvalidParameter,
    InvalidSetting,
    PrimesvcError,
    RangeNotAllowed,
)
from primesvc.numbers import NumberFacts
from primesvc.sieve.range import Range
from primesvc.sieve.selection import Selection

if TYPE_CHECKING:
    from primesvc.asking.asker import Asker
    from primesvc.client.client import PrimeClient

_BINARY: Final = ("npy", "arrow")
"""Formats that are not for screens."""


class UsageError(Exception):
    """Arguments that do not go together."""


def run(options: argparse.Namespace) -> Exit:
    """Run the command that the options name."""
    command = _COMMANDS[options.command]
    try:
        with asyncio.Runner() as runner:
            return runner.run(_stoppable(command(options)))
    except asyncio.CancelledError:
        return Exit.TERMINATED
    except (
        UsageError, InvalidParameter, RangeNotAllowed, InvalidSetting, EngineUnavailable
    ) as error:  # fmt: skip
        return complain(error, Exit.USAGE)
    except ApiError as error:
        return complain(error, Exit.USAGE if error.status in (400, 422) else Exit.FAILED)
    except BrokenPipeError:
        raise  # that is no failure
    except (PrimesvcError, CannotWrite, OSError) as error:
        return complain(error, Exit.FAILED)


async def _stoppable(work: Awaitable[Exit]) -> Exit:
    """The work, cancelled by SIGTERM; by SIGINT it is anyway."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a runner runs tasks
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


async def _primes(options: argparse.Namespace) -> Exit:
    range_, selection = Range(options.start, options.end), _selection(options)
    path = None if options.output in (None, "-") else Path(options.output)
    async with Output(path) as output:
        if output.terminal and options.format in _BINARY:
            raise UsageError(f"{options.format} is not for terminals: use -o FILE, or a pipe")
        progress = _progress(options, fits=progress_fits(output))
        with contextlib.closing(progress):
            async with (
                _service(options, progress) as service,
                aclosing(service.read(range_, selection, options.format)) as parts,
            ):
                async for part in parts:
                    await output.write(part)
    return Exit.OK


async def _count(options: argparse.Namespace) -> Exit:
    range_, selection = Range(options.start, options.end), _selection(options)
    progress = _progress(options, fits=on_terminal())
    with contextlib.closing(progress):
        async with _service(options, progress) as service:
            count = await service.count(range_, selection)
    _say(str(count))
    return Exit.OK


def _selection(options: argparse.Namespace) -> Selection:
    modulus, residue = options.modulus, options.residue
    if (modulus is None) != (residue is None):
        raise UsageError("--modulus and --residue go together; give both")
    if modulus is None:
        return Selection(options.pattern or "")
    return Selection(options.pattern or "", modulus, residue)


async def _nth(options: argparse.Namespace) -> Exit:
    progress = _progress(options, fits=on_terminal())
    with contextlib.closing(progress):
        async with _service(options, progress) as service:
            prime = await service.nth(options.n, options.start)
    _say(str(prime))
    return Exit.OK


async def _statistics(options: argparse.Namespace) -> Exit:
    range_ = Range(options.start, options.end)
    progress = _progress(options, fits=on_terminal())
    with contextlib.closing(progress):
        async with _service(options, progress) as service:
            found = await service.statistics(range_, options.modulus, options.bins)
    for line in [json.dumps(found)] if options.json else summary(range_, found):
        _say(line)
    return Exit.OK


async def _is_prime(options: argparse.Namespace) -> Exit:
    async with _service(options, Bar(shown=False)) as service:
        verdicts = await service.are_prime(options.numbers)
    for number, prime in zip(options.numbers, verdicts, strict=True):
        _say(f"{number} is {'' if prime else 'not '}prime")
    return Exit.OK if all(verdicts) else Exit.FAILED


async def _next(options: argparse.Namespace) -> Exit:
    facts = await _facts(options)
    if facts.next is None:
        return complain(f"there is no prime above {facts.number} below 2^64", Exit.FAILED)
    _say(str(facts.next))
    return Exit.OK


async def _prev(options: argparse.Namespace) -> Exit:
    facts = await _facts(options)
    if facts.previous is None:
        return complain(f"there is no prime below {facts.number}", Exit.FAILED)
    _say(str(facts.previous))
    return Exit.OK


async def _factor(options: argparse.Namespace) -> Exit:
    facts = await _facts(options)
    # As coreutils' `factor` writes them.
    primes = [str(prime) for prime, power in facts.factors for _ in range(power)]
    _say(" ".join([f"{facts.number}:", *primes]))
    return Exit.OK


async def _number(options: argparse.Namespace) -> Exit:
    facts = await _facts(options)
    factors = [str(p) if power == 1 else f"{p}^{power}" for p, power in facts.factors]
    _say(f"number    {facts.number}")
    _say(f"is prime  {'yes' if facts.is_prime else 'no'}")
    _say(f"factors   {' * '.join(factors) or 'none'}")
    _say(f"previous  {facts.previous or 'none'}")
    _say(f"next      {facts.next or 'none below 2^64'}")
    unknown = f"not counted: primesvc count 0 {facts.number}"
    _say(f"index     {unknown if facts.index is None else facts.index}")
    return Exit.OK


async def _facts(options: argparse.Namespace) -> NumberFacts:
    async with _service(options, Bar(shown=False)) as service:
        return await service.number(options.number)


async def _jobs(options: argparse.Namespace) -> Exit:
    async with _client(options) as client:
        jobs = await client.jobs(options.state)
    rows = [("ID", "STATE", "KIND", "START", "END", "DONE", "PRIMES")]
    rows += [
        (
            job.id, job.state, job.kind, str(job.start), "" if job.end is None else str(job.end),
            f"{job.progress:.0%}", "" if job.end is None else str(job.count),
        )
        for job in jobs
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _say("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return Exit.OK


async def _cancel(options: argparse.Namespace) -> Exit:
    async with _client(options) as client:
        job = await client.cancel(options.id)
    _say(f"cancelled {job.id}")
    return Exit.OK


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], Awaitable[Exit]]]] = {
    "primes": _primes,
    "count": _count,
    "nth": _nth,
    "statistics": _statistics,
    "is-prime": _is_prime,
    "next": _next,
    "prev": _prev,
    "factor": _factor,
    "number": _number,
    "jobs": _jobs,
    "cancel": _cancel,
}


def _say(what: str) -> None:
    with explained("standard output"):
        print(what)  # noqa: T201 - the command line's own voice


def _progress(options: argparse.Namespace, *, fits: bool) -> Bar:
    return Bar(shown=fits if options.progress is None else options.progress)


def _service(options: argparse.Namespace, progress: Bar) -> "Asker":
    """What does the work: a service that runs, if one is named, or this process."""
    server = _server(options)
    _check_flags(options, [] if server else LOCAL_SETTINGS)
    # Imported here, both: the one needs no workers, the other no HTTP.
    if server:
        from primesvc.asking.remote import RemoteService

        return RemoteService(_open_client(options, server), progress)
    from primesvc.asking.local import LocalService

    return LocalService(local_settings(options), progress)


def _client(options: argparse.Namespace) -> "PrimeClient":
    server = _server(options)
    _check_flags(options, [])
    if not server:
        raise UsageError(
            f"{options.command}: only a running service has jobs; "
            "say which one with --server URL or PRIMESVC_SERVER"
        )
    return _open_client(options, server)


def _server(options: argparse.Namespace) -> str:
    return str(options.server or os.environ.get("PRIMESVC_SERVER", "")).strip()


def _check_flags(options: argparse.Namespace, allowed: "tuple[str, ...] | list[str]") -> None:
    name = misplaced(options, [*allowed, "token"])
    if name is None:
        return
    flag = f"--{name.replace('_', '-')}"
    if name in LOCAL_SETTINGS and options.command not in ("jobs", "cancel"):
        raise UsageError(f"{flag} is for work done here, but --server has it done elsewhere")
    raise UsageError(f"{flag} is for serving, not for {options.command}")


def _open_client(options: argparse.Namespace, server: str) -> "PrimeClient":
    from primesvc.client.client import PrimeClient  # see _service

    token = getattr(options, "token", None) or os.environ.get("PRIMESVC_TOKEN") or None
    try:
        return PrimeClient(server, token=token)
    except ValueError as error:
        raise UsageError(f"--server: {error}") from None
