"""Thousands of connections: idle, busy, come and gone at once."""

import contextlib
import resource
import socket
import struct
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.faults.hostile import Answer, Target, ask, get, is_closed, many_files, push, receive
from tests.faults.impatient import impatient
from tests.program import MODULE, eventually

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

CROWD = 3000

ALIVE = get("/health/live")
LONG = get("/jobs/{}?wait=60")

CONNECTION_BYTES = 32 * 2**10
"""What an idle connection may cost."""


def limited(kind: str, files: int) -> list[str]:
    """The program in a process that may open so many files; -Sn is the soft limit, -n both."""
    return ["/bin/sh", "-c", f'ulimit {kind} {files} && exec "$@"', "sh", *MODULE]


def answered(client: socket.socket) -> Answer:
    """What a connection that is open is answered."""
    client.sendall(ALIVE)
    return receive(client)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A server with its defaults."""
    with Target() as target:
        yield target


def test_thousands_of_idle_connections_are_kept(target: Target) -> None:
    """Each costs little, all are answered, and when they are gone nothing of them is left."""
    bound_bytes = CROWD * CONNECTION_BYTES
    with target.attacked(bound_bytes=bound_bytes), many_files(CROWD) as stack:
        before = target.memory_bytes
        clients = push(stack, target.crowd(CROWD))
        target.is_well()
        assert target.memory_bytes - before <= bound_bytes
        assert {answered(client).status for client in clients} == {200}


@pytest.mark.slow
def test_thousands_that_come_and_go_leave_nothing(target: Target) -> None:
    """They close, they reset, with and without having said something, in the midst of a head."""
    reset = struct.pack("ii", 1, 0)
    with target.attacked():
        for number in range(CROWD):
            with target.connect() as client:
                if number % 2:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                client.sendall(ALIVE[: number % (len(ALIVE) + 1)])


def test_a_crowd_beyond_the_limit_locks_nobody_out() -> None:
    """Those idle for the longest time make room, others stay; descriptors suffice for them."""
    limit = 1000
    program = limited("-Sn", 256)
    with Target("--max-connections", str(limit), program=program) as target, target.attacked():
        soft, hard = psutil.Process(target.server.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert (soft, hard) == (1256, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        files = target.files
        with many_files(CROWD) as stack:
            clients = push(stack, target.crowd(CROWD))
            target.is_well()
            assert target.files <= files + limit + 2
            assert all(is_closed(client) for client in clients[: CROWD - limit])
            for client in clients[-limit // 2 :]:
                assert answered(client).status == 200


def test_the_one_idle_for_the_longest_time_makes_room() -> None:
    """One that was used since stays, though it was there before."""
    with Target("--max-connections", "3") as target, contextlib.ExitStack() as stack:
        first, second, third = push(stack, target.crowd(3))
        for client in (second, third, first):
            assert answered(client).status == 200
            time.sleep(0.01)  # the server's clock has milliseconds
        fourth = stack.enter_context(target.connect())
        assert answered(fourth).status == 200
        assert is_closed(second)
        fifth = stack.enter_context(target.connect())
        assert answered(fifth).status == 200
        assert is_closed(third)
        assert answered(first).status == 200


@pytest.mark.slow
def test_if_all_are_busy_newcomers_are_told_when_to_come_again() -> None:
    """Who is being answered is not cut for them, however many they are."""
    limit = 8
    with (
        Target("--max-connections", str(limit), program=impatient()) as target,
        target.attacked(),
        many_files(2 * CROWD) as stack,
    ):
        job_id = target.server.submit(10**18, 10**18 + 10**11)
        waiting = push(stack, target.crowd(limit))
        for client in waiting:
            client.sendall(get(f"/jobs/{job_id}?wait=60"))
        # Until their requests have been read they count as idle.
        eventually(lambda: ask(target, ALIVE).status == 503)
        crowd = push(stack, target.crowd(CROWD))
        answer = ask(target, ALIVE)
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
        document = answer.problem()
        assert document["type"] == "urn:primesvc:problem:service-full"
        assert document["limit"] == limit
        assert all(is_closed(client) for client in crowd)
        waiting.pop().close()
        cancel = get(f"/jobs/{job_id}/cancel", method="POST")
        eventually(lambda: ask(target, cancel).status == 200)
        assert [receive(client).status for client in waiting] == [200] * (limit - 1)


@pytest.mark.slow
def test_too_few_descriptors_lower_the_limit() -> None:
    """It says so, and no crowd makes it run out of them."""
    with (
        Target(program=limited("-n", 400), silent=False) as target,
        target.attacked(),
        many_files(CROWD) as stack,
    ):
        (line,) = target.server.errors
        assert "WARNING at most 144 connections" in line
        push(stack, target.crowd(CROWD))
        # As many may have come within the moment in which a new one makes no room for others.
        eventually(lambda: ask(target, ALIVE).status == 200)
        assert len(target.server.errors) == 1
        assert target.files < 400


@pytest.mark.slow
def test_idle_connections_are_closed_after_a_while() -> None:
    """Those that never said anything, and those that were answered."""
    with (
        Target(program=impatient("KEEPALIVE_S")) as target,
        target.attacked(),
        target.connect() as silent,
        target.connect() as used,
    ):
        assert answered(used).status == 200
        assert is_closed(silent)
        assert is_closed(used)
