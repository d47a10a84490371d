"""Calls of flows that look sync and are async inside: loops, clients, hooks, results."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import anyio
import certifi
import httpx
from prefect import Flow, tags
from prefect.context import AsyncClientContext, FlowRunContext, SyncClientContext
from prefect.settings import get_current_settings
from prefect.states import Completed

from hypernodes import HyperNodesError
from hypernodes.integration import (
    CALLER_LOOP,
    CANCELLATION,
    CancelToken,
    Outcome,
    in_own_thread,
    is_awaited,
    running_loop,
)
from prefect_hypernodes.events import logger
from prefect_hypernodes.states import ErrorInfo

Result = TypeVar("Result")

#: The result of the flow run that is going on, once there is one.
_DONE: contextvars.ContextVar[list[Any]] = contextvars.ContextVar("hypernodes_done")
#: Seconds that nodes of a stopped flow run have to clean up in. Docker kills what is still there
#: after 10 s, and the rest of that is for what the server has not recorded yet.
GRACE = 2.0
#: The flow run of ours whose body is going on.
BODY: contextvars.ContextVar[Body | None] = contextvars.ContextVar("hypernodes_body", default=None)
#: Event loops that were made here for one call: no async node of the caller's belongs there.
_OURS: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
#: The kinds of hooks that a flow has.
HOOKS = ("on_running", "on_completion", "on_failure", "on_cancellation", "on_crashed")

Hook = Callable[..., Any]


@dataclass
class Body:
    """What runs leave with the flow run of ours whose body they are in.

    Attributes:
        flow_run: its id.
        messages: what its state is to say, once they have ended.
        closing: what closes their reports; they do it themselves, if nothing is wrong.
    """

    flow_run: UUID | None
    messages: list[str] = field(default_factory=list)
    closing: list[Callable[[], object]] = field(default_factory=list)

    def close(self) -> None:
        """Close all reports."""
        for each in self.closing:
            each()


async def awaited_run(call: Callable[[], Awaitable[Any]], return_state: bool = False) -> Any:
    """Await the call of a flow, whose body is `flow_body`.

    Args:
        call: calls the flow.
        return_state: whether the flow is to return its final state.

    Returns:
        What the flow does. If the API is gone when the run ends, so that Prefect cannot set the
        final state, it is the result all the same, with a warning.
    """
    done: list[Any] = []
    token = _DONE.set(done)
    if FlowRunContext.get() is None:  # else there is a server
        _say_what_is_waited_for()
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


@functools.cache
def _say_what_is_waited_for() -> None:
    """Say once that Prefect starts a server of its own, which may take longer than the run."""
    settings = get_current_settings()
    if settings.api.url is None:
        logger.info(
            "no PREFECT_API_URL: waiting for a temporary Prefect server, which takes some seconds, "
            "or more on a busy machine (at most %d)",
            settings.server.ephemeral.startup_timeout_seconds,
        )


async def flow_body(work: Callable[[], Result]) -> Any:
    """A flow's body: the work, on a thread of its own, since the event loop is Prefect's.

    When the flow run is stopped, so are its nodes: those that run are interrupted.

    Args:
        work: runs a pipeline.

    Returns:
        What the work does, or, if items have failed, a state with that and a message.

    Raises:
        HyperNodesError: in place of an error of which no text can be made.
    """
    is_ours = asyncio.get_running_loop() in _OURS
    loop = CALLER_LOOP.get() if is_ours else None
    around, flow = BODY.get(), FlowRunContext.get()
    body = Body(None if flow is None or flow.flow_run is None else flow.flow_run.id)
    token = BODY.set(body)
    try:
        result: Result = await in_own_thread(work, loop, GRACE, body.close)
    except Exception as error:
        await asyncio.to_thread(body.close)  # an error of the engine itself ends no scope
        try:
            f"{error} {error!r}".encode()
        except Exception:  # Prefect would fail to make a message of it, and leave the run Running
            text = ErrorInfo.of(error, with_traceback=False).line
            raise HyperNodesError(text) from error
        raise
    finally:
        BODY.reset(token)
        if around is not None:  # those of a nested pipeline's own flow run count too
            around.messages.extend(body.messages)
    _DONE.get([]).append(result)
    return Completed(data=result, message="; ".join(body.messages)) if body.messages else result


@asynccontextmanager
async def flow_tags() -> AsyncIterator[None]:
    """The tags of the flow that runs, for runs that were made without calling it: deployed ones."""
    around = FlowRunContext.get()
    if around is None or around.flow_run is None:
        yield
        return
    own, given = getattr(around.flow, "tags", ()), around.flow_run.tags
    missing = [each for each in own if each not in given]
    if missing:
        around.flow_run.tags = [*given, *missing]
        answer = around.client.update_flow_run(around.flow_run.id, tags=around.flow_run.tags)
        if inspect.isawaitable(answer):
            await answer
    with tags(*missing):
        yield


def call_blocking(call: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run something async to its end, also from a thread whose own event loop is running.

    What cancels the run around it cancels it too, and so does Ctrl-C.
    """
    token = CANCELLATION.get()
    if running_loop() is None:
        return asyncio.run(_until_cancelled(call, token))
    own = CancelToken()
    context = contextvars.copy_context()
    context.run(CALLER_LOOP.set, None)  # the loop of this thread is held up
    with _listening(token, own.cancel), ThreadPoolExecutor(1, "hypernodes-flow") as pool:
        future = pool.submit(context.run, asyncio.run, _until_cancelled(call, own))
        try:
            return future.result()
        except KeyboardInterrupt:
            own.cancel()
            raise


async def _until_cancelled(
    call: Callable[[], Coroutine[Any, Any, Result]], token: CancelToken | None
) -> Result:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    _OURS.add(loop)
    assert task is not None
    with _listening(token, lambda: loop.call_soon_threadsafe(task.cancel)):
        return await call()


@contextmanager
def _listening(token: CancelToken | None, listener: Callable[[], object]) -> Iterator[None]:
    def listen() -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            listener()

    if token is None:
        yield
        return
    token.listen(listen)
    try:
        yield
    finally:
        token.forget(listen)


@asynccontextmanager
async def _clients() -> AsyncIterator[None]:
    """Prefect's clients for the flow run inside, where there are none yet.

    By itself Prefect makes a TLS context for each client, and several clients for each flow run,
    for http addresses too. That takes longer than all else that the process does for a short run.
    """
    made_with = {"verify": tls_for("https")}
    around = AsyncClientContext.get()
    async with AsyncExitStack() as stack:
        made: list[AsyncClientContext | SyncClientContext] = []
        if around is None or around.client.loop is not asyncio.get_running_loop():
            client = AsyncClientContext(httpx_settings=made_with)
            made.append(await stack.enter_async_context(client))
        if SyncClientContext.get() is None:
            made.append(stack.enter_context(SyncClientContext(httpx_settings=made_with)))
        for context in made:
            # `get_client()` takes a context's client if its settings are those asked for: none.
            context._httpx_settings = None
        yield


def tls_for(url: str) -> ssl.SSLContext:
    """The TLS context for an API, made once; httpx wants one for http addresses too."""
    settings = get_current_settings().api
    is_used = url.startswith("https")
    return _tls(is_used, settings.tls_insecure_skip_verify, settings.ssl_cert_file)


@functools.lru_cache(maxsize=8)
def _tls(is_used: bool, skip_verify: bool, certificates: str | None) -> ssl.SSLContext:
    """What Prefect would make, for these settings."""
    if not is_used:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not skip_verify:
        return ssl.create_default_context(cafile=certificates or certifi.where())
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def call_hooks_beside_loop(flow: Flow[Any, Any]) -> None:
    """Have a flow's hooks that are not async called on a thread, as those of a sync flow.

    On the event loop `Block.load(...)` in them would return a coroutine that nobody awaits.
    """
    for kind in HOOKS:
        hooks = getattr(flow, f"{kind}_hooks")
        setattr(flow, f"{kind}_hooks", _Hooks(_beside_loop(hook) for hook in hooks))


class _Hooks(list[Hook]):
    def append(self, hook: Hook) -> None:
        """What `@flow.on_failure` and the like do."""
        super().append(_beside_loop(hook))


def _beside_loop(hook: Hook) -> Hook:
    if inspect.iscoroutinefunction(hook):
        return hook

    @functools.wraps(hook)
    async def _on_thread(flow: object, flow_run: object, state: object) -> None:
        context = contextvars.copy_context()
        around = FlowRunContext.get()
        if around is not None and around.flow is not None:
            sync = copy.copy(around.flow)
            sync.isasync = False
            context.run(FlowRunContext.__var__.set, around.model_copy(update={"flow": sync}))
        call = functools.partial(context.run, hook, flow, flow_run, state)
        with anyio.CancelScope(shield=True):  # hooks of a cancelled run are called too
            # As an outcome: no future takes a StopIteration.
            outcome: Outcome[Any] = await asyncio.get_running_loop().run_in_executor(
                None, Outcome.of, call
            )
            result = outcome.get()
            if is_awaited(result):  # it was not known to be async
                await result

    return _on_thread
