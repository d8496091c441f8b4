"""X's rule language, as far as the stand-in answers it: pure.

Words, phrases, `"a b"~N`, AND by a space, OR, `-`, parentheses, `from:`, `to:`, `@`, `#`, `lang:`,
`is:` and `has:`. Source: `x-api/posts/filtered-stream/integrate/{build-a-rule,operators}`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Post = Mapping[str, Any]
Test = Callable[[Post], bool]

_TOKEN: Final = re.compile(r'\s*(\(|\)|-?"[^"]*"(?:~\d+)?|[^\s()"]+)')
_WORD: Final = re.compile(r"\w+|[^\w\s]")
_NEVER_ALONE: Final = ("is:", "has:", "lang:", "sample:", "-")
_TYPES: Final = {"is:retweet": "retweeted", "is:reply": "replied_to", "is:quote": "quoted"}


class InvalidRule(ValueError):
    """X would refuse this rule."""


def compile_rule(value: str) -> Test:
    """Return the test of a rule; raises InvalidRule with one sentence."""
    reader = _Reader(_TOKEN.findall(value.strip()))
    test = reader.either()
    if reader.left():
        raise InvalidRule("there is a parenthesis too much")
    if not reader.standalone:
        raise InvalidRule("the rule needs an operator that may stand alone")
    return test


class _Reader:
    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = list(tokens)
        self._at = 0
        self.standalone = False

    def left(self) -> bool:
        return self._at < len(self._tokens)

    def either(self) -> Test:
        parts = [self._both()]
        while self.left() and self._tokens[self._at] == "OR":
            self._at += 1
            parts.append(self._both())
        return lambda post: any(part(post) for part in parts)

    def _both(self) -> Test:
        parts: list[Test] = []
        while self.left() and self._tokens[self._at] not in {"OR", ")"}:
            parts.append(self._one())
        if not parts:
            raise InvalidRule("an operator stands for nothing")
        return lambda post: all(part(post) for part in parts)

    def _one(self) -> Test:
        word = self._tokens[self._at]
        self._at += 1
        if word == "(":
            inner = self.either()
            if not self.left() or self._tokens[self._at] != ")":
                raise InvalidRule("a parenthesis is not closed")
            self._at += 1
            return inner
        if not word.startswith(_NEVER_ALONE):
            self.standalone = True
        if word.startswith("-"):
            test = _operator(word[1:])
            return lambda post: not test(post)
        return _operator(word)


def _operator(token: str) -> Test:
    name, colon, value = token.partition(":")
    if colon and name in _FIELDS and not token.startswith('"'):
        return _FIELDS[name](token, value.lower())
    if token[0] in "@#" and len(token) > 1:
        wanted = token[1:].lower()
        return lambda post: wanted in _entities(post, "mentions" if token[0] == "@" else "hashtags")
    if "*" in token:
        raise InvalidRule("there are no wildcards")
    words = _words(token.rpartition("~")[0] if token.count('"') and "~" in token else token)
    if not words:
        raise InvalidRule("a phrase holds nothing")
    return lambda post: _holds(_words(post["text"]), words)


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word != '"']


def _holds(words: Sequence[str], wanted: Sequence[str]) -> bool:
    size = len(wanted)
    return any(list(words[at : at + size]) == list(wanted) for at in range(len(words) - size + 1))


def _entities(post: Post, kind: str) -> set[str]:
    found = post.get("entities", {}).get(kind, [])
    return {str(each.get("username") or each.get("tag")).lower() for each in found}


def _type(token: str, _: str) -> Test:
    wanted = _TYPES.get(token)
    if wanted is None:
        raise InvalidRule("this is: is not known")
    return lambda post: any(each["type"] == wanted for each in post.get("referenced_tweets") or ())


def _has(_: str, value: str) -> Test:
    if value not in {"links", "media", "mentions", "hashtags"}:
        raise InvalidRule("this has: is not known")
    if value == "media":
        return lambda post: bool(post.get("attachments", {}).get("media_keys"))
    key = {"links": "urls"}.get(value, value)
    return lambda post: bool(post.get("entities", {}).get(key))


_FIELDS: Final[Mapping[str, Callable[[str, str], Test]]] = {
    "from": lambda _, value: lambda post: post.get("author_id") == value,
    "to": lambda _, value: lambda post: post.get("in_reply_to_user_id") == value,
    "lang": lambda _, value: lambda post: post.get("lang", "und") == value,
    "is": _type,
    "has": _has,
}
