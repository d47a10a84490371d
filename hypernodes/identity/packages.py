"""Where code comes from: an installed package, the standard library, or the user."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import sys
from pathlib import PurePath
from typing import Any


def origin(module_name: str) -> str | None:
    """Package and version that a module belongs to; None for the user's own code.

    >>> origin("json.decoder") == f"python {sys.version_info[0]}.{sys.version_info[1]}"
    True
    >>> origin("__main__") is None
    True
    """
    top = module_name.partition(".")[0]
    return None if top == "__main__" else _home(top)


@functools.lru_cache(maxsize=1024)
def _home(top: str) -> str | None:
    if not top or top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return f"python {sys.version_info[0]}.{sys.version_info[1]}" if top else None
    return home_by_file(top)


def home_by_file(top: str) -> str | None:
    if top in sys.stdlib_module_names or top in ("hypernodes", "prefect_hypernodes"):
        return top
    module = sys.modules.get(top)
    spec = getattr(module, "__spec__", None) or _find_spec(top)
    places = [getattr(spec, "origin", None) or getattr(module, "__file__", None) or ""]
    places += list(getattr(spec, "submodule_search_locations", None) or ())
    parts = {part for place in places for part in PurePath(place).parts}
    if not parts & {"site-packages", "dist-packages"}:
        return None
    return f"{top} {_version(top)}"


def _find_spec(top: str) -> Any:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None


def _version(top: str) -> str:
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        names = importlib.metadata.packages_distributions().get(top, [])
        return ",".join(importlib.metadata.version(name) for name in names)
