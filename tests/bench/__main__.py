"""``make bench``: measures what the issues set figures for and prints it as one JSON object. Needs root.

``python -m tests.bench [NAME …]`` runs only those.
"""

import json
import os
import platform
import sys
from importlib import import_module

BENCHES = (
    "rtt",
    "targets",
    "shipper",
    "probes",
    "verdict",
    "hosts",
    "dhcp",
    "flows",
    "names",
    "ask",
    "wear",
    "dashboards",
    "footprint",
    "fleet",
)


def main(names: list[str]) -> int:
    unknown = set(names) - set(BENCHES)
    if unknown or os.geteuid() != 0:
        print(f"no such bench: {', '.join(unknown)}" if unknown else "make bench needs root", file=sys.stderr)
        return 2
    results: dict[str, object] = {
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    }
    for name in names or BENCHES:
        print(f"bench: {name} …", file=sys.stderr)
        results[name] = import_module(f"tests.bench.{name}").run()
    print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
