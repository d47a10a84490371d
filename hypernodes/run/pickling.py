"""Crossing: how work and what comes of it are sent to another process and back.

    work ──pickled──> RemoteWork(bytes) ──called there──> Parcel(bytes) ──opened here──> result

Everything goes through cloudpickle, so nodes of `__main__` and of notebooks, lambdas and closures
cross. Callbacks never do: those in nested pipelines are replaced by stand-ins that record.
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
    def __init__(self, file: Any, stays: Mapping[int, Any]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._stays = stays

    def persistent_id(self, value: Any) -> Any:
        return self._stays.get(id(value))


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        return pid


def dumps(
    value: Any, what: str, parts: Mapping[str, Any], stays: Mapping[int, Any] | None = None
) -> bytes:
    """Pickle something to be sent.

    Args:
        value: what is sent.
        what: what it is, for the message.
        parts: its parts by name: where it cannot be pickled, the message names the one.
        stays: tokens that are sent in place of some objects, by the objects' `id`.

    Raises:
        SerializationError: it cannot be pickled.
    """
    try:
        return _dumps(value, stays or {})
    except Exception as error:
        for name, part in parts.items():
            try:
                _dumps(part, stays or {})
            except Exception as culprit:
                raise SerializationError(
                    f"{name} of {what} cannot be sent to another process: {culprit}"
                ) from error
        raise SerializationError(f"{what} cannot be sent to another process: {error}") from error


def _dumps(value: Any, stays: Mapping[int, Any]) -> bytes:
    if not stays:
        return bytes(cloudpickle.dumps(value))
    file = io.BytesIO()
    _Pickler(file, stays).dump(value)
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


class Parcel:
    """What comes of work that was sent, still pickled."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def open(self) -> Any:
        """What is in it."""
        return loads(self.data)


class RemoteTraceback(Exception):
    """The traceback of an error in another process, as text: the error's cause."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def sendable_error(error: BaseException) -> BaseException:
    """The error as it can be sent: with its traceback as text, and as another one if it must."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        copy: BaseException = loads(_dumps(error, {}))
        if type(copy) is not type(error):
            raise TypeError(f"it comes back as {type(copy).__name__}")
    except Exception as reason:
        other = SerializationError(
            f"{type(error).__name__}: {error} (the error itself cannot be sent from the worker "
            f"process: {reason})"
        )
        for name, value in error.__dict__.items():
            if name.startswith("__"):
                other.__dict__[name] = value
        add_note(other, text)
        return other
    return SentError(error, text)  # type: ignore[return-value]


class SentError:
    """An error on its way: pickling alone would lose its traceback and cause."""

    def __init__(self, error: BaseException, text: str) -> None:
        self._error = error
        self._text = text

    def __reduce__(self) -> Any:
        return _arrive, (self._error, self._text)


def _arrive(error: BaseException, text: str) -> BaseException:
    if error.__cause__ is None:
        error.__cause__ = RemoteTraceback(text)
    return error


def arrived(result: Any) -> Any:
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
