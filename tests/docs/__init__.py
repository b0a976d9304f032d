"""Tests of the README and the handbook: what they show happens, and what they list is there."""
