"""Expressions in filters: they mean what Python's mean, and cost what they should."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.compute.patterns import PatternInvalid, is_plain, matcher

steps = st.tuples(
    st.sampled_from(["a", "B", ".", "[ab]", "[^a]", "[a-c]", r"\d", r"\.", "-", r"\w", r"\s"]),
    st.sampled_from(["", "*", "+", "?"]),
)
branches = st.builds(
    lambda start, middle, end: start + "".join(step + often for step, often in middle) + end,
    st.sampled_from(["", "^"]),
    st.lists(steps, max_size=6),
    st.sampled_from(["", "$"]),
)
expressions = st.lists(branches, min_size=1, max_size=3).map("|".join)


@given(expressions, st.text(alphabet="abcB1.- ", max_size=10))
def test_they_match_as_python_does(expression: str, text: str) -> None:
    assert matcher(expression)(text) == bool(re.search(expression, text, re.IGNORECASE))


@given(expressions, st.text(alphabet="abcB1.- ", max_size=10))
def test_from_the_start_they_match_as_python_does(expression: str, text: str) -> None:
    assert matcher(expression, from_start=True)(text) == bool(re.match(expression, text, re.IGNORECASE))


def test_an_expression_made_to_take_for_ever_does_not() -> None:
    # Trying and going back would take longer than the age of the universe.
    assert not matcher(".*" * 100 + "x")("a" * 255)


@pytest.mark.parametrize("text", ["(", "a)", "*", "a**", "[a", "a{2}", "x\\", "a" * 256, "|+"])
def test_what_is_not_supported_is_refused(text: str) -> None:
    with pytest.raises(PatternInvalid):
        matcher(text)


@pytest.mark.parametrize(("text", "plain"), [("web-1", True), ("a_b%c", True), ("a.b", False), ("^a", False)])
def test_what_is_only_text(text: str, plain: bool) -> None:
    assert is_plain(text) == plain
