"""A row of one node, with a cache or callbacks, where nothing about it is unusual.

What `Execution` does for a node is done here in a straight line, from cells to cells: signature,
cache, call, store. Whatever else there is to it is left to `Execution`, before anything is done.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hypernodes.engines.daft_cells import Cell, Mark
from hypernodes.engines.flights import Flight, latest
from hypernodes.engines.program import note_node
from hypernodes.engines.stored import gone
from hypernodes.loops import block_on, is_awaited
from hypernodes.node import Node
from hypernodes.signature import SIZE, Digest, Unidentifiable, sign

if TYPE_CHECKING:
    from hypernodes.engines.daft_work import NodeWork


_NOTHING: Mapping[str, str] = {}


class PlainRow:
    """Runs a node for a row of cells; made by `of`, where that is all there is to it."""

    def __init__(self, work: NodeWork, node: Node[..., Any], prefix: bytes) -> None:
        self._work = work
        self._node = node
        self._prefix = prefix
        self._cells = work.cells
        self._keeping = work.execution.keeping
        base, columns = work.base, {slot: at for at, slot in enumerate(work.slots)}
        self._names = [name for name, _ in work.step.inputs]
        self._reads = [
            (columns.get(slot), base.slots[slot], base.signatures[slot])
            for _, slot in work.step.inputs
        ]

    @classmethod
    def of(cls, work: NodeWork) -> PlainRow | None:
        """What runs the rows of some work; None where they are not plain."""
        node, keeping = work.step.node, work.execution.keeping
        if not isinstance(node, Node) or work.remote or work.cells.query.remote:
            return None
        if any(work.native) or None in work.slots:
            return None
        options = node.options
        if options.retries or work.step.keywords or (work.hooks and work.hooks.enters):
            return None
        if keeping is None:
            return cls(work, node, b"")
        shared = [slot for _, slot in work.step.inputs if slot not in work.slots]
        if options.cache is not True or options.ttl is not None or work.load:
            return None
        if not all(work.base.signatures[slot] for slot in shared):
            return None
        try:
            return cls(work, node, keeping.codes.of(node)[1])
        except Unidentifiable:
            return None

    def __call__(self, item: int, row: Sequence[Cell]) -> tuple[list[Cell], Mark] | None:
        """The row's new cells, and what is to be told; None where it is no plain row after all."""
        if self._keeping is None:
            values = self._values(row)
            return None if values is None else self._call(item, values, (), ())
        digests = self._digests(row)
        if digests is None:
            return None
        keys = self._keeping.keys(self._node, self._prefix, digests)
        before = latest()
        if self._keeping.find(self._node, keys) is not None:
            return self._found(keys)
        flight, is_ours = Flight.take(keys[0], None)
        if not is_ours:
            return None
        try:
            # Another one may have landed since.
            if latest() is not before and self._keeping.find(self._node, keys) is not None:
                return self._found(keys)
            values = self._values(row)
            return None if values is None else self._call(item, values, keys, digests)
        finally:
            flight.land()

    def _content(self, cell: Cell) -> Any:
        content = self._cells.content(cell)
        if content is None:
            raise ValueError("the value is not in its cell")
        return pickle.loads(content)

    def _values(self, row: Sequence[Cell]) -> list[Any] | None:
        """What the node is called with; None where the general way has to see to a cell."""
        content = self._content
        try:
            return [value if at is None else content(row[at]) for at, value, _ in self._reads]
        except BaseException:
            return None

    def _digests(self, row: Sequence[Cell]) -> list[Digest] | None:
        """What identifies that; None where the general way has to see to it."""
        digests: list[Digest] = []
        try:
            for at, _, digest in self._reads:
                if at is not None:
                    cell = row[at]
                    digest = cell[1 : 1 + SIZE] if cell[0] == SIZE else sign(self._content(cell))
                digests.append(digest or b"")
        except BaseException:
            return None
        return digests

    def _found(self, keys: Sequence[Digest]) -> tuple[list[Cell], Mark]:
        execution = self._work.execution
        found = [execution.stored(key.hex(), gone) for key in keys]
        cells = [
            self._cells.cell(stored, key, execution.cache)
            for stored, key in zip(found, keys, strict=True)
        ]
        return cells, keys[0].hex()

    def _call(
        self, item: int, values: list[Any], keys: Sequence[Digest], digests: Sequence[Digest]
    ) -> tuple[list[Cell], Mark]:
        work, node = self._work, self._node
        started_at, begun = time.time(), time.perf_counter()
        try:
            value = node.call(*values)
            if is_awaited(value):
                value = block_on(value)
            duration = time.perf_counter() - begun
            made = node.unpack(value)
            identities: Sequence[Digest | None] = [None] * len(made)
            if self._keeping is not None:
                inputs = zip(self._names, digests, strict=True)
                identities = self._keeping.keep(
                    work.step.id, node, keys, made, duration, inputs, _NOTHING
                )
            cells = list(map(self._cells.cell, made, identities))
        except BaseException as error:
            note_node(error, work.step, work.execution.pipeline)
            failed = [work.fail(item, error)] * len(work.step.outputs)
            return failed, (started_at, None, None, ())
        return cells, (started_at, duration, None, ())
