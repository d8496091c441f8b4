# ruff: noqa: D102 - what each method does stands where StandIn declares it
"""The stand-ins of the networks as the table of faults uses them: one manner for all.

Each lets somebody say something in a conversation (`c<conversation>n<number>e` is in its text), and
can refuse calls, end its token soon, take it back, or take away a scope, where its network can.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from aiohttp import web
from pydantic import SecretStr

from klingel.config.brand import Account, Brand, ListeningRule
from klingel.config.loader import load_brand
from klingel_connectors.__main__ import plan_of
from klingel_connectors.runner import Plan
from klingel_networks.arrival import Client, PollClient, Tools
from klingel_networks.bluesky.account import BlueskyAccount
from klingel_networks.bluesky.client import BlueskyClient, BlueskyOptions
from klingel_networks.bluesky.session import AccountOptions
from klingel_networks.email.client import EmailClient, Mailbox
from klingel_networks.email.login import OAuth
from klingel_networks.facebook import client as facebook
from klingel_networks.feed.client import FeedClient, FeedOptions
from klingel_networks.mastodon.client import MastodonClient, MastodonOptions
from klingel_networks.registry import installed
from klingel_networks.telegram.client import TelegramClient, TelegramOptions
from klingel_networks.x.client import XClient, XOptions
from klingel_simulator.bluesky_host import BlueskyHost
from klingel_simulator.feed_server import FeedServer, Item
from klingel_simulator.jetstream_server import JetstreamServer
from klingel_simulator.mail_imap import MailServer
from klingel_simulator.mail_tokens import TokenServer
from klingel_simulator.mastodon_server import MastodonServer
from klingel_simulator.meta_graph import GraphServer, Token, World
from klingel_simulator.telegram_server import TelegramServer
from klingel_simulator.x_server import TOKEN, XServer, snowflake

from .warp import LoopClock, Wire

BRAND = Path(__file__).resolve().parents[3] / "brands" / "nordlicht.yaml"
STALL, HALF = "stall", "half"
EXPIRING, LIMITED, REVOKED, NARROWED = "expiring", "limited", "revoked", "narrowed"
"""What a stand-in may not be able to do; the reason stands in `cannot`."""


class Missed(NamedTuple):
    """What becomes of what was said while nothing was listened to, as the network's manifest has it.

    Attributes:
        outcome: of the gap that is opened; None where none is: it is read on at the cursor.
        manifest: the words of the manifest that it follows from.
    """

    outcome: Literal["filled", "partial"] | None
    manifest: str


class Health(NamedTuple):
    """What is said of the state while a fault lasts.

    Attributes:
        state: of the connector.
        reason: a regular expression that matches the whole reason.
    """

    state: str
    reason: str


class StandIn(ABC):
    """One network behind a wire that breaks.

    Attributes:
        network: whose mapping reads it.
        shown: its name in the table.
        pace: seconds between two looks at what happened, and between two rounds of housekeeping:
            where waits last minutes a second would be a thousand of them.
        cannot: what there is no such thing as, each with its reason.
        missed: what becomes of what was said meanwhile.
        health: of each fault that breaks or refuses the listening, what is said of it.
    """

    network: ClassVar[str]
    shown: ClassVar[str] = ""
    pace: ClassVar[float] = 0.5
    cannot: ClassVar[dict[str, str]] = {}
    missed: ClassVar[Missed]
    health: ClassVar[dict[str, Health]]

    def __init__(self, clock: LoopClock) -> None:
        self.clock = clock
        self.wire: Wire = Wire(0)

    @property
    def url(self) -> str:
        """Address behind the wire."""
        return f"http://127.0.0.1:{self.wire.port}"

    @property
    def plan(self) -> Plan:
        """How its connector runs in production."""
        plan = plan_of(installed().manifest(self.network))
        return replace(plan, grace_seconds=4.0, tick_seconds=max(1.0, self.pace))

    async def open(self) -> None:
        """Begin: the stand-in, then the wire to it."""
        self.wire = Wire(await self.serve())
        await self.wire.open()

    async def close(self) -> None:
        """End both."""
        await self.wire.close()
        await self.end()

    @abstractmethod
    async def serve(self) -> int:
        """Start the stand-in; return its port."""

    @abstractmethod
    async def end(self) -> None:
        """Stop the stand-in."""

    @abstractmethod
    def client(self, tools: Tools) -> Client | PollClient:
        """Return the client of production, with its own deadlines."""

    @abstractmethod
    async def say(self, text: str, conversation: int) -> None:
        """Let a customer say something."""

    def brands(self) -> Sequence[Brand]:
        """Return the brands in force."""
        return ()

    def limit(self, calls: int) -> None:
        """Refuse so many calls, and say when to come back where the network does."""
        raise NotImplementedError

    def relieve(self) -> None:  # noqa: B027 - most count the calls that they refuse
        """Refuse no more calls."""

    def expire_in(self, days: float) -> None:
        """Let the token end then."""
        raise NotImplementedError

    def revoke(self) -> None:
        """Take the token back."""
        raise NotImplementedError

    def narrow(self) -> None:
        """Take a scope away."""
        raise NotImplementedError

    def restore(self) -> None:
        """Give token and scope again."""
        raise NotImplementedError


class _Site:
    """An application on a free port."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start(self) -> int:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        await self._runner.cleanup()


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


class MastodonStandIn(StandIn):
    """Streams and timelines of an account."""

    network = "mastodon"
    shown = "Mastodon"
    cannot = {EXPIRING: "a token of Mastodon has no end"}  # noqa: RUF012 - declared, never changed
    missed = Missed("filled", "Statuses and notifications by min_id")
    health = {  # noqa: RUF012 - as above
        STALL: Health("waiting", r"the stream fell silent"),
        HALF: Health("waiting", r"the instance is away \(\w+\)"),
        LIMITED: Health("waiting", r"the instance wants fewer calls"),
        REVOKED: Health("failed", r"the instance no longer knows the token; make a new one"),
        NARROWED: Health(
            "failed", r"the token lacks a scope: read:statuses, read:notifications, read:accounts"
        ),
    }

    async def serve(self) -> int:
        self.server = MastodonServer(now=self.clock.now)
        self._first: dict[int, str] = {}
        await self.server.__aenter__()
        return _port(self.server.url)

    async def end(self) -> None:
        await self.server.__aexit__()

    def client(self, tools: Tools) -> MastodonClient:
        return MastodonClient(MastodonOptions(self.url, self.server.token), tools)

    async def say(self, text: str, conversation: int) -> None:
        now = self.clock.now()
        own_id = self.server.next_id(now)
        status = {
            "id": own_id,
            "created_at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "visibility": "public",
            "spoiler_text": "",
            "content": f"<p>{text}</p>",
            "account": {"id": "2", "acct": "anna"},
            "in_reply_to_id": self._first.get(conversation),
        }
        self._first.setdefault(conversation, own_id)
        self.server.publish(status)

    def limit(self, calls: int) -> None:
        self.server.wrong.refuse_calls = calls
        self.server.cut()

    def revoke(self) -> None:
        self.server.wrong.revoked = True
        self.server.cut()

    def narrow(self) -> None:
        self.server.wrong.missing_scope = True
        self.server.cut()

    def restore(self) -> None:
        self.server.wrong.revoked = self.server.wrong.missing_scope = False


class TelegramStandIn(StandIn):
    """A bot that is polled."""

    network = "telegram"
    shown = "Telegram"
    cannot = {  # noqa: RUF012 - as above
        EXPIRING: "a bot's token has no end",
        NARROWED: "a bot has no scopes",
    }
    missed = Missed(None, "updates that nobody fetched are kept for 24 hours")
    health = {  # noqa: RUF012 - as above
        STALL: Health("waiting", r"Telegram is away \(\w+\)"),
        HALF: Health("waiting", r"Telegram is away \(\w+\)"),
        LIMITED: Health("waiting", r"Telegram wants fewer calls"),
        REVOKED: Health("failed", r"Telegram no longer knows the token: ask BotFather for one"),
    }

    async def serve(self) -> int:
        self.server = TelegramServer()
        self._said = 0
        await self.server.__aenter__()
        return _port(self.server.url)

    async def end(self) -> None:
        await self.server.__aexit__()

    def client(self, tools: Tools) -> TelegramClient:
        return TelegramClient(TelegramOptions(self.server.token, self.url), tools)

    async def say(self, text: str, conversation: int) -> None:
        self._said += 1
        await self.server.tell(
            message={
                "message_id": self._said,
                "date": int(self.clock.now().timestamp()),
                "chat": {"id": 100 + conversation, "type": "private"},
                "from": {"id": 100 + conversation, "is_bot": False, "first_name": "Erika"},
                "text": text,
            }
        )

    def limit(self, calls: int) -> None:
        self.server.wrong.refuse_calls = calls

    def revoke(self) -> None:
        self.server.wrong.revoked = True

    def restore(self) -> None:
        self.server.wrong.revoked = False


class JetstreamStandIn(StandIn):
    """The public stream of Bluesky."""

    network = "bluesky"
    shown = "Bluesky, stream"
    cannot = dict.fromkeys((EXPIRING, REVOKED, NARROWED), "Jetstream needs no credential")
    missed = Missed(None, "Jetstream keeps about 36 hours")
    health = {  # noqa: RUF012 - as above
        STALL: Health("waiting", r"Jetstream fell silent"),
        HALF: Health("waiting", r"Jetstream ended the connection"),
        LIMITED: Health("waiting", r"Jetstream wants fewer connections"),
    }

    @property
    def plan(self) -> Plan:
        return Plan(grace_seconds=4.0)

    async def serve(self) -> int:
        self._refusals = 0
        self._server = JetstreamServer(now_us=self._now_us, seed=1)
        app = self._server.app()
        app.middlewares.append(self._guarded)
        self._site = _Site(app)
        return await self._site.start()

    def _now_us(self) -> int:
        return int(self.clock.now().timestamp() * 1_000_000)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self._refusals:
            self._refusals -= 1
            return web.Response(status=429, headers={"Retry-After": "30"})
        answer: web.StreamResponse = await handler(request)
        return answer

    async def end(self) -> None:
        await self._site.stop()

    def client(self, tools: Tools) -> BlueskyClient:
        return BlueskyClient(BlueskyOptions(url=f"ws://127.0.0.1:{self.wire.port}"))

    async def say(self, text: str, conversation: int) -> None:
        at = self._now_us()
        post = "app.bsky.feed.post"
        root = f"at://did:plc:anna/{post}/root{conversation}"
        body = (
            f'"rev":"3mptbypluud2a","operation":"create","collection":"{post}","rkey":"r{at}",'
            f'"record":{{"$type":"{post}","text":"{text}","createdAt":"2026-07-04T14:38:08Z",'
            f'"reply":{{"root":{{"uri":"{root}"}},"parent":{{"uri":"{root}"}}}}}},"cid":"bafy"'
        )
        self._server.log.append("commit", "did:plc:anna", post, body.encode(), at)
        self._server.wake()

    def limit(self, calls: int) -> None:
        self._refusals = calls
        self.wire.cut()


class BlueskyAccountStandIn(StandIn):
    """An account of Bluesky: its direct messages."""

    network = "bluesky"
    shown = "Bluesky, account"
    cannot = {EXPIRING: "an app password has no end"}  # noqa: RUF012 - as above
    missed = Missed(None, "direct messages by the log")
    health = {  # noqa: RUF012 - as above
        STALL: Health("waiting", r"2 of 2 channels wait: Bluesky is away \(\w+\)"),
        HALF: Health("running", r"1 of 2 channels wait: Bluesky is away \(\w+\)"),
        LIMITED: Health("waiting", r"2 of 2 channels wait: Bluesky wants fewer calls"),
        REVOKED: Health(
            "failed",
            r"2 of 2 channels wait: Bluesky refuses handle or app password: make a new one .*",
        ),
        NARROWED: Health(
            "running", r"1 of 2 channels wait: the app password may not read direct messages: .*"
        ),
    }

    async def serve(self) -> int:
        self.host = BlueskyHost(now=self.clock.now)
        await self.host.__aenter__()
        return _port(self.host.url)

    async def open(self) -> None:
        await super().open()
        self.host.url = self.url  # what it says of itself leads through the wire, too

    async def end(self) -> None:
        await self.host.__aexit__()

    def client(self, tools: Tools) -> BlueskyAccount:
        password = SecretStr(self.host.password)
        return BlueskyAccount(AccountOptions(self.url, "nordlicht.example", password), tools)

    async def say(self, text: str, conversation: int) -> None:
        sender = "did:plc:" + "e" * 24
        self.host.say(f"3kt4jgm5nc32{conversation}", sender, text, self.clock.now())

    def limit(self, calls: int) -> None:
        self.host.wrong.refuse_calls = calls

    def revoke(self) -> None:
        self.host.wrong.revoked = True

    def narrow(self) -> None:
        self.host.wrong.no_messages = True

    def restore(self) -> None:
        self.host.wrong.revoked = self.host.wrong.no_messages = False


class FacebookStandIn(StandIn):
    """A page that is read again through Graph, as the Meta family's connectors do."""

    network = "facebook"
    shown = "Meta (Graph)"
    pace = 15.0
    _PAGE, _TOKEN = "12345654332", "EAAtoken"  # of a stand-in
    missed = Missed(None, "what was missed is read there")
    health = {  # noqa: RUF012 - as above
        STALL: Health("waiting", r"Graph did not answer \(\w+\)"),
        HALF: Health("waiting", r"Graph did not answer \(\w+\)"),
        LIMITED: Health("waiting", r"Graph wants fewer calls \(code \d+, subcode 0\)"),
        REVOKED: Health(
            "failed",
            r"Graph refuses the access token: .* make a new access token of a system user .*",
        ),
        NARROWED: Health(
            "failed", r"a permission is missing or was taken away .*; grant the permission anew .*"
        ),
    }

    async def serve(self) -> int:
        self._world = World(tokens={self._TOKEN: Token(facebook.PLAN.scopes)})
        self._said = 0
        self._server = GraphServer(self._world)
        self._site = _Site(self._server.app())
        return await self._site.start()

    async def end(self) -> None:
        self._server.release.set()
        await self._site.stop()

    def client(self, tools: Tools) -> PollClient:
        options: dict[str, Any] = {
            "token": SecretStr(self._TOKEN),
            "graph_url": self.url,
            "graph_version": "v24.0",
            "accounts": self._PAGE,
            "back_days": 7,
            "app_secret": None,
        }
        return facebook.connect(options, tools)

    async def say(self, text: str, conversation: int) -> None:
        self._said += 1
        at = f"{self.clock.now():%Y-%m-%dT%H:%M:%S}+0000"
        post = f"{self._PAGE}_{conversation}"
        if post not in self._world.things:
            began = {"id": post, "message": "Neues", "created_time": at, "updated_time": at}
            self._world.put(f"{self._PAGE}/feed", began)
        self._world.things[post]["updated_time"] = at
        comment = {"id": f"{conversation}_{self._said}", "message": text, "created_time": at}
        self._world.put(f"{post}/comments", comment | {"from": {"id": "987"}})

    def limit(self, calls: int) -> None:
        self._world.faults = deque(["limited", "limited_with_hint"] * (calls // 2))

    def expire_in(self, days: float) -> None:
        end = self.clock.now() + timedelta(days=days)
        self._world.tokens[self._TOKEN].expires_at = int(end.timestamp())

    def revoke(self) -> None:
        self._world.tokens[self._TOKEN].trouble = (190, 460)

    def narrow(self) -> None:
        self._world.tokens[self._TOKEN].trouble = (200, 0)

    def restore(self) -> None:
        self._world.tokens[self._TOKEN].trouble = None


class XStandIn(StandIn):
    """The filtered stream of X, its gaps filled by search."""

    network = "x"
    shown = "X"
    pace = 4.0
    cannot = {  # noqa: RUF012 - as above
        EXPIRING: "a bearer token of an app has no end",
        NARROWED: "a bearer token of an app has no scopes",
    }
    missed = Missed("partial", "it returns no reposts")
    health = {  # noqa: RUF012 - as above
        STALL: Health("waiting", r"X fell silent"),
        HALF: Health("waiting", r"X broke off \(\w+\)"),
        LIMITED: Health("waiting", r"X wants fewer requests"),
        REVOKED: Health(
            "failed", r"X refuses the bearer token: make a new one in the developer console"
        ),
    }

    async def serve(self) -> int:
        self.server = XServer(self.clock.now)
        self._said = 0
        own = (Account(network="x", id="1111111111111111111", handle="nordlicht"),)
        rules = (ListeningRule(id="name", query="nordlicht"),)
        self._brand = load_brand(BRAND).brand.model_copy(
            update={"accounts": own, "listening": rules}
        )
        self._site = _Site(self.server.app())
        return await self._site.start()

    async def end(self) -> None:
        self.server.fault("resume")
        await self._site.stop()

    def brands(self) -> Sequence[Brand]:
        return (self._brand,)

    def client(self, tools: Tools) -> XClient:
        return XClient(XOptions(SecretStr(TOKEN), self.url, compliance_seconds=0.0), tools)

    async def say(self, text: str, conversation: int) -> None:
        self._said += 1
        customer = f"222222222222222222{conversation}"
        post_id = snowflake(self.clock.now(), self._said)
        post = {"id": post_id, "text": f"nordlicht {text}", "author_id": customer}
        self.server.say(post, {"id": customer, "username": f"erika{conversation}", "name": "Erika"})

    def limit(self, calls: int) -> None:
        self.server.refuse("/search/stream", *(web.Response(status=429) for _ in range(calls)))
        self.server.fault("cut")

    def revoke(self) -> None:
        self.server.fault("revoke")

    def restore(self) -> None:
        self.server.token = TOKEN


class _Unscoped(set[str]):
    """What a mail server takes once the scope for it is gone: none of the tokens that are given."""

    def add(self, token: str) -> None:
        """Take it not."""


class EmailStandIn(StandIn):
    """A mailbox read by IMAP, with access tokens of a token endpoint."""

    network = "email"
    shown = "E-mail (XOAUTH2)"
    cannot = {  # noqa: RUF012 - as above
        EXPIRING: "an access token is renewed by itself, and no end of a refresh token is ever told"
    }
    missed = Missed(None, "Everything that still lies in the folder")
    health = {  # noqa: RUF012 - as above
        STALL: Health("waiting", r"the mail server fell silent"),
        HALF: Health("waiting", r"the mail server ended the connection"),
        LIMITED: Health("waiting", r"the mail server wants fewer requests"),
        REVOKED: Health(
            "failed",
            r"the token endpoint refuses the refresh token; let the mailbox's owner consent again",
        ),
        NARROWED: Health(
            "failed", r"the mail server refuses the login; check username, password or token, .*"
        ),
    }

    async def serve(self) -> int:
        self.server = MailServer()
        self._said = 0
        await self.server.start()
        self.tokens = TokenServer(self.server.username, mail=self.server)
        await self.tokens.start()
        return self.server.port

    async def end(self) -> None:
        await self.tokens.stop()
        await self.server.stop()

    def client(self, tools: Tools) -> EmailClient:
        mailbox = Mailbox(
            name="service",
            host="127.0.0.1",
            port=self.wire.port,
            security="none",
            username=self.server.username,
            password="",
            oauth=OAuth(f"{self.tokens.url}/token", "client", "", "refresh"),
            folders=("INBOX",),
            own=("service@nordlicht.example",),
            key=b"0123456789abcdef",
            history_days=10,
        )
        return EmailClient(mailbox, tools)

    async def say(self, text: str, conversation: int) -> None:
        self._said += 1
        now = self.clock.now()
        mail = (
            f"From: anna{conversation}@k.example\r\nTo: service@nordlicht.example\r\n"
            f"Subject: Frage {conversation}\r\nDate: {now:%a, %d %b %Y %H:%M:%S +0000}\r\n"
            f"Message-ID: <{self._said}@k.example>\r\n\r\n{text}"
        )
        self.server.folder("INBOX").add(mail.encode(), now)

    def limit(self, calls: int) -> None:
        self.server.faults.limit = bool(calls)

    def relieve(self) -> None:
        self.server.faults.limit = False

    def revoke(self) -> None:
        self.tokens.refresh_token = "another"
        self.tokens.revoke()
        self.server.cut()

    def narrow(self) -> None:
        self.server.tokens = _Unscoped()
        self.server.cut()

    def restore(self) -> None:
        self.tokens.refresh_token = "refresh"
        self.server.tokens = set()


class FeedStandIn(StandIn):
    """A feed that is asked every quarter of an hour; its entries tell of two conversations."""

    network = "feed"
    shown = "Feed"
    pace = 20.0
    cannot = dict.fromkeys((EXPIRING, REVOKED, NARROWED), "a feed needs no credential")
    missed = Missed(None, "What the document still tells")
    health = {  # noqa: RUF012 - as above
        STALL: Health("waiting", r"the feed is away \(\w+\)"),
        HALF: Health("waiting", r"the feed is away \(\w+\)"),
        LIMITED: Health("waiting", r"the feed's server wants fewer questions"),
    }

    async def serve(self) -> int:
        self.server = FeedServer(feeds={"news": []})
        await self.server.__aenter__()
        return _port(self.server.url)

    async def end(self) -> None:
        await self.server.__aexit__()

    def client(self, tools: Tools) -> FeedClient:
        return FeedClient(FeedOptions({"news": f"{self.url}/news"}), tools)

    async def say(self, text: str, conversation: int) -> None:
        self.server.feeds["news"].insert(0, Item(guid=text, title=text))

    def limit(self, calls: int) -> None:
        self.server.status["news"] = 429
        self.server.headers["Retry-After"] = "30"

    def relieve(self) -> None:
        self.server.status.clear()
        self.server.headers.clear()


STAND_INS: tuple[type[StandIn], ...] = (
    MastodonStandIn,
    TelegramStandIn,
    JetstreamStandIn,
    BlueskyAccountStandIn,
    FacebookStandIn,
    XStandIn,
    EmailStandIn,
    FeedStandIn,
)
