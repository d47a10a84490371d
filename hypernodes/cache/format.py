"""The bytes of an entry: a header, the value's pickle and large buffers, and a checksum.

    preamble    magic, how it is sealed, codec, when it was made, and the lengths of what follows
    lengths     of each buffer
    about       JSON: what the engine said about the entry
    pickle      protocol 5; as the codec has compressed it
    buffers     each at a multiple of 64 bytes, so that it can be used where it lies
    seal        checksum (XXH3, 128 bits) or, with a secret, HMAC-SHA256, of the key and of all that

The key is part of what is sealed, and not of the entry: one entry in another's place is broken.
Nothing is interpreted, and nothing unpickled, before the seal has been checked.
"""

from __future__ import annotations

import contextlib
import enum
import hmac
import importlib
import importlib.util
import io
import json
import os
import pickle
import struct
import sys
import threading
import weakref
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NoReturn

import cloudpickle
import xxhash

from hypernodes.identity.packages import origin
from hypernodes.identity.values import STORING, Unidentifiable, module_of, sign

_PREAMBLE = struct.Struct("<11sccxxxdIIQ")  # magic, seal, codec, made, count, lengths
_MAGIC = b"hypernodes2"
_ANY_MAGIC = b"hypernodes"  # of earlier formats, too
_FLIPPED = 3
"""So many of its 80 bits may be wrong: other files differ from it in dozens."""
_CHECKSUM, _HMAC = b"c", b"H"  # several bits apart, so that one flipped bit makes no other seal
_SEALS = {_CHECKSUM: 16, _HMAC: 32}
_ALIGNMENT = 64
_OWN_BUFFER = 1 << 16
"""Buffers from this size on are written from where they are, without a copy."""

_SEALED_BESIDE = 1 << 23
"""Entries from this size on are sealed on a thread of their own while they are written."""

HEAD = 4096
"""So many bytes from the start of an entry nearly always hold all of its header."""

_CODECS: dict[str | None, tuple[bytes, str]] = {
    None: (b"-", ""),
    "zlib": (b"z", "zlib"),
    "zstd": (b"s", "zstandard"),
    "lz4": (b"4", "lz4.frame"),
}
_UNCOMPRESSED = _CODECS[None][0]


Buffer = bytes | memoryview

_JSON = json.JSONEncoder(separators=(",", ":"), default=str)


class BrokenEntry(ValueError):
    """The bytes are not those that were stored."""


class UntrustedEntry(ValueError):
    """An entry that is not signed with the secret in use."""


class UnloadableEntry(ValueError):
    """The bytes are those that were stored, but cannot be unpickled here."""


def secret() -> bytes | None:
    """What entries are to be signed with: the environment's HYPERNODES_CACHE_KEY."""
    return os.environ.get("HYPERNODES_CACHE_KEY", "").encode() or None


def check_codec(codec: str | None) -> str | None:
    """The name of a codec that can be used here.

    Raises:
        ValueError: no such codec.
        ImportError: its package is not installed.
    """
    if codec not in _CODECS:
        names = ", ".join(repr(name) for name in _CODECS)
        raise ValueError(f"compression is {codec!r}: expected one of {names}")
    if codec is not None:
        importlib.import_module(_CODECS[codec][1])
    return codec


def encode(
    key: str,
    value: object,
    about: Mapping[str, Any],
    made: float,
    codec: str | None = None,
    secret: bytes | None = None,
) -> tuple[list[Buffer], Callable[[], bytes]]:
    """A value as an entry.

    Args:
        key: the entry's key.
        value: anything that can be pickled.
        about: facts about the entry that JSON can hold.
        made: when it was made, in seconds since the epoch.
        codec: what to compress the pickle with.
        secret: what to sign it with.

    Returns:
        Its parts, bytes and buffers, to be written one after the other, and a function that gives
        the seal that comes after them. A large entry's is computed while the parts are written.
    """
    buffers: list[memoryview] = []
    mark, module = _CODECS[codec]
    if codec is None:
        payload = dump(value, buffers)
    else:
        payload = importlib.import_module(module).compress(dump(value))
    said = _JSON.encode(about).encode()
    seal = _CHECKSUM if secret is None else _HMAC
    lengths = struct.pack(f"<{len(buffers)}Q", *(each.nbytes for each in buffers))
    head = _PREAMBLE.pack(_MAGIC, seal, mark, made, len(buffers), len(said), len(payload))
    start = b"".join((head, lengths, said, payload))
    parts: list[Buffer] = [start]
    at = len(start)
    for buffer in buffers:
        padding = -at % _ALIGNMENT
        parts += (bytes(padding), buffer)
        at += padding + buffer.nbytes
    make = partial(_seal, seal, key, parts, secret)
    return parts, make if at < _SEALED_BESIDE else _beside(make)


def _beside(make: Callable[[], bytes]) -> Callable[[], bytes]:
    made: Future[bytes] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except BaseException as error:
            made.set_exception(error)

    threading.Thread(target=run, name="hypernodes-seal", daemon=True).start()
    return made.result


def is_entry(head: bytes) -> bool:
    """Whether a file that begins like this is an entry, even if broken or of an earlier format.

    A file that was cut short, even to nothing, counts by what is left of it; a few flipped bits
    are allowed.

    >>> [is_entry(head) for head in (b"hypernodes2...", b"hypernotes2...", b"hyp", b"a header")]
    [True, True, True, False]
    """
    start = head[: len(_ANY_MAGIC)]
    if len(start) < len(_ANY_MAGIC) or start == _ANY_MAGIC:
        return _ANY_MAGIC.startswith(start)
    flipped = int.from_bytes(start, "big") ^ int.from_bytes(_ANY_MAGIC, "big")
    return flipped.bit_count() <= _FLIPPED


def check(key: str, data: Any, secret: bytes | None = None) -> None:
    """Check an entry's bytes against its seal.

    Args:
        key: the entry's key.
        data: all of its bytes.
        secret: what it has to be signed with.

    Raises:
        BrokenEntry, UntrustedEntry: it must not be used.
    """
    view = memoryview(data)
    if len(view) < _PREAMBLE.size or bytes(view[: len(_MAGIC)]) != _MAGIC:
        raise BrokenEntry("it is not a cache entry")
    seal = bytes(view[len(_MAGIC) : len(_MAGIC) + 1])
    if secret is not None and seal != _HMAC:
        raise UntrustedEntry("it is not signed")
    if seal == _HMAC and secret is None:
        raise UntrustedEntry("it is signed, and HYPERNODES_CACHE_KEY is not set")
    end = len(view) - _SEALS.get(seal, len(view))
    found = bytes(view[end:])
    if not hmac.compare_digest(_seal(seal, key, [view[:end]], secret), found):
        if secret is not None:
            raise UntrustedEntry("its signature is wrong")
        raise BrokenEntry("its checksum is wrong")


def decode(data: Any) -> Any:
    """The value in an entry's bytes, which have been checked.

    Args:
        data: all of its bytes. Where they are writable, arrays are views of them.

    Raises:
        UnloadableEntry: it cannot be unpickled: a class or a module is not there, say.
    """
    view = memoryview(data)
    _, _, mark, _, count, said, payload = _PREAMBLE.unpack_from(view)
    at = _PREAMBLE.size
    lengths = struct.unpack_from(f"<{count}Q", view, at)
    at += 8 * count + said
    pickled: Any = view[at : at + payload]
    at += payload
    buffers: list[bytearray | memoryview] = []
    for length in lengths:
        at += -at % _ALIGNMENT
        buffer = view[at : at + length]
        # Who gets an array may change it, and the next one still gets what was stored.
        buffers.append(bytearray(buffer) if view.readonly else buffer)
        at += length
    try:
        if mark != _UNCOMPRESSED:
            module = next(module for codec, module in _CODECS.values() if codec == mark)
            pickled = importlib.import_module(module).decompress(pickled)
        return pickle.loads(pickled, buffers=buffers)
    except Exception as error:
        raise UnloadableEntry(repr(error)) from error


def pickled_part(data: bytes) -> tuple[int, int]:
    """Where the pickle is in an entry that has nothing else in it, as nearly all small ones.

    Returns:
        Where it begins and ends; (0, 0) for an entry that is compressed or has buffers.
    """
    _, _, mark, _, count, said, payload = _PREAMBLE.unpack_from(data)
    start = _PREAMBLE.size + said
    return (0, 0) if count or mark != _UNCOMPRESSED else (start, start + payload)


def describe(data: bytes) -> tuple[float, dict[str, Any]] | int:
    """When an entry was made, and what was said about it, from the first bytes of it.

    Returns:
        How many bytes are needed, where these are too few.

    Raises:
        BrokenEntry: it is not an entry.
    """
    if len(data) < _PREAMBLE.size or data[: len(_MAGIC)] != _MAGIC:
        raise BrokenEntry("it is not a cache entry")
    _, _, _, made, count, said, _ = _PREAMBLE.unpack_from(data)
    start = _PREAMBLE.size + 8 * count
    if start + said > len(data):
        return int(start + said)
    try:
        about = json.loads(data[start : start + said])
    except ValueError as error:
        raise BrokenEntry("its header is broken") from error
    return made, about


def made_at(data: Any) -> float:
    """When an entry was made, from its bytes, which have been checked."""
    made: float = _PREAMBLE.unpack_from(data)[3]
    return made


def refuse_lossy(value: object) -> NoReturn:
    """Stands for cloudpickle's way to pickle something, which makes something else of it.

    Raises:
        TypeError: always.
    """
    raise TypeError(f"cannot pickle a {type(value).__name__} as what it is")


LOSSY: dict[type, Callable[[object], NoReturn]] = {
    memoryview: refuse_lossy,
    io.TextIOWrapper: refuse_lossy,
}
"""What cloudpickle makes something else of: `bytes`, and a `StringIO` of what was read."""


class _Pickler(pickle.Pickler):
    """Notes the class of each object in the value that is none of Python's plainest."""

    def __init__(self, file: io.BytesIO, kinds: dict[type, object], aside: Any) -> None:
        super().__init__(file, 5, buffer_callback=aside)
        self._kinds = kinds

    def reducer_override(self, value: Any) -> Any:
        self._kinds.setdefault(type(value), value)
        return NotImplemented


class _ByValue(cloudpickle.Pickler):  # type: ignore[misc]
    """The same for what pickle cannot do: lambdas, classes of `__main__`."""

    dispatch_table = ChainMap(LOSSY, cloudpickle.Pickler.dispatch_table)

    def __init__(self, file: io.BytesIO, kinds: dict[type, object], aside: Any) -> None:
        super().__init__(file, 5, buffer_callback=aside)
        self._kinds = kinds

    def reducer_override(self, value: Any) -> Any:
        self._kinds.setdefault(type(value), value)
        return super().reducer_override(value)


class _ForThisPython:
    """A value whose pickle has code in it: only the release that wrote bytecode can run it.

    Args:
        value: the value.
    """

    def __init__(self, value: object) -> None:
        self._value = value

    def __reduce__(self) -> tuple[object, ...]:
        # The first argument is unpickled, and checked, before there is any of the code.
        return _second, (_Release(), self._value)


class _Release:
    def __reduce__(self) -> tuple[object, ...]:
        return _check_release, (importlib.util.MAGIC_NUMBER, sys.version_info[:2])


def _check_release(magic: bytes, version: tuple[int, int]) -> None:
    if magic != importlib.util.MAGIC_NUMBER:
        raise ValueError(f"its code was compiled by Python {version[0]}.{version[1]}")


def _second(_: None, value: object) -> object:
    return value


_PLAIN = frozenset({str, bytes, int, float, bool, type(None)})


def dump(value: object, buffers: list[memoryview] | None = None) -> bytes:
    """A value as bytes; by cloudpickle where pickle cannot (lambdas, classes of `__main__`).

    Args:
        value: anything that can be pickled.
        buffers: where to put large buffers instead of copying them.

    Raises:
        ValueError: pickle makes something else of it, or of something in it. It makes an error of
            its `args`, say, and fills a list by its own `append`.
        Exception: it cannot be pickled.
    """
    if type(value) in _PLAIN:
        return pickle.dumps(value, 5)
    kinds: dict[type, object] = {}
    aside = None if buffers is None else partial(_put_aside, buffers)
    token = STORING.set(True)
    try:
        with io.BytesIO() as file:
            try:
                _Pickler(file, kinds, aside).dump(value)
            except Exception:
                file.seek(0)
                file.truncate()
                if buffers is not None:
                    buffers.clear()
                _ByValue(file, kinds, aside).dump(_ForThisPython(value))
            data = file.getvalue()
        _check_comes_back(value, data, buffers or (), kinds)
        return data
    finally:
        STORING.reset(token)


def _check_comes_back(
    value: object, data: bytes, buffers: Sequence[memoryview], kinds: Mapping[type, object]
) -> None:
    """Refuse a value that does not come back as it is, where a class in it makes that doubtful.

    Args:
        value: the value.
        data, buffers: what was made of it.
        kinds: the classes of objects in it, with one of each.
    """
    if object in kinds:
        raise ValueError("an object() comes back as another one: use a member of an enum")
    doubted = [kind for kind, each in kinds.items() if _is_doubtful(kind) or _has_more(each)]
    if not doubted:
        return
    with contextlib.suppress(Unidentifiable):
        if sign(pickle.loads(data, buffers=buffers)) != sign(value):
            raise ValueError(
                f"pickle makes something else of an object of class {doubted[0].__qualname__}: "
                "give it a __reduce__ that returns what it can be made of"
            )


_doubtful: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()
_HEAP = 1 << 9
"""Python's flag of classes that are not made by C alone."""
_FILLS = ("__init__", "__new__", "__setitem__", "append", "extend", "add", "update", "__hash__")


def _is_doubtful(kind: type) -> bool:
    """Whether a class is an error's, or the user's own of a built-in type with other ways."""
    if not kind.__flags__ & _HEAP:
        return issubclass(kind, BaseException)
    known = _doubtful.get(kind)
    if known is None:
        known = _doubtful[kind] = issubclass(kind, BaseException) or any(
            name in vars(base) for base in _own_of_builtin(kind) for name in _FILLS
        )
    return known


def _own_of_builtin(kind: type) -> list[type]:
    """The user's own classes that one is made of, if it is made of a built-in type, too."""
    if issubclass(kind, enum.Enum) or all(base.__flags__ & _HEAP for base in kind.__mro__[:-1]):
        return []
    own = [base for base in kind.__mro__ if base.__flags__ & _HEAP]
    # A named tuple has a `__new__` that Python has made.
    return [base for base in own if origin(module_of(base)) is None and "_fields" not in vars(base)]


def _has_more(value: object) -> bool:
    """Whether an object has attributes of its own that a library's `__reduce__` may not know of."""
    kind = type(value)
    if not kind.__flags__ & _HEAP or not getattr(value, "__dict__", None):
        return False
    if origin(module_of(kind)) is not None:
        return False
    for name in ("__reduce_ex__", "__reduce__"):
        by = next(base for base in kind.__mro__ if name in vars(base))
        if by is not object:
            return origin(module_of(by)) is not None
    return False


def _put_aside(buffers: list[memoryview], buffer: pickle.PickleBuffer) -> bool:
    raw = buffer.raw()
    if raw.nbytes < _OWN_BUFFER:
        return True
    buffers.append(raw)
    return False


def _seal(seal: bytes, key: str, parts: Sequence[Buffer], secret: bytes | None) -> bytes:
    if seal == _HMAC:
        assert secret is not None
        signing = hmac.new(secret, key.encode() + b"\n", "sha256")
        for part in parts:
            signing.update(part)
        return signing.digest()
    checksum = xxhash.xxh3_128(key.encode())
    for part in parts:
        checksum.update(part)
    return checksum.digest()
