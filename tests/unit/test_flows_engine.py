"""The engine's sums: equal to a plain decoder's, and never falling, whatever the table forgets."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from netvane.flows.classnames import CLASSES
from netvane.flows.engine import Engine
from netvane.flows.prefixes import Prefixes
from netvane.flows.totals import LAN, OTHER_DEVICE, RX, TX, WAN
from tests import frames
from tests.batches import batch_of

SECOND = 1_000_000_000
LOCAL = Prefixes(["198.51.100.0/24", "fd00:51::/32"])


def whole(*made: bytes) -> list[tuple[bytes, int]]:
    return [(frame, len(frame)) for frame in made]


def class_frames(engine: Engine) -> dict[str, int]:
    engine.settle()
    return {name: int(count) for name, count in zip(CLASSES, engine.totals.class_frames, strict=True) if count}


def everything(engine: Engine) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    engine.settle()
    totals = engine.totals
    sums = [np.array([totals.all_frames, totals.all_bytes], dtype=np.uint64), totals.class_frames]
    return np.concatenate([*sums, *(part.reshape(-1) for part in (totals.frames, totals.bytes, totals.classes))])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 400))
def test_counts_of_mutated_frames_equal_a_plain_decoder(seed: int, count: int) -> None:
    captured = list(frames.mutated(seed, count))
    engine = Engine(LOCAL, groups=True)
    engine.process(batch_of(captured))
    expected: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    for frame, wire in captured:
        expected.update(frames.classes(frame, wire))
        if len(frame) >= 12:
            sent[frame[6:12].hex(":")] += wire
    assert class_frames(engine) == expected
    assert engine.totals.all_frames == count
    assert engine.totals.all_bytes == sum(wire for _, wire in captured)
    tx = {mac: int(engine.totals.bytes[number, TX].sum()) for mac, number in engine.devices.items()}
    assert {mac: size for mac, size in tx.items() if size} == {mac: size for mac, size in sent.items() if size}


def test_lan_and_wan_are_told_apart_by_the_far_address() -> None:
    engine = Engine(LOCAL)
    up = frames.ethernet(frames.ipv4(frames.udp(1, 2, bytes(80)), 17))
    down = frames.ethernet(
        frames.ipv4(frames.udp(2, 1, bytes(90)), 17, frames.FAR, frames.LOCAL),
        source=frames.ROUTER,
        destination=frames.GADGET,
    )
    near = frames.ethernet(frames.ipv4(frames.udp(1, 2), 17, destination=bytes([198, 51, 100, 21])))
    group = frames.ethernet(frames.ipv4(frames.udp(5353, 5353), 17, destination=bytes([224, 0, 0, 251])))
    engine.process(batch_of(whole(up, down, near, group)))
    engine.settle()
    gadget = dict(engine.devices.items())[frames.GADGET.hex(":")]
    router = dict(engine.devices.items())[frames.ROUTER.hex(":")]
    totals = engine.totals.bytes
    assert totals[gadget, TX, WAN] == len(up)
    assert totals[gadget, RX, WAN] == len(down)
    assert totals[gadget, TX, LAN] == len(near) + len(group)
    # To the router the gadget is the far end, and it is near.
    assert totals[router, RX, LAN] == len(up) + len(near) + len(group)


def flood(count: int, start: int) -> list[tuple[bytes, int]]:
    """SYNs of a gadget, each a flow of its own."""
    return whole(
        *(
            frames.ethernet(frames.ipv4(frames.tcp(20000 + number % 40000, 80, 2), 6, destination=number.to_bytes(4)))
            for number in range(start, start + count)
        )
    )


def test_no_counter_falls_through_expiry_a_full_table_and_new_prefixes() -> None:
    engine = Engine(LOCAL, bits=10)
    before = everything(engine)
    frames_seen = 0
    for step in range(12):
        captured = flood(300, 0x0B000000 + 300 * step) + whole(*frames.samples())
        frames_seen += len(captured)
        engine.process(batch_of(captured, ts=step * 20 * SECOND))
        if step == 5:
            assert engine.table.full
            assert engine.table.folded_frames > 0
            engine.set_prefixes(Prefixes(["203.0.113.0/24"]))
        if step % 3 == 2:
            engine.expire(step * 20 * SECOND, tell=1000)
        after = everything(engine)
        assert len(after) == len(before)
        assert (after >= before).all()
        assert engine.totals.all_frames == frames_seen
        before = after
    assert engine.table.taken < 700
    assert class_frames(engine)["tcp_syn"] >= 12 * 300


def test_a_full_table_still_knows_who_sent_what() -> None:
    engine = Engine(LOCAL, bits=8)
    captured = flood(2000, 0x0B000000)
    engine.process(batch_of(captured))
    assert class_frames(engine) == {"tcp": 2000, "tcp_syn": 2000, "http": 2000}
    gadget = dict(engine.devices.items())[frames.GADGET.hex(":")]
    assert int(engine.totals.frames[gadget, TX, WAN]) == 2000


def test_made_up_addresses_fill_neither_the_table_nor_the_list_of_devices() -> None:
    engine = Engine(LOCAL, bits=8, max_devices=20)
    many = [frames.ethernet(bytes(46), 0x0806, source=b"\x02" + number.to_bytes(5)) for number in range(3000)]
    for start in range(0, 3000, 100):
        engine.process(batch_of(whole(*many[start : start + 100])))
    engine.settle()
    assert len(engine.devices.items()) == 20
    assert engine.table.taken <= 256
    assert int(engine.totals.frames[:, TX].sum()) == 3000
    assert int(engine.totals.frames[OTHER_DEVICE, TX].sum()) >= 2800
    assert class_frames(engine) == {"arp": 3000}


def test_a_conversation_becomes_one_flow() -> None:
    engine = Engine(LOCAL)
    forth, back = (frames.LOCAL, frames.FAR), (frames.FAR, frames.LOCAL)
    script = [(forth, 40000, 443, 0x02), (back, 443, 40000, 0x12), (forth, 40000, 443, 0x18)]
    script += [(back, 443, 40000, 0x11), (forth, 40000, 443, 0x11)]
    for second, (ends, source, destination, flags) in enumerate(script):
        macs = (frames.GADGET, frames.ROUTER) if ends == forth else (frames.ROUTER, frames.GADGET)
        made = frames.ethernet(frames.ipv4(frames.tcp(source, destination, flags), 6, *ends), 0x0800, *macs)
        engine.process(batch_of(whole(made), ts=(10 + second) * SECOND))
    assert engine.expire(16 * SECOND, tell=1000).records == []
    (flow,) = engine.expire(20 * SECOND, tell=1000).records
    assert (flow.state, flow.tx_frames, flow.rx_frames, flow.forward, flow.local) == ("closed", 3, 2, True, False)
    assert (flow.first, flow.last, flow.tcp_flags) == (10 * SECOND, 14 * SECOND, 0x1B)
    assert flow.tx_bytes == 3 * 54
    assert engine.table.taken == 0


def test_a_long_flow_is_told_every_five_minutes_with_what_it_did_since() -> None:
    engine = Engine(LOCAL)
    made = frames.ethernet(frames.ipv4(frames.udp(50000, 4500, bytes(100)), 17))
    told = []
    for second in range(0, 1000, 10):
        engine.process(batch_of(whole(made), ts=second * SECOND))
        told += engine.expire(second * SECOND, tell=1000).records
    told += engine.expire(2000 * SECOND, tell=1000).records
    assert [flow.state for flow in told] == ["open", "open", "open", "timeout"]
    assert sum(flow.tx_frames for flow in told) == 100


def test_flows_that_are_not_told_are_counted_and_long_ones_told_the_next_time() -> None:
    engine = Engine(LOCAL)
    engine.process(batch_of(flood(30, 0x0B000000)))
    made = frames.ethernet(frames.ipv4(frames.udp(50000, 4500, bytes(100)), 17))
    for second in range(0, 400, 10):
        engine.process(batch_of(whole(made), ts=second * SECOND))
    first = engine.expire(400 * SECOND, tell=0)
    assert (first.records, first.untold, len(first.kept)) == ([], 30, 1)
    second_time = engine.expire(420 * SECOND, tell=2)
    assert [(flow.state, flow.tx_frames) for flow in second_time.records] == [("open", 40)]
    engine.process(batch_of(flood(30, 0x0C000000) + whole(made), ts=430 * SECOND))
    some = engine.expire(465 * SECOND, tell=7)
    assert (len(some.records), some.untold, engine.table.taken) == (7, 23, 1)
    assert len({flow.key for flow in some.records}) == 7
