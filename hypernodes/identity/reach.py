"""Which libraries may read what code says of itself: docstrings, hints, names.

A library may do so with a function that it is given. Whether it is given one is not known, so it is
taken to be where a function passes one on, and what it calls leads to a library that is not among
those known; or where an object of such a library holds one.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Iterable

from hypernodes.identity.packages import origin
from hypernodes.identity.values import module_of

_KNOWN = frozenset(
    """
    numpy pandas polars pyarrow scipy sklearn torch networkx matplotlib PIL tqdm joblib tenacity
    requests httpx aiohttp yaml bs4 lxml orjson boto3 botocore fsspec s3fs dateutil pytz numba
    toolz more_itertools sortedcontainers seaborn dask distributed jinja2 psycopg psycopg2 redis
    cv2 shapely geopandas xarray astropy hypernodes python xgboost lightgbm wrapt attr attrs
    """.split()
)
"""Libraries that do nothing with the docstrings and hints of functions that they are given."""

_MOST = 10_000
"""So many objects are looked at; where there are more, a library may find anything."""


def is_stranger(home: str | None) -> bool:
    """Whether a library may read what code says of itself.

    Args:
        home: its name and version, as `origin` gives them; None for one's own code.
    """
    return home is not None and home.partition(" ")[0] not in _KNOWN


class Reach:
    """Where the functions of one's own lead that a traversal meets."""

    def __init__(self) -> None:
        self._leads: dict[int, list[object]] = {}
        self._passing: list[object] = []
        self._strange: set[int] = set()
        self._searched: dict[int, object] = {}

    def note(
        self, function: object, leads_to: Iterable[object], passes_on: bool, is_strange: bool
    ) -> None:
        """Note what a function uses.

        Args:
            function: the function.
            leads_to: what its names stand for.
            passes_on: whether functions or classes are among it that it does not only call.
            is_strange: whether it uses a library that may read what they say of themselves.
        """
        self._leads[id(function)] = list(leads_to)
        if passes_on:
            self._passing.append(function)
        if is_strange:
            self._strange.add(id(function))

    def passes_to_strangers(self) -> bool:
        """Whether a function that passes on code leads to a library that may read it."""
        return any(self._is_strange_from(each) for each in self._passing if self._strange)

    def _is_strange_from(self, function: object) -> bool:
        seen: dict[int, object] = {id(function): function}
        todo = [function]
        while todo:
            each = todo.pop()
            if id(each) in self._strange or len(seen) > _MOST:
                return True
            todo += self._new(seen, self._next(each))
        return False

    def _next(self, value: object) -> Iterable[object]:
        if isinstance(value, types.FunctionType):
            return self._leads.get(id(value), ())
        if isinstance(value, types.ModuleType):
            return () if origin(value.__name__) else vars(value).values()
        if isinstance(value, type) and origin(module_of(value)):
            return ()
        return gc.get_referents(value)

    def holds_code(self, value: object) -> bool:
        """Whether an object of a library's leads to a function or a class of one's own.

        What has been looked at before is not, again.

        Args:
            value: the object.
        """
        todo = self._new(self._searched, [value])
        while todo:
            if len(self._searched) > _MOST:
                return True
            for each in self._new(self._searched, gc.get_referents(todo.pop())):
                if isinstance(each, types.FunctionType):
                    if origin(str(each.__globals__.get("__name__"))) is None:
                        return True
                elif isinstance(each, type):
                    if origin(module_of(each)) is None:
                        return True
                elif not isinstance(each, types.ModuleType):
                    todo.append(each)
        return False

    @staticmethod
    def _new(seen: dict[int, object], values: Iterable[object]) -> list[object]:
        """Those of some objects that have not been seen, and may lead to others."""
        new = []
        for each in values:
            if id(each) not in seen and gc.is_tracked(each):
                seen[id(each)] = each
                new.append(each)
        return new
