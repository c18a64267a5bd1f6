"""The whole house: a router is unplugged; real mail and a real webhook say so once, and once more when it is over."""

import json

import pytest

from tests.lab.home import Home
from tests.lab.internet_settings import latency_settings
from tests.lab.processes import NETVANE
from tests.lab.sinks import SmtpSink, WebhookSink
from tests.lab.wait import eventually

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


def test_router_unplugged_is_one_alert_and_one_all_clear() -> None:
    with Home(gadgets=2) as home:
        # Both receivers stand on the LAN, where a message gets through while the router is away.
        people, mailer = home.gadgets
        with WebhookSink(people.ns, people.address) as hook, SmtpSink(mailer.ns, mailer.address) as smtp:
            place = home.rack.directory  # unlike pytest's own, open to the unprivileged users that the parts run as
            (place / "netvane.yml").write_text(
                json.dumps(
                    {
                        "site": "lab",
                        "latency": latency_settings(),
                        "notify": {
                            "webhook": {"url": hook.url},
                            "mail": {
                                "to": ["owner@example.org"],
                                "sender": "netvane@example.org",
                                "smarthost": f"{mailer.address}:{smtp.port}",
                                "require_tls": False,
                            },
                        },
                    }
                )
            )
            command = [
                *(*NETVANE, "up", "--netns", home.mon.name, "--time-scale=0.1"),
                *(f"--config.file={place / 'netvane.yml'}", f"--storage.data-dir={place / 'data'}"),
                f"--storage.run-dir={place / 'run'}",
            ]
            with home.rack.processes.start(command) as up:
                prometheus = "http://127.0.0.1:9090/api/v1/query?query=netvane_verdict==1"

                def is_ok() -> bool:
                    assert up.running, up.output()
                    try:
                        return '"verdict":"ok"' in home.mon.http(prometheus).text
                    except OSError:
                        return False

                eventually(is_ok, within=60, what="the verdict ok in Prometheus")
                with home.fault.router_unplugged():
                    down = hook.wait_for("InternetDown", within=120)
                    assert down.labels["site"] == "lab"
                    assert down.annotations["summary"].endswith("the router does not answer (router)")
                    mail = smtp.wait_for("[lab] The Internet is down", within=60)
                ended = hook.wait_for("InternetOutageEnded", within=150)
                assert ended.annotations["summary"].endswith("(router)")
                smtp.wait_for("[lab] The Internet is back after", within=60)
                assert mail.recipients == ("owner@example.org",)
                # Who is at home is told in one message, after Netvane's first look.
                assert len([mail for mail in smtp.mails if "first look" not in mail.subject]) == 2
                told = [(alert.name, alert.status) for alert in hook.alerts() if alert.name != "NewDevice"]
                assert told == [("InternetDown", "firing"), ("InternetOutageEnded", "firing")]
                others = [alert for alert in hook.alerts() if alert.name == "NewDevice"]
                assert {alert.labels.get("cause") for alert in others} <= {"first_sweep"}
                assert up.stop(grace=60) == 0, up.output()
