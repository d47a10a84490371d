"""`Engine`: what runs pipelines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from hypernodes.callbacks import CallbackContext
from hypernodes.pipeline import Pipeline
from hypernodes.results import FailedItem
from hypernodes.types import ErrorHandling, Item, OutputName, Outputs


class Engine(ABC):
    """Runs pipelines: calls their nodes, caches results, and calls callbacks.

    `Pipeline.run` and `Pipeline.map` call the engine; so does another engine, for a nested pipeline
    that has this one as its own.
    """

    @abstractmethod
    def run(
        self,
        pipeline: Pipeline,
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
    ) -> Outputs:
        """Run a pipeline for one item.

        Args:
            pipeline: what to run.
            inputs: values by name, at least those of its required inputs.
            output_name: the outputs to compute; None for all of them.
            _ctx: the scope that the run is part of, when one engine calls another.

        Returns:
            The outputs by name.
        """

    @abstractmethod
    def map(
        self,
        pipeline: Pipeline,
        items: Sequence[Item],
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
        *,
        error_handling: ErrorHandling = "raise",
    ) -> list[Any]:
        """Run a pipeline for many items.

        Args:
            pipeline: what to run.
            items: for each item the values of its own inputs.
            inputs: the values that all items share.
            output_name: the outputs to compute; None for all of them.
            _ctx: the scope that the map is part of, when one engine calls another.
            error_handling: "raise" or "continue"; see `Pipeline.map`.

        Returns:
            A dict of outputs (or a `FailedItem`) for each item, in order.
        """

    def imap(
        self,
        pipeline: Pipeline,
        items: Iterable[Item],
        inputs: dict[str, Any],
        output_name: OutputName = None,
        _ctx: CallbackContext | None = None,
        *,
        names: Iterable[str],
        total: int | None = None,
        error_handling: ErrorHandling = "raise",
        in_flight: int | None = None,
        ordered: bool = True,
    ) -> Iterator[tuple[int, Any]]:
        """Run a pipeline for items that come one by one, a bounded number of them at once.

        This default calls `map` for one window of items after the other.

        Args:
            pipeline: what to run.
            items: for each item the values of its own inputs; an engine may also read async
                iterators.
            inputs: the values that all items share.
            output_name: the outputs to compute; None for all of them.
            _ctx: the scope that the map is part of, when one engine calls another.
            names: the inputs that each item has a value for.
            total: how many items there are; None if that is not known.
            error_handling: "raise" or "continue"; see `Pipeline.map`.
            in_flight: how many items may have been started whose result has not been taken.
            ordered: yield in the order of the items; else as they are done.

        Yields:
            An item's index, and its dict of outputs or a `FailedItem`.

        Raises:
            TypeError: the items are async, and this engine cannot read them.
        """
        if not isinstance(items, Iterable):
            raise TypeError(f"{type(self).__name__} cannot read an async iterable: give a list")
        at = 0
        source = iter(items)
        while window := list(islice(source, in_flight or IN_FLIGHT)):
            rows = self.map(
                pipeline, window, inputs, output_name, _ctx, error_handling=error_handling
            )
            for index, row in enumerate(rows, at):
                if isinstance(row, FailedItem):
                    yield index, replace(row, index=index)
                else:
                    yield index, row
            at += len(window)


IN_FLIGHT = 1_000
"""How many items `imap` has in flight by default."""
