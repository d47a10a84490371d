"""The clients that Prefect uses in a flow run, with one TLS context for all runs of the process."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import certifi
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.settings import get_current_settings


@asynccontextmanager
async def clients() -> AsyncIterator[None]:
    """Prefect's clients for the flow run inside, where there are none yet.

    By itself Prefect makes a TLS context for each client, and several clients for each flow run,
    for http addresses too. That takes longer than all else that the process does for a short run.
    """
    settings = get_current_settings().api
    made_with = {"verify": _tls(settings.tls_insecure_skip_verify, settings.ssl_cert_file)}
    around = AsyncClientContext.get()
    async with AsyncExitStack() as stack:
        if around is None or around.client.loop is not asyncio.get_running_loop():
            awaited = AsyncClientContext(httpx_settings=made_with)
            await stack.enter_async_context(awaited)
            _answer_to_all(awaited)
        if SyncClientContext.get() is None:
            _answer_to_all(stack.enter_context(SyncClientContext(httpx_settings=made_with)))
        yield


def _answer_to_all(context: AsyncClientContext | SyncClientContext) -> None:
    # `get_client()` takes the client of a context that was made with the same settings: none.
    context._httpx_settings = None


@functools.lru_cache(maxsize=8)
def _tls(skip_verify: bool, certificates: str | None) -> ssl.SSLContext:
    """What Prefect would make, for these settings."""
    if not skip_verify:
        return ssl.create_default_context(cafile=certificates or certifi.where())
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
