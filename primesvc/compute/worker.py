"""The only code that runs in worker processes: pure functions of what they are given.

A result of many bytes is written into the slot that the caller leased; if it
does not fit, or there is none, it is returned inline and takes the pipe.
Every function names its engine, so that any executor can run it without
preparation: a process pool, threads, machines elsewhere.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from primesvc.compute.arena import SlotRef, attach
from primesvc.errors import EngineUnavailable
from primesvc.formats.base import Format
from primesvc.formats.coding import encode_part
from primesvc.formats.decimal import decimal_digits
from primesvc.numbers import NumberFacts, read_number_list
from primesvc.sieve import number as number_theory
from primesvc.sieve.engine import count_primes, list_primes, load_engine, summarise
from primesvc.sieve.narrow import are_prime
from primesvc.sieve.nth import find_nth
from primesvc.sieve.packed import Packed, Summary, pack
from primesvc.sieve.pieces import runs
from primesvc.sieve.range import Range, check_number
from primesvc.sieve.selection import Selection
from primesvc.sieve.statistics import Frame, Tally


class Payload(NamedTuple):
    """The bytes of a result: `inline`, or the first `size` bytes of the caller's slot."""

    size: int
    inline: bytes | None


@dataclass(frozen=True, slots=True)
class Sieved:
    """What `sieve` found: a summary a piece, and the packed primes one after another.

    `lengths` are the packed bytes a piece, empty if nothing was packed.
    """

    summaries: list[Summary]
    lengths: list[int]
    payload: Payload
    seconds: float


def _payload(parts: list[bytes], slot: SlotRef | None) -> Payload:
    size = sum(map(len, parts))
    if slot is None or size > slot.size or size == 0:
        return Payload(size, b"".join(parts))
    try:
        target = attach(slot)
    except OSError:
        return Payload(size, b"".join(parts))
    at = 0
    for part in parts:
        target[at : at + len(part)] = part
        at += len(part)
    return Payload(size, None)


def sieve(
    engine_name: str,
    pieces: list[Range],
    with_primes: bool,
    selection: Selection,
    slot: SlotRef | None = None,
) -> Sieved:
    """Sieve neighbouring pieces of a grid for some primes; `with_primes` also packs them."""
    began = time.perf_counter()
    engine = load_engine(engine_name)
    if not with_primes:
        summaries = [summarise(engine, piece, selection) for piece in pieces]
        return Sieved(summaries, [], Payload(0, b""), time.perf_counter() - began)
    summaries, packs = [], []
    for run in runs(pieces):
        primes = list_primes(engine, Range(run[0].start, run[-1].end), selection)
        cuts = np.searchsorted(primes, np.array([piece.start for piece in run], np.uint64))
        for piece, part in zip(run, np.split(primes, cuts[1:]), strict=True):
            summaries.append(Summary(len(part), decimal_digits(part)))
            packs.append(pack(part, piece))
    payload = _payload(packs, slot)
    return Sieved(summaries, [len(p) for p in packs], payload, time.perf_counter() - began)


class Numbers(NamedTuple):
    """What a call found that is a number or two, and no bytes."""

    found: tuple[int | None, ...]
    payload: Payload = Payload(0, b"")


def count_up_to(
    engine_name: str, number: int, threads: int, slot: SlotRef | None = None
) -> Numbers:
    """How many primes there are up to the number, on so many threads, without sieving.

    Raises `EngineUnavailable` if the engine has nothing to do so.
    """
    primecount = load_engine(engine_name).primecount
    if primecount is None:
        raise EngineUnavailable("libprimecount cannot be loaded here")
    return Numbers((primecount.pi(number, threads=threads),))


def count_range(engine_name: str, range_: Range, slot: SlotRef | None = None) -> Numbers:
    """How many primes the closed range holds."""
    return Numbers((count_primes(load_engine(engine_name), range_),))


def find_nth_prime(engine_name: str, range_: Range, n: int, slot: SlotRef | None = None) -> Numbers:
    """How many primes were counted on the way to the n-th of the range, and which it is."""
    return Numbers(find_nth(load_engine(engine_name), range_, n))


class Rendering(NamedTuple):
    """What `render` is to make of the primes of a range."""

    format: Format
    head: bytes
    """What stands before the first value."""
    window: tuple[int, int] | None
    """Which bytes are wanted, [first, stop); None for all."""
    drop: int
    """How many bytes to leave out at the end."""
    coding: str | None
    """The content coding to apply."""


class Rendered(NamedTuple):
    """What `render` made, and the length and check sum that it had before it was coded."""

    payload: Payload
    raw_bytes: int
    crc: int


def render(
    engine_name: str,
    source: bytes | None,
    range_: Range,
    selection: Selection,
    wanted: Rendering,
    slot: SlotRef | None = None,
) -> Rendered:
    """The selected primes of the closed range in a format, `spare` bytes behind each.

    `source` are packed ones that hold those of the range; without it they
    are sieved.
    """
    primes = _primes_of(engine_name, source, range_, selection)
    head = wanted.head
    size = len(head) + wanted.format.values_bytes(len(primes), decimal_digits(primes))
    whole = wanted.window is None and wanted.coding is None
    out = _target(slot, size) if whole else None
    buffer = np.empty(size, np.uint8) if out is None else out
    buffer[: len(head)] = np.frombuffer(head, np.uint8)
    wanted.format.encode(primes, buffer[len(head) :])
    first, stop = wanted.window or (0, size - wanted.drop)
    if out is not None:
        return Rendered(Payload(stop, None), stop, 0)
    raw = buffer[first:stop].tobytes()
    if wanted.coding is None:
        return Rendered(_payload([raw], slot), len(raw), 0)
    coded = encode_part(wanted.coding, raw)
    return Rendered(_payload([coded.data], slot), coded.raw_bytes, coded.crc)


def _primes_of(
    engine_name: str, source: bytes | None, range_: Range, selection: Selection
) -> NDArray[np.uint64]:
    if source is None:
        return list_primes(load_engine(engine_name), range_, selection)
    primes = Packed(source).primes()
    first = int(np.searchsorted(primes, np.uint64(range_.start)))
    stop = int(np.searchsorted(primes, np.uint64(range_.end), side="right"))
    return primes[first:stop]


def _target(slot: SlotRef | None, size: int) -> NDArray[np.uint8] | None:
    """The memory of the slot, if there is one and it is large enough."""
    if slot is None or size > slot.size or size == 0:
        return None
    try:
        return np.frombuffer(attach(slot), np.uint8)[:size]
    except OSError:
        return None


class Tallied(NamedTuple):
    """What `tally` counted; it has no bytes."""

    tally: Tally
    payload: Payload = Payload(0, b"")


def tally(
    engine_name: str, frame: Frame, pieces: list[Range], slot: SlotRef | None = None
) -> Tallied:
    """Sieve neighbouring parts of a frame's range, and count what is to be said of their primes."""
    engine = load_engine(engine_name)
    found = Tally(frame, Range(pieces[0].start, pieces[-1].end))
    for piece in pieces:
        found.add(list_primes(engine, piece))
    return Tallied(found)


class Examined(NamedTuple):
    """What `examine` found; it has no bytes."""

    facts: NumberFacts
    payload: Payload = Payload(0, b"")


def examine(engine_name: str, number: int, slot: SlotRef | None = None) -> Examined:
    """All there is to say of one number."""
    return Examined(number_theory.examine(load_engine(engine_name), number))


def read_numbers(text: bytes, slot: SlotRef | None = None) -> Payload:
    """The numbers of the JSON object `{"numbers": [...]}`, eight bytes each as uint64.

    Raises `InvalidParameter` and `RangeNotAllowed`.
    """
    numbers = read_number_list(text)
    check_number(max(numbers, default=0))
    return _payload([np.array(numbers, np.uint64).tobytes()], slot)


def decide(numbers: bytes, slot: SlotRef | None = None) -> Payload:
    """Whether each of the numbers, uint64, is a prime: a byte each, 0 or 1."""
    return _payload([are_prime(np.frombuffer(numbers, np.uint64)).tobytes()], slot)
