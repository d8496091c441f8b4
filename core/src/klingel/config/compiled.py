"""A brand as the stages look at it: compiled once from its file, asked for every event."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from typing import Literal, Self

from klingel.config.brand import Brand, Enrichment, RoutingRule, Triage
from klingel.config.escalations import DEFAULT_LEVELS, Alerts, EscalationLevel, Outreach, Target
from klingel.domain.dictionary import Dictionaries, expand_entries
from klingel.domain.matching import Rule, RuleSet, expand_rule, parse_rule
from klingel.domain.rule_syntax import read_entry
from klingel.domain.sla import Policies
from klingel.language.numbers import NumberPattern, compile_number
from klingel.language.signature import Agent, Agents, signed


def dictionaries_of(brand: Brand) -> Dictionaries:
    """Return the forms of all entries, by the names of the brand's dictionaries.

    Raises:
        RuleSyntaxError: an entry is wrong; a brand that the loader accepts has none.
    """
    return {
        each.id: expand_entries(
            map(read_entry, each.words),
            map(read_entry, each.misspellings),
            umlauts=each.umlauts,
            typos=each.typos,
        )
        for each in brand.dictionaries
    }


def listening_rules(brand: Brand, dictionaries: Dictionaries | None = None) -> tuple[Rule, ...]:
    """Return the brand's listening rules, plain Lucene each: dictionaries are expanded.

    Raises:
        RuleSyntaxError: a query is wrong; a brand that the loader accepts has none.
    """
    forms = dictionaries_of(brand) if dictionaries is None else dictionaries
    return tuple(_rule(rule.id, rule.query, forms) for rule in brand.listening)


def routing_rules(brand: Brand, dictionaries: Dictionaries | None = None) -> tuple[Rule, ...]:
    """Return the brand's routing rules that have a query, in the same way."""
    forms = dictionaries_of(brand) if dictionaries is None else dictionaries
    return tuple(_rule(rule.id, rule.when, forms) for rule in brand.routing if rule.when)


def policy_rules(brand: Brand, dictionaries: Dictionaries | None = None) -> tuple[Rule, ...]:
    """Return the brand's SLA policies that have a query, as rules, in the same way."""
    forms = dictionaries_of(brand) if dictionaries is None else dictionaries
    return tuple(_rule(policy.id, policy.when, forms) for policy in brand.sla if policy.when)


def topic_rules(brand: Brand, dictionaries: Dictionaries | None = None) -> tuple[Rule, ...]:
    """Return the brand's topics as rules, in the same way."""
    forms = dictionaries_of(brand) if dictionaries is None else dictionaries
    return tuple(_rule(topic.id, topic.query, forms) for topic in brand.topics)


def _rule(name: str, query: str, dictionaries: Dictionaries) -> Rule:
    """Return a rule with its version: 32 bits over what it means, in hex."""
    plain = expand_rule(parse_rule(query, dictionaries))
    return Rule(name, plain, blake2b(plain.encode(), digest_size=4).hexdigest())


def _compiled(rules: tuple[Rule, ...]) -> RuleSet | None:
    return RuleSet.compile(rules) if rules else None


def _team_targets(brand: Brand) -> dict[str, tuple[str, ...]]:
    told: dict[str, list[str]] = {}
    for team in brand.teams:
        for queue in team.queues:
            told.setdefault(queue, []).extend(team.notify)
    return {queue: tuple(dict.fromkeys(targets)) for queue, targets in told.items()}


def _agents(found: Enrichment) -> Agents:
    """Compile who signs: by code, and by name where no other has the same."""
    names = Counter(signed(agent.name) for agent in found.agents if agent.name)
    return Agents.compile(
        Agent(
            id=agent.name or agent.code,
            codes=(agent.code,),
            names=(agent.name,) if agent.name and names[signed(agent.name)] == 1 else (),
        )
        for agent in found.agents
    )


def _reading_version(topics: Iterable[Rule], found: Enrichment) -> str:
    """Return 32 bits, in hex, over everything of the brand that reads texts."""
    content = "\n".join([*(str(topic) for topic in topics), found.model_dump_json()])
    return blake2b(content.encode(), digest_size=4).hexdigest()


@dataclass(frozen=True, slots=True)
class CompiledBrand:
    """Everything that deciding for one brand needs; immutable.

    Args:
        brand: name of the brand.
        version: of the configuration, 16 hex digits; every decision records it.
        accounts: own account ids by network.
        channels: what the brand hears whole, as (network, id).
        listening: the listening rules.
        routing: the routing rules in their order.
        routing_set: the same rules compiled; ids are theirs.
        topics: the topics of its taxonomy, as rules.
        numbers: its customer, contract and order numbers.
        agents: who signs answers.
        model: name of the model that reads texts, None where none does.
        model_optional: whether events go on without it.
        reading_version: of all that reads texts beside the model: topics, numbers, agents.
        default_queue: where a case goes that no rule routes.
        triage: what opens a case.
        outreach: which talk about the brand, not addressed to it, is a candidate.
        policies: what is promised, in order.
        policy_set: the queries of the policies, ids are theirs; None where none has one.
        levels: escalation levels in order.
        team_targets: by queue, who is told beside a level's own targets.
        targets: everybody who can be told, by id.
        alerts: early warning.
        queues: ids of its queues.
        topic_queues: queues that have a topic of their own.
        max_open_age: an event older than this when received opens nothing.
        reopen_within: a word after the closing reopens within this, else opens a generation.
        close_when: whether an answer closes a case by itself.
        explained: what was said already of how each rule came to decide; `klingel.domain.routing`
            fills it, for the rules that the brand has.
    """

    brand: str
    version: str
    accounts: dict[str, frozenset[str]]
    channels: frozenset[tuple[str, str]]
    listening: RuleSet
    routing: tuple[RoutingRule, ...]
    routing_set: RuleSet
    topics: RuleSet
    numbers: tuple[NumberPattern, ...]
    agents: Agents
    model: str | None
    model_optional: bool
    reading_version: str
    default_queue: str
    triage: Triage
    outreach: Outreach
    policies: Policies
    policy_set: RuleSet | None
    levels: tuple[EscalationLevel, ...]
    team_targets: dict[str, tuple[str, ...]]
    targets: dict[str, Target]
    alerts: Alerts
    queues: frozenset[str]
    topic_queues: frozenset[str]
    max_open_age: timedelta
    reopen_within: timedelta
    close_when: Literal["never", "answered"]
    _order: dict[str, int] = field(repr=False)
    explained: dict[str | None, list[str]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def compile(cls, brand: Brand, version: str) -> Self:
        """Compile a brand.

        Raises:
            RuleSyntaxError: a query is wrong; a brand that the loader accepts has none.
            NumberPatternError: a number's pattern is wrong; the same.
            CalendarError: a calendar or a policy has no meaning; the same.
        """
        accounts: dict[str, set[str]] = {}
        for account in brand.accounts:
            accounts.setdefault(account.network, set()).add(account.id)
        forms, found = dictionaries_of(brand), brand.enrichment
        topics = topic_rules(brand, forms)
        return cls(
            brand=brand.brand,
            version=version,
            accounts={network: frozenset(ids) for network, ids in accounts.items()},
            channels=frozenset((channel.network, channel.id) for channel in brand.channels),
            listening=RuleSet.compile(listening_rules(brand, forms)),
            routing=brand.routing,
            routing_set=RuleSet.compile(routing_rules(brand, forms)),
            topics=RuleSet.compile(topics),
            numbers=tuple(compile_number(n.kind, n.pattern, n.check) for n in found.numbers),
            agents=_agents(found),
            model=None if found.model == "none" else found.model,
            model_optional=found.optional,
            reading_version=_reading_version(topics, found),
            default_queue=brand.queues[0].id,
            triage=brand.triage,
            outreach=brand.outreach,
            policies=Policies.compile(brand.sla, brand.calendars, version),
            policy_set=_compiled(policy_rules(brand, forms)),
            levels=brand.escalation or DEFAULT_LEVELS,
            team_targets=_team_targets(brand),
            targets={target.id: target for target in brand.targets},
            alerts=brand.alerts,
            queues=frozenset(queue.id for queue in brand.queues),
            topic_queues=frozenset(queue.id for queue in brand.queues if queue.topic),
            max_open_age=timedelta(days=brand.cases.max_open_age_days),
            reopen_within=timedelta(days=brand.cases.reopen_within_days),
            close_when=brand.cases.close_when,
            _order={rule.id: number for number, rule in enumerate(brand.routing)},
        )

    def told_of(self, cause: Literal["early_warning", "incident"]) -> tuple[str, ...]:
        """Return who is told of alerts, or of incidents: those named there, and by levels on them."""
        alerts = self.alerts
        named = alerts.notify if cause == "early_warning" else alerts.incident_notify
        by_levels = [target for each in self.levels if cause in each.on for target in each.notify]
        return tuple(dict.fromkeys([*named, *by_levels]))

    def owns(self, network: str, account_id: str | None) -> bool:
        """Whether this account of a network is the brand's own."""
        own = self.accounts.get(network)
        return own is not None and account_id in own

    def owns_any(self, network: str, account_ids: Iterable[str]) -> bool:
        """Whether one of these accounts of a network is the brand's own."""
        own = self.accounts.get(network)
        return own is not None and not own.isdisjoint(account_ids)

    def hears_channel(self, network: str, channel_id: str | None) -> bool:
        """Whether everything that comes through this channel is for the brand."""
        return channel_id is not None and (network, channel_id) in self.channels

    def place_of(self, rule_id: str) -> int | None:
        """Return the place of a routing rule in the order, or None where there is none."""
        return self._order.get(rule_id)
