"""`klingel chat`: wrong input, sessions that are over or unknown; who waits, on the real servers."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

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
