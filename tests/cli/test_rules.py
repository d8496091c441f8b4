"""Listening rules tried on a file and on the real index, and what is told of them."""

import asyncio
import gzip
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from elasticsearch import Elasticsearch

from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.resources import schemas_dir
from klingel.contracts.topics import Topic
from klingel.model import RoutedEvent, SocialEvent
from klingel.model.routed_event import Decision
from klingel.model.social_event import Author, Lang, Match, Origin
from klingel_indexer.bulk import elasticsearch_client
from klingel_indexer.convert import Write, convert
from klingel_indexer.templates import FOLDER, apply_templates

RULES = """\
brand: nordlicht
name: Nordlicht
queues:
  - id: all
dictionaries:
  - id: products
    words: [Nordbox, "Nordbox Pro"]
    typos: true
listening:
  - id: name
    query: nordlicht
  - id: outage
    query: (nordlicht OR dictionary:products) AND "kein internet"~2
  - id: tagged
    query: hashtag:nordlicht
  - id: silent
    query: nordlicht AND lang:fr
routing:
  - id: bills
    when: rechnung*^2
    queue: all
"""
POSTS = [
    {"id": "a", "text": "Nordlicht, hier ist kein Internet!", "lang": "de"},
    {"id": "b", "text": "Die Nordbx hat kein Internet", "lang": "de"},
    {"text": "Danke #Nordlicht", "author": {"handle": "anna", "followers": 5}},
    {"id": "d", "text": "Gas", "hashtags": ["nordlicht"]},
    {"id": 5, "text": "nichts davon"},
]
NOBODY = {"KLINGEL_ELASTICSEARCH__URL": "http://127.0.0.1:9"}


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    """A brand file with listening rules."""
    path = tmp_path / "nordlicht.yaml"
    path.write_text(RULES, encoding="utf-8")
    return path


@pytest.fixture
def posts_file(tmp_path: Path) -> Path:
    """A file of posts."""
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join(map(json.dumps, POSTS)) + "\n", encoding="utf-8")
    return path


# -- on a file ------------------------------------------------------------------------------


def test_hits_are_counted_with_examples_by_id(run, rules_file: Path, posts_file: Path) -> None:
    result = run("rules", "test", rules_file, posts_file, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["posts"], told["heard"]) == (5, 4)
    assert {each["rule"]: (each["hits"], each["examples"]) for each in told["rules"]} == {
        "name": (2, ["a", "line 3"]),
        "outage": (2, ["a", "b"]),
        "tagged": (2, ["line 3", "d"]),
        "silent": (0, []),
    }


def test_people_read_a_table(run, rules_file: Path, posts_file: Path) -> None:
    result = run("rules", "test", rules_file, posts_file, "--examples", "1")
    assert result.exit_code == 0
    assert "outage     2  40.0%  a" in result.stdout
    assert "4 of 5 posts are heard" in result.stdout
    assert "Internet" not in result.stdout


def test_one_rule_or_one_of_no_file_is_tried_alone(run, rules_file: Path, posts_file: Path) -> None:
    told = json.loads(
        run("rules", "test", rules_file, posts_file, "--rule", "outage", "--json").stdout
    )
    assert [each["rule"] for each in told["rules"]] == ["outage"]
    query = "dictionary:products OR followers:>4"
    told = json.loads(
        run("rules", "test", rules_file, posts_file, "--query", query, "--json").stdout
    )
    assert [(each["rule"], each["examples"]) for each in told["rules"]] == [
        ("query", ["b", "line 3"])
    ]


def test_posts_may_be_packed_or_come_from_standard_input(
    run, rules_file: Path, posts_file: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "posts.jsonl.gz"
    packed.write_bytes(gzip.compress(posts_file.read_bytes()))
    plain = run("rules", "test", rules_file, posts_file, "--json").stdout
    assert run("rules", "test", rules_file, packed, "--json").stdout == plain
    piped = run("rules", "test", rules_file, "-", "--json", stdin=posts_file.read_bytes())
    assert piped.stdout == plain


def test_overlaps_and_rules_that_never_hit_are_named(
    run, rules_file: Path, posts_file: Path
) -> None:
    result = run("rules", "coverage", rules_file, posts_file, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["never"] == ["silent"]
    assert told["overlaps"] == [
        {"rules": ["name", "outage"], "both": 1, "of_the_smaller": 0.5},
        {"rules": ["name", "tagged"], "both": 1, "of_the_smaller": 0.5},
    ]
    assert {each["rule"]: each["alone"] for each in told["rules"]} == {
        "name": 0,
        "outage": 1,
        "tagged": 1,
        "silent": 0,
    }
    shown = run("rules", "coverage", rules_file, posts_file).stdout
    assert "never hit: silent" in shown
    assert "precision" not in shown


# -- explain --------------------------------------------------------------------------------


def test_a_rule_is_explained_with_its_dictionaries_and_what_kibana_is_asked(
    run, rules_file: Path
) -> None:
    told = json.loads(run("rules", "explain", rules_file, "outage", "--json").stdout)
    assert told["dictionaries"] == {"products": 19}
    assert told["plain"].startswith('(nordlicht OR nordbox OR "nordbox pro" OR nrdbox')
    assert told["kibana"].startswith("text.rules:(nordlicht OR nordbox OR ")
    assert told["kibana"].endswith('AND text.rules:"kein internet"~2')
    assert told["requires_one_of"] == ["internet"]
    shown = run("rules", "explain", rules_file, "silent").stdout
    assert 'Kibana     text.rules:nordlicht AND lang.code:"fr"' in shown
    assert "requires   one of: nordlicht" in shown


def test_routing_rules_are_explained_and_warned_of_too(run, rules_file: Path) -> None:
    shown = run("rules", "explain", rules_file, "bills").stdout
    assert "warning    A boost (^) changes no hits and is ignored." in shown


def test_each_part_says_whether_it_holds_for_a_text_and_where(run, rules_file: Path) -> None:
    text = "Nordbx: Internet? Keins. Kein Internet!"
    result = run("rules", "explain", rules_file, "outage", "--text", text)
    assert result.exit_code == 0
    assert "the post is hit:" in result.stdout
    assert "yes     nordbx  0-6 'Nordbx'" in result.stdout
    assert "no      nordlicht and 7 more" not in result.stdout
    assert "yes   \"kein internet\"~2  25-38 'Kein Internet'" in result.stdout
    told = json.loads(
        run("rules", "explain", rules_file, "outage", "--text", "Nordbx", "--json").stdout
    )
    assert told["hits"] is False
    assert told["findings"][0] == {"depth": 0, "part": "AND", "holds": False, "spans": []}


def test_many_conditions_that_do_not_hold_are_told_by_their_number(run, rules_file: Path) -> None:
    shown = run("rules", "explain", rules_file, "outage", "--text", "nichts").stdout
    assert "no      nordlicht and 19 more" in shown


def test_a_post_of_a_file_is_explained_with_its_fields(run, rules_file: Path, tmp_path) -> None:
    post = tmp_path / "post.jsonl"
    post.write_text(json.dumps({"text": "Nordlicht", "lang": "fr"}), encoding="utf-8")
    shown = run("rules", "explain", rules_file, "silent", "--post", post).stdout
    assert 'yes   lang:"fr"' in shown


# -- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("test", "FILE", "POSTS", "--rule", "nam"), "has no rule 'nam'; did you mean 'name'?"),
        (("explain", "FILE", "x"), "there are bills, name, outage, tagged, silent"),
        (("explain", "FILE"), "name a rule of the file, or write one with --query"),
        (("explain", "FILE", "name", "--query", "x"), "name a rule of the file"),
        (("explain", "FILE", "name", "--text", "x", "--post", "POSTS"), "not both"),
        (("test", "FILE", "POSTS", "--query", "a b OR c"), "at character 3 of the query: AND"),
        (("test", "FILE", "POSTS", "--query", "dictionary:x"), "There is no dictionary 'x'"),
        (("test", "FILE", "POSTS", "--query", "x", "--rule", "name"), "not both"),
        (("test", "FILE", "nowhere.jsonl"), "nowhere.jsonl: No such file"),
        (("test", "nowhere.yaml", "POSTS"), "nowhere.yaml: No such file"),
        (("test", "FILE", "FILE"), "post 1: it is no JSON; a post is an object with a text"),
        (("coverage", "FILE", "nowhere.jsonl"), "nowhere.jsonl: No such file"),
        (("preview", "FILE", "--from", "2199-01-01T00:00:00Z"), "--from lies before --to"),
        (("preview", "FILE", "--from", "yesterday"), "a time looks like"),
    ],
)
def test_bad_input_is_exit_2_with_a_sentence(
    run, rules_file: Path, posts_file: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    paths = {"FILE": rules_file, "POSTS": posts_file}
    result = run("rules", *(paths.get(each, each) for each in arguments))
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("row", ["[]", '{"id": 1}', '{"text": 5}', '{"text": "x", "links": "y"}'])
def test_a_wrong_post_is_named_by_its_number_and_not_repeated(
    run, rules_file: Path, tmp_path: Path, row: str
) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text('{"text": "fine"}\n' + row + "\n", encoding="utf-8")
    result = run("rules", "test", rules_file, path)
    assert result.exit_code == 2
    assert "posts.jsonl: post 2: " in result.stderr


def test_a_brand_without_rules_is_told(run, tmp_path: Path, posts_file: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("brand: b\nname: B\nqueues:\n  - id: all\n", encoding="utf-8")
    result = run("rules", "test", path, posts_file)
    assert result.exit_code == 2
    assert "the brand has no listening rules" in result.stderr


@pytest.mark.parametrize("command", ["preview", "coverage"])
def test_an_absent_elasticsearch_is_exit_3(run, rules_file: Path, command: str) -> None:
    result = run("rules", command, rules_file, env=NOBODY)
    assert result.exit_code == 3
    assert "does not answer" in result.stderr


# -- on the index ---------------------------------------------------------------------------

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SPAN = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-03T00:00:00Z")


def event(number: int, **fields: Any) -> SocialEvent:
    """Give a post as a brand heard it."""
    held = {
        "brand": "nordlicht",
        "network": "bluesky",
        "change": "created",
        "received_at": NOON,
        "matches": [Match(how="rule", rule="name")],
        **fields,
    }
    identity = f"{held['network']}:t:{number}"
    return SocialEvent(
        event_id=f"{held['brand']}/{identity}@0",
        object_id=identity,
        kind="post",
        revision=0,
        connector="test-1",
        origin=Origin(topic="raw-events", partition=0, offset=number, mode="live"),
        direction="inbound",
        addressing="indirect",
        visibility="public",
        conversation_id=identity,
        threading="root",
        author=Author(id="anna"),
        index="2026.03",
        content_hash="0123456789abcdef",
        mapping="test/1",
        config_version="0123456789abcdef",
        **held,
    )


EVENTS = [
    (event(1, text="Nordlicht, kein Internet"), "c1"),
    (event(2, text="Nordlicht bien", lang=Lang(code="fr", score=0.9, from_="detector")), "c2"),
    (event(3, text="Nordlicht", network="mastodon"), "c3"),
    (event(4, text="Nordbox ohne alles", matches=[Match(how="channel")]), None),
    (event(5, text="Nordlicht gestern", received_at=datetime(2026, 2, 1, tzinfo=UTC)), None),
    (event(6, text="Nordlicht", change="deleted"), None),
    (event(7, text="Nordlicht", brand="other"), None),
]
CASES = {"c1": "answered", "c2": "withdrawn", "c3": None}


def written(number: int, heard: SocialEvent, case: str | None, prefix: str) -> Write:
    """Give the document that the indexer makes of it."""
    decision = Decision(
        number=0,
        direction="inbound",
        triage="problem",
        routed_at=NOON,
        config_version=heard.config_version,
        case_id=case,
    )
    routed = RoutedEvent(event=msgspec.Raw(codec.encode(heard)), decision=decision)
    message = Message(Topic.ROUTED_EVENTS, 0, number, b"key", codec.encode(routed), ())
    write = convert(message, prefix, "2026-03-02T12:00:00Z")
    assert isinstance(write, Write)
    return write


@pytest.fixture(scope="module")
def indexed(elasticsearch_url: str) -> Iterator[dict[str, str]]:
    """Settings that name an index with what two brands heard, and one brand's cases."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"

    async def put() -> None:
        client = elasticsearch_client(elasticsearch_url)
        try:
            settings = {"number_of_replicas": 0}
            await apply_templates(client, schemas_dir() / FOLDER, prefix, settings)
        finally:
            await client.close()

    asyncio.run(put())
    with Elasticsearch(elasticsearch_url, request_timeout=60) as client:
        try:
            for number, (heard, case) in enumerate(EVENTS):
                write = written(number, heard, case, prefix)
                client.index(index=write.index, id=write.id, document=json.loads(write.body))
            for case, because in CASES.items():
                state = {"state": "closed", "closed_because": because} if because else {}
                client.index(
                    index=f"{prefix}cases-nordlicht",
                    id=case,
                    document={"case_id": case, "brand": "nordlicht", "state": "new", **state},
                )
            client.indices.refresh(index=f"{prefix}*")
            yield {
                "KLINGEL_ELASTICSEARCH__URL": elasticsearch_url,
                "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": prefix,
            }
        finally:
            for name in client.indices.get(index=f"{prefix}*", ignore_unavailable=True):
                client.indices.delete(index=name)
            client.indices.delete_index_template(name=f"{prefix}*")
            client.cluster.delete_component_template(name=f"{prefix}*")


@pytest.mark.servers
def test_a_preview_counts_what_is_heard_by_network(run, rules_file: Path, indexed) -> None:
    result = run("rules", "preview", rules_file, *SPAN, "--json", env=indexed)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["documents"] == 4
    assert {each["rule"]: (each["hits"], each["networks"]) for each in told["rules"]} == {
        "name": (3, {"bluesky": 2, "mastodon": 1}),
        "outage": (1, {"bluesky": 1}),
        "tagged": (0, {}),
        "silent": (1, {"bluesky": 1}),
    }
    assert [each["recorded"] for each in told["rules"]] == [3, 0, 0, 0]
    shown = run("rules", "preview", rules_file, *SPAN, env=indexed).stdout
    assert "bluesky 2, mastodon 1" in shown


@pytest.mark.servers
def test_a_preview_of_a_new_rule_may_look_at_other_brands(run, rules_file: Path, indexed) -> None:
    arguments = ("rules", "preview", rules_file, "--query", "dictionary:products OR nordlicht")
    own = json.loads(run(*arguments, *SPAN, "--json", env=indexed).stdout)
    every = json.loads(run(*arguments, *SPAN, "--all-brands", "--json", env=indexed).stdout)
    assert own["rules"][0]["hits"] == 4
    assert every["rules"][0]["hits"] == 5


@pytest.mark.servers
def test_coverage_of_the_index_has_precision_from_ended_cases(
    run, rules_file: Path, indexed
) -> None:
    result = run("rules", "coverage", rules_file, *SPAN, "--json", env=indexed)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["posts"], told["heard"], told["never"]) == (4, 3, ["tagged"])
    assert told["rules"][0] == {
        "rule": "name",
        "hits": 3,
        "alone": 1,
        "precision": {"share": 0.5, "answered": 1, "closed": 2},
    }
    assert [each["precision"] for each in told["rules"][1:]] == [None, None, None]
    assert {tuple(each["rules"]): each["both"] for each in told["overlaps"]} == {
        ("name", "outage"): 1,
        ("name", "silent"): 1,
    }
    shown = run("rules", "coverage", rules_file, *SPAN, env=indexed).stdout
    assert "50% of 2 cases" in shown
    assert "no outcomes yet" in shown


@pytest.mark.servers
def test_an_index_without_posts_is_no_error(run, rules_file: Path, elasticsearch_url: str) -> None:
    env = {
        "KLINGEL_ELASTICSEARCH__URL": elasticsearch_url,
        "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": f"t{uuid.uuid4().hex[:8]}-",
    }
    told = json.loads(run("rules", "preview", rules_file, "--json", env=env).stdout)
    assert told["documents"] == 0
    told = json.loads(run("rules", "coverage", rules_file, "--json", env=env).stdout)
    assert told["never"] == ["name", "outage", "tagged", "silent"]


@pytest.mark.servers
def test_too_many_rules_for_one_comparison_are_told(run, tmp_path: Path, indexed) -> None:
    path = tmp_path / "many.yaml"
    rules = "".join(f"  - id: r{number}\n    query: w{number}\n" for number in range(101))
    path.write_text(
        RULES.split("listening:", maxsplit=1)[0] + "listening:\n" + rules, encoding="utf-8"
    )
    result = run("rules", "coverage", path, *SPAN, env=indexed)
    assert result.exit_code == 2
    assert "101 rules are too many to compare on the index" in result.stderr
    told = json.loads(run("rules", "preview", path, *SPAN, "--json", env=indexed).stdout)
    assert len(told["rules"]) == 101
    chosen = [word for number in range(100) for word in ("--rule", f"r{number}")]
    told = json.loads(run("rules", "coverage", path, *chosen, *SPAN, "--json", env=indexed).stdout)
    assert len(told["never"]) == 100
