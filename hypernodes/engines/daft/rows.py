"""A row of one node with a cache or callbacks, where nothing about it is unusual.

What `Execution` does for a node is done here in a straight line, from cells to cells: signature,
cache, call, store. Whatever else there is to it is left to `Execution`, before anything is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hypernodes.cache.node_cache import NodeCache
from hypernodes.dispatch import Hooks
from hypernodes.engines.daft.cells import Cell, Cells
from hypernodes.engines.daft.records import NO_RECORD, pack, pack_hit, pack_times
from hypernodes.event_loops import block_on, is_awaited
from hypernodes.identity.values import SIZE, Digest, Unidentifiable, sign
from hypernodes.node import Node
from hypernodes.node_record import NodeRecord
from hypernodes.plan import Step
from hypernodes.run.execution import Execution
from hypernodes.run.single_flight import InFlight, latest
from hypernodes.run.state import RunState

Done = tuple[list[Cell], bytes]
"""The new cells of a row, and its packed record."""


class NodeOfRows(Protocol):
    """What a row's run has to know of its node; `NodeUDF` is one."""

    cells: Cells
    step: Step
    execution: Execution
    base: RunState
    slots: tuple[int, ...]
    native: tuple[bool, ...]
    loads: list[Callable[[Any], Any]]
    hooks: Hooks | None
    load: bool
    cache_place: int | None
    remote: bool

    def failed(self, item: int, error: BaseException) -> list[Cell]:
        """The cells of a row for which the node raised; see `NodeUDF.failed`."""


def plain_row(of: NodeOfRows) -> Callable[[int, Sequence[Cell]], Done | None] | None:
    """What runs a node for a row, by the item's number and the row's cells.

    It gives None for a row that turns out to be unusual; nothing has been done then.

    Returns:
        None where no row of the node is plain.
    """
    node, cache = of.step.node, of.execution.settings.run_cache
    if not isinstance(node, Node) or of.remote or of.cells.query.remote:
        return None
    if any(of.native):
        return None
    options = node.options
    if options.max_concurrent is not None:
        return None
    if options.retries or of.step.keywords or (of.hooks and of.hooks.enters):
        return None
    if cache is None:
        return _PlainRow(of, node, None)
    shared = [slot for slot in of.step.reads if slot not in of.slots]
    if options.cache is not True or options.ttl is not None or of.load:
        return None
    if not all(of.base.signatures[slot] for slot in shared):
        return None
    try:
        return _PlainRow(of, node, cache.of(of.step))
    except Unidentifiable:
        return None


class _PlainRow:
    def __init__(self, of: NodeOfRows, node: Node[..., Any], cache: NodeCache | None) -> None:
        self._of = of
        self._call, self._unpack, self._cache = node.call, node.unpack, cache
        self._load, self._dump = of.cells.load, of.cells.dump
        self._warn = of.execution.settings.session.warn
        base, columns = of.base, {slot: at for at, slot in enumerate(of.slots)}
        self._reads = [
            (columns.get(slot), base.slots[slot], base.signatures[slot] or b"")
            for slot in of.step.reads
        ]

    def __call__(self, item: int, row: Sequence[Cell]) -> Done | None:
        cache = self._cache
        if cache is None:
            return self._run(item, row, None, (), ())
        try:
            digests = [
                digest if at is None else self._digest(row[at]) for at, _, digest in self._reads
            ]
        except BaseException:
            return None
        keys = cache.keys(digests)
        before = latest()
        if cache.find(keys, self._warn) is not None:
            return self._hit(keys)
        flight, is_ours = InFlight.acquire(keys[0], None)
        if not is_ours:
            return None
        try:
            # Another run may have stored it between the look-up and `take`.
            if latest() is not before and cache.find(keys, self._warn) is not None:
                return self._hit(keys)
            return self._run(item, row, cache, keys, digests)
        finally:
            flight.finish()

    def _digest(self, cell: Cell) -> Digest:
        """The signature of a cell's value: usually the cell begins with it."""
        if cell[0] == SIZE:
            return cell[1 : 1 + SIZE]
        if cell[0] != 0:
            raise ValueError("its signature says more than a digest does")
        return sign(self._load(cell))

    def _hit(self, keys: Sequence[Digest]) -> Done:
        of = self._of
        assert of.cache_place is not None
        cells = [of.cells.dump_key(key, key.hex(), of.cache_place) for key in keys]
        return cells, NO_RECORD if of.hooks is None else pack_hit(keys[0].hex())

    def _run(
        self,
        item: int,
        row: Sequence[Cell],
        cache: NodeCache | None,
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
            if cache is None or not cache.stays_same(self._warn):
                cells = list(map(self._dump, made))
            else:
                identities = cache.save(keys, made, duration, digests, self._warn)
                cells = list(map(self._dump, made, identities))
        except BaseException as error:
            duration = time.perf_counter() - begun
            record = NodeRecord(started_at, duration, "failed")
            return self._of.failed(item, error), pack(record)
        return cells, pack_times(started_at, duration)
