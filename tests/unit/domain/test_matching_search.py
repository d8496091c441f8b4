"""Listening rules as Elasticsearch queries (their hits are compared in tests/integration)."""

import pytest

from klingel.domain.matching import parse_rule, to_elasticsearch, to_query_string


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("Strom", {"term": {"text.rules": {"value": "strom"}}}),
        ("str*m", {"wildcard": {"text.rules": {"value": "str*m"}}}),
        ('"Zu hoch"~2', {"match_phrase": {"text.rules": {"query": "zu hoch", "slop": 2}}}),
        ("NOT has:link", {"bool": {"must_not": [{"exists": {"field": "links"}}]}}),
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
        ("a (b OR c)", "text.rules:a AND (text.rules:b OR text.rules:c)"),
        ("a OR (NOT b)", "text.rules:a OR (NOT text.rules:b)"),
        ('-"zu hoch"~2 lang:de', '(NOT text.rules:"zu hoch"~2) AND lang.code:"de"'),
        ("followers:>4 has:link", "author.followers:[5 TO *] AND _exists_:links"),
        ('author:"a\\"b"', r'(author.id:"a\"b" OR author.handle:"a\"b")'),
        (r"author:did\:*", r"(author.id:did\:* OR author.handle:did\:*)"),
    ],
)
def test_query_strings_name_the_fields_of_the_index(query, string):
    assert to_query_string(parse_rule(query)) == string
