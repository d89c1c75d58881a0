"""What a whole number is among texts: the same in options, in raw columns and in the graph that serves."""

import re

# A whole number as pandas writes it beside a missing one, and what it becomes: one of two groups, so that
# -0.0 is 0 as it is among numbers.
WHOLE = r"^(?:-(0)|([-+]?[0-9]+))\.0$"


def token_of(name: float | str) -> str:
    """A class as it is told apart, which is as entries of files are: a whole number without a point.

    >>> [token_of(each) for each in (1, 1.0, "1.0", "1.5", "like")]
    ['1', '1', '1', '1.5', 'like']
    """
    if isinstance(name, str):
        return re.sub(WHOLE, lambda found: found[1] or found[2], name)
    return str(int(name)) if float(name).is_integer() else repr(float(name))
