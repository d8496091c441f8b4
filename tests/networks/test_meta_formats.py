"""The Meta family as its documentation writes it, through `klingel map`; each fixture names its page.

Pages of developers.facebook.com, read in copies of 2025 and 2026. Instagram: "Graph API: Webhooks
reference: Instagram" (comments, live_comments, mentions), "Instagram Platform: Webhook notification
examples", "Self messaging". Messenger: "Webhook events" (message_echoes, message_edits, messages,
message_reactions, messaging_handovers, standby). Facebook: "Webhooks reference: Page" (feed, mention,
ratings). WhatsApp: "Webhooks reference" (messages of each type, statuses, errors, history,
smb_message_echoes, system), "Business-scoped user IDs".
"""

import json
from typing import Any

import pytest

PAGE, FAN = "17841405822304914", "5678"
AT, MS = 1_783_175_888, 1_783_175_888_130
SAID, OPEN = "2026-07-04T14:38:08.130000Z", "2026-07-05T14:38:08.130000Z"
SENT, OPEN_SENT = "2026-07-04T14:38:08Z", "2026-07-05T14:38:08Z"
GONE = 2**42 - 1
BEYOND = 2**53 + 1


def body(of: str, **lists: Any) -> dict[str, Any]:
    return {"object": of, "entry": [{"id": PAGE, "time": AT, **lists}]}


def changed(of: str, field: str, *values: Any) -> dict[str, Any]:
    return body(of, changes=[{"field": field, "value": value} for value in values])


def item(sender: Any = FAN, recipient: Any = PAGE, **more: Any) -> dict[str, Any]:
    return {"sender": {"id": sender}, "recipient": {"id": recipient}, "timestamp": MS, **more}


def events(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert {each["fate"] for each in found} <= {"delivered"}, found
    return [each["event"] for each in found]


def fates(found: list[dict[str, Any]]) -> list[str]:
    """Return each object's reason, or that it was delivered; every refusal says a sentence."""
    assert all(each.get("sentence") or each["fate"] == "delivered" for each in found)
    return [each.get("reason", "delivered") for each in found]


# ------------------------------------------------------------------ Instagram: comments, mentions

COMMENT = {
    "from": {"id": FAN, "username": "erika"},
    "media": {"id": "179", "media_product_type": "FEED"},
    "text": "Hilfe!",
}


@pytest.mark.parametrize("field", ["comments", "live_comments"])
@pytest.mark.parametrize("name", ["id", "comment_id"])
@pytest.mark.parametrize("own_id", ["178", 178, BEYOND])
def test_a_comment_is_named_by_either_field_and_by_numbers_exactly(told, field, name, own_id):
    (found,) = events(told("instagram", changed("instagram", field, COMMENT | {name: own_id})))
    assert found["object_id"] == f"instagram:network:{own_id}"
    assert (found["kind"], found["text"]) == ("comment", "Hilfe!")
    assert (found["author"], found["target"]) == ({"id": FAN, "handle": "erika"}, PAGE)
    assert found["conversation_id"] == found["in_reply_to"] == "instagram:network:179"
    assert found["published_at"] == SENT


def test_a_reply_under_an_advertisement_answers_its_parent(told):
    media = {"id": 180, "ad_id": "23", "ad_title": "A", "original_media_id": "179"}
    value = COMMENT | {"comment_id": "178", "parent_id": 177, "media": media}
    (found,) = events(told("instagram", changed("instagram", "comments", value)))
    assert found["conversation_id"] == "instagram:network:180"
    assert found["in_reply_to"] == "instagram:network:177"


def test_a_comment_that_names_its_medium_flatly_has_its_conversation(told):
    value = {"comment_id": "178", "media_id": "179", "text": "x", "from": {"username": "erika"}}
    (found,) = events(told("instagram", changed("instagram", "comments", value)))
    assert found["conversation_id"] == "instagram:network:179"
    assert "author" not in found


@pytest.mark.parametrize("stamp", [AT - 60, (AT - 60) * 1000, "2026-07-04T14:37:08+0000"])
def test_a_comment_that_tells_its_time_was_said_then(told, stamp):
    value = COMMENT | {"id": "178", "timestamp": stamp}
    (found,) = events(told("instagram", changed("instagram", "comments", value)))
    assert found["published_at"] == "2026-07-04T14:37:08Z"


def test_the_accounts_own_comment_is_outbound_under_whichever_id(told):
    """Self messaging: `self_ig_scoped_id` stands there for the account alone."""
    for own_id in (PAGE, "99"):
        actor = {"id": own_id, "username": "marke", "self_ig_scoped_id": "7"}
        value = COMMENT | {"id": "178", "from": actor}
        (found,) = events(told("instagram", changed("instagram", "comments", value)))
        assert (found["direction"], found.get("target")) == ("outbound", None)


@pytest.mark.parametrize(
    ("value", "kind", "own_id"),
    [
        ({"media_id": "179"}, "post", "179"),
        ({"media_id": 179, "comment_id": 178}, "comment", "178"),
        ({"comment_id": BEYOND, "media_id": "179"}, "comment", str(BEYOND)),
    ],
)
def test_a_mention_is_the_comment_or_else_the_medium(told, value, kind, own_id):
    (found,) = events(told("instagram", changed("instagram", "mentions", value)))
    assert (found["object_id"], found["kind"]) == (f"instagram:network:{own_id}", kind)
    assert (found["mentions"], found["asked_by_id"]) == ([PAGE], True)
    assert found.get("conversation_id") == ("instagram:network:179" if kind == "comment" else None)


def test_broken_comments_stop_no_other(told):
    values = [{"id": ["x"]}, COMMENT | {"id": "1", "text": 5}, [], "x", COMMENT | {"id": "2"}]
    found = told("instagram", changed("instagram", "comments", *values))
    assert fates(found) == ["wrong_type"] * 4 + ["delivered"]


# ------------------------------------------------------------------ Instagram: messages


def test_messages_by_whatever_list_are_the_same_event(told):
    said = item(message={"mid": "m1", "text": "Hallo"})
    found = [
        events(told("instagram", given))[0]
        for given in (
            body("instagram", messaging=[said]),
            body("instagram", standby=[said]),
            changed("instagram", "messages", said),
            body("instagram", messaging=[item(int(FAN), int(PAGE), message=said["message"])]),
        )
    ]
    assert all(each == found[0] for each in found)
    assert found[0]["conversation_id"] == f"instagram:network:chat/{PAGE}/{FAN}"
    assert (found[0]["published_at"], found[0]["window_until"]) == (SAID, OPEN)


@pytest.mark.parametrize(
    ("more", "kind", "refers", "opens"),
    [
        ({"message": {"mid": "m", "reply_to": {"mid": "m0"}}}, "direct_message", "m0", True),
        (
            {"message": {"mid": "m", "reply_to": {"story": {"id": 178, "url": "https://s.x/1"}}}},
            "direct_message",
            "178",
            True,
        ),
        (
            {
                "message": {
                    "mid": "m",
                    "attachments": [{"type": "story_mention", "payload": {"url": "https://s.x/2"}}],
                }
            },
            "story",
            None,
            True,
        ),
        ({"message": {"mid": "m", "is_unsupported": True}}, "direct_message", None, True),
        (
            {"postback": {"mid": "m", "title": "Start", "payload": "S"}},
            "direct_message",
            None,
            True,
        ),
        ({"reaction": {"mid": "m0", "action": "react", "emoji": "❤"}}, "reaction", "m0", False),
        ({"read": {"mid": "m0"}}, "unknown", None, False),
        ({"referral": {"ref": "x", "source": "IG_ME"}}, "unknown", None, False),
        ({"take_thread_control": {"previous_owner_app_id": "1"}}, "unknown", None, False),
        ({"request_thread_control": {"requested_owner_app_id": 1}}, "unknown", None, False),
    ],
)
def test_what_a_customer_does_in_private(told, more, kind, refers, opens):
    (found,) = events(told("instagram", body("instagram", messaging=[item(**more)])))
    assert found["kind"] == kind
    assert found.get("in_reply_to") == (refers and f"instagram:network:{refers}")
    assert found.get("window_until") == (OPEN if opens else None)
    assert (found["author"]["id"], found["target"]) == (FAN, PAGE)
    assert found["visibility"] == "private"


def test_what_was_unsent_or_edited_is_the_same_message(told):
    given = [
        item(message={"mid": "m", "text": "a"}),
        item(message_edit={"mid": "m", "text": "b", "num_edit": 1}),
        item(message={"mid": "m", "is_deleted": True}),
    ]
    made, edited, gone = events(told("instagram", body("instagram", messaging=given)))
    assert made["object_id"] == edited["object_id"] == gone["object_id"]
    assert [each["revision"] for each in (made, edited, gone)] == [0, MS, GONE]
    assert (edited["text"], gone.get("text"), gone["changed_at"]) == ("b", None, SAID)


def test_the_account_that_writes_to_itself_opens_no_window(told):
    echo = item(PAGE, "7", message={"mid": "m", "text": "x", "is_echo": True, "is_self": True})
    pressed = item(PAGE, "7", is_self=True, postback={"mid": "p", "title": "T", "payload": "P"})
    for found in events(told("instagram", body("instagram", messaging=[echo, pressed]))):
        assert (found["direction"], found["target"]) == ("outbound", "7")
        assert "window_until" not in found


# ------------------------------------------------------------------ Messenger


@pytest.mark.parametrize("by", ["messaging", "standby"])
@pytest.mark.parametrize("sides", [(PAGE, FAN), (FAN, PAGE)])
def test_an_echo_is_the_pages_word_in_the_form_of_each_version_of_its_page(told, by, sides):
    """Until 2019 the page of `message_echoes` named the customer as the sender."""
    words = {"mid": "m", "is_echo": True, "app_id": BEYOND, "metadata": "x", "text": "Gern"}
    (found,) = events(told("messenger", body("page", **{by: [item(*sides, message=words)]})))
    assert (found["direction"], found["author"]["id"], found["target"]) == ("outbound", PAGE, FAN)
    assert found["conversation_id"] == f"messenger:network:chat/{PAGE}/{FAN}"
    assert "window_until" not in found


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"template_type": "button", "text": "Wählen", "buttons": []}, "Wählen"),
        ({"template_type": "generic", "elements": [{"title": "A", "subtitle": "B"}]}, "A\nB"),
        ({"template_type": "media", "elements": [{"attachment_id": BEYOND}]}, None),
        (
            {"product": {"elements": [{"id": "1", "title": "Schuh", "subtitle": "50 €"}]}},
            "Schuh\n50 €",
        ),
    ],
)
def test_a_template_says_what_it_shows_and_a_product_what_is_asked_about(told, payload, text):
    said = {"mid": "m", "attachments": [{"type": "template", "payload": payload}]}
    (found,) = events(told("messenger", body("page", messaging=[item(message=said)])))
    assert (found["kind"], found.get("text")) == ("direct_message", text)


@pytest.mark.parametrize(
    ("attachment", "kind", "status"),
    [
        (
            {"type": "image", "payload": {"url": "https://x.example/1", "sticker_id": 1}},
            "sticker",
            1,
        ),
        ({"type": "video", "payload": {"url": "https://x.example/1"}}, "video", 1),
        ({"type": "audio", "payload": {"url": "https://x.example/1"}}, "audio", 1),
        ({"type": "file", "payload": {"url": "https://x.example/1"}}, "file", 1),
        (
            {"type": "fallback", "title": "X", "url": "https://x.example/", "payload": None},
            "link",
            0,
        ),
        ({"type": "reel", "payload": {"url": "https://x.example/", "reel_video_id": 1}}, "link", 0),
        (
            {"type": "location", "payload": {"coordinates": {"lat": 52, "long": 13.5}}},
            "location",
            0,
        ),
    ],
)
def test_what_is_carried_is_fetched_and_what_is_linked_is_not(told, attachment, kind, status):
    said = {"mid": "m", "attachments": [attachment]}
    (found,) = events(told("messenger", body("page", messaging=[item(message=said)])))
    (medium,) = found["media"]
    assert (medium["kind"], medium.get("status")) == (kind, "remote" if status else None)


def test_a_reaction_opens_the_window_and_its_end_does_not(told):
    put = {"mid": "m", "action": "react", "emoji": "😡", "reaction": "other"}
    given = [item(reaction=put), item(reaction=put | {"action": "unreact"}), item(PAGE, FAN)]
    given[2]["reaction"] = put
    first, end, ours = events(told("messenger", body("page", messaging=given)))
    assert (first["text"], first["window_until"]) == ("😡", OPEN)
    assert (end["change"], end["object_id"]) == ("deleted", first["object_id"])
    assert (ours["direction"], "window_until" in ours, "window_until" in end) == (
        "outbound",
        False,
        False,
    )


@pytest.mark.parametrize(
    "event",
    [
        {"delivery": {"mids": ["m1", "m2"], "watermark": MS}},
        {"read": {"watermark": MS}},
        {"pass_thread_control": {"new_owner_app_id": BEYOND, "metadata": "x"}},
        {"take_thread_control": {"previous_owner_app_id": "1", "new_owner_app_id": None}},
        {"request_thread_control": {"requested_owner_app_id": 123}},
        {"account_linking": {"status": "linked"}},
        {"optin": {"type": "notification_messages", "payload": "x"}},
        {"message_edit": {"mid": "m", "num_edit": 0}},
    ],
)
def test_receipts_and_handovers_stay_in_their_conversation_and_say_nothing(told, event):
    (found,) = events(told("messenger", body("page", messaging=[item(**event)])))
    assert found["kind"] == "unknown"
    assert found["conversation_id"] == f"messenger:network:chat/{PAGE}/{FAN}"
    assert "window_until" not in found


def test_broken_items_stop_no_other(told):
    given = [5, None, item(message="x"), item(message={"mid": "m", "text": 7}), item(sender=[1])]
    given += [item(message={"mid": BEYOND, "text": "ok"}), item() | {"timestamp": 10**17}]
    found = told("messenger", body("page", messaging=given))
    assert fates(found) == ["wrong_type"] * 5 + ["delivered", "time_out_of_range"]
    assert found[5]["event"]["object_id"] == f"messenger:network:{BEYOND}"


# ------------------------------------------------------------------ Facebook

POST = {"from": {"id": FAN, "name": "Erika"}, "post_id": f"{PAGE}_9", "created_time": AT}


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        (
            "feed",
            {"item": "comment", "verb": "add", "comment_id": "9_2", "parent_id": "9_1"},
            ("comment", "created", "9_2", "9_1"),
        ),
        (
            "feed",
            {"item": "comment", "verb": "edited", "comment_id": BEYOND, "parent_id": 9},
            ("comment", "updated", str(BEYOND), "9"),
        ),
        (
            "feed",
            {"item": "comment", "verb": "remove", "comment_id": "9_2", "parent_id": "9_1"},
            ("comment", "deleted", "9_2", "9_1"),
        ),
        (
            "feed",
            {"item": "reaction", "verb": "add", "reaction_type": "angry", "comment_id": "9_2"},
            ("reaction", "created", f"9_2/reaction/{FAN}/one", "9_2"),
        ),
        (
            "feed",
            {"item": "reaction", "verb": "remove", "reaction_type": "angry"},
            ("reaction", "deleted", f"{PAGE}_9/reaction/{FAN}/one", f"{PAGE}_9"),
        ),
        ("feed", {"item": "status", "verb": "add"}, ("post", "created", f"{PAGE}_9", None)),
        (
            "mention",
            {"item": "comment", "verb": "add", "comment_id": "5_6", "message": "@Marke"},
            ("comment", "created", "5_6", f"{PAGE}_9"),
        ),
        (
            "ratings",
            {"item": "rating", "verb": "add", "open_graph_story_id": 88, "review_text": "mies"},
            ("review", "created", "rating/88", None),
        ),
    ],
)
def test_what_happens_at_a_page(told, field, value, wanted):
    (found,) = events(told("facebook", changed("page", field, POST | value)))
    kind, change, own_id, parent = wanted
    assert (found["kind"], found["change"]) == (kind, change)
    assert found["object_id"] == f"facebook:network:{own_id}"
    assert found.get("in_reply_to") == (parent and f"facebook:network:{parent}")
    assert (found["author"]["id"], found.get("direction")) == (FAN, None)
    assert found.get("mentions") == ([PAGE] if field == "mention" else None)


# ------------------------------------------------------------------ WhatsApp

OWN, SHOWN, PHONE = "106540352242922", "15550783881", "491711234567"
BSUID = "DE.13491208655302741918"
CONTACT = {"profile": {"name": "Erika", "username": "@erika"}, "wa_id": PHONE, "user_id": BSUID}


def cloud(field: str = "messages", /, **value: Any) -> dict[str, Any]:
    shared = {"display_phone_number": SHOWN, "phone_number_id": OWN}
    whole = {"messaging_product": "whatsapp", "metadata": shared, **value}
    change = {"field": field, "value": whole}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}


def message(told_as: str, own_id: Any = "wamid.A", /, **more: Any) -> dict[str, Any]:
    return {"from": PHONE, "id": own_id, "timestamp": str(AT), "type": told_as, **more}


def hears(told, *messages: Any, **more: Any) -> list[dict[str, Any]]:
    return told("whatsapp", cloud(contacts=[CONTACT], messages=list(messages), **more))


@pytest.mark.parametrize(
    ("said", "text", "media"),
    [
        (message("text", text={"body": "Hallo"}), "Hallo", None),
        (message("button", button={"payload": "p", "text": "Nein"}), "Nein", None),
        (
            message(
                "interactive",
                interactive={"type": "list_reply", "list_reply": {"id": "1", "title": "T"}},
            ),
            "T",
            None,
        ),
        (message("image", image={"id": BEYOND, "caption": "c"}), "c", ("image", str(BEYOND))),
        (message("audio", audio={"id": "7", "voice": True}), None, ("audio", "7")),
        (message("document", document={"id": "7", "filename": "a.pdf"}), None, ("file", "7")),
        (message("sticker", sticker={"id": "7", "animated": False}), None, ("sticker", "7")),
        (message("location", location={"latitude": 52, "longitude": 13}), None, ("location", None)),
        (message("contacts", contacts=[{"name": {"formatted_name": "A"}}]), None, ("file", None)),
        (message("order", order={"text": "bitte", "product_items": [{}]}), "bitte", None),
        (message("unsupported", errors=[{"code": 131051}]), None, None),
        (message("unknown", errors=[{"code": 131051}]), None, None),
    ],
)
def test_what_a_customer_says_opens_the_window_and_its_media_are_fetched(told, said, text, media):
    (found,) = events(hears(told, said))
    assert (found["kind"], found.get("text")) == ("direct_message", text)
    assert (found["published_at"], found["window_until"]) == (SENT, OPEN_SENT)
    assert found["conversation_id"] == f"whatsapp:{OWN}:chat/bsuid:{BSUID}"
    assert found["author"] == {"id": f"bsuid:{BSUID}", "handle": PHONE, "name": "Erika"}
    carried = [(each["kind"], each.get("id")) for each in found.get("media", ())]
    assert carried == ([media] if media else [])
    fetched = [each.get("status") for each in found.get("media", ()) if each.get("id")]
    assert fetched == ["remote"] * len(fetched)


def test_a_form_with_parts_that_nest_keeps_those_that_do_not(told):
    """Flows: photos that were taken, and dates, are objects among the answers."""
    answers = {
        "flow_token": "t",
        "grund": "defekt",
        "fotos": [{"id": 1}],
        "von": {"tag": 1},
        "n": 2,
    }
    flow = {"nfm_reply": {"name": "flow", "body": "Sent", "response_json": json.dumps(answers)}}
    (found,) = events(hears(told, message("interactive", interactive=flow)))
    assert found["text"] == "grund: defekt\nn: 2"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (message("system", system={"body": "x", "wa_id": "2", "type": "user_changed_number"}), 0),
        (message("request_welcome"), 0),
        ({name: value for name, value in message("text").items() if name != "type"}, 0),
        (message("novelty", novelty={}), 0),
        (message("reaction", reaction={"message_id": "wamid.B", "emoji": "😀"}), "reaction"),
    ],
)
def test_what_is_no_word_opens_no_window(told, said, kind):
    (found,) = events(hears(told, said))
    assert found["kind"] == (kind or "unknown")
    assert "window_until" not in found


@pytest.mark.parametrize("field", ["messages", "smb_message_echoes"])
def test_edits_revokes_and_reactions_reach_their_message_from_both_sides(told, field):
    sides = {"to": PHONE, "from": SHOWN} if field == "smb_message_echoes" else {}
    given = [
        message("text", "w1", text={"body": "a"}),
        message(
            "edit",
            "w2",
            edit={"original_message_id": "w1", "message": {"type": "text", "text": {"body": "b"}}},
        ),
        message("revoke", "w3", revoke={"original_message_id": "w1"}),
        message("reaction", "w4", reaction={"message_id": "w1", "emoji": "👍"}),
        message("reaction", "w5", reaction={"message_id": "w1"}),
    ]
    name = "messages" if field == "messages" else "message_echoes"
    value = {name: [each | sides for each in given]}
    made, edited, gone, put, taken = events(told("whatsapp", cloud(field, **value)))
    assert made["object_id"] == edited["object_id"] == gone["object_id"] == put["in_reply_to"]
    assert [each["revision"] for each in (made, edited, gone)] == [0, AT * 1000, GONE]
    assert (edited["text"], put["object_id"]) == ("b", taken["object_id"])
    assert (put["change"], taken["change"]) == ("created", "deleted")
    ours = "outbound" if sides else None
    assert {each.get("direction") for each in (made, edited, gone, put)} == {ours}


def test_an_edit_that_does_not_tell_its_content_blanks_nothing(told):
    for edit in ({"original_message_id": "w1"}, None):
        (found,) = events(hears(told, message("edit", "w2", edit=edit)))
        (made,) = events(hears(told, message("text", "w1", text={"body": "a"})))
        assert (found["kind"], found["change"]) == ("unknown", "created")
        assert found["object_id"] != made["object_id"]


def test_media_of_the_history_are_history(told):
    """history: what a placeholder stood for follows as `messages` of the same field."""
    placeholder = message("media_placeholder", "h1", history_context={"status": "READ"})
    thread = {"id": PHONE, "messages": [placeholder]}
    (first,) = events(told("whatsapp", cloud("history", history=[{"threads": [thread]}])))
    image = message("image", "h1", image={"id": "24230790383178626", "caption": "Echeveria"})
    own = message("image", "h2", image={"id": "5"}) | {"from": SHOWN, "to": PHONE}
    second, ours = events(told("whatsapp", cloud("history", messages=[image, own])))
    assert (second["object_id"], second["text"]) == (first["object_id"], "Echeveria")
    assert second["conversation_id"] == first["conversation_id"] == ours["conversation_id"]
    assert (ours["direction"], second.get("direction")) == ("outbound", None)


@pytest.mark.parametrize(
    ("status", "suffix", "change"),
    [
        ({"status": "sent"}, "", "created"),
        ({"status": "delivered"}, "/status/delivered", "created"),
        ({"status": "read"}, "/status/read", "created"),
        ({"status": "played"}, "/status/played", "created"),
        ({"status": "failed", "errors": [{"code": 131026}]}, "", "deleted"),
        ({"status": "deleted"}, "", "deleted"),
    ],
)
def test_a_receipt_is_about_the_message_that_was_sent(told, status, suffix, change):
    sent = {"id": "w1", "timestamp": str(AT), "recipient_id": PHONE, "recipient_user_id": BSUID}
    first, second = (
        events(told("whatsapp", cloud(statuses=[sent | given])))[0]
        for given in ({"status": "sent"}, status)
    )
    assert second["object_id"] == first["object_id"] + suffix
    assert (second["change"], "window_until" in second) == (change, False)
    assert second["conversation_id"] == f"whatsapp:{OWN}:chat/bsuid:{BSUID}"
    if suffix:
        assert (second["kind"], second["in_reply_to"]) == ("unknown", first["object_id"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", {"errors": [{"code": 130429, "title": "Rate limit hit"}]}),
        ("history", {"history": [{"errors": [{"code": 2593109}]}]}),
        ("smb_app_state_sync", {"state_sync": [{"type": "contact", "action": "add"}]}),
        ("user_preferences", {"user_preferences": [{"wa_id": PHONE, "value": "stop"}]}),
        ("business_username_update", {"username": "x", "status": "approved"}),
        ("calls", {"calls": [{"id": "wacid.1", "from": PHONE, "to": SHOWN, "event": "connect"}]}),
        ("message_template_status_update", {"message_template_id": BEYOND}),
    ],
)
def test_news_of_the_account_are_of_kind_unknown(told, field, value):
    (found,) = events(told("whatsapp", cloud(field, **value)))
    assert (found["kind"], found["change"]) == ("unknown", "created")


def test_ids_as_numbers_are_those_of_strings(told):
    numbered = message("text", BEYOND, text={"body": "x"}) | {"from": int(PHONE), "timestamp": AT}
    named = message("text", str(BEYOND), text={"body": "x"})
    assert events(hears(told, numbered)) == events(hears(told, named))
    neighbour = message("text", BEYOND + 1, text={"body": "x"})
    assert (
        events(hears(told, neighbour))[0]["object_id"] != events(hears(told, named))[0]["object_id"]
    )


def test_broken_messages_stop_no_other_and_what_they_share_refuses_each_of_them(told):
    good = message("text", text={"body": "x"})
    found = hears(told, 5, message("text", text="x"), good | {"from": [1]}, good)
    assert fates(found) == ["wrong_type"] * 3 + ["delivered"]
    for shared in ({"contacts": [{"profile": 5}]}, {"metadata": {"phone_number_id": [1]}}):
        found = told("whatsapp", cloud(messages=[good, good], **shared))
        assert fates(found) == ["wrong_type"] * 2
