"""X's stream rules, cost, reply policy and windows: pure, held against the stand-in's evaluator."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.config.brand import Account, Dictionary, ListeningRule
from klingel.config.loader import load_brand
from klingel.domain.draft import SocialDraft
from klingel.domain.matching import Rule, RuleDocument, RuleSet
from klingel.errors import ConfigurationError
from klingel_networks.x.cost import RESUME_SHARE, Meter, affordable, month_left_seconds
from klingel_networks.x.policy import reply_policy
from klingel_networks.x.position import HISTORY, Position, missed
from klingel_networks.x.rules import (
    TAG_PREFIX,
    TIERS,
    HeldRule,
    Plan,
    StreamRule,
    Tier,
    change,
    derive,
)
from klingel_simulator.x_rules import InvalidRule, compile_rule

FILE = Path(__file__).resolve().parents[2] / "brands" / "nordlicht.yaml"
NORDLICHT = load_brand(FILE).brand
BRAND_ID = "1111111111111111111"
NOW = datetime(2026, 7, 4, 12, tzinfo=UTC)
PAY = TIERS["pay_per_use"]


def brand(*queries: str, name: str = "nordlicht", **more: Any):
    """Return a brand with these listening rules, called r0, r1 and so on."""
    rules = tuple(ListeningRule(id=f"r{at}", query=each) for at, each in enumerate(queries))
    return NORDLICHT.model_copy(
        update={"brand": name, "accounts": (), "listening": rules, "dictionaries": ()} | more
    )


def values(plan: Plan) -> list[str]:
    """Return what X is asked for."""
    return [rule.value for rule in plan.rules]


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("nordlicht", "nordlicht"),
        ("Nordlicht Box", "nordlicht box"),
        ('"internet weg"', '"internet weg"'),
        ("(dsl OR glasfaser) AND langsam", "(dsl OR glasfaser) langsam"),
        ("a AND (b OR (c AND d))", "a (b OR c d)"),
        ("a OR (b AND (c OR d))", "a OR b (c OR d)"),
        ("x_y OR 🔥", '"x_y" OR "🔥"'),
        ('"中文"', '"中文"'),
        ("hashtag:netz OR author:2244994945", "#netz OR from:2244994945"),
        (f"mention:{BRAND_ID}", "@nordlicht"),
        ("kind:reply AND has:image AND box", "is:reply has:media box"),
        ("lang:de AND dsl", "(lang:de OR lang:und) dsl"),
        ("lang:he AND dsl", "(lang:iw OR lang:und) dsl"),
        ("network:x AND dsl", "dsl"),
        ("visibility:public AND dsl", "dsl"),
    ],
)
def test_what_x_can_be_asked_for_is_asked_exactly(query, value):
    """Each form of the rule syntax that X has too, without a word in the report."""
    account = Account(network="x", id=BRAND_ID, handle="nordlicht")
    plan = derive([brand(query, accounts=(account,))], PAY)
    assert values(plan)[1:] == [value]
    assert plan.left_out == plan.wider == ()
    compile_rule(value)


@pytest.mark.parametrize(
    ("query", "value", "word"),
    [
        ("followers:>=1000 AND box", "box", "followers"),
        ("box AND NOT gewinnspiel", "box", "must not"),
        ('"internet weg"~3', "internet weg", "near"),
        ("box AND (stör* OR ausfall)", "box", "wildcards"),
        ("lang:tlh AND box", "box", "language"),
        ("has:sticker AND box", "box", "attachment"),
    ],
)
def test_what_x_cannot_check_beside_something_else_makes_it_wider(query, value, word):
    """More posts come than the rule wants; the rule sorts them out, and the report says so."""
    plan = derive([brand(query)], PAY)
    assert values(plan) == [value]
    assert plan.left_out == ()
    (wider,) = plan.wider
    assert word in wider.sentence
    assert (wider.brand, wider.rule) == ("nordlicht", "r0")


@pytest.mark.parametrize(
    ("query", "kept", "word"),
    [
        ("stör*", [], "wildcards"),
        ("ausfall OR stör*", ["ausfall"], "wildcards"),
        ("lang:de", [], "no word"),
        ("has:link OR box", ["box"], "no word"),
        ("followers:>=1000", [], "no word"),
        ("NOT box", [], "alone"),
        ("kind:reply AND lang:de", [], "no word"),
    ],
)
def test_what_rests_on_nothing_that_x_knows_is_left_out_and_told(query, kept, word):
    """The rest of the rule is asked for all the same."""
    plan = derive([brand(query)], PAY)
    assert values(plan) == kept
    (left,) = plan.left_out
    assert word in left.sentence


@pytest.mark.parametrize("query", ["network:mastodon AND box", "kind:email", "author:did:plc:abc"])
def test_what_cannot_happen_at_x_is_not_asked_and_no_news(query):
    """A rule for another network is nothing that X could not do."""
    assert derive([brand(query.replace(":plc:abc", ""))], PAY).left_out == ()


def test_long_lists_become_several_rules_within_the_length():
    """Every word is in exactly one rule, none longer than allowed."""
    words = [f"wort{number:04}" for number in range(600)]
    plan = derive(
        [
            brand(
                "dictionary:d AND (langsam OR kaputt)",
                dictionaries=(Dictionary(id="d", words=tuple(words[:400]), umlauts=False),),
            ),
            brand(" OR ".join(words[400:]), name="zwei"),
        ],
        PAY,
    )
    assert all(len(rule.value) <= PAY.length for rule in plan.rules)
    assert plan.left_out == ()
    joined = " ".join(values(plan))
    assert all(joined.count(word) == 1 for word in words)
    assert all(
        "(langsam OR kaputt)" in rule.value for rule in plan.rules if "/nordlicht/" in rule.tag
    )
    tags = [rule.tag for rule in plan.rules]
    assert len(set(tags)) == len(tags)
    assert tags[0] == f"{TAG_PREFIX}nordlicht/r0"
    assert f"{TAG_PREFIX}nordlicht/r0#2" in tags


def test_a_part_too_long_for_one_rule_is_told():
    """A conjunction that cannot be cut."""
    plan = derive([brand(" AND ".join(f"wort{number:04}" for number in range(150)))], PAY)
    assert plan.rules == ()
    (left,) = plan.left_out
    assert "longer than 1024" in left.sentence


def test_the_most_valuable_rules_are_kept_and_the_others_told():
    """Accounts first, then the rules in their order, brands in turn; somebody else's count, too."""
    accounts = (Account(network="x", id="5", handle="eins"),)
    plan = derive(
        [brand("a", "b", "c", accounts=accounts), brand("d", "e", name="zwei")],
        Tier(rules=5, length=1024),
        foreign=1,
    )
    assert [rule.tag.removeprefix(TAG_PREFIX) for rule in plan.rules] == [
        "nordlicht/accounts",
        "nordlicht/r0",
        "zwei/r0",
        "nordlicht/r1",
    ]
    assert [(left.brand, left.rule) for left in plan.left_out] == [
        ("zwei", "r1"),
        ("nordlicht", "r2"),
    ]


def test_owned_accounts_and_equal_rules_are_not_asked_for_twice():
    """What is read as an owner costs a fifth; one value is one rule at X."""
    accounts = (Account(network="x", id="5", handle="eins"),)
    plan = derive([brand("a", accounts=accounts), brand("a", name="zwei")], PAY, owned={"5"})
    assert values(plan) == ["a"]


def test_only_our_own_rules_are_deleted():
    """Tags tell; an unchanged rule stays, a double one goes."""
    held = [
        HeldRule("1", "a", f"{TAG_PREFIX}n/a"),
        HeldRule("2", "alt", f"{TAG_PREFIX}n/b"),
        HeldRule("3", "meme", "funny"),
        HeldRule("4", "meme", ""),
        HeldRule("5", "a", f"{TAG_PREFIX}n/a"),
    ]
    new = StreamRule(f"{TAG_PREFIX}n/b", "neu")
    todo = change(held, [StreamRule(f"{TAG_PREFIX}n/a", "a"), new])
    assert todo.add == (new,)
    assert set(todo.delete) == {"2", "1"}
    assert change([], ()) == ((), ())


WORDS = ("dsl", "netz", "weg", "box")
ATOMS = st.sampled_from(
    [
        *WORDS,
        '"dsl weg"',
        '"netz box"~2',
        "hashtag:netz",
        "lang:de",
        "kind:reply",
        "followers:>=10",
        "author:7",
        "has:link",
        "network:x",
        "network:feed",
        "visibility:public",
        "bo*",
    ]
)
QUERIES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' AND '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' OR '.join(parts)})"),
        inner.map(lambda part: f"(NOT {part})"),
    ),
    max_leaves=6,
)


@given(
    query=QUERIES,
    text=st.lists(st.sampled_from((*WORDS, "noch", "#netz")), min_size=1, max_size=6),
    reply=st.booleans(),
    lang=st.sampled_from(["de", "und", "en"]),
    author=st.sampled_from(["7", "8"]),
)
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
def test_a_derived_rule_hears_whatever_its_listening_rule_hears(query, text, reply, lang, author):
    """Never narrower, unless the report says that a part is left out. Every rule is X's syntax."""
    plan = derive([brand(query)], PAY)
    tests = [compile_rule(rule.value) for rule in plan.rules]
    if plan.left_out:
        return
    said = " ".join(text)
    document = RuleDocument(
        text=said,
        lang=None if lang == "und" else lang,
        network="x",
        kind="reply" if reply else "post",
        author_id=author,
        hashtags=["netz"] if "#netz" in text else [],
        followers=12,
        visibility="public",
    )
    if not RuleSet.compile([Rule("r", query)]).match(document):
        return
    post = {
        "id": "1",
        "text": said,
        "lang": lang,
        "author_id": author,
        "referenced_tweets": [{"type": "replied_to", "id": "2"}] if reply else [],
        "entities": {"hashtags": [{"tag": "netz"}] if "#netz" in text else []},
    }
    assert any(test(post) for test in tests)


@pytest.mark.parametrize(
    "value", ["has:links", "(a OR b", "a)", '""', "stör*", "lang:de -b", "a OR"]
)
def test_the_stand_in_refuses_what_x_refuses(value):
    """Otherwise the property above would prove nothing."""
    with pytest.raises(InvalidRule):
        compile_rule(value)


# --- cost ----------------------------------------------------------------------------------------


def test_a_post_costs_once_a_day_and_is_shared_by_its_rules():
    """UTC day, however often and by how many rules it came."""
    meter = Meter(NOW)
    assert meter.note("1", ["a", "b"], 0.005, NOW) == {"a": 0.0025, "b": 0.0025}
    assert meter.note("1", ["a"], 0.005, NOW + timedelta(hours=1)) == {}
    assert meter.note("1", ["a"], 0.005, NOW + timedelta(hours=12)) == {"a": 0.005}


def test_rates_forecast_a_steady_rule_and_say_nothing_at_the_start():
    """One post a minute for ten hours is its price a minute."""
    meter = Meter(NOW)
    for minute in range(600):
        meter.note(str(minute), ["a"], 0.06, NOW + timedelta(minutes=minute))
        if minute == 50:
            assert meter.rates(NOW + timedelta(minutes=minute)) == {}
    assert meter.rates(NOW + timedelta(hours=10))["a"] == pytest.approx(0.001, rel=0.02)


def test_the_budget_gives_up_the_least_valuable_rules_first():
    """Rules are kept from the top as far as the money goes; back only with room to spare."""
    ranked, rates = ["accounts", "name", "product"], {"accounts": 1.0, "name": 2.0, "product": 4.0}
    assert affordable(ranked, rates, None, 10) == ("accounts", "name", "product")
    assert affordable(ranked, rates, 70, 10) == ("accounts", "name", "product")
    assert affordable(ranked, rates, 69, 10) == ("accounts", "name")
    assert affordable(ranked, rates, 29, 10) == ("accounts",)
    assert affordable(ranked, rates, 0, 10) == ()
    assert affordable(ranked, rates, 75, 10, {"product"}) == ("accounts", "name")
    assert affordable(ranked, rates, 70 / RESUME_SHARE + 1, 10, {"product"}) == tuple(ranked)


def test_a_month_ends_in_utc():
    """Also in December."""
    assert month_left_seconds(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == 60
    assert month_left_seconds(datetime(2028, 2, 1, tzinfo=UTC)) == 29 * 86400


# --- policy --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "quoted", "policy"),
    [
        ({"mentions": (BRAND_ID,)}, None, "summoned"),
        ({"mentions": ("Nordlicht",)}, None, "summoned"),
        ({"in_reply_to_author": BRAND_ID}, None, "summoned"),
        ({"quotes": "x:network:1"}, BRAND_ID, "summoned"),
        ({"quotes": "x:network:1"}, "9", "unsummoned"),
        ({"quotes": "x:network:1"}, None, "unknown"),
        ({}, None, "unsummoned"),
        ({"mentions": ("9",)}, None, "unsummoned"),
        ({"visibility": "private", "target": BRAND_ID}, None, "summoned"),
    ],
)
def test_a_program_may_reply_only_to_who_summoned_the_account(said, quoted, policy):
    """Named or quoted; all else is for a person."""
    draft = SocialDraft(mapping="x/1", kind="post", change="created", quoted_author=quoted, **said)
    assert reply_policy(draft, {BRAND_ID, "nordlicht"}) == policy


# --- position ------------------------------------------------------------------------------------


def test_a_position_comes_back_from_its_cursor():
    """To the millisecond; anything else is no cursor of ours."""
    at = datetime(2026, 7, 4, 12, 0, 0, 123000, tzinfo=UTC)
    position = Position(at, "x/1", at - timedelta(hours=1), {"5/mentions": "17"})
    assert Position.decode(position.encode()) == position
    for cursor in ("", "{}", "7", '{"at":"x"}', '{"at":9999999999999999999}'):
        with pytest.raises(ConfigurationError):
            Position.decode(cursor)


@given(
    away=st.timedeltas(timedelta(seconds=1), timedelta(days=30)),
    overlap=st.timedeltas(timedelta(0), timedelta(minutes=2)),
    reposts=st.booleans(),
)
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
def test_a_window_covers_the_gap_or_says_that_it_does_not(away, overlap, reposts):
    """Within the history, both ends covered; `filled` only when nothing can be missing."""
    window = missed(Position(NOW - away), NOW, overlap=overlap, reposts=reposts)
    assert window.start <= window.end
    assert window.start >= NOW - HISTORY
    if window.outcome == "filled":
        assert not reposts
        assert window.start <= NOW - away
        assert window.end >= NOW
    if away > HISTORY:
        assert window.outcome != "filled"
    earlier, later = window.halves()
    assert (earlier.start, earlier.end, later.end) == (window.start, later.start, window.end)
