"""Dead letters as records: what they say, what they hold, and what would send them again."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from klingel.contracts.envelope import SOURCE_HEADER, Headers, Message, Output
from klingel.contracts.topics import Topic, topic_specs
from klingel.errors import ConfigurationError, ErrorType, InvalidMessage
from klingel.model.raw_event import BlobRef
from klingel.stage.dead_letters import ORIGINAL_SOURCE_HEADER, PREFIX

REPLAYED = "x-replayed-from"
_OWN = ("x-dlq-", PREFIX)
_KEPT = "x-dlq-attempt"

Blobs = Callable[[BlobRef], bytes]


@dataclass(frozen=True, slots=True)
class KeptDeadLetter:
    """One dead letter.

    Attributes:
        message: its record in `dead-letters`.
    """

    message: Message

    @property
    def id(self) -> str:
        """`<partition>/<offset>` in `dead-letters`."""
        return f"{self.message.partition}/{self.message.offset}"

    def word(self, name: str) -> str:
        """Return a header of the letter's own as text, empty where it has none."""
        value = self.message.header(name)
        return "" if value is None else value.decode("utf-8", "replace")

    @property
    def kind(self) -> str:
        """Why, of the closed set."""
        return self.word("x-dlq-kind")

    @property
    def origin(self) -> str:
        """`topic/partition/offset` of the message, or `outside`."""
        topic = self.word(PREFIX + "topic")
        if not topic:
            return "outside"
        return f"{topic}/{self.word(PREFIX + 'partition')}/{self.word(PREFIX + 'offset')}"

    @property
    def original_headers(self) -> Headers:
        """The message's own headers."""
        kept = [
            header
            for header in self.message.headers
            if not header[0].startswith(_OWN) and header[0] != SOURCE_HEADER
        ]
        source = self.message.header(ORIGINAL_SOURCE_HEADER)
        if source is not None:
            kept.append((SOURCE_HEADER, source))
        return tuple(kept)

    @property
    def size(self) -> int:
        """Bytes of the whole original."""
        cut = self.word("x-dlq-size")
        return int(cut) if cut.isdigit() else len(self.message.value or b"")

    @property
    def reference(self) -> BlobRef | None:
        """Where the whole original lies, when the letter holds only its beginning."""
        ref, digest = self.word("x-dlq-ref"), self.word("x-dlq-sha256")
        if not ref or not digest:
            return None
        return BlobRef(sha256=digest, size=self.size, ref=ref)

    @property
    def cut(self) -> bool:
        """Whether the letter holds only the beginning of the original."""
        return bool(self.word("x-dlq-size"))

    def original(self, blobs: Blobs) -> bytes | None:
        """Return the original value, whole.

        Raises:
            InvalidMessage: it was cut and its whole is kept nowhere, or no longer.
            SourceUnavailable: the blob store cannot be read now.
        """
        if not self.cut:
            return self.message.value
        reference = self.reference
        if reference is None:
            raise InvalidMessage(
                ErrorType.ORIGINAL_GONE,
                f"the letter holds {len(self.message.value or b''):,} of {self.size:,} bytes "
                "and names no place where the rest is kept",
            )
        return blobs(reference)

    def again(self, blobs: Blobs) -> Output:
        """Return the message as it was, to be sent to where it was.

        Its partition is the original one: what belongs together lies together. It keeps the number
        of attempts, so that the next failure counts on.

        Raises:
            InvalidMessage: it never was on a topic, the topic holds states that only their owner
                writes, or its original is gone.
        """
        topic = self.word(PREFIX + "topic")
        if not topic:
            raise InvalidMessage(
                ErrorType.ORIGINAL_GONE,
                "it came from outside and never was on a topic; look at it with `klingel map`, "
                "and let its connector send it again",
            )
        if topic not in set(Topic):
            raise InvalidMessage(ErrorType.INVALID_FIELD, "it names a topic that klingel has not")
        if "cli" not in topic_specs()[Topic(topic)].producers:
            raise InvalidMessage(
                ErrorType.INVALID_FIELD,
                f"{topic} keeps the newest of each key, which may be newer than this; once the cause "
                "is mended, `klingel reindex` reads what the topic holds",
            )
        partition = self.word(PREFIX + "partition")
        headers = tuple(header for header in self.original_headers if header[0] != REPLAYED)
        return Output(
            topic=Topic(topic),
            key=self.message.key or b"",
            value=self.original(blobs),
            headers=(
                *headers,
                (_KEPT, (self.word(_KEPT) or "1").encode()),
                (REPLAYED, f"{Topic.DEAD_LETTERS}/{self.id}".encode()),
            ),
            partition=int(partition) if partition.isdigit() else None,
        )


def parse_ids(ids: Iterable[str]) -> list[tuple[int, int]]:
    """Read `partition/offset`; raises ConfigurationError, which says what one looks like."""
    found = []
    for each in ids:
        partition, slash, offset = each.partition("/")
        if not (slash and partition.isascii() and offset.isascii()):
            raise ConfigurationError(_NO_ID)
        if not (partition.isdigit() and offset.isdigit()):
            raise ConfigurationError(_NO_ID)
        found.append((int(partition), int(offset)))
    return found


_NO_ID = (
    "the id of a dead letter is <partition>/<offset>, such as 2/17; "
    "`klingel dead-letters list` shows them"
)


def escaped(value: bytes) -> str:
    """Return bytes as text that a terminal shows and never obeys.

    Line feeds stay; whatever else is not printable or not UTF-8 is written as its hexadecimal code.
    """
    text = value.decode("utf-8", "backslashreplace")
    return "".join(c if c == "\n" or c.isprintable() else _code(c) for c in text)


def _code(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
