"""`make demo`: a simulated home, Netvane in it, two faults on a schedule, and what Netvane says about them.

Everything happens in network namespaces that are gone afterwards; the machine's own network takes no part.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from tests.lab.faults import Fault
from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.processes import NETVANE, ROOT, Process, run
from tests.lab.rack import interrupt_on_sigterm
from tests.lab.sinks import SmtpSink, WebhookSink

TIME_SCALE = 0.1
LOOK_SECONDS = 0.25
VERDICT_SECONDS = 2.0  # a process each time
START_SECONDS = 60.0
ALERT_SECONDS = 120.0
WORSE_SECONDS = 45.0
STOP_SECONDS = 15.0

# Two scrapes are 15 s apart.
_PINGS = 'probe="icmp", target=~"router|hop2|anchor1|anchor1-v6"'
SENT = f"sum by (target) (increase(netvane_probe_sent_total{{{_PINGS}}}[30s]))"
ANSWERED = f"sum by (target) (increase(netvane_probe_rtt_seconds_count{{{_PINGS}}}[30s]))"
SECONDS = f"sum by (target) (increase(netvane_probe_rtt_seconds_sum{{{_PINGS}}}[30s]))"


class DemoError(RuntimeError):
    """Something did not happen in its time."""


class Listener:
    """Prints with the time what is done (`lab`) and what Netvane says, in whatever way, as it comes."""

    def __init__(self, home: Home, hook: WebhookSink, smtp: SmtpSink) -> None:
        self._home, self._hook, self._smtp = home, hook, smtp
        self._began = time.monotonic()
        self._next_verdicts = self._began
        self._heard = {"log": 0, "alerts": 0, "mails": 0, "verdicts": 0}
        self._up = self._start()

    def say(self, who: str, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.1f} s  {who:<8} {text}", flush=True)

    def _start(self) -> Process:
        settings = {
            "site": "demo",
            "latency": latency_settings(),
            "notify": {
                "webhook": {"url": self._hook.url},
                "mail": {
                    "to": ["owner@example.org"],
                    "sender": "netvane@example.org",
                    "smarthost": f"{self._smtp.address}:{self._smtp.port}",
                    "require_tls": False,
                },
            },
        }
        configuration = self._home.rack.directory / "netvane.yml"
        configuration.write_text(json.dumps(settings))  # JSON is YAML
        command = ["up", "--netns", self._home.mon.name, f"--time-scale={TIME_SCALE}"]
        self.say("lab", f"netvane {' '.join(command)}")
        command += [f"--config.file={configuration}", *self._directories()]
        return self._home.rack.processes.start([*NETVANE, *command])

    def _directories(self) -> list[str]:
        return [f"--storage.{name}-dir={self._home.rack.directory / name}" for name in ("data", "run")]

    def until(self, condition: Callable[[], object], within: float, what: str) -> None:
        """Raises DemoError when it does not come true, or when Netvane ends."""
        deadline = time.monotonic() + within
        while not condition():
            running = self._up.running
            self._hear()
            if not running:
                raise DemoError("netvane up ended")
            if time.monotonic() > deadline:
                raise DemoError(f"no {what} within {within:.0f} s")
            time.sleep(LOOK_SECONDS)
        self._hear()

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, 2 * seconds, "end of a wait")

    @contextmanager
    def broken(self, fault: Fault) -> Iterator[None]:
        self.say("lab", f"BREAKS {fault.name}")
        with fault:
            yield
        self.say("lab", f"HEALS  {fault.name}")

    def is_measuring(self) -> bool:
        return len(self._query(ANSWERED)) == 4

    def has_arrived(self, alert: str) -> bool:
        return bool(self._hook.alerts(alert, "firing"))

    def report(self) -> None:
        """What Prometheus knows about every target."""
        sent, answered, seconds = (self._query(promql) for promql in (SENT, ANSWERED, SECONDS))
        for target in sorted(sent.keys() & answered.keys() & seconds.keys()):
            loss = max(0.0, 1 - answered[target] / sent[target])
            self.say("measured", f"{target:<11} {1000 * seconds[target] / answered[target]:6.2f} ms  {loss:4.0%} lost")

    def _query(self, promql: str) -> dict[str, float]:
        """Target -> value; empty while Prometheus does not answer. Those that are 0 are left out."""
        query = urlencode({"query": f"{promql} > 0"})
        try:
            answer = json.loads(self._home.mon.http(f"http://127.0.0.1:9090/api/v1/query?{query}").text)
        except (OSError, ValueError):
            return {}
        return {sample["metric"]["target"]: float(sample["value"][1]) for sample in answer["data"]["result"]}

    def _hear(self) -> None:
        for line in self._new("log", self._up.output().splitlines()):
            self.say("netvane", line)
        if time.monotonic() >= self._next_verdicts:
            self._next_verdicts = time.monotonic() + VERDICT_SECONDS
            for verdict in self._new("verdicts", self._verdicts()):
                self.say("verdict", _sentence(verdict))
        for alert in self._new("alerts", self._hook.alerts()):
            self.say("webhook", f"{alert.name} {alert.status}: {alert.annotations['summary']}")
        for mail in self._new("mails", list(self._smtp.mails)):
            self.say("mail", f"to {mail.recipients[0]}: {mail.subject}")

    def _new(self, kind: str, everything: list[Any]) -> list[Any]:
        new = everything[self._heard[kind] :]
        self._heard[kind] += len(new)
        return new

    def _verdicts(self) -> list[dict[str, Any]]:
        """Every verdict event so far, oldest first; none while the exporter is not there to be asked."""
        lines = self._netvane("events", "--exporter=latency", "--event=verdict", "--format=json")
        return [json.loads(line) for line in reversed(lines)]

    def outages(self) -> None:
        """What is left for the provider to read."""
        for line in self._netvane("outages", "--since=1h"):
            self.say("outages", line)

    def _netvane(self, *command: str) -> list[str]:
        return run([*NETVANE, *command, *self._directories()], check=False).stdout.splitlines()

    def stop(self) -> None:
        self.say("lab", "stops Netvane")
        code = self._up.stop(STOP_SECONDS)
        self._hear()
        if code != 0:
            raise DemoError(f"netvane up ended with {code}")


def _sentence(event: dict[str, Any]) -> str:
    """A verdict event as one line."""
    figures = {name: value for name, value in event["evidence"].items() if value and not name.endswith("_missed")}
    evidence = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
    hops = [hop["address"] or "?" for hop in event.get("path") or ()]
    segment = f" ({event['segment']})" if "segment" in event else ""
    parts = [f"{event.get('previous') or 'nothing'} -> {event['verdict']}{segment}"]
    parts += [evidence] if evidence else []
    parts += [f"path: {' > '.join(hops)}"] if hops else []
    return "; ".join(parts)


def play(home: Home, listener: Listener) -> None:
    """The schedule. Raises DemoError."""
    listener.until(listener.is_measuring, START_SECONDS, "measurements")
    listener.report()
    with listener.broken(home.fault.router_unplugged()):
        listener.until(lambda: listener.has_arrived("InternetDown"), ALERT_SECONDS, "alert at the webhook")
    with listener.broken(home.fault.wan_worse(delay=0.030, jitter=0.010, loss=0.2)):
        listener.wait(WORSE_SECONDS)
        listener.report()
    listener.until(lambda: listener.has_arrived("InternetOutageEnded"), ALERT_SECONDS, "word of the end at the webhook")
    listener.outages()
    listener.stop()


def main() -> int:
    """0 when Netvane said what it should; 1 with a line when not; 130 after Ctrl-C or SIGTERM."""
    if os.geteuid() != 0:
        print("make demo: needs root, for network namespaces: sudo make demo", file=sys.stderr)
        return 1
    if not (ROOT / "exporters/netvane/up/command.py").exists():
        print("make demo: needs `netvane up`, which is not there yet", file=sys.stderr)
        return 1
    interrupt_on_sigterm()
    try:
        with Home(gadgets=3, wan_cable=True) as home:
            gadget = home.gadgets[0]
            with WebhookSink(gadget.ns, gadget.address) as hook, SmtpSink(home.net) as smtp:
                print("A home: router, provider, Internet, three gadgets (one of them takes webhook messages).")
                play(home, Listener(home, hook, smtp))
    except DemoError as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmake demo: interrupted; the simulated home is gone again", file=sys.stderr)
        return 130
    print("The simulated home is gone again.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
