"""The main group.

Every command is loaded when it is asked for: one that is not installed takes no other along.
"""

from importlib.metadata import version

import click

from klingel.contracts.topics import Topic
from klingel_cli.shell import Commands, Shell

_COMMANDS = {
    "demo": ("klingel_cli.demo.command:demo", "Ring: everything from nothing to a live board."),
    "topics": ("klingel_cli.commands.topics:topics_group", "Make and check Kafka's topics."),
    "index": (
        "klingel_cli.commands.index:index_group",
        "Make and check Elasticsearch's templates.",
    ),
    "kibana": (
        "klingel_cli.commands.kibana:kibana_group",
        "Give Kibana its dashboards.",
    ),
    "config": (
        "klingel_cli.commands.config:config_group",
        "Check brand files and put them in force.",
    ),
    "rules": (
        "klingel_cli.commands.rules:rules_group",
        "Try listening rules before they go live.",
    ),
    "map": ("klingel_cli.commands.map:map_command", "Show what becomes of native deliveries."),
    "search": ("klingel_cli.commands.search:search", "Search posts, in the syntax of the rules."),
    "case": (
        "klingel_cli.commands.case:case_group",
        "See cases, and say what shall become of them.",
    ),
    "chat": ("klingel_cli.commands.chat:chat_group", "See who waits in the web chat, and answer."),
    "customer": (
        "klingel_cli.commands.customer:customer_group",
        "See which ids are one customer, and link two.",
    ),
    "incident": (
        "klingel_cli.commands.incident:incident_group",
        "See incidents, and close all their cases at once.",
    ),
    "explain": ("klingel_cli.commands.explain:explain", "Follow one event to where it ends."),
    "audit": ("klingel_cli.commands.audit:audit_command", "Prove that nothing was lost."),
    Topic.DEAD_LETTERS.value: (
        "klingel_cli.commands.dead_letters:dead_letters",
        "See what could not be read, and send it again.",
    ),
    "erase": (
        "klingel_cli.commands.erase:erase",
        "Erase a person, an object or a case, everywhere.",
    ),
    "models": (
        "klingel_cli.commands.models:models_group",
        "Train, evaluate, list and explain models.",
    ),
    "backtest": (
        "klingel_cli.commands.backtest:backtest",
        "Show what klingel would have done with what is over.",
    ),
    "import": (
        "klingel_cli.commands.imports:import_command",
        "Send recorded history into the platform.",
    ),
    "remap": (
        "klingel_cli.commands.remap:remap",
        "Read raw events anew, by the present mappings and models.",
    ),
    "reindex": (
        "klingel_cli.commands.reindex:reindex",
        "Make indices anew, from Kafka and from older indices.",
    ),
    "doctor": ("klingel_cli.commands.doctor:doctor", "Find out what is wrong with a connector."),
    "connectors": (
        "klingel_cli.commands.connectors:connectors_group",
        "See connectors and their gaps, and begin a new one.",
    ),
    "status": ("klingel_cli.commands.status:status", "See who works and what waits."),
}


@click.command(
    cls=Commands,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("klingel-cli"), prog_name="klingel")
@click.pass_context
def main(ctx: click.Context) -> None:
    """klingel: every customer who rings is heard, and nothing said is lost.

    Settings come from KLINGEL_* variables, such as KLINGEL_KAFKA__BOOTSTRAP and
    KLINGEL_ELASTICSEARCH__URL.

    Exit codes: 0 all is well, 1 checked and found wrong, 2 wrong usage or configuration, 3 Kafka
    or Elasticsearch is away.
    """
    ctx.obj = Shell()
