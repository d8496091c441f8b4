"""Message shapes, generated from `schemas/events/`; never edited."""

from klingel.model.alert import Alert
from klingel.model.brand_config import BrandConfig
from klingel.model.brand_signals import BrandSignals
from klingel.model.case_command import CaseCommand
from klingel.model.case_event import CaseEvent
from klingel.model.case import Case
from klingel.model.chat_reply import ChatReply
from klingel.model.connector_cursor import ConnectorCursor
from klingel.model.connector_lease import ConnectorLease
from klingel.model.connector_status import ConnectorStatus
from klingel.model.conversation_link import ConversationLink
from klingel.model.dead_letter import DeadLetter
from klingel.model.directory_entry import DirectoryEntry
from klingel.model.escalation import Escalation
from klingel.model.identity_link import IdentityLink
from klingel.model.incident import Incident
from klingel.model.ledger_checkpoint import LedgerCheckpoint
from klingel.model.ledger_line import LedgerLine
from klingel.model.mark import MarkBatch
from klingel.model.media_job import MediaJob
from klingel.model.notification import Notification
from klingel.model.raw_event import RawEvent
from klingel.model.routed_event import RoutedEvent
from klingel.model.social_event import SocialEvent
from klingel.model.suppression import Suppression
from klingel.model.tracked_conversation import TrackedConversation
from klingel.model.watch_state import WatchState

__all__ = [
    "Alert",
    "BrandConfig",
    "BrandSignals",
    "Case",
    "CaseCommand",
    "CaseEvent",
    "ChatReply",
    "ConnectorCursor",
    "ConnectorLease",
    "ConnectorStatus",
    "ConversationLink",
    "DeadLetter",
    "DirectoryEntry",
    "Escalation",
    "IdentityLink",
    "Incident",
    "LedgerCheckpoint",
    "LedgerLine",
    "MarkBatch",
    "MediaJob",
    "Notification",
    "RawEvent",
    "RoutedEvent",
    "SocialEvent",
    "Suppression",
    "TrackedConversation",
    "WatchState",
]
