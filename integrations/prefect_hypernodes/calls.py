"""What is around a call of a flow: an event loop, Prefect's clients, and a result that is kept."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import certifi
import httpx
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.settings import get_current_settings
from prefect.states import Completed

from hypernodes.loops import in_own_thread
from prefect_hypernodes.reporter import logger

_DONE: contextvars.ContextVar[list[Any]] = contextvars.ContextVar("hypernodes_done")
"""The result of the flow run that is going on, once there is one."""


async def awaited_run(call: Callable[[], Awaitable[Any]], return_state: bool = False) -> Any:
    """Await the call of a flow, whose body is `flow_body`.

    Where the API is gone when the run ends, and with it the flow run's final state, the result is
    there all the same, and a warning.
    """
    done: list[Any] = []
    token = _DONE.set(done)
    try:
        async with _clients():
            return await call()
    except httpx.HTTPError as error:
        if not done:
            raise
        logger.warning("the flow run's end could not be reported: %r", error)
        return Completed(data=done[0]) if return_state else done[0]
    finally:
        _DONE.reset(token)


async def flow_body(work: Callable[[], Any]) -> Any:
    """A flow's body: the work, on a thread of its own, since the event loop is Prefect's."""
    result = await in_own_thread(work)
    _DONE.get([]).append(result)
    return result


def is_outside_loop() -> bool:
    """Whether no event loop is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


def call_blocking(call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run something async to its end, also from a thread whose own event loop is running."""
    if is_outside_loop():
        return asyncio.run(call())
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="hypernodes-flow") as pool:
        return pool.submit(context.run, asyncio.run, call()).result()


@asynccontextmanager
async def _clients() -> AsyncIterator[None]:
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
