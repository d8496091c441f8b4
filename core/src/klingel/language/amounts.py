"""What makes a number an amount, and no number of somebody: a unit, a fraction behind it."""

import re
from typing import Final

_UNIT: Final = (
    r"(?:[€$£%‰°]|(?:euro?|eur|usd|chf|franken|cent|ct|prozent|percent|uhr|h|std|stunden?|min|minuten?"
    r"|minutes?|mins?|sek|sekunden?|hours?|hrs?|days?|weeks?|months?|years?|tage?n?|wochen?|monate?n?"
    r"|jahre?n?|km|m|metern?|miles?|mbit|gbit|kbit|mb|gb|tb|kb|kwh?|mwh|watt|mio|mrd|milli(?:on|ard)\w*"
    r"|mal|grad|leute|personen|menschen|verletzte|tote|autos|fahrzeuge|züge|spuren|follower\w*|views?"
    r"|likes?|retweets?|am|pm|ghz|mhz|kg|g|l|liter|stück|punkte|points|people|users|kunden|customers"
    r"|mitarbeiter\w*|x)\b)"
)
UNIT_BEHIND: Final = re.compile(rf"[ \t]?{_UNIT}|:\d|[.,]\d", re.IGNORECASE)
"""At the end of a number: a unit, minutes of an hour, or decimals."""
FRACTION_BEHIND: Final = re.compile(r"\s?[€$£%‰°]|:\d|[.,]\d")
"""The same with signs alone for units: behind many digits a word is no unit."""
