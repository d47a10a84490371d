"""`CompiledCalls`: nodes that only call their functions, as the text of one Python function."""

from __future__ import annotations

import pickle
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from hypernodes.engines.daft.cells import Cell
from hypernodes.engines.daft.rows import NodeOfRows
from hypernodes.engines.daft.typed_columns import ANY, CellValue
from hypernodes.event_loops import AWAITED, block_on
from hypernodes.node import Node

NodeCall = tuple[NodeOfRows, Sequence[str], Sequence[str]]
"""A node with the columns that it reads and makes."""

Failure = tuple[int, BaseException, float, float]
"""The place of the node at which a row stopped, what it raised, and where times are recorded when
the call began, in seconds since the epoch, and how long it took."""


class CompiledCalls:
    """The calls of some nodes for a row of cells, as the text of a Python function.

    For trivial nodes the calls are a small part of a row's time. A general loop would look up which
    columns to load and zip arguments for each row; the compiled one has it all in its text. What
    one node makes for the next stays a local variable, and is never pickled:

        for (_c0, _c1, ) in _rows:
            _at = 0
            try: _x0 = _loads(_c0)
            except Exception: _x0 = _l0(_c0)
            _x2 = _f0(_x0, _v0_1)
            if type(_x2) in _awaited: _x2 = _block_on(_x2)
            _at = 1
            ... and so for _x1
            _x3 = _f1(_x2, scale=_x1)
            if type(_x3) in _awaited: _x3 = _block_on(_x3)
            try: _d0 = _dumps(_x3, 5)
            except Exception: _d0 = _dump(_x3)
            _a0(_d0)
            if _query.failed_at is not None: return

    Args:
        calls: the nodes, each with the columns that it reads and makes, after those it reads from.
        inputs: the columns that the rows have.
        outputs: the columns to make.
        kinds: the exact type of values of those outputs that are typed columns, or `ANY` for those
            that stay values; others have cells.
        records: whether the times of each call are recorded, of one node.
    """

    def __init__(
        self,
        calls: Sequence[NodeCall],
        inputs: Sequence[str],
        outputs: Sequence[str],
        kinds: Mapping[str, object],
        records: bool = False,
    ) -> None:
        query = calls[0][0].cells.query
        self._names: dict[str, object] = {
            "_loads": pickle.loads,
            "_dumps": pickle.dumps,
            "_dump": query.dump,
            "_awaited": AWAITED,
            "_block_on": block_on,
            "_CellValue": CellValue,
            "_BaseException": BaseException,
            "_time": time.time,
            "_perf_counter": time.perf_counter,
        }
        self._label = ", ".join(node.step.id for node, _, _ in calls)
        self._row = "".join(f"_c{place}, " for place in range(len(inputs)))  # "(_c0, )" works too
        self._variables = {name: f"_x{place}" for place, name in enumerate(inputs)}
        self._unread = set(inputs)
        self._inputs = list(inputs)
        self._is_remote = query.remote
        self._records = records
        self.body: list[str] = []
        self.awaiting_body: list[str] = []
        for place, call in enumerate(calls):
            self._add(place, *call)
        self._made = []
        for place, name in enumerate(outputs):
            made, value = f"_d{place}", self._variables[name]
            self._made.append(value if kinds.get(name) is ANY else made)
            if name not in kinds:
                self._add_lines(self._packing(made, value))
                continue
            if kinds[name] is ANY:
                continue
            self._names[f"_k{made}"] = kinds[name]
            self._add_lines(
                [
                    f"if type({value}) is _k{made}: {made} = {value}",
                    f"else: {made} = _CellValue(_dump({value}))",
                ]
            )

    def _add_lines(self, lines: Sequence[str]) -> None:
        self.body += lines
        self.awaiting_body += lines

    def _packing(self, made: str, value: str) -> list[str]:
        if self._is_remote:
            return [f"{made} = _dump({value})"]
        return [f"try: {made} = _dumps({value}, 5)", f"except Exception: {made} = _dump({value})"]

    def _add(self, place: int, of: NodeOfRows, reads: Sequence[str], makes: Sequence[str]) -> None:
        step, node = of.step, of.step.node
        assert isinstance(node, Node)
        self._names[f"_f{place}"] = node.call
        self._add_lines([f"_at = {place}"])
        values: dict[int, str] = {}
        given = zip(of.slots, of.native, of.loads, reads, strict=True)
        for slot, is_native, loads, name in given:
            variable = self._variables[name]
            if name in self._unread:
                self._unread.remove(name)
                at = self._inputs.index(name)
                lines = [f"{variable} = _c{at}"]
                if not is_native:
                    self._names[f"_l{at}"] = loads
                    lines = [
                        f"try: {variable} = _loads(_c{at})",
                        f"except Exception: {variable} = _l{at}(_c{at})",
                    ]
                self._add_lines(lines)
            values[slot] = variable
        arguments = []
        for name, slot in step.inputs:
            if slot not in values:
                values[slot] = f"_v{place}_{slot}"
                self._names[values[slot]] = of.base.slots[slot]
            by_keyword = name in step.keywords
            arguments.append(f"{name}={values[slot]}" if by_keyword else values[slot])
        results = [f"_x{len(self._variables) + at}" for at in range(len(makes))]
        self._variables.update(zip(makes, results, strict=True))
        result = results[0]
        called = f"_f{place}({', '.join(arguments)})"
        wait = f"if type({result}) in _awaited: {result} = _block_on({result})"
        if self._records:
            self.body.append("_started, _begun = _time(), _perf_counter()")
        self.body += [f"{result} = {called}", wait]
        if self._records:
            self.body.append("_duration = _perf_counter() - _begun")
        self.awaiting_body.append(f"{result} = await {called}")
        if len(results) > 1:
            self._names[f"_u{place}"] = node.unpack
            self._add_lines([f"{', '.join(results)} = _u{place}({result})"])

    def loop(self) -> Callable[..., Failure | None]:
        """A function of rows, of the query, and of the `append` of each column that it makes.

        Where times are recorded there are two more, for when a call began and how long it took.

        It takes rows from an iterator until one fails: that row has been taken, and has appended
        nothing. It also ends where a row after the last one may not be wanted any more.
        """
        appends = [f"_a{place}" for place in range(len(self._made))]
        put = [f"{append}({made})" for append, made in zip(appends, self._made, strict=True)]
        taken = "0.0, 0.0"
        if self._records:
            appends += ["_add_start", "_add_duration"]
            put += ["_add_start(_started)", "_add_duration(_duration)"]
            taken = "_started or _time(), _perf_counter() - _begun if _started else 0.0"
        return self._compile(
            [
                f"def made(_rows, _query, {', '.join(appends)}):",
                " _at = 0",
                " try:",
                f"  for ({self._row}) in _rows:",
                *["   _started = None"] * self._records,
                *[f"   {line}" for line in [*self.body, *put]],
                "   if _query.failed_at is not None: return",
                " except _BaseException as _error:",
                f"  return _at, _error, {taken}",
            ]
        )

    def coroutine(self) -> Callable[..., Awaitable[list[Cell]]]:
        """An async function of a row's cells that gives the cell of each output."""
        back = f"return [{', '.join(self._made)}]"
        head = f"async def made({self._row}):"
        return self._compile([head, *[f" {line}" for line in [*self.awaiting_body, back]]])

    def _compile(self, lines: Sequence[str]) -> Callable[..., Any]:
        names: dict[str, Any] = dict(self._names)
        exec(compile("\n".join(lines), f"<columns of {self._label[:60]}>", "exec"), names)
        made: Callable[..., Any] = names["made"]
        return made
