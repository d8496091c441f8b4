"""What is not among the recordings, from the formats that the network publishes.

Each fixture names its page (developers.facebook.com, read in copies of 2025 and 2026):

- echo, standby, handover: Messenger Platform, webhook events `message_echoes`, `standby`,
  `messaging_handovers`
- edit: Messenger Platform, webhook event `message_edits` (`num_edit` stands there as a string)
- story reply, unsent message, reaction: "Webhooks for Instagram Messaging"
- an entry that is a change itself: "Instagram Platform: Webhook notification examples"
- test deliveries: the "Test" button of the app dashboard, webhooks product
- BSUID, usernames, contact request: WhatsApp, "Business-scoped user IDs" (31 March 2026)
- edit and revoke: WhatsApp, "Edit messages webhook reference", "Revoke messages webhook reference"
- history: WhatsApp, "history webhook reference"
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klingel.domain.dedupe import merge_drafts
from klingel.domain.identity import DELETED_WITHOUT_REVISION, content_hash
from klingel.errors import InvalidMessage
from klingel_connectors.raw import Origin, read_piece
from klingel_networks.contract import Delivery, NativeObject, Refused
from klingel_networks.mapped import raw_event
from klingel_networks.meta import FAMILY
from klingel_networks.meta.identities import seen_ids
from klingel_networks.meta.window import window_until
from klingel_networks.registry import installed

PAGE, FAN = "12345654332", "987654321432"
MS = 1_783_175_888_130
AT = datetime(2026, 7, 4, 14, 38, 8, 130_000, tzinfo=UTC)


def told(delivery: Delivery | bytes, **context: str):
    """Return network, identity, draft and raw event of each object."""
    if isinstance(delivery, bytes):
        delivery = Delivery(delivery, context)
    found = []
    for name, piece in FAMILY.explode(delivery):
        assert isinstance(piece, NativeObject), piece
        network = installed().network(name)
        identity = network.identify(piece.native, piece.context)
        raw = raw_event(name, piece, identity)
        found.append((name, identity, network.to_social_event(raw), raw))
    return found


def polled(network: str, edge: str, thing: Any, channel: str = PAGE, **context: str):
    """Return identity and draft of one thing that Graph shows."""
    mapping = installed().network(network)
    body = json.dumps({"data": [thing]}).encode()
    (piece,) = mapping.explode(
        Delivery(body, {"via": "graph", "edge": edge, "channel": channel, **context})
    )
    identity = mapping.identify(piece.native, piece.context)
    return identity, mapping.to_social_event(raw_event(network, piece, identity))


def body(of: str, *entries: Any) -> bytes:
    return json.dumps({"object": of, "entry": list(entries)}).encode()


def items(*items: Any, of: str = "page", by: str = "messaging") -> bytes:
    return body(of, {"id": PAGE, "time": MS + 500, by: list(items)})


def item(sender: str = FAN, recipient: str = PAGE, **more: Any) -> dict[str, Any]:
    return {"sender": {"id": sender}, "recipient": {"id": recipient}, "timestamp": MS, **more}


def one(*given: Any, **more: str):
    (found,) = told(*given, **more)
    return found


def test_an_echo_is_our_own_word_and_names_whom_it_answers():
    echo = item(PAGE, FAN, message={"mid": "m_e", "is_echo": True, "app_id": 1, "text": "Gern!"})
    network, identity, draft, _ = one(items(echo))
    assert (network, identity.object_id) == ("messenger", "messenger:network:m_e")
    assert (draft.direction, draft.author.id, draft.target) == ("outbound", PAGE, FAN)
    assert draft.conversation_id == one(items(item(message={"mid": "m_f"})))[2].conversation_id
    assert window_until(draft) is draft.window_until is None


def test_an_edit_wins_by_its_time_and_keeps_the_conversation():
    edit = item(message_edit={"mid": "m_1", "text": "neu", "num_edit": "2"})
    _, identity, draft, _ = one(items(edit))
    assert identity == ("messenger:network:m_1", MS, "direct_message", "updated")
    assert (draft.text, draft.changed_at, draft.published_at) == ("neu", AT, None)


def test_an_edit_without_a_text_blanks_nothing():
    # Instagram tells so of new messages: neither sender nor text, num_edit 0.
    spurious = {"timestamp": MS, "message_edit": {"mid": "m_1", "num_edit": 0}}
    _, identity, draft, _ = one(items(spurious, of="instagram"))
    assert (identity.kind, draft.text, "m_1" in identity.object_id) == ("unknown", None, False)


def test_standby_names_the_same_message():
    said = item(message={"mid": "m_1", "text": "Hallo"})
    first, second = one(items(said)), one(items(said, by="standby"))
    assert first[:3] == second[:3]


def test_a_test_delivery_of_the_dashboard_is_a_message():
    value = {
        "sender": {"id": "12334"},
        "recipient": {"id": "23245"},
        "timestamp": "1527459824",
        "message": {
            "mid": "test_message_id",
            "text": "test_message",
            "commands": [{"name": "c"}],
        },
    }
    for of, wanted in (("page", "messenger"), ("instagram", "instagram")):
        change = {"field": "messages", "value": value}
        network, identity, draft, _ = one(body(of, {"id": "0", "time": 1, "changes": [change]}))
        assert (network, identity.object_id) == (wanted, f"{wanted}:network:test_message_id")
        assert (draft.text, draft.author.id, draft.target) == ("test_message", "12334", "23245")
        bare = json.dumps(change).encode()
        (piece,) = installed().network(wanted).explode(Delivery(bare))
        assert installed().network(wanted).identify(piece.native, piece.context) == identity


POSTBACK = {"title": "Get Started", "payload": "START", "mid": "m_p"}


@pytest.mark.parametrize(("of", "wanted"), [("page", "messenger"), ("instagram", "instagram")])
@pytest.mark.parametrize("field", ["messaging_postbacks", "messaging_referrals", "messaging_seen"])
def test_a_test_delivery_of_any_messaging_field_is_of_the_messages_network(of, wanted, field):
    value = {"sender": {"id": "1"}, "recipient": {"id": "2"}, "timestamp": "1527459824"}
    change = {"field": field, "value": value | {"postback": POSTBACK}}
    network, identity, draft, _ = one(body(of, {"id": "0", "time": 1, "changes": [change]}))
    assert (network, identity.object_id) == (wanted, f"{wanted}:network:m_p")
    assert draft.text == "Get Started"


def test_story_reply_and_unsent_message():
    reply = {
        "mid": "m_s",
        "text": "Schön!",
        "reply_to": {"story": {"id": "179", "url": "https://s.example/1"}},
    }
    _, _, draft, _ = one(items(item(message=reply), of="instagram"))
    assert (draft.in_reply_to, draft.in_reply_to_author) == ("instagram:network:179", PAGE)
    assert [(each.kind, each.id, each.url) for each in draft.media] == [
        ("link", "179", "https://s.example/1")
    ]
    assert window_until(draft) == draft.window_until == AT + timedelta(hours=24)
    _, identity, gone, _ = one(
        items(item(message={"mid": "m_s", "is_deleted": True}), of="instagram")
    )
    assert identity.revision == DELETED_WITHOUT_REVISION
    assert (gone.change, gone.text, gone.conversation_id) == (
        "deleted",
        None,
        draft.conversation_id,
    )


def test_a_story_mention_opens_the_window():
    mention = {
        "mid": "m_m",
        "attachments": [{"type": "story_mention", "payload": {"url": "https://s.example/2"}}],
    }
    _, identity, draft, _ = one(items(item(message=mention), of="instagram"))
    assert (identity.kind, draft.mentions) == ("story", (PAGE,))
    assert window_until(draft) == draft.window_until == AT + timedelta(hours=24)


def test_an_older_reaction_that_comes_again_has_the_older_revision():
    newer = one(items(item(timestamp=MS + 9, reaction={"mid": "m_1", "action": "unreact"})))
    older = one(items(item(reaction={"mid": "m_1", "action": "react", "emoji": "❤"})))
    assert older[1].object_id == newer[1].object_id
    assert older[1].revision < newer[1].revision
    assert older[2].text == "❤"


def test_who_has_the_thread_and_the_like_are_nobodys_word():
    for name in ("pass_thread_control", "referral", "optin", "read", "something_new"):
        _, identity, draft, _ = one(items(item(**{name: {"x": 1}})))
        assert identity.kind == "unknown"
        assert draft.conversation_id == f"messenger:network:chat/{PAGE}/{FAN}"


def test_a_website_reference_is_the_same_customer():
    first = item(
        message={"mid": "m"},
        prior_message={"source": "customer_chat_plugin", "identifier": "REF"},
    )
    assert seen_ids(one(items(first))[3]) == (f"messenger:{FAN}", "messenger:user_ref:REF")


def test_graph_shows_the_same_message_and_completes_it():
    url = "https://scontent.xx.fbcdn.net/v/t1/1_2_n.jpg?oh=%s"
    attached = [{"type": "image", "payload": {"url": url % "a"}}]
    _, identity, heard, _ = one(
        items(item(message={"mid": "m_1", "text": "Hi", "attachments": attached}))
    )
    again, shown = polled(
        "messenger",
        "messages",
        {
            "id": "m_1",
            "created_time": "2026-07-04T14:38:08+0000",
            "from": {"id": FAN, "name": "Erika M.", "email": "x@facebook.com"},
            "to": {"data": [{"id": PAGE}]},
            "message": "Hi",
            "attachments": {
                "data": [{"id": "7", "mime_type": "image/jpeg", "image_data": {"url": url % "b"}}]
            },
        },
    )
    assert identity == again
    assert content_hash(heard) == content_hash(shown)
    merged = merge_drafts([heard, shown])
    assert merged.conversation_id == heard.conversation_id == shown.conversation_id
    assert shown.author.name == "Erika M."


def test_our_own_message_in_graph_is_outbound():
    identity, draft = polled(
        "instagram",
        "messages",
        {"id": "m_9", "from": {"id": PAGE}, "to": {"data": [{"id": FAN}]}, "message": "Gern"},
    )
    assert (identity.kind, draft.direction, draft.target) == ("direct_message", "outbound", FAN)


def test_an_entry_that_is_a_change_itself():
    comment = {
        "id": "178",
        "text": "Hallo",
        "from": {"id": FAN, "username": "erika"},
        "media": {"id": "179"},
    }
    _, identity, draft, _ = one(
        body("instagram", {"id": PAGE, "time": MS // 1000, "field": "comments", "value": comment})
    )
    assert identity == ("instagram:network:178", 0, "comment", "created")
    assert (draft.conversation_id, draft.target) == ("instagram:network:179", PAGE)


def test_a_mention_is_completed_by_what_is_fetched():
    change = {"field": "mentions", "value": {"comment_id": "178", "media_id": "179"}}
    _, identity, heard, _ = one(
        body("instagram", {"id": PAGE, "time": MS // 1000, "changes": [change]})
    )
    again, shown = polled(
        "instagram",
        "comments",
        {
            "id": "178",
            "text": "@marke hilft nicht",
            "timestamp": "2026-07-04T14:38:08+0000",
            "username": "erika",
        },
        parent="179",
    )
    assert identity == again
    merged = merge_drafts([heard, shown])
    assert (merged.text, merged.mentions) == ("@marke hilft nicht", (PAGE,))
    assert merged.conversation_id == "instagram:network:179"


def test_a_comment_without_an_author_is_still_heard():
    value = {
        "item": "comment",
        "verb": "add",
        "comment_id": "1_2",
        "post_id": f"{PAGE}_1",
        "message": "?",
    }
    _, identity, draft, _ = one(
        body(
            "page",
            {"id": PAGE, "time": MS // 1000, "changes": [{"field": "feed", "value": value}]},
        )
    )
    assert (identity.kind, draft.author, draft.target) == ("comment", None, PAGE)


def test_an_edited_comment_has_the_later_revision_whichever_comes_first():
    def change(verb, at):
        value = {
            "item": "comment",
            "verb": verb,
            "comment_id": "1_2",
            "post_id": f"{PAGE}_1",
            "created_time": 1_783_175_000,
            "message": verb,
        }
        return one(
            body("page", {"id": PAGE, "time": at, "changes": [{"field": "feed", "value": value}]})
        )

    edited, added, removed = (
        change("edited", 1_783_175_100),
        change("add", 1_783_175_200),
        change("remove", 1),
    )
    assert added[1].revision < edited[1].revision < removed[1].revision
    assert {each[1].object_id for each in (edited, added, removed)} == {"facebook:network:1_2"}


def test_graph_gives_a_comment_the_conversation_of_its_post():
    identity, draft = polled(
        "facebook",
        "comments",
        {
            "id": "1_2",
            "message": "Hallo",
            "from": {"id": FAN, "name": "Erika"},
            "created_time": "2026-07-04T14:38:08+0000",
            "parent": {"id": "1_1"},
            "attachment": {
                "type": "photo",
                "media": {"image": {"src": "https://scontent.xx.fbcdn.net/v/9_n.jpg?x"}},
            },
        },
        parent=f"{PAGE}_1",
    )
    assert identity.object_id == "facebook:network:1_2"
    assert (draft.conversation_id, draft.in_reply_to) == (
        f"facebook:network:{PAGE}_1",
        "facebook:network:1_1",
    )
    assert draft.media[0].id == "file:9_n.jpg"


OWN, BSUID, PHONE = "106540352242922", "DE.13491208655302741918", "491711234567"
KEY = "0123456789abcdef0123456789abcdef"


def cloud(field: str = "messages", /, **value: Any) -> Delivery:
    told = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": OWN},
        **value,
    }
    change = {"field": field, "value": told}
    return Delivery(
        body("whatsapp_business_account", {"id": "10229", "time": MS // 1000, "changes": [change]}),
        {"hash_key": KEY},
    )


def text(said: str, own_id: str = "wamid.A", **more: Any) -> dict[str, Any]:
    told = {"id": own_id, "timestamp": str(MS // 1000), "type": "text", "text": {"body": said}}
    return told | more


def test_one_customer_by_bsuid_alone_then_with_his_number_then_with_another_username():
    def contact(username, **more):
        return {"profile": {"name": "Erika", "username": username}, "user_id": BSUID, **more}

    alone = one(cloud(contacts=[contact("@erika")], messages=[text("1", "w1", from_user_id=BSUID)]))
    both = one(
        cloud(
            contacts=[contact("@erika", wa_id=PHONE)],
            messages=[text("2", "w2", **{"from": PHONE, "from_user_id": BSUID})],
        )
    )
    renamed = one(
        cloud(contacts=[contact("@erika.m")], messages=[text("3", "w3", from_user_id=BSUID)])
    )
    assert {each[2].conversation_id for each in (alone, both, renamed)} == {
        f"whatsapp:{OWN}:chat/bsuid:{BSUID}"
    }
    assert {each[2].author.id for each in (alone, both, renamed)} == {f"bsuid:{BSUID}"}
    ids = [set(seen_ids(each[3])) for each in (alone, both, renamed)]
    assert [len(each) for each in ids] == [2, 3, 2]
    assert set.intersection(*ids) == {f"whatsapp:bsuid:{BSUID}"}
    assert {each.split(":")[1] for each in set.union(*ids)} == {"bsuid", "phone", "username"}
    assert (alone[2].author.handle, both[2].author.handle) == ("@erika", PHONE)


def test_a_new_bsuid_and_a_new_number_link_the_old_to_the_new():
    system = {
        "body": f"User from a to b changed from US.1010 to {BSUID}",
        "user_id": BSUID,
        "type": "user_changed_user_id",
    }
    by_message = one(
        cloud(messages=[{"id": "s", "timestamp": "1749416383", "type": "system", "system": system}])
    )
    assert set(seen_ids(by_message[3])) == {f"whatsapp:bsuid:{BSUID}", "whatsapp:bsuid:US.1010"}
    update = {
        "wa_id": PHONE,
        "user_id": {"previous": "US.1010", "current": BSUID},
        "timestamp": "1749416383",
    }
    by_update = one(cloud("user_id_update", user_id_update=[update]))
    assert set(seen_ids(by_message[3])) < set(seen_ids(by_update[3]))
    moved = {
        "id": "s2",
        "from": PHONE,
        "timestamp": "1",
        "type": "system",
        "system": {"wa_id": "4930123", "type": "user_changed_number"},
    }
    assert len(seen_ids(one(cloud(messages=[moved]))[3])) == 2
    assert by_update[2].kind == by_message[2].kind == "unknown"


def test_a_name_cannot_forge_a_change_of_ids():
    system = {
        "body": f"User changed from US.1 to {BSUID} changed from x to y",
        "user_id": BSUID,
    }
    told = one(
        cloud(messages=[{"id": "s", "timestamp": "1749416383", "type": "system", "system": system}])
    )
    assert seen_ids(told[3]) == (f"whatsapp:bsuid:{BSUID}",)


def test_a_number_that_was_asked_for_is_his_own():
    card = {"id": "c", "from_user_id": BSUID, "timestamp": "1783175888", "type": "contacts"}
    card |= {
        "origin": "contact_request",
        "contacts": [{"phones": [{"phone": "+49 171 1234567"}]}],
    }
    others = {**card, "origin": "other"}
    assert len(seen_ids(one(cloud(messages=[card]))[3])) == 2
    assert len(seen_ids(one(cloud(messages=[others]))[3])) == 1


def test_neither_numbers_nor_the_key_reach_ids():
    said = text(
        "Hallo", f"wamid.{PHONE}", **{"from": PHONE}, context={"id": "wamid.x", "from": "1555"}
    )
    _, identity, draft, raw = one(cloud(contacts=[{"wa_id": PHONE}], messages=[said]))
    for named in (
        identity.object_id,
        draft.conversation_id,
        draft.author.id,
        draft.in_reply_to,
    ):
        assert PHONE not in named
    assert KEY not in json.dumps(raw.context)
    assert draft.author.handle == PHONE
    other = one(
        Delivery(cloud(contacts=[{"wa_id": PHONE}], messages=[said]).body, {"hash_key": KEY[::-1]})
    )
    assert other[1].object_id != identity.object_id


def test_edit_and_revoke_speak_of_the_first_message():
    first = one(cloud(messages=[text("alt", **{"from": PHONE})]))
    edit = {"id": "wamid.B", "from": PHONE, "timestamp": str(MS // 1000 + 9), "type": "edit"}
    edit["edit"] = {
        "original_message_id": "wamid.A",
        "message": {
            "type": "image",
            "image": {"id": "77", "caption": "neu"},
            "context": {"id": "M0"},
        },
    }
    revoke = {"id": "wamid.C", "from": PHONE, "timestamp": "1783175999", "type": "revoke"}
    revoke["revoke"] = {"original_message_id": "wamid.A"}
    edited, gone = one(cloud(messages=[edit])), one(cloud(messages=[revoke]))
    assert first[1].object_id == edited[1].object_id == gone[1].object_id
    assert first[1].revision < edited[1].revision < gone[1].revision
    assert (edited[2].text, edited[2].media[0].id, gone[2].text) == ("neu", "77", None)


def test_what_we_sent_comes_back_as_statuses():
    def status(name, **more):
        told = {
            "id": "wamid.O",
            "status": name,
            "timestamp": "1783175888",
            "recipient_id": PHONE,
        }
        return one(cloud(statuses=[told | more]))

    customer = one(cloud(messages=[text("?", **{"from": PHONE})]))[2]
    sent, failed, read = (
        status("sent"),
        status("failed", errors=[{"code": 131026}]),
        status("read"),
    )
    assert (sent[2].kind, sent[2].direction, sent[2].target) == (
        "direct_message",
        "outbound",
        customer.author.id,
    )
    assert sent[2].conversation_id == customer.conversation_id == read[2].conversation_id
    assert (failed[1].object_id, failed[1].change) == (sent[1].object_id, "deleted")
    assert (read[1].kind, read[1].object_id) == ("unknown", f"{sent[1].object_id}/status/read")
    for category in ("marketing", "utility", "authentication_international"):
        assert status("sent", pricing={"category": category})[1].kind == "unknown"


@pytest.mark.parametrize("field", ["smb_message_echoes", "history"])
def test_a_template_of_ours_answers_nobody_whatever_way_it_comes(field):
    """As its status, which names its category: machines send it, and it stops no clock."""
    said = {"id": "wamid.T", "from": "15550783881", "to": PHONE, "timestamp": str(MS // 1000)}
    said |= {"type": "template", "template": {"name": "versandt"}}
    typed = text("gern", "wamid.U", **{"from": "15550783881", "to": PHONE})
    if field == "history":
        thread = {"id": PHONE, "messages": [said, typed]}
        value = {"history": [{"metadata": {"phase": 0}, "threads": [thread]}]}
    else:
        value = {"message_echoes": [said, typed]}
    found = told(cloud(field, **value))
    assert [(each[1].kind, each[2].direction) for each in found] == [
        ("unknown", "outbound"),
        ("direct_message", "outbound"),
    ]


def test_history_is_told_message_by_message_and_knows_who_spoke():
    thread = {
        "id": PHONE,
        "messages": [
            text("von uns", "h1", **{"from": "15550783881", "to": PHONE}),
            text("vom Kunden", "h2", **{"from": PHONE}),
        ],
    }
    history = [
        {"metadata": {"phase": 0}, "threads": [thread, thread]},
        {"errors": [{"code": 2593109}]},
    ]
    found = told(cloud("history", history=history))
    assert [each[1].kind for each in found] == ["direct_message"] * 4 + ["unknown"]
    assert [each[2].direction for each in found] == ["outbound", None, "outbound", None, None]
    assert len({each[2].conversation_id for each in found[:4]}) == 1


def test_history_is_of_mode_backfill_whatever_way_it_comes():
    """What was said before the number was connected opens no case; what is said now does."""
    thread = {"id": PHONE, "messages": [text("vom Kunden", "h2", **{"from": PHONE})]}
    before = cloud("history", history=[{"threads": [thread]}])
    now = cloud(messages=[text("Hallo", "h3", **{"from": PHONE})])
    echo = cloud("smb_message_echoes", message_echoes=[text("Guten Tag", "h4", to=PHONE)])
    media = cloud("history", messages=[text("Bild", "h5", **{"from": PHONE})])
    origin = Origin("whatsapp", "gateway-hook-meta", "whatsapp", "holder")
    modes = []
    for body in (before, now, echo, media):
        for name, piece in FAMILY.explode(body):
            modes.append(read_piece(installed().network(name), piece, origin, "live", AT).raw.mode)
    assert modes == ["backfill", "live", "live", "backfill"]


def test_a_list_that_nobody_knows_yet_is_not_lost():
    found = told(
        cloud(messages=[text("a", **{"from": PHONE})], novelties=[{"id": "n"}, {"id": "o"}])
    )
    assert [each[1].kind for each in found] == ["direct_message", "unknown", "unknown"]


def test_a_type_that_nobody_knows_yet_keeps_its_author():
    _, identity, draft, _ = one(
        cloud(
            messages=[
                {
                    "id": "w",
                    "from": PHONE,
                    "timestamp": "1783175888",
                    "type": "poll",
                    "poll": {},
                }
            ]
        )
    )
    assert (identity.kind, draft.author.handle) == ("unknown", PHONE)


def test_a_form_is_told_field_by_field():
    answers = {"flow_token": "t", "grund": "defekt", "tage": 3, "teile": ["a", "b"]}
    flow = {"nfm_reply": {"body": "Sent", "response_json": json.dumps(answers)}}
    said = {
        "id": "w",
        "from": PHONE,
        "timestamp": "1783175888",
        "type": "interactive",
        "interactive": flow,
    }
    assert one(cloud(messages=[said]))[2].text == "grund: defekt\ntage: 3\nteile: a, b"


def test_a_batch_of_a_thousand_updates_is_a_thousand_objects():
    entries = [
        {
            "id": PAGE,
            "time": MS,
            "messaging": [item(message={"mid": f"m_{at}"}), item(read={"watermark": at})],
        }
        for at in range(300)
    ]
    entries += [
        {
            "id": PAGE,
            "time": MS // 1000,
            "changes": [
                {"field": "feed", "value": {"item": "post", "verb": "add", "post_id": f"p_{at}"}}
            ]
            * 2,
        }
        for at in range(200)
    ]
    found = told(body("page", *entries))
    assert len(found) == 1000
    assert len({each[1].object_id for each in found}) == 300 + 300 + 200


def test_one_broken_piece_does_not_take_its_neighbours_along():
    good = item(message={"mid": "m_1"})
    entries = [
        {"id": PAGE, "time": MS, "messaging": [good]},
        {"id": [], "messaging": [good]},
        {"id": PAGE, "time": "soon", "changes": [{"field": "feed"}]},
        "no entry",
        {"id": PAGE, "time": MS, "messaging": [good, 5, item(message={"mid": ["m"]})]},
    ]
    fates = []
    for name, piece in FAMILY.explode(Delivery(body("page", *entries))):
        try:
            if isinstance(piece, Refused):
                raise piece.error
            installed().network(name).identify(piece.native, piece.context)
        except InvalidMessage as error:
            fates.append(str(error.error_type))
        else:
            fates.append("delivered")
    assert fates == [
        "delivered",
        "wrong_type",
        "invalid_field",
        "wrong_type",
        "delivered",
        "wrong_type",
        "wrong_type",
    ]


@pytest.mark.parametrize(
    "whole",
    [b"", b"{}", b"[]x", b'{"object":"page","entry":[]}', b'{"entry":5}', b"\xff", b"[" * 100],
)
def test_what_is_no_delivery_is_refused_with_a_sentence(whole):
    with pytest.raises(InvalidMessage) as caught:
        FAMILY.explode(Delivery(whole))
    assert str(caught.value)
