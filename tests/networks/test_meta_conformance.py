"""The Meta family passes the conformance suite: one small sample for each thing that can be told."""

import json
from typing import Any

from klingel_networks.conformance import NetworkConformance, Sample
from klingel_networks.contract import Delivery

PAGE, FAN, POST, COMMENT = "1234567890321", "705955836155788", "7293787835232", "905579239537901"
TIME = 1_783_175_888


def body(kind: str, *entries: dict[str, Any]) -> bytes:
    return json.dumps({"object": kind, "entry": list(entries)}, ensure_ascii=False).encode()


def change(field: str, value: Any, time: int = TIME, account: str = PAGE) -> dict[str, Any]:
    return {"id": account, "time": time, "changes": [{"field": field, "value": value}]}


def feed(item: str, verb: str, *, time: int = TIME, **more: Any) -> bytes:
    value = {
        "from": {"id": FAN, "name": "Erika M."},
        "post_id": f"{PAGE}_{POST}",
        "item": item,
        "verb": verb,
        "created_time": TIME,
        **more,
    }
    return body("page", change("feed", value, time))


def comment(verb: str, text: str, *, time: int = TIME) -> bytes:
    return feed(
        "comment",
        verb,
        time=time,
        comment_id=f"{POST}_{COMMENT}",
        parent_id=f"{PAGE}_{POST}",
        message=text,
    )


def graph(edge: str, *things: dict[str, Any], **context: str) -> Delivery:
    told = {"data": list(things), "paging": {}}
    return Delivery(
        json.dumps(told).encode(), {"via": "graph", "edge": edge, "channel": PAGE, **context}
    )


class TestFacebook(NetworkConformance):
    """Pages: feed, comments, ratings, reactions."""

    network = "facebook"
    samples = (
        Sample(
            comment("add", "Seit gestern kein Netz 😡"),
            again=(
                Delivery(comment("add", "Seit gestern kein Netz 😡", time=TIME + 900)),
                graph(
                    "comments",
                    {"id": f"{POST}_{COMMENT}", "message": "Seit gestern kein Netz 😡"},
                    parent=f"{PAGE}_{POST}",
                ),
            ),
            edited=(
                Delivery(comment("edited", "Geht wieder", time=TIME + 60)),
                Delivery(comment("remove", "", time=TIME + 90)),
            ),
        ),
        Sample(
            feed(
                "photo", "add", message="Neu", link="https://scontent.xx.fbcdn.net/v/a_1_n.jpg?oh=1"
            ),
            edited=(Delivery(feed("photo", "hide", message="Neu", time=TIME + 5)),),
        ),
        Sample(
            feed("reaction", "add", reaction_type="angry", comment_id=f"{POST}_{COMMENT}"),
            edited=(
                Delivery(
                    feed(
                        "reaction",
                        "edit",
                        reaction_type="love",
                        comment_id=f"{POST}_{COMMENT}",
                        created_time=TIME + 9,
                    )
                ),
            ),
        ),
        Sample(
            body(
                "page",
                change(
                    "ratings",
                    {
                        "item": "rating",
                        "verb": "add",
                        "open_graph_story_id": 904801129604590,
                        "reviewer_id": 705955836155788,
                        "reviewer_name": "Erika",
                        "review_text": "Nie wieder",
                        "rating": 1,
                        "recommendation_type": "NEGATIVE",
                        "created_time": TIME,
                    },
                ),
            ),
            again=(
                graph(
                    "ratings",
                    {
                        "reviewer": {"id": FAN, "name": "Erika"},
                        "review_text": "Nie wieder",
                        "open_graph_story": {"id": "904801129604590"},
                        "created_time": "2026-07-04T14:38:08+0000",
                    },
                ),
            ),
        ),
        Sample(feed("photo", "mute"), objects=1),
        Sample(body("page", {"id": PAGE, "time": TIME, "changed_fields": ["hours"]})),
    )


def item(account: str, customer: str, **more: Any) -> dict[str, Any]:
    return {
        "sender": {"id": customer},
        "recipient": {"id": account},
        "timestamp": TIME * 1000,
        **more,
    }


def messaging(kind: str, *items: dict[str, Any], by: str = "messaging") -> bytes:
    return body(kind, {"id": PAGE, "time": TIME * 1000 + 900, by: list(items)})


def words(kind: str) -> tuple[Sample, ...]:
    """Return the samples that Messenger and Instagram share."""
    said = item(
        PAGE,
        FAN,
        message={
            "mid": "m_1",
            "text": "Wo bleibt mein Paket?",
            "attachments": [
                {"type": "image", "payload": {"url": "https://cdn.fbsbx.com/i?asset_id=17"}},
                {"type": "location", "payload": {"coordinates": {"lat": 54.3, "long": 10.1}}},
            ],
            "reply_to": {"mid": "m_0"},
        },
    )
    edit = item(
        PAGE,
        FAN,
        timestamp=TIME * 1000 + 5,
        message_edit={"mid": "m_1", "text": "Wo?", "num_edit": "1"},
    )
    unsent = item(PAGE, FAN, message={"mid": "m_1", "is_deleted": True})
    test = {"id": "0", "time": TIME, "changes": [{"field": "messages", "value": said}]}
    polled = {
        "id": "m_1",
        "created_time": "2026-07-04T14:38:08+0000",
        "from": {"id": FAN, "name": "Erika", "username": "erika"},
        "to": {"data": [{"id": PAGE}]},
        "message": "Wo bleibt mein Paket?",
    }
    reaction = {"mid": "m_2", "action": "react", "emoji": "😢", "reaction": "sad"}
    return (
        Sample(
            messaging(kind, said),
            again=(
                Delivery(messaging(kind, said, by="standby")),
                Delivery(body(kind, test)),
                graph("messages", polled),
            ),
            edited=(Delivery(messaging(kind, edit)), Delivery(messaging(kind, unsent))),
        ),
        Sample(
            messaging(kind, item(FAN, PAGE, message={"mid": "m_3", "is_echo": True, "text": "Hi"}))
        ),
        Sample(
            messaging(kind, item(PAGE, FAN, reaction=reaction)),
            edited=(
                Delivery(
                    messaging(
                        kind,
                        item(
                            PAGE,
                            FAN,
                            timestamp=TIME * 1000 + 9,
                            reaction={"mid": "m_2", "action": "unreact"},
                        ),
                    )
                ),
            ),
        ),
        Sample(messaging(kind, item(PAGE, FAN, read={"watermark": 1, "mid": "m_3"}))),
        Sample(messaging(kind, item(PAGE, FAN, postback={"mid": "m_4", "title": "Hilfe"}))),
        Sample(
            messaging(
                kind,
                item(
                    PAGE,
                    FAN,
                    message={
                        "mid": "m_5",
                        "attachments": [
                            {"type": "story_mention", "payload": {"url": "https://s.example/1"}}
                        ],
                    },
                ),
            )
        ),
    )


class TestMessenger(NetworkConformance):
    """Messages of pages."""

    network = "messenger"
    samples = words("page")


class TestInstagram(NetworkConformance):
    """Messages, comments, mentions."""

    network = "instagram"
    samples = (
        *words("instagram"),
        Sample(
            body(
                "instagram",
                change(
                    "comments",
                    {
                        "id": "17865799348089039",
                        "text": "Wann gibt es das wieder?",
                        "from": {"id": FAN, "username": "erika"},
                        "media": {"id": "17880997618081620", "media_product_type": "FEED"},
                        "parent_id": "17865799348089000",
                    },
                ),
            ),
            again=(
                # With Instagram Login the entry holds the change itself.
                Delivery(
                    body(
                        "instagram",
                        {
                            "id": PAGE,
                            "time": TIME,
                            "field": "comments",
                            "value": {
                                "id": "17865799348089039",
                                "text": "Wann gibt es das wieder?",
                            },
                        },
                    )
                ),
                graph(
                    "comments",
                    {
                        "id": "17865799348089039",
                        "text": "Wann gibt es das wieder?",
                        "timestamp": "2026-07-04T14:38:08+0000",
                        "like_count": 2,
                    },
                    parent="17880997618081620",
                ),
            ),
        ),
        Sample(body("instagram", change("mentions", {"media_id": "17887498072083520"}))),
    )


OWN, WABA, PHONE, USER = "106540352242922", "102290129340398", "491711234567", "DE.1349120865530274"


def cloud(field: str = "messages", /, **value: Any) -> bytes:
    told = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": OWN},
        **value,
    }
    return body("whatsapp_business_account", change(field, told, account=WABA))


CONTACT = {"profile": {"name": "Erika", "username": "@erika"}, "wa_id": PHONE, "user_id": USER}


def message(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    told = {"from": PHONE, "id": "wamid.A=", "timestamp": str(TIME), "type": kind, kind: content}
    return told | more


def whatsapp(*messages: dict[str, Any]) -> bytes:
    return cloud(contacts=[CONTACT], messages=list(messages))


class TestWhatsApp(NetworkConformance):
    """The Cloud API."""

    network = "whatsapp"
    samples = (
        Sample(
            whatsapp(
                message("text", {"body": "Hallo?"}, context={"id": "wamid.0", "from": "1555"})
            ),
            again=(
                Delivery(
                    cloud(
                        contacts=[{"user_id": USER}],
                        messages=[
                            message("text", {"body": "Hallo?"}, from_user_id=USER, timestamp=TIME)
                        ],
                    )
                ),
            ),
            edited=(
                Delivery(
                    whatsapp(
                        message(
                            "edit",
                            {
                                "original_message_id": "wamid.A=",
                                "message": {"type": "text", "text": {"body": "Hallo!"}},
                            },
                            id="wamid.B=",
                        )
                    )
                ),
                Delivery(
                    whatsapp(message("revoke", {"original_message_id": "wamid.A="}, id="wamid.C="))
                ),
            ),
        ),
        Sample(
            whatsapp(message("reaction", {"message_id": "wamid.0", "emoji": "👍"})),
            edited=(
                Delivery(
                    whatsapp(
                        message("reaction", {"message_id": "wamid.0"}, timestamp=str(TIME + 1))
                    )
                ),
            ),
        ),
        Sample(
            whatsapp(
                message("document", {"id": "65463453", "caption": "Rechnung", "filename": "r.pdf"}),
                message(
                    "location", {"latitude": 12.25, "longitude": 43.9, "name": "Hier"}, id="w2"
                ),
            ),
            objects=2,
        ),
        Sample(
            cloud(
                statuses=[
                    {
                        "id": "wamid.O=",
                        "status": "sent",
                        "timestamp": str(TIME),
                        "recipient_id": PHONE,
                        "recipient_user_id": USER,
                        "pricing": {"category": "service"},
                    },
                ]
            ),
            edited=(
                Delivery(
                    cloud(
                        statuses=[
                            {
                                "id": "wamid.O=",
                                "status": "failed",
                                "timestamp": str(TIME),
                                "recipient_id": PHONE,
                            }
                        ]
                    )
                ),
            ),
        ),
        Sample(
            cloud(
                "history",
                history=[
                    {
                        "metadata": {"phase": 0, "chunk_order": 1},
                        "threads": [
                            {"id": PHONE, "messages": [message("text", {"body": "Früher"}, id="h")]}
                        ],
                    }
                ],
            )
        ),
        Sample(body("whatsapp_business_account", change("account_update", {"event": "X"}))),
    )
