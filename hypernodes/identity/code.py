"""What identifies code: the digest of a function with everything of the user's that it names.

A function is identified by its *normalised bytecode*: the instructions with the names and
constants that they mean, without docstrings, line numbers, comments or layout. Unlike the source
text this is what really runs, also when the file has been edited since it was imported, and it is
there for lambdas and for functions typed into a prompt. With it go default values, closures and,
followed transitively, the functions, classes, constants and modules that the code names. Code of
installed packages counts by name and version, the standard library by Python's minor version.

Importing this module teaches `signature.identify` about functions, classes and plain objects.
"""

from __future__ import annotations

import abc
import builtins
import copyreg
import enum
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import itertools
import sys
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

from hypernodes.identity.bytecode import WRITTEN, instructions_of, names_of, reading
from hypernodes.identity.packages import home_by_file, origin
from hypernodes.identity.values import (
    Digest,
    Parts,
    Raw,
    Unidentifiable,
    Walk,
    dataclass_fields,
    identify,
    module_of,
    public_state,
    sign,
    walked,
)


class Code:
    """What identifies a function, and what it is made of.

    Attributes:
        digest: of the function and all that it depends on.
        kept: what others have made from it.
    """

    __slots__ = ("_checks", "_described", "_named", "digest", "kept")

    def __init__(self, digest: Digest, checks: tuple[Callable[[], bool], ...], named: Any) -> None:
        self.digest = digest
        self._checks = checks
        self._named = named
        self.kept: dict[Any, Any] = {}
        self._described: dict[str, str] | None = None

    def holds(self) -> bool:
        """Whether all that it depends on is still the same objects."""
        for check in self._checks:  # noqa: SIM110  (a loop is quicker than a generator)
            if not check():
                return False
        return True

    def parts(self) -> dict[str, str]:
        """A short digest of each function, class and constant by name, and packages' versions."""
        if self._described is None:
            self._described = {
                name: what.text if isinstance(what, _Package) else sign(what).hex()[:8]
                for name, what in itertools.islice(self._named.items(), _PARTS)
            }
        return self._described


class _Package:
    def __init__(self, text: str) -> None:
        self.text = text


@functools.lru_cache(maxsize=1024)
def _package(home: str) -> _Package:
    return _Package(home)


def _note_package(walk: Walk, home: str) -> None:
    walk.note(f"package {home.partition(' ')[0]}", _package(home))


_PARTS = 200
"""So many parts of a function's code are told apart when a change is explained."""


def fingerprint(func: Callable[..., Any]) -> Digest:
    """The digest of a function and of all that it depends on.

    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 1)  # and a comment
    True
    >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 2)
    False
    """
    return code_of(func).digest


def code_of(func: Callable[..., Any]) -> Code:
    """What identifies a function's code.

    It is kept for as long as every name still leads to the same object; mutable constants are
    looked at again each time.

    Raises:
        Unidentifiable: it depends on something that cannot be told.
    """
    is_function = isinstance(func, types.FunctionType)
    if is_function:
        kept = _kept.get(func)
        if kept is not None and kept.holds():
            return kept
    dependencies: list[Callable[[], bool]] = []
    walk = Walk(dependencies)
    code = Code(walk.digest(func), tuple(dependencies), walk.named)
    if is_function:
        _kept[func] = code
    return code


_kept: weakref.WeakKeyDictionary[Any, Code] = weakref.WeakKeyDictionary()


# -- Functions -----------------------------------------------------------------------------------


@identify.register(types.FunctionType)
@walked
def _function(value: types.FunctionType, walk: Walk) -> Parts:
    code, cells = value.__code__, value.__closure__ or ()
    closure = {
        name: reading(code, name, _content(cell))
        for name, cell in zip(code.co_freevars, cells, strict=True)
    }
    _depend(walk, value, closure)
    home = origin(value.__globals__.get("__name__", ""))
    settings = [value.__defaults__, value.__kwdefaults__, closure]
    if home is None:
        name = f"{value.__module__}.{value.__qualname__}"
        walk.note(name, [code, value.__defaults__, value.__kwdefaults__])
        for inner, item in closure.items():
            if not isinstance(item, _TOLD_THEMSELVES):
                walk.note(f"{name}: {inner}", item)
    else:
        _note_package(walk, home)
    if home is not None:
        return Parts("installed", [home, code, *settings])
    return Parts("function", [code, *settings, _named_values(value, walk)])


def _depend(walk: Walk, value: types.FunctionType, closure: dict[str, Any]) -> None:
    if walk.dependencies is None:
        return
    code, defaults, keywords = value.__code__, value.__defaults__, value.__kwdefaults__
    before = list(closure.values())

    def same() -> bool:
        if (
            value.__code__ is not code
            or value.__defaults__ is not defaults
            or value.__kwdefaults__ is not keywords
        ):
            return False
        if not before:
            return True
        cells = zip(code.co_freevars, value.__closure__ or (), strict=True)
        now = [reading(code, name, _content(cell)) for name, cell in cells]
        return all(map(_is, now, before))

    walk.dependencies.append(same)
    for settled in (*before, *(defaults or ()), *(keywords or {}).values()):
        _depend_on_content(walk, settled)


def _depend_on_content(walk: Walk, value: Any) -> None:
    """A value that can change in place makes the digest good for one execution only."""
    if walk.dependencies is not None and not _unchanging(value):
        walk.dependencies.append(_never)


def _never() -> bool:
    return False


def _is(one: Any, other: Any) -> bool:
    return one is other


_UNCHANGING = (
    type(None), bool, int, float, complex, str, bytes, types.FunctionType, type,
    types.BuiltinFunctionType, types.ModuleType, PurePath,
)  # fmt: skip


def _unchanging(value: Any) -> bool:
    if isinstance(value, (tuple, frozenset)):
        return all(map(_unchanging, value))
    return isinstance(value, _UNCHANGING)


_TOLD_THEMSELVES = (
    types.FunctionType, type, types.ModuleType, staticmethod, classmethod, property,
)  # fmt: skip

_EMPTY_CELL = "<empty cell>"


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY_CELL


def _named_values(function: types.FunctionType, walk: Walk) -> dict[str, Any]:
    """What the code reads from its module, from modules of the user's, and from local imports."""
    names, attributes, imports = names_of(function.__code__)
    namespace = function.__globals__
    found: dict[str, Any] = {}
    for name in names:
        if name in namespace:
            if reading(function.__code__, name, namespace[name]) is WRITTEN:
                found[name] = WRITTEN
            else:
                _follow(name, namespace, name, attributes, found, walk)
        elif not hasattr(builtins, name):
            found[name] = "<missing>"
    for level, name in imports:
        module = _import(name, level, namespace.get("__package__") or "")
        if module is not None:
            _follow_module(name, module, attributes, found, walk)
    return found


def _follow(
    label: str,
    namespace: dict[str, Any],
    name: str,
    attributes: frozenset[str],
    found: dict[str, Any],
    walk: Walk,
) -> None:
    value = namespace[name]
    if walk.dependencies is not None:
        walk.dependencies.append(lambda: namespace.get(name, _never) is value)
    if isinstance(value, types.ModuleType):
        _follow_module(label, value, attributes, found, walk)
    else:
        found[label] = value
        _depend_on_content(walk, value)
        if not isinstance(value, _TOLD_THEMSELVES):
            walk.note(f"{namespace.get('__name__', '')}.{name}", value)


def _follow_module(
    label: str,
    module: types.ModuleType,
    attributes: frozenset[str],
    found: dict[str, Any],
    walk: Walk,
) -> None:
    home = origin(module.__name__)
    if home is not None:
        found[label] = f"{home} {module.__name__}"
        _note_package(walk, home)
        return
    if label in found:
        return
    found[label] = "<module>"
    for name in attributes & vars(module).keys():
        _follow(f"{label}.{name}", vars(module), name, attributes, found, walk)


def _import(name: str, level: int, package: str) -> types.ModuleType | None:
    """The module that a function imports when it runs; it is imported now, to look into it."""
    try:
        full = importlib.util.resolve_name("." * level + name, package)
        if full not in sys.modules and home_by_file(full.partition(".")[0]) is not None:
            return None  # an installed package that the function may never need
        return importlib.import_module(full)
    except Exception:  # the node will say so when it runs
        return None


@identify.register(types.CodeType)
def _code(value: types.CodeType) -> Parts:
    arguments = value.co_argcount + value.co_kwonlyargcount
    return Parts(
        "code",
        [
            value.co_flags,
            value.co_posonlyargcount,
            value.co_varnames[:arguments],
            Raw(getattr(value, "co_exceptiontable", b"")),
            *instructions_of(value),
        ],
    )


@identify.register(types.MethodType)
def _method(value: types.MethodType) -> Parts:
    return Parts("method", [value.__func__, value.__self__])


@identify.register(types.BuiltinFunctionType)
def _builtin(value: types.BuiltinFunctionType) -> Parts:
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return Parts("builtin", [origin(value.__module__ or "builtins"), value.__qualname__])
    return Parts("builtin method", [value.__name__, owner])


@identify.register(types.WrapperDescriptorType)
@identify.register(types.MethodDescriptorType)
@identify.register(types.ClassMethodDescriptorType)
@identify.register(types.GetSetDescriptorType)
@identify.register(types.MemberDescriptorType)
@identify.register(types.MethodWrapperType)
def _descriptor(value: Any) -> Parts:
    owner = getattr(value, "__objclass__", None)
    return Parts("descriptor", [getattr(owner, "__qualname__", ""), value.__name__])


@identify.register(staticmethod)
@identify.register(classmethod)
def _wrapped_method(value: Any) -> Parts:
    return Parts(type(value).__name__, [value.__func__])


@identify.register(property)
def _property(value: property) -> Parts:
    return Parts("property", [value.fget, value.fset, value.fdel])


@identify.register(functools.cached_property)
def _cached_property(value: functools.cached_property[Any]) -> Parts:
    return Parts("cached_property", [value.func])


@identify.register(types.ModuleType)
def _module(value: types.ModuleType) -> Parts:
    home = origin(value.__name__)
    if home is None:
        raise Unidentifiable(f"module {value.__name__} as a value cannot be identified")
    return Parts("module", [home])


# -- Classes and objects -------------------------------------------------------------------------

_MADE_BY_PYTHON = frozenset(
    {
        "__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__firstlineno__",
        "__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__",
        "__annotations_cache__", "__abstractmethods__", "_abc_impl", "__parameters__",
        "__orig_bases__", "__classcell__", "__dataclass_fields__", "__dataclass_params__",
        "__class_getitem__", "__signature__", "__type_params__", "_is_protocol",
        "__protocol_attrs__", "__non_callable_proto_members__", "_is_runtime_protocol",
        "__class_vars__", "__private_attributes__", "__fields__", "__attrs_attrs__",
        "__slotnames__",  # copyreg leaves it on a class whose objects are pickled
    }
)  # fmt: skip
_WITHOUT_STATE = (object, abc.ABC, typing.Generic, typing.Protocol)


@identify.register(type)
@walked
def _class(value: type, walk: Walk) -> Parts:
    home = origin(module_of(value))
    if home is not None:
        return Parts("installed class", [home, value.__qualname__])
    members = dict(vars(value))
    if walk.dependencies is not None:
        walk.dependencies.append(
            lambda: (
                len(vars(value)) == len(members)
                and all(vars(value).get(name, _never) is item for name, item in members.items())
            )
        )
    if isinstance(value, enum.EnumMeta):
        methods = {n: m for n, m in members.items() if isinstance(m, types.FunctionType)}
        values: dict[str, Any] = {name: value[name].value for name in value.__members__}
        return Parts("enum class", [value.__qualname__, value.__bases__, values, methods])
    own = {
        name: item
        for name, item in members.items()
        if name not in _MADE_BY_PYTHON
        and not (name.startswith("__pydantic_") and name != "__pydantic_fields__")
        and not isinstance(item, types.MemberDescriptorType)
    }
    for item in own.values():
        if not isinstance(item, (staticmethod, classmethod, property)):
            _depend_on_content(walk, item)
    walk.note(
        f"{value.__module__}.{value.__qualname__}",
        {name: item for name, item in own.items() if not isinstance(item, _TOLD_THEMSELVES)},
    )
    return Parts("class", [value.__qualname__, value.__bases__, own])


def _object(value: Any) -> Parts:
    """An object without a rule of its own: its class and what it holds."""
    kind = type(value)
    if hasattr(value, "__wrapped__") and origin(module_of(kind)) is not None:
        return Parts("wrapper", [kind, value.__wrapped__])  # functools.lru_cache and its like
    if all(base in _WITHOUT_STATE or origin(module_of(base)) is None for base in kind.__mro__):
        return Parts("object", [kind, _public(value)])
    if hasattr(kind, "__pydantic_fields__"):
        return Parts("model", [kind, _public(value), getattr(value, "__pydantic_extra__", None)])
    return Parts("reduced", [kind, *_reduced(value)])


identify.register(object, _object)


def _public(value: Any) -> dict[str, Any]:
    state = public_state(value)
    if not state:
        fields = dataclass_fields(value)
        if fields:
            return fields
        if getattr(value, "__dict__", None) or any(
            vars(cls).get("__slots__") for cls in type(value).__mro__
        ):
            raise Unidentifiable(
                f"an object of class {type(value).__qualname__} has private attributes only: "
                "give the class a __cache_key__() method that returns what identifies it"
            )
    return state


def _reduced(value: Any) -> Iterator[Any]:
    """What `copyreg` and `pickle` would need to make the object again."""
    maker = copyreg.dispatch_table.get(type(value))
    try:
        reduced = maker(value) if maker else value.__reduce_ex__(4)
    except Exception as error:
        raise Unidentifiable(
            f"an object of class {type(value).__module__}.{type(value).__qualname__} cannot be "
            f"identified ({error})"
        ) from error
    if isinstance(reduced, str):
        yield reduced
        return
    for part in reduced:
        if isinstance(part, Iterator):
            yield list(part)
        elif inspect.isroutine(part) and getattr(part, "__name__", "") == "__newobj__":
            yield "__newobj__"
        else:
            yield part
