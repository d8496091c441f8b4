"""What bytes are, by their content alone: pure. What a server says of a type is not believed.

Sources: WHATWG MIME Sniffing, sections 6 and 7; ISO 14496-12 (`ftyp` brands); RFC 9559 (Matroska).
"""

HEAD_BYTES = 512
UNKNOWN = "application/octet-stream"

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"#!AMR", "audio/amr"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"\x7fELF", "application/x-executable"),
    (b"MZ", "application/x-executable"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/avi"}
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
_AAC = 0xF6
_MPEG = 0xE6
_MARKUP = (
    b"<!doctype html",
    b"<html",
    b"<head",
    b"<body",
    b"<script",
    b"<svg",
    b"<?xml",
    b"<iframe",
)


def content_type(head: bytes) -> str:
    """Return the type of what begins with `head` (HEAD_BYTES are enough); never raises."""
    for signature, found in _SIGNATURES:
        if head.startswith(signature):
            return found
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if len(head) > 1 and head[0] == 0xFF:
        if head[1] & _AAC == 0xF0:
            return "audio/aac"
        if head[1] & _MPEG in {0xE2, 0xE4, 0xE6}:
            return "audio/mpeg"
    return _textual(head)


def _textual(head: bytes) -> str:
    start = head[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n\x0c").lower()
    if any(start.startswith(each) for each in _MARKUP):
        return "text/html"
    if not head or any(byte < 0x09 or 0x0E <= byte < 0x20 for byte in head[:HEAD_BYTES]):
        return UNKNOWN
    try:
        head[:HEAD_BYTES].decode()
    except UnicodeDecodeError as error:
        # A cut may have split the last character.
        if error.start < min(len(head), HEAD_BYTES) - 3:
            return UNKNOWN
    return "text/plain"


def fits(kind: str, found: str) -> bool:
    """Whether content of a type may be what the network called it.

    A page in the place of an image is a log-in or an error page: not the medium.
    """
    family = found.partition("/")[0]
    if found in {"text/html", "application/x-executable"}:
        return kind == "file"
    if kind in {"image", "sticker"}:
        return family in {"image", "video"}
    if kind in {"video", "audio"}:
        return family in {"video", "audio", "image"} or found == UNKNOWN
    return True
