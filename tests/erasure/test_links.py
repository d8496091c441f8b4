"""Which ids are one person is erased too, and is not told again by what was said before."""

from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output
from klingel.contracts.suppressions import suppression_output
from klingel.contracts.topics import Topic
from klingel.domain.identity_links import Customers, link, link_key, unlink
from klingel.model import IdentityLink, Suppression
from klingel.settings import ErasureSettings
from klingel_cli.commands import erase
from klingel_cli.commands.customer import link_output
from klingel_cli.erasing import Reach, Subject, links_gone
from klingel_cli.main import main
from klingel_processors.follow import Surroundings

from ..ringing import NOON
from ..understand.test_identity_links import BSUID, PHONE, Line
from .test_in_memory import KEY

ANNA, PHONE_OF_ANNA, BERT = "whatsapp:bsuid:DE.1", "whatsapp:phone:1f", "x:1492"


def messages(*outputs: Output) -> list[Message]:
    """Return records as they are read."""
    return [
        Message(each.topic, 0, offset, each.key, each.value, each.headers)
        for offset, each in enumerate(outputs)
    ]


@pytest.fixture
def linked() -> list[Output]:
    """What was linked: by an object, by a person, taken back, alone, for two brands, by others."""
    return [
        link_output(each)
        for each in (
            link("nordlicht", ANNA, PHONE_OF_ANNA, NOON),
            link("nordlicht", ANNA, None, NOON),
            link("nordlicht", ANNA, BERT, NOON, consent="asked", by="jule"),
            unlink("nordlicht", ANNA, BERT, NOON, because="withdrawn", by="jule"),
            link("kuestenstrom", ANNA, PHONE_OF_ANNA, NOON),
            link("nordlicht", PHONE_OF_ANNA, BERT, NOON, consent="asked", by="jule"),
        )
    ]


def test_every_record_that_names_the_author_ends_and_no_other(linked):
    gone = links_gone(messages(*linked), Subject("author", ANNA))
    assert {each.key for each in gone} == {each.key for each in linked[:5]}
    assert all(each.value is None and each.topic is Topic.IDENTITY_LINKS for each in gone)
    newest = {each.key: each.value for each in (*linked, *gone)}
    assert not [value for value in newest.values() if value is not None and ANNA.encode() in value]
    kept = link("nordlicht", PHONE_OF_ANNA, BERT, NOON)
    assert [key for key, value in newest.items() if value is not None] == [link_key(kept)]
    customers = Customers()
    for message in messages(*linked, *gone):
        customers.take(message.key, _known(message))
    assert not customers.knows("nordlicht", ANNA)
    assert not customers.knows("kuestenstrom", ANNA)
    assert set(customers.ids_of("nordlicht", BERT)) == {BERT, PHONE_OF_ANNA}


def _known(message: Message) -> Any:
    return None if message.value is None else codec.decode(IdentityLink, message.value)


def test_what_ended_already_is_not_ended_again_and_nobody_stumbles(linked):
    subject = Subject("author", ANNA)
    gone = links_gone(messages(*linked), subject)
    assert links_gone(messages(*linked, *gone), subject) == []
    broken = Output(Topic.IDENTITY_LINKS, b"nordlicht|x", b"\xff{")
    assert links_gone(messages(broken), subject) == []
    assert links_gone(messages(*linked), Subject("object", ANNA)) == []


def test_a_replay_links_nobody_again_and_what_is_said_afterwards_links_anew():
    line = Line()
    line.around = Surroundings(ErasureSettings(key="a key of this test's own"))
    line.message("w1", phone=PHONE, bsuid=BSUID, name="erika")
    anna = f"whatsapp:bsuid:{BSUID}"
    assert line.follow().knows("nordlicht", anna)
    (told,) = messages(suppression_output(KEY.suppression("author", anna, line.now), "test"))
    assert line.around.take(told) == 0
    for each in links_gone(line.links(), Subject("author", anna)):
        line.broker.append(each)
    assert not line.follow().knows("nordlicht", anna)
    linked = len(line.links())
    line.stage.replay()
    line.stage.drain()
    assert len(line.links()) == linked
    line.now += timedelta(minutes=1)
    line.message("w2", phone=PHONE, bsuid=BSUID, at=line.now)
    assert line.follow().knows("nordlicht", anna)


@pytest.mark.parametrize("told", [False, True], ids=["nobody erased", "erased with some key"])
def test_demands_without_a_key_are_none_or_cannot_be_met(monkeypatch, told):
    """The hourly run of a house without a key is no failure until somebody is erased."""
    record = suppression_output(KEY.suppression("author", ANNA, NOON), "test")

    @contextmanager
    def log(_kafka: object) -> Any:
        held = [record] if told else []
        yield SimpleNamespace(read_whole=lambda _topic: iter(messages(*held)))

    monkeypatch.setattr(erase, "reading", log)
    monkeypatch.setattr(erase, "ask", lambda _where, _question: [])
    monkeypatch.setattr(erase, "_forget_of_deleted", lambda _shell, _now: 0)
    done = CliRunner().invoke(main, ["erase", "--demanded"])
    assert done.exit_code == (2 if told else 0), done.output
    assert ("another KLINGEL_ERASURE__KEY" if told else "0 people") in done.output


def test_the_command_ends_links_last_and_counts_them(monkeypatch, linked):
    written: list[Output] = []
    answers = {"reach": Reach({}, frozenset(), frozenset()), "left": 0, "forget_cases": 0}

    @contextmanager
    def log(_kafka: object) -> Any:
        held = {Topic.IDENTITY_LINKS: linked}
        yield SimpleNamespace(read_whole=lambda topic: iter(messages(*held.get(topic, ()))))

    def asked(_where: object, question: Any) -> object:
        (name,) = set(answers) & set(question.__code__.co_names)
        return answers[name]

    monkeypatch.setattr(erase, "reading", log)
    monkeypatch.setattr(erase, "ask", asked)
    days = {"retention.ms": 86_400_000 * 90, "segment.ms": 86_400_000 * 7}
    config = {name: str(value) for name, value in days.items()}
    monkeypatch.setattr(erase, "_held", lambda _kafka: {"case-events": config})
    monkeypatch.setattr(erase, "publish", lambda _kafka, outputs: written.extend(outputs))
    runner = CliRunner(env={"KLINGEL_ERASURE__KEY": "a key of this test's own"})
    looked = runner.invoke(main, ["erase", "--author", ANNA, "--dry-run"])
    assert (looked.exit_code, written) == (0, []), looked.output
    assert "5 links" in looked.stdout
    done = runner.invoke(main, ["erase", "--author", ANNA])
    assert done.exit_code == 0, done.output
    told, *ended, carried_out = written
    assert [each.topic for each in ended] == [Topic.IDENTITY_LINKS] * 5
    assert carried_out.key == told.key + b"|done"
    begun, over = (codec.decode(Suppression, each.value) for each in (told, carried_out))
    assert (begun.done_at, over.erased_at) == (None, begun.erased_at)
    assert over.done_at >= begun.erased_at
    assert "5 links" in done.stdout
    assert f"until {begun.erased_at + timedelta(days=97):%Y-%m-%d}" in done.stdout
    assert "not reached: snapshots" in done.stdout
    assert ANNA not in done.output
