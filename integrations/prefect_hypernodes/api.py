"""`Api`: requests to Prefect's API, each of which ends in time.

Prefect's own client retries inside `get_client()`: a deadline around it does not hold.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx


class Unreachable(Exception):
    """The API does not answer, or not with what was asked for."""


class Refused(Unreachable):
    """The API does not take what was sent, and never will."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A client of the API for one thread, which enters it before the first request.

    Args:
        url: the API's address.
        headers: sent with each request.
        verify: the TLS context.
        timeout: seconds after which a request without an answer is given up.

    Attributes:
        answered_at: when the API last answered, on the clock of `time.monotonic`.
        is_gone: whether the last request met nobody. A server that is only slow is not gone.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], verify: ssl.SSLContext, timeout: float
    ) -> None:
        self.url = url
        self.answered_at = time.monotonic()
        self.is_gone = False
        self._options: dict[str, Any] = {"headers": headers, "verify": verify, "timeout": timeout}

    def __enter__(self) -> Api:
        self._client = httpx.Client(base_url=self.url, **self._options)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, method: str, path: str, content: bytes = b"") -> Any:
        """Send a request.

        Args:
            method: GET, POST or PATCH.
            path: relative to the API's address.
            content: JSON.

        Returns:
            What the API answers; None where that is empty.

        Raises:
            Unreachable: it does not answer, or cannot now.
            Refused: it does not take the content.
        """
        answer = self._try(method, path, content)
        if answer.status_code == 403 and "CSRF" in answer.text:
            client = str(uuid4())
            token = _checked(self._try("GET", f"csrf-token?client={client}", b""))["token"]
            self._client.headers["Prefect-Csrf-Token"] = token
            self._client.headers["Prefect-Csrf-Client"] = client
            answer = self._try(method, path, content)
        self.is_gone = answer.status_code in (401, 403)
        if not self.is_gone:
            self.answered_at = time.monotonic()
        return _checked(answer)

    def _try(self, method: str, path: str, content: bytes) -> httpx.Response:
        try:
            return self._client.request(
                method, path, content=content, headers={"content-type": "application/json"}
            )
        except httpx.HTTPError as error:
            self.is_gone = not isinstance(error, httpx.ReadTimeout)
            raise Unreachable(repr(error)) from error


def _checked(answer: httpx.Response) -> Any:
    if answer.is_error:
        message = f"{answer.status_code} {answer.text[:200]}"
        if answer.is_server_error or answer.status_code in (401, 403, 408, 429):
            raise Unreachable(message)
        raise Refused(message, answer.status_code)
    return answer.json() if answer.content else None
