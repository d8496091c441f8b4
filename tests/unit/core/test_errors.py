"""The error tree: the drawing at the top of the module is the truth."""

import re

import pytest

from klingel import errors
from klingel.errors import ErrorType, InvalidMessage, KlingelError, RateLimited
from klingel.stage.dead_letters import kind_of


def drawn() -> dict[str, str]:
    """Return class to parent, as the docstring draws it."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)\b", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        path[depth:] = [found[2]]
        if depth:
            parents[found[2]] = path[depth - 1]
    return parents


def test_the_drawn_tree_is_the_real_one() -> None:
    """Every class is drawn, under its parent."""
    real = {
        name: thing.__base__.__name__
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, KlingelError) and thing is not KlingelError
    }
    assert drawn() == real
    assert KlingelError.__base__ is Exception


@pytest.mark.parametrize("error_type", list(ErrorType))
def test_an_error_type_is_the_kind_of_its_dead_letter(error_type: ErrorType) -> None:
    """The closed set of `x-dlq-kind`."""
    assert kind_of(InvalidMessage(error_type, "x")) == error_type.value
    assert re.fullmatch("[a-z_]+", error_type)


def test_errors_carry_what_the_caller_needs() -> None:
    """Path of the field; seconds the other side wishes."""
    assert InvalidMessage(ErrorType.SCHEMA, "x", path="a.b").path == "a.b"
    assert RateLimited("x", retry_after=2.5).retry_after == 2.5
    assert RateLimited("x").retry_after is None
