"""`DaftEngine`: the same pipeline as operations on a Daft frame, on one machine or on Ray."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from hypernodes import moved
from hypernodes.callbacks import CallbackContext
from hypernodes.engines.base import Engine
from hypernodes.engines.daft.query import IN_DAFT_QUERY
from hypernodes.engines.native import HyperNodesEngine
from hypernodes.pipeline import Pipeline
from hypernodes.plan import Plan
from hypernodes.results import check_error_handling
from hypernodes.types import ErrorHandling, OutputName

if TYPE_CHECKING:
    import daft

    from hypernodes.engines.daft.job import Job

# Runs what a Daft query calls: a query inside a query would wait for the threads of the outer one.
_inner_engine = HyperNodesEngine()


class DaftEngine(Engine):
    """Runs a pipeline as operations on a Daft frame: every node adds its outputs as columns.

    The results are those of `HyperNodesEngine`: values travel pickled between nodes, so that
    Daft's types never change them. Cache and callbacks are used as there. Daft's runner says
    where it runs: on this machine, or on Ray after `daft.set_runner_ray()` or with
    `DAFT_RUNNER=ray` in the environment. Inside of a Daft run, in a pipeline of another engine, it
    does one item after the other.

    A node says how Daft runs it: `@node(daft={"batch_size": 16, "use_process": True})`; see
    :class:`hypernodes.engines.daft.DaftOptions`. Async nodes run 10 at once; `{"concurrency": 50}`
    makes it 50.

    Args:
        collect: `False` makes `Pipeline.map` give the lazy `daft.DataFrame`, with outputs as
            columns of Daft's types by their annotations. Callbacks hear nothing then: it runs
            when, and as often as, Daft is asked to. `Pipeline.run` always gives a dict.
        show_plan: print Daft's plan before it runs.
        debug: print to the standard error, node by node, what becomes of the pipeline.

    Raises:
        ImportError: Daft is not installed.
        TypeError: an argument is not a bool.
    """

    def __init__(
        self,
        collect: bool = True,
        show_plan: bool = False,
        debug: bool = False,
        **unknown: NoReturn,
    ) -> None:
        moved.refuse(DaftEngine.__init__, unknown)
        for name, value in (("collect", collect), ("show_plan", show_plan), ("debug", debug)):
            if not isinstance(value, bool):
                raise TypeError(f"{name} is {value!r}: expected True or False")
        try:
            import daft  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "DaftEngine needs Daft, which is not installed: pip install 'daft>=0.7.26,<0.8' "
                "(the extra hypernodes[daft])"
            ) from error
        self.collect = collect
        self.show_plan = show_plan
        self.debug = debug

    def __repr__(self) -> str:
        return f"DaftEngine(collect={self.collect}, show_plan={self.show_plan}, debug={self.debug})"

    def run(
        self,
        pipeline: Pipeline,
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
    ) -> dict[str, Any]:
        if IN_DAFT_QUERY.get():
            return _inner_engine.run(pipeline, inputs, output_name, _ctx)
        plan = pipeline.plan(output_name)
        pipeline.check_inputs(plan, inputs)
        return self._job(pipeline, plan, _ctx).run(inputs)

    def map(
        self,
        pipeline: Pipeline,
        items: Sequence[dict[str, Any]],
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
        *,
        error_handling: ErrorHandling = "raise",
    ) -> Any:
        if IN_DAFT_QUERY.get():
            return _inner_engine.map(
                pipeline, items, inputs, output_name, _ctx, error_handling=error_handling
            )
        check_error_handling(error_handling)
        plan = pipeline.plan(output_name)
        items = pipeline.check_items(plan, items, inputs)
        collect = self.collect or _ctx is not None
        return self._job(pipeline, plan, _ctx, error_handling, collect).map(items, inputs)

    def accepts_frame(self, inputs: object) -> bool:
        """Whether `Pipeline.map` may be given this in place of a dict of lists."""
        import daft

        return isinstance(inputs, daft.DataFrame)

    def map_frame(
        self,
        pipeline: Pipeline,
        frame: daft.DataFrame,
        columns: Mapping[str, str],
        output_name: OutputName = None,
        *,
        error_handling: ErrorHandling = "raise",
    ) -> Any:
        """Run a pipeline for each row of a frame.

        Args:
            pipeline: what to run.
            frame: the frame.
            columns: the column of each input.
            output_name: the outputs to compute; None for all of them.
            error_handling: "raise" or "continue"; see `Pipeline.map`.

        Returns:
            What `map` returns; with `collect=False` the lazy frame, in which the outputs come
            after the frame's own columns, in place of those of the same name. With "continue" a
            column `error` is the last one (`error_` where there is one already): null, or a struct
            of the error's type and message and of the node that raised it.

        Raises:
            RuntimeError: a node that Daft is running calls this.
            ValueError: `error_handling` is unknown.
        """
        check_error_handling(error_handling)
        if IN_DAFT_QUERY.get():
            raise RuntimeError(
                "a frame cannot be mapped by a node that Daft is running: the one would wait for "
                "the other. Map it outside of that pipeline, or give its values as lists"
            )
        plan = pipeline.plan(output_name)
        pipeline.check_inputs(plan, columns)
        collect = self.collect
        return self._job(pipeline, plan, None, error_handling, collect).map_frame(frame, columns)

    def _job(
        self,
        pipeline: Pipeline,
        plan: Plan,
        ctx: CallbackContext | None,
        error_handling: ErrorHandling = "raise",
        collect: bool = True,
    ) -> Job:
        from hypernodes.engines.daft.job import Job  # it imports Daft

        return Job(
            self, pipeline, plan, ctx, error_handling, collect,
            show_plan=self.show_plan, debug=self._debug,
        )  # fmt: skip

    def _debug(self, what: str) -> None:
        if self.debug:
            print(f"daft: {what}", file=sys.stderr)
