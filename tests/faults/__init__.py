"""Damage done on purpose: kills, hangs, disconnects and restarts against a running load."""
