"""The chat's page in a real browser (Debian's chromium-headless-shell), driven by its own protocol."""

import asyncio
import contextlib
import json
import os
import shutil
from itertools import count

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer, unused_port

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import RawEvent
from klingel.testing.clock import FixedClock
from klingel_connectors.chat import Chat
from klingel_connectors.chat_sessions import Told
from klingel_connectors.chat_settings import ChatSettings
from klingel_connectors.raw import Origin
from klingel_connectors.testing import RecordingProducer
from klingel_networks.registry import installed_network

BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium")
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
SAY = """(text) => {
  const box = document.getElementById("text");
  box.value = text;
  document.getElementById("form").requestSubmit();
}"""
LINES = '() => [...document.querySelectorAll("#log li")].map((each) => each.textContent)'
OPEN = '() => document.readyState === "complete" && document.querySelector("#state:empty") !== null'
SENT = '() => document.querySelectorAll("#log .own:not(.waiting)").length'

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here"),
]


class Tab:
    """One page of the browser, over the Chrome DevTools Protocol."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = count(1)

    async def call(self, method, **params):
        """Call a method and return its result."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            told = json.loads((await asyncio.wait_for(self._socket.receive(), 20)).data)
            if told.get("id") == number:
                return told["result"]

    async def run(self, function, *arguments):
        """Run a function in the page and return what it returns."""
        given = ", ".join(json.dumps(each) for each in arguments)
        result = await self.call(
            "Runtime.evaluate", expression=f"({function})({given})", returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, function, wanted=True):
        """Wait until a function of the page returns what is wanted."""
        found = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                while (found := await self.run(function)) != wanted:  # noqa: ASYNC110  a page's state
                    await asyncio.sleep(0.02)
        assert found == wanted


@pytest.fixture
async def browser(tmp_path):
    """A browser's debugging port."""
    port = unused_port()
    process = await asyncio.create_subprocess_exec(
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--remote-debugging-port={port}",
        "--remote-allow-origins=*",
        f"--user-data-dir={tmp_path / 'profile'}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    yield port
    process.kill()
    await process.wait()


@pytest.fixture
async def tab(browser):
    async with ClientSession() as client:
        async with asyncio.timeout(30):
            while True:
                try:
                    async with client.get(f"http://127.0.0.1:{browser}/json/list") as answer:
                        pages = await answer.json(content_type=None)
                    if pages:
                        break
                except OSError:
                    pass
                await asyncio.sleep(0.05)
        async with client.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            yield Tab(socket)


@pytest.fixture
async def make_gateway(make_publisher, make_intake, metrics):
    """Build a chat behind a port that it gets again after a restart."""
    port = unused_port()
    servers = []

    async def make(producer):
        publisher = make_publisher(producer)
        await publisher.start()
        base = f"http://127.0.0.1:{port}"
        intake = make_intake(
            network=installed_network("chat"),
            origin=Origin("chat", "gw-chat-website", "chat", "holder", "website"),
        )
        settings = ChatSettings(("website",), base, ("https://www.example",), b"0123456789abcdef")
        chat = Chat(settings, {"website": intake}, publisher, metrics, FixedClock())
        app = web.Application()
        app.add_routes(chat.routes())
        app.on_shutdown.append(chat.close)
        server = TestServer(app, port=port)
        await server.start_server()
        servers.append(server)
        return chat, server, f"{base}/chat/website"

    yield make
    for server in servers:
        await server.close()


async def test_a_conversation_in_a_browser_survives_a_restart_and_a_reload(tab, make_gateway):
    """Said, answered, cut, said meanwhile, resumed, reloaded: each once, in order, as text."""
    producer = RecordingProducer()
    chat, server, address = await make_gateway(producer)
    await tab.call("Page.navigate", url=address)
    await tab.until(OPEN)
    await tab.run(SAY, HOSTILE)
    await tab.until(SENT, 1)

    def stored():
        return [codec.decode(RawEvent, each["value"]) for each in producer.of(Topic.RAW_EVENTS)]

    session = stored()[0].context["session"]
    chat.deliver(session, Told(4, 0, HOSTILE, "Abel"))
    await tab.until(LINES, [HOSTILE, "Abel" + HOSTILE])

    await server.close()
    await tab.run(SAY, "zwei")
    await tab.run(SAY, "drei")
    chat, _, _ = await make_gateway(producer)
    chat.deliver(session, Told(4, 0, HOSTILE, "Abel"))
    chat.deliver(session, Told(7, 0, "fünf", ""))
    await tab.until(SENT, 3)
    whole = [HOSTILE, "Abel" + HOSTILE, "zwei", "drei", "fünf"]
    await tab.until(LINES, whole)
    await tab.call("Page.reload")
    await tab.until(OPEN)
    await tab.until(LINES, whole)
    network = installed_network("chat")
    drafts = [network.to_social_event(raw) for raw in stored()]
    assert [draft.text for draft in drafts] == [HOSTILE, "zwei", "drei"]
    assert drafts[0].published_at < drafts[1].published_at < drafts[2].published_at
    assert {draft.conversation_id for draft in drafts} == {f"chat:website:{session}"}
    assert await tab.run("() => document.title") == "Chat"
