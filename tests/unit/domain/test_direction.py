"""Who speaks to whom, seen from a brand."""

import pytest

from klingel.domain.direction import addressing_of, direction_of
from klingel.domain.draft import SocialDraft
from klingel.model.social_event import Author
from klingel.testing.conversations import compiled_brand

BRAND = compiled_brand(channels=[{"network": "webhook", "id": "contact-form"}])
OWN = "did:plc:brand"


def draft(**parts) -> SocialDraft:
    return SocialDraft(**{"mapping": "bluesky/1", "kind": "post", "change": "created", **parts})


def test_an_own_account_speaks_for_the_brand() -> None:
    assert direction_of(draft(author=Author(id=OWN)), BRAND) == "outbound"


def test_the_same_id_on_another_network_is_somebody_else() -> None:
    other = draft(mapping="mastodon/1", author=Author(id=OWN))
    assert direction_of(other, BRAND) == "inbound"


@pytest.mark.parametrize("claimed", ["inbound", "outbound", "third_party"])
def test_what_a_generic_source_claims_counts(claimed: str) -> None:
    claim = draft(mapping="webhook/2", author=Author(id="x"), direction=claimed)
    assert direction_of(claim, BRAND, channel="contact-form") == claimed


@pytest.mark.parametrize("channel", [None, "another-shop"])
def test_only_a_source_of_the_brand_can_claim_its_voice(channel: str | None) -> None:
    """Another's answers, which the brand hears by a rule, stop no clock of it."""
    claim = draft(mapping="webhook/2", author=Author(id="x"), direction="outbound")
    assert direction_of(claim, BRAND, channel=channel) == "third_party"
    said = draft(mapping="webhook/2", author=Author(id="x"), direction="inbound")
    assert direction_of(said, BRAND, channel=channel) == "inbound"


def test_an_own_account_is_the_brand_whatever_is_claimed() -> None:
    assert direction_of(draft(author=Author(id=OWN), direction="inbound"), BRAND) == "outbound"


def test_everything_else_comes_in() -> None:
    assert direction_of(draft(author=Author(id="anna")), BRAND) == "inbound"
    assert direction_of(draft(author=None), BRAND) == "inbound"


@pytest.mark.parametrize(
    "parts",
    [
        {"mentions": ("did:plc:other", OWN)},
        {"in_reply_to_author": OWN},
        {"target": OWN},
        {"visibility": "private"},
        {"mapping": "webhook/1", "target": "contact-form"},
    ],
)
def test_the_brand_is_addressed(parts: dict) -> None:
    assert addressing_of(draft(**parts), BRAND) == "direct"


def test_an_own_channel_addresses_the_brand() -> None:
    form = draft(mapping="webhook/1")
    assert addressing_of(form, BRAND, channel="contact-form") == "direct"


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"mentions": ("did:plc:other",)},
        {"mapping": "mastodon/1", "mentions": (OWN,)},
        {"target": "contact-form"},
    ],
)
def test_the_brand_is_only_talked_about(parts: dict) -> None:
    assert addressing_of(draft(**parts), BRAND) == "indirect"
