"""Guards the connections of our own server process against clients that are slow, hostile, many."""

from primesvc.connections.connection import protocol_factory
from primesvc.connections.descriptors import room_for
from primesvc.connections.guard import Guard

__all__ = ["Guard", "protocol_factory", "room_for"]
