"""netvane.yml's `latency` section for a home of the lab: its Internet in place of the real one."""

from typing import Any

from tests.lab import addresses as at
from tests.lab.certificate import Certificate


def latency_settings(certificate: Certificate | None = None, **more: Any) -> dict[str, Any]:
    """`certificate`: that of the home, for check.example; without one nothing is asked over HTTPS."""
    web: dict[str, Any] = {"captive_url": "http://check.example/generate_204"}
    if certificate is None:
        web["https_interval"] = None
    else:
        web |= {"https_url": "https://check.example/generate_204", "ca_file": str(certificate.certificate)}
    anchors = [
        {"name": f"anchor{number}", "ipv4": ipv4, "ipv6": ipv6, "hostname": f"anchor{number}.example"}
        for number, (ipv4, ipv6) in enumerate(zip(at.ANCHORS4, at.ANCHORS6, strict=True), 1)
    ]
    return {
        "anchors": anchors,
        "sites": {"port": 80, "names": [f"site{number}.example" for number in range(1, 101)]},
        "web": web,
        **more,
    }
