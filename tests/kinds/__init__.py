"""Kinds of questions, and the protocol behind which they stand."""
