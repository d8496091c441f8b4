"""A token endpoint of OAuth 2 (RFC 6749, section 6) over a real socket, with what IMAP servers ask it.

`POST /token` gives access tokens for a refresh token, `GET /tokeninfo` tells whom a token is for, as
Dovecot's `tokeninfo_url` wants it. Tokens and the refresh token can be revoked.
"""

from aiohttp import web

from klingel_simulator.mail_imap import MailServer


class TokenServer:
    """The endpoint.

    Args:
        username: whom the tokens are for.
        refresh_token: the one that is taken.
        mail: a server that takes the tokens from here on; None for one that asks.
    """

    def __init__(
        self,
        username: str,
        refresh_token: str = "refresh",  # noqa: S107 - of a stand-in
        mail: MailServer | None = None,
    ) -> None:
        self.username = username
        self.refresh_token = refresh_token
        self.lasts_seconds = 3600
        self.status = 200
        self.given = 0
        self.url = ""
        self._tokens: set[str] = set()
        self._mail = mail
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listen on the loopback; `port` 0 takes a free one."""
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_get("/tokeninfo", self._tokeninfo)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    def revoke(self) -> None:
        """Withdraw all access tokens."""
        self._tokens.clear()
        if self._mail is not None:
            self._mail.tokens.clear()

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if self.status != 200:
            return web.json_response({"error": "temporarily_unavailable"}, status=self.status)
        if form.get("grant_type") != "refresh_token" or form.get("client_id") is None:
            return web.json_response({"error": "invalid_request"}, status=400)
        if form.get("refresh_token") != self.refresh_token:
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.given += 1
        token = f"token-{self.given}"
        self._tokens.add(token)
        if self._mail is not None:
            self._mail.tokens.add(token)
        return web.json_response(
            {"access_token": token, "token_type": "Bearer", "expires_in": self.lasts_seconds}
        )

    async def _tokeninfo(self, request: web.Request) -> web.Response:
        if request.query.get("access_token") not in self._tokens:
            return web.json_response({"error": "invalid_token"}, status=401)
        return web.json_response({"email": self.username, "active": True})
