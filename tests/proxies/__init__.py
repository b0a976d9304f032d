"""Tests of the service behind real proxies, as far as they are installed."""
