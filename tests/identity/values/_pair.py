"""What a pair of values is."""

import textwrap
from dataclasses import dataclass

#: A result for one is not one for the other, or neither is cached, with a CacheWarning.
DIFFER = "must differ"
#: The same value: in another process, under another hash seed, or made in another way.
AGREE = "must agree"


@dataclass
class Pair:
    """Two expressions that are given to a cached node, in processes of their own.

    Args:
        name: What the two have, or don't have, in common.
        rule: `DIFFER` or `AGREE`.
        one: The expression whose result is cached first.
        other: The expression that is given then.
        given: A module of one's own, in whose names both are evaluated.
        needs: Packages without which the pair is skipped.
    """

    name: str
    rule: str
    one: str
    other: str
    given: str = ""
    needs: tuple = ()

    def __post_init__(self):
        self.given = textwrap.dedent(self.given).lstrip("\n")
        self.needs = (self.needs,) if isinstance(self.needs, str) else tuple(self.needs)


def in_form(pairs):
    """What a corpus does when it is run as a script."""
    names = [pair.name for pair in pairs]
    wrong = {name for name in names if names.count(name) > 1}
    wrong |= {pair.name for pair in pairs if pair.rule not in (DIFFER, AGREE)}
    assert not wrong, f"got {sorted(wrong)} twice or with no such rule; right is a list in form"
