"""The HTTP face: the only part that knows aiohttp.web."""
