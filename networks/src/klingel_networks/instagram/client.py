"""Reconciles Instagram accounts through Graph; the talking is `meta/client.py`."""

from klingel_networks.arrival import Finding, MediaAddresses, Options, PollClient, Tools
from klingel_networks.meta import doctor
from klingel_networks.meta.client import Edge, Plan, Reconciler
from klingel_networks.meta.media import GraphMedia

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
    return GraphMedia("media_url,thumbnail_url,attachments,story,shares", options, tools)
