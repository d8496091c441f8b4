"""`klingel chat`: see who waits in the web chat, and answer."""

import os
import time
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import click

from klingel.contracts import codec
from klingel.contracts.partition import conversation_key, partition_for
from klingel.contracts.topics import Topic
from klingel.errors import ConfigurationError, InvalidMessage, SourceUnavailable
from klingel.model import BrandConfig, RoutedEvent
from klingel.model.chat_reply import ChatReply
from klingel.settings import ElasticsearchSettings, KafkaSettings
from klingel_cli.casework import OPEN, Json, printable, search, since
from klingel_cli.commands.config import in_force
from klingel_cli.kafka import SOURCE, Slot, publish, reading
from klingel_cli.shell import Seconds, Shell, as_json, pass_shell
from klingel_networks.chat.replies import object_of, reply_of, reply_output
from klingel_networks.chat.sessions import (
    AHEAD,
    Talk,
    begun_at,
    ends_at,
    is_open,
    session_hours,
    talk_of,
)

_NETWORK: Final = "chat"
_PAUSE_SECONDS: Final = 0.25
_FILE_BYTES: Final = 64 << 10
_NOT_INDEXED_YET: Final = timedelta(minutes=1)
"""How long after care heard an event a search may not find it yet."""


@click.group("chat")
def chat_group() -> None:
    """See who waits in the web chat, and answer.

    A CONVERSATION is chat:<channel>:<session>, as cases and events name it. A session can be
    answered for as long as it can be resumed: KLINGEL_CHAT_HOURS, 24 by default, from its beginning.
    """


# -- list ----------------------------------------------------------------------------------------


@chat_group.command("list")
@click.option("--brand", help="Only this brand's.")
@click.option("--size", type=click.IntRange(1, 10_000), default=50, help="At most; 50 by default.")
@as_json
@pass_shell
def list_sessions(shell: Shell, /, brand: str | None, size: int, *, as_json: bool) -> None:
    """List chats of which a case is open, who waits longest first, and until when each is open."""
    hours, now = session_hours(os.environ), shell.now()
    asked = open_chats(brand, size)
    hits = search(shell.settings.elasticsearch, "cases-*", asked, expected=True)["hits"]
    rows = [_row(hit["_source"], hours, now) for hit in hits["hits"]]
    if as_json:
        for row in rows:
            shell.tell(row)
        return
    shell.table(
        ("state", "queue", "waits", "answerable until", "conversation"),
        [
            (
                row["state"],
                row["queue"],
                since(row["waiting_since"], now),
                f"{row['open_until']:%Y-%m-%d %H:%M}Z" if row["open"] else "over",
                row["conversation_id"],
            )
            for row in rows
        ],
    )
    shell.say(f"\n{len(rows)} of {hits['total']['value']:,} chats")


def open_chats(brand: str | None, size: int) -> Json:
    """Return the question for chats of which a case is open, who waits longest first."""
    asked: list[Json] = [{"term": {"network": _NETWORK}}, {"terms": {"state": list(OPEN)}}]
    if brand is not None:
        asked.append({"term": {"brand": brand}})
    return {
        "query": {"bool": {"filter": asked}},
        "size": size,
        "track_total_hits": True,
        "source": ["brand", "case_id", "conversation_id", "state", "queue", "waiting_since"],
        "sort": [
            {"waiting_since": {"order": "asc", "missing": "_last", "unmapped_type": "date"}},
            {"case_id": {"order": "asc", "unmapped_type": "keyword"}},
        ],
    }


def _row(source: Json, hours: int, now: datetime) -> Json:
    talk = talk_of(source["conversation_id"])
    waiting = source.get("waiting_since")
    return {
        "brand": source["brand"],
        "case_id": source["case_id"],
        "conversation_id": source["conversation_id"],
        "state": source["state"],
        "queue": source.get("queue"),
        "waiting_since": None if waiting is None else datetime.fromisoformat(waiting),
        "open": talk is not None and is_open(talk.session, now, hours),
        "open_until": None if talk is None else ends_at(talk.session, hours),
    }


# -- reply ---------------------------------------------------------------------------------------


@chat_group.command("reply")
@click.argument("conversation", metavar="CONVERSATION")
@click.option("--text", help="What the customer reads; --file keeps it off the command line.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File that holds the text, in UTF-8; - is the standard input.",
)
@click.option("--name", help="Who speaks, as the customer reads it.")
@click.option(
    "--id",
    "reply_id",
    help="Id of the reply within its session; given again, it is the same reply. A random one else.",
)
@click.option(
    "--lookup/--no-lookup",
    default=True,
    help="Whether Elasticsearch is asked that somebody wrote in this session.",
)
@click.option(
    "--wait",
    type=Seconds(0, 600, min_open=True),
    help="Wait so many seconds until care has heard the reply; exit 3 when it has not.",
)
@as_json
@pass_shell
def reply(
    shell: Shell,
    /,
    conversation: str,
    text: str | None,
    path: Path | None,
    name: str | None,
    reply_id: str | None,
    *,
    lookup: bool,
    wait: float | None,
    as_json: bool,
) -> None:
    """Answer in a chat: the page shows it, and it comes back as an outbound event that stops clocks.

    A page that is closed gets it when it comes back. Refused, with exit code 2: a session that
    nobody wrote in, or that is over.
    """
    now = shell.now()
    talk = answerable(conversation, session_hours(os.environ), now)
    said = _checked(talk, _text(text, path), reply_id or f"cli-{uuid.uuid4().hex}", now, name)
    brands = hearers(in_force(shell.settings.kafka), talk.channel)
    if lookup:
        _require_known(shell.settings.elasticsearch, brands, talk)
    told: Json = {
        "conversation_id": talk.conversation_id,
        "reply_id": said.reply_id,
        "object_id": object_of(said),
        "open_until": ends_at(talk.session, session_hours(os.environ)),
    }
    if wait is None:
        publish(shell.settings.kafka, [reply_output(said, SOURCE)])
        if as_json:
            shell.tell(told)
        else:
            shell.say(f"reply {said.reply_id} is given")
        return
    heard = None
    if reply_id is not None and lookup:
        heard = _sent_before(shell.settings.elasticsearch, brands[0], said)
    if heard is None:
        since = None if reply_id is None else now - _NOT_INDEXED_YET
        if since is not None and not lookup:
            since = begun_at(talk.session) - AHEAD
        heard = _give_and_wait(shell.settings.kafka, said, brands[0], wait, since)
    if as_json:
        shell.tell(told | heard._asdict())
    else:
        before = " was sent before" if heard.sent_before else ""
        case = printable(heard.case_id or "no case")
        shell.say(f"reply {said.reply_id}{before}: {heard.triage or 'deleted'}, {case}")


class _Heard(NamedTuple):
    """What care made of a reply, and whether it did so before this command was given.

    `triage` is None where all that is left of the event is that it was deleted.
    """

    case_id: str | None
    triage: str | None
    sent_before: bool


def answerable(conversation: str, hours: int, now: datetime) -> Talk:
    """Return the session of a conversation that can still be answered.

    Args:
        conversation: as cases name it.
        hours: how long a session can be resumed.
        now: aware.

    Raises:
        ConfigurationError: it is none, or it is over.
    """
    talk = talk_of(conversation)
    if talk is None:
        raise ConfigurationError(
            "a conversation of the web chat is chat:<channel>:<session>; see klingel chat list"
        )
    if is_open(talk.session, now, hours):
        return talk
    end = ends_at(talk.session, hours)
    if now < end:
        raise ConfigurationError("the session has not begun yet; see klingel chat list")
    raise ConfigurationError(
        f"the session is over since {end:%Y-%m-%d %H:%M}Z: its customer cannot read a reply any more"
    )


def hearers(held: dict[str, BrandConfig], channel: str) -> list[str]:
    """Return the brands in force that hear a chat; raises ConfigurationError where there is none."""
    chats = {
        brand: {
            str(each.get("id"))
            for each in (*config.config.get("channels", ()), *config.config.get("accounts", ()))
            if each.get("network") == _NETWORK
        }
        for brand, config in held.items()
    }
    found = [brand for brand, ids in chats.items() if channel in ids]
    if not found:
        names = ", ".join(sorted(set().union(*chats.values()))[:20]) or "none"
        raise ConfigurationError(f"no brand in force hears this chat; the chats are: {names}")
    return found


def was_heard(conversation: str) -> Json:
    """Return the question whether anything of a conversation is indexed."""
    return {
        "query": {"term": {"conversation_id": conversation}},
        "size": 0,
        "terminate_after": 1,
        "track_total_hits": 1,
    }


def _require_known(elasticsearch: ElasticsearchSettings, brands: Iterable[str], talk: Talk) -> None:
    for brand in brands:
        found = search(elasticsearch, f"events-{brand}-*", was_heard(talk.conversation_id))
        if found["hits"]["total"]["value"]:
            return
    raise ConfigurationError(
        "nobody is known to have written in this session; see klingel chat list, or --no-lookup "
        "where its first message is not indexed yet"
    )


def the_event(object_id: str) -> Json:
    """Return the question what care made of an object, where it is indexed."""
    return {
        "query": {"term": {"object_id": object_id}},
        "size": 1,
        "source": ["case_id", "triage"],
    }


def _sent_before(
    elasticsearch: ElasticsearchSettings, brand: str, said: ChatReply
) -> _Heard | None:
    """Return what became of a reply of this id, if one was sent before: it is not routed again."""
    found = search(elasticsearch, f"events-{brand}-*", the_event(object_of(said)))["hits"]["hits"]
    if not found:
        return None
    event = found[0]["_source"]
    return _Heard(event.get("case_id"), event.get("triage"), sent_before=True)


def _text(text: str | None, path: Path | None) -> str:
    if (text is None) is (path is None):
        raise ConfigurationError("say what is answered: --text TEXT, or --file FILE")
    if path is None:
        return text or ""
    try:
        with click.open_file(str(path), "rb") as file:
            found: bytes = file.read(_FILE_BYTES + 1)
        if len(found) > _FILE_BYTES:
            raise ConfigurationError("--file: a reply has at most 10,000 characters")
        return found.decode("utf-8").removesuffix("\n")
    except OSError:
        raise ConfigurationError("--file: the file cannot be read") from None
    except UnicodeDecodeError:
        raise ConfigurationError("--file: the file is no text in UTF-8") from None


def _checked(talk: Talk, text: str, reply_id: str, at: datetime, name: str | None) -> ChatReply:
    try:
        return reply_of(talk, text, reply_id, at, name)
    except InvalidMessage as error:
        where = f"{error.path}: " if error.path else ""
        raise ConfigurationError(f"{where}{error}") from None


def _give_and_wait(
    kafka: KafkaSettings, said: ChatReply, brand: str, seconds: float, since: datetime | None
) -> _Heard:
    """Publish a reply and return what care made of the event that it became.

    Args:
        kafka: how to reach Kafka.
        said: the reply.
        brand: whose event is waited for.
        seconds: how long.
        since: from when on a reply of this id may have been routed already; None for a new id.

    Raises:
        SourceUnavailable: nothing was heard of it in time; it may still come through.
    """
    key = f"{brand}/{object_of(said)}@0".encode()
    place = conversation_key(brand, Talk(said.channel, said.session).conversation_id)
    with reading(kafka) as log:
        slot: Slot = (
            Topic.ROUTED_EVENTS,
            partition_for(place, len(log.slots(Topic.ROUTED_EVENTS))),
        )
        end = log.ends([slot])[slot]
        first = None if since is None else log.first_since([slot], since)[slot]
        publish(kafka, [reply_output(said, SOURCE)])
        deadline = time.monotonic() + seconds
        for messages in log.follow({slot: end if first is None else first}, _PAUSE_SECONDS):
            for message in messages:
                if message.key == key:
                    made = codec.decode(RoutedEvent, message.value).decision
                    return _Heard(made.case_id, made.triage, sent_before=message.offset < end)
            if time.monotonic() >= deadline:
                break
    raise SourceUnavailable(
        f"the reply {said.reply_id} has not come back within {seconds:g} s; it is kept and may still "
        "do so, see klingel status"
    )
