"""Pickling: how work goes to another process, and its result comes back.

    work ──pickled──> RemoteWork(bytes) ──called there──> Parcel(bytes) ──opened here──> result

Everything goes through cloudpickle, so nodes of `__main__` and of notebooks, lambdas and closures
go too. Callbacks never do: those in nested pipelines are replaced by stand-ins that record.
"""

from __future__ import annotations

import contextvars
import functools
import io
import os
import pickle
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

import cloudpickle
from cloudpickle import cloudpickle as _by_value

from hypernodes.cache.format import LOSSY
from hypernodes.errors import (
    RemoteTraceback,
    SerializationError,
    add_note,
    traceback_text,
)
from hypernodes.identity.packages import origin_at
from hypernodes.node import Node


def _reduce_code(code: CodeType) -> Any:
    # cloudpickle leaves out the file's name, which tracebacks of the worker would then lack.
    return _load_code, (*cloudpickle.Pickler.dispatch_table[CodeType](code), code.co_filename)


def _load_code(make: Callable[..., CodeType], args: tuple[Any, ...], filename: str) -> CodeType:
    return make(*args).replace(co_filename=filename)


def _reduce_cached_property(value: functools.cached_property[Any]) -> Any:
    # Until Python 3.12 it has a lock. It is part of a class that is pickled by value.
    return _load_cached_property, (value.func, value.attrname, value.__doc__)


def _load_cached_property(
    func: Callable[[Any], Any], name: str | None, doc: str | None
) -> functools.cached_property[Any]:
    loaded = functools.cached_property(func)
    loaded.attrname, loaded.__doc__ = name, doc
    return loaded


_CLOUDPICKLES = cloudpickle.Pickler.dispatch_table.maps
_OF_IMPORT = ("__builtins__", "__loader__", "__spec__")
"""What a module has from its import, and cannot be pickled."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table = ChainMap(
        {
            **_CLOUDPICKLES[0],
            **LOSSY,
            CodeType: _reduce_code,
            functools.cached_property: _reduce_cached_property,
        },
        *_CLOUDPICKLES[1:],
    )

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)

    def reducer_override(self, value: Any) -> Any:
        # Pickle makes an error anew from its class and `args`: it calls `__init__`, which may take
        # something else.
        if isinstance(value, BaseException):
            return self._reduce_error(value)
        kind = type(value)
        if kind is ModuleType and _is_only_here(value.__name__):
            members = {name: each for name, each in vars(value).items() if name not in _OF_IMPORT}
            return _by_value.dynamic_subimport, (value.__name__, members)
        if issubclass(kind, (type, FunctionType, Node)) and _is_only_here(value.__module__):
            if isinstance(value, Node):
                return value.reduce_by_value()
            if kind is FunctionType:
                return self._dynamic_function_reduce(value)
            return _by_value._dynamic_class_reduce(value)
        return super().reducer_override(value)

    def _reduce_error(self, error: BaseException) -> Any:
        return _reduce_error(error, as_text=False, is_value=True)


def _is_only_here(name: object) -> bool:
    """Whether another process could not import a module that this one has.

    It was made here, or loaded by its path, as Prefect loads a deployment's flow.

    Args:
        name: the module's name, as a function or a class tells it.

    Raises:
        SerializationError: another process would take it for a module of an installed package.
    """
    if not isinstance(name, str) or name not in sys.modules or name == "__main__":
        return False
    top = name.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    found = _found(top, file, tuple(sys.path))
    if found and (package := origin_at(top, found)) is not None:
        raise SerializationError(
            f"module {name!r} was loaded from {file}, and its name is that of a module of "
            f"{package}, {found}, which another process would import: rename it"
        )
    return found is not None


@functools.lru_cache(maxsize=4096)
def _found(top: str, file: str | None, path: tuple[str, ...]) -> str | None:
    """What an import finds in place of a module: None where it is the same one, "" for nothing."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(top, None)
        except Exception:  # one of somebody else's
            continue
        if spec is None:
            continue
        if file is None or not spec.has_location or spec.origin is None:
            return None
        try:
            return None if os.path.samefile(file, spec.origin) else spec.origin
        except OSError:  # in an archive, or deleted
            return None
    return ""


class _SendingPickler(_Pickler):
    def __init__(self, file: Any, stand_ins: Mapping[int, Any]) -> None:
        super().__init__(file)
        self._stand_ins = stand_ins

    def persistent_id(self, value: Any) -> Any:
        return self._stand_ins.get(id(value))


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        return pid


def dumps(
    value: Any, what: str, parts: Mapping[str, Any], stand_ins: Mapping[int, Any] | None = None
) -> bytes:
    """Pickle something to be sent.

    Args:
        value: what is sent.
        what: what it is, for the message.
        parts: its parts by name: where it cannot be pickled, the message names the one.
        stand_ins: tokens that are sent in place of some objects, by the objects' `id`.

    Raises:
        SerializationError: it cannot be pickled.
    """
    try:
        return _dumps(value, stand_ins or {})
    except Exception as error:
        for name, part in parts.items():
            try:
                _dumps(part, stand_ins or {})
            except Exception as culprit:
                raise SerializationError(
                    f"{name} of {what} cannot be sent to another process: {culprit}"
                ) from error
        raise SerializationError(f"{what} cannot be sent to another process: {error}") from error


def _dumps(value: Any, stand_ins: Mapping[int, Any]) -> bytes:
    file = io.BytesIO()
    (_SendingPickler(file, stand_ins) if stand_ins else _Pickler(file)).dump(value)
    return file.getvalue()


def loads(data: bytes) -> Any:
    """The opposite of `dumps`."""
    return _Unpickler(io.BytesIO(data)).load()


class RemoteWork:
    """Work that has been sent: a function and its arguments, still pickled.

    Args:
        payload: the pickled function and arguments.
        what: what it is, for messages.
    """

    def __init__(self, payload: bytes, what: str) -> None:
        self._payload = payload
        self._what = what

    def __reduce__(self) -> Any:
        return RemoteWork, (self._payload, self._what)

    def __call__(self) -> Parcel:
        """Do it, and pack what comes of it."""
        try:
            function, arguments = loads(self._payload)
        except Exception as error:
            raise SerializationError(
                f"{self._what} cannot be loaded in the worker process: {error!r}"
            ) from error
        # A forked process begins with the context variables of some thread of its parent's.
        result = contextvars.Context().run(function, *arguments)
        try:
            return result if isinstance(result, Parcel) else pack(result)
        except Exception as error:
            raise SerializationError(
                f"what {self._what} made cannot be sent back from the worker process: {error}"
            ) from error


class Unsendable:
    """Sent in place of work that cannot be: it raises there what it is about.

    Some executors, loky's among them, pickle in a thread of their own, and tell an error of that
    thread as one of theirs that does not say what it was.

    Args:
        error: why the work cannot be sent.
    """

    def __init__(self, error: SerializationError) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        return Unsendable, (sendable_error(self._error),)

    def __call__(self) -> Parcel:
        raise self._error


def remote_work(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    what: str,
    parts: Mapping[str, Any],
) -> Any:
    """What is pickled in place of some work, as a `__reduce__` gives it.

    Args:
        function: is called there.
        arguments: what with.
        what: what it is, for messages.
        parts: the parts of the arguments by name: see `dumps`.
    """
    try:
        return RemoteWork, (dumps((function, arguments), what, parts), what)
    except SerializationError as error:
        return Unsendable, (error,)


class Parcel:
    """What comes of work that was sent, still pickled."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def open(self) -> Any:
        """What is in it."""
        return loads(self.data)


def sendable_error(error: BaseException) -> BaseException:
    """The error as it can be sent, with its traceback as text.

    It arrives as what it is: its type, arguments, attributes, notes, cause and context. What it
    holds that cannot be pickled is replaced by a text, and one whose class cannot be becomes a
    `SerializationError`.

    Args:
        error: the error.
    """
    text = traceback_text(error)
    reason: Exception | None = None
    for as_text in (False, True):
        try:
            data = _dumps_error(error, as_text)
            copy = loads(data)
            if type(copy) is not type(error):
                raise TypeError(f"it comes back as {type(copy).__name__}")
        except Exception as raised:
            reason = reason or raised
        else:
            return SentError(data, text)  # type: ignore[return-value]
    other = SerializationError(
        f"{type(error).__name__}: {error} (the error itself cannot be sent from the worker "
        f"process: {reason})"
    )
    for name, value in error.__dict__.items():
        if name.startswith("__"):
            other.__dict__[name] = value
    add_note(other, text)
    return other


def settle(error: BaseException) -> BaseException:
    """Leave an error to the item that failed with it: see `own_error`."""
    error.__dict__["__hypernodes_settled__"] = True
    return error


def own_error(error: BaseException, since: float, owner: tuple[str, int]) -> BaseException:
    """The error that a node has raised, without what is noted on it about other runs.

    A node may raise one object again and again. Where an item has failed with it before, and holds
    it, or another one is failing with it at this moment, this one gets a copy.

    Args:
        error: the error.
        since: when the call began that raised it, in seconds since the epoch.
        owner: what fails with it: it does one item at a time.
    """
    mark = owner, since
    claimed = error.__dict__.setdefault("__hypernodes_owner__", mark)  # by one thread alone
    is_noted_since = error.__dict__.get("__hypernodes_noted_at__", since) >= since
    is_free = claimed is mark or (claimed[0] == owner and is_noted_since)
    if "__hypernodes_settled__" in error.__dict__ or not is_free:
        make, arguments, state, _, _, fill = _reduce_error(error, as_text=False)
        copy: BaseException = make(*arguments)
        fill(copy, state)
        error = copy.with_traceback(error.__traceback__)
        error.__dict__["__hypernodes_owner__"] = mark
    elif is_noted_since:
        return error
    theirs = error.__dict__.pop("__hypernodes_notes__", ())
    notes = [note for note in error.__dict__.pop("__notes__", ()) if note not in theirs]
    if notes:
        error.__dict__["__notes__"] = notes
    for name in ("__hypernodes_settled__", "__hypernodes_node__", "__hypernodes_noted_at__"):
        error.__dict__.pop(name, None)
    return error


class SentError:
    """An error on its way: pickling alone would lose its traceback and cause."""

    def __init__(self, data: bytes, text: str) -> None:
        self._data = data
        self._text = text

    def __reduce__(self) -> Any:
        return _restore, (self._data, self._text)


def _restore(data: bytes, text: str) -> BaseException:
    error: BaseException = loads(data)
    first, seen = error, {id(error)}
    while first.__cause__ is not None and id(first.__cause__) not in seen:
        first = first.__cause__
        seen.add(id(first))
    if first.__cause__ is None:
        _set(first, "__cause__", RemoteTraceback(text))
    return error


def _set(error: BaseException, name: str, value: Any) -> None:
    """Set what every error has, also of a class that is frozen."""
    vars(BaseException)[name].__set__(error, value)


class _ErrorPickler(_Pickler):
    """Pickles errors with their causes, and the notes of those with a `__reduce__` of their own.

    Args:
        file: what is written to.
        as_text: replace what an error holds, and cannot be pickled, by a text.
    """

    def __init__(self, file: Any, as_text: bool) -> None:
        super().__init__(file)
        self._as_text = as_text

    def _reduce_error(self, error: BaseException) -> Any:
        return _reduce_error(error, self._as_text)


def _dumps_error(value: Any, as_text: bool) -> bytes:
    file = io.BytesIO()
    _ErrorPickler(file, as_text).dump(value)
    return file.getvalue()


def _reduce_error(error: BaseException, as_text: bool, is_value: bool = False) -> Any:
    """What pickle makes of an error; see `object.__reduce__`.

    Args:
        error: the error.
        as_text: replace what it holds, and cannot be pickled, by a text.
        is_value: it was not raised here: its cause and context are left out, as by pickle.
    """

    def sent(value: Any) -> Any:
        return _sendable_part(value) if as_text else value

    make: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
    if not _is_built_in(_defining(type(error), "__reduce__")) or not _is_built_in(
        _defining(type(error), "__reduce_ex__")
    ):
        make = _own_way(error)
    fields: dict[str, Any] = {}
    if not is_value:
        fields = {"__cause__": error.__cause__, "__context__": error.__context__}
    if make is None:
        make = _make_error, (type(error), tuple(map(sent, error.args)))
        fields |= {name: sent(value) for name, value in _members(error).items()}
    elif why_not(error.args) is None:
        fields["args"] = error.args
    fields["__suppress_context__"] = error.__suppress_context__
    # A copy at once: another thread may note something on it.
    attributes = {name: sent(value) for name, value in error.__dict__.copy().items()}
    return (*make, (attributes, fields), None, None, _fill_error)


def _own_way(error: BaseException) -> tuple[Callable[..., Any], tuple[Any, ...]] | None:
    """How the error's class makes it anew, where that gives the same error."""
    try:
        reduced: Any = error.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        function, arguments = reduced[:2]
        copy = loads(_dumps_error((function, arguments), False))
        made = copy[0](*copy[1])
        if type(made) is type(error) and str(made) == str(error):
            return function, arguments
    except Exception:
        return None  # what pickle would have failed with too
    return None


def _is_built_in(cls: type) -> bool:
    return cls.__module__ == "builtins"


def _defining(cls: type, name: str) -> type:
    return next(each for each in cls.__mro__ if name in vars(each))


def _members(error: BaseException) -> dict[str, Any]:
    """What an error has in slots, as many built-in ones do: `OSError.errno`, `ImportError.name`."""
    found: dict[str, Any] = {}
    for cls in reversed(type(error).__mro__):
        for name, member in vars(cls).items():
            # AttributeError.obj may be anything, and is left out by pickle too.
            if isinstance(member, MemberDescriptorType) and (cls, name) != (AttributeError, "obj"):
                try:
                    found[f"{cls.__name__}.{name}"] = member.__get__(error)
                except AttributeError:
                    continue
    return found


def _make_error(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An error of a class, by its built-in base: the class's own `__init__` is not called."""
    base: Any = next(each for each in cls.__mro__ if _is_built_in(each))
    error: BaseException = base.__new__(cls, *args)
    with suppress(TypeError):  # one that wants more than its `args`: the state has its fields
        base.__init__(error, *args)
    _set(error, "args", args)
    return error


def _fill_error(error: BaseException, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    attributes, fields = state
    members = {
        f"{cls.__name__}.{name}": member
        for cls in type(error).__mro__
        for name, member in vars(cls).items()
        if isinstance(member, MemberDescriptorType)
    }
    # A class that was sent by value has no slots there: what is in them here was in its dict.
    slots = {member.__name__: member for member in reversed(members.values())}
    for name, value in attributes.items():
        if name in slots:
            slots[name].__set__(error, value)
        else:
            error.__dict__[name] = value
    for name, value in fields.items():
        if name in members:
            # OSError.filename2 is not the same when it is None and when it was never set.
            with suppress(AttributeError, TypeError):
                if members[name].__get__(error) == value:
                    continue
            with suppress(AttributeError, TypeError):  # read-only: it was made with it
                members[name].__set__(error, value)
    for name in ("args", "__context__", "__cause__", "__suppress_context__"):
        if name in fields:
            _set(error, name, fields[name])


def _sendable_part(value: Any) -> Any:
    try:
        loads(_dumps_error(value, True))
    except Exception:
        return f"<{type(value).__name__} that cannot be sent>"
    return value


def opened(result: Any) -> Any:
    """What a future has: opened, where it comes from another process."""
    return result.open() if isinstance(result, Parcel) else result


def pack(result: Any) -> Parcel:
    """Pickle a result to be sent back."""
    return Parcel(_dumps(result, {}))


def why_not(value: Any) -> str | None:
    """Why something cannot be pickled; None where it can."""
    try:
        _dumps(value, {})
    except Exception as error:
        return str(error)
    return None
