"""Memory for results on their way to clients: bounded, and given back whatever happens."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.errors import ServiceFull
from primesvc.results.buffers import EXTENSION_SHARE, Buffers, Lease


def test_a_lease_ends_with_its_context() -> None:
    """What was leased is free again, also after an error."""
    buffers = Buffers(100)
    with buffers.lease(30), buffers.lease(70):
        assert buffers.taken_bytes == 100
    with pytest.raises(KeyError), buffers.lease(60):
        raise KeyError
    assert buffers.taken_bytes == 0


def test_what_does_not_fit_is_refused_with_the_limit() -> None:
    """The error names the limit and when to try again; nothing is taken for it."""
    buffers = Buffers(100)
    with buffers.lease(60):
        with pytest.raises(ServiceFull, match="the limit is 100") as caught:
            buffers.lease(41)
        assert caught.value.limit == 100
        assert caught.value.retry_after_s
        assert (buffers.taken_bytes, buffers.refused) == (60, 1)
        with buffers.lease(40):
            assert buffers.taken_bytes == 100


def test_what_is_larger_than_all_there_is_goes_alone() -> None:
    """Every result can be sent, if no other is."""
    buffers = Buffers(100)
    with buffers.lease(1000), pytest.raises(ServiceFull):
        buffers.lease(1)
    with buffers.lease(1), pytest.raises(ServiceFull):
        buffers.lease(1000)


def test_speed_takes_what_can_be_spared() -> None:
    """Half of the memory is for being fast; the other half is left for those who come later."""
    buffers = Buffers(100)
    with buffers.lease(10, for_speed=30) as first, buffers.lease(10, for_speed=30) as second:
        assert first.extend()
        assert first.extend()  # once is enough
        assert buffers.taken_bytes == 50
        assert not second.extend()
        with buffers.lease(50):
            assert buffers.taken_bytes == 100
        first.reduce()
        first.reduce()
        assert buffers.taken_bytes == 20
        assert second.extend()
    assert buffers.taken_bytes == 0


steps = st.lists(
    st.tuples(
        st.sampled_from(["lease", "extend", "reduce", "end"]),
        st.integers(0, 9), st.integers(1, 60), st.integers(0, 60),
    ),
    max_size=60,
)  # fmt: skip


@given(steps)
def test_whatever_is_done_it_adds_up(steps: list[tuple[str, int, int, int]]) -> None:
    """Never more than there is, unless it is one lease alone; and nothing is left at the end."""
    buffers = Buffers(100)
    with ExitStack() as stack:
        leases: list[tuple[Lease, int]] = []
        for what, which, size, more in steps:
            if what == "lease":
                try:
                    leases.append((buffers.lease(size, for_speed=more), more))
                except ServiceFull:
                    assert buffers.taken_bytes + size > 100
                    continue
                stack.push(leases[-1][0])
            elif leases:
                lease, _ = leases[which % len(leases)]
                if what == "end":
                    with lease:
                        pass
                    leases.pop(which % len(leases))
                else:
                    getattr(lease, what)()
            assert 0 <= buffers._extended_bytes <= 100 * EXTENSION_SHARE
            assert buffers._extended_bytes <= buffers.taken_bytes <= 100
    assert buffers.taken_bytes == buffers._extended_bytes == 0
