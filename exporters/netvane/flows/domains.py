"""The registrable domain of a name, by the Public Suffix List in the publicsuffixlist package; see docs/data.md."""

import functools

from publicsuffixlist import PublicSuffixList


@functools.cache
def _suffixes() -> PublicSuffixList:
    # What is below a suffix of the list's private part (`a.github.io`) belongs to different people, like what is below
    # a registry's.
    return PublicSuffixList(accept_unknown=False, only_icann=False)


def load() -> None:
    """Read the list now: it takes longer than a capture should wait at its first name."""
    _suffixes()


@functools.lru_cache(maxsize=8192)
def registrable_domain(name: str) -> str | None:
    """``example.co.uk`` for ``www.example.co.uk``; None for a public suffix itself, a bare label or an address.

    `name` is as `dns.decode` gives it: lower case, without the final dot. Below a suffix that is not listed, such as
    ``lan``, it is the last two labels.
    """
    if not name or name.replace(".", "").isdigit() or ":" in name:
        return None
    domain = _suffixes().privatesuffix(name)
    if domain is not None:
        return str(domain)
    labels = name.rsplit(".", 2)[-2:]
    return ".".join(labels) if len(labels) == 2 and all(labels) and not is_listed(name) else None


@functools.lru_cache(maxsize=8192)
def is_listed(name: str) -> bool:
    """Whether `name` ends in a suffix of the list: whether it can exist in the public DNS."""
    return _suffixes().publicsuffix(name) is not None


def beneath(name: str, domain: str) -> str:
    """What `name` has in front of its registrable `domain`, without the dot between: "" if nothing."""
    return name[: -len(domain) - 1] if name.endswith("." + domain) else ""
