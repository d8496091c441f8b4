"""X's API v2: rules, filtered stream, recent search, owned reads, lookups, connections, compliance.

Everything comes from one list of posts. It misbehaves on command: `XServer.fault` in tests, `POST
/control/faults` over the wire. What it charges is counted by post and UTC day.

Source: xdevplatform/docs, the pages named at each route.
"""

import asyncio
import contextlib
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import ClientSession, web

from klingel_simulator.newest import Newest
from klingel_simulator.x_activity import Webhook, job_status
from klingel_simulator.x_rules import InvalidRule, compile_rule

TOKEN: Final = "bearer-of-the-stand-in"  # noqa: S105 - the stand-in's own
FAULTS: Final = ("stall", "resume", "cut", "half_line", "disconnect", "ghost", "revoke")
_EPOCH_MS: Final = 1_288_834_974_657
_HISTORY: Final = timedelta(days=7)
_OPERATIONAL: Final = {
    "errors": [
        {
            "title": "operational-disconnect",
            "disconnect_type": "UpstreamOperationalDisconnect",
            "detail": "This stream has been disconnected upstream for operational reasons.",
            "type": "https://api.x.com/2/problems/operational-disconnect",
        }
    ]
}
_TOO_MANY: Final = {
    "title": "ConnectionException",
    "detail": "This stream is currently at the maximum allowed connection limit.",
    "connection_issue": "TooManyConnections",
    "type": "https://api.x.com/2/problems/streaming-connection",
}
_GONE: Final = "https://api.x.com/2/problems/resource-not-found"


def snowflake(at: datetime, sequence: int = 0) -> str:
    """Return the id of something made at a moment."""
    return str((int(at.timestamp() * 1000) - _EPOCH_MS) << 22 | sequence)


def made_at_ms(post_id: str) -> int:
    """Return when an id was made, in milliseconds since 1970."""
    return (int(post_id) >> 22) + _EPOCH_MS


@dataclass(frozen=True, slots=True)
class XLimits:
    """Bounds of the service; its own, but for what makes tests short."""

    heartbeat_seconds: float = 20.0
    max_rules: int = 1_000
    rule_length: int = 1_024
    page: int = 100
    search_lag_seconds: float = 0.0
    posts: int = 20_000
    """Posts, users, deletions and bills that it remembers, the newest of each."""


@dataclass(slots=True)
class _Rule:
    id: str
    value: str
    tag: str
    test: Callable[[Mapping[str, Any]], bool]


@dataclass(slots=True, eq=False)
class _Stream:
    """One connection; a line of None cuts it, an empty one is a heartbeat."""

    response: web.StreamResponse
    request: web.Request
    lines: "asyncio.Queue[bytes | None]" = field(default_factory=asyncio.Queue)


class XServer:
    """The stand-in; `app()` is an aiohttp application.

    Args:
        now: aware UTC.
        limits: bounds.
    """

    def __init__(self, now: Callable[[], datetime], limits: XLimits | None = None) -> None:
        self.limits = limits or XLimits()
        self.posts: Newest[str, dict[str, Any]] = Newest(self.limits.posts)
        self.users: Newest[str, dict[str, Any]] = Newest(self.limits.posts)
        self.media: Newest[str, dict[str, Any]] = Newest(self.limits.posts)
        self.rules: dict[str, _Rule] = {}
        self.actions: Newest[str, dict[str, Any]] = Newest(self.limits.posts)
        self.billed: Newest[tuple[str, str], None] = Newest(self.limits.posts)
        self.delivered: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.refusals: dict[str, deque[web.Response]] = {}
        self.ghosts = 0
        self.token = TOKEN
        self.connected = asyncio.Event()
        self._now = now
        self._streams: set[_Stream] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.webhooks: dict[str, tuple[str, Webhook]] = {}
        self.subscriptions: list[dict[str, Any]] = []
        self.replays: list[dict[str, str]] = []
        self.replay_ends: deque[str] = deque()
        self._replaying: set[asyncio.Task[None]] = set()
        self._jobs: Newest[str, dict[str, Any]] = Newest(100)
        self._next = 1

    def app(self) -> web.Application:
        """Build the application."""
        app = web.Application(middlewares=[self._guard], client_max_size=128 << 20)
        app.add_routes(
            [
                web.get("/2/tweets/search/stream", self._stream),
                web.get("/2/tweets/search/stream/rules", self._get_rules),
                web.post("/2/tweets/search/stream/rules", self._post_rules),
                web.get("/2/tweets/search/recent", self._search),
                web.get("/2/users/{id}/{what:mentions|tweets}", self._owned),
                web.get("/2/tweets", self._lookup),
                web.delete("/2/connections/filtered_stream", self._close_streams),
                web.post("/2/compliance/jobs", self._create_job),
                web.get("/2/compliance/jobs/{id}", self._get_job),
                web.put("/upload/{id}", self._upload),
                web.get("/download/{id}", self._download),
                web.get("/2/webhooks", self._get_webhooks),
                web.put("/2/webhooks/{id}", self._validate),
                web.post("/2/webhooks/replay", self._replay),
                web.get("/2/activity/subscriptions", self._get_subscriptions),
                web.post("/control/faults", self._control),
            ]
        )
        app.on_shutdown.append(self._end)
        return app

    # --- for tests and sources -------------------------------------------------------------------

    def say(self, post: dict[str, Any], user: dict[str, Any] | None = None) -> None:
        """Publish a post; every stream whose rules it fits gets it once."""
        if user is not None:
            self.users[user["id"]] = user
        self.posts[post["id"]] = post
        rules = [rule for rule in self.rules.values() if rule.test(post)]
        if not rules:
            return
        line = self._page_of([post])
        line["data"] = post
        line["matching_rules"] = [{"id": rule.id, "tag": rule.tag} for rule in rules]
        body = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\r\n"
        for stream in self._streams:
            stream.lines.put_nowait(body)
            self._bill([post["id"]])
            self.delivered.update(rule.tag for rule in rules)

    def delete(self, post_id: str) -> None:
        """Delete a post; compliance jobs tell it, lookups miss it."""
        self.posts.pop(post_id, None)
        at = f"{self._now():%Y-%m-%dT%H:%M:%S}.000Z"
        self.actions[post_id] = {"action": "delete", "redacted_at": at, "reason": "deleted"}

    def register(self, url: str, webhook: Webhook) -> str:
        """Register a webhook under an address; return its id. What rings is the given one."""
        self._next += 1
        webhook_id = str(1_146_654_567_674_912_769 + self._next)
        self.webhooks[webhook_id] = (url, webhook)
        return webhook_id

    def subscribe(self, webhook_id: str, account: str, *event_types: str) -> None:
        """Subscribe a webhook to what happens to an account."""
        for each in event_types:
            self._next += 1
            self.subscriptions.append(
                {
                    "subscription_id": str(self._next),
                    "event_type": each,
                    "filter": {"user_id": account},
                    "webhook_id": webhook_id,
                }
            )

    def refuse(self, part: str, *answers: web.Response) -> None:
        """Answer the next requests whose `<method> <path>` ends in `part` with these."""
        self.refusals.setdefault(part, deque()).extend(answers)

    def fault(self, name: str) -> None:
        """Misbehave, one of FAULTS; raises ValueError for another name."""
        if name not in FAULTS:
            raise ValueError(f"unknown fault, known: {', '.join(FAULTS)}")
        getattr(self, f"_{name}")()

    def _resume(self) -> None:
        self._flowing.set()

    def _stall(self) -> None:
        self._flowing.clear()

    def _ghost(self) -> None:
        self.ghosts += 1

    def _revoke(self) -> None:
        self.token = ""
        self._cut()

    def _cut(self) -> None:
        for stream in self._streams:
            stream.lines.put_nowait(None)

    def _half_line(self) -> None:
        for stream in self._streams:
            stream.lines.put_nowait(b'{"data":{"id":"1577318900085186562","text":"hal')
        self._cut()

    def _disconnect(self) -> None:
        for stream in self._streams:
            stream.lines.put_nowait(json.dumps(_OPERATIONAL).encode() + b"\r\n")
        self._cut()

    # --- requests ------------------------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Any]
    ) -> web.StreamResponse:
        if request.path.startswith("/control/"):
            answer: web.StreamResponse = await handler(request)
            return answer
        self.asked[request.path] += 1
        for part, answers in self.refusals.items():
            if f"{request.method} {request.path}".endswith(part) and answers:
                return answers.popleft()
        if not self.token or request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response(
                {"title": "Unauthorized", "status": 401, "type": "about:blank"}, status=401
            )
        return await handler(request)  # type: ignore[no-any-return]  # aiohttp's own word for it

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self._streams or self.ghosts:
            return web.json_response(_TOO_MANY, status=429)
        if not self.rules:
            issue = {"title": "ConnectionException", "connection_issue": "RuleConfigurationIssue"}
            return web.json_response(issue, status=409)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        stream = _Stream(response, request)
        self._streams.add(stream)
        self.connected.set()
        try:
            await self._send(stream)
        except ConnectionError:
            pass
        finally:
            self._streams.discard(stream)
            self.connected.clear()
        return response

    async def _send(self, stream: _Stream) -> None:
        while True:
            try:
                line = await asyncio.wait_for(stream.lines.get(), self.limits.heartbeat_seconds)
            except TimeoutError:
                line = b"\r\n"
            if line is None:
                if stream.request.transport is not None:
                    stream.request.transport.close()
                return
            await self._flowing.wait()
            await stream.response.write(line)

    async def _end(self, _: web.Application) -> None:
        self._flowing.set()
        self._cut()
        for task in self._replaying:
            task.cancel()

    async def _control(self, request: web.Request) -> web.Response:
        try:
            self.fault(str((await request.json()).get("fault")))
        except (ValueError, AttributeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"streams": len(self._streams), "billed": len(self.billed)})

    # --- rules: x-api/stream/update-stream-rules -------------------------------------------------

    async def _get_rules(self, _: web.Request) -> web.Response:
        data = [
            {"id": each.id, "value": each.value, "tag": each.tag} for each in self.rules.values()
        ]
        return _limited({"data": data, "meta": {"result_count": len(data)}} if data else _NONE)

    async def _post_rules(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if "delete" in asked:
            for rule_id in asked["delete"]["ids"]:
                self.rules.pop(str(rule_id), None)
            return _limited({"meta": {"summary": {"deleted": len(asked["delete"]["ids"])}}})
        errors: list[dict[str, str]] = []
        created: list[dict[str, str]] = []
        for each in asked["add"]:
            problem, rule = self._rule(each)
            if rule is None:
                errors.append({"value": each["value"], "title": problem})
                continue
            created.append({"id": rule.id, "value": rule.value, "tag": rule.tag})
            if request.query.get("dry_run") != "true":
                self.rules[rule.id] = rule
        told: dict[str, Any] = {"meta": {"summary": {"created": len(created)}}}
        told |= {"data": created} if created else {}
        told |= {"errors": errors} if errors else {}
        return _limited(told, status=201 if created else 400)

    def _rule(self, asked: Mapping[str, str]) -> tuple[str, _Rule | None]:
        value = asked["value"]
        if any(rule.value == value for rule in self.rules.values()):
            return "DuplicateRule", None
        if len(self.rules) >= self.limits.max_rules:
            return "RulesCapExceeded", None
        if len(value) > self.limits.rule_length:
            return "InvalidRule", None
        try:
            test = compile_rule(value)
        except InvalidRule:
            return "InvalidRule", None
        self._next += 1
        return "", _Rule(str(1_166_895_166_390_583_296 + self._next), value, asked["tag"], test)

    # --- posts: x-api/posts/search, users/:id/mentions, tweets -----------------------------------

    async def _search(self, request: web.Request) -> web.Response:
        query = request.query
        try:
            test = compile_rule(query["query"])
        except InvalidRule:
            return web.json_response({"title": "Invalid Request"}, status=400)
        now = self._now()
        start = _time(query.get("start_time")) or now - _HISTORY
        end = _time(query.get("end_time")) or now
        if start < now - _HISTORY:
            return web.json_response({"title": "Invalid Request"}, status=400)
        newest = now - timedelta(seconds=self.limits.search_lag_seconds)
        found = [
            post
            for post in self.posts.values()
            if start.timestamp() * 1000 <= made_at_ms(post["id"]) < end.timestamp() * 1000
            and made_at_ms(post["id"]) <= newest.timestamp() * 1000
            and not any(each["type"] == "retweeted" for each in post.get("referenced_tweets") or ())
            and test(post)
        ]
        return self._paged(found, query.get("next_token"), query.get("max_results"))

    async def _owned(self, request: web.Request) -> web.Response:
        account = request.match_info["id"]
        since = int(request.query.get("since_id", "0"))
        mentions = request.match_info["what"] == "mentions"
        found = [
            post
            for post in self.posts.values()
            if int(post["id"]) > since
            and (
                any(
                    each.get("id") == account
                    for each in post.get("entities", {}).get("mentions", [])
                )
                if mentions
                else post.get("author_id") == account
            )
        ]
        token = request.query.get("pagination_token")
        return self._paged(found, token, request.query.get("max_results"))

    async def _lookup(self, request: web.Request) -> web.Response:
        ids = request.query["ids"].split(",")
        found = [self.posts[each] for each in ids if each in self.posts]
        self._bill([post["id"] for post in found])
        told = self._page_of(found)
        errors = [
            {"resource_id": each, "resource_type": "tweet", "parameter": "ids", "type": _GONE}
            for each in ids
            if each not in self.posts
        ]
        return _limited(told | ({"errors": errors} if errors else {}))

    def _paged(
        self, found: Iterable[dict[str, Any]], token: str | None, size: str | None
    ) -> web.Response:
        ordered = sorted(found, key=lambda post: int(post["id"]), reverse=True)
        if token is not None:
            ordered = [post for post in ordered if int(post["id"]) < int(token)]
        page = ordered[: min(self.limits.page, int(size or "10"))]
        if not page:
            return _limited({"meta": {"result_count": 0}})
        self._bill([post["id"] for post in page])
        told = self._page_of(page)
        told["meta"] = {"result_count": len(page), "newest_id": page[0]["id"]}
        if len(page) < len(ordered):
            told["meta"]["next_token"] = page[-1]["id"]
        return _limited(told)

    def _page_of(self, posts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        authors = {post["author_id"] for post in posts if "author_id" in post}
        users = [self.users[each] for each in sorted(authors) if each in self.users]
        keys = [key for post in posts for key in post.get("attachments", {}).get("media_keys", ())]
        media = [self.media[key] for key in dict.fromkeys(keys) if key in self.media]
        beside = ({"users": users} if users else {}) | ({"media": media} if media else {})
        told: dict[str, Any] = {"data": list(posts)} if posts else {}
        return told | ({"includes": beside} if beside else {})

    def _bill(self, ids: Iterable[str]) -> None:
        for each in ids:
            self.billed[f"{self._now():%Y-%m-%d}", each] = None

    # --- connections and compliance: x-api/connections, x-api/compliance/batch-compliance --------

    async def _close_streams(self, _: web.Request) -> web.Response:
        self.ghosts = 0
        self._cut()
        return _limited({"data": {"successful_kills": 1}})

    async def _create_job(self, request: web.Request) -> web.Response:
        if any(job["status"] in {"created", "in_progress"} for job in self._jobs.values()):
            return web.json_response({"title": "Conflict"}, status=409)
        self._next += 1
        job_id = str(self._next)
        base = f"{request.scheme}://{request.host}"
        self._jobs[job_id] = {
            "id": job_id,
            "type": (await request.json())["type"],
            "status": "created",
            "upload_url": f"{base}/upload/{job_id}",
            "download_url": f"{base}/download/{job_id}",
        }
        return _limited({"data": self._jobs[job_id]})

    async def _upload(self, request: web.Request) -> web.Response:
        job = self._jobs[request.match_info["id"]]
        ids = (await request.text()).split("\n")
        job["status"] = "in_progress"
        job["result"] = [{"id": each} | self.actions[each] for each in ids if each in self.actions]
        return web.Response()

    async def _get_job(self, request: web.Request) -> web.Response:
        job = self._jobs[request.match_info["id"]]
        if job["status"] == "in_progress":
            job["status"] = "complete"
        told = {name: value for name, value in job.items() if name != "result"}
        return _limited({"data": told})

    async def _download(self, request: web.Request) -> web.Response:
        lines = self._jobs[request.match_info["id"]]["result"]
        return web.Response(text="".join(json.dumps(each) + "\n" for each in lines))

    # --- webhooks: x-api/webhooks, x-api/activity ------------------------------------------------

    async def _get_webhooks(self, _: web.Request) -> web.Response:
        data = [
            {"id": each, "url": url, "valid": webhook.valid, "created_at": "2026-01-01T00:00:00Z"}
            for each, (url, webhook) in self.webhooks.items()
        ]
        return _limited({"data": data, "meta": {"result_count": len(data)}} if data else _NONE)

    async def _validate(self, request: web.Request) -> web.Response:
        known = self.webhooks.get(request.match_info["id"])
        if known is None:
            return web.json_response({"title": "Not Found Error"}, status=404)
        async with ClientSession() as session:
            try:
                attempted = await known[1].challenge(session, "a token of X")
            except OSError:
                attempted = False
        return _limited({"data": {"attempted": attempted}})

    async def _replay(self, request: web.Request) -> web.Response:
        asked = await request.json()
        known = self.webhooks.get(asked["webhook_id"])
        begin, end = (_minute(asked[each]) for each in ("from_date", "to_date"))
        now = self._now()
        if known is None or begin is None or end is None:
            return web.json_response({"title": "Invalid Request"}, status=400)
        if not now - timedelta(hours=24) <= begin < end <= now:
            return web.json_response({"title": "Invalid Request"}, status=400)
        if self._replaying:
            return web.json_response({"title": "Conflict"}, status=409)
        self._next += 1
        job_id = str(1_095_098_195_724_558_337 + self._next)
        self.replays.append(asked | {"job_id": job_id})
        state = self.replay_ends.popleft() if self.replay_ends else "Complete"
        told = job_status(asked["webhook_id"], job_id, state)
        task = asyncio.create_task(self._redeliver(known[1], begin, end, told))
        self._replaying.add(task)
        task.add_done_callback(self._replaying.discard)
        return _limited({"created_at": f"{now:%Y-%m-%dT%H:%M:%S}.000Z", "job_id": job_id})

    async def _redeliver(
        self, webhook: Webhook, begin: datetime, end: datetime, told: bytes
    ) -> None:
        await self._flowing.wait()
        async with ClientSession() as session:
            await webhook.replay(session, begin, end, told)

    async def _get_subscriptions(self, request: web.Request) -> web.Response:
        size = min(self.limits.page, int(request.query.get("max_results", "1000")))
        begin = int(request.query.get("pagination_token", "0"))
        data = self.subscriptions[begin : begin + size]
        meta: dict[str, Any] = {"result_count": len(data)}
        if begin + size < len(self.subscriptions):
            meta["next_token"] = str(begin + size)
        return _limited({"meta": meta} | ({"data": data} if data else {}))


_NONE: Final = {"meta": {"result_count": 0}}


def _limited(told: Mapping[str, Any], *, status: int = 200) -> web.Response:
    headers = {"x-rate-limit-limit": "450", "x-rate-limit-remaining": "449"}
    return web.json_response(told, status=status, headers=headers)


def _minute(value: str) -> datetime | None:
    if len(value) != 12 or not value.isascii() or not value.isdecimal():
        return None
    with contextlib.suppress(ValueError):
        return datetime.strptime(f"{value}+0000", "%Y%m%d%H%M%z")
    return None


def _time(value: str | None) -> datetime | None:
    with contextlib.suppress(ValueError):
        return None if value is None else datetime.fromisoformat(value)
    return None
