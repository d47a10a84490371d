"""What identifies a class: all of it, with what it declares of its fields."""

from __future__ import annotations

import abc
import dataclasses
import enum
import sys
import types
import typing
import weakref
from collections.abc import Iterator, Mapping
from functools import partial

from hypernodes.identity.objects import compiled
from hypernodes.identity.packages import PYTHON, origin
from hypernodes.identity.traversal import (
    ABSENT,
    CURES,
    NOTED_THEMSELVES,
    CodeTraversal,
    is_unchanging,
    resolved_hints,
    source_of,
    words,
)
from hypernodes.identity.values import (
    EVERYTHING,
    OF_MEMBERS,
    Parts,
    Traversal,
    Unidentifiable,
    identify,
    in_any_order,
    module_of,
    walked,
)

_MADE_BY_PYTHON = words(
    """
    __dict__ __weakref__ __module__ __doc__ __qualname__ __firstlineno__ __static_attributes__
    __annotations__ __annotate__ __annotate_func__ __annotations_cache__ __abstractmethods__
    _abc_impl __parameters__ __classcell__ __dataclass_fields__ __signature__ __type_params__
    __orig_bases__ _is_protocol __protocol_attrs__ __non_callable_proto_members__
    _is_runtime_protocol __classdictcell__ __slotnames__
    """
)


_MADE_OF_FIELDS = words(
    """
    __pydantic_core_schema__ __pydantic_validator__ __pydantic_serializer__
    __pydantic_parent_namespace__ __pydantic_complete__ __pydantic_fields_complete__
    __pydantic_setattr_handlers__ __pydantic_generic_metadata__ __pydantic_fields__ __fields__
    __class_vars__ __pydantic_custom_init__ __pydantic_post_init__ __pydantic_root_model__
    __pydantic_decorators__
    """
)
"""What pydantic makes out of a model's fields and decorators."""


@identify.register(type)
@walked
def _class(value: type, walk: Traversal) -> Parts:
    home = origin(module_of(value))
    if home is not None and not _is_made_while_running(value):
        name = [home, module_of(value), value.__qualname__]
        return Parts("installed class", name, covers=EVERYTHING)
    members = dict(vars(value))
    if not isinstance(members.get("__module__"), str):  # made by C, or by Cython
        module = module_of(value)
        # Cython's own classes are of a module that is in no file.
        file = getattr(sys.modules.get(module), "__file__", None)
        place = compiled(module) if file else module
        return Parts("compiled class", [place, value.__qualname__], covers=EVERYTHING)
    if isinstance(walk, CodeTraversal):
        walk.checks.append(partial(_has_members, value, members, value.__bases__, type(value)))
    own = {
        name: item
        for name, item in members.items()
        if name not in _MADE_BY_PYTHON
        and name not in _MADE_OF_FIELDS
        and not isinstance(item, (types.MemberDescriptorType, types.GetSetDescriptorType))
    }
    if own.get("__init__") in _INIT_OF_PROTOCOLS:  # replaced when the first object is made
        del own["__init__"]
    if "__attrs_attrs__" in own and _is_generated(own.get("__hash__")):
        del own["__hash__"]  # it says the name of a file, hashed
    declared = dict(_declared(value))
    is_enum = isinstance(value, enum.EnumMeta)
    members_of_enum: Mapping[str, enum.Enum] = getattr(value, "__members__", {}) if is_enum else {}
    if is_enum:
        own = {
            name: item
            for name, item in own.items()
            if name not in members_of_enum and name not in _OF_ENUMS
        }
        declared["members"] = [
            [name, member.value, *_more_of(member)] for name, member in members_of_enum.items()
        ]
        if "__new_member__" in members:
            declared["new"] = members["__new_member__"]
        if issubclass(value, enum.Flag):
            declared["boundary"] = str(getattr(value, "_boundary_", None))
    if isinstance(walk, CodeTraversal):
        for item in own.values():
            walk.depends(item)
        declares = [each for name, each in declared.items() if name != "registered"]
        if not (_is_settled(declares) and all(map(is_unchanging, members_of_enum.values()))):
            walk.changing[id(value)] = value
        if isinstance(value, abc.ABCMeta):
            walk.checks.append(partial(_has_registered, value, len(_registered(value))))
    walk.note(
        f"{value.__module__}.{value.__qualname__}",
        [{n: item for n, item in own.items() if not isinstance(item, NOTED_THEMSELVES)}, declared],
    )
    what: list[object] = [
        value.__qualname__, value.__bases__, type(value), in_any_order(own), in_any_order(declared),
    ]  # fmt: skip
    if isinstance(walk, CodeTraversal):
        what += _read_by_some(value, list(own), walk)
    return Parts("class", what, covers=EVERYTHING)


def _is_settled(declared: object, depth: int = 4) -> bool:
    """Whether nothing of what a class declares can change in place: a field's metadata could.

    Args:
        declared: what `_declared` gives, in a list.
        depth: how deep it is made of lists, and two less of dicts, that are not the user's own.
    """
    kind = type(declared)
    if kind is dict or kind is types.MappingProxyType:
        values = list(declared.values())  # type: ignore[attr-defined]
        return not values or (depth > 2 and all(_is_settled(each, depth - 1) for each in values))
    if kind is list:
        parts: list[object] = declared  # type: ignore[assignment]
        return not parts or (depth > 0 and all(_is_settled(each, depth - 1) for each in parts))
    if kind is types.GenericAlias or kind is types.UnionType or kind in _OF_TYPING:
        return all(_is_settled(each, 0) for each in typing.get_args(declared))
    if kind.__name__ == "FieldInfo" and module_of(kind) == "pydantic.fields":
        slots: tuple[str, ...] = kind.__slots__  # type: ignore[attr-defined]
        return all(
            _is_settled(getattr(declared, each, None), each == "metadata")
            for each in slots
            if each[0] != "_"
        )
    return kind in _MISSING or kind.__name__ == "PydanticUndefinedType" or is_unchanging(declared)


_OF_TYPING = (
    type(typing.List[int]), type(typing.Union[int, str]), type(typing.Annotated[int, 1]),  # noqa: UP006, UP007
    type(typing.Literal[1]), typing.ForwardRef,
)  # fmt: skip
_MISSING = (type(dataclasses.MISSING), type(dataclasses.KW_ONLY))


def _has_registered(value: abc.ABCMeta, count: int) -> bool:
    return len(_registered(value)) == count


def _more_of(member: enum.Enum) -> Iterator[object]:
    """What a member of an enumeration has besides its name and its value."""
    own = {name: each for name, each in vars(member).items() if name not in OF_MEMBERS}
    if own:
        yield in_any_order(own)


def _has_members(
    value: type, members: Mapping[str, object], bases: tuple[type, ...], kind: type
) -> bool:
    """Whether a class has these members, and besides only what Python has added since."""
    now = vars(value)
    if value.__bases__ != bases or type(value) is not kind:
        return False
    if len(now) != len(members) and now.keys() - members.keys() - _MADE_BY_PYTHON:
        return False
    return all(now.get(name, ABSENT) is item for name, item in members.items())


def _read_by_some(value: type, names: list[str], walk: CodeTraversal) -> Iterator[object]:
    """What of a class counts only where something in reach reads it.

    Args:
        value: the class.
        names: its own members', in the order in which they were made.
        walk: knows what is read.
    """
    if "order" in walk.modes or origin(module_of(type(value))) is None:
        yield names  # a metaclass of the user's own sees them in order
    if "text" in walk.modes:
        yield [value.__doc__, resolved_hints(value)]
    if "names" in walk.modes:
        yield value.__module__
    if "source" in walk.modes:
        yield source_of(value, value.__qualname__)
    if "subclasses" in walk.modes:
        below: list[type] = type.__subclasses__(value)
        yield in_any_order({each.__qualname__: each for each in below})
        walk.changes = True


def _is_made_while_running(value: type) -> bool:
    """Whether a class is not in the module that it names, as those of `make_dataclass` are not."""
    if "<locals>" in value.__qualname__ or not isinstance(vars(value).get("__module__"), str):
        return False
    found: object = sys.modules.get(module_of(value))
    if found is None:
        return False
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is None


_OF_ENUMS = words(
    """
    _generate_next_value_ _member_names_ _member_map_ _value2member_map_ _unhashable_values_
    _hashable_values_ _unhashable_values_map_ _member_type_ _value_repr_ _new_member_ _use_args_
    _flag_mask_ _all_bits_ _singles_mask_ _inverted_ _boundary_ __new__ __new_member__ _ignore_
    __objclass__ _order_ _sunder_ _missing_value_ _add_alias_ _add_value_alias_ _any_unhashable
    """
)
"""What Python itself puts into the class of an enumeration."""


_INIT_OF_PROTOCOLS = (object.__init__, getattr(typing, "_no_init_or_replace_init", None))


def _is_generated(method: object) -> bool:
    code = getattr(method, "__code__", None)
    return code is not None and code.co_filename.startswith("<attrs generated")


def _declared(value: type) -> Iterator[tuple[str, object]]:
    """What a class declares of its fields, where something is made of that: hints, then, too.

    Hints of other classes are for people and type checkers.
    """
    space = vars(value)
    kind = type(value)
    is_plain = kind in (type, abc.ABCMeta, enum.EnumMeta) or origin(module_of(kind)) is None
    fields = space.get("__dataclass_fields__")
    if fields is not None:
        yield "fields", {name: _field(each) for name, each in fields.items()}
    if "__pydantic_fields__" in space or "__pydantic_core_schema__" in space:
        yield "fields of the model", dict(getattr(value, "__pydantic_fields__", {}))
        yield "config", getattr(value, "model_config", None)
        yield "decorators", _decorators(getattr(value, "__pydantic_decorators__", None))
    is_tuple = issubclass(value, tuple) and "_fields" in space
    is_declared = fields is not None or is_tuple or "__attrs_attrs__" in space
    if not is_plain or is_declared or "__required_keys__" in space:
        yield "hints", resolved_hints(value)
    if hasattr(value, "__struct_fields__"):  # msgspec's
        yield "struct", [value.__struct_encode_fields__, value.__struct_defaults__]  # type: ignore[attr-defined]
        yield "config", value.__struct_config__  # type: ignore[attr-defined]
    elif origin(module_of(kind)) not in (None, PYTHON) and not _is_python(kind):
        raise Unidentifiable(
            f"class {value.__qualname__} is made by {module_of(kind)}.{kind.__qualname__}, which "
            f"does not show what it makes of it: {CURES}"
        )
    if isinstance(value, abc.ABCMeta):
        registered = [each() for each in _registered(value)]
        names = {each.__qualname__: each for each in registered if each is not None}
        yield "registered", in_any_order(names)
    if "__orig_bases__" in space:
        yield "bases", [each for each in space["__orig_bases__"] if not isinstance(each, type)]


def _registered(value: abc.ABCMeta) -> set[weakref.ref[type]]:
    """Classes that were registered with an abstract one."""
    found: set[weakref.ref[type]] = abc._get_dump(value)[0]  # type: ignore[attr-defined]
    return found


def _is_python(kind: type) -> bool:
    """Whether a class is written in Python, so that what it does can be seen in other classes."""
    bases = [base for base in kind.__mro__ if base not in (type, object)]
    members = (member for base in bases for member in vars(base).values())
    return any(isinstance(member, types.FunctionType) for member in members)


def _decorators(found: object) -> list[object]:
    """Validators and serializers of a pydantic model: their functions, and what they are for."""
    if not dataclasses.is_dataclass(found):
        return []
    kinds = {each.name: getattr(found, each.name) for each in dataclasses.fields(found)}
    return [
        [kind, name, decorator.func, decorator.info, decorator.shim]
        for kind, decorators in kinds.items()
        for name, decorator in decorators.items()
    ]


def _field(field: dataclasses.Field[object]) -> list[object]:
    """A dataclass's field without its type, which is among the hints."""
    return [
        field.default if field.default is not dataclasses.MISSING else "<none>",
        field.default_factory if field.default_factory is not dataclasses.MISSING else "<none>",
        dict(field.metadata),
        [field.init, field.repr, field.hash, field.compare, getattr(field, "kw_only", False)],
        str(field._field_type),  # type: ignore[attr-defined]
    ]
