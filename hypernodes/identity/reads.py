"""What code reads of other code than what it does: names, docstrings, lines; and texts with names.

Such things do not count, unless something in reach looks at them. That is told by words: names in
the code, names of what stands behind these (`from inspect import getdoc as say`), and texts.
"""

from __future__ import annotations

import dis
import functools
import operator
import re
import types
from collections.abc import Iterator, Mapping

from hypernodes.identity.packages import origin
from hypernodes.identity.traversal import words
from hypernodes.identity.values import module_of

LOOKS_UP_VARIABLES = words(
    """
    locals vars dir eval exec query sql execute evaluate stack trace
    dmatrix dmatrices from_formula
    """
)
"""Names of what can look up a local variable by its name: where they occur, such names count."""


_TRACEBACKS = """
    format_exc format_exception format_tb format_stack extract_tb extract_stack walk_tb
"""
"""Names of what says where code is: with its lines and functions."""
READS = {
    "text": words(
        """
        __doc__ __annotations__ __annotate__ get_annotations get_type_hints getdoc cleandoc
        signature getfullargspec getcallargs from_callable singledispatch __signature__
        __text_signature__ pydoc doctest
        model_json_schema json_schema schema model_fields schema_json TypeAdapter validate_call
        fields __dataclass_fields__ __wrapped__ help getmembers __defaults__ __kwdefaults__
        __code__ curve_fit num_required_args is_valid_args is_partial_args is_arity
        """
    ),
    "source": words("getsource getsourcelines findsource getcomments getblock linecache"),
    "lines": words(f"__code__ co_firstlineno f_lineno tb_lineno findCaller {_TRACEBACKS}"),
    "variables": words(
        """
        _getframe currentframe f_locals f_back extract_stack getinnerframes getouterframes
        """
    ),
    "names": words(
        f"__name__ __qualname__ __module__ __code__ co_name getmodule unwrap {_TRACEBACKS}"
    ),
    "subclasses": words("__subclasses__"),
    "order": words("vars __dict__ globals"),
}
"""Names in code of what reads more of other code than what it does."""


NAMES_OF_OTHERS = frozenset({"__globals__", "f_globals", "f_builtins", "func_globals"})


CALLS_AFTER = words("agg aggregate transform apply pivot_table crosstab aggfunc")
"""Methods of data frames that call columns after the functions that they are given."""


_READERS = words(
    "builtins inspect typing typing_extensions functools operator dataclasses traceback linecache"
)
"""Modules whose functions are known by name, whatever they are called where they are used."""
_DUNDER = re.compile(r"__\w+__")
_FEW = 1_000
"""So many elements of a table are looked at."""


def names_behind(value: object, inside: bool = True) -> frozenset[str]:
    """Names by which what a name stands for may read other code.

    Args:
        value: what the name stands for.
        inside: whether to look into tables.

    >>> sorted(names_behind((operator.attrgetter("__doc__"), vars, "{0.__name__}")))
    ['__doc__', '__name__', 'vars', '{0.__name__}']
    """
    if isinstance(value, str):
        return frozenset({value, *_DUNDER.findall(value)})
    if isinstance(value, (operator.attrgetter, operator.methodcaller)):
        given = [each for each in value.__reduce__()[1] if isinstance(each, str)]
        return frozenset(name for each in given for name in each.split("."))
    if isinstance(value, functools.partial):
        return names_behind(value.func, inside)
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        if not inside or len(value) > _FEW:
            return frozenset()
        held = [*value, *(value.values() if isinstance(value, dict) else ())]
        return frozenset().union(*[names_behind(each, False) for each in held])
    if isinstance(value, (types.MethodType, types.MethodDescriptorType)):
        return frozenset({value.__name__})
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
        return frozenset({value.__name__} if value.__module__ in _READERS else ())
    return frozenset()


def names_in_texts(code: types.CodeType, doc: str | None) -> frozenset[str]:
    """The attributes that a function's texts name: `"{0.__doc__}".format(other)`."""
    texts = [text for text in texts_in(code) if text != doc]
    return frozenset(name for text in texts for name in _DUNDER.findall(text))


# -- Texts that are evaluated ----------------------------------------------------------------------

EVALUATES = words("query eval sql execute evaluate")
"""Names of what evaluates a text in which variables of the caller's may be named."""
_ALWAYS = words("query eval sql evaluate")
"""Those for which a text that is not seen may name anything: what has `execute` is mostly a
database, which knows none of them."""
_NAME = re.compile(r"@([^\W\d]\w*)")
_WORD = re.compile(r"[^\W\d]\w*")
_SQL = re.compile(r"\b(from|join|into|with)\s+\w", re.IGNORECASE)


def names_evaluated(
    text: str, namespace: Mapping[str, object], is_expression: bool = False
) -> list[str]:
    """Global names that a text may read: `"a > @LEAST"`, `"select sum(a) from FRAME"`.

    Args:
        text: the text.
        namespace: the global names.
        is_expression: whether its words are names even where it is no SQL.
    """
    names = [name for name in _NAME.findall(text) if name in namespace]
    if is_expression or _SQL.search(text):
        names += [name for name in _WORD.findall(text) if _may_be_named(namespace.get(name))]
    return list(dict.fromkeys(names))


def evaluated_names(value: types.FunctionType, namespace: Mapping[str, object]) -> Iterator[str]:
    """Global names that the texts may name which a function has evaluated."""
    given = set(_texts_given(value.__code__, namespace))
    texts = {*texts_in(value.__code__), *given} - {value.__doc__}
    for text in sorted(text for text in texts if text is not None):
        yield from names_evaluated(text, namespace, text in given)
    if None in given:
        for name, each in list(namespace.items()):
            if not name.startswith("__") and _may_be_named(each):
                yield name


def _texts_given(code: types.CodeType, namespace: Mapping[str, object]) -> Iterator[str | None]:
    """The texts that a function has evaluated; None for one that is not seen in its code."""
    steps = [each for each in dis.get_instructions(code) if each.opname not in _NO_STEPS]
    for step, after, then in zip(steps, steps[1:], steps[2:], strict=False):
        if step.argval in _ALWAYS and step.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL"):
            if after.opname.startswith("CALL"):  # without arguments, as of a model
                continue
            text = after.argval if after.opname.startswith("LOAD_CONST") else None
            if not then.opname.startswith(("CALL", "KW_NAMES", "LOAD_CONST")):
                text = None  # the beginning of one that is put together
            if after.opname == "LOAD_GLOBAL":
                text = namespace.get(after.argval)
            yield text if isinstance(text, str) else None
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _texts_given(each, namespace)


_NO_STEPS = ("CACHE", "PRECALL", "PUSH_NULL", "EXTENDED_ARG")
_DATA = words("builtins numpy pandas datetime decimal polars pyarrow daft")


def _may_be_named(value: object) -> bool:
    """Whether a text that is evaluated may name it: it is data, as far as is known."""
    if value is None or isinstance(value, (types.ModuleType, types.FunctionType, type)):
        return False
    home = module_of(type(value))
    is_data = home.partition(".")[0] in _DATA or origin(home) is None
    return is_data and not callable(value)


def texts_in(code: types.CodeType) -> Iterator[str]:
    """The constant texts of a function and of those inside it."""
    for each in code.co_consts:
        if isinstance(each, str):
            yield each
        elif isinstance(each, types.CodeType):
            yield from texts_in(each)
