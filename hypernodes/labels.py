"""What a node is called and tagged with by systems that watch runs: `@node(task_run_name=...)`."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Collection, Mapping
from string import Formatter
from typing import Any

from hypernodes.errors import did_you_mean, listing

RunName = str | Callable[..., str]
"""A text such as "fetch {url}", or a function that returns one; see :func:`check_run_name`."""

_LONGEST = 200
"""Characters of a label: a page should be readable."""

logger = logging.getLogger("hypernodes")


def check_texts(option: str, given: object) -> tuple[str, ...]:
    """One or several texts as a tuple, each of them once.

    Args:
        option: what they are for, for messages.
        given: a text, or a list of them.

    Raises:
        ValueError: something else.
    """
    texts = (given,) if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple, set, frozenset)) or not all(
        isinstance(each, str) and each for each in texts
    ):
        raise ValueError(f"{option} is {given!r}: expected a list of texts")
    return tuple(dict.fromkeys(sorted(texts) if isinstance(texts, (set, frozenset)) else texts))


def check_run_name(template: object, names: Collection[str]) -> None:
    """Refuse what cannot name the runs of a node.

    Args:
        template: a text whose fields are inputs, as `str.format` takes it; or, as for Prefect's
            tasks, a function that is called with a dict of the inputs if it has a parameter
            `parameters`, else without arguments.
        names: the node's inputs.

    Raises:
        ValueError: it is neither, or a field is no input.
    """
    if callable(template):
        return
    if not isinstance(template, str) or not template:
        raise ValueError(f"task_run_name is {template!r}: expected a text such as 'fetch {{url}}'")
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise ValueError(f"task_run_name is {template!r}: {error}") from None
    for field in fields:
        name = field.partition(".")[0].partition("[")[0]
        if name not in names:
            raise ValueError(
                f"task_run_name is {template!r}, and there is no input {name!r}."
                f"{did_you_mean(name, names)} Inputs: {listing(names)}"
            )


def run_label(node: str, template: RunName, inputs: Mapping[str, Any]) -> str | None:
    """The label of one run of a node.

    Args:
        node: the node's name, for messages.
        template: what makes the label.
        inputs: the inputs that are at hand.

    Returns:
        None where an input that it needs is not at hand, or making it fails.

    >>> run_label("fetch", "fetch {url} {depth:02d}", {"url": "a.org", "depth": 1})
    'fetch a.org 01'
    """
    try:
        if isinstance(template, str):
            text = template.format_map(inputs)
        elif "parameters" in inspect.signature(template).parameters:
            text = template(parameters=dict(inputs))
        else:
            text = template()
        return str(text)[:_LONGEST].encode("utf-8", "replace").decode()  # a file's name may be none
    except KeyError:
        return None
    except Exception as error:
        _complain(node, repr(error))
        return None


@functools.lru_cache(maxsize=1_000)
def _complain(node: str, error: str) -> None:
    logger.warning("task_run_name of node %r cannot be made and is left out: %s", node, error)
