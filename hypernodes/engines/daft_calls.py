"""How a node's function is called inside Daft: in a loop, for a whole batch, on an event loop."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any

from hypernodes.batch import call_batch
from hypernodes.engines.work import NodeCall, Outcome
from hypernodes.engines.workers import Sequential
from hypernodes.graph import Step
from hypernodes.loops import AWAITED, block_on, is_awaited
from hypernodes.node import Node


def compile_loop(
    step: Step,
    slots: Sequence[int | None],
    native: Sequence[bool],
    shared: Sequence[Any],
    dump: Callable[[Any], bytes],
    always: bool,
) -> Callable[..., None]:
    """The loop over rows as a function: a call a row, and nothing else.

    Args:
        step: the node's step.
        slots: where each column's value goes; None for one that only has to be there.
        native: which columns are Daft's own.
        shared: the values that all rows share, by slot.
        dump: pickles what `pickle` does not.
        always: whether it is to pickle everything.

    Returns:
        A function of the rows, and of an `append` for each output's cells.
    """
    node = step.node
    assert isinstance(node, Node)
    names = {
        "_func": node.call,
        "_loads": pickle.loads,
        "_dumps": pickle.dumps,
        "_dump": dump,
        "_awaited": AWAITED,
        "_block_on": block_on,
        "_unpack": node.unpack,
    }
    columns = [f"_c{place}" for place in range(len(slots))]
    read = [
        name if native else f"_loads({name})" for name, native in zip(columns, native, strict=True)
    ]
    values = dict(zip(slots, read, strict=True))
    lines = [f" for ({', '.join(columns)}{',' if columns else ''}) in _rows:"]
    lines += [f"  {t}" for t, slot in zip(read, slots, strict=True) if slot is None]
    arguments = []
    for name, slot in step.inputs:
        if slot not in values:
            names[f"_v{slot}"] = shared[slot]
        text = values.get(slot, f"_v{slot}")
        arguments.append(f"{name}={text}" if name in step.keywords else text)
    outputs = range(len(step.outputs))
    lines += [
        f"  _r = _func({', '.join(arguments)})",
        "  if type(_r) in _awaited: _r = _block_on(_r)",
    ]
    results = ["_r"]
    if len(outputs) > 1:
        results = [f"_r{place}" for place in outputs]
        lines.append(f"  {', '.join(results)} = _unpack(_r)")
    for place, result in enumerate(results):
        if always:
            lines.append(f"  _d{place} = _dump({result})")
        else:
            lines += [
                f"  try: _d{place} = _dumps({result}, 5)",
                f"  except Exception: _d{place} = _dump({result})",
            ]
    lines += [f"  _a{place}(_d{place})" for place in outputs]
    appends = ", ".join(f"_a{place}" for place in outputs)
    source = "\n".join([f"def loop(_rows, {appends}):", *lines])
    exec(compile(source, f"<column of {step.id!r}>", "exec"), names)
    loop: Any = names["loop"]
    return loop  # type: ignore[no-any-return]


class Together(Sequential):
    """Workers that give the call away, and wait for its outcome."""

    async def call(self, call: NodeCall) -> Outcome:
        outcome: Outcome = await _Given(call)
        return outcome

    async def wait(self, flight: Any) -> bool:
        return False  # it may be of a row of the same batch, which waits for this one


class _Given:
    def __init__(self, call: NodeCall) -> None:
        self._call = call

    def __await__(self) -> Any:
        return (yield self._call)


def call_together(calls: Sequence[NodeCall]) -> list[Outcome]:
    """Call a batch node once for several rows: each has an equal part of the time."""
    first = calls[0]
    columns = [list(values) for values in zip(*[call.args for call in calls], strict=True)]
    started_at, begun = time.time(), time.perf_counter()
    error: BaseException | None = None
    values: list[Any] = [None] * len(calls)
    try:
        result = call_batch(first.node, columns, dict(first.kwargs), len(calls))
        values = block_on(result) if is_awaited(result) else result
    except BaseException as raised:
        error = raised
    part = (time.perf_counter() - begun) / len(calls)
    return [
        Outcome(value, error, started_at + place * part, part) for place, value in enumerate(values)
    ]


async def in_this_thread(call: Callable[[], Any]) -> Any:
    return call()
