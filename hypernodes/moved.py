"""What to write in place of names from hypernodes 0.4, pipefunc and Hamilton, and of near misses.

Who makes such a mistake gets the line to write, and the page with the rest.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping

from hypernodes.errors import did_you_mean, listing

_GUIDE = "See docs/guides/migration.md."
_POOL = (
    "give the engine a pool, map_executor=ThreadPoolExecutor(8) for what waits, or "
    "ProcessPoolExecutor(4) for what computes"
)

_NAMES = {
    "SeqEngine": "HyperNodesEngine() does the same and is the default",
    "DualNode": 'write @node(batch="numpy") on the function that takes a batch',
    "LocalBackend": "write HyperNodesEngine(node_executor=..., map_executor=...), or nothing",
    "DaftBackend": "write DaftEngine()",
    "ModalBackend": "call the pipeline in a Modal function of your own (docs/guides/modal.md)",
    "pipefunc": "write @node(output_name=...)",
    "NestedPipeFunc": "write pipeline.as_node(): pipelines are nodes of larger ones",
    "Sweep": 'write pipeline.map(inputs, map_over=[...], map_mode="product")',
    "Driver": "write Pipeline([module.first, module.second]).run(inputs, output_name=[...])",
    "Builder": "write Pipeline([module.first, module.second]).run(inputs, output_name=[...])",
    "driver": "write Pipeline([module.first, module.second]).run(inputs, output_name=[...])",
    "extract_fields": 'write @node(output_name=("a", "b")) on a function that returns a tuple',
    "Parallelizable": "write pipeline.as_node(map_over=...)",
    "flow": "write prefect_hypernodes.pipeline_flow(pipeline)",
    "task": "write @node(output_name=...)",
}
_OPTIONS = {
    "backend": "write engine=HyperNodesEngine(node_executor=..., map_executor=...), or nothing",
    "modules": "name the functions: Pipeline([module.first, module.second])",
    "functions": "write nodes=[...], the first argument",
    "executor": "write engine=HyperNodesEngine(node_executor=..., map_executor=...)",
    "max_workers": _POOL,
    "cache_type": 'write cache=DiskCache("folder") or cache=MemoryCache()',
    "outputs": "ask for outputs when you run it: run(inputs, output_name=[...])",
    "output_name": "ask for outputs when you run it: run(inputs, output_name=[...])",
}
_RUN_OPTIONS = {
    "output": "write output_name=...",
    "outputs": "write output_name=[...]",
    "kwargs": "give the inputs as a dict, the first argument",
    "overrides": "make a pipeline without the node that makes it, and give it as an input",
    "full_output": "leave output_name out: run gives every output",
    "final_vars": "write output_name=[...]",
    "storage": "results are kept by the cache: pipeline.with_cache(DiskCache(folder))",
    "run_folder": "results are kept by the cache: pipeline.with_cache(DiskCache(folder))",
    "engine": "write pipeline.with_engine(HyperNodesEngine(...)), and call that",
    "backend": "write pipeline.with_engine(HyperNodesEngine(...)), and call that",
    "executor": "write pipeline.with_engine(HyperNodesEngine(map_executor=...)).map(...)",
    "parallel": 'write pipeline.with_engine(HyperNodesEngine(map_executor="parallel")).map(...)',
    "max_workers": _POOL,
    "cache": "write pipeline.with_cache(cache).run(inputs)",
    "callbacks": "write pipeline.with_callbacks([...]).run(inputs)",
    "on_error": 'write error_handling="continue", or "raise"',
    "retries": "a node has retries: write @node(..., retries=3)",
}
_ENGINE_OPTIONS = {
    "max_workers": _POOL,
    "workers": _POOL,
    "node_execution": "write node_executor=...",
    "map_execution": "write map_executor=...",
    "cache": "write Pipeline(..., cache=...)",
    "callbacks": "write Pipeline(..., callbacks=[...])",
}
_NODE_OPTIONS = {
    "output": "write output_name=...",
    "outputs": 'write output_name=("a", "b")',
    "mapspec": "write pipeline.map(inputs, map_over=...) or pipeline.as_node(map_over=...)",
    "renames": "write pipeline.as_node(input_mapping={new: old})",
    "bound": "write pipeline.bind(name=value)",
    "defaults": "give the parameter a default, with functools.partial(function, name=value) say",
    "output_picker": "return a tuple, of as many values as there are output names",
    "resources": 'write @node(..., daft={"cpus": ...}), or max_concurrent=...',
    "map_over": "write pipeline.map(inputs, map_over=...) or pipeline.as_node(map_over=...)",
    "input_mapping": "write pipeline.as_node(input_mapping={outer: inner})",
    "timeout": "write timeout_seconds=...",
    "cache_policy": 'write cache=False, ttl=..., version="..." or code_version="..."',
    "cache_key_fn": "give the input's class a __cache_key__ method (docs/caching.md)",
    "cache_expiration": "write ttl=...",
    "refresh_cache": 'write cache="refresh"',
    "persist_result": 'results are kept by the cache: Pipeline(..., cache=DiskCache("folder"))',
    "result_storage": 'results are kept by the cache: Pipeline(..., cache=DiskCache("folder"))',
    "log_prints": "write prefect_hypernodes.pipeline_flow(pipeline, log_prints=True)",
    "on_completion": "write a PipelineCallback with on_node_end (docs/guides/observing.md)",
    "on_failure": "write a PipelineCallback with on_error (docs/guides/observing.md)",
    "description": "the function's docstring describes it",
}
_NODE_METHODS = {
    "submit": "write Pipeline([...]).run(inputs): its engine calls the nodes",
    "map": "write Pipeline([...]).map(inputs, map_over=...)",
    "run": "write Pipeline([...]).run(inputs), or call the node like the function",
    "with_options": "give the options to @node(...)",
    "fn": "write node.func",
}
_AS_NODE_OPTIONS = {
    "on_error": 'write error_handling="continue", or "raise"',
    "return_exceptions": 'write error_handling="continue"',
    "inputs": "write input_mapping={outer: inner}",
    "outputs": "write output_mapping={inner: outer}",
    "renames": "write input_mapping={outer: inner}, output_mapping={inner: outer}",
}
_CACHE_OPTIONS = {
    "max_size": "write max_bytes=...",
    "maxsize": "write max_bytes=..., the size of all entries",
    "size_limit": "write max_bytes=...",
    "ttl": "write max_age=..., or @node(..., ttl=...) for one node",
    "directory": "write path=..., the first argument",
    "location": "write path=..., the first argument",
    "cache_dir": "write path=..., the first argument",
    "lru": "the entries that were used least recently go first, once max_bytes is reached",
}
_TABLES: dict[str, dict[str, str]] = {
    "Pipeline": _OPTIONS,
    "Pipeline.run": _RUN_OPTIONS,
    "Pipeline.map": _RUN_OPTIONS,
    "Pipeline.imap": _RUN_OPTIONS,
    "Pipeline.as_node": _AS_NODE_OPTIONS,
    "HyperNodesEngine": _ENGINE_OPTIONS,
    "DaftEngine": _ENGINE_OPTIONS,
    "DiskCache": _CACHE_OPTIONS,
    "MemoryCache": _CACHE_OPTIONS,
}
_METHODS = {
    "clear_cache": 'write pipeline.cache.clear(), or pipeline.cache.clear(node="...")',
    "visualize_graphviz": 'write visualize("pipeline.svg")',
    "display_all_functions": "write visualize()",
    "print_documentation": "write visualize(), or print(pipeline.inputs)",
    "info": "write pipeline.inputs, pipeline.outputs, or visualize()",
    "with_backend": "write with_engine(HyperNodesEngine(...))",
    "unfulfilled_args": "write [name for name, each in pipeline.inputs.items() if each.required]",
    "run_async": "write await pipeline.arun(inputs)",
    "map_async": "write await pipeline.amap(inputs, map_over=...)",
    "execute": "write run(inputs, output_name=[...])",
    "subpipeline": "write run(inputs, output_name=[...]): only the nodes that lead there run",
    "update_defaults": "give the parameter a default, or write bind(name=value)",
    "update_bound": "write bind(name=value)",
    "update_renames": "write as_node(input_mapping={outer: inner}, output_mapping={inner: outer})",
    "nest_funcs": "write Pipeline([...]).as_node()",
    "output_names": "write pipeline.outputs",
    "root_args": "write pipeline.inputs",
    "functions": "write pipeline.nodes",
    "visualize_execution": "write visualize()",
    "from_module": "name the functions: Pipeline([module.first, module.second])",
    "add": "a pipeline never changes: build it of all its nodes, Pipeline([...])",
    "submit": "write run(inputs), or map(inputs, map_over=...)",
    "serve": "write prefect_hypernodes.pipeline_flow(pipeline).serve(...)",
    "deploy": "write prefect_hypernodes.pipeline_flow(pipeline).deploy(...)",
}


def name(asked: str) -> str:
    """What stands here for a name that `hypernodes` does not have; empty if that is unknown."""
    return _sentence(_NAMES, asked)


def refuse(
    function: Callable[..., object],
    unknown: Iterable[str],
    inputs: Iterable[str] = (),
    where: str = "",
) -> None:
    """Refuse the keywords that a function does not have.

    Args:
        function: a method; of a class its `__init__`.
        unknown: the keywords.
        inputs: the inputs of the pipeline that it runs: people write them as keywords.
        where: what users call the function, where its class is a base of the one they use.

    Raises:
        TypeError: there are some. It says what to write in place of the first one.
    """
    for asked in unknown:
        where = where or function.__qualname__.removesuffix(".__init__")
        table = _TABLES.get(where, {})
        _, *known = inspect.signature(function).parameters
        hint = _sentence(table, asked, table is _OPTIONS) or _nearest(asked, known[:-1])
        if asked in inputs:
            hint = f": inputs are given as a dict, {{{asked!r}: ...}}"
        raise TypeError(f"{where} has no option {asked!r}{hint}")


def node_option(asked: str, known: Iterable[str]) -> str:
    """What to write in place of a keyword of `node`; the options, where that is unknown."""
    known = ["output_name", "name", *known]
    return _sentence(_NODE_OPTIONS, asked, guide=False) or _nearest(asked, known)


def node_method(asked: str) -> str:
    """The same for an attribute of a node."""
    return _sentence(_NODE_METHODS, asked, guide=False)


def foreign(value: object) -> str:
    """What to write in place of a Prefect task or flow, or of pipefunc's and Hamilton's objects.

    Args:
        value: anything.

    Returns:
        Nothing for what is none of these.
    """
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if library == "prefect" and hasattr(value, "fn"):
        return (
            "give its function, .fn, and its options to @node(...). Otherwise Prefect would show, "
            f"retry and cache the {kind.__name__.lower()} beside the node"
        )
    if library == "pipefunc" and hasattr(value, "func"):
        made = getattr(value, "output_name", "y")
        return f"write node(function, output_name={made!r}), with its function, .func. {_GUIDE}"
    if library in ("pipefunc", "hamilton"):
        return f"write Pipeline([...]) with the functions that it is made of. {_GUIDE}"
    return ""


def method(asked: str) -> str:
    """The same for an attribute of a pipeline."""
    return _sentence(_METHODS, asked)


def frame(value: object) -> str:
    """How to map over the rows of a table; empty for what is none."""
    kind = type(value)
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        name = next(iter(value[0]), "x")
        lists = f"{{{name!r}: [row[{name!r}] for row in rows]}}"
        return f". For a list of rows: pipeline.map({lists}, map_over={name!r})"
    if hasattr(kind, "column_names") and hasattr(kind, "to_pydict"):
        return (
            ". DaftEngine maps over Daft's frames: "
            "pipeline.with_engine(DaftEngine()).map(frame, map_over=...)"
        )
    if not (hasattr(kind, "columns") and hasattr(kind, "to_dict")):
        return ""
    as_lists = "to_dict('list')" if hasattr(kind, "iloc") else "to_dict(as_series=False)"
    return (
        f". For its rows: pipeline.map(frame.{as_lists}, map_over=list(frame.columns)). "
        "(DaftEngine takes Daft's frames.)"
    )


def module(value: object) -> str:
    """How to make nodes of a module, as Hamilton takes them; empty for what is none."""
    if not isinstance(value, types.ModuleType):
        return ""
    own = value.__name__
    functions = [
        name
        for name, each in vars(value).items()
        if inspect.isfunction(each) and each.__module__ == own and not name.startswith("_")
    ]
    named = ", ".join(f"{own}.{each}" for each in functions[:2] or ["first", "second"])
    return f". Name its functions: Pipeline([{named}, ...]). {_GUIDE}"


def _nearest(asked: str, known: Iterable[str]) -> str:
    known = list(known)
    return f".{did_you_mean(asked, known)} Options: {listing(known)}"


def _sentence(table: dict[str, str], asked: str, guide: bool = True) -> str:
    found = table.get(asked)
    return f": {found.removesuffix('.')}." + f" {_GUIDE}" * guide if found else ""
