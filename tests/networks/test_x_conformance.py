"""X passes the conformance suite: few, rich samples of every kind and change."""

import json
from typing import Any

from klingel_networks.conformance import NetworkConformance, Sample
from klingel_networks.contract import Delivery

FIRST, SECOND = "2080765813578191303", "2080765913578191304"
BRAND, CUSTOMER = "1111111111111111111", "2222222222222222222"
USERS = [
    {
        "id": CUSTOMER,
        "username": "erika",
        "name": "Erika",
        "verified": False,
        "public_metrics": {"followers_count": 97},
    }
]


def packed(tree: Any) -> bytes:
    """Return a tree as X sends it."""
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()


def post(
    post_id: str = FIRST, text: str = "@nordlicht kein Netz 😡", **more: Any
) -> dict[str, Any]:
    """Return a reply of the customer's to the brand, changed by `more`."""
    return {
        "id": post_id,
        "text": text,
        "author_id": CUSTOMER,
        "conversation_id": "2080765813578190001",
        "created_at": "2026-07-24T21:23:23.000Z",
        "edit_history_tweet_ids": [FIRST] if post_id == FIRST else [FIRST, post_id],
        "referenced_tweets": [{"type": "replied_to", "id": "2080765813578190001"}],
        "in_reply_to_user_id": BRAND,
        "entities": {
            "mentions": [{"start": 0, "end": 10, "username": "nordlicht", "id": BRAND}],
            "hashtags": [{"start": 1, "end": 2, "tag": "Netz"}],
            "urls": [{"url": "https://t.co/x", "expanded_url": "https://example.com/a"}],
        },
        "attachments": {"media_keys": ["3_2080765813578191303"]},
        "lang": "de",
        "public_metrics": {"retweet_count": 1, "like_count": 2},
    } | more


def line(data: dict[str, Any], **more: Any) -> bytes:
    """Return a line of the filtered stream."""
    return packed({"data": data, "includes": {"users": USERS}} | more)


def activity(event_type: str, payload: dict[str, Any], **more: Any) -> bytes:
    """Return an activity event."""
    data = {
        "event_uuid": "-3402274206530057851",
        "filter": {"user_id": BRAND},
        "event_type": event_type,
        "payload": payload,
    }
    return packed({"data": data | more})


def message(message_id: str) -> dict[str, Any]:
    """Return a direct message as activity events carry it."""
    return {
        "type": "message_create",
        "id": message_id,
        "created_timestamp": "1784928224372",
        "message_create": {
            "target": {"recipient_id": BRAND},
            "sender_id": CUSTOMER,
            "message_data": {"text": "hallo", "entities": {"urls": []}},
        },
    }


LIKE = {
    "id": "87719f50ee17bdfa06a3089098a2b9ed",
    "timestamp_ms": "1784927565236",
    "liked_tweet_author_id": BRAND,
    "liked_tweet_id": FIRST,
}


class TestX(NetworkConformance):
    """X."""

    network = "x"
    samples = (
        Sample(
            line(post(), matching_rules=[{"id": "7", "tag": "name"}]),
            again=(
                Delivery(packed({"data": [post()], "includes": {"users": USERS}, "meta": {}})),
                Delivery(activity("post.mention.create", post())),
                Delivery(packed(post()), {"country": "FR"}),
            ),
            edited=(
                Delivery(line(post(SECOND, "@nordlicht wieder Netz"))),
                Delivery(activity("post.create", post(SECOND, "@nordlicht wieder Netz"))),
            ),
        ),
        Sample(
            packed(
                {
                    "data": [
                        {"id": FIRST, "text": "a", "author_id": CUSTOMER},
                        {
                            "id": SECOND,
                            "text": "RT @x: a",
                            "referenced_tweets": [{"type": "retweeted", "id": FIRST}],
                        },
                        {
                            "id": "2080765913578191305",
                            "text": "b",
                            "withheld": {"country_codes": ["DE"]},
                            "referenced_tweets": [{"type": "quoted", "id": FIRST}],
                        },
                        {"tag": "name", "value": "nordlicht", "id": "7"},
                        7,
                    ],
                    "includes": {"tweets": [{"id": FIRST, "edit_history_tweet_ids": [FIRST]}]},
                }
            ),
            objects=5,
            refused=1,
            edited=(),
        ),
        Sample(
            activity("dm.received", {"direct_message_events": [message("7"), message("8")]}),
            objects=2,
            again=(
                Delivery(
                    packed(
                        {
                            "data": [
                                {"id": "7", "event_type": "MessageCreate", "text": "hallo"},
                                {"id": "8", "event_type": "MessageCreate", "text": "hallo"},
                            ]
                        }
                    )
                ),
            ),
        ),
        Sample(
            activity("like.create", LIKE, includes={"users": USERS}),
            edited=(
                Delivery(
                    activity(
                        "like.delete",
                        LIKE | {"timestamp_ms": "1784927565999"},
                        includes={"users": USERS},
                    )
                ),
            ),
        ),
        Sample(
            packed(
                {
                    "for_user_id": BRAND,
                    "favorite_events": [
                        {
                            "id": "a7ba59eab0bfcba386f7acedac279542",
                            "timestamp_ms": 1784927565236,
                            "favorited_status": {"id_str": FIRST, "user": {"id_str": BRAND}},
                            "user": {"id_str": CUSTOMER, "screen_name": "erika"},
                        }
                    ],
                    "direct_message_events": [message("7")],
                    "tweet_delete_events": [{"status": {"id": FIRST, "user_id": CUSTOMER}}],
                    "follow_events": [{"type": "follow", "source": {"id_str": CUSTOMER}}],
                    "block_events": [7],
                }
            ),
            objects=5,
            refused=1,
            edited=(),
        ),
        Sample(
            activity("post.delete", {"id": FIRST, "author_id": CUSTOMER}),
            again=(
                Delivery(
                    packed(
                        {
                            "data": {
                                "delete": {
                                    "tweet": {"id": FIRST, "author_id": CUSTOMER},
                                    "event_at": "2026-07-24T21:23:23.000Z",
                                }
                            }
                        }
                    )
                ),
                Delivery(packed({"id": FIRST, "action": "delete", "reason": "deleted"})),
                Delivery(
                    packed(
                        {
                            "errors": [
                                {
                                    "resource_id": FIRST,
                                    "resource_type": "tweet",
                                    "parameter": "ids",
                                    "type": "https://api.x.com/2/problems/resource-not-found",
                                }
                            ]
                        }
                    ),
                    {"asked": "posts"},
                ),
            ),
        ),
        Sample(
            packed(
                {
                    "data": {
                        "user_protect": {
                            "user": {"id": CUSTOMER},
                            "event_at": "2026-07-24T21:23:23.000Z",
                        }
                    }
                }
            )
        ),
    )
