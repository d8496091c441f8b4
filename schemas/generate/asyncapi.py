"""The AsyncAPI 3 document: what travels on each topic, who sends it and who receives it.

Payloads are written out in full: an AsyncAPI document resolves `#/$defs` against itself.
Source: AsyncAPI specification 3.0.0; Kafka bindings 0.5.0.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

import topics
import yaml

PATH = "schemas/generated/asyncapi.yaml"
_BINDING = "0.5.0"
_DAY_MS = 86_400_000
_DEAD_LETTER = "dead-letter.v1"  # the one shape that describes headers, not a value

Schema = dict[str, Any]

_ENVELOPE: Schema = {
    "type": "object",
    "description": "CloudEvents 1.0 attributes, Kafka protocol binding in binary mode.",
    "required": [
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_time",
        "ce_subject",
        "content-type",
        "traceparent",
    ],
    "properties": {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string", "description": "Deterministic: a repeat has the same id."},
        "ce_type": {"type": "string"},
        "ce_source": {"type": "string", "description": "Stage or connector."},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_subject": {"type": "string", "description": "Object or case."},
        "content-type": {"type": "string", "const": "application/json"},
        "traceparent": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
        "klingel-source": {
            "type": "string",
            "description": "<topic>/<partition>/<offset>/<ordinal> of the message that caused it.",
            "pattern": "^[^/]+/[0-9]+/[0-9]+/[0-9]+$",
        },
    },
}


def generate(root: Path) -> dict[str, str]:
    """Return {path below root: content} of the document."""
    read = topics.read(root)
    messages = {
        str(topic["event"]): _message(str(topic["event"]), topic, root) for topic in read.values()
    }
    project = tomllib.loads((root / "core/pyproject.toml").read_text(encoding="utf-8"))["project"]
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "klingel",
            "version": project["version"],
            "description": "Topic names are logical; a deployment may put a prefix before them.",
            "license": {"name": project["license"]},
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(name, topic) for name, topic in read.items()},
        "operations": {
            key: operation
            for name, topic in read.items()
            for key, operation in _operations(name, topic)
        },
        "components": {"messages": messages, "schemas": {"envelope": _ENVELOPE}},
    }
    head = "# generated from schemas/topics/ and schemas/events/; never edited\n"
    return {PATH: head + yaml.dump(document, Dumper=_Plain, sort_keys=False, width=100)}


class _Plain(yaml.SafeDumper):
    """Write a value again where it occurs again: readers of the document need no YAML anchors."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _channel(name: str, topic: dict[str, Any]) -> Schema:
    config: Schema = {"cleanup.policy": topic["cleanup"].split(",")}
    if "retention_days" in topic:
        config["retention.ms"] = topic["retention_days"] * _DAY_MS
    binding: Schema = {"topic": name, "topicConfiguration": config, "bindingVersion": _BINDING}
    if topic["partitions"] != "default":
        binding["partitions"] = topic["partitions"]
    channel: Schema = {
        "address": name,
        "description": topic["description"].strip(),
        "messages": {topic["event"]: {"$ref": f"#/components/messages/{topic['event']}"}},
        "bindings": {"kafka": binding},
        "x-partition-by": topic["partition_by"],
    }
    if "copartitioned_with" in topic:
        channel["x-copartitioned-with"] = topic["copartitioned_with"]
    return channel


def _operations(name: str, topic: dict[str, Any]) -> list[tuple[str, Schema]]:
    roles = [(service, "send") for service in topic["producers"]]
    roles += [(service, "receive") for service in topic["consumers"]]
    return [
        (
            f"{service}-{action}-{name}",
            {
                "action": action,
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [{"$ref": f"#/channels/{name}/messages/{topic['event']}"}],
                "x-service": service,
            },
        )
        for service, action in roles
    ]


def _message(event: str, topic: dict[str, Any], root: Path) -> Schema:
    path = root / "schemas/events" / f"{event}.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    shape = written_out(schema, schema.get("$defs", {}))
    message: Schema = {
        "name": f"klingel.{event}",
        "title": schema["title"],
        "summary": schema["description"],
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": topic["key"]},
                "bindingVersion": _BINDING,
            }
        },
    }
    if event == _DEAD_LETTER:
        message["contentType"] = "application/octet-stream"
        own = {"klingel-source": _ENVELOPE["properties"]["klingel-source"]}
        shape = shape | {"properties": shape["properties"] | own}
        return message | {"headers": shape, "payload": {"description": "The original bytes."}}
    return message | {"headers": {"$ref": "#/components/schemas/envelope"}, "payload": shape}


def written_out(schema: Any, definitions: Schema) -> Any:
    """Return a schema with its references replaced by what they name.

    The schemas' own notes for the generator of the models are left out.
    """
    if isinstance(schema, list):
        return [written_out(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return written_out(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    left_out = {"$schema", "$id", "$defs", "customTypePath"}
    return {
        key: written_out(value, definitions) for key, value in schema.items() if key not in left_out
    }
