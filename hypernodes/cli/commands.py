"""The commands. Cyclopts makes typed options out of a signature, and of an input's type what a
command line can say: so the signature of `run FILE:PIPELINE` is made from the pipeline."""

from __future__ import annotations

import contextlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from hypernodes import __version__
from hypernodes.cache import DiskCache
from hypernodes.callbacks import listening
from hypernodes.cli import rows
from hypernodes.cli.targets import UsageError, load, options, reader
from hypernodes.engines import FailedItem, HyperNodesEngine
from hypernodes.errors import GraphError, InputError, OutputNameError, failing_node, listing
from hypernodes.pipeline import Pipeline

Tokens = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
Outputs = Annotated[
    list[str] | None, Parameter(("--output", "-o"), consume_multiple=True, negative="")
]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Executor = Literal["sequential", "threaded", "parallel", "async"]

OK, FAILED, USAGE, SOME_FAILED = 0, 1, 2, 3

app = App(
    name="hypernodes",
    help="Show, run and map pipelines. FILE:PIPELINE is a Python file and a name in it.",
    version=__version__,
    version_flags=["--version"],
)
cache_app = App(name="cache", help="What a cache holds, and why a node was not found in it.")
app.command(cache_app)
app.register_install_completion_command()
errors = Console(stderr=True)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; the exit code."""
    try:
        return _call(app, arguments)
    except KeyboardInterrupt:
        errors.print("stopped", style="red")
        return 130


def _call(called: App, arguments: Sequence[str]) -> int:
    try:
        done = called(
            list(arguments), exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        return _usage(str(error))
    except (UsageError, InputError, OutputNameError, GraphError, ImportError) as error:
        return _usage(str(error))
    return done if isinstance(done, int) else OK


def _usage(message: str) -> int:
    errors.print(f"[red]error:[/red] {_escaped(message)}", highlight=False, soft_wrap=True)
    return USAGE


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


# -- show ----------------------------------------------------------------------------------------


@app.command
def show(
    target: str,
    *,
    to: Annotated[Path | None, Parameter(("--to",))] = None,
    mermaid: Flag = False,
    json: Flag = False,
) -> None:
    """Show a pipeline: its inputs, nodes and outputs, with their types.

    Parameters
    ----------
    target
        FILE:PIPELINE, or FILE where there is only one.
    to
        Draw it to this file: .html, .svg, .png, .mmd or .dot.
    mermaid
        Print it as Mermaid text.
    json
        Print it as JSON.
    """
    from hypernodes.visualize.model import describe

    pipeline = load(target)
    if to is not None:
        try:
            pipeline.visualize(to)
        except (ValueError, RuntimeError, OSError) as error:
            raise UsageError(str(error)) from error
        errors.print(f"written: {to}", highlight=False)
    elif mermaid:
        print(pipeline.visualize(format="mermaid"))
    elif json:
        print(rows.dumps(describe(pipeline), indent=2))
    else:
        _print_pipeline(pipeline)


def _print_pipeline(pipeline: Pipeline) -> None:
    from rich.table import Table
    from rich.text import Text

    from hypernodes.visualize.model import describe

    described = describe(pipeline)
    console = Console()
    console.print(Text(pipeline.name, "bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for head in ("", "name", "type", ""):
        table.add_column(head, overflow="fold")
    for each in described["inputs"]:
        default = "required" if each["default"] is None else f"= {each['default']}"
        table.add_row(Text("input", "cyan"), each["name"], Text(each["type"]), Text(default, "dim"))
    for each in described["bound"]:
        table.add_row(Text("bound", "cyan"), each["name"], "", Text(f"= {each['default']}", "dim"))

    def add(nodes: Sequence[dict[str, Any]], depth: int) -> None:
        for node in nodes:
            name = "  " * depth + node["id"]
            makes = ", ".join(
                each["name"] + (f": {each['type']}" if each["type"] else "")
                for each in node["outputs"]
            )
            over = node.get("over")
            note = (
                f"for each of {', '.join(over)}" if over else (node.get("doc") or "").split("\n")[0]
            )
            kind = Text("nested", "magenta") if "inner" in node else Text("node", "green")
            table.add_row(kind, Text(name), Text(makes), Text(note, "dim"))
            if "inner" in node:
                add(node["inner"]["nodes"], depth + 1)

    add(described["nodes"], 0)
    for each in described["outputs"]:
        table.add_row(Text("output", "blue"), each["name"], Text(each["type"]), "")
    console.print(table)


# -- run -----------------------------------------------------------------------------------------


@app.command(name="run", help_flags=[])
def run_(target: Annotated[str, Parameter(allow_leading_hyphen=True)], *tokens: Tokens) -> int:
    """Run a pipeline: `hypernodes run FILE:PIPELINE --help` shows the options for its inputs."""

    def work(
        pipeline: Pipeline,
        inputs: dict[str, Any],
        *,
        output: Outputs = None,
        save: Annotated[list[str] | None, Parameter(negative="")] = None,
        cache: Path | None = None,
        executor: Executor = "sequential",
        progress: bool | None = None,
        timeline: Path | None = None,
        json: Flag = False,
    ) -> int:
        """Run a pipeline and print its outputs.

        Parameters
        ----------
        output
            What to compute; everything, where it is left out.
        save
            NAME=FILE: write the output of that name, text or bytes, to a file.
        cache
            A folder to keep results in.
        executor
            Where maps inside of it run.
        progress
            Show how far it is; on a terminal, it does.
        timeline
            Write a waterfall of what ran to this file: .html or .png.
        json
            Print JSON.
        """
        wanted: Any = output or None
        files = _files(pipeline, save or [])
        pipeline, closing = _prepared(pipeline, cache, executor)
        with closing, _watching(progress, timeline), _nodes_may_fail(json) as failed:
            results = pipeline.run(inputs, wanted)
        if failed:
            return FAILED
        for name, file in files.items():
            if name not in results:
                raise UsageError(f"--save {name}: it is not among the outputs that were asked for")
            _save(name, results.pop(name), file)
        _print_results(results, json)
        return OK

    return _with_inputs(target, tokens, work, "run", needed=True)


def _print_results(results: dict[str, Any], as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        print(rows.dumps(results, indent=2))
        return
    console = Console()
    from rich.pretty import Pretty
    from rich.text import Text

    for name, value in results.items():
        console.print(Text(name, "bold"))
        console.print(
            value if isinstance(value, str) else Pretty(value, max_length=50), markup=False
        )


def _files(pipeline: Pipeline, save: Sequence[str]) -> dict[str, Path]:
    files = {}
    for each in save:
        name, sign, file = each.partition("=")
        if not sign or not file:
            raise UsageError(f"--save {each}: expected NAME=FILE")
        if name not in pipeline.outputs:
            raise UsageError(f"--save {each}: outputs are {listing(pipeline.outputs)}")
        files[name] = Path(file)
    return files


def _save(name: str, value: Any, file: Path) -> None:
    if isinstance(value, bytes):
        file.write_bytes(value)
    else:
        text = value if isinstance(value, str) else rows.dumps(value, indent=2)
        file.write_text(text, encoding="utf-8")
    errors.print(f"{name}: {file}", highlight=False)


# -- map -----------------------------------------------------------------------------------------


@app.command(name="map", help_flags=[])
def map_(target: Annotated[str, Parameter(allow_leading_hyphen=True)], *tokens: Tokens) -> int:
    """Run a pipeline for each row of a file: `hypernodes map FILE:PIPELINE ROWS.jsonl`."""

    def work(
        pipeline: Pipeline,
        inputs: dict[str, Any],
        source: Annotated[str, Parameter(name="ROWS", allow_leading_hyphen=True)],
        /,
        *,
        to: str = "-",
        output: Outputs = None,
        cache: Path | None = None,
        executor: Executor = "sequential",
        on_error: Literal["raise", "continue"] = "raise",
        progress: bool | None = None,
        timeline: Path | None = None,
        json: Flag = False,
    ) -> int:
        """Run a pipeline for each row of a file, and write the rows with its outputs.

        Columns that are inputs are given to it, the others are kept beside the outputs.

        Parameters
        ----------
        source
            The rows: a file .jsonl, .csv or .parquet, or - for JSONL from the standard input.
        to
            Where the rows go with the outputs: the same kinds of file.
        output
            What to compute; everything, where it is left out.
        cache
            A folder to keep results in.
        executor
            Where the rows run.
        on_error
            With "continue", a row that fails has an `error`, and the exit code is 3.
        progress
            Show how far it is; on a terminal, it does.
        timeline
            Write a waterfall of what ran to this file: .html or .png.
        json
            Print a summary as JSON; the rows need `--to FILE` then.
        """
        if json and to == "-":
            raise UsageError("--json prints a summary: say where the rows go, --to FILE")
        rows.check_format(to)
        table = rows.read(source)
        columns = [name for name in pipeline.inputs if table and name in table[0]]
        if table and not columns:
            raise UsageError(
                f"{source} has no column that is an input. Columns: {listing(table[0])}. "
                f"Inputs: {listing(pipeline.inputs)}"
            )
        twice = [name for name in columns if name in inputs]
        if twice:
            raise UsageError(f"{listing(twice)} is given twice: in {source} and as an option")
        lists = {name: _column(pipeline, source, table, name) for name in columns}
        wanted: Any = output or None
        pipeline, closing = _prepared(pipeline, cache, executor)
        results: list[Any] = []
        with closing, _watching(progress, timeline), _nodes_may_fail(json) as failed:
            if table:
                results = pipeline.map({**inputs, **lists}, columns, "zip", wanted, on_error)
        if failed:
            return FAILED
        lost = [each for each in results if isinstance(each, FailedItem)]
        rows.write(to, [_result(*each) for each in zip(table, results, strict=True)])
        summary = {"rows": len(results), "failed": len(lost), "to": to}
        if json:
            print(rows.dumps(summary))
        else:
            errors.print(f"{len(results):,} rows, {len(lost):,} failed: {to}", highlight=False)
        return SOME_FAILED if lost else OK

    return _with_inputs(target, tokens, work, "map", needed=False)


def _column(pipeline: Pipeline, source: str, table: Sequence[rows.Row], name: str) -> list[Any]:
    read = reader(pipeline.inputs[name].type)
    values = []
    for number, row in enumerate(table, 1):
        if name not in row:
            raise UsageError(f"{source}, row {number}: there is no {name!r}")
        try:
            values.append(read(row[name]))
        except Exception as error:
            raise UsageError(
                f"{source}, row {number}: {name!r} is {row[name]!r}: {error}"
            ) from error
    return values


def _result(row: rows.Row, made: Any) -> rows.Row:
    if isinstance(made, FailedItem):
        error = made.error
        return {**row, "error": f"{type(error).__name__}: {error}"}
    return {**row, **made}


# -- cache ---------------------------------------------------------------------------------------


def _cache(target: str) -> Any:
    """The cache in a folder, or that of a pipeline."""
    if ":" in target or target.endswith(".py"):
        found = load(target).cache
        if not found:
            raise UsageError(f"{target} has no cache of its own: give the folder")
        return found
    if not Path(target).is_dir():
        raise UsageError(f"there is no folder {target}: expected one, or FILE:PIPELINE")
    return DiskCache(target)


@cache_app.command
def stats(target: str, *, json: Flag = False) -> None:
    """Say what a cache holds, for each node.

    Parameters
    ----------
    target
        A cache's folder, or FILE:PIPELINE.
    json
        Print JSON.
    """
    held = _cache(target).stats()
    print(rows.dumps(held, indent=2) if json else held)


@cache_app.command
def clear(target: str, *, node: str | None = None, yes: Flag = False) -> None:
    """Remove what a cache holds.

    Parameters
    ----------
    target
        A cache's folder, or FILE:PIPELINE.
    node
        Only what this node has made.
    yes
        Do not ask.
    """
    cache = _cache(target)
    what = f"all of {target}" if node is None else f"what {node!r} has made"
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"to remove {what} without being asked, add --yes")
        if input(f"Remove {what}? [y/N] ").strip().lower() not in ("y", "yes"):
            return
    removed = cache.clear(node)
    errors.print(f"removed: {removed:,} entries", highlight=False)


@cache_app.command(help_flags=[])
def why(target: Annotated[str, Parameter(allow_leading_hyphen=True)], *tokens: Tokens) -> int:
    """Say why nodes would run, or be found in the cache: takes the options of `run`."""

    def work(
        pipeline: Pipeline,
        inputs: dict[str, Any],
        *,
        output: Outputs = None,
        cache: Path | None = None,
        json: Flag = False,
    ) -> int:
        """Say for each node why it would run, or be found in the cache.

        Parameters
        ----------
        output
            What would be computed.
        cache
            The cache's folder; by default the pipeline's own.
        json
            Print JSON.
        """
        if cache is not None:
            pipeline = pipeline.with_cache(DiskCache(cache))
        elif not pipeline.cache:
            raise UsageError(f"{target} has no cache of its own: give its folder, --cache FOLDER")
        told = pipeline.explain_cache(inputs, output or None)
        print(rows.dumps(told, indent=2) if json else told)
        return OK

    return _with_inputs(target, tokens, work, "cache why", needed=True)


# -- What they share -----------------------------------------------------------------------------


def _with_inputs(
    target: str, tokens: Sequence[str], work: Callable[..., int], command: str, needed: bool
) -> int:
    """Call `work` with a pipeline, the inputs that the tokens give, and its own options."""
    if target in ("--help", "-h"):
        print(f"Usage: hypernodes {command} FILE:PIPELINE [OPTIONS]\n")
        print(inspect.getdoc(work) and (inspect.getdoc(work) or "").split("\n")[0])
        print(f"\nhypernodes {command} FILE:PIPELINE --help shows the options for its inputs.")
        return OK
    if target.startswith("-"):
        raise UsageError(f"{command}: expected FILE:PIPELINE before {target}")
    pipeline = load(target)
    own = dict(list(inspect.signature(work, eval_str=True).parameters.items())[2:])
    inputs = options(pipeline, own, needed)

    def called(*args: Any, **kwargs: Any) -> int:
        given = {
            name.removeprefix("input_"): kwargs.pop(name)
            for name in list(kwargs)
            if name.startswith("input_")
        }
        return work(pipeline, given, *args, **kwargs)

    parameters = sorted((*own.values(), *inputs), key=lambda each: each.kind)
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {}
    called.__doc__ = inspect.getdoc(work)
    inner = App(name=f"hypernodes {command} {target}", version_flags=[])
    inner.default(called)
    return _call(inner, tokens)


def _prepared(
    pipeline: Pipeline, cache: Path | None, executor: str
) -> tuple[Pipeline, contextlib.AbstractContextManager[Any]]:
    if cache is not None:
        pipeline = pipeline.with_cache(DiskCache(cache))
    if executor == "sequential":
        return pipeline, contextlib.nullcontext()
    engine = HyperNodesEngine(map_executor=executor)
    return pipeline.with_engine(engine), engine


@contextlib.contextmanager
def _watching(progress: bool | None, timeline: Path | None) -> Iterator[None]:
    from hypernodes.observe.progress import ProgressCallback
    from hypernodes.observe.timeline import Timeline

    if timeline is not None and timeline.suffix not in (".html", ".png"):
        raise UsageError(f"--timeline {timeline}: expected a file that ends in .html or .png")
    recorded = Timeline()
    callbacks: list[Any] = [] if timeline is None else [recorded]
    if errors.is_terminal if progress is None else progress:
        callbacks.append(ProgressCallback())
    try:
        with listening(*callbacks):
            yield
    finally:
        if timeline is not None:
            (recorded.html if timeline.suffix == ".html" else recorded.png)(timeline)
            errors.print(f"timeline: {timeline}", highlight=False)


@contextlib.contextmanager
def _nodes_may_fail(as_json: bool) -> Iterator[list[Exception]]:
    """Tells what a node raised, without the frames of the engine; it is in the list afterwards."""
    failed: list[Exception] = []
    try:
        yield failed
    except Exception as error:
        node = failing_node(error)
        if node is None:
            raise
        failed.append(error)
        if as_json:
            kind = type(error).__name__
            print(rows.dumps({"error": {"type": kind, "message": str(error), "node": node}}))
            return
        own = str(Path(__file__).parents[1])
        told = traceback.TracebackException.from_exception(error)
        told.stack = traceback.StackSummary.from_list(
            [
                frame
                for frame in told.stack
                if not frame.filename.startswith(own) and not frame.filename.startswith("<pipeline")
            ]
        )
        errors.print("".join(told.format()).rstrip(), markup=False, highlight=False, soft_wrap=True)
