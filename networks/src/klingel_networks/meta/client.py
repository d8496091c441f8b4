"""Talks to Graph: reconciliation of what webhooks may have missed, the token's state, media.

Source: developers.facebook.com, "Graph API". What is decided stands in `graph.py`.

A round reads each edge of an account from the newest back to the last round's beginning (with an
overlap), then yields the oldest first, thing by thing, so that a conversation keeps its order. Only
a whole round moves the cursor: a round that broke is read again, and what is heard twice is one.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import aiohttp
import msgspec
from pydantic import SecretStr
from yarl import URL

from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    InvalidMessage,
    RateLimited,
    SourceUnavailable,
)
from klingel_networks.arrival import (
    Arrival,
    Credential,
    Gap,
    Mode,
    Options,
    Report,
    Tools,
)
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.contract import Delivery
from klingel_networks.meta import graph
from klingel_networks.meta.graph import CALLS, Round, Trouble

ANSWER_BYTES = 16 << 20
"""A larger answer is no page of Graph's."""
MOST_PAGES = 100
"""Pages of one edge in one round; what lies behind them is a gap."""
PROBE_EVERY = timedelta(days=1)
_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=30)
_PAGE_SIZE = 100
_NO_IDS = "{} must be ids of letters and digits, separated by commas"
_OK = 200


@dataclass(frozen=True, slots=True)
class Edge:
    """One list of Graph's that a round reads, newest first.

    Attributes:
        name: of the edge in an object's context; empty where its things are no objects of ours.
        path: after the version; `{id}` is the account, or the thing it hangs on.
        params: of the query.
        child: a list that hangs on each thing of this one.
        nested: a list inside each thing, whose elements are objects, too.
        walk_days: how far back things are walked for what newly hangs on them.
        hangs: whether something may hang on a thing that shows no later time of its own.
    """

    name: str
    path: str
    params: Mapping[str, str]
    child: "Edge | None" = None
    nested: str = ""
    walk_days: int = 0
    hangs: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a network reads, and what a token must be allowed to.

    Attributes:
        network: its name.
        edges: of an account.
        scopes: permissions without which the connector is deaf.
        subscribed: webhook fields that an account must be subscribed to; empty: not looked at.
        page_token: whether an account has a token of its own, which ours may ask for.
        accounts: setting that names the accounts.
        subscribers: setting that names what is subscribed in their place; empty: they themselves.
    """

    network: str
    edges: tuple[Edge, ...]
    scopes: tuple[str, ...]
    subscribed: tuple[str, ...] = ()
    page_token: bool = True
    accounts: str = "accounts"
    subscribers: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of a connector, read once; the secrets stay wrapped."""

    accounts: tuple[str, ...]
    token: SecretStr
    app_secret: SecretStr | None
    base: URL
    back_days: int

    @classmethod
    def of(cls, options: Options, accounts: str = "accounts") -> "Settings":
        """Read the options; raises ConfigurationError naming the setting, never its value."""
        token, secret = options.get("token"), options.get("app_secret")
        if not isinstance(token, SecretStr) or not token.get_secret_value().strip():
            raise ConfigurationError("token is empty: the Graph API needs an access token")
        listed = ids_of(options, accounts)
        if not listed:
            raise ConfigurationError(_NO_IDS.format(accounts))
        try:
            base = URL(str(options.get("graph_url") or "")) / str(
                options.get("graph_version") or ""
            )
        except ValueError:
            raise ConfigurationError("graph_url is no web address") from None
        if base.scheme not in {"http", "https"} or not base.host:
            raise ConfigurationError("graph_url is no web address")
        days = options.get("back_days")
        return cls(
            listed,
            token,
            secret if isinstance(secret, SecretStr) and secret.get_secret_value() else None,
            base,
            days if isinstance(days, int) and days >= 0 else 7,
        )


def ids_of(options: Options, setting: str) -> tuple[str, ...]:
    """Return the ids that a setting lists; raises ConfigurationError naming the setting."""
    listed = tuple(
        dict.fromkeys(
            each.strip() for each in str(options.get(setting) or "").split(",") if each.strip()
        )
    )
    if not all(each.isascii() and each.isalnum() and len(each) <= 60 for each in listed):
        raise ConfigurationError(_NO_IDS.format(setting))
    return listed


class RefusedError(Exception):
    """Graph refused a call; what that means."""

    def __init__(self, trouble: Trouble, sentence: str) -> None:
        super().__init__(sentence)
        self.trouble = trouble

    def raised(self) -> Exception:
        """Return what the runner is to be told, where nothing smaller can give way."""
        if self.trouble in {Trouble.REVOKED, Trouble.EXPIRED, Trouble.SCOPE}:
            return CredentialsRejected(f"{self}; {graph.remedy_of(self.trouble)}")
        if self.trouble in {Trouble.GONE, Trouble.REQUEST}:
            return ConfigurationError(f"{self}; {graph.remedy_of(self.trouble)}")
        return SourceUnavailable(str(self))


class _Answer(NamedTuple):
    body: bytes
    date: str | None


class Graph:
    """Calls the Graph API; one session at a time.

    Args:
        settings: address and secrets.
        tools: limits and time.
    """

    def __init__(self, settings: Settings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools

    async def get(
        self,
        session: aiohttp.ClientSession,
        path: str,
        params: Mapping[str, str],
        token: SecretStr,
        channel: str = "",
    ) -> _Answer:
        """Return an answer of status 200.

        Raises:
            RefusedError: any other answer. RateLimited, SourceUnavailable.
        """
        await self._tools.permits.ask(CALLS, channel)
        plain = token.get_secret_value().strip()
        query = dict(params)
        if self._settings.app_secret is not None:
            secret = self._settings.app_secret.get_secret_value().encode()
            query["appsecret_proof"] = graph.proof(secret, plain)
        try:
            async with session.get(
                self._settings.base / path,
                params=query,
                headers={"Authorization": f"Bearer {plain}"},
                allow_redirects=False,
            ) as response:
                body = await response.content.read(ANSWER_BYTES + 1)
                while len(body) <= ANSWER_BYTES and not response.content.at_eof():
                    body += await response.content.read(ANSWER_BYTES + 1 - len(body))
                status, headers = response.status, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SourceUnavailable(f"Graph did not answer ({type(error).__name__})") from None
        self._heard(headers)
        if len(body) > ANSWER_BYTES:
            raise SourceUnavailable("Graph's answer is too large to be one")
        if status == _OK:
            return _Answer(body, headers.get("Date"))
        raise self._refusal(status, body, headers)

    def _heard(self, headers: Mapping[str, str]) -> None:
        quota = graph.quota(headers)
        if quota is not None:
            self._tools.permits.heard(quota)

    def _refusal(self, status: int, body: bytes, headers: Mapping[str, str]) -> Exception:
        error = graph.read_error(body)
        trouble = graph.classify(status, error)
        sentence = graph.sentence_of(trouble, error)
        if trouble is not Trouble.LIMITED:
            return RefusedError(trouble, sentence)
        wish = _seconds(headers.get("Retry-After"))
        told = graph.quota(headers)
        if wish is None and told is not None:
            wish = told.resets_in
        return RateLimited(sentence, retry_after=self._tools.permits.refused(CALLS, wish))

    async def token_of(self, session: aiohttp.ClientSession, plan: Plan, account: str) -> SecretStr:
        """Return the token of an account: a page's own where ours may ask for it, else ours."""
        if not plan.page_token:
            return self._settings.token
        try:
            answer = await self.get(
                session, account, {"fields": "access_token"}, self._settings.token, account
            )
        except RefusedError as error:
            if error.trouble in {Trouble.GONE, Trouble.REQUEST}:
                return self._settings.token
            raise
        try:
            own = _OWN_TOKEN.decode(answer.body).access_token
        except READ_ERRORS:
            own = None
        return self._settings.token if not own else SecretStr(own)

    async def probe(self, session: aiohttp.ClientSession) -> graph.TokenData:
        """Return what the network tells of our token."""
        token = self._settings.token
        query = {"input_token": token.get_secret_value().strip()}
        try:
            answer = await self.get(session, "debug_token", query, token)
        except RefusedError as error:
            if error.trouble in {Trouble.REVOKED, Trouble.EXPIRED}:
                return graph.TokenData(is_valid=False)
            raise error.raised() from None
        return graph.read_token(answer.body)


class _OwnToken(msgspec.Struct):
    access_token: str | None = None


_OWN_TOKEN = msgspec.json.Decoder(_OwnToken)


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isascii() and value.isdecimal() else None


def session() -> aiohttp.ClientSession:
    """Return a session with our time-outs; whoever asks for it closes it."""
    return aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True)


class Reconciler:
    """A PollClient: reads again, through Graph, what webhooks should have told.

    Args:
        plan: of the network.
        options: of the connector.
        tools: time and limits.
    """

    def __init__(self, plan: Plan, options: Options, tools: Tools) -> None:
        self.source = plan.network
        self._plan = plan
        self._settings = Settings.of(options, plan.accounts)
        self._tools = tools
        self._graph = Graph(self._settings, tools)
        self._probed: datetime | None = None

    def channels(self) -> Sequence[str]:
        """Return the accounts."""
        return self._settings.accounts

    async def poll(
        self, channel: str, cursor: str | None
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Yield what one account shows since the last round; see `PollClient.poll`."""
        round_ = graph.begin(cursor, self._tools.clock.now(), self._settings.back_days)
        try:
            async with session() as opened:
                told = await self._credential(opened)
                if told is not None:
                    yield told
                    if told.revoked:
                        raise CredentialsRejected(told.sentence)
                token = await self._graph.token_of(opened, self._plan, channel)
                reader = _Reader(self._graph, opened, token, channel, round_, cursor or "")
                for edge in self._plan.edges:
                    async with aclosing(reader.read(edge, channel)) as things:
                        async for thing in things:
                            yield thing
        except RefusedError as error:
            raise error.raised() from None
        yield Arrival(None, str(round_.until))

    async def _credential(self, opened: aiohttp.ClientSession) -> Credential | None:
        now = self._tools.clock.now()
        if self._probed is not None and now - self._probed < PROBE_EVERY:
            return None
        told = graph.credential(await self._graph.probe(opened), self._plan.scopes)
        self._probed = now
        return told


class _Reader:
    """Reads the edges of one account in one round."""

    def __init__(
        self,
        calls: Graph,
        opened: aiohttp.ClientSession,
        token: SecretStr,
        channel: str,
        round_: Round,
        cursor: str,
    ) -> None:
        self._graph = calls
        self._session = opened
        self._token = token
        self._channel = channel
        self._round = round_
        self._cursor = cursor
        self._mode: Mode = "backfill" if round_.first else "gap_fill"

    async def read(
        self, edge: Edge, of: str, parent: str = ""
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Yield the new things of an edge, oldest first, then what newly hangs on its things."""
        found = _Found([], [])
        whole = await self._collect(edge, of, found)
        for _, body in sorted(found.new, key=lambda each: each[0]):
            yield Arrival(self._delivery(edge, body, parent), self._cursor, mode=self._mode)
        if not whole:
            yield Gap("page_limit", "an edge holds more pages than one round reads")
        if edge.child is None:
            return
        for each in reversed(found.parents):
            async with aclosing(self.read(edge.child, each, each)) as things:
                async for thing in things:
                    yield thing

    async def _collect(self, edge: Edge, of: str, found: "_Found") -> bool:
        """Read an edge from the newest back; return whether it was read far enough."""
        since = self._round.since
        floor = min(since, self._round.until - edge.walk_days * graph.DAY_MS)
        after: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            page = await self._page(edge, of, after)
            if page is None:
                return True
            oldest = min([_sort(edge, raw, since, found) for raw in page.data or ()], default=0)
            after = _after(page)
            if not after or oldest < floor:
                return True
        return False

    def _delivery(self, edge: Edge, body: bytes, parent: str) -> Delivery:
        context = {"via": "graph", "edge": edge.name, "channel": self._channel}
        if parent:
            context["parent"] = parent
        return Delivery(body, context)

    async def _page(self, edge: Edge, of: str, after: Mapping[str, str]) -> graph.Page | None:
        """Return a page; None where what it hangs on is gone."""
        params = {"limit": str(_PAGE_SIZE), **edge.params, **after}
        try:
            answer = await self._graph.get(
                self._session, edge.path.format(id=of), params, self._token, self._channel
            )
        except RefusedError as error:
            if error.trouble is Trouble.GONE and of != self._channel:
                return None
            raise
        try:
            return graph.PAGE.decode(answer.body)
        except READ_ERRORS:
            raise SourceUnavailable("Graph's answer is no page") from None


class _Found(NamedTuple):
    """What an edge showed: new things with their times, and things on which others may hang."""

    new: list[tuple[int, bytes]]
    parents: list[str]


def _sort(edge: Edge, raw: msgspec.Raw, since: int, found: _Found) -> int:
    """Take what is new of a thing; return the time by which its edge is ordered."""
    stamp, made, touched = _times(raw)
    if edge.name and made >= since:
        found.new.append((made, bytes(raw)))
    found.new.extend(each for each in _nested(raw, edge.nested) if each[0] >= since)
    may_hold = touched >= since or (edge.hangs and bool(stamp.comments_count))
    if edge.child is not None and may_hold and stamp.id is not None:
        found.parents.append(str(stamp.id))
    return min(made, touched)


def _times(raw: msgspec.Raw) -> tuple[graph.Stamp, int, int]:
    """Return a thing's stamp, when it was made and last touched; what tells no time is new."""
    try:
        stamp = graph.STAMP.decode(raw)
        made, touched = stamp.made_at, stamp.touched_at
    except (msgspec.DecodeError, InvalidMessage):
        return graph.Stamp(), _NOW, _NOW
    return stamp, _NOW if made is None else made, _NOW if touched is None else touched


_NOW = 2**62


def _nested(raw: msgspec.Raw, name: str) -> list[tuple[int, bytes]]:
    if not name:
        return []
    try:
        inside = _PARTS.decode(raw).get(name)
        page = graph.Page() if inside is None else graph.PAGE.decode(inside)
    except READ_ERRORS:
        return []
    return [(_times(each)[1], bytes(each)) for each in page.data or ()]


_PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SECRET_PARAMS = frozenset({"access_token", "appsecret_proof", "limit", "fields"})


def _after(page: graph.Page) -> dict[str, str]:
    """Return how to ask for the next page; the address itself is never followed."""
    if page.paging is None or page.paging.next is None:
        return {}
    if page.paging.cursors is not None and page.paging.cursors.after:
        return {"after": page.paging.cursors.after}
    try:
        query = URL(page.paging.next).query
    except ValueError:
        return {}
    return {name: value for name, value in query.items() if name not in _SECRET_PARAMS}
