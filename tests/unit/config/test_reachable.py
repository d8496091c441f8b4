"""Rules, policies and levels that nothing ever reaches are refused; what can decide never is."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from klingel.config.brand import Brand
from klingel.config.compiled import CompiledBrand
from klingel.config.loader import BrandFileError, from_config, load_brand, to_config
from klingel.config.reachable import unreachable
from klingel.domain.matching import parse_rule
from klingel.domain.priority import MOST_OF_EVENT, event_parts
from klingel.domain.routing import route
from klingel.model.social_event import Author, Enrichment, Intent, SocialEvent, Tone
from klingel.testing.conversations import said

HEAD = """\
brand: nordlicht
name: Nordlicht
queues: [{id: service}, {id: late}]
dictionaries: [{id: products, words: [nordbox, nordphone]}]
topics: [{id: outage, query: outage}]
"""

TAKEN = {
    "a narrower list of values": (
        "- {id: a, kinds: [post, reply], queue: late}",
        "- {id: b, kinds: [reply], queue: late}",
    ),
    "a field in the query and the same as a condition": (
        "- {id: a, when: 'kind:(post OR reply)', queue: late}",
        "- {id: b, kinds: [reply], queue: late}",
    ),
    "a further condition": (
        "- {id: a, when: netz, queue: late}",
        "- {id: b, when: 'lang:de netz', tones: [negative], queue: late}",
    ),
    "a narrower interval": (
        "- {id: a, when: 'followers:>=1000', anger_from: 0.5, queue: late}",
        "- {id: b, when: 'followers:[2000 TO 5000]', anger_from: 0.6, queue: late}",
    ),
    "each of several alternatives": (
        "- {id: a, when: 'netz OR strom OR gas', queue: late}",
        "- {id: b, when: '(netz weg) OR \"kein strom\"', queue: late}",
    ),
    "a wildcard that takes the word": (
        "- {id: a, when: 'stör*', queue: late}",
        "- {id: b, when: 'lang:de störung', queue: late}",
    ),
    "an entry of a dictionary": (
        "- {id: a, when: 'dictionary:products', queue: late}",
        "- {id: b, when: nordbox lang:de, queue: late}",
    ),
    "fewer intents and topics": (
        "- {id: a, intents: [complaint, problem], queue: late}",
        "- {id: b, intents: [problem], topics: [outage], queue: late}",
    ),
}

IMPOSSIBLE = {
    "two languages": (
        "- {id: a, when: 'lang:de lang:en netz', queue: late}",
        (
            'routing.0.when: it can never hit: nothing fulfils `lang:"de"` and `lang:"en"` at once; write OR '
            "where either will do, or leave one out"
        ),
    ),
    "a word and not the word": (
        "- {id: a, when: 'netz NOT net*', queue: late}",
        (
            "routing.0.when: it can never hit: nothing fulfils `netz` and `NOT net*` at once; write OR "
            "where either will do, or leave one out"
        ),
    ),
    "no number between": (
        "- {id: a, when: 'followers:{5 TO 6}', queue: late}",
        (
            "routing.0.when: it can never hit: nothing fulfils `followers:[6 TO 5]`; mend it, or remove "
            "it"
        ),
    ),
    "a query against a condition": (
        "- {id: a, when: 'netz kind:post', kinds: [reply, email], queue: late}",
        (
            'routing.0: it can never hit: nothing fulfils `kind:"post"` and `kinds: [reply, email]` at '
            "once; leave one out"
        ),
    ),
    "kinds that open no case": (
        "- {id: a, kinds: [reaction, repost], queue: late}",
        (
            "routing.0: it can never hit: nothing fulfils `kinds: [reaction, repost]`; mend it, or "
            "remove it"
        ),
    ),
}

PARTS = {
    "several together": (
        (
            "routing:\n- {id: a, again: true, queue: late}\n- {id: b, when: x, queue: late}\n"
            "- {id: c, again: false, queue: late}\n- {id: d, when: y, queue: late}\n"
        ),
        (
            "10: routing.3: it can never hit: 'a' (line 7) and 'c' (line 9) together take all that it "
            "would; move it before them, or remove it"
        ),
    ),
    "a listening rule": (
        "listening: [{id: a, query: 'visibility:public visibility:private'}]\n",
        (
            '6: listening.0.query: it can never hit: nothing fulfils `visibility:"public"` and '
            '`visibility:"private"` at once; write OR where either will do, or leave one out'
        ),
    ),
    "a policy behind a wider one": (
        (
            "sla:\n- {id: a, queues: [late, service], priority_from: 5, first_response: 1h}\n"
            "- {id: b, queues: [late], priority_from: 6, first_response: 1h}\n"
            "- {id: c, first_response: 1h}\n"
        ),
        (
            "8: sla.1: it can never be chosen: 'a' (line 7) takes all that it would; move it before that "
            "one, or remove it"
        ),
    ),
    "a policy behind one that takes everything": (
        "sla:\n- {id: a, first_response: 1h}\n- {id: b, first_response: 1h}\n",
        (
            "8: sla.1: it can never be chosen: 'a' (line 7) takes all that it would; both ask for the "
            "same: keep one of them"
        ),
    ),
    "a policy for a priority that nothing has": (
        (
            "routing:\n- {id: a, when: x, queue: late, priority: 15}\n"
            "sla:\n- {id: a, priority_from: 101, first_response: 1h}\n- {id: b, first_response: 1h}\n"
        ),
        (
            "9: sla.0: it can never be chosen: nothing fulfils `priority_from: 101 (at most 100 when it "
            "is opened)`; mend it, or remove it"
        ),
    ),
    "a level of a clock that is not promised": (
        "escalation: [{id: a, on: [breached], clocks: [resolution]}]\n",
        (
            "6: escalation.0.clocks: nothing brings a case here: no policy promises `resolution`; "
            "promised are `first_response` and `next_response`"
        ),
    ),
    "a level of rules that lead to other queues": (
        (
            "routing:\n- {id: a, when: x, queue: late}\n"
            "escalation: [{id: a, on: [rule], rules: [a], queues: [service]}]\n"
        ),
        (
            "8: escalation.0.queues: nothing brings a case here by its rules; they lead to late: name "
            "that, or leave `queues` out"
        ),
    ),
}

RIGHT = {
    "narrow before wide": (
        "routing:\n- {id: a, kinds: [reply], queue: late}\n- {id: b, kinds: [post, reply], queue: late}\n"
    ),
    "what may be unknown": (
        "routing:\n- {id: a, tones: [negative, neutral, positive], queue: late}\n"
        "- {id: b, when: x, queue: late}\n"
    ),
    "the last policy, though others take everything together": (
        "sla:\n- {id: a, queues: [service], first_response: 1h}\n"
        "- {id: b, queues: [late], first_response: 1h}\n- {id: c, first_response: 1h}\n"
    ),
    "a level that another raises to": (
        "escalation:\n- {id: a, on: [warned], raise_after: 1h, raise_to: b}\n"
        "- {id: b, on: [breached], clocks: [resolution]}\n"
    ),
}


def problems(tmp_path: Path, parts: str) -> list[str]:
    path = tmp_path / "brand.yaml"
    path.write_text(HEAD + parts, encoding="utf-8")
    try:
        load_brand(path)
    except BrandFileError as error:
        return [line.removeprefix(f"{path}:") for line in error.problems]
    return []


@pytest.mark.parametrize("name", TAKEN)
def test_a_rule_that_an_earlier_one_takes_is_refused_and_not_the_other_way_round(
    tmp_path: Path, name: str
) -> None:
    wide, narrow = TAKEN[name]
    assert problems(tmp_path, f"routing:\n{wide}\n{narrow}\n") == [
        (
            "8: routing.1: it can never hit: 'a' (line 7) takes all that it would; move it before that "
            "one, or remove it"
        )
    ]
    assert problems(tmp_path, f"routing:\n{narrow}\n{wide}\n") == []


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_rule_that_excludes_itself_is_refused_with_what_does(tmp_path: Path, name: str) -> None:
    rule, sentence = IMPOSSIBLE[name]
    assert problems(tmp_path, f"routing:\n{rule}\n") == [f"7: {sentence}"]


@pytest.mark.parametrize("name", PARTS)
def test_every_part_that_nothing_reaches_is_told_with_its_line(tmp_path: Path, name: str) -> None:
    parts, sentence = PARTS[name]
    assert problems(tmp_path, parts) == [sentence]


@pytest.mark.parametrize("name", RIGHT)
def test_what_can_decide_is_right(tmp_path: Path, name: str) -> None:
    assert problems(tmp_path, RIGHT[name]) == []


def test_what_was_applied_before_goes_on(tmp_path: Path) -> None:
    """A rule that nothing reaches does no harm: services of a newer version take it."""
    path = tmp_path / "brand.yaml"
    path.write_text(f"{HEAD}routing: [{{id: a, queue: late}}]\n", encoding="utf-8")
    config = to_config(load_brand(path).brand)
    config["routing"] = [*config["routing"], {**config["routing"][0], "id": "b"}]
    assert [rule.id for rule in from_config(config).routing] == ["a", "b"]


def test_the_highest_priority_at_the_opening_is_reached() -> None:
    event = replace(
        said("root", kind="post"),
        author=Author(id="anna", followers=1_000_000),
        enrichment=Enrichment(
            tone=Tone(label="negative", negative=0.4, neutral=0.3, positive=0.3),
            anger=1.0,
            intents=[Intent(name="cancellation", score=1.0), Intent(name="complaint", score=1.0)],
        ),
    )
    assert sum(event_parts(event).values()) == MOST_OF_EVENT


TONES = ("negative", "neutral", "positive")
SEEN = ("public", "unlisted", "followers", "private")
ANGER = (None, 0.3, 0.9)
AGAIN = (True, False)


def _events() -> list[tuple[SocialEvent, bool]]:
    """Return an event of every sort that the rules below can tell apart."""
    return [
        (
            replace(
                said("root", kind="post"),
                visibility=seen,
                author=Author(id="anna", followers=followers),
                enrichment=Enrichment(
                    tone=Tone(label=tone, negative=0.4, neutral=0.3, positive=0.3)
                    if tone
                    else None,
                    anger=anger,
                    intents=[Intent(name="problem", score=1.0)],
                ),
            ),
            again,
        )
        for tone, seen, anger, again, followers in product(
            (None, *TONES), SEEN, ANGER, AGAIN, (None, 0, 7, 12)
        )
    ]


EVENTS = _events()

atoms = st.one_of(
    st.sampled_from(SEEN).map("visibility:{}".format),
    st.sampled_from([">=5", "<5", "[0 TO 9]", "[* TO *]"]).map("followers:{}".format),
)
queries = st.one_of(
    atoms,
    atoms.map("NOT {}".format),
    st.lists(atoms, min_size=2, max_size=3).map(" AND ".join),
    st.lists(atoms, min_size=2, max_size=3).map(" OR ".join),
    st.builds("({} OR {}) AND NOT {}".format, atoms, atoms, atoms),
)
rules = st.fixed_dictionaries(
    {"queue": st.just("first")},
    optional={
        "when": queries,
        "tones": st.lists(st.sampled_from(TONES), min_size=1, max_size=3, unique=True),
        "anger_from": st.sampled_from([0.2, 0.5]),
        "again": st.booleans(),
    },
)


@pytest.mark.exhaustive
@given(st.lists(rules, min_size=1, max_size=5))
def test_refused_is_exactly_what_no_event_reaches(written: list[dict[str, Any]]) -> None:
    """Of rules on fields alone: against every event that they can tell apart."""
    content = {
        "brand": "nordlicht",
        "name": "Nordlicht",
        "accounts": [{"network": "bluesky", "id": "did:plc:brand"}],
        "queues": [{"id": "first"}],
        "routing": [{"id": f"r{place}", **rule} for place, rule in enumerate(written)],
    }
    brand = Brand.model_validate(content)
    read = {
        ("routing", place, "when"): parse_rule(rule["when"]).root
        for place, rule in enumerate(written)
        if "when" in rule
    }
    refused = {place[1] for place, _ in unreachable(brand, read, lambda place: 0)}
    compiled = CompiledBrand.compile(brand, "0123456789abcdef")
    reached = {route(event, compiled, again=again).rule for event, again in EVENTS}
    assert refused == {place for place in range(len(written)) if f"r{place}" not in reached}


def test_the_example_brands_are_right() -> None:
    for path in sorted((Path(__file__).parents[3] / "brands").glob("*.yaml")):
        assert yaml.safe_load(path.read_text())["brand"] == load_brand(path).brand.brand
