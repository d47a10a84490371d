"""Docstrings as the API reference shows them: what they say in plain text, said in Markdown."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:func|class|meth|attr|mod|data):`~?([^`]+)`")
DOCTEST = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


class Docstrings(Extension):
    """Gives roles such as :func:`node` as code, and fences doctests."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Called for everything that has been read."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\g<0>\n```", text)
