"""Names of test cases that are the same in each of several processes."""

import re

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def shown(value):
    """What a value looks like, without the address of an object."""
    return ADDRESS.sub("", str(value))[:60]
