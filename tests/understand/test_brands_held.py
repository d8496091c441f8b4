"""A brand whose newest configuration cannot be read: its events wait, nothing of them is lost."""

import asyncio

import pytest

from klingel.config.brands import HeldBrands
from klingel.contracts.topics import Topic
from klingel.errors import SourceUnavailable
from klingel.stage.fates import Fate
from klingel_processors.app import BatchService

from ..ringing import brand, generic, ring


def test_events_wait_until_every_brand_can_be_read_and_are_heard_then(desk):
    """Understand cannot know whose they are: it would discard them as heard by nobody."""
    readable = {"nordlicht": brand("nordlicht")}
    desk.brands = HeldBrands(readable, frozenset({"kuestenstrom"}))
    desk.put(ring(generic("1", "hallo kuestenstrom")), ring(generic("2", "hallo nordlicht")))
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            desk.stage.drain()
    assert not desk.broker.messages(Topic.SOCIAL_EVENTS)
    assert not desk.letters()
    desk.brands = {**readable, "kuestenstrom": brand("kuestenstrom")}
    assert [outcome.fate for outcome in desk.stage.drain()] == [Fate.DELIVERED] * 2
    assert {event.brand for event in desk.social()} == {"nordlicht", "kuestenstrom"}


class _Loop:
    """What readiness asks of the loop."""

    ready = True


async def _nothing() -> None:
    await asyncio.sleep(0)


async def test_a_worker_that_cannot_read_a_brand_is_not_ready():
    refused = 0
    service = BatchService(_nothing, _Loop, (), lambda: refused)
    assert not service.ready, "nothing is built yet"
    service.batch_loop = _Loop()
    assert service.ready
    refused = 1
    assert not service.ready
    assert service.refused == 1
