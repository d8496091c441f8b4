"""What an erasure looks for in the index."""

from fnmatch import fnmatchcase
from typing import Any

import pytest

from klingel_cli import erasing
from klingel_cli.erasing import Subject, reach

ANNA = "x:anna"
CASE = f"nordlicht:x:network:1:{ANNA}#1"
HAPPENED = {"case_id": CASE, "customer_id": ANNA, "kind": "opened"}
OTHERS = {"case_id": "nordlicht:x:network:1:x:bert#1", "customer_id": "x:bert", "kind": "opened"}


@pytest.fixture
def index(monkeypatch) -> dict[str, list[dict[str, Any]]]:
    """Documents by index, which answer questions for exact values."""
    held: dict[str, list[dict[str, Any]]] = {}

    async def found(_client: object, pattern: str, question: Any, fields: list[str]) -> Any:
        terms = [each["term"] for each in question["bool"]["filter"]]
        for name, documents in held.items():
            for document in documents if fnmatchcase(name, pattern) else ():
                if all(document.get(key) == value for term in terms for key, value in term.items()):
                    yield {key: document[key] for key in fields if key in document}

    monkeypatch.setattr(erasing, "_found", found)
    return held


@pytest.mark.parametrize("kind", ["cases", "case-events"])
async def test_cases_are_found_by_themselves_and_by_what_happened_to_them(index, kind):
    """A replay of `case-events` brings events back whose cases are erased: run it again."""
    index[f"kl-{kind}-nordlicht"] = [HAPPENED, HAPPENED, OTHERS]
    told = await reach(None, "kl-", Subject("author", ANNA))
    assert (told.cases, dict(told.objects)) == (frozenset({CASE}), {})


async def test_the_cases_of_an_object_are_not_looked_for(index):
    index["kl-case-events-nordlicht"] = [HAPPENED]
    assert (await reach(None, "kl-", Subject("object", "x:network:1"))).cases == frozenset()
