"""What identifies functions that a library's decorator has made something else of."""

from __future__ import annotations

from typing import Any

from hypernodes.identity.traversal import NOTES_OF_CALLS, resolved_hints
from hypernodes.identity.values import EVERYTHING, Parts, Unidentifiable, identify, when_met


@when_met("wrapt", "_wrappers")  # its classes name the latter where they are compiled
def _wrapt() -> None:
    """wrapt's wrappers: the wrapper counts with what it wraps."""
    import wrapt

    exact = {wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper}

    @identify.register(wrapt.ObjectProxy)
    def _wrapper(value: Any) -> Parts:
        if type(value) not in exact:
            raise Unidentifiable(
                f"a proxy of type {type(value).__qualname__} does not show what it holds: "
                "give its class a __cache_key__()"
            )
        held = [
            value.__wrapped__, value._self_wrapper, value._self_instance, value._self_enabled,
            value._self_binding,
        ]  # fmt: skip
        return Parts("wrapt", held, covers=EVERYTHING)

    for kind in exact:
        identify.register(kind, _wrapper)


@when_met("numba")
def _numba() -> None:
    """numba's functions: their Python function and their options."""
    from numba.core.dispatcher import Dispatcher

    @identify.register(Dispatcher)
    def _dispatcher(value: Any) -> Parts:
        signatures = [str(each) for each in value.signatures] if not value._can_compile else []
        about = [value.py_func, dict(value.targetoptions), dict(value.locals), signatures]
        return Parts("numba", about, covers=EVERYTHING)


@when_met("msgspec")
def _msgspec() -> None:
    """What msgspec stores of a struct's options and of annotations."""
    import msgspec

    def _attributes(value: object) -> Parts:
        names = [name for name in dir(value) if not name.startswith("_")]
        held = {name: getattr(value, name) for name in names}
        return Parts(type(value).__qualname__, [held], covers=EVERYTHING)

    struct = msgspec.defstruct("struct", [("made", list, msgspec.field(default_factory=list))])
    factory = type(struct.__struct_defaults__[0])
    for kind in (msgspec.structs.StructConfig, msgspec.Meta, factory):
        identify.register(kind, _attributes)


@when_met("pydantic.type_adapter")
def _type_adapter() -> None:
    """pydantic's type adapters: the type, and not what is made of it."""
    import pydantic

    @identify.register(pydantic.TypeAdapter)
    def _adapter(value: Any) -> Parts:
        return Parts("type adapter", [value._type, value._config], covers=EVERYTHING)


@when_met("pydantic._internal")
def _validate_call() -> None:
    """Calls that pydantic validates: the function with its hints."""
    from pydantic._internal._validate_call import ValidateCallWrapper

    @identify.register(ValidateCallWrapper)
    def _validated(value: Any) -> Parts:
        function = value.function
        hints = resolved_hints(function) if hasattr(function, "__annotations__") else ()
        config = getattr(getattr(value, "config_wrapper", None), "config_dict", None)
        about = [function, hints, config, getattr(value, "validate_return", None)]
        return Parts("validated call", about, covers=EVERYTHING)


@when_met("pydantic.fields")
def _private_attributes() -> None:
    """Private attributes of models, without what pydantic notes in them."""
    from pydantic.fields import ModelPrivateAttr

    @identify.register(ModelPrivateAttr)
    def _private(value: Any) -> Parts:
        return Parts("private", [value.default, value.default_factory], covers=EVERYTHING)


@when_met("tenacity")
def _tenacity() -> None:
    """tenacity's retries, without the statistics that they collect."""
    import tenacity

    @identify.register(tenacity.BaseRetrying)
    def _retrying(value: Any) -> Parts:
        state = {name: item for name, item in vars(value).items() if name not in ("_local",)}
        return Parts("tenacity", [type(value), state], covers=EVERYTHING)


NOTES_OF_CALLS["tenacity"] = "statistics"


@when_met("toolz.functoolz")
def _curry() -> None:
    """Curried functions, without what toolz finds out as they are called."""
    from toolz import curry

    @identify.register(curry)
    def _curried(value: Any) -> Parts:
        held = [value.func, value.args, value.keywords]
        return Parts("curry", held, covers=frozenset(vars(value)))
