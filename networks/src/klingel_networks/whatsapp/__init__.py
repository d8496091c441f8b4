"""WhatsApp: the Cloud API's messages, statuses and account news."""

from klingel_networks.contract import Network
from klingel_networks.whatsapp.mapping import explode, identify, to_social_event

NETWORK = Network(
    name="whatsapp",
    explode=explode,
    identify=identify,
    to_social_event=to_social_event,
    media_by_id=True,
)
