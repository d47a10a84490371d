"""A node that runs inside Daft is within the scopes that callbacks hear of when its row is out."""

from __future__ import annotations

import pickle
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from recording import Recorder

from hypernodes import (
    CallbackContext,
    DaftEngine,
    FailedItem,
    Node,
    Pipeline,
    PipelineCallback,
    node,
)

daft = pytest.importorskip("daft")

from hypernodes.engines.daft.query import Query  # noqa: E402  (needs Daft)

Path = tuple[tuple[str, str], ...]


def path(ctx: CallbackContext | None) -> Path:
    """Ids and names from the outermost scope to this one."""
    return () if ctx is None else (*path(ctx.parent), (str(ctx.id), ctx.name))


class Seen:
    """Brings back where the node was when it ran."""

    def __init__(self, ctx: CallbackContext) -> None:
        self.path = path(ctx)
        self.was_replayed = ctx.is_replayed
        self.brought_back: tuple[Path, bool] | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.brought_back = self.path, self.was_replayed


class Watcher(Recorder):
    def node_context(self, ctx: CallbackContext) -> Seen:
        return Seen(ctx)

    def node_context_maker(self, ctx: CallbackContext) -> type[Seen]:
        return Seen


@node(output_name="parts")
def split(x: int) -> list[int]:
    return list(range(x))


@node(output_name="y")
def double(part: int) -> int:
    return 2 * part


@node(output_name="y", daft={"use_process": True})
def double_apart(part: int) -> int:
    return 2 * part


@node(output_name="z")
def again(y: int) -> int:
    return y + 1


@node(output_name="total")
def add(zs: list[int]) -> int:
    return sum(zs)


@pytest.mark.parametrize(
    "inner", [double, pytest.param(double_apart, marks=pytest.mark.slow)], ids=lambda n: n.name
)
@pytest.mark.parametrize("outermost", ["run", "map", "map of maps"])
def test_the_scopes_around_a_running_node_are_those_of_its_hooks(
    inner: object, outermost: str
) -> None:
    pair = Pipeline([inner, again], name="pair")
    wrapped = Pipeline([pair.as_node(name="pair")], name="wrapped")
    mapped = wrapped.as_node(name="mapped", map_over={"parts": "part"}, output_mapping={"z": "zs"})
    pipeline = Pipeline([split, mapped, add], name="p")
    if outermost == "map of maps":
        pipeline = Pipeline([pipeline.as_node(map_over={"xs": "x"})], name="q")
    told = Watcher()
    watched = pipeline.with_callbacks([told]).with_engine(DaftEngine())
    if outermost == "run":
        assert watched.run({"x": 3}, "total") == {"total": 9}
    elif outermost == "map":
        assert [row["total"] for row in watched.map({"x": [3, 0, 2]}, "x")] == [9, 0, 4]
    else:
        assert [row["total"] for row in watched.map({"xs": [[3, 1], [], [2]]}, "xs")] == [
            [9, 1], [], [4],
        ]  # fmt: skip
    ends = [ctx for hook, _, ctx in told.events if hook == "on_node_end"]
    assert len({ctx.id for ctx in ends}) == len(ends) >= 8
    for ctx in ends:
        assert ctx.brought_back == ((path(ctx), True),)
    told.check_pairs()


def test_scopes_that_are_filled_when_looked_at_are_those_that_other_hooks_are_given() -> None:
    class Kept(PipelineCallback):
        """Looks at scopes at the end only, or as soon as it hears of them."""

        def __init__(self, early: bool) -> None:
            self.early = early
            self.found: dict[str, CallbackContext] = {}

        def keep(self, ctx: CallbackContext) -> None:
            self.found[ctx.hierarchy_path if self.early else str(len(self.found))] = ctx

        def on_map_item_start(self, item_index: int, ctx: CallbackContext) -> None:
            assert not self.early or ctx.ended_at is None
            self.keep(ctx)

        def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
            self.keep(ctx)

    for early in (True, False):
        told = Kept(early)
        pipeline = Pipeline([double, again], name="p", engine=DaftEngine(), callbacks=[told])
        assert pipeline.map({"part": [1, 2]}, "part", output_name="z") == [{"z": 3}, {"z": 5}]
        by_path = {ctx.hierarchy_path: ctx for ctx in told.found.values()}
        for item in ("p[0]", "p[1]"):
            around, first, last = (by_path[f"p/{item}{node}"] for node in ("", "/double", "/again"))
            assert first.parent is last.parent is around
            assert last.inputs_from == {"y": first}
            assert around.node_ids == ("double", "again")
            assert around.item_index == last.item_index == int(item[2])
            assert dict(around.item_inputs) == {"part": around.item_index + 1}
            assert last.record is not None
            assert last.record.outcome == "done"
            assert around.started_at == first.started_at <= last.started_at <= last.ended_at
            assert around.ended_at in (None, last.ended_at)
            sent = pickle.loads(pickle.dumps(last))
            assert (sent.id, sent.path, sent.kind) == (last.id, last.path, "node")
            assert sent.inputs_from["y"].id == first.id


def test_callbacks_of_a_lazy_frame_are_warned_of() -> None:
    frame = daft.from_pydict({"part": [1]})
    lazy = Pipeline([double], engine=DaftEngine(collect=False))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lazy.map(frame, "part").to_pydict()["y"] == [2]
    with pytest.warns(UserWarning, match="callbacks hear nothing of a lazy frame") as caught:
        lazy.with_callbacks([Recorder()]).map(frame, "part")
    assert caught[0].filename == __file__


class Heard(PipelineCallback):
    """All values that hooks are given, in order, by node and item."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str, str], Any] = {}

    def on_node_start(self, node_id: str, inputs: Any, ctx: CallbackContext) -> None:
        self._hear("reads", node_id, dict(inputs), ctx)

    def on_node_end(
        self, node_id: str, outputs: Any, duration: float, ctx: CallbackContext
    ) -> None:
        self._hear("makes", node_id, dict(outputs), ctx)

    def on_error(self, node_id: str, error: Exception, ctx: CallbackContext) -> None:
        self._hear("fails", node_id, str(error), ctx)

    def _hear(self, what: str, node_id: str, values: Any, ctx: CallbackContext) -> None:
        around = "/".join(name for _, name in path(ctx.parent))
        self.values[what, node_id, around] = values


def handle(x: Any) -> Any:
    """Cannot be pickled."""
    return {"of": x, "lock": HELD}


HELD = threading.Lock()
SHARED: list[int] = []


def same(x: Any) -> list[int]:
    return SHARED


def fail_at_two(x: Any) -> Any:
    if x == 2:
        raise ValueError("two")
    return [x]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: [x, str(x)],
        lambda x: np.arange(x),
        lambda x: (x, {x: None}),
        handle,
        same,
        fail_at_two,
    ],
    ids=["lists", "arrays", "tuples", "locks", "one for all", "one that fails"],
)
@pytest.mark.parametrize("shape", ["one", "asked for", "two", "deep"])
def test_callbacks_are_given_what_items_of_nested_maps_read_and_made(make: Any, shape: str) -> None:
    nodes = [Node(make, "made")]
    if shape in ("asked for", "two"):
        nodes.append(Node(lambda made, k: (k, type(made).__name__), "seen"))
    names = {"made": "all"} if shape != "two" else {"made": "all", "seen": "kinds"}
    inner = Pipeline(nodes, name="inner")
    node_ = inner.as_node(
        map_over={"xs": "x"}, output_mapping=names, error_handling="continue", name="inner"
    )
    inputs: dict[str, Any] = {"xs": [[0, 1], [], [2, 3, 2]], "k": "k"}
    over = "xs"
    if shape == "deep":
        node_ = Pipeline([node_], name="rows").as_node(
            map_over={"xss": "xs"}, name="rows", output_mapping={"all": "every"}
        )
        inputs, over = {"xss": [[[0, 1], [2]], [[], [3]]]}, "xss"
    inputs = {name: inputs[name] for name in inputs if name in {*node_.inputs, over}}
    outer = Pipeline([node_], name="outer")
    heard = {}
    for engine in (None, DaftEngine()):
        callback = Heard()
        rows = outer.with_engine(engine).with_callbacks([callback]).map(inputs, over)
        heard[engine is None] = callback.values, rows
    assert list(heard[True][0])
    np.testing.assert_equal(_plain(heard[False][0]), _plain(heard[True][0]))
    np.testing.assert_equal(_plain(heard[False][1]), _plain(heard[True][1]))


def test_what_is_kept_for_callbacks_is_released_as_they_hear_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: set[bytes] = set()
    most = 0
    keep, take = Query.keep, Query.take

    def keeping(query: Query, value: object) -> bytes:
        nonlocal most
        kept.add(name := keep(query, value))
        most = max(most, len(kept))
        return name

    def taking(query: Query, name: bytes) -> Any:
        kept.remove(name)
        return take(query, name)

    monkeypatch.setattr(Query, "keep", keeping)
    monkeypatch.setattr(Query, "take", taking)
    inner = Pipeline([Node(fail_at_two, "made")], name="inner")
    rows = inner.as_node(
        map_over={"xs": "x"}, output_mapping={"made": "all"}, error_handling="continue"
    )
    deep = Pipeline([rows], name="rows").as_node(
        map_over={"xss": "xs"}, output_mapping={"all": "every"}
    )
    for node_, inputs in ((rows, {"xs": [[0, 2], [], [1]] * 9}), (deep, {"xss": [[[0, 2], [1]]]})):
        (over,) = inputs
        outer = Pipeline([node_], name="outer", engine=DaftEngine(), callbacks=[Heard()])
        assert len(outer.map(inputs, over)) == len(inputs[over])
        assert most
        assert not kept


def _plain(value: Any) -> Any:
    """Values that can be compared: a failed item by what it says."""
    if isinstance(value, FailedItem):
        return ("failed", value.index, str(value.error), _plain(dict(value.inputs)))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value) if value is HELD else value
