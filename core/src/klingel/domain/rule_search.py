"""Listening rules as Elasticsearch queries: the same hits on the index as in the stream."""

import re
from typing import Any, Final

from klingel.domain.rule_syntax import (
    COUNT_LIMIT,
    And,
    Entry,
    FieldValue,
    Followers,
    Has,
    Node,
    Not,
    Or,
    Phrase,
    RuleQuery,
    Wildcard,
    Word,
)
from klingel.domain.rule_text import fold_value

TEXT_FIELD: Final = "text.rules"

KEYWORD_UNITS: Final = 1024
HANDLE_UNITS: Final = 256
"""Longest value that a keyword of the index finds, in UTF-16 units; a longer one is only kept."""

QUERY_STRING: Final[dict[str, Any]] = {
    "default_field": TEXT_FIELD,
    "default_operator": "AND",
    "analyze_wildcard": False,
}
"""Options of `query_string` under which a rule's own string hits what the rule hits in the stream."""

_PLACES: Final = {
    "lang": "lang.code",
    "network": "network",
    "kind": "kind",
    "hashtag": "hashtags",
    "mention": "mentions",
    "visibility": "visibility",
}
_FOLLOWERS: Final = "author.followers"
_AUTHOR_ID: Final = "author.id"
_AUTHOR_HANDLE: Final = "author.handle"
_MEDIA: Final = "media.kind"
_CARRIED: Final = {"link": "links", "hashtag": "hashtags", "mention": "mentions"}
_TOO_LONG: Final = "_ignored"  # names the fields whose value was too long to be indexed


def to_elasticsearch(query: RuleQuery) -> dict[str, Any]:
    """Give the query body that hits in the index what the rule hits in the stream.

    The index has the analysis and the properties of `klingel.domain.rule_text`; the query does not
    score.
    """
    return _query(query.root)


def to_query_string(query: RuleQuery) -> str:
    """Give the rule for Kibana's search bar (Lucene syntax), with the names of the index's fields.

    Dictionaries stand in it entry by entry. A rule on the text alone needs no change: its own string
    has the same hits with the options `QUERY_STRING`.
    """
    return _string(query.root)


def expand_rule(query: RuleQuery) -> str:
    """Give the rule in its own syntax with the entries of dictionaries in the place of their names.

    A rule without dictionaries is given as it was written.
    """
    return plain(query.root) if query.dictionaries else query.source


def plain(node: Node) -> str:
    """Give a part of a rule in the rule's own syntax."""
    match node:
        case And(parts):
            return " AND ".join(_plain_operand(part) for part in parts)
        case Or(parts):
            return " OR ".join(
                [part.term if type(part) is Word else _plain_operand(part) for part in parts]
            )
        case Not(part):
            return f"NOT {_plain_operand(part)}"
        case Word() | Wildcard() | Phrase():
            return _entry_string(node)
    return _plain_field(node)


def _plain_field(node: FieldValue | Followers | Has) -> str:
    match node:
        case FieldValue(field, value, wildcard):
            sign = _SIGNS.get(field, "")
            sign *= bool(sign) and value.startswith(sign)  # a first sign is not part of a value
            return f"{field}:{_value_string(sign + value, wildcard=wildcard)}"
        case Followers(low, high):
            least = "[*" if low is None else f"[{low}" if low <= COUNT_LIMIT else f"{{{low - 1}"
            most = "*]" if high is None else f"{high}]" if high >= 0 else "0}"
            return f"followers:{least} TO {most}"
    return f"has:{node.thing}"


_SIGNS: Final = {"author": "@", "mention": "@", "hashtag": "#"}


def _plain_operand(node: Node) -> str:
    written = plain(node)
    return f"({written})" if isinstance(node, And | Or | Not) else written


def _query(node: Node) -> dict[str, Any]:
    match node:
        case And(parts):
            return {"bool": {"filter": [_query(part) for part in parts]}}
        case Or(parts):
            return {"bool": {"should": [_query(part) for part in parts], "minimum_should_match": 1}}
        case Not(part):
            return {"bool": {"must_not": [_query(part)]}}
        case Word() | Wildcard() | Phrase():
            return _text_query(node)
    return _field_query(node)


def _text_query(node: Entry) -> dict[str, Any]:
    match node:
        case Word(term):
            return {"term": {TEXT_FIELD: {"value": term}}}
        case Wildcard(pattern):
            return {"wildcard": {TEXT_FIELD: {"value": pattern}}}
        case Phrase(terms, slop):
            return {"match_phrase": {TEXT_FIELD: {"query": " ".join(terms), "slop": slop}}}


def _field_query(node: FieldValue | Followers | Has) -> dict[str, Any]:
    match node:
        case FieldValue("author", value, wildcard):
            by_id = _value_query(_AUTHOR_ID, value, wildcard=wildcard)
            by_handle = _value_query(_AUTHOR_HANDLE, fold_value(value), wildcard=wildcard)
            return {"bool": {"should": [by_id, by_handle], "minimum_should_match": 1}}
        case FieldValue(field, value, wildcard):
            return _value_query(_PLACES[field], fold_value(value), wildcard=wildcard)
        case Followers(low, high):
            bounds = {"gte": low, "lte": high}
            limits = {name: bound for name, bound in bounds.items() if bound is not None}
            return {"range": {_FOLLOWERS: limits}} if limits else {"exists": {"field": _FOLLOWERS}}
        case Has("media"):
            return {"exists": {"field": _MEDIA}}
    if node.thing not in _CARRIED:
        return _value_query(_MEDIA, node.thing, wildcard=False)
    place = _CARRIED[node.thing]
    either = [{"exists": {"field": place}}, {"term": {_TOO_LONG: {"value": place}}}]
    return {"bool": {"should": either, "minimum_should_match": 1}}


def _value_query(place: str, value: str, *, wildcard: bool) -> dict[str, Any]:
    if wildcard:
        return {"wildcard": {place: {"value": value.replace("\\", "\\\\")}}}
    return {"term": {place: {"value": value}}}


def _string(node: Node) -> str:
    match node:
        case And(parts):
            return " AND ".join(_operand(part) for part in parts)
        case Or(parts):
            entries = [_entry_string(part) for part in parts if isinstance(part, Entry)]
            if len(entries) == len(parts):
                return f"{TEXT_FIELD}:({' OR '.join(entries)})"
            return " OR ".join(_operand(part) for part in parts)
        case Not(part):
            return f"NOT {_operand(part)}"
        case Word() | Wildcard() | Phrase():
            return f"{TEXT_FIELD}:{_entry_string(node)}"
    return _field_string(node)


def _operand(node: Node) -> str:
    written = _string(node)
    grouped = isinstance(node, Or) and all(isinstance(part, Entry) for part in node.parts)
    return f"({written})" if isinstance(node, And | Or | Not) and not grouped else written


def _entry_string(node: Entry) -> str:
    match node:
        case Word(term):
            return term  # lower-case, hence no operator
        case Wildcard(pattern):
            return pattern
        case Phrase(terms, slop):
            return f'"{" ".join(terms)}"' + (f"~{slop}" if slop else "")


def _field_string(node: FieldValue | Followers | Has) -> str:
    match node:
        case FieldValue("author", value, wildcard):
            by_id = _value_string(value, wildcard=wildcard)
            by_handle = _value_string(fold_value(value), wildcard=wildcard)
            return f"({_AUTHOR_ID}:{by_id} OR {_AUTHOR_HANDLE}:{by_handle})"
        case FieldValue(field, value, wildcard):
            return f"{_PLACES[field]}:{_value_string(fold_value(value), wildcard=wildcard)}"
        case Followers(low, high):
            bounds = ("*" if bound is None else str(bound) for bound in (low, high))
            return f"{_FOLLOWERS}:[{' TO '.join(bounds)}]"
        case Has("media"):
            return f"_exists_:{_MEDIA}"
    if node.thing not in _CARRIED:
        return f'{_MEDIA}:"{node.thing}"'
    place = _CARRIED[node.thing]
    return f"(_exists_:{place} OR {_TOO_LONG}:{place})"


def _value_string(value: str, *, wildcard: bool) -> str:
    if wildcard:
        return re.sub(r"([^\w*?])", r"\\\1", value)
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
