"""What `klingel doctor` asks X of the app's webhook: registered, valid, subscribed. It changes nothing.

Source: `x-api/webhooks/{introduction,get-webhook}`, `x-api/activity/introduction`.
"""

from collections.abc import Collection, Sequence

from klingel.errors import ConfigurationError, RetryableError
from klingel_networks.arrival import Finding
from klingel_networks.x.api import Api, Registered, Subscription
from klingel_networks.x.webhooks import own_of

NEEDED = ("post.create", "post.delete", "post.mention.create", "dm.received", "dm.sent")
"""Activity of each own account without which something is not heard (connector.yaml, `access`)."""

_LATER = "ask again later"
_ACCESS = "give the app access to webhooks and activity in the developer console"


async def webhook_findings(api: Api, hook: str, accounts: Collection[str]) -> list[Finding]:
    """Return what X says of the app's webhook at a hook of the gateway, and of its subscriptions.

    Args:
        api: of the app.
        hook: the gateway's.
        accounts: ids of the own accounts, as far as they are known here.
    """
    try:
        own = own_of(await api.webhooks(), hook)
    except ConfigurationError as error:
        return [Finding("registration", "failed", str(error), _ACCESS)]
    except RetryableError as error:
        return [Finding("registration", "unknown", str(error), _LATER)]
    if own is None:
        return [
            Finding(
                "registration",
                "warning",
                f"no webhook of the app rings at /hook/{hook}: mentions, replies, messages and"
                " deletions of own accounts are not heard at once",
                f"POST /2/webhooks with the gateway's public address and /hook/{hook}, then"
                " subscribe each own account (POST /2/activity/subscriptions)",
            )
        ]
    found = [_validity(own)]
    try:
        told = await api.subscriptions()
    except ConfigurationError as error:
        return [*found, Finding("subscription", "failed", str(error), _ACCESS)]
    except RetryableError as error:
        return [*found, Finding("subscription", "unknown", str(error), _LATER)]
    return found + _subscriptions(own, told, accounts)


def _validity(own: Registered) -> Finding:
    if own.valid:
        return Finding("registration", "ok", "X holds the app's webhook for valid")
    return Finding(
        "registration",
        "failed",
        "X holds the app's webhook for invalid and delivers nothing",
        "give the gateway the app's OAuth 2.0 client secret (or consumer secret), see that the"
        f" address answers, then PUT /2/webhooks/{own.id} or let the connector do so",
    )


def _subscriptions(
    own: Registered, told: Sequence[Subscription], accounts: Collection[str]
) -> list[Finding]:
    """Compare what rings at our webhook with what each own account needs."""
    ours: dict[str, set[str]] = {each: set() for each in accounts}
    for each in told:
        if each.webhook_id == own.id and each.filter.user_id:
            ours.setdefault(each.filter.user_id, set()).add(each.event_type)
    if not ours:
        return [
            Finding(
                "subscription",
                "failed",
                "the webhook is subscribed to no account's activity: nothing rings",
                f"POST /2/activity/subscriptions with webhook_id {own.id}, filter.user_id of each own"
                f" account and each event_type of {', '.join(NEEDED)}",
            )
        ]
    found = []
    for account, types in sorted(ours.items()):
        missing = [each for each in NEEDED if each not in types]
        if missing:
            found.append(
                Finding(
                    "subscription",
                    "failed",
                    f"account {account} is not subscribed to {', '.join(missing)}",
                    f"POST /2/activity/subscriptions with webhook_id {own.id}, filter.user_id"
                    f" {account} and each of these as event_type",
                )
            )
    return found or [
        Finding("subscription", "ok", "every own account is subscribed to what it needs")
    ]
