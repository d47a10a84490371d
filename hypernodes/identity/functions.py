"""What identifies a function: its bytecode, and all that its names lead to."""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import importlib.util
import logging
import operator
import os
import sys
import types
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hypernodes.identity.bytecode import Import, Use, texts_of_hints, unread, uses_of
from hypernodes.identity.dynamic import FINDERS, environment, loaded_modules, refuse_finder
from hypernodes.identity.packages import is_there, origin
from hypernodes.identity.reach import is_stranger
from hypernodes.identity.reads import (
    CALLS_AFTER,
    EVALUATES,
    LOOKS_UP_VARIABLES,
    NAMES_OF_OTHERS,
    READS,
    evaluated_names,
    names_behind,
    names_evaluated,
    names_in_texts,
    texts_in,
)
from hypernodes.identity.traversal import (
    ABSENT,
    NOTED_THEMSELVES,
    NOTES_OF_CALLS,
    CodeTraversal,
    Whole,
    annotations_of,
    code_digest,
    note_package,
    origin_of,
    resolved_hints,
    source_of,
    words,
)
from hypernodes.identity.values import (
    EVERYTHING,
    PLAIN,
    Parts,
    Raw,
    Traversal,
    Unidentifiable,
    identify,
    in_any_order,
    module_of,
    walked,
)
from hypernodes.identity.writes import is_written, only_writes

_LOGGING = words("debug info warning warn error exception critical fatal log")
"""Methods of a logger that have no result."""


def _settings_of(logger: logging.Logger) -> list[object]:
    return [logger.level, logger.getEffectiveLevel(), logger.disabled, logger.propagate]


@identify.register(types.FunctionType)
@walked
def _function(value: types.FunctionType, walk: Traversal) -> Parts:
    code = value.__code__
    if isinstance(getattr(value, "registry", None), types.MappingProxyType) and (
        code.co_filename == functools.__file__
    ):
        return _single_dispatch(value, walk)
    if "__beartype_wrapper" in vars(value) and "__wrapped__" in vars(value):
        return _beartyped(value, walk)
    found: dict[str, object] = {}
    followed = Function(value, walk, found)
    name, home = followed.label, followed.home
    own = dict(value.__dict__)
    if home is None:
        walk.note(name, [code, value.__defaults__, value.__kwdefaults__])
        followed.follow()
    else:
        refuse_finder(value)
        note_package(walk, home)
        own.pop(NOTES_OF_CALLS.get(home.partition(" ")[0], ""), None)
    closure = followed.closure()
    without, defaults, keywords = settings_of(value, "text" in followed.modes)
    with_names = home is None and followed.looks_up_variables()
    with_text = home is None and bool(followed.modes & {"text", "names"})
    what = [
        code_digest(code, with_names, without, with_text), defaults, in_any_order(keywords),
        list(closure.values()), in_any_order(own),
    ]  # fmt: skip
    if home is not None:
        return Parts("installed", [home, *what], covers=EVERYTHING)
    for inner, item in closure.items():
        if not isinstance(item, NOTED_THEMSELVES):
            walk.note(f"{name}: {inner}", item)
    return Parts("function", [*what, in_any_order(found), _text_of(followed)], covers=EVERYTHING)


def settings_of(
    value: types.FunctionType, with_all: bool = False
) -> tuple[frozenset[str], tuple[object, ...] | None, dict[str, object]]:
    """Parameters that do not matter, and the default values of the others.

    A parameter that has a default and is never read can be added at the end without a change.

    Args:
        value: the function.
        with_all: whether every parameter matters, read or not.

    Returns:
        Names of the parameters that do not matter, and the defaults of the positional and of the
        keyword-only ones that do.
    """
    code, defaults = value.__code__, value.__defaults__ or ()
    keywords = dict(value.__kwdefaults__ or {})
    if not defaults and not keywords:
        return frozenset(), None, keywords
    without: set[str] = set()
    if not with_all and not uses_of(code).words & LOOKS_UP_VARIABLES:
        ignored = unread(code)
        for name in ignored:
            if keywords.pop(name, ABSENT) is not ABSENT:
                without.add(name)
        positional = code.co_varnames[: code.co_argcount]
        while defaults and positional and positional[-1] in ignored:
            without.add(positional[-1])
            positional, defaults = positional[:-1], defaults[:-1]
    return frozenset(without), defaults or None, keywords


def _single_dispatch(value: Any, walk: Traversal) -> Parts:
    """A generic function: which implementation is for which type, and not what it remembers."""
    registry = value.registry
    if isinstance(walk, CodeTraversal):
        before = dict(registry)
        walk.checks.append(partial(_is_same, registry, before))
        for implementation in registry.values():
            walk.depends(implementation)
    own = {name: each for name, each in vars(value).items() if name not in _OF_DISPATCH}
    more = [in_any_order(own)] if own else []
    return Parts("generic", [in_any_order(registry), *more], covers=EVERYTHING)


def _beartyped(value: Any, walk: Traversal) -> Parts:
    """A function whose arguments beartype checks: with its hints, without what is generated."""
    checked = value.__wrapped__
    if isinstance(walk, CodeTraversal):
        walk.depends(checked)
    note_package(walk, origin("beartype") or "")
    how = repr((value.__kwdefaults__ or {}).get("__beartype_conf"))
    return Parts("beartyped", [checked, resolved_hints(checked), how], covers=EVERYTHING)


_OF_DISPATCH = vars(functools.singledispatch(len)).keys() | {"__annotations__", "__type_params__"}


def _is_same(now: Mapping[str, object] | None, before: Mapping[str, object] | None) -> bool:
    """Whether a dict has the same objects under the same names."""
    if not now or not before:
        return not now and not before
    return now.keys() == before.keys() and all(now[name] is each for name, each in before.items())


def _still_the_same(
    value: types.FunctionType, before: list[object], with_text: bool
) -> Callable[[], bool]:
    """A check whether a function is what it is now.

    Args:
        value: the function.
        before: what its cells hold.
        with_text: whether its docstring and annotations count.
    """
    code, defaults = value.__code__, value.__defaults__
    own, named = dict(value.__dict__), dict(value.__kwdefaults__ or {})
    cells = value.__closure__ or ()
    still = weakref.ref(value)  # the memo of a function must not keep it
    says, hints = (_said(value), annotations_of(value)) if with_text else (None, None)

    def same() -> bool:
        value = still()
        return (
            value is not None
            and value.__code__ is code
            and value.__defaults__ is defaults
            and _is_same(value.__kwdefaults__, named)
            and _is_same(value.__dict__, own)
            and (says is None or _said(value) == says)
            and (type(hints) is not dict or _is_same(annotations_of(value), hints))
            and (not before or all(map(operator.is_, map(_content, cells), before)))
        )

    return same


def _finder_of(value: object) -> Any:
    """What follows a function like `getenv`, or a dict like `os.environ`; None for others."""
    try:
        return FINDERS.get(value)
    except TypeError:  # it cannot be hashed, as dicts cannot
        if value is os.environ or value is getattr(os, "environb", None):
            return environment
        return loaded_modules if value is sys.modules else None


def _text_of(followed: Function) -> dict[str, object]:
    """What of a function counts only where something in reach reads it: its text, say."""
    counted: dict[str, object] = {}
    value, modes = followed.value, followed.modes
    if "text" in modes:
        counted["doc"] = value.__doc__
        counted["annotations"] = annotations_of(value)
    if "names" in modes:
        counted["name"] = [value.__name__, value.__qualname__, value.__module__]
    if "lines" in modes:
        counted["lines"] = [value.__code__.co_firstlineno, Raw(_lines(value.__code__))]
    if "source" in modes:
        counted["source"] = source_of(value, followed.label)
    return counted


class Function:
    """What a function depends on: the names of one of the user's own are followed.

    Args:
        value: the function.
        walk: the traversal that met it.
        found: where to put what its names stand for.

    Attributes:
        home: the package and version that it comes from; None for one of the user's own.
    """

    def __init__(
        self, value: types.FunctionType, walk: Traversal, found: dict[str, object]
    ) -> None:
        self.value = value
        self.home = origin_of(value)
        self.code = value.__code__
        self.walk = walk if isinstance(walk, CodeTraversal) else CodeTraversal()
        self.modes = self.walk.modes
        self.uses = uses_of(self.code, self.home is None and "text" in self.modes)
        self.namespace = value.__globals__
        self.label = f"{value.__module__}.{value.__qualname__}"
        self.found = found
        # See `identity.reach`.
        self._escapes = _makes_functions(self.code)
        self._strangers = False

    def follow(self) -> None:
        """Put what each name stands for into `found`."""
        uses, namespace, walk = self.uses, self.namespace, self.walk
        self._ask(uses.words | names_in_texts(self.code, self.value.__doc__))
        for name in uses.rebound:
            walk.rebinds(namespace, name, self.label)
        for use in uses.outer:
            self._global(use)
        self._follow_imports()
        if "text" in self.modes:
            for text in (*_texts_of_hints(self.value), *texts_of_hints(self.code)):
                self._follow_hint(text)
        if uses.words & EVALUATES:
            for name in evaluated_names(self.value, namespace):
                self.global_name(name)
        if self._escapes and uses.words & CALLS_AFTER:
            walk.asked.add("names")

    def _follow_hint(self, text: str) -> None:
        """Follow an annotation that is a text, with the texts in it: `"list['Row']"`."""
        self.text_of_code(text)
        with contextlib.suppress(SyntaxError, ValueError):
            for inner in texts_in(compile(text, "<text>", "eval")):
                self._follow_hint(inner)

    def _follow_names_in(self, text: str) -> None:
        """Follow the global names that a text reads for `DataFrame.query`: `"a > @LEAST"`."""
        for name in names_evaluated(text, self.namespace):
            self.global_name(name)

    def looks_up_variables(self) -> bool:
        """Whether something may look up the function's variables by name: then such names count.

        That is code in reach that looks at frames, the function itself, or a library that it uses
        and that is not among those known.
        """
        return (
            self._strangers
            or bool(self.modes & {"variables", "lines"})
            or bool(self.uses.words & LOOKS_UP_VARIABLES)
        )

    def closure(self) -> dict[str, object]:
        """The variables of enclosing functions: their values, as far as they are read."""
        value, walk = self.value, self.walk
        cells = value.__closure__ or ()
        before = [_content(cell) for cell in cells]
        self._depend(before)
        read: dict[str, object] = {}
        by_name: dict[str, list[Use]] = {}
        for use in self.uses.free:
            by_name.setdefault(use.name, []).append(use)
        for name, cell, content in zip(self.code.co_freevars, cells, before, strict=True):
            if name in self.uses.rebound_free and self.home is None:
                walk.rebinds(cell, name, self.label)
            if walk.leaves_out(cell, name, content):
                read[name] = _WRITTEN
                continue
            uses = by_name.get(name, [Use(name, (), False, ())])
            if self.home is None:
                for use in uses:
                    self._note_write(content, use, f"{name!r}")
                if all(only_writes(content, use) for use in uses):
                    read[name] = _WRITTEN
                    continue
            if name in by_name:
                walk.reads(cell, name, self.label)
            if isinstance(content, types.ModuleType):
                found: dict[str, object] = {}
                for use in uses:
                    self._resolve(use.name, content, use, found)
                read[name] = in_any_order(found)
                continue
            if name == "repr_running" and self.namespace.get("__name__") in _OF_REPR:
                read[name] = set()  # as it is while nothing is being printed
                continue
            walk.depends(content)
            read[name] = content
        if self.home is None:
            leads_to = [*self.found.values(), *read.values(), value.__dict__, value.__defaults__]
            walk.reach.note(value, leads_to, self._escapes, self._strangers)
        # In the order in which they are read, whatever they are called.
        return {name: read[name] for name in (*by_name, *read) if name in read}

    def _ask(self, used: frozenset[str]) -> None:
        for name in used & NAMES_OF_OTHERS:
            raise self.declined(f"it reads names of other code by {name}")
        for mode, names in READS.items():
            if used & names:
                self.walk.asked.add(mode)

    def _depend(self, before: list[object]) -> None:
        value, walk = self.value, self.walk
        keywords = value.__kwdefaults__ or {}
        walk.checks.append(_still_the_same(value, before, bool(self.modes)))
        for settled in (*(value.__defaults__ or ()), *keywords.values(), *value.__dict__.values()):
            walk.depends(settled)
            self._ask(names_behind(settled))

    # -- A name --------------------------------------------------------------------------------

    def _global(self, use: Use) -> None:
        name, namespace = use.name, self.namespace
        value = namespace.get(name, ABSENT)
        self.walk.names.append((namespace, name, value))
        if value is ABSENT:
            value = getattr(builtins, name, ABSENT)
            if value is ABSENT:
                self.found[name] = ABSENT
                return
            # Prefect's `log_prints`, Rich and others put a `print` of their own there.
            if name != "print" and not _is_builtin(value):
                self.walk.names.append((vars(builtins), name, value))
                self.walk.depends(value)
                self.found[name] = value
                return
            self._special(name, value, use)
            if name != "print":
                self.walk.names.append((vars(builtins), name, value))
            self.found[name] = _BUILTIN
            return
        if name in _OF_MODULES and not isinstance(value, (str, types.NoneType)):
            raise self.declined(f"it reads {name}")
        self.walk.reads(namespace, name, self.label)
        if self.walk.leaves_out(namespace, name, value):
            self.walk.names.pop()
            self.found[name] = _WRITTEN
            return
        self._resolve(name, value, use, self.found)

    def _resolve(self, label: str, value: object, use: Use, found: dict[str, object]) -> None:
        """Follow a value as far as the attributes that are read from it lead through modules."""
        chain = use.chain
        while isinstance(value, types.ModuleType):
            home = origin(value.__name__)
            if home is not None:
                self._of_library(label, home, value, chain, use, found)
                return
            if not chain:
                found[label] = Whole(value)
                return
            value = self._member(value, chain[0], found, label)
            label, chain = f"{label}.{chain[0]}", chain[1:]
        rest = use._replace(chain=chain)
        if self.walk.leaves_out(None, "", value):
            found[label] = _WRITTEN
            return
        if self._special(label, value, rest):
            return
        where = f"{self.namespace.get('__name__', '')}.{label}"
        self._note_write(value, rest, where)
        if only_writes(value, rest):
            found.setdefault(label, _WRITTEN)
            return
        self._ask(names_behind(value))
        if isinstance(value, str) and self.uses.words & EVALUATES:
            self._follow_names_in(value)
        if isinstance(value, operator.methodcaller):
            for text in value.__reduce__()[1]:  # it may be one of `DataFrame.query`
                if isinstance(text, str):
                    self._follow_names_in(text)
        if isinstance(value, logging.Logger) and rest.chain and rest.chain[0] not in _LOGGING:
            found[f"{label} settings"] = _settings_of(value)
            self.walk.changes = True
        if isinstance(value, (types.FunctionType, type)) and origin_of(value) is None:
            self._escapes |= not (rest.is_called or rest.chain)
        elif isinstance(value, (list, tuple, dict, set, frozenset)):
            self._escapes = True
        elif not isinstance(value, (types.FunctionType, type)):
            self._note_stranger(origin(module_of(type(value))))
        else:
            self._note_stranger(origin_of(value))
        found[label] = value
        self.walk.depends(value)
        if not isinstance(value, NOTED_THEMSELVES):
            self.walk.note(where, value)

    def _member(
        self, module: types.ModuleType, name: str, found: dict[str, object], label: str
    ) -> object:
        """An attribute of a module of the user's own, also one that its `__getattr__` makes."""
        members = vars(module)
        value = members.get(name, ABSENT)
        self.walk.names.append((members, name, value))
        self.walk.reads(members, name, self.label)
        maker = members.get("__getattr__")
        if maker is not None:
            found[f"{label}.__getattr__"] = maker
            self.walk.depends(maker)
        if value is not ABSENT:
            return value
        try:
            return getattr(module, name)
        except Exception:  # the node will say so when it runs
            return ABSENT

    def _of_library(
        self,
        label: str,
        home: str,
        module: types.ModuleType,
        chain: tuple[str, ...],
        use: Use,
        found: dict[str, object],
    ) -> None:
        """A module of a library counts by its version, and so does what is read from it.

        Unless that is the user's own, put there by somebody.
        """
        found.setdefault(label, f"{home} {module.__name__}")
        note_package(self.walk, home)
        self._note_stranger(home)
        value: object = module
        while chain and isinstance(value, types.ModuleType):
            members = vars(value)
            value = members.get(chain[0], ABSENT)
            label, chain = f"{label}.{chain[0]}", chain[1:]
            if value is ABSENT:
                return
            if not isinstance(value, types.ModuleType):
                self.walk.names.append((members, label.rpartition(".")[2], value))
        if isinstance(value, types.ModuleType):
            if value is sys.modules.get("builtins"):
                raise self.declined("it reads names of the module builtins")
            return
        if self._special(label, value, use._replace(chain=chain)):
            return
        if isinstance(value, (types.FunctionType, type)):
            if origin_of(value) is None and not _is_made(value):
                found[label] = value
        elif type(value) in PLAIN or value is sys.argv:
            found[label] = value
            self.walk.depends(value)

    def _note_stranger(self, home: str | None) -> None:
        self._strangers |= is_stranger(home)

    def _note_write(self, value: object, use: Use, where: str) -> None:
        if is_written(value, use):
            self.walk.writes(value, f"{where} in {self.label}")

    def declined(self, what: str, cure: str = "") -> Unidentifiable:
        """The error that says why what the function uses cannot be found out.

        Args:
            what: what it does.
            cure: what helps; by default a `code_version`.
        """
        cure = cure or 'say what identifies the code with code_version="..."'
        error = Unidentifiable(f"{what}, so what it uses cannot be found out: {cure}")
        error.found_in(self.label)
        return error

    # -- What finds other things by a name that is made while running --------------------------

    def _special(self, label: str, value: object, use: Use) -> bool:
        """Follow what a function like `getenv` or `import_module` finds; whether it is one.

        Raises:
            Unidentifiable: the name that it is given is no constant.
        """
        finder = _finder_of(value)
        if finder is None:
            return False
        finder(self, label, use)
        return True

    def variable(self, name: str) -> None:
        """Note a variable of the environment."""
        value = os.environ.get(name)
        self.found[f"environment {name}"] = value
        self.walk.checks.append(lambda: os.environ.get(name) == value)
        self.walk.note(f"environment variable {name}", value)

    def global_name(self, name: str) -> None:
        """Note a global name that is found by its text."""
        self._global(Use(name, (), False, ()))

    def text_of_code(self, text: str) -> None:
        """Follow a constant text that is run as code.

        Raises:
            Unidentifiable: it imports something.
        """
        try:
            code = compile(text, "<text>", "exec")
        except SyntaxError:
            return
        self._ask(uses_of(code).words)
        for use in uses_of(code).outer:
            self._global(use)
        if uses_of(code).imports:
            raise self.declined("it imports in a text that is run")

    def module(self, name: str, level: int = 0) -> None:
        """Follow a whole module that is imported by its name.

        Args:
            name: the module's.
            level: how many packages up the import starts; 0 for an absolute one.
        """
        module = self._imported(name, level)
        if isinstance(module, types.ModuleType) and origin(module.__name__) is None:
            self.found[f"import {name}"] = Whole(module)
        elif isinstance(module, types.ModuleType):
            self._of_library(f"import {name}", origin(module.__name__) or "", module, (),
                             Use(name, (), False, ()), self.found)  # fmt: skip
        else:
            self.found[f"import {name}"] = module

    # -- Imports in the function's body --------------------------------------------------------

    def _follow_imports(self) -> None:
        by_variable: dict[str, list[Use]] = {}
        for use in self.uses.imported:
            by_variable.setdefault(use.name, []).append(use)
        for each in self.uses.imports:
            label = f"import {'.' * each.level}{each.module}"
            value = self._imported(each.module, each.level)
            if not isinstance(value, types.ModuleType):
                self.found[label] = value
                continue
            if each.name is not None:
                label = f"{label}.{each.name}"
                value = self._from(value, each, label)
            elif each.is_top:
                value = sys.modules.get(value.__name__.partition(".")[0], value)
            uses = by_variable.get(each.variable or "", [])
            for use in uses or [Use(each.variable or "", (), False, ())]:
                self._resolve(label, value, use, self.found)

    def _from(self, module: types.ModuleType, each: Import, label: str) -> object:
        assert each.name is not None
        home = origin(module.__name__)
        if home is not None:
            self.found[label.rpartition(".")[0]] = f"{home} {module.__name__}"
            note_package(self.walk, home)
            return getattr(module, each.name, ABSENT)
        value = self._member(module, each.name, self.found, label.rpartition(".")[0])
        if value is ABSENT:
            inner = self._imported(f"{module.__name__}.{each.name}", 0)
            value = inner if isinstance(inner, types.ModuleType) else ABSENT
        return value

    def _imported(self, name: str, level: int) -> object:
        """A module that the function imports when it runs, imported now to look into it.

        Returns:
            The module. Only its package's version where it is of a package that is not loaded:
            the function may never get there.
        """
        package = self.namespace.get("__package__") or ""
        try:
            full = importlib.util.resolve_name("." * level + name, package)
        except ImportError:
            return ABSENT
        top = full.partition(".")[0]
        if full not in sys.modules:
            home = origin(top)
            if home is not None:
                note_package(self.walk, home)
                self._note_stranger(home)
                return f"{home} {full}"
            if not is_there(top):
                self.walk.checks.append(lambda: not is_there(top))
                return ABSENT
        try:
            return importlib.import_module(full)
        except Exception:  # the node will say so when it runs
            self.walk.changes = True
            return ABSENT


def _said(value: types.FunctionType) -> tuple[str, str, str | None]:
    """What a function says of itself, as it is now."""
    return value.__name__, value.__qualname__, value.__doc__


def _texts_of_hints(value: types.FunctionType) -> list[str]:
    """The annotations of a function that are texts."""
    hints = annotations_of(value)
    return [] if hints is ABSENT else [each for each in hints.values() if isinstance(each, str)]


def _makes_functions(code: types.CodeType) -> bool:
    """Whether functions or classes with a name are made in a function."""
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return any(each.co_name[0] != "<" for each in inner)


def _is_made(value: object) -> bool:
    """Whether a library has made a class in the name of a module that there is not."""
    return isinstance(value, type) and value.__module__ not in sys.modules


def _is_builtin(value: object) -> bool:
    return getattr(value, "__module__", "builtins") in ("builtins", "_sitebuiltins", "io", "_io")


_BUILTIN = "<builtin>"


_WRITTEN = "<written to>"

_OF_REPR = frozenset({"dataclasses", "reprlib"})
"""The modules of the `__repr__` that dataclasses have: it notes which objects are being printed."""


_OF_MODULES = frozenset({"__builtins__", "__spec__", "__loader__", "__dict__"})


_EMPTY_CELL = "<empty cell>"


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY_CELL


def _lines(code: types.CodeType) -> bytes:
    return getattr(code, "co_linetable", b"")
