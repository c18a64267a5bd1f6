"""Who claims what: attacks are named, ordinary life is not."""

from netvane.common.clock import NANOSECONDS
from netvane.hosts import newcomers as newcomers_module
from netvane.hosts.anomalies import ACTIVE_SECONDS, MAX_ACTIVE, ActiveAnomalies, ClaimWatch, Finding
from netvane.hosts.evidence import Evidence, Source
from netvane.hosts.identity import Candidate, claimed_names, find_tie, name_key
from netvane.hosts.newcomers import CROWD, HOLD_SECONDS, Newcomers

ROUTER, GADGET, ATTACKER = "c0:25:06:00:00:01", "24:0a:c4:00:00:02", "00:0c:29:00:00:66"
PHONE_OLD, PHONE_NEW = "02:11:11:11:11:11", "06:22:22:22:22:22"
GATEWAY = "198.51.100.1"


def claim(mac: str, seconds: float, address: str = GATEWAY, source: Source = "arp") -> Evidence:
    return Evidence(mac, int(seconds * NANOSECONDS), source, address=address)


def watch(*, together: frozenset[str] = frozenset()) -> ClaimWatch:
    return ClaimWatch(lambda mac, other: {mac, other} <= together)


def found(claims: ClaimWatch, *pieces: Evidence) -> list[tuple[str, str | None, str | None]]:
    findings = [finding for piece in pieces for finding in claims.observe(piece)]
    return [(finding.anomaly, finding.mac, finding.peer) for finding in findings]


def test_mine_yours_mine_is_a_conflict_and_the_newcomer_is_named() -> None:
    address = "198.51.100.20"
    claims = watch()
    assert found(claims, claim(GADGET, 0, address), claim(ATTACKER, 1, address)) == []
    assert found(claims, claim(GADGET, 2, address)) == [("duplicate_address", ATTACKER, GADGET)]


def test_two_answers_to_one_sweep_are_a_conflict() -> None:
    claims = watch()
    assert found(claims, claim(GADGET, 0, source="sweep"), claim(ATTACKER, 0.001, source="sweep")) == [
        ("duplicate_address", ATTACKER, GADGET)
    ]


def test_a_lease_that_passes_on_is_none() -> None:
    address = "198.51.100.120"
    claims = watch()
    pieces = [claim(GADGET, second, address) for second in range(5)]
    pieces += [claim(PHONE_OLD, second, address) for second in range(5, 60)]
    assert found(claims, *pieces) == []
    # … and back again after the lease time
    assert found(claims, claim(GADGET, 3600, address)) == []


def test_two_interfaces_of_one_device_are_none() -> None:
    claims = watch(together=frozenset({GADGET, PHONE_OLD}))
    pieces = [claim(mac, second) for second, mac in enumerate([GADGET, PHONE_OLD] * 5)]
    assert found(claims, *pieces) == []


def test_the_router_is_who_was_there_first() -> None:
    claims = watch()
    claims.watch_routers({GATEWAY}, {})
    assert found(claims, claim(ROUTER, 0), claim(GADGET, 1, "198.51.100.20")) == []
    assert found(claims, claim(ATTACKER, 2)) == [("router_identity_changed", ATTACKER, ROUTER)]
    assert claims.routers[GATEWAY].mac == ROUTER


def test_the_router_known_from_before_a_restart_is_believed() -> None:
    claims = watch()
    claims.watch_routers({GATEWAY}, {GATEWAY: ROUTER})
    assert found(claims, claim(ATTACKER, 2)) == [("router_identity_changed", ATTACKER, ROUTER)]


def test_a_new_router_is_taken_for_one_when_the_old_one_stays_silent() -> None:
    claims = watch()
    claims.watch_routers({GATEWAY}, {GATEWAY: ROUTER})
    for minute in range(12):
        claims.observe(claim("c0:25:06:00:00:99", minute * 60))
    assert claims.routers[GATEWAY].mac == "c0:25:06:00:00:99"
    assert found(claims, claim("c0:25:06:00:00:99", 900)) == []


def test_an_attacker_does_not_become_the_router_while_the_router_lives() -> None:
    claims = watch()
    claims.watch_routers({GATEWAY}, {GATEWAY: ROUTER})
    for second in range(0, 3600, 30):
        claims.observe(claim(ROUTER, second))
        claims.observe(claim(ATTACKER, second + 15))
    assert claims.routers[GATEWAY].mac == ROUTER


def test_one_mac_with_many_addresses() -> None:
    claims = watch()
    pieces = [claim(ATTACKER, number, f"198.51.100.{number}") for number in range(50, 90)]
    assert ("many_addresses", ATTACKER, None) in found(claims, *pieces)
    assert found(watch(), *pieces[:10]) == []
    slowly = [claim(GADGET, number * 3600, f"198.51.100.{number}") for number in range(50, 90)]
    assert found(watch(), *slowly) == []


def test_ipv6_addresses_may_be_many() -> None:
    pieces = [Evidence(GADGET, number, "nd", address=f"fd00::{number:x}") for number in range(1, 90)]
    assert found(watch(), *pieces) == []


def test_memory_of_claims_is_bounded() -> None:
    claims = watch()
    for number in range(20_000):
        claims.observe(claim(f"06:00:00:00:{number // 256:02x}:{number % 256:02x}", number, f"10.0.{number // 256}.9"))
    assert len(claims._claims) <= 4096
    assert all(len(claimants) <= 8 for claimants in claims._claims.values())
    assert len(claims._addresses) <= 4096


def test_an_anomaly_is_told_once_and_again_after_it_was_over() -> None:
    active = ActiveAnomalies()
    finding = Finding("duplicate_address", ATTACKER, GADGET, GATEWAY, "", {})
    news = [active.note(finding, second * NANOSECONDS) for second in range(0, 300, 10)]
    assert news == [True] + [False] * 29
    later = (300 + ACTIVE_SECONDS) * NANOSECONDS
    assert active.current(300 * NANOSECONDS) == {("duplicate_address", ATTACKER, GADGET)}
    assert active.current(later) == set()
    assert active.note(finding, later)
    assert active.begun["duplicate_address"] == 2


def test_active_anomalies_are_bounded() -> None:
    active = ActiveAnomalies()
    for number in range(1000):
        active.note(Finding("many_addresses", f"06:{number}", None, None, "", {}), NANOSECONDS)
    assert len(active.current(NANOSECONDS)) == MAX_ACTIVE


def phone(mac: str, last: int, *names: str, client_id: str | None = None) -> Candidate:
    return Candidate(mac, mac, last, frozenset(names), client_id)


def test_a_new_random_mac_with_the_old_name_is_the_old_phone() -> None:
    tie = find_tie(phone(PHONE_NEW, 100, "Annas-Fairphone"), 100, [phone(PHONE_OLD, 90, "annas-fairphone.lan")])
    assert tie is not None
    assert (tie.device, tie.reason) == (PHONE_OLD, "DHCP host name annas-fairphone")


def test_a_client_id_ties_better_than_a_name() -> None:
    duid = "ff00000001000100011a2b3c4d"
    others = [phone(PHONE_OLD, 90, "iPhone", client_id=duid), phone("0a:33:33:33:33:33", 90, "other")]
    tie = find_tie(phone(PHONE_NEW, 100, "iPhone", client_id=duid), 100, others)
    assert tie is not None
    assert tie.reason == "DHCP client id"
    with_mac = "01" + PHONE_NEW.replace(":", "")
    assert find_tie(phone(PHONE_NEW, 100, client_id=with_mac), 100, [phone(PHONE_OLD, 90, client_id=with_mac)]) is None


def test_nobody_is_tied_who_is_not_certain() -> None:
    new = phone(PHONE_NEW, 100, "fairphone")
    assert find_tie(new, 100, [phone(PHONE_OLD, 100, "fairphone")]) is None  # both talk
    assert find_tie(new, 100, [phone(PHONE_OLD, 90, "fairphone"), phone("0a:33:33:33:33:33", 80, "fairphone")]) is None
    assert find_tie(new, 100, [phone(GADGET, 90, "fairphone")]) is None  # a real MAC does not change
    assert find_tie(phone(GADGET, 100, "fairphone"), 100, [phone(PHONE_OLD, 90, "fairphone")]) is None
    assert find_tie(phone(PHONE_NEW, 100, "iPhone"), 100, [phone(PHONE_OLD, 90, "iPhone")]) is None
    assert find_tie(phone(PHONE_NEW, 100), 100, [phone(PHONE_OLD, 90)]) is None


def test_a_claimed_name() -> None:
    new = phone(ATTACKER, 100, "nas")
    assert claimed_names(new, [phone(GADGET, 99, "NAS.lan")], 50) == [("nas", phone(GADGET, 99, "NAS.lan"))]
    assert claimed_names(new, [phone(GADGET, 40, "nas")], 50) == []
    assert claimed_names(phone(ATTACKER, 100, "localhost"), [phone(GADGET, 99, "localhost")], 50) == []
    assert name_key("ESP-1A2B") == "esp-1a2b"
    assert name_key("android-dhcp-14") is None


def stranger(number: int, seconds: float, *, source: Source = "arp", is_answer: bool = False) -> Evidence:
    mac = f"06:00:00:00:{number // 256:02x}:{number % 256:02x}"
    return Evidence(mac, int(seconds * NANOSECONDS), source, address="198.51.100.9", is_answer=is_answer)


def test_one_stranger_waits_a_moment_and_comes_in_with_all_that_was_said() -> None:
    door = Newcomers()
    assert door.offer(stranger(1, 10), 10 * NANOSECONDS) == []
    assert door.offer(stranger(1, 11, source="dhcp"), 11 * NANOSECONDS) == []
    assert door.due(12 * NANOSECONDS) == []
    assert [piece.source for piece in door.due((10 + HOLD_SECONDS) * NANOSECONDS)] == ["arp", "dhcp"]
    assert door.due(20 * NANOSECONDS) == []


def test_who_answers_a_sweep_comes_in_at_once() -> None:
    door = Newcomers()
    door.offer(stranger(1, 10), 10 * NANOSECONDS)
    assert [piece.source for piece in door.offer(stranger(1, 11, source="sweep"), 11 * NANOSECONDS)] == ["arp", "sweep"]


def test_ten_thousand_at_once_stay_out_and_are_one_flood() -> None:
    door = Newcomers()
    for number in range(10_000):
        assert door.offer(stranger(number, 100 + number / 5000), int((100 + number / 5000) * NANOSECONDS)) == []
    assert door.floods == 1
    assert door.due(110 * NANOSECONDS) == []
    flood = door.flood()
    assert flood is not None
    assert flood.turned_away == 10_000
    assert len(door._turned_away) <= newcomers_module.REMEMBERED
    # One who insists keeps nobody else out for ever, and comes in when it is calm.
    for second in range(110, 200):
        door.offer(stranger(20_000, second), second * NANOSECONDS)
        came = door.due(second * NANOSECONDS)
        if came:
            assert not door.flooded
            break
    else:
        raise AssertionError("never let in")


def test_a_flood_during_a_sweep_is_one_and_its_real_answers_come_in() -> None:
    door = Newcomers()
    door.sweep_begins()
    for number in range(10_000):
        door.offer(stranger(number, 100 + number / 5000, is_answer=True), 100 * NANOSECONDS)
    assert door.offer(stranger(60_000, 101, source="sweep"), 101 * NANOSECONDS) != []
    door.sweep_ends(102 * NANOSECONDS)
    assert door.flooded
    assert door.due(110 * NANOSECONDS) == []


def test_two_hundred_answers_of_a_first_sweep_are_no_flood() -> None:
    door = Newcomers()
    door.sweep_begins()
    came = []
    for number in range(200):
        door.offer(stranger(number, 100 + number / 1000, is_answer=True), 100 * NANOSECONDS)
    for number in range(200):
        came += door.offer(stranger(number, 100.5, source="sweep"), 101 * NANOSECONDS)
    door.sweep_ends(101 * NANOSECONDS)
    assert not door.flooded
    assert len({piece.mac for piece in came}) == 200


def test_a_helper_that_hands_over_its_memory_is_no_flood() -> None:
    door = Newcomers()
    for number in range(CROWD * 4):
        door.offer(stranger(number, number * 30), 10_000 * NANOSECONDS)
    assert not door.flooded
    assert len({piece.mac for piece in door.due(10_004 * NANOSECONDS)}) == CROWD * 4
