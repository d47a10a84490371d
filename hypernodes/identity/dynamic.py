"""Functions that find other code, or a setting, by a name that they are given at run time.

What a constant name leads to is followed; a function that makes the name itself is declined.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

from hypernodes.identity.bytecode import Use
from hypernodes.identity.traversal import CodeTraversal, Whole
from hypernodes.identity.values import Unidentifiable


class Reader(Protocol):
    """A function whose names are followed: what is needed here of `functions.Function`.

    Attributes:
        namespace: its global names.
        found: what each of its names stands for.
        walk: the traversal that it is part of.
    """

    namespace: dict[str, Any]
    found: dict[str, object]
    walk: CodeTraversal

    def declined(self, what: str, cure: str = "") -> Unidentifiable:
        """The error that says why what the function uses cannot be found out."""

    def variable(self, name: str) -> None:
        """Note a variable of the environment."""

    def global_name(self, name: str) -> None:
        """Note a global name that is found by its text."""

    def text_of_code(self, text: str) -> None:
        """Follow a constant text that is run as code."""

    def module(self, name: str, level: int = 0) -> None:
        """Follow a whole module that is imported by its name."""


def _constant(function: Reader, use: Use) -> str | None:
    """The text that follows, written there or in a global name; None where it is neither."""
    if not use.then:
        return None
    kind, constant = use.then[0]
    if kind == "load" and constant is not None:
        constant = function.namespace.get(constant)
        return constant if type(constant) is str else None
    return constant if kind == "const" and isinstance(constant, str) else None


def environment(function: Reader, label: str, use: Use) -> None:
    """Follow a read of the environment's variables.

    Args:
        function: the function that reads them.
        label: the name by which it does.
        use: how it does.

    Raises:
        Unidentifiable: the variable's name is no constant.
    """
    name = use.member_of if isinstance(use.member_of, str) else _constant(function, use)
    following = [kind for kind, _ in use.then]
    is_read = use.chain in (("get",), ("__getitem__",)) or following[1:2] == ["item"]
    if name is not None and (isinstance(use.member_of, str) or is_read or label.endswith("getenv")):
        function.variable(name)
        return
    raise function.declined(
        "it reads variables of the environment whose names are made while it runs",
        "write their names as they are (os.environ['NAME']), or give it their values as inputs",
    )


def _getenv(function: Reader, label: str, use: Use) -> None:
    environment(function, f"{label} getenv", use)


def _expandvars(function: Reader, label: str, use: Use) -> None:
    text = _constant(function, use)
    if text is None:
        environment(function, label, use._replace(then=()))
        return
    expanded = os.path.expandvars(text)
    function.found[f"{label} {text}"] = expanded
    function.walk.checks.append(lambda: os.path.expandvars(text) == expanded)


def _globals(function: Reader, label: str, use: Use) -> None:
    kinds = [kind for kind, _ in use.then]
    if kinds[:3] == ["call", "const", "item"] and isinstance(use.then[1][1], str):
        function.global_name(use.then[1][1])
        return
    got = use.then[1:3]
    is_get = kinds[:3] == ["call", "attribute", "const"] and got[0][1] == "get"
    if is_get and isinstance(got[1][1], str):
        function.global_name(got[1][1])
        return
    module = sys.modules.get(str(function.namespace.get("__name__")))
    if module is None or vars(module) is not function.namespace:
        raise function.declined(f"it reads names by {label}()")
    function.found[f"{label}()"] = Whole(module)


def _evaluate(function: Reader, label: str, use: Use) -> None:
    text = _constant(function, use)
    if text is None or [kind for kind, _ in use.then][1:2] != ["call"]:
        raise function.declined(f"it runs a text by {label}()")
    function.text_of_code(text)


def _import_by_name(function: Reader, label: str, use: Use) -> None:
    name = _constant(function, use)
    if name is None or use.then[1:2] != (("call", 1),) or name.startswith("."):
        raise function.declined(f"it imports modules by {label}() whose names are no constants")
    function.module(name)


def loaded_modules(function: Reader, label: str, use: Use) -> None:
    """Follow a read of `sys.modules`; see `environment`.

    Raises:
        Unidentifiable: the module's name is no constant.
    """
    name = _constant(function, use)
    kinds = [kind for kind, _ in use.then]
    if name is not None and (kinds[1:2] == ["item"] or use.chain == ("get",)):
        function.module(name)
        return
    if isinstance(use.member_of, str):
        function.found[f"{label} {use.member_of}"] = use.member_of in sys.modules
        return
    raise function.declined(f"it looks up modules in {label}")


def _declining(function: Reader, label: str, use: Use) -> None:
    raise function.declined(f"it uses {label}")


def _finders() -> dict[object, Callable[[Reader, str, Use], None]]:
    """What finds things by a name that is given to it at run time."""
    import gc
    import pkgutil
    import runpy

    return {
        os.getenv: _getenv,
        getattr(os, "getenvb", os.getenv): _getenv,
        os.path.expandvars: _expandvars,
        builtins.globals: _globals,
        builtins.eval: _evaluate,
        builtins.exec: _evaluate,
        builtins.__import__: _import_by_name,
        importlib.import_module: _import_by_name,
        importlib.reload: _declining,
        pkgutil.iter_modules: _declining,
        pkgutil.walk_packages: _declining,
        pkgutil.resolve_name: _declining,
        runpy.run_path: _declining,
        runpy.run_module: _declining,
        gc.get_objects: _declining,
        gc.get_referrers: _declining,
    }


FINDERS = _finders()


def refuse_finder(value: Callable[..., object]) -> None:
    """Refuse such a function as a value: the code does not show what it is called with.

    Raises:
        Unidentifiable: it is one.
    """
    if value in FINDERS:
        name = getattr(value, "__qualname__", value)
        raise Unidentifiable(
            f"{name} is handed on, so what it finds cannot be seen: call it where it is named"
        )
