"""Searches for input that is read wrongly, or that is answered with anything but an error."""
