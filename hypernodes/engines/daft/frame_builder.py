"""A pipeline's plan as one lazy Daft frame: its steps become functions that add columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import daft
from daft import Expression, col

from hypernodes.callbacks import Kind
from hypernodes.engines.daft.cells import Cells
from hypernodes.engines.daft.columns import (
    ITEM,
    BatchSizes,
    Block,
    Part,
    all_steps,
    free_name,
    is_inline,
)
from hypernodes.engines.daft.native_batch import NativeBatchUDF, native_batch_type
from hypernodes.engines.daft.nested_map import NestedMap
from hypernodes.engines.daft.node_udf import CONCURRENCY, NodeUDF
from hypernodes.engines.daft.options import DaftOptions
from hypernodes.engines.daft.scopes import Level, ScopesAround
from hypernodes.engines.daft.stage import Stage, served
from hypernodes.engines.daft.typed_columns import KINDS
from hypernodes.engines.daft.udf import Call, ColumnUDF, as_function
from hypernodes.errors import GraphError, SerializationError
from hypernodes.node import Node
from hypernodes.pipeline import Pipeline
from hypernodes.plan import NestedNode, Step
from hypernodes.run.fast_path import note_node

NATIVE_BATCH = 131_072
"""How many values of Daft's own types a batch node is handed at a time: as many as Daft would."""

NESTED_BATCH = 64
"""At most so many rows with nested maps are handed over at a time: each may have many items."""

DEEPEST = 40
"""So many functions may follow each other in a frame: Daft walks its plans recursively, and from
about 80 on its threads' stacks overflow."""
DEEPEST_LAZY = 60
"""So many may in a lazy frame, which is not computed part by part."""

PLAIN = DaftOptions()


class FrameBuilder:
    """Builds a lazy frame.

    Steps are collected first. Then those in a row that Daft need not see apart become one function,
    a `Stage`, so that what only they read is no column, and plans stay short however long a
    pipeline is.

    Args:
        frame: its columns so far, `ITEM` among them.
        cells: makes and reads cells.
        native: columns with values of Daft's own types: those of the user's frame.
        sizes: how many rows a node is handed at a time.
        records: whether nodes record their runs, for callbacks.
        ray: whether it is to run on Ray.
        load: whether hits are loaded at once.
        reserved: names that no column may have; see `free_name`.
        debug: is called with a line about each step.
        item_inputs: gives an item's own inputs, by its number.
    """

    def __init__(
        self,
        frame: daft.DataFrame,
        cells: Cells,
        native: set[str],
        sizes: BatchSizes,
        records: bool,
        ray: bool,
        load: bool,
        reserved: Collection[str],
        debug: Callable[[str], None],
        item_inputs: Callable[[int], Mapping[str, Any]],
    ) -> None:
        self.cells = cells
        self.records = records
        self.native = native
        # Columns of cells that native batch nodes made: no row of them is a failure.
        self.numbers: set[str] = set()
        # The exact type of what a node's annotation says it makes, where Daft keeps such values.
        self.kinds: dict[str, object] = {}
        # Of the columns that have such values the columns with the cells of others.
        self.cell_columns: dict[str, str] = {}
        self.sizes = sizes
        self.ray = ray
        # Whether what is being added runs in other processes, as a whole.
        self._apart = ray
        self._load = load
        self._debug = debug
        self._item_inputs = item_inputs
        self._frame = frame
        self._taken = {*frame.column_names, *reserved}
        self._calls: list[Call[ColumnUDF]] = []
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
        remote = self._apart or options.use_process
        settings = block.execution.settings
        cache = settings.cache
        if remote and cache is not None and not getattr(cache, "shared", True):
            where = "Ray's workers" if self.ray else "a process of its own (use_process"
            if not self.ray:
                where += ")" if options.use_process else " of a node beside it in a nested map)"
            raise SerializationError(
                f"node {step.id!r} runs on {where}, which {cache!r} cannot reach: use "
                "DiskCache(folder) with a folder that all of them see"
            )
        read = [(slot, block.columns[slot]) for _, slot in step.inputs if slot in block.columns]
        if self._add_native_batch(block, step, read, options, remote):
            return
        node, concurrency, instances = _bounded(step.node, options, remote)
        alone = Pipeline([node], name=settings.pipeline.name)
        shared = block.shared_inputs(step)
        alone = alone.bind(**shared) if shared else alone
        plan = alone.plan(tuple(name for name, _ in step.outputs))
        slots = [plan.given[name] for name, slot in step.inputs if slot in block.columns]
        names = [name for _, name in read]
        around, ctx = None, block.execution.ctx
        if self.cells.query.has_contexts and ctx is not None:
            around = ScopesAround(ctx, block.levels, self._item_inputs)
        udf = NodeUDF(
            self.cells,
            block.chain,
            self._next(),
            remote,
            execution=self.cells.query.execution(alone, settings.engine, cache, ctx=ctx),
            plan=plan,
            step_id=step.id,
            slots=slots,
            native=[name in self.native for name in names],
            hooks=settings.hooks if self.records else None,
            concurrency=concurrency,
            load=self._load,
            instances=instances,
            around=around,
        )
        self._add_outputs(udf, block, step, names, options)
        if isinstance(step.node, Node):
            types = dict(zip(step.node.outputs, step.node.output_types, strict=True))
            for name, slot in step.outputs:
                if types.get(name) in KINDS:
                    self.kinds[block.columns[slot]] = types[name]

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
        if node.options.max_concurrent is not None:
            return False
        if self.records or self.cells.signed or remote or keywords or type_ is None:
            return False
        if not self.cells.query.stops or block.is_map or len(self._calls) + 1 >= DEEPEST:
            return False  # the rest of a long chain can be one function
        pipeline = block.execution.settings.pipeline
        udf = NativeBatchUDF(
            self.cells,
            block.chain,
            self._next(),
            remote,
            node=node,
            note=lambda error: note_node(error, step, pipeline.name),
            arguments=[name for name, slot in step.inputs if slot in block.columns],
            native=[name in self.native for name in names],
            shared=block.shared_inputs(step),
        )
        ((name, slot),) = step.outputs
        made = self._column(block, name)
        self._debug(f"{block.prefix}{step.id}: {', '.join(names)} -> {made} (in one go)")
        larger = replace(options, batch_size=options.batch_size or NATIVE_BATCH)
        self._calls.append(Call(udf, step.id, tuple(names), (made,), larger))
        self.numbers.add(made)
        block.columns[slot] = made
        block.parts.append(Part.of(block, step))
        return True

    def _add_inline(self, block: Block, step: Step, node: NestedNode) -> None:
        inner = self._inner(block, step, node, (_note(block, step), *block.chain))
        inner.is_map = block.is_map
        self._debug(f"{inner.prefix}: its nodes follow")
        self.add(inner)
        for name, slot in step.outputs:
            block.columns[slot] = inner.columns[inner.plan.returns[node.inner_outputs[name]]]
        block.parts.append(Part.of(block, step, None, inner))

    def _add_map(self, block: Block, step: Step, node: NestedNode) -> None:
        """Add a nested map: one function for its lists, its nodes and its results."""
        inner = self._inner(block, step, node, ())
        inner.is_map = True
        columns, shared = block.columns, block.shared
        lists = [(name, slot) for name, slot in step.inputs if name in node.mapped]
        read = [(name, columns[slot]) for name, slot in lists if slot in columns]
        self._debug(f"{inner.prefix}: for each item of {', '.join(c for _, c in read) or 'it'}:")
        mapped = {}
        for name in [node.inner_inputs[name] for name in node.mapped]:
            mapped[name] = inner.columns[inner.plan.accepts[name]] = self._column(inner, name)
        inner.mapped = mapped
        around, apart = self._calls, self._apart
        inside = all_steps(inner.execution, inner.plan)
        self._calls = []
        self._apart = apart or any(DaftOptions.of_node(each.node).use_process for _, each in inside)
        self.add(inner)
        calls, remote = self._calls, self._apart
        self._calls, self._apart = around, apart
        here = [*mapped.values(), *[name for call in calls for name in call.makes]]
        passed = list(dict.fromkeys(n for call in calls for n in call.reads if n not in here))
        names, returns = node.inner_outputs, inner.plan.returns
        outputs = [inner.columns[returns[names[name]]] for name, _ in step.outputs]
        # Callbacks hear of every value inside; else only the outputs go back to the outer row.
        wanted = here if self.records else list(dict.fromkeys(outputs))
        inputs = [*mapped.values(), *passed]
        pipeline = inner.execution.settings.pipeline.name
        udf = NestedMap(
            self.cells,
            block.chain,
            self._next(),
            remote,
            step=step,
            note=_note(block, step),
            names=[name for name, _ in read],
            native=[column in self.native for _, column in read],
            passed=[column not in self.native for column in passed],
            shared={name: shared[slot] for name, slot in lists if slot in shared},
            stage=Stage(self.cells, remote, calls, inputs, wanted, pipeline),
            outputs=outputs,
            records=wanted if self.records else None,
            timed=[part.record for part in inner.parts if part.record and part.inside is None],
            is_spread=not any(map(_has_own_batches, calls)),
        )
        columns_read = [*[column for _, column in read], *passed]
        self._add_outputs(udf, block, step, columns_read, _needs(calls), inner)

    # -- Nested pipelines ------------------------------------------------------------------------

    def _inner(self, block: Block, step: Step, node: NestedNode, chain: tuple[str, ...]) -> Block:
        """The block of a nested pipeline, with what it takes from outside in place."""
        plan = step.inner_plan
        path = (*block.path, step.id)
        inner = Block(block.execution.inside(node), plan, path, {}, {}, chain)
        info = inner.execution.settings.scope_info
        kinds: Sequence[Kind] = ("map", "map_item") if node.mapped else ("pipeline",)
        inner.levels = (*block.levels, *[Level(kind, step.id, info) for kind in kinds])
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
            f"({'on Ray' if self.ray else where})"
        )
        self._calls.append(Call(udf, step.id, tuple(read), tuple(made), options))
        block.columns.update(zip([slot for _, slot in step.outputs], outputs, strict=True))
        block.parts.append(Part.of(block, step, record, inside))

    # -- The frame -------------------------------------------------------------------------------

    @property
    def columns(self) -> list[str]:
        """Every column that there is to ask for."""
        made = [name for call in self._calls for name in call.makes]
        return [*self._frame.column_names, *made]

    def build(
        self, wanted: Collection[str], pipeline: str, show_plan: Callable[[daft.DataFrame], None]
    ) -> daft.DataFrame:
        """The frame, with those columns at least that are wanted.

        Of a long chain that is collected anyway, what comes first is computed here.

        Args:
            wanted: the columns that it has to have.
            pipeline: the name of the pipeline that its rows are items of.
            show_plan: is called with what is computed here, before it is.

        Raises:
            GraphError: a lazy frame has too many functions for Daft.
        """
        frame = self._frame
        groups = self._groups(wanted)
        is_lazy = not self.cells.query.is_collected
        if is_lazy and len(groups) > DEEPEST_LAZY:
            raise GraphError(
                f"the lazy frame of pipeline {pipeline!r} has {len(groups)} functions one after "
                f"the other, and Daft computes at most {DEEPEST_LAZY}: nodes with different "
                "daft={...} become functions of their own. Give neighbours the same options, or "
                "collect the results with DaftEngine()"
            )
        if len(groups) > DEEPEST:  # what cannot be sent is an error before anything runs
            for call in self._calls:
                if call.udf.remote:
                    call.udf.pack()
        for place, calls in enumerate(groups):
            if place and place % DEEPEST == 0 and not is_lazy:
                needed = {*wanted, *(name for g in groups[place:] for c in g for name in c.reads)}
                needed |= {each for name, each in self.cell_columns.items() if name in needed}
                frame = frame.select(ITEM, *needed.intersection(frame.column_names) - {ITEM})
                show_plan(frame)
                frame = frame.collect()
            later = {name for group in groups[place + 1 :] for c in group for name in c.reads}
            made = [name for call in calls for name in call.makes]
            read = list(dict.fromkeys(n for call in calls for n in call.reads if n not in made))
            kept = [name for name in made if name in later or name in wanted]
            frame = self._with_columns(frame, calls, read, kept, pipeline)
        return frame

    def _groups(self, wanted: Collection[str]) -> list[list[Call[ColumnUDF]]]:
        """The calls that become one function each, in order.

        Of a lazy frame it is not known yet what will be asked for: only nodes that serve the same
        outputs are called together, so that no output costs the work of another.
        """
        is_lazy = not self.cells.query.is_collected
        groups: list[tuple[object, list[Call[ColumnUDF]]]] = []
        for call, ends in zip(self._calls, served(self._calls, wanted), strict=True):
            kind: object = call if _stands_alone(call) else is_lazy and ends
            if groups and groups[-1][0] == kind:
                groups[-1][1].append(call)
            else:
                groups.append((kind, [call]))
        return _shortened([calls for _, calls in groups])

    def _with_columns(
        self,
        frame: daft.DataFrame,
        calls: list[Call[ColumnUDF]],
        read: Sequence[str],
        made: Sequence[str],
        pipeline: str,
    ) -> daft.DataFrame:
        """Add the columns of one function."""
        first, options, size = calls[0], _needs(calls), self.sizes.of(read, made, self.kinds)
        if isinstance(first.udf, NativeBatchUDF):
            type_ = native_batch_type(first.udf.node)
            assert type_ is not None
            # Without the number of the item, Daft need not make it where nobody else reads it.
            function = as_function(first.udf, first.name, type_, first.options, size)
            return frame.with_column(made[0], function(*map(col, first.reads)))
        if any(isinstance(call.udf, NestedMap) for call in calls):
            size = min(size, NESTED_BATCH)
        remote = self.ray or options.use_process
        query = self.cells.query
        kinds = {} if self.records else self.kinds  # callbacks are shown cells
        goes_on = not (query.is_collected or query.stops)
        typed = self.cell_columns
        stage = Stage(self.cells, remote, calls, read, made, pipeline, typed, kinds, goes_on)
        if stage.remote:
            stage.pack()  # now, so that what cannot be sent is an error of the caller's
        name = ", ".join(call.name for call in calls)
        function = as_function(stage, name, stage.dtype, options, size)
        single = not stage.dtype.is_struct()
        struct = made[0] if single else self._free("made")
        frame = frame.with_column(struct, function(col(ITEM), *self.reading(read)))
        if single:  # a function makes one column: a struct, whose fields become columns
            return frame
        fields = {name: col(struct)[str(at)] for at, name in enumerate(made)}
        for at, name in enumerate(made):
            if name in stage.kinds:
                self.cell_columns[name] = self._free(f"{name}:cell")
                fields[self.cell_columns[name]] = col(struct)[f"{at}:cell"]
        return frame.with_columns(fields).exclude(struct)

    def reading(self, names: Iterable[str]) -> list[Expression]:
        """The arguments of a function that reads columns: of a typed one its cells too.

        Args:
            names: the columns.
        """
        read: list[Expression] = []
        for name in names:
            cells = self.cell_columns.get(name)
            read += [col(name)] if cells is None else [col(name), col(cells)]
        return read

    def _column(self, block: Block, name: str) -> str:
        """A free name for a column."""
        return self._free("/".join((*block.path, name)))

    def _free(self, name: str) -> str:
        full = free_name(name, self._taken)
        self._taken.add(full)
        return full

    def _next(self) -> int:
        self._order += 1
        return self._order


def _note(block: Block, step: Step) -> str:
    return f"in nested pipeline {step.id!r} of pipeline {block.execution.settings.pipeline.name!r}"


def _stands_alone(call: Call[ColumnUDF]) -> bool:
    """Whether Daft has to see a call apart: it says how it is called, or makes batches."""
    if isinstance(call.udf, NativeBatchUDF) or call.options.use_process:
        return True
    return _has_own_batches(call)


def _has_own_batches(call: Call[ColumnUDF]) -> bool:
    udf = call.udf
    if isinstance(udf, NestedMap):
        return False
    if replace(call.options, type=None) != PLAIN or not isinstance(udf, NodeUDF):
        return True
    node = udf.step.node
    if udf.instances is not None:
        return True
    return not isinstance(node, Node) or node.is_async or bool(node.options.batch)


def _needs(calls: Sequence[Call[ColumnUDF]]) -> DaftOptions:
    """How Daft calls a function that is made of several."""
    if len(calls) == 1:
        return calls[0].options
    every = [call.options for call in calls]
    cpus = [options.cpus for options in every if options.cpus is not None]
    return DaftOptions(
        cpus=max(cpus, default=None),
        gpus=max(options.gpus for options in every),
        use_process=any(options.use_process for options in every),
    )


def _shortened(groups: list[list[Call[ColumnUDF]]]) -> list[list[Call[ColumnUDF]]]:
    """Merge groups in a row, as few as it takes, where there are too many; see `DEEPEST`."""
    size = -(-len(groups) // DEEPEST)
    while len(made := _merged(groups, size)) > DEEPEST and size < len(groups):
        size *= 2
    return made


def _merged(groups: list[list[Call[ColumnUDF]]], size: int) -> list[list[Call[ColumnUDF]]]:
    """Merge up to so many groups in a row that Daft calls in the same way."""
    made: list[list[Call[ColumnUDF]]] = []
    for kind, alike in groupby(groups, _kind):
        every = list(alike)
        step = 1 if kind[0] else size
        for at in range(0, len(every), step):
            made.append([call for group in every[at : at + step] for call in group])
    return made


def _kind(group: Sequence[Call[ColumnUDF]]) -> tuple[bool, bool, float]:
    options = _needs(group)
    return isinstance(group[0].udf, NativeBatchUDF), options.use_process, options.gpus


def _bounded(
    node: Node[..., Any] | NestedNode, options: DaftOptions, remote: bool
) -> tuple[Node[..., Any] | NestedNode, int | None, int | None]:
    """A node with a limit as it is called in other processes, which share nothing.

    In this process `run.limits` sees to its `max_concurrent`. Elsewhere Daft has to make no more
    processes than the limit allows for, each of which has its share.

    Returns:
        The node, how many calls of it run at once in a process, and in how many processes.
    """
    limit = node.options.max_concurrent if isinstance(node, Node) else None
    if not isinstance(node, Node) or limit is None or not remote:
        return node, options.concurrency, None
    usual = CONCURRENCY if node.is_async else 1
    share = min(options.concurrency or usual, limit)
    return node.varied(max_concurrent=share), share, limit // share
