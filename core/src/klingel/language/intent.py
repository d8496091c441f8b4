"""What a text wants: a cascade of rules and heads, several intents at once, each with its score.

Rules see what a sum of words cannot: a question mark outside an address, a question's opening, the
wording of a cancellation, an advertisement. Heads see the rest. What no step is sure of is `other`.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

INTENTS = (
    "complaint",
    "problem",
    "question",
    "lead",
    "praise",
    "feedback",
    "cancellation",
    "spam",
)
"""The closed set, without `other`."""
OTHER = "other"
_HEADS = tuple(f"intent:{name}" for name in INTENTS)
READ = 2_000
"""Characters of a text that the rules read."""


class Intent(NamedTuple):
    """One thing that a text wants.

    Args:
        name: member of `INTENTS`, or `other`.
        score: 0..1, how sure it is.
    """

    name: str
    score: float


class Limits(NamedTuple):
    """Probabilities from which on a step of the cascade speaks.

    Chosen on posts written for klingel, each judged by heads that were fitted without it.

    Args:
        issue: a complaint or a problem, by its head.
        issue_when_negative: the same where the tone is negative.
        split: a complaint or a problem beside the likelier of the two.
        question: by the head alone.
        question_by_rule: by the head where a rule finds a question.
        praise: by the head alone.
        praise_when_positive: the same where the tone is positive.
        feedback: by the head.
        lead: by the head.
        cancellation: by the head alone.
        cancellation_by_rule: by the head where the wording speaks.
        spam: by the head alone.
        spam_by_rule: by the head where the wording speaks.
    """

    issue: float = 0.4
    issue_when_negative: float = 0.1
    split: float = 0.25
    question: float = 0.4
    question_by_rule: float = 0.15
    praise: float = 0.2
    praise_when_positive: float = 0.1
    feedback: float = 0.2
    lead: float = 0.25
    cancellation: float = 0.2
    cancellation_by_rule: float = 0.1
    spam: float = 0.3
    spam_by_rule: float = 0.05


LIMITS = Limits()

_ADDRESS = re.compile(r"(?:https?://|www\.)\S{1,400}|[@\uff20]\w{1,60}")
_LEAD_IN = (
    r"(?:^|[.!?:;\u2026\n]\s{0,3}|(?:hallo|hi|hey|moin|servus|hello|guten (?:tag|morgen|abend)|"
    r"liebes team|dear team|(?:mal )?(?:ne |eine |kurze |quick )?(?:frage|question))[ ,:!-]{1,3})"
)
_OPENING = re.compile(
    _LEAD_IN + r"(?:"
    r"(?:wer|wie|was|wann|wo|warum|wieso|weshalb|welche[rsnm]?|woher|wohin|womit|wof\u00fcr|wieviel|"
    r"ab wann|bis wann|seit wann|wie lange)(?! (?:sch\u00f6n|toll|geil|nett|dumm|bl\u00f6d|peinlich|"
    r"immer|f\u00fcr ein|lieb|gut dass|gut, dass|gesagt|schon gesagt|erwartet))"
    r"|(?:kann|k\u00f6nn(?:t|en|te|tet|ten)|darf|gibt|gibts|gilt|habt|hat|ist|sind|muss|m\u00fcssen|"
    r"wei\u00df|wisst|bekomm[et]?|krieg[et]?|geht|funktioniert|brauche?|soll|sollte|w\u00e4re|"
    r"werd(?:e|et|en)|wird|bietet|nehmt|liefert|akzeptiert)"
    r" (?:man|ich|ihr|sie|wir|mir|es|euch|das|der|die|jemand|wer|da|einer|hier|schon|dort|denn)\b"
    r"|(?:how|what|when|where|why|who|which|whose)(?:'s| is|'re| are)?"
    r"(?! (?:a |an |nice|lovely|great|amazing|awful|rude|ridiculous|ever\b))"
    r"|(?:can|could|may|do|does|did|is|are|was|will|would|should|has|have|any)"
    r" (?:i|you|we|it|there|this|that|the|my|your|anyone|anybody|someone|one|idea|chance|news|update)\b"
    r"|(?:anyone|anybody) (?:know|knows|else)\b"
    r"|(?:wei\u00df|hat|kennt) (?:hier )?(?:jemand|einer|wer)\b"
    r")",
)
_ASKS = re.compile(
    r"\b(?:wollte (?:mal )?fragen|w\u00fcrde gerne? wissen|m\u00f6chte gerne? wissen|"
    r"wei\u00df (?:hier )?(?:jemand|einer|wer)\b|kann mir (?:jemand|wer|einer)\b|"
    r"ist es m\u00f6glich|gibt es (?:eine|einen|ein|die) m\u00f6glichkeit|"
    r"just wondering|i was wondering|does (?:anyone|anybody) know|can (?:anyone|someone|you) tell me|"
    r"could (?:anyone|someone|you) (?:please )?(?:tell|explain)|please (?:advise|explain|tell me))",
)
_CANCELS = re.compile(
    r"\b(?:k\u00fcndig(?:e|en|ung)\b|gek\u00fcndigt|widerruf(?:e|en)?\b|"
    r"(?:vertrag|abo|mitgliedschaft|konto|account) (?:bitte )?(?:beenden|l\u00f6schen|schlie\u00dfen|"
    r"aufl\u00f6sen)|wechs(?:le|el) (?:den anbieter|zu[rm]? )|bin (?:dann )?weg\b|"
    r"cancel(?:l?ing|led|lation)? (?:my|our|the|this) (?:\w{1,20} ){0,2}"
    r"(?:contract|subscription|account|membership|plan|policy|service|card|order)|"
    r"close (?:my|our) account|terminate (?:my|our)|end my (?:contract|membership|subscription)|"
    r"switching (?:to|provider)|leaving (?:you|for))",
)
_ADVERTISES = re.compile(
    r"\b(?:gewinnspiel|jetzt gratis|100 ?% (?:gratis|kostenlos|free)|passives einkommen|"
    r"schnell(?:es)? geld verdienen|geld verdienen (?:von zu hause|im internet)|"
    r"nebenverdienst|klick(?:t|e)? (?:hier|auf den link|jetzt)|link in (?:bio|der bio)|"
    r"folgt? mir zur\u00fcck|follow ?(?:me )?back|follow4follow|f4f|"
    r"crypto|krypto|bitcoin|forex|binary options|trading signals?|"
    r"earn (?:\$|\u20ac|\u00a3)?\d|make money|work from home|passive income|"
    r"free (?:gift ?cards?|iphone|followers|vouchers?)|click (?:here|the link|now)|"
    r"dm me (?:to|for)|(?:whatsapp|telegram) (?:me )?(?:at|on|\+)|giveaway|"
    r"hot singles|viagra|casino|onlyfans|buy followers)",
)
_RUDE_WORDING = re.compile(
    r"\b(?:unversch\u00e4mt\w{0,4}|frech(?:heit)?|saftladen|drecksladen|abzocke\w{0,3}|betr(?:ug|\u00fcger)"
    r"|l\u00e4cherlich|eine schande|zum kotzen|nie wieder|unfassbar|unm\u00f6glich|schei\u00df\w{0,6}|"
    r"verarscht?|frust\w{0,6}|dreist|armutszeugnis|euer ernst|"
    r"disgrace(?:ful)?|shame(?:ful)?|shambles|joke|scam(?:mers)?|rip-?off|ridiculous|pathetic|"
    r"unacceptable|appalling|disgusting|never again|worst|useless|terrible|fed up|are you (?:kidding|serious))\b",
)


class Wording:
    """What rules find in a text; each rule reads it when it is asked for.

    Addresses and mentions do not count. At most `READ` characters are read.
    """

    __slots__ = ("_cleaned", "_said")

    def __init__(self, text: str) -> None:
        self._said = text
        self._cleaned: str | None = None

    @property
    def _text(self) -> str:
        if self._cleaned is None:
            text = self._said[:READ]
            if "@" in text or "\uff20" in text or "http" in text or "www." in text:
                text = _ADDRESS.sub(" ", text)
            self._cleaned = text.strip().lower()
        return self._cleaned

    @property
    def asks(self) -> bool:
        """Whether there is a question mark, or the opening or wording of a question."""
        text = self._text
        return "?" in text or bool(_OPENING.search(text)) or bool(_ASKS.search(text))

    @property
    def cancels(self) -> bool:
        """Whether a contract, an account or the like is ended."""
        return _CANCELS.search(self._text) is not None

    @property
    def advertises(self) -> bool:
        """Whether it reads like an advertisement of a stranger."""
        return _ADVERTISES.search(self._text) is not None

    @property
    def scolds(self) -> bool:
        """Whether it scolds."""
        return _RUDE_WORDING.search(self._text) is not None


def wording(text: str) -> Wording:
    """Return what the rules find."""
    return Wording(text)


class Chances(NamedTuple):
    """Probabilities that the cascade looks at; 0 for what no head tells.

    Args:
        complaint: by its head, as the seven below.
        problem: the same.
        question: the same.
        lead: the same.
        praise: the same.
        feedback: the same.
        cancellation: the same.
        spam: the same.
        issue: a complaint or a problem.
        anger: of the author.
        offence_de: by the German head.
        offence_en: by the English head.
    """

    complaint: float = 0.0
    problem: float = 0.0
    question: float = 0.0
    lead: float = 0.0
    praise: float = 0.0
    feedback: float = 0.0
    cancellation: float = 0.0
    spam: float = 0.0
    issue: float = 0.0
    anger: float = 0.0
    offence_de: float = 0.0
    offence_en: float = 0.0


CHANCES = (*_HEADS, "intent:issue", "anger", "offence_de", "offence_en")
"""Names of the outputs of which `Chances` are, in its order."""


def intents_of(
    text: str, tone: str | None, likely: Mapping[str, float], limits: Limits = LIMITS
) -> tuple[Intent, ...]:
    """Return what a text wants, likeliest first; `other` alone when nothing is sure.

    Args:
        text: as said, without what is quoted.
        tone: `negative`, `neutral` or `positive`, as the tone heads answer.
        likely: probability of `intent:<name>` of every intent, of `intent:issue`, and of `anger`,
            `offence_de` and `offence_en`; what is missing counts as 0.
        limits: from which probability on each step speaks.
    """
    return weigh_intents(text, tone, Chances(*[likely.get(name, 0.0) for name in CHANCES]), limits)


def weigh_intents(
    text: str, tone: str | None, chances: Chances, limits: Limits = LIMITS
) -> tuple[Intent, ...]:
    """Return the same as `intents_of` of probabilities that are already in their order."""
    said = Wording(text)
    # A rule is asked only where it matters: it reads the whole text.
    spam = chances.spam
    if spam >= limits.spam or (spam >= limits.spam_by_rule and said.advertises):
        return (Intent("spam", max(spam, limits.spam)),)
    found: dict[str, float] = {}
    if chances.issue >= (limits.issue_when_negative if tone == "negative" else limits.issue):
        found = _issue(said, chances, limits)
    question = chances.question
    if question >= limits.question or (question >= limits.question_by_rule and said.asks):
        found["question"] = question
    if chances.praise >= (limits.praise_when_positive if tone == "positive" else limits.praise):
        found["praise"] = chances.praise
    ended = chances.cancellation
    if ended >= limits.cancellation or (ended >= limits.cancellation_by_rule and said.cancels):
        found["cancellation"] = ended
    if chances.lead >= limits.lead:
        found["lead"] = chances.lead
    if chances.feedback >= limits.feedback:
        found["feedback"] = chances.feedback
    if not found:
        return (Intent(OTHER, 1 - min(1.0, max(chances[: len(INTENTS)]))),)
    if len(found) == 1:
        return (Intent(*found.popitem()),)
    ranked = sorted(found.items(), key=lambda item: (-item[1], INTENTS.index(item[0])))
    return tuple([Intent(name, score) for name, score in ranked])


def _issue(said: Wording, chances: Chances, limits: Limits) -> dict[str, float]:
    """Return complaint, problem or both: who is angry, offends or scolds complains."""
    complaint, problem = chances.complaint, chances.problem
    heat = max(chances.anger, chances.offence_de, chances.offence_en)
    if heat >= 0.5 or (complaint < limits.split and said.scolds):
        complaint = max(complaint, chances.issue * max(0.5, heat))
    both = {"complaint": complaint, "problem": problem}
    best = "complaint" if complaint >= problem else "problem"
    both[best] = max(both[best], chances.issue)
    return {name: score for name, score in both.items() if name == best or score >= limits.split}
