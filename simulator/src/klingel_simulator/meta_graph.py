"""A stand-in of the Graph API over real sockets: edges with pages, tokens with states, faults.

From developers.facebook.com: "Graph API: Paginated results", "Handle errors", "Rate limits",
"Debug token". Whoever uses it puts things on edges (``world.put("<page>/feed", {...})``), newest are
answered first; only the fields that were asked for are answered, and the id.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiohttp import web

Fault = Literal[
    "limited", "limited_with_hint", "away", "transient", "stall", "half_close", "garbage"
]
VERSION: Final = re.compile(r"v\d+\.\d+")
_TIMES: Final = ("created_time", "timestamp", "updated_time")
_LIMITED: Final = {"code": 4, "type": "OAuthException", "message": "(#4) Application limit reached"}


@dataclass(slots=True)
class Token:
    """A token: what it may do, when it ends, and with which error it is refused.

    ``trouble`` is (code, subcode), None while it is good. ``granted`` says for which objects a
    permission is given, where it is not for all.
    """

    scopes: tuple[str, ...] = ()
    expires_at: int = 0
    trouble: tuple[int, int] | None = None
    app_id: str = "1"
    granted: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """What the network knows.

    ``faults`` are taken one a call, in order, ``""`` being none. ``usage`` is the share of the limit
    that is used, in percent, and stands in the headers. ``subscribed`` has the fields to which app 1
    is subscribed by account, ``other_apps`` those of another app; ``businesses`` the apps of each
    business account of WhatsApp; ``refused`` codes and subcodes by path.
    """

    tokens: dict[str, Token] = field(default_factory=dict)
    page_tokens: dict[str, str] = field(default_factory=dict)
    edges: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    subscribed: dict[str, list[str]] = field(default_factory=dict)
    other_apps: dict[str, list[str]] = field(default_factory=dict)
    businesses: dict[str, list[str]] = field(default_factory=dict)
    refused: dict[str, tuple[int, int]] = field(default_factory=dict)
    faults: deque[str] = field(default_factory=deque)
    calls: list[str] = field(default_factory=list)
    usage: int = 1
    app_secret: bytes | None = None
    page_size_most: int = 100

    def put(self, edge: str, *things: dict[str, Any]) -> None:
        """Add things to an edge, such as ``123/feed``; each can be asked for by its id, too."""
        self.edges.setdefault(edge, []).extend(things)
        for each in things:
            if "id" in each:
                self.things[str(each["id"])] = each


class GraphServer:
    """Serves a world under ``/v<version>/…``; ``release`` ends the stalls."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.release = asyncio.Event()

    def app(self) -> web.Application:
        """Build the application."""
        app = web.Application()
        app.router.add_get("/{version}/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.world.calls.append(path)
        fault = self.world.faults.popleft() if self.world.faults else ""
        if fault:
            broken = await self._broken(request, fault)
            if broken is not None:
                return broken
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        refused = self._refused(request, token)
        if refused is not None:
            return refused
        if path == "debug_token":
            return self._json(200, {"data": self._debugged(request.query.get("input_token", ""))})
        owner, _, edge = path.partition("/")
        if edge == "subscribed_apps":
            return self._json(200, {"data": self._apps(owner)})
        wanted = _field_names(request.query.get("fields", ""))
        if not edge:
            return self._thing(owner, wanted)
        return self._page(request, path, wanted)

    def _apps(self, owner: str) -> list[dict[str, Any]]:
        if owner in self.world.businesses:
            return [
                {"whatsapp_business_api_data": {"id": each, "name": "an app", "link": "x"}}
                for each in self.world.businesses[owner]
            ]
        told = (("1", self.world.subscribed), ("2", self.world.other_apps))
        return [
            {"id": app, "subscribed_fields": fields[owner]}
            for app, fields in told
            if owner in fields
        ]

    async def _broken(self, request: web.Request, fault: str) -> web.StreamResponse | None:
        if fault == "stall":
            await self.release.wait()
            return None
        if fault == "half_close":
            return await self._half_closed(request)
        if fault == "away":
            return web.Response(status=503, text="upstream")
        if fault == "garbage":
            return web.Response(status=200, body=b'{"data": [', content_type="application/json")
        use = {"1": [{"type": "pages", "call_count": 100, "estimated_time_to_regain_access": 3}]}
        hint = {"X-Business-Use-Case-Usage": json.dumps(use)}
        refusals: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
            "limited": (400, _LIMITED, {}),
            "limited_with_hint": (400, {"code": 80001, "type": "OAuthException"}, hint),
            "transient": (500, {"code": 2, "is_transient": True}, {}),
        }
        return self._error(*refusals[fault])

    async def _half_closed(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"data": [')
        if request.transport is not None:
            request.transport.abort()
        return response

    def _refused(self, request: web.Request, token: str) -> web.Response | None:
        known = self.world.tokens.get(token)
        if known is None:
            return self._error(401, {"code": 190, "error_subcode": 467, "type": "OAuthException"})
        if known.trouble is not None and not request.path.endswith("/debug_token"):
            code, subcode = known.trouble
            return self._error(
                401, {"code": code, "error_subcode": subcode, "type": "OAuthException"}
            )
        path = request.match_info["path"]
        if path in self.world.refused:
            code, subcode = self.world.refused[path]
            error = {"code": code, "error_subcode": subcode, "type": "OAuthException"}
            return self._error(400, error)
        if self.world.app_secret is not None:
            proof = hmac.new(self.world.app_secret, token.encode(), hashlib.sha256).hexdigest()
            if not hmac.compare_digest(proof, request.query.get("appsecret_proof", "")):
                return self._error(400, {"code": 100, "type": "GraphMethodException"})
        return None

    def _debugged(self, token: str) -> dict[str, Any]:
        known = self.world.tokens.get(token)
        if known is None or known.trouble is not None:
            code, subcode = (190, 467) if known is None or known.trouble is None else known.trouble
            if code in {190, 102}:
                return {
                    "is_valid": False,
                    "error": {"code": code, "subcode": subcode, "error_subcode": subcode},
                }
        assert known is not None
        return {
            "app_id": known.app_id,
            "is_valid": True,
            "expires_at": known.expires_at,
            "scopes": list(known.scopes),
            "granular_scopes": [
                {"scope": each}
                | ({"target_ids": known.granted[each]} if each in known.granted else {})
                for each in known.scopes
            ],
        }

    def _thing(self, own_id: str, wanted: frozenset[str]) -> web.Response:
        if wanted == {"access_token"}:
            found = {"id": own_id}
            if own_id in self.world.page_tokens:
                found["access_token"] = self.world.page_tokens[own_id]
            return self._json(200, found)
        thing = self.world.things.get(own_id)
        if thing is None:
            return self._error(
                400, {"code": 100, "error_subcode": 33, "type": "GraphMethodException"}
            )
        return self._json(200, _only(thing, wanted))

    def _page(self, request: web.Request, edge: str, wanted: frozenset[str]) -> web.Response:
        owner = edge.partition("/")[0]
        if edge not in self.world.edges and owner in self.world.things:
            return self._json(200, {"data": []})
        things = sorted(self.world.edges.get(edge, ()), key=_time, reverse=True)
        size = min(int(request.query.get("limit", "25")), self.world.page_size_most)
        start = int(base64.b64decode(request.query.get("after", "")) or b"0")
        data = [_only(each, wanted) for each in things[start : start + size]]
        answer: dict[str, Any] = {"data": data}
        if data:
            after = base64.b64encode(str(start + size).encode()).decode()
            answer["paging"] = {"cursors": {"before": "x", "after": after}}
            if start + size < len(things):
                url = request.url.update_query({"after": after, "access_token": "of-nobody"})
                answer["paging"]["next"] = str(url)
        return self._json(200, answer)

    def _json(
        self, status: int, answer: Any, headers: dict[str, str] | None = None
    ) -> web.Response:
        use = {"call_count": self.world.usage, "total_time": 0, "total_cputime": 0}
        return web.json_response(
            answer, status=status, headers={"X-App-Usage": json.dumps(use), **(headers or {})}
        )

    def _error(
        self, status: int, error: dict[str, Any], headers: dict[str, str] | None = None
    ) -> web.Response:
        told = {"message": "words that change", "fbtrace_id": "A1", **error}
        return self._json(status, {"error": told}, headers)


def _time(thing: dict[str, Any]) -> str:
    return next((str(thing[name]) for name in _TIMES if name in thing), "")


def _field_names(fields: str) -> frozenset[str]:
    """Return the outermost names of a ``fields`` parameter."""
    depth, name, found = 0, "", set()
    for sign in f"{fields},":
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if sign == "," and depth == 0:
            found.add(name.partition("{")[0])
            name = ""
        else:
            name += sign
    return frozenset(found - {""})


def _only(thing: dict[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    kept = set(wanted) | {"id"}
    return thing if kept == {"id"} else {name: each for name, each in thing.items() if name in kept}
