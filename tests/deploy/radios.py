"""Gadgets in the air of a virtual machine, run over ssh: radios of mac80211_hwsim, each with a station's programs and a
network of its own.
"""

from dataclasses import dataclass

from tests.deploy.target import Target
from tests.lab.home import UDHCPC_SCRIPT
from tests.lab.wait import eventually

# What the stations need, which are on the same machine; and what the role would install, but for what it has to cope
# without at first: an emulated processor takes ten minutes for these.
PACKAGES = ("busybox-static", "iw", "wpasupplicant", "dnsmasq-base", "hostapd", "nftables", "wireshark-common")
ACCESS_POINT = "wlan0"
FILES = {
    "etc/modules-load.d/radios.conf": "mac80211_hwsim\n",
    "etc/modprobe.d/radios.conf": "options mac80211_hwsim radios=3\n",
    # As most cards are at first; simulated ones are not.
    "etc/udev/rules.d/90-radios.rules": (
        'ACTION=="add", SUBSYSTEM=="net", KERNEL=="wlan*", RUN+="/usr/sbin/iw dev %k set power_save on"\n'
    ),
}
ASSOCIATION_SECONDS = 120.0
KEYS = {
    "wpa2": "key_mgmt=WPA-PSK\n  ieee80211w=0",
    "wpa3": "key_mgmt=SAE\n  ieee80211w=2",
}


def connecting(address: str, port: int) -> str:
    """A command that fails unless somebody takes its connection."""
    return f"timeout 10 bash -c '</dev/tcp/{address}/{port}'"


@dataclass(frozen=True)
class Station:
    """The radio `number` of the machine, in a network namespace called `name`; its interface is there as it is here."""

    machine: Target
    name: str
    number: int

    @property
    def interface(self) -> str:
        return f"wlan{self.number}"

    def run(self, command: str, *, check: bool = True) -> str:
        return self.machine.run(f"ip netns exec {self.name} {command}", check=check).stdout

    def unpack(self) -> None:
        """Its radio leaves the machine's network."""
        self.machine.run(
            f"ip netns add {self.name}\n"
            f"iw phy phy{self.number} set netns name {self.name}\n"
            f"ip -n {self.name} link set lo up\n"
            "cat >/root/lease.sh && chmod 755 /root/lease.sh",
            stdin=UDHCPC_SCRIPT,
        )

    @property
    def mac(self) -> str:
        return self.run(f"cat /sys/class/net/{self.interface}/address").strip()

    def associate(self, ssid: str, passphrase: str, security: str) -> None:
        """As `security` (wpa2, wpa3) has it. Raises TimeoutError."""
        network = f'  ssid="{ssid}"\n  psk="{passphrase}"\n  {KEYS[security]}\n'
        self.machine.run(
            f"cat >/root/{self.name}.conf", stdin=f"ctrl_interface=/run/{self.name}\nnetwork={{\n{network}}}\n"
        )
        self.run(f"wpa_supplicant -B -D nl80211 -i {self.interface} -c /root/{self.name}.conf -P /run/{self.name}.pid")
        eventually(lambda: self.state() == "COMPLETED", within=ASSOCIATION_SECONDS, what=f"{self.name} on the air")

    def state(self) -> str:
        """wpa_supplicant's, as COMPLETED or SCANNING."""
        lines = self.run(f"wpa_cli -p /run/{self.name} -i {self.interface} status", check=False).splitlines()
        return dict(line.partition("=")[::2] for line in lines).get("wpa_state", "")

    def leave(self) -> None:
        self.machine.run(f"kill $(cat /run/{self.name}.pid)")

    def lease(self) -> str:
        """The address that it was given. Raises CommandError."""
        said = self.run(
            f"busybox udhcpc -n -q -t 10 -T 2 -i {self.interface} -s /root/lease.sh -x hostname:{self.name} 2>&1"
        )
        return said.partition("lease of ")[2].split()[0]

    def pings(self, address: str) -> bool:
        return "1 received" in self.run(f"ping -c 1 -W 3 {address}", check=False)

    def connects(self, address: str, port: int) -> bool:
        return "opened" in self.run(f"{connecting(address, port)} && echo opened", check=False)
