"""Uses of a name that change what it stands for, as far as the bytecode shows them."""

from __future__ import annotations

import types
from collections import deque

from hypernodes.identity.bytecode import Use

_BLIND: dict[type, frozenset[str]] = {
    list: frozenset({"append", "extend", "insert", "clear"}),
    set: frozenset({"add", "update", "discard", "clear"}),
    dict: frozenset({"update", "clear"}),
    deque: frozenset({"append", "appendleft", "extend", "extendleft", "clear"}),
}
"""Methods of these exact types that return None, whatever they hold: calling one reads nothing."""


_CHANGING: dict[type, frozenset[str]] = {
    list: _BLIND[list] | {"pop", "remove", "sort", "reverse"},
    set: _BLIND[set] | {"pop", "remove"},
    dict: _BLIND[dict] | {"pop", "popitem", "setdefault"},
    deque: _BLIND[deque] | {"pop", "popleft", "remove", "rotate", "reverse"},
}
"""Methods of these exact types that change what they hold."""


def only_writes(value: object, use: Use) -> bool:
    """Whether a use puts something into a container, and reads nothing of it.

    So a list that collects calls is a place for effects, and no constant of the function.

    Args:
        value: what the name stands for.
        use: the use.
    """
    blind = _BLIND.get(type(value))
    if blind is None:
        return False
    if use.chain:
        return len(use.chain) == 1 and use.chain[0] in blind and use.is_called
    return type(value) is dict and _sets_item(use)


def _sets_item(use: Use) -> bool:
    kinds = [kind for kind, _ in use.then[:2]]
    return kinds in (["const", "set item"], ["load", "set item"])


def is_written(value: object, use: Use) -> bool:
    """Whether a use plainly changes what a name stands for; other ways show when it runs.

    Args:
        value: what the name stands for.
        use: the use.
    """
    if isinstance(value, (types.ModuleType, type)):
        return False
    if use.chain:
        return use.chain[0] in _CHANGING.get(type(value), ())
    kinds = [kind for kind, _ in use.then[:2]]
    return (
        _sets_item(use)
        or kinds[:1] == ["set attribute"]
        or kinds in (["const", "copy"], ["load", "copy"])
        or (kinds[:2] == ["copy", "attribute"])
    )
