"""Ten of the random networks that `fuzz.py` explains by every method, each by every fourth here."""

import pytest

from fuzz import explain_all


@pytest.mark.parametrize("seed", range(10))
def test_methods_explain_a_random_network_or_say_why_not(seed):
    found = explain_all(seed, every=4)
    assert list(found.values()).count("explained") > len(found) / 2
