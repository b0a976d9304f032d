"""Every setting, once: name, default, unit, help, and how its text is read.

The flags of the command line, the `PRIMESVC_*` variables and the README's
table all come from the fields of `Settings`.
"""

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

from primesvc.errors import InvalidSetting
from primesvc.numbers import read_whole_number
from primesvc.sieve.engine import ENGINE_CHOICES

_UNITS: Final = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}

_LARGEST: Final = 2**64
"""No setting is larger: that would be more than any machine has, or a wait without an end."""


def _address(text: str) -> str:
    text = text.strip()
    if not text:  # to the system that would be every address there is
        raise ValueError(text)
    return text


def _whole(text: str) -> int:
    return int(text.strip())


def _bytes(text: str) -> int:
    """A size in bytes, also with a unit: `256M`, `256MiB`, `1g`."""
    text = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = _UNITS.get(text[-1:], 1)
    return int(float(text[:-1]) * unit) if unit > 1 else int(text)


def _seconds(text: str) -> float:
    seconds = float(text.strip())
    if not math.isfinite(seconds):  # every wait ends
        raise ValueError(text)
    return seconds


def _switch(text: str) -> bool:
    value = text.strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("", "0", "false", "no", "off"):
        return False
    raise ValueError(text)


class Names(tuple[str, ...]):
    """Several names, written with commas between."""

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(self)


def _names(text: str) -> Names:
    return Names(name for part in text.lower().split(",") if (name := part.strip()))


def _hosts(text: str) -> Names:
    """Names or addresses of hosts, without ports, or `*`."""
    hosts = _names(text)
    for host in hosts:
        if host != "*" and not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", host):
            ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]"))
    return Names(host.strip("[]") for host in hosts)


def _origins(text: str) -> Names:
    """Origins as browsers write them, `https://host` or `https://host:port`, or `*`."""
    origins = _names(text)
    if not all(re.fullmatch(r"\*|https?://[^\s/?#@]+", origin) for origin in origins):
        raise ValueError(text)
    return origins


def _token(text: str) -> str:
    """A secret that fits a header; an empty one would be none, against all intention."""
    if not re.fullmatch(r"[\x21-\x7e]+", text.strip()):
        raise ValueError(text)
    return text.strip()


def _setting(
    default: Any,
    read: Callable[[str], Any],
    unit: str,
    help_: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] | None = None,
    secret: bool = False,
) -> Any:
    metadata = {
        "read": read, "unit": unit, "help": help_, "least": least, "most": most,
        "choices": choices, "secret": secret,
    }  # fmt: skip
    return field(default=default, metadata=metadata, repr=not secret)


def _check(item: "Field[Any]", value: Any, source: str) -> None:
    """Raise `InvalidSetting`, naming the source, if the value is out of its bounds."""
    least, most = item.metadata["least"], item.metadata["most"]
    choices = item.metadata["choices"]
    if isinstance(value, int | float) and not value <= _LARGEST:
        raise InvalidSetting(source, f"{value} is above the most, {_LARGEST}")
    if choices is not None and value not in choices:
        raise InvalidSetting(source, f"{value!r} is none of {', '.join(choices)}")
    if least is not None and not value >= least:
        raise InvalidSetting(source, f"{value} is below the least, {least}")
    if most is not None and not value <= most:
        raise InvalidSetting(source, f"{value} is above the most, {most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a service, with their defaults; immutable, checked when made.

    Raises `InvalidSetting` for a value out of its bounds.
    """

    host: str = _setting("127.0.0.1", _address, "address", "address to listen on")
    port: int = _setting(8080, _whole, "port", "port to listen on; 0 picks a free one",
                         least=0, most=65535)  # fmt: skip
    workers: int = _setting(
        0, _whole, "processes",
        "processors to sieve on; 0 takes all this process may use",
        least=0, most=1024,
    )  # fmt: skip
    memory_bytes: int = _setting(
        0, _bytes, "bytes",
        "memory for everything, workers too; 0 takes half of what there is",
        least=0,
    )  # fmt: skip
    cache_bytes: int = _setting(
        0, _bytes, "bytes",
        "part of it for primes that are kept; 0 takes a quarter, 256 MiB at the most",
        least=0,
    )  # fmt: skip
    engine: str = _setting(
        "auto", str, "name", "what sieves; auto takes the fastest there is", choices=ENGINE_CHOICES
    )
    max_span: int = _setting(
        10**13,
        read_whole_number,
        "numbers",
        "widest range that is sieved, from its start to its end",
        least=1,
        most=2**64,
    )
    max_job_s: float = _setting(
        6 * 3600.0, _seconds, "seconds",
        "longest that a job may take here by its estimate to be accepted", least=1,
    )  # fmt: skip
    max_jobs: int = _setting(
        4096, _whole, "jobs", "jobs that are known at a time; the oldest finished go first",
        least=1,
    )  # fmt: skip
    max_unfinished_jobs: int = _setting(
        1024, _whole, "jobs", "jobs that are waiting or running at a time", least=1
    )
    max_job_bytes: int = _setting(
        0, _bytes, "bytes",
        "part of the memory for what is known of jobs; 0 takes an eighth, 64 MiB at the most",
        least=0,
    )  # fmt: skip
    max_event_streams: int = _setting(
        1000, _whole, "streams", "event streams that are open at a time", least=0
    )
    max_connections: int = _setting(
        4096, _whole, "connections",
        "connections that are open at a time; the one idle for the longest time makes room",
        least=1,
    )  # fmt: skip
    job_ttl_s: float = _setting(
        3600.0, _seconds, "seconds", "how long a finished job is known", least=0
    )
    stall_timeout_s: float = _setting(
        30.0, _seconds, "seconds", "how long a client may take nothing of its result", least=0.1
    )
    drain_s: float = _setting(
        10.0,
        _seconds,
        "seconds",
        "how long a stop waits for answers under way, and for jobs that end within that time",
        least=0,
    )
    hang_timeout_s: float = _setting(
        60.0, _seconds, "seconds",
        "how long work for a worker may take at the least before it counts as hung",
        least=1,
    )  # fmt: skip
    journal: str = _setting(
        "", str, "file", "file from which jobs are taken up again after a restart; empty for none"
    )
    journal_sync: bool = _setting(
        False,
        _switch,
        "",
        "answer what changes a job only once that is in the journal, and on the disk",
    )
    unix_socket: str = _setting(
        "", str, "path", "Unix socket to listen on, instead of an address and a port"
    )
    allow_host: tuple[str, ...] = _setting(
        Names(), _hosts, "hosts", "hosts that are answered for, besides this machine; * is any"
    )
    allow_origin: tuple[str, ...] = _setting(
        Names(), _origins, "origins", "sites whose web pages may use the service; * is any"
    )
    token: str = _setting(
        "", _token, "token",
        "bearer token that requests need; others can see the flag, but not the variable",
        secret=True,
    )  # fmt: skip
    trust_forwarded: bool = _setting(
        False, _switch, "", "believe X-Forwarded-For, -Host and -Prefix, as a proxy sets them"
    )
    access_log: bool = _setting(False, _switch, "", "log every request")
    log_format: str = _setting(
        "text", str, "name", "how log lines are written", choices=("text", "json")
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item, getattr(self, item.name), item.name)

    @classmethod
    def read(
        cls, flags: Mapping[str, str | bool | None], environ: Mapping[str, str] | None = None
    ) -> "Settings":
        """Settings from the text of flags, then `PRIMESVC_*` variables, then the defaults.

        Raises `InvalidSetting`, naming the flag or the variable.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for item in fields(cls):
            variable = f"PRIMESVC_{item.name.upper()}"
            text = flags.get(item.name)
            source = f"--{item.name.replace('_', '-')}"
            if text is None:
                text, source = environ.get(variable), variable
            if text is None:
                continue
            if isinstance(text, bool):
                values[item.name] = text
                continue
            try:
                values[item.name] = item.metadata["read"](text)
            except (ValueError, OverflowError):
                wanted = item.metadata["unit"] or "yes or no"
                shown = "what it is set to" if item.metadata["secret"] else repr(text)
                raise InvalidSetting(source, f"{shown} cannot be read as {wanted}") from None
            _check(item, values[item.name], source)
        return cls(**values)
