"""The long walk: how nodes, nested pipelines and items run with a cache and callbacks.

The run of one node is told once, in `Execution._node`, in the order in which it happens:

    signature -> cache -> call -> store -> report

It is told as a coroutine, so that engines share it: a sequential one drives it to its end at
once, a concurrent one leaves it suspended while an executor works. What differs between them is
`Workers`: how a function is called, and in which order steps and items go.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

from hypernodes.callbacks import (
    CallbackContext,
    Hooks,
    ItemScope,
    Kind,
    MapScope,
    NodeScope,
    PipelineScope,
    Scope,
)
from hypernodes.engines.base import FailedItem
from hypernodes.engines.program import note_item, note_node
from hypernodes.errors import CacheWarning, failing_node
from hypernodes.executors import block_on, is_awaited
from hypernodes.fingerprint import Fingerprints
from hypernodes.graph import Plan, Step
from hypernodes.node import Node
from hypernodes.pipeline import Pipeline, PipelineNode
from hypernodes.signature import RULES, Digest, Unidentifiable, combine, sign

UNKNOWN: Digest = b""
"""In a place of a signature: the value has been looked at and cannot be identified."""


class Workers(Protocol):
    """How an engine calls functions, and in which order it does what does not depend."""

    async def call(
        self,
        node: Node[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        contexts: Sequence[AbstractContextManager[Any]],
    ) -> Any:
        """Call a node's function where it is to run, within the callbacks' contexts."""

    async def steps(self, run: Callable[[Step], Coroutine[Any, Any, None]], plan: Plan) -> None:
        """Run every step of a plan, each after all of its upstream."""

    async def items(
        self, run: Callable[[int], Coroutine[Any, Any, Any]], total: int, depth: int
    ) -> list[Any]:
        """Run every item of a map that is inside `depth` others; results in order."""

    async def apart(self, run: Callable[[], Any]) -> Any:
        """Do what may run for long and has an engine of its own."""


class Sequential:
    """Everything in the calling thread, one after the other."""

    async def call(
        self,
        node: Node[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        contexts: Sequence[AbstractContextManager[Any]],
    ) -> Any:
        return call_within(contexts, node.func, args, kwargs)

    async def steps(self, run: Callable[[Step], Coroutine[Any, Any, None]], plan: Plan) -> None:
        for step in plan.steps:
            await run(step)

    async def items(
        self, run: Callable[[int], Coroutine[Any, Any, Any]], total: int, depth: int
    ) -> list[Any]:
        return [await run(index) for index in range(total)]

    async def apart(self, run: Callable[[], Any]) -> Any:
        return run()


def call_within(
    contexts: Sequence[AbstractContextManager[Any]],
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """Call a function, and wait for the coroutine that it may give, within the contexts."""

    async def rest(awaitable: Any) -> Any:
        return await awaitable

    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        result = func(*args, **kwargs)
        return block_on(rest(result)) if is_awaited(result) else result


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never suspends, as those of `Sequential` workers do not."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("sequential work was suspended")


class Frame:
    """One walk over a plan: its slots, and what is known about each of them.

    Attributes:
        slots: the values; a `Stored` where it is in the cache and was not needed yet.
        signatures: what identifies the value; None where nobody has asked yet.
        sources: the scope that made the value; None for inputs.
    """

    __slots__ = ("plan", "signatures", "slots", "sources")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.slots: list[Any] = plan.template.copy()
        self.signatures: list[Digest | None] = [None] * len(self.slots)
        self.sources: list[CallbackContext | None] = [None] * len(self.slots)

    def copy(self) -> Frame:
        copy = object.__new__(Frame)
        copy.plan = self.plan
        copy.slots = self.slots.copy()
        copy.signatures = self.signatures.copy()
        copy.sources = self.sources.copy()
        return copy

    def give(self, values: Mapping[str, Any]) -> Frame:
        """Put inputs in their places."""
        for name, value in values.items():
            self.slots[self.plan.accepts[name]] = value
        return self

    async def value(self, slot: int) -> Any:
        """The value itself, out of the cache where it is still there."""
        value = self.slots[slot]
        if type(value) in DEFERRED:
            value = self.slots[slot] = await value.load()
        return value

    async def signature(self, slot: int) -> Digest:
        """What identifies a slot's value.

        Raises:
            Unidentifiable: nothing does.
        """
        known = self.signatures[slot]
        if known is None:
            self.signatures[slot] = UNKNOWN
            known = self.signatures[slot] = sign(await self.value(slot))
        if known is UNKNOWN:
            sign(self.slots[slot])  # says why
        return known


class Stored:
    """A result that is in the cache and was not needed yet."""

    __slots__ = ("_cache", "_execution", "_frame", "_key", "_slot", "_step")

    def __init__(
        self, cache: Any, key: str, execution: Execution, step: Step, frame: Frame, slot: int
    ) -> None:
        self._cache = cache
        self._key = key
        self._execution = execution
        self._step = step
        self._frame = frame
        self._slot = slot

    async def load(self) -> Any:
        """The value; computed again where the entry has gone or is broken."""
        try:
            return self._cache.load(self._key)
        except KeyError:
            pass
        except Exception as error:
            self._execution.session.warn(f"the cache cannot be read ({error!r})")
        await self._execution.recompute(self._step, self._frame)
        return self._frame.slots[self._slot]


class StoredList:
    """The list that a nested map made, with items that are in the cache."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    async def load(self) -> list[Any]:
        """The list of values."""
        return [await part.load() if type(part) in DEFERRED else part for part in self._parts]


DEFERRED = frozenset({Stored, StoredList})


class Session:
    """What one call of an engine, with all that is nested in it, shares."""

    def __init__(self) -> None:
        self.fingerprints = Fingerprints()
        self._warned: set[str] = set()

    def warn(self, message: str) -> None:
        """Warn of something that costs the caching, once."""
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, CacheWarning, stacklevel=2)


class Execution:
    """One pipeline's part of a run: what its nodes share. It never changes.

    Attributes:
        pipeline: the pipeline.
        engine: the engine that runs it.
        workers: how that engine calls functions.
        cache: where results are kept, or None.
        hooks: who is told.
        ctx: the scope that the nodes are part of, as callbacks see it.
        scope: the same, as it is started and ended.
        session: what the whole run shares.
    """

    __slots__ = ("cache", "ctx", "engine", "hooks", "pipeline", "scope", "session", "workers")

    def __init__(
        self,
        pipeline: Pipeline,
        engine: Any,
        workers: Workers,
        cache: Any,
        hooks: Hooks,
        session: Session,
        ctx: CallbackContext | None,
        scope: Scope | None,
    ) -> None:
        self.pipeline = pipeline
        self.engine = engine
        self.workers = workers
        self.cache = cache
        self.hooks = hooks
        self.session = session
        self.ctx = ctx
        self.scope = scope

    # -- Beginning -------------------------------------------------------------------------------

    @classmethod
    def begin(
        cls, pipeline: Pipeline, engine: Any, workers: Workers, outer: CallbackContext | None
    ) -> Execution:
        """The execution of an engine's call; `outer` is the scope that called it, if any."""
        callbacks = pipeline.callbacks
        if callbacks is None:
            callbacks = outer.callbacks if outer else ()
        cache = pipeline.cache
        if cache is None:
            cache = outer.cache if outer else None
        hooks = Hooks(callbacks)
        used = None if cache is False else cache
        return cls(pipeline, engine, workers, used, hooks, Session(), outer, None)

    def _inside(self, node: PipelineNode) -> Execution:
        """The execution of a nested pipeline, with what it inherits."""
        inner = node.pipeline
        own = inner.callbacks
        cache = self.cache if inner.cache is None else inner.cache
        return Execution(
            inner,
            self.engine if inner.engine is None else inner.engine,
            self.workers if inner.engine is None else inner.engine.workers,
            None if cache is False else cache,
            self.hooks if own is None else Hooks(own),
            self.session,
            self.ctx,
            self.scope,
        )

    def _within(self, scope: Scope) -> Execution:
        """The same, inside a scope."""
        return Execution(
            self.pipeline,
            self.engine,
            self.workers,
            self.cache,
            self.hooks,
            self.session,
            scope.ctx,
            scope,
        )

    def _context(
        self,
        kind: Kind,
        name: str,
        index: int | None = None,
        inputs_from: Mapping[str, CallbackContext] | None = None,
    ) -> CallbackContext:
        return CallbackContext(
            kind,
            name,
            self.ctx,
            self.pipeline.id,
            item_index=index,
            inputs_from=inputs_from,
            engine=self.engine,
            cache=self.cache,
            callbacks=self.hooks.callbacks,
        )

    # -- Pipelines and maps ----------------------------------------------------------------------

    async def run(
        self,
        frame: Frame,
        name: str,
        inputs: Mapping[str, Any],
        inputs_from: Mapping[str, CallbackContext] | None = None,
        load: bool = True,
    ) -> CallbackContext:
        """Run the pipeline for one item; its results are in the frame afterwards."""
        ctx = self._context("pipeline", name, inputs_from=inputs_from)
        scope = PipelineScope(self.hooks, ctx, self.scope, inputs)
        if self.scope is None or self.scope.started:
            scope.start()
        with scope.unwinding():
            await self._within(scope)._walk(frame, load)
        scope.end(frame.plan.result(frame.slots) if load else {})
        return ctx

    async def map(
        self,
        base: Frame,
        name: str,
        items: Sequence[Mapping[str, Any]],
        finish: Callable[[Frame], Any],
        error_handling: str = "raise",
        inputs_from: Mapping[str, CallbackContext] | None = None,
        load: bool = True,
    ) -> tuple[list[Any], CallbackContext]:
        """Run the pipeline for many items, each over a copy of the frame `base`."""
        ctx = self._context("map", name, inputs_from=inputs_from)
        scope = MapScope(self.hooks, ctx, self.scope, len(items))
        if self.scope is None or self.scope.started:
            scope.start()
        inside = self._within(scope)

        async def run(index: int) -> Any:
            try:
                return finish(await inside._item(base, index, items[index], load))
            except Exception as error:
                if error_handling == "raise":
                    raise
                return FailedItem(index, failing_node(error), error, dict(items[index]))

        with scope.unwinding():
            if self.cache is not None and items:
                await self._sign_shared(base, items[0])
            results = await self.workers.items(run, len(items), ctx.map_depth - 1)
        scope.end({})
        return results, ctx

    async def _sign_shared(self, base: Frame, item: Mapping[str, Any]) -> None:
        """Identify what the items share, once for all of them."""
        for name, slot in base.plan.given.items():
            if name not in item:
                try:
                    await base.signature(slot)
                except Unidentifiable:
                    continue

    async def _item(self, base: Frame, index: int, values: Mapping[str, Any], load: bool) -> Frame:
        frame = base.copy().give(values)
        assert self.ctx is not None  # the map's
        ctx = self._context("map_item", f"{self.ctx.name}[{index}]", index)
        scope = ItemScope(self.hooks, ctx, self.scope)
        try:
            with scope.unwinding():
                await self._within(scope)._walk(frame, load)
        except BaseException as error:
            note_item(error, index, self.pipeline)
            raise
        if scope.started:
            scope.end({})
        else:
            made = [frame.signatures[slot] or UNKNOWN for slot in frame.plan.returns.values()]
            scope.cached(combine("item", *made).hex())
        return frame

    async def _walk(self, frame: Frame, load: bool) -> None:
        async def run(step: Step) -> None:
            try:
                if isinstance(step.node, Node):
                    await self._node(step, step.node, frame)
                else:
                    await self._nested(step, step.node, frame)
            except BaseException as error:
                note_node(error, step, self.pipeline)
                raise

        await self.workers.steps(run, frame.plan)
        if load:
            for slot in frame.plan.returns.values():
                await frame.value(slot)

    # -- One node --------------------------------------------------------------------------------

    async def _node(
        self, step: Step, node: Node[..., Any], frame: Frame, again: bool = False
    ) -> None:
        signature = await self._signature(step, node, frame)
        ctx = self._context("node", step.id, inputs_from=_inputs_from(step, frame))
        for _, slot in step.outputs:
            frame.sources[slot] = ctx
        if signature is not None:
            keys = [combine(f"output {place}", signature) for place in range(len(step.outputs))]
            for (_, slot), key in zip(step.outputs, keys, strict=True):
                frame.signatures[slot] = key
            if not again and self._is_stored(keys):
                for (_, slot), key in zip(step.outputs, keys, strict=True):
                    frame.slots[slot] = Stored(self.cache, key.hex(), self, step, frame, slot)
                NodeScope(self.hooks, ctx, self.scope, {}).cached(signature.hex())
                return
        inputs = {name: await frame.value(slot) for name, slot in step.inputs}
        scope = NodeScope(self.hooks, ctx, None if again else self.scope, inputs)
        scope.start()
        begun = time.perf_counter()
        try:
            args, kwargs = step.arguments(frame.slots)
            contexts = self.hooks.node_contexts(ctx)
            values = node.unpack(await self.workers.call(node, args, kwargs, contexts))
        except BaseException as error:
            note_node(error, step, self.pipeline)
            scope.fail(error)
            raise
        duration = time.perf_counter() - begun
        for (_, slot), value in zip(step.outputs, values, strict=True):
            frame.slots[slot] = value
        if signature is not None:
            self._store(step, keys, values, duration)
        scope.end(dict(zip(node.outputs, values, strict=True)))

    async def recompute(self, step: Step, frame: Frame) -> None:
        """Run a node whose result was in the cache and cannot be loaded after all."""
        assert isinstance(step.node, Node)
        await self._node(step, step.node, frame, again=True)

    async def _signature(self, step: Step, node: Node[..., Any], frame: Frame) -> Digest | None:
        if self.cache is None or not node.cache:
            return None
        what = "its code"
        try:
            parts = [self.session.fingerprints.of(node.func)]
            for name, slot in step.inputs:
                what = f"its input {name!r}"
                parts.append(await frame.signature(slot))
        except Unidentifiable as error:
            self.session.warn(f"node {step.id!r} is not cached: {what}: {error}")
            return None
        names = " ".join(name for name, _ in step.inputs)
        return combine(f"rules {RULES} node {len(step.outputs)} {names}", *parts)

    def _is_stored(self, keys: Iterable[Digest]) -> bool:
        try:
            return all(key.hex() in self.cache for key in keys)
        except Exception as error:
            self.session.warn(f"the cache cannot be read ({error!r})")
            return False

    def _store(
        self, step: Step, keys: Sequence[Digest], values: Sequence[Any], duration: float
    ) -> None:
        for (name, _), key, value in zip(step.outputs, keys, values, strict=True):
            about = {"node": step.id, "output": name, "duration": duration, "time": time.time()}
            try:
                self.cache.store(key.hex(), value, about)
            except Exception as error:
                self.session.warn(f"output {name!r} of node {step.id!r} is not kept: {error!r}")

    # -- A nested pipeline -----------------------------------------------------------------------

    async def _nested(self, step: Step, node: PipelineNode, frame: Frame) -> None:
        engine = node.pipeline.engine
        if engine is not None and not isinstance(engine, type(self.engine)):
            await self._foreign(step, node, frame)
            return
        inside = self._inside(node)
        plan = node.plan(name for name, _ in step.outputs)
        sources = _inputs_from(step, frame)
        inner = Frame(plan)
        for name, slot in step.inputs:
            if name in node.mapped:
                continue
            target = plan.accepts[node.inner_inputs[name]]
            if inside.cache is not None:
                await self._try_to_sign(frame, slot)
            inner.slots[target] = frame.slots[slot]
            inner.signatures[target] = frame.signatures[slot]
            inner.sources[target] = frame.sources[slot]
        if node.mapped:
            rows, ctx = await self._nested_map(step, node, frame, inside, inner, sources)
            self._collect(step, node, plan, rows, frame)
        else:
            ctx = await inside.run(inner, step.id, {}, sources, load=False)
            for name, slot in step.outputs:
                source = plan.returns[node.inner_outputs[name]]
                frame.slots[slot] = inner.slots[source]
                frame.signatures[slot] = inner.signatures[source]
        for _, slot in step.outputs:
            frame.sources[slot] = ctx

    async def _try_to_sign(self, frame: Frame, slot: int) -> None:
        try:
            await frame.signature(slot)
        except Unidentifiable:
            frame.signatures[slot] = UNKNOWN

    async def _nested_map(
        self,
        step: Step,
        node: PipelineNode,
        frame: Frame,
        inside: Execution,
        base: Frame,
        sources: Mapping[str, CallbackContext],
    ) -> tuple[list[Frame], CallbackContext]:
        lists = {name: await frame.value(slot) for name, slot in step.inputs if name in node.mapped}
        for name, slot in step.inputs:
            if name in node.mapped:
                base.sources[base.plan.accepts[node.inner_inputs[name]]] = frame.sources[slot]
        items, _ = node.items(lists)
        return await inside.map(
            base, step.id, items, lambda done: done, inputs_from=sources, load=False
        )

    def _collect(
        self, step: Step, node: PipelineNode, plan: Plan, rows: list[Frame], frame: Frame
    ) -> None:
        for name, slot in step.outputs:
            source = plan.returns[node.inner_outputs[name]]
            parts = [row.slots[source] for row in rows]
            deferred = any(type(part) in DEFERRED for part in parts)
            frame.slots[slot] = StoredList(parts) if deferred else parts
            known = [row.signatures[source] for row in rows]
            made = [signature for signature in known if signature]
            frame.signatures[slot] = combine("map", *made) if len(made) == len(rows) else None

    async def _foreign(self, step: Step, node: PipelineNode, frame: Frame) -> None:
        """A nested pipeline whose engine is of another kind: it is called like by a user."""
        if self.scope is not None:
            self.scope.start()
        values = {name: await frame.value(slot) for name, slot in step.inputs}
        wanted = [node.inner_outputs[name] for name, _ in step.outputs]
        results = await self.workers.apart(lambda: run_foreign(node, values, wanted, self.ctx))
        for (_, slot), name in zip(step.outputs, wanted, strict=True):
            frame.slots[slot] = results[name]


def run_foreign(
    node: PipelineNode,
    values: Mapping[str, Any],
    wanted: list[str],
    ctx: CallbackContext | None,
) -> dict[str, Any]:
    """Run a nested pipeline on its own engine; a mapped one gives a list for each output."""
    engine: Any = node.pipeline.engine
    if not node.mapped:
        inputs = {node.inner_inputs[name]: value for name, value in values.items()}
        result: dict[str, Any] = engine.run(node.pipeline, inputs, wanted, _ctx=ctx)
        return result
    items, shared = node.items(values)
    rows = engine.map(node.pipeline, items, shared, wanted, _ctx=ctx)
    return {name: [row[name] for row in rows] for name in wanted}


def _inputs_from(step: Step, frame: Frame) -> dict[str, CallbackContext]:
    sources = frame.sources
    return {name: ctx for name, slot in step.inputs if (ctx := sources[slot]) is not None}
