"""`Cache.keep`: after an edit that changes no result, the results of the earlier code are used.

A cache has one table for that, as an entry of its own (`entry_files.TABLE`), so that every store
has it. It maps the prefix of a node's signatures today to that of the code whose results are used.
Nothing is copied and nothing signed again: with the old prefix all old keys are found, and with
them all that was made from those results.

Nothing is guessed. The report says what changed, for a person to judge, and a node is left alone
where it is not clear which results are meant.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hypernodes.cache.entry_info import changes_of_code, from_text
from hypernodes.cache.node_reports import ByNode


class KnownEntry(Protocol):
    """What is needed here of an entry; see `hypernodes.cache.Entry`."""

    @property
    def about(self) -> Mapping[str, Any]: ...
    @property
    def made(self) -> float: ...
    @property
    def node(self) -> str: ...


class HasTable(Protocol):
    """What is needed here of a cache; see `hypernodes.cache.Cache`."""

    def entries(self) -> Iterator[KnownEntry]: ...
    def same_code(self) -> Mapping[str, str]: ...
    def set_same_code(self, table: Mapping[str, str]) -> None: ...


@dataclass(frozen=True)
class NodeCode:
    """What identifies a node's code today.

    Attributes:
        node: the node's id, after those of the nested pipelines that it is in: `outer/node`.
        cache: where its results are stored; None where they are not.
        prefix: what its signatures begin with, in hexadecimal digits.
        rules: the version of the rules that it was identified by.
        version: its `version`.
        code: the parts of its code; the first one is its function.
        inputs: the names of its inputs, in order.
        outputs: the names of its outputs, in order.
        why_not: why it is not cached.
    """

    node: str
    cache: HasTable | None
    prefix: str = ""
    rules: str = ""
    version: str | None = None
    code: Mapping[str, str] = dataclasses.field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    why_not: str = ""

    @property
    def id(self) -> str:
        """The node's id in its own pipeline, by which entries name it."""
        return self.node.rpartition("/")[2]


class HasNodeCodes(Protocol):
    """What is needed here of a pipeline."""

    def node_codes(self, cache: Any) -> Sequence[NodeCode]: ...


@dataclass(frozen=True)
class KeptNode:
    """What `Cache.keep` did with one node.

    Attributes:
        node: the node's id, after those of the nested pipelines that it is in: `outer/node`.
        verdict: "kept": results of its earlier code are used for today's; "undone": they are not
            any more; "left": nothing was done.
        reason: why nothing was done.
        changes: what differs between the earlier code and today's.
        entries: how many outputs of the earlier code are in the cache.
        made: when the newest of them was stored, in seconds since the epoch.
        unused: how many of today's code are, which are not used any more.
        done: False where it was only looked at (`dry_run=True`).
    """

    node: str
    verdict: Literal["kept", "undone", "left"]
    reason: str = ""
    changes: tuple[str, ...] = ()
    entries: int = 0
    made: float = 0.0
    unused: int = 0
    done: bool = True

    def __str__(self) -> str:
        what = self.verdict if self.done or self.verdict == "left" else f"can be {self.verdict}"
        details = [self.reason] if self.reason else []
        if self.entries:
            date = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.made))
            details.append(f"{_results(self.entries)} of its earlier code, the newest of {date}")
        details += self.changes
        if self.unused:
            details.append(f"{_results(self.unused)} of today's code {self._fate}")
        return f"{self.node}: {what}" + (f": {'; '.join(details)}" if details else "")

    @property
    def _fate(self) -> str:
        if self.verdict == "left":
            return "as well"
        return "are not used any more" if self.done else "would not be used any more"


class Kept(ByNode[KeptNode]):
    """What `Cache.keep` did with each node of a pipeline."""

    @property
    def changed(self) -> tuple[KeptNode, ...]:
        """Those that something was done with."""
        return tuple(each for each in self.nodes if each.verdict != "left")

    def __repr__(self) -> str:
        return f"<Kept: {len(self.changed)} of {len(self)} nodes>\n{self}"


def keep(
    codes: Sequence[NodeCode], nodes: str | Iterable[str] | None, dry_run: bool, undo: bool
) -> Kept:
    """Use the results of nodes' earlier code; see `Cache.keep`.

    Args:
        codes: what identifies the code of each node today.
        nodes: ids of the nodes; None for all.
        dry_run: only say what would be done.
        undo: use the results of today's code again.

    Raises:
        ValueError: there is no such node.
    """
    named = {nodes} if isinstance(nodes, str) else None if nodes is None else set(nodes)
    ids = {name for each in codes for name in (each.node, each.id)}
    unknown = sorted((named or set()) - ids)
    if unknown:
        raise ValueError(
            f"the pipeline has no node {unknown[0]!r}. "
            f"Nodes: {', '.join(repr(each.node) for each in codes)}"
        )
    tables: dict[int, _Table] = {}
    for each in codes:
        if each.cache is not None:
            tables.setdefault(id(each.cache), _Table(each.cache)).today.add(each.prefix)
    done = []
    for each in codes:
        by_name = named is not None and bool(named & {each.node, each.id})
        if named is not None and not by_name:
            continue
        if each.cache is None:
            done.append(KeptNode(each.node, "left", each.why_not))
        elif undo:
            done.append(tables[id(each.cache)].undo(each))
        else:
            done.append(tables[id(each.cache)].keep(each, by_name))
    if not dry_run:
        for table in tables.values():
            table.save()
    return Kept(dataclasses.replace(each, done=not dry_run) for each in done)


class _Table:
    """The table of one cache, and the entries that show what can be put in it.

    Attributes:
        today: the prefixes of all nodes that are looked at.
    """

    def __init__(self, cache: HasTable) -> None:
        self.today: set[str] = set()
        self._cache = cache
        self._before = dict(cache.same_code())
        self._same = dict(self._before)
        self._entries: dict[str, list[KnownEntry]] = {}
        for entry in cache.entries():
            self._entries.setdefault(entry.node, []).append(entry)

    def undo(self, code: NodeCode) -> KeptNode:
        if code.prefix not in self._before:
            return KeptNode(code.node, "left", "nothing was taken over for its code")
        self._same.pop(code.prefix, None)
        return KeptNode(code.node, "undone")

    def keep(self, code: NodeCode, by_name: bool) -> KeptNode:
        """Use the results of a node's earlier code.

        Args:
            code: the node's code.
            by_name: whether the person has named it.
        """
        if code.prefix in self._before:
            return KeptNode(code.node, "left", "the results of its earlier code are used already")
        # Code that is another node's today is not this one's earlier code.
        others = {name for each in self.today - {code.prefix} for name in (each, self._root(each))}
        known = self._of(code)
        own = [each for each in known if _prefix_of(each) == code.prefix]
        earlier = [
            each
            for each in known
            if self._root(_prefix_of(each)) != code.prefix and _prefix_of(each) not in others
        ]
        same_function = [each for each in earlier if _function(each.about) == _name(code.code)]
        if not earlier:
            reason = "its code has not changed" if own else "nothing of an earlier code is there"
            return KeptNode(code.node, "left", reason)
        if not same_function and not by_name:
            newest = max(earlier, key=lambda each: each.made)
            return KeptNode(
                code.node,
                "left",
                f"what is there under its name was made by another function "
                f"({_function(newest.about)!r}): name the node if it is its earlier code",
            )
        newest = max(same_function or earlier, key=lambda each: each.made)
        root = self._root(_prefix_of(newest))
        why_not = _why_not(newest.about, code)
        if why_not:
            return KeptNode(code.node, "left", why_not)
        taken = [each for each in earlier if self._root(_prefix_of(each)) == root]
        different = tuple(changes_of_code(newest.about, code.version, code.code)) or (
            "what its code depends on differs in more than can be listed",
        )
        found = KeptNode(code.node, "kept", "", different, len(taken), newest.made, len(own))
        if own and not by_name:
            # It may be unchanged for long, and an edit before that did change its results.
            why = "today's code has results too: name the node to use the earlier ones"
            return dataclasses.replace(found, verdict="left", reason=why)
        # A code that uses today's results now uses the earlier ones: no entry leads to another.
        for prefix, used in self._same.items():
            if used == code.prefix:
                self._same[prefix] = root
        self._same[code.prefix] = root
        return found

    def save(self) -> None:
        if self._same != self._before:
            self._cache.set_same_code(self._same)

    def _of(self, code: NodeCode) -> list[KnownEntry]:
        known = self._entries.get(code.id, [])
        return [
            each for each in known if _prefix_of(each) and each.about.get("rules") == code.rules
        ]

    def _root(self, prefix: str) -> str:
        return self._same.get(prefix, prefix)


def _why_not(about: Mapping[str, Any], code: NodeCode) -> str:
    """Why results of an earlier code cannot be those of today's, whatever the code does, or ""."""
    if about.get("version") != code.version:
        return f"its version: {about.get('version')!r} is now {code.version!r}"
    if VOUCHED in from_text(about.get("code", "")) or VOUCHED in code.code:
        return f"its code is vouched for by {VOUCHED}: change that"
    outputs = about.get("outputs", "")
    if outputs != " ".join(code.outputs):
        return f"its outputs: {outputs!r} are now {' '.join(code.outputs)!r}"
    inputs = tuple(from_text(about.get("inputs", "")))
    if inputs != code.inputs:
        return f"its inputs: {' '.join(inputs)!r} are now {' '.join(code.inputs)!r}"
    return ""


VOUCHED = "code_version"
"""The part of a code that a person vouches for."""


def _prefix_of(entry: KnownEntry) -> str:
    return str(entry.about.get("prefix", ""))


def _function(about: Mapping[str, Any]) -> str:
    return _name(from_text(about.get("code", "")))


def _name(parts: Mapping[str, str]) -> str:
    """The function's own name: the module may have moved, or be run as a script."""
    return next(iter(parts), "").rpartition(".")[2]


def _results(count: int) -> str:
    return "1 result" if count == 1 else f"{count:,} results"
