"""Lets simulated traffic ring on X: posts, replies, quotes, reposts, edits and deletions; shell.

An edit is a new post of the same chain. A deletion is not told by the stream: compliance jobs and
lookups tell it, so its truth line says that it is not heard. Ids are made of the time at which
something is said, hence differ from run to run; texts and people follow the seed.
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from klingel_simulator.pacing import Pace
from klingel_simulator.people import Person
from klingel_simulator.traffic import Dialect, Ref, SimulatedObject, Traffic
from klingel_simulator.truth import Sent, TruthFile
from klingel_simulator.x_server import XServer, made_at_ms, snowflake

BRAND_ID: Final = "1700000000000000001"
"""The example brand's account; brand files name it."""
HANDLE: Final = "nordlicht"
X_DIALECT: Final = Dialect(
    bare_replies=True,
    reposts_carry_text=True,
    reactions=False,
    author_order=True,
    max_text_bytes=1_000,
)
REMEMBERED: Final = 16_384
"""Things that edits, answers and duplicates may refer to; the model refers back far less."""

_DELETED: Final = 2**42 - 1
_TAG: Final = re.compile(r"(?<![\w&])#(\w+)")
_TYPES: Final = {"reply": "replied_to", "quote": "quoted", "repost": "retweeted"}


class XSource:
    """Publishes a traffic's objects to the stand-in, at a rate, each with its truth line.

    Args:
        traffic: what is said, in X_DIALECT.
        server: where.
        truth: the source's own list.
        now: aware UTC.
    """

    def __init__(
        self, traffic: Traffic, server: XServer, truth: TruthFile, *, now: Callable[[], datetime]
    ) -> None:
        self._traffic = traffic
        self._server = server
        self._truth = truth
        self._now = now
        self._posts: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self.sent = 0

    async def run(self, rate: float) -> None:
        """Publish everything; `rate` objects a second, 0 for as fast as possible."""
        clock = asyncio.get_running_loop().time
        pace, objects = Pace(rate, clock()), iter(self._traffic)
        while True:
            due = pace.due(clock())
            for _ in range(due):
                said = next(objects, None)
                if said is None:
                    self._truth.flush()
                    return
                self.publish(said)
            self._truth.flush()
            await asyncio.sleep(pace.pause_seconds(due))

    def publish(self, said: SimulatedObject) -> None:
        """Say, edit or delete one thing."""
        known = self._posts.get(said.key)
        if said.operation == "delete":
            self._delete(said, known)
            return
        if said.repeated and known is not None:
            post = known
        else:
            post = self._written(said, known)
            self._posts[said.key] = post
            if len(self._posts) > REMEMBERED:
                self._posts.popitem(last=False)
        self._server.say(post, to_user(said.person))
        history = post["edit_history_tweet_ids"]
        revision = 0 if post["id"] == history[0] else made_at_ms(post["id"])
        self._record(said, history[0], revision, heard=said.heard)

    def _delete(self, said: SimulatedObject, known: dict[str, Any] | None) -> None:
        if known is None:
            return
        for version in known["edit_history_tweet_ids"]:
            self._server.delete(version)
        self._record(said, known["edit_history_tweet_ids"][0], _DELETED, heard=False)

    def _record(self, said: SimulatedObject, first: str, revision: int, *, heard: bool) -> None:
        self.sent += 1
        self._truth.record(
            Sent(
                network="x",
                object_id=f"x:network:{first}",
                operation=said.operation,
                revision=revision,
                heard=heard,
                sent_us=int(self._now().timestamp() * 1_000_000),
            )
        )

    def _written(self, said: SimulatedObject, known: dict[str, Any] | None) -> dict[str, Any]:
        now = self._now()
        post_id = snowflake(now, self.sent & 0x3FFFFF)
        history = [] if known is None else known["edit_history_tweet_ids"]
        post: dict[str, Any] = {
            "id": post_id,
            "text": said.text,
            "author_id": account_id(said.person.did, brand=said.by_brand),
            "created_at": f"{now:%Y-%m-%dT%H:%M:%S}.000Z",
            "conversation_id": self._id(said.root) or (history or [post_id])[0],
            "edit_history_tweet_ids": [*history, post_id],
            "lang": said.language,
            "public_metrics": {"retweet_count": 0, "reply_count": 0, "like_count": 0},
        }
        mentions = [
            {"username": handle, "id": account_id(did, brand=handle == self._traffic.account)}
            for handle, did in said.mentions
        ]
        tags = [{"tag": tag} for tag in _TAG.findall(said.text)]
        entities = {"mentions": mentions, "hashtags": tags}
        post["entities"] = {name: each for name, each in entities.items() if each}
        referred = said.parent if said.kind == "reply" else said.about
        target = self._id(referred)
        if said.kind in _TYPES and target is not None and referred is not None:
            post["referenced_tweets"] = [{"type": _TYPES[said.kind], "id": target}]
            if said.kind == "reply":
                own = referred.did == self._traffic.brand.did
                post["in_reply_to_user_id"] = account_id(referred.did, brand=own)
        return post

    def _id(self, ref: Ref | None) -> str | None:
        post = None if ref is None else self._posts.get(ref.key)
        return None if post is None else str(post["edit_history_tweet_ids"][0])


def account_id(did: str, *, brand: bool) -> str:
    """Return the account of a person; the brand's own is fixed."""
    if brand:
        return BRAND_ID
    return str(10**15 + int.from_bytes(hashlib.sha256(did.encode()).digest()[:6], "big"))


def to_user(person: Person) -> dict[str, Any]:
    """Return a person as X shows an account."""
    own = person.number == 0
    return {
        "id": account_id(person.did, brand=own),
        "username": HANDLE if own else re.sub(r"\W", "_", person.handle)[:15],
        "name": person.name,
        "verified": own,
        "public_metrics": {"followers_count": person.followers},
    }


async def serve(
    traffic: Traffic,
    truth: TruthFile,
    *,
    host: str,
    port: int,
    rate: float,
    now: Callable[[], datetime],
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Serve the stand-in and let the traffic ring from the first stream on, until cancelled."""
    server = XServer(now)
    runner = web.AppRunner(server.app(), shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        if on_listening is not None:
            on_listening(int(runner.addresses[0][1]))
        await server.connected.wait()
        await XSource(traffic, server, truth, now=now).run(rate)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
