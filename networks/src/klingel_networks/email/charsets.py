"""Bytes of a mail as text: declared charsets that are wrong, unknown or missing; pure.

What a mail says of its charset is a hint. A text that is valid UTF-8 with characters beyond ASCII is
UTF-8 whenever the declared charset is one that people write without looking (ASCII, Latin-1); for the
same reason the narrow sets are read as the wider ones that mail programs mean (WHATWG's encodings).
"""

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

SAMPLE_BYTES = 64 << 10
"""So much of a text is looked at to guess its charset."""

_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "johab": "johab",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
    "iso2022_jp": "iso2022_jp_ext",
}
_OWN_NAMES = {
    "unicode-1-1-utf-7": "utf-7",
    "unicode-1-1-utf-8": "utf-8",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "x-windows-949": "cp949",
    "windows-31j": "cp932",
    "x-sjis": "cp932",
    "cp-850": "cp850",
}
_CARELESS = frozenset({"cp1252", "cp1254", ""})
"""Read from what people write without looking; valid UTF-8 beats it."""
# Codecs that are no charset of a text, or whose time grows with the square of the length.
_NOT_CHARSETS = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
)
_ASCII = bytes(range(128))
_LABEL = re.compile(r"[a-z0-9][a-z0-9._:+-]{0,39}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Line feed and tab stay; NUL and its like are no characters of a text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def codec_of(label: str | None) -> str:
    """Return the codec that a charset label means, empty where it means none that is known."""
    name = (label or "").strip().strip("\"'").lower()
    if _LABEL.fullmatch(name) is None:
        return ""
    name = _OWN_NAMES.get(name, name)
    try:
        found = codecs.lookup(name).name
        b"a".decode(found, "replace")  # codecs that make no text refuse
    except (LookupError, ValueError):
        # The library knows the web's names; what it does not know it calls UTF-8.
        web = map_encoding_to_html5(name)
        return "" if web == "utf-8" else codec_of(web) if web != name else ""
    if found in _NOT_CHARSETS:
        return ""
    return _WIDER.get(found, found)


def decoded(data: bytes, label: str | None) -> str:
    """Return a text, whatever its bytes and its label, as `cleaned` leaves it.

    Args:
        data: the bytes.
        label: declared charset; None where none is declared.
    """
    return cleaned(_read(data, codec_of(label)))


def _read(data: bytes, codec: str) -> str:
    if codec in _CARELESS or codec == "utf-8":
        if data.isascii():
            return data.decode("ascii")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            # One broken character in long UTF-8 is still UTF-8.
            if codec == "utf-8" and error.start > SAMPLE_BYTES:
                return data.decode("utf-8", "replace")
    if codec and codec != "utf-8" and not (codec in _CARELESS and _is_mostly_foreign(data)):
        return data.decode(codec, "replace")
    return data.decode(_guess(data), "replace")


def _is_mostly_foreign(data: bytes) -> bool:
    """Whether so much lies beyond ASCII that it is no Latin script, whatever is declared."""
    sample = data[:SAMPLE_BYTES]
    return 10 * len(sample.translate(None, _ASCII)) > 3 * len(sample)


def _guess(data: bytes) -> str:
    guessed = codec_of(detect_encoding(data[:SAMPLE_BYTES])) or "utf-8"
    if guessed == "utf-8" and not _holds_utf8(data[:SAMPLE_BYTES]):
        return "cp1252"
    return guessed


def _holds_utf8(data: bytes) -> bool:
    """Whether more of what is not ASCII reads as UTF-8 than does not."""
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return sum(not each.isascii() for each in text) > 2 * broken


def cleaned(text: str) -> str:
    """Return a text without control characters and lone surrogates, its lines ended by line feeds."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROL.sub("", text.removeprefix("\ufeff"))
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
