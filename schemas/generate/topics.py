"""The topic list from `schemas/topics/*.yaml`: for the package and for those who deploy."""

import json
from pathlib import Path

import yaml


def read(root: Path) -> dict[str, dict[str, object]]:
    """Return {topic name: its file}, by name."""
    return {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((root / "schemas/topics").glob("*.yaml"))
    }


def generate(root: Path) -> dict[str, str]:
    """Return the two lists: JSON inside the package, YAML beside the other generated files."""
    topics = read(root)
    text = json.dumps(topics, indent=2, ensure_ascii=False) + "\n"
    head = "# generated from schemas/topics/; never edited\n"
    return {
        "core/src/klingel/contracts/topics.json": text,
        "schemas/generated/kafka-topics.yaml": head
        + yaml.safe_dump(
            [_kafka_topic(name, topic) for name, topic in topics.items()], sort_keys=False
        ),
    }


def _kafka_topic(name: str, topic: dict[str, object]) -> dict[str, object]:
    config = {"cleanup.policy": topic["cleanup"]}
    if "retention_days" in topic:
        config["retention.ms"] = str(int(str(topic["retention_days"])) * 86_400_000)
    if "segment_hours" in topic:
        config["segment.ms"] = str(int(str(topic["segment_hours"])) * 3_600_000)
    return {"name": name, "partitions": topic["partitions"], "config": config}
