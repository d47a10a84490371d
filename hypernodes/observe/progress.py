"""`ProgressCallback`: how far a run is, on a terminal, in a notebook or in a log.

Hooks only count, on a tree of lines: one for each pipeline, map and node, whatever the number of
items. Another thread draws the tree a few times a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hypernodes.callbacks import CallbackContext
from hypernodes.errors import needs
from hypernodes.observe.display import Display, Line, Log, Notebook, Terminal, in_notebook
from hypernodes.retries import Retry
from hypernodes.scope_callback import ScopeCallback

if TYPE_CHECKING:
    from rich.console import Console


class ProgressCallback(ScopeCallback):
    """Shows how far a run is: a line for each pipeline, map and node.

    On a terminal and in a notebook the lines move; prints and logs go above them. Elsewhere, in a
    log or a file, one line is written every few seconds. Needs Rich: `hypernodes[progress]`.

    Args:
        console: where to write, a `rich.console.Console`; by default the standard error stream.
        every: seconds from line to line where it is not a terminal.
        transient: whether the lines go away when the run is over.

    Raises:
        ImportError: Rich is not installed.
        ValueError: `every` is not more than 0.
    """

    def __init__(
        self, console: Console | None = None, *, every: float = 5.0, transient: bool = False
    ) -> None:
        needs("rich", "progress", "ProgressCallback")
        if every <= 0:
            raise ValueError(f"every is {every}: expected seconds, more than 0")
        self._console = console
        self._every = every
        self._transient = transient
        self._lines: dict[CallbackContext, Line] = {}  # of scopes that are open
        self._roots: list[Line] = []
        self._display: Display | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[..., ProgressCallback], tuple[float, bool]]:
        return _rebuild, (self._every, self._transient)

    # -- Hooks -----------------------------------------------------------------------------------

    def on_node_start(self, node_id: str, inputs: Mapping[str, Any], ctx: CallbackContext) -> None:
        self._line(ctx).running += 1

    def on_node_end(
        self, node_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext
    ) -> None:
        line = self._line(ctx)
        line.running -= 1
        line.done += 1
        line.ended = time.perf_counter()

    def on_node_retry(self, node_id: str, retry: Retry, ctx: CallbackContext) -> None:
        self._line(ctx).retried += 1

    def started(self, ctx: CallbackContext) -> None:
        if ctx.kind != "map_item":
            self._open(ctx)

    def ended(self, ctx: CallbackContext) -> None:
        if ctx.kind == "map_item":
            self._line(ctx).done += 1
        else:
            self._close(ctx)

    def cached(self, ctx: CallbackContext, signature: str) -> None:
        line = self._line(ctx)
        line.cached += 1
        line.done += 1

    def on_map_start(self, total_items: int | None, ctx: CallbackContext) -> None:
        line = self._open(ctx)
        line.is_map = True
        line.endless = total_items is None
        line.items += total_items or 0

    def on_error(self, node_id: str, error: BaseException, ctx: CallbackContext) -> None:
        line = self._line(ctx)
        if ctx.kind != "map":  # a map's failed items have been counted
            line.failed += 1
            line.done += 1
        if ctx.kind == "node":
            line.running -= 1
        elif ctx.kind != "map_item":
            self._close(ctx, failed=True)

    # -- Lines -----------------------------------------------------------------------------------

    def _line(self, ctx: CallbackContext) -> Line:
        """The line of a scope; an item's is that of its map."""
        lines, above = self._lines, ctx.parent
        if above is None or ctx in lines:
            if ctx not in lines:
                lines[ctx] = Line(ctx.name, None)
            return lines[ctx]
        if ctx.kind == "map_item":
            return self._line(above)
        if above.kind == "map_item" and above.parent is not None:
            above = above.parent
        line = lines[above] if above in lines else self._line(above)
        return line.children.get(ctx.name) or line.child(ctx.name)

    def _open(self, ctx: CallbackContext) -> Line:
        line = self._lines[ctx] = self._line(ctx)
        if ctx.parent is not None:
            line.running += 1
        else:
            with self._lock:  # another run may be at its end, and look for what is running
                line.running += 1
                self._roots.append(line)
                if self._display is None:
                    self._display = self._make_display()
                    self._display.start()
        return line

    def _close(self, ctx: CallbackContext, failed: bool = False) -> None:
        line = self._lines.pop(ctx)
        if not line.is_map and not failed:
            line.done += 1
        line.ended = time.perf_counter()
        line.endless = False
        with self._lock:
            line.running -= 1
            going = ctx.parent is not None or any(each.running for each in self._roots)
            if self._display is not None and not going:
                self._display.stop()
                self._display = None
                self._roots.clear()

    def _make_display(self) -> Display:
        from rich.console import Console

        # What nodes print passes through it, and is no markup of Rich's.
        console = self._console or Console(stderr=True, markup=False, emoji=False)
        if self._console is None and in_notebook():
            return Notebook(self._roots)
        if console.is_terminal and not console.is_dumb_terminal:
            return Terminal(self._roots, console, self._transient)
        return Log(self._roots, console, self._every)


def _rebuild(every: float, transient: bool) -> ProgressCallback:
    return ProgressCallback(every=every, transient=transient)
