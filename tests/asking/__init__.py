"""Tests of primesvc.asking."""
