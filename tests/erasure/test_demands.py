"""Networks that demand an erasure: it begins by itself, once, and what came before is not heard."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed
from klingel.model import RawEvent, Suppression
from klingel.stage.fates import Fate
from klingel_connectors.raw import raw_output
from klingel_networks.contract import NativeObject
from klingel_networks.mapped import raw_event
from klingel_networks.registry import installed_network

from ..ringing import NOON
from .test_in_memory import KEY, House

USER = "218471"
ASKED = NOON + timedelta(minutes=1)
SNOWFLAKES_BEGIN = 1_288_834_974_657
"""Milliseconds, of the ids of X."""


def demand(network: str = "facebook", at: datetime = ASKED) -> RawEvent:
    """Return a demand as the gateway stores it."""
    milliseconds = int(at.timestamp() * 1000)
    told: dict[str, Any] = {
        "facebook": {
            "user_id": USER,
            "requested_at": milliseconds,
            "code": f"c{milliseconds}",
            "reason": "deletion",
        },
        "x": {"data": {"user_delete": {"user": {"id": USER}, "event_at": f"{at:%FT%T}.000Z"}}},
    }[network]
    return stored(network, told, {"via": "deletion"} if network == "facebook" else {}, at)


def post(text: str, at: datetime) -> RawEvent:
    """Return a post of X by the person."""
    own_id = (int(at.timestamp() * 1000) - SNOWFLAKES_BEGIN) << 22
    return stored("x", {"data": {"id": str(own_id), "text": text, "author_id": USER}}, {}, at)


def stored(network: str, told: Any, context: dict[str, str], at: datetime) -> RawEvent:
    """Return the raw event of what a network told."""
    piece = NativeObject(msgspec.json.encode(told), context)
    identity = installed_network(network).identify(piece.native, context)
    received = at + timedelta(seconds=2)
    return raw_event(network, piece, identity, connector="gateway", received_at=received)


class Desk(House):
    """A house that follows what it writes, as it does in Kafka."""

    def __init__(self, key: Key | None = KEY) -> None:
        super().__init__(suppressed=Suppressed(key))

    def hear(self, *demands: RawEvent) -> list[tuple[Fate, str]]:
        """Let demands come, and follow what they begin."""
        for each in demands:
            self.broker.append(raw_output(each))
        return self.run()

    def run(self) -> list[tuple[Fate, str]]:
        """Read to the end."""
        told = super().run()
        for message in self.broker.messages(Topic.SUPPRESSIONS):
            self.suppressed.take(message.key, codec.decode(Suppression, message.value))
        return told

    def begun(self) -> list[Suppression]:
        """Return the erasures that were told."""
        return [
            codec.decode(Suppression, message.value)
            for message in self.broker.messages(Topic.SUPPRESSIONS)
        ]


@pytest.mark.parametrize("network", ["facebook", "x"])
def test_a_demand_begins_an_erasure_of_what_was_said_until_then(network):
    desk = Desk()
    ((fate, _),) = desk.hear(demand(network))
    assert fate is Fate.DISCARDED
    assert desk.begun() == [KEY.suppression("author", f"{network}:{USER}", ASKED)]
    (message,) = desk.broker.messages(Topic.SUPPRESSIONS)
    assert message.key == desk.begun()[0].subject.encode()
    for part in (message.key, message.value, *(value for _, value in message.headers)):
        assert USER.encode() not in part
    assert desk.suppressed.holds("o", f"{network}:{USER}", ASKED, ASKED)
    later = ASKED + timedelta(seconds=1)
    assert not desk.suppressed.holds("o", f"{network}:{USER}", later, later)


def test_cases_of_who_is_gone_go_by_themselves_and_come_back_in_no_replay():
    desk = Desk()
    desk.hear(post("nordlicht: Geheimes Wort, kein Internet!", NOON))
    assert desk.authors() == {f"x:{USER}"}
    desk.hear(demand("x"))
    desk.run()
    assert desk.authors() == set()
    desk.understand.replay()
    desk.care.replay()
    assert (Fate.DISCARDED, "erased") in desk.run()
    assert desk.authors() == set()
    desk.hear(post("nordlicht: ein neues Anliegen!", ASKED + timedelta(minutes=1)))
    assert desk.authors() == {f"x:{USER}"}


def test_a_demand_that_comes_again_in_a_replay_or_twice_begins_nothing_anew():
    desk = Desk()
    desk.hear(demand())
    desk.hear(demand())
    desk.understand.replay()
    desk.run()
    assert len(desk.begun()) == 1


def test_an_old_demand_never_takes_the_place_of_a_later_one():
    """Kafka keeps the record of a subject that was written last."""
    desk, later = Desk(), ASKED + timedelta(hours=1)
    desk.hear(demand(at=later))
    desk.hear(demand(at=ASKED))
    assert [each.erased_at for each in desk.begun()] == [later]
    desk.hear(demand(at=later + timedelta(hours=1)))
    assert [each.erased_at for each in desk.begun()] == [later, later + timedelta(hours=1)]


def test_without_a_key_a_demand_is_counted_and_begins_once_there_is_one():
    desk = Desk(None)
    assert desk.hear(demand()) == [(Fate.DISCARDED, "erasure_without_key")]
    assert desk.begun() == []
    desk.suppressed = Suppressed(KEY)
    desk.understand.replay()
    desk.run()
    assert [each.erased_at for each in desk.begun()] == [ASKED]


def test_what_lies_in_the_future_erases_nothing_that_is_yet_to_come():
    """A sender's clock that is ahead does not make a person unheard."""
    desk = Desk()
    received = NOON
    ahead = msgspec.structs.replace(demand(at=NOON + timedelta(days=9)), received_at=received)
    desk.hear(ahead)
    assert [each.erased_at for each in desk.begun()] == [received]
