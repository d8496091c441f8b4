"""Topics of a brand's own model on its events: beside the keywords, of its own taxonomy alone."""

import random
from typing import Any

import pytest

from klingel.config.compiled import CompiledBrand
from klingel.language.heads import encode
from klingel.language.training import Plan, Row, train
from klingel.stage.fates import Fate
from klingel_models.tasks import Labelled
from klingel_models.topics import train_topics
from klingel_processors.understand.models import Models

from ..ringing import brand, generic
from .conftest import Desk

TOPICS = [{"id": "bills", "query": "rechnung"}, {"id": "luggage", "query": "koffer"}]
WORDS = {"bills": ("mahnung", "abbuchung"), "luggage": ("tasche", "gepäck")}


def ours(**parts: Any) -> CompiledBrand:
    return brand("nordlicht", topics=TOPICS, enrichment={"model": "ours"}, **parts)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The models of a worker, among them one that was trained on topics."""
    chance = random.Random(7)
    base = train([Row(f"nordlicht {n}", "made", {"anger": n % 3 == 0}) for n in range(30)], Plan())
    rows = []
    for number in range(120):
        names = chance.sample(sorted(WORDS), number % 3)
        words = [*(word for name in names for word in WORDS[name]), "nordlicht", "mein"]
        rows.append(Labelled(f"{' '.join(words)} {number}", frozenset(names), "de"))
    trained = train_topics(base.weights, rows, ours().topics)
    folder = tmp_path_factory.mktemp("models")
    (folder / "ours").mkdir()
    (folder / "ours" / "model.klm").write_bytes(encode(trained.weights))
    return Models(folder)


@pytest.fixture
def told(desk: Desk, models: Models) -> Desk:
    """A desk of one brand whose model knows its topics."""
    models.check([ours()])
    reader = models.reader("ours")
    assert reader is not None
    desk.brands = {"nordlicht": ours()}
    desk.readers["ours"] = reader
    desk.stage.restart()
    return desk


def topics(desk: Desk, native_id: str, text: str) -> list[str] | None:
    assert desk.hear(generic(native_id, text)).fate is Fate.DELIVERED
    found = desk.social()[-1].enrichment
    assert found is not None
    assert found.models is not None
    assert found.models[0].startswith("ours/")
    return found.topics


def test_keywords_come_first_and_the_model_adds(told: Desk) -> None:
    assert topics(told, "1", "nordlicht mein koffer") == ["luggage"]
    assert topics(told, "2", "nordlicht mein mahnung abbuchung") == ["bills"]
    both = "nordlicht mein koffer mahnung abbuchung"
    assert topics(told, "3", both) == ["luggage", "bills"]
    assert topics(told, "4", "nordlicht mein zug") is None


def test_a_topic_that_the_brand_does_not_have_is_not_told(told: Desk) -> None:
    parts = {"topics": TOPICS[1:], "enrichment": {"model": "ours"}}
    told.brands = {"nordlicht": brand("nordlicht", **parts)}
    assert topics(told, "1", "nordlicht mein mahnung abbuchung") is None
    assert topics(told, "2", "nordlicht mein tasche gepäck") == ["luggage"]


def test_another_model_of_the_same_brand_tells_keywords_alone(told: Desk) -> None:
    parts = {"topics": TOPICS, "enrichment": {"model": "none"}}
    told.brands = {"nordlicht": brand("nordlicht", **parts)}
    assert told.hear(generic("1", "nordlicht koffer mahnung")).fate is Fate.DELIVERED
    found = told.social()[-1].enrichment
    assert found is not None
    assert found.topics == ["luggage"]
    assert found.models is not None
    assert [name.partition("/")[0] for name in found.models] == ["reading", "brand"]
