"""One HTTP process for everything that rings by itself: signed webhooks and contact forms.

    POST /webhook/<source>            Standard Webhooks signature over the raw body
    POST /form/<source>               contact form, urlencoded or JSON, from an allowed web origin
    GET, POST /hook/<family>[/<last>] a network's own signature and handshake; <last> is an account
                                      with secrets of its own, or a WebSub subscription
    GET, POST /hook/<family>/-/<callback>[/<rest>]   what else a network calls

The endpoints of networks answer 200 to whatever is validly signed once it is durable, as raw event
or as dead letter; 4xx for content is for the first two only, whose senders are people's programs.
There, an answer of 2xx means: every object of the delivery is acknowledged by Kafka (I1). It is always
202 with the ids, `{"ids": [...]}`: the ids follow from the source and the events' own ids, so a
repeat is answered with the same ids without any memory, and whether an id was new, repeated or came
with another body is found out later, by dedupe. All objects of a batch are checked before the first
is published: a 4xx stored nothing. 503 claims nothing: some objects of that delivery may be stored
already, and sending it again is safe.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import structlog
from aiohttp import web

from klingel import tracing
from klingel.clock import Clock
from klingel.contracts.envelope import TRACE_HEADER, incoming_trace
from klingel.errors import ErrorType, InvalidMessage, RetryableError
from klingel.metrics import Metric, Metrics
from klingel.stage.fates import Fate
from klingel.stage.guard import BrakePulled
from klingel_connectors.costs import Today
from klingel_connectors.hooks import Hook, Piece
from klingel_connectors.intake import Intake, Record
from klingel_connectors.presence import Presence
from klingel_connectors.publisher import Publisher
from klingel_connectors.purse import Purse
from klingel_connectors.raw import Heard, Read, TurnedAway
from klingel_connectors.settings import GatewaySettings
from klingel_connectors.shared import replay_output
from klingel_connectors.signatures import verified
from klingel_connectors.submissions import Allowance, idempotency_key, read_fields
from klingel_networks.contract import Call, Delivery
from klingel_networks.webhook.form import form_event

_UNREADABLE = {
    ErrorType.MALFORMED_JSON,
    ErrorType.DUPLICATE_KEYS,
    ErrorType.TOO_DEEP,
    ErrorType.INVALID_TEXT,
}
_FORM_TYPES = {"application/json", "application/x-www-form-urlencoded"}
_OK = 200
_REFUSALS = 400
_NOT_READ = frozenset({408, 413})
"""What was not read to its end may have been the network's: that it is signed nobody knows."""
_READ_SECONDS = 30.0
_MOST_OPEN = 512
_FORM_BURST_SECONDS = 10.0

Handler = Callable[[web.Request], Awaitable[web.Response]]


class _RefusedError(Exception):
    """The request ends here with this status; `sentence` repeats nothing of the body."""

    def __init__(
        self,
        status: int,
        sentence: str,
        *,
        path: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.path = path
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Doors:
    """The intake of each source: signed webhooks, forms, and the networks' own endpoints."""

    webhooks: Mapping[str, Intake]
    forms: Mapping[str, Intake]
    hooks: Mapping[str, Hook] = field(default_factory=dict)


class Gateway:
    """Answers deliveries; owns no socket.

    Args:
        settings: who may ring.
        doors: intake by source.
        publisher: shared.
        metrics: counts.
        clock: time.
        purses: count what networks charge for their deliveries, by app.
        presences: note what could not be taken, by app.
        holder: name of this process.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        doors: Doors,
        publisher: Publisher,
        metrics: Metrics,
        clock: Clock,
        *,
        purses: Mapping[str, Purse] | None = None,
        presences: Mapping[str, Presence] | None = None,
        holder: str = "",
    ) -> None:
        self._purses = purses or {}
        self._presences = presences or {}
        self._holder = holder
        self._today = Today()
        self._settings = settings
        self._doors = doors
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock
        self._log = structlog.get_logger()
        self._open = 0
        self.broken = ""
        self.last_event_at: datetime | None = None
        rate = settings.form_rate
        self._allowances = {
            form: Allowance(rate, max(1.0, rate * _FORM_BURST_SECONDS)) for form in settings.forms
        }

    def routes(self) -> list[web.RouteDef]:
        """Build the routes."""
        return [
            web.post("/webhook/{source}", self._answered(self._post_webhook)),
            web.post("/form/{source}", self._answered(self._post_form)),
            web.options("/form/{source}", self._answered(self._preflight)),
            web.post("/hook/{family}", self._answered(self._post_hook)),
            web.post("/hook/{family}/{last}", self._answered(self._post_hook)),
            web.get("/hook/{family}", self._answered(self._shake)),
            web.get("/hook/{family}/{last}", self._answered(self._shake)),
            *(
                route(f"/hook/{{family}}/-/{{callback}}{rest}", self._answered(self._call))
                for route in (web.get, web.post)
                for rest in ("", "/{rest}")
            ),
        ]

    # --- the two doors -------------------------------------------------------------------------

    async def _post_webhook(self, request: web.Request) -> web.Response:
        source = request.match_info["source"]
        keys = self._settings.webhooks.get(source)
        if keys is None:
            raise _RefusedError(404, "no such source")
        body = await self._body(request, self._settings.limit_bytes)
        if not verified(request.headers, body, keys, self._clock.now().timestamp()):
            raise _RefusedError(401, "the signature is missing, wrong or too old")
        delivery = Delivery(body, {"source": source})
        return await self._take(self._doors.webhooks[source], delivery, _trace(request))

    async def _post_form(self, request: web.Request) -> web.Response:
        source = request.match_info["source"]
        if source not in self._settings.forms:
            raise _RefusedError(404, "no such form")
        cors = self._cors(request)
        wait = self._allowances[source].take(self._clock.monotonic())
        if wait:
            raise _RefusedError(
                429, "too many submissions; try again later", headers={"Retry-After": _after(wait)}
            )
        if request.content_type not in _FORM_TYPES:
            raise _RefusedError(415, "send application/x-www-form-urlencoded or application/json")
        body = await self._body(request, self._settings.form_limit_bytes)
        now = self._clock.now()
        try:
            fields = read_fields(body, request.content_type)
            event = form_event(
                fields,
                idempotency_key=idempotency_key(
                    request.headers.get("Idempotency-Key", ""), fields, now
                ),
                key=self._settings.form_key,
                received_at=now,
            )
        except InvalidMessage as error:
            raise _refusal(error, "") from None
        delivery = Delivery(event, {"source": source, "via": "form"})
        response = await self._take(self._doors.forms[source], delivery, _trace(request))
        response.headers.update(cors)
        return response

    async def _preflight(self, request: web.Request) -> web.Response:
        if request.match_info["source"] not in self._settings.forms:
            raise _RefusedError(404, "no such form")
        headers = self._cors(request) | {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "content-type, idempotency-key",
            "Access-Control-Max-Age": "600",
        }
        return web.Response(status=204, headers=headers)

    def _cors(self, request: web.Request) -> dict[str, str]:
        origin = request.headers.get("Origin", "").lower()
        if origin not in self._settings.origins:
            raise _RefusedError(403, "this web origin may not post here")
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    # --- the networks' own endpoints -------------------------------------------------------------

    async def _post_hook(self, request: web.Request) -> web.Response:
        hook, last = self._hook(request)
        body = await self._body(request, hook.family.endpoint.limit_bytes)
        if not hook.proved(request.headers, body, last):
            raise _RefusedError(401, "the signature is missing or wrong")
        delivery = Delivery(body, hook.context(request.headers, last))
        await self._keep(hook, delivery, _trace(request))
        await self._tell_replayed(hook, delivery)
        self._charge(hook, delivery)
        # Without a body: a bot platform would take a JSON answer for a command.
        return web.Response(status=200)

    async def _shake(self, request: web.Request) -> web.Response:
        hook, last = self._hook(request)
        status, body, content_type = hook.shaken(request.query, last)
        if status != _OK:
            raise _RefusedError(status, "this handshake is none of ours")
        return web.Response(status=status, body=body, content_type=content_type)

    async def _call(self, request: web.Request) -> web.Response:
        hook, _ = self._hook(request)
        name = request.match_info["callback"]
        callback = hook.family.callbacks.get(name)
        if callback is None:
            raise _RefusedError(404, "no such callback")
        body = await self._body(request, hook.family.endpoint.limit_bytes)
        base = self._settings.hook_base or f"{request.scheme}://{request.host}"
        answer = callback(
            Call(
                method=request.method,
                rest=request.match_info.get("rest", ""),
                query={key: request.query[key] for key in request.query},
                body=body,
                keys=hook.keys,
                base=f"{base}/hook/{hook.family.name}/-/{name}",
                now=self._clock.now(),
            )
        )
        if answer.delivery is not None and answer.status < _REFUSALS:
            await self._keep(hook, answer.delivery, _trace(request))
        return web.Response(
            status=answer.status, body=answer.body, content_type=answer.content_type
        )

    def _hook(self, request: web.Request) -> tuple[Hook, str]:
        """Find the endpoint of an address, and the address's last part."""
        family, last = request.match_info["family"], request.match_info.get("last", "")
        hook = self._doors.hooks.get(f"{family}/{last}" if last else family)
        if hook is None and last:
            hook = self._doors.hooks.get(family)
            if hook is not None and not hook.by_subscription:
                hook = None
        if hook is None:
            raise _RefusedError(404, "no such endpoint")
        return hook, last

    async def _keep(self, hook: Hook, delivery: Delivery, trace: str | None) -> None:
        """Return once every object of the delivery is durable; raises 503 else."""
        if self._publisher.waiting_for(self._settings.wait_seconds):
            raise _not_stored()
        try:
            pieces = hook.read(delivery, self._clock.now())
        except BrakePulled as error:
            self.broken = str(error)
            raise _not_stored() from None
        try:
            async with asyncio.timeout(self._settings.wait_seconds):
                await self._durable(pieces, trace)
        except (TimeoutError, RetryableError):
            raise _not_stored() from None
        self.last_event_at = self._clock.now()

    def _charge(self, hook: Hook, delivery: Delivery) -> None:
        """Count what the network charges for a delivery that is durable."""
        purse = self._purses.get(hook.app)
        if purse is None or hook.family.charges is None:
            return
        now = self._clock.now()
        for each in hook.family.charges(delivery):
            if not each.once or self._today.is_new(f"{hook.app}/{each.once}", now):
                purse.spend(each.item, each.units)

    async def _tell_replayed(self, hook: Hook, delivery: Delivery) -> None:
        """Pass on how a replay ended to whoever asked for it; raises 503 while it is not durable."""
        told = None if hook.family.replayed is None else hook.family.replayed(delivery)
        if told is None:
            return
        output = replay_output(hook.app, told.job, told.state, self._holder, self._clock.now())
        stored = asyncio.get_running_loop().create_future()

        def done(_error: InvalidMessage | None) -> None:
            if not stored.done():
                stored.set_result(None)

        try:
            async with asyncio.timeout(self._settings.wait_seconds):
                await self._publisher.publish(output, done)
                await stored
        except (TimeoutError, RetryableError):
            raise _not_stored() from None

    def _missed(self, request: web.Request) -> None:
        """Note a delivery of a network that we could not take."""
        family, last = request.match_info.get("family", ""), request.match_info.get("last", "")
        presence = self._presences.get(f"{family}/{last}" if last else family)
        if presence is not None and request.method == "POST":
            presence.refused(self._clock.now())

    async def _durable(self, pieces: list[Piece], trace: str | None) -> None:
        """Publish all, then wait for all; what Kafka can never store becomes a dead letter."""
        waiting: list[tuple[Intake, Record, asyncio.Future[InvalidMessage | None]]] = []
        for intake, result in pieces:
            waiting += [
                (intake, record, await self._handed_over(intake, record))
                for record in await intake.records([result], trace)
            ]
        for intake, record, acknowledgement in waiting:
            error = await acknowledgement
            if error is not None:
                turned = TurnedAway(record.output.value or b"", error)
                for letter in await intake.records([turned]):
                    await (await self._handed_over(intake, letter))

    async def _handed_over(
        self, intake: Intake, record: Record, *, refused: bool = False
    ) -> "asyncio.Future[InvalidMessage | None]":
        """Publish a record; what can never be stored is counted as `refused`, or becomes a letter."""
        acknowledgement: asyncio.Future[InvalidMessage | None] = (
            asyncio.get_running_loop().create_future()
        )

        def done(error: InvalidMessage | None) -> None:
            if error is None or refused or record.fate is not Fate.DELIVERED:
                intake.settled(record, error)
            if not acknowledgement.done():
                acknowledgement.set_result(error)

        await self._publisher.publish(record.output, done)
        return acknowledgement

    # --- what all do --------------------------------------------------------------------------

    async def _body(self, request: web.Request, limit: int) -> bytes:
        """Read the body, cut off while reading when it is too large."""
        if (request.content_length or 0) > limit:
            raise _too_large(limit)
        if request.content.is_eof():  # a small body came along with its headers
            whole = request.content.read_nowait()
            if len(whole) > limit:
                raise _too_large(limit)
            return whole
        chunks, size = [], 0
        try:
            async with asyncio.timeout(_READ_SECONDS):
                async for chunk in request.content.iter_any():
                    size += len(chunk)
                    if size > limit:
                        raise _too_large(limit)
                    chunks.append(chunk)
        except TimeoutError:
            raise _RefusedError(408, "the body did not arrive in time") from None
        return b"".join(chunks)

    async def _take(self, intake: Intake, delivery: Delivery, trace: str | None) -> web.Response:
        """Check everything, publish everything, then answer."""
        if self._publisher.waiting_for(self._settings.wait_seconds):
            raise _not_stored()
        try:
            results = intake.read(delivery, "live", self._clock.now())
        except BrakePulled as error:
            self.broken = str(error)
            raise _not_stored() from None
        _check_all(results)
        try:
            async with asyncio.timeout(self._settings.wait_seconds):
                await self._stored(intake, await intake.records(results, trace))
        except (TimeoutError, RetryableError):
            raise _not_stored() from None
        self.last_event_at = self._clock.now()
        ids = [result.raw.object_id for result in results if isinstance(result, Heard)]
        return _json(202, {"ids": ids})

    async def _stored(self, intake: Intake, records: list[Record]) -> None:
        """Return once every record is acknowledged; what comes later is still counted."""
        acknowledgements = [
            await self._handed_over(intake, record, refused=True) for record in records
        ]
        for acknowledgement in acknowledgements:
            error = await acknowledgement
            if error is not None:
                raise _refusal(error, "")

    def _answered(self, handler: Handler) -> Handler:
        """Turn refusals into answers, and bound how many requests are open."""

        async def answer(request: web.Request) -> web.Response:
            if self._open >= _MOST_OPEN:
                refusal = _not_stored()
                self._missed(request)
                self._metrics.count(Metric.REQUESTS, outcome=_outcome(refusal.status))
                return self._refused(refusal, request)
            self._open += 1
            outcome = "failed"  # without an answer of ours: 500 is given, and logged, further out
            try:
                response = await _traced(handler, request)
                outcome = _outcome(response.status)
            except _RefusedError as refusal:
                response = self._refused(refusal, request)
                outcome = _outcome(refusal.status)
                if refusal.status in _NOT_READ:
                    self._missed(request)
            finally:
                self._open -= 1
                self._metrics.count(Metric.REQUESTS, outcome=outcome)
                if outcome == "failed":
                    self._missed(request)
            return response

        return answer

    def _refused(self, refusal: _RefusedError, request: web.Request) -> web.Response:
        self._metrics.count(Metric.REFUSED, reason=f"http_{refusal.status}")
        self._log.info("delivery_refused", status=refusal.status)
        answer = {"error": refusal.sentence}
        if refusal.path:
            answer["path"] = refusal.path
        response = _json(refusal.status, answer)
        response.headers.update(refusal.headers)
        if refusal.status != 403 and request.path.startswith("/form/"):
            with contextlib.suppress(_RefusedError):
                response.headers.update(self._cors(request))
        if refusal.status in {408, 413}:
            response.force_close()
        return response


async def _traced(handler: Handler, request: web.Request) -> web.Response:
    """Answer, and tell of it where somebody collects spans."""
    spans = tracing.current()
    if spans is None:
        return await handler(request)
    resource = request.match_info.route.resource
    name = f"{request.method} {resource.canonical if resource is not None else ''}"
    told = request.headers.getall(TRACE_HEADER, [])
    with spans.request(told[0] if len(told) == 1 else None, name) as ended:
        try:
            response = await handler(request)
        except _RefusedError as refusal:
            ended(refusal.status)
            raise
        ended(response.status)
        return response


def _trace(request: web.Request) -> str | None:
    """Return the sender's trace id; None where it tells none, or more than one."""
    told = request.headers.getall(TRACE_HEADER, [])
    return incoming_trace(told[0]) if len(told) == 1 else None


def _outcome(status: int) -> str:
    """Return whose matter an answer is: `taken`, or the sender's, or ours."""
    if status < 400:
        return "taken"
    return "refused" if status < 500 else "failed"


def _check_all(results: list[Read]) -> None:
    """Refuse the delivery when one object of it is invalid, naming which."""
    for index, result in enumerate(results):
        if isinstance(result, TurnedAway) and isinstance(result.error, InvalidMessage):
            raise _refusal(result.error, f"[{index}]" if len(results) > 1 else "")


def _refusal(error: InvalidMessage, where: str) -> _RefusedError:
    status = 422
    if error.error_type in _UNREADABLE:
        status = 400
    elif error.error_type is ErrorType.TOO_LARGE:
        status = 413
    path = f"{where}.{error.path}" if where and error.path else where or error.path
    return _RefusedError(status, str(error), path=path)


def _too_large(limit: int) -> _RefusedError:
    return _RefusedError(413, f"the body is larger than {limit:,} bytes")


def _not_stored() -> _RefusedError:
    return _RefusedError(
        503, "the delivery could not be stored now; send it again", headers={"Retry-After": "5"}
    )


def _after(seconds: float) -> str:
    return str(max(1, round(seconds + 0.5)))


def _json(status: int, answer: Mapping[str, object]) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(answer), content_type="application/json"
    )
