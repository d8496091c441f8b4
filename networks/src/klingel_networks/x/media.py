"""Finds the present address of an attachment through X; see `MediaAddresses`.

Webhooks and posts of an edit chain name an attachment by its key alone; addresses of pbs.twimg.com and
video.twimg.com that a post told end with it. The post is looked up again, with its attachments beside
it (`x-api/posts/lookup`, expansion `attachments.media_keys`), at the price of a post read, while the
budget of whoever asks allows one.

Attachments of direct messages are not to be had: X gives them to the account's own user alone.
"""

import aiohttp
import msgspec

from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    ErrorType,
    InvalidMessage,
    RateLimited,
)
from klingel_networks.arrival import MediaAddress, Tools
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.x.api import Api
from klingel_networks.x.ids import PREFIX, is_id
from klingel_networks.x.posts import address_of
from klingel_networks.x.records import Includes

ITEM = "media/lookup"
"""What a lookup is counted as in the costs."""


class _Page(msgspec.Struct):
    includes: Includes | None = None


_PAGE = msgspec.json.Decoder(_Page)


class PostMedia:
    """Addresses of the attachments of posts.

    Args:
        endpoint: address of the API, without a slash at its end.
        token: bearer token of the app.
        price: of a post read.
        tools: limits and costs.
    """

    def __init__(self, endpoint: str, token: str, price: float, tools: Tools) -> None:
        self._endpoint = endpoint
        self._token = token
        self._price = price
        self._tools = tools

    async def address(self, object_id: str, medium: str | None, url: str | None) -> MediaAddress:  # noqa: ARG002  the port's: an attachment is known by its key
        """Return the address that X shows now; see `MediaAddresses.address`."""
        post_id = object_id.removeprefix(PREFIX)
        if medium is None or not is_id(post_id):
            raise _gone()
        left = self._tools.permits.left(ITEM)
        if left is not None and left < self._price:
            raise RateLimited("the month's budget carries no further look at a post of X")
        async with aiohttp.ClientSession() as session:
            api = Api(session, self._endpoint, self._token, self._tools)
            try:
                body = await api.lookup([post_id])
            except ConfigurationError as error:
                raise CredentialsRejected(str(error)) from None
        found = address_in(body, medium)
        if found is None:
            raise _gone()
        self._tools.permits.spend(ITEM, self._price)
        return MediaAddress(found)


def address_in(body: bytes, key: str) -> str | None:
    """Return the address that a page tells of an attachment, None where it tells none: pure.

    Args:
        body: answer of a lookup.
        key: of the attachment.
    """
    try:
        includes = _PAGE.decode(body).includes
    except READ_ERRORS:
        return None
    for medium in (includes.media if includes is not None else None) or ():
        if medium.media_key == key:
            return address_of(medium)
    return None


def _gone() -> InvalidMessage:
    return InvalidMessage(ErrorType.ORIGINAL_GONE, "X shows no such attachment any more")
