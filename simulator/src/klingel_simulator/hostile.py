"""Text that tries to break what reads it: pure functions of (text, random source).

Every transformation keeps the brand's terms and account as words of their own, so that whether a
text is heard does not change; what it adds stands behind the text. None produces NUL or a lone
surrogate.
"""

from collections.abc import Callable
from random import Random
from typing import Final

_FAMILY = "👨\u200d👩\u200d👧\u200d👦"
_FLAG = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
_SKIN = "👩🏽\u200d🚒"
_COMBINING: Final = tuple(chr(code) for code in range(0x0300, 0x0370))
_HEART = "❤️\u200d🔥"
_RTL = "\u202e\u05e9\u05dc\u05d5\u05dd\u202c \u0645\u0631\u062d\u0628\u0627 \u200f\u2066abc\u2069"


def emoji_sequences(text: str, rng: Random) -> str:
    """Add emoji of many code points each (joiners, skin tones, tag sequences)."""
    return f"{text} {''.join(rng.choices((_FAMILY, _FLAG, _SKIN, _HEART), k=rng.randint(3, 40)))}"


def right_to_left(text: str, _rng: Random) -> str:
    """Add direction overrides, isolates and right-to-left script."""
    return f"{text} {_RTL}"


def zalgo(text: str, rng: Random) -> str:
    """Add words under piles of combining marks."""
    pile = "".join(
        letter + "".join(rng.choices(_COMBINING, k=rng.randint(5, 20))) for letter in "er kommt"
    )
    return f"{text} {pile}"


def markup(text: str, rng: Random) -> str:
    """Add HTML, script and template injections."""
    injections = (
        "<script>alert('x')</script>",
        "<img src=x onerror=alert(1)>",
        "</textarea><b>&amp;&#x27;&lt;",
        "{{7*7}} ${jndi:ldap://localhost/a} %s%n",
        "'; DROP TABLE posts; --",
    )
    return f"{text} {rng.choice(injections)}"


def very_long(text: str, rng: Random) -> str:
    """Repeat the text until it fills what the network allows."""
    return " ".join([text] * rng.randint(40, 200))


def control_characters(text: str, rng: Random) -> str:
    """Add control characters other than NUL, and exotic line ends."""
    codes = [*range(1, 32), 0x7F, 0x85, 0x2028, 0x2029, 0xFEFF, 0x00AD]
    return f"{text} {''.join(chr(code) for code in rng.sample(codes, k=12))} ende"


def mojibake(text: str, _rng: Random) -> str:
    """Misread the UTF-8 bytes as Latin-1, as broken bridges do."""
    return text.encode("utf-8").decode("latin-1")


def json_in_text(text: str, rng: Random) -> str:
    """Add what looks like one of our own records."""
    return text + rng.choice(
        (
            ' {"id":"1","network":"x","text":"\\u0000","author":{"id":null}}',
            ' ","text":"injected","x":"',
            ' \\ud800 \\" \\\\ ]}]}',
        )
    )


KINDS: Final[dict[str, Callable[[str, Random], str]]] = {
    "emoji": emoji_sequences,
    "right_to_left": right_to_left,
    "zalgo": zalgo,
    "markup": markup,
    "very_long": very_long,
    "control": control_characters,
    "mojibake": mojibake,
    "json": json_in_text,
}


def clip(text: str, max_bytes: int) -> str:
    """Cut a text to ``max_bytes`` of UTF-8 at a code point boundary."""
    raw = text.encode("utf-8")
    return text if len(raw) <= max_bytes else raw[:max_bytes].decode("utf-8", "ignore")
