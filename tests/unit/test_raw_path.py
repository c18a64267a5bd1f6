"""The rules of a path trace, with the answers of an imaginary Internet."""

from netvane.common.raw_messages import Hop
from netvane.raw.icmp import EchoReply, ErrorReply, checksum, echo_request4
from netvane.raw.path import Path, Probe

US, THEM = "198.51.100.10", "203.0.113.9"
IDENTIFIER, TOKEN = 0x1234, b"tokentok"


def new_path(max_ttl: int = 5, probes: int = 2) -> Path:
    return Path(THEM, IDENTIFIER, TOKEN, max_ttl=max_ttl, probes=probes)


def expired(probe: Probe, unreachable: str | None = None) -> ErrorReply:
    return ErrorReply(US, THEM, IDENTIFIER, probe.sequence, unreachable)


def arrived(path: Path, probe: Probe) -> EchoReply:
    return EchoReply(IDENTIFIER, probe.sequence, path.payload(probe))


def take(path: Path, probe: Probe, reply: ErrorReply | EchoReply, address: str, rtt: float) -> None:
    assert path.probe_of(reply, address) == probe
    path.answer(probe, reply, address, rtt)


def test_path_to_the_destination() -> None:
    path, sent = new_path(), []
    for probe in path.probes():
        sent.append(probe)
        rtt = 10.0 * probe.ttl - probe.round
        if probe.ttl < 3:
            take(path, probe, expired(probe), f"198.18.0.{probe.ttl}", rtt)
        elif probe.ttl == 3:
            take(path, probe, arrived(path, probe), THEM, rtt)
    # The second round knows where the path ends.
    assert [(probe.round, probe.ttl) for probe in sent] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert path.complete
    assert path.reached
    assert path.hops() == (Hop(1, "198.18.0.1", 9), Hop(2, "198.18.0.2", 19), Hop(3, THEM, 29))


def test_mute_hops_are_waited_for_and_then_said() -> None:
    path = new_path(max_ttl=4, probes=1)
    probes = list(path.probes())
    assert not path.complete
    take(path, probes[2], arrived(path, probes[2]), THEM, 0.3)
    take(path, probes[0], expired(probes[0]), "198.18.0.1", 0.1)
    assert not path.complete
    assert path.hops() == (Hop(1, "198.18.0.1", 0.1), Hop(2), Hop(3, THEM, 0.3))
    take(path, probes[1], expired(probes[1]), "198.18.0.2", 0.2)
    assert path.complete  # nobody waits for the probe that went past the destination


def test_nothing_answers() -> None:
    path = new_path()
    assert len(list(path.probes())) == 10
    assert (path.complete, path.reached, path.hops()) == (False, False, ())


def test_a_router_that_passes_nothing_on_ends_the_path() -> None:
    path = new_path(max_ttl=30, probes=3)
    probes = path.probes()
    first, second, third = next(probes), next(probes), next(probes)
    take(path, first, expired(first), "198.18.0.1", 0.1)
    take(path, third, expired(third, "network"), "198.18.0.2", 0.2)
    take(path, second, expired(second, "network"), "198.18.0.2", 0.4)
    assert {probe.ttl for probe in probes} == {1, 2}
    assert path.hops() == (Hop(1, "198.18.0.1", 0.1), Hop(2, "198.18.0.2", 0.4, "network"))
    assert not path.reached


def test_a_destination_that_prohibits_echo_is_reached() -> None:
    path = new_path(max_ttl=2, probes=1)
    first, second = path.probes()
    take(path, second, expired(second, "prohibited"), THEM, 0.2)
    assert path.reached
    assert path.hops() == (Hop(1), Hop(2, THEM, 0.2, "prohibited"))
    assert path.probe_of(expired(first), "198.18.0.1") == first


def test_path_that_changes_meanwhile() -> None:
    """The destination counts before a router that answered at the same distance, faster."""
    path = new_path(max_ttl=3, probes=2)
    for probe in path.probes():
        if probe.round == 0 and probe.ttl < 3:
            take(path, probe, expired(probe), f"198.18.0.{probe.ttl}", 0.1)
        elif probe.ttl >= 2:
            take(path, probe, arrived(path, probe), THEM, 0.2)
    assert path.hops() == (Hop(1, "198.18.0.1", 0.1), Hop(2, THEM, 0.2))
    assert path.reached


def test_only_the_first_answer_to_our_own_probe_counts() -> None:
    path = new_path()
    probes = path.probes()
    probe = next(probes)
    unsent = Probe(2, 0)
    payload = path.payload(probe)
    for reply, address in (
        (expired(unsent), "198.18.0.1"),
        (ErrorReply(US, THEM, IDENTIFIER + 1, probe.sequence, None), "198.18.0.1"),
        (ErrorReply(US, "203.0.113.10", IDENTIFIER, probe.sequence, None), "198.18.0.1"),
        (expired(probe, "host"), US),  # our own kernel, which could not find the router
        (EchoReply(IDENTIFIER + 1, probe.sequence, payload), THEM),
        (EchoReply(IDENTIFIER, unsent.sequence, payload), THEM),
        (EchoReply(IDENTIFIER, probe.sequence, payload), "203.0.113.10"),
        (EchoReply(IDENTIFIER, probe.sequence, payload[:-1]), THEM),
        (EchoReply(IDENTIFIER, probe.sequence, b"xxxxxxxx" + payload[8:]), THEM),
    ):
        assert path.probe_of(reply, address) is None
    take(path, probe, expired(probe), "198.18.0.1", 0.1)
    assert path.probe_of(expired(probe), "198.18.0.1") is None


def test_all_probes_have_one_checksum() -> None:
    path = new_path(max_ttl=64, probes=5)
    messages = [echo_request4(IDENTIFIER, probe.sequence, path.payload(probe)) for probe in path.probes()]
    assert len({message[6:8] for message in messages}) == 320
    assert len({message[2:4] for message in messages}) == 1
    assert {checksum(message) for message in messages} == {0}
