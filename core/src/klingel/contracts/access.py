"""Who may do what in Kafka: access lists, derived from what `schemas/topics/` says of each topic.

A principal is a name that topics give their producers and consumers (`connectors`, `understand`,
`care`, `watch`, `indexer`, `notifier`, `cli`); each has one Kafka user. What follows from a topic's
file is not written a second time: deploy/k8s makes KafkaUser objects of these rights, and the tests
put the same rights into a real broker.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from klingel.contracts.topics import Topic, TopicSpec
from klingel.settings import KafkaSettings
from klingel.stage.audit import OPTIONAL

Resource: TypeAlias = Literal["topic", "group", "transactionalId"]
Pattern: TypeAlias = Literal["literal", "prefix"]
Operation: TypeAlias = Literal[
    "Read", "Write", "Describe", "Create", "Alter", "AlterConfigs", "DescribeConfigs"
]

QUEUE_TOPICS: Final = "queue-"
"""How topics of single queues begin (`queue_topic`); which there are, brands decide."""

LAG_READER: Final = "keda"
"""Who measures backlogs for scaling: no service of ours, and no principal of a topic's file."""

_STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "understand": ("understand", "thread"),
    "care": ("care",),
    "watch": ("watch",),
}
"""Stages that a principal runs: each has a group and transactional ids of its own."""
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    **_STAGES,
    "indexer": ("indexer",),
    "notifier": ("notifier",),
}
"""Groups by principal: those of stages, and of those that read without transactions."""
_CONNECTOR_GROUPS: Final[tuple[tuple[str, Pattern], ...]] = (
    ("media", "literal"),
    ("chat", "literal"),
    ("lease-", "prefix"),
)
"""Groups of connectors; a lease is the membership of a group that is named after its instance."""


@dataclass(frozen=True, slots=True)
class Right:
    """What one principal may do with one resource.

    Attributes:
        resource: kind of resource, as Strimzi names it.
        name: physical name, or what physical names begin with (`pattern`).
        operations: Kafka's words, sorted; Read and Write each include Describe.
    """

    resource: Resource
    name: str
    pattern: Pattern
    operations: tuple[Operation, ...]


def principals(specs: Mapping[Topic, TopicSpec]) -> list[str]:
    """Return every principal that a topic names, sorted."""
    return sorted({name for spec in specs.values() for name in (*spec.producers, *spec.consumers)})


def rights_of(
    principal: str, specs: Mapping[Topic, TopicSpec], kafka: KafkaSettings
) -> tuple[Right, ...]:
    """Return what a principal may do; what is not here is refused.

    Args:
        principal: one of `principals`.
        specs: every topic (`topic_specs`).
        kafka: for the prefixes of topics and groups.
    """
    administers = principal == "cli"
    found = [
        _topic(kafka.topic_prefix + name, "literal", operations)
        for name, spec in sorted(specs.items())
        if (operations := _of_topic(principal, spec, administers=administers))
    ]
    if administers:
        found.append(_topic(kafka.topic_prefix + QUEUE_TOPICS, "prefix", _ADMINISTERS))
    if principal == "care":
        found.append(_topic(kafka.topic_prefix + QUEUE_TOPICS, "prefix", {"Write"}))
    return (*found, *_groups(principal, kafka), *_transactions(principal, kafka))


_ADMINISTERS: Final[frozenset[Operation]] = frozenset(
    {"Describe", "Create", "Alter", "AlterConfigs", "DescribeConfigs"}
)
"""What `klingel topics apply` needs."""


def _of_topic(principal: str, spec: TopicSpec, *, administers: bool) -> set[Operation]:
    operations: set[Operation] = set(_ADMINISTERS) if administers else set()
    if principal in spec.consumers:
        operations.add("Read")
    if principal in spec.producers:
        operations.add("Write")
    return operations


def _topic(name: str, pattern: Pattern, operations: Collection[Operation]) -> Right:
    return Right("topic", name, pattern, tuple(sorted(operations)))


def _groups(principal: str, kafka: KafkaSettings) -> list[Right]:
    if principal == "connectors":
        # These are not per topic prefix: an instance is one wherever it writes.
        return [
            Right("group", kafka.group_prefix + name, pattern, ("Read",))
            for name, pattern in _CONNECTOR_GROUPS
        ]
    before = kafka.group_prefix + kafka.topic_prefix
    if principal == "cli":
        stages = sorted(name for names in _GROUPS.values() for name in names)
        audited = [before + stage for stage in stages]
        audited += [kafka.group_prefix + stage for stage in sorted(OPTIONAL)]
        return [Right("group", name, "literal", ("Describe",)) for name in audited]
    groups = _GROUPS.get(principal, ())
    return [Right("group", before + group, "literal", ("Read",)) for group in groups]


def _transactions(principal: str, kafka: KafkaSettings) -> list[Right]:
    before = kafka.group_prefix + kafka.topic_prefix
    return [
        Right("transactionalId", f"{before}{stage}-", "prefix", ("Describe", "Write"))
        for stage in _STAGES.get(principal, ())
    ]


def lag_reader_rights(specs: Mapping[Topic, TopicSpec], kafka: KafkaSettings) -> tuple[Right, ...]:
    """Return what who only measures backlogs may do: see positions and ends, read no record."""
    topics = [_topic(kafka.topic_prefix + name, "literal", {"Describe"}) for name in sorted(specs)]
    return (*topics, *_groups("cli", kafka))


def rights_by_user(
    specs: Mapping[Topic, TopicSpec], kafka: KafkaSettings
) -> dict[str, tuple[Right, ...]]:
    """Return the rights of every principal, and of who measures backlogs for scaling."""
    rights = {each: rights_of(each, specs, kafka) for each in principals(specs)}
    return rights | {LAG_READER: lag_reader_rights(specs, kafka)}
