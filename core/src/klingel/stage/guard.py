"""The edge that gives each message its fate, and the brake that stops a bad deploy (I8)."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.errors import (
    InvalidMessage,
    InvariantViolation,
    KlingelError,
    OwnershipLost,
    RetryableError,
)
from klingel.stage.fates import Fate, NotYet, Outcome, dead_lettered
from klingel.stage.ports import Logic, StateView

WINDOW = 500
LIMIT = 50
_NAMED = 4
"""Sources that a remembered brake names; of more it matters only that there are several."""
_SOURCE_CHARACTERS = 160
_OTHERS = "(others)"


class BrakePulled(KlingelError):
    """Our own code raises on too many messages: the partition pauses, a person must look."""


class Brake:
    """Counts over the last 500 messages of a partition how many our own code raised on.

    It is pulled at 50, when they come from at least two sources, or from the only one that rang:
    one odd source must not stop the others.
    """

    def __init__(self) -> None:
        self._window: deque[tuple[bool, str]] = deque(maxlen=WINDOW)
        self._raised = 0
        """How many of the window: it is asked for with every batch."""
        self.pulled = False

    def remembered(self) -> dict[str, Any]:
        """Return what the next owner of the partition must know; empty while nothing raised.

        It travels with the committed offset: a worker that is restarted again and again must not
        bury 49 messages each time.
        """
        if not self._raised:
            return {}
        raising = Counter(where[:_SOURCE_CHARACTERS] for failed, where in self._window if failed)
        named = dict(raising.most_common(_NAMED))
        rest = raising.total() - sum(named.values())
        calm_since = next(at for at, (failed, _) in enumerate(reversed(self._window)) if failed)
        return {
            "raised": {**named, _OTHERS: rest} if rest else named,
            "calm": calm_since,
            "alone": len({where for _, where in self._window}) == 1,
        }

    @classmethod
    def resume(cls, remembered: Mapping[str, Any]) -> "Brake":
        """Return the brake as it was remembered; everything that raised counts as of the last."""
        brake = cls()
        raised = remembered.get("raised") or {}
        for source, count in raised.items():
            brake._window.extend([(True, source)] * count)
        alone = next(iter(raised), _OTHERS) if remembered.get("alone") else _OTHERS
        brake._window.extend([(False, alone)] * remembered.get("calm", 0))
        if len(raised) == 1 and not remembered.get("alone") and not remembered.get("calm"):
            brake._window.appendleft((False, _OTHERS))
        brake._raised = sum(failed for failed, _ in brake._window)
        return brake

    def note(self, source: str, *, raised: bool) -> None:
        """Note one message; raises BrakePulled when it is one too many."""
        window = self._window
        if self._raised and len(window) == WINDOW and window[0][0]:
            self._raised -= 1
        window.append((raised, source))
        if not raised:
            return
        self._raised += 1
        if self._raised < LIMIT:
            return
        raising = [where for failed, where in window if failed]
        rang = {where for _, where in window}
        if len(set(raising)) > 1 or len(rang) == 1:
            self.pulled = True
            raise BrakePulled(
                f"our own code raised on {len(raising)} of the last {len(window)} messages"
            )


def guard(
    step: Callable[[Message], Outcome],
    message: Message,
    brake: Brake,
    source_of: Callable[[Message], str],
) -> tuple[Outcome, Exception | None]:
    """Run a pure step and give the message its fate.

    Returns:
        The outcome and, for a dead letter, the exception behind it.

    Raises:
        RetryableError, OwnershipLost, InvariantViolation: the worker's matter, not the message's.
        NotYet: the message waits; it has no fate yet.
        BrakePulled: our own code raised too often.
    """
    try:
        outcome = step(message)
    except (RetryableError, OwnershipLost, InvariantViolation, NotYet):
        raise
    except InvalidMessage as error:
        brake.note(source_of(message), raised=False)
        return dead_lettered(error), error
    except Exception as error:  # noqa: BLE001 - what our own code raises becomes a dead letter
        brake.note(source_of(message), raised=True)
        reason = f"unhandled:{type(error).__name__}"
        return Outcome(Fate.DEAD_LETTERED, reason=reason), error
    brake.note(source_of(message), raised=False)
    return outcome, None


def needed_by(logic: Logic, message: Message, state: StateView) -> Sequence[tuple[Topic, int, int]]:
    """Ask which earlier messages a step needs; a message that cannot be asked gets none.

    Its step then finds the same fault, and there it becomes a dead letter.
    """
    try:
        return logic.needs(message, state)
    except (RetryableError, OwnershipLost, InvariantViolation):
        raise
    except Exception:  # noqa: BLE001 - the step decides what becomes of it
        return ()
