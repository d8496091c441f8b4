"""`/metrics`, `/healthz`, `/readyz`: what operators and probes ask."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from klingel.metrics import Metrics
from klingel.settings import HttpSettings


@dataclass(frozen=True, slots=True)
class Probe:
    """An answer: fine or not, and one word or sentence why."""

    fine: bool
    says: str


def status_routes(
    metrics: Metrics, healthy: Callable[[], Awaitable[Probe]], ready: Callable[[], Probe]
) -> list[web.RouteDef]:
    """Build the routes."""

    async def get_metrics(_request: web.Request) -> web.Response:
        body = metrics.render()
        return web.Response(body=body, headers={"content-type": "text/plain; version=0.0.4"})

    async def get_health(_request: web.Request) -> web.Response:
        return _answer(await healthy())

    async def get_ready(_request: web.Request) -> web.Response:
        return _answer(ready())

    return [
        web.get("/metrics", get_metrics),
        web.get("/healthz", get_health),
        web.get("/readyz", get_ready),
    ]


def _answer(probe: Probe) -> web.Response:
    return web.json_response({"state": probe.says}, status=200 if probe.fine else 503)


class HttpServer:
    """An aiohttp application on a port, started and stopped by its owner."""

    def __init__(self, app: web.Application, http: HttpSettings) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
        self._http = http
        self.port = 0

    async def start(self) -> None:
        """Listen; `port` says where."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._http.host, self._http.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Finish open requests and close."""
        await self._runner.cleanup()
