"""What the modules here share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hypernodes.identity.values import Parts


def held(tag: str, value: Any, state: Mapping[str, object], without: Collection[str] = ()) -> Parts:
    """Parts of an object that its attributes identify.

    Args:
        tag: names the type.
        value: the object.
        state: its attributes, by name.
        without: the names of those that do not count: caches and the like.
    """
    left = {name: item for name, item in state.items() if name not in without}
    return Parts(tag, [left], covers=frozenset({*vars(value), *state}))


def accessors(value: Any) -> frozenset[str]:
    """The attributes in which pandas and Polars cache accessors (`frame.sparse`).

    One of the user's own counts if it holds more than the value that it was made for.
    """
    found = set()
    for name in getattr(type(value), "_accessors", ()):
        accessor = vars(value).get(name)
        library = type(accessor).__module__.partition(".")[0] in ("pandas", "polars", "geopandas")
        if library or all(item is value for item in getattr(accessor, "__dict__", {}).values()):
            found.add(name)
    return frozenset(found)
