"""Finding a pipeline by `FILE:PIPELINE`."""

from __future__ import annotations

import importlib
import sys
import traceback
import types
from pathlib import Path

from hypernodes.errors import did_you_mean, listing, text_of
from hypernodes.pipeline import Pipeline


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
    if "." in path.stem:
        name = f"{path.stem.replace('.', '_')}.py"
        raise UsageError(
            f"{path} cannot be loaded: a module has no dot in its name. Rename it to {name}"
        )
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
    except (Exception, SystemExit) as error:
        frames = [
            each for each in traceback.extract_tb(error.__traceback__) if shown in each.filename
        ]
        line = f", line {frames[-1].lineno}" if frames else ""
        raise UsageError(
            f"{shown} cannot be loaded{line}: {type(error).__name__}: {text_of(error)}"
        ) from error
