"""X's API as the client calls it: rules, search, lookups, connections, compliance jobs.

tweepy makes the requests' paths and parameters. Its sending is replaced by ours: tweepy asks a fixed
host, writes headers with the token to its debug log, parses every answer into objects (we publish
bytes as received) and sleeps by itself where the runner must decide. For the same reasons, and since
it stops at lines longer than 128 KiB and reads no reset header, its streaming is not used.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import aiohttp
import msgspec
from tweepy import StreamRule as TweepyRule  # type: ignore[import-untyped]  # ships no types
from tweepy.asynchronous import (  # type: ignore[import-untyped]  # ships no types
    AsyncClient,
    AsyncStreamingClient,
)

from klingel.errors import ConfigurationError, CredentialsRejected, RateLimited, SourceUnavailable
from klingel_networks.arrival import Away, Quota, Tools
from klingel_networks.x.position import Window
from klingel_networks.x.rules import HeldRule, StreamRule

BODY_BYTES = 64 << 20
"""Greatest answer that is read: a page is below 2 MiB, a compliance result may be large."""

TWEET_FIELDS = (
    "attachments",
    "author_id",
    "conversation_id",
    "created_at",
    "edit_history_tweet_ids",
    "entities",
    "in_reply_to_user_id",
    "lang",
    "note_tweet",
    "public_metrics",
    "referenced_tweets",
    "withheld",
)
EXPANSIONS = ("attachments.media_keys", "author_id", "referenced_tweets.id")
USER_FIELDS = ("name", "protected", "public_metrics", "username", "verified")
MEDIA_FIELDS = ("alt_text", "media_key", "preview_image_url", "type", "url", "variants")
WANTED: Mapping[str, Sequence[str]] = {
    "tweet_fields": TWEET_FIELDS,
    "expansions": EXPANSIONS,
    "user_fields": USER_FIELDS,
    "media_fields": MEDIA_FIELDS,
}

_REQUEST_SECONDS = 30.0
_INVALID = 400
_CONFLICT = 409
_TOO_MANY = 429
_SERVER = 500
_PAGE = 100
_MOST_PAGES = 100
_TOO_MANY_CONNECTIONS = b"TooManyConnections"


class Answer(NamedTuple):
    """An answer of the API: its bytes as received."""

    status: int
    body: bytes


class TooManyConnections(SourceUnavailable):
    """X says that a stream is open already."""


class _Meta(msgspec.Struct):
    next_token: str | None = None
    newest_id: str | None = None


class _Page(msgspec.Struct):
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _Rule(msgspec.Struct):
    id: str
    value: str
    tag: str = ""


class _Problem(msgspec.Struct):
    title: str = ""
    value: str = ""


class _Rules(msgspec.Struct):
    data: list[_Rule] | None = None
    errors: list[_Problem] | None = None
    meta: _Meta = msgspec.field(default_factory=_Meta)


class Job(msgspec.Struct):
    """A compliance job."""

    id: str
    status: str = ""
    upload_url: str = ""
    download_url: str = ""


class _JobAnswer(msgspec.Struct):
    data: Job


class Registered(msgspec.Struct):
    """A webhook of the app."""

    id: str
    url: str = ""
    valid: bool = False


class _Webhooks(msgspec.Struct):
    data: list[Registered] | None = None


class _Filter(msgspec.Struct):
    user_id: str | None = None


class Subscription(msgspec.Struct):
    """What X tells a webhook of an account's activity."""

    event_type: str = ""
    filter: _Filter = msgspec.field(default_factory=_Filter)
    webhook_id: str | None = None


class _Subscriptions(msgspec.Struct):
    data: list[Subscription] | None = None
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _Replay(msgspec.Struct):
    job_id: str


class _ReplayAnswer(msgspec.Struct):
    """X's page shows the job by itself; other answers of its API have it under `data`."""

    job_id: str = ""
    data: _Replay | None = None


class Api:
    """X's API over one session; every answer tells the permits what is left of its limit.

    Args:
        session: of the connection, closed by whoever opened it.
        endpoint: address of the API, without a slash at its end.
        token: bearer token of the app.
        tools: time and limits.

    Attributes:
        date: what the last answer said of the time.
    """

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: str, token: str, tools: Tools
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "klingel"}
        self._tools = tools
        self.date = ""
        self._posts = _Posts(self)
        self._rules = _StreamRules(self)

    # --- requests ------------------------------------------------------------------------------

    async def call(
        self,
        bucket: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        data: bytes | None = None,
    ) -> Answer:
        """Send one request and return its answer.

        Args:
            bucket: which limit it counts towards.
            method: of HTTP.
            path: behind the endpoint, or a whole address that the API gave us.
            params: of the address.
            json: body, as JSON.
            data: body, as plain text.

        Raises:
            RateLimited, Away, CredentialsRejected, ConfigurationError: by the answer's status.
        """
        await self._tools.permits.ask(bucket)
        url = path if path.startswith(("https://", "http://")) else self._endpoint + path
        headers = self._headers if data is None else {**self._headers, "Content-Type": "text/plain"}
        try:
            async with self._session.request(
                method,
                url,
                params=params,
                json=json,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS),
            ) as response:
                body = await bounded(response)
                self.date = response.headers.get("Date", "")
                self.check(bucket, response, body)
                return Answer(response.status, body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Away(f"X cannot be reached ({type(error).__name__})") from None

    def check(self, bucket: str, response: aiohttp.ClientResponse, body: bytes) -> None:
        """Take the word of an answer on its limit; raises as `call` when it is no success."""
        quota = quota_of(bucket, response.headers, self._tools.clock.now())
        if response.status < 400:
            if quota is not None:
                self._tools.permits.heard(quota)
            return
        status = response.status
        if status == _TOO_MANY:
            if _TOO_MANY_CONNECTIONS in body:
                raise TooManyConnections("X says that a stream of this app is open already")
            after = None if quota is None else quota.resets_in
            self._tools.permits.refused(bucket, after)
            raise RateLimited("X wants fewer requests", retry_after=after)
        if status >= _SERVER:
            raise Away(f"X answers {status}", table="http")
        if status in {401, 403}:
            raise CredentialsRejected(_REFUSALS[status])
        if status == _INVALID and bucket == "rules":
            return  # the answer names the rules that are refused
        if status == _CONFLICT and bucket == "replay":
            raise Away("X is busy with another replay", table="http")
        raise ConfigurationError(f"X answers {status} to a request for {bucket}")

    # --- rules ---------------------------------------------------------------------------------

    async def rules(self) -> list[HeldRule]:
        """Return the rules that X has."""
        answer: Answer = await self._rules.get_rules()
        found = _read(answer, _Rules)
        return [HeldRule(rule.id, rule.value, rule.tag) for rule in found.data or ()]

    async def add_rules(self, rules: Sequence[StreamRule], *, dry: bool = False) -> list[str]:
        """Add rules; return the values that X refuses."""
        refused: list[str] = []
        for at in range(0, len(rules), _PAGE):
            some = [TweepyRule(value=rule.value, tag=rule.tag) for rule in rules[at : at + _PAGE]]
            answer: Answer = await self._rules.add_rules(some, **({"dry_run": True} if dry else {}))
            problems = _read(answer, _Rules).errors or ()
            refused += [each.value for each in problems if each.title != "DuplicateRule"]
            if answer.status >= _INVALID and not any(each.value for each in problems):
                raise ConfigurationError("X refuses a change of the stream rules")
        return refused

    async def delete_rules(self, ids: Sequence[str]) -> None:
        """Delete rules."""
        for at in range(0, len(ids), _PAGE):
            await self._rules.delete_rules(list(ids[at : at + _PAGE]))

    # --- posts ---------------------------------------------------------------------------------

    async def search(
        self, query: str, window: Window, token: str | None
    ) -> tuple[bytes, str | None]:
        """Return a page of recent search and the token of the next."""
        more = {} if token is None else {"next_token": token}
        answer: Answer = await self._posts.search_recent_tweets(
            query,
            start_time=whole_second(window.start),
            end_time=whole_second(window.end + timedelta(microseconds=999_999)),
            max_results=_PAGE,
            **WANTED,
            **more,
        )
        return answer.body, _read(answer, _Page).meta.next_token

    async def owned(
        self, what: str, account: str, since_id: str, token: str | None
    ) -> tuple[bytes, str | None]:
        """Return a page of an owned account's `mentions` or `posts`, and the token of the next."""
        ask = self._posts.get_users_mentions if what == "mentions" else self._posts.get_users_tweets
        more = {} if token is None else {"pagination_token": token}
        answer: Answer = await ask(account, since_id=since_id, max_results=_PAGE, **WANTED, **more)
        return answer.body, _read(answer, _Page).meta.next_token

    async def lookup(self, ids: Sequence[str]) -> bytes:
        """Return up to 100 posts as they are now; those that are gone stand among the errors."""
        answer: Answer = await self._posts.get_tweets(list(ids), **WANTED)
        return answer.body

    # --- webhooks ------------------------------------------------------------------------------

    async def webhooks(self) -> list[Registered]:
        """Return the webhooks of the app."""
        answer = await self.call("webhooks", "GET", "/2/webhooks")
        return list(_read(answer, _Webhooks).data or ())

    async def validate(self, webhook_id: str) -> None:
        """Let X challenge a webhook now; the right answer makes it valid again."""
        await self.call("webhooks", "PUT", f"/2/webhooks/{webhook_id}")

    async def replay(self, webhook_id: str, begin: datetime, end: datetime) -> str:
        """Ask that the deliveries between two minutes be made again; return the job's id.

        Raises:
            Away: another replay is running still.
            ConfigurationError: the app may not, or there is no such webhook.
        """
        asked = {
            "webhook_id": webhook_id,
            "from_date": f"{begin:%Y%m%d%H%M}",
            "to_date": f"{end:%Y%m%d%H%M}",
        }
        answer = await self.call("replay", "POST", "/2/webhooks/replay", json=asked)
        found = _read(answer, _ReplayAnswer)
        job: str = found.job_id or (found.data.job_id if found.data is not None else "")
        if not job:
            raise Away("X names no replay", table="http")
        return job

    async def subscriptions(self) -> list[Subscription]:
        """Return the activity that X tells webhooks of."""
        found: list[Subscription] = []
        token: str | None = None
        for _ in range(_MOST_PAGES):
            params = {"max_results": "1000"} | (
                {} if token is None else {"pagination_token": token}
            )
            answer = await self.call(
                "subscriptions", "GET", "/2/activity/subscriptions", params=params
            )
            page = _read(answer, _Subscriptions)
            found += page.data or ()
            token = page.meta.next_token
            if token is None:
                break
        return found

    # --- connections and compliance ------------------------------------------------------------

    async def close_streams(self) -> None:
        """Close every filtered stream of this app."""
        await self.call("connections", "DELETE", "/2/connections/filtered_stream")

    async def create_job(self, name: str) -> Job:
        """Create a compliance job over posts."""
        answer: Answer = await self._posts.create_compliance_job("tweets", name=name)
        found: Job = _read(answer, _JobAnswer).data
        return found

    async def job(self, job_id: str) -> Job:
        """Return a compliance job as it stands."""
        answer: Answer = await self._posts.get_compliance_job(job_id)
        found: Job = _read(answer, _JobAnswer).data
        return found

    async def upload(self, job: Job, ids: Sequence[str]) -> None:
        """Give a compliance job its ids."""
        await self.call("compliance", "PUT", job.upload_url, data="\n".join(ids).encode())

    async def download(self, job: Job) -> bytes:
        """Return the result of a compliance job, one object a line."""
        answer = await self.call("compliance", "GET", job.download_url)
        return answer.body


_REFUSALS = {
    401: "X refuses the bearer token: make a new one in the developer console",
    403: "X forbids this to the app: check its access level and that its project is enrolled",
}
_BUCKETS = (
    ("/stream/rules", "rules"),
    ("/search/recent", "search"),
    ("/mentions", "mentions"),
    ("/compliance/", "compliance"),
    ("/users/", "posts"),
)


class _Door:
    """tweepy's way out, led through `Api.call`; mixed in before tweepy's own."""

    _api: Api

    async def request(
        self,
        method: str,
        route: str,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        user_auth: bool = False,  # noqa: FBT001, FBT002, ARG002 - the signature of tweepy
    ) -> Answer:
        """Send a request of tweepy's making."""
        bucket = next((name for part, name in _BUCKETS if part in route), "lookup")
        told = {key: _written(value) for key, value in (params or {}).items()}
        return await self._api.call(bucket, method, route, params=told, json=json)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Posts(_Door, AsyncClient):  # type: ignore[misc]  # tweepy ships no types
    def __init__(self, api: Api) -> None:
        super().__init__(return_type=aiohttp.ClientResponse)
        self._api = api


class _StreamRules(_Door, AsyncStreamingClient):  # type: ignore[misc]  # tweepy ships no types
    def __init__(self, api: Api) -> None:
        super().__init__("", return_type=aiohttp.ClientResponse)
        self._api = api


def quota_of(bucket: str, headers: Mapping[str, str], now: datetime) -> Quota | None:
    """Return what the headers say of a limit; None when they say nothing."""
    remaining = _count(headers.get("x-rate-limit-remaining"))
    reset = _count(headers.get("x-rate-limit-reset"))
    if remaining is None and reset is None:
        return None
    resets_in = None if reset is None else max(0.0, reset - now.timestamp())
    return Quota(bucket, remaining or 0, _count(headers.get("x-rate-limit-limit")), resets_in)


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value[:12].isdigit() else None


def whole_second(moment: datetime) -> str:
    """Return a time as X takes it: to the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


async def bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer; raises Away when it is larger than any of X's."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > BODY_BYTES:
            raise Away(f"an answer of X is larger than {BODY_BYTES:,} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _read(answer: Answer, shape: Any) -> Any:
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except msgspec.DecodeError:
        raise Away("X answers something that is not its API's", table="http") from None
