"""`klingel explain`: raw offset, social event, routing decision, document; and where it ended."""

import click

from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_cli.way import Step, follow, parse_event_id


@click.command("explain")
@click.argument("event_id", metavar="EVENT_ID")
@as_json
@pass_shell
def explain(shell: Shell, event_id: str, *, as_json: bool) -> None:
    """Follow one event from its raw offset to its document, and say where it ends.

    EVENT_ID is <object_id>@<revision>, as connectors publish it; with <brand>/ before it only that
    brand's way is shown. Exit 1 when the event is not known at all.
    """
    steps = follow(shell.settings, parse_event_id(event_id))
    if as_json:
        shell.tell({"event_id": event_id, "steps": [_told(step) for step in steps]})
    else:
        _show(shell, steps)
    if all(step.state == "missing" for step in steps):
        shell.found_wrong()


def _told(step: Step) -> dict[str, object]:
    return {
        "step": step.name,
        "brand": step.brand,
        "state": step.state,
        "where": step.where,
        "sentence": step.sentence,
        "details": [list(detail) for detail in step.details],
    }


def _show(shell: Shell, steps: list[Step]) -> None:
    brand = None
    for step in steps:
        if step.brand != brand:
            brand = step.brand
            shell.say(f"\nbrand {brand}")
        mark = {"found": "+", "waiting": "~", "expired": "-"}.get(step.state, "x")
        shell.say(f" {mark} {step.name:17} {step.where or step.sentence}")
        if step.where and step.sentence:
            shell.say(f"      {step.sentence}")
        for name, value in step.details:
            if value is not None:
                shell.say(f"      {name:13} {value}")
    last = steps[-1]
    if last.state in {"ended", "waiting", "dead_lettered", "missing"}:
        shell.say(f"\nit ends before the {last.name}")
    else:
        shell.say(f"\nit reached the {last.name}")
