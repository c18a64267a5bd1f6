"""What a part may do: its user, its capabilities, and ping sockets for a user without any.

Parts start through setpriv(1) of util-linux, which every Debian has. It changes the user, the groups, the capability
sets and the parent-death signal in the child itself, after fork and in the one order that the kernel accepts; Python
code run there (`preexec_fn`) would be neither safe with threads nor shorter.
Sources: capabilities(7), prctl(2), icmp(7).
"""

import contextlib
import os
import pwd
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

USER = "netvane"

PING_GROUP_RANGE = Path("/proc/sys/net/ipv4/ping_group_range")
ALL_GROUPS = (0, 2147483647)


class Identity(NamedTuple):
    """The unprivileged user that parts run as when `up` is root."""

    name: str
    uid: int
    gid: int


def identity() -> Identity | None:
    """The user for the parts; None when `up` is not root itself and they run as whoever started it.

    Raises LookupError: root, but no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam(USER)
    except KeyError as error:
        raise LookupError(
            f"there is no user {USER} to run the parts as: run `make setup`, or: "
            f"useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {USER}"
        ) from error
    return Identity(user.pw_name, user.pw_uid, user.pw_gid)


def command_as(who: Identity | None, capabilities: Sequence[str], command: Sequence[str]) -> list[str]:
    """`command`, started as `who` with `capabilities` and no way to more.

    It gets SIGTERM when `up` dies without a word, so that nothing is left behind even by SIGKILL.
    """
    wrapper = ["setpriv", "--no-new-privs", "--pdeathsig=TERM"]
    if who is not None:
        kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
        wrapper += [f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups"]
        wrapper += [f"--bounding-set={kept}", f"--inh-caps={kept}", f"--ambient-caps={kept}"]
    return [*wrapper, "--", *command]


def can(who: Identity | None, *test: str | Path) -> bool:
    """Whether test(1) says yes when `who` asks: ``can(who, "-w", path)``. The kernel knows best, so it is asked."""
    command = command_as(who, (), ["test", *map(str, test)])
    return subprocess.run(command, check=False).returncode == 0


def may_ping(allowed: tuple[int, int], groups: set[int]) -> bool:
    """Whether a process in `groups` may open ping sockets where the kernel allows those of `allowed`, ends included."""
    return any(allowed[0] <= group <= allowed[1] for group in groups)


@contextlib.contextmanager
def ping_sockets(who: Identity | None) -> Iterator[str | None]:
    """Let the parts open ping sockets in this network namespace for as long as the context lasts.

    Yields a line about what was changed, or about what only root can change; None where all was well before.
    """
    groups = {who.gid} if who else {os.getegid(), *os.getgroups()}
    before = _ping_range()
    if before is None or may_ping(before, groups):
        yield None
        return
    setting = "net.ipv4.ping_group_range={} {}".format(*ALL_GROUPS)
    if who is None:
        yield f"the kernel forbids ping here; allow it with: sudo sysctl -w {shlex.quote(setting)}"
        return
    try:
        PING_GROUP_RANGE.write_text("{} {}".format(*ALL_GROUPS), encoding="ascii")
    except OSError as error:
        yield f"ping stays forbidden: {PING_GROUP_RANGE} cannot be written: {error.strerror}"
        return
    try:
        yield f"the kernel forbade ping here; {setting} until the end (it was {before[0]} {before[1]})"
    finally:
        with contextlib.suppress(OSError):  # a namespace on its way out
            PING_GROUP_RANGE.write_text("{} {}".format(*before), encoding="ascii")


def _ping_range() -> tuple[int, int] | None:
    try:
        first, last = PING_GROUP_RANGE.read_text(encoding="ascii").split()
    except OSError:  # a kernel without IPv4
        return None
    return int(first), int(last)
