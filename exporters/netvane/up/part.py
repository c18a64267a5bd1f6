"""What `netvane up` runs, the states that it can be in, and how long to wait before the next attempt."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from netvane.up.jobs import reachable


class Address(NamedTuple):
    """Where a part listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """``host:port``, ``[v6]:port``, or ``:port`` for all addresses."""
        host, _, port = text.rpartition(":")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def near(self) -> "Address":
        """The same for whoever is on this machine: loopback instead of all addresses."""
        return Address.parse(reachable(str(self)))


@dataclass(frozen=True, slots=True)
class Part:
    """One program with its directory and its privileges. Two equal records are the same running program."""

    name: str
    command: tuple[str, ...] = ()
    off: str | None = None  # why it cannot run at all; the rest means nothing then
    directory: Path = Path("/")  # its own, with what must survive; HOME and working directory
    capabilities: tuple[str, ...] = ()  # in setpriv(1)'s words: `net_raw`
    listen: Address | None = None
    # How it tells that it works: a path that answers 200 over HTTP, or sd_notify(3) where there is none.
    ready_path: str | None = None
    reloads: bool = False  # takes SIGHUP as "read the configuration again"; others would die of it
    shows: str = ""  # what to print beside `running`
    is_page: bool = False  # what it shows is the address of a page for people
    environment: dict[str, str] = field(default_factory=dict)


Word = Literal["starting", "running", "degraded", "restarting", "off", "stopped"]


class State(NamedTuple):
    """A part's state; `why` is empty where there is nothing to explain."""

    word: Word
    why: str = ""


STARTING = State("starting")
RUNNING = State("running")
STOPPED = State("stopped")


class Backoff:
    """1, 2, 4, … 60 seconds between attempts; from the beginning again after a run of a minute."""

    FIRST_SECONDS = 1.0
    LONGEST_SECONDS = 60.0
    WELL_SECONDS = 60.0

    def __init__(self) -> None:
        self._next = self.FIRST_SECONDS

    def after(self, ran_seconds: float) -> float:
        """How long to wait after a run of `ran_seconds` that ended by itself."""
        if ran_seconds >= self.WELL_SECONDS:
            self._next = self.FIRST_SECONDS
        seconds, self._next = self._next, min(self._next * 2, self.LONGEST_SECONDS)
        return seconds
