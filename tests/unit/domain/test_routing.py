"""Routing: the first rule that hits wins, and the explanation says so without the author's words."""

from msgspec import structs

from klingel.domain.routing import explain, route
from klingel.model.social_event import Author, Media
from klingel.testing.conversations import compiled_brand, said

QUEUES = [{"id": "first"}, {"id": "technical"}, {"id": "billing"}]
RULES = [
    {"id": "bills", "when": "bill", "queue": "billing", "priority": 5},
    {"id": "outage", "when": "line", "queue": "technical", "priority": 50},
    {"id": "late", "when": "dead", "queue": "first"},
]
BRAND = compiled_brand(queues=QUEUES, routing=RULES)


def test_the_first_rule_that_hits_wins() -> None:
    routed = route(said("a", text="my line is dead"), BRAND)
    assert (routed.queue, routed.rule) == ("technical", "outage")
    assert routed.explain == (
        "bills: its query does not hit",
        "outage: hits, queue technical, priority +50",
    )


def test_the_default_queue_takes_what_no_rule_hits() -> None:
    routed = route(said("a", text="hello"), BRAND)
    assert (routed.queue, routed.rule) == ("first", None)
    assert routed.explain[-1] == "no rule hits: default queue first"
    assert len(routed.explain) == 4


def test_a_rule_sees_attachments() -> None:
    pictures = [{"id": "pictures", "when": "has:image", "queue": "billing"}]
    brand = compiled_brand(queues=QUEUES, routing=pictures)
    assert route(said("a"), brand).queue == "first"
    event = structs.replace(said("a"), media=[Media(kind="image")])
    assert route(event, brand).queue == "billing"


def test_the_priority_is_the_sum_of_its_named_parts() -> None:
    event = structs.replace(said("a"), author=Author(id="anna", followers=250_000))
    priority = route(event, BRAND).priority
    assert priority.parts == {"rule": 50, "visibility": 10, "reach": 20}
    assert priority.score == 80


def test_the_explanation_never_holds_what_the_author_says() -> None:
    event = said("a", author="did:plc:canary", text="line canary-word")
    assert "canary" not in repr(route(event, BRAND))


def test_the_explanation_of_many_rules_stays_short() -> None:
    rules = [{"id": f"r{n}", "when": f"word{n}", "queue": "first"} for n in range(500)]
    brand = compiled_brand(routing=rules)
    lines = route(said("a", text="word498"), brand).explain
    assert len(lines) == 10
    assert lines[0] == "490 rules before: their queries do not hit"


def test_a_rule_that_is_gone_is_explained_as_such() -> None:
    assert explain(BRAND, "gone") == ("gone: hit under an earlier configuration",)
