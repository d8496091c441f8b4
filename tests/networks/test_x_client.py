"""X's client against the stand-in, over real sockets: nothing lost, nothing overtakes."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from klingel.config.brand import Account, ListeningRule
from klingel.config.loader import load_brand
from klingel.errors import ConfigurationError, CredentialsRejected, RateLimited
from klingel_networks.arrival import Arrival, Away, Credential, Gap, GapClosed, Tools, Unbounded
from klingel_networks.registry import installed
from klingel_networks.x.client import UNNAMED_ITEM, XClient, XOptions, examine, options_of
from klingel_networks.x.cost import Meter, month_left_seconds
from klingel_networks.x.doctor import NEEDED
from klingel_networks.x.mapping import explode, identify
from klingel_networks.x.position import Position
from klingel_networks.x.rules import TAG_PREFIX
from klingel_simulator.x_activity import Webhook
from klingel_simulator.x_server import TOKEN, XLimits, XServer, snowflake

BRAND_ID, CUSTOMER = "1111111111111111111", "2222222222222222222"
NAME = f"{TAG_PREFIX}nordlicht/name"
BRAND = load_brand(
    Path(__file__).resolve().parents[2] / "brands" / "nordlicht.yaml"
).brand.model_copy(
    update={
        "accounts": (Account(network="x", id=BRAND_ID, handle="nordlicht"),),
        "listening": (
            ListeningRule(id="name", query="nordlicht"),
            ListeningRule(id="products", query="nordbox OR stör*"),
        ),
    }
)
QUICK: dict[str, Any] = {
    "deadline_seconds": 3.0,
    "overlap_seconds": 1.0,
    "settle_seconds": 0.0,
    "tend_seconds": 30.0,
    "job_seconds": 0.0,
    "owned_seconds": 0.05,
    "reposts": False,
}


async def _quickly(seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), min(seconds, 0.002))


class Bench:
    """The stand-in, a client, and a runner in small: it reconnects with the last cursor."""

    def __init__(self, server: XServer, address: str) -> None:
        self.server = server
        self.address = address
        self.brands: list[Any] | None = [BRAND]
        self.permits = Unbounded()
        self.kept: list[str] | None = None
        self.heard: list[Any] = []
        self.errors: list[Exception] = []
        self.cursor: str | None = None
        self.more: dict[str, Any] = {}
        self._grown = asyncio.Event()
        self._said = 0

    def client(self) -> XClient:
        """Return a new client, as a process that starts would have it."""
        tools = Tools(permits=self.permits, sleep=_quickly, brands=lambda: self.brands)
        options = XOptions(SecretStr(TOKEN), self.address, **(QUICK | self.more))
        kept = self.kept
        return XClient(options, tools, None if kept is None else lambda: kept)

    @contextlib.asynccontextmanager
    async def hearing(self, client: XClient | None = None):
        """Listen until the block ends."""
        task = asyncio.create_task(self._listen(client or self.client()))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _listen(self, client: XClient) -> None:
        while True:
            try:
                async with contextlib.aclosing(client.arrivals(self.cursor)) as arrivals:
                    async for each in arrivals:
                        self.heard.append(each)
                        if isinstance(each, Arrival):
                            self.cursor = each.cursor
                        self._grown.set()
            except (Away, RateLimited) as error:
                self.errors.append(error)
                await _quickly(0.002)

    async def until(self, done, seconds: float = 10.0) -> None:
        """Wait until something holds of what was heard."""
        async with asyncio.timeout(seconds):
            while not done():
                self._grown.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._grown.wait(), 0.02)

    def post(self, text: str, **more: Any) -> str:
        """Say something as a customer; return the post's id."""
        self._said += 1
        post_id = snowflake(datetime.now(UTC), self._said)
        post = {"id": post_id, "text": text, "author_id": CUSTOMER} | more
        self.server.say(post, {"id": CUSTOMER, "username": "erika", "name": "Erika"})
        return post_id

    def ids(self, mode: str | None = None) -> list[str]:
        """Return the ids of the posts heard, in order."""
        return [
            identify(piece.native, piece.context).object_id.removeprefix("x:network:")
            for each in self.heard
            if isinstance(each, Arrival)
            and each.delivery is not None
            and (mode is None or each.mode == mode)
            for piece in explode(each.delivery)
        ]

    def reports(self, kind: type) -> list[Any]:
        """Return what was reported."""
        return [each for each in self.heard if isinstance(each, kind)]

    async def streaming(self) -> None:
        """Wait until the stream is open."""
        await asyncio.wait_for(self.server.connected.wait(), 10)


@pytest.fixture
async def bench():
    server = XServer(lambda: datetime.now(UTC), XLimits(heartbeat_seconds=0.1))
    async with TestServer(server.app(), shutdown_timeout=0.1) as running:
        yield Bench(server, str(running.make_url("")).rstrip("/"))


async def test_rules_are_made_and_posts_are_heard_as_received(bench):
    """Rules of the brand, rules of others untouched, lines byte for byte, cost by rule."""
    async with bench.hearing():
        await bench.streaming()
        assert {rule.tag: rule.value for rule in bench.server.rules.values()} == {
            f"{TAG_PREFIX}nordlicht/accounts": (
                f"(@nordlicht OR to:{BRAND_ID} OR from:{BRAND_ID}) -is:retweet"
            ),
            NAME: "nordlicht -is:retweet",
            f"{TAG_PREFIX}nordlicht/products": "nordbox -is:retweet",
        }
        said = [bench.post(text) for text in ("nordlicht und nordbox 😡", "nichts", "#Nordlicht")]
        await bench.until(lambda: len(bench.ids()) == 2)
    assert bench.ids() == [said[0], said[2]]
    assert bench.reports(Gap) == []
    first = next(each for each in bench.heard if isinstance(each, Arrival) and each.delivery)
    assert first.delivery.body.startswith(b'{"data":{"id":"')
    assert not first.delivery.body.endswith(b"\r")
    assert bench.permits.spent == pytest.approx(
        {NAME: 0.0075, f"{TAG_PREFIX}nordlicht/products": 0.0025}
    )


@pytest.mark.parametrize("fault", ["cut", "half_line", "disconnect", "stall"])
async def test_what_is_said_while_the_stream_is_away_is_found_and_nothing_overtakes(bench, fault):
    """A gap is opened, filled oldest first before anything live, and closed as filled."""
    bench.more = {"deadline_seconds": 0.5} if fault == "stall" else {}
    async with bench.hearing():
        await bench.streaming()
        before = [bench.post(f"nordlicht {number}") for number in range(3)]
        await bench.until(lambda: bench.ids() == before)
        bench.server.connected.clear()
        bench.server.fault(fault)
        missed = [bench.post(f"nordlicht weg {number}") for number in range(3)]
        await bench.until(lambda: bench.errors)
        bench.server.fault("resume")
        await bench.until(lambda: bench.reports(GapClosed))
        after = bench.post("nordlicht wieder da")
        await bench.until(lambda: bench.ids()[-1:] == [after])
    heard = list(dict.fromkeys(bench.ids()))
    assert heard == [*before, *missed, after]
    assert sorted(heard, key=int) == heard
    gaps, closed = bench.reports(Gap), bench.reports(GapClosed)
    assert [gap.cause for gap in gaps][:1] == ["stalled" if fault == "stall" else "disconnected"]
    assert [each.key for each in closed] == [gap.key for gap in gaps]
    assert {each.outcome for each in closed} == {"filled"}
    order = [type(each) for each in bench.heard if isinstance(each, Gap | GapClosed)]
    assert order == [Gap, GapClosed] * len(gaps)


async def test_a_process_that_starts_again_goes_on_where_the_other_was_killed(bench):
    """Replay → live: killed in the middle, everything said meanwhile is there, in order."""
    async with bench.hearing():
        await bench.streaming()
        said = [bench.post("nordlicht eins")]
        await bench.until(lambda: bench.ids() == said)
    bench.server.connected.clear()
    said += [bench.post(f"nordlicht {number}") for number in range(5)]
    bench.server.limits = XLimits(heartbeat_seconds=0.1, page=2)
    async with bench.hearing():
        await bench.streaming()
        said.append(bench.post("nordlicht live"))
        await bench.until(lambda: bench.ids()[-1:] == said[-1:])
    assert list(dict.fromkeys(bench.ids())) == said
    assert {*bench.ids("gap_fill")} >= {*said[1:-1]}
    assert [each.outcome for each in bench.reports(GapClosed)] == ["filled"]


async def test_a_gap_that_was_interrupted_keeps_its_name(bench):
    """Killed while filling: the next process tells the same gap and closes it."""
    bench.cursor = Position(datetime.now(UTC) - timedelta(hours=1), gap="x/4711").encode()
    async with bench.hearing():
        await bench.until(lambda: bench.reports(GapClosed))
    (gap,), (closed,) = bench.reports(Gap), bench.reports(GapClosed)
    assert gap.key == closed.key == "x/4711"
    assert Position.decode(bench.cursor).gap == ""


@pytest.mark.parametrize(
    ("away", "reposts", "outcome"),
    [
        (timedelta(hours=1), True, "partial"),
        (timedelta(days=8), False, "partial"),
        (timedelta(hours=1), False, "filled"),
    ],
)
async def test_a_gap_is_closed_truthfully(bench, away, reposts, outcome):
    """Reposts cannot be searched, and what is older than seven days is gone."""
    bench.more = {"reposts": reposts}
    bench.cursor = Position(datetime.now(UTC) - away).encode()
    async with bench.hearing():
        await bench.until(lambda: bench.reports(GapClosed))
    assert [each.outcome for each in bench.reports(GapClosed)] == [outcome]


async def test_a_full_window_is_searched_in_halves(bench, monkeypatch):
    """Memory stays bounded: many posts come in several windows, still oldest first."""
    monkeypatch.setattr("klingel_networks.x.client.WINDOW_POSTS", 6)
    now = datetime.now(UTC)
    said = []
    for number in range(20):
        post_id = snowflake(now - timedelta(minutes=60 - 2 * number), number)
        bench.server.say({"id": post_id, "text": "nordlicht", "author_id": CUSTOMER})
        said.append(post_id)
    bench.cursor = Position(now - timedelta(hours=2)).encode()
    async with bench.hearing():
        await bench.until(lambda: bench.reports(GapClosed))
    assert bench.ids() == said


async def test_a_predecessors_stream_is_closed_once_and_a_second_holder_is_told(bench):
    """429 TooManyConnections: cleaned up through the Connections API, at most once a minute."""
    bench.server.fault("ghost")
    client = bench.client()
    async with bench.hearing(client):
        await bench.streaming()
    assert bench.server.asked["/2/connections/filtered_stream"] == 1
    assert "predecessor" in str(bench.errors[0])
    bench.server.fault("ghost")
    with pytest.raises(RateLimited, match="second"):
        async for _ in client.arrivals(None):
            pass


@pytest.mark.parametrize(
    ("answer", "error", "after", "table"),
    [
        (lambda: web.Response(status=429), RateLimited, None, None),
        (
            lambda: web.Response(
                status=429,
                headers={
                    "x-rate-limit-remaining": "0",
                    "x-rate-limit-reset": str(int(datetime.now(UTC).timestamp()) + 90),
                },
            ),
            RateLimited,
            90,
            None,
        ),
        (lambda: web.Response(status=503), Away, None, "http"),
        (lambda: web.Response(status=401), CredentialsRejected, None, None),
        (lambda: web.Response(status=403), CredentialsRejected, None, None),
        (lambda: web.Response(status=404), ConfigurationError, None, None),
    ],
)
async def test_what_x_answers_decides_what_the_runner_does(bench, answer, error, after, table):
    """429 with and without a reset, outage, token: by status, and to the right back-off table."""
    bench.server.refuse("/search/stream", answer())
    with pytest.raises(error) as caught:
        async for _ in bench.client().arrivals(None):
            pass
    assert type(caught.value) is error
    if error is RateLimited:
        found = caught.value.retry_after
        assert (found is None) == (after is None)
        assert after is None or abs(found - after) < 3
    if table:
        assert caught.value.table == table


def test_the_tables_and_deadlines_are_those_that_x_publishes():
    """`x-api/fundamentals/handling-disconnections`: TCP linear, HTTP and 429 doubling; 20 s heartbeat."""
    tables = installed().manifest("x").back_off
    assert list(tables["connection"]) == [0.25 * at for at in range(1, 65)]
    assert list(tables["http"]) == [5.0 * 2**at for at in range(7)]
    assert list(tables["rate_limited"]) == [60.0 * 2**at for at in range(5)]
    options = options_of({"bearer_token": SecretStr(TOKEN)})
    assert options.deadline_seconds == 20.0 + 5.0
    assert 0 < options.compliance_seconds < 24 * 3600.0


async def test_a_token_revoked_while_streaming_is_told(bench):
    """The stream breaks, and the next attempt says why."""
    client = bench.client()
    arrivals = client.arrivals(None)
    async for each in arrivals:
        if isinstance(each, Arrival):
            bench.server.fault("revoke")
            break
    with pytest.raises(Away):
        async for _ in arrivals:
            pass
    with pytest.raises(CredentialsRejected):
        async for _ in client.arrivals(None):
            pass


async def test_search_that_is_limited_is_waited_for_and_one_refused_makes_the_gap_partial(bench):
    """A 429 in the middle of filling does not break the live stream."""
    bench.cursor = Position(datetime.now(UTC) - timedelta(minutes=5)).encode()
    bench.server.refuse("/search/recent", web.Response(status=429))
    async with bench.hearing():
        await bench.until(lambda: bench.reports(GapClosed))
    assert bench.errors == []
    assert [each.outcome for each in bench.reports(GapClosed)] == ["filled"]
    bench.server.refuse("/search/recent", web.Response(status=400))
    bench.heard.clear()
    bench.cursor = Position(datetime.now(UTC) - timedelta(minutes=5)).encode()
    async with bench.hearing():
        await bench.until(lambda: bench.reports(GapClosed))
    assert [each.outcome for each in bench.reports(GapClosed)] == ["partial"]


async def test_rules_follow_the_brands_without_a_reconnect(bench):
    """A changed brand file changes X's rules; a rule of somebody else stays."""
    bench.more = {"tend_seconds": 0.05}
    async with ClientSession() as session:
        added = await session.post(
            f"{bench.address}/2/tweets/search/stream/rules",
            json={"add": [{"value": "meme has:media", "tag": "funny"}]},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        assert added.status == 201
    async with bench.hearing():
        await bench.streaming()
        bench.brands = [
            BRAND.model_copy(update={"listening": (ListeningRule(id="new", query="polarlicht"),)})
        ]
        await bench.until(
            lambda: (
                {rule.tag for rule in bench.server.rules.values()}
                == {"funny", f"{TAG_PREFIX}nordlicht/accounts", f"{TAG_PREFIX}nordlicht/new"}
            )
        )
        said = bench.post("polarlicht")
        await bench.until(lambda: bench.ids() == [said])
    assert bench.server.asked["/2/tweets/search/stream"] == 1


async def test_a_change_of_rules_that_failed_half_way_is_done_again(bench):
    """Deleted, but not yet added: the next look at the brands finishes it."""
    bench.more = {"tend_seconds": 0.05}
    async with bench.hearing():
        await bench.streaming()
        for _ in range(2):
            bench.server.refuse("POST /2/tweets/search/stream/rules", web.Response(status=503))
        bench.brands = [
            BRAND.model_copy(update={"listening": (ListeningRule(id="new", query="polarlicht"),)})
        ]
        wanted = {f"{TAG_PREFIX}nordlicht/accounts", f"{TAG_PREFIX}nordlicht/new"}
        await bench.until(lambda: {rule.tag for rule in bench.server.rules.values()} == wanted)
    assert bench.errors == []


class _Budget(Unbounded):
    rest: float | None = 100.0

    def left(self, item: str = "") -> float | None:
        return self.rest


async def test_a_spent_budget_rests_every_rule_and_tells_it(bench):
    """No rule, no stream; a new month brings all of them back."""
    bench.permits = _Budget()
    bench.more = {"tend_seconds": 0.05}
    async with bench.hearing():
        await bench.streaming()
        bench.permits.rest = 0.0
        await bench.until(lambda: len(bench.reports(Gap)) == 3)
        assert not bench.server.rules
        bench.permits.rest = 100.0
        await bench.until(lambda: len(bench.server.rules) == 3)
        await bench.until(lambda: len(bench.reports(GapClosed)) >= 6)
    assert {gap.key for gap in bench.reports(Gap)} >= {f"budget/{NAME}"}
    assert {gap.cause for gap in bench.reports(Gap) if "budget" in gap.key} == {"budget"}
    assert {each.outcome for each in bench.reports(GapClosed) if "budget" in each.key} == {
        "unrecoverable"
    }


async def test_a_budget_that_is_short_rests_the_least_valuable_rule_first(bench):
    """By what each rule has cost so far; the others go on."""
    bench.permits = _Budget()
    bench.more = {"tend_seconds": 0.05}
    client = bench.client()
    now = datetime.now(UTC)
    client._meter = Meter(now - timedelta(hours=2))
    products = f"{TAG_PREFIX}nordlicht/products"
    for number in range(60):
        for name, price in ((NAME, 0.01), (products, 1.0)):
            client._meter.note(f"{name}{number}", [name], price, now)
    bench.permits.rest = month_left_seconds(now) / 3600 * 2
    async with bench.hearing(client):
        await bench.streaming()
        assert {rule.tag for rule in bench.server.rules.values()} == {
            f"{TAG_PREFIX}nordlicht/accounts",
            NAME,
        }
        assert [gap.key for gap in bench.reports(Gap)] == [f"budget/{products}"]
        said = bench.post("nordlicht")
        await bench.until(lambda: said in bench.ids())


async def test_owned_accounts_are_read_by_owned_reads_and_resume(bench):
    """Mentions cost a fifth; no rule asks for them, and what was missed is read from the cursor."""
    bench.more = {"owned": (BRAND_ID,)}
    mention = {"entities": {"mentions": [{"username": "nordlicht", "id": BRAND_ID}]}}
    async with bench.hearing():
        await bench.streaming()
        assert f"{TAG_PREFIX}nordlicht/accounts" not in {
            rule.tag for rule in bench.server.rules.values()
        }
        await bench.until(lambda: any(isinstance(each, Arrival) for each in bench.heard))
        first = bench.post("hallo @n", **mention)
        await bench.until(lambda: first in bench.ids())
    missed = [bench.post(f"@n {number}", **mention) for number in range(3)]
    async with bench.hearing():
        await bench.until(lambda: bench.ids()[-3:] == missed)
    assert bench.permits.spent["owned_reads"] == pytest.approx(0.004)
    (piece,) = explode(
        next(each.delivery for each in bench.heard if isinstance(each, Arrival) and each.delivery)
    )
    assert piece.context["channel"] == BRAND_ID


async def test_a_compliance_job_tells_the_deletions_of_what_is_kept(bench):
    """Posts that are gone come as deletions; edited ones are read again."""
    async with bench.hearing():
        await bench.streaming()
        gone, edited, stays = (bench.post(f"nordlicht {number}") for number in range(3))
        await bench.until(lambda: len(bench.ids()) == 3)
    bench.server.delete(gone)
    bench.server.actions[edited] = {"action": "rehydrate"}
    bench.heard.clear()
    bench.kept = [gone, edited, stays, "not an id"]
    async with bench.hearing():
        await bench.until(lambda: Position.decode(bench.cursor).checked is not None)
    told = {
        identity.object_id: identity.change
        for each in bench.heard
        if isinstance(each, Arrival) and each.delivery and each.mode == "live"
        for piece in explode(each.delivery)
        for identity in [identify(piece.native, piece.context)]
    }
    assert told[f"x:network:{gone}"] == "deleted"
    assert told[f"x:network:{edited}"] == "created"
    assert f"x:network:{stays}" not in told


async def test_doctor_tells_what_does_not_fit_and_changes_nothing(bench):
    """Credential and left-out rules, each with what to do; no rule is made."""
    options = {"bearer_token": SecretStr(TOKEN), "endpoint": bench.address}
    tools = Tools(brands=lambda: [BRAND])
    findings = await examine(options, tools)
    assert [(each.check, each.state) for each in findings] == [
        ("credentials", "ok"),
        ("clock", "ok"),
        ("rules", "warning"),
        ("registration", "warning"),
    ]
    assert "stör*" in findings[2].sentence
    assert "/hook/x" in findings[3].remedy
    assert bench.server.rules == {}
    bench.server.token = "another"
    (finding,) = await examine(options, tools)
    assert (finding.check, finding.state) == ("credentials", "failed")


async def examined(bench, **more):
    """Return the states and sentences of what doctor says of the webhook."""
    options = {"bearer_token": SecretStr(TOKEN), "endpoint": bench.address} | more
    findings = await examine(options, Tools(brands=lambda: [BRAND]))
    assert all(each.remedy or each.state == "ok" for each in findings)
    return {each.check: each for each in findings if each.check in {"registration", "subscription"}}


async def test_doctor_asks_whether_the_webhook_is_valid_and_what_it_is_subscribed_to(bench):
    """Each needed activity of each own account; another app's hook is not ours."""
    webhook = Webhook("http://127.0.0.1:1/hook/x", b"a secret")
    bench.server.register("https://h.example/hook/x/nord", webhook)
    assert (await examined(bench))["registration"].state == "warning"
    own = bench.server.register("https://h.example/hook/x", webhook)
    found = await examined(bench)
    assert found["registration"].state == "failed"
    assert f"PUT /2/webhooks/{own}" in found["registration"].remedy
    webhook.valid = True
    found = await examined(bench)
    assert found["registration"].state == "ok"
    assert found["subscription"].state == "failed"
    assert BRAND_ID in found["subscription"].sentence
    told = " ".join(installed().manifest("x").access)
    for missing in NEEDED:
        assert missing in told
        bench.server.subscriptions.clear()
        bench.server.subscribe(own, BRAND_ID, *(each for each in NEEDED if each != missing))
        bench.server.subscribe("7", BRAND_ID, missing)
        found = await examined(bench)
        assert found["subscription"].sentence.endswith(f"not subscribed to {missing}")
        assert own in found["subscription"].remedy
    bench.server.limits = XLimits(page=2)
    bench.server.subscribe(own, BRAND_ID, NEEDED[-1])
    assert {each.state for each in (await examined(bench)).values()} == {"ok"}
    bench.server.subscribe(own, "3333333333333333333", "post.create")
    assert (await examined(bench))["subscription"].state == "failed"
    assert bench.server.replays == []
    assert not [path for path in bench.server.asked if path.startswith("/2/webhooks/")]


@pytest.mark.parametrize(
    ("path", "check"),
    [("/2/webhooks", "registration"), ("/2/activity/subscriptions", "subscription")],
)
@pytest.mark.parametrize(("status", "state"), [(403, "failed"), (503, "unknown"), (429, "unknown")])
async def test_doctor_tells_a_webhook_that_cannot_be_asked_for(bench, path, check, status, state):
    """Refused is somebody's to mend, away is not known."""
    webhook = Webhook("http://127.0.0.1:1/hook/x", b"a secret")
    webhook.valid = True
    bench.server.register("https://h.example/hook/x", webhook)
    bench.server.refuse(path, web.json_response({}, status=status))
    assert (await examined(bench))[check].state == state


async def test_doctor_of_nobody_is_one_finding(bench):
    findings = await examine(
        {"bearer_token": SecretStr(TOKEN), "endpoint": "http://127.0.0.1:1"}, Tools()
    )
    assert [(each.check, each.state) for each in findings] == [("credentials", "unknown")]


async def test_a_line_that_cannot_be_read_goes_on_to_the_dead_letters(bench):
    """K15: the bytes arrive as they are, and the stream goes on."""
    async with bench.hearing():
        await bench.streaming()
        (stream,) = bench.server._streams
        stream.lines.put_nowait(b'{"data": {"author_id": "1021"\r\n')
        said = bench.post("nordlicht")
        await bench.until(
            lambda: any(
                isinstance(each, Arrival) and each.delivery and said.encode() in each.delivery.body
                for each in bench.heard
            )
        )
    bodies = [
        each.delivery.body for each in bench.heard if isinstance(each, Arrival) and each.delivery
    ]
    assert bodies[0] == b'{"data": {"author_id": "1021"'
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(bodies[0])


async def test_posts_of_rules_that_are_not_ours_are_counted_apart(bench):
    """Somebody else's rule at the same app costs money, too."""
    async with bench.hearing():
        await bench.streaming()
        (stream,) = bench.server._streams
        stream.lines.put_nowait(
            b'{"data":{"id":"7","text":"x"},"matching_rules":[{"id":"1","tag":"funny"}]}\r\n'
        )
        await bench.until(lambda: bench.permits.spent)
    assert set(bench.permits.spent) == {UNNAMED_ITEM}
    assert [each for each in bench.heard if isinstance(each, Credential)]
