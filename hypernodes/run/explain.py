"""Why a node is a hit or a miss: what a run would find in the cache, without running anything."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hypernodes.cache import Entry
from hypernodes.cache.base import Refreshing, is_fresh
from hypernodes.cache.entry_info import as_text, changed, changes_of_code, from_text
from hypernodes.cache.explanation import Explanation, NodeExplanation, Verdict
from hypernodes.cache.node_cache import (
    CHANGERS,
    Codes,
    Fresh,
    NodeCache,
    RunCache,
    Warnings,
    joined,
)
from hypernodes.identity.values import Digest, Unidentifiable, sign
from hypernodes.node import Node
from hypernodes.plan import NestedNode, PipelineLike, Plan, Step

BY_KEEP = "the results of its earlier code are used: cache.keep"


def explain(
    pipeline: PipelineLike, cache: Any, items: Sequence[Mapping[str, Any]], output_name: Any = None
) -> Explanation:
    """What runs of a pipeline would find in a cache; see `Pipeline.explain_cache`.

    Args:
        pipeline: what would run.
        cache: what it would use; None for none.
        items: the inputs of each run.
        output_name: the outputs asked for; None for all.
    """
    explainer = _Explainer()
    plan = pipeline.plan(output_name)
    for values in items:
        known = _Known(plan)
        for name, value in values.items():
            known.values[plan.accepts[name]] = value
        seen = explainer.visit(pipeline, cache, known, ())
        _note_idle(known.plan, seen, set(known.plan.returns.values()))
    return Explanation(list(explainer.merged()))


@dataclass(eq=False)
class _Unknown:
    """In place of a signature: the value has not been made, or cannot be identified.

    Attributes:
        why: why it is unknown.
        condition: text for "the value is the same as in the last run"; "" if earlier entries do
            not help.
        cached: whether what is made from it can be in the cache.
        last: its digest in the newest entry made from it, once that has been found.
    """

    why: str
    condition: str = ""
    cached: bool = True
    last: Digest | None = None


class _Assumed(bytes):
    """A digest that is right if the conditions hold."""

    conditions: tuple[str, ...]


def _assumed(digest: Digest, conditions: Iterable[str]) -> Digest:
    known = tuple(conditions)
    if not known or isinstance(digest, Fresh):  # fresh whatever the conditions
        return digest
    made = _Assumed(digest)
    made.conditions = known
    return made


def _conditions(digests: Iterable[Any]) -> list[str]:
    found = [each.conditions for each in digests if isinstance(each, _Assumed)]
    return list(dict.fromkeys(condition for conditions in found for condition in conditions))


class _Known:
    """The slots of a plan that does not run: the values and signatures that are known."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.values: list[Any] = plan.template.copy()
        self.signatures: list[Digest | _Unknown | None] = [None] * len(self.values)

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


def _is_always_run(node: Any) -> bool:
    """Whether each run of a node gives a new result for its readers."""
    return node.options.ttl is not None or node.options.cache == "refresh"


_UNLOADED = object()
_EARLIER = 1000
"""How many earlier runs of a node are compared, from the newest on."""


class _Explainer:
    def __init__(self) -> None:
        self._codes = Codes()
        self._warn = Warnings()
        self._rows: dict[tuple[str, ...], list[_Row]] = {}
        self._earlier: dict[int, dict[str, _Earlier]] = {}

    def merged(self) -> Iterator[NodeExplanation]:
        """One explanation for each node, merged from its items'."""
        for path, rows in self._rows.items():
            node = "/".join(path)
            hits = sum(row.verdict == "hit" for row in rows)
            others = [(at, row) for at, row in enumerate(rows) if row.verdict != "hit"]
            if not others:
                because = dict.fromkeys(why for row in rows for why in row.reasons)
                yield NodeExplanation(node, "hit", tuple(because), len(rows), hits)
                continue
            reasons: Counter[str] = Counter(why for _, row in others for why in row.reasons)
            texts = []
            for why, count in reasons.most_common():
                first = next(at for at, row in others if why in row.reasons)
                one = f"item {first}: {why}"
                more = f" ({count} items, the first is {first})"
                texts.append(why if len(rows) == 1 else one if count == 1 else why + more)
            verdict = others[0][1].verdict
            yield NodeExplanation(node, verdict, tuple(texts), len(rows), hits)

    def visit(
        self, pipeline: PipelineLike, cache: Any, known: _Known, path: tuple[str, ...]
    ) -> _Seen:
        """Look at every step of a plan; `path` has the ids of the nested pipelines around it."""
        seen: _Seen = {}
        for step in known.plan.steps:
            if isinstance(step.node, Node):
                row = seen[step] = self._node(step, step.node, cache, known)
                self._rows.setdefault((*path, step.id), []).append(row)
            else:
                seen[step] = self._nested(step, step.node, cache, known, path)
        return seen

    # -- A node ----------------------------------------------------------------------------------

    def _node(self, step: Step, node: Node[..., Any], cache: Any, known: _Known) -> _Row:
        """What a run would find of a node; what is known of its outputs goes into `known`."""
        runs = f"node {step.id!r} runs, and what it makes is looked at"
        again = f"node {step.id!r} runs: a miss, unless only its own results were removed"
        before = f"node {step.id!r} makes what it made last"
        made: list[Any]

        def row(verdict: Verdict, *reasons: str, made: Any = None, loaders: Any = ()) -> _Row:
            """Fill the outputs' slots with signatures and what loads them; see `_Known`."""
            if made is None:
                made = [_Unknown(runs, before) for _ in step.outputs]
            for place, (_, slot) in enumerate(step.outputs):
                known.signatures[slot] = made[place]
                known.values[slot] = _Loadable(loaders[place]) if loaders else _UNLOADED
            return _Row(verdict, reasons)

        if cache is None:
            return row("not cached", "the pipeline has no cache")
        if node.options.cache is False:
            return row("not cached", "cache=False")
        if node in CHANGERS:
            return row("not cached", "its code changes what it reads: a CacheWarning said what")
        try:
            node_cache = RunCache(cache, self._codes, self._warn).of(step)
        except Unidentifiable as error:
            return row("not cached", f"its code: {error}")
        inputs = {name: known.signature(slot) for name, slot in step.inputs}
        unknown = {name: each for name, each in inputs.items() if isinstance(each, _Unknown)}
        reasons = [f"input {name!r}: {each.why}" for name, each in unknown.items()]
        if not all(each.cached for each in unknown.values()):
            return row("not cached", *reasons)
        asked = _Asked(step, node, node_cache, known.plan.sources(step), cache)
        asked.know(inputs)
        earlier = self._earlier_runs(cache).get(step.id, _NONE)
        like_it = earlier.like(asked) if unknown or _conditions(inputs.values()) else []
        if any(each.last is None for each in unknown.values()):
            if asked.has_to_run() or (earlier.newest and not like_it):
                # A miss whatever those inputs are: no entry fits the inputs that are known.
                mark: Any = Fresh(b"anew") if asked.makes_anew() else _Unknown(again)
                made = [mark] * len(step.outputs)
                return row("miss", *self._why(asked, earlier.newest), made=made)
            if not like_it or not all(each.condition for each in unknown.values()):
                return row("unknown", *reasons, made=[_Unknown(runs)] * len(step.outputs))
            for name, each in unknown.items():
                each.last = each.last or bytes.fromhex(_inputs_of(like_it[0])[name])
        digests = [
            _assumed(each.last or b"", [each.condition]) if isinstance(each, _Unknown) else each
            for each in inputs.values()
        ]
        keys, conditions = node_cache.keys(digests), _conditions(digests)
        others = {entry.about.get("inputs") for entry in like_it} - {asked.text_of(digests)}
        kept_by = (BY_KEEP,) if node_cache.uses_earlier else ()
        if_so = f"if {' and '.join(conditions)}"
        found = node_cache.find(keys, self._warn)
        problem = _problem(cache, keys) if found else ""
        if found and not problem:
            made = [_assumed(each, conditions) for each in found[1]]
            if not conditions:
                return row("hit", *kept_by, made=made, loaders=found[0])
            count = len(others)
            more = "another run" if count == 1 else f"one of {count} other runs"
            hit = f"a hit {if_so}" + (f", or as in {more}" if count else "")
            return row("unknown", hit, *kept_by, made=made, loaders=found[0])
        anew = node.options.ttl is not None  # its readers take it for a new result
        made = [Fresh(key) for key in keys] if anew else list(node_cache.identities(keys, 0.0))
        made = [_assumed(each, conditions) for each in made]
        if conditions and others and not asked.has_to_run():
            return row("unknown", f"it runs {if_so}", *filter(None, [problem]), made=made)
        return row("miss", *([problem] if problem else self._why(asked, earlier.newest)), made=made)

    def _why(self, asked: _Asked, earlier: Sequence[Entry]) -> Iterator[str]:
        """What differs from the nearest earlier run of the node."""
        ttl = asked.node.options.ttl
        if asked.node.original is not None and not asked.is_anew():
            yield "it is to be refreshed"
            return
        if asked.node.original is None and asked.node.options.cache == "refresh":
            yield 'cache="refresh"'
            return
        if isinstance(asked.cache, Refreshing):
            yield "cache.refreshing(): everything is computed anew"
            return
        if asked.is_anew():
            yield "a node before it is computed anew"
            return
        if not earlier:
            yield "there are no results: it has never run, or they were removed or not kept"
            return
        compared = [(list(asked.differences(entry)), entry) for entry in earlier[:_EARLIER]]
        # An item is known by its inputs: where as much differs, it is the code that has changed.
        fewest, nearest = min(
            compared,
            key=lambda each: (len(each[0]), not asked.has_inputs_of(each[1]), -each[1].made),
        )
        age = time.time() - nearest.made
        if fewest:
            yield from fewest
        elif ttl is not None and not is_fresh(nearest.made, ttl):
            yield (
                f"it is {age:.0f} s old, and its ttl is {ttl} s"
                if age > 0
                else f"it is dated {-age:.0f} s ahead of this machine's clock"
            )
        elif any(asked.has_code_of(entry) for different, entry in compared if not different):
            yield "its results are older than the cache's max_age, or some of them are gone"
        else:
            yield "what its code depends on differs in more than its entries record"

    def _earlier_runs(self, cache: Any) -> Mapping[str, _Earlier]:
        """The entries of a cache, by node."""
        runs = self._earlier.get(id(cache))
        if runs is None:
            entries: dict[str, list[Entry]] = {}
            for entry in cache.entries():
                entries.setdefault(entry.node, []).append(entry)
            runs = {node: _Earlier(of_node) for node, of_node in entries.items()}
            self._earlier[id(cache)] = runs
        return runs

    # -- A nested pipeline -----------------------------------------------------------------------

    def _nested(
        self, step: Step, node: NestedNode, cache: Any, known: _Known, path: tuple[str, ...]
    ) -> list[_Seen]:
        """What a run would find of a nested pipeline: in its one run, or for each of its items."""
        inner = node.pipeline
        used = cache if inner.cache is None else inner.cache
        used = None if used is False else used
        plan = step.inner_plan
        below = (*path, step.id)
        base = _Known(plan)
        for name, slot in step.inputs:
            if name not in node.mapped:
                target = plan.accepts[node.inner_inputs[name]]
                base.values[target] = known.values[slot]
                base.signatures[target] = known.signature(slot)
        if not node.mapped:
            seen = self.visit(inner, used, base, below)
            for name, slot in step.outputs:
                source = plan.returns[node.inner_outputs[name]]
                known.values[slot] = base.values[source]
                known.signatures[slot] = base.signatures[source]
            return [seen]
        lists = {name: _load(known.values[slot]) for name, slot in step.inputs
                 if name in node.mapped}  # fmt: skip
        before = f"node {step.id!r} makes what it made last"
        if any(value is _UNLOADED for value in lists.values()):
            why = "the list that it maps over is not there yet"
            for name in lists:  # look at one item, of which we only know earlier runs
                target = plan.accepts[node.inner_inputs[name]]
                base.values[target] = _UNLOADED
                base.signatures[target] = _Unknown(why, "its item is one that was run last")
            seen = self.visit(inner, used, base, below)
            for _, slot in step.outputs:
                known.values[slot] = _UNLOADED
                known.signatures[slot] = _Unknown(why, before)
            return [seen]
        items, _ = node.items(lists)
        conditions = _conditions(
            known.signatures[slot] for name, slot in step.inputs if name in lists
        )
        rows, all_seen = [], []
        for values in items:
            item = _Known(plan)
            item.values, item.signatures = base.values.copy(), base.signatures.copy()
            for name, value in values.items():
                slot = plan.accepts[name]
                item.values[slot] = value
                signature = item.signature(slot)
                if conditions and not isinstance(signature, _Unknown):
                    item.signatures[slot] = _assumed(signature, conditions)
            all_seen.append(self.visit(inner, used, item, below))
            rows.append(item)
        for name, slot in step.outputs:
            source = plan.returns[node.inner_outputs[name]]
            parts = [row.signatures[source] for row in rows]
            made = [part for part in parts if part and not isinstance(part, _Unknown)]
            whole = len(made) == len(parts)
            known.signatures[slot] = (
                _assumed(joined("map", made), [*conditions, *_conditions(made)])
                if whole
                else _Unknown("an item of it is not identified", before)
            )
            known.values[slot] = _LoadableList([row.values[source] for row in rows])
        return all_seen


_Seen = dict[Step, "_Row | list[_Seen]"]
"""For each step of a plan what a run would find: of a nested pipeline for each of its items."""


def _note_idle(plan: Plan, seen: _Seen, wanted: set[int]) -> None:
    """Add to a miss that it does not run, if nothing that runs reads its outputs.

    Args:
        plan: the plan.
        seen: what a run would find.
        wanted: the slots whose values are asked for; those that a step reads are added.
    """
    for step in reversed(plan.steps):
        row = seen[step]
        is_wanted = any(slot in wanted for _, slot in step.outputs)
        if isinstance(row, list):
            assert not isinstance(step.node, Node)
            _note_idle_inside(step, step.node, row, wanted)
        elif row.verdict != "hit":
            if is_wanted or row.verdict != "miss" or _is_always_run(step.node):
                wanted.update(step.reads)
            else:
                row.reasons = (*row.reasons, "it does not run, for nothing that runs reads it")


def _note_idle_inside(
    step: Step, node: NestedNode, all_seen: Sequence[_Seen], wanted: set[int]
) -> None:
    """The same for a nested pipeline's nodes: `wanted` is that of the plan around it."""
    inner = step.inner_plan
    slots = {inner.accepts[node.inner_inputs[name]]: slot for name, slot in step.inputs}
    asked = {
        inner.returns[node.inner_outputs[name]] for name, slot in step.outputs if slot in wanted
    }
    wanted.update(slot for name, slot in step.inputs if name in node.mapped)
    for seen in all_seen:
        read = set(asked)
        _note_idle(inner, seen, read)
        wanted.update(slot for target, slot in slots.items() if target in read)


def _inputs_of(entry: Entry) -> dict[str, str]:
    """The digests, as hex, of the inputs that an entry was made from."""
    return from_text(entry.about.get("inputs", ""))


def _problem(cache: Any, keys: Sequence[Digest]) -> str:
    """What is wrong with a node's entries."""
    return next((why for key in keys if (why := cache.problem(key.hex()))), "")


class _Asked:
    """What a run would ask the cache for: a node's outputs, made by its code from its inputs.

    Args:
        step: the node's step.
        node: the node.
        node_cache: the cache as the node's runs use it.
        sources: the node that makes each input, by the input's name.
        cache: the cache itself.
    """

    def __init__(
        self,
        step: Step,
        node: Node[..., Any],
        node_cache: NodeCache,
        sources: Mapping[str, str],
        cache: Any,
    ) -> None:
        self.step = step
        self.node = node
        self.cache = cache
        self._prefix = node_cache.prefix.hex()
        self._code = node_cache.code.parts()
        self._sources = sources
        self.known: dict[str, Digest] = {}

    def know(self, inputs: Mapping[str, Digest | _Unknown]) -> None:
        """Note the inputs that are known for certain."""
        self.known = {
            name: each
            for name, each in inputs.items()
            if not isinstance(each, (_Unknown, _Assumed))
        }

    def text_of(self, digests: Sequence[Digest]) -> str:
        """The text about inputs in an entry that was made from these."""
        names = (name for name, _ in self.step.inputs)
        return as_text({name: each.hex() for name, each in zip(names, digests, strict=True)})

    def is_anew(self) -> bool:
        """Whether it runs because an input is computed again."""
        return any(isinstance(each, Fresh) for each in self.known.values())

    def has_to_run(self) -> bool:
        """Whether it runs whatever is in the cache."""
        refreshes = self.node.options.cache == "refresh" or isinstance(self.cache, Refreshing)
        return refreshes or self.is_anew()

    def makes_anew(self) -> bool:
        """Whether its readers take what it makes for a new result."""
        options = self.node.options
        return options.ttl is not None or options.cache == "refresh" or self.is_anew()

    def is_like(self, entry: Entry) -> bool:
        """Whether an entry was made by the same code from the same inputs, as far as known."""
        ttl = self.node.options.ttl
        if not self.has_code_of(entry) or not (ttl is None or is_fresh(entry.made, ttl)):
            return False
        return self.has_inputs_of(entry)

    def has_inputs_of(self, entry: Entry) -> bool:
        """Whether an entry was made from the same inputs, as far as known."""
        inputs = _inputs_of(entry)
        return all(inputs.get(name) == each.hex() for name, each in self.known.items())

    def has_code_of(self, entry: Entry) -> bool:
        """Whether an entry was made by the same code."""
        return entry.about.get("prefix") == self._prefix

    def differences(self, entry: Entry) -> Iterator[str]:
        """What differs between the run that made an entry and this one."""
        about = entry.about
        if not self.has_code_of(entry):
            yield from changes_of_code(about, self.node.options.version, self._code)
        was, now = _inputs_of(entry), {name: each.hex() for name, each in self.known.items()}
        names = {name for name, _ in self.step.inputs}
        for name, before, today in changed(was, now):
            if name in names and name not in now:
                continue  # it is not known yet
            source = f" from node {self._sources[name]!r}" if name in self._sources else ""
            what = "is new" if before is None else "is gone" if today is None else "differs"
            yield f"input {name!r}{source} {what}"


class _Earlier:
    """The entries of one node.

    Attributes:
        newest: all of them, the newest first.
    """

    def __init__(self, entries: list[Entry]) -> None:
        self.newest = sorted(entries, key=lambda each: -each.made)

    @cached_property
    def _by_input(self) -> Mapping[tuple[str, str], list[Entry]]:
        # An index, for maps: each of many items asks for the entries made from its inputs.
        found: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.newest:
            for each in _inputs_of(entry).items():
                found.setdefault(each, []).append(entry)
        return found

    def like(self, asked: _Asked) -> list[Entry]:
        """Those that a run might find, going by the inputs that are known; the newest first."""
        possible = [
            self._by_input.get((name, digest.hex()), []) for name, digest in asked.known.items()
        ]
        fewest = min(possible, key=len, default=self.newest)
        return [entry for entry in fewest if asked.is_like(entry)]


_NONE = _Earlier([])


class _Loadable:
    """A value in the cache, loaded if a map needs it as its list."""

    def __init__(self, loader: Any) -> None:
        self.load = loader


class _LoadableList:
    """A list of values that may be loadable."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    def load(self) -> list[Any]:
        return [_load(part) for part in self._parts]


def _load(value: Any) -> Any:
    if isinstance(value, _LoadableList):
        parts = value.load()
        return _UNLOADED if any(part is _UNLOADED for part in parts) else parts
    if isinstance(value, _Loadable):
        try:
            return value.load()
        except KeyError:
            return _UNLOADED
    return value
