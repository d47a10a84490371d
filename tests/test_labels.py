"""Labels of a node's runs, for systems that watch them; without such a system they do nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hypernodes import HyperNodesEngine, MemoryCache, NodeError, Pipeline, node
from hypernodes.callbacks import CallbackContext
from hypernodes.integration import ScopeCallback


class Labels(ScopeCallback):
    """The label of each node's run, by how it went."""

    def __init__(self) -> None:
        self.ran: list[str | None] = []
        self.cached_ones: list[str | None] = []

    def ended(self, ctx: CallbackContext) -> None:
        if ctx.kind == "node":
            self.ran.append(ctx.label)
            assert ctx.pipeline.node(ctx.name) is not None

    def cached(self, ctx: CallbackContext, signature: str) -> None:
        if ctx.kind == "node":
            self.cached_ones.append(ctx.label)


@node(
    output_name="page",
    task_run_name="fetch {url} to {depth:02d}",
    tags=["web", "slow", "web"],
    concurrency_limit="api",
)
def fetch(url: str, depth: int = 1) -> str:
    return url.upper()


@node(output_name="size", task_run_name=lambda parameters: f"{len(parameters)} of {parameters}")
def count(page: str) -> int:
    return len(page)


@node(output_name="odd", task_run_name="{page.nothing}")
def odd(page: str) -> int:
    return 1


def test_options_for_watchers_are_kept_and_change_nothing_else() -> None:
    assert fetch.options.tags == ("web", "slow")
    assert fetch.options.concurrency_limit == ("api",)
    assert fetch("a") == "A"


def test_labels_are_no_part_of_the_cache_key() -> None:
    cache = MemoryCache()
    Pipeline([fetch.func, count], cache=cache)
    plain = node(output_name="page")(fetch.func)
    Pipeline([plain], cache=cache).run({"url": "a"})
    labels = Labels()
    Pipeline([fetch], cache=cache, callbacks=[labels]).run({"url": "a"})
    assert labels.cached_ones == ["fetch a to 01"]


@pytest.mark.parametrize("map_executor", ["sequential", "threaded", "parallel"])
def test_runs_bear_their_labels_wherever_they_run(map_executor: str) -> None:
    labels = Labels()
    with HyperNodesEngine(map_executor=map_executor) as engine:
        pipeline = Pipeline([fetch, count, odd], engine=engine, callbacks=[labels])
        outer = Pipeline([pipeline.as_node(name="each", map_over="url")], engine=engine)
        outer.with_callbacks([labels]).run({"url": ["a", "b"]})
    assert sorted(map(str, labels.ran)) == [
        "1 of {'page': 'A'}", "1 of {'page': 'B'}", "None", "None",
        "fetch a to 01", "fetch b to 01",
    ]  # fmt: skip


def test_a_label_of_what_was_not_loaded_is_left_out() -> None:
    labels = Labels()
    pipeline = Pipeline([fetch, count], cache=MemoryCache(), callbacks=[labels])
    for _ in range(2):
        pipeline.run({"url": "a"}, "size")
    assert labels.cached_ones == ["fetch a to 01", "0 of {}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_run_name": "fetch {ulr}"}, "no input 'ulr'. Did you mean 'url'"),
        ({"task_run_name": "fetch {}"}, "no input ''"),
        ({"task_run_name": "fetch {url"}, "expected '}'"),
        ({"task_run_name": 7}, "expected a text such as"),
        ({"tags": [1]}, "tags is .1.: expected a list of texts"),
        ({"tags": 7}, "tags is 7"),
        ({"tag": ["x"]}, "no option 'tag'. Did you mean 'tags'"),
        ({"task_run_nam": "x"}, "Did you mean 'task_run_name'"),
        ({"concurrency_limits": "x"}, "Did you mean 'concurrency_limit'"),
        ({"concurrency_limit": [""]}, "concurrency_limit"),
        ({"max_concurrent": 0}, "max_concurrent is 0: expected a number from 1"),
        ({"max_concurrent": True}, "max_concurrent is True"),
    ],
)
def test_what_cannot_be_is_refused_where_the_node_is_defined(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(NodeError, match=message):
        node(output_name="page", **options)(fetch.func)


def test_a_bound_method_keeps_its_labels() -> None:
    class Reader:
        @node(output_name="text", task_run_name="read {path.name}", tags="io")
        def read(self, path: Path) -> str:
            return path.name

    labels = Labels()
    Pipeline([Reader().read], callbacks=[labels]).run({"path": Path("a/b.txt")})
    assert labels.ran == ["read b.txt"]
