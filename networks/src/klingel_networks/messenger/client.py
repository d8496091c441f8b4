"""Reconciles the conversations of Facebook pages through Graph; the talking is `meta/client.py`."""

from klingel_networks.arrival import Finding, MediaAddresses, Options, PollClient, Tools
from klingel_networks.meta import doctor
from klingel_networks.meta.client import Edge, Plan, Reconciler
from klingel_networks.meta.media import GraphMedia

_MEDIA = "attachments{id,name,mime_type,file_url,image_data,video_data}"
_MESSAGES = Edge(
    "messages",
    "{id}/messages",
    {"fields": f"id,created_time,from,to,message,sticker,shares{{id,link,name}},{_MEDIA}"},
)
PLAN = Plan(
    "messenger",
    (
        Edge(
            "",
            "{id}/conversations",
            {"platform": "messenger", "fields": "id,updated_time"},
            child=_MESSAGES,
        ),
    ),
    scopes=("pages_messaging", "pages_manage_metadata"),
    subscribed=(
        "messages",
        "message_echoes",
        "message_edits",
        "message_reactions",
        "message_reads",
        "message_deliveries",
        "messaging_postbacks",
        "messaging_referrals",
        "messaging_handovers",
        "messaging_optins",
        "standby",
    ),
)


def connect(options: Options, tools: Tools) -> PollClient:
    """Return the client; raises ConfigurationError."""
    return Reconciler(PLAN, options, tools)


async def examine(options: Options, tools: Tools) -> list[Finding]:
    """Return what `klingel doctor` tells; raises ConfigurationError."""
    return await doctor.examine(PLAN, options, tools)


def addresses(options: Options, tools: Tools) -> MediaAddresses:
    """Return the finder of media; raises ConfigurationError."""
    return GraphMedia(f"{_MEDIA},sticker,shares", options, tools)
