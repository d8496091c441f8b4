"""Turns simulated traffic into entries of a Jetstream log, and writes the truth. Shell."""

import asyncio
from collections.abc import Callable
from typing import Final

from klingel_simulator.atproto import BlueskyRenderer, to_account, to_identity
from klingel_simulator.jetstream_server import JetstreamServer
from klingel_simulator.pacing import Pace
from klingel_simulator.traffic import SimulatedObject, Traffic
from klingel_simulator.truth import Sent, TruthFile

_UPSTREAM_SEQ: Final = 10_000_000_000
_ACCOUNT_EVERY: Final = 997
MAX_LEAD: Final = 20_000
"""At full speed the source stays at most so many events ahead of the slowest subscriber."""


class JetstreamSource:
    """Publishes a traffic's objects to a server, at a rate, each with its truth line.

    A person's first appearance is preceded by an identity event; now and then somebody's account
    is deactivated and comes back. These are not counted and have no truth line.
    """

    def __init__(
        self,
        traffic: Traffic,
        server: JetstreamServer,
        truth: TruthFile,
        *,
        now_us: Callable[[], int],
    ) -> None:
        self._traffic = traffic
        self._server = server
        self._truth = truth
        self._now_us = now_us
        self._renderer = BlueskyRenderer(traffic.seed)
        self._known: set[str] = set()
        self._upstream = _UPSTREAM_SEQ
        self.sent = 0

    async def run(self, rate: float) -> None:
        """Publish everything; ``rate`` objects a second, 0 for as fast as possible."""
        clock = asyncio.get_running_loop().time
        pace, objects = Pace(rate, clock()), iter(self._traffic)
        while True:
            due = pace.due(clock())
            for _ in range(due):
                said = next(objects, None)
                if said is None:
                    self._announce()
                    return
                self._publish(said)
            self._announce()
            await asyncio.sleep(pace.pause_seconds(due))
            if not rate:
                await self._server.wait_for_lead(MAX_LEAD)

    def _announce(self) -> None:
        self._truth.flush()
        self._server.wake()

    def _publish(self, said: SimulatedObject) -> None:
        log, now_us = self._server.log, self._now_us()
        did = said.person.did
        if did not in self._known:
            self._known.add(did)
            body = to_identity(said.person, self._next_upstream(), now_us)
            log.append("identity", did, "", body, now_us)
        commit = self._renderer.to_commit(said, now_us)
        entry = log.append("commit", did, commit.collection, commit.body, now_us)
        self.sent += 1
        self._truth.record(
            Sent(
                network="bluesky",
                object_id=self._renderer.object_id(said),
                operation=said.operation,
                revision=commit.revision,
                heard=said.heard,
                sent_us=entry.time_us,
            )
        )
        if self.sent % _ACCOUNT_EVERY == 0 and not said.by_brand:
            for active in (False, True):
                body = to_account(said.person, self._next_upstream(), now_us, active=active)
                log.append("account", did, "", body, now_us)

    def _next_upstream(self) -> int:
        self._upstream += 1
        return self._upstream
