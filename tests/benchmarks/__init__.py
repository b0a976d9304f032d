"""Measures the promises about speed and prints them as a table: `python -m tests.benchmarks`."""
