"""What is shipped stays readable: no function is longer than a screen."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 50
"""Lines of a body: what stands before it, signature and docstring, states a contract."""
EXEMPT = {
    "core/src/klingel/domain/case_record.py::derived": "one record of 45 fields, each named once",
    "core/src/klingel/language/heads.py::__init__": "a model's tables, laid out once and in order",
}
GENERATED = ROOT / "core/src/klingel/model"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    """Return every module that is shipped and written by hand."""
    shown = [top for top in ROOT.iterdir() if top.is_dir() and not top.name.startswith(".")]
    found = [path for top in shown for src in top.glob("**/src") for path in src.rglob("*.py")]
    return [path for path in sorted(set(found)) if GENERATED not in path.parents]


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield each function's name and the lines of its body."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{path.relative_to(ROOT).as_posix()}::{name}": lines
        for path in sources()
        for name, lines in functions(path.read_text(encoding="utf-8"))
        if lines > LONGEST
    }
    assert {name: lines for name, lines in long.items() if name not in EXEMPT} == {}


def test_sources_are_found() -> None:
    """Else the law above would hold of nothing."""
    names = {path.relative_to(ROOT).as_posix() for path in sources()}
    assert {each.partition("::")[0] for each in EXEMPT} <= names
    assert "services/connectors/src/klingel_connectors/runner.py" in names


@pytest.mark.parametrize("lines", [1, LONGEST, LONGEST + 1])
def test_the_body_alone_is_counted(lines: int) -> None:
    body = "\n".join(["    x = 1"] * lines)
    told = f'def f(\n    a,\n    b,\n):\n    """One.\n\n    More.\n    """\n{body}\n'
    assert list(functions(told)) == [("f", lines)]
    assert list(functions(f"async def g():\n{body}\n")) == [("g", lines)]
