"""netvane.yml's `latency` section for a home of the lab: its Internet in place of the real one."""

from typing import Any

from tests.lab import addresses as at


def latency_settings(**more: Any) -> dict[str, Any]:
    anchors = [
        {"name": f"anchor{number}", "ipv4": ipv4, "ipv6": ipv6, "hostname": f"anchor{number}.example"}
        for number, (ipv4, ipv6) in enumerate(zip(at.ANCHORS4, at.ANCHORS6, strict=True), 1)
    ]
    return {
        "anchors": anchors,
        "sites": {"port": 80, "names": [f"site{number}.example" for number in range(1, 101)]},
        "web": {"captive_url": "http://check.example/generate_204", "https_interval": None},
        **more,
    }
