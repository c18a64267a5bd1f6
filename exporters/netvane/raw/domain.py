"""Domain names in DNS labels (RFC 1035, 3.1) as DHCP carries them: uncompressed, the final zero not always there."""

from netvane.common.text import clean_name
from netvane.raw.packet import MalformedError


def decode_labels(value: bytes) -> str | None:
    """The first name in `value` as clean text without a final dot; None if it is the root. Raises MalformedError."""
    labels: list[bytes] = []
    at = 0
    while at < len(value) and value[at]:
        end = at + 1 + value[at]
        if value[at] > 63 or end > len(value):
            raise MalformedError("domain name label beyond its field")
        labels.append(value[at + 1 : end])
        at = end
    return clean_name(b".".join(labels))
