"""`hypernodes`: show, run and map pipelines from the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """The command `hypernodes`.

    Exits with 0, 1 where a node failed, 2 where something was asked that cannot be, 3 where some
    items of a map failed and the others are done.
    """
    from hypernodes.errors import needs

    try:
        needs("cyclopts", "cli", "the command line")
    except ImportError as error:
        sys.exit(str(error))
    from hypernodes.cli.commands import run

    sys.exit(run(sys.argv[1:]))
