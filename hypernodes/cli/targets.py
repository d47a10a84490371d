"""Finding a pipeline by `FILE:PIPELINE`, and its inputs as typed options."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import sys
import traceback
import types
import typing
from collections.abc import Callable, Collection
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter, convert

from hypernodes.errors import did_you_mean, listing
from hypernodes.pipeline import Pipeline
from hypernodes.types import EMPTY
from hypernodes.visualize.model import type_text


class UsageError(Exception):
    """The command line asks for something that cannot be done."""


def load(target: str) -> Pipeline:
    """The pipeline that `FILE:PIPELINE` or `MODULE:PIPELINE` names.

    The name can be left out where there is only one.

    Raises:
        UsageError: there is no such file, it cannot be loaded, or there is no such pipeline.
    """
    where, _, name = target.rpartition(":")
    if not where or name.endswith(".py") or "/" in name or "\\" in name:
        where, name = target, ""
    module = _load_file(Path(where)) if where.endswith(".py") else _load_module(where)
    found = {key: each for key, each in vars(module).items() if isinstance(each, Pipeline)}
    if name in found:
        return found[name]
    if name:
        value = getattr(module, name, None)
        what = f"{name!r} of {where} is {value!r:.60}, no pipeline" if value is not None else (
            f"there is no {name!r} in {where}"
        )  # fmt: skip
        raise UsageError(f"{what}.{did_you_mean(name, found)} Pipelines: {listing(found)}")
    if len(found) == 1:
        return next(iter(found.values()))
    raise UsageError(f"which pipeline of {where}? Write {where}:NAME. Pipelines: {listing(found)}")


def _load_file(path: Path) -> types.ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}: expected FILE:PIPELINE")
    # By its own name, so that worker processes can import it too.
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    module = _import(path.stem, str(path))
    if Path(module.__file__ or "").resolve() != path.resolve():
        raise UsageError(
            f"{path} cannot be loaded, for there is another module {path.stem!r} "
            f"({module.__file__}): rename the file"
        )
    return module


def _load_module(name: str) -> types.ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{name!r} is no file and no module: expected FILE.py:PIPELINE")
    sys.path.insert(0, str(Path.cwd()))
    return _import(name, name)


def _import(name: str, shown: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        frames = [
            each for each in traceback.extract_tb(error.__traceback__) if shown in each.filename
        ]
        line = f", line {frames[-1].lineno}" if frames else ""
        raise UsageError(
            f"{shown} cannot be loaded{line}: {type(error).__name__}: {error}"
        ) from error


# -- Inputs as options ---------------------------------------------------------------------------


def options(
    pipeline: Pipeline, taken: Collection[str], needed: bool = True
) -> list[inspect.Parameter]:
    """A keyword parameter for each input, with its type and default.

    Args:
        pipeline: whose inputs.
        taken: names of other options; an input of such a name is `--input-NAME`.
        needed: whether inputs without a default have to be given.
    """
    made = []
    for name, each in pipeline.inputs.items():
        nodes = [step.id for step in pipeline.plan().steps if name in step.node.input_names]
        used_by = f"For {', '.join(nodes[:3])}{' ...' if len(nodes) > 3 else ''}."
        about: dict[str, Any] = {"help": used_by, "consume_multiple": True, "group": "Inputs"}
        kind = each.type
        if not is_plain(kind):
            del about["consume_multiple"]
            about |= {"help": f"{used_by} As JSON.", "converter": _from_json, "n_tokens": 1}
            kind = Any
        flag = name.replace("_", "-")
        about["name"] = f"--input-{flag}" if name in taken else f"--{flag}"
        default = each.default
        if default is EMPTY and not needed:
            default = None
            kind = typing.Optional[kind]  # noqa: UP045  any type, also a text
        elif default is not EMPTY and not is_plain(type(default)) and default is not None:
            about["show_default"] = repr
        made.append(
            inspect.Parameter(
                f"input_{name}",
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=Annotated[kind, Parameter(**about)],
            )
        )
    return made


def _from_json(kind: Any, tokens: Any) -> Any:
    text = tokens[0].value
    try:
        return json.loads(text)
    except ValueError:
        return text


_PLAIN = (str, int, float, bool, bytes, Path, datetime, date, timedelta, Decimal, UUID, type(None))


def is_plain(kind: Any) -> bool:
    """Whether values of a type can be written on a command line: numbers, texts, lists of them."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return is_plain(arguments[0])
    if origin is typing.Literal:
        return True
    if origin is not None:
        containers = (list, tuple, set, frozenset, dict, typing.Union, types.UnionType)
        return origin in containers and all(is_plain(e) for e in arguments if e is not Ellipsis)
    if not isinstance(kind, type):
        return False
    return kind in _PLAIN or issubclass(kind, Enum) or dataclasses.is_dataclass(kind)


def reader(kind: Any) -> Callable[[Any], Any]:
    """A function that makes a value of an input's type out of one from a file.

    Files hold texts, numbers, lists and dicts. A text is converted as on the command line.

    Args:
        kind: the input's type.

    Raises:
        ValueError: when it is called, and the text is no value of the type.
    """
    if not is_plain(kind) or kind is str:
        return lambda value: value
    optional = type(None) in typing.get_args(kind)
    container = typing.get_origin(kind) in (list, tuple, set, frozenset, dict)

    def _read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value == "" and optional:
            return None
        if container or dataclasses.is_dataclass(kind):
            return json.loads(value)
        try:
            return convert(kind, [value])
        except Exception:
            raise ValueError(f"expected {type_text(kind)}") from None

    return _read
