"""The web chat in real processes: a case of what is said, an answer that stops its clock, kills."""

import asyncio
import contextlib
import json
import random
import time
from collections import defaultdict
from datetime import UTC, datetime

import aiohttp
import pytest
from click.testing import CliRunner

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import Case, RawEvent
from klingel_cli.demo.processes import CHAT
from klingel_cli.demo.rehearsal import brand_file
from klingel_cli.kafka import publish, reading
from klingel_cli.main import main
from klingel_networks.chat.replies import reply_of, reply_output
from klingel_networks.chat.sessions import talk_of
from klingel_networks.registry import installed_network
from klingel_simulator.chat_page import Visitor

pytestmark = pytest.mark.servers
BRAND = "nordlicht"
VISITORS, MESSAGES, REPLIES = 60, 8, 4


def now_ms():
    """Return a page's clock."""
    return time.time_ns() // 1_000_000


def started(fleet, gateways, *services):
    """Start gateways behind one public address, and services; return the gateways' addresses."""
    base = f"http://127.0.0.1:{fleet.port_of('gateway-0')}"
    shared = {"KLINGEL_CHAT_BASE": base, "KLINGEL_CHAT_PROXIES": "1"}
    for number in range(gateways):
        own = shared | {"KLINGEL_CONNECTOR__INSTANCE": f"gateway-{number}"}
        fleet.start("gateway", instance=number, environ=own)
    for kind in services:
        fleet.start(kind)
    for name in fleet.children:
        fleet.wait_ready(name)
    return [f"http://127.0.0.1:{fleet.port_of(f'gateway-{each}')}" for each in range(gateways)]


def klingel(fleet, *arguments):
    """Run the command in this process; return what it prints."""
    result = CliRunner().invoke(main, arguments, env=fleet.environ())
    assert result.exit_code == 0, result.output
    return result.stdout


@contextlib.asynccontextmanager
async def there(gateways, count, seed):
    """So many visitors, each with an address of its own, until the end."""
    async with aiohttp.ClientSession() as client:
        visitors = [
            Visitor(
                client,
                gateways,
                gateways[0],
                CHAT,
                random.Random(f"{seed}/{number}"),
                now_ms,
                address=f"10.0.0.{number}",
            )
            for number in range(count)
        ]
        running = [asyncio.create_task(each.run()) for each in visitors]
        try:
            yield visitors
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def records(fleet, topic, shape):
    """Return what a topic holds."""
    with reading(fleet.read_settings().kafka) as log:
        return [codec.decode(shape, each.value) for each in log.read_whole(topic) if each.value]


def case_when(fleet, conversation, holds):
    """Return the case of a conversation once it is as wanted."""
    deadline = time.monotonic() + 30
    found = None
    while time.monotonic() < deadline:
        for case in records(fleet, Topic.CASES, Case):
            if case.conversation_id == conversation and case.state != "held":
                found = case
        if found is not None and holds(found):
            return found
    pytest.fail(f"the case is not as wanted after 30 s: {found and found.state}")
    return None


async def test_a_word_becomes_a_case_and_its_answer_stops_the_clock(fleet):
    """Websocket, gateway, understand, care; `klingel chat reply`, outbox, outbound event, page."""
    await asyncio.to_thread(klingel, fleet, "config", "apply", str(brand_file()))
    gateways = await asyncio.to_thread(started, fleet, 1, "understand", "care")
    async with asyncio.timeout(90), there(gateways, 1, 1) as (anna,):
        said = await anna.say("Meine Rechnung ist falsch, bitte helfen Sie mir!")
        await anna.until(lambda: said.state == "sent")
        conversation = anna.conversation_id
        opened = await asyncio.to_thread(case_when, fleet, conversation, lambda _case: True)
        assert (opened.brand, opened.network, opened.channel) == (BRAND, "chat", CHAT)
        clocks = {clock.name: clock for clock in opened.clocks}
        assert clocks["first_response"].state == "running"
        assert clocks["first_response"].target_seconds == 900

        answer = ("chat", "reply", conversation, "--text", "Wir sehen nach.", "--name", "Abel")
        once = (*answer, "--no-lookup", "--id", "r-1")
        told = await asyncio.to_thread(klingel, fleet, *once, "--wait", "30", "--json")
        heard = json.loads(told)
        assert (heard["triage"], heard["case_id"]) == ("answered", opened.case_id)
        await anna.until(lambda: bool(anna.heard))
        assert [(each.text, each.name) for each in anna.heard] == [("Wir sehen nach.", "Abel")]
        answered = await asyncio.to_thread(
            case_when, fleet, conversation, lambda case: case.first_response_at is not None
        )
        assert answered.state == "waiting"
        (clock,) = [each for each in answered.clocks if each.name == "first_response"]
        assert (clock.state, clock.met_at) == ("met", answered.first_response_at)

        await asyncio.to_thread(klingel, fleet, *once)
        again = await anna.say("Danke")
        await anna.until(lambda: again.state == "sent")
    drafts = [installed_network("chat").to_social_event(each) for each in raws(fleet)]
    assert sorted(draft.text for draft in drafts) == sorted([said.text, "Wir sehen nach.", "Danke"])
    assert await asyncio.to_thread(fleet.stop_all) == []


def raws(fleet):
    """Return the raw events, each event id once."""
    return list({raw.event_id: raw for raw in records(fleet, Topic.RAW_EVENTS, RawEvent)}.values())


async def test_sessions_over_several_gateways_lose_double_and_reorder_nothing_when_one_is_killed(
    fleet, request
):
    """SIGKILL while every session has a message under way and answers wait in the outbox."""
    seed = request.config.getoption("--fault-seed") or random.SystemRandom().getrandbits(32)
    print(f"\nfault seed {seed}")  # noqa: T201 - a failing run must be repeatable
    gateways = await asyncio.to_thread(started, fleet, 3)
    async with asyncio.timeout(90), there(gateways, VISITORS, seed) as visitors:
        for turn in range(MESSAGES):
            if turn % 2:
                await asyncio.to_thread(answer_all, fleet, visitors, turn // 2)
            for number, visitor in enumerate(visitors):
                await visitor.say(f"{number}: {turn}")
            if turn == MESSAGES // 2:
                cut = sum(each.gateway == gateways[1] for each in visitors)
                await asyncio.to_thread(fleet.kill, "gateway-1")
            for visitor in visitors:
                await visitor.until(lambda: all(each.state == "sent" for each in visitor.said))  # noqa: B023  awaited at once
        for visitor in visitors:
            await visitor.until(lambda: len(visitor.heard) >= REPLIES)  # noqa: B023  awaited at once
    assert cut
    assert sum(visitor.resumed for visitor in visitors) >= cut
    assert [visitor.sessions[1:] for visitor in visitors] == [[]] * VISITORS

    answers = [f"re {each}" for each in range(REPLIES)]
    assert [[each.text for each in visitor.heard] for visitor in visitors] == [answers] * VISITORS
    talks = defaultdict(list)
    for raw in await asyncio.to_thread(raws, fleet):
        draft = installed_network("chat").to_social_event(raw)
        talks[draft.conversation_id].append((draft.direction, draft.published_at, draft.text))
    assert set(talks) == {visitor.conversation_id for visitor in visitors}
    for number, visitor in enumerate(visitors):
        found = sorted(talks[visitor.conversation_id])
        told = {side: [text for way, _, text in found if way == side] for side, _, _ in found}
        said = [f"{number}: {turn}" for turn in range(MESSAGES)]
        assert told == {"inbound": said, "outbound": answers}
    fleet.children.pop("gateway-1")
    assert await asyncio.to_thread(fleet.stop_all) == []


def answer_all(fleet, visitors, number):
    """Put the next reply to every session into the outbox."""
    replies = [
        reply_of(talk_of(visitor.conversation_id), f"re {number}", f"r-{number}", datetime.now(UTC))
        for visitor in visitors
    ]
    outputs = [reply_output(each, "klingel/desk") for each in replies]
    publish(fleet.read_settings().kafka, outputs)
