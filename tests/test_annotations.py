"""What fits where, in the words of annotations."""

from __future__ import annotations

import collections
import enum
import io
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Protocol, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from hypernodes.annotations import fits, fits_map

T = TypeVar("T")


class Row(TypedDict):
    a: int


class Point(NamedTuple):
    x: int
    y: int


class Named(Protocol):
    name: str


class Closes(Protocol):
    def close(self) -> None: ...


class Box(Generic[T]):
    pass


class IntBox(Box[int]):
    pass


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Meta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return True


class Checked(metaclass=Meta):
    pass


LATER: Any = typing.ForwardRef("Later")
UserId = typing.NewType("UserId", int)


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (int, float), (int, complex), (float, complex), (bool, int), (bool, float),
        (list[int], list[float]), (int | None, float | None), (dict[str, int], dict[str, float]),
        (np.float32, float), (np.int64, int), (bytearray, bytes), (int, object), (int, Any),
        (int, Annotated[int, "metres"]), (Annotated[int, "metres"], int),
        (io.StringIO, typing.TextIO), (io.TextIOWrapper, typing.IO[str]), (io.BytesIO, typing.IO),
        (io.BufferedReader, typing.BinaryIO), (io.FileIO, typing.BinaryIO),
        (list[Annotated[int, "metres"]], list[int]), (Annotated[int, 1] | None, int | None),
        (list, list[int]), (list[int], list), (dict, dict[str, int]), (dict, Mapping[str, int]),
        (tuple, tuple[int, str]), (list[Any], list[int]),
        (list, Sequence[int]), (type, type[int]), (type[bool], type[int]),
        (npt.NDArray[np.float64], npt.NDArray[np.float64]), (npt.NDArray[np.float64], np.ndarray),
        (np.ndarray, npt.NDArray[np.float64]), (npt.NDArray[np.float64], npt.NDArray[np.floating]),
        (npt.NDArray[np.float64], npt.ArrayLike), (list[int], npt.ArrayLike),
        (Row, Row), (Row, dict), (Row, dict[str, Any]), (Row, Mapping[str, int]), (dict, Row),
        (dict[str, int], Row), (list[Row], list[Row]),
        (int, Named), (Named, Named), (Path, Closes), (int, typing.SupportsFloat),
        ("pd.DataFrame", "pl.DataFrame"), ("pd.DataFrame", int), (int, "Later"), (T, int), (int, T),
        (list[LATER], list[int]), (3, int), (int, "a number of metres"),
        (Generator[int, None, None], Iterator[int]), (Generator[int, None, None], Iterable[float]),
        (AsyncGenerator[int, None], AsyncIterator[int]), (dict[str, int], Iterable[str]),
        (dict[str, int], Collection[str]), (collections.Counter[str], Mapping[str, int]),
        (collections.defaultdict[str, int], dict[str, int]), (str, Iterable[str]),
        (Iterator[int], Generator[int, None, None] | Iterator[int]),
        (tuple[int, ...], Sequence[int]), (tuple[int, str], Sequence[int | str]),
        (tuple[int, bool], tuple[int, ...]), (tuple[int, ...], tuple[int, int]),
        (Point, tuple[int, int]), (tuple[()], tuple[int, ...]),
        (Literal["a"], str), (Literal["a"], Literal["a", "b"]), (bool, Literal[True, False]),
        (Color, Literal[Color.RED, Color.BLUE]), (None, None), (None, int | None),
        (None, Literal["a", None]), (Literal["a"] | None, Literal["a", None]), (Literal[1], float),
        (typing.NoReturn, int), (UserId, int), (int, UserId), (list[UserId], list[int]),
        (Callable[[int], str], Callable[..., Any]), (type(len), Callable[..., Any]),
        (IntBox, Box[int]), (Box[int], Box[int]), (Box, Box[int]), (Box[object], Box[int]),
        (int, Checked), (Coroutine[Any, Any, int], int), (Awaitable[int], float),
        (str, Hashable), (pd.DataFrame, pd.DataFrame),
    ],
)  # fmt: skip
def test_what_fits_or_cannot_be_judged_is_taken(made: Any, wanted: Any) -> None:
    assert fits(made, wanted)


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (str, int), (float, int), (complex, float), (Decimal, float), (str, Path),
        (io.StringIO, typing.BinaryIO), (io.BytesIO, typing.TextIO), (str, typing.TextIO),
        (int, str | None), (int | None, int), (None, int), (object, int), (int, list), (list, dict),
        (int, Row), (Row, int),
        (list[str], list[int]), (list[str], Sequence[int]), (list[int], set[int]), (list, str),
        (dict[str, int], dict[str, str]), (dict[str, int], Iterable[int]),
        (Sequence[int], list[int]),
        (tuple[int, str], tuple[int, int]), (tuple[int, int], tuple[int, int, int]),
        (tuple[str, ...], tuple[int, ...]), (tuple[str, ...], Sequence[int]),
        (Generator[str, None, None], Iterator[int]), (Literal["a"], int), (str, Literal["a"]),
        (None, Literal["a"]), (Literal[1], Literal[True]),
        (Literal["c"], Literal["a", "b"]), (npt.NDArray[np.float64], npt.NDArray[np.int64]),
        (np.float32, int), (Annotated[str, 1], Annotated[int, 1]), (list, Hashable),
        (pd.DataFrame, np.ndarray), (Box[str], Box[int]), (Awaitable[str], int), (UserId, str),
        (list[dict[str, int]], list[dict[str, str]]), (type[str], type[int]),
        (int, Callable[..., Any]),
    ],
)  # fmt: skip
def test_what_cannot_fit_is_refused(made: Any, wanted: Any) -> None:
    assert not fits(made, wanted)


@pytest.mark.parametrize(
    "made",
    [list[int], tuple[int, ...], set[bool], Iterator[int], Generator[int, None, None], range, list,
     np.ndarray, npt.NDArray[np.int64], pd.Series, "pd.Series", Any, list[int] | tuple[int, ...],
     Annotated[list[int], 1]],
)  # fmt: skip
def test_every_sequence_can_be_mapped_over(made: Any) -> None:
    assert fits_map(made, int)


@pytest.mark.parametrize(
    "made", [int, str, bytes, dict[int, int], Row, list[str], list[int] | dict[int, int], None]
)
def test_what_is_one_value_cannot_be_mapped_over(made: Any) -> None:
    assert not fits_map(made, int)
