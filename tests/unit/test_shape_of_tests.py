"""Tests wait for what they wait for, and skip nothing where it counts."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ALLOWED = {
    "waiting.py::until": "the one place that asks again and again",
    "contracts/test_batch_loop.py::until": "the same, on a broker in memory without a clock",
    "connectors/test_media.py::_drip": "a host that falls silent",
    "connectors/test_on_kafka.py::test_the_gateway_answers_503_until_its_topics_exist_then_stores": (
        "a sender that keeps to Retry-After"
    ),
    "notifier/conftest.py::_post": "a receiver that never answers",
    "notifier/test_mail.py::drip": "a mail server that drips",
    "notifier/test_on_kafka.py::run": "what is written must be told while others are killed",
}
"""Why a function sleeps: what it plays is slow, or it is how the others wait."""
WARPED = "connectors/faults"
"""Here the loop's clock jumps to whatever is due next: a sleep takes no time, and orders what is played."""


def sleeps(source: str) -> Iterator[str]:
    """Yield the innermost function around each sleep; `asyncio.sleep(0)` only lets others run."""

    def walk(node: ast.AST, around: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            inside = child.name if is_function else around
            if isinstance(child, ast.Call) and ast.unparse(child.func) in {
                "asyncio.sleep",
                "time.sleep",
            }:
                (length,) = child.args
                if not (isinstance(length, ast.Constant) and length.value == 0):
                    yield around
            yield from walk(child, inside)

    yield from walk(ast.parse(source), "")


def test_no_test_sleeps() -> None:
    found = {
        f"{path.relative_to(TESTS).as_posix()}::{name}"
        for path in sorted(TESTS.rglob("*.py"))
        if TESTS / WARPED not in path.parents
        and "sleep(" in (source := path.read_text(encoding="utf-8"))
        for name in sleeps(source)
    }
    assert found == set(ALLOWED)


@pytest.mark.parametrize("call", ["await asyncio.sleep(0.01)", "time.sleep(pace)"])
def test_a_sleep_is_found_in_the_function_around_it(call: str) -> None:
    source = f"async def f():\n    def g():\n        pass\n    {call}\n"
    assert list(sleeps(source)) == ["f"]


def test_no_test_is_skipped_but_by_the_one_place_that_fails_in_ci() -> None:
    words = ("pytest." + "skip(", "." + "skipif(", "importor" + "skip(")
    found = {
        path.relative_to(TESTS).as_posix()
        for path in sorted(TESTS.rglob("*.py"))
        if any(word in path.read_text(encoding="utf-8") for word in words)
    }
    assert found == {"absent.py"}


def test_letting_others_run_is_no_sleep() -> None:
    assert list(sleeps("async def f():\n    await asyncio.sleep(0)\n")) == []
