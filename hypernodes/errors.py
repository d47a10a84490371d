"""Every error that HyperNodes raises itself.

    HyperNodesError
    ├── NodeError (TypeError)            a function that cannot be a node
    ├── GraphError (ValueError)          nodes that cannot be a pipeline
    │   ├── CycleError                   .cycle holds the names, first one repeated
    │   └── DuplicateOutputError
    ├── InputError (ValueError)          inputs that a pipeline cannot run on
    │   ├── MissingInputError
    │   ├── UnknownInputError
    │   └── MapOverError                 map_over, map_mode or the lengths of lists
    ├── OutputNameError (ValueError)     an output that the pipeline does not have
    ├── RefreshError (ValueError)        a node to compute anew that the pipeline does not have
    ├── ResultError (ValueError)         a node returned what its output_name denies
    ├── SerializationError (TypeError)   something that cannot be sent to another process
    ├── WorkerLostError (RuntimeError)   a worker process has ended in the middle of its work
    ├── NodeTimeoutError (TimeoutError)  a node took longer than its timeout_seconds
    └── UnsafeCacheError (PermissionError) a cache that others can write to

    CacheWarning (UserWarning)           the cache is not used where it was asked for

An error that a node raises keeps its own type and traceback; `add_note` only says where it
happened (PEP 678), and `failing_node` reads that back.
"""

from __future__ import annotations

import difflib
import importlib.util
import reprlib
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import date, timedelta
from datetime import time as time_of_day
from enum import Enum
from numbers import Number
from pathlib import PurePath
from types import FrameType, NoneType, TracebackType
from typing import Any
from uuid import UUID


class HyperNodesError(Exception):
    """Base of every error that HyperNodes raises itself."""


class NodeError(HyperNodesError, TypeError):
    """A function that cannot be a node."""


class GraphError(HyperNodesError, ValueError):
    """Nodes that do not make a pipeline."""


class CycleError(GraphError):
    """Nodes that wait for each other.

    Args:
        cycle: names of the nodes along the cycle; the first one is repeated at the end.
    """

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle = tuple(cycle)
        super().__init__(
            f"the nodes wait for each other: {' -> '.join(self.cycle)}. "
            "Rename an output or a parameter so that no node needs its own result."
        )

    def __reduce__(self) -> tuple[type[CycleError], tuple[Sequence[str]]]:
        return type(self), (self.cycle,)


class DuplicateOutputError(GraphError):
    """Two nodes of a pipeline make the same output."""


class InputError(HyperNodesError, ValueError):
    """Inputs that a pipeline cannot run on."""


class MissingInputError(InputError):
    """A required input was not given."""


class UnknownInputError(InputError):
    """An input was given that the pipeline does not take."""


class MapOverError(InputError):
    """`map_over`, `map_mode` or the lengths of the mapped lists are wrong."""


class OutputNameError(HyperNodesError, ValueError):
    """An output was asked for that the pipeline does not make."""


class RefreshError(HyperNodesError, ValueError):
    """A node was to be computed anew that the pipeline does not have."""


class ResultError(HyperNodesError, ValueError):
    """A node returned something that does not fit its `output_name`."""


class UnsafeCacheError(HyperNodesError, PermissionError):
    """A cache that others can write to, and so run code by what they leave there."""


class SerializationError(HyperNodesError, TypeError):
    """Something cannot be sent to another process, or back from it."""


CrossingError = SerializationError
"""The earlier name."""


class WorkerLostError(HyperNodesError, RuntimeError):
    """A worker process has ended in the middle of its work, killed or out of memory."""


class NodeTimeoutError(HyperNodesError, TimeoutError):
    """A node took longer than its `timeout_seconds`."""


class Cancelled(BaseException):
    """What callbacks get as the error of a scope that was cancelled because another one failed."""


class CacheWarning(UserWarning):
    """Something is computed, or not cached, because the cache could not be used."""


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """A sentence that names the nearest of `choices`, or nothing where none is near.

    Args:
        name: what was given.
        choices: what there is.

    >>> did_you_mean("txt", ["text", "limit"])
    " Did you mean 'text'?"
    >>> did_you_mean("zzz", ["text"])
    ''
    """
    near = nearest(name, choices)
    return "" if near is None else f" Did you mean {near!r}?"


def nearest(name: object, choices: Iterable[str]) -> str | None:
    """The nearest of `choices`; None where none is near.

    Args:
        name: what was given.
        choices: what there is.
    """
    return next(iter(difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)), None)


def listing(names: Iterable[str], limit: int = 20) -> str:
    """Names for a message, in order, quoted, cut where there are too many to read.

    Args:
        names: the names.
        limit: how many are listed at most.

    >>> listing(["a", "b"])
    "'a', 'b'"
    >>> listing([])
    'none'
    """
    every = list(names)
    text = ", ".join(repr(name) for name in every[:limit])
    if len(every) > limit:
        text += f" and {len(every) - limit} more"
    return text or "none"


def some(names: Iterable[str], limit: int = 8) -> str:
    """Names for a `repr`, cut where there are too many.

    Args:
        names: the names.
        limit: how many are listed at most.

    >>> some("abcd", limit=2)
    'a, b and 2 more'
    """
    every = list(names)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more


class _Short(reprlib.Repr):
    """Texts of plain values, cut; of anything else its type, for its repr may be long or slow."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 4

    def repr_instance(self, x: object, level: int) -> str:
        plain = (NoneType, Number, PurePath, Enum, UUID, bytes, date, time_of_day, timedelta)
        return super().repr_instance(x, level) if isinstance(x, plain) else f"<{type(x).__name__}>"


_short = _Short()


def in_short(values: Mapping[str, object], limit: int = 3) -> str:
    """Values by name for a message, cut.

    Args:
        values: the values.
        limit: how many are shown at most.

    >>> in_short({"path": "data/s077.csv", "client": object()})
    "path='data/s077.csv', client=<object>"
    """
    texts = []
    for name, value in list(values.items())[:limit]:
        try:
            text = " ".join(_short.repr(value).split())
        except Exception:
            text = f"<{type(value).__name__}>"
        texts.append(f"{name}={text}")
    return ", ".join(texts) + ", ..." * (len(values) > limit)


# Notes and the failing node are written to the error's __dict__ and not by attribute: an
# exception class may be frozen, and Python 3.10 has no add_note. Both survive pickling.


def add_note(error: BaseException, note: str, node: str | None = None) -> None:
    """Add a PEP 678 note to an error, and remember the first node that it came from.

    Args:
        error: the error.
        note: the note; one that is there already is not added again.
        node: the name of the node that raised it.
    """
    notes = error.__dict__.get("__notes__", ())
    if note not in notes:
        # Another thread may take a copy meanwhile: lists are not changed in place, and the note is
        # known as ours before it is one of all.
        ours = error.__dict__.get("__hypernodes_notes__", ())
        error.__dict__["__hypernodes_notes__"] = [*ours, note]
        error.__dict__["__notes__"] = [*notes, note]
        error.__dict__["__hypernodes_noted_at__"] = time.time()
    if node is not None:
        error.__dict__.setdefault("__hypernodes_node__", node)


_MACHINERY = {
    "hypernodes", "prefect_hypernodes", "tenacity", "asyncio", "concurrent", "threading",
    "contextlib",
}  # fmt: skip
"""Packages whose frames stand between an engine and the function of a node."""
_NOT_THE_USERS = {*_MACHINERY, "prefect", "daft", "ray", *sys.stdlib_module_names}
"""Packages whose lines stand between a call of ours and what it warns of."""


Place = tuple[str, int, dict[str, Any]]
"""A line of the user's own code: its file, its number and its module's globals."""

CALLER: ContextVar[Place | None] = ContextVar("hypernodes_caller", default=None)
"""The line that called what runs here, where it called from another thread."""

HELD_WARNINGS: ContextVar[list[str] | None] = ContextVar("hypernodes_held", default=None)
"""Takes the warnings of a worker process, which the calling process then gives."""


def users_place() -> Place | None:
    """The line of the user's own code that led here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__")  # compiled plans have none
        if name is not None and name.partition(".")[0] not in _NOT_THE_USERS:
            return frame.f_code.co_filename, frame.f_lineno, frame.f_globals
        frame = frame.f_back
    return CALLER.get()


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn with the line of the user's own code that led here, for they can change that one.

    Args:
        message: what to say.
        category: the warning's class.
    """
    held = HELD_WARNINGS.get()
    if held is not None:
        held.append(message)
        return
    place = users_place()
    if place is None:
        warnings.warn(message, category, stacklevel=2)
        return
    file, line, names = place
    registry = names.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, file, line, names.get("__name__"), registry)


def users_frame(error: BaseException) -> TracebackType | None:
    """Where an error's traceback enters the user's function; None where it does not."""
    frame = error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_globals.get("__name__")  # compiled plans have none
        if name is not None and name.partition(".")[0] not in _MACHINERY:
            break
        frame = frame.tb_next
    return frame


class RemoteTraceback(Exception):
    """The traceback of an error in another process, as text: the error's cause."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def from_users_frame(error: BaseException) -> BaseException:
    """An error as it leaves a run: its traceback begins with the user's function.

    One from another process has its traceback in its cause, and needs none here. One that no
    function of the user's has raised keeps all of it. No item owns it any more; see
    `pickling.own_error`.
    """
    error.__dict__.pop("__hypernodes_owner__", None)
    if isinstance(error.__cause__, RemoteTraceback):
        return error.with_traceback(None)
    return error.with_traceback(users_frame(error) or error.__traceback__)


def text_of(error: BaseException) -> str:
    """An error's text, also where the user's class raises another error instead.

    Args:
        error: the error.
    """
    try:
        return str(error)
    except Exception:
        return "(an error without a text)"


def traceback_text(error: BaseException) -> str:
    """An error's traceback as text that begins with the user's function, wherever that ran.

    Args:
        error: the error. One that no function of the user's has raised keeps all of its traceback.
    """
    frame = users_frame(error)
    cause, seen = error.__cause__, {id(error)}
    while frame is None and cause is not None and id(cause) not in seen:
        if isinstance(cause, RemoteTraceback):
            return cause.text
        seen.add(id(cause))
        cause = cause.__cause__
    return "".join(traceback.format_exception(type(error), error, frame or error.__traceback__))


def failing_node(error: BaseException) -> str | None:
    """The name of the node that raised `error`, where a node did."""
    name = error.__dict__.get("__hypernodes_node__")
    return name if isinstance(name, str) else None


_PACKAGES = {"opentelemetry.trace": "opentelemetry-api"}
"""What a module's package is called on PyPI, where that is not the module's name."""


def as_raised(error: BaseException) -> BaseException:
    """What a node raised, where Python has put another error in its place, with all notes.

    A StopIteration that leaves a coroutine becomes the cause of a RuntimeError (PEP 479); a run is
    a coroutine, but that is nothing that a node has to know.
    """
    cause = error.__cause__
    if (
        type(error) is not RuntimeError
        or not isinstance(cause, StopIteration)
        or failing_node(cause) is None
        or failing_node(error) is not None  # the node's own: it is an async function
    ):
        return error
    _take_notes(cause, error)
    return cause


def as_awaited(error: BaseException) -> RuntimeError:
    """A StopIteration or StopAsyncIteration as it leaves a coroutine or an iterator (PEP 479).

    It has the same notes and node.

    Args:
        error: what a node raised.
    """
    raised = RuntimeError(f"a node raised {error!r}, which cannot leave a coroutine or an iterator")
    _take_notes(raised, error)
    raised.__cause__ = error
    return raised


def _take_notes(error: BaseException, other: BaseException) -> None:
    for note in other.__dict__.get("__notes__", ()):
        add_note(error, note, failing_node(other))


def needs(module: str, extra: str, what: str) -> None:
    """Say which extra to install, where an optional module is missing.

    Args:
        module: the module.
        extra: the extra of `hypernodes` that brings it.
        what: what needs it.

    Raises:
        ImportError: the module is missing.
    """
    try:
        missing = importlib.util.find_spec(module) is None
    except ModuleNotFoundError:  # the package that it is in
        missing = True
    if missing:
        # Not hypernodes[extra]: another project has this name on PyPI.
        package = _PACKAGES.get(module, module)
        raise ImportError(
            f"{what} needs {module!r}: pip install {package} (in a clone of hypernodes, "
            f"pip install '.[{extra}]')"
        )
