"""A home full of difficult devices, for thirty sweeps; and a missing Raspberry Pi all the way to a webhook."""

import json

import pytest

from tests.lab import addresses as at
from tests.lab.exporters import RunningExporter
from tests.lab.home import Home
from tests.lab.household import ask, devices, events, first_sweep, state, sweeps, watching
from tests.lab.internet_settings import latency_settings
from tests.lab.netns import Namespace
from tests.lab.processes import NETVANE
from tests.lab.sinks import WebhookSink
from tests.lab.wait import eventually

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(400)]

SWEEPS = 30
PHONE_MACS = ("02:11:11:11:11:11", "06:22:22:22:22:22")
SECOND_INTERFACE = "f0:18:98:0b:00:01"


def sleep(phone: Namespace, *, awake: bool) -> None:
    """arp_ignore 8: answer nobody (networking/ip-sysctl.rst)."""
    phone.sysctl({"net.ipv4.conf.eth0.arp_ignore": 0 if awake else 8})


def swept_until(exporter: RunningExporter, count: float) -> None:
    eventually(lambda: sweeps(exporter) >= count, within=20, what="a sweep")


def test_thirty_sweeps_of_a_difficult_home() -> None:
    with Home(gadgets=12) as home:
        sleeper, changer, only6, twin, pi, *others = home.gadgets
        sleeper.ns.sysctl({"net.ipv6.conf.eth0.disable_ipv6": 1})
        changer.ns.ip(f"link set eth0 address {PHONE_MACS[0]}", "addr flush dev eth0")
        client = home.lease(changer.ns, hostname="annas-fairphone")
        only6.ns.ip(f"addr del {only6.address}/24 dev eth0")
        home.sw.ip(
            f"link add name twin type veth peer name eth1 address {SECOND_INTERFACE} netns {twin.ns.name}",
            "link set dev twin master br-lan up",
        )
        twin.ns.sysctl({"net.ipv4.conf.all.arp_ignore": 1, "net.ipv4.conf.all.arp_announce": 2})
        twin.ns.ip("addr add 198.51.100.90/24 dev eth1", "link set eth1 up")

        with watching(home.mon, home.rack.directory) as exporter:
            eventually(lambda: first_sweep(exporter), within=20, what="the first sweep")
            client.stop()
            client = home.lease(changer.ns, hostname="annas-fairphone")
            eventually(lambda: devices(exporter)[PHONE_MACS[0]]["name"] == "annas-fairphone", what="the phone's name")
            ask(exporter, "change", entries=[{"device": pi.mac, "expected": True, "trusted": True}])
            ask(exporter, "merge", device=SECOND_INTERFACE, into=twin.mac)

            seen_states = set()
            began = sweeps(exporter)
            for number in range(SWEEPS):
                sleep(sleeper.ns, awake=number % 6 == 5)
                if number == 10:  # a week has passed, and the phone has made up another MAC
                    client.stop()
                    changer.ns.ip(f"link set eth0 address {PHONE_MACS[1]}", "addr flush dev eth0")
                    client = home.lease(changer.ns, hostname="annas-fairphone")
                swept_until(exporter, began + number + 1)
                seen_states.add(state(exporter, sleeper.mac))
            assert "quiet" in seen_states
            assert "away" not in seen_states

            found = devices(exporter)
            assert set(found[PHONE_MACS[0]]["macs"]) == set(PHONE_MACS)
            assert set(found[twin.mac]["macs"]) == {twin.mac, SECOND_INTERFACE}
            assert not {PHONE_MACS[1], SECOND_INTERFACE} & set(found)
            assert len(found) == 14  # 12 gadgets, the router, Netvane itself
            assert state(exporter, only6.mac) == "present"
            assert events(exporter, "device", change="new") == []
            assert events(exporter, "anomaly") == []

            with home.fault.gadget_unplugged(pi):
                eventually(lambda: state(exporter, pi.mac) == "away", within=90, what="the Pi is missed")
                missing = [event["device"] for event in events(exporter, "device", change="presence", current="away")]
                assert missing == [pi.mac]
                assert {state(exporter, other.mac) for other in others} == {"present"}
            eventually(lambda: state(exporter, pi.mac) == "present", within=30, what="the Pi is back")


def test_a_missing_pi_is_an_alert_and_the_only_one() -> None:
    with Home(gadgets=4) as home:
        people, pi = home.gadgets[0], home.gadgets[3]
        with WebhookSink(people.ns, people.address) as hook:
            place = home.rack.directory  # open to the unprivileged users that the parts run as
            settings = {
                "latency": latency_settings(),  # its Internet is there, and no alert of its own
                "notify": {"webhook": {"url": hook.url}},
                "hosts": {"interval": "2s", "ping_interval": "1s"},
            }
            (place / "netvane.yml").write_text(json.dumps(settings))
            command = [
                *(*NETVANE, "up", "--netns", home.mon.name, "--time-scale=0.1"),
                *(f"--config.file={place / 'netvane.yml'}", f"--storage.data-dir={place / 'data'}"),
                f"--storage.run-dir={place / 'run'}",
            ]
            devices_command = [
                *(*NETVANE, "devices", f"--run-dir={place / 'run'}"),
                f"--data-dir={place / 'data'}",
            ]
            with home.rack.processes.start(command) as up:

                def answer(*words: str) -> str:
                    assert up.running, up.output()
                    with home.rack.processes.start([*devices_command, *words]) as asking:
                        asking.wait(20)
                        return asking.output()

                eventually(lambda: pi.mac in answer("list"), within=60, what="the Pi in the list")
                assert "expected" in answer("expect", pi.mac)
                with home.fault.gadget_unplugged(pi):
                    alert = hook.wait_for("ExpectedDeviceMissing", "firing", within=200)
                    assert alert.labels["device"] == pi.mac
                    assert "Raspberry Pi" in alert.annotations["description"]
                    summary = hook.wait_for("NewDevice", "firing", within=180)
                    assert summary.labels["cause"] == "first_sweep"
                assert {alert.name for alert in hook.alerts()} == {"NewDevice", "ExpectedDeviceMissing"}
                assert {alert.labels.get("device", pi.mac) for alert in hook.alerts()} == {pi.mac}
                assert at.LAN4 in answer("show", pi.mac)
                assert up.stop(grace=60) == 0, up.output()
