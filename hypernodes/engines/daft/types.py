"""Daft's own types for the output columns of a lazy frame, and what each makes of a value.

Daft's types change values silently: of an int column's 2.7 they make 2. So each type comes with a
function that gives the value as Daft keeps it, or raises `Unfit`.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from daft import DataType, Series

from hypernodes.annotations import plain
from hypernodes.results import FailedItem

Convert = Callable[[Any], Any]
"""Gives a value as Daft keeps it; raises `Unfit` where Daft would change it."""


class Unfit(ValueError):
    """A value that a type of Daft's would change."""


@dataclass(frozen=True)
class ColumnType:
    """The type of a column.

    Attributes:
        dtype: Daft's type.
        convert: gives a value as Daft keeps it.
    """

    dtype: DataType
    convert: Convert

    def optional(self, nulls: Collection[type] = (type(None),)) -> ColumnType:
        """The same, with values of these types as nulls."""
        convert = self.convert
        return ColumnType(
            self.dtype, lambda value: None if type(value) in nulls else convert(value)
        )


def _require(fits: bool) -> None:
    if not fits:
        raise Unfit


def _bool(value: Any) -> bool:
    _require(isinstance(value, (bool, np.bool_)))
    return bool(value)


def _int_from(low: int, high: int) -> Convert:
    def convert(value: Any) -> int:
        _require(isinstance(value, (int, np.integer)) and not isinstance(value, bool))
        number = int(value)
        _require(low <= number <= high)
        return number

    return convert


def _float(value: Any) -> float:
    # PEP 484: an int is acceptable where a float is expected.
    numbers = (float, int, np.floating, np.integer)
    _require(isinstance(value, numbers) and not isinstance(value, bool))
    try:
        number = float(value)
    except OverflowError:
        raise Unfit from None
    _require(number == value or number != number)
    return number


def _str(value: Any) -> str:
    _require(isinstance(value, str))
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate, as in names of files
            raise Unfit from None
    return str.__str__(value)


def _bytes(value: Any) -> bytes:
    _require(isinstance(value, bytes))
    return bytes(value)


def _exactly(kind: type) -> Convert:
    def convert(value: Any) -> Any:
        _require(type(value) is kind)
        return value

    return convert


def _time(value: Any) -> datetime.time:
    _require(type(value) is datetime.time and value.tzinfo is None)
    return value  # type: ignore[no-any-return]


_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}
"""For each unit of time how many microseconds it needs."""


def _datetime_in(unit: str, has_zone: bool) -> Convert:
    def convert(value: Any) -> datetime.datetime:
        if getattr(value, "nanosecond", None) == 0:  # pandas' Timestamp
            value = value.to_pydatetime()
        _require(type(value) is datetime.datetime and (value.tzinfo is not None) == has_zone)
        _require(value.microsecond % _UNITS[unit] == 0)
        _require(unit != "ns" or 1678 <= value.year <= 2261)  # what 64 bits hold
        return value  # type: ignore[no-any-return]

    return convert


def _timedelta_in(unit: str) -> Convert:
    def convert(value: Any) -> datetime.timedelta:
        _require(type(value) is datetime.timedelta)
        micros = value // datetime.timedelta(microseconds=1)
        _require(micros % _UNITS[unit] == 0)
        _require(abs(micros) * (1_000 if unit == "ns" else 1) // _UNITS[unit] < 2**63)
        return value  # type: ignore[no-any-return]

    return convert


def _decimal_of(precision: int, scale: int) -> Convert:
    def convert(value: Any) -> decimal.Decimal:
        _require(type(value) is decimal.Decimal and value.is_finite())
        _require(not value or value.adjusted() < precision - scale)
        _require(value == value.quantize(decimal.Decimal(1).scaleb(-scale), context=_EXACT))
        return value  # type: ignore[no-any-return]

    return convert


_EXACT = decimal.Context(prec=200)


def _sequence_of(item: Convert, kinds: tuple[type, ...]) -> Convert:
    def convert(value: Any) -> list[Any]:
        _require(type(value) in kinds)
        return [item(each) for each in value]

    return convert


def _dict_of(key: Convert, item: Convert) -> Convert:
    def convert(value: Any) -> dict[Any, Any]:
        _require(isinstance(value, Mapping))
        return {key(name): item(each) for name, each in value.items()}

    return convert


def _struct_of(fields: Mapping[str, Convert], parts: Callable[[Any], Mapping[str, Any]]) -> Convert:
    def convert(value: Any) -> dict[str, Any]:
        given = parts(value)
        _require(set(given) <= set(fields))
        return {name: field(given[name]) for name, field in fields.items() if name in given}

    return convert


def _array_of(dtype: Any, shape: Sequence[int | None] | None) -> Convert:
    def convert(value: Any) -> np.ndarray[Any, Any]:
        _require(type(value) is np.ndarray and value.dtype.newbyteorder("=") == dtype)
        if shape is not None:
            _require(len(shape) == value.ndim)
            _require(all(n in (None, m) for n, m in zip(shape, value.shape, strict=True)))
        return value  # type: ignore[no-any-return]

    return convert


INT64 = _int_from(-(2**63), 2**63 - 1)
FLOAT64 = _float

_PLAIN: dict[object, ColumnType] = {
    bool: ColumnType(DataType.bool(), _bool),
    int: ColumnType(DataType.int64(), INT64),
    float: ColumnType(DataType.float64(), FLOAT64),
    str: ColumnType(DataType.string(), _str),
    bytes: ColumnType(DataType.binary(), _bytes),
    type(None): ColumnType(DataType.null(), _exactly(type(None))),
    None: ColumnType(DataType.null(), _exactly(type(None))),
    datetime.date: ColumnType(DataType.date(), _exactly(datetime.date)),
    datetime.time: ColumnType(DataType.time("us"), _time),
    datetime.timedelta: ColumnType(DataType.duration("us"), _timedelta_in("us")),
    datetime.datetime: ColumnType(DataType.timestamp("us"), _datetime_in("us", False)),
}

OBJECTS = ColumnType(DataType.python(), lambda value: value)
"""A column of Python objects: for what has no annotation. It cannot be written to a file."""


# -- By an annotation ----------------------------------------------------------------------------


def type_of(annotation: Any) -> ColumnType | None:
    """The type of a column for an annotation; None where Daft has none.

    >>> type_of(list[int]).dtype
    List[Int64]
    >>> type_of(set[int]) is None
    True
    """
    try:
        return _type_of(annotation)
    except RecursionError:  # a class with a field of its own type
        return None


def _type_of(annotation: Any) -> ColumnType | None:
    if annotation is Any or annotation is object:
        return OBJECTS
    if isinstance(annotation, typing.Hashable) and annotation in _PLAIN:
        return _PLAIN[annotation]
    meant = plain(annotation)  # of a NewType, an Annotated, `type X = ...`
    if meant is not annotation:
        return _type_of(meant)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        nulls = [each for each in arguments if each in (type(None), FailedItem)]
        others = [each for each in arguments if each not in nulls]
        made = _type_of(others[0]) if len(others) == 1 < len(arguments) else None
        return made.optional(nulls) if made else None
    if origin is Literal:
        return _type_of_choices(arguments)
    if origin in _SEQUENCES and arguments:
        return _type_of_sequence(origin, arguments)
    if origin in _MAPPINGS and arguments:
        key, item = map(_type_of, arguments)
        if key is None or item is None or OBJECTS.dtype in (key.dtype, item.dtype):
            return OBJECTS if key and item else None
        if key.dtype.is_struct() or key.dtype.is_list():
            return None  # Daft makes dicts and lists of such keys
        if _panics_in_map(key.dtype) or _panics_in_map(item.dtype):
            return None
        return ColumnType(DataType.map(key.dtype, item.dtype), _dict_of(key.convert, item.convert))
    if origin is np.ndarray:
        return _type_of_array(*arguments)
    return _type_of_class(annotation) if isinstance(annotation, type) else None


def _panics_in_map(dtype: DataType) -> bool:
    """Whether Daft's own code ends in a panic where a map has keys or items of a type."""
    return any(name in str(dtype) for name in ("Map[", "Date", "Time", "Duration", "Tensor"))


_SEQUENCES: dict[Any, tuple[type, ...]] = {
    list: (list,),
    tuple: (tuple,),
    collections.abc.Sequence: (list, tuple),
}
_MAPPINGS = (dict, collections.abc.Mapping)


def _type_of_choices(choices: Sequence[Any]) -> ColumnType | None:
    """The type of a `Literal`."""
    kinds = {type(each) for each in choices} - {type(None)}
    made = _type_of(kinds.pop()) if len(kinds) == 1 else None
    if made is None:
        return None
    convert = made.convert

    def convert_choice(value: Any) -> Any:
        _require(any(type(each) is type(value) and each == value for each in choices))
        return convert(value)

    made = ColumnType(made.dtype, convert_choice)
    return made.optional() if None in choices else made


def _type_of_sequence(origin: Any, arguments: Sequence[Any]) -> ColumnType | None:
    if origin is tuple and arguments[-1] is not Ellipsis:
        names = [f"_{place}" for place in range(len(arguments))]  # as Daft calls them

        def parts(value: Any) -> Mapping[str, Any]:
            _require(type(value) is tuple and len(value) == len(names))
            return dict(zip(names, value, strict=True))

        return _type_of_fields(dict(zip(names, arguments, strict=True)), parts)
    item = _type_of(arguments[0])
    if item is None or item.dtype == OBJECTS.dtype:
        return item
    return ColumnType(DataType.list(item.dtype), _sequence_of(item.convert, _SEQUENCES[origin]))


def _type_of_array(shape: Any, dtype: Any) -> ColumnType | None:
    """The type of `NDArray[np.float32]`, or of `np.ndarray` with a shape.

    A tensor in either case: PyArrow cannot read a column of fixed size with nulls in it.
    """
    (scalar,) = typing.get_args(dtype) or (None,)
    try:
        kind = np.dtype(scalar) if isinstance(scalar, type) and scalar is not np.generic else None
        if kind is None or kind.kind not in "biuf":
            return None
        inner = DataType.from_numpy_dtype(kind)
    except TypeError:  # an abstract one, as np.floating
        return None
    sizes = None
    if typing.get_origin(shape) is tuple and Ellipsis not in typing.get_args(shape):
        literals = [typing.get_args(each) for each in typing.get_args(shape)]
        sizes = [each[0] if len(each) == 1 else None for each in literals]
    return ColumnType(DataType.tensor(inner), _array_of(kind, sizes))


def _type_of_class(cls: type) -> ColumnType | None:
    if issubclass(cls, enum.Enum):
        choices = _type_of_choices([each.value for each in cls])
        return choices and ColumnType(choices.dtype, _value_of(cls, choices.convert))
    if issubclass(cls, np.generic):
        try:
            return of_dtype(DataType.from_numpy_dtype(np.dtype(cls)))
        except Exception:  # of some of them PyArrow says that it does not know them, in its own way
            return None
    if typing.is_typeddict(cls):
        required = vars(cls)["__required_keys__"]

        def as_mapping(value: Any) -> Mapping[str, Any]:
            _require(isinstance(value, dict) and required <= set(value))
            return value  # type: ignore[no-any-return]

        return _type_of_fields(_hints(cls), as_mapping)
    hints = _hints(cls)
    if dataclasses.is_dataclass(cls):
        names = [each.name for each in dataclasses.fields(cls)]
    elif issubclass(cls, tuple) and hasattr(cls, "_fields"):
        names = list(cls._fields)
    else:  # of pydantic
        names = list(getattr(cls, "model_fields", ()))
    if not names:
        return None

    def parts(value: Any) -> Mapping[str, Any]:
        _require(type(value) is cls)
        _require(not getattr(value, "model_extra", None))  # a struct has the declared fields only
        return {name: getattr(value, name) for name in names}

    return _type_of_fields({name: hints.get(name, Any) for name in names}, parts)


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except Exception:  # a name that is not there at run time
        return {}


def _value_of(cls: type[enum.Enum], convert: Convert) -> Convert:
    def convert_member(value: Any) -> Any:
        _require(isinstance(value, cls))
        return convert(value.value)

    return convert_member


def _type_of_fields(
    fields: Mapping[str, Any], parts: Callable[[Any], Mapping[str, Any]]
) -> ColumnType | None:
    """The type of a struct.

    Args:
        fields: the annotation of each field.
        parts: gives the fields of a value.
    """
    made = {name: _type_of(annotation) for name, annotation in fields.items()}
    if not made or not all(made.values()):
        return None
    known = {name: each for name, each in made.items() if each}
    if any(each.dtype == OBJECTS.dtype for each in known.values()):
        return OBJECTS
    return ColumnType(
        DataType.struct({name: each.dtype for name, each in known.items()}),
        _struct_of({name: each.convert for name, each in known.items()}, parts),
    )


# -- By one of Daft's types, as `@node(daft={"type": ...})` says it ------------------------------


def of_dtype(dtype: DataType) -> ColumnType:
    """The type of a column for a type of Daft's. None is a null of it.

    Where it is none that is known here, values are those that Daft takes.
    """
    return ColumnType(dtype, _converter(dtype)).optional()


def list_of(item: ColumnType) -> ColumnType:
    """The type of a column for lists of what a type is for. None is a null of it.

    Args:
        item: the type.
    """
    convert = _sequence_of(item.convert, (list, tuple, np.ndarray))
    return ColumnType(DataType.list(item.dtype), convert).optional()


def _converter(dtype: DataType) -> Convert:
    if dtype.is_integer():
        text = str(dtype).lower()
        bits = int(text.lstrip("uint"))
        low, high = (
            (0, 2**bits - 1) if text[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        return _int_from(low, high)
    if dtype.is_timestamp():
        return _datetime_in(_unit(dtype), dtype.timezone is not None)
    if dtype.is_duration():
        return _timedelta_in(_unit(dtype))
    if dtype.is_decimal128():
        return _decimal_of(dtype.precision, dtype.scale)
    if dtype.is_list():
        return list_of(of_dtype(dtype.dtype)).convert
    if dtype.is_fixed_size_list():
        return _array_like(dtype.dtype, (dtype.size,), of_dtype(dtype.dtype).convert)
    if dtype.is_embedding():
        return _array_like(dtype.dtype, (dtype.size,), _converter(dtype.dtype))
    if dtype.is_tensor() or dtype.is_fixed_shape_tensor():
        shape = dtype.shape if dtype.is_fixed_shape_tensor() else None
        return _array_like(dtype.dtype, shape, _converter(dtype.dtype))
    if dtype.is_fixed_size_binary():
        return _bytes_of(dtype.size)
    if dtype.is_map():
        return _dict_of(of_dtype(dtype.key_type).convert, of_dtype(dtype.value_type).convert)
    if dtype.is_struct():
        fields = {name: of_dtype(each).convert for name, each in dtype.fields.items()}
        return _struct_of(fields, _parts)
    for known, each in _BY_KIND.items():
        if getattr(dtype, f"is_{known}")():
            return each
    return OBJECTS.convert if dtype.is_python() else _taken_by(dtype)


def _taken_by(dtype: DataType) -> Convert:
    """For a type that is not known here: a value that Daft takes is as it keeps it."""

    def convert(value: Any) -> Any:
        """The value.

        Raises:
            Unfit: Daft does not take it.
        """
        try:
            (kept,) = Series.from_pylist([value], dtype=dtype).to_pylist()
            is_kept = kept == value
        except Exception:
            raise Unfit from None
        _require(is_kept is not False)  # of arrays `==` gives arrays
        return value

    return convert


def _array_like(dtype: DataType, shape: Sequence[int] | None, item: Convert) -> Convert:
    """For tensors, embeddings and lists of fixed size.

    Args:
        dtype: the type of their numbers.
        shape: their shape, where it is always the same.
        item: what the type makes of a number; only lists have nulls among them.
    """
    exact = str(dtype).lower()

    def convert(value: Any) -> Any:
        """The value, or the array of it.

        Raises:
            Unfit: it has another shape, or numbers that the type does not hold.
        """
        _require(isinstance(value, (list, tuple, np.ndarray)) and not np.ma.is_masked(value))
        try:
            array = np.asarray(value)
        except ValueError:  # lists of several lengths
            raise Unfit from None
        _require(shape is None or array.shape == tuple(shape))
        if str(array.dtype) != exact:
            for each in array.flat:
                item(each)
        return array if len(array.shape) != 1 else value

    return convert


def _bytes_of(size: int) -> Convert:
    def convert(value: Any) -> bytes:
        _require(isinstance(value, bytes) and len(value) == size)
        return bytes(value)

    return convert


def _unit(dtype: DataType) -> str:
    return str(dtype.timeunit).removeprefix("TimeUnit(").rstrip(")")


def _parts(value: Any) -> Mapping[str, Any]:
    if dataclasses.is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    _require(isinstance(value, Mapping))
    return value  # type: ignore[no-any-return]


def _rounded(limit: float) -> Convert:
    """For a float of fewer bits: who asks for it knows that it is rounded.

    Args:
        limit: from here on it would be infinite.
    """

    def convert(value: Any) -> float:
        numbers = (float, int, np.floating, np.integer)
        _require(isinstance(value, numbers) and not isinstance(value, bool))
        number = float(value)
        _require(not math.isfinite(number) or abs(number) < limit)
        return number

    return convert


_BY_KIND: dict[str, Convert] = {
    "boolean": _bool,
    "float64": FLOAT64,
    "float32": _rounded(2.0**128 - 2.0**103),
    "float16": _rounded(2.0**16 - 2.0**4),
    "null": _exactly(type(None)),
    "time": _time,
    "string": _str,
    "binary": _bytes,
    "date": _PLAIN[datetime.date].convert,
}
