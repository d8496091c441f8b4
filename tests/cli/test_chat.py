"""`klingel chat`: wrong input, sessions that are over or unknown; who waits, on the real servers."""

import contextlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.errors import ConfigurationError
from klingel.model import BrandConfig
from klingel.settings import ElasticsearchSettings
from klingel_cli.commands.chat import answerable, hearers
from klingel_cli.search_client import ask
from klingel_indexer.templates import apply_templates

NOBODY = {
    "KLINGEL_KAFKA__BOOTSTRAP": "127.0.0.1:9",
    "KLINGEL_ELASTICSEARCH__URL": "http://127.0.0.1:9",
}
TEMPLATES = Path(__file__).resolve().parents[2] / "schemas" / "generated" / "elasticsearch"
EXAMPLES = TEMPLATES.parents[1] / "examples"
TEXT = ("--text", "Wir sehen nach.")


def conversation(begun, channel="website"):
    """Return the conversation of a session that began then."""
    return f"chat:{channel}:{int(begun.timestamp()):08x}-{uuid.uuid4().hex}"


def now_open():
    """Return the conversation of a session that began just now."""
    return conversation(datetime.now(UTC))


def chats(**brands):
    """Return configurations in force of brands with these chats."""
    return {
        brand: BrandConfig(
            brand=brand,
            version="0" * 16,
            applied_at=datetime.now(UTC),
            config={"channels": [{"network": "chat", "id": each} for each in ids]},
        )
        for brand, ids in brands.items()
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((now_open(),), "say what is answered: --text TEXT, or --file FILE"),
        ((now_open(), *TEXT, "--file", "-"), "say what is answered"),
        ((now_open(), "--file", "nowhere.txt"), "--file: the file cannot be read"),
        ((now_open(), "--text", " \n"), "the reply is empty"),
        ((now_open(), "--text", "x" * 10_001), "$.text"),
        ((now_open(), *TEXT, "--name", "x" * 81), "$.name"),
        ((now_open(), *TEXT, "--id", "a b"), "$.reply_id"),
        ((now_open(), *TEXT, "--id", "a\n"), "an id of a reply is of letters"),
        ((now_open(), *TEXT, "--wait", "nan"), "write a number of seconds"),
        (("chat:website:1", *TEXT), "a conversation of the web chat is chat:<channel>:<session>"),
        (("x:network:1", *TEXT), "a conversation of the web chat is"),
        ((now_open() + "\n", *TEXT), "a conversation of the web chat is"),
        ((conversation(datetime.now(UTC) - timedelta(days=2)), *TEXT), "the session is over since"),
        (
            (conversation(datetime.now(UTC) + timedelta(days=2)), *TEXT),
            "the session has not begun yet",
        ),
    ],
)
def test_wrong_input_is_exit_2_with_one_sentence(run, arguments, sentence) -> None:
    """Nothing is asked of a server before what was written is right."""
    result = run("chat", "reply", *arguments, env=NOBODY)
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_a_reply_that_is_no_text_is_refused(run) -> None:
    result = run("chat", "reply", now_open(), "--file", "-", env=NOBODY, stdin=b"\xff")
    assert (result.exit_code, result.stderr) == (
        2,
        "klingel: --file: the file is no text in UTF-8\n",
    )
    result = run("chat", "reply", now_open(), "--file", "-", env=NOBODY, stdin=b"x" * 70_000)
    assert (result.exit_code, "at most 10,000" in result.stderr) == (2, True)


def test_a_session_is_answerable_from_its_beginning_to_its_end() -> None:
    begun = datetime(2026, 3, 2, 12, tzinfo=UTC)
    named = conversation(begun)
    assert answerable(named, 2, begun).conversation_id == named
    assert answerable(named, 2, begun + timedelta(minutes=119)).channel == "website"
    with pytest.raises(ConfigurationError, match="over since 2026-03-02 14:00Z"):
        answerable(named, 2, begun + timedelta(hours=2))


def test_the_hours_of_a_session_are_the_gateways(run) -> None:
    old = conversation(datetime.now(UTC) - timedelta(hours=3))
    result = run("chat", "reply", old, *TEXT, env=NOBODY | {"KLINGEL_CHAT_HOURS": "2"})
    assert (result.exit_code, "the session is over since" in result.stderr) == (2, True)
    result = run("chat", "reply", old, *TEXT, env=NOBODY | {"KLINGEL_CHAT_HOURS": "25"})
    assert (result.exit_code, "KLINGEL_CHAT_HOURS: must be" in result.stderr) == (2, True)


def test_a_chat_that_no_brand_hears_is_refused_with_those_that_are_heard() -> None:
    held = chats(nordlicht=["website", "shop"], other=["shop"])
    assert hearers(held, "shop") == ["nordlicht", "other"]
    with pytest.raises(ConfigurationError, match="the chats are: shop, website"):
        hearers(held, "nobody")
    with pytest.raises(ConfigurationError, match="the chats are: none"):
        hearers({}, "website")


class Desk:
    """Stands in for Elasticsearch and Kafka: what is indexed, what care routed, what was asked."""

    def __init__(self):
        self.indexed = []
        self.routed = []
        self.end = 0
        self.asked_since = []
        self.published = []

    def search(self, _elasticsearch, index, body):
        """Answer who wrote, and what became of an object."""
        assert index == "events-nordlicht-*"
        asked = body["query"]["term"]
        found = [each for each in self.indexed if asked.items() <= each.items()]
        hits = [
            {"_source": {key: each[key] for key in body.get("source", ()) if key in each}}
            for each in found
        ]
        return {"hits": {"hits": hits[: body["size"]], "total": {"value": len(found)}}}

    @contextlib.contextmanager
    def reading(self, _kafka):
        """Open the log."""
        yield self

    def slots(self, topic):
        """One partition."""
        return [(topic, 0)]

    def ends(self, slots):
        """Where it ends."""
        return dict.fromkeys(slots, self.end)

    def first_since(self, slots, at):
        """All of it was written since, if there is anything."""
        self.asked_since.append(at)
        return dict.fromkeys(slots, self.routed[0].offset if self.routed else None)

    def publish(self, _kafka, outputs):
        """Take replies; care routes what it has not heard yet."""
        self.published += outputs
        for each in outputs:
            self.hears(dict(each.headers)["ce_id"].decode())

    def hears(self, object_id):
        """Route an event, once."""
        key = f"nordlicht/{object_id}@0".encode()
        if key in {each.key for each in self.routed}:
            return
        value = (EXAMPLES / "routed-events" / "answered.json").read_bytes()
        self.routed.append(Message(Topic.ROUTED_EVENTS, 0, self.end, key, value))
        self.end += 1

    def follow(self, starts, _wait):
        """Yield what lies behind the start, then silence."""
        (start,) = starts.values()
        yield [each for each in self.routed if each.offset >= start]
        while True:
            yield []


@pytest.fixture
def desk(monkeypatch):
    """A desk in the place of the servers."""
    made = Desk()
    for name in ("search", "reading", "publish"):
        monkeypatch.setattr(f"klingel_cli.commands.chat.{name}", getattr(made, name))
    held = chats(nordlicht=["website"])
    monkeypatch.setattr("klingel_cli.commands.chat.in_force", lambda _kafka: held)
    return made


@pytest.mark.parametrize("lag", ["indexed", "routed", "no lookup"])
def test_a_reply_that_was_sent_before_is_told_at_once(run, desk, lag) -> None:
    """A repeat is not routed again: it is looked up instead of waited for in vain."""
    begun = datetime.now(UTC) - timedelta(minutes=20)
    talk = conversation(begun)
    desk.indexed.append({"conversation_id": talk})
    once = ("chat", "reply", talk, *TEXT, "--id", "r-1", "--wait", "5", "--json")
    more = ("--no-lookup",) if lag == "no lookup" else ()
    first = json.loads(run(*once, *more).stdout)
    assert (first["triage"], first["sent_before"]) == ("own_post", False)
    if lag == "indexed":
        desk.indexed.append(
            {"object_id": first["object_id"], "case_id": first["case_id"], "triage": "own_post"}
        )
        desk.routed.clear()
    again = run(*once, *more)
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == first | {"sent_before": True}
    told = run(*once[:-1], *more)
    assert told.stdout == f"reply r-1 was sent before: own_post, {first['case_id']}\n"
    assert len(desk.published) == (1 if lag == "indexed" else 3)
    if lag == "no lookup":
        assert max(desk.asked_since) <= begun


def test_a_reply_that_was_deleted_since_was_sent_before_too(run, desk) -> None:
    """Of it little more is indexed than that it was there."""
    talk = now_open()
    desk.indexed += [{"conversation_id": talk}, {"object_id": f"{talk}/reply/r-1"}]
    told = run("chat", "reply", talk, *TEXT, "--id", "r-1", "--wait", "5")
    assert told.stdout == "reply r-1 was sent before: deleted, no case\n", told.output
    assert desk.published == []


def test_a_reply_under_a_new_id_is_looked_for_nowhere(run, desk) -> None:
    """Nobody can have sent it before."""
    talk = now_open()
    desk.indexed.append({"conversation_id": talk})
    given = run("chat", "reply", talk, *TEXT, "--wait", "5", "--json")
    assert json.loads(given.stdout)["sent_before"] is False
    assert desk.asked_since == []


@pytest.fixture
def indexed(elasticsearch_url, index_prefix):
    """Write documents of these indices, searchable at once; gone after the test."""
    settings = ElasticsearchSettings(url=elasticsearch_url, index_prefix=index_prefix)
    ask(settings, lambda client: apply_templates(client, TEMPLATES, index_prefix, {}))

    def write(name, document):
        ask(
            settings,
            lambda client: client.index(index=index_prefix + name, document=document, refresh=True),
        )

    yield write

    async def clear(client):
        found = await client.indices.get(index=f"{index_prefix}*")
        await client.indices.delete(index=list(found.body))
        await client.indices.delete_index_template(name=f"{index_prefix}*")
        await client.cluster.delete_component_template(name=f"{index_prefix}*")

    ask(settings, clear)


BRAND = """\
brand: nordlicht
name: Nordlicht
queues: [{id: general}]
channels: [{network: chat, id: website}]
"""


@pytest.mark.servers
def test_who_waits_is_listed_and_only_a_session_that_somebody_wrote_in_is_answered(
    run, env, tmp_path, elasticsearch_url, index_prefix, indexed
) -> None:
    env = env | {
        "KLINGEL_ELASTICSEARCH__URL": elasticsearch_url,
        "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": index_prefix,
    }
    (tmp_path / "brand.yaml").write_text(BRAND, encoding="utf-8")
    assert run("config", "apply", "brand.yaml", env=env).exit_code == 0
    begun = datetime.now(UTC) - timedelta(minutes=20)
    waiting, answered, old = (
        conversation(begun),
        conversation(begun),
        conversation(begun - timedelta(days=3)),
    )
    common = {"brand": "nordlicht", "network": "chat", "state": "open"}
    for number, each in enumerate((old, waiting, answered)):
        indexed(
            "cases-nordlicht",
            common
            | {
                "conversation_id": each,
                "case_id": f"nordlicht:{each}:c#1",
                **({"waiting_since": f"2026-03-02T12:0{number}:00Z"} if each != answered else {}),
            },
        )
    indexed("cases-nordlicht", common | {"conversation_id": now_open(), "state": "closed"})
    indexed("cases-nordlicht", common | {"conversation_id": "x:network:1", "network": "x"})
    indexed("events-nordlicht-2026.03", {"conversation_id": waiting, "brand": "nordlicht"})

    listed = run("chat", "list", env=env)
    assert listed.exit_code == 0, listed.output
    lines = [line for line in listed.stdout.splitlines() if "chat:website:" in line]
    assert [each for line in lines for each in (old, waiting, answered) if each in line] == [
        old,
        waiting,
        answered,
    ]
    assert [" over " in line for line in lines] == [True, False, False]
    assert "3 of 3 chats" in listed.stdout
    assert run("chat", "list", "--brand", "other", "--json", env=env).stdout == ""

    given = run("chat", "reply", waiting, *TEXT, "--id", "r-1", env=env)
    assert (given.exit_code, given.stdout) == (0, "reply r-1 is given\n"), given.output
    refused = run("chat", "reply", now_open(), *TEXT, env=env)
    assert refused.exit_code == 2
    assert "nobody is known to have written in this session" in refused.stderr
    assert run("chat", "reply", now_open(), *TEXT, "--no-lookup", env=env).exit_code == 0
    stranger = conversation(begun, "shop")
    refused = run("chat", "reply", stranger, *TEXT, env=env)
    assert (refused.exit_code, "the chats are: website" in refused.stderr) == (2, True)
    late = run("chat", "reply", waiting, *TEXT, "--wait", "0.3", env=env)
    assert (late.exit_code, "has not come back within 0.3 s" in late.stderr) == (3, True)
