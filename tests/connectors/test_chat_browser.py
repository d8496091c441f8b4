"""The chat's page in a real browser (Debian's chromium-headless-shell), driven by its own protocol."""

import asyncio
import contextlib
import json
import os
import signal
from collections import defaultdict
from itertools import count
from pathlib import Path

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
from klingel_simulator.debian import NotToBeHad

from ..absent import absent
from ..debian import find_browser

ROOT = Path(__file__).resolve().parents[2]
LISTENING = b"DevTools listening on "
SECONDS = 20
UNTIL = """(function_, wanted) => new Promise((resolve) => {
  const holds = () => JSON.stringify(function_()) === JSON.stringify(wanted);
  if (holds()) { resolve(true); return; }
  const observer = new MutationObserver(() => {
    if (holds()) { observer.disconnect(); resolve(true); }
  });
  observer.observe(document, {
    subtree: true, childList: true, characterData: true, attributes: true,
  });
})"""
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
SAY = """(text) => {
  const box = document.getElementById("text");
  box.value = text;
  document.getElementById("form").requestSubmit();
}"""
LINES = '() => [...document.querySelectorAll("#log li")].map((each) => each.textContent)'
OPEN = '() => document.querySelector("#state:empty") !== null'
AT_THE_END = """() => new Promise((resolve) => {
  const log = document.getElementById("log");
  const look = () => {
    if (log.scrollTop + log.clientHeight >= log.scrollHeight - 1) { resolve(true); return; }
    requestAnimationFrame(look);
  };
  look();
})"""
SPOKEN = """() => [
  document.documentElement.lang, document.getElementById("send").textContent,
  document.getElementById("text").getAttribute("aria-label"),
]"""
SENT = '() => document.querySelectorAll("#log .own:not(.waiting)").length'

pytestmark = pytest.mark.browser


class Tab:
    """One page of the browser, over the Chrome DevTools Protocol."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = count(1)
        self._answers = {}
        self._events = defaultdict(list)

    async def read(self):
        """Give every answer and event to whoever waits for it, until cancelled."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            for waiting in self._events.pop(told.get("method"), ()):
                waiting.set_result(told["params"])

    async def call(self, method, **params):
        """Call a method and return its result."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        sent = {"id": number, "method": method, "params": params}
        answer = self._answers[number]
        await self._socket.send_json(sent)
        told = await asyncio.wait_for(answer, SECONDS)
        assert "error" not in told, told
        return told["result"]

    async def load(self, method, **params):
        """Call what loads a page, and wait until it is loaded."""
        loaded = asyncio.get_running_loop().create_future()
        self._events["Page.loadEventFired"].append(loaded)
        await self.call(method, **params)
        await asyncio.wait_for(loaded, SECONDS)

    async def run(self, function, *arguments):
        """Run a function in the page and return what it returns or promises."""
        given = ", ".join(json.dumps(each) for each in arguments)
        result = await self.call(
            "Runtime.evaluate",
            expression=f"({function})({given})",
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, function, wanted=True):
        """Wait until a function of the page returns what is wanted; asked at every change of it."""
        try:
            await self.run(f"(wanted) => ({UNTIL})({function}, wanted)", wanted)
        except TimeoutError:
            assert await self.run(function) == wanted


@pytest.fixture(scope="session")
def chromium():
    """The browser; in CI it has to be there."""
    try:
        return find_browser(ROOT / ".klingel" / "debian")
    except NotToBeHad as error:
        absent(str(error))


@pytest.fixture
async def browser(chromium, tmp_path):
    """Address of a browser's debugging port, as it tells it when it listens."""
    process = await asyncio.create_subprocess_exec(
        str(chromium.path),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
        "--remote-allow-origins=*",
        f"--user-data-dir={tmp_path / 'profile'}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], **chromium.environ},
        start_new_session=True,  # it has children, which keep its pipe open
    )
    said, address = [], None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            async for line in process.stderr:
                said.append(line)
                if line.startswith(LISTENING):
                    address = line.removeprefix(LISTENING).decode().strip()
                    break
    drained = asyncio.create_task(process.stderr.read())
    try:
        if address is None:
            pytest.fail(b"".join(said).decode(errors="replace") or "the browser does not listen")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await drained


@pytest.fixture
async def tab(browser):
    async with ClientSession() as client:
        async with client.ws_connect(browser) as whole:
            await whole.send_json(
                {"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}
            )
            target = (await whole.receive_json(timeout=SECONDS))["result"]["targetId"]
        page = browser.partition("/devtools/")[0] + f"/devtools/page/{target}"
        async with client.ws_connect(page, max_msg_size=0) as socket:
            opened = Tab(socket)
            reading = asyncio.create_task(opened.read())
            await opened.call("Page.enable")
            yield opened
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


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
    await tab.load("Page.navigate", url=address)
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
    await tab.load("Page.reload")
    await tab.until(OPEN)
    await tab.until(LINES, whole)
    network = installed_network("chat")
    drafts = [network.to_social_event(raw) for raw in stored()]
    assert [draft.text for draft in drafts] == [HOSTILE, "zwei", "drei"]
    assert drafts[0].published_at < drafts[1].published_at < drafts[2].published_at
    assert {draft.conversation_id for draft in drafts} == {f"chat:website:{session}"}
    assert await tab.run("() => document.title") == "Chat"
    await tab.call(
        "Emulation.setDeviceMetricsOverride",
        width=380,
        height=200,
        deviceScaleFactor=1,
        mobile=False,
    )
    await tab.run(AT_THE_END)


@pytest.mark.parametrize(
    ("language", "words"),
    [("de-DE", ["de", "Senden", "Nachricht"]), ("fr", ["en", "Send", "Message"])],
)
async def test_the_page_speaks_the_browsers_language_where_it_can(
    tab, make_gateway, language, words
):
    _, _, address = await make_gateway(RecordingProducer())
    await tab.call("Emulation.setUserAgentOverride", userAgent="t", acceptLanguage=language)
    await tab.load("Page.navigate", url=address)
    await tab.until(OPEN)
    assert await tab.run(SPOKEN) == words
