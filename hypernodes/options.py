"""`NodeOptions`: how a node is run, whatever its function does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypedDict

from hypernodes import retries as retrying
from hypernodes.batch import BATCHES, Batch
from hypernodes.errors import did_you_mean, listing
from hypernodes.labels import RunName, check_texts

ENGINE_OPTIONS: dict[str, Callable[[object], object]] = {}
"""Checks the options that only one engine knows, by name. An engine's package adds its own: this
module lies below all engines. A check returns what the option becomes, or raises a ValueError."""


class OptionValues(TypedDict, total=False):
    """The options of :func:`node` as keyword arguments; see :class:`NodeOptions`."""

    cache: bool | Literal["refresh"]
    version: str | None
    code_version: str | None
    ttl: float | timedelta | None
    executor: str | None
    retries: int
    retry_delay_seconds: retrying.Delay
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[[Exception], bool] | None
    timeout_seconds: float | None
    batch: Batch | None
    max_concurrent: int | None
    tags: str | Sequence[str]
    task_run_name: RunName | None
    concurrency_limit: str | Sequence[str] | None
    daft: object


@dataclass(frozen=True)
class NodeOptions:
    """How a node is run, whatever its function does.

    Attributes:
        cache: whether results may be cached and reused; "refresh" caches them and reuses none.
        version: part of what identifies the results, for what the code does not show.
        code_version: what identifies the code, which is then not looked at.
        ttl: seconds for which a result may be reused; None for ever.
        executor: "sequential" where it has to stay on the caller's thread, else None.
        retries: how often it is tried again after an error.
        retry_delay_seconds: how long to wait before that: seconds, a list of them (the last one
            repeats), or `exponential_backoff(...)`.
        retry_jitter_factor: each wait is longer by a random share of itself, up to this factor.
        retry_condition_fn: whether an error is worth another try; None for every `Exception`.
        timeout_seconds: how long one try may take.
        batch: what the function takes in place of one value: see `hypernodes.batch`.
        max_concurrent: how many calls of it run at once in a run, on any engine; None for no limit.
        tags: shown with its runs by systems that watch them, such as Prefect.
        task_run_name: what such a system calls a run: a text with inputs, "fetch {url}", or a
            function; see `labels.check_run_name`. None for the node's name.
        concurrency_limit: the limits of such a system that a call takes a slot of, by name: those
            that hold for all runs, on all machines. Ignored where no such system runs it.
        daft: how `DaftEngine` runs it; see `hypernodes.engines.daft.DaftOptions`.

    Raises:
        ValueError: something that an option cannot be.
    """

    cache: bool | Literal["refresh"] = True
    version: str | None = None
    code_version: str | None = None
    ttl: float | None = None
    executor: str | None = None
    retries: int = 0
    retry_delay_seconds: retrying.Delay = 0
    retry_jitter_factor: float | None = None
    retry_condition_fn: Callable[[Exception], bool] | None = None
    timeout_seconds: float | None = None
    batch: Batch | None = None
    max_concurrent: int | None = None
    tags: tuple[str, ...] = ()
    task_run_name: RunName | None = None
    concurrency_limit: tuple[str, ...] = ()
    daft: object = None

    def __post_init__(self) -> None:
        if self.cache not in (True, False, "refresh"):
            raise ValueError(
                f"cache is {self.cache!r}: expected True, False, or 'refresh' (it is computed "
                "anew in every run, and cached)"
            )
        for name in ("version", "code_version"):
            value = getattr(self, name)
            if not isinstance(value, (str, type(None))):
                raise ValueError(f"{name} is {value!r}: expected a text, or None")
        object.__setattr__(self, "ttl", _seconds(self.ttl))
        for name, check in ENGINE_OPTIONS.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check(getattr(self, name)))
        if self.batch is not None and self.batch not in BATCHES:
            hint = did_you_mean(self.batch, BATCHES)
            raise ValueError(f"batch is {self.batch!r}: expected one of {listing(BATCHES)}.{hint}")
        for name in ("tags", "concurrency_limit"):
            object.__setattr__(self, name, check_texts(name, getattr(self, name) or ()))
        limit = self.max_concurrent
        if limit is not None and (type(limit) is not int or limit < 1):
            raise ValueError(f"max_concurrent is {limit!r}: expected a number from 1, or None")
        retrying.check(
            self.retries,
            self.retry_delay_seconds,
            self.retry_jitter_factor,
            self.retry_condition_fn,
            self.timeout_seconds,
        )
        if self.executor not in (None, "sequential"):
            raise ValueError(
                f"executor is {self.executor!r}: expected 'sequential' (it is called in the "
                "thread that called the engine), or None (where the engine says)"
            )


def _seconds(ttl: object) -> float | None:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError(
            f"ttl is {ttl!r}: expected a positive number of seconds, a timedelta, or None"
        )
    return float(min(seconds, sys.float_info.max))  # an int may be larger
