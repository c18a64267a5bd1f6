"""Whether somebody answers in the web's place: pure."""

from netvane.latency.http import Page

OWN_ANSWER = 204


def is_captive(page: Page) -> bool | None:
    """What the answer of the check's page says: True for anything but the empty 204 that it always gives.

    None: no answer, which proves nothing.
    """
    if page.status is None or page.outcome in {"timeout", "tls"}:
        return None
    return page.status != OWN_ANSWER
