"""How an entry was made: the parts of its code and its inputs, packed into one text.

A store holds this for every entry, and a text takes the least room.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any


def as_text(parts: Mapping[str, str]) -> str:
    """Parts by name as one text.

    >>> as_text({"helper": "0a1b", "package numpy": "numpy 2.1"})
    'helper=0a1b;package numpy=numpy 2.1'
    """
    return ";".join([f"{name}={value}" for name, value in parts.items()])


def from_text(text: str) -> dict[str, str]:
    """Unpack the text that `as_text` makes."""
    pairs = [each.rpartition("=") for each in text.split(";") if each]
    return {name: value for name, _, value in pairs}


def changes_of_code(
    about: Mapping[str, Any], version: str | None, code: Mapping[str, str]
) -> Iterator[str]:
    """What differs between the code that made an entry and a node's code now.

    Args:
        about: see `Entry.about`.
        version: the node's `version`.
        code: the parts of its code, by name.

    Yields:
        A line of text for each difference.
    """
    if about.get("version") != version:
        yield f"version: {about.get('version')!r} is now {version!r}"
    before = from_text(about.get("code", ""))
    before = {_name_now(name, code): part for name, part in before.items()}
    for name, was, now in changed(before, code):
        if was is None:
            yield f"code: it uses {name} now"
        elif now is None:
            yield f"code: it does not use {name} any more"
        elif name.startswith("package "):
            yield f"code: {was} is now {now}"
        else:
            yield f"code: {name} changed"


def _name_now(name: str, now: Collection[str]) -> str:
    """What a part of some code is called now: a script is `__main__`, or a module of its name.

    >>> _name_now("__main__.parse", ["job.parse", "job.other"])
    'job.parse'
    """
    if name in now:
        return name
    for each in now:
        is_script_now = each.startswith("__main__.") and name.endswith(each[len("__main__") :])
        if is_script_now or (
            name.startswith("__main__.") and each.endswith(name[len("__main__") :])
        ):
            return each
    return name


def changed(
    before: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[tuple[str, str | None, str | None]]:
    """The parts that differ.

    Args:
        before: the parts by name, as they were.
        now: the parts as they are.

    Yields:
        A part's name, what it was and what it is; None if it was, or is, absent.
    """
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield name, before.get(name), now.get(name)
