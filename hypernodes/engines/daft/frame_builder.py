"""A pipeline's plan as one lazy Daft frame: each step adds its outputs as columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import daft
from daft import DataType, col
from daft.functions import to_struct

from hypernodes.engines.daft.cells import Cells
from hypernodes.engines.daft.columns import ITEM, Block, Part, free_name, is_inline
from hypernodes.engines.daft.explode import Explode, Regroup
from hypernodes.engines.daft.native_batch import NativeBatchUDF, native_batch_type
from hypernodes.engines.daft.node_udf import NodeUDF
from hypernodes.engines.daft.options import DaftOptions
from hypernodes.engines.daft.udf import ColumnUDF, as_function
from hypernodes.errors import SerializationError
from hypernodes.node import Node
from hypernodes.pipeline import Pipeline
from hypernodes.plan import NestedNode, Step
from hypernodes.run.fast_path import note_node

NATIVE_BATCH = 131_072
"""How many values of Daft's own types a batch node is handed at a time: as many as Daft would."""


class FrameBuilder:
    """Builds a lazy frame, step by step.

    Args:
        frame: its columns so far, `ITEM` among them.
        cells: makes and reads cells.
        native: columns with values of Daft's own types: those of the user's frame.
        batch_size: how many rows a node is handed at a time.
        records: whether nodes record their runs, for callbacks.
        ray: whether it is to run on Ray.
        load: whether hits are loaded at once.
        reserved: names that no column may have; see `free_name`.
        debug: is called with a line about each step.
    """

    def __init__(
        self,
        frame: daft.DataFrame,
        cells: Cells,
        native: set[str],
        batch_size: int,
        records: bool,
        ray: bool,
        load: bool,
        reserved: Collection[str],
        debug: Callable[[str], None],
    ) -> None:
        self.frame = frame
        self.cells = cells
        self.records = records
        self.native = native
        # Columns of cells that native batch nodes made: no row of them is a failure.
        self.numbers: set[str] = set()
        self.batch_size = batch_size
        self.ray = ray
        self._load = load
        self._reserved = frozenset(reserved)
        self._debug = debug
        self._names = [name for name in frame.column_names if name != ITEM]
        self._keys = [ITEM]
        self._order = 0

    # -- Steps -----------------------------------------------------------------------------------

    def add(self, block: Block) -> Block:
        """Add the columns of a block's steps."""
        for step in block.plan.steps:
            if is_inline(step, block.execution.settings.engine):
                assert not isinstance(step.node, Node)
                add = self._add_map if step.node.mapped else self._add_inline
                add(block, step, step.node)
            else:
                self._add_node(block, step)
        return block

    def _add_node(self, block: Block, step: Step) -> None:
        options = DaftOptions.of_node(step.node)
        remote = self.ray or options.use_process
        settings = block.execution.settings
        cache = settings.cache
        if remote and cache is not None and not getattr(cache, "shared", True):
            where = "Ray's workers" if self.ray else "a process of its own (use_process)"
            raise SerializationError(
                f"node {step.id!r} runs on {where}, which {cache!r} cannot reach: use "
                "DiskCache(folder) with a folder that all of them see"
            )
        read = [(slot, block.columns[slot]) for _, slot in step.inputs if slot in block.columns]
        if self._add_native_batch(block, step, read, options, remote):
            return
        alone = Pipeline([step.node], name=settings.pipeline.name)
        shared = block.shared_inputs(step)
        alone = alone.bind(**shared) if shared else alone
        plan = alone.plan(tuple(name for name, _ in step.outputs))
        slots: list[int | None] = [
            plan.given[name] for name, slot in step.inputs if slot in block.columns
        ]
        names = [name for _, name in read]
        # A node that reads nothing of its row would run for rows that are no items.
        if block.gate is not None and not block.gated.intersection(names):
            names.append(block.gate)
            slots.append(None)
        udf = NodeUDF(
            self.cells,
            block.chain,
            self._next(),
            remote,
            execution=self.cells.query.execution(
                alone, settings.engine, cache, ctx=block.execution.ctx
            ),
            plan=plan,
            step_id=step.id,
            slots=slots,
            native=[name in self.native for name in names],
            hooks=settings.hooks if self.records else None,
            concurrency=options.concurrency,
            load=self._load,
        )
        self._add_outputs(udf, block, step, names, options)

    def _add_native_batch(
        self,
        block: Block,
        step: Step,
        read: Sequence[tuple[int, str]],
        options: DaftOptions,
        remote: bool,
    ) -> bool:
        """Add a batch node on Daft's own types, where nothing else is asked for."""
        names = [name for _, name in read]
        node = step.node
        if not isinstance(node, Node) or not names:
            return False
        if not set(names) <= self.native | self.numbers:
            return False
        type_ = native_batch_type(node)
        keywords = step.keywords.intersection(n for n, slot in step.inputs if slot in block.columns)
        if self.records or self.cells.signed or remote or keywords or type_ is None:
            return False
        if not self.cells.query.stops or block.gate is not None:
            return False
        pipeline = block.execution.settings.pipeline
        udf = NativeBatchUDF(
            self.cells,
            block.chain,
            self._next(),
            remote,
            node=node,
            note=lambda error: note_node(error, step, pipeline),
            arguments=[name for name, slot in step.inputs if slot in block.columns],
            native=[name in self.native for name in names],
            shared=block.shared_inputs(step),
        )
        ((name, slot),) = step.outputs
        made = self._column(block, name)
        self._debug(f"{block.prefix}{step.id}: {', '.join(names)} -> {made} (in one go)")
        larger = replace(options, batch_size=options.batch_size or NATIVE_BATCH)
        self._apply(udf, step.id, made, names, type_, larger)
        self._names.append(made)
        self.numbers.add(made)
        block.columns[slot] = made
        block.parts.append(Part.of(block, step))
        return True

    def _add_inline(self, block: Block, step: Step, node: NestedNode) -> None:
        inner = self._inner(block, step, node, (_note(block, step), *block.chain))
        inner.gate, inner.gated = block.gate, block.gated
        self._debug(f"{inner.prefix}: its nodes follow")
        self.add(inner)
        for name, slot in step.outputs:
            block.columns[slot] = inner.columns[inner.plan.returns[node.inner_outputs[name]]]
        block.parts.append(Part.of(block, step, None, inner))

    def _add_map(self, block: Block, step: Step, node: NestedNode) -> None:
        """Add a nested map: a row for each of its items, its steps, and one row again."""
        outer, keys = list(self._names), list(self._keys)
        inner = self._inner(block, step, node, ())
        place = self._explode(block, step, node, inner)
        self.add(inner)
        names, returns = node.inner_outputs, inner.plan.returns
        outputs = [inner.columns[returns[names[name]]] for name, _ in step.outputs]
        made_inside = [name for name in self._names if name not in outer]
        # Callbacks hear of every value inside; else only the outputs go back to the outer row.
        wanted = made_inside if self.records else list(dict.fromkeys(outputs))
        field_of = {name: f"f{at}" for at, name in enumerate(wanted)}
        rows = self._column(block, f"{step.id}:rows")
        struct = {"place": col(place)} | {field: col(name) for name, field in field_of.items()}
        # Grouped with the outer row's columns in it. Joining the groups to the outer frame would
        # run the functions before it once more.
        self.frame = self.frame.groupby(*keys).agg(
            *[col(name).any_value().alias(name) for name in outer],
            to_struct(**struct).list_agg().alias(rows),
        )
        self._names, self._keys = outer, keys
        regroup = Regroup(
            self.cells,
            block.chain,
            self._next(),
            self.ray,
            step=step,
            note=_note(block, step),
            outputs=[field_of[name] for name in outputs],
            records=field_of if self.records else None,
        )
        self._add_outputs(regroup, block, step, [rows], DaftOptions(), inner)

    def _explode(self, block: Block, step: Step, node: NestedNode, inner: Block) -> str:
        """Make a row for each item of a nested map; returns the column of the items' places."""
        inputs = [(name, slot) for name, slot in step.inputs if name in node.mapped]
        read = [(name, block.columns[slot]) for name, slot in inputs if slot in block.columns]
        if block.gate is not None and not block.gated.intersection(each for _, each in read):
            read.append(("", block.gate))
        columns = [column for _, column in read]
        explode = Explode(
            self.cells,
            block.chain,
            self._next(),
            self.ray,
            step=step,
            note=_note(block, step),
            names=[name for name, _ in read],
            native=[column in self.native for column in columns],
            shared={name: block.shared[slot] for name, slot in inputs if slot in block.shared},
        )
        # Not the inputs' names: one of them may be "place".
        field_of = {
            name: f"f{at}" for at, name in enumerate(dict.fromkeys(explode.mapped.values()))
        }
        fields = dict.fromkeys(field_of.values(), DataType.binary())
        items = self._column(block, f"{step.id}:items")
        place = self._column(block, f"{step.id}:place")
        type_ = DataType.list(DataType.struct({"place": DataType.int64(), **fields}))
        self._apply(explode, f"{step.id}:explode", items, columns, type_, DaftOptions())
        self._debug(f"{inner.prefix}: a row for each item of {', '.join(columns) or 'it'}")
        mapped = {name: self._column(inner, name) for name in field_of}
        self.frame = self.frame.explode(col(items)).select(
            *self._keys,
            *self._names,
            col(items)["place"].alias(place),
            *[col(items)[field_of[name]].alias(column) for name, column in mapped.items()],
        )
        self._names = [*self._names, *mapped.values()]
        self._keys = [*self._keys, place]
        inner.columns.update({inner.plan.accepts[name]: each for name, each in mapped.items()})
        inner.gated = set(mapped.values())
        inner.gate = next(iter(mapped.values()))
        return place

    # -- Nested pipelines ------------------------------------------------------------------------

    def _inner(self, block: Block, step: Step, node: NestedNode, chain: tuple[str, ...]) -> Block:
        """The block of a nested pipeline, with what it takes from outside in place."""
        plan = step.inner_plan
        path = (*block.path, step.id)
        inner = Block(block.execution.inside(node), plan, path, {}, {}, chain)
        for slot in plan.given.values():
            inner.shared[slot] = plan.template[slot]
        for name, slot in step.inputs:
            target = plan.accepts[node.inner_inputs[name]]
            if target >= len(plan.template) - 1:
                continue
            if name not in node.mapped and slot in block.columns:
                inner.columns[target] = block.columns[slot]
                inner.shared.pop(target, None)
            elif name not in node.mapped:
                inner.shared[target] = block.shared[slot]
            else:
                inner.shared.pop(target, None)
        return inner

    # -- Columns ---------------------------------------------------------------------------------

    def _add_outputs(
        self,
        udf: ColumnUDF,
        block: Block,
        step: Step,
        read: Sequence[str],
        options: DaftOptions,
        inside: Block | None = None,
    ) -> None:
        """Add the columns of a step's outputs, and of its records where callbacks listen."""
        outputs = made = [self._column(block, name) for name, _ in step.outputs]
        record = self._column(block, f"{step.id}:record") if self.records else None
        if record is not None:
            made = [*outputs, record]
        where = "in processes" if options.use_process else "in this process"
        self._debug(
            f"{block.prefix}{step.id}: {', '.join(read) or 'no column'} -> {', '.join(made)} "
            f"({options.batch_size or self.batch_size} rows at a time, "
            f"{'on Ray' if self.ray else where})"
        )
        binary = DataType.binary()
        if len(made) == 1:
            self._apply(udf, step.id, made[0], read, binary, options)
        else:  # a function makes one column: a struct, whose fields become columns
            type_ = DataType.struct({str(at): binary for at in range(len(made))})
            struct = self._column(block, f"{step.id}:made")
            self._apply(udf, step.id, struct, read, type_, options)
            self.frame = self.frame.with_columns(
                {name: col(struct)[str(at)] for at, name in enumerate(made)}
            ).exclude(struct)
        self._names += made
        block.columns.update(zip([slot for _, slot in step.outputs], outputs, strict=True))
        block.gated.update(outputs)
        block.parts.append(Part.of(block, step, record, inside))

    def _apply(
        self,
        udf: ColumnUDF,
        name: str,
        made: str,
        read: Sequence[str],
        type_: DataType,
        options: DaftOptions,
    ) -> None:
        """Add one column."""
        if udf.remote:
            udf.pack()  # now, so that what cannot be sent is an error of the caller's
        function = as_function(udf, name, type_, options, self.batch_size)
        # Without the number of the item, Daft need not make it where nobody else reads it.
        columns = read if isinstance(udf, NativeBatchUDF) else [ITEM, *read]
        self.frame = self.frame.with_column(made, function(*[col(name) for name in columns]))

    def _column(self, block: Block, name: str) -> str:
        """A free name for a column."""
        taken = {*self._names, *self._keys, *self.frame.column_names, *self._reserved}
        return free_name("/".join((*block.path, name)), taken)

    def _next(self) -> int:
        self._order += 1
        return self._order


def _note(block: Block, step: Step) -> str:
    return f"in nested pipeline {step.id!r} of pipeline {block.execution.settings.pipeline.name!r}"
