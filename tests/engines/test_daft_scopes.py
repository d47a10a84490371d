"""A node that runs inside Daft is within the scopes that callbacks hear of when its row is out."""

from __future__ import annotations

import pytest
from recording import Recorder

from hypernodes import CallbackContext, Pipeline, node

pytest.importorskip("daft")

from hypernodes import DaftEngine

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
