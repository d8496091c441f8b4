"""Access lists as they are in a Kafka against those that follow from the topics' files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import KafkaError, NoError

from klingel.contracts.access import Right, rights_by_user
from klingel.contracts.topics import topic_specs
from klingel.settings import KafkaSettings

_RESOURCES: Final[Mapping[str, ResourceType]] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
_PATTERNS: Final[Mapping[str, ACLResourcePatternType]] = {
    "literal": ACLResourcePatternType.LITERAL,
    "prefix": ACLResourcePatternType.PREFIXED,
}
_OPERATIONS: Final[Mapping[str, ACLOperation]] = {
    "Read": ACLOperation.READ,
    "Write": ACLOperation.WRITE,
    "Describe": ACLOperation.DESCRIBE,
    "Create": ACLOperation.CREATE,
    "Alter": ACLOperation.ALTER,
    "AlterConfigs": ACLOperation.ALTER_CONFIGS,
    "DescribeConfigs": ACLOperation.DESCRIBE_CONFIGS,
}


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One line of an access list: a user may do one thing with one kind of names, from anywhere."""

    user: str
    resource: str
    name: str
    pattern: str
    operation: str

    def sentence(self) -> str:
        """Return it for people."""
        behind = "…" if self.pattern == "prefix" else ""
        return f"{self.user} may {self.operation} {self.resource} {self.name}{behind}"


def wanted(kafka: KafkaSettings, users: str) -> dict[str, list[Right]]:
    """Return every user's rights.

    Args:
        kafka: prefixes of topics and groups.
        users: what stands before a principal in the name of its user.
    """
    rights = rights_by_user(topic_specs(), kafka)
    return {users + each: list(of_user) for each, of_user in rights.items()}


def entries(rights: Mapping[str, Sequence[Right]]) -> set[Entry]:
    """Return rights line by line."""
    return {
        Entry(user, right.resource, right.name, right.pattern, operation)
        for user, of_user in rights.items()
        for right in of_user
        for operation in right.operations
    }


def held(client: KafkaAdminClient, users: Collection[str]) -> set[Entry]:
    """Return what Kafka lets these users do, as far as it can be said in lines of ours.

    Raises:
        KafkaError: Kafka is away, has no authoriser, or refuses to tell.
    """
    found: set[Entry] = set()
    for user in users:
        acls, _ = client.describe_acls(_of(user))
        found |= {each for acl in acls if (each := _entry(acl)) is not None}
    return found


def grant(client: KafkaAdminClient, wanted: Collection[Entry]) -> None:
    """Make lines; raises KafkaError."""
    if wanted:
        _all_done(client.create_acls([_acl(each) for each in sorted(wanted)])["failed"])


def withdraw(client: KafkaAdminClient, surplus: Collection[Entry]) -> None:
    """Remove lines; raises KafkaError."""
    if surplus:
        done = client.delete_acls([_acl(each) for each in sorted(surplus)])
        _all_done([error for _, _, error in done if error is not NoError])


def _all_done(failed: list[type[KafkaError]]) -> None:
    if failed:
        raise failed[0]


def _of(user: str) -> ACLFilter:
    return ACLFilter(
        principal=f"User:{user}",
        host=None,
        operation=ACLOperation.ANY,
        permission_type=ACLPermissionType.ANY,
        resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
    )


def _acl(entry: Entry) -> ACL:
    return ACL(
        principal=f"User:{entry.user}",
        host="*",
        operation=_OPERATIONS[entry.operation],
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(
            _RESOURCES[entry.resource], entry.name, _PATTERNS[entry.pattern]
        ),
    )


def _entry(acl: ACL) -> Entry | None:
    """Return a line of Kafka's as ours; None of one that we never make: somebody else's."""
    where = acl.resource_pattern
    resource = _word(_RESOURCES, where.resource_type)
    pattern = _word(_PATTERNS, where.pattern_type)
    operation = _word(_OPERATIONS, acl.operation)
    if acl.permission_type is not ACLPermissionType.ALLOW or acl.host != "*":
        return None
    if resource is None or pattern is None or operation is None:
        return None
    user = acl.principal.removeprefix("User:")
    return Entry(user, resource, where.resource_name, pattern, operation)


def _word(words: Mapping[str, Any], value: Any) -> str | None:
    return next((word for word, each in words.items() if each is value), None)
