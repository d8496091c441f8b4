"""Reconciles Instagram accounts through Graph; the talking is `meta/client.py`."""

import msgspec

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.arrival import Finding, MediaAddresses, Options, PollClient, Told, Tools
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.meta import doctor
from klingel_networks.meta.client import Edge, Plan, Reconciler, RefusedError, session
from klingel_networks.meta.envelope import VIA
from klingel_networks.meta.graph import Trouble
from klingel_networks.meta.graph_objects import CHANNEL, EDGE, GRAPH
from klingel_networks.meta.media import GraphMedia

_MENTIONED = "id,text,timestamp,username,like_count"
_COMMENT = "id,text,timestamp,from,username,parent_id,hidden,like_count"
_COMMENTS = Edge(
    "comments",
    "{id}/comments",
    {"fields": f"{_COMMENT},replies{{{_COMMENT}}}"},
    nested="replies",
)
_POST = (
    "id,caption,timestamp,owner,username,media_type,media_url,permalink,like_count,comments_count"
)
_MESSAGES = Edge(
    "messages",
    "{id}/messages",
    {
        "fields": "id,created_time,from,to,message,story,shares{link,name},"
        "attachments{id,name,mime_type,file_url,image_data,video_data}"
    },
)
PLAN = Plan(
    "instagram",
    (
        Edge("media", "{id}/media", {"fields": _POST}, child=_COMMENTS, walk_days=14, hangs=True),
        Edge("tags", "{id}/tags", {"fields": _POST}),
        Edge(
            "",
            "{id}/conversations",
            {"platform": "instagram", "fields": "id,updated_time"},
            child=_MESSAGES,
        ),
    ),
    scopes=("instagram_basic", "instagram_manage_comments", "instagram_manage_messages"),
    subscribed=(
        "comments",
        "live_comments",
        "mentions",
        "messages",
        "messaging_seen",
        "messaging_postbacks",
        "message_reactions",
        "message_edit",
    ),
    page_token=False,
)


def connect(options: Options, tools: Tools) -> PollClient:
    """Return the client; raises ConfigurationError."""
    return Reconciler(PLAN, options, tools)


async def examine(options: Options, tools: Tools) -> list[Finding]:
    """Return what `klingel doctor` tells; raises ConfigurationError."""
    return await doctor.examine(PLAN, options, tools)


def addresses(options: Options, tools: Tools) -> MediaAddresses:
    """Return the finder of media; raises ConfigurationError."""
    return InstagramObjects("media_url,thumbnail_url,attachments,story,shares", options, tools)


class InstagramObjects(GraphMedia):
    """Addresses of media, and what mentions an account: a webhook tells only its id.

    Source: developers.facebook.com, "Instagram Platform: Mentions" (`mentioned_comment` and
    `mentioned_media`, fields of the account that is mentioned).
    """

    async def whole(self, object_id: str, kind: str, channel: str) -> Told:
        """Return the comment or the medium that mentions an account; see `Objects.whole`."""
        own_id = object_id.rpartition(":")[2]
        if not (own_id.isascii() and own_id.isalnum() and channel.isascii() and channel.isalnum()):
            raise _gone()
        comment = kind == "comment"
        field = "mentioned_comment" if comment else "mentioned_media"
        asked = f"comment_id({own_id})" if comment else f"media_id({own_id})"
        fields = f"{_MENTIONED},media{{id}}" if comment else _POST
        try:
            async with session() as opened:
                answer = await self._graph.get(
                    opened,
                    channel,
                    {"fields": f"{field}.{asked}{{{fields}}}"},
                    self._settings.token,
                )
        except RefusedError as error:
            if error.trouble in {Trouble.GONE, Trouble.REQUEST}:
                raise _gone() from None
            raise error.raised() from None
        edge = "comments" if comment else "tags"
        return Told(_named(answer.body, field, own_id), {VIA: GRAPH, EDGE: edge, CHANNEL: channel})


class _Own(msgspec.Struct):
    id: str | None = None


class _Mentioned(msgspec.Struct):
    mentioned_comment: msgspec.Raw = msgspec.Raw(b"null")
    mentioned_media: msgspec.Raw = msgspec.Raw(b"null")


_MENTIONED_IN = msgspec.json.Decoder(_Mentioned)
_OWN = msgspec.json.Decoder(_Own)


def _named(body: bytes, field: str, own_id: str) -> bytes:
    """Return the object of an answer; raises InvalidMessage where it is not the one asked for."""
    try:
        native = bytes(getattr(_MENTIONED_IN.decode(body), field))
        told = _OWN.decode(native).id
    except READ_ERRORS:
        raise _gone() from None
    if told != own_id:
        raise _gone()
    return native


def _gone() -> InvalidMessage:
    return InvalidMessage(ErrorType.ORIGINAL_GONE, "Graph shows no such mention")
