"""How the memory of a service is shared out: everything that grows has a part, and stays in it.

| part      | what it holds                        | when it is full                        |
|-----------|--------------------------------------|----------------------------------------|
| processes | the program and its workers          | does not grow                          |
| sockets   | connections                          | the one idle longest goes, then 503    |
| summaries | counts and digits of pieces          | those used least recently go           |
| cache     | packed primes                        | those used least recently go           |
| jobs      | what is known of jobs                | finished ones go, then 503             |
| buffers   | results on their way to clients      | downloads take small steps, then 503   |
| calls     | what workers need for wide pieces    | calls wait until others have ended     |

High on the line a sieve of 2^28 numbers takes up to 190 MB more than any
other call: as many of those run at a time as fit, and one always does.
"""

from dataclasses import dataclass
from typing import Final, Self

from primesvc.errors import InvalidSetting
from primesvc.settings import Settings
from primesvc.sieve.cost import WIDEST_CALL_BYTES

MIB: Final = 2**20

PROGRAM_BYTES: Final = 96 * MIB
"""The server, its fork server and resource tracker, 75 MB after some hours of use."""

CONNECTION_BYTES: Final = 16 * 2**10
"""A connection: 9 KB while it is idle, 15 KB in the middle of a long head."""

WORKER_BYTES: Final = 64 * MIB
"""A worker process: 30 MB when it starts, 62 MB with what it keeps of the largest calls
(PSS, CPython 3.11, NumPy 2.4, glibc)."""

SUMMARY_BYTES: Final = 16 * MIB
"""The summaries of two million pieces, which is 10^14 numbers above 2^36."""

MOST_CACHE_BYTES: Final = 256 * MIB
"""The cache, unless more is asked for: the primes up to 5 * 10^9."""

MOST_JOB_BYTES: Final = 64 * MIB

_LEAST_CACHE_BYTES: Final = 16 * MIB
_LEAST_JOB_BYTES: Final = 8 * MIB
_LEAST_BUFFER_BYTES: Final = 48 * MIB

SHARED_PART: Final = 3
"""One part in so many of the buffers is memory shared with the workers, which stays taken."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The parts that grow, in bytes at the most; together with the fixed ones `total_bytes`."""

    total_bytes: int
    cache_bytes: int
    job_bytes: int
    buffer_bytes: int
    call_bytes: int

    @classmethod
    def of(cls, settings: Settings, *, processes: int, usable_bytes: int) -> Self:
        """Share out the memory that the settings allow, of `usable_bytes` that there are.

        `processes` are the workers. Raises `InvalidSetting` for settings that
        do not fit. Without `memory_bytes` set it is half of what there is,
        or the least that will do, if that is more.
        """
        fixed = PROGRAM_BYTES + WORKER_BYTES * processes + SUMMARY_BYTES + WIDEST_CALL_BYTES
        fixed += CONNECTION_BYTES * settings.max_connections
        least = fixed + _LEAST_BUFFER_BYTES
        least += settings.cache_bytes or _LEAST_CACHE_BYTES
        least += settings.max_job_bytes or _LEAST_JOB_BYTES
        total = settings.memory_bytes or max(usable_bytes // 2, least)
        if total < least:
            raise InvalidSetting(
                "memory_bytes",
                f"{_mib(total)} do not suffice: {processes} processes of "
                f"{_mib(WORKER_BYTES)}, the cache and the rest need {_mib(least)} at the least; "
                "allow more, or ask for fewer workers or a smaller cache",
            )
        spare = total - least
        cache = settings.cache_bytes or min(_LEAST_CACHE_BYTES + spare // 4, MOST_CACHE_BYTES)
        jobs = settings.max_job_bytes or min(_LEAST_JOB_BYTES + spare // 8, MOST_JOB_BYTES)
        rest = total - fixed - cache - jobs
        buffers = _LEAST_BUFFER_BYTES + (rest - _LEAST_BUFFER_BYTES) // 2
        return cls(total, cache, jobs, buffers, WIDEST_CALL_BYTES + rest - buffers)


def _mib(size: int) -> str:
    return f"{-(-size // MIB)} MiB"
