"""The client of Telegram against a Bot API that forgets what is confirmed."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    InvalidMessage,
    RateLimited,
    SourceUnavailable,
)
from klingel_networks.arrival import Arrival, Gap, Rest, Tools
from klingel_networks.registry import installed
from klingel_networks.telegram.client import (
    AGAIN_SECONDS,
    Position,
    TelegramClient,
    TelegramOptions,
    connect,
)
from klingel_simulator.telegram_server import TelegramServer


class Watch:
    """A clock that is turned by hand."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.ahead = 0.0

    def now(self) -> Any:
        """Return the time of day."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Return the turned time."""
        return self._clock.monotonic() + self.ahead


def client_of(server: TelegramServer, tools: Tools | None = None) -> TelegramClient:
    """Return a client of the bot that does not wait long."""
    return TelegramClient(TelegramOptions(server.token, server.url, wait_seconds=0), tools)


async def round_of(client: TelegramClient, cursor: str | None = None) -> list[Any]:
    """Return what one round yields."""
    async with asyncio.timeout(5), aclosing(client.poll("42", cursor)) as arrivals:
        return [each async for each in arrivals]


async def test_nothing_is_confirmed_before_it_is_durable() -> None:
    """The cursor of the round is what Telegram hears; what was told is not told twice."""
    async with TelegramServer() as server:
        first = await server.tell(message={"text": "a"})
        client = client_of(server)
        (heard,) = await round_of(client)
        assert heard.delivery.context == {"channel": "42"}
        assert server.waiting == [first]
        assert await round_of(client) == [Rest(0.5)]
        second = await server.tell(message={"text": "b"})
        (again,) = await round_of(client, heard.cursor)
        assert server.waiting == [second]
        assert Position.decode(again.cursor).update_id == second


async def test_after_a_kill_what_was_not_durable_is_told_again() -> None:
    """Telegram still has it; so does a client that waits in vain."""
    async with TelegramServer() as server:
        await server.tell(message={"text": "a"})
        watch = Watch(Tools().clock)
        client = client_of(server, Tools(clock=watch))
        (heard,) = await round_of(client)
        (told,) = await round_of(client_of(server))
        assert told.delivery.body == heard.delivery.body
        watch.ahead = AGAIN_SECONDS + 1
        (again,) = await round_of(client)
        assert again.delivery.body == heard.delivery.body


async def test_dropped_updates_are_a_gap_that_nothing_fills() -> None:
    """Told once, before what follows it."""
    async with TelegramServer() as server:
        for word in "abcd":
            await server.tell(message={"text": word})
        client = client_of(server)
        heard = await round_of(client)
        for word in "efgh":
            await server.tell(message={"text": word})
        server.drop(6)
        gap, *rest = await round_of(client_of(server), heard[3].cursor)
        assert isinstance(gap, Gap)
        assert gap.key == ""
        assert all(isinstance(each, Arrival) for each in rest)
        assert len(rest) == 2


async def test_a_webhook_forbids_to_poll() -> None:
    """Never both at once: one sentence says what to do."""
    async with TelegramServer(webhook="https://klingel.example/hook/telegram") as server:
        with pytest.raises(ConfigurationError, match="deleteWebhook"):
            await round_of(client_of(server))
        (finding,) = [
            each for each in await client_of(server).examined() if each.check == "subscription"
        ]
        assert finding.state == "failed"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"revoked": True}, CredentialsRejected),
        ({"taken": True}, SourceUnavailable),
        ({"broken": True}, SourceUnavailable),
        ({"half": True}, SourceUnavailable),
        ({"refuse_calls": 1}, RateLimited),
        ({"refuse_calls": 1, "retry_after": None}, RateLimited),
    ],
)
async def test_refusals_say_what_they_mean(wrong: dict[str, Any], error: type[Exception]) -> None:
    """And never what the token is."""
    async with TelegramServer() as server:
        await server.tell(message={"text": "a"})
        for name, value in wrong.items():
            setattr(server.wrong, name, value)
        with pytest.raises(error) as caught:
            await round_of(client_of(server))
        assert "canary" not in str(caught.value)
        if error is RateLimited:
            assert caught.value.retry_after == (3 if "retry_after" not in wrong else 60)
        else:
            server.wrong.taken = server.wrong.broken = server.wrong.revoked = False
            assert len(await round_of(client_of(server))) == 1


async def test_a_file_has_an_address_for_an_hour() -> None:
    """Asked for by the media worker."""
    async with TelegramServer() as server:
        found = await client_of(server).address("telegram:42/7:1", "f1", None)
        assert found.url.endswith("/photos/f1.jpg")
        with pytest.raises(InvalidMessage):
            await client_of(server).address("telegram:42/7:1", "gone", None)


async def test_the_doctor_finds_a_healthy_bot() -> None:
    """And one whose token is gone."""
    async with TelegramServer() as server:
        assert {each.state for each in await client_of(server).examined()} == {"ok"}
        server.wrong.revoked = True
        (finding,) = await client_of(server).examined()
        assert (finding.check, finding.state) == ("credentials", "failed")


def test_settings_are_those_of_the_manifest() -> None:
    """A token that is none gets a sentence without it."""
    manifest = installed().manifest("telegram")
    client = connect(manifest.configure({"token": "42:x"}), Tools())
    assert client.channels() == ["42"]
    with pytest.raises(ConfigurationError) as caught:
        connect(manifest.configure({"token": "canary"}), Tools())
    assert "canary" not in str(caught.value)
