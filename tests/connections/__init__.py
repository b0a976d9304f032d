"""Tests of the connections of our own server process; attacks on them: `tests.faults`."""
