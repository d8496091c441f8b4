"""The process itself: what it waits for, what it says, how it ends."""

import asyncio
import json
import os
import signal
import sys
import urllib.error
import urllib.request

import aiokafka
import pytest

from klingel.contracts.topics import Topic
from klingel_notifier.__main__ import main

from ..waiting import until
from .conftest import SECRET, as_output, escalation
from .conftest import brand_config as config

SECONDS = 60


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"KLINGEL_NOTIFIER__SMTP_PORT": "0"},
         "KLINGEL_NOTIFIER__SMTP_PORT: Input should be greater than or equal to 1\n"),
        ({"KLINGEL_NOTIFIER__TARGET__CHAT": "canary"},
         "KLINGEL_NOTIFIER__TARGET__CHAT: unknown setting\n"),
        ({"KLINGEL_NOTIFIER__TARGETS__CHAT_FILE": "/nowhere"},
         "KLINGEL_NOTIFIER__TARGETS__CHAT_FILE: the file cannot be read\n"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_sentence_and_exit_code_2(monkeypatch, capsys, environ, sentence):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["klingel-notifier", "run"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert told.err.partition(";")[0].rstrip() == f"klingel-notifier: {sentence.rstrip()}"
    assert "canary" not in told.err


class Process:
    """`klingel-notifier run`, with its log lines read as they come."""

    def __init__(self, environ):
        self._environ = {"PATH": os.environ["PATH"], **environ}
        self.logs = []
        self._changed = asyncio.Event()

    async def start(self):
        """Start it; its HTTP address comes from its own log."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "klingel_notifier", "run",
            env=self._environ, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read())

    async def _read(self):
        async for line in self.process.stderr:
            self.logs.append(json.loads(line))
            self._changed.set()

    async def logged(self, event, **fields):
        """Wait for a log line."""
        async with asyncio.timeout(SECONDS):
            while True:
                self._changed.clear()
                for line in self.logs:
                    if line["event"] == event and fields.items() <= line.items():
                        return line
                await self._changed.wait()

    async def get(self, path):
        """Return status and body of its HTTP port."""
        port = (await self.logged("listening"))["port"]

        def fetch():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(fetch)

    async def ready(self, status):
        """Wait until /readyz answers so; return what it says."""

        async def told():
            found, body = await self.get("/readyz")
            return body if found == status else None

        return json.loads(await until(told, seconds=SECONDS, pace=0.1))

    async def serves(self, path, words):
        """Wait until it says so."""

        async def said():
            return words in (await self.get(path))[1]

        await until(said, seconds=SECONDS, pace=0.1)

    async def end(self):
        """Stop it in an orderly way; return the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        code = await self.process.wait()
        await self._reading
        return code


async def test_without_kafka_it_waits_says_so_and_ends_when_asked(unused_tcp_port):
    one = Process({"KLINGEL_KAFKA__BOOTSTRAP": f"127.0.0.1:{unused_tcp_port}"})
    await one.start()
    await one.logged("waiting", waiting_for="kafka")
    assert (await one.ready(503))["waiting_for"] == "kafka"
    assert (await one.get("/healthz"))[0] == 200
    assert await one.end() == 0


@pytest.mark.servers
async def test_a_missing_setting_is_named_and_the_others_are_told(
    kafka_bootstrap, topic_prefix, receiver, build
):
    one = Process({
        "KLINGEL_KAFKA__BOOTSTRAP": kafka_bootstrap,
        "KLINGEL_KAFKA__TOPIC_PREFIX": topic_prefix,
        "KLINGEL_NOTIFIER__TARGETS__CHAT": receiver.url,
    })  # fmt: skip
    await one.start()
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await producer.start()
    try:
        assert await one.ready(200)
        brand = config(build.chat(), build.hook())
        place = topic_prefix + Topic.BRAND_CONFIG
        await producer.send_and_wait(place, brand.value, key=brand.key)
        await one.serves("/readyz", "KLINGEL_NOTIFIER__TARGETS__HOOK is not set")
        assert await one.ready(200) == {
            "ready": True,
            "waiting_for": None,
            "targets_missing": ["nordlicht/hook: KLINGEL_NOTIFIER__TARGETS__HOOK is not set"],
            "circuits_open": [],
        }
        for number, target in ((1, "hook"), (2, "shift-chat")):
            output = as_output(escalation(number, target=target))
            await producer.send_and_wait(topic_prefix + output.topic, output.value, key=output.key)
        async with asyncio.timeout(SECONDS):
            await receiver.got.wait()
        assert receiver.keys == [f"escalation_{2:032x}_1"]
        await one.serves("/metrics", 'klingel_delivered_total{component="notifier"} 1.0')
        brand = config(build.chat())
        await producer.send_and_wait(place, brand.value, key=brand.key)
        await one.serves("/readyz", '"targets_missing": []')
    finally:
        await producer.stop()
        code = await one.end()
    assert code == 0
    assert SECRET not in json.dumps(one.logs)
    assert receiver.url not in json.dumps(one.logs)
