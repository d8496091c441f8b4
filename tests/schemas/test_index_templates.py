"""The templates hold every field of a document, and no other, as Elasticsearch 8 and 9 both can."""

import copy
import json

import pytest
import yaml

from klingel.domain.matching import RULES_PROPERTIES

FOLDER = "generated/elasticsearch"
# What every build has; local stacks lack the types of the module mapper-extras and of the licences.
TYPES = {"keyword", "text", "date", "long", "double", "boolean", "flattened", "object"}
BY_SCHEMA = {
    "string": {"keyword", "text"},
    "integer": {"long"},
    "number": {"double"},
    "boolean": {"boolean"},
    "object": {"flattened", None},
}
LONGEST_TERM_BYTES = 32_766
LONGEST_CODE_POINT_BYTES = 4


def template(schemas, name, kind):
    path = schemas / FOLDER / f"klingel-{name}.{kind}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def mapping(schemas, name):
    return template(schemas, name, "component")["template"]["mappings"]


def resolved(schema, definitions):
    while "$ref" in schema or schema.get("type") == "array":
        named = schema.get("$ref", "").removeprefix("#/$defs/")
        schema = definitions[named] if named else schema["items"]
    return schema


def document_leaves(schemas, index):
    """Give {path: schema} of all that a document can hold, objects opened, arrays as items."""
    leaves = {}

    def walk(path, schema, definitions):
        schema = resolved(schema, definitions)
        for field, inner in schema.get("properties", {}).items():
            walk(f"{path}.{field}", inner, definitions)
        if "properties" not in schema:
            leaves[path] = schema

    for source in index["sources"]:
        path = schemas / "events" / f"{source['schema']}.schema.json"
        whole = json.loads(path.read_text(encoding="utf-8"))
        definitions = whole.get("$defs", {})
        shape = definitions[source["definition"]] if "definition" in source else whole
        for field, inner in shape["properties"].items():
            walk(source.get("rename", {}).get(field, field), inner, definitions)
    return leaves


def mapped_leaves(properties, path=""):
    """Give {path: mapping} of all that an index takes."""
    leaves = {}
    for field, entry in properties.items():
        if "properties" in entry:
            leaves |= mapped_leaves(entry["properties"], f"{path}{field}.")
        else:
            leaves[path + field] = entry
    return leaves


def is_stored(entry):
    return entry == {"type": "object", "enabled": False}


def holder_of(path, leaves):
    """Give the mapped path that holds this one: itself, or an object stored around it."""
    parts = path.split(".")
    ways = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((way for way in ways if way in leaves), None)


@pytest.fixture
def index(schemas, field_set):
    """The index file of a field set."""
    text = (schemas / "index" / f"{field_set}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def test_every_field_of_a_document_is_mapped(schemas, field_set, index):
    """Every property of the shapes, however deep, has a place in the mapping."""
    leaves = mapped_leaves(mapping(schemas, field_set)["properties"])
    homeless = [
        path
        for path in document_leaves(schemas, index)
        if (holder := holder_of(path, leaves)) is None
        or (holder != path and not is_stored(leaves[holder]))
    ]
    assert homeless == []


def test_every_mapped_field_is_of_a_document(schemas, field_set, index):
    """No mapping without a property; what the indexer adds is named in the index file."""
    held = document_leaves(schemas, index)
    leaves = mapped_leaves(mapping(schemas, field_set)["properties"])
    strange = [
        path
        for path in leaves
        if path not in index["own"] and not any(f"{way}.".startswith(f"{path}.") for way in held)
    ]
    assert strange == []
    assert not set(index["own"]) & {path.split(".")[0] for path in held}


def test_fields_are_indexed_as_what_they_are(schemas, field_set, index):
    """Times are dates, numbers numbers, words words; what comes as a header may become a number."""
    from_headers = any(source["schema"] == "dead-letter.v1" for source in index["sources"])
    leaves = mapped_leaves(mapping(schemas, field_set)["properties"])
    wrong = []
    for path, schema in document_leaves(schemas, index).items():
        entry = leaves.get(path)
        if entry is None or is_stored(entry):
            continue
        allowed = {"date"} if schema.get("format") == "date-time" else BY_SCHEMA[schema["type"]]
        if from_headers:
            allowed = allowed | {"long", "date"}
        if entry["type"] not in allowed:
            wrong.append(f"{path}: {entry['type']}")
    assert wrong == []


def test_mapping_is_strict_and_explicit(schemas, field_set):
    """An unknown field is refused, never guessed; only types that every build has are used."""
    mappings = mapping(schemas, field_set)
    assert mappings["dynamic"] == "strict"
    for path, entry in mapped_leaves(mappings["properties"]).items():
        assert entry["type"] in TYPES, path
        for name, field in entry.get("fields", {}).items():
            assert field["type"] == "text", f"{path}.{name}"


def test_no_term_is_longer_than_lucene_stores(schemas, field_set):
    """Every exact field is cut off below the longest term, so that no document is refused for it."""
    for path, entry in mapped_leaves(mapping(schemas, field_set)["properties"]).items():
        if entry["type"] in {"keyword", "flattened"}:
            assert 0 < entry["ignore_above"] * LONGEST_CODE_POINT_BYTES < LONGEST_TERM_BYTES, path


def test_exact_fields_hold_all_that_their_schema_allows(schemas, field_set, index):
    """What the shape bounds can be found whole."""
    leaves = mapped_leaves(mapping(schemas, field_set)["properties"])
    for path, schema in document_leaves(schemas, index).items():
        if leaves.get(path, {}).get("type") == "keyword" and "maxLength" in schema:
            assert leaves[path]["ignore_above"] >= schema["maxLength"], path


def test_analysers_stand_beside_the_fields_that_use_them(schemas, field_set):
    """A component template is whole by itself: Elasticsearch checks each one alone."""
    body = template(schemas, field_set, "component")["template"]
    analysis = body.get("settings", {}).get("index", {}).get("analysis", {})
    defined = set(analysis.get("analyzer", {})) | set(analysis.get("normalizer", {}))
    used = set()

    def walk(node):
        if isinstance(node, dict):
            used.update(node[key] for key in ("analyzer", "normalizer") if key in node)
            for inner in node.values():
                walk(inner)

    walk(body["mappings"])
    assert used <= defined
    for analyser in analysis.get("analyzer", {}).values():
        named = {name for name in analyser["filter"] if name.startswith("klingel_")}
        assert named <= set(analysis["filter"])


def test_index_template_is_made_of_what_exists(schemas, field_set, index):
    """Each index template names its pattern and two component templates that lie beside it."""
    body = template(schemas, field_set, "index")
    assert body["index_patterns"] == [index["indices"]]
    assert body["composed_of"] == ["klingel-settings", f"klingel-{field_set}"]
    for name in body["composed_of"]:
        assert (schemas / FOLDER / f"{name}.component.json").is_file()


def test_no_index_falls_under_two_templates(schemas):
    """The patterns part the names: no index could get the mapping of another field set."""
    patterns = [
        json.loads(path.read_text())["index_patterns"][0].removesuffix("*")
        for path in (schemas / FOLDER).glob("*.index.json")
    ]
    for one in patterns:
        assert [other for other in patterns if other.startswith(one)] == [one]


def test_shared_settings_are_those_of_every_build(schemas):
    """Durable, remembering deletions for a day; nothing of ILM, which not every build has."""
    settings = template(schemas, "settings", "component")["template"]["settings"]["index"]
    assert settings == {
        "number_of_shards": 1,
        "number_of_replicas": 1,
        "refresh_interval": "5s",
        "gc_deletes": "24h",
        "codec": "default",
        "translog": {"durability": "request"},
    }
    texts = [path.read_text() for path in (schemas / FOLDER).glob("*.json")]
    assert texts
    assert not any("lifecycle" in text for text in texts)


def test_listening_rules_find_their_fields(schemas):
    """The posts' mapping holds, unaltered, each field that a listening rule can name."""
    needed = copy.deepcopy(RULES_PROPERTIES)
    rules = needed["text"].pop("fields")["rules"]
    leaves = mapped_leaves(mapping(schemas, "events")["properties"])
    for path, entry in mapped_leaves(needed).items():
        assert entry.items() <= leaves[path].items(), path
    assert rules.items() <= leaves["text"]["fields"]["rules"].items()


def test_words_are_read_in_german_and_english(schemas):
    """Text, for listeners and for general readers, is analysed in both languages."""
    leaves = mapped_leaves(mapping(schemas, "events")["properties"])
    for path in ("text", "text_public"):
        assert {"de", "en"} <= set(leaves[path]["fields"])


def test_explanations_and_facts_are_kept_but_not_indexed(schemas):
    """Why something was decided can be read in a document, not searched."""
    assert is_stored(mapping(schemas, "events")["properties"]["explain"])
    for field in ("explain", "facts", "summary", "commands"):
        assert is_stored(mapping(schemas, "cases")["properties"][field])


@pytest.mark.parametrize(
    ("alter", "sentence"),
    [
        (lambda fields: fields.pop("brand"), "no entry for brand"),
        (lambda fields: fields.update(mood="exact"), "no property mood"),
        (lambda fields: fields["priority"].pop("score"), "cases.priority: no entry for score"),
        (lambda fields: fields.update(brand="fuzzy"), "`fuzzy` is no way to index"),
    ],
)
def test_generator_refuses_an_index_file_that_does_not_fit(generator, root, alter, sentence):
    """A property without an entry, an entry without a property, a misspelt way: one sentence."""
    templates = generator("index_templates")
    index = templates.read(root)["cases"]
    alter(index["fields"])
    with pytest.raises(templates.IndexFileError, match=sentence):
        templates.component("cases", index, root / "schemas/events")
