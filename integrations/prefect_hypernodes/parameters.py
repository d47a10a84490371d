"""Inputs as the parameters of a flow run: what JSON holds as it is, the rest as a summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

#: Bytes up to which one value is shown as it is.
WHOLE = 65_536
#: Bytes of all values together: the API refuses more than 524,288.
ALL = 393_216


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
    if not isinstance(value, (bytes, bytearray, memoryview)) and _length(value) <= limit:
        with suppress(PydanticSerializationError, TypeError, ValueError, RecursionError):
            text = json.dumps(value, default=_jsonable, allow_nan=False)
            if len(text) <= limit:
                return text
    return json.dumps(summarise(value))


def _jsonable(value: object) -> Any:
    if hasattr(type(value), "__next__"):  # a generator, an open file, a cursor: the nodes read it
        return summarise(value)
    return to_jsonable_python(value)


def summarise(value: object) -> str:
    """What a value is, in a few words."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"<{type(value).__name__} of {' x '.join(str(each) for each in shape)}>"
    size = _length(value)
    return f"<{type(value).__name__}{f' of {size}' if size else ''}>"


def _length(value: object) -> int:
    try:
        return len(value)  # type: ignore[arg-type]
    except Exception:  # a lazy frame does not know
        return 0
