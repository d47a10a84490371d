"""What identifies modules, methods, descriptors and plain objects."""

from __future__ import annotations

import abc
import copyreg
import functools
import inspect
import os
import sys
import time
import types
import typing
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from hypernodes.identity import values
from hypernodes.identity.dynamic import refuse_finder
from hypernodes.identity.packages import origin
from hypernodes.identity.reach import is_stranger
from hypernodes.identity.traversal import (
    ABSENT,
    CURES,
    MEMOIZED,
    CodeTraversal,
    Whole,
    code_digest,
    note_package,
)
from hypernodes.identity.values import (
    EVERYTHING,
    STORING,
    Digest,
    Parts,
    Traversal,
    Unidentifiable,
    attributes,
    identify,
    in_any_order,
    module_of,
    sign,
    walked,
    without_cached,
)


@identify.register(dict)
@walked
def _dict(value: dict[object, object], walk: Traversal) -> Parts:
    """A dict by its content; one that code reads also by the order of its keys.

    A node's input may be in any order. A table that code loops over may not: what it does with
    each item happens in that order.
    """
    module = sys.modules.get(str(value.get("__name__"))) if "__builtins__" in value else None
    if module is not None and vars(module) is value:  # vars(module), globals()
        return Parts("names", [module])
    is_ordered = isinstance(walk, CodeTraversal)
    return Parts("dict", values.pairs(value), ordered=is_ordered)


@identify.register(type({}.keys()))
@identify.register(type({}.items()))
@walked
def _view(value: Iterable[object], walk: Traversal) -> Parts:
    return Parts(type(value).__name__, value, ordered=isinstance(walk, CodeTraversal))


@identify.register(Whole)
def _whole(value: Whole) -> Parts:
    return Parts("whole", [value.module], covers=EVERYTHING)


@identify.register(types.ModuleType)
@walked
def _module(value: types.ModuleType, walk: Traversal) -> Parts:
    home = origin(value.__name__)
    if home is not None:
        note_package(walk, home)
        return Parts("module", [home, value.__name__], covers=EVERYTHING)
    members = {
        name: member
        for name, member in vars(value).items()
        if not (name.startswith("__") and name.endswith("__"))
        or name in ("__getattr__", "__all__", "__version__")
    }
    if isinstance(walk, CodeTraversal):
        if "text" in walk.modes:
            members["__doc__"] = value.__doc__
        space, before = vars(value), {**members}
        walk.checks.append(lambda: all(space.get(n, ABSENT) is m for n, m in before.items()))
        walk.checks.append(lambda: not any(
            name not in before for name in space if not name.startswith("__")))  # fmt: skip
        for member in members.values():
            walk.depends(member)
        if "__getattr__" in members:
            raise Unidentifiable(
                f"module {value.__name__} makes names when they are asked for, and is used as a "
                "value: read its names as they are (module.name)"
            )
    what: list[object] = [in_any_order(members)]
    if isinstance(walk, CodeTraversal) and "order" in walk.modes:
        # Submodules come in the order in which somebody has imported them first.
        inside = f"{value.__name__}."
        is_inside = (
            str(getattr(each, "__name__", "")).startswith(inside) for each in members.values()
        )
        what.append([name for name, inner in zip(members, is_inside, strict=True) if not inner])
    return Parts("own module", what, covers=EVERYTHING)


@identify.register(types.CodeType)
def _code(value: types.CodeType) -> Parts:
    return Parts("code", [code_digest(value, False, frozenset())])


@identify.register(types.MethodType)
def _method(value: types.MethodType) -> Parts:
    return Parts("method", [value.__func__, value.__self__], covers=EVERYTHING)


@identify.register(types.BuiltinFunctionType)
def _builtin(value: types.BuiltinFunctionType) -> Parts:
    refuse_finder(value)
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        name = value.__module__ or "builtins"
        home = origin(name) or compiled(name)
        return Parts("builtin", [home, value.__qualname__])
    return Parts("builtin method", [value.__name__, owner])


def compiled(module: str) -> Digest:
    """What identifies a compiled module of the user's own: the content of its file.

    Raises:
        Unidentifiable: it has no file.
    """
    place = getattr(sys.modules.get(module), "__file__", None)
    try:
        status = os.stat(place or "")
        return _of_file(str(place), status.st_mtime_ns, status.st_size)
    except OSError:
        raise Unidentifiable(
            f"compiled code of module {module} cannot be looked into, and is in no file"
        ) from None


@functools.lru_cache(maxsize=64)
def _of_file(place: str, modified: int, size: int) -> Digest:
    with open(place, "rb") as file:
        return sign(file.read())


@identify.register(types.WrapperDescriptorType)
@identify.register(types.MethodDescriptorType)
@identify.register(types.ClassMethodDescriptorType)
@identify.register(types.GetSetDescriptorType)
@identify.register(types.MemberDescriptorType)
def _descriptor(value: Any) -> Parts:
    owner = getattr(value, "__objclass__", None)
    return Parts("descriptor", [getattr(owner, "__qualname__", ""), value.__name__])


@identify.register(types.MethodWrapperType)
def _method_wrapper(value: types.MethodWrapperType) -> Parts:
    return Parts("method wrapper", [value.__name__, value.__self__])


@identify.register(staticmethod)
@identify.register(classmethod)
def _wrapped_method(value: Any) -> Parts:
    return Parts(type(value).__name__, [value.__func__], covers=_OF_WRAPPED)


_OF_WRAPPED = frozenset(functools.WRAPPER_ASSIGNMENTS) | {"__wrapped__", "__annotations__"}


@identify.register(property)
def _property(value: property) -> Parts:
    return Parts("property", [value.fget, value.fset, value.fdel])


@identify.register(functools.cached_property)
def _cached_property(value: functools.cached_property[object]) -> Parts:
    return Parts("cached_property", [value.func], covers=_OF_CACHED_PROPERTIES)


_OF_CACHED_PROPERTIES = frozenset({"func", "attrname", "__doc__", "__module__", "lock"})


@identify.register(functools.singledispatchmethod)
def _generic_method(value: functools.singledispatchmethod[object]) -> Parts:
    return Parts("generic method", [value.dispatcher, value.func], covers=EVERYTHING)


@identify.register(MEMOIZED)
def _memoized(value: Any) -> Parts:
    own = {n: each for n, each in vars(value).items() if n not in _OF_WRAPPED}
    by_type = value.cache_parameters()["typed"]
    own.pop("cache_parameters", None)
    what = [value.__wrapped__, by_type, in_any_order(own)]
    return Parts("memoized", what, covers=EVERYTHING)


@identify.register(typing.TypeVar)
def _type_variable(value: Any) -> Parts:
    limits = [value.__bound__, value.__constraints__, value.__covariant__, value.__contravariant__]
    if getattr(value, "has_default", bool)():  # since Python 3.13
        limits.append(value.__default__)
    return Parts("type variable", [value.__name__, *limits])


@identify.register(typing.NewType)
def _new_type(value: typing.NewType) -> Parts:
    return Parts("new type", [value.__name__, value.__supertype__], covers=EVERYTHING)


@identify.register(types.GenericAlias)
@identify.register(typing._GenericAlias)  # type: ignore[attr-defined]
@identify.register(types.UnionType)
def _alias(value: Any) -> Parts:
    metadata = getattr(value, "__metadata__", ())
    found = [typing.get_origin(value), typing.get_args(value), metadata]
    return Parts("alias", found, covers=EVERYTHING)


@identify.register(typing._SpecialForm)
def _special_form(value: object) -> Parts:
    return Parts("typing", [str(value)], covers=EVERYTHING)


@identify.register(typing.ForwardRef)
def _forward(value: typing.ForwardRef) -> Parts:
    return Parts("forward", [value.__forward_arg__], covers=EVERYTHING)


_WITHOUT_STATE = (object, abc.ABC, typing.Generic, typing.Protocol)


@walked
def _object(value: Any, walk: Traversal) -> Parts:
    """An object without a rule of its own: its class, and all that it holds."""
    kind = type(value)
    if isinstance(walk, CodeTraversal) and is_stranger(origin(module_of(kind))):
        walk.asked |= {"text"} if walk.reach.holds_code(value) else set()
    if isinstance(kind, type) and hasattr(kind, "__pydantic_fields_set__"):
        held = [
            without_cached(value, value.__dict__), getattr(value, "__pydantic_extra__", None),
            getattr(value, "__pydantic_private__", None), value.__pydantic_fields_set__,
        ]  # fmt: skip
        return Parts("model", [kind, *held])
    way = _WAYS.get(kind)
    if way is None:
        way = _WAYS[kind] = _way(kind)
    if way == "__getstate__":
        return Parts("object", [kind, without_cached(value, value.__getstate__())])
    in_order = isinstance(walk, CodeTraversal) and "order" in walk.modes
    own = attributes(value) if in_order or way == "attributes" else {}
    order = [list(own)] if in_order and own else []
    if way == "attributes":
        return Parts("object", [kind, in_any_order(own), *order])
    held = [kind, *_reduced(value), *order]
    if isinstance(value, BaseException) and not STORING.get():  # else pickle leaves these out
        held += [value.__cause__, value.__context__]
        if isinstance(value, (AttributeError, NameError)):
            held += [getattr(value, "name", None), getattr(value, "obj", None)]
    return Parts("reduced", held)


_WAYS: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()


def _way(kind: type) -> str:
    """What an object of a class without a rule of its own is identified by.

    Returns:
        The method of `pickle` that a class of the user's own defines; else "attributes" where these
        are all that the object has, or "reduced".
    """
    if kind in copyreg.dispatch_table:
        return "reduced"
    is_plain = True
    for base in kind.__mro__:
        if origin(module_of(base)) is None:
            for name in ("__reduce_ex__", "__reduce__", "__getstate__"):
                if name in vars(base):
                    return name
        elif base not in _WITHOUT_STATE:
            is_plain = False
    return "attributes" if is_plain else "reduced"


identify.register(object, _object)


@identify.register(os.stat_result)
@identify.register(time.struct_time)
def _with_hidden_fields(value: Any) -> Parts:
    return Parts("fields", [type(value), *value.__reduce__()[1]], covers=EVERYTHING)


if hasattr(typing, "TypeAliasType"):  # since Python 3.12

    @identify.register(typing.TypeAliasType)
    def _type_alias(value: Any) -> Parts:
        """A `type` statement's name, with what it stands for."""
        try:
            meant = value.__value__
        except Exception as error:
            raise Unidentifiable(f"what type {value.__name__} stands for: {error!r}") from error
        return Parts("alias", [value.__name__, value.__type_params__, meant], covers=EVERYTHING)


def _reduced(value: object) -> Iterator[object]:
    """What `copyreg` and `pickle` would need to make the object again."""
    kind = type(value)
    maker = copyreg.dispatch_table.get(kind)
    held = getattr(value, "__dict__", None)  # first: looking at it may make it, and change the rest
    try:
        reduced = maker(value) if maker else value.__reduce_ex__(4)
    except Exception as error:
        raise Unidentifiable(
            f"an object of class {kind.__module__}.{kind.__qualname__} cannot be identified "
            f"({error}): {CURES}"
        ) from error
    if isinstance(reduced, str):
        yield from _by_name(value, reduced)
        return
    parts: list[object] = []
    for part in reduced:
        if part is held and part is not None:
            state = attributes(value)
            parts.append(in_any_order(state) if state else None)
        elif isinstance(part, Iterator):
            parts.append(list(part))
        elif inspect.isroutine(part) and getattr(part, "__name__", "") == "__newobj__":
            parts.append("__newobj__")
        else:
            parts.append(part)
    while parts and parts[-1] is None:  # an empty `__dict__` may be there or not
        parts.pop()
    yield from parts


def _by_name(value: object, name: str) -> Iterator[object]:
    """An object that is pickled by its name: if it is found under that, with its attributes."""
    module = sys.modules.get(getattr(value, "__module__", None) or module_of(type(value)))
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if module is None or found is not value:
        raise Unidentifiable(f"{values.kind_of(value)} cannot be identified: {CURES}")
    home = origin(module.__name__)
    yield name
    yield in_any_order(attributes(value)) if home is None else home
