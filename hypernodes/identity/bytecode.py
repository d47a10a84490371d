"""What bytecode does: a form of it without layout, and each place where it reads a name.

Two questions are answered here for `code`, both for a code object with all those inside it:

    normal_form(code)   what runs, however it is laid out and its local variables are called
    uses_of(code)       which names it reads, which attributes of them, and what follows

Nothing is guessed: an instruction that is not known counts as it stands, and a use that fits no
pattern is one of the whole value.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_OUTER = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_LOCAL = frozenset({"LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK"})
_STORES = frozenset({"STORE_FAST", "STORE_DEREF", "STORE_GLOBAL", "STORE_NAME"})
_CALLS = frozenset({"CALL", "CALL_FUNCTION"})
_NOTHING = frozenset({"EXTENDED_ARG", "PRECALL", "PUSH_NULL", "RESUME", "CACHE", "NOP",
                      "NOT_TAKEN"})  # fmt: skip
"""Instructions that say nothing about what is done."""

_MAKE_CELLS = frozenset({"MAKE_CELL", "COPY_FREE_VARS", "LOAD_CLOSURE"})
"""Which variables an inner function shares is said by that function."""

_MEANING = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)
"""Flags of a code object that say what it does; others say how it was compiled."""

_SAID_BY_COMPILER = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
"""What the body of a class says of itself before it does anything."""


class Place(NamedTuple):
    """An instruction, with what its argument means.

    Attributes:
        name: of the instruction.
        argument: what `dis` shows for the argument: a name, a constant, the offset of a jump.
        arg: the argument's number; None where the instruction was taken apart.
        offset: where it is.
        jumps: whether the argument is where it jumps to.
        is_called: whether what it loads, or an attribute of that, is called.
    """

    name: str
    argument: Any
    arg: int | None
    offset: int
    jumps: bool
    is_called: bool


@functools.lru_cache(maxsize=4096)
def _places(code: types.CodeType, with_text: bool = False) -> tuple[Place, ...]:
    """The instructions that do something: no layout, docstrings or hints of inner functions.

    What compilers put there for their own sake goes, and so does what differs between releases of
    Python without a meaning: the same source has to look the same wherever the line breaks are.

    Args:
        code: a function's code.
        with_text: leave docstrings and hints, for code where something may read them.
    """
    listing: list[Place] = []
    jumps = {*dis.hasjrel, *dis.hasjabs}
    is_pushed = False  # NULL, before what is called; since Python 3.13 it comes after that
    for each in dis.get_instructions(code):
        if each.opname == "PUSH_NULL":
            is_pushed = _NULL_FIRST
            if not is_pushed and listing:
                listing[-1] = listing[-1]._replace(is_called=True)
        if each.opname in _NOTHING:
            continue
        name, argument = each.opname, each.argval
        if name == "KW_NAMES":  # of which Python 3.11 shows the number
            argument = code.co_consts[each.arg or 0]
        is_said = argument in _SAID_BY_COMPILER and not (with_text and argument == "__doc__")
        if name == "STORE_NAME" and is_said and listing:
            listing.pop()  # and the constant that it stores
            continue
        parts = _parts_of(name)
        if len(parts) > 1:
            # Python joins two into one where they are on one line. Nothing jumps to the second.
            for at, part in enumerate(parts):
                listing.append(Place(part, argument[at], None, each.offset + at, False, False))
            continue
        name = parts[0]
        is_called = is_pushed or name == "LOAD_METHOD"
        if (name == "LOAD_ATTR" and _METHOD_BIT) or (name == "LOAD_GLOBAL" and _CALL_BIT):
            is_called = is_called or bool(each.arg and each.arg & 1)
        is_pushed = False
        # Which of two ways Python calls `module.function()` depends on where the import is.
        name = _SAME.get(name, name)
        listing.append(
            Place(name, argument, each.arg, each.offset, each.opcode in jumps, is_called)
        )
        if not with_text and _attaches_hints(listing[-1]):
            _without_hints(listing, {*code.co_cellvars, *code.co_freevars})
    return tuple(_with_plain_jumps(listing))


def _with_plain_jumps(listing: list[Place]) -> list[Place]:
    """The same steps with the shortest jumps: which ones Python makes depends on line numbers.

    A jump to a jump leads where that one does, and a jump around a jump is that one's opposite.
    Python leaves both in where folding them would lose a line number, so a line break would show.
    """
    at = {place.offset: index for index, place in enumerate(listing)}
    targets = [place.argument for place in listing if place.jumps]
    plain: list[Place] = []
    skipped = False
    for index, place in enumerate(listing):
        if skipped:
            skipped = False
            continue
        if place.jumps:
            name, target = _without_direction(place.name), place.argument
            around = listing[index + 1 : index + 3]
            if (
                name in _OPPOSITES
                and len(around) == 2
                and target == around[1].offset
                and _is_plain_jump(around[0])
                and around[0].offset not in targets
            ):
                name, target, skipped = _OPPOSITES[name], around[0].argument, True
            for _ in range(len(listing)):  # at most: `while True: pass` jumps to itself
                reached = at.get(target)
                if reached is None or not _is_plain_jump(listing[reached]):
                    break
                target = listing[reached].argument
            place = place._replace(name=name, argument=target)
        plain.append(place)
    return plain


_OPPOSITES = {
    "POP_JUMP_IF_TRUE": "POP_JUMP_IF_FALSE", "POP_JUMP_IF_FALSE": "POP_JUMP_IF_TRUE",
    "POP_JUMP_IF_NONE": "POP_JUMP_IF_NOT_NONE", "POP_JUMP_IF_NOT_NONE": "POP_JUMP_IF_NONE",
}  # fmt: skip


def _without_direction(name: str) -> str:
    return name.replace("JUMP_FORWARD", "JUMP").replace("JUMP_BACKWARD", "JUMP")


def _is_plain_jump(place: Place) -> bool:
    return place.jumps and _without_direction(place.name) in ("JUMP", "JUMP_ABSOLUTE")


@functools.lru_cache(maxsize=512)
def _parts_of(name: str) -> tuple[str, ...]:
    """An instruction on local variables as those that it is made of, since Python 3.13."""
    if "FAST" not in name:
        return (name,)
    name = name.replace("LOAD_FAST_BORROW", "LOAD_FAST")
    if name in ("LOAD_FAST_LOAD_FAST", "STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST"):
        first, _, second = name.partition("_FAST_")
        return (f"{first}_FAST", second)
    return (name,)


# Since Python 3.12 LOAD_ATTR says whether it is the start of a method's call.
_METHOD_BIT = "LOAD_METHOD" not in dis.opmap or dis.opmap["LOAD_METHOD"] > 255
# Since Python 3.11 LOAD_GLOBAL says whether what it loads is called.
_CALL_BIT = "PRECALL" in dis.opmap or "PUSH_NULL" in dis.opmap
_NULL_FIRST = sys.version_info < (3, 13)
_SAME = {"LOAD_METHOD": "LOAD_ATTR", "CALL_METHOD": "CALL_FUNCTION"}
_PLAIN_LOADS = frozenset({"LOAD_CONST", *_OUTER, *_FREE, *_LOCAL})


_TAKEN = {
    **dict.fromkeys((*_PLAIN_LOADS, "LOAD_SMALL_INT"), 0),
    "LOAD_ATTR": 1, "BINARY_SUBSCR": 2, "BINARY_OP": 2,
}  # fmt: skip
"""How many values the instructions of an annotation take; each of them leaves one."""


def _attaches_hints(place: Place) -> bool:
    """Whether an instruction attaches annotations to a function that is made."""
    if place.name == "MAKE_FUNCTION":
        return bool((place.arg or 0) & 4)
    return place.name == "SET_FUNCTION_ATTRIBUTE" and place.arg == 4


def _without_hints(listing: list[Place], cells: set[str]) -> None:
    """Leave out the annotations of a function that is made, where they only name types.

    What does not look like that stays: it may be an expression that does something.

    Args:
        listing: its last instruction attaches them.
        cells: the variables that inner functions share.
    """
    span = _span_of_hints(listing, cells)
    if span is None:
        return
    made = listing[-1]
    del listing[slice(*span)]
    if made.name == "SET_FUNCTION_ATTRIBUTE":
        listing.pop()
    else:
        listing[-1] = made._replace(arg=(made.arg or 0) & ~4, argument=None)


def _span_of_hints(listing: Sequence[Place], cells: set[str]) -> tuple[int, int] | None:
    """From where to where the annotations are made that the last instruction attaches.

    The way back from it: the code object and its name, the tuple of cells if there is one, and
    before that a tuple of names and annotations in turns.
    """
    at = len(listing) - 2
    if listing[-1].name == "SET_FUNCTION_ATTRIBUTE":
        while at >= 0 and listing[at].name != "MAKE_FUNCTION":
            at -= 1
        at -= 1
    if at > 0 and isinstance(listing[at - 1].argument, types.CodeType):  # and its name
        at -= 1
    if at < 0 or not isinstance(listing[at].argument, types.CodeType):
        return None
    at -= 1
    if at >= 0 and listing[at].name == "BUILD_TUPLE":
        given = listing[max(0, at - (listing[at].arg or 0)) : at]
        if given and all(_gives_cell(each, cells) for each in given):
            at -= len(given) + 1
    if at < 0:
        return None
    end, made = at + 1, listing[at]
    if made.name == "LOAD_CONST" and isinstance(made.argument, tuple):  # all of them are texts
        return at, end
    if made.name != "BUILD_TUPLE" or (made.arg or 0) % 2:
        return None
    needed = made.arg or 0
    while needed and at > 0:
        at -= 1
        each = listing[at]
        taken = each.arg if each.name in ("BUILD_TUPLE", "BUILD_LIST") else _TAKEN.get(each.name)
        if taken is None:
            return None
        needed += taken - 1
    return None if needed else (at, end)


@functools.lru_cache(maxsize=4096)
def texts_of_hints(code: types.CodeType) -> tuple[str, ...]:
    """The annotations that are texts, of inner functions and of the members of inner classes."""
    found: list[str] = []
    places, cells = _places(code, True), {*code.co_cellvars, *code.co_freevars}
    for at, place in enumerate(places):
        if isinstance(place.argument, types.CodeType):
            found += texts_of_hints(place.argument)
        if place.argument == "__annotations__" and at and isinstance(places[at - 1].argument, str):
            found.append(places[at - 1].argument)
        span = _span_of_hints(places[: at + 1], cells) if _attaches_hints(place) else None
        for each in places[slice(*span)] if span else ():
            if isinstance(each.argument, tuple):
                found += _texts(each.argument[1::2])
            elif each.name == "LOAD_CONST" and isinstance(each.argument, str):
                found.append(each.argument)
    return tuple(found)


def _gives_cell(place: Place, cells: set[str]) -> bool:
    """Whether it is how an inner function is given a variable: by LOAD_FAST since Python 3.13."""
    if place.name == "LOAD_CLOSURE":
        return True
    names = place.argument if isinstance(place.argument, tuple) else (place.argument,)
    return place.name.startswith("LOAD_FAST") and cells.issuperset(names)


# -- A form that layout does not change ------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def normal_form(
    code: types.CodeType,
    with_names: bool = False,
    without: frozenset[str] = frozenset(),
    with_text: bool = False,
) -> tuple[Any, ...]:
    """What a function does as nested tuples of plain values.

    Local variables are numbered in the order in which they appear, so that one can be renamed;
    parameters stay as they are called, for they may be given by name.

    Args:
        code: a function's code.
        with_names: leave the local variables their names, for code whose variables something may
            look up by name.
        without: parameters to leave out, see `unread`.
        with_text: whether names, docstrings and hints of inner functions count.
    """
    return _normal(code, None, [0], with_names, without, with_text)


@functools.lru_cache(maxsize=4096)
def unread(code: types.CodeType) -> tuple[str, ...]:
    """The parameters that the code never looks at, the last one first."""
    if code.co_flags & inspect.CO_VARARGS:
        return ()
    touched = {*code.co_cellvars}
    for place in _places(code):
        if "FAST" in place.name:
            touched.update(place.argument if isinstance(place.argument, tuple) else ())
            touched.add(place.argument)
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return tuple(name for name in reversed(arguments) if name not in touched)


def _normal(
    code: types.CodeType,
    around: Callable[[str], str] | None,
    counter: list[int],
    with_names: bool,
    without: frozenset[str] = frozenset(),
    with_text: bool = False,
) -> tuple[Any, ...]:
    """The normal form of a function, and of those inside it.

    Args:
        code: the function's code.
        around: the number of a variable of the outer function by its name.
        counter: how many variables have been numbered: one count for all functions inside, so that
            two variables never look alike.
        with_names, without, with_text: see `normal_form`.
    """
    places = _places(code, with_text)
    index = {place.offset: at for at, place in enumerate(places)}
    arguments = code.co_varnames[: _arguments(code)]
    known = {name: f"={name}" for name in arguments}

    def variable(name: str) -> str:
        if with_names or (name.startswith("__") and name.endswith("__")):
            return name
        if around is not None and name in code.co_freevars:
            return around(name)  # a variable that is shared with the outer function
        if name not in known:
            counter[0] += 1
            known[name] = f"{counter[0]}"
        return known[name]

    cells = {*code.co_cellvars, *code.co_freevars}
    listing: list[Any] = []
    for at, place in enumerate(places):
        name, argument = place.name, place.argument
        if name in _MAKE_CELLS:
            continue
        if isinstance(argument, types.CodeType):
            inner = _normal(argument, variable, counter, with_names, with_text=with_text)
            listing += (name, inner)
            if with_text:
                first = argument.co_consts[0] if argument.co_consts else None
                listing += (argument.co_name, first if isinstance(first, str) else None)
        elif "FAST" in name or "DEREF" in name:
            for each in argument if isinstance(argument, tuple) else (argument,):
                if name.startswith("LOAD_FAST") and "CLEAR" not in name and each in cells:
                    continue  # it gives the cell to an inner function
                listing += (name, variable(each))
        elif name == "LOAD_CONST" and _is_name_of_function(places, at) and not with_names:
            listing += (name, argument.rpartition(".")[2])
        elif place.jumps:
            listing += (name, _target(index, argument, places))  # a place here, and no offset
        else:
            meant = "CONST" in name or _is_meant(argument)
            listing += (name, argument if meant else place.arg)
    # Since Python 3.11 a table says which instructions each handler is for. A jump that has gone
    # from the listing may split a range in two: such neighbours become one again.
    entries: list[tuple[int, ...]] = []
    for each in getattr(dis.Bytecode(code), "exception_entries", ()):
        places_of = (_target(index, at, places) for at in (each.start, each.end, each.target))
        entry = (*places_of, each.depth, each.lasti)
        if entries and entries[-1][1] == entry[0] and entries[-1][2:] == entry[2:]:
            entry = (entries.pop()[0], *entry[1:])
        if entry[0] < entry[1]:
            entries.append(entry)
    positional = [name for name in code.co_varnames[: code.co_argcount] if name not in without]
    return (
        "code",
        code.co_flags & _MEANING,
        min(code.co_posonlyargcount, len(positional)),
        len(positional),
        tuple(name for name in arguments if name not in without),
        tuple(entries),
        *listing,
    )


def _is_meant(argument: object) -> bool:
    """Whether an argument says what the instruction does, and not only how `dis` shows it."""
    return isinstance(
        argument, (str, bytes, bool, int, float, complex, tuple, frozenset, slice, type(...))
    )


def _is_name_of_function(places: tuple[Place, ...], at: int) -> bool:
    """Up to Python 3.10 a function's qualified name is loaded before it is made."""
    following = places[at + 1].name if at + 1 < len(places) else ""
    if not isinstance(places[at].argument, str):
        return False
    return following == "MAKE_FUNCTION" or (
        following == "STORE_NAME" and places[at + 1].argument == "__qualname__"
    )


def _target(index: Mapping[int, int], offset: int, places: tuple[Place, ...]) -> int:
    if offset in index:
        return index[offset]
    later = (at for at, place in enumerate(places) if place.offset >= offset)
    return next(later, len(places))


def _arguments(code: types.CodeType) -> int:
    flags = (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS)
    return code.co_argcount + code.co_kwonlyargcount + sum(bool(code.co_flags & f) for f in flags)


# -- Names that are read ---------------------------------------------------------------------------


class Use(NamedTuple):
    """One place where code reads a name from outside, or a variable that it has imported.

    Attributes:
        name: the name.
        chain: the attributes that are read from it right there: `a.b.c` reads b and c.
        is_called: whether it is known to be called there.
        then: what follows, as far as it matters: see `_then`.
        member_of: the constant that is looked for in it (`"X" in name`).
    """

    name: str
    chain: tuple[str, ...]
    is_called: bool
    then: tuple[tuple[str, Any], ...]
    member_of: object = None


class Import(NamedTuple):
    """An import in a function's body.

    Attributes:
        level: how many packages up it starts; 0 for an absolute one.
        module: what is imported.
        name: what is taken from it, or None for the module.
        is_top: whether only the outermost package is bound (`import a.b`).
        variable: the local variable that it is bound to; None where that is not one.
    """

    level: int
    module: str
    name: str | None
    is_top: bool
    variable: str | None


class Uses(NamedTuple):
    """The names that code reads, imports and writes, with the code inside it.

    Attributes:
        outer: uses of global names.
        free: uses of variables of enclosing functions.
        imported: uses of local variables that an import is bound to.
        imports: the imports.
        rebound: global names that are assigned or deleted.
        rebound_free: the same of variables of enclosing functions.
        words: every name and text that occurs.
    """

    outer: tuple[Use, ...]
    free: tuple[Use, ...]
    imported: tuple[Use, ...]
    imports: tuple[Import, ...]
    rebound: frozenset[str]
    rebound_free: frozenset[str]
    words: frozenset[str]


@functools.lru_cache(maxsize=4096)
def uses_of(code: types.CodeType, with_text: bool = False) -> Uses:
    """What code reads by name, in the order in which it does.

    Args:
        code: a function's code.
        with_text: whether it reads what hints of inner functions name.
    """
    places = _places(code, with_text)
    outer: list[Use] = []
    inside: list[Use] = []  # of variables, whether they are the function's own or not
    imports: list[Import] = []
    rebound: set[str] = set()
    rebound_free: set[str] = set()
    words: set[str] = set(code.co_names) - _names_of_classes(places)
    cells = {*code.co_cellvars, *code.co_freevars}
    for at, place in enumerate(places):
        name, argument = place.name, place.argument
        if name in _OUTER or name == "LOAD_FROM_DICT_OR_GLOBALS":
            outer.append(_use(places, at, argument))
        elif _gives_cell(place, cells):
            continue
        elif name in _FREE or name in _LOCAL:
            inside.append(_use(places, at, argument))
        elif "LOAD_FAST" in name:  # another instruction of several variables
            names = argument if isinstance(argument, tuple) else (argument,)
            inside += [Use(each, (), False, ()) for each in names]
        elif name in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            rebound.add(argument)
        elif name in ("STORE_DEREF", "DELETE_DEREF") and argument in code.co_freevars:
            rebound_free.add(argument)
        elif name == "IMPORT_NAME":
            imports += _imports(places, at)
        if "CONST" in name:
            words.update(_texts(argument))
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            inner = uses_of(const, with_text)
            outer += inner.outer
            inside += inner.free + inner.imported
            imports += inner.imports
            rebound |= inner.rebound
            rebound_free |= inner.rebound_free & {*code.co_freevars}
            words |= inner.words
    bound = {each.variable for each in imports}
    return Uses(
        tuple(dict.fromkeys(outer)),
        tuple(dict.fromkeys(use for use in inside if use.name in code.co_freevars)),
        tuple(dict.fromkeys(use for use in inside if use.name in bound)),
        tuple(dict.fromkeys(imports)),
        frozenset(rebound),
        frozenset(rebound_free),
        frozenset(words),
    )


def _names_of_classes(places: tuple[Place, ...]) -> set[str]:
    """Which of `__name__` and `__qualname__` are read of objects' classes alone.

    These names count with the class anyway: `type(x).__name__`, `x.__class__.__qualname__`.
    """
    found: dict[str, bool] = {}
    for at, place in enumerate(places):
        if place.argument in ("__name__", "__qualname__"):
            is_of_class = place.name == "LOAD_ATTR" and _is_class(places[max(0, at - 3) : at])
            found[place.argument] = found.get(place.argument, True) and is_of_class
    return {name for name, is_of_class in found.items() if is_of_class}


def _is_class(before: tuple[Place, ...]) -> bool:
    """Whether instructions end with what loads an object's class."""
    if before and before[-1].name == "LOAD_ATTR":
        return bool(before[-1].argument == "__class__")
    if len(before) < 3 or before[-1].name not in _CALLS or before[-1].arg != 1:
        return False
    called, given = before[0], before[1]
    is_loaded = given.name in _OUTER or given.name in _FREE or given.name in _LOCAL
    return called.name in _OUTER and called.argument == "type" and is_loaded


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, frozenset)):
        for each in value:
            yield from _texts(each)


def _use(places: tuple[Place, ...], at: int, name: str) -> Use:
    """The use that begins with the instruction `at`, which loads `name`."""
    first, chain, is_called = at, [], False
    loaded = places[at]
    if loaded.name == "LOAD_GLOBAL":
        is_called = loaded.is_called
    at += 1
    while at < len(places) and places[at].name == "LOAD_ATTR":
        chain.append(places[at].argument)
        is_called = places[at].is_called or loaded.is_called
        at += 1
    then = tuple(_then(places, at))
    member_of = None
    if then[:1] == (("contains", None),) and first and "CONST" in places[first - 1].name:
        member_of = places[first - 1].argument
    return Use(name, tuple(chain), is_called, then, member_of)


def _then(places: tuple[Place, ...], at: int) -> Iterator[tuple[str, Any]]:
    """The next four instructions in words that do not depend on the release of Python.

    Stops after one that no pattern asks for ("other").
    """
    for place in places[at : at + 4]:
        name = place.name
        if name in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constant = place.argument
            yield "const", constant if isinstance(constant, (str, int, type(None))) else ...
        elif name in _CALLS:
            yield "call", place.arg
        elif name == "BINARY_SUBSCR" or (name == "BINARY_OP" and place.arg == _SUBSCRIPT):
            yield "item", None
        elif name == "STORE_SUBSCR" or name == "DELETE_SUBSCR":
            yield "set item", None
        elif name == "STORE_ATTR" or name == "DELETE_ATTR":
            yield "set attribute", place.argument
        elif name == "CONTAINS_OP":
            yield "contains", None
        elif name == "LOAD_ATTR":
            yield "attribute", place.argument
        elif name in _OUTER:
            yield "load", place.argument
        elif name in _FREE or name in _LOCAL:
            yield "load", None
        elif name.startswith(("COPY", "DUP_TOP")):
            yield "copy", None
        else:
            yield "other", None
            return


_SUBSCRIPT = 26
"""Since Python 3.14 a subscript is a binary operation, of this number."""


def _imports(places: tuple[Place, ...], at: int) -> Iterator[Import]:
    """What the import instruction `at` imports, by the loads before it and the stores after it."""
    level = places[at - 2].argument if at > 1 and isinstance(places[at - 2].argument, int) else 0
    wanted = places[at - 1].argument if at else None
    module = places[at].argument
    at += 1
    if wanted:
        for name in wanted:
            variable = None
            if at + 1 < len(places) and places[at].name == "IMPORT_FROM":
                stored = places[at + 1]
                variable = stored.argument if stored.name in _LOCALLY else None
                at += 2
            yield Import(level, module, name, False, variable)
        return
    is_top = "." in module and not (at < len(places) and places[at].name == "IMPORT_FROM")
    while at < len(places) and places[at].name not in _STORES:  # import a.b.c as d
        at += 1
    stored = places[at] if at < len(places) else places[-1]
    variable = stored.argument if stored.name in _LOCALLY else None
    yield Import(level, module, None, is_top, variable)


_LOCALLY = frozenset({"STORE_FAST", "STORE_DEREF"})
