"""Depth is judged as a reader would who goes through a body sign by sign."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import MAX_DEPTH, check_depth, check_utf8, read_utf8

BRACKETS = st.text(st.sampled_from('[]{}"\\ax'), max_size=60)


def is_too_deep(body):
    """Go through a body sign by sign: the oracle."""
    depth, in_string, escaped = 0, False, False
    for sign in body:
        if in_string:
            in_string = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            in_string = True
        elif sign in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif sign in "]}":
            depth -= 1
    return False


def judged_too_deep(body):
    """Ask the check."""
    try:
        check_depth(body.encode())
    except InvalidMessage as error:
        return error.error_type is ErrorType.TOO_DEEP
    return False


@given(inner=BRACKETS, levels=st.integers(0, 70), junk=st.booleans())
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
def test_depth_is_judged_as_by_going_through_it(inner, levels, junk):
    """Refused is exactly what is too deep, brackets in strings or not, broken or not."""
    said = json.dumps([[inner]] * 40) if junk else json.dumps([inner])
    for body in (
        "[" * levels + said + "]" * levels,
        '{"a":' * levels + said + "}" * levels,
        inner * 3 + "[" * levels,
    ):
        assert judged_too_deep(body) == is_too_deep(body), body


def test_depth_of_long_bodies_is_judged_in_linear_time():
    """A megabyte of each kind that could be slow: brackets, quotes, escapes, never closed."""
    for part, too_deep in (
        ("[", True),
        ("[]", False),
        ('"', False),
        ('["\\\\",', True),
        ('{"a":"[[[["},', False),
        ('"[', True),
    ):
        assert judged_too_deep(part * ((1 << 20) // len(part))) is too_deep


@pytest.mark.parametrize("lead", range(5))
@pytest.mark.parametrize(
    "end", [b"", b"\xf0\x9f", b"\xff{}", "\ud800".encode("utf-8", "surrogatepass")]
)
def test_a_long_body_is_judged_in_pieces_as_in_one(lead, end):
    """Signs of four bytes lie across every cut; what is refused, and at which byte, is the same."""
    body = b"x" * lead + "\U0001f621".encode() * 50_000 + end
    told = []
    for check in (check_utf8, read_utf8):
        try:
            check(body)
        except InvalidMessage as error:
            told.append((error.error_type, str(error)))
        else:
            told.append(None)
    assert told[0] == told[1]
    assert (told[0] is None) == (not end)
