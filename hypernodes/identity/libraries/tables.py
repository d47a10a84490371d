"""Values of pandas, GeoPandas and Polars."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

from hypernodes.identity.libraries._state import accessors, held
from hypernodes.identity.traversal import words
from hypernodes.identity.values import Parts, Unidentifiable, identify, when_met


@when_met("pandas")
def _pandas() -> None:
    """pandas: frames, series, indices, their types, and windows and groups over them."""
    import pandas as pd
    from pandas.api.extensions import ExtensionArray, ExtensionDtype

    wrapped = type(pd.Series([0]).array)

    def column(value: pd.Series) -> object:
        array = value.array
        return array.to_numpy() if type(array) is wrapped else array

    @identify.register(pd.DataFrame)
    def _frame(value: pd.DataFrame) -> Parts:
        columns = [column(value.iloc[:, place]) for place in range(value.shape[1])]
        about = [value.attrs or None, value.flags.allows_duplicate_labels]
        return Parts(
            "DataFrame",
            [value.columns, value.index, *about, *columns],
            covers=_OF_FRAME | accessors(value),
        )

    @identify.register(pd.Series)
    def _series(value: pd.Series) -> Parts:
        about = [value.name, value.attrs or None, value.flags.allows_duplicate_labels]
        return Parts(
            "Series",
            [value.index, *about, column(value)],
            covers=_OF_FRAME | accessors(value),
        )

    @identify.register(pd.Index)
    def _index(value: pd.Index) -> Parts:
        covers = _OF_INDEX | accessors(value)
        if isinstance(value, pd.RangeIndex):
            about = [value.name, value.start, value.stop, value.step]
            return Parts("RangeIndex", about, covers=covers)
        if isinstance(value, pd.MultiIndex):
            levels = [value.get_level_values(place) for place in range(value.nlevels)]
            return Parts("MultiIndex", levels, covers=covers)
        # `freqstr` would say "C" of any calendar with holidays.
        about = [value.name, getattr(value, "freq", None), column(value)]
        return Parts("Index", about, covers=covers)

    @identify.register(ExtensionArray)
    def _column(value: ExtensionArray) -> Parts:
        own = type(value).__module__.partition(".")[0] == "pandas"
        covers = _OF_COLUMN if own else frozenset()
        return Parts("column", [value.dtype, *content(value)], covers=covers)

    def content(value: ExtensionArray) -> Iterator[object]:
        dtype = value.dtype
        if not isinstance(dtype, ExtensionDtype) or hasattr(dtype, "numpy_dtype"):
            yield from numbers(value)
        elif isinstance(dtype, pd.CategoricalDtype):
            yield value.codes
        elif hasattr(value, "__arrow_array__") and hasattr(value, "_pa_array"):
            yield value.__arrow_array__()
        elif isinstance(dtype, pd.SparseDtype):
            yield len(value)
            yield value.sp_index.to_int_index().indices
            yield value.sp_values
        elif isinstance(dtype, (pd.DatetimeTZDtype, pd.PeriodDtype)):
            yield value.asi8
        elif isinstance(dtype, pd.IntervalDtype):
            yield value.left
            yield value.right
        else:
            missing = value.isna()
            yield missing
            yield value[~missing].to_numpy(dtype=object)

    def numbers(value: ExtensionArray) -> Iterator[object]:
        if not isinstance(value.dtype, ExtensionDtype) or not hasattr(value, "_mask"):
            yield value.to_numpy()  # a NumPy array in pandas' clothes
            return
        missing = value.isna()
        yield missing
        left = value[~missing] if missing.any() else value
        yield left.to_numpy(dtype=value.dtype.numpy_dtype)

    @identify.register(ExtensionDtype)
    def _dtype(value: ExtensionDtype) -> Parts:
        # The name of a type of pandas says its parameters, but for those that are named here.
        names = dict.fromkeys(("storage", "na_value", *value._metadata))
        about = [getattr(value, name, None) for name in names]
        if isinstance(value, pd.CategoricalDtype):
            return Parts("dtype", about, covers=frozenset(vars(value)))
        own = type(value).__module__.partition(".")[0] == "pandas"
        covers = frozenset(vars(value)) if own else frozenset({"_cache"})
        return Parts("dtype", [str(value), *about], covers=covers)

    @identify.register(pd.Timestamp)
    def _timestamp(value: pd.Timestamp) -> Parts:
        return Parts(
            "Timestamp", [value.unit, int(value.asm8.view("i8")), value.tzinfo, value.fold]
        )

    @identify.register(pd.Timedelta)
    def _timedelta(value: pd.Timedelta) -> Parts:
        return Parts("Timedelta", [value.unit, int(value.asm8.view("i8"))])

    @identify.register(type(pd.NA))
    @identify.register(type(pd.NaT))
    def _missing(value: object) -> Parts:
        return Parts(type(value).__name__)

    @identify.register(pd.Flags)
    def _flags(value: pd.Flags) -> Parts:
        covers = frozenset({"_allows_duplicate_labels", "_obj"})
        return Parts("Flags", [value.allows_duplicate_labels], covers=covers)

    @identify.register(pd.Grouper)
    def _grouper(value: pd.Grouper) -> Parts:
        return held("Grouper", value, vars(value), _FOUND_BY_GROUPING)

    windows = {kind.__name__: kind for kind in type(pd.Series([0.0]).rolling(1)).__mro__}
    groups = {kind.__name__: kind for kind in type(pd.Series([0.0]).groupby([0])).__mro__}

    @identify.register(windows["BaseWindow"])
    def _window(value: Any) -> Parts:
        if hasattr(value, "_grouper"):
            raise Unidentifiable("a rolling window over groups: give the frame and make it here")
        return held("window", value, vars(value), {"_cache"})

    @identify.register(groups["BaseGroupBy"])
    def _groups(value: Any) -> Parts:
        state = vars(value)
        if all(state.get(name) is None for name in ("keys", "level", "_timegrouper")):
            raise Unidentifiable("groups of a frame that do not say what they are grouped by")
        return held("groups", value, state, _FOUND_BY_GROUPING)


# pandas 2 leaves `_metadata` and `_typ`, which are the class's, on what it unpickles.
_OF_FRAME = words("_mgr _attrs _flags _name _item_cache _cacher _is_copy _cache _typ _metadata")
_OF_INDEX = words(
    """
    _data _name _cache _id _references _range _levels _codes _names sortorder _freq
    _no_setting_name
    """
)
_OF_COLUMN = words(
    """
    _data _mask _dtype _pa_array _cache _ndarray _readonly _left _right _sparse_index
    _sparse_values
    """
)
_FOUND_BY_GROUPING = words(
    """
    _grouper grouper exclusions binner ax _indexer _cache _grouper_deprecated
    _indexer_deprecated _obj_deprecated _gpr_index _arrow_dtype
    """
)


@when_met("geopandas")
def _geopandas() -> None:
    """GeoPandas' geometries, without the tree that finds them by their place."""
    shapely = importlib.import_module("shapely")
    arrays = importlib.import_module("geopandas.array")

    @identify.register(arrays.GeometryArray)
    def _geometries(value: Any) -> Parts:
        covers = frozenset({"_data", "_crs", "_sindex", "base"})
        shapes = shapely.to_wkb(value._data, include_srid=True)
        return Parts("geometries", [value.crs, shapes], covers=covers)


@when_met("polars")
def _polars() -> None:
    """Polars: frames, series and their types, expressions and plans."""
    import polars as pl

    @identify.register(pl.DataFrame)
    def _frame(value: pl.DataFrame) -> Parts:
        covers = frozenset({"_df"}) | accessors(value)
        if not value.width:
            raise Unidentifiable(
                "a frame of Polars without columns does not show in every release how many rows it "
                "has: give the number"
            )
        return Parts("polars frame", [value.height, *value.get_columns()], covers=covers)

    @identify.register(pl.Series)
    def _series(value: pl.Series) -> Parts:
        covers = frozenset({"_s"}) | accessors(value)
        kind = value.dtype if vars(value.dtype) else repr(value.dtype)
        about = [value.name, kind, len(value), *content(value)]
        return Parts("polars series", about, covers=covers)

    def content(value: pl.Series) -> Iterator[object]:
        kind = value.dtype
        if value.null_count() and kind != pl.Object:
            yield value.is_null().to_numpy()
            value = value.drop_nulls()
        if kind == pl.Categorical:
            yield from content(value.cast(pl.String))
            if getattr(kind, "ordering", None) == "physical":
                yield value.to_physical().rank("dense").to_numpy()
        elif kind == pl.Enum or kind.is_temporal():
            yield value.to_physical().to_numpy()
        elif kind.is_decimal() or "128" in str(kind):
            yield from content(value.cast(pl.String))
        elif kind.is_numeric() or kind == pl.Boolean:
            yield value.to_numpy()
        elif kind == pl.String:  # the bytes of all and the length of each: no objects
            yield value.str.len_bytes().to_numpy()
            yield "".join(value.str.join("").to_list())
        elif kind == pl.List or kind == pl.Array:
            yield from nested(value)
        elif kind == pl.Struct:
            yield from value.struct.unnest().get_columns()
        else:
            yield value.to_list()

    def nested(value: pl.Series) -> Iterator[object]:
        if value.dtype == pl.List:
            lengths = value.list.len()
            yield lengths.to_numpy()
            value = value.filter(lengths > 0)
        yield value.explode()

    @identify.register(pl.DataType)
    def _dtype(value: pl.DataType) -> Parts:
        about = dict(vars(value))
        if not isinstance(about.get("categories"), pl.Series):  # a name for them, in Rust
            about["categories"] = repr(about.get("categories"))
        return held("polars type", value, {**about, "shown": repr(value)})

    @identify.register(pl.Expr)
    def _expression(value: pl.Expr) -> Parts:
        return _plan("polars expression", value, value.meta.serialize(), "_pyexpr")

    @identify.register(pl.LazyFrame)
    def _lazy(value: pl.LazyFrame) -> Parts:
        return _plan("polars plan", value, value.serialize(), "_ldf")

    def _plan(tag: str, value: object, written: bytes, inner: str) -> Parts:
        for pattern, what in _UNSEEN:
            if pattern.search(written):
                raise Unidentifiable(f"a {tag} with {what} in it: give what it is made from")
        return Parts(tag, [written], covers=frozenset({inner}) | accessors(value))


_UNSEEN = [
    (re.compile(pattern, re.DOTALL), what)
    for pattern, what in (
        # The frame that every pickle begins with, also in a list of numbers by MessagePack.
        (rb"\xcc?\x80[\x02-\x05]\xcc?\x95(?!\x00{4})(?:\xcc?.){4}\x00{4}", "a Python function"),
        (rb"PLPY(?:FN|UDF)", "a Python function"),
        (rb"\x81\xa5Paths|\xa5paths", "files that are read when it runs"),
        (rb"\x81\xaaPythonScan", "a source in Python"),
        (rb"\xa9FfiPlugin", "a plugin"),
    )
]
