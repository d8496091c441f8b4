"""Topics, shapes, examples and code belong together: nothing stands alone."""

import ast
import re
from collections import Counter

import pytest
import yaml

from klingel.contracts import codec
from klingel.contracts.topics import Topic, topic_specs

FEWEST_EXAMPLES = 2
FEWEST_INVALID = 3
TOPIC_KEYS = {
    "description",
    "event",
    "key",
    "partition_by",
    "cleanup",
    "partitions",
    "retention_days",
    "segment_hours",
    "producers",
    "consumers",
    "p50_bytes",
    "copartitioned_with",
}
TWICE = {"raw-event.v1": 2}
"""What names only its parent goes on to `unthreaded-events` exactly as it came."""
SERVICES = {"connectors", "understand", "care", "watch", "notifier", "indexer", "cli"}


def names(folder, pattern):
    return {path.name for path in folder.glob(pattern)}


def test_topics_of_the_code_are_the_files(schemas):
    """The enum, the packaged list and the folder name the same topics."""
    files = {path.stem for path in (schemas / "topics").glob("*.yaml")}
    assert files == {topic.value for topic in Topic} == {topic.value for topic in topic_specs()}


def test_packaged_topic_list_equals_the_files(topic, schemas):
    """What the package knows of a topic is what its file says."""
    file = yaml.safe_load((schemas / "topics" / f"{topic}.yaml").read_text(encoding="utf-8"))
    spec = topic_specs()[topic]
    assert (spec.event, spec.key, spec.partition_by, spec.cleanup) == (
        file["event"],
        file["key"],
        file["partition_by"],
        file["cleanup"],
    )
    assert spec.retention_days == file.get("retention_days")
    assert spec.segment_hours == file.get("segment_hours")
    assert spec.copartitioned_with == file.get("copartitioned_with")
    assert (list(spec.producers), list(spec.consumers)) == (file["producers"], file["consumers"])


def test_every_shape_belongs_to_one_topic_and_every_topic_has_a_shape(schemas):
    """No schema without a topic, no topic without a schema, none for two."""
    events = Counter(spec.event for spec in topic_specs().values())
    assert {event: count for event, count in events.items() if count > 1} == TWICE
    files = {f"{event}.schema.json" for event in events}
    assert files == names(schemas / "events", "*")


def test_codec_reads_every_topic():
    """Every topic has its Struct, and two share one where they share a shape."""
    assert set(codec.SHAPES) == set(Topic)
    assert len(set(codec.SHAPES.values())) == len(codec.SHAPES) - len(TWICE)


@pytest.mark.parametrize("folder", ["examples", "invalid"])
def test_no_examples_of_what_is_no_topic(schemas, folder):
    """Every folder of examples is named after a topic."""
    assert names(schemas / folder, "*") == {topic.value for topic in Topic}


def test_topic_has_enough_examples(topic, schemas):
    """A topic has two examples at least that pass and three that are refused."""
    assert len(names(schemas / "examples" / topic, "*.json")) >= FEWEST_EXAMPLES
    assert len(names(schemas / "invalid" / topic, "*.json")) >= FEWEST_INVALID


def test_names_are_legal(schemas):
    """Topics and examples are kebab-case; a dot would collide with an underscore in metrics."""
    found = [topic.value for topic in Topic]
    found += [path.stem for path in schemas.glob("examples/*/*.json")]
    found += [path.stem for path in schemas.glob("invalid/*/*.json")]
    assert [name for name in found if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)] == []


def test_topic_file_says_only_what_is_known(topic, schemas):
    """A topic file has known keys, known services, and retention exactly where records expire."""
    file = yaml.safe_load((schemas / "topics" / f"{topic}.yaml").read_text(encoding="utf-8"))
    assert set(file) <= TOPIC_KEYS
    assert set(file["producers"]) | set(file["consumers"]) <= SERVICES
    assert ("delete" in file["cleanup"]) == ("retention_days" in file)
    assert "compact" in file["cleanup"] or "segment_hours" not in file


def test_what_is_read_whole_at_each_start_is_compacted_soon():
    """Kafka compacts closed segments alone, and closes one in a week: said where that is too late."""
    config = topic_specs()[Topic.CONNECTOR_CURSORS].config()
    assert config == {"cleanup.policy": "compact", "segment.ms": "3600000"}
    assert "segment.ms" not in topic_specs()[Topic.BRAND_CONFIG].config()


def test_copartitioned_topics_have_equal_partition_counts(topic):
    """Topics whose records must lie together are cut into the same number of partitions."""
    partner = topic_specs()[topic].copartitioned_with
    if partner is not None:
        assert topic_specs()[partner].partitions == topic_specs()[topic].partitions
        assert topic_specs()[partner].copartitioned_with is None


def test_no_topic_name_is_spelt_outside_contracts(root):
    """Code names topics by the enum: a string equal to a topic's name stands in contracts alone.

    A name without a hyphen (`cases`) is a word like any other; there the type checker has to do.
    """
    sources = [
        path
        for folder in (
            "core",
            "networks",
            "streams",
            "services/*",
            "cli",
            "simulator",
            "deploy/local",
        )
        for path in sorted(root.glob(f"{folder}/src/**/*.py"))
        if "contracts" not in path.parts
    ]
    assert len(sources) > len(Topic)
    spelt = [
        f"{path.relative_to(root)}:{line} {name}"
        for path in sources
        for line, name in spelt_topics(path.read_text(encoding="utf-8"))
    ]
    assert spelt == []


def spelt_topics(source):
    """Give line and name of each string that is a topic's name; index names are put together."""
    hyphenated = {topic.value for topic in Topic if "-" in topic}
    tree = ast.parse(source)
    pieces = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and id(node) not in pieces and node.value in hyphenated
    ]


def test_a_spelt_topic_name_is_found():
    """The search above finds what it looks for."""
    assert spelt_topics('x = 1\nsend("raw-events")\n') == [(2, "raw-events")]
