"""The command line."""

from primesvc.cli.program import main

__all__ = ["main"]
