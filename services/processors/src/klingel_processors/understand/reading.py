"""How understand and thread read raw events: mapping, original, language, what a model makes of them."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.domain.draft import SocialDraft
from klingel.domain.encounter import Said
from klingel.domain.social_events import ReplyPolicy
from klingel.language.identify import Detector, identify_language
from klingel.language.sense import Reader, Sense, Text
from klingel.model import RawEvent
from klingel.model.raw_event import BlobRef
from klingel.model.social_event import Lang
from klingel_networks.contract import Network

AHEAD_BYTES = 16_384
"""Larger events are not read ahead, nor are stored originals: a batch would fill the memory."""


class Ahead(NamedTuple):
    """What was read of an event ahead of its step; `senses` by model."""

    said: Said
    lang: Lang | None
    senses: dict[str, Sense]


class EventReader:
    """Reads raw events; what a batch allows to be read at once is read ahead.

    Args:
        networks: finds a network's pure half by name; raises InvalidMessage for an unknown one.
        detect: language detector.
        readers: finds a brand's model by its name; None where it is missing and may be.
        originals: reads an original from the blob store; raises InvalidMessage (original_gone) or
            RetryableError.
    """

    def __init__(
        self,
        *,
        networks: Callable[[str], Network],
        detect: Detector,
        readers: Callable[[str], Reader | None],
        originals: Callable[[BlobRef], bytes],
    ) -> None:
        self._networks = networks
        self._detect = detect
        self._readers = readers
        self._originals = originals
        self._ahead: dict[int, Ahead] = {}

    def said(self, message: Message) -> Said:
        """Read an event; raises InvalidMessage and, where its original is out of reach, RetryableError."""
        raw = codec.decode(RawEvent, message.value)
        if raw.native is None and raw.native_ref is not None:
            raw = msgspec.structs.replace(raw, native=msgspec.Raw(self._originals(raw.native_ref)))
        return self._said_by(raw)

    def has_media_by_id(self, network: str) -> bool:
        """Whether a network is asked for the bytes of a medium by its id alone."""
        return self._networks(network).media_by_id

    def _said_by(self, raw: RawEvent) -> Said:
        return Said.of(raw, self._networks(raw.network).to_social_event(raw))

    def read_ahead(self, messages: Sequence[Message], models: Collection[str]) -> None:
        """Read the events of a batch, then their languages, then what each model makes of them.

        The detector's tables are as large as the processor's cache: detecting between all the other
        work of each event takes twice as long. Models read many texts at once at half the cost.
        """
        self._ahead = {}
        read: dict[int, Said] = {}
        # Whatever raises here raises in the step too, and there the message gets its fate.
        for message in messages:
            if len(message.value or b"") <= AHEAD_BYTES:
                with suppress(Exception):
                    raw = codec.decode(RawEvent, message.value)
                    if raw.native is not None:
                        read[message.offset] = self._said_by(raw)
        for offset, said in read.items():
            with suppress(Exception):
                self._ahead[offset] = Ahead(said, self.language(said.draft), {})
        for model in models:
            with suppress(Exception):
                self._sense_ahead(model)

    def _sense_ahead(self, model: str) -> None:
        reader = self._readers(model)
        if reader is None:
            return
        read = [each for each in self._ahead.values() if each.said.draft.text]
        texts = [_text(each.said.draft, each.lang) for each in read]
        for each, sense in zip(read, reader.read(texts), strict=True):
            each.senses[model] = sense

    def taken(self, message: Message) -> Ahead | None:
        """Return what was read ahead of a message, once."""
        return self._ahead.pop(message.offset, None)

    def language(self, draft: SocialDraft) -> Lang | None:
        """Return the language of what is said; None where nothing is."""
        if draft.text is None:
            return None
        return identify_language(draft.text, draft.langs, self._detect)

    def sense(
        self, draft: SocialDraft, lang: Lang | None, brand: CompiledBrand, senses: dict[str, Sense]
    ) -> Sense | None:
        """Return what a brand's model makes of the words; None without model or words.

        Args:
            draft: what is said.
            lang: its language.
            brand: that hears it.
            senses: what was found of it before, by model; grows by what is found now.
        """
        if brand.model is None or not draft.text:
            return None
        sense = senses.get(brand.model)
        if sense is None:
            reader = self._readers(brand.model)
            if reader is None:
                return None
            (sense,) = reader.read([_text(draft, lang)])
            senses[brand.model] = sense
        return sense

    def reply_policy(self, network: str) -> ReplyPolicy | None:
        """Return a network's rule on a program's reply; None where there is none."""
        return self._networks(network).reply_policy


def _text(draft: SocialDraft, lang: Lang | None) -> Text:
    return Text(draft.text or "", draft.kind, lang.code if lang is not None else None)
