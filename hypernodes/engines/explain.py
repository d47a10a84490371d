"""Why a node is in the cache or not: what a run would find, told without running anything."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hypernodes.cache import Entry
from hypernodes.engines.keeping import Codes, Fresh, Keeping, Warnings, from_text, joined
from hypernodes.graph import Plan, Step
from hypernodes.identity.values import Digest, Unidentifiable, sign
from hypernodes.nested import PipelineNode
from hypernodes.node import Node
from hypernodes.pipeline import Pipeline

Verdict = Literal["hit", "miss", "not cached", "unknown"]


@dataclass(frozen=True)
class NodeExplanation:
    """What a run would find of one node.

    Attributes:
        node: the node's id, after those of the nested pipelines that it is in: `outer/node`.
        verdict: "hit"; "miss"; "not cached", which runs every time; "unknown", where that
            depends on what a node would make that is not run to find out.
        reasons: what differs from the nearest earlier run, or why it is not cached.
        items: how many items of a map were looked at; 1 outside of maps.
        hits: how many of them are hits.
    """

    node: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    items: int = 1
    hits: int = 0

    def __str__(self) -> str:
        count = f" ({self.hits} of {self.items} items are hits)" if self.items > 1 else ""
        why = f": {'; '.join(self.reasons)}" if self.reasons else ""
        return f"{self.node}: {self.verdict}{count}{why}"


class Explanation(Sequence[NodeExplanation]):
    """What a run would find of each node, in the order in which they would run."""

    def __init__(self, nodes: Sequence[NodeExplanation]) -> None:
        self.nodes = tuple(nodes)

    def __getitem__(self, at: Any) -> Any:
        """A node's by its place, or by its id with or without what is around it."""
        if isinstance(at, str):
            for each in self.nodes:
                if at in (each.node, each.node.rpartition("/")[2]):
                    return each
            raise KeyError(at)
        return self.nodes[at]

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        return "\n".join(map(str, self.nodes))

    def __repr__(self) -> str:
        counts = Counter(each.verdict for each in self.nodes)
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        return f"<Explanation: {told}>\n{self}"


def explain(
    pipeline: Pipeline, cache: Any, items: Sequence[Mapping[str, Any]], output_name: Any = None
) -> Explanation:
    """What runs of a pipeline would find in a cache; see `Pipeline.explain_cache`."""
    explainer = _Explainer()
    plan = pipeline.plan(output_name)
    for values in items:
        known = _Known(plan)
        for name, value in values.items():
            known.give(plan.accepts[name], value)
        explainer.walk(pipeline, cache, known, ())
    return Explanation(list(explainer.merged()))


@dataclass
class _Unknown:
    """In place of a signature: nothing tells what the value would be, or what identifies it."""

    why: str
    cached: bool = True


class _Known:
    """What is known of a plan's slots without running it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.values: list[Any] = plan.template.copy()
        self.signatures: list[Digest | _Unknown | None] = [None] * len(self.values)

    def give(self, slot: int, value: Any) -> None:
        self.values[slot] = value

    def signature(self, slot: int) -> Digest | _Unknown:
        known = self.signatures[slot]
        if known is None:
            try:
                known = sign(self.values[slot])
            except Unidentifiable as error:
                known = _Unknown(str(error), cached=False)
            self.signatures[slot] = known
        return known


@dataclass
class _Row:
    verdict: Verdict
    reasons: tuple[str, ...] = ()


_UNLOADED = object()
_EARLIER = 1000
"""So many earlier runs of a node are compared with, the newest ones."""


class _Explainer:
    def __init__(self) -> None:
        self._codes = Codes()
        self._rows: dict[tuple[str, ...], list[_Row]] = {}
        self._earlier: dict[int, dict[str, list[Entry]]] = {}

    def merged(self) -> Iterator[NodeExplanation]:
        """One explanation for each node out of those for each item."""
        for path, rows in self._rows.items():
            node = "/".join(path)
            hits = sum(row.verdict == "hit" for row in rows)
            others = [(at, row) for at, row in enumerate(rows) if row.verdict != "hit"]
            if not others:
                yield NodeExplanation(node, "hit", items=len(rows), hits=hits)
                continue
            reasons: Counter[str] = Counter(why for _, row in others for why in row.reasons)
            told = []
            for why, count in reasons.most_common():
                first = next(at for at, row in others if why in row.reasons)
                one = f"item {first}: {why}"
                more = f" ({count} items, the first is {first})"
                told.append(why if len(rows) == 1 else one if count == 1 else why + more)
            verdict = others[0][1].verdict
            yield NodeExplanation(node, verdict, tuple(told), len(rows), hits)

    def walk(self, pipeline: Pipeline, cache: Any, known: _Known, path: tuple[str, ...]) -> None:
        for step in known.plan.steps:
            if isinstance(step.node, Node):
                row = self._node(step, step.node, cache, known)
                self._rows.setdefault((*path, step.id), []).append(row)
            else:
                self._nested(step, step.node, cache, known, path)

    # -- A node ----------------------------------------------------------------------------------

    def _node(self, step: Step, node: Node[..., Any], cache: Any, known: _Known) -> _Row:
        def give(signatures: Sequence[Digest | _Unknown], loaders: Sequence[Any] = ()) -> None:
            for place, (_, slot) in enumerate(step.outputs):
                known.signatures[slot] = signatures[place]
                known.values[slot] = _Later(loaders[place]) if loaders else _UNLOADED

        def nothing(why: str) -> list[_Unknown]:
            return [_Unknown(why)] * len(step.outputs)

        runs = f"node {step.id!r} runs, and what it makes is looked at"
        if cache is None:
            give(nothing(runs))
            return _Row("not cached", ("the pipeline has no cache",))
        if node.options.cache is False:
            give(nothing(runs))
            return _Row("not cached", ("cache=False",))
        try:
            kept = Keeping(cache, self._codes, Warnings()).of(step)
        except Unidentifiable as error:
            give(nothing(runs))
            return _Row("not cached", (f"its code: {error}",))
        digests = {name: known.signature(slot) for name, slot in step.inputs}
        missing = {name: each for name, each in digests.items() if isinstance(each, _Unknown)}
        if missing:
            give(nothing(runs))
            unknown = all(each.cached for each in missing.values())
            told = tuple(f"input {name!r}: {each.why}" for name, each in missing.items())
            return _Row("unknown" if unknown else "not cached", told)
        signatures = {n: each for n, each in digests.items() if not isinstance(each, _Unknown)}
        keys = kept.keys(tuple(signatures.values()))
        found = kept.find(keys)
        if found is not None:
            loaders, identities = found
            give(identities, loaders)
            return _Row("hit")
        if node.options.ttl is not None:
            give(nothing(f"node {step.id!r} runs, and its result is a new one"))
        else:
            give(kept.identities(keys, 0.0))
        told = tuple(self._why(step, node, cache, kept.code.parts(), keys, signatures, known))
        return _Row("miss", told)

    def _why(
        self,
        step: Step,
        node: Node[..., Any],
        cache: Any,
        code: Mapping[str, str],
        keys: Sequence[Digest],
        signatures: Mapping[str, Digest],
        known: _Known,
    ) -> Iterator[str]:
        """What differs from the nearest earlier run of the node."""
        if node.options.cache == "refresh":
            yield 'cache="refresh"'
            return
        if type(keys[0]) is Fresh:
            yield "a node before it is computed anew"
            return
        earlier = self._earlier_runs(cache).get(step.id, [])
        if not earlier:
            yield "it has never run, or its results have been removed"
            return
        sources = known.plan.sources(step)
        inputs = {name: digest.hex()[:16] for name, digest in signatures.items()}
        told = [
            (list(_differences(entry.about, node.options.version, code, inputs, sources)), entry)
            for entry in earlier
        ]
        fewest, nearest = min(told, key=lambda each: (len(each[0]), -each[1].made))
        if fewest:
            yield from fewest
        elif node.options.ttl is not None and nearest.made < time.time() - node.options.ttl:
            yield f"it is {time.time() - nearest.made:.0f} s old, and its ttl is {node.options.ttl}"
        elif any(entry.key == key.hex() for entry in earlier for key in keys):
            yield "its results are older than the cache's max_age, or some of them are gone"
        else:
            yield "what its code depends on differs in more than can be told"

    def _earlier_runs(self, cache: Any) -> Mapping[str, list[Entry]]:
        runs = self._earlier.get(id(cache))
        if runs is None:
            runs = self._earlier[id(cache)] = {}
            for entry in cache.entries():
                runs.setdefault(entry.node, []).append(entry)
            for name, entries in runs.items():
                runs[name] = heapq.nlargest(_EARLIER, entries, key=lambda each: each.made)
        return runs

    # -- A nested pipeline -----------------------------------------------------------------------

    def _nested(
        self, step: Step, node: PipelineNode, cache: Any, known: _Known, path: tuple[str, ...]
    ) -> None:
        inner = node.pipeline
        used = cache if inner.cache is None else inner.cache
        used = None if used is False else used
        plan = node.plan(name for name, _ in step.outputs)
        below = (*path, step.id)
        base = _Known(plan)
        for name, slot in step.inputs:
            if name not in node.mapped:
                target = plan.accepts[node.inner_inputs[name]]
                base.values[target] = known.values[slot]
                base.signatures[target] = known.signature(slot)
        if not node.mapped:
            self.walk(inner, used, base, below)
            for name, slot in step.outputs:
                source = plan.returns[node.inner_outputs[name]]
                known.values[slot] = base.values[source]
                known.signatures[slot] = base.signatures[source]
            return
        lists = {name: _load(known.values[slot]) for name, slot in step.inputs
                 if name in node.mapped}  # fmt: skip
        if any(value is _UNLOADED for value in lists.values()):
            why = "the list that it maps over is not there yet"
            for each in plan.steps:
                self._rows.setdefault((*below, each.id), []).append(_Row("unknown", (why,)))
            for _, slot in step.outputs:
                known.values[slot] = _UNLOADED
                known.signatures[slot] = _Unknown(why)
            return
        items, _ = node.items(lists)
        rows = []
        for values in items:
            item = _Known(plan)
            item.values, item.signatures = base.values.copy(), base.signatures.copy()
            for name, value in values.items():
                item.give(plan.accepts[name], value)
            self.walk(inner, used, item, below)
            rows.append(item)
        for name, slot in step.outputs:
            source = plan.returns[node.inner_outputs[name]]
            parts = [row.signatures[source] for row in rows]
            made = [part for part in parts if part and not isinstance(part, _Unknown)]
            whole = len(made) == len(parts)
            known.signatures[slot] = (
                joined("map", made) if whole else _Unknown("an item of it is not identified")
            )
            known.values[slot] = _All([row.values[source] for row in rows])


class _Later:
    """A value in the cache, loaded where a map needs it."""

    def __init__(self, loader: Any) -> None:
        self.load = loader


class _All:
    """The list of such values."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    def load(self) -> list[Any]:
        return [_load(part) for part in self._parts]


def _load(value: Any) -> Any:
    if isinstance(value, _All):
        parts = value.load()
        return _UNLOADED if any(part is _UNLOADED for part in parts) else parts
    if isinstance(value, _Later):
        try:
            return value.load()
        except KeyError:
            return _UNLOADED
    return value


def _differences(
    about: Mapping[str, Any],
    version: str | None,
    code: Mapping[str, str],
    inputs: Mapping[str, str],
    sources: Mapping[str, str],
) -> Iterator[str]:
    """What differs between an earlier run of a node and this one."""
    if about.get("version") != version:
        yield f"version: {about.get('version')!r} is now {version!r}"
    for name, was, now in _changed(from_text(about.get("code", "")), code):
        if was is None:
            yield f"code: it uses {name} now"
        elif now is None:
            yield f"code: it does not use {name} any more"
        elif name.startswith("package "):
            yield f"code: {was} is now {now}"
        else:
            yield f"code: {name} changed"
    for name, was, now in _changed(from_text(about.get("inputs", "")), inputs):
        source = f" from node {sources[name]!r}" if name in sources else ""
        what = "is new" if was is None else "is gone" if now is None else "differs"
        yield f"input {name!r}{source} {what}"


def _changed(
    before: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[tuple[str, str | None, str | None]]:
    """The names that stand for something else, and what they stood and stand for."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield name, before.get(name), now.get(name)
