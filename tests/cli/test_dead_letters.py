"""Dead letters: shown without harm, sent again as they were, refused where they cannot be."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from klingel.contracts.blobs import BlobStore
from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.stage.dead_letters import Component, dead_letter, dead_letter_from_outside
from klingel_cli.dead_letters import KeptDeadLetter, escaped
from klingel_cli.kafka import reading

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
COMPONENT = Component("klingel-understand/1", "understand", "worker-1")
ERROR = InvalidMessage(ErrorType.MALFORMED_JSON, "JSON is malformed: byte 6")
HEADERS = (("ce_id", b"a:b:c@1"), ("klingel-source", b"raw-events/0/7/0"))


def message(value: bytes | None = b"{broken", **more: object) -> Message:
    """A message that could not be read."""
    found = Message(Topic.SOCIAL_EVENTS, 3, 41, b"key", value, HEADERS)
    return replace(found, **more)


def letter_of(output: Output) -> KeptDeadLetter:
    """The letter as it is read back at 2/17."""
    return KeptDeadLetter(
        Message(Topic.DEAD_LETTERS, 2, 17, output.key, output.value, output.headers)
    )


def no_blobs(_: object) -> bytes:
    pytest.fail("nothing was cut")


def test_a_letter_goes_back_as_it_was_and_counts_its_attempts() -> None:
    letter = letter_of(dead_letter(message(), ERROR, COMPONENT, NOON))
    again = letter.again(no_blobs)
    assert (again.topic, again.partition) == (Topic.SOCIAL_EVENTS, 3)
    assert (again.key, again.value) == (b"key", b"{broken")
    assert again.headers == (
        *HEADERS,
        ("x-dlq-attempt", b"1"),
        ("x-replayed-from", b"dead-letters/2/17"),
    )
    failed = dead_letter(message(headers=again.headers), ERROR, COMPONENT, NOON)
    second = letter_of(failed)
    assert second.word("x-dlq-attempt") == "2"
    assert [name for name, _ in second.again(no_blobs).headers].count("x-replayed-from") == 1


def test_a_tombstone_goes_back_as_a_tombstone() -> None:
    letter = letter_of(dead_letter(message(None), ERROR, COMPONENT, NOON))
    assert letter.again(no_blobs).value is None


@pytest.mark.parametrize("topic", [Topic.CASES, Topic.OBJECT_DIRECTORY, Topic.CONNECTOR_STATUS])
def test_a_state_never_goes_back_over_a_newer_one(topic: Topic) -> None:
    letter = letter_of(dead_letter(message(topic=topic), ERROR, COMPONENT, NOON))
    with pytest.raises(InvalidMessage, match=r"keeps the newest of each key.*klingel reindex"):
        letter.again(no_blobs)


def test_a_cut_letter_goes_back_whole_from_the_blob_store(tmp_path: Path) -> None:
    whole = bytes(range(256)) * 512
    store = BlobStore(tmp_path)
    ref = store.put(whole).ref
    letter = letter_of(dead_letter(message(whole), ERROR, COMPONENT, NOON, ref=ref))
    assert len(letter.message.value or b"") == 65_536
    assert letter.size == len(whole)
    assert letter.again(store.get).value == whole


def test_a_cut_letter_without_its_whole_is_refused(tmp_path: Path) -> None:
    whole = b"x" * 100_000
    nowhere = letter_of(dead_letter(message(whole), ERROR, COMPONENT, NOON))
    with pytest.raises(InvalidMessage, match="65,536 of 100,000 bytes and names no place"):
        nowhere.again(no_blobs)
    gone = letter_of(dead_letter(message(whole), ERROR, COMPONENT, NOON, ref="ab/abc"))
    with pytest.raises(InvalidMessage, match="no longer kept"):
        gone.again(BlobStore(tmp_path).get)


def test_what_came_from_outside_goes_back_only_through_its_connector() -> None:
    letter = letter_of(dead_letter_from_outside(b"{", b"source", ERROR, COMPONENT, NOON))
    assert letter.origin == "outside"
    with pytest.raises(InvalidMessage, match=r"klingel map.*its connector"):
        letter.again(no_blobs)


def test_escaped_bytes_are_obeyed_by_no_terminal() -> None:
    shown = escaped(b"a\x1b[31m\x00\xff\r\nb \xe2\x80\xae \xc3\xbc \xc2\x9b")
    assert shown == "a\\x1b[31m\\x00\\xff\\x0d\nb \\u202e ü \\x9b"
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.servers
def test_letters_are_listed_shown_and_sent_again(run, env, kafka, put) -> None:
    bad = message(b'{"text": \x1b]0;evil\x07', topic=Topic.RAW_EVENTS, partition=1)
    outside = dead_letter_from_outside(b"<html>", b"shop", ERROR, COMPONENT, NOON)
    put(
        [
            replace(dead_letter(bad, ERROR, COMPONENT, NOON), partition=2),
            replace(outside, partition=3),
        ]
    )

    listed = [
        json.loads(line)
        for line in run("dead-letters", "list", "--json", env=env).stdout.splitlines()
    ]
    assert {(each["id"], each["from"]) for each in listed} == {
        ("2/0", "raw-events/1/41"),
        ("3/0", "outside"),
    }
    assert "malformed_json" in run("dead-letters", "list", env=env).stdout
    assert (
        "no dead letters of the kind too_deep"
        in run("dead-letters", "list", "--kind", "too_deep", env=env).stdout
    )

    shown = run("dead-letters", "show", "2/0", env=env)
    assert shown.exit_code == 0, shown.output
    assert "JSON is malformed: byte 6" in shown.stdout
    assert r'{"text": \x1b]0;evil\x07' in shown.stdout
    assert "\x1b" not in shown.stdout

    result = run("dead-letters", "redrive", "2/0", "3/0", env=env)
    assert result.exit_code == 1
    assert "sent     2/0 to raw-events" in result.stdout
    assert "refused  3/0: it came from outside" in result.stdout
    with reading(kafka) as log:
        (back,) = list(log.read_whole(Topic.RAW_EVENTS))
    assert (back.partition, back.key, back.value) == (1, b"key", bad.value)
    assert back.header("x-replayed-from") == b"dead-letters/2/0"
    assert back.header("ce_id") == b"a:b:c@1"

    every = run("dead-letters", "redrive", "--all", "--kind", "malformed_json", "--json", env=env)
    assert json.loads(every.stdout)["sent"] == ["2/0"]

    none = run("dead-letters", "show", "0/0", env=env)
    assert none.exit_code == 1
    assert "there is no dead letter 0/0" in none.stderr
    assert run("dead-letters", "show", "9/0", env=env).exit_code == 2
