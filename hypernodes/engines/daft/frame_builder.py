"""A pipeline's plan as one lazy Daft frame: each step adds its outputs as columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import daft
from daft import DataType, col
from daft.functions import to_struct

from hypernodes.engines.daft.cells import Cells, execution_of
from hypernodes.engines.daft.columns import ITEM, Block, Part, is_inline
from hypernodes.engines.daft.explode import Explode, Regroup
from hypernodes.engines.daft.node_udf import UDF, NodeUDF
from hypernodes.engines.daft.types import NativeBatchUDF, vector_type
from hypernodes.errors import SerializationError
from hypernodes.nested import PipelineNode
from hypernodes.node import Node
from hypernodes.options import DaftOptions
from hypernodes.pipeline import Pipeline
from hypernodes.plan import PipelineLike, Step
from hypernodes.run.fast_path import note_node

VECTOR_BATCH = 131_072
"""So many values of Daft's own types are handed to a batch node at a time."""


class Builder:
    """Builds a frame.

    Args:
        frame: its columns so far; the one of `ITEM` among them.
        cells: makes and reads cells.
        native: columns with values of Daft's own types: those of the user's frame, and what batch
            nodes make of them.
        batch_size: how many rows a node is handed at a time.
        telling: whether there are callbacks.
        ray: whether it is to run on Ray.
        load: whether results that are in the cache are loaded at once.
        explain: is told what becomes of each step.
    """

    def __init__(
        self,
        frame: daft.DataFrame,
        cells: Cells,
        native: set[str],
        batch_size: int,
        telling: bool,
        ray: bool,
        load: bool,
        explain: Callable[[str], None],
    ) -> None:
        self.frame = frame
        self.cells = cells
        self.telling = telling
        self.native = native
        self.batch_size = batch_size
        self.ray = ray
        self._load = load
        self._explain = explain
        self._names = [name for name in frame.column_names if name != ITEM]
        self._keys = [ITEM]
        self._order = 0

    # -- Steps -----------------------------------------------------------------------------------

    def add(self, block: Block) -> Block:
        """Add the columns of a block's steps."""
        for step in block.plan.steps:
            if is_inline(step, block.execution.settings.engine):
                assert isinstance(step.node, PipelineNode)
                add = self._add_map if step.node.mapped else self._add_inline
                add(block, step, step.node)
            else:
                self._add_node(block, step)
        return block

    def _add_node(self, block: Block, step: Step) -> None:
        options = DaftOptions()
        if isinstance(step.node, Node):
            options = step.node.options.daft or options
        remote = self.ray or options.use_process
        execution = block.execution
        if (
            remote
            and execution.settings.cache is not None
            and not getattr(execution.settings.cache, "shared", True)
        ):
            where = "Ray's workers" if self.ray else "a process of its own (use_process)"
            raise SerializationError(
                f"node {step.id!r} runs on {where}, which {execution.settings.cache!r} cannot reach: use "
                "DiskCache(folder) with a folder that all of them see"
            )
        read = [(slot, block.columns[slot]) for _, slot in step.inputs if slot in block.columns]
        if self._add_vectors(block, step, read, options, remote):
            return
        alone = Pipeline([step.node], name=execution.settings.pipeline.name)
        shared = {name: block.shared[slot] for name, slot in step.inputs if slot in block.shared}
        alone = alone.bind(**shared) if shared else alone
        plan = alone.plan(tuple(name for name, _ in step.outputs))
        slots: list[int | None] = [
            plan.given[name] for name, slot in step.inputs if slot in block.columns
        ]
        names = [name for _, name in read]
        if block.gate is not None and not block.gated.intersection(names):
            names.append(block.gate)
            slots.append(None)
        work = NodeUDF(
            self.cells,
            block.chain,
            self._next(),
            remote,
            execution=execution_of(
                alone, execution.settings.engine, execution.settings.cache, execution.settings.session, execution.ctx
            ),
            plan=plan,
            step_id=step.id,
            slots=slots,
            native=[name in self.native for name in names],
            hooks=execution.settings.hooks if self.telling else None,
            concurrency=options.concurrency,
            load=self._load,
        )  # fmt: skip
        made = self._outputs(block, step)
        told = self._told(block, step)
        self._with(work, block, step, names, [*made, *told], options)
        block.columns.update(zip([slot for _, slot in step.outputs], made, strict=True))
        block.gated.update(made)
        block.parts.append(Part.of(block, step, told[0] if told else None))

    def _add_vectors(
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
        if not isinstance(node, Node) or not names or not self.native.issuperset(names):
            return False
        type_ = vector_type(node)
        single = step.keywords.intersection(n for n, slot in step.inputs if slot in block.columns)
        if self.telling or self.cells.signed or remote or single or type_ is None:
            return False
        if not self.cells.query.stops or block.gate is not None:
            return False
        work = NativeBatchUDF(
            self.cells, block.chain, self._next(), remote,
            node=node,
            note=partial(_note_node, step, block.execution.settings.pipeline),
            arguments=[name for name, slot in step.inputs if slot in block.columns],
            shared={name: block.shared[slot] for name, slot in step.inputs if slot in block.shared},
        )  # fmt: skip
        ((_, slot),) = step.outputs
        (made,) = self._outputs(block, step)
        self._explain(f"{_path(block)}{step.id}: {', '.join(names)} -> {made} (as {type_})")
        larger = replace(options, batch_size=options.batch_size or VECTOR_BATCH)
        self._apply(work, step.id, made, names, type_, larger)
        self._names.append(made)
        self.native.add(made)
        block.columns[slot] = made
        block.parts.append(Part.of(block, step, None))
        return True

    def _add_inline(self, block: Block, step: Step, node: PipelineNode) -> None:
        inner = self._inner(block, step, node, (_note(block, step), *block.chain))
        inner.gate, inner.gated = block.gate, block.gated
        self._explain(f"{_path(inner)}: its nodes follow")
        self.add(inner)
        self._take_outputs(block, step, node, inner)
        block.parts.append(Part.of(block, step, None, inner))

    def _add_map(self, block: Block, step: Step, node: PipelineNode) -> None:
        note = _note(block, step)
        inputs = [(name, slot) for name, slot in step.inputs if name in node.mapped]
        read = [(name, block.columns[slot]) for name, slot in inputs if slot in block.columns]
        if block.gate is not None and not block.gated.intersection(each for _, each in read):
            read.append(("", block.gate))
        columns = [column for _, column in read]
        split = Explode(
            self.cells,
            block.chain,
            self._next(),
            self.ray,
            step=step,
            note=note,
            names=[name for name, _ in read],
            native=[column in self.native for column in columns],
            shared={name: block.shared[slot] for name, slot in inputs if slot in block.shared},
        )
        inner = self._inner(block, step, node, ())
        fields = {"place": DataType.int64()} | dict.fromkeys(
            split.mapped.values(), DataType.binary()
        )
        items = self._column(block, f"{step.id}:items")
        place = self._column(block, f"{step.id}:place")
        type_ = DataType.list(DataType.struct(fields))
        self._apply(split, f"{step.id}:split", items, columns, type_, DaftOptions())
        outer, keys = list(self._names), list(self._keys)
        self._explain(f"{_path(inner)}: a row for each item of {', '.join(columns) or 'it'}")
        mapped = {name: self._column(inner, name) for name in fields if name != "place"}
        exploded = self.frame.explode(col(items))
        self.frame = exploded.select(
            *keys,
            *outer,
            col(items)["place"].alias(place),
            *[col(items)[name].alias(column) for name, column in mapped.items()],
        )
        self._names = [*outer, *mapped.values()]
        self._keys = [*keys, place]
        inner.columns.update({inner.plan.accepts[name]: each for name, each in mapped.items()})
        inner.gated = set(mapped.values())
        inner.gate = next(iter(mapped.values()))
        self.add(inner)
        made_inside = [name for name in self._names if name not in outer]
        returns, names = inner.plan.returns, node.inner_outputs
        outputs = [inner.columns[returns[names[name]]] for name, _ in step.outputs]
        wanted = made_inside if self.telling else list(dict.fromkeys(outputs))
        rows = self._column(block, f"{step.id}:rows")
        struct = {"place": col(place)} | {f"f{at}": col(name) for at, name in enumerate(wanted)}
        self.frame = self.frame.groupby(*keys).agg(
            *[col(name).any_value().alias(name) for name in outer],
            to_struct(**struct).list_agg().alias(rows),
        )
        self._names, self._keys = outer, keys
        field_of = {name: f"f{at}" for at, name in enumerate(wanted)}
        gather = Regroup(
            self.cells,
            block.chain,
            self._next(),
            self.ray,
            step=step,
            note=note,
            outputs=[field_of[name] for name in outputs],
            told=field_of if self.telling else None,
        )
        made, told = self._outputs(block, step), self._told(block, step)
        self._with(gather, block, step, [rows], [*made, *told], DaftOptions())
        block.columns.update(zip([slot for _, slot in step.outputs], made, strict=True))
        block.gated.update(made)
        block.parts.append(Part.of(block, step, told[0] if told else None, inner))

    # -- Nested pipelines ------------------------------------------------------------------------

    def _inner(self, block: Block, step: Step, node: PipelineNode, chain: tuple[str, ...]) -> Block:
        """The block of a nested pipeline, with what it takes from outside in place."""
        plan = node.plan(name for name, _ in step.outputs)
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

    def _take_outputs(self, block: Block, step: Step, node: PipelineNode, inner: Block) -> None:
        for name, slot in step.outputs:
            block.columns[slot] = inner.columns[inner.plan.returns[node.inner_outputs[name]]]

    # -- Columns ---------------------------------------------------------------------------------

    def _with(
        self,
        work: UDF,
        block: Block,
        step: Step,
        read: Sequence[str],
        made: Sequence[str],
        options: DaftOptions,
    ) -> None:
        """Add the columns that work makes: one, or the fields of a struct."""
        where = "in processes" if options.use_process else "in this process"
        self._explain(
            f"{_path(block)}{step.id}: {', '.join(read) or 'no column'} -> {', '.join(made)} "
            f"({options.batch_size or self.batch_size} rows at a time, "
            f"{'on Ray' if self.ray else where})"
        )
        binary = DataType.binary()
        if len(made) == 1:
            self._apply(work, step.id, made[0], read, binary, options)
        else:
            type_ = DataType.struct({str(at): binary for at in range(len(made))})
            struct = self._column(block, f"{step.id}:made")
            self._apply(work, step.id, struct, read, type_, options)
            self.frame = self.frame.with_columns(
                {name: col(struct)[str(at)] for at, name in enumerate(made)}
            ).exclude(struct)
        self._names += made

    def _apply(
        self,
        work: UDF,
        name: str,
        made: str,
        read: Sequence[str],
        type_: Any,
        options: DaftOptions,
    ) -> None:
        if work.remote:
            work.pack()
        function = as_function(work, name, type_, options, self.batch_size)
        # Without the number of the item, Daft need not make it where nobody else reads it.
        columns = read if isinstance(work, NativeBatchUDF) else [ITEM, *read]
        self.frame = self.frame.with_column(made, function(*[col(name) for name in columns]))

    def _outputs(self, block: Block, step: Step) -> list[str]:
        return [self._column(block, name) for name, _ in step.outputs]

    def _told(self, block: Block, step: Step) -> list[str]:
        return [self._column(block, f"{step.id}:told")] if self.telling else []

    def _column(self, block: Block, name: str) -> str:
        """A free name for a column."""
        name = full = "/".join((*block.path, name))
        taken = {*self._names, *self._keys, *self.frame.column_names}
        at = 1
        while full in taken:
            at += 1
            full = f"{name}:{at}"
        return full

    def _next(self) -> int:
        self._order += 1
        return self._order


def as_function(
    work: UDF, name: str, type_: Any, options: DaftOptions, batch_size: int
) -> Callable[..., daft.Expression]:
    """UDF as a function of expressions."""

    def call(*series: daft.Series) -> daft.Series:
        made: daft.Series = work(*series)
        return made

    call.__name__ = call.__qualname__ = name
    call.__module__ = "hypernodes"
    made: Callable[..., daft.Expression] = daft.func.batch(
        return_dtype=type_,
        batch_size=options.batch_size or batch_size,
        cpus=options.cpus,
        gpus=options.gpus,
        use_process=True if options.use_process else None,
    )(call)
    return made


def _note_node(step: Step, pipeline: PipelineLike, error: BaseException) -> None:
    note_node(error, step, pipeline)


def _note(block: Block, step: Step) -> str:
    return f"in nested pipeline {step.id!r} of pipeline {block.execution.settings.pipeline.name!r}"


def _path(block: Block) -> str:
    return "".join(f"{name}/" for name in block.path)
