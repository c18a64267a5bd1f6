"""The rules of the dhcp exporter that need neither files nor sockets."""

from pathlib import Path

import pytest

from netvane.common.leases import LeasesView, PublishedLease, holders, lack_of_lease
from netvane.common.raw_messages import DhcpOffer, DhcpServer, Sighting
from netvane.dhcp import pools
from netvane.dhcp.holdings import GRACE_SECONDS, Change, Holdings
from netvane.dhcp.lease import Damage, Format, Lease
from netvane.dhcp.lease_file import Contents, FileState
from netvane.dhcp.passive import FORGET_SECONDS, Overheard
from netvane.dhcp.pools import Pool
from netvane.dhcp.servers import Server, Servers
from netvane.dhcp.unleased import FORGET_SECONDS as FORGET_ADDRESS_SECONDS
from netvane.dhcp.unleased import AddressesInUse, Unleased
from netvane.dhcp.watched_file import (
    BROKEN_SECONDS,
    CONFIRM_SECONDS,
    MAX_SETTLE_SECONDS,
    MISSING_SECONDS,
    POLL_SECONDS,
    WatchedFile,
)
from tests.leases import leases

PATH = Path("/leases")
WALL = 1_763_000_000.0
ONE, TWO, THREE = leases(3)
MAC, OTHER_MAC = "b8:27:eb:00:00:01", "b8:27:eb:00:00:02"


def contents(*found: Lease, modified: int = 1, complete: bool = True, lease_format: Format = "dnsmasq") -> Contents:
    state = FileState(PATH, 1, 1, 100 * len(found), modified)
    return Contents(lease_format, (state,), {lease.address: lease for lease in found}, (), complete)


def take(file: WatchedFile, read: Contents, now: float, later: Contents | None = None) -> bool:
    if not file.wants_reading(read.states, now):
        return file.settle(now, WALL)
    return file.take(read, (later or read).states, 0.001, now, WALL)


def test_a_whole_file_is_believed_at_once_and_again_when_it_grew() -> None:
    file = WatchedFile(PATH)
    assert take(file, contents(ONE), 0.0)
    assert not file.wants_reading(contents(ONE).states, 1.0)
    assert file.due == 1.0 + POLL_SECONDS
    file.touch(2.0)
    assert take(file, contents(ONE, TWO, modified=2), 2.1)
    assert set(file.leases) == {ONE.address, TWO.address}


def test_a_lease_that_vanishes_is_missed_only_when_the_file_stays_like_that() -> None:
    file = WatchedFile(PATH)
    take(file, contents(ONE, TWO), 0.0)
    file.touch(1.0)
    assert not take(file, contents(ONE, modified=2), 1.1)
    assert set(file.leases) == {ONE.address, TWO.address}
    assert file.due == 1.1 + CONFIRM_SECONDS
    assert take(file, contents(ONE, modified=2), 1.1 + CONFIRM_SECONDS)
    assert set(file.leases) == {ONE.address}


def test_a_half_written_file_is_read_again_until_it_is_whole() -> None:
    file = WatchedFile(PATH)
    take(file, contents(ONE, TWO), 0.0)
    for now in (1.0, 1.2, 1.4):
        file.touch(now)
        assert not take(file, contents(modified=int(now * 10)), now + 0.1)
    file.touch(1.6)
    assert take(file, contents(ONE, TWO, THREE, modified=99), 1.7)
    assert file.reads == {"believed": 2, "unsettled": 3, "failed": 0}


def test_a_file_that_changes_while_it_is_read_is_not_believed_unless_it_only_grows() -> None:
    file = WatchedFile(PATH)
    assert not take(file, contents(ONE), 0.0, later=contents(ONE, TWO, modified=2))
    growing = WatchedFile(PATH)
    assert take(growing, contents(ONE, lease_format="isc"), 0.0, later=contents(ONE, TWO, modified=2))
    replaced = contents(ONE, lease_format="isc")
    assert not take(growing, contents(ONE, TWO, lease_format="isc"), 1.0, later=replaced)


def test_a_file_that_breaks_off_is_believed_in_the_end() -> None:
    file = WatchedFile(PATH)
    broken = contents(ONE, complete=False)
    assert not take(file, broken, 0.0)
    assert not take(file, broken, BROKEN_SECONDS - 0.1)
    assert take(file, broken, BROKEN_SECONDS)


def test_a_file_that_never_pauses_is_read_all_the_same() -> None:
    file = WatchedFile(PATH)
    take(file, contents(ONE), 0.0)
    for number in range(100):
        file.touch(1.0 + number * 0.02)
    assert file.due == 1.0 + MAX_SETTLE_SECONDS


def test_an_unreadable_file_is_news_once_and_keeps_what_it_said() -> None:
    file = WatchedFile(PATH)
    take(file, contents(ONE), 0.0)
    assert not file.fail("No such file or directory", 1.0)
    assert file.fail("No such file or directory", 1.0 + MISSING_SECONDS)
    assert not file.fail("No such file or directory", 12.0)
    assert (set(file.leases), file.problem) == ({ONE.address}, "No such file or directory")
    assert take(file, contents(ONE), 20.0)
    assert file.problem is None


def test_a_damaged_record_counts_once_while_it_is_there() -> None:
    file = WatchedFile(PATH)
    damaged = contents(ONE)._replace(damage=((PATH, Damage(2, "bad")),))
    take(file, damaged, 0.0)
    for now in (1.0, 2.0):
        file.touch(now)
        take(file, damaged, now + 0.2)
    assert file.errors[PATH] == 1
    file.touch(3.0)
    take(file, contents(ONE)._replace(damage=((PATH, Damage(2, "bad")), (PATH, Damage(3, "bad")))), 3.2)
    assert file.errors[PATH] == 2


def by_address(*found: Lease) -> dict[str, Lease]:
    return {lease.address: lease for lease in found}


def test_changes_of_leases() -> None:
    now = float((ONE.expires or 0) - 100)
    holdings = Holdings({})
    assert holdings.update(by_address(ONE, TWO), now) == [Change("new", ONE), Change("new", TWO)]
    longer = Lease(ONE.address, (ONE.expires or 0) + 600, "active", ONE.mac, ONE.client_id, ONE.host_name)
    assert holdings.update(by_address(longer, TWO), now) == []
    renamed = Lease(ONE.address, longer.expires, "active", ONE.mac, ONE.client_id, "freezer")
    assert holdings.update(by_address(renamed, TWO), now) == [Change("renewed", renamed)]
    assert holdings.update(by_address(renamed), now) == [Change("released", TWO)]
    given_to_two = Lease(ONE.address, longer.expires, "active", TWO.mac)
    assert holdings.update(by_address(given_to_two), now) == [Change("released", renamed), Change("new", given_to_two)]


def test_a_lease_ends_as_its_server_says_or_as_the_clock_does() -> None:
    end = float(ONE.expires or 0)
    said_expired = Lease(ONE.address, ONE.expires, "expired", ONE.mac, ONE.client_id, ONE.host_name)
    assert Holdings(by_address(ONE)).update(by_address(said_expired), end - 50) == [Change("expired", ONE)]
    said_released = Lease(ONE.address, ONE.expires, "released", ONE.mac, ONE.client_id, ONE.host_name)
    assert Holdings(by_address(ONE)).update(by_address(said_released), end + 50) == [Change("released", ONE)]
    assert Holdings(by_address(ONE)).update({}, end + 1) == [Change("expired", ONE)]
    holdings = Holdings(by_address(ONE))
    assert holdings.expire(end) == []
    assert holdings.expire(end + GRACE_SECONDS) == [Change("expired", ONE)]
    assert holdings.expire(end + GRACE_SECONDS) == []


def test_pools_in_dnsmasqs_configuration() -> None:
    text = """# dhcp-range=198.51.100.1,198.51.100.2
dhcp-range=198.51.100.100,198.51.100.199,255.255.255.0,12h
dhcp-range=set:guests,203.0.113.10,203.0.113.19
dhcp-range = tag:x, fd00::1000, fd00::1fff, 64, 1h
dhcp-range=::1000,::1fff,constructor:lan
dhcp-range=198.51.100.0,static
"""
    names = [pool.name for pool in pools.from_configuration(text)]
    assert names == ["198.51.100.100-198.51.100.199", "203.0.113.10-203.0.113.19", "fd00::1000-fd00::1fff"]


def test_pools_in_keas_configuration() -> None:
    text = """// a comment
{"Dhcp4": { # another
  "subnet4": [{"subnet": "198.51.100.0/24", "pools": [{"pool": "198.51.100.100 - 198.51.100.109"},]}],
  /* a longer
     one */
  "shared-networks": [{"subnet4": [{"pools": [{"pool": "203.0.113.128/25"}], "comment": "http://x # y"}]}],
}}"""
    assert [pool.size for pool in pools.from_configuration(text)] == [10, 128]
    assert pools.from_configuration('{"Dhcp4": ') == ()


def test_use_of_pools() -> None:
    pool4, pool6 = pools.parse_pool("198.51.100.100-198.51.100.109"), pools.parse_pool("fd00::/120")
    addresses = ["198.51.100.100", "198.51.100.99", "198.51.100.109", "fd00::7", "fd00:1::/56"]
    assert pools.used([pool4, pool6], addresses) == {pool4: 2, pool6: 1}
    assert pool6 == Pool(6, 0xFD << 120, (0xFD << 120) + 255)
    with pytest.raises(ValueError, match="not a range"):
        pools.parse_pool("198.51.100.9-198.51.100.1")


ROUTER = DhcpOffer("198.51.100.1", "c0:25:06:1a:2b:01", "198.51.100.50")
ROGUE = DhcpOffer("198.51.100.66", "02:00:00:00:00:66", "198.51.100.51")


def test_the_router_is_learned_and_any_other_server_is_unknown_until_it_is_gone() -> None:
    servers = Servers(())
    assert servers.heard(ROGUE, 0.0) == []
    assert servers.checked([ROUTER, ROGUE], "198.51.100.1", 1.0) == [ROGUE]
    assert servers.learned == {Server("198.51.100.1", "c0:25:06:1a:2b:01")}
    assert servers.checked([ROUTER, ROGUE], "198.51.100.1", 2.0) == []
    assert servers.checked([ROUTER], "198.51.100.1", 3.0) == []
    assert set(servers.answers) == servers.learned
    assert servers.checked([ROGUE], "198.51.100.1", 4.0) == [ROGUE]
    assert len(servers.answers) == 2


def test_the_only_server_is_learned_wherever_it_is_and_of_several_none() -> None:
    alone, several = Servers(()), Servers(())
    assert alone.checked([ROGUE], "198.51.100.1", 1.0) == []
    assert several.checked([ROUTER, ROGUE], None, 1.0) == [ROUTER, ROGUE]
    assert several.learned == set()


def test_a_known_address_from_another_mac_address_is_another_server() -> None:
    servers = Servers([Server(ROUTER.server, ROUTER.mac)])
    forged = DhcpOffer(ROUTER.server, ROGUE.mac)
    assert servers.heard(forged, 1.0) == [forged]
    assert servers.heard(forged, 2.0) == []


def test_the_owner_names_the_known_servers() -> None:
    servers = Servers([Server(ROUTER.server, ROUTER.mac)])
    servers.configured = frozenset({ROGUE.mac})
    assert servers.checked([ROUTER, ROGUE], ROUTER.server, 1.0) == [ROUTER]


def sighting(message: str, *, kind: str = "dhcp4", mac: str = MAC, **more: object) -> Sighting:
    return Sighting(ts=0, interface="eth0", mac=mac, kind=kind, message=message, **more)  # type: ignore[arg-type] # short


def answer(message: str, client: str, offered: str | None = None) -> Sighting:
    server = DhcpServer(server_id="198.51.100.1", client_mac=client, offered=offered)
    return sighting(message, mac=ROUTER.mac, address="198.51.100.1", server=server)


def test_an_address_asked_for_and_then_used_is_a_lease() -> None:
    heard = Overheard()
    assert not heard.take(sighting("discover", host_name="fridge", fingerprint=(1, 3), vendor_class="udhcp"), 0.0)
    assert not heard.take(sighting("request", requested="198.51.100.50"), 1.0)
    assert not heard.take(sighting("request", kind="arp", address="198.51.100.51"), 2.0)
    assert heard.take(sighting("announcement", kind="arp", address="198.51.100.50"), 3.0)
    assert heard.leases["198.51.100.50"] == Lease(
        "198.51.100.50", None, mac=MAC, host_name="fridge", vendor_class="udhcp", fingerprint=(1, 3)
    )
    assert not heard.take(sighting("request", kind="arp", address="198.51.100.50"), 4.0)


def test_a_servers_consent_is_enough_and_its_refusal_ends_a_lease() -> None:
    heard = Overheard()
    heard.take(sighting("request", requested="198.51.100.50"), 0.0)
    assert heard.take(answer("ack", MAC, "198.51.100.50"), 1.0)
    assert heard.take(answer("ack", MAC, "198.51.100.60"), 2.0)
    assert set(heard.leases) == {"198.51.100.60"}
    heard.take(sighting("request", requested="198.51.100.60"), 3.0)
    assert heard.take(answer("nak", MAC), 4.0)
    assert not heard.leases
    assert not heard.take(sighting("request", kind="arp", address="198.51.100.60"), 5.0)


def test_releases_and_long_silence_end_what_was_overheard() -> None:
    heard = Overheard()
    heard.take(answer("ack", MAC, "198.51.100.50"), 0.0)
    assert not heard.take(sighting("release", mac=OTHER_MAC, address="198.51.100.50"), 1.0)
    assert heard.take(sighting("release", address="198.51.100.50"), 1.0)
    heard.take(answer("ack", MAC, "198.51.100.50"), 2.0)
    heard.take(sighting("request", kind="arp", address="198.51.100.50"), 100.0)
    assert heard.forget(50.0 + FORGET_SECONDS) == []
    (ended,) = heard.forget(101.0 + FORGET_SECONDS)
    assert (ended.address, ended.state) == ("198.51.100.50", "expired")
    assert not heard.leases
    heard.restore([Lease("198.51.100.50", None, mac=MAC)], 200.0)
    assert not heard.take(sighting("request", kind="arp", address="198.51.100.50"), 201.0)
    assert heard.take(sighting("release", address="198.51.100.50"), 202.0)


def test_a_dhcpv6_client_uses_what_it_asked_for() -> None:
    heard = Overheard()
    heard.take(sighting("request", kind="dhcp6", address="fe80::1", requested="fd00::1000", client_id="0003"), 0.0)
    assert not heard.take(sighting("solicitation", kind="nd", address="fe80::1"), 1.0)
    assert heard.take(sighting("solicitation", kind="nd", address="fd00::1000"), 2.0)
    assert heard.leases["fd00::1000"].client_id == "0003"


def test_addresses_in_use_without_a_lease() -> None:
    held = holders(
        LeasesView((PublishedLease("198.51.100.20", MAC), PublishedLease("198.51.100.21", OTHER_MAC)), complete=True)
    )
    assert lack_of_lease("198.51.100.20", MAC, held) is None
    used = AddressesInUse()
    for address in ("198.51.100.20", "198.51.100.21", "198.51.100.22", "198.51.100.1", "169.254.7.7"):
        used.take(sighting("request", kind="arp", address=address), 0.0)
    exempt = frozenset({"198.51.100.1"})
    assert used.without_lease(held, exempt, "198.51.100.0/24", 30.0) == []
    found = used.without_lease(held, exempt, "198.51.100.0/24", 90.0)
    assert found == [Unleased("198.51.100.21", MAC, "other"), Unleased("198.51.100.22", MAC, "none")]
    assert used.without_lease(held, exempt, "198.51.100.0/24", 1.0 + FORGET_ADDRESS_SECONDS) == []
