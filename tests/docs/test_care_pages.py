"""What the pages on triage and routing tell is what the code does."""

import ast
import inspect
import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from msgspec import structs

from klingel.config.brand import RoutingRule
from klingel.config.escalations import DEFAULT_LEVELS
from klingel.domain import commands, priority, triage
from klingel.domain.cases import fold_event
from klingel.domain.commands import Refusal
from klingel.domain.conversation import ConversationState
from klingel.domain.routing import route
from klingel.domain.triage import TriageReason, needs_answer
from klingel.model.social_event import Author, Enrichment, Intent, Match, Tone
from klingel.testing.conversations import NOON, compiled_brand, said

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
TRIAGE = (REFERENCE / "triage.md").read_text(encoding="utf-8")
ROUTING = (REFERENCE / "routing.md").read_text(encoding="utf-8")


def section(page, heading):
    """Return what stands under a heading."""
    return re.split(r"^## ", page.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[
        0
    ]


def rows(page, heading):
    """Return the rows of the table under a heading, as tuples of cells."""
    lines = [line for line in section(page, heading).splitlines() if line.startswith("| `")]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]


def meanings(module, enum):
    """Return what stands under each member of an enum in its source."""
    tree = ast.parse(inspect.getsource(module))
    body = next(
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == enum.__name__
    )
    told = {}
    for node, after in pairwise(body):
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr):
            told[node.value.value] = after.value.value
    return told


@pytest.mark.parametrize(
    ("heading", "module", "enum"),
    [("Reasons", triage, TriageReason), ("Commands that are not taken", commands, Refusal)],
)
def test_every_word_of_a_closed_set_is_told_with_its_meaning(heading, module, enum):
    """None is missing, none is told that is not there, and the page says what the code says."""
    told = {word.strip("`"): meaning for word, meaning in rows(TRIAGE, heading)}
    assert told == meanings(module, enum)
    assert set(told) == {member.value for member in enum}


BRAND = compiled_brand(
    triage={
        "needs_no_answer": ["other"],
        "natures_without_answer": [
            "mailing_list",
            "bulk",
            "auto_generated",
            "spam_flag",
            "forged_sender",
        ],
        "advocates": [{"network": "bluesky", "id": "did:plc:fan"}],
    }
)


MACHINES = ("bounce", "auto_reply", "read_receipt", "abuse_report")
QUIET = ("spam_flag", "forged_sender", "mailing_list", "bulk", "auto_generated")


def left(natures, others):
    """Return steps that take the first of these natures away, until only the others are left."""
    return [
        (TriageReason(each), {"natures": [*natures[at + 1 :], *others] or None})
        for at, each in enumerate(natures)
    ]


def test_the_first_reason_in_the_order_of_the_page_counts():
    """An event of which everything holds is put right step by step."""
    found = Enrichment(intents=[Intent(name="spam", score=0.9), Intent(name="other", score=0.9)])
    event = structs.replace(
        said("1", "did:plc:fan", addressing="indirect", kind="repost"),
        change="deleted",
        direction="outbound",
        enrichment=found,
        natures=[*MACHINES, *QUIET],
    )
    author, asks = event.author, Enrichment(intents=[Intent(name="other", score=0.9)])
    steps = (
        (TriageReason.DELETED, {"change": "created"}),
        *left(MACHINES, QUIET),
        (TriageReason.OWN_POST, {"direction": "third_party"}),
        (TriageReason.THIRD_PARTY, {"direction": "inbound"}),
        *left(QUIET, ()),
        (TriageReason.REPOST, {"kind": "reaction"}),
        (TriageReason.REACTION, {"kind": "unknown"}),
        (TriageReason.UNKNOWN_KIND, {"kind": "reply", "author": None}),
        (TriageReason.NO_AUTHOR, {"author": author}),
        (TriageReason.ADVOCATE, {"author": Author(id="anna")}),
        (TriageReason.SPAM, {"enrichment": asks}),
        (TriageReason.INDIRECT, {"addressing": "direct"}),
        (TriageReason.ASKS_NOTHING, {"enrichment": None}),
        (TriageReason.OPENED, {}),
    )
    seen = []
    for reason, parts in steps:
        assert needs_answer(event, BRAND)[1] is reason
        seen.append(reason.value)
        event = structs.replace(event, **parts)
    listed = re.findall(
        r"^\d+\. ((?:`\w+`(?:, )?)+):", section(TRIAGE, "What decides"), re.MULTILINE
    )
    assert re.findall(r"`(\w+)`", " ".join(listed)) == seen[:-1]


def test_every_condition_of_a_rule_is_told():
    """And what is no condition: its name, its queue, its points."""
    conditions = {cell.strip("`") for cell, _ in rows(ROUTING, "Rules")}
    assert conditions | {"id", "queue", "priority"} == set(RoutingRule.model_fields)


def example():
    """Return the brand of the page's example."""
    block = re.search(r"^```yaml\n(.*?)^```$", ROUTING, re.MULTILINE | re.DOTALL)
    return compiled_brand(**yaml.safe_load(block[1]))


def enriched(event, *intents, tone=None, **parts):
    """Return an event with what a model would find."""
    label = None
    if tone is not None:
        shares = {name: float(name == tone) for name in ("negative", "neutral", "positive")}
        label = Tone(label=tone, **shares)
    found = Enrichment(
        tone=label, intents=[Intent(name=name, score=0.9) for name in intents] or None, **parts
    )
    return structs.replace(event, enrichment=found)


def test_the_explanations_of_the_page_are_those_of_its_example():
    """Word for word."""
    blocks = re.findall(r"(?:^    .+\n)+", section(ROUTING, "Explained"), re.MULTILINE)
    told = [tuple(line.strip() for line in block.splitlines()) for block in blocks]
    first = enriched(said("1", text="my bill is too high"), "complaint", tone="negative")
    second = said("1", text="my line is dead")
    assert [route(event, example()).explain for event in (first, second)] == told


def test_the_first_rule_that_hits_wins():
    """Of two that hit, the earlier one."""
    event = enriched(said("1", text="my bill: I leave"), "cancellation", tone="negative")
    routed = route(event, example(), again=True)
    assert (routed.rule, routed.queue, routed.priority.parts["rule"]) == (
        "leaving",
        "retention",
        30,
    )


def followed(count):
    """Return an event of an author with so many followers."""
    return structs.replace(said("1"), visibility="private", author=Author(id="a", followers=count))


def said_within_an_hour(count):
    """Return the points of a customer with so many utterances."""
    return priority.velocity([NOON + timedelta(minutes=minute) for minute in range(count)])


HIDDEN = structs.replace(said("1"), visibility="private")
POINTS = {
    ("visibility", "public"): lambda: priority.event_parts(said("1")),
    ("visibility", "unlisted"): lambda: priority.event_parts(
        structs.replace(said("1"), visibility="unlisted")
    ),
    ("tone", "negative"): lambda: priority.event_parts(enriched(HIDDEN, tone="negative")),
    ("anger", "probability of anger 0.6 or above"): lambda: priority.event_parts(
        enriched(HIDDEN, anger=0.6)
    ),
    ("signals", "the customer announces to leave (intent cancellation)"): lambda: (
        priority.event_parts(enriched(HIDDEN, "cancellation", "complaint"))
    ),
    (
        "signals",
        "the customer complains (intent complaint), and does not announce to leave",
    ): lambda: priority.event_parts(enriched(HIDDEN, "complaint")),
    ("again", "the customer's earlier case in this conversation was closed"): lambda: {
        "again": priority.AGAIN
    },
    ("incident", "many have the same question"): lambda: {"incident": priority.INCIDENT},
    **{
        ("velocity", f"{words} utterances of the customer within an hour"): lambda words=words: {
            "velocity": said_within_an_hour(words)
        }
        for words in (3, 6)
    },
    **{
        ("reach", f"from {count:,} followers on"): lambda count=count: priority.event_parts(
            followed(count)
        )
        for count in (1_000, 10_000, 100_000, 1_000_000)
    },
}
CONFIGURED = ["rule", "waiting", "late", "escalation"]


def test_the_points_of_the_page_are_those_of_the_code():
    """Each line of the table, at its threshold; below it there is no part."""
    told = [(part.strip("`"), points, when) for part, points, when in rows(ROUTING, "Priority")]
    assert [part for part, points, _ in told if points == "as configured"] == CONFIGURED
    counted = [(part, int(points), when) for part, points, when in told if points.isdecimal()]
    assert {(part, when) for part, _, when in counted} == set(POINTS)
    for part, points, when in counted:
        assert POINTS[part, when]() == {part: points}, when
    assert len(counted) + len(CONFIGURED) == len(told)


def test_below_the_first_threshold_there_is_no_part():
    """Nothing that is not told gives points."""
    assert priority.event_parts(followed(999)) == {}
    assert priority.event_parts(enriched(HIDDEN, tone="neutral", anger=0.59)) == {}
    assert said_within_an_hour(2) == 0


def test_the_points_of_a_brand_without_levels_are_told():
    """20 on a warning, 40 on a breach."""
    points = {level.id: level.priority for level in DEFAULT_LEVELS if level.priority}
    assert points == {"warned": 20, "breached": 40}
    assert "20 points on a warning and 40 on a\nbreach" in ROUTING


def test_outreach_and_praise_come_before_all_rules():
    """Both open their case in the queue that the brand names, and say so."""
    brand = compiled_brand(
        queues=[{"id": "first"}, {"id": "thanks"}, {"id": "candidates"}],
        routing=[{"id": "all", "kinds": ["reply", "post"], "queue": "first"}],
        triage={"praise_queue": "thanks"},
        outreach={"queue": "candidates"},
    )
    praise = enriched(said("1"), "praise", tone="positive")
    talk = structs.replace(
        enriched(said("2", "bert", addressing="indirect"), "complaint", tone="negative"),
        matches=[Match(how="rule", rule="name")],
    )
    for event, queue, reason in ((praise, "thanks", "praised"), (talk, "candidates", "outreach")):
        folded = fold_event(
            ConversationState(),
            event,
            (0, 0),
            lambda each, again: route(each, brand, again=again),
            brand,
            NOON,
        )
        assert (folded.decision.queue, folded.decision.triage) == (queue, reason)
