"""What ends the measuring of a row, and of no other."""


class BenchmarkError(Exception):
    """Something answered wrongly, too late or not at all: a time would mean nothing."""
