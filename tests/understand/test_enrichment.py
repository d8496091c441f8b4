"""What a brand is told beside the text, and what becomes of it without a model."""

from pathlib import Path
from typing import Any

import pytest

from klingel.config.compiled import CompiledBrand
from klingel.domain.copies import comparable
from klingel.errors import ConfigurationError
from klingel.language.sense import Reader
from klingel.model import SocialEvent
from klingel.stage.fates import Fate
from klingel_processors.understand.models import Models

from ..ringing import brand, generic
from .conftest import Desk

COMPLAINT = (
    "Nordlicht, das ist eine Frechheit: seit drei Wochen kein Internet, und die Rechnung kommt "
    "trotzdem! Rufen Sie mich an: 030 901820, Kundennummer KD-20481931."
)
PARTS: dict[str, Any] = {
    "topics": [{"id": "bills", "query": "rechnung* OR bill"}, {"id": "parcels", "query": "paket"}],
    "enrichment": {
        "numbers": [{"kind": "customer_number", "pattern": "KD-########"}],
        "agents": [{"code": "mk", "name": "Maike"}],
    },
}


@pytest.fixture(scope="module")
def shipped() -> Reader:
    reader = Models(None).reader("care")
    assert reader is not None
    return reader


@pytest.fixture
def told(desk: Desk, shipped: Reader) -> Desk:
    """A desk of one brand with everything that enrichment can be told."""
    desk.brands = {"nordlicht": brand("nordlicht", **PARTS)}
    desk.readers["care"] = shipped
    desk.stage.restart()
    return desk


def heard(desk: Desk, text: str, **parts: Any) -> SocialEvent:
    assert desk.hear(generic("1", text, **parts)).fate is Fate.DELIVERED
    return desk.social()[-1]


def test_a_complaint_carries_what_is_found_in_it(told: Desk, shipped: Reader) -> None:
    event = heard(told, COMPLAINT)
    found = event.enrichment
    assert found is not None
    assert found.tone is not None
    assert found.tone.label == "negative"
    assert found.intents is not None
    assert found.intents[0].name in {"complaint", "problem"}
    assert found.topics == ["bills"]
    assert found.models is not None
    assert found.models[0] == shipped.model
    assert event.text == COMPLAINT
    masked = COMPLAINT.replace("030 901820", "[phone]")
    assert event.text_public == masked.replace("KD-20481931", "[customer_number]")
    assert found.pii is not None
    assert [COMPLAINT[each.start : each.end] for each in found.pii] == ["030 901820", "KD-20481931"]


def test_what_is_found_does_not_depend_on_the_batch(told: Desk) -> None:
    texts = (COMPLAINT, "nordlicht danke!", "Nordlicht?", "nordlicht 😡😡", "my bill, nordlicht")
    told.fates(*(generic(str(number), text) for number, text in enumerate(texts)))
    together = [event.enrichment for event in told.social()]
    told.fates(*(generic(f"b{number}", text) for number, text in enumerate(texts)), batch=1)
    assert [event.enrichment for event in told.social()[len(texts) :]] == together


def test_only_the_brands_own_people_sign(told: Desk) -> None:
    sorry = "Das tut uns leid, nordlicht schaut nach. ^mk"
    outbound = heard(told, sorry, author={"id": "nordlicht-team"})
    assert outbound.direction == "outbound"
    assert outbound.signature is not None
    assert (outbound.signature.code, outbound.signature.agent) == ("mk", "Maike")
    told.hear(generic("2", "nordlicht schaut nach. ^mk"))
    assert told.social()[-1].signature is None


def test_without_a_model_personal_data_is_masked_all_the_same(told: Desk) -> None:
    parts = PARTS | {"enrichment": PARTS["enrichment"] | {"model": "none"}}
    told.brands = {"nordlicht": brand("nordlicht", **parts)}
    event = heard(told, COMPLAINT)
    assert event.enrichment is not None
    assert (event.enrichment.tone, event.enrichment.intents, event.enrichment.anger) == (None,) * 3
    assert "[phone]" in (event.text_public or "")


def test_where_nothing_is_found_nothing_is_told(told: Desk) -> None:
    """A document without personal data is not indexed twice."""
    told.brands = {"nordlicht": brand("nordlicht", enrichment={"model": "none"})}
    event = heard(told, "Nordlicht, wann kommt der Techniker?")
    assert (event.text_public, event.enrichment) == (None, None)


def test_an_event_without_text_has_nothing_found_in_it(told: Desk) -> None:
    told.brands = {"nordlicht": brand("nordlicht", channels=[{"network": "webhook", "id": "shop"}])}
    told.hear(generic("1", "", media=[{"kind": "image"}]), channel="shop")
    (event,) = told.social()
    assert (event.enrichment, event.text_public, event.signature) == (None, None, None)


def named(model: str, *, optional: bool) -> CompiledBrand:
    return brand("nordlicht", enrichment={"model": model, "optional": optional})


def test_a_missing_model_is_told_at_the_start(tmp_path: Path) -> None:
    models = Models(tmp_path)
    with pytest.raises(ConfigurationError, match="there is no model ours: looked for"):
        models.check([named("ours", optional=False)])
    Models(tmp_path).check([named("ours", optional=True), named("none", optional=False)])
    with pytest.raises(ConfigurationError, match="ours"):
        Models(None).check([named("ours", optional=True), named("ours", optional=False)])


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_a_torn_model_is_told_by_its_file(keep: int, tmp_path: Path) -> None:
    file = tmp_path / "ours" / "model.klm"
    file.parent.mkdir()
    whole = (Path(str(_shipped_folder())) / "care" / "model.klm").read_bytes()
    file.write_bytes(whole[:keep])
    with pytest.raises(ConfigurationError, match=r"ours/model\.klm"):
        Models(tmp_path).check([named("ours", optional=False)])


def _shipped_folder() -> Any:
    from klingel_models import folder  # noqa: PLC0415 - a file of the package, not its code

    return folder()


def test_a_model_that_goes_missing_later_stops_nobody(tmp_path: Path) -> None:
    models = Models(tmp_path)
    assert models.reader("gone") is None
    assert models.reader("gone") is None
    assert models.reader("care") is not None


@pytest.mark.parametrize(
    "copy",
    ["nordlicht, MEIN Router blinkt rot", "RT @a: Nordlicht: mein Router blinkt rot http://x.y/z"],
)
def test_copies_have_the_fingerprint_under_which_they_are_linked(told: Desk, copy: str) -> None:
    text = "Nordlicht, mein Router blinkt rot!"
    event = heard(told, text)
    assert event.fingerprint == comparable(text).fingerprint
    assert event.fingerprint == comparable(copy).fingerprint
    told.hear(generic("2", copy))
    assert told.social()[-1].fingerprint == event.fingerprint
