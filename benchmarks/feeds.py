"""What thousands of feeds cost: memory and processor time of the connector, and how polite it is.

    python benchmarks/feeds.py [--feeds 5000] [--minutes 5] [--stack FILE] [--json]

The connector as it is deployed, in its own process, on a real Kafka; the feeds lie on a server in
another process, of twenty entries each, under 250 names of hosts. The first sweep takes all of them
whole; then every feed is asked once a minute, of which one in twenty tells a new entry and all others
that nothing changed. Beside what it cost stands what the server saw: most questions at once, to all
hosts and to one, and how many came without validators after the first.
The gate is 300 MB of resident memory, at its highest; exit code 1 above it.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from klingel_cli.demo.processes import Fleet, Servers
from klingel_cli.demo.rehearsal import demo_folder, stage_set

GATE_MB = 300
HOSTS = 250
ENTRIES = 20
EVERY_SECONDS = 60
CHANGED_ONE_IN = 20
_FIRST_SECONDS = 1_800
_WORDS = (
    "Seit gestern geht im ganzen Viertel das Netz nicht mehr, und niemand sagt etwas dazu. " * 8
)


def main() -> int:
    """Measure, tell, and return 1 above the gate."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--feeds", type=int, default=5_000)
    parser.add_argument("--minutes", type=float, default=5.0, help="after the first sweep")
    parser.add_argument("--stack", type=Path, help="stack.json of servers that run already")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        asyncio.run(serve(asked.serve))
        return 0
    with servers(asked.stack) as running, tempfile.TemporaryDirectory() as folder:
        told = measured(running, Path(folder), asked.feeds, asked.minutes) | {"gate_mb": GATE_MB}
        lines = json.dumps(told) if asked.json else "\n".join(f"{k}: {v}" for k, v in told.items())
        print(lines, flush=True)  # clearing away a hundred thousand originals takes a while
    return int(told["resident_mb_at_most"] > GATE_MB)


@contextmanager
def servers(stack: Path | None) -> Iterator[Servers]:
    """Yield Kafka and Elasticsearch: those that run already, or ones for this run."""
    if stack is None:
        with stage_set(demo_folder().parent / "bench-feeds", lambda _said: None) as started:
            yield started
        return
    known = json.loads(stack.read_text(encoding="utf-8"))
    yield SimpleNamespace(  # type: ignore[misc]  # has what the protocol names
        bootstrap=known["kafka"]["bootstrap"],
        elasticsearch_url=known["elasticsearch"]["url"],
        elasticsearch_auth=None,
    )


def measured(running: Servers, folder: Path, feeds: int, minutes: float) -> dict[str, Any]:
    """Return what the connector cost and what the server saw."""
    with Fleet(running, folder, f"feeds-{os.getpid()}-") as fleet:
        fleet.folder.mkdir(exist_ok=True)
        port = fleet.port_of("server")
        server = subprocess.Popen([sys.executable, __file__, "--serve", str(port)])
        try:
            until(lambda: seen(port) is not None, 30)
            fleet.klingel("topics", "apply")
            listed = folder / "feeds.txt"
            addresses = (
                f"http://127.0.0.{1 + number % HOSTS}:{port}/{number}" for number in range(feeds)
            )
            listed.write_text("\n".join(addresses), encoding="utf-8")
            return ridden(fleet, port, listed, feeds, minutes)
        finally:
            server.terminate()
            server.wait(10)


def ridden(fleet: Fleet, port: int, listed: Path, feeds: int, minutes: float) -> dict[str, Any]:
    """Run the connector over a first sweep and some minutes more."""
    environ = {
        "KLINGEL_FEED_FEEDS_FILE": str(listed),
        "KLINGEL_FEED_EVERY_SECONDS": str(EVERY_SECONDS),
    }
    began = time.monotonic()
    child = fleet.start("feed", environ=environ)
    until(lambda: (seen(port) or {}).get("feeds", 0) >= feeds, _FIRST_SECONDS)
    first, cpu_first = time.monotonic() - began, cpu_of(child.process.pid)
    resident_first = memory_of(child.process.pid)
    before = asked_of(port)
    time.sleep(minutes * 60)
    saw, cpu = asked_of(port), cpu_of(child.process.pid) - cpu_first
    questions = saw["asked"] - before["asked"]
    resident = memory_of(child.process.pid)
    counted = {
        each.name: each.value for each in fleet.metrics("feed-0") if not each.labels.get("x")
    }
    return {
        "feeds": feeds,
        "first_sweep_seconds": round(first, 1),
        "first_sweep_cpu_seconds": round(cpu_first, 1),
        "resident_mb_after_first_sweep": resident_first[0],
        "resident_mb": resident[0],
        "resident_mb_at_most": resident[1],
        "questions_a_minute": round(questions / minutes) if minutes else 0,
        "cpu_ms_a_question": round(cpu / questions * 1000, 2) if questions else 0,
        "share_of_a_core": round(cpu / (minutes * 60), 3) if minutes else 0,
        "events": int(counted.get("klingel_received_total", 0)),
        "at_once_at_most": saw["at_once"],
        "at_once_to_a_host_at_most": saw["at_once_to_a_host"],
        "whole_after_the_first": saw["whole_again"],
    }


def until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until something holds; ends the run when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"not there after {seconds:.0f} s")
        time.sleep(0.2)


def memory_of(process: int) -> tuple[int, int]:
    """Return resident memory now and at most, in MB."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return round(int(found["VmRSS"]) / 1000), round(int(found["VmHWM"]) / 1000)


def cpu_of(process: int) -> float:
    """Return the processor time of all threads, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seen(port: int) -> dict[str, int] | None:
    """Return what the server saw; None while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/seen", timeout=5) as answer:
            found: dict[str, int] = json.load(answer)
            return found
    except OSError:
        return None


def asked_of(port: int) -> dict[str, int]:
    """Return what the server saw."""
    found = seen(port)
    if found is None:
        raise SystemExit("the server of the feeds is gone")
    return found


# -- the server's process -------------------------------------------------------------------------


class Site:
    """Feeds without end, and what was asked of them."""

    def __init__(self) -> None:
        self.questions: Counter[str] = Counter()
        self.under_way: Counter[str] = Counter()
        self.at_once = self.at_once_to_a_host = self.whole_again = 0

    async def feed(self, request: web.Request) -> web.Response:
        """Answer with a feed, or that it has not changed."""
        name, host = request.match_info["name"], request.host
        self.under_way[host] += 1
        self.at_once = max(self.at_once, self.under_way.total())
        self.at_once_to_a_host = max(self.at_once_to_a_host, self.under_way[host])
        try:
            await asyncio.sleep(0.02)  # as far away as a server is
            return self.answer(name, request.headers.get("If-None-Match"))
        finally:
            self.under_way[host] -= 1

    def answer(self, name: str, known: str | None) -> web.Response:
        """Return the document that the feed has now."""
        asked = self.questions[name]
        self.questions[name] += 1
        newest = (asked + int(name)) // CHANGED_ONE_IN
        tag = f'"{newest}"'
        if known == tag:
            return web.Response(status=304, headers={"ETag": tag})
        self.whole_again += asked > 0 and known is None
        items = "".join(
            f"<item><guid isPermaLink='false'>{name}-{each}</guid><title>Nummer {each}</title>"
            f"<link>http://forum.example/{name}/{each}</link><description>{each}: {_WORDS}"
            "</description><pubDate>Mon, 23 Nov 2026 09:00:00 GMT</pubDate></item>"
            for each in range(newest + ENTRIES, newest, -1)
        )
        body = f'<?xml version="1.0"?><rss version="2.0"><channel><title>F</title>{items}</channel></rss>'
        return web.Response(
            body=body.encode(), content_type="application/rss+xml", headers={"ETag": tag}
        )

    async def seen(self, _request: web.Request) -> web.Response:
        """Answer with what was asked."""
        return web.json_response(
            {
                "feeds": len(self.questions),
                "asked": self.questions.total(),
                "at_once": self.at_once,
                "at_once_to_a_host": self.at_once_to_a_host,
                "whole_again": self.whole_again,
            }
        )


async def serve(port: int) -> None:
    """Serve until ended."""
    site = Site()
    app = web.Application()
    app.add_routes([web.get("/-/seen", site.seen), web.get("/{name}", site.feed)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
