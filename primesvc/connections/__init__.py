"""Guards the connections of our own server process against clients that are slow, hostile, many."""

from primesvc.connections.descriptors import room_for
from primesvc.connections.guard import Guard
from primesvc.connections.runner import GuardedRunner

__all__ = ["Guard", "GuardedRunner", "room_for"]
