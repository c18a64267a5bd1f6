"""One run of `netvane up`, from its configuration to the last part's end."""

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from netvane.common import network, settings
from netvane.common.config import ConfigError, Document
from netvane.common.network import NetworkView
from netvane.flows import interfaces
from netvane.flows.settings import FlowsSettings
from netvane.up import check, places, ports, privileges, rendered_files, seeing
from netvane.up.console import NAME_WIDTH, Console
from netvane.up.jobs import all_jobs
from netvane.up.part import Part, State
from netvane.up.parts import Plan, state_directories
from netvane.up.places import Places, UpError
from netvane.up.privileges import Identity
from netvane.up.render import RenderOptions, render
from netvane.up.settings import Up
from netvane.up.supervisor import Supervisor, Surroundings

# All that parts need of the environment; whoever types `sudo` has more in theirs, tokens among it.
ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")

Wish = Literal["stop", "reload"]


class Session:
    def __init__(self, options: argparse.Namespace) -> None:
        """`options`: the command line as netvane.up.command parses it."""
        self._options = options
        self._console = Console(everything=options.log_level == "debug", on_broken=self._wish_stop)
        self._wishes: asyncio.Queue[Wish] = asyncio.Queue()
        self._who: Identity | None = None
        self._places = Places(Path(), Path())
        self._supervisor: Supervisor | None = None
        self._stops = 0
        self._told_addresses = False
        self._note = ""
        self._environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        # A terminal that goes away says so by SIGHUP too; then nobody is left to run for.
        self._has_terminal = sys.stdin is not None and sys.stdin.isatty()

    async def run(self) -> int:
        """Returns the exit code. Raises ConfigError and UpError for what keeps it from starting."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._wish_stop)
        loop.add_signal_handler(signal.SIGTERM, self._wish_stop)
        loop.add_signal_handler(signal.SIGHUP, self._wish_reload)
        with contextlib.ExitStack() as stack:
            document = self._load()
            try:
                self._who = privileges.identity()
            except LookupError as error:
                raise UpError(error.args[0]) from error
            if self._who is not None:
                os.umask(0o022)  # what root renders is for the parts to read; secrets have modes of their own
            self._check_python()
            if not ports.has_loopback():
                raise UpError("the loopback interface is down, which the parts need: ip link set lo up")
            storage = document.section("storage", settings.Storage)
            self._places = places.choose(storage, self._options.data_dir, self._options.run_dir)
            stack.callback(os.close, places.lock(self._places.data))
            places.make(self._places, self._who)
            parts = self._configure(document)

            self._say("network", describe_network(network.find(document.section("network", settings.Network))))
            self._say("alerts", self._note)
            if (line := stack.enter_context(privileges.ping_sockets(self._who))) is not None:
                self._say("ping", line)
            await self._supervise(parts)
        return 0

    async def _supervise(self, parts: Sequence[Part]) -> None:
        surroundings = Surroundings(
            who=self._who,
            notify_dir=self._places.notify,
            environment=self._environment,
            on_state=self._on_state,
            on_line=self._console.on_line,
        )
        async with asyncio.TaskGroup() as tasks:
            self._supervisor = Supervisor(parts, surroundings, tasks)
            while await self._wishes.get() == "reload":
                await self._reload()
            self._say("stopping", "Ctrl-C again ends it at once")
            await self._supervisor.stop()

    def _load(self) -> Document:
        document = settings.load(self._options.config_file)
        check.check(document)
        return document

    def _check_python(self) -> None:
        trial = [sys.executable, "-P", "-c", "import netvane"]
        command = privileges.command_as(self._who, (), trial)
        done = subprocess.run(command, env=self._environment, cwd="/", capture_output=True, text=True, check=False)
        if done.returncode != 0:
            user = self._who.name if self._who is not None else "you"
            reason = done.stderr.strip().rpartition("\n")[2]
            raise UpError(f"{user} cannot run Netvane ({reason}): `make up` installs it where everybody can read it")

    def _configure(self, document: Document) -> list[Part]:
        """Write what the parts read; returns them. Raises ConfigError, UpError."""
        plan = Plan(
            places=self._places,
            up=document.section("up", Up),
            is_root=self._who is not None,
            interface=document.section("network", settings.Network).interface,
            has_configuration=document.file is not None,
            log_level=self._options.log_level,
            log_format=self._options.log_format,
            flows_off=_flows_off(document.section("flows", FlowsSettings)),
            loki_url=document.section("loki", settings.Loki).url,
        )
        parts = plan.parts()
        jobs = {job.name for job in all_jobs(plan.up)}
        absent = frozenset(part.name for part in parts if part.off is not None and part.name in jobs)
        grafana = next((part for part in parts if part.name == "grafana" and part.off is None), None)
        rendering = RenderOptions(
            time_scale=self._options.time_scale,
            without=absent,
            inline_secrets=True,
            grafana=grafana.shows if grafana is not None else None,
            data_dir=self._places.data,
        )
        try:
            rendered = render(document, self._places.rendered, rendering)
            if self._who is not None:  # the only file there that is not for everybody
                os.chown(self._places.rendered / "alertmanager.yml", self._who.uid, self._who.gid)
            if document.file is not None:
                places.write_for_parts(self._places.configuration, document.file.read_bytes(), self._who)
            if grafana is not None:
                rendered_files.write(self._places.grafana, seeing.grafana_files())
                places.make_password(self._places.grafana_password, self._who)
                self._say("grafana", f"log in as admin with the password in {self._places.grafana_password}")
        except OSError as error:
            raise UpError(f"{error.filename or self._places.own}: {error.strerror or error}") from error
        self._note = rendered.note
        places.make_state(state_directories(parts, self._places.data), self._who)
        return parts

    async def _reload(self) -> None:
        try:
            parts = self._configure(self._load())
        except (ConfigError, UpError) as error:
            self._say("reload", f"the old configuration stays: {error}")
            return
        assert self._supervisor is not None  # noqa: S101 - wishes are only read while it is there
        await self._supervisor.reload(parts)
        self._say("reload", f"done; {self._note}")

    def _on_state(self, part: Part, state: State) -> None:
        self._console.on_state(part, state)
        if self._supervisor is None or self._told_addresses or self._stops:
            return
        states = self._supervisor.states
        if all(state.word != "starting" for _, state in states):
            self._told_addresses = True
            pages = [f"{part.name} {part.shows}" for part, state in states if part.is_page and state.word != "off"]
            inside = f" (inside the namespace {self._options.netns})" if self._options.netns else ""
            self._say("open", f"{', '.join(pages) or 'nothing'}{inside}")

    def _say(self, what: str, text: str) -> None:
        self._console.say(f"{what:<{NAME_WIDTH}}{text}")

    def _wish_stop(self) -> None:
        self._stops += 1
        if self._stops == 1:
            self._wishes.put_nowait("stop")
        elif self._supervisor is not None:
            self._supervisor.kill()

    def _wish_reload(self) -> None:
        if self._has_terminal and not sys.stdin.isatty():
            self._wish_stop()
        else:
            self._wishes.put_nowait("reload")


def describe_network(view: NetworkView) -> str:
    """One line for people."""
    if view.interface is None:
        return "none found: no default route, and no `network: {interface: …}` in netvane.yml"
    router = f"router {view.router}" if view.router else "no IPv4 router"
    router6 = f"IPv6 router {view.router6}" if view.router6 else "no IPv6 router"
    return f"{view.interface}, {view.subnet or 'no IPv4 subnet'}, {router}, {router6}"


def _flows_off(flows: FlowsSettings) -> str | None:
    return None if flows.query_log is not None else interfaces.off(flows.interfaces)
