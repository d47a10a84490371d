"""What identifies a value or a computation: a digest that is equal when, and only when, they are.

    sign(value)             digest of a value by its content and exact type
    combine(tag, *digests)  digest of a computation out of the digests of its parts

Every part carries a tag for its type: `1`, `1.0`, `"1"` and `True` differ. Attributes count, also
private ones, and the class counts as code where it is the user's own. What cannot be identified is
never guessed at and never left out: `Unidentifiable` says what it was, where, and what helps.

How other types are identified: `@identify.register(Type)` on a function that returns `Parts`, or
a `__cache_key__()` method of the object. Functions, classes and plain objects are in the files
above this one, and values of libraries in `libraries`: importing `hypernodes.identity` registers
all of them.
"""

from __future__ import annotations

import array
import collections
import contextlib
import contextvars
import datetime
import decimal
import enum
import fractions
import functools
import gc
import logging
import marshal
import pathlib
import re
import struct
import threading
import types
import uuid
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from hypernodes.identity.packages import origin

RULES = "4"
"""Version of the rules here and in `code`: a change makes every entry a clean miss."""

Digest = bytes
SIZE = 16

STORING: contextvars.ContextVar[bool] = contextvars.ContextVar("hypernodes_storing", default=False)
"""Whether what is pickled is to be kept: some objects go to other processes, and may not be."""


class Unidentifiable(TypeError):
    """A value whose content cannot be identified, so that nothing made from it can be cached.

    Attributes:
        where: the function or class that it was found in, and the names that lead to it.
        is_reported: whether people hear of it in another way: a failed item, which is shown as
            such. Then nobody is warned.
    """

    where = ""
    is_reported = False

    def found_in(self, where: str) -> None:
        """Say where it was found, unless that is known."""
        self.where = self.where or where

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} (in {self.where})" if self.where else message


class Parts(NamedTuple):
    """What a value is made of.

    Attributes:
        tag: names the type; two types never share one.
        children: `Raw` buffers count as they are; anything else is identified in its turn.
        ordered: False where the order of the children means nothing.
        covers: the attributes of the object that the children say already. Where it is not
            empty, or the object is of a subclass of the class that the handler was registered
            for, any other attribute counts beside them, and so does the subclass.
    """

    tag: str
    children: Iterable[object] = ()
    ordered: bool = True
    covers: frozenset[str] = frozenset()


EVERYTHING = frozenset({"*"})
"""For `Parts.covers`: the children say all there is."""


class Raw(NamedTuple):
    """A contiguous buffer that stands for itself among the children of `Parts`."""

    buffer: Any  # what has the buffer protocol, which `typing` can name since Python 3.12


def combine(tag: str, *digests: Digest) -> Digest:
    """The digest of something made of parts that have digests already.

    Args:
        tag: says what is made of them.
        *digests: of the parts, in order.
    """
    return blake2b(
        b"%d:%b" % (len(tag), tag.encode()) + b"".join(digests), digest_size=SIZE
    ).digest()


def sign(value: object) -> Digest:
    """The digest of a value.

    Args:
        value: anything.

    Returns:
        16 bytes.

    Raises:
        Unidentifiable: something in it cannot be identified.

    >>> sign({"a": 1, "b": {2, 3}}) == sign({"b": {3, 2}, "a": 1})
    True
    >>> len({sign(x) for x in (1, 1.0, "1", True, None, b"1", [1], (1,))})
    8
    """
    simple = _simple(value)
    if simple is not None:
        return simple
    digest = Traversal().digest(value)
    described = [_description(each) for each in _callables(value)]
    return combine("described", digest, sign(described)) if described else digest


def _callables(value: Any, depth: int = 4) -> list[Any]:
    """The functions and classes that a value is, or holds: a node may read what they say."""
    if isinstance(value, (types.FunctionType, type)):
        return [value]
    kind = type(value)
    held: Collection[object] = ()
    if kind in (list, tuple, set, frozenset):
        held = value
    elif kind is dict:
        held = value.values()
    elif kind is types.MethodType:
        held = value.__func__, value.__self__
    elif kind is functools.partial:
        held = value.func, *value.args, *value.keywords.values()
    elif (own := _own(value)) and ("__wrapped__" in own or origin(module_of(kind)) is None):
        held = own.values()
    if not depth or PLAIN.issuperset(map(type, held)):
        return []
    if len(held) > _FEW:  # of a large table those that it has itself
        depth = 1
    made = [_callables(each, depth - 1) for each in held if type(each) not in PLAIN]
    if kind is set or kind is frozenset:
        made.sort(key=lambda found: [(each.__module__, each.__qualname__) for each in found])
    return [each for found in made for each in found]


def _own(value: object) -> dict[str, object]:
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return own if type(own) is dict else {}


_FEW = 1_000


def _description(value: Any) -> list[object]:
    """What a function or a class says of itself, as tools for a language model do."""
    hints = None
    with contextlib.suppress(Exception):  # they name what is not there, or cannot be identified
        of = vars(value).get("__annotations__") if isinstance(value, type) else None
        hints = sign((value.__annotations__ if isinstance(value, types.FunctionType) else of) or {})
    return [value.__name__, value.__doc__, hints]


class Frame:
    """A part that the traversal is in the middle of, or one on a circle with such a part.

    Attributes:
        value: the part.
        label: its name, to say where something is that cannot be identified.
        tag, children, ordered: of its `Parts`.
        entries: for each child visited so far its digest, or its frame if it is on a circle.
        place: how many frames were open before it (Tarjan's index).
        lowest: the lowest place that a circle leads back to from here (Tarjan's low link).
    """

    __slots__ = (
        "children", "entries", "label", "lowest", "ordered", "place", "tag", "value",
    )  # fmt: skip

    def __init__(self, value: object, label: str, place: int, parts: Parts) -> None:
        self.value = value
        self.label = label
        self.tag, self.ordered = parts.tag, parts.ordered
        self.children = iter(parts.children)
        self.place = self.lowest = place
        self.entries: list[Digest | Frame] = []


class Traversal:
    """One depth-first walk over a value, on a stack of its own, so that depth does not matter.

    A value may lead back to itself. The parts of such a circle, a strongly connected component as
    Tarjan finds them, have no first one to start from: which of them the walk meets first depends
    on the order of sets. So they are digested together, by colour refinement (see `_refined`).

    Attributes:
        named: the functions, classes and constants on the way by name, to explain a change by.
    """

    def __init__(self) -> None:
        self.named: dict[str, object] = {}
        self._done: dict[int, Digest] = {}
        self._open: dict[int, Frame] = {}
        self._circle: list[Frame] = []
        self._alive: list[object] = []  # an id in `_done` must not become another object's

    def note(self, name: str, what: object) -> None:
        """Note a part that has a name."""

    def digest_of(self, value: object) -> Digest | None:
        """The digest of a value that was visited; None for any other."""
        return self._done.get(id(value))

    def visited(self, kinds: tuple[type, ...]) -> list[tuple[object, Digest]]:
        """The values of some types that were visited, with their digests.

        Args:
            kinds: the types.
        """
        return [(each, self._done[id(each)]) for each in self._alive if isinstance(each, kinds)]

    def assume(self, known: Iterable[tuple[object, Digest]]) -> None:
        """Take the digests of some values from another traversal.

        Args:
            known: the values, which have to live as long as this traversal, and their digests.
        """
        self._done.update((id(value), digest) for value, digest in known)

    def digest(self, root: object) -> Digest:
        """The digest of a value.

        Raises:
            Unidentifiable: something in it cannot be identified.
        """
        known = _simple(root)
        if known is not None:
            return known
        stack: list[Frame] = []
        try:
            return self._digest(root, stack)
        except Unidentifiable as error:
            error.found_in(_trail(stack))
            raise
        except RecursionError as error:
            raise Unidentifiable(f"{kind_of(root)} is nested too deeply") from error

    def _digest(self, root: object, stack: list[Frame]) -> Digest:
        # Tarjan's algorithm without recursion. `stack` is the path from the root to here; a frame
        # goes on with its iterator of children where it stopped when one had to be opened first.
        # `_circle` also holds the frames off the path whose component is not complete yet.
        stack.append(self._opened(root))
        while True:
            frame = stack[-1]
            entries = frame.entries
            inner = None
            try:
                for child in frame.children:  # most are plain: those cost no frame
                    if type(child) is Raw:
                        entries.append(blake2b(child.buffer, digest_size=SIZE).digest())
                        continue
                    known: Digest | Frame | None = _simple(child)
                    if known is None and type(child) is _Pair:
                        key, item = _simple(child[0]), _simple(child[1])
                        if key is not None and item is not None:
                            known = combine("pair", key, item)
                    if known is None:
                        known = self._done.get(id(child)) or self._open.get(id(child))
                        if known is None:
                            inner = child
                            break
                        if type(known) is Frame and known.lowest < frame.lowest:
                            frame.lowest = known.lowest  # an edge back into an open component
                    entries.append(known)
            except (Unidentifiable, RecursionError):
                raise
            except Exception as error:  # a __cache_key__ that fails, or an object half made
                raise Unidentifiable(
                    f"{kind_of(frame.value)} cannot be identified ({error!r})"
                ) from error
            if inner is not None:
                stack.append(self._opened(inner))
                continue
            stack.pop()
            result = self._closed(frame)
            if not stack:
                assert not isinstance(result, Frame)
                return result
            above = stack[-1]
            above.entries.append(result)
            if type(result) is Frame and frame.lowest < above.lowest:
                above.lowest = frame.lowest

    def _opened(self, value: object) -> Frame:
        label = ""
        if type(value) is _Pair:
            label = f"{value.key:.40}" if type(value.key) is str else ""
        elif isinstance(value, (types.FunctionType, type)):
            label = f"{value.__module__}.{value.__qualname__}"
        try:
            parts = _parts(value, self)
        except (Unidentifiable, RecursionError):
            raise
        except Exception as error:
            raise Unidentifiable(f"{kind_of(value)} cannot be identified ({error!r})") from error
        frame = Frame(value, label, len(self._circle), parts)
        self._open[id(value)] = frame
        self._circle.append(frame)
        return frame

    def _closed(self, frame: Frame) -> Digest | Frame:
        if frame.lowest < frame.place:
            return frame  # its circle starts further up, and is digested there
        members = self._circle[frame.place :]
        del self._circle[frame.place :]
        if len(members) == 1 and frame not in frame.entries:
            digests: Sequence[Digest] = [_combined(frame, frame.entries)]  # type: ignore[arg-type]
        else:
            digests = _refined(members)
        for member, digest in zip(members, digests, strict=True):
            value = member.value
            del self._open[id(value)]
            if type(value) is not _Pair:
                self._done[id(value)] = digest
                self._alive.append(value)
        return digests[0]


def _combined(frame: Frame, digests: list[Digest]) -> Digest:
    return combine(frame.tag, *(digests if frame.ordered else sorted(digests)))


def _refined(members: list[Frame]) -> list[Digest]:
    """The digests of parts that lead to each other, whichever of them the walk met first.

    Each part starts with its tag as its colour, and gets a new one made of its own and of its
    children's, until a round separates no more parts (as in the minimisation of automata).
    """
    colours = [combine("circle", frame.tag.encode()) for frame in members]
    at = {frame: place for place, frame in enumerate(members)}
    distinct, rounds = 0, 0
    while len(set(colours)) > distinct:
        distinct = len(set(colours))
        rounds += 1
        colours = [
            combine(
                "colour",
                colours[place],
                _combined(
                    frame,
                    [colours[at[e]] if type(e) is Frame else e for e in frame.entries],  # type: ignore[misc]
                ),
            )
            for place, frame in enumerate(members)
        ]
    # No more colours than the round before had, so no further round would separate any.
    whole = combine(f"circle {len(members)} {rounds}", *sorted(colours))
    if distinct < len(members) and (shape := _shape(members, at, colours)):
        whole = combine("shape", whole, shape)
    return [combine("part", whole, colour) for colour in colours]


_MOST_STEPS = 1_000_000
"""A circle is walked through so often, at most, to tell it from others of the same colours."""


def _shape(members: list[Frame], at: Mapping[Frame, int], colours: list[Digest]) -> Digest | None:
    """What tells apart circles that have the same colours: two rings of three, one of six.

    It is a walk through the circle that numbers its parts as it meets them. It starts at a part
    with the rarest colour; of several such walks the one with the smallest digest counts.

    Args:
        members: the circle's parts.
        at: their places.
        colours: their colours.

    Returns:
        None where the walk would depend on the order of a set, or take too long.
    """
    counts = collections.Counter(colours)
    rarest = min(counts, key=lambda colour: (counts[colour], colour))
    starts = [place for place, colour in enumerate(colours) if colour == rarest]
    if len(starts) * len(members) > _MOST_STEPS:
        return None
    walks = [_walk_from(start, members, at, colours) for start in starts]
    return min((walk for walk in walks if walk is not None), default=None)


def _walk_from(
    start: int, members: list[Frame], at: Mapping[Frame, int], colours: list[Digest]
) -> Digest | None:
    numbers, order, said = {start: 0}, [start], blake2b(digest_size=SIZE)
    for place in order:
        frame = members[place]
        inside = [at[each] for each in frame.entries if type(each) is Frame]
        if not frame.ordered:
            inside.sort(key=lambda each: (colours[each], numbers.get(each, -1)))
            new = [colours[each] for each in inside if each not in numbers]
            if len(set(new)) < len(new):
                return None
        for each in inside:
            if each not in numbers:
                numbers[each] = len(order)
                order.append(each)
        said.update(repr([numbers[each] for each in inside]).encode() + colours[place])
    return said.digest()


def _trail(stack: list[Frame]) -> str:
    """Where the walk is: the innermost function or class, and the names that lead on from it."""
    names: list[str] = []
    for frame in reversed(stack):
        if frame.label:
            names.append(frame.label)
            if type(frame.value) is not _Pair:
                break
    return " > ".join(reversed(names))


def _simple(value: Any) -> Digest | None:
    """The digest of a plain value, or of a flat list or tuple of plain values, in one go."""
    kind = type(value)
    if kind in PLAIN or ((kind is list or kind is tuple) and set(map(type, value)) <= PLAIN):
        data = b"%b:%b" % (kind.__name__.encode(), marshal.dumps(value, 0))
    else:
        return None
    return blake2b(data, digest_size=SIZE).digest()


# Version 0 of marshal's format has no references and no interning: equal values, equal bytes.
PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis)})


IMMUTABLE = frozenset(
    {
        datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone,
        decimal.Decimal, fractions.Fraction, uuid.UUID, range, slice, re.Pattern, struct.Struct,
        logging.Logger, type(threading.Lock()), type(threading.RLock()),
    }
)  # fmt: skip
"""Exact types whose objects never change what they are identified by."""


def _parts(value: Any, walk: Traversal) -> Parts:
    """What a value is made of, with its attributes and its class where its handler covers less."""
    kind = type(value)
    if kind is _Pair:
        return Parts("pair", value)
    known = _HANDLERS.get(kind)
    if known is None or known.registered != len(identify.registry):
        known = _HANDLERS[kind] = _find_handler(kind)
    if known.has_key:
        of = vars(kind).get("__hypernodes_waits_for__", kind)
        return Parts("key", [of, value.__cache_key__()])
    handler = known.handler
    parts: Parts = handler(value, walk) if known.wants_walk else handler(value)
    covers, is_exact = parts.covers, kind is known.base
    if known.base is object or covers is EVERYTHING or (is_exact and not covers):
        return parts
    state = attributes(value, known.base, covers)
    if is_exact and not state:
        return parts
    rest = in_any_order(state)
    more: list[object] = [rest] if is_exact else [kind, rest]
    return Parts(
        f"{parts.tag} and more",
        [_Ordered(parts.children) if parts.ordered else _Unordered(parts.children), *more],
    )


class _Handler(NamedTuple):
    """What identifies values of a class.

    Attributes:
        handler: the function that was registered.
        base: the class that it was registered for.
        wants_walk: whether it is called with the traversal, too.
        has_key: whether the class has a `__cache_key__`.
        registered: how many classes were registered when it was found.
    """

    handler: Callable[..., Parts]
    base: type
    wants_walk: bool
    has_key: bool
    registered: int


def _find_handler(kind: type) -> _Handler:
    for each in kind.__mro__:
        names = module_of(each).split(".")
        for name in (names[0], ".".join(names[:2])):
            if (register := _LIBRARIES.get(name)) is not None:
                register()  # two threads that do it at once do the same
                _LIBRARIES.pop(name, None)
    handler = _enum if isinstance(kind, enum.EnumMeta) else identify.dispatch(kind)
    bases = (each for each in kind.__mro__ if identify.registry.get(each) is handler)
    base = enum.Enum if handler is _enum else next(bases, object)
    has_key = getattr(kind, "__cache_key__", None) is not None
    return _Handler(handler, base, handler in _WALKED, has_key, len(identify.registry))


_HANDLERS: weakref.WeakKeyDictionary[type, _Handler] = weakref.WeakKeyDictionary()


class _Ordered(NamedTuple):
    children: Iterable[object]


class _Unordered(NamedTuple):
    children: Iterable[object]


@functools.singledispatch
def identify(value: object) -> Parts:
    """What a value is made of, by its type. Register a function for a type of your own.

    Raises:
        Unidentifiable: its type cannot be identified.

    >>> class Point:
    ...     def __init__(self, x): self._x = x
    >>> @identify.register(Point)
    ... def _(value): return Parts("Point", [value._x])
    >>> sign(Point(1)) == sign(Point(1)) != sign(Point(2))
    True
    """
    raise Unidentifiable(f"{kind_of(value)} cannot be identified")  # replaced in `objects`


_WALKED: set[Callable[..., Parts]] = set()
"""Handlers that want the traversal as well, to note what they depend on."""


def walked(handler: Callable[[Any, Traversal], Parts]) -> Callable[[Any, Traversal], Parts]:
    """Mark a handler that is called with the traversal."""
    _WALKED.add(handler)
    return handler


_LIBRARIES: dict[str, Callable[[], None]] = {}
"""For each module of a library that is known: what registers handlers for its classes."""


def when_met(*modules: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Mark a function that registers handlers, called when the first value of a module is met.

    So that a library is imported by those who have its values, and nobody else.

    Args:
        *modules: a library (`scipy`), or a module right in it (`scipy.stats`).
    """

    def mark(register: Callable[[], None]) -> Callable[[], None]:
        _LIBRARIES.update(dict.fromkeys(modules, register))
        return register

    return mark


def module_of(kind: type) -> str:
    """Name of the module of a class; those of Cython's functions do not say."""
    name: object = kind.__module__
    return name if isinstance(name, str) else "builtins"


def kind_of(value: object) -> str:
    """A value by its type, for messages."""
    return f"a value of type {type(value).__module__}.{type(value).__qualname__}"


def attributes(
    value: object, base: type = object, covers: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """An object's attributes: its `__dict__`, and the slots of its classes below `base`.

    Args:
        value: the object.
        base: the class whose handler says what its own slots hold.
        covers: names to leave out.

    Returns:
        The attributes by name, without those of a `cached_property`: they follow from the others.
    """
    kind = type(value)
    state = dict(getattr(value, "__dict__", None) or {})
    known = _LAYOUTS.get(kind)
    if known is None or known[0] is not base:
        known = _LAYOUTS[kind] = (base, tuple(_slots(kind, base)), _derived(kind))
    for name in known[1]:
        if hasattr(value, name):
            state[name] = getattr(value, name)
    if state:
        for name in (*covers, *known[2]):
            state.pop(name, None)
    return state


def without_cached(value: object, state: Any) -> Any:
    """The state of an object, if that is a dict, without the values of `cached_property`s.

    Args:
        value: the object.
        state: what is said to be its state.
    """
    if type(state) is not dict:
        return state
    derived = _derived(type(value))
    if derived.isdisjoint(state):
        return state
    return {name: each for name, each in state.items() if name not in derived}


_DERIVED: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()
"""The names of each class's `cached_property`s."""


_LAYOUTS: weakref.WeakKeyDictionary[type, tuple[type, tuple[str, ...], frozenset[str]]]
_LAYOUTS = weakref.WeakKeyDictionary()


def _slots(kind: type, base: type) -> Iterator[str]:
    for cls in kind.__mro__:
        if cls is base:
            return
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                yield f"_{cls.__name__.lstrip('_')}{name}" if _is_mangled(name) else name


def _is_mangled(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")


def _derived(kind: type) -> frozenset[str]:
    known = _DERIVED.get(kind)
    if known is None:
        known = _DERIVED[kind] = frozenset(
            name
            for cls in kind.__mro__
            for name, member in vars(cls).items()
            if isinstance(member, functools.cached_property)
        )
    return known


@identify.register(list)
@identify.register(tuple)
def _(value: Any) -> Parts:
    base = list if isinstance(value, list) else tuple
    return Parts(base.__name__, base.__iter__(value))


@identify.register(set)
@identify.register(frozenset)
def _(value: Any) -> Parts:
    base = set if isinstance(value, set) else frozenset
    return Parts(base.__name__, base.__iter__(value), ordered=False)


def pairs(value: Mapping[Any, object]) -> Iterator[object]:
    """The items of a mapping as parts; those of a dict's subclass as a dict has them."""
    if isinstance(value, dict):
        return map(_Pair, dict.keys(value), dict.values(value))
    return map(_Pair, value.keys(), value.values())


def in_any_order(value: Mapping[Any, object]) -> _Unordered:
    """A part made of a mapping's items, in whichever order."""
    return _Unordered(pairs(value))


@identify.register(collections.OrderedDict)
def _(value: collections.OrderedDict[object, object]) -> Parts:
    return Parts("OrderedDict", [_Pair(*item) for item in collections.OrderedDict.items(value)])


@identify.register(collections.defaultdict)
def _(value: collections.defaultdict[object, object]) -> Parts:
    return Parts("defaultdict", [value.default_factory, dict(value)])


@identify.register(collections.deque)
def _(value: collections.deque[object]) -> Parts:
    return Parts("deque", [value.maxlen, *collections.deque.__iter__(value)])


class _Pair(NamedTuple):
    key: object
    value: object


@identify.register(type({}.values()))
def _(value: Iterable[object]) -> Parts:
    return Parts("dict_values", value)


@identify.register(types.MappingProxyType)
def _(value: types.MappingProxyType[object, object]) -> Parts:
    # What it shows, which may be of a class of its own.
    return Parts("mappingproxy", gc.get_referents(value))


@identify.register(_Ordered)
@identify.register(_Unordered)
def _(value: _Ordered | _Unordered) -> Parts:
    return Parts("parts", value.children, type(value) is _Ordered, EVERYTHING)


@identify.register(int)
@identify.register(float)
@identify.register(complex)
@identify.register(str)
@identify.register(bytes)
def _(value: Any) -> Parts:  # the exact types are plain: these are subclasses
    kinds: tuple[Any, ...] = (int, float, complex, str, bytes)
    base = next(kind for kind in kinds if isinstance(value, kind))
    return Parts(base.__name__, base.__getnewargs__(value))


@identify.register(bytearray)
def _(value: bytearray) -> Parts:
    return Parts("bytearray", [Raw(value)])


@identify.register(memoryview)
def _(value: memoryview) -> Parts:
    return Parts("memoryview", [value.format, value.shape, Raw(value.tobytes())])


@identify.register(array.array)
def _(value: array.array[Any]) -> Parts:
    return Parts(f"array {value.typecode}", [Raw(value.tobytes())])


def _enum(value: enum.Enum) -> Parts:
    return Parts("enum", [value.name, value.value], covers=OF_MEMBERS)


OF_MEMBERS = frozenset({"_name_", "_value_", "__objclass__", "_sort_order_", "_inverted_"})
"""The attributes that each member of an enumeration has."""


@identify.register(pathlib.PurePath)
def _(value: pathlib.PurePath) -> Parts:
    return Parts("path", [pathlib.PurePath.__str__(value)], covers=_OF_PATHS)


_OF_PATHS = frozenset(
    {slot for kind in (pathlib.PurePosixPath, pathlib.PosixPath) for base in kind.__mro__
     for slot in vars(base).get("__slots__", ())}
)  # fmt: skip


@identify.register(datetime.datetime)
@identify.register(datetime.time)
def _(value: Any) -> Parts:
    base = datetime.datetime if isinstance(value, datetime.datetime) else datetime.time
    bare = base.isoformat(base.replace(value, tzinfo=None))
    return Parts(base.__name__, [bare, value.fold, value.tzinfo])


@identify.register(datetime.date)
def _(value: datetime.date) -> Parts:
    return Parts("date", [datetime.date.isoformat(value)])


@identify.register(datetime.timedelta)
def _(value: datetime.timedelta) -> Parts:
    return Parts("timedelta", [value.days, value.seconds, value.microseconds])


@identify.register(decimal.Decimal)
@identify.register(fractions.Fraction)
@identify.register(uuid.UUID)
@identify.register(range)
def _(value: Any) -> Parts:
    kinds: tuple[Any, ...] = (decimal.Decimal, fractions.Fraction, uuid.UUID, range)
    base = next(kind for kind in kinds if isinstance(value, kind))
    return Parts(base.__name__, [base.__str__(value)])


@identify.register(decimal.Context)
def _(value: decimal.Context) -> Parts:  # its flags say what has happened, and not what happens
    names = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
    settings = [getattr(value, name) for name in names]
    return Parts("Context", [*settings, {kind.__name__: on for kind, on in value.traps.items()}])


@identify.register(slice)
def _(value: slice) -> Parts:
    return Parts("slice", [value.start, value.stop, value.step])


@identify.register(weakref.ref)
def _(value: weakref.ref[object]) -> Parts:
    return Parts("reference", [value()])


@identify.register(contextvars.ContextVar)
def _(value: contextvars.ContextVar[object]) -> Parts:
    return Parts("context variable", _current(value))


def _current(value: contextvars.ContextVar[object]) -> Iterator[object]:
    with contextlib.suppress(LookupError):
        yield value.get()


@identify.register(re.Pattern)
def _(value: re.Pattern[str]) -> Parts:
    return Parts("pattern", [value.pattern, value.flags])


@identify.register(logging.Logger)
def _(value: logging.Logger) -> Parts:  # what it does depends on settings, and is no result
    return Parts("logger", [value.name], covers=EVERYTHING)


@identify.register(type(threading.Lock()))
@identify.register(type(threading.RLock()))
def _(value: object) -> Parts:  # guards a computation, and is no part of it
    return Parts("lock")


@identify.register(struct.Struct)
def _(value: struct.Struct) -> Parts:
    return Parts("struct", [value.format])


@identify.register(functools.partial)
def _(value: functools.partial[object]) -> Parts:
    return Parts(
        "partial", [value.func, value.args, value.keywords, *([vars(value)] if vars(value) else ())]
    )
