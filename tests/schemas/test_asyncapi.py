"""The AsyncAPI document is well-formed (specification 3.0.0) and says what the topic files say."""

import re
from datetime import UTC, datetime

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from klingel.contracts import envelope
from klingel.contracts.topics import Topic, topic_specs
from klingel.errors import ErrorType, InvalidMessage
from klingel.stage.dead_letters import VALUE_BYTES, Component, dead_letter

KEY = re.compile(r"[\w.-]+")  # of every map of components, channels and operations
ROOT_KEYS = {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"}
KNOWN = {
    "channels": {"address", "description", "messages", "bindings"},
    "operations": {"action", "channel", "messages"},
    "messages": {"name", "title", "summary", "bindings", "headers", "payload", "contentType"},
}


@pytest.fixture(scope="module")
def document(schemas):
    """The document as its readers see it."""
    return yaml.safe_load((schemas / "generated/asyncapi.yaml").read_text(encoding="utf-8"))


def dereferenced(document, node):
    while "$ref" in node:
        target = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def test_document_has_what_the_specification_asks_for(document):
    """Version, title and version of the API; keys that are legal; no key that is unknown."""
    assert document["asyncapi"] == "3.0.0"
    assert document["info"].keys() >= {"title", "version"}
    assert set(document) == ROOT_KEYS
    messages = document["components"]["messages"]
    for kind, objects in (document | {"messages": messages}).items():
        for name, found in objects.items() if kind in KNOWN else ():
            assert KEY.fullmatch(name)
            unknown = {key for key in found if not key.startswith("x-")} - KNOWN[kind]
            assert unknown == set(), f"{kind}.{name}"


def test_every_reference_leads_somewhere(document):
    """No reference is dangling, and none leaves the document."""
    found = list(references(document))
    assert len(found) > len(Topic)
    for reference in found:
        assert reference["$ref"].startswith("#/")
        assert isinstance(dereferenced(document, reference), dict)


def test_operations_name_messages_through_their_channel(document):
    """An operation's messages are a subset of its channel's, as the specification demands."""
    for name, operation in document["operations"].items():
        assert operation["action"] in {"send", "receive"}, name
        channel = operation["channel"]["$ref"]
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/"), name


def test_channels_are_the_topics(document, topic, schemas):
    """A channel has its topic's address, partitions, cleanup and retention."""
    file = yaml.safe_load((schemas / "topics" / f"{topic}.yaml").read_text(encoding="utf-8"))
    assert set(document["channels"]) == {name.value for name in Topic}
    channel = document["channels"][topic]
    binding = channel["bindings"]["kafka"]
    assert channel["address"] == binding["topic"] == topic
    assert binding.get("partitions", "default") == file["partitions"]
    assert ",".join(binding["topicConfiguration"]["cleanup.policy"]) == file["cleanup"]
    days = file.get("retention_days")
    kept = binding["topicConfiguration"].get("retention.ms")
    assert kept == (None if days is None else days * 86_400_000)


def test_operations_are_those_who_send_and_receive(document, topic):
    """Every producer sends, every consumer receives, and nobody else."""
    spec = topic_specs()[topic]
    roles = {
        (operation["x-service"], operation["action"])
        for operation in document["operations"].values()
        if operation["channel"]["$ref"] == f"#/channels/{topic}"
    }
    assert roles == {(name, "send") for name in spec.producers} | {
        (name, "receive") for name in spec.consumers
    }


def test_payload_describes_the_examples(document, example):
    """Every example is valid by the payload as written in the document, and is of its type."""
    (message,) = document["channels"][example.topic]["messages"].values()
    message = dereferenced(document, message)
    part = "headers" if example.topic == Topic.DEAD_LETTERS else "payload"
    Draft202012Validator(message[part]).validate(example.content)
    assert message["name"] == f"klingel.{topic_specs()[example.topic].event}"


def test_payload_refuses_what_the_shape_refuses(document, invalid):
    """Writing the references out has loosened nothing."""
    (message,) = document["channels"][invalid.topic]["messages"].values()
    part = "headers" if invalid.topic == Topic.DEAD_LETTERS else "payload"
    with pytest.raises(ValidationError):
        Draft202012Validator(dereferenced(document, message)[part]).validate(invalid.content)


@pytest.mark.parametrize("written_to", [name for name in Topic if name != Topic.DEAD_LETTERS])
def test_headers_describe_what_the_code_writes(document, written_to):
    """The headers that klingel writes are those of the document, each valid by it."""
    (message,) = document["channels"][written_to]["messages"].values()
    described = dereferenced(document, dereferenced(document, message)["headers"])
    at = datetime(2026, 3, 18, 7, 41, tzinfo=UTC)
    written = envelope.ce_headers(
        written_to,
        event_id="id",
        source="klingel/test",
        subject="subject",
        time=at,
        trace=envelope.trace_id("id"),
        caused_by=envelope.SourcePosition(written_to, 3, 17, 0),
    )
    headers = {name: value.decode() for name, value in written}
    Draft202012Validator(described).validate(headers)
    assert set(headers) == set(described["properties"])


class Utf8Error(Exception):
    """An exception of our own code, with a digit in its name."""


@pytest.mark.parametrize("error", [Utf8Error("secret"), InvalidMessage(ErrorType.SCHEMA, "no")])
def test_dead_letter_headers_describe_what_the_code_writes(document, error):
    """The headers of a cut dead letter are valid by the document, and all are described."""
    headers = document["components"]["messages"]["dead-letter.v1"]["headers"]
    source = (("klingel-source", b"raw-events/0/5/0"),)
    message = envelope.Message(Topic.SOCIAL_EVENTS, 3, 17, b"key", b"x" * (VALUE_BYTES + 1), source)
    letter = dead_letter(
        message,
        error,
        Component("klingel-processors/0.1.0", "understand", "understand-0"),
        datetime(2026, 3, 18, 7, 41, tzinfo=UTC),
        network="webhook",
        ref="blobs/ab/abc",
    )
    written = {name: value.decode() for name, value in letter.headers}
    Draft202012Validator(headers).validate(written)
    assert set(written) == set(headers["properties"])
