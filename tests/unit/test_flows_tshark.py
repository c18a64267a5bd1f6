"""The engine against tshark, frame by frame, on real captures of a public test suite."""

from collections import Counter
from pathlib import Path

import dns.rcode
import dns.rdatatype
import numpy as np
import pytest

from netvane.flows import slowpath
from netvane.flows.analyze import analyze
from netvane.flows.classes import classes_of
from netvane.flows.classnames import CLASSES
from netvane.flows.decode import Decoder
from netvane.flows.keys import Hasher
from netvane.flows.pcapfile import CaptureFile
from tests import tshark, tshark_frames

# Why a capture is not compared; all others agree in every frame.
EXPLAINED = {
    "fuzz-2021-10-13.pcap": "its only packet says it has 524501 of 197 bytes: tshark guesses that these are swapped",
}

pytestmark = tshark.needs_tshark

compared = pytest.mark.parametrize("capture", tshark.captures(), ids=lambda path: str(path.name))


def skip_explained(capture: Path) -> None:
    if reason := EXPLAINED.get(capture.name):
        pytest.skip(reason)


@compared
def test_every_frame_has_the_classes_and_the_length_that_tshark_gives_it(capture: Path) -> None:
    skip_explained(capture)
    decoder = Decoder(Hasher())
    found: list[tuple[int, int]] = []
    with CaptureFile(capture) as file:
        for batch in file.batches():
            columns = decoder.decode(batch)
            keys = columns.keys(np.arange(len(batch)))
            links = np.zeros(len(batch), dtype=np.uint64) if batch.links is None else batch.links
            one_by_one = [
                slowpath.decode(batch.frame(row), int(batch.wire[row]), int(links[row])) for row in range(len(batch))
            ]
            slow_keys = np.array([frame.key for frame in one_by_one], dtype=np.uint64)
            plain = columns.hashes != 0
            assert (keys[plain] == slow_keys[plain]).all()
            assert not any(frame.malformed for frame, fast in zip(one_by_one, plain, strict=True) if fast)
            keys[~plain] = slow_keys[~plain]
            counted = batch.wire if batch.counted is None else batch.counted
            found += zip(counted.tolist(), classes_of(keys).tolist(), strict=True)
        assert file.problem is None
    ours = [(length, frozenset(name for bit, name in enumerate(CLASSES) if bits >> bit & 1)) for length, bits in found]
    assert ours == [(frame.length, frame.classes) for frame in tshark_frames.frames(capture)]


@compared
def test_analysis_equals_tshark_in_sum(capture: Path) -> None:
    skip_explained(capture)
    frames = tshark_frames.frames(capture)
    analysis = analyze(capture)
    assert (analysis.frames, analysis.bytes) == (len(frames), sum(frame.length for frame in frames))
    classes = Counter(name for frame in frames for name in frame.classes)
    assert {name: count for name, count in analysis.classes.items() if count} == classes
    devices: dict[str, list[int]] = {}
    for frame in frames:
        for mac, column in ((frame.source, 0), (frame.destination, 2)):
            if mac:
                counts = devices.setdefault(mac, [0, 0, 0, 0])
                counts[column] += 1
                counts[column + 1] += frame.length
    assert {
        mac: [counts.tx_frames, counts.tx_bytes, counts.rx_frames, counts.rx_bytes]
        for mac, counts in analysis.devices.items()
    } == devices
    assert [
        (
            line.name,
            int(dns.rdatatype.from_text(line.type)),
            line.response,
            None if line.rcode is None else int(dns.rcode.from_text(line.rcode)),
        )
        for line in analysis.dns
    ] == [query for frame in frames for query in frame.queries]
