"""What one person says in several posts: consecutive posts of an author are one utterance.

    [[post.text for post in utterance] for utterance in join_utterances(posts)]

The same set of posts gives the same utterances, in whatever order it arrived: they are ordered by
time and id here. A post that arrives later can join two utterances or part one.
"""

import re
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

QUICK: Final = timedelta(minutes=10)
"""Posts that follow within it belong together."""

PATIENT: Final = timedelta(hours=1)
"""Posts that say so (by number, by an ellipsis) belong together within it."""

MOST_POSTS: Final = 50
"""Longest utterance; what follows begins another."""

_LOOK = 600
_TAIL = 120
_LAST_PART = 50
_PARTS = r"(?P<part>\d{1,2})(?:\s?/\s?|\s(?:von|of|de|di|van)\s)(?P<parts>\d{1,2}|[nNxX])"
_BEGINS = re.compile(
    rf"\s*(?:[@\uff20]\w{{1,64}}:?\s+){{0,20}}(?:\U0001f9f5\s*)?(?:teil\s|part\s)?[(\[]?"
    rf"(?:{_PARTS}|(?P<single>\d{{1,2}})/)[)\]]?(?=[\s.:\u2026)]|$)",
    re.IGNORECASE,
)
_ENDS = re.compile(
    rf"(?<![\w/,-])[(\[]?{_PARTS}[)\].]{{0,2}}\s*"
    r"(?:(?:\^|\*|-\s?)\w{1,20}\s*)?(?:https?://\S+\s*)?$"
)
_GOES_ON = re.compile(
    r"(?:\.\.|\u2026|\(cont\.?\)|cont\.|\u27a1\ufe0f?|\U0001f447|\U0001f9f5)\s*(?:https?://\S+\s*)?$"
)
_WENT_ON = re.compile(r"\s*(?:[@\uff20]\w{1,64}:?\s+){0,20}(?:\.\.|\u2026|\(cont\.?\))")


class Post(NamedTuple):
    """One post of a conversation.

    Args:
        id: unique in it; among posts of one moment the shorter and then the smaller is the earlier.
        author: id of who said it.
        at: aware time at which it was said.
        text: as said.
    """

    id: str
    author: str
    at: datetime
    text: str


class Numbering(NamedTuple):
    """The place of a post in a numbered row.

    Args:
        part: from 1.
        parts: how many there are, None when not said.
    """

    part: int
    parts: int | None


def numbering(text: str) -> Numbering | None:
    """Return what a post says of its place: `1/3`, `(2/2)`, `3/n`, `1 of 2`, `2/`; None if nothing.

    It stands at the beginning (mentions aside) or at the end (an agent's sign and a link aside).
    """
    found = _BEGINS.match(text[:_LOOK]) or _ENDS.search(text[-_TAIL:])
    if found is None:
        return None
    groups = found.groupdict()
    part = int(groups["part"] or groups["single"])
    said = groups["parts"] or ""
    parts = int(said) if said.isdecimal() else None
    if not 1 <= part <= (parts or _LAST_PART) <= _LAST_PART or parts == 1:
        return None
    return Numbering(part, parts)


def join_utterances(
    posts: Iterable[Post], *, direct: bool = True, answering: Collection[str] = ()
) -> list[tuple[Post, ...]]:
    """Join the posts of one conversation to utterances.

    Posts of one author belong together when each follows within QUICK, or within PATIENT and one of
    the two says that there is more; not when somebody has spoken between, and not when their numbers
    belong to different rows.

    Args:
        posts: of one conversation, in any order; of those with one id the latest counts.
        direct: between two; otherwise (below a public post) others speak between without answering.
        answering: authors who answer, as the brand's accounts do; they always part utterances.

    Returns:
        The utterances in the order of their first posts, each in the order in which it reads.
    """
    latest: dict[str, Post] = {}
    for post in posts:
        known = latest.get(post.id)
        if known is None or (known.at, known.text, known.author) < (
            post.at,
            post.text,
            post.author,
        ):
            latest[post.id] = post
    joined: list[_Utterance] = []
    running: dict[str, _Utterance] = {}
    for post in sorted(latest.values(), key=_order):
        mine = running.get(post.author)
        if direct or post.author in answering:
            running = {post.author: mine} if mine else {}
        number = numbering(post.text)
        if mine is None or not mine.goes_on_with(post, number):
            mine = running[post.author] = _Utterance()
            joined.append(mine)
        mine.add(post, number)
    return [utterance.reading_order() for utterance in joined]


def _order(post: Post) -> tuple[datetime, int, str]:
    return post.at, len(post.id), post.id


class _Utterance:
    """One on the way."""

    __slots__ = ("numbers", "parts", "posts")

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.numbers: list[int] = []
        self.parts: int | None = None

    def add(self, post: Post, number: Numbering | None) -> None:
        self.posts.append(post)
        if number is not None:
            self.numbers.append(number.part)
            self.parts = number.parts or self.parts

    def goes_on_with(self, post: Post, number: Numbering | None) -> bool:
        if len(self.posts) >= MOST_POSTS:
            return False
        if number is not None and self._is_of_another_row(number):
            return False
        last = self.posts[-1]
        pause = post.at - last.at
        if pause <= QUICK:
            return True
        if pause > PATIENT:
            return False
        return (
            (number is not None and bool(self.numbers))
            or _GOES_ON.search(last.text[-_TAIL:]) is not None
            or _WENT_ON.match(post.text[:_LOOK]) is not None
        )

    def _is_of_another_row(self, number: Numbering) -> bool:
        other_length = None not in {number.parts, self.parts} and number.parts != self.parts
        return bool(self.numbers) and (other_length or number.part in self.numbers)

    def reading_order(self) -> tuple[Post, ...]:
        """In the order of the numbers, if all have one: some networks' clients send the last first."""
        if len(self.numbers) < len(self.posts):
            return tuple(self.posts)
        places = sorted(range(len(self.posts)), key=self.numbers.__getitem__)
        return tuple(self.posts[place] for place in places)
