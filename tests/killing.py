"""Killing a connector within the process: what it was doing just ends."""

import asyncio


async def kill_connectors() -> None:
    """End runners and publishers in the midst of whatever they do; nothing is flushed."""
    ours = [
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__qualname__", "").startswith(("Runner.", "Publisher."))
    ]
    for task in ours:
        task.cancel()
    await asyncio.gather(*ours, return_exceptions=True)
