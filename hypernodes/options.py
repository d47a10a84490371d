"""`NodeOptions`: how a node is run, whatever its function does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypedDict

from hypernodes import retries as retrying
from hypernodes.batch import BATCHES, Batch
from hypernodes.errors import did_you_mean, listing


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
    retry_condition_fn: Callable[[BaseException], bool] | None
    timeout_seconds: float | None
    batch: Batch | None
    daft: DaftOptions | Mapping[str, Any] | None


@dataclass(frozen=True)
class DaftOptions:
    """How `DaftEngine` runs a node; other engines do not look at it.

    Attributes:
        cpus: CPUs that one call takes, where Daft plans with them.
        gpus: GPUs that one call takes.
        use_process: call it in processes of Daft's: for work that holds Python's lock.
        batch_size: how many items are handed to it at a time.
        concurrency: how many calls run at once in each process: of an async node on its event
            loop (10 by default), of another one on that many threads.

    Raises:
        ValueError: something that an option cannot be.
    """

    cpus: float | None = None
    gpus: float = 0
    use_process: bool = False
    batch_size: int | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "concurrency"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"daft: {name} is {value!r}: expected a number from 1")
        for name in ("cpus", "gpus"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, (int, float)) or value < 0):
                raise ValueError(f"daft: {name} is {value!r}: expected a number from 0")

    @classmethod
    def of(cls, values: object) -> DaftOptions:
        """Options out of a dict."""
        known = cls.__dataclass_fields__
        if not isinstance(values, Mapping):
            raise ValueError(f"daft is {values!r}: expected a dict of {listing(known)}")
        for name in values:
            if name not in known:
                raise ValueError(
                    f"daft has no option {name!r}.{did_you_mean(name, known)} "
                    f"Options: {listing(known)}"
                )
        return cls(**values)


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
        daft: how `DaftEngine` runs it.

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
    retry_condition_fn: Callable[[BaseException], bool] | None = None
    timeout_seconds: float | None = None
    batch: Batch | None = None
    daft: DaftOptions | None = None

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
        if self.daft is not None and not isinstance(self.daft, DaftOptions):
            object.__setattr__(self, "daft", DaftOptions.of(self.daft))
        if self.batch is not None and self.batch not in BATCHES:
            hint = did_you_mean(self.batch, BATCHES)
            raise ValueError(f"batch is {self.batch!r}: expected one of {listing(BATCHES)}.{hint}")
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
    return float(seconds)
