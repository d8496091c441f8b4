"""What WhatsApp is asked: the state of the token, once a day, and where its media are.

There is no history to reconcile: a round probes the token and tells nothing else.
"""

from klingel_networks.arrival import Finding, MediaAddresses, Options, PollClient, Tools
from klingel_networks.meta import doctor
from klingel_networks.meta.client import Plan, Reconciler
from klingel_networks.meta.media import CloudMedia

PLAN = Plan(
    "whatsapp",
    (),
    scopes=("whatsapp_business_messaging", "whatsapp_business_management"),
    page_token=False,
    accounts="numbers",
    subscribers="business_accounts",
)


def connect(options: Options, tools: Tools) -> PollClient:
    """Return the client that probes the token; raises ConfigurationError."""
    return Reconciler(PLAN, options, tools)


async def examine(options: Options, tools: Tools) -> list[Finding]:
    """Return what `klingel doctor` tells; raises ConfigurationError."""
    return await doctor.examine(PLAN, options, tools)


def addresses(options: Options, tools: Tools) -> MediaAddresses:
    """Return the finder of media; raises ConfigurationError."""
    return CloudMedia(options, tools)
