"""A subnet full of hosts without a namespace each: every host is a veth with a MAC and an address of its own."""

from tests.lab.netns import Namespace
from tests.lab.rack import Rack

OWN_MAC = "b8:27:eb:0a:00:02"


def mac_of(number: int) -> str:
    return f"24:0a:c4:0b:{number >> 8:02x}:{number & 255:02x}"


def crowd(rack: Rack, addresses: list[str], *, own: str = "198.51.100.2/24") -> tuple[Namespace, Namespace]:
    """The namespace to sweep from, with `own` on its eth0, and the one with all hosts; host i has `mac_of(i)`."""
    switch, mon, hosts = rack.namespaces("sw", "mon", "hosts")
    # Each interface answers for its own address only.
    hosts.sysctl({f"net.ipv4.conf.{which}.{key}": value for which in ("all", "default") for key, value in ARP.items()})
    for namespace in (switch, hosts):
        namespace.sysctl({"net.ipv6.conf.default.disable_ipv6": 1})
    prefix = own.partition("/")[2]
    lines = ["link add name lan type bridge mcast_snooping 0", "link set dev lan up"]
    lines += [f"link add name mon type veth peer name eth0 address {OWN_MAC} netns {mon.name}"]
    lines += [
        f"link add name p{number} type veth peer name h{number} address {mac_of(number)} netns {hosts.name}"
        for number in range(len(addresses))
    ]
    lines += [
        f"link set dev {port} master lan up" for port in ("mon", *(f"p{number}" for number in range(len(addresses))))
    ]
    switch.ip(*lines)
    hosts.ip(
        *(
            line
            for number, address in enumerate(addresses)
            for line in (f"addr add {address}/{prefix} dev h{number}", f"link set h{number} up")
        )
    )
    mon.ip(f"addr add {own} dev eth0", "link set eth0 up")
    mon.sysctl({"net.ipv4.ping_group_range": "0 2147483647"})
    return mon, hosts


# arp_ignore 1 and arp_announce 2: networking/ip-sysctl.rst of the kernel. rp_filter would drop what comes in by
# another interface than the route back.
ARP = {"arp_ignore": 1, "arp_announce": 2, "rp_filter": 0}
