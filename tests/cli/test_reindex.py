"""`klingel reindex`: wishes that make no sense are refused before anything is asked."""

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--check"], "--check compares two prefixes"),
        (["--to", "a-", "--from", "a-"], "name the same indices"),
        (["--to", ""], "a prefix is lower-case letters, digits and hyphens"),
        (["--to", "A b*"], "a prefix is lower-case letters, digits and hyphens"),
        (["--to", "new-", "--from", "*"], "a prefix is lower-case letters, digits and hyphens"),
        (["--since", "yesterday"], "a time looks like"),
    ],
)
def test_a_wrong_wish_is_refused(run: Any, arguments: list[str], sentence: str) -> None:
    refused = run("reindex", *arguments)
    assert refused.exit_code == 2
    assert sentence in refused.output
