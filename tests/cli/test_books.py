"""Reading the books: a broker that is not ready yet is asked again, another refusal is told."""

from datetime import UTC, datetime

import pytest
from kafka.errors import (
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    KafkaError,
    NotLeaderForPartitionError,
)

from klingel.settings import KafkaSettings
from klingel_cli import books, kafka

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
FOUND = books.Books((), {}, {}, {}, {}, whole=True)


def answering(monkeypatch: pytest.MonkeyPatch, *refusals: KafkaError) -> list[KafkaError]:
    """Let the broker refuse so often before it answers; returns the refusals that are left."""
    left = [*refusals]

    def read(*_: object, full: bool) -> books.Books:
        assert not full
        if left:
            raise left.pop(0)
        return FOUND

    monkeypatch.setattr(books, "_read", read)
    monkeypatch.setattr(kafka, "_AGAIN_SECONDS", 0.0)
    return left


def test_a_broker_that_is_not_ready_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, CoordinatorNotAvailableError(), NotLeaderForPartitionError())
    assert books.read_books(KafkaSettings(), NOON) is FOUND


def test_a_broker_that_is_never_ready_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    left = answering(monkeypatch, *(CoordinatorNotAvailableError() for _ in range(20)))
    with pytest.raises(CoordinatorNotAvailableError):
        books.read_books(KafkaSettings(), NOON)
    assert len(left) == 10


def test_a_refusal_that_no_asking_mends_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    left = answering(monkeypatch, GroupAuthorizationFailedError(), CoordinatorNotAvailableError())
    with pytest.raises(GroupAuthorizationFailedError):
        books.read_books(KafkaSettings(), NOON)
    assert len(left) == 1
