"""Listening rules as Elasticsearch queries (their hits are compared in tests/integration)."""

import json
from pathlib import Path

import pytest

from klingel.domain.matching import (
    RULES_ANALYSIS,
    RULES_PROPERTIES,
    parse_rule,
    to_elasticsearch,
    to_query_string,
)


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("Strom", {"term": {"text.rules": {"value": "strom"}}}),
        ("str*m", {"wildcard": {"text.rules": {"value": "str*m"}}}),
        ('"Zu hoch"~2', {"match_phrase": {"text.rules": {"query": "zu hoch", "slop": 2}}}),
        ("NOT gas", {"bool": {"must_not": [{"term": {"text.rules": {"value": "gas"}}}]}}),
        ("followers:[5 TO *]", {"range": {"author.followers": {"gte": 5}}}),
        ("followers:[* TO *]", {"exists": {"field": "author.followers"}}),
        ("hashtag:#Gas", {"term": {"hashtags": {"value": "gas"}}}),
        (r"mention:a\\b*", {"wildcard": {"mentions": {"value": "a\\\\b*"}}}),
    ],
)
def test_bodies(query, body):
    assert to_elasticsearch(parse_rule(query)) == body


def test_an_author_is_an_exact_id_or_a_handle_in_any_case():
    body = to_elasticsearch(parse_rule("author:UCab"))
    assert body["bool"]["should"] == [
        {"term": {"author.id": {"value": "UCab"}}},
        {"term": {"author.handle": {"value": "ucab"}}},
    ]


@pytest.mark.parametrize(
    ("query", "string"),
    [
        ("Strom gas^2", "text.rules:strom AND text.rules:gas"),
        ("a (b OR c)", "text.rules:a AND text.rules:(b OR c)"),
        ("a OR (NOT b)", "text.rules:a OR (NOT text.rules:b)"),
        ('-"zu hoch"~2 lang:de', '(NOT text.rules:"zu hoch"~2) AND lang.code:"de"'),
        (
            "followers:>4 has:link",
            "author.followers:[5 TO *] AND (_exists_:links OR _ignored:links)",
        ),
        ("has:image -has:media", 'media.kind:"image" AND (NOT _exists_:media.kind)'),
        ("has:hashtag", "(_exists_:hashtags OR _ignored:hashtags)"),
        ('author:"a\\"b"', r'(author.id:"a\"b" OR author.handle:"a\"b")'),
        (r"author:did\:*", r"(author.id:did\:* OR author.handle:did\:*)"),
    ],
)
def test_query_strings_name_the_fields_of_the_index(query, string):
    assert to_query_string(parse_rule(query)) == string


def without_what_changes_no_hits(mapping):
    """Leave out of a mapping, at every depth, what is beyond the needs of rules."""
    needless = ("norms", "ignore_above")
    return {name: value for name, value in mapping.items() if name not in needless}


def contains(given: dict, needed: dict) -> bool:
    """Whether a mapping has all that is needed, and no other way of reading it."""
    if "type" in needed:
        fields = needed.get("fields", {})
        return all(contains(given["fields"][name], fields[name]) for name in fields) and (
            {**without_what_changes_no_hits(needed), "fields": None}
            == {**without_what_changes_no_hits(given), "fields": None}
        )
    return all(
        contains(given["properties"][name], need) for name, need in needed["properties"].items()
    )


def test_the_index_of_events_has_the_fields_and_the_analysis_of_rules():
    path = Path(__file__).resolve().parents[3] / "schemas/generated/elasticsearch"
    text = (path / "klingel-events.component.json").read_text(encoding="utf-8")
    template = json.loads(text)["template"]
    assert contains(template["mappings"], {"properties": RULES_PROPERTIES})
    for part, named in RULES_ANALYSIS.items():
        for name, definition in named.items():
            assert template["settings"]["index"]["analysis"][part][name] == definition
