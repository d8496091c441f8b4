"""What of a text are the author's own words: mails without what they quote, posts without theirs.

    reading = own_words(text, "email")
    [text[start:end] for start, end in reading.own]

The text is never changed: a reading is places in it. Every code point that is not white space
belongs to exactly one part. Where it cannot be told whose words they are, they count as the
author's: a complaint taken for a quotation is lost, a quotation taken for a complaint is read once
too often.

Time grows with the length of the text, up to `LINES` lines; what follows belongs to the last one.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate, islice, pairwise
from typing import Final

Span = tuple[int, int]
"""First code point and the one after the last."""

LINES: Final = 500
"""So many lines of a mail, so many quoted lines of a post are told apart."""

_LOOK = 200
_SIGNATURE_LINES = 20
_FOOTER_LINES = 12
_CLOSING_LINES = 10
_CLOSING_WIDTH = 70
_TRAILING_LINES = 7
_INTRO_LINES = 3
_FIELDS_AT_LEAST = 3
_CONTINUED_FIELD_LINES = 2
_TRIES = 10
_ATTRIBUTION = 80


@dataclass(frozen=True, slots=True)
class Reading:
    """Whose words stand where; the parts are disjoint, each is in rising order.

    Args:
        own: the author's words.
        answered: quotations that the own words answer (they stand between them, or before them
            without a header); kept where a person reads the message.
        closing: greeting and name at the end of the own words.
        quoted: what others said, with the lines that announce it.
        signature: signatures, and what a mail program adds.
        disclaimer: legal notices.
    """

    own: tuple[Span, ...] = ()
    answered: tuple[Span, ...] = ()
    closing: tuple[Span, ...] = ()
    quoted: tuple[Span, ...] = ()
    signature: tuple[Span, ...] = ()
    disclaimer: tuple[Span, ...] = ()

    @property
    def reply(self) -> tuple[Span, ...]:
        """What a person needs to see: own words, what they answer, the closing; in their order."""
        return tuple(sorted((*self.own, *self.answered, *self.closing)))


class _Part(Enum):
    OWN = auto()
    ANSWERED = auto()
    CLOSING = auto()
    QUOTED = auto()
    SIGNATURE = auto()
    DISCLAIMER = auto()


def own_words(text: str, kind: str) -> Reading:
    """Tell the author's own words from what is quoted, signed and appended.

    Args:
        text: as said.
        kind: of the event; `email` is read by lines, everything else as a post.
    """
    if kind == "email":
        return _Mail(text).reading()
    return _post(text)


def is_all_own(text: str, kind: str) -> bool:
    """Whether a glance tells that a text is its author's from the first sign to the last.

    True of most posts, and only where `own_words` finds one place, the whole text.
    """
    return not (
        kind == "email"
        or not text
        or _may_repost(text)
        or ">" in text
        or text[0] in _CLOSED_BY
        or text[0].isspace()
        or text[-1].isspace()
    )


def _may_repost(text: str) -> bool:
    return "RT" in text or "MT" in text


def text_of(text: str, spans: Iterable[Span]) -> str:
    """Join the places of a text, one a line."""
    return "\n".join(text[start:end] for start, end in spans)


_REPOST = re.compile(
    r"(?:\A\s*(?:RT|MT) ?[@\uff20]\w{1,64}(?::|\s|$)|(?<=\s)(?:RT|MT) ?[@\uff20]\w{1,64}:)"
)
_QUOTED_LINE = re.compile(
    r"^[ \t]{0,3}>(?!(?:[:;=]['^-]?[()<>DPOpo/\\|\[\]]|[<>._]))(?P<unsure>[ \t]*(?:$|\d))?",
    re.MULTILINE,
)
_CLOSED_BY: Final = {
    "\u201e": "\u201c\u201d",
    "\u201c": "\u201d",
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
    '"': '"',
}
_ATTRIBUTED = re.compile(
    r"\s*(?:[-\u2013\u2014~]\s*|\(?(?:via|by|von|par|por)\s+)[@\uff20]\w{1,64}\)?\s*", re.IGNORECASE
)
_NAMED = re.compile(r"[@\uff20]\w{1,64}:")


def _post(text: str) -> Reading:
    end = len(text)
    if is_all_own(text, "post"):
        return Reading(own=((0, end),))
    repost = _REPOST.search(text) if _may_repost(text) else None
    if repost:
        end = repost.start()
    start = _end_of_whole_quote(text, end)
    lines = _quoted_lines(text, start, end) if ">" in text else []
    quoted = [(0, start), *lines, (end, len(text))]
    return Reading(own=_trimmed(text, _between(quoted)), quoted=_trimmed(text, quoted))


def _end_of_whole_quote(text: str, end: int) -> int:
    """Return where a quotation ends that a post begins with and attributes, 0 without one."""
    begin = len(text) - len(text.lstrip())
    closers = _CLOSED_BY.get(text[begin : begin + 1])
    if closers is None:
        return 0
    body = text[begin + 1 : end]
    if _NAMED.match(body):  # “@somebody: text” comment
        closed = min((at for at in map(body.find, closers) if at >= 0), default=-1)
        return begin + closed + 2 if closed >= 0 else 0
    closed = max(map(body.rfind, closers))
    rest = body[closed + 1 :]
    attributed = closed > 0 and len(rest) <= _ATTRIBUTION and _ATTRIBUTED.fullmatch(rest)
    return end if attributed else 0


def _quoted_lines(text: str, start: int, end: int) -> list[Span]:
    """Return the marked lines, none if there are no others: then they are what is said.

    A line such as `> 30 minutes` is marked only below a marked one.
    """
    found: list[Span] = []
    for line in islice(_QUOTED_LINE.finditer(text, start, end), LINES):
        if line["unsure"] is not None and (not found or found[-1][1] + 1 != line.start()):
            continue
        stop = text.find("\n", line.start(), end)
        found.append((line.start(), end if stop < 0 else stop))
    if len(found) == LINES:
        found[-1] = (found[-1][0], end)
    others = _between([(start, start), *found, (end, end)])
    return found if any(not text[at:stop].isspace() and at < stop for at, stop in others) else []


def _between(taken: Iterable[Span]) -> list[Span]:
    """Return what lies between rising spans."""
    return [(before[1], after[0]) for before, after in pairwise(taken)]


def _trimmed(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """Leave the white space around each span, and spans of nothing else."""
    found: list[Span] = []
    for start, end in spans:
        inside = text[start:end]
        first = start + len(inside) - len(inside.lstrip())
        last = start + len(inside.rstrip())
        if first < last:
            found.append((first, last))
    return tuple(found)


_ORIGINAL = (
    "original message|reply message|forwarded message|forwarded by .{1,80}|original appointment"
    "|urspr.{1,3}ngliche nachricht|originalnachricht|weitergeleitete nachricht"
    "|message d['\u2019]origine|message original|message transf.{1,3}r.{1,3}|message initial"
    "|mensaje original|mensaje reenviado|oorspronkelijk bericht|doorgestuurd bericht"
    "|messaggio originale|messaggio inoltrato|mensagem original|mensagem encaminhada"
    "|oprindelig meddelelse|opprinnelig melding|ursprungligt meddelande|wiadomość oryginalna"
)
_MARKED = rf"[-_]{{2,}}[ \t]*(?:{_ORIGINAL})[ \t]*[-_]{{2,}}"
_BEGIN = (
    "begin forwarded message|anfang der weitergeleiteten (?:nachricht|e-?mail)"
    "|début du message (?:transféré|réexpédié)|inicio del mensaje reenviado"
    "|begin doorgestuurd bericht|inizio messaggio inoltrato"
)
_FIELDS = (
    "from|von|de|van|da|från|fra|od|sent|gesendet|envoyé|enviado(?: el)?|enviada(?: em)?|verzonden"
    "|inviato|skickat|sendt|wysłano|date|datum|data|fecha|dato|to|an|à|a|para|aan|till?|do|cc|kopie"
    "|copie|subject|betreff|objet|asunto|onderwerp|oggetto|assunto|ämne|emne|temat|reply-to"
    "|antwort an|répondre à|responder a|rispondi a|antwoord aan"
)
_DEVICE = (
    r"(?:sent|written) from (?:my|a|an|outlook|mail|yahoo|aol|gmail|samsung|proton|windows)\b"
    "|sent (?:via|with|using) |get outlook for "
    "|von meine[mr] .{1,40} (?:gesendet|geschickt)|gesendet (?:von|mit|aus|über|via) "
    "|diese nachricht wurde von meinem |envoyé (?:de|depuis|à partir d[e']) ?(?:mon|ma|outlook|yahoo)"
    "|enviado (?:desde|do|de) (?:mi|meu|outlook|yahoo)|inviato da(?: |l |ll)"
    "|(?:verstuurd|verzonden) (?:vanaf|met|van) |sendt fra |skickat från |wysłane z |отправлено \\w "
)
_LEGAL_OPENING = (
    r"(?:this|the (?:information|content)s?|confidential\w*|disclaimer|diese|der inhalt|hinweis"
    r"|vertraulich\w*|ce (?:message|courriel|mail)|cet|este|esta|la información|dit|deze"
    r"|de informatie|questo|questa|le informazioni|il presente)\b"
)
_CONFIDENTIAL = re.compile("confiden[tc]i|vertraulich|vertrouwelijk|riservat")
_LINE = re.compile(
    "|".join(
        (
            r"(?P<quote>[ \t]{0,3}>(?!:[()]))",
            rf"(?P<original>[ \t]*[*_]{{0,2}}(?:{_MARKED}|(?:{_BEGIN})\s?:)[*_]{{0,2}}\s*$)",
            r"(?P<delimiter>(?:--|\u2014|__)[ \t\xa0]*\r?$)",
            r"(?P<rule>_{5,}[ \t]*\r?$)",
            rf"(?P<field>[ \t]*\*{{0,2}}(?:{_FIELDS})[ \t\xa0]{{0,2}}:)",
            rf"(?P<device>[ \t]*(?:{_DEVICE}))",
            rf"(?P<legal>[ \t*_-]*{_LEGAL_OPENING})",
        )
    ),
)
_SUBJECT = re.compile(
    r"[ \t]*\*{0,2}(?:subject|betreff|objet|asunto|onderwerp|oggetto|assunto|ämne|emne|temat)\b",
)
_LEGAL = re.compile(
    "recipient|addressee|delete|disclos|prohibited|empfänger|adressat|lösch|vernichte|unbefugt|untersagt"
    "|destinataire|supprim|détrui|destinatario|elimin|borr|prohibid|geadresseerde|verwijder|verboden"
    "|cancell|vietat|distrugg",
)
_NAMED_QUOTE = re.compile(r"[A-Za-z][\w.-]{0,15}>(?=\s|$)")
_INTRO_OPENING = re.compile(
    r"[ \t]*[*_]?(?:on|am|le|el|il|op|den|em|dnia|w dniu|dne|på|\d{1,4}[.\-/ ])\b"
)
_WROTE = re.compile(
    r"\b(?:wrote|writes|schrieb|geschrieben|a écrit|escribió|schreef|ha scritto|escreveu|skrev"
    r"|napisał(?:\(a\))?|kirjoitti|napsal(?:\(a\))?|написал|пишет|写道)(?!\w)",
)
_TIME = re.compile(r"(?<![\d.])\d{1,2}[:.h]\d{2}(?![\d.])")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_BARE_INTRO = re.compile(r"\d{4}-\d\d-\d\d \d{1,2}:\d\d gmt[+-]\d\d:\d\d \S")
_CLOSING = re.compile(
    r"[ \t]*(?:mit (?:freundlich|best|herzlich|lieb|schön|viel)\w* (?:grüßen|grüssen|gruß|gruss)"
    r"|mfg|lg|vg|bg|(?:freundliche|viele|liebe|beste|schöne|herzliche|sonnige)n? (?:grüße|grüsse|grüßen)"
    r"(?: aus \w+)?|(?:lieben |schönen |besten |freundlichen )?(?:gruß|gruss|grüße|grüsse)|hochachtungsvoll"
    r"|(?:with |my )?(?:best|kind|warm|kindest|warmest|many|sincere)? ?regards|best(?: wishes)?|sincerely"
    r"(?: yours)?|yours (?:sincerely|faithfully|truly)|cheers"
    r"|(?:bien )?cordialement|bien à vous|salutations(?: distinguées)?|(?:un )?(?:cordial )?saludos?"
    r"(?: cordial(?:es)?)?|atentamente|met vriendelijke groet(?:en)?|(?:vriendelijke |hartelijke )?groet(?:en|jes)?"
    r"|(?:cordiali|distinti) saluti|cordialmente|saluti|atenciosamente|med vänlig hälsning|med venlig hilsen"
    r"|(?P<thanks>(?:many |vielen |besten |herzlichen |schönen )?(?:thanks|thank you|dank|danke|merci"
    r"|gracias|bedankt|grazie)(?: (?:im voraus|in advance|d'avance|vorab))?))[ \t]*[,.!]{0,3}",
)
_SIGNED = re.compile(r"[-\u2013~]{1,2}[^\W\d_]\w*(?: \w+){0,3}\s*")


def _kind(head: str) -> str:
    """Say what a line that is not blank looks like, given its beginning in lower case."""
    found = _LINE.match(head)
    if not found or (found.lastgroup == "legal" and not _CONFIDENTIAL.search(head)):
        return "text"
    return found.lastgroup or "text"


class _Mail:
    """One mail on the way to its reading; lines are told apart from the top."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n", LINES)
        self.starts = [0, *accumulate(len(line) + 1 for line in self.lines)]
        self.heads = [line[:_LOOK].lower() for line in self.lines]
        self.kinds: list[str | None] = [
            _kind(head) if line and not line.isspace() else None
            for line, head in zip(self.lines, self.heads, strict=True)
        ]
        self.parts: list[_Part | None] = [None] * len(self.lines)
        self.intros: set[int] = set()
        self.introduces = [line.rstrip().endswith((":", "\uff1a")) for line in self.lines]
        self.tries_left = _TRIES
        self.no_header_before = 0
        self.fences = [at for at, line in enumerate(self.lines) if line.startswith("```")]

    def reading(self) -> Reading:
        self._tell_apart()
        self._take_trailing()
        self._take_closing()
        self._find_answered()
        spans: dict[_Part, list[Span]] = {part: [] for part in _Part}
        previous: _Part | None = None
        for at, part in enumerate(self.parts):
            if part is None:
                continue
            end = self.starts[at] + len(self.lines[at])
            if part is previous:
                spans[part][-1] = (spans[part][-1][0], end)
            else:
                spans[part].append((self.starts[at], end))
            previous = part
        return Reading(
            own=_trimmed(self.text, spans[_Part.OWN]),
            answered=_trimmed(self.text, spans[_Part.ANSWERED]),
            closing=_trimmed(self.text, spans[_Part.CLOSING]),
            quoted=_trimmed(self.text, spans[_Part.QUOTED]),
            signature=_trimmed(self.text, spans[_Part.SIGNATURE]),
            disclaimer=_trimmed(self.text, spans[_Part.DISCLAIMER]),
        )

    def _mark(self, first: int, end: int, part: _Part) -> int:
        for at in range(first, end):
            if self.kinds[at] is not None:
                self.parts[at] = part
        return end

    def _tell_apart(self) -> None:
        at = 0
        own_before = False
        end = len(self.lines)
        while at < end:
            kind = self.kinds[at]
            if kind is None:
                at += 1
                continue
            after = self._code(at) or self._announced(at, own_before=own_before)
            if after:
                own_before = own_before or self.parts[at] is _Part.OWN
                at = after
                continue
            after = self._appended(at, kind) if own_before else 0
            if after:
                at = after
            elif kind == "quote" or (self.intros and _NAMED_QUOTE.match(self.lines[at])):
                at = self._mark(at, at + 1, _Part.QUOTED)
            elif kind == "device" and len(self.lines[at]) <= _CLOSING_WIDTH + 10:
                at = self._mark(at, at + 1, _Part.SIGNATURE)
            else:
                own_before = True
                at = self._mark(at, at + 1, _Part.OWN)

    def _code(self, at: int) -> int:
        """Return the line after fenced code that begins here, 0 without."""
        if not self.lines[at].startswith("```"):
            return 0
        here = bisect_left(self.fences, at)
        if here + 1 >= len(self.fences):
            return 0
        return self._mark(at, self.fences[here + 1] + 1, _Part.OWN)

    def _announced(self, at: int, *, own_before: bool) -> int:
        """Mark what announces another's words here, and those words; return the line after them.

        Without own words before, the words after an announcement that nothing marks as a quotation
        are taken for the author's: there would be none otherwise.
        """
        kind = self.kinds[at]
        if kind in {"original", "rule"}:
            end = self._end_of_fields(self._next(at + 1))
        elif kind == "field":
            end = self._end_of_fields(at)
        else:
            return self._introduced(at, own_before=own_before)
        if not end and kind != "original":
            return 0
        end = max(end, at + 1)
        return self._mark(at, len(self.lines) if own_before else end, _Part.QUOTED)

    def _end_of_fields(self, at: int) -> int:
        """Return the line after a mail's header that begins here, 0 if it is none.

        A header has a subject: `Von: Köln`, `An: Bonn`, `Datum: 3.5.` is somebody's journey.
        """
        if at < self.no_header_before:
            return 0
        seen = 0
        subject = False
        missed = 0
        end = 0
        for line in range(at, len(self.lines)):
            if self.kinds[line] == "field":
                seen += 1
                missed = 0
                subject = subject or _SUBJECT.match(self.heads[line]) is not None
                end = line + 1
            elif self.kinds[line] is None or missed == _CONTINUED_FIELD_LINES or not seen:
                break
            else:
                missed += 1
        if subject and seen >= _FIELDS_AT_LEAST:
            return end
        self.no_header_before = end
        return 0

    def _introduced(self, at: int, *, own_before: bool) -> int:
        end = self._end_of_intro(at)
        if not end:
            return 0
        following = self._next(end)
        quoted = following < len(self.lines) and (
            self.kinds[following] == "quote" or _NAMED_QUOTE.match(self.lines[following])
        )
        words = " ".join(self.heads[at:end])
        if not quoted and "@" not in words and not (_TIME.search(words) and _YEAR.search(words)):
            return 0
        self.intros.add(at)
        if quoted or not own_before:
            return self._mark(at, end, _Part.QUOTED)
        return self._mark(at, len(self.lines), _Part.QUOTED)

    def _end_of_intro(self, at: int) -> int:
        """Return the line after “On … wrote:” that begins here, 0 if it does not."""
        first = self.heads[at]
        if first[:1].isdecimal() and _BARE_INTRO.match(first):
            return at + 1
        end = at
        while not self.introduces[end]:
            end += 1
            if end == min(at + _INTRO_LINES, len(self.lines)) or self.kinds[end] is None:
                return 0
        if self.kinds[at] == "quote" or max(map(len, self.lines[at : end + 1])) > _LOOK:
            return 0
        words = " ".join(map(str.strip, self.heads[at : end + 1]))
        opens = _INTRO_OPENING.match(first) or _WROTE.search(first)
        dated = "@" in words or _TIME.search(words) or _YEAR.search(words)
        return end + 1 if opens and dated and _WROTE.search(words) else 0

    def _appended(self, at: int, kind: str) -> int:
        """Mark a signature or a legal notice that begins here; return the line after it, 0 without.

        It ends where something is quoted. A line of dashes above much text only parts it.
        """
        if kind not in {"legal", "delimiter", "rule"} or not self.tries_left:
            return 0
        self.tries_left -= 1
        if kind == "legal":
            start = self.starts[at]
            if not _LEGAL.search(self.text[start : start + 5 * _LOOK].lower()):
                return 0
            return self._mark(at, self._end_of_block(at, len(self.lines)), _Part.DISCLAIMER)
        end = self._end_of_block(at, _SIGNATURE_LINES if kind == "delimiter" else _FOOTER_LINES)
        return self._mark(at, end, _Part.SIGNATURE) if end else 0

    def _end_of_block(self, at: int, most: int) -> int:
        """Return the next line that quotes or announces a quotation, 0 after `most` lines."""
        for line in range(at + 1, len(self.lines)):
            kind = self.kinds[line]
            if kind is None:
                continue
            if kind in {"quote", "original", "legal"} or self._end_of_intro(line):
                return line
            if kind == "field" and self._end_of_fields(line):
                return line
            most -= 1
            if not most:
                return 0
        return len(self.lines)

    def _next(self, at: int) -> int:
        while at < len(self.lines) and self.kinds[at] is None:
            at += 1
        return at

    def _take_trailing(self) -> None:
        """Some lines after all quotations of an answer that stands before them are a signature."""
        own = [at for at, part in enumerate(self.parts) if part is _Part.OWN]
        quoted = [at for at, part in enumerate(self.parts) if part is _Part.QUOTED]
        if not own or not quoted or not self.intros or own[0] > quoted[0]:
            return
        trailing = [at for at in own if at > quoted[-1]]
        between = len(own) - len(trailing) - bisect_left(own, max(self.intros))
        asks = any("?" in self.lines[at] for at in trailing)
        if between == 0 and 0 < len(trailing) < _TRAILING_LINES and not asks:
            self._mark(trailing[0], trailing[-1] + 1, _Part.SIGNATURE)

    def _take_closing(self) -> None:
        """Greeting and name, after own words and with nothing long behind them."""
        own = [at for at, part in enumerate(self.parts) if part is _Part.OWN]
        for place in range(max(1, len(own) - _CLOSING_LINES), len(own)):
            last = [self.lines[at] for at in own[place:]]
            if self._is_closing(last, apart=self.kinds[own[place] - 1] is None) and not any(
                len(line) > _CLOSING_WIDTH or "?" in line for line in last
            ):
                self._mark(own[place], own[-1] + 1, _Part.CLOSING)
                return

    @staticmethod
    def _is_closing(lines: list[str], *, apart: bool) -> bool:
        greeting = _CLOSING.fullmatch(lines[0].strip().lower())
        if greeting:
            return len(lines) > 1 or greeting["thanks"] is None
        return apart and len(lines) == 1 and _SIGNED.fullmatch(lines[0]) is not None

    def _find_answered(self) -> None:
        own = [at for at, part in enumerate(self.parts) if part is _Part.OWN]
        if not own:
            return
        announced = False
        for at, part in enumerate(self.parts):
            if part is None:
                continue
            if part is not _Part.QUOTED:
                announced = False
            elif self.kinds[at] != "quote":
                announced = True
            elif at < own[-1] and (own[0] < at or not announced):
                self.parts[at] = _Part.ANSWERED
