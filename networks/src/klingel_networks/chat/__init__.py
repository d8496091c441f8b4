"""Web chat: sessions on the brand's own page, and what the brand says in them."""

from klingel_networks.chat.mapping import explode, identify, to_social_event
from klingel_networks.contract import Network

NETWORK = Network(name="chat", explode=explode, identify=identify, to_social_event=to_social_event)
