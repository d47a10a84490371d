"""What commands share: options for a run, calling a command, and reporting what went wrong."""

from __future__ import annotations

import contextlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter
from rich.console import Console
from rich.text import Text

from hypernodes.cache import DiskCache
from hypernodes.callbacks import PipelineCallback, listening
from hypernodes.cli import rows
from hypernodes.cli.inputs import names_of, options
from hypernodes.cli.targets import UsageError, load
from hypernodes.engines import HyperNodesEngine
from hypernodes.errors import (
    GraphError,
    InputError,
    OutputNameError,
    RefreshError,
    failing_node,
    text_of,
)
from hypernodes.pipeline import Pipeline

Target = Annotated[str, Parameter(allow_leading_hyphen=True)]
Tokens = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
Outputs = Annotated[
    list[str] | None, Parameter(("--output", "-o"), consume_multiple=True, negative="")
]
Names = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Executor = Literal["sequential", "threaded", "parallel", "async"]

OK, FAILED, USAGE, SOME_FAILED = 0, 1, 2, 3
PIPE_CLOSED = 128 + 13  # as a shell has it of a command that SIGPIPE ended


def terminal(*, stderr: bool = False) -> Console:
    """A console that shows texts as they are: `[b]` and `:smile:` are the user's, no markup.

    Args:
        stderr: whether it writes to the standard error stream.
    """
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


errors = terminal(stderr=True)


@Parameter(name="*")
@dataclass
class Running:
    """How a pipeline is run.

    Args:
        output: What to compute; by default everything.
        cache: A folder to cache results in.
        executor: Where items of maps run.
        progress: Show progress; by default on a terminal.
        refresh: Nodes to recompute, cached or not, with all nodes after them.
        timeline: Write a waterfall of the run to this file: .html or .png.
        json: Print JSON.
    """

    output: Outputs = None
    cache: Path | None = None
    executor: Executor = "sequential"
    progress: bool | None = None
    refresh: Names = None
    timeline: Path | None = None
    json: Flag = False

    @property
    def wanted(self) -> list[str] | None:
        """The outputs to compute."""
        return self.output or None

    @contextlib.contextmanager
    def watched(self, pipeline: Pipeline) -> Iterator[tuple[Pipeline, list[Exception]]]:
        """The pipeline as it is to be run, and a list for what its nodes raise.

        Raises:
            UsageError: the timeline cannot be written to its file.
        """
        from hypernodes.observe.progress import ProgressCallback
        from hypernodes.observe.timeline import Timeline

        to = self.timeline
        if to is not None and to.suffix not in (".html", ".png"):
            raise UsageError(f"--timeline {to}: expected a file that ends in .html or .png")
        if to is not None:
            rows.check_file(to)
        timeline = Timeline()
        callbacks: list[PipelineCallback] = [] if to is None else [timeline]
        if errors.is_terminal if self.progress is None else self.progress:
            callbacks.append(ProgressCallback())
        pipeline = pipeline.with_refresh(self.refresh)
        if self.cache is not None:
            pipeline = pipeline.with_cache(DiskCache(self.cache))
        with contextlib.ExitStack() as stack:
            failed = stack.enter_context(_nodes_may_fail(self.json))
            if self.executor != "sequential":
                engine = stack.enter_context(HyperNodesEngine(map_executor=self.executor))
                pipeline = pipeline.with_engine(engine)
            stack.enter_context(listening(*callbacks))
            yield pipeline, failed
        if to is not None:
            (timeline.html if to.suffix == ".html" else timeline.png)(to)
            say(f"timeline: {to}")


def call(called: App, arguments: Sequence[str]) -> int:
    """Run a command line on an app and return the exit code.

    Args:
        called: the app.
        arguments: the command line, without the app's name.
    """
    try:
        done = called(
            list(arguments), exit_on_error=False, print_error=False, result_action="return_value"
        )
    except MissingArgumentError as error:
        # Cyclopts says "requires an argument" of an option that is missing altogether, too.
        said = re.sub(r"^.*?arameter (\S+) requires an argument", r"\1 needs a value", str(error))
        if error.unused_tokens:
            said += f" (Not understood: {' '.join(error.unused_tokens)})"
        return usage(said)
    except CycloptsError as error:
        return usage(str(error))
    except (
        UsageError,
        InputError,
        OutputNameError,
        RefreshError,
        GraphError,
        ImportError,
    ) as error:
        return usage(str(error))
    return done if isinstance(done, int) else OK


def say(message: str) -> None:
    """Write a line to the standard error stream.

    Args:
        message: the line, which is not broken where it is long.
    """
    errors.print(message, soft_wrap=True)


def usage(message: str) -> int:
    """Say what cannot be done.

    Args:
        message: what was wrong.

    Returns:
        The exit code.
    """
    errors.print(Text.assemble(("error:", "red"), f" {message}"), soft_wrap=True)
    return USAGE


def with_inputs(
    target: str, tokens: Sequence[str], work: Callable[..., int], command: str, needed: bool
) -> int:
    """Call a function with a pipeline, the inputs from a command line, and its own options.

    Args:
        target: FILE:PIPELINE, or `--help`.
        tokens: the rest of the command line.
        work: called with the pipeline, a dict of inputs and the options in its signature.
        command: the command's name, for messages.
        needed: whether inputs without a default have to be given.

    Returns:
        The exit code.

    Raises:
        UsageError: there is no such pipeline.
    """
    if target in ("--help", "-h"):
        does = (inspect.getdoc(work) or "").partition("\n")[0]
        print(f"Usage: hypernodes {command} FILE:PIPELINE [OPTIONS]\n\n{does}\n")
        print(f"hypernodes {command} FILE:PIPELINE --help shows the options for its inputs.")
        return OK
    if target.startswith("-"):
        raise UsageError(f"{command}: expected FILE:PIPELINE before {target}")
    pipeline = load(target)
    own = dict(list(inspect.signature(work, eval_str=True).parameters.items())[2:])
    # Texts of the user's, such as nodes' names, are no Markdown.
    inner = App(name=f"hypernodes {command} {target}", version_flags=[], help_format="plaintext")
    inputs = options(pipeline, names_of(own.values()) | {*inner.help_flags}, needed)

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
    inner.default(called)
    return call(inner, tokens)


@contextlib.contextmanager
def _nodes_may_fail(as_json: bool) -> Iterator[list[Exception]]:
    """Print what a node raises, without the engine's frames, and put it into the list."""
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
            print(rows.dumps({"error": {"type": kind, "message": text_of(error), "node": node}}))
            return
        own = str(Path(__file__).parents[1])
        report = traceback.TracebackException.from_exception(error)
        report.stack = traceback.StackSummary.from_list(
            [
                frame
                for frame in report.stack
                if not frame.filename.startswith(own) and not frame.filename.startswith("<pipeline")
            ]
        )
        lines = "".join(report.format())
        notes = [each for each in getattr(error, "__notes__", ()) if each not in lines]
        text = "\n".join([lines.rstrip(), *notes])  # Python 3.10 prints no notes
        say(text)
