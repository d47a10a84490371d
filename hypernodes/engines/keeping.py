"""What an engine does with a cache: sign a node's outputs, find them, keep them.

Nothing here runs anything or waits for anything, so that every engine can use it:

    keys = keeping.keys(node, prefix, digests)   what identifies the outputs
    found = keeping.find(node, keys)             what loads them, or None
    keeping.keep(node_id, node, keys, ...)       once the function has been called
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from hypernodes.cache import Cache
from hypernodes.errors import CacheWarning
from hypernodes.fingerprint import Code, code_of
from hypernodes.node import Node
from hypernodes.signature import RULES, SIZE, Digest, combine

Found = tuple[Sequence[Callable[[], Any]], Sequence[Digest]]
"""For each output what loads it, and what identifies it as an input of other nodes."""


class Fresh(bytes):
    """A digest of what a node has computed again though it was there (`cache="refresh"`).

    What is made from it is computed again as well: what is stored was made from the old one.
    """


def joined(tag: str, digests: Sequence[Digest]) -> Digest:
    """The digest of something made of parts: fresh where one of them is."""
    digest = combine(tag, *digests)
    return Fresh(digest) if Fresh in map(type, digests) else digest


class Warnings:
    """Warns of what costs the caching, once of each kind in a run."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, message: str, kind: str | None = None) -> None:
        """Warn.

        Args:
            message: what to say.
            kind: what it is of, where several messages are about the same.
        """
        kind = kind or message
        if kind not in self._told:
            self._told.add(kind)
            warnings.warn(message, CacheWarning, stacklevel=3)


class Codes:
    """The code of nodes' functions in one run: each is checked once, then looked up."""

    def __init__(self) -> None:
        self._codes: dict[Node[..., Any], tuple[Code, bytes]] = {}
        self._of: dict[Any, Code] = {}

    def of(self, node: Node[..., Any]) -> tuple[Code, bytes]:
        """What identifies a node's code, and what the signature of each of its runs begins with.

        Raises:
            Unidentifiable: it depends on something that cannot be told.
        """
        known = self._codes.get(node)
        if known is None:
            code = self._of.get(node.identity)
            if code is None:
                code = self._of[node.identity] = code_of(node.identity)
            known = self._codes[node] = (code, _prefix(node, code))
        return known


def _prefix(node: Node[..., Any], code: Code) -> bytes:
    how = (node.input_names, len(node.outputs), node.options.version)
    prefix: bytes | None = code.kept.get(how)
    if prefix is None:
        names = " ".join(node.input_names)
        about = f"rules {RULES} node {len(node.outputs)} {names} {node.options.version!r}"
        prefix = code.kept[how] = combine(about, code.digest)
    return prefix


class Keeping:
    """One cache as the nodes of a run use it.

    Args:
        cache: where results are kept.
        codes: the code of the run's nodes.
        warn: is told what costs the caching.
    """

    __slots__ = ("cache", "codes", "warn")

    def __init__(self, cache: Cache, codes: Codes, warn: Warnings) -> None:
        self.cache = cache
        self.codes = codes
        self.warn = warn

    def keys(
        self, node: Node[..., Any], prefix: bytes, inputs: Sequence[Digest]
    ) -> tuple[Digest, ...]:
        """What identifies each output of a node's run.

        Args:
            node: the node.
            prefix: what its signatures begin with; see `Codes`.
            inputs: what identifies each of its inputs, in order.
        """
        signature = blake2b(prefix + b"".join(inputs), digest_size=SIZE).digest()
        keys: tuple[Digest, ...] = (signature,)
        if len(node.outputs) > 1:
            places = range(len(node.outputs))
            keys = tuple(combine(f"output {place}", signature) for place in places)
        for each in inputs:
            if type(each) is Fresh:
                return tuple(map(Fresh, keys))
        return keys

    def find(self, node: Node[..., Any], keys: Sequence[Digest]) -> Found | None:
        """The outputs in the cache; None where one of them has to be computed."""
        options = node.options
        if options.cache == "refresh" or type(keys[0]) is Fresh:
            return None
        try:
            loaders = []
            for key in keys:
                loader = self.cache.find(key.hex())
                if loader is None:
                    return None
                loaders.append(loader)
            if options.ttl is None:
                return loaders, keys
            made = min(self.cache.entry(key.hex()).made for key in keys)
        except KeyError:
            return None
        except Exception as error:
            self.warn(f"the cache cannot be read ({error!r})", "read")
            return None
        if made < time.time() - options.ttl:
            return None
        return loaders, self.identities(node, keys, made)

    def identities(
        self, node: Node[..., Any], keys: Sequence[Digest], made: float
    ) -> Sequence[Digest]:
        """What identifies the outputs as inputs of other nodes.

        That is how they were made: their keys. Where a node's result changes with time, it is
        also when: what was made from an older one is not what would be made from this one.
        """
        if node.options.ttl is not None:
            return [combine(f"made at {made!r}", key) for key in keys]
        if node.options.cache == "refresh":
            return [Fresh(key) for key in keys]
        return keys

    def keep(
        self,
        node_id: str,
        node: Node[..., Any],
        keys: Sequence[Digest],
        values: Sequence[Any],
        duration: float,
        inputs: Iterable[tuple[str, Digest]],
        sources: Mapping[str, str],
    ) -> Sequence[Digest]:
        """Store what a node has made, with what `explain_cache` will want to know.

        Args:
            node_id: the node's id in its pipeline.
            node: the node.
            keys: of its outputs.
            values: its outputs.
            duration: how long its function took, in seconds.
            inputs: the name of each input, and what identifies it.
            sources: the id of the node that made an input, for those that a node made.

        Returns:
            What identifies them as inputs of other nodes.
        """
        made = time.time()
        code = self.codes.of(node)[0].parts()
        short = {name: digest[:8].hex() for name, digest in inputs}
        for name, key, value in zip(node.outputs, keys, values, strict=True):
            about = {
                "node": node_id,
                "output": name,
                "duration": duration,
                "time": made,
                "version": node.options.version,
                "code": code,
                "inputs": short,
                "from": sources,
            }
            try:
                self.cache.store(key.hex(), value, about)
            except OSError as error:
                self.warn(f"results are not kept: {error!r}", "store")
            except Exception as error:
                self.warn(f"output {name!r} of node {node_id!r} is not kept: {error!r}")
        return self.identities(node, keys, made)
