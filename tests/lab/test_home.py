"""The simulated home is what it says: who reaches whom, whole, broken and healed."""

import json
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.lab import addresses as at
from tests.lab.certificate import make_certificate
from tests.lab.faults import Fault, Faults
from tests.lab.home import Home
from tests.lab.internet import DnsMode
from tests.lab.netns import Namespace
from tests.lab.sinks import SmtpSink, WebhookSink
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

PLACES = {
    "router": at.ROUTER4,
    "isp": at.ISP4,
    "upstream": at.UPSTREAM4,
    "anchor": at.ANCHORS4[0],
    "anchor2": at.ANCHORS4[1],
    "router6": f"{at.ROUTER_LINK_LOCAL}%eth0",
    "anchor6": at.ANCHORS6[0],
    "gadget": "198.51.100.20",
}


def pings(home: Home, place: str) -> bool:
    return home.mon.run(["ping", "-n", "-c", "1", "-W", "1", PLACES[place]], check=False).returncode == 0


def reached(home: Home) -> set[str]:
    with ThreadPoolExecutor(len(PLACES)) as pool:
        answers = pool.map(lambda place: pings(home, place), PLACES)
        return {place for place, answered in zip(PLACES, answers, strict=True) if answered}


def resolves(machine: Namespace, name: str, seconds: int = 2) -> str | None:
    """The first IPv4 address, None where there is no answer in time."""
    command = ["timeout", str(seconds), "getent", "ahostsv4", name]
    words = machine.run(command, check=False).stdout.split()
    return words[0] if words else None


def test_everything_reaches_everything(home: Home) -> None:
    assert reached(home) == set(PLACES)
    assert resolves(home.mon, "site7.example") == at.site(7)[0]
    assert resolves(home.mon, "nobody.example") is None
    assert home.mon.http(f"http://{at.CHECK4}/generate_204").status == 204
    assert home.mon.http(f"http://[{at.site(100)[1]}]/").text == "the lab's Internet\n"
    trace = home.mon.run(f"nmap -sn -n --traceroute {at.ANCHORS4[0]}").stdout
    hops = re.findall(r"^\d+ .* (\S+)$", trace, re.MULTILINE)
    assert hops == [at.ROUTER4, at.ISP4, at.UPSTREAM4, at.ANCHORS4[0]]


def test_gadgets_have_real_vendors_and_configure_themselves(home: Home) -> None:
    first = home.gadgets[0]
    assert first.mac.startswith("f0:18:98")
    eventually(
        lambda: at.LAN6.removesuffix("::/64") in first.ns.run("ip -6 addr show scope global").stdout, what="SLAAC"
    )
    home.lease(first.ns, hostname="fridge")
    leases = home.leases.read_text()
    assert f"{first.mac} 198.51.100.1" in leases
    assert "fridge" in leases
    assert (resolves(home.mon, "fridge.home.arpa") or "").startswith("198.51.100.1")


def test_every_machine_can_ask_for_its_address() -> None:
    with Home(gadgets=1, dhcp=True) as home:
        assert "198.51.100.1" in home.mon.run("ip -4 addr show eth0").stdout
        assert pings(home, "anchor")


def test_a_home_without_ipv6() -> None:
    with Home(gadgets=0, ipv6=False) as home:
        assert reached(home) == {"router", "isp", "upstream", "anchor", "anchor2", "router6"}
        assert home.mon.run("ip -6 route show default").stdout == ""


def test_homes_side_by_side_do_not_see_each_other(home: Home) -> None:
    with Home(gadgets=1) as other:
        assert reached(other) == set(PLACES)
        with other.fault.router_unplugged():
            assert not pings(other, "router")
            assert pings(home, "router")
        with home.fault.wan_cut():
            eventually(lambda: pings(other, "anchor"))
            assert not pings(home, "anchor")


INTERNET = {"anchor", "anchor2", "anchor6"}
FAULTS: dict[str, tuple[Callable[[Faults], Fault], set[str]]] = {
    "own link down": (lambda fault: fault.own_link_down(), set(PLACES)),
    "router unplugged": (lambda fault: fault.router_unplugged(), set(PLACES) - {"gadget"}),
    "WAN cut": (lambda fault: fault.wan_cut(), INTERNET | {"isp", "upstream"}),
    "isp dead": (lambda fault: fault.isp_dead(), INTERNET | {"isp", "upstream"}),
    "upstream cut": (lambda fault: fault.upstream_cut(), INTERNET | {"upstream"}),
    "router mute": (lambda fault: fault.router_mute(), {"router", "router6"}),
    "isp mute": (lambda fault: fault.isp_mute(), {"isp"}),
    "IPv6 black hole": (lambda fault: fault.ipv6_black_hole(), {"anchor6"}),
    "one anchor dead": (lambda fault: fault.anchor_dead(1), {"anchor2"}),
    "captive portal": (lambda fault: fault.captive_portal(), INTERNET | {"upstream"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_cuts_off_what_lies_behind_it_until_it_is_healed(name: str, home: Home) -> None:
    make, lost = FAULTS[name]
    before = time.time_ns()
    with make(home.fault) as fault:
        assert reached(home) == set(PLACES) - lost
    eventually(lambda: reached(home) == set(PLACES), within=20)
    assert fault.began_ns is not None
    assert fault.ended_ns is not None
    assert before <= fault.began_ns < fault.ended_ns <= time.time_ns()


def test_an_unplugged_gadget_is_gone_alone(home: Home) -> None:
    with home.fault.gadget_unplugged(home.gadgets[0]):
        assert reached(home) == set(PLACES) - {"gadget"}
    eventually(lambda: pings(home, "gadget"))


def test_a_router_whose_line_is_out_says_so(home: Home) -> None:
    with home.fault.wan_cut():
        eventually(lambda: "linkdown" in home.gw.run("ip route show default").stdout, what="the router to notice")
        answer = home.mon.run(f"ping -n -c 1 -W 5 {at.ANCHORS4[0]}", check=False).stdout
    assert f"From {at.ROUTER4}" in answer
    assert "Destination Net Unreachable" in answer


def test_resolvers_that_are_dead_or_lie(home: Home) -> None:
    right = at.site(3)[0]
    answers: dict[DnsMode, str | None] = {"mute": None, "nxdomain": None, "refused": None, "wrong": at.WRONG4}
    for mode, said in answers.items():
        with home.fault.resolver(mode):
            assert resolves(home.mon, "site3.example") == said
        assert resolves(home.mon, "site3.example") == right
    with home.fault.resolver("slow"):
        assert resolves(home.mon, "site3.example", seconds=1) is None
        assert resolves(home.mon, "site3.example", seconds=20) == right
    with home.fault.router_resolver_dead():
        assert resolves(home.mon, "site3.example") is None
        assert pings(home, "router")


def test_sites_that_refuse_tcp_while_anchors_answer(home: Home) -> None:
    with home.fault.sites_refuse_tcp():
        for address in at.site(5):
            with pytest.raises(ConnectionRefusedError):
                home.mon.connect(address, 80)
        home.mon.connect(at.ANCHORS4[0], 80).close()
    home.mon.connect(at.site(5)[0], 80).close()


def test_a_captive_portal_answers_in_everybodys_name(home: Home) -> None:
    check = f"http://{at.CHECK4}/generate_204"
    with home.fault.captive_portal():
        answer = home.mon.http(check)
        assert (answer.status, answer.headers["Location"]) == (302, "http://portal.example/login")
        assert resolves(home.mon, "check.example") == at.CHECK4
    assert home.mon.http(check).status == 204


def test_a_line_that_flaps_ends_whole(home: Home) -> None:
    states: set[bool] = set()

    def seen() -> bool:
        states.add("NO-CARRIER" in home.mon.run("ip link show eth0").stdout)
        return len(states) == 2

    with home.fault.flapping(home.fault.own_link_down(), broken=0.1, whole=0.1):
        eventually(seen)
    assert "NO-CARRIER" not in home.mon.run("ip link show eth0").stdout


def test_the_cable_delays_loses_and_cuts() -> None:
    with Home(gadgets=0, lan_cable=True, wan_cable=True) as home:
        target = at.ANCHORS4[0]

        def ping(options: str) -> str:
            return home.mon.run(f"ping -n -q {options} {target}", check=False, timeout=60).stdout

        def fastest(options: str = "-c 40 -i 0.02") -> float:
            found = re.search(r"= ([\d.]+)/", ping(options))
            assert found
            return float(found[1])

        bare = fastest()
        with home.fault.wan_worse(delay=0.010):
            assert 20 <= fastest() < 20 + bare + 5
            with home.fault.lan_worse(delay=0.020, jitter=0.005):
                assert fastest() >= 50
        with home.fault.wan_worse(loss=0.2):
            before = home.wan_cable.counts()["lost"]
            received = re.search(r"(\d+) received", ping("-c 1000 -i 0.002 -W 2"))
            assert received
            assert 1.0 - int(received[1]) / 1000 == pytest.approx(0.2, abs=0.065)
            assert home.wan_cable.counts()["lost"] - before == pytest.approx(1000 - int(received[1]), abs=5)
        home.wan_cable.cut()
        assert reached(home) == {"router", "router6"}
        home.wan_cable.heal()
        eventually(lambda: pings(home, "anchor"))


def test_the_webhook_receiver_records_fails_and_hangs(home: Home) -> None:
    gadget = home.gadgets[0]
    alert = {
        "status": "firing",
        "labels": {"alertname": "RouterDown"},
        "annotations": {},
        "startsAt": "a",
        "endsAt": "b",
    }
    body = json.dumps({"alerts": [alert]}).encode()
    with WebhookSink(gadget.ns, gadget.address) as sink:
        assert home.mon.http(sink.url, method="POST", body=body).status == 200
        assert sink.wait_for("RouterDown", within=5).name == "RouterDown"
        sink.behaviour = "fail"
        assert home.mon.http(sink.url, method="POST", body=body).status == 500
        sink.behaviour = "hang"
        with pytest.raises(TimeoutError):
            home.mon.http(sink.url, method="POST", body=body, timeout=0.3)
        assert len(sink.alerts("RouterDown", "firing")) == len(sink.messages) == 1
        assert sink.alerts("RouterDown", "resolved") == []


class Client(smtplib.SMTP):
    """smtplib's client with a socket from inside a namespace."""

    def __init__(self, machine: Namespace, address: str, port: int) -> None:
        self._machine = machine
        super().__init__(address, port, local_hostname="mon.home.arpa", timeout=10)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._machine.connect(host, port, timeout=timeout)


def test_the_smtp_server_takes_mail_from_those_who_log_in(home: Home, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "DNS:smtp.example", f"IP:{at.SMTP4}")
    message = EmailMessage()
    message["Subject"] = "[FIRING:1] RouterDown"
    message.set_content("Der Router antwortet nicht: größer als 5 s")
    with SmtpSink(home.net, certificate=certificate, users={"netvane": "secret"}) as sink:
        with Client(home.mon, sink.address, sink.port) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(certificate.certificate)))
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("netvane", "wrong")
            client.login("netvane", "secret")
            client.send_message(message, "netvane@example.org", ["owner@example.org"])
        mail = sink.wait_for("RouterDown", within=5)
        assert (mail.sender, mail.recipients) == ("netvane@example.org", ("owner@example.org",))
        assert "größer" in mail.text
    with SmtpSink(home.net) as plain, Client(home.mon, plain.address, plain.port) as client:
        client.send_message(message, "netvane@example.org", ["owner@example.org"])
        assert plain.mails[0].subject == "[FIRING:1] RouterDown"
