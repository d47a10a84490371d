"""`@stateful`: made once in each process, at first use, and identified by what it was made with."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import cloudpickle
import pytest

from hypernodes import HyperNodesEngine, MemoryCache, NodeError, Pipeline, node, stateful
from hypernodes.identity.values import sign

made: list[Any] = []


@stateful
class Model:
    def __init__(self, factor: int, *, bias: int = 0) -> None:
        made.append(factor)
        self.factor = factor
        self.bias = bias
        self.calls = 0

    def __call__(self, x: int) -> int:
        self.calls += 1
        return self.factor * x + self.bias


@node(output_name="y")
def predict(x: int, model: Model) -> int:
    return model(x)


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    made.clear()


def test_it_is_made_when_it_is_first_used_and_then_is_an_object_like_any_other() -> None:
    model = Model(2, bias=1)
    assert isinstance(model, Model)
    assert not made
    assert model(4) == 9
    assert made == [2]
    assert type(model) is Model
    assert model.calls == 1
    other = Model(3)
    other.bias = 5
    assert other(1) == 8


def test_a_wrong_call_is_told_where_it_is_made() -> None:
    with pytest.raises(TypeError, match="factor"):
        Model(bias=1)  # type: ignore[call-arg]


def test_threads_make_it_once() -> None:
    model = Model(2)
    ready = threading.Barrier(8)
    results = []

    def use() -> None:
        ready.wait()
        results.append(model(1))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [2] * 8
    assert made == [2]


def test_what_fails_to_be_made_is_tried_again() -> None:
    tries = []

    @stateful
    class Client:
        def __init__(self, url: str) -> None:
            tries.append(url)
            if len(tries) == 1:
                raise ConnectionError(url)
            self.url = url

    client = Client("here")
    with pytest.raises(ConnectionError):
        client.url
    assert client.url == "here"


def test_only_the_arguments_cross_and_an_object_of_the_same_is_made_once() -> None:
    model = Model(7)
    model(1)
    sent = cloudpickle.dumps([model, {"again": model}])
    first, nested = pickle.loads(sent)
    assert first is nested["again"] is pickle.loads(cloudpickle.dumps(model))
    assert first.calls == 0
    assert made == [7, 7]


def test_the_cache_identifies_it_by_its_arguments_and_its_class() -> None:
    used = Model(2)
    before = sign(Model(2))
    used(1)
    assert sign(used) == before != sign(Model(3)) != sign(Model(2, bias=1))
    pipeline = Pipeline([predict], cache=MemoryCache())
    made.clear()
    pipeline.run({"x": 1, "model": Model(5)})
    assert pipeline.run({"x": 1, "model": Model(5)}) == {"y": 5}
    assert made == [5]


def test_subclasses_are_stateful_and_super_works() -> None:
    class Larger(Model):
        def __init__(self, factor: int) -> None:
            super().__init__(factor * 10)

    larger = Larger(1)
    assert not made
    assert larger(1) == 10


@pytest.mark.parametrize("kind", [3, type("Slots", (), {"__slots__": ("x",)})])
def test_what_cannot_be_stateful_is_refused(kind: Any) -> None:
    with pytest.raises(NodeError, match="@stateful"):
        stateful(kind)


@pytest.mark.parametrize("items", ["threaded", "async", "parallel"])
def test_it_works_on_every_executor(items: str) -> None:
    with HyperNodesEngine(map_executor=items) as engine:
        pipeline = Pipeline([predict], engine=engine).bind(model=Model(3))
        assert pipeline.map({"x": list(range(50))}, "x") == [{"y": 3 * x} for x in range(50)]
    assert len(made) <= 1
