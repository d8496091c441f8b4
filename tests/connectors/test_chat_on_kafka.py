"""The whole way of a reply on the real Kafka: outbox, outbound event, page, and after a restart."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp.test_utils import unused_port
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from structlog.testing import capture_logs

from klingel.clock import SystemClock
from klingel.contracts import codec
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.model import RawEvent
from klingel.settings import KafkaSettings, Settings
from klingel_connectors import broker
from klingel_connectors.chat_settings import ChatSettings
from klingel_connectors.service import run_gateway
from klingel_connectors.settings import GatewaySettings
from klingel_networks.registry import installed_network

pytestmark = pytest.mark.servers


@pytest.fixture
def kafka(kafka_bootstrap, topic_prefix):
    return KafkaSettings(
        bootstrap=kafka_bootstrap, topic_prefix=topic_prefix, group_prefix=topic_prefix
    )


@pytest.fixture
async def gateway(kafka, eventually):
    """Start a gateway with a chat and wait until it has reached Kafka; returns its end."""
    port, ends = unused_port(), []
    base = f"http://127.0.0.1:{port}"
    chat = ChatSettings(("website",), base, ("https://www.example",), b"0123456789abcdef")

    async def start():
        listening, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
        running = asyncio.create_task(
            run_gateway(
                Settings.model_validate(
                    {"kafka": kafka, "http": {"host": "127.0.0.1", "port": port}}
                ),
                GatewaySettings(webhooks={}),
                installed_network("webhook"),
                "holder",
                SystemClock(),
                stop,
                chat=chat,
                on_listening=listening.set_result,
            )
        )

        async def end():
            stop.set()
            await running

        ends.append(end)
        await listening
        await eventually(lambda: [each for each in logs if each.get("state") == "running"])
        logs.clear()
        return base, end

    with capture_logs() as logs:
        yield start
        for end in ends:
            await end()


async def spoken(session, base, first, wanted):
    """Connect with a first frame and return the token and the next frames but the welcome."""
    headers = {"Origin": base}
    async with session.ws_connect(f"{base}/chat/website/socket", headers=headers) as socket:
        await socket.send_json(first)
        token = (await socket.receive_json())["welcome"]["token"]
        if "hello" in first:
            await socket.send_json({"say": {"id": "0" * 32, "at": 0, "text": "Wo?"}})
        return token, [await socket.receive_json() for _ in range(wanted)]


def reply(kafka, session, number):
    """Put a reply into the outbox."""
    value = {
        "channel": "website",
        "session": session,
        "reply_id": f"r-{number}",
        "text": f"Antwort {number}",
        "written_at": "2026-11-20T12:01:00Z",
    }
    producer = KafkaProducer(**broker.producer(kafka, "desk"))
    topic = broker.physical(kafka, Topic.CHAT_OUTBOX)
    place = partition_for(session.encode(), len(producer.partitions_for(topic)))
    producer.send(topic, key=session.encode(), value=json.dumps(value).encode(), partition=place)
    producer.flush()
    producer.close()


def stored(kafka):
    """Read every raw event."""
    consumer = KafkaConsumer(**broker.connection(kafka, "reader"), consumer_timeout_ms=1_500)
    topic = broker.physical(kafka, Topic.RAW_EVENTS)
    places = [TopicPartition(topic, each) for each in consumer.partitions_for_topic(topic)]
    consumer.assign(places)
    consumer.seek_to_beginning()
    found = [codec.decode(RawEvent, record.value) for record in consumer]
    consumer.close()
    return found


async def test_a_reply_comes_through_also_to_a_gateway_that_was_started_later(kafka, gateway):
    base, end = await gateway()
    async with asyncio.timeout(60), aiohttp.ClientSession() as client:
        token, said = await spoken(client, base, {"hello": {}}, 1)
        assert said == [{"ack": "0" * 32}]
        session = token.partition(".")[0]
        await asyncio.to_thread(reply, kafka, session, 1)
        resume = {"resume": {"token": token, "seen": -1}}
        _, (first,) = await spoken(client, base, resume, 1)
        assert first["reply"]["text"] == "Antwort 1"
        await end()
        await asyncio.to_thread(reply, kafka, session, 2)
        await gateway()
        _, both = await spoken(client, base, resume, 2)
        assert [each["reply"]["text"] for each in both] == ["Antwort 1", "Antwort 2"]
        seen = first["reply"]["n"]
        _, rest = await spoken(client, base, {"resume": {"token": token, "seen": seen}}, 1)
        assert [each["reply"]["text"] for each in rest] == ["Antwort 2"]
    network = installed_network("chat")
    drafts = {
        each.object_id: network.to_social_event(each)
        for each in await asyncio.to_thread(stored, kafka)
    }
    # A gateway that ends between a reply and its mark stores it again, under the same name.
    outbound = [draft.text for draft in drafts.values() if draft.direction == "outbound"]
    assert sorted(outbound) == ["Antwort 1", "Antwort 2"]
