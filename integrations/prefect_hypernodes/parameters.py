"""Inputs as the parameters of a flow run: what is shown of their values, and said about them."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date
from numbers import Number
from pathlib import PurePath
from typing import Any
from uuid import UUID

from griffe import Docstring, DocstringSectionParameters, Parser
from prefect.logging.loggers import disable_logger
from pydantic_core import PydanticSerializationError, to_jsonable_python

#: Bytes up to which one value is shown as it is.
WHOLE = 65_536
#: Characters of an item's inputs in a name.
LABEL = 60
#: Bytes of all values together: the API refuses more than 524,288.
ALL = 393_216

_WORDS = (str, Number, PurePath, date, UUID)


def own_doc(function: Any) -> str | None:
    """The docstring of a function, of what a partial calls, or of an object's `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, type):
        function = type(function).__call__
    return inspect.getdoc(function)


def shown(values: Mapping[str, object]) -> dict[str, Any]:
    """Values as a flow run's parameters show them.

    >>> shown({"path": "docs", "data": bytearray(9), "xs": list(range(100_000))})
    {'path': 'docs', 'data': '<bytearray of 9>', 'xs': '<list of 100000>'}
    >>> shown({"rows": iter([1, 2]), "by": {"day": (row for row in [1])}})
    {'rows': '<list_iterator>', 'by': {'day': '<generator>'}}
    """
    left = ALL
    result = {}
    for name, value in values.items():
        text = _json(value, min(WHOLE, left))
        left -= len(text)
        result[name] = json.loads(text)
    return result


def _json(value: object, limit: int) -> str:
    """A value as JSON, or its summary if that is too long or cannot be."""
    if not isinstance(value, (bytes, bytearray, memoryview)) and length(value) <= limit:
        with suppress(PydanticSerializationError, TypeError, ValueError, RecursionError):
            text = json.dumps(value, default=_jsonable, allow_nan=False, ensure_ascii=False)
            if len(text) <= limit:
                return text.encode("utf-8", "replace").decode()  # a file's name may be no UTF-8
    return json.dumps(summarise(value))


def _jsonable(value: object) -> Any:
    if hasattr(type(value), "__next__"):  # a generator, an open file, a cursor: the nodes read it
        return summarise(value)
    return to_jsonable_python(value)


def in_words(inputs: Mapping[str, object]) -> str:
    """An item's inputs as a part of a name, if they are short texts, numbers, dates and paths.

    >>> in_words({"sensor": "north", "year": 2024}), in_words({"rows": [1, 2]})
    ('north, 2024', '')
    """
    words = [str(each) for each in inputs.values() if isinstance(each, _WORDS)]
    text = ", ".join(words)
    is_whole = len(words) == len(inputs) and len(text) <= LABEL and text.isprintable()
    return text if is_whole else ""


def summarise(value: object) -> str:
    """What a value is, in a few words."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"<{type(value).__name__} of {' x '.join(str(each) for each in shape)}>"
    size = length(value)
    return f"<{type(value).__name__}{f' of {size}' if size else ''}>"


def length(value: object) -> int:
    """How many things a value has; 0 where it does not say."""
    try:
        return len(value)  # type: ignore[arg-type]
    except Exception:  # a lazy frame does not know
        return 0


def documented(function: Any) -> dict[str, str]:
    """What a docstring says of each parameter, in Google's, NumPy's or Sphinx's style.

    >>> def read(path): "Read.\\n\\nParameters\\n----------\\npath : str\\n    the folder"
    >>> documented(read)
    {'path': 'the folder'}
    """
    text = own_doc(function)
    if not text:
        return {}
    found: dict[str, str] = {}
    with disable_logger("griffe"):  # it warns of each parameter without an annotation
        for style in (Parser.google, Parser.numpy, Parser.sphinx):
            for section in Docstring(text).parse(style):
                if isinstance(section, DocstringSectionParameters):
                    for each in section.value:
                        found.setdefault(each.name, " ".join(each.description.split()))
    return found


def check_tags(tags: object) -> tuple[str, ...]:
    """Tags as a tuple, each of them once.

    Raises:
        TypeError: they are no list of texts.
    """
    if not isinstance(tags, Iterable) or isinstance(tags, (str, bytes)):
        raise TypeError(f"tags is {tags!r}: expected a list of texts, such as [{tags!r}]")
    unique = tuple(dict.fromkeys(tags))
    for each in unique:
        if not isinstance(each, str):
            raise TypeError(f"tags has {each!r} of type {type(each).__name__}: expected texts")
    return unique
