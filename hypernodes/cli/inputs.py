"""A pipeline's inputs as typed options."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Iterable
from typing import Annotated, Any

from cyclopts import App, Parameter

from hypernodes.cli.values import from_text, is_plain
from hypernodes.pipeline import Pipeline
from hypernodes.types import EMPTY, Input


def options(
    pipeline: Pipeline, taken: Collection[str], needed: bool = True
) -> list[inspect.Parameter]:
    """A keyword parameter for each input, with its type and default.

    Args:
        pipeline: whose inputs.
        taken: other options, such as `--cache`. An input whose option is taken, by one of these or
            by another input, is `--input-NAME`.
        needed: whether inputs without a default have to be given.
    """
    made = []
    used = set(taken)
    for name, each in pipeline.inputs.items():
        nodes = [step.id for step in pipeline.plan().steps if name in step.node.input_names]
        used_by = f"For {', '.join(nodes[:3])}{' ...' if len(nodes) > 3 else ''}."
        flag = name.strip("_").replace("_", "-") or "input"
        option = _option(each, flag, used_by, needed)
        while used & (names := names_of([option])):
            flag = f"input-{flag}"
            option = _option(each, flag, used_by, needed)
        used |= names
        made.append(option)
    return made


def names_of(options: Iterable[inspect.Parameter]) -> set[str]:
    """What can be written for parameters on a command line, `--no-NAME` of flags included.

    Args:
        options: the parameters.
    """

    def command() -> None:
        """Never called: Cyclopts reads its signature."""

    command.__signature__ = inspect.Signature(list(options))  # type: ignore[attr-defined]
    app = App()
    app.default(command)
    return {name for each in app.assemble_argument_collection() for name in each.names}


def _option(each: Input, flag: str, used_by: str, needed: bool) -> inspect.Parameter:
    kind, default = each.type, each.default
    about: dict[str, Any] = {"name": f"--{flag}", "help": used_by, "group": "Inputs"}
    if is_plain(kind):
        about["consume_multiple"] = True
    else:
        about |= {"help": f"{used_by} As JSON.", "n_tokens": 1, "negative": ""}
        about["converter"] = lambda _, tokens: from_text(each.type, tokens[0].value)
        kind = Any
    if default is EMPTY and not needed:
        default = None
        kind = typing.Optional[kind]  # noqa: UP045  any type, also a text
    elif default is not EMPTY and not is_plain(type(default)) and default is not None:
        about["show_default"] = repr
    return inspect.Parameter(
        f"input_{each.name}",
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, Parameter(**about)],
    )
