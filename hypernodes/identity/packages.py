"""Whose code it is: of an installed package, the standard library, or one's own.

Packages from an index count by name and version, the standard library by Python's minor version.
Everything else is one's own, and is followed: scripts, notebooks, folders on the path, and what was
installed from a folder or a repository (PEP 610's `direct_url.json`), since its version stays while
its code changes.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import sys
import sysconfig
import types
from pathlib import PurePath

PYTHON = f"python {sys.version_info[0]}.{sys.version_info[1]}"
_OURS = ("hypernodes", "prefect_hypernodes")
_SITE = frozenset({"site-packages", "dist-packages"})
_LIBRARY = tuple(
    {f"{PurePath(sysconfig.get_path(each))}/" for each in ("stdlib", "platstdlib")}
)  # fmt: skip


def origin(module_name: str) -> str | None:
    """Package and version that a module belongs to; None for the user's own code.

    >>> origin("json.decoder") == f"python {sys.version_info[0]}.{sys.version_info[1]}"
    True
    >>> origin("__main__") is None
    True
    """
    top = module_name.partition(".")[0]
    if top in ("__main__", "__mp_main__", ""):
        return None
    return _origin(top, _place(sys.modules.get(top)))


def origin_at(top: str, place: str) -> str | None:
    """The same for a top-level module that comes from a file."""
    return _origin(top, place)


def _place(module: types.ModuleType | None) -> str | None:
    """Where a module was loaded from; None where it is not loaded, or of no file."""
    spec = getattr(module, "__spec__", None)
    place = getattr(spec, "origin", None) or getattr(module, "__file__", None)
    if place is None:
        folders = list(getattr(module, "__path__", None) or ())
        place = folders[0] if folders else None
    return place if isinstance(place, str) else None


@functools.lru_cache(maxsize=4096)
def _origin(top: str, place: str | None) -> str | None:
    if top in _OURS:
        return top
    place = place or _place_found(top)
    is_installed = place is not None and bool(_SITE & set(PurePath(place).parts))
    is_of_python = place is not None and place.startswith(_LIBRARY) and not is_installed
    is_standard = top in sys.stdlib_module_names or top in sys.builtin_module_names
    # A private module of the standard library, as _sysconfigdata, is not among its names.
    if is_of_python or (is_standard and place in (None, "built-in", "frozen")):
        return PYTHON
    package = _distribution(top) if is_installed else None
    return None if package is None else f"{top} {package}"


def _place_found(top: str) -> str | None:
    """Where a module that is not loaded would come from."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    return spec.origin or (folders[0] if folders else None)


def is_there(top: str) -> bool:
    """Whether a package can be imported."""
    return top in sys.modules or _place_found(top) is not None


def _distribution(top: str) -> str | None:
    """Version of the package that a module came with; None where it did not come from an index."""
    try:
        found = [importlib.metadata.distribution(top)]
    except importlib.metadata.PackageNotFoundError:
        found = [each for each in importlib.metadata.distributions() if _brings(each, top)]
    if not found or any(_is_own(each) for each in found):
        return None
    return ",".join(each.version for each in found)


def _brings(distribution: importlib.metadata.Distribution, top: str) -> bool:
    """Whether a package brings a module: `packages_distributions` takes a second to say so."""
    names = distribution.read_text("top_level.txt")
    if names is not None and top in names.split():
        return True
    files = distribution.read_text("RECORD") or ""
    return any(
        files.startswith(start) or f"\n{start}" in files
        for start in (f"{top}/", f"{top}.py,", f"{top}.")
    )


def _is_own(distribution: importlib.metadata.Distribution) -> bool:
    """Whether a package was installed from a folder, a file or a repository.

    Conda's packages name the folder that they were built in, which is not where they came from.
    """
    if distribution.read_text("direct_url.json") is None:
        return False
    return (distribution.read_text("INSTALLER") or "").strip() != "conda"
