"""Formats: exact text and bytes, lengths known before, codings made in parts."""
