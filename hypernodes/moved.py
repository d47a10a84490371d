"""What to write in place of names from hypernodes 0.4, pipefunc and Hamilton.

A mistake of somebody who comes from there gets the line to write, and the page with the rest.
"""

from __future__ import annotations

_GUIDE = "See docs/guides/migration.md."

_NAMES = {
    "SeqEngine": "HyperNodesEngine() does the same and is the default",
    "DualNode": 'write @node(batch="numpy") on the function that takes a batch',
    "LocalBackend": 'write HyperNodesEngine(node_executor="threaded", map_executor="parallel")',
    "DaftBackend": "write DaftEngine()",
    "ModalBackend": "call the pipeline in a Modal function of your own (docs/guides/modal.md)",
    "pipefunc": "write @node(output_name=...)",
    "flow": "write prefect_hypernodes.pipeline_flow(pipeline)",
    "task": "write @node(output_name=...)",
}
_OPTIONS = {
    "backend": 'write engine=HyperNodesEngine(node_executor="threaded", map_executor="parallel")',
    "executor": "write engine=HyperNodesEngine(node_executor=..., map_executor=...)",
    "max_workers": "write engine=HyperNodesEngine(map_executor=ThreadPoolExecutor(8))",
    "cache_type": 'write cache=DiskCache("folder") or cache=MemoryCache()',
    "outputs": "ask for outputs when you run it: run(inputs, output_name=[...])",
    "output_name": "ask for outputs when you run it: run(inputs, output_name=[...])",
}
_METHODS = {
    "with_backend": "write with_engine(HyperNodesEngine(...))",
    "unfulfilled_args": "write [name for name, each in pipeline.inputs.items() if each.required]",
    "run_async": "write await pipeline.arun(inputs)",
    "map_async": "write await pipeline.amap(inputs, map_over=...)",
    "execute": "write run(inputs, output_name=[...])",
    "add": "a pipeline never changes: build it of all its nodes, Pipeline([...])",
}


def name(asked: str) -> str:
    """What stands here for a name that `hypernodes` does not have; empty if that is unknown."""
    return _sentence(_NAMES, asked)


def option(asked: str) -> str:
    """The same for a keyword of `Pipeline`."""
    return _sentence(_OPTIONS, asked)


def method(asked: str) -> str:
    """The same for an attribute of a pipeline."""
    return _sentence(_METHODS, asked)


def frame(value: object) -> str:
    """How to map over the rows of a table; empty for what is none."""
    kind = type(value)
    if not (hasattr(kind, "columns") and hasattr(kind, "to_dict")):
        return ""
    as_lists = "to_dict('list')" if hasattr(kind, "iloc") else "to_dict(as_series=False)"
    return (
        f". For its rows: pipeline.map(frame.{as_lists}, map_over=list(frame.columns)). "
        "(DaftEngine takes Daft's frames.)"
    )


def module(value: object) -> str:
    """How to make nodes of a module, as Hamilton takes them; empty for what is none."""
    import types

    if not isinstance(value, types.ModuleType):
        return ""
    own = value.__name__
    return f". Name its functions: Pipeline([{own}.first, {own}.second]). {_GUIDE}"


def _sentence(table: dict[str, str], asked: str) -> str:
    found = table.get(asked)
    return f": {found}. {_GUIDE}" if found else ""
