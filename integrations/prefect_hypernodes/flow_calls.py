"""What is around a call of a flow: an event loop, Prefect's clients, and a result that is kept."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import certifi
import httpx
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.settings import get_current_settings
from prefect.states import Completed

from hypernodes.event_loops import (
    CALLER_LOOP,
    CANCELLATION,
    CancelToken,
    in_own_thread,
    running_loop,
)
from prefect_hypernodes.events import logger

_DONE: contextvars.ContextVar[list[Any]] = contextvars.ContextVar("hypernodes_done")
"""The result of the flow run that is going on, once there is one."""
_OURS: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
"""Event loops that were made here for one call: no async node of the caller's belongs there."""


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
    is_ours = asyncio.get_running_loop() in _OURS
    result = await in_own_thread(work, CALLER_LOOP.get() if is_ours else None)
    _DONE.get([]).append(result)
    return result


def call_blocking(call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run something async to its end, also from a thread whose own event loop is running.

    What calls off the run around calls it off too, and so does Ctrl-C.
    """
    around = CANCELLATION.get()
    if running_loop() is None:
        return asyncio.run(_until_called_off(call, around))
    signal = CancelToken()
    context = contextvars.copy_context()
    context.run(CALLER_LOOP.set, None)  # the loop of this thread is held up
    with _passed_on(around, signal.cancel), ThreadPoolExecutor(1, "hypernodes-flow") as pool:
        future = pool.submit(context.run, asyncio.run, _until_called_off(call, signal))
        try:
            return future.result()
        except KeyboardInterrupt:
            signal.cancel()
            raise


async def _until_called_off(
    call: Callable[[], Coroutine[Any, Any, Any]], signal: CancelToken | None
) -> Any:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    _OURS.add(loop)
    assert task is not None
    with _passed_on(signal, lambda: loop.call_soon_threadsafe(task.cancel)):
        return await call()


@contextmanager
def _passed_on(signal: CancelToken | None, listener: Callable[[], Any]) -> Iterator[None]:
    def told() -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            listener()

    if signal is None:
        yield
        return
    signal.listen(told)
    try:
        yield
    finally:
        signal.forget(told)


@asynccontextmanager
async def _clients() -> AsyncIterator[None]:
    """Prefect's clients for the flow run inside, where there are none yet.

    By itself Prefect makes a TLS context for each client, and several clients for each flow run,
    for http addresses too. That takes longer than all else that the process does for a short run.
    """
    made_with = {"verify": tls_for("https")}
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


def tls_for(url: str) -> ssl.SSLContext:
    """The TLS context for an API, made once; httpx wants one for http addresses too."""
    if not url.startswith("https"):
        return _no_tls()
    settings = get_current_settings().api
    return _tls(settings.tls_insecure_skip_verify, settings.ssl_cert_file)


@functools.lru_cache(maxsize=1)
def _no_tls() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@functools.lru_cache(maxsize=8)
def _tls(skip_verify: bool, certificates: str | None) -> ssl.SSLContext:
    """What Prefect would make, for these settings."""
    if not skip_verify:
        return ssl.create_default_context(cafile=certificates or certifi.where())
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
