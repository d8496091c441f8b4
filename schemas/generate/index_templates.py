"""Elasticsearch templates from `schemas/index/*.yaml` and the shapes that these name.

`klingel-settings.component.json` holds what every index shares; beside it stand, for each field
set, `klingel-<set>.component.json` (its mapping and the analysers that this uses) and
`klingel-<set>.index.json` (which indices get it). Each file is the body of one PUT, its stem the
name. Only what every Elasticsearch 8 and 9 build has is used.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from klingel.domain.matching import ANALYSER, RULES_ANALYSIS

FOLDER = "schemas/generated/elasticsearch"
PREFIX = "klingel"
_UNBOUNDED = 1024  # code points; a term of Lucene holds 32,766 bytes
_PRIORITY = 500  # above the templates that Elasticsearch brings for its own patterns

_SETTINGS = {
    "index": {
        "number_of_shards": 1,
        "number_of_replicas": 1,
        "refresh_interval": "5s",
        "gc_deletes": "24h",  # how long a deletion is remembered against older, later writes
        "codec": "default",
        "translog": {"durability": "request"},
    }
}
_GERMAN = "klingel_de"
_ENGLISH = "klingel_en"
_LANGUAGES: dict[str, Any] = {
    "filter": {
        "klingel_de_stop": {"type": "stop", "stopwords": "_german_"},
        "klingel_de_stem": {"type": "stemmer", "language": "light_german"},
        "klingel_en_possessive": {"type": "stemmer", "language": "possessive_english"},
        "klingel_en_stop": {"type": "stop", "stopwords": "_english_"},
        "klingel_en_stem": {"type": "stemmer", "language": "english"},
    },
    "analyzer": {
        _GERMAN: {
            "type": "custom",
            "tokenizer": "standard",
            "filter": ["lowercase", "klingel_de_stop", "german_normalization", "klingel_de_stem"],
        },
        _ENGLISH: {
            "type": "custom",
            "tokenizer": "standard",
            "filter": ["klingel_en_possessive", "lowercase", "klingel_en_stop", "klingel_en_stem"],
        },
    },
}
_LANGUAGE_FIELDS = {
    "de": {"type": "text", "analyzer": _GERMAN},
    "en": {"type": "text", "analyzer": _ENGLISH},
}
_RULES_FIELD = {"rules": {"type": "text", "analyzer": ANALYSER, "norms": False}}
_FIXED: dict[str, dict[str, Any]] = {
    "words": {"type": "text", "fields": _LANGUAGE_FIELDS},
    "spoken": {"type": "text", "fields": _LANGUAGE_FIELDS | _RULES_FIELD},
    "plain": {"type": "text"},
    "date": {"type": "date"},
    "whole": {"type": "long"},
    "decimal": {"type": "double"},
    "flag": {"type": "boolean"},
    "free": {"type": "flattened", "ignore_above": _UNBOUNDED},
    "stored": {"type": "object", "enabled": False},
}
_KEYWORDS = {"exact": {}, "folded": {"normalizer": ANALYSER}}

Schema = dict[str, Any]


class IndexFileError(ValueError):
    """An index file and the shapes it names disagree; the sentence says where."""


def read(root: Path) -> dict[str, dict[str, Any]]:
    """Return {field set: its file}, by name."""
    return {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((root / "schemas/index").glob("*.yaml"))
    }


def generate(root: Path) -> dict[str, str]:
    """Return {path below root: content} of every template."""
    files = {
        f"{FOLDER}/{PREFIX}-settings.component.json": _json(
            {"template": {"settings": _SETTINGS}, "_meta": {"from": "schemas/generate"}}
        )
    }
    for name, index in read(root).items():
        stem = f"{FOLDER}/{PREFIX}-{name}"
        files[f"{stem}.component.json"] = _json(component(name, index, root / "schemas/events"))
        files[f"{stem}.index.json"] = _json(
            {
                "index_patterns": [index["indices"]],
                "composed_of": [f"{PREFIX}-settings", f"{PREFIX}-{name}"],
                "priority": _PRIORITY,
                "_meta": {"from": f"schemas/index/{name}.yaml"},
            }
        )
    return files


def component(name: str, index: dict[str, Any], events: Path) -> dict[str, Any]:
    """Return the component template of one field set.

    Raises:
        IndexFileError: a property without an entry, an entry without a property, or a way of
            indexing that does not exist.
    """
    shapes = document_shape(index, events)
    entries = index["fields"]
    _same_names(f"schemas/index/{name}.yaml", set(shapes), set(entries))
    properties = {
        field: _mapping(f"{name}.{field}", how, *shapes[field]) for field, how in entries.items()
    }
    properties |= {
        field: _mapping(f"{name}.{field}", how, {}, {})
        for field, how in index.get("own", {}).items()
    }
    settings: dict[str, Any] = {}
    analysis = _analysis(properties)
    if analysis:
        settings["analysis"] = analysis
    if "free_text" in index:
        settings["query"] = {"default_field": index["free_text"]}
    mappings = {"dynamic": "strict", "date_detection": False, "properties": properties}
    template: dict[str, Any] = {"mappings": mappings}
    if settings:
        template = {"settings": {"index": settings}} | template
    return {"template": template, "_meta": {"from": f"schemas/index/{name}.yaml"}}


def document_shape(index: dict[str, Any], events: Path) -> dict[str, tuple[Schema, Schema]]:
    """Return {field: (its schema, the `$defs` around it)} of a document without its own fields."""
    shapes = {}
    for source in index["sources"]:
        path = events / f"{source['schema']}.schema.json"
        schema = json.loads(path.read_text(encoding="utf-8"))
        definitions = schema.get("$defs", {})
        shape = definitions[source["definition"]] if "definition" in source else schema
        renamed = source.get("rename", {})
        for field, inner in shape["properties"].items():
            if field not in source.get("left_out", ()):
                shapes[renamed.get(field, field)] = (inner, definitions)
    return shapes


def _mapping(where: str, how: str | Schema, schema: Schema, definitions: Schema) -> Schema:
    schema = _resolved(schema, definitions)
    if isinstance(how, dict):
        inner = schema.get("properties", {})
        _same_names(where, set(inner), set(how))
        return {
            "properties": {
                field: _mapping(f"{where}.{field}", entry, inner[field], definitions)
                for field, entry in how.items()
            }
        }
    if how in _KEYWORDS:
        longest = schema.get("maxLength", _UNBOUNDED)
        return {"type": "keyword", "ignore_above": longest} | _KEYWORDS[how]
    if how not in _FIXED:
        raise IndexFileError(f"{where}: `{how}` is no way to index; schemas/index/README.md")
    return _FIXED[how]


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Follow references, and arrays to their items: Elasticsearch has no arrays."""
    while True:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
        elif schema.get("type") == "array":
            schema = schema["items"]
        else:
            return schema


def _same_names(where: str, shape: set[str], entries: set[str]) -> None:
    if shape - entries:
        raise IndexFileError(f"{where}: no entry for {', '.join(sorted(shape - entries))}")
    if entries - shape:
        raise IndexFileError(f"{where}: no property {', '.join(sorted(entries - shape))}")


def _analysis(properties: Schema) -> Schema:
    """Return the definitions of the analysers that a mapping uses, and only of these."""
    text = json.dumps(properties)
    analysis: Schema = {}
    for used, definitions in ((_GERMAN, _LANGUAGES), (ANALYSER, RULES_ANALYSIS)):
        if f'"{used}"' in text:
            for kind, named in definitions.items():
                analysis[kind] = analysis.get(kind, {}) | named
    return analysis


def _json(body: Schema) -> str:
    return json.dumps(body, indent=2, ensure_ascii=True) + "\n"
