"""What Meta's webhooks carry, as pure functions: updates of pages and Instagram, and their batches.

Forms from developers.facebook.com: "Webhooks: Getting started", "Webhooks reference: Page",
"Messenger Platform: Webhook events", "Instagram Platform: Webhook notification examples". WhatsApp's
stand in ``whatsapp_traffic.py``.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from klingel_simulator.traffic import SimulatedObject

BATCH_MOST: Final = 1_000
"""Updates in one delivery; the network promises no more."""
PAGE_OBJECT: Final = "page"
INSTAGRAM_OBJECT: Final = "instagram"
WHATSAPP_OBJECT: Final = "whatsapp_business_account"

_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Update:
    """One thing that happened.

    ``of``: the webhook's object. ``by``: list of the entry (messaging, standby, changes, or entry:
    the entry is the change itself). ``network``, ``object_id``, ``revision``: as the receiver must
    understand it; an empty id where it computes one from the content.
    """

    of: str
    account: str
    by: str
    item: Any
    time_ms: int
    network: str
    object_id: str = ""
    revision: int = 0


def to_body(updates: Sequence[Update]) -> bytes:
    """Write one delivery: updates of one object; neighbours of one entry share it."""
    entries: list[dict[str, Any]] = []
    for each in updates:
        seconds = each.by in {"changes", "entry"} and each.of != WHATSAPP_OBJECT
        time = each.time_ms // 1000 if seconds else each.time_ms
        if each.by == "entry":
            entries.append({"id": each.account, "time": time, **each.item})
            continue
        last = entries[-1] if entries else None
        if last is None or last["id"] != each.account or "field" in last or last["time"] != time:
            last = {"id": each.account, "time": time}
            entries.append(last)
        last.setdefault(each.by, []).append(each.item)
    return _ENCODER.encode({"object": updates[0].of, "entry": entries}).encode("ascii")


def to_bodies(updates: Iterable[Update], size: int) -> Iterator[tuple[bytes, tuple[Update, ...]]]:
    """Cut updates into deliveries of at most ``size``; one delivery holds one object's updates."""
    if not 1 <= size <= BATCH_MOST:
        raise ValueError(f"a batch holds 1 to {BATCH_MOST} updates")
    waiting: list[Update] = []
    for each in updates:
        if waiting and (len(waiting) == size or waiting[0].of != each.of):
            yield to_body(waiting), tuple(waiting)
            waiting = []
        waiting.append(each)
    if waiting:
        yield to_body(waiting), tuple(waiting)


def message_item(account: str, customer: str, at_ms: int, **more: Any) -> dict[str, Any]:
    """Build one element of ``messaging``, said by the customer."""
    return {
        "sender": {"id": customer},
        "recipient": {"id": account},
        "timestamp": at_ms,
        **more,
    }


def messages(of: str, account: str, customer: str, at_ms: int) -> list[Update]:
    """Build every kind of messaging event once, of Messenger or of Instagram."""
    network = "messenger" if of == PAGE_OBJECT else "instagram"

    def update(
        own_id: str = "",
        revision: int = 0,
        *,
        by: str = "messaging",
        ours: bool = False,
        **more: Any,
    ) -> Update:
        sides = (customer, account) if ours else (account, customer)
        item = message_item(*sides, at_ms, **more)
        known = f"{network}:network:{own_id}" if own_id else ""
        return Update(of, account, by, item, at_ms, network, known, revision)

    gone = 2**42 - 1
    image = {
        "type": "image",
        "payload": {"url": "https://scontent.xx.fbcdn.net/v/t1/1_2_n.jpg?oh=1"},
    }
    reacted = {"mid": "m_text", "action": "react", "reaction": "love", "emoji": "❤"}
    taken_back = {"mid": "m_text", "action": "unreact"}
    found = [
        update("m_text", message={"mid": "m_text", "text": "Wo bleibt mein Paket?"}),
        update("m_media", message={"mid": "m_media", "attachments": [image, image]}),
        update("m_reply", message={"mid": "m_reply", "text": "?", "reply_to": {"mid": "m_text"}}),
        update("m_echo", ours=True, message={"mid": "m_echo", "is_echo": True, "text": "Heute!"}),
        update("m_text", at_ms, message_edit={"mid": "m_text", "text": "Wo?", "num_edit": 1}),
        update("m_text", gone, message={"mid": "m_text", "is_deleted": True}),
        update("m_odd", message={"mid": "m_odd", "is_unsupported": True}),
        update(f"m_text/reaction/{customer}/one", at_ms, reaction=reacted),
        update(f"m_text/reaction/{customer}/one", at_ms, reaction=taken_back),
        update("m_button", postback={"mid": "m_button", "title": "Hilfe", "payload": "HELP"}),
        update("m_other", by="standby", message={"mid": "m_other", "text": "an die andere App"}),
        update(read={"watermark": at_ms}),
        update(delivery={"mids": ["m_echo"], "watermark": at_ms}),
        update(referral={"ref": "REF", "source": "SHORTLINK", "type": "OPEN_THREAD"}),
        update(optin={"ref": "REF", "user_ref": "UNIQUE"}),
        update(pass_thread_control={"new_owner_app_id": "263902037430900"}),
        update(take_thread_control={"previous_owner_app_id": "263902037430900"}),
        update(something_new={"a": 1}),
    ]
    test = message_item(account, customer, at_ms, message={"mid": "m_test", "text": "test_message"})
    change, known = {"field": "messages", "value": test}, f"{network}:network:m_test"
    found.append(Update(of, account, "changes", change, at_ms, network, known))
    if of == INSTAGRAM_OBJECT:
        found += [update(told["mid"], message=told) for told in _of_stories()]
    return found


def _of_stories() -> list[dict[str, Any]]:
    """Build a reply to a story and a mention in one, as Instagram alone has them."""
    story = {"id": "17900000000000001", "url": "https://lookaside.fbsbx.com/ig?asset_id=9"}
    mention = {"type": "story_mention", "payload": {"url": story["url"]}}
    return [
        {"mid": "m_story", "text": "!", "reply_to": {"story": story}},
        {"mid": "m_mention", "attachments": [mention]},
    ]


def feed_value(item: str, verb: str, at_ms: int, author: str, **more: Any) -> dict[str, Any]:
    """Build the value of a change of a page's feed."""
    return {
        "from": {"id": author, "name": "Erika Mustermann"},
        "item": item,
        "verb": verb,
        "created_time": at_ms // 1000,
        **more,
    }


def page_changes(account: str, visitor: str, at_ms: int) -> list[Update]:
    """Build every kind of change of a page once."""
    post, comment = f"{account}_1", "1_2"
    edited = at_ms // 1000 * 1000

    def update(field: str, value: Any, own_id: str = "", revision: int = 0) -> Update:
        known = f"facebook:network:{own_id}" if own_id else ""
        change = {"field": field, "value": value}
        return Update(PAGE_OBJECT, account, "changes", change, at_ms, "facebook", known, revision)

    def feed(item: str, verb: str, own_id: str, revision: int = 0, **more: Any) -> Update:
        value = feed_value(item, verb, at_ms, visitor, post_id=post, **more)
        return update("feed", value, own_id, revision)

    under: dict[str, Any] = {"comment_id": comment, "parent_id": post}
    gone = 2**42 - 1
    rating = {
        "item": "rating",
        "verb": "add",
        "open_graph_story_id": "77",
        "reviewer_id": visitor,
        "review_text": "Nie wieder",
        "recommendation_type": "NEGATIVE",
        "created_time": at_ms // 1000,
    }
    return [
        feed("status", "add", post, message="Seit gestern kein Netz"),
        feed("photo", "add", post, link="https://scontent.xx.fbcdn.net/v/t1/3_4_n.jpg?oh=1"),
        feed("comment", "add", comment, message="Bei mir auch", **under),
        feed("comment", "edited", comment, edited, message="Bei mir auch!", **under),
        feed("comment", "hide", comment, edited, message="Bei mir auch!", **under),
        feed("comment", "remove", comment, gone, **under),
        feed("reaction", "add", f"{post}/reaction/{visitor}/one", edited, reaction_type="angry"),
        feed("reaction", "remove", f"{post}/reaction/{visitor}/one", edited, reaction_type="angry"),
        feed("video", "mute", f"{post}/mute", edited),
        feed("something_new", "add", ""),
        update("ratings", rating, "rating/77"),
        update("mention", feed_value("post", "add", at_ms, visitor, post_id="9_9"), "9_9"),
        update("hours", {"mon": 1}),
    ]


def instagram_changes(account: str, visitor: str, at_ms: int) -> list[Update]:
    """Build every kind of change of an Instagram account once."""

    def update(field: str, value: Any, own_id: str = "", by: str = "changes") -> Update:
        known = f"instagram:network:{own_id}" if own_id else ""
        change = {"field": field, "value": value}
        return Update(INSTAGRAM_OBJECT, account, by, change, at_ms, "instagram", known)

    comment = {
        "id": "178001",
        "text": "Wann wieder?",
        "from": {"id": visitor, "username": "erika"},
        "media": {"id": "179001", "media_product_type": "FEED"},
    }
    return [
        update("comments", comment, "178001"),
        update("comments", {**comment, "id": "178002", "parent_id": "178001"}, "178002"),
        update("comments", {**comment, "id": "178003"}, "178003", by="entry"),
        update("live_comments", {**comment, "id": "178004"}, "178004"),
        update("mentions", {"media_id": "179002", "comment_id": "178005"}, "178005"),
        update("mentions", {"media_id": "179003"}, "179003"),
        update("story_insights", {"media_id": "179004", "impressions": 4}),
    ]


def variants(page: str, instagram: str, customer: str, at_ms: int) -> list[Update]:
    """Build everything that pages and Instagram accounts can tell, once each."""
    return [
        *messages(PAGE_OBJECT, page, customer, at_ms),
        *page_changes(page, customer, at_ms),
        *messages(INSTAGRAM_OBJECT, instagram, customer, at_ms),
        *instagram_changes(instagram, customer, at_ms),
    ]


def to_comment(said: SimulatedObject, page: str, at_ms: int) -> Update:
    """Turn simulated talk into a page's feed: posts, and comments under them."""
    author = (
        page
        if said.by_brand
        else str(10**15 + int(said.person.did[-8:].encode().hex(), 16) % 10**14)
    )
    root = said.root or said.ref
    post = f"{page}_{root.key}"
    own_id = post if said.root is None else f"{root.key}_{said.key}"
    verb = {"create": "add", "update": "edited", "delete": "remove"}[said.operation]
    value = feed_value(
        "status" if said.root is None else "comment", verb, at_ms, author, post_id=post
    )
    value["from"]["name"] = said.person.name
    if said.root is not None:
        parent = said.parent or said.root
        value["comment_id"] = own_id
        value["parent_id"] = post if parent.key == root.key else f"{root.key}_{parent.key}"
    if said.operation != "delete":
        value["message"] = said.text
    revision = {"create": 0, "update": at_ms // 1000 * 1000, "delete": 2**42 - 1}[said.operation]
    change = {"field": "feed", "value": value}
    known = f"facebook:network:{own_id}"
    return Update(PAGE_OBJECT, page, "changes", change, at_ms, "facebook", known, revision)
