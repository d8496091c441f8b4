"""The client of Mastodon against an instance that misbehaves."""

import asyncio
import json
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klingel.errors import ConfigurationError, CredentialsRejected, RateLimited, SourceUnavailable
from klingel_networks.arrival import Arrival, Gap, GapClosed, Tools
from klingel_networks.mapped import map_delivery
from klingel_networks.mastodon import NETWORK
from klingel_networks.mastodon.client import MastodonClient, MastodonOptions, connect
from klingel_networks.mastodon.position import Position, id_of
from klingel_networks.registry import installed
from klingel_simulator.mastodon_server import MastodonServer

NOON = datetime(2026, 7, 4, 12, tzinfo=UTC)


def said(server: MastodonServer, minute: float, **more: Any) -> dict[str, Any]:
    """Return a status of that minute."""
    at = NOON + timedelta(minutes=minute)
    return {
        "id": server.next_id(at),
        "created_at": at.isoformat().replace("+00:00", "Z"),
        "visibility": "public",
        "spoiler_text": "",
        "content": f"<p>{minute}</p>",
        "account": {"id": "2", "acct": "anna"},
        "in_reply_to_id": None,
    } | more


def client_of(server: MastodonServer, deadline_seconds: float = 5.0, **more: Any) -> MastodonClient:
    """Return a client of the instance."""
    options = MastodonOptions(server.url, server.token, deadline_seconds=deadline_seconds, **more)
    return MastodonClient(options)


async def hear(client: MastodonClient, cursor: str | None, until: int) -> list[Any]:
    """Return what arrives until so many objects did."""
    heard: list[Any] = []
    async with asyncio.timeout(10), aclosing(client.arrivals(cursor)) as arrivals:
        async for each in arrivals:
            heard.append(each)
            if sum(isinstance(one, Arrival) and one.delivery is not None for one in heard) >= until:
                break
    return heard


def objects(heard: list[Any]) -> list[dict[str, Any]]:
    """Return the events of what was heard."""
    arrived = [each for each in heard if isinstance(each, Arrival) and each.delivery is not None]
    told = [map_delivery(NETWORK, each.delivery.body, each.delivery.context) for each in arrived]
    return [each["event"] for many in told for each in many]


async def start(client: MastodonClient, server: MastodonServer) -> tuple[Any, str]:
    """Return the arrivals of a connection that has caught up, and the cursor there."""
    arrivals = client.arrivals(None)
    async for each in arrivals:
        return arrivals, each.cursor
    raise AssertionError("nothing was told")


async def test_what_happens_is_heard_as_it_happens() -> None:
    """Statuses, notifications, edits and deletions, with the root of the thread."""
    async with MastodonServer() as server:
        first, client = said(server, 0), client_of(server)
        server.publish(first)
        arrivals, _ = await start(client, server)
        answer = said(server, 1, in_reply_to_id=first["id"])
        server.notify(
            {
                "id": "77",
                "type": "mention",
                "created_at": answer["created_at"],
                "account": answer["account"],
                "status": answer,
            }
        )
        heard = [await anext(arrivals)]
        server.edit(answer | {"edited_at": "2026-07-04T12:05:00Z"})
        server.delete(answer["id"])
        heard += [await anext(arrivals) for _ in range(2)]
        await arrivals.aclose()
        events = objects(heard)
        assert [each["change"] for each in events] == ["created", "updated", "deleted"]
        assert len({each["object_id"] for each in events}) == 1
        assert events[0]["conversation_id"].endswith(first["id"])
        assert server.calls.count(f"/api/v1/statuses/{answer['id']}/context") == 1
        assert Position.decode(heard[-1].cursor).seen["notifications"] == 77


async def test_what_the_stream_did_not_bring_is_read_again() -> None:
    """A gap is told, filled oldest first, and closed; nothing is lost."""
    async with MastodonServer() as server:
        server.publish(said(server, 0))
        arrivals, cursor = await start(client_of(server), server)
        await arrivals.aclose()
        missed = [said(server, 10 + n / 60) for n in range(95)]
        for status in missed:
            server.publish(status)
        heard = await hear(client_of(server), cursor, 96)  # the overlap reads the first again
        kinds = [type(each).__name__ for each in heard]
        assert kinds[0] == "Gap"
        assert [each["object_id"].split(":")[-1] for each in objects(heard)][-95:] == [
            status["id"] for status in missed
        ]
        arrived = [each for each in heard if isinstance(each, Arrival)]
        assert {each.mode for each in arrived} == {"gap_fill"}
        closed = await _closing(client_of(server), cursor)
        assert closed.outcome == "filled"
        assert closed.key == heard[0].key


async def _closing(client: MastodonClient, cursor: str) -> GapClosed:
    async with asyncio.timeout(10), aclosing(client.arrivals(cursor)) as arrivals:
        async for each in arrivals:
            if isinstance(each, GapClosed):
                return each
    raise AssertionError("the gap stays open")


async def test_a_status_that_comes_late_is_within_the_overlap() -> None:
    """Another instance's status has the id of the moment at which it was written."""
    async with MastodonServer() as server:
        server.publish(said(server, 10))
        arrivals, cursor = await start(client_of(server), server)
        await arrivals.aclose()
        late = said(server, 7)
        server.publish(late)
        heard = await hear(client_of(server), cursor, 1)
        assert objects(heard)[0]["object_id"].endswith(late["id"])


async def test_hashtags_have_their_streams() -> None:
    """What is heard twice is the same object."""
    async with MastodonServer() as server:
        client = client_of(server, hashtags=("netz",))
        arrivals, _ = await start(client, server)
        status = said(server, 1)
        server.publish(status, "tag:netz")
        server.publish(status)
        heard = [await anext(arrivals) for _ in range(2)]
        await arrivals.aclose()
        first, second = objects(heard)
        assert first["event_id"] == second["event_id"]
        assert set(Position.decode(heard[1].cursor).seen) == {"home", "notifications", "tag:netz"}


async def test_a_silent_stream_is_dead() -> None:
    """Not even a sign of life comes."""
    async with MastodonServer(thump_seconds=0.02) as server:
        server.wrong.silent = True
        with pytest.raises(SourceUnavailable, match="silent"):
            await hear(client_of(server, deadline_seconds=0.2), None, 1)


async def test_signs_of_life_keep_a_quiet_stream() -> None:
    """Comments are no events; they hold the connection beyond the deadline."""
    async with MastodonServer(thump_seconds=0.05) as server:
        arrivals, _ = await start(client_of(server, deadline_seconds=0.3), server)
        waiting = asyncio.create_task(anext(arrivals))
        await asyncio.wait({waiting}, timeout=0.8)
        assert not waiting.done()
        server.publish(said(server, 1))
        assert len(objects([await waiting])) == 1
        await arrivals.aclose()


async def test_half_an_event_is_none_and_is_read_again() -> None:
    """The stream ends within a line; the reconnection reads the status whole."""
    async with MastodonServer() as server:
        server.publish(said(server, 0))
        arrivals, cursor = await start(client_of(server), server)
        server.wrong.half_a_line = True
        lost = said(server, 1)
        server.publish(lost)
        with pytest.raises(SourceUnavailable):
            await anext(arrivals)
        heard = await hear(client_of(server), cursor, 2)
        assert objects(heard)[-1]["object_id"].endswith(lost["id"])


async def test_garbage_is_an_arrival_that_moves_nothing() -> None:
    """The mapping refuses it with a reason; the stream goes on."""
    async with MastodonServer() as server:
        arrivals, cursor = await start(client_of(server), server)
        server.wrong.garbage = True
        server.publish(said(server, 1))
        server.publish(said(server, 2))
        broken, whole = await anext(arrivals), await anext(arrivals)
        await arrivals.aclose()
        assert broken.cursor == cursor
        (told,) = map_delivery(NETWORK, broken.delivery.body, broken.delivery.context)
        assert told["fate"] == "dead_lettered"
        assert len(objects([whole])) == 1


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"revoked": True}, CredentialsRejected),
        ({"missing_scope": True}, CredentialsRejected),
        ({"broken": True}, SourceUnavailable),
        ({"refuse_calls": 1}, RateLimited),
        ({"refuse_calls": 1, "with_reset": False}, RateLimited),
    ],
)
async def test_refusals_say_what_they_mean(wrong: dict[str, Any], error: type[Exception]) -> None:
    """Revoked, without scope, broken, too many calls with and without a time."""
    async with MastodonServer() as server:
        for name, value in wrong.items():
            setattr(server.wrong, name, value)
        with pytest.raises(error) as caught:
            await hear(client_of(server), None, 1)
        if error is RateLimited:
            assert 0 < caught.value.retry_after <= 60
        assert server.token not in str(caught.value)


async def test_the_doctor_names_what_is_wrong() -> None:
    """Each finding that is not well says what to do."""
    async with MastodonServer() as server:
        healthy = await client_of(server).examined()
        assert {each.state for each in healthy} == {"ok"}
        server.wrong.revoked = True
        assert {each.state for each in await client_of(server).examined()} == {"failed"}


async def test_settings_are_those_of_the_manifest() -> None:
    """The token stays wrapped until it is used; a wrong address gets a sentence."""
    manifest = installed().manifest("mastodon")
    given = {"access_token": "t", "instance": "https://social.example/", "hashtags": "#Netz, dsl"}
    client = connect(manifest.configure(given), Tools())
    assert client.source == "social.example"
    with pytest.raises(ConfigurationError, match="address"):
        connect(manifest.configure(given | {"instance": "social.example"}), Tools())


@pytest.mark.parametrize("text", [None, "", "abc", "1" * 40, "-1", "\u0661"])
async def test_ids_that_do_not_order_move_nothing(text: str | None) -> None:
    """Other servers have such."""
    assert id_of(text) is None
    assert json.loads(Position({"home": 5}).after("home", 3).encode()) == {"home": 5}


def test_a_position_keeps_the_gap_that_is_being_filled() -> None:
    """Through a restart, and however far it is filled; an older cursor has none."""
    begun = Position({"home": 5, "notifications": 3}).filling()
    moved = Position.decode(begun.after("home", 9).encode())
    assert moved.since == moved.filling().since == begun.since == 5
    assert moved.seen == {"home": 9, "notifications": 3}
    assert Position.decode(moved.filled().encode()) == Position(moved.seen)
    assert Position.decode('{"home":5}') == Position({"home": 5})


async def test_a_gap_whose_filling_was_broken_off_is_the_same_gap() -> None:
    """What was filled moves the cursor, not the gap: it is told again under its name, and closed."""
    async with MastodonServer() as server:
        client = client_of(server)
        begun = (await hear(client, None, 0))[-1].cursor
        for minute in (1, 2):
            server.publish(said(server, minute))
        told: list[Any] = []

        async def broken_off() -> None:
            async with aclosing(client.arrivals(begun)) as arrivals:
                async for each in arrivals:
                    told.append(each)
                    server.wrong.broken = isinstance(each, Arrival)

        with pytest.raises(SourceUnavailable):
            await broken_off()
        server.wrong.broken = False
        cursor = told[-1].cursor
        assert cursor != begun
        async with aclosing(client.arrivals(cursor)) as arrivals:
            async for each in arrivals:
                told.append(each)
                if isinstance(each, Arrival) and each.delivery is None:
                    break
    first, second = (each for each in told if isinstance(each, Gap))
    ended = [each for each in told if isinstance(each, GapClosed)]
    assert first == second
    assert [(each.key, each.outcome) for each in ended] == [(first.key, "filled")]
    assert Position.decode(told[-1].cursor).since is None
