"""What `klingel doctor` finds out through Graph: token, permissions, subscription, clock."""

from email.utils import parsedate_to_datetime

import msgspec

from klingel.errors import KlingelError
from klingel_networks.arrival import Finding, Options, Tools
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.meta import graph
from klingel_networks.meta.client import Graph, Plan, RefusedError, Settings, session
from klingel_networks.meta.graph import Trouble

SKEW_SECONDS = 60.0


class _App(msgspec.Struct):
    subscribed_fields: list[str] = []


class _Apps(msgspec.Struct):
    data: list[_App] = []


_APPS = msgspec.json.Decoder(_Apps)


async def examine(plan: Plan, options: Options, tools: Tools) -> list[Finding]:
    """Return what was found of a connector's token and accounts; raises ConfigurationError."""
    settings = Settings.of(options, plan.accounts)
    calls = Graph(settings, tools)
    found: list[Finding] = []
    async with session() as opened:
        try:
            told = await calls.probe(opened)
        except KlingelError as error:
            remedy = graph.remedy_of(Trouble.AWAY)
            return [Finding("credentials", "unknown", str(error), remedy)]
        found += _token(plan, told)
        for account in settings.accounts:
            try:
                token = await calls.token_of(opened, plan, account)
                path = f"{account}/subscribed_apps" if plan.subscribed else account
                answer = await calls.get(opened, path, {}, token, account)
            except RefusedError as error:
                found.append(
                    Finding("subscription", "failed", str(error), graph.remedy_of(error.trouble))
                )
                continue
            except KlingelError as error:
                found.append(
                    Finding("subscription", "unknown", str(error), graph.remedy_of(Trouble.AWAY))
                )
                continue
            found.append(_subscription(plan, answer.body))
            found.append(_clock(answer.date, tools))
    return found


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


def _subscription(plan: Plan, body: bytes) -> Finding:
    if not plan.subscribed:
        return Finding("subscription", "ok", "the account answers")
    try:
        apps = _APPS.decode(body).data
    except READ_ERRORS:
        apps = []
    fields = {field for app in apps for field in app.subscribed_fields}
    missing = [each for each in plan.subscribed if each not in fields]
    if not apps or missing:
        sentence = f"the account is not subscribed to {', '.join(missing) or 'the app'}"
        remedy = f"POST /<id>/subscribed_apps with subscribed_fields={','.join(plan.subscribed)}"
        return Finding("subscription", "failed", sentence, remedy)
    return Finding("subscription", "ok", "the account is subscribed to every field it needs")


def _clock(date: str | None, tools: Tools) -> Finding:
    try:
        told = parsedate_to_datetime(date or "")
        skew = abs((tools.clock.now() - told).total_seconds())
    except (TypeError, ValueError):
        return Finding(
            "clock", "unknown", "the answer carried no time", "compare with a time server"
        )
    if skew > SKEW_SECONDS:
        sentence = f"this machine's clock is {skew:.0f} seconds away from the network's"
        return Finding("clock", "warning", sentence, "let the machine follow a time server")
    return Finding("clock", "ok", "this machine's clock agrees with the network's")
