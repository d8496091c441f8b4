"""Telegram as core.telegram.org/bots/api writes it, through `klingel map`; fixtures name sections.

Sections: #message, #chat (`is_direct_messages`), #directmessagestopic, #externalreplyinfo, #story,
#messagereactionupdated, #reactiontype, #businessmessagesdeleted, #callbackquery, #update.
"""

from typing import Any

import pytest

GONE = 2**42 - 1
BEYOND = 2**53 + 1
ANNA = {"id": 7, "is_bot": False, "first_name": "Anna", "username": "anna"}
OWNER = {"id": 99, "is_bot": False, "first_name": "Chefin"}
PRIVATE = {"id": 7, "type": "private", "first_name": "Anna"}
FORUM = {
    "id": -1001234567890,
    "type": "supergroup",
    "title": "Netz",
    "username": "netz",
    "is_forum": True,
}
DIRECT = {"id": -1009, "type": "supergroup", "title": "Kanal", "is_direct_messages": True}


def message(chat: dict[str, Any] = PRIVATE, **more: Any) -> dict[str, Any]:
    return {
        "message_id": 10,
        "from": ANNA,
        "chat": chat,
        "date": 1783175887,
        "text": "kein Netz",
    } | more


def update(**what: Any) -> dict[str, Any]:
    return {"update_id": 10**9, **what}


def reaction(old: list[Any], new: list[Any], **more: Any) -> dict[str, Any]:
    told = {"chat": FORUM, "message_id": 10, "user": ANNA, "date": 1783175900}
    return update(message_reaction=told | {"old_reaction": old, "new_reaction": new} | more)


def emoji(sign: str) -> dict[str, Any]:
    return {"type": "emoji", "emoji": sign}


def events(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert {each["fate"] for each in found} <= {"delivered"}, found
    return [each["event"] for each in found]


def test_a_business_chat_knows_who_of_the_two_speaks(told):
    """#message: `business_connection_id`; the chat is the other's, `sender_business_bot` ours."""
    inbound = message(business_connection_id="bc")
    outbound = inbound | {"from": OWNER, "message_id": 11}
    by_bot = outbound | {"sender_business_bot": {"id": 42, "is_bot": True}, "message_id": 12}
    said = [
        events(told("telegram", update(business_message=each)))[0]
        for each in (inbound, outbound, by_bot)
    ]
    assert [each.get("direction") for each in said] == [None, "outbound", "outbound"]
    assert [each.get("target") for each in said] == [None, "7", "7"]
    assert {each["conversation_id"] for each in said} == {"telegram:bc/7:chat"}


def test_edits_and_deletions_of_a_business_chat_reach_its_messages(told):
    made = message(business_connection_id="bc")
    gone = {"business_connection_id": "bc", "chat": PRIVATE, "message_ids": [10, BEYOND]}
    (first,) = events(told("telegram", update(business_message=made)))
    edited = update(edited_business_message=made | {"text": "Netz", "edit_date": 1783175999})
    (second,) = events(told("telegram", edited))
    third, other = events(told("telegram", update(deleted_business_messages=gone)))
    assert first["object_id"] == second["object_id"] == third["object_id"]
    assert [each["revision"] for each in (first, second, third)] == [0, 1783175999000, GONE]
    assert (second["text"], second["changed_at"]) == ("Netz", "2026-07-04T14:39:59Z")
    assert third["conversation_id"] == other["conversation_id"] == first["conversation_id"]
    assert other["object_id"] == f"telegram:bc/7:{BEYOND}"


@pytest.mark.parametrize(
    ("parent", "kind", "answered"),
    [
        ({"message_id": 3, "forum_topic_created": {"name": "T"}}, "post", None),
        ({"message_id": 5, "from": ANNA}, "reply", "telegram:-1001234567890:5"),
        (None, "post", None),
    ],
)
def test_a_topic_is_a_conversation_whoever_is_answered(told, parent, kind, answered):
    answer = {} if parent is None else {"reply_to_message": {"date": 1, "chat": FORUM, **parent}}
    said = message(FORUM, message_thread_id=3, is_topic_message=True, **answer)
    (found,) = events(told("telegram", update(message=said)))
    assert found["conversation_id"] == "telegram:-1001234567890:3"
    assert (found["kind"], found.get("in_reply_to")) == (kind, answered)


def test_what_people_write_to_a_channel_is_a_conversation_each(told):
    """#directmessagestopic: a supergroup in which every person has a topic of his own."""
    topics = [{"topic_id": 777, "user": ANNA}, {"topic_id": BEYOND, "user": OWNER}]
    found = [
        events(told("telegram", update(message=message(DIRECT, direct_messages_topic=topic))))[0]
        for topic in topics
    ]
    assert [each["conversation_id"] for each in found] == [
        "telegram:-1009:direct/777",
        f"telegram:-1009:direct/{BEYOND}",
    ]
    assert {(each["kind"], each["visibility"]) for each in found} == {("direct_message", "private")}


@pytest.mark.parametrize("chat", [PRIVATE, FORUM])
def test_an_answer_to_a_story_names_it(told, chat):
    """#message: `reply_to_story`."""
    said = message(chat, reply_to_story={"chat": {"id": 99, "type": "private"}, "id": 4})
    (found,) = events(told("telegram", update(message=said)))
    assert found["in_reply_to"] == "telegram:bot/99:story/4"
    assert found["in_reply_to_author"] == "99"


def test_an_answer_to_another_chat_names_its_message_where_that_is_told(told):
    """#externalreplyinfo: chat and message are there only where they may be seen."""
    there = {"id": -100777, "type": "channel", "title": "Kanal"}
    named = {"origin": {"type": "channel"}, "chat": there, "message_id": 4}
    unnamed = {"origin": {"type": "hidden_user", "sender_user_name": "x", "date": 1}}
    for external, answered in ((named, "telegram:-100777:4"), (unnamed, None)):
        (found,) = events(told("telegram", update(message=message(external_reply=external))))
        assert found.get("in_reply_to") == answered
        assert found["conversation_id"] == "telegram:bot/7:chat"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (emoji("👍"), "👍"),
        (emoji("❤\u200d🔥"), "❤\u200d🔥"),
        ({"type": "custom_emoji", "custom_emoji_id": "5368324170671202286"}, None),
        ({"type": "paid"}, "paid"),
    ],
)
def test_a_reaction_is_put_and_taken_at_its_time(told, given, name):
    (put,) = events(told("telegram", reaction([], [given])))
    (taken,) = events(told("telegram", reaction([given], [], date=1783175901)))
    name = name or "custom-5368324170671202286"
    assert put["object_id"] == taken["object_id"] == f"telegram:-1001234567890:10/reaction/7/{name}"
    assert taken["revision"] - put["revision"] == 1000
    assert (put["published_at"], put.get("changed_at")) == ("2026-07-04T14:38:20Z", None)
    assert (taken.get("published_at"), taken["changed_at"]) == (None, "2026-07-04T14:38:21Z")
    assert (put["text"], taken.get("text")) == (name, None)


def test_a_changed_reaction_is_two_objects_and_a_groups_own_is_the_groups(told):
    found = events(told("telegram", reaction([emoji("👍")], [emoji("👎")])))
    assert [each.get("text") for each in found] == ["👎", None]
    (ours,) = events(told("telegram", reaction([], [emoji("👎")], user=None, actor_chat=FORUM)))
    assert ours["author"]["id"] == "-1001234567890"


def test_a_pressed_button_answers_where_it_is_shown(told):
    """#callbackquery; a message that is gone has date 0, one of a topic names it."""
    shown = [
        (message(), "telegram:bot/7:chat"),
        ({"chat": PRIVATE, "message_id": 5, "date": 0}, "telegram:bot/7:chat"),
        (message(FORUM, message_thread_id=3, is_topic_message=True), "telegram:-1001234567890:3"),
        (message(FORUM), None),
    ]
    for given, conversation in shown:
        pressed = {"id": "43", "from": ANNA, "message": given, "chat_instance": "1", "data": "ja"}
        (found,) = events(told("telegram", update(callback_query=pressed)))
        assert (found["text"], found.get("conversation_id")) == ("ja", conversation)


def test_ids_beyond_a_double_stay_exact(told):
    far = message({**PRIVATE, "id": BEYOND}, **{"from": ANNA | {"id": BEYOND}})
    (found,) = events(told("telegram", update(message=far | {"message_id": BEYOND})))
    assert found["object_id"] == f"telegram:bot/{BEYOND}:{BEYOND}"
    assert found["author"]["id"] == str(BEYOND)


@pytest.mark.parametrize(
    "what",
    [
        {"my_chat_member": {"chat": PRIVATE, "from": ANNA, "date": 1}},
        {"message_reaction_count": {"chat": FORUM, "message_id": 10, "date": 1, "reactions": []}},
        {"business_connection": {"id": "bc", "user": ANNA, "user_chat_id": 7, "date": 1}},
        {"inline_query": {"id": "1", "from": ANNA, "query": "x", "offset": ""}},
        {"poll": {"id": "1", "question": "q", "options": []}},
        {"message": {"message_id": 1, "date": 1, "chat": FORUM, "new_chat_members": [ANNA]}},
        {"novelty": {"x": 1}},
    ],
)
def test_what_is_nobodys_word_is_of_kind_unknown(told, what):
    (found,) = events(told("telegram", update(**what)))
    assert (found["kind"], found["change"]) == ("unknown", "created")


def test_broken_updates_of_an_answer_stop_no_other(told):
    given = [5, update(message=5), update(message=message(date="x")), update(message=message())]
    given += [update(message=message(entities=[{"type": "bold", "offset": "0", "length": 1}]))]
    found = told("telegram", {"ok": True, "result": given})
    assert [each.get("reason", "delivered") for each in found] == [
        *["wrong_type"] * 3,
        "delivered",
        "wrong_type",
    ]
    assert all(each.get("sentence") for each in found if each["fate"] == "dead_lettered")
