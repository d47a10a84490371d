"""What can be set: how much is reported, and where a deployment keeps its cache."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from hypernodes import Cache, DiskCache, FsspecCache, HyperNodesError


class Reporting(BaseSettings):
    """How much of a run is reported to Prefect.

    What is not given is taken from the environment: `HYPERNODES_REPORTING_LIMIT=none` and so on.

    Attributes:
        limit: task runs of a flow run after which further items of maps are counted and not
            listed; None for no limit. Failures are always listed, and so is what is in no map.
        items: which items of a map are listed: "all", only "failures", or about as many as a
            number says, evenly spread.
        artifacts: whether to show a map's progress, the pipeline's diagram, a table of its nodes
            and a list of failures.
        deadline: seconds without an answer after which, at the end of a run, the rest is given up;
            three times as long where the server is there and slow.

    >>> Reporting(items=20).limit
    1000
    """

    model_config = SettingsConfigDict(
        env_prefix="HYPERNODES_REPORTING_",
        env_parse_none_str="none",
        frozen=True,
        extra="forbid",
    )

    limit: Annotated[int, Field(gt=0)] | None = 1_000
    items: Literal["all", "failures"] | Annotated[int, Field(gt=0)] = "all"
    artifacts: bool = True
    deadline: Annotated[float, Field(gt=0)] = 10.0


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HYPERNODES_")

    cache: str | None = None


def configured_cache() -> Cache | None:
    """The cache that the environment names in `HYPERNODES_CACHE`: a folder or a URL.

    `pipeline_flow`, `pipeline_task` and `PrefectEngine` give it to a pipeline that has none; beside
    a `PrefectCallback`, do so yourself: `pipeline.with_cache(configured_cache())`.

    Returns:
        A `DiskCache` or a `FsspecCache`; None where the variable is empty or not set.

    Raises:
        HyperNodesError: a URL, and nothing installed that can read it.
    """
    where = _Environment().cache
    if not where:
        return None
    if "://" not in where:
        return DiskCache(where)
    try:
        return FsspecCache(where)
    except (ImportError, ValueError) as error:
        raise HyperNodesError(f"HYPERNODES_CACHE is {where!r}: {error}") from error
