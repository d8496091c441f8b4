"""Finds the present address of a medium through Graph; see `MediaAddresses`.

Addresses of fbcdn.net and fbsbx.com are signed and end. A message, a post or a comment is asked for
again by its id, and the address of the same medium in the answer taken. A medium of WhatsApp has an
id of its own: its address lives for five minutes and wants the token.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import msgspec

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.arrival import MediaAddress, Options, Tools
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.meta.client import Graph, RefusedError, Settings, session
from klingel_networks.meta.fields import web_address
from klingel_networks.meta.graph import Trouble
from klingel_networks.meta.messaging import stable_id

_LIVES: Final = timedelta(minutes=5)
_HOSTS = ("lookaside.fbsbx.com",)
_DEEPEST = 12


class _Medium(msgspec.Struct):
    url: str | None = None


_MEDIUM = msgspec.json.Decoder(_Medium)


class GraphMedia:
    """Addresses of the media of Facebook, Instagram and Messenger.

    Args:
        fields: of Graph's objects that hold addresses.
        options: of the connector.
        tools: limits and time.
    """

    def __init__(self, fields: str, options: Options, tools: Tools) -> None:
        self._fields = fields
        self._settings = Settings.of(options)
        self._graph = Graph(self._settings, tools)

    async def address(self, object_id: str, medium: str | None, url: str | None) -> MediaAddress:
        """Return the address that the object shows now; see `MediaAddresses.address`."""
        wanted = {each for each in (medium, stable_id(url)) if each}
        native = object_id.split(":", 2)[-1].partition("/")[0]
        body = await _ask(self._graph, self._settings, native, {"fields": self._fields})
        try:
            tree = msgspec.json.decode(body)
        except READ_ERRORS:
            raise _gone() from None
        for address, ids in _addresses(tree, 0):
            if wanted & ids:
                return MediaAddress(address)
        raise _gone()


class CloudMedia:
    """Addresses of WhatsApp's media.

    Args:
        options: of the connector.
        tools: limits and time.
    """

    def __init__(self, options: Options, tools: Tools) -> None:
        self._settings = Settings.of(options, "numbers")
        self._graph = Graph(self._settings, tools)
        self._tools = tools

    async def address(self, object_id: str, medium: str | None, url: str | None) -> MediaAddress:  # noqa: ARG002  the port's: here a medium has an id of its own
        """Return a fresh address; see `MediaAddresses.address`."""
        if not medium or not medium.isalnum():
            raise _gone()
        body = await _ask(self._graph, self._settings, medium, {})
        try:
            found = web_address(_MEDIUM.decode(body).url)
        except READ_ERRORS:
            found = None
        if found is None:
            raise _gone()
        token = self._settings.token.get_secret_value().strip()
        return MediaAddress(
            found,
            {"Authorization": f"Bearer {token}"},
            self._tools.clock.now() + _LIVES,
            _HOSTS,
        )


async def _ask(calls: Graph, settings: Settings, path: str, params: dict[str, str]) -> bytes:
    try:
        async with session() as opened:
            return (await calls.get(opened, path, params, settings.token)).body
    except RefusedError as error:
        if error.trouble in {Trouble.GONE, Trouble.REQUEST}:
            raise _gone() from None
        raise error.raised() from None


def _gone() -> InvalidMessage:
    return InvalidMessage(ErrorType.ORIGINAL_GONE, "Graph shows no such medium any more")


def _addresses(tree: Any, depth: int) -> Iterator[tuple[str, set[str]]]:
    """Yield every address in an answer with the ids by which it may be known."""
    if depth > _DEEPEST:
        return
    if isinstance(tree, dict):
        own = {str(tree["id"])} if "id" in tree else set()
        for each in tree.values():
            for address, ids in _addresses(each, depth + 1):
                yield address, ids | own
    elif isinstance(tree, list):
        for each in tree:
            yield from _addresses(each, depth + 1)
    elif isinstance(tree, str):
        found = web_address(tree)
        if found is not None:
            known = stable_id(found)
            yield found, set() if known is None else {known}
