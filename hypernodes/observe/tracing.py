"""`TracingCallback`: every scope as an OpenTelemetry span.

Spans are made by hooks, in the caller's process, with the true times of what ran elsewhere. The id
of a span follows from the id of its scope, so that what a node does in another process can name its
parent before the hook has been called.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from hypernodes.callbacks import CallbackContext
from hypernodes.errors import failing_node, needs
from hypernodes.retries import Retry
from hypernodes.scope_callback import ScopeCallback

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, TracerProvider

_SPAN_BITS = (1 << 64) - 1


class TracingCallback(ScopeCallback):
    """Makes an OpenTelemetry span of each pipeline, map, item and node that runs.

    Logfire, Jaeger and every collector that takes OTLP can show them. The outermost span is a
    child of the span that is current where the run begins. Spans that a node makes, or a library
    that it calls, are children of the node's, on threads and in other processes too. A hit of the
    cache is an event on the span around it. Needs `hypernodes[otel]`.

    Args:
        tracer_provider: where spans go; by default the global one, at the time of each run.

    Raises:
        ImportError: OpenTelemetry is not installed.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        needs("opentelemetry.trace", "otel", "TracingCallback")
        self._provider = tracer_provider
        self._tracers: dict[int, tuple[Any, Any, _Ids]] = {}
        self._spans: dict[CallbackContext, Span] = {}
        self._code: dict[tuple[str, str], Mapping[str, str | int]] = {}  # by pipeline and node

    def __reduce__(self) -> tuple[type[TracingCallback], tuple[()]]:
        return type(self), ()

    # -- Hooks -----------------------------------------------------------------------------------

    def started(self, ctx: CallbackContext) -> None:
        self._start(ctx)

    def on_map_start(self, total_items: int | None, ctx: CallbackContext) -> None:
        self._start(ctx, {} if total_items is None else {"hypernodes.map.items": total_items})

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        from opentelemetry.trace import Status, StatusCode

        span = self._spans.get(ctx)
        if span is None:
            return
        if ctx.kind == "node" or failing_node(error) is None:  # once, where it was raised
            span.record_exception(error, timestamp=_nanoseconds(ctx.ended_at))
        kind = type(error)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        span.set_attribute("error.type", f"{module}{kind.__qualname__}")
        span.set_status(Status(StatusCode.ERROR, f"{kind.__name__}: {error}"))
        self.ended(ctx)

    def on_node_retry(self, node_id: str, retry: Retry, ctx: CallbackContext) -> None:
        about = {
            "hypernodes.retry.attempt": retry.attempt,
            "hypernodes.retry.delay": retry.delay,
        }
        self._spans[ctx].record_exception(retry.error, about, _nanoseconds(retry.at))

    def node_context(self, ctx: CallbackContext) -> AbstractContextManager[object] | None:
        """Makes the node's span the current one where the node's function runs."""
        return _Within(self, ctx)

    def node_context_maker(self, ctx: CallbackContext) -> _Maker | None:
        """The same for nodes whose scopes are made in another process."""
        return _Maker(self._carrier(ctx)) if self._tracer()[1].works else None

    # -- Spans -----------------------------------------------------------------------------------

    def _start(self, ctx: CallbackContext, more: Mapping[str, int] | None = None) -> None:
        from opentelemetry import trace

        tracer, ids = self._tracer()
        above = self._above(ctx)
        context = None if above is None else trace.set_span_in_context(above)
        scope = ctx if ctx.kind != "map_item" or ctx.parent is None else ctx.parent
        attributes: dict[str, str | int] = {
            "hypernodes.kind": ctx.kind,
            "hypernodes.path": ctx.hierarchy_path,
            "hypernodes.pipeline.id": ctx.current_pipeline_id,
            "hypernodes.run.id": str(ctx.id),
            **(more or {}),
        }
        if ctx.item_index is not None:
            attributes["hypernodes.item.index"] = ctx.item_index
        if ctx.kind == "node":
            key = (ctx.current_pipeline_id, ctx.name)
            if key not in self._code:
                self._code[key] = _code(ctx)
            attributes.update(self._code[key])
        with ids.preset(ctx):
            # The name of an item's span is the same for all of them, as the conventions ask.
            self._spans[ctx] = tracer.start_span(
                scope.name if scope is ctx else f"{scope.name}[]",
                context=context,
                attributes=attributes,
                start_time=_nanoseconds(ctx.started_at),
            )

    def ended(self, ctx: CallbackContext) -> None:
        span = self._spans.pop(ctx, None)
        if span is not None:
            if ctx.worker is not None:
                span.set_attributes({"process.pid": ctx.worker[0], "thread.name": ctx.worker[1]})
            span.end(_nanoseconds(ctx.ended_at))

    def cached(self, ctx: CallbackContext, signature: str) -> None:
        above = self._above(ctx)
        if above is not None:
            about = {"hypernodes.path": ctx.hierarchy_path, "hypernodes.signature": signature}
            above.add_event("hypernodes.cached", about)

    def _above(self, ctx: CallbackContext) -> Span | None:
        """The span of the nearest scope around that has one; a cached item has none."""
        scope = ctx.parent
        while scope is not None:
            if scope in self._spans:
                return self._spans[scope]
            scope = scope.parent
        return None

    def _tracer(self) -> tuple[Any, _Ids]:
        from opentelemetry import trace

        provider = self._provider or trace.get_tracer_provider()
        known = self._tracers.get(id(provider))
        if known is None:
            tracer = provider.get_tracer("hypernodes")
            known = self._tracers[id(provider)] = (provider, tracer, _Ids.of(tracer))
        return known[1], known[2]

    def _carrier(self, ctx: CallbackContext) -> dict[str, str]:
        """A W3C trace context of a scope's span, also before its start has been reported."""
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        span = self._spans.get(ctx) or self._above(ctx)
        if span is not None:
            around = trace.set_span_in_context(span)
            TraceContextTextMapPropagator().inject(carrier, around)
            if self._tracer()[1].works:
                carrier = _with_span(carrier, ctx)
        return carrier


class _Within(AbstractContextManager[None]):
    """Makes a node's span the current one; sent to another process, one that stands for it."""

    def __init__(self, callback: TracingCallback, ctx: CallbackContext) -> None:
        self._callback = callback
        self._ctx = ctx
        self._token: Any = None

    def __enter__(self) -> None:
        from opentelemetry import context, trace

        span = self._callback._spans.get(self._ctx)
        if span is None:  # it is reported afterwards, as Daft's are
            self._token = context.attach(_extracted(self._callback._carrier(self._ctx)))
        else:
            self._token = context.attach(trace.set_span_in_context(span))

    def __exit__(self, *_: object) -> None:
        from opentelemetry import context

        context.detach(self._token)

    def __reduce__(self) -> tuple[type[_Elsewhere], tuple[dict[str, str]]]:
        return _Elsewhere, (self._callback._carrier(self._ctx),)


class _Elsewhere(AbstractContextManager[None]):
    """The same in another process, by a W3C trace context."""

    def __init__(self, carrier: dict[str, str]) -> None:
        self._carrier = carrier
        self._token: Any = None

    def __enter__(self) -> None:
        from opentelemetry import context

        self._token = context.attach(_extracted(self._carrier))

    def __exit__(self, *_: object) -> None:
        from opentelemetry import context

        context.detach(self._token)


class _Maker:
    """Makes them there, for scopes that are part of one whose trace context it has."""

    def __init__(self, carrier: dict[str, str]) -> None:
        self._carrier = carrier

    def __call__(self, ctx: CallbackContext) -> _Elsewhere:
        return _Elsewhere(_with_span(self._carrier, ctx))


def _extracted(carrier: dict[str, str]) -> Context:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(carrier)


def _with_span(carrier: dict[str, str], ctx: CallbackContext) -> dict[str, str]:
    """The trace context with the span of another scope."""
    if "traceparent" not in carrier:
        return carrier
    version, trace_id, _, flags = carrier["traceparent"].split("-")
    return {**carrier, "traceparent": f"{version}-{trace_id}-{_span_id(ctx):016x}-{flags}"}


class _Ids:
    """Gives a tracer the ids of its next span.

    The API has no way to set a span's id; the SDK takes it from its tracer's `id_generator`. The
    tracer is our own, so nobody else's spans are affected. With a tracer that has no generator
    (`works` is False), what nodes do in other processes is shown under the scope around the node.
    """

    def __init__(self, given: Any) -> None:
        self.works = given is not None
        self._given = given
        self._next = threading.local()

    @classmethod
    def of(cls, tracer: Any) -> _Ids:
        """Those of a tracer, which may be wrapped in others (Logfire's is)."""
        while tracer is not None and not hasattr(tracer, "id_generator"):
            tracer = getattr(tracer, "tracer", None)
        ids = cls(getattr(tracer, "id_generator", None))
        if ids.works:
            tracer.id_generator = ids
        return ids

    @contextlib.contextmanager
    def preset(self, ctx: CallbackContext) -> Iterator[None]:
        """The next span in this thread is that of a scope."""
        self._next.ctx = ctx
        try:
            yield
        finally:
            self._next.ctx = None

    def generate_span_id(self) -> int:
        ctx = getattr(self._next, "ctx", None)
        return self._given.generate_span_id() if ctx is None else _span_id(ctx)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._given, name)


def _code(ctx: CallbackContext) -> Mapping[str, str | int]:
    """A node's function as OpenTelemetry's conventions ask for it: its name, file and line."""
    names = [ctx.name]
    scope: CallbackContext | None = ctx
    while scope is not None and scope.pipeline is None:  # of another process
        scope = scope.parent
        if scope is not None and scope.pipeline is None and scope.kind != "map_item":
            names.append(scope.name)
    node = None if scope is None else scope.pipeline.as_node()
    for name in reversed(names):
        steps = () if node is None else node.pipeline.plan().steps
        node = next((step.node for step in steps if step.id == name), None)
    func = inspect.unwrap(getattr(node, "func", None) or (lambda: None))
    qualname = getattr(func, "__qualname__", None)
    code = getattr(func, "__code__", None)
    if node is None or qualname is None or code is None:
        return {}
    return {
        "code.function.name": f"{func.__module__}.{qualname}",
        "code.file.path": code.co_filename,
        "code.line.number": code.co_firstlineno,
    }


def _span_id(ctx: CallbackContext) -> int:
    """The random low bits of a scope's UUID: a valid span id, for it is never 0."""
    return ctx.id.int & _SPAN_BITS


def _nanoseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e9)
