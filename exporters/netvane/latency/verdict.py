"""Whether the default router answers: the first stone of the verdict, pure.

Until the other probes exist (DESIGN: the verdict) two verdicts are known: `router`, and `ok` for "the router answers".
"""

from typing import Literal, NamedTuple

Verdict = Literal["ok", "router"]

MISSED_IN_A_ROW = 3
SILENT_SECONDS = 3.0


class RouterEvidence(NamedTuple):
    """One router: probes sent since its last answer, for how long that is (None: it owes none), and whether it has
    ever answered.
    """

    missed: int
    silent_seconds: float | None
    ever_answered: bool


def judge(routers: list[RouterEvidence]) -> Verdict | None:
    """`router` when no router that has ever answered still does, `ok` when one does; None: nothing to go by.

    A router that has never answered is mute, not dead.
    """
    known = [router for router in routers if router.ever_answered]
    if not known:
        return None
    return "router" if all(is_silent(router) for router in known) else "ok"


def is_silent(router: RouterEvidence) -> bool:
    """Several probes missed in a row, and for some seconds: one lost packet is not an outage."""
    enough = router.missed >= MISSED_IN_A_ROW
    return enough and router.silent_seconds is not None and router.silent_seconds >= SILENT_SECONDS
