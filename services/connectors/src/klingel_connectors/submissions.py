"""Reading a contact form's submission, and how many may come: pure."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qsl

import msgspec

from klingel.contracts.codec import safe_sentence
from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import check_json

FIELDS = frozenset({"name", "email", "subject", "page", "message", "idempotency_key"})
_KEY_LENGTH = 200
_MOST_FIELDS = 50


class Allowance:
    """A token bucket: `rate` a second, saved up to `burst`."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = 0.0

    def take(self, now: float) -> float:
        """Take one at `now` (monotonic seconds); returns 0, or the seconds until there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


def read_fields(body: bytes, content_type: str) -> dict[str, str]:
    """Read a submission, JSON or urlencoded.

    Raises:
        InvalidMessage: unreadable, or a field is no text; one sentence.
    """
    if content_type == "application/json":
        check_json(body, FIELDS)
        try:
            return msgspec.json.decode(body, type=dict[str, str])
        except msgspec.ValidationError as error:
            raise InvalidMessage(ErrorType.WRONG_TYPE, safe_sentence(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidMessage(ErrorType.MALFORMED_JSON, "the body is not JSON") from None
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except UnicodeDecodeError:
        raise InvalidMessage(ErrorType.INVALID_TEXT, "the submission is not UTF-8") from None
    except ValueError:
        raise InvalidMessage(ErrorType.TOO_LARGE, "the submission has too many fields") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields and name in FIELDS:
            raise InvalidMessage(ErrorType.DUPLICATE_KEYS, f"{name} is given twice", path=name)
        fields[name] = value
    return fields


def idempotency_key(header: str, fields: Mapping[str, str], received_at: datetime) -> str:
    """Return the key of a submission: the header's, the field's, else one over what was said.

    The last makes a double click, or a retry on the same day (UTC), one submission.

    Raises:
        InvalidMessage: longer than 200 characters, or with control characters.
    """
    key = (header or fields.get("idempotency_key", "")).strip()
    if key:
        if len(key) > _KEY_LENGTH or not key.isprintable():
            raise InvalidMessage(
                ErrorType.INVALID_FIELD,
                "the idempotency key must be at most 200 printable characters",
                path="idempotency_key",
            )
        return key
    said = [fields.get(name, "") for name in sorted(FIELDS)]
    day = received_at.date().isoformat()
    content = "\x1f".join([day, *said]).encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()
