"""Rights in Kafka: exactly what the topics' files say, and nothing that crosses them."""

import pytest

from klingel.contracts.access import Right, lag_reader_rights, principals, rights_of
from klingel.contracts.topics import Topic, topic_specs
from klingel.settings import KafkaSettings

KAFKA = KafkaSettings.model_validate({"topic_prefix": "eu-", "group_prefix": "kl-"})


def _may(principal: str, resource: str, name: str, operation: str) -> bool:
    return any(
        right.resource == resource
        and operation in right.operations
        and (name == right.name if right.pattern == "literal" else name.startswith(right.name))
        for right in rights_of(principal, topic_specs(), KAFKA)
    )


def test_principals_are_those_whom_topics_name() -> None:
    assert {"connectors", "understand", "care", "watch", "indexer", "notifier", "cli"} <= set(
        principals(topic_specs())
    )


@pytest.mark.parametrize("principal", principals(topic_specs()))
def test_reads_and_writes_are_those_of_the_topics_files(principal: str) -> None:
    for name, spec in topic_specs().items():
        assert _may(principal, "topic", f"eu-{name}", "Read") == (principal in spec.consumers)
        assert _may(principal, "topic", f"eu-{name}", "Write") == (principal in spec.producers)


@pytest.mark.parametrize(
    ("principal", "topic", "operation"),
    [
        ("connectors", Topic.SOCIAL_EVENTS, "Read"),
        ("indexer", Topic.RAW_EVENTS, "Write"),
        ("notifier", Topic.SOCIAL_EVENTS, "Read"),
        ("care", Topic.RAW_EVENTS, "Read"),
        ("watch", Topic.CASES, "Write"),
    ],
)
def test_what_nobody_may(principal: str, topic: Topic, operation: str) -> None:
    assert not _may(principal, "topic", f"eu-{topic}", operation)


def test_only_the_command_makes_and_changes_topics() -> None:
    makers = {
        principal
        for principal in principals(topic_specs())
        for right in rights_of(principal, topic_specs(), KAFKA)
        if {"Create", "Alter", "AlterConfigs"} & set(right.operations)
    }
    assert makers == {"cli"}


def test_topics_of_queues_are_written_by_care_alone() -> None:
    writers = {
        principal
        for principal in principals(topic_specs())
        if _may(principal, "topic", "eu-queue-nordlicht-complaints", "Write")
    }
    assert writers == {"care"}


def test_groups_and_transactions_are_ones_own() -> None:
    assert _may("understand", "group", "kl-eu-understand", "Read")
    assert _may("understand", "group", "kl-eu-thread", "Read")
    assert _may("understand", "transactionalId", "kl-eu-thread-7", "Write")
    assert _may("connectors", "group", "kl-lease-bluesky", "Read")
    assert _may("cli", "group", "kl-eu-care", "Describe")
    assert not _may("cli", "group", "kl-eu-care", "Read")
    assert _may("cli", "group", "kl-media", "Describe")
    assert not _may("care", "group", "kl-eu-watch", "Read")
    assert not _may("care", "transactionalId", "kl-eu-watch-0", "Write")
    assert not _may("indexer", "transactionalId", "kl-eu-indexer-0", "Write")


def test_a_right_names_no_empty_prefix() -> None:
    """An empty prefix would match everything."""
    plain = KafkaSettings.model_validate({"topic_prefix": "", "group_prefix": ""})
    for principal in principals(topic_specs()):
        for right in rights_of(principal, topic_specs(), plain):
            assert right.name
            assert right.operations
            assert isinstance(right, Right)


def test_who_measures_backlogs_reads_no_record() -> None:
    rights = lag_reader_rights(topic_specs(), KAFKA)
    assert {operation for right in rights for operation in right.operations} == {"Describe"}
    assert {right.name for right in rights} >= {"eu-raw-events", "kl-eu-understand"}
