"""`Cache`: what an engine needs of a store, and what follows from that for people."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from hypernodes.cache.entry_files import TABLE
from hypernodes.cache.same_code import HasNodeCodes, Kept, keep

SKEW = 5.0
"""By so many seconds the clocks of machines that share a cache may differ."""


@dataclass(frozen=True)
class Entry:
    """What is known of one entry without loading its value.

    Attributes:
        key: the entry's key.
        size: bytes that it takes.
        made: when it was stored, in seconds since the epoch.
        used: when it was last read or stored, to about a minute, as far as the store knows.
        about: what the engine said about it: `node`, `output`, `duration` (seconds that the node
            took), and what `Pipeline.explain_cache` and `Cache.keep` compare: `outputs`, `version`,
            `rules`, `prefix` (what the signatures of its code begin with), `code` and `inputs`.
    """

    key: str
    size: int
    made: float
    used: float
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def node(self) -> str:
        """The node that made it."""
        return str(self.about.get("node", ""))


@dataclass(frozen=True)
class NodeStats:
    """Of one node: how many entries there are, their bytes, and the seconds they took to make."""

    entries: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Stats:
    """What a store holds, in all and for each node."""

    entries: int
    bytes: int
    nodes: Mapping[str, NodeStats]

    def __str__(self) -> str:
        lines = [f"{self.entries:,} entries, {self.bytes:,} bytes"]
        width = max(map(len, self.nodes), default=0)
        for name, node in sorted(self.nodes.items(), key=lambda each: -each[1].bytes):
            lines.append(
                f"{name:{width}}  {node.entries:>9,} entries  {node.bytes:>15,} bytes  "
                f"{node.seconds:>10,.1f} s to make"
            )
        return "\n".join(lines)


class Cache(ABC):
    """A store of results: implement the five abstract methods, and the others follow.

    Every method is called from many threads at once. An engine only calls `find` and `store`;
    where one of them raises, it warns and goes on without the cache.

    Attributes:
        shared: whether a copy in another process sees the same entries.
        checks_values: whether `store` itself refuses what pickle makes something else of.
    """

    shared = True
    checks_values = False

    @abstractmethod
    def __contains__(self, key: str) -> bool:
        """Whether there is an entry; it may still turn out to be broken when it is loaded."""

    @abstractmethod
    def load(self, key: str) -> Any:
        """The value of an entry, as a copy that the caller may change.

        Raises:
            KeyError: there is none, or it cannot be read.
        """

    @abstractmethod
    def store(self, key: str, value: Any, about: Mapping[str, Any] | None = None) -> None:
        """Store a value, in place of one that is there.

        Args:
            key: the entry's key.
            value: anything that can be pickled, `None` included.
            about: facts about the entry that JSON can hold; see `Entry`. Nobody changes it later.

        Raises:
            Exception: it could not be stored.
        """

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove an entry, if it is there."""

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """What is known of every entry, in no order; those that cannot be read are left out."""

    def __bool__(self) -> bool:
        """True: an empty cache is a cache, too."""
        return True

    # -- What follows from these -----------------------------------------------------------------

    def find(self, key: str) -> Callable[[], Any] | None:
        """A function that loads an entry's value, or None where there is no entry.

        It raises KeyError where the entry turns out to be broken or gone.
        """
        return partial(self.load, key) if key in self else None

    def entry(self, key: str) -> Entry:
        """What is known of one entry.

        Raises:
            KeyError: there is none.
        """
        for entry in self.entries():
            if entry.key == key:
                return entry
        raise KeyError(key)

    def problem(self, key: str) -> str:
        """Why an entry cannot be used: all of it is read to find out.

        Returns:
            What is wrong with it; "" where nothing is.
        """
        try:
            self.load(key)
        except KeyError:
            return "it is gone, or cannot be read"
        except Exception as error:
            return repr(error)
        return ""

    def refreshing(self) -> Cache:
        """The same store for a run that computes everything again, and overwrites what is there.

        >>> from hypernodes import MemoryCache, Pipeline
        >>> cache = MemoryCache()
        >>> pipeline = Pipeline([len], cache=cache)
        >>> anew = pipeline.with_cache(cache.refreshing())
        """
        return Refreshing(self)

    def stats(self) -> Stats:
        """How many entries there are, and of which nodes."""
        totals: dict[str, list[float]] = {}
        for entry in self._listed():
            total = totals.setdefault(entry.node, [0, 0, 0.0])
            total[0] += 1
            total[1] += entry.size
            total[2] += entry.about.get("duration", 0.0)
        nodes = {name: NodeStats(int(n), int(b), s) for name, (n, b, s) in totals.items()}
        return Stats(
            sum(each.entries for each in nodes.values()),
            sum(each.bytes for each in nodes.values()),
            nodes,
        )

    def clear(self, node: str | None = None) -> int:
        """Remove every entry, or those of one node.

        Args:
            node: only what this node has made. Without it, the table of `keep` goes as well.

        Returns:
            How many there were.
        """
        gone = [each.key for each in self._listed() if node is None or each.node == node]
        for key in gone:
            self.remove(key)
        if node is None:
            self.remove(TABLE)
        return len(gone)

    def prune(
        self, *, max_bytes: int | None = None, max_age: float | timedelta | None = None
    ) -> int:
        """Remove what is older than `max_age`, then what was used longest ago.

        Args:
            max_bytes: how much may stay.
            max_age: seconds (or a `timedelta`) since an entry was made.

        Returns:
            How many entries were removed.
        """
        gone = outdated(list(self._listed()), check_bytes(max_bytes), check_age(max_age))
        for entry in gone:
            self.remove(entry.key)
        return len(gone)

    def _listed(self) -> Iterator[Entry]:
        # A store of five methods lists the table as well.
        return (each for each in self.entries() if each.key != TABLE)

    # -- Edits that change nothing ---------------------------------------------------------------

    def keep(
        self,
        pipeline: HasNodeCodes,
        nodes: str | Iterable[str] | None = None,
        *,
        dry_run: bool = False,
        undo: bool = False,
    ) -> Kept:
        """After an edit that changes no result: use the results of nodes' earlier code.

        You say that the edit changes nothing, and you are taken at your word: look with
        `dry_run=True` first. A node's earlier code is that of its newest entry that other code has
        made. It never guesses. Where the outputs, the names of inputs or the `version` differ,
        where today's code has results of its own, or where nothing is there, it says so and leaves
        the node alone. The results of nodes downstream are found again too, for their keys stay.

        Args:
            pipeline: a `Pipeline`; its nested ones are looked at as well, each in the cache that
                it uses.
            nodes: ids of nodes, `outer/node` in nested pipelines; None for all. For a node that
                is named, the earlier results are used even where today's code has some of its
                own.
            dry_run: only say what would be done.
            undo: use the results of today's code again.

        Returns:
            What was done with each node, and what changed in its code; it prints as lines.

        Raises:
            ValueError: the pipeline has no such node.

        >>> from hypernodes import MemoryCache, Node, Pipeline
        >>> cache = MemoryCache()
        >>> Pipeline([Node(lambda x: x + x, "y")], cache=cache).run({"x": 3})
        {'y': 6}
        >>> edited = Pipeline([Node(lambda x: 2 * x, "y")], cache=cache)
        >>> print(edited.explain_cache({"x": 3})["y"].verdict)
        miss
        >>> cache.keep(edited)["y"].verdict
        'kept'
        >>> print(edited.explain_cache({"x": 3})["y"].verdict)
        hit
        """
        return keep(pipeline.node_codes(self), nodes, dry_run, undo)

    def same_code(self) -> Mapping[str, str]:
        """Whose results are used for which code: see `keep`.

        Returns:
            From what the signatures of today's code begin with to what those used begin with.
        """
        loader = self.find(TABLE)
        try:
            table = loader() if loader else {}
        except KeyError:  # it is broken, of which there has been a warning
            return {}
        return table if isinstance(table, dict) else {}

    def set_same_code(self, table: Mapping[str, str]) -> None:
        """Store whose results are used for which code, in place of what was stored."""
        if table:
            self.store(TABLE, dict(table), {"time": time.time()})
        else:
            self.remove(TABLE)


class Refreshing(Cache):
    """A store that finds nothing, and stores everything."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.shared = cache.shared
        self.checks_values = cache.checks_values

    def __contains__(self, key: str) -> bool:
        return False

    def load(self, key: str) -> Any:
        return self.cache.load(key)

    def store(self, key: str, value: Any, about: Mapping[str, Any] | None = None) -> None:
        self.cache.store(key, value, about)

    def remove(self, key: str) -> None:
        self.cache.remove(key)

    def entries(self) -> Iterator[Entry]:
        return self.cache.entries()

    def same_code(self) -> Mapping[str, str]:
        return self.cache.same_code()  # what is computed again is stored under the keys in use

    def __repr__(self) -> str:
        return f"{self.cache!r}.refreshing()"


def outdated(entries: list[Entry], max_bytes: int | None, max_age: float | None) -> list[Entry]:
    """The entries that have to go for the limits to hold, oldest and least used first.

    Args:
        entries: all entries.
        max_bytes: how much may stay; None for no limit.
        max_age: how many seconds old one may be; None for no limit.
    """
    gone: list[Entry] = []
    fresh = entries
    if max_age is not None:
        fresh = [entry for entry in entries if is_fresh(entry.made, max_age)]
        gone = [entry for entry in entries if not is_fresh(entry.made, max_age)]
    if max_bytes is not None:
        total = sum(entry.size for entry in fresh)
        for entry in sorted(fresh, key=lambda each: each.used):
            if total <= max_bytes:
                break
            total -= entry.size
            gone.append(entry)
    return gone


def is_fresh(made: float, max_age: float) -> bool:
    """Whether something is not too old. With a date in the future it is: its age is not known.

    Args:
        made: when it was made, in seconds since the epoch.
        max_age: how many seconds old it may be.
    """
    now = time.time()
    return now - max_age <= made <= now + SKEW


def check_bytes(max_bytes: object) -> int | None:
    """A number of bytes, or None for no limit.

    Raises:
        ValueError: it is neither.
    """
    if max_bytes is None:
        return None
    if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes <= 0:
        raise ValueError(f"max_bytes is {max_bytes!r}: expected a positive number, or None")
    return max_bytes


def check_age(age: object, name: str = "max_age") -> float | None:
    """An age in seconds, or None for no limit.

    Args:
        age: seconds, or a `timedelta`.
        name: the argument's name, for the message.

    Raises:
        ValueError: it is none of these.
    """
    if age is None:
        return None
    seconds = age.total_seconds() if isinstance(age, timedelta) else age
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError(
            f"{name} is {age!r}: expected a positive number of seconds, a timedelta, or None"
        )
    return float(seconds)
