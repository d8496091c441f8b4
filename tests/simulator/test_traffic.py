"""The traffic model: determinism, mix, what is heard, order, threads, hostile text."""

import json
from datetime import datetime

import pytest

from klingel_simulator.brand import Brand, to_brand
from klingel_simulator.generic import GenericRenderer
from klingel_simulator.hostile import KINDS, clip
from klingel_simulator.phrases import phrase_count
from klingel_simulator.traffic import BLUESKY, GENERIC, OVERDUE_SECONDS, Mix, Traffic

COUNT = 20_000


@pytest.fixture(scope="module", params=["bluesky", "generic"])
def traffic(request):
    if request.param == "bluesky":
        return Traffic(11, count=COUNT, dialect=BLUESKY)
    return Traffic(11, count=COUNT, dialect=GENERIC, account="nordlicht")


@pytest.fixture(scope="module")
def said(traffic):
    return list(traffic)


def test_same_seed_gives_the_same_objects_and_another_seed_others():
    first, second, other = (list(Traffic(seed, count=2_000, dialect=GENERIC)) for seed in (3, 3, 4))
    assert first == second
    assert [o.text for o in first] != [o.text for o in other]
    assert {o.person.did for o in first if not o.by_brand}.isdisjoint(
        o.person.did for o in other if not o.by_brand
    )


def test_there_are_exactly_as_many_objects_as_asked_for(said):
    assert len(said) == COUNT


def test_endless_traffic_begins_like_any_other_and_does_not_end():
    endless = iter(Traffic(5, count=0, dialect=GENERIC))
    assert len([next(endless) for _ in range(3_000)]) == 3_000


def test_at_least_150_phrases_exist():
    assert phrase_count() >= 150


def test_shares_of_the_mix_are_met(said):
    def share(chosen):
        return sum(map(bool, chosen)) / COUNT

    assert share(not o.heard for o in said) == pytest.approx(0.3, abs=0.02)
    assert share(o.addressed and not o.repeated for o in said) == pytest.approx(0.2, abs=0.02)
    assert share(o.operation != "create" and not o.repeated for o in said) == pytest.approx(
        0.05, abs=0.015
    )
    assert share(o.repeated for o in said) == pytest.approx(0.02, abs=0.005)
    assert 0.01 < share(o.hostile for o in said) < 0.04
    assert {o.language for o in said} == {"de", "en"}
    assert {"complaint", "problem", "question", "praise", "lead", "small_talk", "competitor"} | {
        "agent_reply",
        "thanks",
        "follow_up",
        "announcement",
    } <= {o.intent for o in said}


@pytest.mark.parametrize("noise", [0.0, 0.79])
def test_the_share_of_noise_follows_its_parameter(noise):
    mix = Mix(noise=noise, addressed=0.1)
    said = list(Traffic(2, count=5_000, dialect=GENERIC, mix=mix))
    assert sum(not o.heard for o in said) / 5_000 == pytest.approx(noise, abs=0.03)


def test_what_is_heard_can_be_heard_and_noise_cannot(traffic, said):
    by_brand = {o.key for o in said if o.by_brand}
    for o in said:
        if o.operation == "delete":
            continue
        under_brand = o.root is not None and o.root.did == traffic.brand.did
        assert o.heard == (traffic.hears(o.text) or o.by_brand or under_brand), o
        if under_brand:
            assert o.root.key in by_brand


def test_a_generic_source_is_heard_by_its_words_or_its_author_alone():
    traffic = Traffic(9, count=5_000, dialect=GENERIC, account="nordlicht")
    for o in traffic:
        if o.operation != "delete":
            assert o.heard == (traffic.hears(o.text) or o.by_brand)


def test_agents_sign_and_customers_are_answered_in_their_thread(said):
    answers = [o for o in said if o.intent == "agent_reply" and o.operation == "create"]
    assert len(answers) > 100
    for o in answers:
        assert o.text.rpartition(" ^")[2] in Brand().agents
        assert o.root is not None
        assert o.parent is not None
        assert o.text.startswith(f"@{o.mentions[0][0]} ")
    openers = {o.key for o in said if o.addressed and o.kind == "post"}
    held = {o.root.key for o in answers} - openers
    assert not held


def test_revisions_grow_and_nothing_is_deleted_before_it_was_delivered(said):
    seen: dict[int, int] = {}
    deleted: set[int] = set()
    for o in said:
        if o.repeated:
            continue
        assert o.key not in deleted
        if o.operation == "create":
            assert o.revision == 0
        else:
            assert o.revision == seen.get(o.key, 0) + 1
        if o.operation == "delete":
            assert o.key in seen
            assert not o.text
            deleted.add(o.key)
        seen[o.key] = max(seen.get(o.key, 0), o.revision)


def test_a_repeated_delivery_repeats_one_that_was_made(said):
    made = set()
    for o in said:
        if o.repeated:
            assert (o.key, o.revision, o.operation, o.text) in made
        made.add((o.key, o.revision, o.operation, o.text))


def test_bluesky_keeps_each_authors_order_and_replies_still_come_before_their_roots():
    said = list(Traffic(11, count=COUNT, dialect=BLUESKY))
    last: dict[str, int] = {}
    delivered: set[int] = set()
    early = 0
    for o in said:
        if o.repeated:
            continue
        if o.operation == "create":
            assert o.key > last.get(o.person.did, 0)
            last[o.person.did] = o.key
            early += o.root is not None and o.root.key not in delivered
        else:
            assert o.key in delivered
        delivered.add(o.key)
    assert early > 0


def test_a_source_without_order_lets_edits_overtake_what_they_edit():
    delivered: set[int] = set()
    overtaken: set[int] = set()
    for o in Traffic(11, count=COUNT, dialect=GENERIC):
        if o.operation == "update" and o.key not in delivered:
            overtaken.add(o.key)
        delivered.add(o.key)
        if o.operation == "create" and not o.repeated:
            overtaken.discard(o.key)
    assert not overtaken, "every overtaken creation is delivered in the end"
    keys = [o.key for o in Traffic(11, count=COUNT, dialect=GENERIC) if o.operation == "create"]
    assert keys != sorted(keys)


def test_a_crisis_multiplies_negative_posts_about_one_topic(said):
    def outages(start, end):
        part = said[int(start * COUNT) : int(end * COUNT)]
        return sum(o.topic == "outage" and o.tone == "negative" for o in part) / len(part)

    assert outages(0.5, 0.65) > 4 * outages(0.0, 0.5)
    assert outages(0.7, 1.0) < outages(0.5, 0.65) / 3


def test_every_kind_of_hostile_text_occurs_and_survives_json(said):
    assert {o.hostile for o in said if o.hostile} == set(KINDS)
    for o in said:
        if o.hostile:
            wire = json.dumps({"text": o.text}, ensure_ascii=False).encode("utf-8")
            assert json.loads(wire)["text"] == o.text
            assert "\0" not in o.text


def test_texts_keep_the_networks_limit(traffic, said):
    assert max(len(o.text.encode()) for o in said) <= traffic.dialect.max_text_bytes


def test_clipping_never_splits_a_code_point():
    assert clip("aé", 2) == "a"
    assert clip("aé", 3) == "aé"
    assert clip("👩🏽", 5) == "👩"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"noise": 1.2}, "noise must lie between 0 and 1"),
        ({"noise": 0.9, "addressed": 0.2}, "exceed 1"),
        ({"people": 3}, "at least 100"),
    ],
)
def test_an_impossible_mix_is_refused_with_its_reason(change, reason):
    with pytest.raises(ValueError, match=reason):
        Mix(**change)


def test_another_brand_can_be_described():
    brand = to_brand({"name": "Polarfunk", "account": "polarfunk", "terms": ["Polarfunk"]})
    traffic = Traffic(1, count=2_000, dialect=GENERIC, brand=brand, account=brand.account)
    heard = [o for o in traffic if o.heard and o.operation == "create"]
    assert heard
    assert all("polarfunk" in o.text.lower() for o in heard if not o.by_brand)


@pytest.mark.parametrize("description", [{"colour": "blue"}, {"terms": 3}, {"terms": "one"}])
def test_a_wrong_brand_description_is_refused(description):
    with pytest.raises(ValueError, match="brand description"):
        to_brand(description)


@pytest.mark.parametrize("dialect", [BLUESKY, GENERIC])
def test_overdue_posts_were_said_long_ago_and_nothing_else_was(dialect):
    mix = Mix(noise=0.0, addressed=0.8, overdue=0.25, duplicates=0.0)
    said = list(Traffic(13, count=6_000, dialect=dialect, mix=mix))
    openings = [o for o in said if o.operation == "create" and o.addressed and o.kind == "post"]
    overdue = {o.key for o in openings if o.lag_seconds >= OVERDUE_SECONDS[0]}
    assert len(overdue) / len(openings) == pytest.approx(0.25, abs=0.03)
    assert all(o.lag_seconds <= OVERDUE_SECONDS[1] for o in openings)
    assert all(o.lag_seconds < 300 for o in said if o.key not in overdue)


def test_without_overdue_posts_the_same_seed_gives_what_it_always_gave():
    never, nothing = Traffic(3, count=500, dialect=GENERIC), Mix(overdue=0.0)
    assert list(never) == list(Traffic(3, count=500, dialect=GENERIC, mix=nothing))


def test_an_overdue_post_is_rendered_with_the_time_at_which_it_was_said():
    mix = Mix(noise=0.0, addressed=0.9, overdue=1.0)
    now_us, renderer = 1_800_000_000_000_000, GenericRenderer(5, "community")
    first = next(o for o in Traffic(5, count=50, dialect=GENERIC, mix=mix) if o.lag_seconds > 300)
    said = datetime.fromisoformat(json.loads(renderer.to_event(first, now_us))["published_at"])
    assert now_us / 1e6 - said.timestamp() == pytest.approx(first.lag_seconds, abs=0.01)


def test_without_an_end_a_crisis_returns_once_a_period():
    mix = Mix(noise=0.0, addressed=0.5, crisis_start=0.5, crisis_end=1.0, period=1_000)
    endless = iter(Traffic(5, count=0, dialect=GENERIC, mix=mix))
    said = [next(endless) for _ in range(4_000)]
    told = [sum(o.topic == "outage" for o in said[at : at + 500]) for at in range(0, 4_000, 500)]
    assert min(told[1::2]) > 2 * max(told[0::2])
