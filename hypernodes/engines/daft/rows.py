"""A row of one node, with a cache or callbacks, where nothing about it is unusual.

What `Execution` does for a node is done here in a straight line, from cells to cells: signature,
cache, call, store. Whatever else there is to it is left to `Execution`, before anything is done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hypernodes.cache.node_cache import NodeCache
from hypernodes.engines.daft.cells import NO_MARK, Cell, pack_mark, pack_times
from hypernodes.event_loops import block_on, is_awaited
from hypernodes.identity.values import SIZE, Digest, Unidentifiable, sign
from hypernodes.node import Node
from hypernodes.run.fast_path import note_node
from hypernodes.run.single_flight import InFlight, latest

if TYPE_CHECKING:
    from hypernodes.engines.daft.node_udf import NodeUDF


Done = tuple[list[Cell], bytes]
"""The new cells of a row, and the mark of what callbacks are to be told."""


class PlainRow:
    """Runs a node for a row of cells; made by `of`, where that is all there is to it."""

    def __init__(self, work: NodeUDF, node: Node[..., Any], kept: NodeCache | None) -> None:
        self._work = work
        self._call, self._unpack, self._kept = node.call, node.unpack, kept
        self._load, self._cell = work.cells.load, work.cells.cell
        base, columns = work.base, {slot: at for at, slot in enumerate(work.slots)}
        self._reads = [
            (columns.get(slot), base.slots[slot], base.signatures[slot] or b"")
            for slot in work.step.reads
        ]

    @classmethod
    def of(cls, work: NodeUDF) -> PlainRow | None:
        """What runs the rows of some work; None where they are not plain."""
        node, keeping = work.step.node, work.execution.settings.run_cache
        if not isinstance(node, Node) or work.remote or work.cells.query.remote:
            return None
        if any(work.native) or None in work.slots:
            return None
        options = node.options
        if options.retries or work.step.keywords or (work.hooks and work.hooks.enters):
            return None
        if keeping is None:
            return cls(work, node, None)
        shared = [slot for slot in work.step.reads if slot not in work.slots]
        if options.cache is not True or options.ttl is not None or work.load:
            return None
        if not all(work.base.signatures[slot] for slot in shared):
            return None
        try:
            return cls(work, node, keeping.of(work.step))
        except Unidentifiable:
            return None

    def __call__(self, item: int, row: Sequence[Cell]) -> Done | None:
        """The row's new cells, and what is to be told; None where it is no plain row after all."""
        kept = self._kept
        if kept is None:
            return self._run(item, row, None, (), ())
        try:
            digests = [
                digest if at is None else self._digest(row[at]) for at, _, digest in self._reads
            ]
        except BaseException:
            return None
        keys = kept.keys(digests)
        before = latest()
        if kept.find(keys, self._work.execution.settings.session.warn) is not None:
            return self._found(keys)
        flight, is_ours = InFlight.acquire(keys[0], None)
        if not is_ours:
            return None
        try:
            # Another one may have landed since.
            if (
                latest() is not before
                and kept.find(keys, self._work.execution.settings.session.warn) is not None
            ):
                return self._found(keys)
            return self._run(item, row, kept, keys, digests)
        finally:
            flight.finish()

    def _digest(self, cell: Cell) -> Digest:
        if cell[0] == SIZE:
            return cell[1 : 1 + SIZE]
        if cell[0] != 0:
            raise ValueError("what identifies it says more than a digest does")
        return sign(self._load(cell))

    def _found(self, keys: Sequence[Digest]) -> Done:
        work = self._work
        cells = [work.cells.of_key(key, key.hex(), work.execution.settings.cache) for key in keys]
        return cells, NO_MARK if work.hooks is None else pack_mark(keys[0].hex())

    def _run(
        self,
        item: int,
        row: Sequence[Cell],
        kept: NodeCache | None,
        keys: Sequence[Digest],
        digests: Sequence[Digest],
    ) -> Done | None:
        load = self._load
        try:
            values = [value if at is None else load(row[at]) for at, value, _ in self._reads]
        except BaseException:
            return None
        started_at, begun = time.time(), time.perf_counter()
        try:
            value = self._call(*values)
            if is_awaited(value):
                value = block_on(value)
            duration = time.perf_counter() - begun
            made = self._unpack(value)
            if kept is None or not kept.stays_same(self._work.execution.settings.session.warn):
                cells = list(map(self._cell, made))
            else:
                identities = kept.save(
                    keys, made, duration, digests, self._work.execution.settings.session.warn
                )
                cells = list(map(self._cell, made, identities))
        except BaseException as error:
            work = self._work
            note_node(error, work.step, work.execution.settings.pipeline)
            failed = [work.fail(item, error)] * len(work.step.outputs)
            return failed, pack_mark((started_at, None, None, ()))
        return cells, pack_times(started_at, duration)
