"""Pickling: how work goes to another process, and how its results come back.

    work ──pickled──> RemoteWork(bytes) ──called there──> Parcel(bytes) ──opened here──> result

Everything goes through cloudpickle, so nodes from `__main__` and notebooks, lambdas and closures
work. Callbacks are never pickled: stand-ins that record the events replace them.
"""

from __future__ import annotations

import contextvars
import io
import pickle
import traceback
from collections.abc import Mapping
from typing import Any

import cloudpickle

from hypernodes.errors import SerializationError, add_note


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: Any, stand_ins: Mapping[int, Any]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._stand_ins = stand_ins

    def persistent_id(self, value: Any) -> Any:
        return self._stand_ins.get(id(value))


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        return pid


def dumps(
    value: Any, what: str, parts: Mapping[str, Any], stand_ins: Mapping[int, Any] | None = None
) -> bytes:
    """Pickle a value for another process.

    Args:
        value: the value.
        what: names it in the error's message.
        parts: its parts by name: the message names the one that cannot be pickled.
        stand_ins: what is pickled in place of some objects, by the objects' `id`.

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
    if not stand_ins:
        return bytes(cloudpickle.dumps(value))
    file = io.BytesIO()
    _Pickler(file, stand_ins).dump(value)
    return file.getvalue()


def loads(data: bytes) -> Any:
    """The opposite of `dumps`."""
    return _Unpickler(io.BytesIO(data)).load()


class RemoteWork:
    """A call in another process: the function and its arguments, still pickled.

    Args:
        payload: the pickled function and arguments.
        what: names the work in messages.
    """

    def __init__(self, payload: bytes, what: str) -> None:
        self._payload = payload
        self._what = what

    def __call__(self) -> Parcel:
        """Call the function, and pack the result.

        Raises:
            SerializationError: the call cannot be unpickled, or its result cannot be pickled.
        """
        try:
            function, arguments = loads(self._payload)
        except Exception as error:
            raise SerializationError(
                f"{self._what} cannot be loaded in the worker process: {error!r}"
            ) from error
        # A forked process starts with the context variables of one of its parent's threads.
        result = contextvars.Context().run(function, *arguments)
        try:
            return result if isinstance(result, Parcel) else pack(result)
        except Exception as error:
            raise SerializationError(
                f"what {self._what} made cannot be sent back from the worker process: {error}"
            ) from error


class Parcel:
    """The result of a call in another process, still pickled."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def open(self) -> Any:
        """Unpickle the result."""
        return loads(self.data)


class RemoteTraceback(Exception):
    """The traceback of an error in another process, as text: the error's cause."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def sendable_error(error: BaseException) -> BaseException:
    """An error as something that can be pickled, its traceback included.

    Args:
        error: the error.

    Returns:
        What unpickles as the error, with `RemoteTraceback` as its cause; if the error cannot be
        pickled, a `SerializationError` that describes it.
    """
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        copy = loads(_dumps(error, {}))
        if type(copy) is type(error):
            return _PicklableError(error, text)  # type: ignore[return-value]
        reason = f"it comes back as {type(copy).__name__}"
    except Exception as failure:
        reason = str(failure)
    other = SerializationError(
        f"{type(error).__name__}: {error} (the error itself cannot be sent from the worker "
        f"process: {reason})"
    )
    for name, value in error.__dict__.items():
        if name.startswith("__"):  # notes
            other.__dict__[name] = value
    add_note(other, text)
    return other


class _PicklableError:
    """Pickles an error with its traceback as text: pickling alone would lose it."""

    def __init__(self, error: BaseException, text: str) -> None:
        self._error = error
        self._text = text

    def __reduce__(self) -> Any:
        return _restore, (self._error, self._text)


def _restore(error: BaseException, text: str) -> BaseException:
    if error.__cause__ is None:
        error.__cause__ = RemoteTraceback(text)
    return error


def opened(result: Any) -> Any:
    """A future's result, unpickled if it comes from another process."""
    return result.open() if isinstance(result, Parcel) else result


def pack(result: Any) -> Parcel:
    """Pickle a result for the way back."""
    return Parcel(_dumps(result, {}))


def why_not(value: Any) -> str | None:
    """Why a value cannot be pickled; None if it can."""
    try:
        _dumps(value, {})
    except Exception as error:
        return str(error)
    return None
