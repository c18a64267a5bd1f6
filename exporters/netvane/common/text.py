"""Text that strangers send, made fit for labels, logs and web pages: cleaned once, where it comes in."""

import unicodedata

MAX_NAME_BYTES = 255

# Quotes and brackets end a label value, a log field or an HTML attribute early; no host name needs them.
_UNWANTED = frozenset("\"'`\\<>")


def clean_name(name: bytes | str) -> str | None:
    """A host name, vendor class or similar as one line of printable UTF-8 of at most 255 bytes; None if nothing stays.

    Invalid UTF-8 becomes U+FFFD; control and format characters (bidirectional overrides among them), quotes,
    backslashes and angle brackets are dropped; white space becomes single blanks.
    """
    # Whoever sends more than this sends rubbish: what lies beyond is not even looked at.
    text = name[: 4 * MAX_NAME_BYTES]
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    kept = ("" if character in _UNWANTED else _visible(character) for character in text)
    line = " ".join("".join(kept).split())
    clean = line.encode()[:MAX_NAME_BYTES].decode("utf-8", errors="ignore").strip()
    return clean or None


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    # Categories C*: control, format, surrogate, private use, unassigned.
    return "" if unicodedata.category(character)[0] == "C" else character
