"""Lines of progress, and how they are drawn: on a terminal, in a notebook, in a log."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WINDOW = 20.0
"""Rates are taken over the last so many seconds."""


class Line:
    """How far a pipeline, a map or a node is, over all of its runs."""

    __slots__ = (
        "above", "cached", "children", "depth", "done", "ended", "endless", "failed", "is_map",
        "items", "marks", "name", "retried", "running", "started",
    )  # fmt: skip

    def __init__(self, name: str, above: Line | None) -> None:
        self.name = name
        self.above = above
        self.depth: int = 0 if above is None else above.depth + 1
        self.children: dict[str, Line] = {}
        self.is_map = False
        self.items = 0
        self.endless = False  # how many items there will be is not known
        self.running = 0
        self.done = 0  # those from the cache and failed ones included
        self.cached = 0
        self.failed = 0
        self.retried = 0
        self.started = time.perf_counter()
        self.ended = self.started
        self.marks: deque[tuple[float, int]] = deque([(self.started, 0)])

    def child(self, name: str) -> Line:
        line = self.children.get(name)
        if line is None:
            line = self.children[name] = Line(name, self)
        return line

    @property
    def total(self) -> int:
        """How often it will have ended, as far as is known."""
        if self.is_map:
            return max(self.items, self.done)
        if self.above is None:
            return 1
        # Where all around it is over, nothing more comes: it was skipped after failures, say.
        return self.done if self.above.is_over else max(self.above.total, self.done)

    @property
    def root(self) -> Line:
        return self if self.above is None else self.above.root

    @property
    def is_endless(self) -> bool:
        return self.endless or (self.above is not None and self.above.is_endless)

    @property
    def is_over(self) -> bool:
        return self.done >= self.total and not self.running

    def walk(self) -> Iterator[Line]:
        yield self
        for each in list(self.children.values()):
            yield from each.walk()

    def rate(self, now: float) -> float:
        """How many end in a second: recently, or on average where all is over."""
        marks = self.marks
        if not self.running and self.is_over and self.ended > self.started:
            return self.done / (self.ended - self.started)
        if now - marks[-1][0] > 0.2:
            marks.append((now, self.done))
            while len(marks) > 2 and now - marks[0][0] > _WINDOW:
                marks.popleft()
        since, done = marks[0]
        return (self.done - done) / (now - since) if now > since else 0.0


# -- Where they are drawn ------------------------------------------------------------------------


class Display(Protocol):
    """Shows lines from `start` to `stop`."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Terminal:
    """Lines that are redrawn in place, by Rich's own thread."""

    def __init__(self, roots: list[Line], console: Console, transient: bool) -> None:
        from rich.live import Live

        self._stopped = False
        self._live = Live(
            get_renderable=lambda: draw(
                roots, None if self._stopped else max(4, console.height - 2), console
            ),
            console=console,
            refresh_per_second=8,
            transient=transient,
        )
        self._undo = contextlib.ExitStack()

    def start(self) -> None:
        before = (sys.stdout, sys.stderr)
        self._live.start()
        self._undo.enter_context(_logs_above(before))

    def stop(self) -> None:
        self._stopped = True
        self._undo.close()
        self._live.stop()


@contextlib.contextmanager
def _logs_above(before: tuple[TextIO, TextIO]) -> Iterator[None]:
    """Let log handlers that hold the real streams write above the lines, as `print` does."""
    from rich.console import Console

    now = (sys.stdout, sys.stderr)
    moved: list[tuple[object, str, TextIO]] = []
    for each in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(each, "handlers", ()):
            console = getattr(handler, "console", None)  # as Prefect's handler and Rich's have
            holders: list[tuple[object, str]] = []
            holders += [(handler, "stream")] if isinstance(handler, logging.StreamHandler) else []
            holders += [(console, "file")] if isinstance(console, Console) else []
            for holder, name in holders:
                stream = getattr(holder, name)
                if stream in before:
                    moved.append((holder, name, stream))
                    setattr(holder, name, now[before.index(stream)])
    try:
        yield
    finally:
        for holder, name, stream in moved:
            setattr(holder, name, stream)


class _Ticking:
    """Something that a thread does again and again, and once more at the end."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hypernodes-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self.tick()
        self.last()

    def tick(self) -> None:
        raise NotImplementedError

    def last(self) -> None:
        raise NotImplementedError


class Log(_Ticking):
    """A line of text every few seconds."""

    def __init__(self, roots: list[Line], console: Console, every: float) -> None:
        super().__init__(every)
        self._roots = roots
        self._console = console

    def tick(self) -> None:
        for root in list(self._roots):
            if root.running:
                lines = [
                    each for each in root.walk() if each.running and (each.total > 1 or each.is_map)
                ]
                state = "; ".join(_state(each) for each in lines[:4]) or "running"
                self._write(f"{root.name}: {state}, {_clock(root)}")

    def last(self) -> None:
        for root in self._roots:
            nodes = [each for each in root.walk() if not each.children and each is not root]
            ran = sum(each.done - each.cached for each in nodes)
            parts = [f"{ran:,} node{'' if ran == 1 else 's'} ran"]
            parts += [f"{n:,} cached" for n in (sum(each.cached for each in nodes),) if n]
            parts += [f"{n:,} failed" for n in (sum(each.failed for each in nodes),) if n]
            how = "failed" if not root.is_map and root.failed else "done"
            self._write(f"{root.name}: {how} in {_clock(root)}: {', '.join(parts)}")

    def _write(self, text: str) -> None:
        self._console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


class Notebook(_Ticking):
    """One output of the cell, which is updated."""

    def __init__(self, roots: list[Line]) -> None:
        super().__init__(0.25)
        self._roots = roots
        self._handle: Any = None

    def start(self) -> None:
        from IPython.display import display  # type: ignore[attr-defined, unused-ignore]

        self._handle = display(self._bundle(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        super().start()

    def tick(self) -> None:
        self._handle.update(self._bundle(), raw=True)

    last = tick

    def _bundle(self) -> dict[str, str]:
        from rich.console import Console

        console = Console(
            file=io.StringIO(), record=True, width=100, force_jupyter=False, force_terminal=True
        )
        table = draw(self._roots, None, console)
        console.print(table)
        return {"text/html": _as_html(table), "text/plain": console.export_text()}


def _as_html(table: Table) -> str:
    """The drawn table as one of HTML, which keeps its columns in exported notebooks too."""
    from rich.progress_bar import ProgressBar

    def cell(drawn: object, to_the_right: bool) -> str:
        if isinstance(drawn, ProgressBar):
            done = "" if drawn.total is None else f' value="{drawn.completed}" max="{drawn.total}"'
            inside = f"<progress{done}></progress>"
        else:
            inside = escape(str(drawn))
        align = "right" if to_the_right else "left"
        return f'<td style="text-align:{align};white-space:pre">{inside}</td>'

    columns = [
        [cell(drawn, column.justify == "right") for drawn in column.cells]
        for column in table.columns
    ]
    rows = "".join(f"<tr>{''.join(row)}</tr>" for row in zip(*columns, strict=True))
    return f"<table>{rows}</table>"


def in_notebook() -> bool:
    """Whether this is a Jupyter notebook."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"


# -- How they look -------------------------------------------------------------------------------


def draw(roots: list[Line], limit: int | None, console: Console) -> Table:
    """The tree of lines as a table.

    Args:
        roots: the lines of the outermost scopes.
        limit: at most so many rows; lines that are over are left out first. None for all.
        console: what it is drawn for.
    """
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    done, failed, going, waiting = "✓✗●·" if console.encoding.startswith("utf") else "+x*."
    table = Table.grid(padding=(0, 2 if console.width >= 90 else 1, 0, 0))
    width = 24 if console.width >= 90 else 10
    table.add_column(no_wrap=True)
    table.add_column(width=width)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True, style="dim")
    table.add_column(justify="right", no_wrap=True, style="dim")
    lines = [line for root in list(roots) for line in root.walk()]
    shown = lines
    if limit is not None and len(lines) > limit:
        shown = [each for each in lines if not each.is_over or each.depth == 0 or each.failed]
        shown = shown[: limit - 1]
    now = time.perf_counter()
    for line in shown:
        over = line.is_over or not line.root.running
        if line.failed and over:
            mark, style = failed, "red"
        elif line.is_over:
            mark, style = done, "green"
        else:
            mark, style = (going, "cyan") if line.running else (waiting, "dim")
        name = Text("  " * line.depth)
        name.append(mark, style)
        name.append(f" {line.name}", "bold" if line.children or line.is_map else "")
        notes = Text("  ").join(Text(note, colour) for note, colour in _notes(line))
        endless = line.is_endless and not over
        if line.total <= 1 and not line.is_map and not endless:
            table.add_row(name, "", "", notes, "", _clock(line))
            continue
        bar = ProgressBar(
            None if endless else line.total or 1, line.done if line.total else 1, width=width,
            finished_style="bar.complete" if line.failed else "bar.finished",
        )  # fmt: skip
        rate = line.rate(now)
        left = "" if over else _left(line, rate)
        table.add_row(name, bar, _counted(line), notes, f"{_number(rate)}/s", left or _clock(line))
    if len(shown) < len(lines):
        table.add_row(Text(f"  and {len(lines) - len(shown)} more", "dim"))
    return table


def _state(line: Line) -> str:
    rate = line.rate(time.perf_counter())
    notes = [note for note, _ in _notes(line)]
    more = f" ({', '.join(notes)})" if notes else ""
    left = _left(line, rate)
    state = f"{line.name} {_counted(line)}{more} {_number(rate)}/s"
    return f"{state}, {left}" if left else state


def _notes(line: Line) -> list[tuple[str, str]]:
    """How many were cached, retried and failed, each with its colour."""
    known = [(line.cached, "cached", "cyan"), (line.retried, "retried", "yellow")]
    known.append((line.failed, "failed", "red"))
    return [(f"{count:,} {what}", colour) for count, what, colour in known if count]


def _counted(line: Line) -> str:
    return f"{line.done:,}" if line.is_endless else f"{line.done:,}/{line.total:,}"


def _left(line: Line, rate: float) -> str:
    if line.is_endless or not rate:
        return ""
    return f"{_time((line.total - line.done) / rate)} left"


def _clock(line: Line) -> str:
    return _time((time.perf_counter() if line.running else line.ended) - line.started)


def _time(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
