"""`@stateful`: objects that are costly to make, made once in each process that uses them.

A new object is of a *waiting* class, a subclass of the user's, and holds the arguments alone. The
first use of an attribute runs the constructor and makes the object one of the user's class, after
which it is like any other.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import cloudpickle

from hypernodes.errors import NodeError

C = TypeVar("C", bound=type)

_RECIPE = "__hypernodes_recipe__"
_WAITS_FOR = "__hypernodes_waits_for__"
_MOST = 32
"""So many objects that were sent to this process are shared; the ones used last."""
_received: OrderedDict[tuple[type, bytes], object] = OrderedDict()
_lock = threading.Lock()


def stateful(cls: C) -> C:
    """Mark a class whose objects hold what is costly to make: a model, a client, a connection.

    An object is made when it is first used, and once in each process that uses it: only the
    arguments of its constructor are pickled. The threads of a process share it. In the cache it is
    identified by its class and these arguments, whatever becomes of its attributes; a
    `__cache_key__` of its own wins. Its subclasses are stateful too.

    Args:
        cls: the class. What its constructor is given has to be something that can be pickled.

    Raises:
        NodeError: not a class, or one that makes its objects in a way of its own (`__new__`,
            `__slots__`).

    >>> @stateful
    ... class Model:
    ...     def __init__(self, factor):
    ...         print("loading")
    ...         self.factor = factor
    ...     def predict(self, x):
    ...         return self.factor * x
    >>> model = Model(3)
    >>> model.predict(2)
    loading
    6
    """
    if not isinstance(cls, type):
        raise NodeError(f"@stateful marks a class, and got {cls!r:.60}")
    if getattr(cls, "__new__") is not object.__new__ or not cls.__dictoffset__:  # noqa: B009
        raise NodeError(
            f"@stateful cannot mark {cls.__name__}: its objects are made in a way of their own "
            "(a __new__, or __slots__ without __dict__)"
        )
    cls.__new__ = staticmethod(_new)  # type: ignore[method-assign, assignment]
    cls.__reduce_ex__ = _reduce  # type: ignore[method-assign, assignment]
    if not hasattr(cls, "__cache_key__"):
        cls.__cache_key__ = _cache_key  # type: ignore[attr-defined]
    return cls


class _Recipe:
    """What an object is made with."""

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.lock = threading.RLock()
        self.begun = False


def _new(cls: Any, *args: Any, **kwargs: Any) -> Any:
    inspect.signature(cls.__init__).bind(None, *args, **kwargs)  # a wrong call fails here
    made: Any = object.__new__(_waiting(cls))
    object.__setattr__(made, _RECIPE, _Recipe(args, kwargs))
    return made


@functools.lru_cache(maxsize=256)
def _waiting(cls: Any) -> type:
    """The subclass of objects that have not been used yet."""

    def make(self: object) -> None:
        recipe: _Recipe = object.__getattribute__(self, _RECIPE)
        with recipe.lock:  # reentrant: the constructor uses the object's attributes, too
            if type(self) is cls or recipe.begun:  # by another thread, or by this one just now
                return
            recipe.begun = True
            try:
                cls.__init__(self, *recipe.args, **recipe.kwargs)
                object.__setattr__(self, "__class__", cls)
            finally:
                recipe.begun = False

    def get(self: object, name: str) -> Any:
        if not (name.startswith("__") and name.endswith("__")):  # pickle reads those
            make(self)
        return cls.__getattribute__(self, name)

    def _set(self: object, name: str, value: object) -> None:
        make(self)
        cls.__setattr__(self, name, value)

    members = {
        _WAITS_FOR: cls,
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__init__": lambda self, *args, **kwargs: None,
        "__getattribute__": get,
        "__setattr__": _set,
    }
    waiting: type = type(cls)(cls.__name__, (cls,), members)
    return waiting


def _made_with(value: object) -> tuple[type, _Recipe]:
    kind = type(value)
    recipe: _Recipe = object.__getattribute__(value, _RECIPE)
    return vars(kind).get(_WAITS_FOR, kind), recipe


def _reduce(self: object, protocol: object) -> tuple[Callable[..., object], tuple[object, ...]]:
    cls, recipe = _made_with(self)
    return _arrived, (cls, recipe.args, recipe.kwargs)


def _cache_key(self: object) -> list[object]:
    cls, recipe = _made_with(self)
    return [cls, recipe.args, recipe.kwargs]


def _arrived(cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
    """The object of these arguments in this process, which may be here already."""
    key = (cls, cloudpickle.dumps((args, kwargs)))
    with _lock:
        if key not in _received:
            _received[key] = cls(*args, **kwargs)
            while len(_received) > _MOST:
                _received.popitem(last=False)
        _received.move_to_end(key)
        return _received[key]
