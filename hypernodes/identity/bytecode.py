"""What bytecode does: the names that a code object reads and writes, and its instructions."""

from __future__ import annotations

import collections
import dis
import functools
import types
from typing import Any

# What a function writes to is a place for effects, and no constant that its result depends on: a
# list that collects calls, a counter, a memo. Its content is left out, or nothing would ever hit.

_REBOUND, _STORED, _MUTATED = "rebound", "stored into", "mutated"
_CONTAINERS = (list, dict, set, bytearray, collections.deque)
_MUTATORS = frozenset(
    name
    for kind in _CONTAINERS
    for name in vars(kind)
    if name in {
        "add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop",
        "popitem", "popleft", "remove", "setdefault", "update",
    }
)  # fmt: skip
_NAME_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME"})


def reading(code: types.CodeType, name: str, value: Any) -> Any:
    """The value of a name as the code reads it; a mark where the code writes to it."""
    ways = _writes(code).get(name)
    if ways is None:
        return value
    if _REBOUND in ways or (_STORED in ways and not isinstance(value, (type, types.ModuleType))):
        return WRITTEN
    return WRITTEN if isinstance(value, _CONTAINERS) else value


WRITTEN = "<written to>"


@functools.lru_cache(maxsize=4096)
def _writes(code: types.CodeType) -> dict[str, set[str]]:
    """Names from outside that the code, or code inside it, writes to, and how."""
    found: dict[str, set[str]] = {}
    loaded: dict[Any, str] = {}
    before: list[Any] = []
    for instruction in dis.get_instructions(code):
        name, argument = instruction.opname, instruction.argval
        start = _start(instruction)
        if name in _NAME_LOADS:
            loaded[start] = argument
        elif name in ("STORE_GLOBAL", "STORE_DEREF") and argument not in code.co_cellvars:
            found.setdefault(argument, set()).add(_REBOUND)
        elif name in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_ATTR", "DELETE_ATTR"):
            root = loaded.get(start) if start else _container(before)
            if root is not None:
                found.setdefault(root, set()).add(_STORED)
        elif name in ("LOAD_ATTR", "LOAD_METHOD") and argument in _MUTATORS:
            root = loaded.get(start) if start else _container(before[-1:])
            if root is not None:
                found.setdefault(root, set()).add(_MUTATED)
        before.append(instruction)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            for name, ways in _writes(const).items():
                if name not in code.co_cellvars:
                    found.setdefault(name, set()).update(ways)
    return found


def _start(instruction: dis.Instruction) -> Any:
    """Where the expression of an instruction starts in the source: at its first name."""
    positions = getattr(instruction, "positions", None)  # since Python 3.11
    if positions is None or positions.col_offset is None:
        return None
    return positions.lineno, positions.col_offset


def _container(before: list[dis.Instruction]) -> str | None:
    """Without positions: the name loaded last but for a simple key."""
    for instruction in reversed(before[-8:]):
        if instruction.opname in _NAME_LOADS:
            return str(instruction.argval)
    return None


# What says where code is, and not what it does.
_PLACE = frozenset({"__name__", "__file__", "__doc__", "__builtins__", "__spec__", "__package__"})


@functools.lru_cache(maxsize=4096)
def names_of(
    code: types.CodeType,
) -> tuple[tuple[str, ...], frozenset[str], tuple[tuple[int, str], ...]]:
    """Global names, attribute names and imports of a code object and those inside it."""
    names: set[str] = set()
    attributes: set[str] = set()
    imports: set[tuple[int, str]] = set()
    before: list[Any] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            level = before[-2] if len(before) > 1 and isinstance(before[-2], int) else 0
            imports.add((level, instruction.argval))
        elif "ATTR" in instruction.opname or instruction.opname in ("LOAD_METHOD", "IMPORT_FROM"):
            attributes.add(instruction.argval)
        if instruction.opname != "EXTENDED_ARG":
            before.append(instruction.argval)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            inner = names_of(const)
            names.update(inner[0])
            attributes.update(inner[1])
            imports.update(inner[2])
    return tuple(sorted(names - _PLACE)), frozenset(attributes), tuple(sorted(imports))


@functools.lru_cache(maxsize=4096)
def instructions_of(code: types.CodeType) -> tuple[Any, ...]:
    """The instructions with what their arguments mean; loaded constants as they are."""
    listing: list[Any] = []
    for instruction in dis.get_instructions(code):
        name, argument = instruction.opname, instruction.argval
        if name == "EXTENDED_ARG":
            continue
        if name == "STORE_NAME" and argument in ("__doc__", "__firstlineno__"):
            del listing[-2:]  # a class body says its docstring and its line
        elif instruction.opcode in dis.hasconst:
            listing += (name, argument)
        else:
            listing.append(f"{name} {argument!r}")
    return tuple(listing)
