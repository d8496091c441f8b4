"""Polls a Telegram bot: https://core.telegram.org/bots/api#getupdates.

- Asking behind an update confirms it: Telegram forgets it then. So it is asked behind what is
  durable here (`confirms`), and what was told already is left out.
- While a webhook is set Telegram refuses to be polled; that is a matter for a person.
- A jump in the numbers tells that updates were dropped, unless nothing happened for a week: then
  Telegram chooses its next number at random.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec
from pydantic import SecretStr

from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    ErrorType,
    InvalidMessage,
    RateLimited,
    SourceUnavailable,
)
from klingel_networks.arrival import (
    Arrival,
    Finding,
    Gap,
    MediaAddress,
    Options,
    Report,
    Rest,
    Tools,
)
from klingel_networks.contract import Delivery

ALLOWED: Final = (
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "business_connection",
    "business_message",
    "edited_business_message",
    "deleted_business_messages",
    "message_reaction",
    "message_reaction_count",
    "callback_query",
    "my_chat_member",
    "poll_answer",
)
"""What is asked for: reactions come only when they are named."""
FILE_BYTES: Final = 20_000_000
AGAIN_SECONDS: Final = 30.0
"""What was told, and is not durable after so long, is told again."""
_BODY_BYTES: Final = 16 << 20
_WEEK_SECONDS: Final = 7 * 86_400
_NOT_YET: Final = 0.5
_BUCKET: Final = "bot"


@dataclass(frozen=True, slots=True)
class TelegramOptions:
    """Which bot to hear.

    Attributes:
        token: of the bot.
        endpoint: address of the Bot API.
        wait_seconds: how long Telegram holds an empty answer back.
    """

    token: str
    endpoint: str = "https://api.telegram.org"
    wait_seconds: int = 25

    def __post_init__(self) -> None:
        """Refuse what is no token; the sentence does not repeat it."""
        number, _, rest = self.token.partition(":")
        if not number.isascii() or not number.isdigit() or not rest:
            raise ConfigurationError("telegram.token is no token of a bot, such as 123456:ABC")

    @property
    def bot(self) -> str:
        """The bot's number."""
        return self.token.partition(":")[0]


class Position(NamedTuple):
    """The last update that was heard, and when (epoch seconds)."""

    update_id: int
    at: int

    def encode(self) -> str:
        """Return the cursor."""
        return f"{self.update_id}|{self.at}"

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """Read a cursor; raises ConfigurationError, since only we wrote it."""
        try:
            update_id, at = cursor.split("|")
            return cls(int(update_id), int(at))
        except ValueError:
            raise ConfigurationError("the stored cursor is not one of Telegram") from None


class _Parameters(msgspec.Struct):
    retry_after: float | None = None


class _Answer(msgspec.Struct):
    ok: bool = False
    result: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    description: str = ""
    parameters: _Parameters | None = None


class _Numbered(msgspec.Struct):
    update_id: int


_ANSWER = msgspec.json.Decoder(_Answer)
_UPDATES = msgspec.json.Decoder(list[msgspec.Raw])
_NUMBERED = msgspec.json.Decoder(_Numbered)


def connect(options: Options, tools: Tools) -> "TelegramClient":
    """Return the client of the manifest's settings."""
    token = options["token"]
    assert isinstance(token, SecretStr)
    endpoint = str(options["endpoint"]).rstrip("/")
    return TelegramClient(TelegramOptions(token.get_secret_value(), endpoint), tools)


async def examine(options: Options, tools: Tools) -> list[Finding]:
    """Look at token, webhook, what waits, and privacy mode of a bot."""
    return await connect(options, tools).examined()


def addresses(options: Options, tools: Tools) -> "TelegramClient":
    """Return what finds the present address of a file."""
    return connect(options, tools)


class TelegramClient:
    """One bot; its own number is its one channel."""

    source = "updates"
    confirms = True

    def __init__(self, options: TelegramOptions, tools: Tools | None = None) -> None:
        self._options = options
        self._tools = tools or Tools()
        self._checked = False
        self._told = -1
        self._told_at = 0.0

    def channels(self) -> Sequence[str]:
        """Return the bot."""
        return [self._options.bot]

    async def poll(
        self, channel: str, cursor: str | None
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Yield what waits behind the cursor, which confirms everything before.

        Raises:
            SourceUnavailable: Telegram is away, or somebody else polls the same bot.
            RateLimited: it says when to come back.
            CredentialsRejected: the token is revoked.
            ConfigurationError: a webhook is set.
        """
        position = None if cursor is None else Position.decode(cursor)
        if not self._checked:
            await self._require_no_webhook()
            self._checked = True
        parameters = {
            "timeout": str(self._options.wait_seconds),
            "limit": "100",
            "allowed_updates": msgspec.json.encode(ALLOWED).decode(),
        }
        if position is not None:
            parameters["offset"] = str(position.update_id + 1)
        updates = _read(_UPDATES, await self._call("getUpdates", parameters))
        now = int(self._tools.clock.now().timestamp())
        self._forget(position)
        news = False
        for native in updates:
            number = _read(_NUMBERED, native).update_id
            if number <= self._told:
                continue
            gap = self._gap(position, number, now)
            if gap is not None:
                yield gap
            position = Position(number, now)
            self._told, self._told_at = number, self._tools.clock.monotonic()
            news = True
            yield Arrival(Delivery(bytes(native), {"channel": channel}), position.encode())
        if updates and not news:
            yield Rest(_NOT_YET)

    def _forget(self, position: Position | None) -> None:
        """Tell again what was told long ago and is not durable yet, and after a step back."""
        saved = -1 if position is None else position.update_id
        waited = self._tools.clock.monotonic() - self._told_at
        if self._told > saved and waited > AGAIN_SECONDS:
            self._told = saved

    def _gap(self, position: Position | None, number: int, now: int) -> Gap | None:
        """Tell a hole in the numbers, once: between what is saved or was told and this update."""
        if position is None or now - position.at > _WEEK_SECONDS:
            return None
        known = max(position.update_id, self._told)
        if number <= known + 1:
            return None
        return Gap(
            "cursor_too_old",
            "Telegram dropped updates that nobody fetched within 24 hours",
            start=str(known),
        )

    async def _require_no_webhook(self) -> None:
        info = _tree(await self._call("getWebhookInfo", {}))
        if info.get("url"):
            raise ConfigurationError(
                "a webhook is set for the bot: call deleteWebhook, or let it ring at the gateway"
            )

    async def _call(self, method: str, parameters: dict[str, str]) -> msgspec.Raw:
        """Call a method and return its result; the token never reaches an error."""
        await self._tools.permits.ask(_BUCKET)
        options = self._options
        timeout = aiohttp.ClientTimeout(total=options.wait_seconds + 20.0)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    f"{options.endpoint}/bot{options.token}/{method}", data=parameters
                ) as r,
            ):
                status, body = r.status, b""
                async for chunk in r.content.iter_any():
                    body += chunk
                    if len(body) > _BODY_BYTES:
                        raise SourceUnavailable("Telegram's answer is larger than 16 MB")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SourceUnavailable(f"Telegram is away ({type(error).__name__})") from None
        try:
            answer = _ANSWER.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise SourceUnavailable(f"Telegram answers {status} and no JSON") from None
        if answer.ok and status == 200:
            return answer.result
        raise self._refusal(status, answer)

    def _refusal(self, status: int, answer: _Answer) -> Exception:
        if status in {401, 404}:
            return CredentialsRejected("Telegram no longer knows the token: ask BotFather for one")
        if status == 409:
            if "webhook" in answer.description:
                self._checked = False
                return ConfigurationError(
                    "a webhook is set for the bot: call deleteWebhook, "
                    "or let it ring at the gateway"
                )
            return SourceUnavailable("somebody else polls the same bot")
        if status == 429:
            wish = None if answer.parameters is None else answer.parameters.retry_after
            seconds = self._tools.permits.refused(_BUCKET, wish)
            return RateLimited("Telegram wants fewer calls", retry_after=seconds)
        return SourceUnavailable(f"Telegram answers {status}")

    async def address(self, object_id: str, medium: str | None, url: str | None) -> MediaAddress:  # noqa: ARG002 - the port's signature: a file is known by its own id
        """Return the address of a file, which holds for an hour at least.

        Raises:
            InvalidMessage: there is no such file, or it is larger than a bot may fetch.
            RetryableError, CredentialsRejected: as `poll`.
        """
        if medium is None:
            raise InvalidMessage(
                ErrorType.MISSING_FIELD, "the medium has no file id", path="media.id"
            )
        try:
            file = _tree(await self._call("getFile", {"file_id": medium}))
        except SourceUnavailable as error:
            if "400" in str(error):
                raise InvalidMessage(
                    ErrorType.INVALID_FIELD, "Telegram has no such file, or it is too large"
                ) from None
            raise
        path = file.get("file_path")
        if not isinstance(path, str) or ".." in path or not path.isprintable():
            raise InvalidMessage(ErrorType.INVALID_FIELD, "Telegram tells no path of the file")
        return MediaAddress(f"{self._options.endpoint}/file/bot{self._options.token}/{path}")

    async def examined(self) -> list[Finding]:
        """Look at the bot as Telegram sees it."""
        try:
            me = _tree(await self._call("getMe", {}))
            info = _tree(await self._call("getWebhookInfo", {}))
        except CredentialsRejected as error:
            return [Finding("credentials", "failed", str(error), "set token to the new one")]
        except (SourceUnavailable, RateLimited) as error:
            return [
                Finding("reachability", "failed", str(error), "check endpoint and the way there")
            ]
        findings = [Finding("credentials", "ok", "Telegram knows the token")]
        if me.get("can_read_all_group_messages"):
            findings.append(
                Finding("permissions", "ok", "the bot reads all messages of its groups")
            )
        else:
            findings.append(
                Finding(
                    "permissions",
                    "warning",
                    "in groups the bot reads only what names it",
                    "tell BotFather /setprivacy, Disable, and add the bot to its groups anew",
                )
            )
        if info.get("url"):
            findings.append(
                Finding(
                    "subscription",
                    "failed",
                    "a webhook is set, so nothing can be polled",
                    "call deleteWebhook, or let it ring at the gateway",
                )
            )
        else:
            findings.append(Finding("subscription", "ok", "no webhook is set"))
        waiting = info.get("pending_update_count")
        if isinstance(waiting, int) and waiting > 1000:
            findings.append(
                Finding(
                    "backlog",
                    "warning",
                    f"{waiting} updates wait to be fetched",
                    "look whether the connector runs and who holds its lease",
                )
            )
        return findings


def _tree(raw: msgspec.Raw) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SourceUnavailable("Telegram's answer holds no object")
    return found


def _read(decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw) -> Any:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SourceUnavailable("Telegram's answer holds no updates") from None
