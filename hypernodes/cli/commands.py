"""The commands.

Cyclopts makes typed options out of a function's signature. So the signature of `run FILE:PIPELINE`
is made from the pipeline's inputs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import typing
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from hypernodes import __version__
from hypernodes.cli import rows
from hypernodes.cli.caches import cache_app
from hypernodes.cli.running import (
    FAILED,
    OK,
    PIPE_CLOSED,
    SOME_FAILED,
    Flag,
    Running,
    Target,
    Tokens,
    call,
    errors,
    say,
    terminal,
    usage,
    with_inputs,
)
from hypernodes.cli.targets import UsageError, load
from hypernodes.cli.values import from_text, value_of
from hypernodes.engines import FailedItem
from hypernodes.errors import listing, text_of
from hypernodes.pipeline import Pipeline

app = App(
    name="hypernodes",
    help="Show, run and map pipelines. FILE:PIPELINE is a Python file and a name in it.",
    version=__version__,
    version_flags=["--version"],
)
app.command(cache_app)
app.register_install_completion_command()


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    if not sys.stdout:  # as after `>&-`
        return usage("the standard output is closed")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors=rows.ESCAPED)
    try:
        done = call(app, arguments)
        sys.stdout.flush()
        return done
    except KeyboardInterrupt:
        errors.print("stopped", style="red")
        return 130
    except OSError as error:
        _discard_output()
        if isinstance(error, BrokenPipeError):  # as before `| head`
            return PIPE_CLOSED
        where = f"{error.filename}: " if error.filename else ""
        return usage(f"{where}{error.strerror}" if error.strerror else str(error))


def _discard_output() -> None:
    """Write what can be, and let nothing be left for the interpreter to fail at in its end."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


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

    Args:
        target: FILE:PIPELINE, or FILE where there is only one.
        to: Draw it to this file: .html, .svg, .png, .mmd or .dot.
        mermaid: Print it as Mermaid text.
        json: Print it as JSON.

    Raises:
        UsageError: it cannot be drawn to that file.
    """
    from hypernodes.visualize.model import describe

    pipeline = load(target)
    if to is not None:
        rows.check_file(to)
        try:
            pipeline.visualize(to)
        except (ValueError, RuntimeError) as error:
            raise UsageError(str(error)) from error
        say(f"written: {to}")
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
    console = terminal()
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
        """Add a row for each node, and for those inside it.

        Args:
            nodes: as `describe` has them.
            depth: how far they are indented.
        """
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


@app.command(name="run", help_flags=[], version_flags=[])
def run_(target: Target, /, *tokens: Tokens) -> int:
    """Run a pipeline: `hypernodes run FILE:PIPELINE --help` shows the options for its inputs.

    Raises:
        UsageError: an output that is to be saved was not asked for.
    """

    def work(
        pipeline: Pipeline,
        inputs: dict[str, Any],
        *,
        save: Annotated[list[str] | None, Parameter(negative="")] = None,
        running: Running | None = None,
    ) -> int:
        """Run a pipeline and print its outputs.

        Args:
            save: NAME=FILE: write the output of that name, text or bytes, to a file.

        Raises:
            UsageError: an output that is to be saved was not asked for.
        """
        how = running or Running()
        files = _files(pipeline, save or [])
        results: dict[str, Any] = {}
        with how.watched(pipeline) as (used, failed):
            results = used.run(inputs, how.wanted)
        if failed:
            return FAILED
        for name, file in files.items():
            if name not in results:
                raise UsageError(f"--save {name}: it is not among the outputs that were asked for")
            _save(name, results.pop(name), file)
        _print_results(results, how.json)
        return OK

    return with_inputs(target, tokens, work, "run", needed=True)


def _print_results(results: dict[str, Any], as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        print(rows.dumps(results, indent=2))
        return
    from rich.pretty import Pretty
    from rich.text import Text

    console = terminal()
    for name, value in results.items():
        console.print(Text(name, "bold"))
        if (table := rows.head(value)) is not None:
            console.print(table)
            continue
        console.print(value if isinstance(value, str) else Pretty(value, max_length=50))


def _files(pipeline: Pipeline, save: Sequence[str]) -> dict[str, Path]:
    files = {}
    for each in save:
        name, sign, file = each.partition("=")
        if not sign or not file:
            raise UsageError(f"--save {each}: expected NAME=FILE")
        if name not in pipeline.outputs:
            raise UsageError(f"--save {each}: outputs are {listing(pipeline.outputs)}")
        rows.check_file(file)
        files[name] = Path(file)
    return files


def _save(name: str, value: Any, file: Path) -> None:
    if isinstance(value, bytes):
        file.write_bytes(value)
    else:
        text = value if isinstance(value, str) else rows.dumps(value, indent=2)
        file.write_text(text, encoding="utf-8", errors=rows.ESCAPED)
    say(f"{name}: {file}")


# -- map -----------------------------------------------------------------------------------------


@app.command(name="map", help_flags=[], version_flags=[])
def map_(target: Target, /, *tokens: Tokens) -> int:
    """Run a pipeline for each row of a file: `hypernodes map FILE:PIPELINE ROWS.jsonl`.

    Raises:
        UsageError: the rows do not fit the pipeline's inputs.
    """

    def work(
        pipeline: Pipeline,
        inputs: dict[str, Any],
        source: Annotated[str, Parameter(name="ROWS", allow_leading_hyphen=True)],
        /,
        *,
        to: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
        on_error: Literal["raise", "continue"] = "raise",
        running: Running | None = None,
    ) -> int:
        """Run a pipeline for each row of a file, and write the rows with its outputs.

        Columns that are inputs are given to it; the others are written beside the outputs. A row
        without one of them has the input's default.

        Args:
            source: The rows: a file .jsonl, .csv or .parquet, or - for JSONL from the standard
                input.
            to: Where the rows go with the outputs: the same kinds of file.
            on_error: With "continue", a row that fails has an `error`, and the exit code is 3.

        Raises:
            UsageError: the rows do not fit the pipeline's inputs.
        """
        how = running or Running()
        if how.json and to == "-":
            raise UsageError("--json prints a summary: say where the rows go, --to FILE")
        rows.check_format(to)
        if to != "-":
            rows.check_file(to)
        table = rows.read(source)
        found = rows.columns(table)
        columns = [name for name in pipeline.inputs if name in found]
        if table and not columns:
            raise UsageError(
                f"{source} has no column that is an input. Columns: {listing(found)}. "
                f"Inputs: {listing(pipeline.inputs)}"
            )
        twice = [name for name in columns if name in inputs]
        if twice:
            raise UsageError(f"{listing(twice)} is given twice: in {source} and as an option")
        lists = {name: _column(pipeline, source, table, name) for name in columns}
        results: list[Any] = []
        with how.watched(pipeline) as (used, failed):
            if table:
                results = used.map({**inputs, **lists}, columns, "zip", how.wanted, on_error)
        if failed:
            return FAILED
        rows.write(to, [_result(*each) for each in zip(table, results, strict=True)])
        lost = sum(isinstance(each, FailedItem) for each in results)
        if how.json:
            print(rows.dumps({"rows": len(results), "failed": lost, "to": to}))
        else:
            say(f"{len(results):,} rows, {lost:,} failed: {to}")
        return SOME_FAILED if lost else OK

    return with_inputs(target, tokens, work, "map", needed=False)


def _column(pipeline: Pipeline, source: str, table: Sequence[rows.Row], name: str) -> list[Any]:
    each = pipeline.inputs[name]
    kind = each.type if each.default is not None else typing.Optional[each.type]  # noqa: UP045
    made = from_text if rows.check_format(source) == ".csv" else value_of
    values = []
    for number, row in enumerate(table, 1):
        if name in row:
            try:
                values.append(made(kind, row[name]))
            except ValueError as error:
                held = f"{row[name]!r:.80}"
                raise UsageError(f"{source}, row {number}: {name!r} is {held}: {error}") from error
        elif each.required:
            raise UsageError(f"{source}, row {number}: there is no {name!r}")
        else:
            values.append(each.default)
    return values


def _result(row: rows.Row, made: dict[str, Any] | FailedItem) -> rows.Row:
    if isinstance(made, FailedItem):
        error = made.error
        return {**row, "error": f"{type(error).__name__}: {text_of(error)}"}
    return {**row, **made}
