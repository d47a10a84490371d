"""Who comes from hypernodes 0.4, pipefunc or Hamilton is told what to write."""

from __future__ import annotations

import asyncio
import copy
import importlib
import pickle
import types
from collections.abc import Callable
from typing import Any

import pytest

import hypernodes
from hypernodes import (
    DaftEngine,
    DiskCache,
    GraphError,
    HyperNodesError,
    InputError,
    MapOverError,
    MemoryCache,
    Node,
    NodeError,
    Pipeline,
    node,
)


@node(output_name="y")
def double(x: int) -> int:
    return 2 * x


pipeline = Pipeline([double])
GUIDE = "docs/guides/migration.md"


@pytest.mark.parametrize("name", ["SeqEngine", "LocalBackend", "DaftBackend", "ModalBackend"])
def test_an_older_name_is_an_import_error_with_the_line_to_write(name: str) -> None:
    with pytest.raises(ImportError, match=GUIDE):
        exec(f"from hypernodes import {name}")


def test_other_names_are_attribute_errors_as_ever() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hypernodes.nothing
    assert not hasattr(hypernodes, "nothing")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"backend": None}, "engine=HyperNodesEngine"),
        ({"max_workers": 4}, "ThreadPoolExecutor"),
        ({"engin": None}, "Did you mean 'engine'"),
        ({"zzz": None}, "Options: 'nodes', 'engine'"),
    ],
)
def test_an_option_that_a_pipeline_does_not_have(options: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        Pipeline([double], **options)


def test_a_method_that_a_pipeline_does_not_have() -> None:
    with pytest.raises(AttributeError, match="with_engine"):
        pipeline.with_backend(None)  # type: ignore[attr-defined]
    assert not hasattr(pipeline, "with_backend")
    assert pickle.loads(pickle.dumps(pipeline)).run({"x": 1}) == {"y": 2}


def test_a_module_of_functions() -> None:
    module = types.ModuleType("features")
    with pytest.raises(GraphError, match=r"features\.first"):
        Pipeline(module)  # type: ignore[arg-type]
    with pytest.raises(NodeError, match=r"features\.first"):
        Pipeline([module])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_rows_of_a_table(library: str) -> None:
    frame = pytest.importorskip(library).DataFrame({"x": [1, 2]})
    with pytest.raises(InputError) as raised:
        pipeline.map(frame, map_over="x")
    line = str(raised.value).split("For its rows: ")[1].split(". (")[0]
    rows = eval(line, {"pipeline": pipeline, "frame": frame})
    assert rows == [{"y": 2}, {"y": 4}]


def test_every_name_that_is_advised_is_there() -> None:
    moved = importlib.import_module("hypernodes.moved")
    advice = " ".join([*moved._NAMES.values(), *moved._OPTIONS.values(), *moved._METHODS.values()])
    for name in ("HyperNodesEngine", "DaftEngine", "DiskCache", "MemoryCache", "node"):
        assert name in advice
        assert hasattr(hypernodes, name)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"x": 1}, r"Pipeline.run has no option 'x': inputs are given as a dict, \{'x': \.\.\.\}"),
        ({"outputs": ["y"]}, r"write output_name=\[\.\.\.\]"),
        ({"engine": None}, "with_engine"),
        ({"outputname": "y"}, "Did you mean 'output_name'"),
        ({"zzz": 1}, "Options: 'inputs', 'output_name', 'refresh'"),
    ],
)
def test_an_option_that_a_run_does_not_have(options: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        pipeline.run(**options)
    with pytest.raises(TypeError, match=told):
        asyncio.run(pipeline.arun(**options))


@pytest.mark.parametrize("method", ["map", "imap"])
def test_an_option_that_a_map_does_not_have(method: str) -> None:
    with pytest.raises(TypeError, match='write error_handling="continue"'):
        getattr(pipeline, method)({"x": [1]}, map_over="x", on_error="skip")


def test_an_option_that_a_node_or_the_engine_does_not_have() -> None:
    with pytest.raises(NodeError, match=r"write output_name=\.\.\."):
        node(double.func, output="y")  # type: ignore[call-overload]
    with pytest.raises(NodeError, match="Options: 'output_name', 'name', 'cache'"):
        node(double.func, zzz="y")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="ThreadPoolExecutor"):
        hypernodes.HyperNodesEngine("threaded", max_workers=4)


def test_a_list_of_rows_for_a_map() -> None:
    with pytest.raises(InputError, match=r"pipeline.map\(\{'x': \[row\['x'\] for row in rows\]\}"):
        pipeline.map([{"x": 1}, {"x": 2}], map_over="x")  # type: ignore[call-overload]


def test_an_output_of_a_failed_item() -> None:
    failing = Pipeline([node(lambda x: 1 / x, output_name="y")])
    (row,) = failing.map({"x": [0]}, map_over="x", error_handling="continue")
    with pytest.raises(
        TypeError, match=r"item 0 failed in node 'y'.*ZeroDivisionError.*isinstance"
    ):
        _ = row["y"]


def test_a_callback_that_is_a_class() -> None:
    with pytest.raises(TypeError, match=r"write ProgressCallback\(\)"):
        pipeline.with_callbacks([hypernodes.ProgressCallback])
    with pytest.raises(TypeError, match=r"of type ProgressCallback: expected a list"):
        pipeline.with_callbacks(hypernodes.ProgressCallback())  # type: ignore[arg-type]


def test_a_method_that_a_node_does_not_have() -> None:
    with pytest.raises(AttributeError, match=r"run\(inputs\)"):
        double.submit(1)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        _ = double.nothing  # type: ignore[attr-defined]
    assert not hasattr(double, "map")
    assert copy.copy(double)(2) == pickle.loads(pickle.dumps(double))(2) == 4


def test_an_option_that_a_nested_pipeline_does_not_have() -> None:
    with pytest.raises(TypeError, match='write error_handling="continue"'):
        pipeline.as_node(return_exceptions=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Did you mean 'map_over'"):
        pipeline.as_node(mapover="xs")  # type: ignore[arg-type]


@pytest.mark.slow  # it imports Prefect
@pytest.mark.parametrize("kind", ["task", "flow"])
def test_a_prefect_task_is_no_node(kind: str) -> None:
    prefect = pytest.importorskip("prefect")
    wrapped = getattr(prefect, kind)(lambda x: x)
    for make in (lambda: Pipeline([wrapped]), lambda: node(output_name="y")(wrapped)):
        with pytest.raises(NodeError, match=r"give its function, \.fn"):
            make()


def test_a_list_in_place_of_one_input() -> None:
    with pytest.raises(InputError, match=r"for many: map\(inputs, map_over='xs'\)"):
        pipeline.run({"xs": [1, 2]})


def test_an_input_that_is_nearly_an_output() -> None:
    @node(output_name="raw")
    def read(path: str) -> str:
        return path

    @node(output_name="size")
    def measure(rwa: str) -> int:
        return len(rwa)

    with pytest.raises(InputError, match=r"needs 'rwa' .* Did you mean 'raw'"):
        Pipeline([read, measure]).run({"path": "a"})


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: DiskCache("folder", max_size=3), "DiskCache has no option .* write max_bytes="),  # type: ignore[arg-type]
        (lambda: MemoryCache(max_byte=3), "Did you mean 'max_bytes'"),  # type: ignore[arg-type]
        (lambda: DaftEngine(colect=False), "Did you mean 'collect'"),  # type: ignore[arg-type]
        (lambda: DaftEngine(max_workers=3), "give the engine a pool"),  # type: ignore[arg-type]
    ],
)
def test_an_option_that_a_cache_or_an_engine_does_not_have(
    make: Callable[[], object], wanted: str
) -> None:
    with pytest.raises(TypeError, match=wanted):
        make()


def test_a_mapping_that_is_none() -> None:
    with pytest.raises(GraphError, match="input_mapping is 'b': expected a dict of names"):
        pipeline.as_node("a", "b")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depth is 'x'"):
        pipeline.visualize(format="mermaid", depth="x")  # type: ignore[arg-type]


class PipeFunc:
    """Stands for pipefunc's own, which is not installed here."""

    __module__ = "pipefunc._pipefunc"
    output_name = "y"

    def __init__(self, func: Any) -> None:
        self.func = func

    def __call__(self, x: int) -> Any:
        return self.func(x)


class Driver:
    __module__ = "hamilton.driver"


def test_objects_of_other_libraries_are_refused_with_the_line_to_write() -> None:
    other = PipeFunc(abs)
    for make in (lambda: Node(other, "y"), lambda: Pipeline([other])):
        with pytest.raises(NodeError, match="write node\\(function, output_name='y'\\)"):
            make()
    for nodes in (Driver(), [Driver()]):
        with pytest.raises(HyperNodesError, match="with the functions that it is made of"):
            Pipeline(nodes)


def test_a_module_is_refused_with_the_names_of_its_functions() -> None:
    module = types.ModuleType("steps")
    exec("def load(path): ...\ndef _own(): ...\ndef clean(load): ...", vars(module))
    for function in ("load", "clean"):
        vars(module)[function].__module__ = "steps"
    with pytest.raises(HyperNodesError, match=r"Pipeline\(\[steps.load, steps.clean, ...\]\)"):
        Pipeline(module)


def test_a_list_of_another_name_than_the_input_gets_the_line_to_write() -> None:
    pipeline = Pipeline([Node(lambda index: index, "y")])
    with pytest.raises(MapOverError, match=r"Did you mean map_over={'indices': 'index'}"):
        pipeline.map({"indices": [1]}, map_over="indices")


def test_an_input_in_the_singular_gets_the_list_that_is_there() -> None:
    pipeline = Pipeline([Node(lambda path: path, "y")])
    with pytest.raises(MapOverError, match=r"no 'path' in the inputs: 'paths'. Did you mean map_o"):
        pipeline.map({"paths": ["a"]}, map_over="path")
