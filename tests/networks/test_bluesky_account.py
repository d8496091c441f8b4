"""The client of an account of Bluesky against a host that misbehaves, over loopback."""

import json
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from klingel.errors import ConfigurationError, CredentialsRejected, RateLimited, SourceUnavailable
from klingel_networks.arrival import Arrival, Credential, Gap, GapClosed, Tools
from klingel_networks.bluesky import NETWORK
from klingel_networks.bluesky.account import NEWS, PAGE, PAGES, TALKS, BlueskyAccount
from klingel_networks.bluesky.client import account_of, connect, connect_account
from klingel_networks.bluesky.session import AccountOptions
from klingel_networks.mapped import map_delivery
from klingel_networks.registry import installed
from klingel_simulator.bluesky_host import BlueskyHost, notification_of

NOON = datetime(2026, 7, 4, 12, tzinfo=UTC)
ERIKA = "did:plc:" + "e" * 24
CONVO = "3kt4jgm5nc32q"


@pytest.fixture
async def host():
    async with BlueskyHost() as running:
        yield running


def client_of(host, **more):
    """Return a client of the host's account."""
    options = {"deadline_seconds": 5.0} | more
    return BlueskyAccount(
        AccountOptions(host.url, "nordlicht.example", SecretStr(host.password), **options)
    )


async def round_of(client, channel, cursor=None):
    """Return what one round yields."""
    async with aclosing(client.poll(channel, cursor)) as found:
        return [each async for each in found]


def arrivals(told):
    """Return the arrivals that hold something."""
    return [each for each in told if isinstance(each, Arrival) and each.delivery is not None]


def cursor_of(told):
    """Return where to resume."""
    return [each.cursor for each in told if isinstance(each, Arrival)][-1]


def events(told):
    """Return the events of what was told."""
    found = [
        map_delivery(NETWORK, each.delivery.body, each.delivery.context) for each in arrivals(told)
    ]
    assert all(each["fate"] == "delivered" for many in found for each in many), found
    return [each["event"] for many in found for each in many]


async def test_the_first_round_is_history_and_the_next_tell_what_is_new(host):
    """Oldest first, each once; what was there before opens nothing."""
    for minute in range(150):
        host.notify(notification_of(minute, NOON + timedelta(minutes=minute)))
    client = client_of(host)
    first = await round_of(client, NEWS)
    assert isinstance(first[0], Credential)
    assert {each.mode for each in arrivals(first)} == {"backfill"}
    texts = [each["text"] for each in events(first)]
    assert texts == [f"Hallo {minute}" for minute in range(150)]
    cursor = cursor_of(first)
    assert arrivals(await round_of(client, NEWS, cursor)) == []
    host.notify(notification_of(150, NOON + timedelta(minutes=150), reason="reply"))
    host.notify(notification_of(151, NOON + timedelta(minutes=151), reason="like"))
    again = await round_of(client, NEWS, cursor)
    assert [each["text"] for each in events(again)] == ["Hallo 150"]
    assert {each.mode for each in arrivals(again)} == {"live"}
    (event,) = events(again)
    assert event["object_id"].startswith(f"bluesky:network:at://{ERIKA}/app.bsky.feed.post/")
    assert event["author"] == {"id": ERIKA, "handle": "erika.example", "name": "Erika"}


async def test_what_did_not_become_durable_is_told_again(host):
    """A step back of the cursor, in the same process or another, forgets nothing."""
    host.notify(notification_of(0, NOON))
    client = client_of(host)
    cursor = cursor_of(await round_of(client, NEWS))
    host.notify(notification_of(1, NOON + timedelta(seconds=90)))
    host.notify(notification_of(2, NOON + timedelta(seconds=90)))
    told = await round_of(client, NEWS, cursor)
    assert [each["text"] for each in events(told)] == ["Hallo 1", "Hallo 2"]
    # the first became durable, the second did not: the lease went to and fro
    for resumed in (client, client_of(host)):
        again = await round_of(resumed, NEWS, arrivals(told)[0].cursor)
        assert "Hallo 2" in [each["text"] for each in events(again)]


async def test_history_that_was_not_read_to_its_end_is_read_anew(host):
    """Killed within the first round, the next process begins it again."""
    for minute in range(3):
        host.notify(notification_of(minute, NOON + timedelta(minutes=minute)))
        host.say(CONVO, ERIKA, f"Hallo {minute}", NOON + timedelta(minutes=minute))
    for channel in (NEWS, TALKS):
        told = arrivals(await round_of(client_of(host), channel))
        again = arrivals(await round_of(client_of(host), channel, told[0].cursor))
        assert [each.mode for each in again] == ["backfill"] * 3
        assert [each.delivery for each in again] == [each.delivery for each in told]


async def test_more_than_a_round_reads_is_a_gap(host):
    """The newest are read, the gap is told once and has a beginning."""
    host.notify(notification_of(0, NOON))
    client = client_of(host)
    cursor = cursor_of(await round_of(client, NEWS))
    for number in range(1, PAGE * PAGES + 2):
        host.notify(notification_of(number, NOON + timedelta(seconds=100 + number)))
    told = await round_of(client, NEWS, cursor)
    assert [type(each) for each in told[:2]] == [Gap, Arrival]
    assert (told[0].cause, told[0].key, told[0].began_at) == ("page_limit", "", NOON)
    assert len(arrivals(told)) == PAGE * PAGES


async def test_messages_come_by_the_log_and_are_those_of_the_history(host):
    """Said, reacted to, deleted: one object on both ways; our own word is outbound."""
    first = host.say(CONVO, ERIKA, "Wo bleibt der Techniker?", NOON)
    client = client_of(host)
    history = await round_of(client, TALKS)
    (known,) = events(history)
    assert (known["kind"], known["visibility"]) == ("direct_message", "private")
    cursor = cursor_of(history)
    host.say(CONVO, host.did, "Morgen um acht.", NOON + timedelta(minutes=1))
    host.react(CONVO, first, "👍", NOON + timedelta(minutes=2))
    host.delete(CONVO, first)
    answer, reaction, gone = events(await round_of(client, TALKS, cursor))
    assert (answer["direction"], answer["target"]) == ("outbound", ERIKA)
    assert answer["conversation_id"] == known["conversation_id"]
    assert (reaction["kind"], reaction["in_reply_to"]) == ("reaction", known["object_id"])
    assert (gone["change"], gone["object_id"]) == ("deleted", known["object_id"])
    assert "text" not in gone
    # whom we talk to was asked once, by the history
    assert "chat.bsky.convo.getConvo" not in host.calls


async def test_whom_we_write_to_is_asked_once(host):
    """Of a conversation that no history told of."""
    client = client_of(host)
    cursor = cursor_of(await round_of(client, TALKS))
    host.say(CONVO, ERIKA, "Hallo", NOON)
    for minute in range(2):
        host.say(CONVO, host.did, "Guten Tag", NOON + timedelta(minutes=minute))
    told = events(await round_of(client, TALKS, cursor))
    assert [each["target"] for each in told] == [host.did, ERIKA, ERIKA]
    assert host.calls.count("chat.bsky.convo.getConvo") == 1


async def test_a_long_log_is_read_to_its_end_in_order(host):
    """Page by page, none twice."""
    client = client_of(host)
    cursor = cursor_of(await round_of(client, TALKS))
    for number in range(130):
        host.say(CONVO, ERIKA, f"{number}", NOON + timedelta(seconds=number))
    told = await round_of(client, TALKS, cursor)
    assert [each["text"] for each in events(told)] == [f"{number}" for number in range(130)]
    assert arrivals(await round_of(client, TALKS, cursor_of(told))) == []


async def test_a_log_that_forgot_us_is_made_good_from_the_conversations(host):
    """The gap is opened, filled as far as can be, and closed as partial."""
    client = client_of(host)
    cursor = cursor_of(await round_of(client, TALKS))
    host.say(CONVO, ERIKA, "Hört mich jemand?", NOON)
    host.wrong.forgotten = "3"
    told = await round_of(client, TALKS, cursor)
    gap, *middle, closed, passed = told
    # Its end is told before the cursor passes it: who is killed between tells it again.
    assert (passed.cursor, passed.delivery) == (closed.end, None)
    assert (type(gap), type(closed)) == (Gap, GapClosed)
    assert (gap.cause, gap.key) == ("cursor_invalid", closed.key)
    assert closed.outcome == "partial"
    assert [each.mode for each in arrivals(middle)] == ["gap_fill"]
    host.wrong.forgotten = ""
    assert arrivals(await round_of(client, TALKS, cursor_of(told))) == []


@pytest.mark.parametrize("refused", [False, True])
async def test_a_session_that_ended_is_renewed_within_the_call(host, refused):
    """By its renewal; where that is refused, from the app password. Nobody notices."""
    client = client_of(host)
    cursor = cursor_of(await round_of(client, NEWS))
    host.notify(notification_of(1, datetime.now(UTC)))
    host.wrong.expired, host.wrong.renewal_refused = True, refused
    assert len(arrivals(await round_of(client, NEWS, cursor))) == 1
    assert host.calls.count("com.atproto.server.refreshSession") == 1
    assert host.calls.count("com.atproto.server.createSession") == 1 + refused


async def test_two_channels_log_in_once(host):
    """Their host counts logins."""
    client = client_of(host)
    for channel in client.channels():
        await round_of(client, channel)
    assert host.calls.count("com.atproto.server.createSession") == 1


@pytest.mark.parametrize(
    ("wrong", "channel", "error"),
    [
        ({"revoked": True}, NEWS, CredentialsRejected),
        ({"no_messages": True}, TALKS, CredentialsRejected),
        ({"broken": True}, NEWS, SourceUnavailable),
        ({"half_closed": 1}, NEWS, SourceUnavailable),
        ({"stalls": True}, NEWS, SourceUnavailable),
        ({"refuse_calls": 1}, NEWS, RateLimited),
        ({"refuse_calls": 1, "with_reset": False}, TALKS, RateLimited),
    ],
)
async def test_refusals_say_what_they_mean(host, wrong, channel, error):
    """Revoked, without the grant, broken, silent, too many calls with and without a time."""
    client = client_of(host, deadline_seconds=0.3 if "stalls" in wrong else 5.0)
    for name, value in wrong.items():
        setattr(host.wrong, name, value)
    with pytest.raises(error) as caught:
        await round_of(client, channel)
    assert host.password not in str(caught.value)
    if error is RateLimited:
        assert 0 < caught.value.retry_after <= 60


async def test_without_the_grant_notifications_are_heard_all_the_same(host):
    """Each channel fails for itself, and no login is spent on it."""
    host.notify(notification_of(1, NOON))
    host.wrong.no_messages = True
    client = client_of(host)
    for _ in range(2):
        with pytest.raises(CredentialsRejected, match="direct messages"):
            await round_of(client, TALKS)
    assert len(arrivals(await round_of(client, NEWS))) == 1
    assert host.calls.count("com.atproto.server.createSession") == 1


async def test_the_doctor_names_what_is_wrong(host):
    """Each finding that is not well says what to do."""
    assert {each.state for each in await client_of(host).examined()} == {"ok"}
    host.wrong.no_messages = True
    states = {each.check: each.state for each in await client_of(host).examined()}
    assert states == {"credentials": "ok", "permissions: direct messages": "failed"}
    host.wrong.revoked = True
    assert [each.state for each in await client_of(host).examined()] == ["failed"]
    host.wrong.revoked, host.wrong.broken = False, True
    assert [each.state for each in await client_of(host).examined()] == ["unknown"]


async def test_a_host_elsewhere_is_followed_only_where_it_is_as_safe(host):
    """The account's own document names it; a less safe address is not taken."""
    client = client_of(host)
    told = json.dumps(
        {
            "did": host.did,
            "accessJwt": "a",
            "refreshJwt": "r",
            "didDoc": {"service": [{"id": "#atproto_pds", "serviceEndpoint": "ftp://evil"}]},
        }
    ).encode()
    assert client._account._read(told).host == host.url


def test_settings_are_those_of_the_manifest():
    """Without an account the stream alone is read; half of one is a mistake."""
    manifest = installed().manifest("bluesky")
    given = {"identifier": "nordlicht.example", "app_password": "x"}
    assert account_of(manifest.configure({}), Tools()) is None
    assert connect(manifest.configure({}), Tools()).source == "jetstream"
    account = connect_account(manifest.configure(given), Tools())
    assert account.channels() == [NEWS, TALKS]
    quiet = connect_account(manifest.configure(given | {"direct_messages": "false"}), Tools())
    assert quiet.channels() == [NEWS]
    for half in ({}, {"identifier": "x"}, {"app_password": "x"}):
        with pytest.raises(ConfigurationError, match="identifier"):
            connect_account(manifest.configure(half), Tools())
    with pytest.raises(ConfigurationError, match="address"):
        connect_account(manifest.configure(given | {"service": "bsky.social"}), Tools())
