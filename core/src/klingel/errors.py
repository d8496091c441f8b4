"""Everything that klingel raises on purpose, ordered by what the caller should do.

    KlingelError
    ├── ConfigurationError      at start-up: exit 2, the sentence names the setting or the line
    │   └── CredentialsRejected 401/403 later on: stop this connector, alert a person; no retry helps
    ├── InvalidMessage          never valid: dead letter, commit, go on
    ├── RetryableError          back off, hold the partition, do not commit
    │   ├── RateLimited         the other side says when
    │   └── SourceUnavailable   a network or Kafka is away
    ├── OwnershipLost           another worker owns the partition now: drop it, write nothing more
    └── InvariantViolation      our own corruption: stop the worker, loudly

A sentence in an error never repeats an author's words, a handle or a secret (I10).
"""

from enum import StrEnum


class ErrorType(StrEnum):
    """Why a message can never succeed; the closed set of `x-dlq-kind` and of the metric label."""

    MALFORMED_JSON = "malformed_json"
    MALFORMED = "malformed"
    DUPLICATE_KEYS = "duplicate_keys"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    INVALID_TEXT = "invalid_text"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    UNKNOWN_NETWORK = "unknown_network"
    UNKNOWN_BRAND = "unknown_brand"
    SCHEMA = "schema"
    ORIGINAL_GONE = "original_gone"
    SINK_REFUSED = "sink_refused"
    TARGET_REFUSED = "target_refused"
    TARGET_UNREACHABLE = "target_unreachable"
    UNHANDLED = "unhandled"


class KlingelError(Exception):
    """Anything klingel raises on purpose."""


class ConfigurationError(KlingelError):
    """A setting, brand file, rule or manifest is wrong; nothing starts. Exit code 2."""


class CredentialsRejected(ConfigurationError):
    """The other side refuses our credential; only a person can help."""


class InvalidMessage(KlingelError):
    """A message that can never succeed.

    Args:
        error_type: member of the closed set.
        sentence: one clear sentence that does not repeat the message's text.
        path: where in the message, such as `author.id`.
    """

    def __init__(self, error_type: ErrorType, sentence: str, *, path: str = "") -> None:
        super().__init__(sentence)
        self.error_type = error_type
        self.path = path


class RetryableError(KlingelError):
    """Something outside is away or busy; `retry_after` seconds is its own wish, if it has one."""

    def __init__(self, sentence: str, *, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class RateLimited(RetryableError):
    """The other side counts our calls and wants fewer."""


class SourceUnavailable(RetryableError):
    """A network, Kafka or a file is away for now."""


class OwnershipLost(KlingelError):
    """This worker no longer owns the partition; whatever it still holds of it is void."""


class InvariantViolation(KlingelError):
    """Our own data contradict themselves; going on would make it worse."""
