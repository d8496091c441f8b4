"""Reconciliation, tokens and media of the Meta family against a Graph that misbehaves on command."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientTimeout, web
from pydantic import SecretStr

from klingel.clock import SystemClock
from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    InvalidMessage,
    RateLimited,
    SourceUnavailable,
)
from klingel_networks.arrival import Arrival, Credential, Gap, Tools, Unbounded
from klingel_networks.facebook import client as facebook
from klingel_networks.instagram import client as instagram
from klingel_networks.mapped import raw_event
from klingel_networks.messenger import client as messenger
from klingel_networks.meta import client as meta_client
from klingel_networks.meta import graph
from klingel_networks.meta.graph import GraphError, Trouble, classify
from klingel_networks.registry import installed
from klingel_networks.whatsapp import client as whatsapp
from klingel_simulator.meta_graph import GraphServer, Token, World

PAGE, FAN = "12345654332", "987654321432"
NOW = datetime(2026, 7, 4, 12, 0, tzinfo=UTC)
TOKEN, OWN_TOKEN, SECRET = "EAAtoken", "EAApage", "app secret of the tests"
ALL = tuple(
    {*facebook.PLAN.scopes, *messenger.PLAN.scopes, *instagram.PLAN.scopes, *whatsapp.PLAN.scopes}
)


class Clock(SystemClock):
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        """Return where it was set."""
        return self.at


class Limits(Unbounded):
    """Leave for everything; remembers what was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def heard(self, quota) -> None:
        """Remember it."""
        self.told.append(quota)


def world() -> World:
    return World(tokens={TOKEN: Token(ALL), OWN_TOKEN: Token(ALL)}, page_tokens={PAGE: OWN_TOKEN})


@asynccontextmanager
async def served(world: World):
    server = GraphServer(world)
    runner = web.AppRunner(server.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", server
    finally:
        server.release.set()
        await runner.cleanup()


def options(url: str, **more: Any) -> dict[str, Any]:
    given = {"token": SecretStr(TOKEN), "graph_url": url, "graph_version": "v24.0"}
    return given | {"accounts": PAGE, "numbers": PAGE, "back_days": 7, "app_secret": None} | more


def at(minutes: float) -> str:
    """Return a time so many minutes before now, as Graph writes it."""
    return (NOW - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S+0000")


def comment(own_id: int, minutes: float) -> dict[str, Any]:
    return {
        "id": f"1_{own_id}",
        "message": f"c{own_id}",
        "created_time": at(minutes),
        "from": {"id": FAN},
    }


async def round_of(client, cursor: str | None = None):
    """Return a whole round: ids in order, the reports, the next cursor, the modes."""
    ids, reports, modes = [], [], set()
    network = installed().network(client.source)
    async for each in client.poll(PAGE, cursor):
        if not isinstance(each, Arrival):
            reports.append(each)
        elif each.delivery is None:
            return ids, reports, each.cursor, modes
        else:
            assert each.cursor == (cursor or "")
            modes.add(each.mode)
            for piece in network.explode(each.delivery):
                identity = network.identify(piece.native, piece.context)
                draft = network.to_social_event(raw_event(client.source, piece, identity))
                assert draft.conversation_id or draft.threading == "root"
                ids.append(identity.object_id.split(":", 2)[2])
    raise AssertionError("a round ends with its cursor")


async def test_a_page_is_read_back_as_history_and_then_for_what_was_missed():
    known, clock = world(), Clock()
    known.put(
        f"{PAGE}/feed",
        {"id": f"{PAGE}_1", "created_time": at(60 * 24 * 20), "updated_time": at(30)},
    )
    known.put(f"{PAGE}/feed", {"id": f"{PAGE}_2", "created_time": at(90), "updated_time": at(90)})
    known.put(f"{PAGE}_1/comments", *(comment(each, 200 - each) for each in range(12)))
    known.put(f"{PAGE}_1/comments", comment(99, 60 * 24 * 8))
    known.put(
        f"{PAGE}/ratings",
        {"created_time": at(5), "reviewer": {"id": FAN}, "open_graph_story": {"id": "77"}},
    )
    known.page_size_most = 5
    async with served(known) as (url, _):
        client = facebook.connect(options(url), Tools(clock=clock))
        ids, reports, cursor, modes = await round_of(client)
        # Older posts are walked for their comments, but nothing older than a week is told.
        assert ids == [f"{PAGE}_2", *(f"1_{each}" for each in range(12)), "rating/77"]
        assert modes == {"backfill"}
        assert reports == [Credential()]

        clock.at += timedelta(minutes=5)
        known.put(f"{PAGE}_1/comments", comment(50, -2))
        known.things[f"{PAGE}_1"]["updated_time"] = at(-2)
        ids, reports, later, modes = await round_of(client, cursor)
        assert ids == ["1_50", "rating/77"]  # the overlap hears the last hour again
        assert (modes, reports, int(later) > int(cursor)) == ({"gap_fill"}, [], True)


async def test_conversations_are_read_in_the_order_in_which_they_were_held():
    known = world()
    known.put(f"{PAGE}/conversations", {"id": "t_1", "updated_time": at(1)})
    known.put(f"{PAGE}/conversations", {"id": "t_2", "updated_time": at(60 * 24 * 30)})
    for each in range(7):
        said = {
            "id": f"m_{each}",
            "created_time": at(20 - each),
            "from": {"id": FAN},
            "message": "x",
        }
        known.put("t_1/messages", said)
    known.put("t_2/messages", {"id": "m_old", "created_time": at(60 * 24 * 30)})
    known.page_size_most = 3
    async with served(known) as (url, _):
        client = messenger.connect(options(url), Tools(clock=Clock()))
        ids, _, _, _ = await round_of(client)
    assert ids == [f"m_{each}" for each in range(7)]
    assert "t_2/messages" not in known.calls


async def test_instagram_tells_comments_replies_and_messages():
    known = world()
    reply = {"id": "178002", "text": "Antwort", "timestamp": at(2), "parent_id": "178001"}
    known.put(f"{PAGE}/media", {"id": "179001", "timestamp": at(60 * 24 * 10), "comments_count": 2})
    known.put(f"{PAGE}/media", {"id": "179002", "timestamp": at(60), "comments_count": 0})
    known.put(
        "179001/comments",
        {"id": "178001", "text": "?", "timestamp": at(60 * 24 * 9), "replies": {"data": [reply]}},
    )
    known.put(f"{PAGE}/conversations", {"id": "t_1", "updated_time": at(1)})
    known.put(
        "t_1/messages",
        {"id": "m_1", "created_time": at(1), "from": {"id": PAGE}, "to": {"data": [{"id": FAN}]}},
    )
    async with served(known) as (url, _):
        client = instagram.connect(options(url), Tools(clock=Clock()))
        ids, _, _, _ = await round_of(client)
    assert ids == ["179002", "178002", "m_1"]


@pytest.mark.parametrize("fault", ["away", "transient", "half_close", "garbage"])
async def test_a_round_that_breaks_is_read_again_and_loses_nothing(fault):
    known = world()
    known.put(f"{PAGE}/feed", {"id": f"{PAGE}_1", "created_time": at(9), "updated_time": at(3)})
    known.put(f"{PAGE}_1/comments", comment(1, 5), comment(2, 4))
    async with served(known) as (url, _):
        client = facebook.connect(options(url), Tools(clock=Clock()))
        known.faults.extend(["", "", "", fault])
        with pytest.raises(SourceUnavailable) as caught:
            await round_of(client)
        assert TOKEN not in str(caught.value)
        ids, _, _, _ = await round_of(client)
    assert ids == [f"{PAGE}_1", "1_1", "1_2"]


async def test_a_stalled_answer_ends_by_the_time_out(monkeypatch):
    monkeypatch.setattr(meta_client, "_TIMEOUT", ClientTimeout(total=0.2))
    known = world()
    async with served(known) as (url, _):
        client = facebook.connect(options(url), Tools(clock=Clock()))
        known.faults.extend(["", "stall"])
        with pytest.raises(SourceUnavailable):
            await asyncio.wait_for(round_of(client), 5)


@pytest.mark.parametrize(("fault", "wait"), [("limited", 60.0), ("limited_with_hint", 180.0)])
async def test_too_many_calls_are_answered_with_patience(fault, wait):
    known, limits = world(), Limits()
    async with served(known) as (url, _):
        client = facebook.connect(options(url), Tools(clock=Clock(), permits=limits))
        known.usage = 37
        known.faults.extend(["", fault])
        with pytest.raises(RateLimited) as caught:
            await round_of(client)
    assert caught.value.retry_after == wait
    assert limits.told[0].remaining == 63


async def test_every_state_of_a_token_is_told_by_its_code():
    known = world()
    soon = int((NOW + timedelta(days=5)).timestamp())
    async with served(known) as (url, _):

        async def told(token: Token) -> Any:
            known.tokens[TOKEN] = token
            client = facebook.connect(options(url), Tools(clock=Clock()))
            reports = []
            try:
                async for each in client.poll(PAGE, None):
                    reports += [each]
            except CredentialsRejected as error:
                return reports, str(error)
            return reports, ""

        reports, sentence = await told(Token(ALL, soon))
        assert (reports[0].expires_at, sentence) == (NOW + timedelta(days=5), "")
        for subcode, words in ((460, "password"), (463, "expired"), (458, "removed the app")):
            reports, sentence = await told(Token(ALL, 0, (190, subcode)))
            assert reports[0].revoked
            assert words in reports[0].sentence
            assert str(subcode) in sentence
        reports, sentence = await told(Token(("pages_manage_metadata",)))
        assert "pages_read_engagement" in sentence
        reports, sentence = await told(Token(ALL, 0, (200, 0)))  # taken away from the page alone
        assert "permission" in sentence


async def test_a_token_that_dies_during_a_round_stops_it_there():
    known = world()
    async with served(known) as (url, _):
        client = facebook.connect(options(url), Tools(clock=Clock()))
        await round_of(client)
        known.tokens[OWN_TOKEN].trouble = (190, 492)
        with pytest.raises(CredentialsRejected, match="no role on the page"):
            await round_of(client, "0")


async def test_the_token_is_looked_at_once_a_day():
    known, clock = world(), Clock()
    async with served(known) as (url, _):
        client = whatsapp.connect(options(url), Tools(clock=clock))
        counts = []
        for _ in range(3):
            await round_of(client)
            counts.append(known.calls.count("debug_token"))
            clock.at += timedelta(hours=13)
    assert counts == [1, 1, 2]


async def test_what_has_too_many_pages_is_a_gap(monkeypatch):
    monkeypatch.setattr(meta_client, "MOST_PAGES", 2)
    known = world()
    known.put(
        f"{PAGE}/tagged", *({"id": f"9_{each}", "created_time": at(each)} for each in range(9))
    )
    known.page_size_most = 3
    async with served(known) as (url, _):
        client = facebook.connect(options(url), Tools(clock=Clock()))
        ids, reports, _, _ = await round_of(client)
    assert ids == [f"9_{each}" for each in reversed(range(6))]
    assert [type(each) for each in reports] == [Credential, Gap]
    assert reports[1].cause == "page_limit"


async def test_what_vanished_between_two_calls_does_not_end_the_round():
    known = world()
    known.put(
        f"{PAGE}/conversations",
        {"id": "t_1", "updated_time": at(1)},
        {"id": "t_2", "updated_time": at(2)},
    )
    known.put("t_1/messages", {"id": "m_1", "created_time": at(1), "from": {"id": FAN}})

    async with served(known) as (url, server):
        answered = server._refused
        server._refused = lambda request, token: (
            server._error(400, {"code": 100, "error_subcode": 33})
            if request.path.endswith("t_2/messages")
            else answered(request, token)
        )
        ids, _, _, _ = await round_of(messenger.connect(options(url), Tools(clock=Clock())))
    assert ids == ["m_1"]


async def test_calls_carry_the_proof_of_the_app_secret():
    known = world()
    known.app_secret = SECRET.encode()
    async with served(known) as (url, _):
        with pytest.raises((ConfigurationError, SourceUnavailable)):
            await round_of(facebook.connect(options(url), Tools(clock=Clock())))
        proved = options(url, app_secret=SecretStr(SECRET))
        await round_of(facebook.connect(proved, Tools(clock=Clock())))


async def test_a_medium_is_found_again_under_its_new_address():
    known, clock = world(), Clock()
    fresh = "https://scontent.xx.fbcdn.net/v/t1/1_2_n.jpg?oh=new"
    known.things["m_1"] = {
        "id": "m_1",
        "attachments": {"data": [{"id": "7", "image_data": {"url": fresh}}]},
    }
    known.things["4711"] = {"id": "4711", "url": "https://lookaside.fbsbx.com/w?mid=4711"}
    async with served(known) as (url, _):
        finder = messenger.addresses(options(url), Tools(clock=clock))
        old = fresh.replace("new", "old")
        assert (await finder.address("messenger:network:m_1", "file:1_2_n.jpg", old)).url == fresh
        assert (await finder.address("messenger:network:m_1", "7", None)).url == fresh
        for missing in ("m_1", "m_2"):
            with pytest.raises(InvalidMessage):
                await finder.address(f"messenger:network:{missing}", "file:other", None)
        found = await whatsapp.addresses(options(url), Tools(clock=clock)).address(
            "whatsapp:1:x", "4711", None
        )
    assert found.url == "https://lookaside.fbsbx.com/w?mid=4711"
    assert found.expires_at == NOW + timedelta(minutes=5)
    assert found.headers == {"Authorization": f"Bearer {TOKEN}"}


async def test_the_doctor_says_what_is_wrong_and_what_to_do():
    known = world()
    known.subscribed[PAGE] = ["feed"]
    async with served(known) as (url, _):
        found = {
            each.check: each for each in await facebook.examine(options(url), Tools(clock=Clock()))
        }
        assert (found["credentials"].state, found["permissions"].state) == ("ok", "ok")
        assert found["subscription"].state == "failed"
        assert "mention, ratings" in found["subscription"].sentence
        assert found["clock"].state == "warning"
        known.subscribed[PAGE] = list(facebook.PLAN.subscribed)
        found = {each.check: each for each in await facebook.examine(options(url), Tools())}
        assert {each.state for each in found.values()} == {"ok"}
        known.tokens[TOKEN].trouble = (190, 460)
        (only,) = [
            each
            for each in await facebook.examine(options(url), Tools())
            if each.check == "credentials"
        ]
        assert (only.state, "new access token" in only.remedy) == ("failed", True)


async def examined(network, known: World, **more: Any):
    """Return the findings of a network's doctor by what was looked at."""
    async with served(known) as (url, _):
        found = await network.examine(options(url, **more), Tools())
    assert all(each.remedy or each.state == "ok" for each in found)
    return {each.check: each for each in found}


@pytest.mark.parametrize("network", [facebook, messenger, instagram])
async def test_the_doctor_asks_for_every_field_that_an_account_needs(network):
    """Each field that `connector.yaml` tells to subscribe; what another app has is not ours."""
    known = world()
    known.other_apps[PAGE] = list(network.PLAN.subscribed)
    found = await examined(network, known)
    assert found["subscription"].state == "failed"
    assert found["subscription"].sentence == "the account is not subscribed to the app"
    told = " ".join(installed().manifest(network.PLAN.network).access)
    for missing in network.PLAN.subscribed:
        assert missing in told
        known.subscribed[PAGE] = [each for each in network.PLAN.subscribed if each != missing]
        found = await examined(network, known)
        assert found["subscription"].state == "failed"
        assert missing in found["subscription"].sentence
        assert missing in found["subscription"].remedy
    known.subscribed[PAGE] = list(network.PLAN.subscribed)
    assert {each.state for each in (await examined(network, known)).values()} == {"ok"}


async def test_the_doctor_asks_whatsapps_business_account_not_the_number():
    """The setting names it, else the token does; without either nobody can ask."""
    known = world()
    known.things[PAGE] = {"id": PAGE}
    found = await examined(whatsapp, known)
    assert (found["account"].state, found["subscription"].state) == ("ok", "unknown")
    assert "KLINGEL_WHATSAPP_BUSINESS_ACCOUNTS" in found["subscription"].remedy
    known.businesses["77"] = ["2"]
    found = await examined(whatsapp, known, business_accounts="77")
    assert found["subscription"].state == "failed"
    assert "POST" in found["subscription"].remedy
    known.tokens[TOKEN].granted["whatsapp_business_management"] = ["77"]
    assert (await examined(whatsapp, known))["subscription"].state == "failed"
    known.businesses["77"] = ["2", "1"]
    assert {each.state for each in (await examined(whatsapp, known)).values()} == {"ok"}
    with pytest.raises(ConfigurationError, match="business_accounts"):
        await examined(whatsapp, known, business_accounts="7 7")


@pytest.mark.parametrize("network", [facebook, instagram, whatsapp])
@pytest.mark.parametrize(
    ("refusal", "state", "remedy"),
    [((200, 0), "failed", "permission"), ((100, 33), "failed", "id belongs")],
)
async def test_the_doctor_tells_a_refused_subscription(network, refusal, state, remedy):
    known = world()
    known.things[PAGE] = {"id": PAGE}
    known.refused[f"{PAGE}/subscribed_apps"] = refusal
    found = await examined(network, known, business_accounts=PAGE)
    assert found["subscription"].state == state
    assert remedy in found["subscription"].remedy


async def test_a_login_that_cannot_ask_is_told_where_to_look():
    """Instagram behind a Facebook login has no such edge: not known is not wrong."""
    known = world()
    known.refused[f"{PAGE}/subscribed_apps"] = (100, 0)
    assert (await examined(facebook, known))["subscription"].state == "failed"
    found = (await examined(instagram, known))["subscription"]
    assert (found.state, "dashboard" in found.remedy) == ("unknown", True)
    assert "message_edit" in found.remedy


@pytest.mark.parametrize("network", [facebook, messenger, instagram, whatsapp])
@pytest.mark.parametrize("fault", ["half_close", "away", "transient", "garbage"])
async def test_a_subscription_that_cannot_be_reached_is_unknown_or_absent(network, fault):
    """Away is `unknown`; an answer that cannot be read names no app of ours."""
    known = world()
    known.things[PAGE] = {"id": PAGE}
    before = 3 if network.PLAN.page_token or network is whatsapp else 2
    known.faults.extend([""] * (before - 1) + [fault])
    found = (await examined(network, known, business_accounts="77"))["subscription"]
    assert found.state == ("failed" if fault == "garbage" else "unknown")


async def test_nobody_there_is_one_finding():
    """A Graph that does not answer at all: unknown, and nothing else is asked."""
    found = await facebook.examine(options("http://127.0.0.1:1"), Tools())
    assert [(each.check, each.state) for each in found] == [("credentials", "unknown")]


@pytest.mark.parametrize(
    ("status", "code", "subcode", "trouble"),
    [
        (401, 190, 463, Trouble.EXPIRED),
        (401, 190, 460, Trouble.REVOKED),
        (401, 190, None, Trouble.REVOKED),
        (401, 102, None, Trouble.REVOKED),
        (403, 200, None, Trouble.SCOPE),
        (403, 299, None, Trouble.SCOPE),
        (403, 10, 2018065, Trouble.SCOPE),
        (400, 4, None, Trouble.LIMITED),
        (400, 32, None, Trouble.LIMITED),
        (400, 80007, None, Trouble.LIMITED),
        (400, 613, None, Trouble.LIMITED),
        (429, None, None, Trouble.LIMITED),
        (400, 130429, None, Trouble.LIMITED),
        (500, 1, None, Trouble.AWAY),
        (500, 2, None, Trouble.AWAY),
        (503, None, None, Trouble.AWAY),
        (400, 100, 33, Trouble.GONE),
        (404, 803, None, Trouble.GONE),
        (400, 100, None, Trouble.REQUEST),
        (400, 2500, None, Trouble.REQUEST),
        (404, None, None, Trouble.REQUEST),
    ],
)
def test_errors_are_told_apart_by_code_and_subcode(status, code, subcode, trouble):
    error = GraphError(code=code, error_subcode=subcode)
    assert classify(status, error) is trouble
    assert graph.sentence_of(trouble, error)
    assert graph.remedy_of(trouble)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"error": 5}', b"\xff", b'{"error":{"code":"x"}}']
)
def test_an_error_that_cannot_be_read_is_none(body):
    assert graph.read_error(body) == GraphError()


@pytest.mark.parametrize(
    "wrong",
    [{"token": SecretStr(" ")}, {"accounts": ""}, {"accounts": "a/b"}, {"graph_url": "nowhere"}],
)
def test_options_that_cannot_work_are_refused_without_their_values(wrong):
    with pytest.raises(ConfigurationError) as caught:
        facebook.connect(options("http://127.0.0.1") | wrong, Tools())
    assert TOKEN not in str(caught.value)


def test_a_cursor_that_is_not_ours_begins_anew():
    first = graph.begin("soon", NOW, 7)
    assert (first.first, first.until - first.since) == (True, 7 * graph.DAY_MS)
    later = graph.begin(str(first.until + 10**12), NOW, 7)
    assert later.since == first.until - graph.OVERLAP_MS
