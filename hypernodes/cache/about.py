"""What an entry says of how it was made, as text: that costs a store of many entries least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def as_text(parts: Mapping[str, str]) -> str:
    """Parts as entries have them.

    >>> as_text({"helper": "0a1b", "package numpy": "numpy 2.1"})
    'helper=0a1b;package numpy=numpy 2.1'
    """
    return ";".join([f"{name}={value}" for name, value in parts.items()])


def from_text(text: str) -> dict[str, str]:
    """The parts again."""
    pairs = [each.rpartition("=") for each in text.split(";") if each]
    return {name: value for name, _, value in pairs}


def changes_of_code(
    about: Mapping[str, Any], version: str | None, code: Mapping[str, str]
) -> Iterator[str]:
    """What differs between the code that an entry was made by and a node's of today.

    Args:
        about: what the entry says.
        version: the node's `version`.
        code: the parts of its code.
    """
    if about.get("version") != version:
        yield f"version: {about.get('version')!r} is now {version!r}"
    for name, was, now in changed(from_text(about.get("code", "")), code):
        if was is None:
            yield f"code: it uses {name} now"
        elif now is None:
            yield f"code: it does not use {name} any more"
        elif name.startswith("package "):
            yield f"code: {was} is now {now}"
        else:
            yield f"code: {name} changed"


def changed(
    before: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[tuple[str, str | None, str | None]]:
    """The names that stand for something else, and what they stood and stand for."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield name, before.get(name), now.get(name)
