"""Which files in a folder are a cache's own: a folder may hold other people's files as well.

    ab/                     two hexadecimal digits
    ab/ab12...              an entry: named by its key, and it begins as an entry does
    ab/.writing-12...       an entry that is being written

The name alone is not enough: other stores name files like this too. So whatever counts, lists or
removes entries looks at their first bytes as well (`format.is_entry`).
"""

from __future__ import annotations

import re
import time

WRITING = ".writing-"
"""What an entry's name begins with while it is written."""
ABANDONED = 3600.0
"""A file to which nothing has been written for so many seconds is not being written any more.

That long, because nothing else works on every file system: process ids mean nothing on another
machine or in another container, and locks do not reach all of them.
"""

TABLE = "9d4c1f6ab0e25837c6d1b29f40e8a753"
"""The key of the table that says whose results are used for which code (see `same_code`).

It is no node's entry: it is not listed, and it stays when entries go by age or for room. `clear()`
removes it.
"""

_KEY = re.compile(r"[0-9a-f]{3,}").fullmatch
_FOLDER = re.compile(r"[0-9a-f]{2}").fullmatch


def check_key(key: str) -> str:
    """A key, if it can be the name of an entry's file.

    Raises:
        ValueError: it cannot: the entry would not be found again among other files.
    """
    if _KEY(key) is None:
        raise ValueError(f"key {key!r}: expected at least three lower-case hexadecimal digits")
    return key


def is_folder(name: str) -> bool:
    """Whether a folder of this name can hold entries."""
    return _FOLDER(name) is not None


def is_entry(folder: str, name: str) -> bool:
    """Whether a file can be an entry of a node, by its name.

    Args:
        folder: the name of the folder that it is in.
        name: the file's.
    """
    return name.startswith(folder) and name != TABLE and _KEY(name) is not None


def is_abandoned(name: str, written: float) -> bool:
    """Whether a file was left behind by a process that was killed while it wrote.

    Args:
        name: the file's.
        written: when it was last written to, in seconds since the epoch.
    """
    return name.startswith(WRITING) and written < time.time() - ABANDONED
