"""Reading event streams: as the standard has them, in pieces of any size, bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.client.events import LONGEST_RETRY_S, MAX_EVENT_CHARACTERS, Event, EventParser

STREAM = (
    "\ufeffretry: 1500\n\n"
    ": a comment\r\n"
    "event: progress\r\nid: 7-running\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n"
    "data\n\n"
    "data:no blank\rdata:  two blanks\r\r"
    "id: 8-running\n\n"
    "event: nothing\n\n"
    "unknown: field\nevent: done\ndata: ü€𝄞\n\n"
    "data: not ended"
).encode()  # fmt: skip

EVENTS = [
    Event("progress", '{"a":\n1}'),
    Event("message", ""),
    Event("message", "no blank\n two blanks"),
    Event("done", "ü€𝄞"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=40).map(sorted))
def test_events_do_not_depend_on_how_the_bytes_come(cuts: list[int]) -> None:
    """Cut anywhere, within characters and line ends too, a stream gives the same events."""
    parser = EventParser()
    events: list[Event] = []
    for start, stop in zip([0, *cuts], [*cuts, len(STREAM)], strict=True):
        events += parser.feed(STREAM[start:stop])
    assert events == EVENTS
    assert parser.last_id == "8-running"
    assert parser.retry_s == 1.5


def test_an_id_counts_from_the_end_of_its_event_on() -> None:
    """An event that is broken off is not taken for one that came."""
    parser = EventParser()
    assert list(parser.feed(b"id: 1\ndata: x\n\nid: 2\ndata: y\n")) == [Event("message", "x")]
    assert parser.last_id == "1"


def test_nonsense_is_ignored() -> None:
    """Retries that are no numbers, and ids with a NUL, change nothing."""
    parser = EventParser()
    assert list(parser.feed(b"retry: soon\nretry: -1\nid: a\0b\ndata: \xff\n\n")) == [
        Event("message", "\ufffd")
    ]
    assert parser.retry_s is None
    assert parser.last_id == ""


def test_a_service_cannot_send_a_client_away_for_long() -> None:
    """However long the stream says to stay away, it is bounded."""
    parser = EventParser()
    assert list(parser.feed(b"retry: 99999999999999999999\n\n")) == []
    assert parser.retry_s == LONGEST_RETRY_S


@pytest.mark.parametrize("line", [b"x", b"data: xxxxxxx\n"])
def test_an_event_without_end_is_refused(line: bytes) -> None:
    """Memory is bounded: an event that goes on and on is an error, in one line or in many."""
    parser = EventParser()
    data = line * (2**16 // len(line))
    for _ in range(MAX_EVENT_CHARACTERS // len(data)):
        assert list(parser.feed(data)) == []
    with pytest.raises(ValueError, match=str(MAX_EVENT_CHARACTERS)):
        list(parser.feed(data * 2))


def test_comments_do_not_add_up() -> None:
    """Heartbeats may come for ever."""
    parser = EventParser()
    for _ in range(100):
        assert list(parser.feed(b": still here\n\n" * 10_000)) == []
