"""Reads X: the filtered stream live, recent search for what was missed, owned reads, compliance jobs.

- Liveness is judged by bytes: X sends a blank line every 20 s, and after 25 s without any byte the
  connection is dead. The runner reconnects by the tables that X publishes (connector.yaml).
- A reconnect first opens the stream, whose lines wait, then searches for what was missed and sends it
  oldest first, and only then the lines: nothing is lost at the cut-over and nothing overtakes.
- One holder: the runner's lease. When X says that a stream is open already, it is one that a
  predecessor left behind; it is closed through the Connections API, at most once a minute.
- Rules are those of the brands in force, and change without a reconnect. What posts cost is counted
  by rule; when the budget does not carry all rules to the month's end, the least valuable rest.

Source: `x-api/fundamentals/{consuming-streaming-data,handling-disconnections}`, `x-api/connections`,
`x-api/compliance/batch-compliance/integrate`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec
from pydantic import SecretStr

from klingel.config.brand import Brand
from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    RateLimited,
    RetryableError,
)
from klingel_networks.arrival import (
    Arrival,
    Away,
    Credential,
    Finding,
    Gap,
    GapCause,
    GapClosed,
    GapOutcome,
    Mode,
    Options,
    Report,
    Tools,
)
from klingel_networks.contract import Delivery, NativeObject
from klingel_networks.examining import clock_finding
from klingel_networks.x.api import WANTED, Api, Job, TooManyConnections, bounded
from klingel_networks.x.cost import Meter, affordable, month_left_seconds
from klingel_networks.x.doctor import webhook_findings
from klingel_networks.x.ids import HOME_COUNTRY, PREFIX, is_id, snowflake_at
from klingel_networks.x.mapping import explode
from klingel_networks.x.media import PostMedia
from klingel_networks.x.position import Position, Window, missed
from klingel_networks.x.rules import (
    TAG_PREFIX,
    TIERS,
    Plan,
    StreamRule,
    change,
    derive,
)
from klingel_networks.x.webhooks import Webhooks

HEARTBEAT_SECONDS = 20.0
DEADLINE_SECONDS = HEARTBEAT_SECONDS + 5.0
"""Without a byte for so long a stream is dead."""
LINE_BYTES = 8 << 20
"""A line of X is far below 1 MiB; what is larger is not of this protocol."""
WAITING_LINES = 10_000
"""So many lines wait while we search; then the stream is read no further."""
WINDOW_POSTS = 2_000
"""With more posts than this a window is searched in halves, so that memory stays bounded."""
QUERY_LENGTH = 1_024
GAP_ITEM, OWNED_ITEM, UNNAMED_ITEM = "gap_fill", "owned_reads", "other_rules"

_STREAM = "/2/tweets/search/stream"
_SMALLEST_WINDOW = timedelta(minutes=1)
_PRICE_UNIT = 100_000.0
_IDS_A_JOB = 6_000_000
_LOOKUP = 100
_JOB_ENDS = frozenset({"complete", "failed", "expired"})

Kept = Callable[[], Iterable[str]]
"""The ids of the posts that are kept, for compliance jobs."""


@dataclass(frozen=True, slots=True)
class XOptions:
    """What to hear and how; times in seconds.

    Attributes:
        token: bearer token of the app.
        endpoint: address of the API.
        tier: key of TIERS.
        country: where posts are read.
        reposts: whether reposts are heard.
        price: of a post read, in dollars.
        owned_price: of an owned read, in dollars.
        owned: accounts that own the app.
        owned_seconds: between two owned reads of an account.
        compliance_seconds: between two compliance jobs; 0 for none.
        deadline_seconds: without a byte for so long a stream is dead.
        overlap_seconds: how far before a gap to search.
        settle_seconds: how old a post must be to be found by search.
        tend_seconds: between two looks at brands and budget.
        job_seconds: between two looks at a compliance job.
        hook: the gateway's hook where the app rings.
        hook_seconds: between two looks at what the hook missed.
        valid_seconds: between two looks at whether the app's webhook is valid.
    """

    token: SecretStr
    endpoint: str = "https://api.x.com"
    tier: str = "pay_per_use"
    country: str = HOME_COUNTRY
    reposts: bool = True
    price: float = 0.005
    owned_price: float = 0.001
    owned: tuple[str, ...] = ()
    owned_seconds: float = 60.0
    compliance_seconds: float = 12 * 3600.0
    deadline_seconds: float = DEADLINE_SECONDS
    overlap_seconds: float = 30.0
    settle_seconds: float = 12.0
    tend_seconds: float = 30.0
    job_seconds: float = 45.0
    hook: str = "x"
    hook_seconds: float = 15.0
    valid_seconds: float = 300.0


class _Line(NamedTuple):
    """A line of the stream and when it came; an empty one is a heartbeat."""

    body: bytes
    at: datetime


class _Result(NamedTuple):
    """What another task found: a compliance job's word or its end, or what the webhook missed."""

    deliveries: tuple[Delivery, ...]
    done: datetime | None = None
    reports: tuple[Report, ...] = ()
    watched: Position | None = None

    def after(self, here: Position) -> Position:
        """Return the position behind it; each task moves its own part alone."""
        if self.done is not None:
            here = replace(here, checked=self.done)
        if self.watched is not None:
            taken, valid, holes = self.watched.taken, self.watched.valid, self.watched.holes
            here = replace(here, taken=taken, valid=valid, holes=holes)
        return here


class _Due:
    """When which chore is due, on the monotonic clock."""

    def __init__(self, now: float, options: "XOptions") -> None:
        self.tend = now + options.tend_seconds
        self.owned = now if options.owned else float("inf")


class _Tag(msgspec.Struct):
    tag: str = ""


class _Id(msgspec.Struct):
    id: str = ""


class _Problem(msgspec.Struct):
    title: str = ""
    connection_issue: str = ""


class _Message(msgspec.Struct):
    """The parts of a line that matter to reading; all else is the mapping's."""

    data: _Id | None = None
    matching_rules: list[_Tag] | None = None
    errors: list[_Problem] | None = None
    title: str = ""
    connection_issue: str = ""


class _Checked(msgspec.Struct):
    id: str = ""
    action: str = ""


_MESSAGE = msgspec.json.Decoder(_Message)
_CHECKED = msgspec.json.Decoder(_Checked)
_ID = msgspec.json.Decoder(_Id)


class XClient:
    """One filtered stream; reads until the connection ends, then raises.

    Args:
        options: what to hear.
        tools: time, limits, brands.
        kept: the ids of the posts that are kept; None: no compliance jobs.
    """

    def __init__(self, options: XOptions, tools: Tools, kept: Kept | None = None) -> None:
        if options.tier not in TIERS:
            raise ConfigurationError(f"x.tier must be one of {', '.join(TIERS)}")
        self.source = "stream"
        self._options = options
        self._tools = tools
        self._kept = kept
        self._meter = Meter(tools.clock.now())
        self._plan = Plan()
        self._brands: tuple[Brand, ...] | None = None
        self._paused: frozenset[str] = frozenset()
        self._rates: dict[str, float] = {}
        self._told: set[str] = set()
        self._cause: GapCause = "disconnected"
        self._cleared_at: float | None = None
        self._short = False
        self._webhooks = Webhooks(options.hook, tools, options.valid_seconds, options.owned)
        self._context = {} if options.country == HOME_COUNTRY else {"country": options.country}

    async def arrivals(self, cursor: str | None) -> AsyncGenerator[Arrival | Report, None]:
        """Yield what was missed since the cursor, then what comes.

        Raises:
            Away, RateLimited, CredentialsRejected, ConfigurationError: as `Client.arrivals`.
        """
        position = None if cursor is None else Position.decode(cursor)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._options.deadline_seconds)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            api = Api(
                session,
                self._options.endpoint.rstrip("/"),
                self._options.token.get_secret_value(),
                self._tools,
            )
            for report in await self._tend(api):
                yield report
            lines: asyncio.Queue[_Line | _Result | Exception] = asyncio.Queue(WAITING_LINES)
            tasks: list[asyncio.Task[None]] = []
            # X refuses a stream without rules; owned accounts are read all the same.
            response = await self._connect(session, api) if self._in_force() else None
            if response is not None:
                tasks.append(asyncio.create_task(self._pump(response, lines)))
            try:
                connected = self._tools.clock.now()
                yield Credential()
                here = position or self._beginning(connected)
                async with contextlib.aclosing(self._fill(api, here, connected)) as found:
                    async for each in found:
                        yield each
                here = replace(here.moved(connected), gap="")
                yield Arrival(None, here.encode())
                tasks.append(asyncio.create_task(self._check_kept(api, here.checked, lines)))
                tasks.append(asyncio.create_task(self._watch(api, here, lines)))
                reading = self._live(api, here, lines, streams=response is not None)
                async with contextlib.aclosing(reading) as heard:
                    async for each in heard:
                        yield each
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if response is not None:
                    response.close()

    # --- rules and budget ----------------------------------------------------------------------

    async def _tend(self, api: Api) -> list[Report]:
        """Bring X's rules to what the brands want and the budget carries; tell what rests."""
        brands = self._tools.brands()
        if brands is None:
            if self._brands is None:
                raise Away("the brands are not read yet")
            brands = self._brands
        paused = self._to_pause()
        if tuple(brands) == self._brands and paused == self._paused:
            return []
        held = await api.rules()
        self._plan = derive(
            brands,
            TIERS[self._options.tier],
            owned=self._options.owned,
            reposts=self._options.reposts,
            foreign=sum(not rule.tag.startswith(TAG_PREFIX) for rule in held),
        )
        paused = self._to_pause()
        wanted = [rule for rule in self._plan.rules if rule.tag not in paused]
        todo = change(held, wanted)
        # Deleted first: both together may be more than there is room for.
        if todo.delete:
            await api.delete_rules(todo.delete)
        refused = await api.add_rules(todo.add) if todo.add else []
        # Only now: what failed half-way is done again the next time.
        first, self._brands = self._brands is None, tuple(brands)
        return [*self._tell_refused(refused), *self._tell_paused(paused, first=first)]

    def _to_pause(self) -> frozenset[str]:
        """Return the rules that the budget does not carry, of the plan in force."""
        now = self._tools.clock.now()
        rates = self._meter.rates(now)
        for rule, rate in rates.items():
            if rule not in self._paused:
                self._rates[rule] = rate
        ranked = [rule.tag for rule in self._plan.rules]
        kept = affordable(
            ranked, self._rates, self._tools.permits.left(), month_left_seconds(now), self._paused
        )
        return frozenset(ranked) - frozenset(kept)

    def _in_force(self) -> list[StreamRule]:
        return [rule for rule in self._plan.rules if rule.tag not in self._paused]

    def _tell_refused(self, values: Sequence[str]) -> list[Report]:
        names = {rule.value: rule.tag for rule in self._plan.rules}
        told: list[Report] = []
        for value in values:
            name = names.get(value, "")
            if name and name not in self._told:
                self._told.add(name)
                told.append(Gap("dropped_by_network", f"X refuses the stream rule {name}"))
        return told

    def _tell_paused(self, paused: frozenset[str], *, first: bool) -> list[Report]:
        """Return the gaps that pausing opens and resuming closes, also those of an earlier process."""
        now = self._tools.clock.now()
        ranked = [rule.tag for rule in self._plan.rules]
        # A key that is not open is ignored.
        resting = set(ranked) if self._tools.permits.left() is not None else set()
        told: list[Report] = [
            Gap(
                "budget",
                f"the month's budget does not carry the stream rule {name}: it rests",
                key=f"budget/{name}"[:200],
                began_at=now,
            )
            for name in ranked
            if name in paused and name not in self._paused
        ]
        told += [
            GapClosed(f"budget/{name}"[:200], "unrecoverable", ended_at=now)
            for name in sorted(self._paused - paused if not first else resting - paused)
        ]
        self._paused = paused
        return told

    def _spend(self, post_id: str, rules: Sequence[str], price: float) -> None:
        shares = self._meter.note(post_id, rules, price, self._tools.clock.now())
        for rule, share in shares.items():
            self._tools.permits.spend(rule, share)

    # --- the stream ----------------------------------------------------------------------------

    async def _connect(self, session: aiohttp.ClientSession, api: Api) -> aiohttp.ClientResponse:
        """Open the stream; of a predecessor's that is still open, make an end first."""
        await self._tools.permits.ask("connects")
        try:
            response = await session.get(
                self._options.endpoint.rstrip("/") + _STREAM,
                params={
                    name.replace("_", ".", 1): ",".join(values) for name, values in WANTED.items()
                },
                headers={
                    "Authorization": f"Bearer {self._options.token.get_secret_value()}",
                    "User-Agent": "klingel",
                },
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Away(f"X cannot be reached ({type(error).__name__})") from None
        with contextlib.ExitStack() as refused:
            refused.callback(response.close)
            try:
                body = await bounded(response) if response.status >= 400 else b""
                api.check("connects", response, body)
            except TooManyConnections:
                response.close()
                await self._clear(api)
                raise Away("a stream that a predecessor left open was closed") from None
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise Away(f"X broke off ({type(error).__name__})") from None
            refused.pop_all()
        return response

    async def _clear(self, api: Api) -> None:
        """Close what a predecessor left; raises RateLimited when that was done just now."""
        now = self._tools.clock.monotonic()
        if self._cleared_at is not None and now - self._cleared_at < 60.0:
            raise RateLimited("X says that another stream of this app is open: is there a second?")
        self._cleared_at = now
        await api.close_streams()

    async def _pump(
        self,
        response: aiohttp.ClientResponse,
        lines: "asyncio.Queue[_Line | _Result | Exception]",
    ) -> None:
        """Cut the stream into lines until it ends; the last thing put is why."""
        try:
            await self._cut(response, lines)
        except TimeoutError:
            self._cause = "stalled"
            await lines.put(Away("X fell silent"))
        except (aiohttp.ClientError, OSError) as error:
            await lines.put(Away(f"X broke off ({type(error).__name__})"))
        except Away as error:
            await lines.put(error)
        finally:
            # Nobody may wait for a stream that nobody reads.
            with contextlib.suppress(asyncio.QueueFull):
                lines.put_nowait(Away("the stream is read no longer"))

    async def _cut(
        self,
        response: aiohttp.ClientResponse,
        lines: "asyncio.Queue[_Line | _Result | Exception]",
    ) -> None:
        rest = b""
        while True:
            async with asyncio.timeout(self._options.deadline_seconds):
                chunk = await response.content.readany()
            if not chunk:
                # Half a line at the end is no line: what it was is found by search.
                raise Away("X ended the stream")
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_BYTES:
                raise Away(f"a line of X is longer than {LINE_BYTES:,} bytes")
            now = self._tools.clock.now()
            for line in whole:
                await lines.put(_Line(line.rstrip(b"\r"), now))

    async def _live(
        self,
        api: Api,
        here: Position,
        lines: "asyncio.Queue[_Line | _Result | Exception]",
        *,
        streams: bool,
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Yield the stream's lines; between them look at brands, budget and owned accounts."""
        due = _Due(self._tools.clock.monotonic(), self._options)
        while True:
            async with contextlib.aclosing(self._chores(api, here, due, streams=streams)) as done:
                async for each in done:
                    if isinstance(each, Arrival):
                        here = Position.decode(each.cursor)
                    yield each
            item = await self._next(lines, due)
            if isinstance(item, _Result):
                here = item.after(here)
                for report in item.reports:
                    yield report
                for delivery in item.deliveries:
                    yield Arrival(delivery, here.encode())
                yield Arrival(None, here.encode())
            elif item is not None:
                here = here.moved(item.at)
                yield self._heard(item, here.encode())

    async def _next(
        self, lines: "asyncio.Queue[_Line | _Result | Exception]", due: "_Due"
    ) -> "_Line | _Result | None":
        """Return what comes next, None when there is something to do; raises why the stream ended."""
        next_due = min(due.tend, due.owned)
        wait = max(0.01, next_due - self._tools.clock.monotonic())
        try:
            async with asyncio.timeout(wait):
                item = await lines.get()
        except TimeoutError:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    async def _chores(
        self, api: Api, here: Position, due: "_Due", *, streams: bool
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Do what is due: rules and budget, owned reads."""
        now = self._tools.clock.monotonic()
        if now >= due.tend:
            due.tend = now + self._options.tend_seconds
            with contextlib.suppress(RetryableError):
                for report in await self._tend(api):
                    yield report
            if not streams and self._in_force():
                raise Away("there are stream rules again")
            if not streams:
                here = here.moved(self._tools.clock.now())
                yield Arrival(None, here.encode())
        if now >= due.owned:
            due.owned = now + self._options.owned_seconds
            async with contextlib.aclosing(self._read_owned(api, here)) as found:
                async for arrival in found:
                    yield arrival

    def _heard(self, line: _Line, cursor: str) -> Arrival:
        """Return a line as an arrival; raises Away when it says that the stream ends."""
        if not line.body.strip():
            return Arrival(None, cursor)
        try:
            message = _MESSAGE.decode(line.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            message = _Message(data=_Id())
        if message.data is None:
            problems = message.errors or ()
            issue = message.connection_issue or next((p.connection_issue for p in problems), "")
            title = message.title or next((p.title for p in problems), "")
            if issue or title:
                self._cause = "disconnected"
                raise Away(f"X ends the stream: {_named(issue or title)}")
        elif message.data.id:
            rules = [rule.tag for rule in message.matching_rules or () if rule.tag]
            known = [rule for rule in rules if rule.startswith(TAG_PREFIX)] or [UNNAMED_ITEM]
            self._spend(message.data.id, known, self._options.price)
        return Arrival(Delivery(line.body, self._context), cursor, received_at=line.at)

    # --- what was missed -----------------------------------------------------------------------

    def _beginning(self, now: datetime) -> Position:
        """Return where to begin without a cursor: what happens from now on."""
        owned = {
            f"{account}/{what}": snowflake_at(now)
            for account in self._options.owned
            for what in ("mentions", "posts")
        }
        return Position(now, owned=owned)

    async def _fill(
        self, api: Api, here: Position, connected: datetime
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Search for what the stream did not bring between the position and the connection."""
        if here.at >= connected:
            return
        window = missed(
            here,
            connected,
            overlap=timedelta(seconds=self._options.overlap_seconds),
            reposts=self._options.reposts,
        )
        here = replace(here, gap=here.gap or f"x/{int(here.at.timestamp() * 1000)}")
        yield Gap(
            self._cause,
            "the stream was away; what was said meanwhile is searched for",
            key=here.gap,
            start=here.encode(),
            began_at=here.at,
        )
        self._cause = "disconnected"
        outcome: GapOutcome = window.outcome
        queries = self._queries()
        if queries:
            await self._settled(window.end)
            self._short = False
            async with contextlib.aclosing(self._search(api, queries, here, window)) as found:
                async for arrival in found:
                    yield arrival
            outcome = "partial" if self._short else outcome
        elif not self._options.owned:
            outcome = "unrecoverable"
        yield GapClosed(here.gap, outcome, end=here.moved(connected).encode(), ended_at=connected)

    def _queries(self) -> list[str]:
        """Return the rules in force as queries, several in one as far as they fit."""
        queries: list[str] = []
        for rule in self._in_force():
            part = f"({rule.value})"
            if queries and len(queries[-1]) + 4 + len(part) <= QUERY_LENGTH:
                queries[-1] += f" OR {part}"
            else:
                queries.append(part if len(part) <= QUERY_LENGTH else rule.value)
        return queries

    async def _settled(self, end: datetime) -> None:
        """Wait until search can know everything before `end`."""
        ready = end + timedelta(seconds=self._options.settle_seconds)
        wait = (ready - self._tools.clock.now()).total_seconds()
        if wait > 0:
            await self._tools.sleep(wait)

    async def _search(
        self, api: Api, queries: Sequence[str], here: Position, window: Window
    ) -> AsyncGenerator[Arrival, None]:
        """Yield the posts of a window, oldest first; a full one is searched in halves."""
        windows = [window]
        while windows:
            part = windows.pop()
            small = part.end - part.start <= _SMALLEST_WINDOW
            found = await self._collect(api, queries, part, None if small else WINDOW_POSTS)
            if found is None:
                earlier, later = part.halves()
                windows += [later, earlier]
                continue
            self._count_found(found, GAP_ITEM, self._options.price)
            for arrival in found.arrivals(here.encode(), "gap_fill"):
                yield arrival
            here = here.moved(min(part.end, self._tools.clock.now()))
            yield Arrival(None, here.encode())

    async def _collect(
        self, api: Api, queries: Sequence[str], window: Window, most: int | None
    ) -> "_Posts | None":
        """Return the posts of a window; None when there are more than `most`."""
        found = _Posts()
        for query in queries:
            token: str | None = None
            while True:
                try:
                    body, token = await api.search(query, window, token)
                except RateLimited as error:
                    await self._tools.sleep(error.retry_after or 60.0)
                    continue
                except CredentialsRejected:
                    raise
                except ConfigurationError:
                    self._short = True  # X takes this rule in the stream and not in search
                    break
                found.take(body, self._context)
                if most is not None and len(found.posts) > most:
                    return None
                if token is None:
                    break
        return found

    def _count_found(self, found: "_Posts", item: str, price: float) -> None:
        for post_id in found.posts:
            self._spend(post_id, (item,), price)

    # --- owned reads ---------------------------------------------------------------------------

    async def _read_owned(self, api: Api, here: Position) -> AsyncGenerator[Arrival, None]:
        """Yield mentions and posts of the accounts that own the app, oldest first."""
        for account in self._options.owned:
            for what in ("mentions", "posts"):
                name = f"{account}/{what}"
                since = here.owned.get(name) or snowflake_at(here.at)
                found = _Posts()
                token: str | None = None
                try:
                    while True:
                        body, token = await api.owned(what, account, since, token)
                        found.take(body, {**self._context, "channel": account})
                        if token is None:
                            break
                except RetryableError:
                    continue  # asked again at its next turn, from the same place
                self._count_found(found, OWNED_ITEM, self._options.owned_price)
                for arrival in found.arrivals(here.encode(), "live"):
                    yield arrival
                if found.posts:
                    here = here.read(name, max(found.posts, key=int))
                    yield Arrival(None, here.encode())

    # --- compliance ----------------------------------------------------------------------------

    async def _check_kept(
        self,
        api: Api,
        checked: datetime | None,
        lines: "asyncio.Queue[_Line | _Result | Exception]",
    ) -> None:
        """Ask again and again which of the posts that are kept must go."""
        every = self._options.compliance_seconds
        if self._kept is None or every <= 0:
            return
        while True:
            now = self._tools.clock.now()
            due = now if checked is None else checked + timedelta(seconds=every)
            if due > now:
                await self._tools.sleep((due - now).total_seconds())
            began = self._tools.clock.now()
            try:
                ids = await asyncio.to_thread(lambda: sorted(set(self._kept_ids())))
                for at in range(0, len(ids), _IDS_A_JOB):
                    await lines.put(_Result(await self._job(api, ids[at : at + _IDS_A_JOB])))
            except RetryableError:
                await self._tools.sleep(min(every, 900.0))
                continue
            except ConfigurationError as error:
                sentence = (
                    f"compliance jobs are refused, so deletions of others stay unknown: {error}"
                )
                await lines.put(_Result((), reports=(Credential(sentence=sentence),)))
                checked = began
                continue
            checked = began
            await lines.put(_Result((), done=began))

    async def _watch(
        self,
        api: Api,
        here: Position,
        lines: "asyncio.Queue[_Line | _Result | Exception]",
    ) -> None:
        """Look again and again at what the webhook missed; the stream waits for none of it."""
        try:
            while True:
                after, reports = await self._webhooks.look(api, here)
                if reports or after != here:
                    here = after
                    await lines.put(_Result((), reports=tuple(reports), watched=here))
                await self._tools.sleep(self._options.hook_seconds)
        except Exception as error:  # noqa: BLE001  raised where the lines are read
            await lines.put(error)

    def _kept_ids(self) -> Iterable[str]:
        return (each for each in (self._kept() if self._kept else ()) if is_id(each))

    async def _job(self, api: Api, ids: Sequence[str]) -> tuple[Delivery, ...]:
        """Run one compliance job; return its lines and, of posts to be read again, what they are."""
        job = await api.create_job("klingel")
        await api.upload(job, ids)
        job = await self._finished(api, job)
        result = await api.download(job)
        deliveries: list[Delivery] = []
        again: list[str] = []
        for line in filter(None, result.split(b"\n")):
            deliveries.append(Delivery(line, self._context))
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                read = _CHECKED.decode(line)
                if read.action == "rehydrate" and is_id(read.id):
                    again.append(read.id)
        for at in range(0, len(again), _LOOKUP):
            body = await api.lookup(again[at : at + _LOOKUP])
            deliveries.append(Delivery(body, {**self._context, "asked": "posts"}))
        return tuple(deliveries)

    async def _finished(self, api: Api, job: Job) -> Job:
        """Wait for a job; raises Away when X gives it up."""
        while True:
            await self._tools.sleep(self._options.job_seconds)
            now = await api.job(job.id)
            if now.status in _JOB_ENDS:
                break
        if now.status != "complete":
            raise Away(f"X gave up a compliance job ({_named(now.status)})", table="http")
        return now


def _named(value: str) -> str:
    """Return a name of X's as it may stand in a sentence."""
    plain = "".join(letter for letter in value[:60] if letter.isalnum() or letter in "-_ ")
    return plain or "without a reason"


@dataclass(slots=True)
class _Posts:
    """What pages brought: posts by id, and pieces that are none, for the dead letters."""

    posts: dict[str, NativeObject] = field(default_factory=dict)
    odd: list[bytes] = field(default_factory=list)

    def take(self, body: bytes, context: Mapping[str, str]) -> None:
        """Take the pieces of a page; one that came already is kept once."""
        for piece in explode(Delivery(body, context)):
            post_id = ""
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                post_id = _ID.decode(piece.native).id
            if isinstance(piece, NativeObject) and is_id(post_id):
                self.posts.setdefault(post_id, piece)
            else:
                self.odd.append(piece.native)

    def arrivals(self, cursor: str, mode: Mode) -> Iterator[Arrival]:
        """Yield everything, posts oldest first."""
        for native in self.odd:
            yield Arrival(Delivery(native), cursor, mode=mode)
        for post_id in sorted(self.posts, key=int):
            piece = self.posts[post_id]
            yield Arrival(Delivery(piece.native, piece.context), cursor, mode=mode)


def options_of(options: Options) -> XOptions:
    """Return the settings as options; raises ConfigurationError."""
    token = options.get("bearer_token")
    if not isinstance(token, SecretStr):
        raise ConfigurationError("x.bearer_token is missing")
    owned = str(options.get("owned_accounts") or "")
    accounts = tuple(filter(None, (each.strip() for each in owned.split(","))))
    if not all(is_id(each) for each in accounts):
        raise ConfigurationError("x.owned_accounts are numeric ids, separated by commas")
    return XOptions(
        token=token,
        endpoint=str(options.get("endpoint") or "https://api.x.com"),
        tier=str(options.get("tier") or "pay_per_use"),
        country=str(options.get("country") or HOME_COUNTRY).upper(),
        reposts=bool(options.get("reposts", True)),
        price=_count(options, "post_price_millicents", 500) / _PRICE_UNIT,
        owned_price=_count(options, "owned_price_millicents", 100) / _PRICE_UNIT,
        owned=accounts,
        compliance_seconds=_count(options, "compliance_hours", 12) * 3600.0,
        hook=str(options.get("hook") or "x"),
    )


def _count(options: Options, name: str, default: int) -> int:
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"x.{name} must be 0 or more")
    return value


def kept_in(file: str) -> Kept:
    """Return the ids in a file, one a line."""

    def read() -> Iterable[str]:
        try:
            return [line.strip() for line in Path(file).read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError):
            raise Away("the file of kept posts (x.kept_posts) cannot be read") from None

    return read


def connect(options: Options, tools: Tools) -> XClient:
    """Return the client of a connector; raises ConfigurationError."""
    return XClient(options_of(options), tools, kept_of(options, tools))


def addresses(options: Options, tools: Tools) -> PostMedia:
    """Return what finds the present address of a post's attachment."""
    own = options_of(options)
    return PostMedia(own.endpoint.rstrip("/"), own.token.get_secret_value(), own.price, tools)


def kept_of(options: Options, tools: Tools) -> Kept | None:
    """Return who tells the ids of the posts that are kept: the file that is set, else klingel."""
    file = str(options.get("kept_posts") or "")
    if file:
        return kept_in(file)
    told = tools.kept
    return None if told is None else lambda: told(PREFIX)


async def examine(options: Options, tools: Tools) -> list[Finding]:
    """Look at credential, rules, webhook and what X cannot be asked for, without changing anything."""
    own = options_of(options)
    findings: list[Finding] = []
    brands = tools.brands()
    plan = derive(brands or (), TIERS[own.tier], owned=own.owned, reposts=own.reposts)
    async with aiohttp.ClientSession() as session:
        api = Api(session, own.endpoint.rstrip("/"), own.token.get_secret_value(), tools)
        try:
            held = await api.rules()
            refused = await api.add_rules(_missing(plan, [rule.value for rule in held]), dry=True)
        except ConfigurationError as error:
            return [Finding("credentials", "failed", str(error), "make a new bearer token")]
        except RetryableError as error:
            return [Finding("credentials", "unknown", str(error), "ask again later")]
        heard = await webhook_findings(api, own.hook, _own_accounts(own, brands or ()))
    findings.append(Finding("credentials", "ok", "X accepts the bearer token"))
    findings.append(clock_finding(api.date, tools.clock.now()))
    if brands is None:
        findings.append(
            Finding("rules", "unknown", "the brands are not read", "apply the brand files")
        )
    names = {rule.value: rule.tag for rule in plan.rules}
    findings += [
        Finding(
            "rules",
            "failed",
            f"X refuses the stream rule {names.get(value, '')}",
            "write its listening rule with words, phrases, accounts or hashtags",
        )
        for value in refused
    ]
    findings += [
        Finding(
            "rules",
            "warning",
            f"listening rule {each.brand}/{each.rule}: {each.sentence}",
            "write the words out, or hear this part through another channel",
        )
        for each in plan.left_out
    ]
    if all(each.check != "rules" for each in findings):
        findings.append(Finding("rules", "ok", f"{len(plan.rules)} stream rules fit"))
    return findings + heard


def _own_accounts(own: XOptions, brands: Iterable[Brand]) -> set[str]:
    """Return the ids of the own accounts, of the settings and of the brands."""
    told = {each.id for brand in brands for each in brand.accounts if each.network == "x"}
    return told | set(own.owned)


def _missing(plan: Plan, values: Sequence[str]) -> list[StreamRule]:
    return [rule for rule in plan.rules if rule.value not in values]
