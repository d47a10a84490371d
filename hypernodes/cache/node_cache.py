"""The cache as the runs of one node use it: identify its outputs, look them up, save them.

Nothing here runs a node or waits, so that every engine can use it:

    node_cache = run_cache.of(step)
    keys = node_cache.keys(digests)               what identifies the outputs
    found = node_cache.find(keys, warn)           what loads them, or None
    node_cache.save(keys, values, ..., warn)      once the function has been called
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from hypernodes.cache import Cache
from hypernodes.cache.base import is_fresh
from hypernodes.cache.entry_info import as_text
from hypernodes.cache.format import dump
from hypernodes.errors import CacheWarning, warn_caller
from hypernodes.identity.code import Code, code_of, code_vouched_for
from hypernodes.identity.values import RULES, SIZE, Digest, Unidentifiable, combine, sign
from hypernodes.node import Node
from hypernodes.plan import Step

Found = tuple[Sequence[Callable[[], Any]], Sequence[Digest]]
"""For each output what loads it, and what identifies it as an input of other nodes."""


class Fresh(bytes):
    """A digest of what a node has computed again though it was there (`cache="refresh"`).

    What is made from it is computed again as well: what is stored was made from the old one.
    """


def joined(tag: str, digests: Sequence[Digest]) -> Digest:
    """The digest of something made of parts: fresh where one of them is.

    Args:
        tag: what it is.
        digests: those of its parts.
    """
    digest = combine(tag, *digests)
    return Fresh(digest) if Fresh in map(type, digests) else digest


class Warnings:
    """Warns of what costs the caching, once of each kind in a run."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __call__(self, message: str, kind: str | None = None) -> None:
        """Warn.

        Args:
            message: what to say.
            kind: what it is of, where several messages are about the same.
        """
        kind = kind or message
        if kind not in self._given:
            self._given.add(kind)
            warn_caller(message, CacheWarning)


class Codes:
    """The code of nodes' functions in one run: each is checked once, then looked up."""

    def __init__(self) -> None:
        self._of: dict[Any, Code] = {}

    def of(self, node: Node[..., Any]) -> Code:
        """What identifies a node's code.

        Raises:
            Unidentifiable: it depends on something that cannot be identified.
        """
        options = node.options
        version, may_change = options.code_version, options.ttl is not None
        key = (node.identity, may_change) if version is None else node
        code = self._of.get(key)
        if code is None:
            if version is None:
                code = code_of(node.identity, may_change=may_change)
                node.code_memo = code
            else:
                code = code_vouched_for(node.vouched, version)
            self._of[key] = code
        return code


def prefix_of(node: Node[..., Any], code: Code) -> bytes:
    """What the signature of each run of a node begins with.

    Args:
        node: the node.
        code: what identifies its code.
    """
    how = (node.input_names, len(node.outputs), node.options.version)
    prefix: bytes | None = code.memo.get(how)
    if prefix is None:
        names = " ".join(name for name in node.input_names if name not in code.ignores)
        about = f"rules {RULES} node {len(node.outputs)} {names} {node.options.version!r}"
        prefix = code.memo[how] = combine(about, code.digest)
    return prefix


_SHARE = 20
"""A look whether a function has changed what its code reads takes a 20th of the time at most."""
_SELDOM = 1000
"""Every so many calls, where each look has to identify what the code reads."""
_CALLS: weakref.WeakKeyDictionary[Node[..., Any], int] = weakref.WeakKeyDictionary()
"""How often each node has been computed in this process."""
CHANGERS: weakref.WeakSet[Node[..., Any]] = weakref.WeakSet()
"""Nodes of which a call has changed what their code reads."""


class RunCache:
    """One cache as the nodes of a run use it.

    Args:
        cache: where results are stored.
        codes: the code of the run's nodes.
        warn: warns of what costs the caching.
    """

    __slots__ = ("_codes", "_same", "_steps", "_warn", "cache")

    def __init__(self, cache: Cache, codes: Codes, warn: Warnings) -> None:
        self.cache = cache
        self._codes = codes
        self._warn = warn
        self._steps: dict[Step, NodeCache] = {}
        self._same: Mapping[str, str] | None = None

    def of(self, step: Step) -> NodeCache:
        """The cache as the runs of a step's node use it.

        Raises:
            Unidentifiable: the node's code depends on something that cannot be identified.
        """
        known = self._steps.get(step)
        if known is None:
            same = self._same_code()
            # Making one costs as much as finding an entry.
            known = step.memo.get("node cache")
            # From run to run it stays the same, unless the code or whose results it uses changes.
            if known is None or known.cache is not self.cache or same or not known.code.holds():
                assert isinstance(step.node, Node)
                code = self._codes.of(step.node)
                own = prefix_of(step.node, code)
                prefix = bytes.fromhex(same.get(own.hex(), "")) or own
                known = NodeCache(self.cache, step, step.node, code, prefix, prefix != own)
                if not same:
                    step.memo["node cache"] = known
            self._steps[step] = known
        return known

    def _same_code(self) -> Mapping[str, str]:
        """Whose results are used for which code (`Cache.keep`): looked up once in a run."""
        if self._same is None:
            try:
                self._same = self.cache.same_code()
            except Exception as error:
                self._warn(f"the cache cannot be read ({error!r})", "read")
                self._same = {}
        return self._same


class NodeCache:
    """One cache as the runs of one node use it; made by `RunCache.of`.

    Args:
        cache: where results are stored.
        step: the node's step.
        node: the node.
        code: what identifies its code.
        prefix: what the signature of each of its runs begins with.
        uses_earlier: whether that is how signatures of its earlier code began (`Cache.keep`).
    """

    __slots__ = (
        "_anew", "_changes", "_code_text", "_defaults", "_due", "_inputs", "_is_quick", "_node",
        "_node_id", "_outputs", "_ttl", "_version", "cache", "code", "prefix", "uses_earlier",
    )  # fmt: skip

    def __init__(
        self,
        cache: Cache,
        step: Step,
        node: Node[..., Any],
        code: Code,
        prefix: bytes,
        uses_earlier: bool,
    ) -> None:
        self.cache = cache
        self._node_id = step.id
        self._inputs = list(enumerate(name for name, _ in step.inputs))
        self._outputs = list(enumerate(node.outputs))
        self.prefix = prefix
        self._version = node.options.version
        self._ttl = node.options.ttl
        self._anew = node.options.cache == "refresh"
        self.code = code
        self._code_text = ""
        self._node = node
        self._changes = False
        self._due = 0.0  # when the next look at the code is
        self._is_quick = not code.asks  # whether a look is
        self._defaults = dict(self._ignored())
        self.uses_earlier = uses_earlier

    def _ignored(self) -> Iterator[tuple[int, Digest]]:
        """Inputs that the function does not look at, with what identifies their defaults.

        One that has its default may as well not be there. With another value it counts: people
        give a file's time of change so that what is read from it is read again.
        """
        for at, name in self._inputs:
            if name in self.code.ignores:
                with contextlib.suppress(Unidentifiable):
                    yield at, sign(self._node.parameters[name].default)

    def _given(self, inputs: Sequence[Digest]) -> Iterator[Digest]:
        for at, name in self._inputs:
            if name not in self.code.ignores:
                yield inputs[at]
            elif inputs[at] != self._defaults.get(at):
                yield combine(f"input {name}", inputs[at])

    def keys(self, inputs: Sequence[Digest]) -> tuple[Digest, ...]:
        """What identifies each output of a run, of what identifies each of its inputs in order."""
        counted = self._given(inputs) if self.code.ignores else inputs
        signature = blake2b(self.prefix + b"".join(counted), digest_size=SIZE).digest()
        keys: tuple[Digest, ...] = (signature,)
        if len(self._outputs) > 1:
            places = range(len(self._outputs))
            keys = tuple([combine(f"output {place}", signature) for place in places])
        for each in inputs:
            if type(each) is Fresh:
                return tuple(map(Fresh, keys))
        return keys

    def find(self, keys: Sequence[Digest], warn: Warnings) -> Found | None:
        """The outputs in the cache; None where one of them has to be computed.

        Args:
            keys: of the outputs.
            warn: warns if the cache cannot be read.
        """
        if self._anew or type(keys[0]) is Fresh:
            return None
        try:
            loaders = []
            for key in keys:
                loader = self.cache.find(key.hex())
                if loader is None:
                    return None
                loaders.append(loader)
            if self._ttl is None:
                return loaders, keys
            made = min(self.cache.entry(key.hex()).made for key in keys)
        except KeyError:
            return None
        except Exception as error:
            warn(f"the cache cannot be read ({error!r})", "read")
            return None
        if not is_fresh(made, self._ttl):
            return None
        return loaders, self.identities(keys, made)

    def identities(self, keys: Sequence[Digest], made: float) -> Sequence[Digest]:
        """What identifies the outputs as inputs of other nodes.

        Args:
            keys: of the outputs.
            made: when they were made, in seconds since the epoch.

        That is how they were made: their keys. Where a node's result changes with time, it is
        also when: what was made from an older one is not what would be made from this one.
        """
        if self._ttl is not None:
            return [combine(f"made at {made!r}", key) for key in keys]
        if self._anew:
            return [Fresh(key) for key in keys]
        return keys

    def stays_same(self, warn: Warnings) -> bool:
        """Whether the code is what it was before it was called.

        If not, the function changes what it reads, and its results depend on how often it has
        run. That is checked after a node's first calls in a process, and then after each that is
        not too short for that.
        """
        if self._changes or self._ttl is not None:
            return not self._changes
        if self._node.options.code_version is not None:
            return True
        calls = _CALLS[self._node] = _CALLS.get(self._node, 0) + 1
        started = time.perf_counter()
        if calls > 1 and calls % _SELDOM:
            is_early = started < self._due and calls & (calls - 1)  # always after 2, 4, 8, ...
            if is_early or not self._is_quick:
                return True
        self._is_quick = False  # other threads need not look meanwhile
        holds = self.code.holds()
        self._is_quick = holds and not self.code.asks
        same = holds or self._is_the_same(warn)
        ended = time.perf_counter()
        self._due = ended + _SHARE * (ended - started)
        return same

    def _is_the_same(self, warn: Warnings) -> bool:
        """The same question, where something that the code reads is another object by now."""
        try:
            now = code_of(self._node.identity)
            if now.digest == self.code.digest:
                return True
            before, after = self.code.parts(), now.parts()
            names = [name for name in after if before.get(name) != after[name]]
            what = ", ".join(names[:3]) or "a memo, or another value behind it"
        except Unidentifiable as error:
            what = str(error)
        self._changes = True
        CHANGERS.add(self._node)
        warn(
            f"node {self._node_id!r} is not cached: its code changes {what}, which it reads: give "
            'it what it reads as an input, or say code_version="..." where that does not matter'
        )
        return False

    def save(
        self,
        keys: Sequence[Digest],
        values: Sequence[Any],
        duration: float,
        inputs: Sequence[Digest],
        warn: Warnings,
    ) -> Sequence[Digest]:
        """Store what the node has made, with what `explain_cache` will want to know.

        Args:
            keys: of its outputs.
            values: its outputs.
            duration: how long its function took, in seconds.
            inputs: what identifies each input, in order.
            warn: warns where they cannot be stored.

        Returns:
            What identifies them as inputs of other nodes.
        """
        made = time.time()
        code = self._code_text = self._code_text or as_text(self.code.parts())
        made_of = ";".join([f"{name}={inputs[at].hex()}" for at, name in self._inputs])
        prefix, names = self.prefix.hex(), " ".join([name for _, name in self._outputs])
        for at, name in self._outputs:
            about = {
                "node": self._node_id,
                "output": name,
                "outputs": names,
                "duration": duration,
                "time": made,
                "version": self._version,
                "rules": RULES,
                "prefix": prefix,
                "code": code,
                "inputs": made_of,
            }
            try:
                if not getattr(self.cache, "checks_values", False):
                    dump(values[at])
                self.cache.store(keys[at].hex(), values[at], about)
            except OSError as error:
                warn(f"results are not kept in {self.cache!r}: {error!r}", "store")
            except Exception as error:
                warn(f"output {name!r} of node {self._node_id!r} is not kept: {error!r}")
        return self.identities(keys, made)
