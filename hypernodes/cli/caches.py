"""`hypernodes cache`: what a cache holds, why a node was not found in it, and edits that change no
result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from hypernodes.cache import Cache, DiskCache
from hypernodes.cli import rows
from hypernodes.cli.running import OK, Flag, Names, Outputs, Target, Tokens, say, with_inputs
from hypernodes.cli.targets import UsageError, load
from hypernodes.errors import listing
from hypernodes.pipeline import Pipeline

cache_app = App(name="cache", help="What a cache holds, and why a node was not found in it.")


def _cache(target: str) -> Cache:
    """The cache in a folder, or that of a pipeline."""
    if ":" in target or target.endswith(".py"):
        found: Cache | Literal[False] | None = load(target).cache
        if found is None or found is False:
            raise UsageError(f"{target} has no cache of its own: give the folder")
        return found
    if not Path(target).is_dir():
        raise UsageError(f"there is no folder {target}: expected one, or FILE:PIPELINE")
    return DiskCache(target)


@cache_app.command
def stats(target: str, *, json: Flag = False) -> None:
    """Say what a cache holds, for each node.

    Args:
        target: A cache's folder, or FILE:PIPELINE.
        json: Print JSON.
    """
    held = _cache(target).stats()
    print(rows.dumps(held, indent=2) if json else held)


@cache_app.command
def clear(target: str, *, node: str | None = None, yes: Flag = False) -> None:
    """Remove what a cache holds.

    Args:
        target: A cache's folder, or FILE:PIPELINE.
        node: Only what this node has made.
        yes: Do not ask.

    Raises:
        UsageError: there is no such cache, or nobody there to ask.
    """
    cache = _cache(target)
    what = f"all of {target}" if node is None else f"what {node!r} has made"
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"to remove {what} without being asked, add --yes")
        if input(f"Remove {what}? [y/N] ").strip().lower() not in ("y", "yes"):
            return
    removed = cache.clear(node)
    say(f"removed: {removed:,} {'entry' if removed == 1 else 'entries'}")


@cache_app.command
def keep(
    target: str,
    *,
    node: Annotated[list[str] | None, Parameter(negative="")] = None,
    cache: Path | None = None,
    undo: Flag = False,
    yes: Flag = False,
    json: Flag = False,
) -> None:
    """After an edit that changes no result: use the results of nodes' earlier code.

    It shows what changed in the code of each node, and asks.

    Args:
        target: FILE:PIPELINE.
        node: Only these nodes; also where today's code has results of its own, which are not used
            any more.
        cache: The cache's folder; by default the pipeline's own.
        undo: Use the results of today's code again.
        yes: Do not ask.
        json: Print JSON.

    Raises:
        UsageError: there is no cache or no such node, or nobody there to ask.
    """
    pipeline = load(target)
    used = pipeline.cache if cache is None else DiskCache(cache)
    if used is None or used is False:
        raise UsageError(f"{target} has no cache of its own: give its folder, --cache FOLDER")
    try:
        found = used.keep(pipeline, node, dry_run=True, undo=undo)
    except ValueError as error:
        raise UsageError(str(error)) from error
    names = listing([each.node for each in found.changed])
    if found.changed and not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"{found}\nto do that for {names} without being asked, add --yes")
        print(found)
        question = "Use the results of today's code" if undo else "Use the results of earlier code"
        if input(f"{question} for {names}? [y/N] ").strip().lower() not in ("y", "yes"):
            return
    if found.changed:
        found = used.keep(pipeline, node, undo=undo)
    print(rows.dumps(list(found), indent=2) if json else found)


@cache_app.command(help_flags=[], version_flags=[])
def why(target: Target, /, *tokens: Tokens) -> int:
    """Say why nodes would run, or be found in the cache: takes the options of `run`.

    Raises:
        UsageError: the pipeline has no cache, and none is given.
    """

    def work(
        pipeline: Pipeline,
        inputs: dict[str, Any],
        *,
        output: Outputs = None,
        cache: Path | None = None,
        refresh: Names = None,
        json: Flag = False,
    ) -> int:
        """Say for each node why it would run, or be found in the cache.

        Args:
            output: What would be computed.
            cache: The cache's folder; by default the pipeline's own.
            refresh: Nodes that would be computed anew.
            json: Print JSON.

        Raises:
            UsageError: the pipeline has no cache, and none is given.
        """
        if cache is not None:
            pipeline = pipeline.with_cache(DiskCache(cache))
        elif pipeline.cache is None or pipeline.cache is False:
            raise UsageError(f"{target} has no cache of its own: give its folder, --cache FOLDER")
        explained = pipeline.explain_cache(inputs, output or None, refresh=refresh)
        print(rows.dumps(list(explained), indent=2) if json else explained)
        return OK

    return with_inputs(target, tokens, work, "cache why", needed=True)
