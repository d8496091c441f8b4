"""The topics, by logical name; everything about them comes from `schemas/topics/`.

The physical name is the logical one behind a prefix (setting `KLINGEL_KAFKA__TOPIC_PREFIX`).
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any


class Topic(StrEnum):
    """Logical topic names; a test proves that they equal the files of `schemas/topics/`."""

    RAW_EVENTS = "raw-events"
    OBJECT_DIRECTORY = "object-directory"
    UNDERSTAND_MARKS = "understand-marks"
    UNTHREADED_EVENTS = "unthreaded-events"
    CONVERSATION_LINKS = "conversation-links"
    IDENTITY_LINKS = "identity-links"
    SOCIAL_EVENTS = "social-events"
    CASES = "cases"
    TRACKED_CONVERSATIONS = "tracked-conversations"
    CASE_EVENTS = "case-events"
    CASE_COMMANDS = "case-commands"
    ESCALATIONS = "escalations"
    BRAND_SIGNALS = "brand-signals"
    ALERTS = "alerts"
    INCIDENTS = "incidents"
    MEDIA_JOBS = "media-jobs"
    CHAT_OUTBOX = "chat-outbox"
    WATCH_STATE = "watch-state"
    NOTIFICATIONS = "notifications"
    ROUTED_EVENTS = "routed-events"
    CONNECTOR_STATUS = "connector-status"
    CONNECTOR_CURSORS = "connector-cursors"
    CONNECTOR_LEASES = "connector-leases"
    BRAND_CONFIG = "brand-config"
    SUPPRESSIONS = "suppressions"
    STAGE_LEDGER = "stage-ledger"
    AUDIT_CHECKPOINTS = "audit-checkpoints"
    DEAD_LETTERS = "dead-letters"


def queue_topic(brand: str, queue: str) -> str:
    """Return the topic that a queue of a brand has where it declares one; not one of `Topic`."""
    return f"queue-{brand}-{queue}"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One file of `schemas/topics/`.

    `partitions` is None where the deployment's default applies; `retention_days` is None where
    records are kept for ever (compaction alone). `segment_hours` is None where Kafka's default
    applies; it compacts no segment that is still written, a week's worth by that default.
    """

    name: Topic
    description: str
    event: str
    key: str
    partition_by: str
    cleanup: str
    partitions: int | None
    retention_days: int | None
    segment_hours: int | None
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    copartitioned_with: Topic | None

    @property
    def compacted(self) -> bool:
        """Whether a record replaces an earlier one of its key."""
        return "compact" in self.cleanup

    def config(self) -> dict[str, str]:
        """Return the topic's configuration as Kafka names it."""
        config = {"cleanup.policy": self.cleanup}
        if self.retention_days is not None:
            config["retention.ms"] = str(self.retention_days * 86_400_000)
        if self.segment_hours is not None:
            config["segment.ms"] = str(self.segment_hours * 3_600_000)
        return config


def _spec(name: str, data: dict[str, Any]) -> TopicSpec:
    partner = data.get("copartitioned_with")
    return TopicSpec(
        name=Topic(name),
        description=data["description"],
        event=data["event"],
        key=data["key"],
        partition_by=data["partition_by"],
        cleanup=data["cleanup"],
        partitions=None if data["partitions"] == "default" else data["partitions"],
        retention_days=data.get("retention_days"),
        segment_hours=data.get("segment_hours"),
        producers=tuple(data["producers"]),
        consumers=tuple(data["consumers"]),
        copartitioned_with=Topic(partner) if partner else None,
    )


@cache
def topic_specs() -> dict[Topic, TopicSpec]:
    """Return every topic's specification, read once from the package."""
    data = json.loads((files("klingel.contracts") / "topics.json").read_text(encoding="utf-8"))
    return {Topic(name): _spec(name, spec) for name, spec in data.items()}
