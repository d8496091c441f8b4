"""What `klingel doctor` finds out through Graph: token, permissions, accounts, subscriptions, clock.

Source: developers.facebook.com: "Page: Subscribed Apps", "Instagram Platform: Setup Webhooks
Subscriptions", "WhatsApp Business Account: Subscribed Apps", "Debug token" (`app_id`,
`granular_scopes`). An account may be subscribed to several apps: only ours counts, where the token
tells which that is. It changes nothing.
"""

from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import aiohttp
import msgspec

from klingel.errors import KlingelError
from klingel_networks.arrival import Finding, Options, Tools
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.meta import graph
from klingel_networks.meta.client import Graph, Plan, RefusedError, Settings, ids_of, session
from klingel_networks.meta.graph import Trouble
from klingel_networks.options import setting_name

SKEW_SECONDS = 60.0
_APPS_EDGE = "subscribed_apps"
_MANAGES_ACCOUNTS = "whatsapp_business_management"


class _Business(msgspec.Struct):
    """How a business account of WhatsApp names an app."""

    id: str | int | None = None


class _App(msgspec.Struct):
    id: str | int | None = None
    subscribed_fields: list[str] = []
    whatsapp_business_api_data: _Business | None = None

    @property
    def own_id(self) -> str:
        """The app's id; empty where it is not told."""
        business = self.whatsapp_business_api_data
        return str((self.id if business is None else business.id) or "")


class _Apps(msgspec.Struct):
    data: list[_App] = []


_APPS = msgspec.json.Decoder(_Apps)


class _Visit(NamedTuple):
    """What asking the accounts needs."""

    plan: Plan
    settings: Settings
    calls: Graph
    opened: aiohttp.ClientSession
    token: graph.TokenData


async def examine(plan: Plan, options: Options, tools: Tools) -> list[Finding]:
    """Return what was found of a connector's token and accounts; raises ConfigurationError."""
    settings = Settings.of(options, plan.accounts)
    subscribers = ids_of(options, plan.subscribers) if plan.subscribers else ()
    calls = Graph(settings, tools)
    async with session() as opened:
        try:
            told = await calls.probe(opened)
        except KlingelError as error:
            remedy = graph.remedy_of(Trouble.AWAY)
            return [Finding("credentials", "unknown", str(error), remedy)]
        visit = _Visit(plan, settings, calls, opened, told)
        found = _token(plan, told)
        date: str | None = None
        for account in settings.accounts:
            answers, date = await _account(visit, account)
            found += answers
        if plan.subscribers:
            found += await _business_accounts(visit, subscribers or _managed(told))
        if date is not None:
            found.append(_clock(date, tools))
    return found


# --- the token -----------------------------------------------------------------------------------


def _token(plan: Plan, told: graph.TokenData) -> list[Finding]:
    state = graph.credential(told, ())
    if state.revoked:
        return [Finding("credentials", "failed", state.sentence, graph.remedy_of(Trouble.REVOKED))]
    ends = "never" if state.expires_at is None else f"on {state.expires_at:%Y-%m-%d}"
    found = [Finding("credentials", "ok", f"the token is valid and ends {ends}")]
    missing = graph.missing_scopes(told, plan.scopes)
    if missing:
        sentence = f"the token lacks {', '.join(missing)}"
        found.append(Finding("permissions", "failed", sentence, graph.remedy_of(Trouble.SCOPE)))
    else:
        found.append(Finding("permissions", "ok", "the token has every permission it needs"))
    return found


def _managed(told: graph.TokenData) -> Sequence[str]:
    """Return the business accounts that the token is for; none where it is for all of a business."""
    return tuple(
        str(target)
        for scope in told.granular_scopes or ()
        if scope.scope == _MANAGES_ACCOUNTS
        for target in scope.target_ids or ()
    )


# --- accounts and subscriptions ------------------------------------------------------------------


async def _account(visit: _Visit, account: str) -> tuple[list[Finding], str | None]:
    """Return what an account says of itself and its subscription, and the time of the answer."""
    plan, calls = visit.plan, visit.calls
    check = "subscription" if plan.subscribed else "account"
    try:
        token = await calls.token_of(visit.opened, plan, account)
        path = f"{account}/{_APPS_EDGE}" if plan.subscribed else account
        answer = await calls.get(visit.opened, path, {}, token, account)
    except RefusedError as error:
        return [_refused(plan, check, error)], None
    except KlingelError as error:
        return [Finding(check, "unknown", str(error), graph.remedy_of(Trouble.AWAY))], None
    if not plan.subscribed:
        return [Finding("account", "ok", "the account answers")], answer.date
    return [_subscription(plan, visit.token, answer.body)], answer.date


def _refused(plan: Plan, check: str, error: RefusedError) -> Finding:
    """Return what a refusal means; some logins cannot ask, although the account is subscribed."""
    if error.trouble is Trouble.AWAY:
        return Finding(check, "unknown", str(error), graph.remedy_of(error.trouble))
    if plan.page_token or not plan.subscribed or error.trouble is not Trouble.REQUEST:
        return Finding(check, "failed", str(error), graph.remedy_of(error.trouble))
    return Finding(
        check,
        "unknown",
        f"Graph does not tell this login what the account is subscribed to: {error}",
        f"see in the app's dashboard that the object {plan.network} is subscribed to"
        f" {', '.join(plan.subscribed)}, and that the page connected to the account is subscribed"
        " to the app (GET /<page>/subscribed_apps)",
    )


def _subscription(plan: Plan, token: graph.TokenData, body: bytes) -> Finding:
    remedy = f"POST /<id>/subscribed_apps with subscribed_fields={','.join(plan.subscribed)}"
    ours = _ours(token, body)
    if not ours:
        return Finding("subscription", "failed", "the account is not subscribed to the app", remedy)
    fields = {field for app in ours for field in app.subscribed_fields}
    missing = [each for each in plan.subscribed if each not in fields]
    if missing:
        sentence = f"the account is not subscribed to {', '.join(missing)}"
        return Finding("subscription", "failed", sentence, remedy)
    return Finding("subscription", "ok", "the account is subscribed to every field it needs")


async def _business_accounts(visit: _Visit, accounts: Sequence[str]) -> list[Finding]:
    """Return whether each business account is subscribed to our app."""
    if not accounts:
        return [
            Finding(
                "subscription",
                "unknown",
                "nobody told which business account the numbers are of",
                f"set {setting_name(visit.plan.network, visit.plan.subscribers)} to its id, so that"
                " it can be asked",
            )
        ]
    found = []
    for account in accounts:
        try:
            answer = await visit.calls.get(
                visit.opened, f"{account}/{_APPS_EDGE}", {}, visit.settings.token, account
            )
        except RefusedError as error:
            found.append(_refused(visit.plan, "subscription", error))
        except KlingelError as error:
            remedy = graph.remedy_of(Trouble.AWAY)
            found.append(Finding("subscription", "unknown", str(error), remedy))
        else:
            found.append(_business(visit.token, answer.body))
    return found


def _business(token: graph.TokenData, body: bytes) -> Finding:
    if _ours(token, body):
        return Finding("subscription", "ok", "the business account is subscribed to the app")
    return Finding(
        "subscription",
        "failed",
        "the business account is not subscribed to the app: its webhook verifies and nothing comes",
        "POST /<business account>/subscribed_apps with a token of the app",
    )


def _ours(token: graph.TokenData, body: bytes) -> list[_App]:
    """Return our app among those that are subscribed; all of them where the token names none."""
    try:
        apps = _APPS.decode(body).data
    except READ_ERRORS:
        return []
    own = "" if token.app_id is None else str(token.app_id)
    return [app for app in apps if not own or not app.own_id or app.own_id == own]


# --- the clock -----------------------------------------------------------------------------------


def _clock(date: str, tools: Tools) -> Finding:
    try:
        told = parsedate_to_datetime(date)
        skew = abs((tools.clock.now() - told).total_seconds())
    except (TypeError, ValueError):
        return Finding(
            "clock", "unknown", "the answer carried no time", "compare with a time server"
        )
    if skew > SKEW_SECONDS:
        sentence = f"this machine's clock is {skew:.0f} seconds away from the network's"
        return Finding("clock", "warning", sentence, "let the machine follow a time server")
    return Finding("clock", "ok", "this machine's clock agrees with the network's")
