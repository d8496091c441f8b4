"""Reconciles Facebook pages through Graph; the talking is `meta/client.py`."""

from klingel_networks.arrival import Finding, MediaAddresses, Options, PollClient, Tools
from klingel_networks.meta import doctor
from klingel_networks.meta.client import Edge, Plan, Reconciler
from klingel_networks.meta.media import GraphMedia

_MEDIA = "attachments{type,media,target,title,url,unshimmed_url}"
_POST = f"id,message,created_time,updated_time,from,permalink_url,is_hidden,is_published,{_MEDIA}"
_COMMENTS = Edge(
    "comments",
    "{id}/comments",
    {
        "fields": "id,message,created_time,from,parent{id},permalink_url,is_hidden,"
        "attachment{type,media,target,title,url}",
        "filter": "stream",
        "order": "reverse_chronological",
    },
)
PLAN = Plan(
    "facebook",
    (
        Edge("feed", "{id}/feed", {"fields": _POST}, child=_COMMENTS, walk_days=30),
        Edge("tagged", "{id}/tagged", {"fields": _POST}),
        Edge(
            "ratings",
            "{id}/ratings",
            {
                "fields": "created_time,rating,recommendation_type,review_text,reviewer,"
                "open_graph_story{id}"
            },
        ),
    ),
    scopes=("pages_manage_metadata", "pages_read_engagement", "pages_read_user_content"),
    subscribed=("feed", "mention", "ratings"),
)


def connect(options: Options, tools: Tools) -> PollClient:
    """Return the client; raises ConfigurationError."""
    return Reconciler(PLAN, options, tools)


async def examine(options: Options, tools: Tools) -> list[Finding]:
    """Return what `klingel doctor` tells; raises ConfigurationError."""
    return await doctor.examine(PLAN, options, tools)


def addresses(options: Options, tools: Tools) -> MediaAddresses:
    """Return the finder of media; raises ConfigurationError."""
    return GraphMedia(f"{_MEDIA},attachment,full_picture,source", options, tools)
