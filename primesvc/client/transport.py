"""Requests to a service: where it is, who asks, how errors come back, what is tried again."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from primesvc.client.retries import Retries
from primesvc.errors import ApiError, ServerUnreachable, UnexpectedAnswer

MAX_DOCUMENT_BYTES: Final = 16 * 2**20
"""Bytes of a JSON document at the most: a page of 1000 jobs is 1 MB."""

BUFFER_BYTES: Final = 2**20
"""Bytes a download holds that were not asked for yet; twice as many stop the sender."""


class Transport:
    """Makes requests below `base_url`, each with the token, if there is one.

    `timeout_s` is how long a service may send nothing, `connect_timeout_s`
    how long a connection may take; `retries` is how often something is tried
    again. Raises `ValueError` for a `base_url` that is no http or https URL.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None,
        timeout_s: float,
        connect_timeout_s: float,
        retries: int,
    ) -> None:
        self.base = URL(base_url)
        if self.base.scheme not in ("http", "https") or not self.base.host:
            raise ValueError(f"{base_url!r} is no http:// or https:// address")
        self.timeout_s = timeout_s
        self.session: aiohttp.ClientSession | None = None
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout_s, sock_read=timeout_s
        )
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._retries = retries

    def retries(self) -> Retries:
        """A new count of tries."""
        return Retries(self._retries)

    def url(self, *path: str) -> URL:
        """The address of a path below the base, whose parts may hold anything."""
        parts = [quote(part, safe="") for part in path]
        return self.base.joinpath(*parts, encoded=True)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        *path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One try: the answer to a request, whose body is read inside.

        Raises `ApiError`, and `ServerUnreachable` also for a connection that
        breaks while the body is read.
        """
        if self.session is None:
            raise RuntimeError("the client is not open: use `async with PrimeClient(...)`")
        url = self.url(*path)
        try:
            async with self.session.request(
                method,
                url,
                params=params,
                headers={**self._headers, **(headers or {})},
                json=body,
                timeout=self._timeout,
                # A token is for this service only, and a POST must stay one.
                allow_redirects=False,
                read_bufsize=BUFFER_BYTES,
            ) as response:
                await _check(response)
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, ServerUnreachable):
                raise
            raise ServerUnreachable(shown(url), _reason(error, self._timeout)) from error

    async def json(
        self,
        method: str,
        *path: str,
        params: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Any:
        """The JSON document that answers a request, None for a 204; tried again where that helps.

        Raises `ApiError`, `ServerUnreachable` and `UnexpectedAnswer`.
        """
        retries = self.retries()
        while True:
            try:
                async with self.open(method, *path, params=params, body=body) as response:
                    if response.status == 204:
                        return None
                    return _parse(response, await _read(response))
            except (ApiError, ServerUnreachable) as error:
                await retries.pause(error)


def shown(url: URL) -> str:
    """An address as errors name it: without the password it may hold."""
    return str(url.with_user(None))


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise the error that a response is, if it is one."""
    if response.status < 300:
        return
    if response.status < 400:
        where = response.headers.get("Location", "somewhere else")
        raise UnexpectedAnswer(str(response.url), f"{response.status}, it sends on to {where}")
    try:
        document = json.loads(await _read(response))
    except (ValueError, RecursionError):  # an error of something in between
        document = None
    raise ApiError(
        response.status,
        response.reason or "",
        document if isinstance(document, dict) else {},
        retry_after_s=_retry_after_s(response),
    )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > MAX_DOCUMENT_BYTES:
            raise UnexpectedAnswer(str(response.url), f"more than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(data)


def _parse(response: aiohttp.ClientResponse, data: bytes) -> Any:
    try:
        return json.loads(data)  # Python's own: whole numbers of any size are exact
    except (ValueError, RecursionError):
        raise UnexpectedAnswer(
            str(response.url), f"{response.content_type} that is not JSON"
        ) from None


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    """Seconds that `Retry-After` says, also as a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):  # what it raises depends on what is wrong
        return None


def _reason(error: Exception, timeout: aiohttp.ClientTimeout) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {timeout.sock_connect:g} s"
    if isinstance(error, TimeoutError):
        return f"it sent nothing for {timeout.sock_read:g} s"
    return str(error) or type(error).__name__
