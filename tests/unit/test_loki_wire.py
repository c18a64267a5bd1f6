"""Loki's answers read, and lines brought through whatever they say: pure, against a model of Loki's rules."""

import gzip
import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netvane.common.event_outbox import Row
from netvane.common.loki_delivery import Tally, deliver
from netvane.common.loki_wire import Answer, Meaning, backlog_label, encode_push, read_answer
from netvane.common.timestamps import parse_rfc3339
from tests.lokisink import Behaviour, LokiSink

SECOND = 10**9
HOUR = 3600 * SECOND
NOON = 1_767_268_800 * SECOND

FAR_BEHIND = """\
entry with timestamp 2026-01-01 10:58:50.80086913 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp \
is: 2026-01-01T10:58:50Z, oldest acceptable timestamp is: 2026-01-01T11:00:00Z',
entry with timestamp 2026-01-01 11:58:51 +0100 CET ignored, reason: 'entry too far behind, entry timestamp \
is: 2026-01-01T10:58:51Z, oldest acceptable timestamp is: 2026-01-01T11:00:00Z',
user 'fake', total ignored: 2 out of 9 for stream: {event="dns", host="pi"}
"""
NO_METADATA = (
    "stream '{}' includes structured metadata, but this feature is disallowed. Please see "
    "`limits_config.allow_structured_metadata` or contact your Loki administrator to enable it."
)
TOO_OLD = (
    "entry for stream '{event=\"dns\"}' has timestamp too old: 2025-12-01T00:00:00Z, "
    "oldest acceptable timestamp is: 2025-12-25T13:00:00+01:00"
)
LINE_TOO_LONG = (
    "Max entry size '262144' bytes exceeded for stream '{}' while adding an entry with length '262200' bytes"
)


@pytest.mark.parametrize(
    ("status", "text", "meaning"),
    [
        (200, "", Meaning.ACCEPTED),
        (204, "", Meaning.ACCEPTED),
        (429, "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec)", Meaning.RETRY),
        (500, "", Meaning.RETRY),
        (503, "entry too far behind", Meaning.RETRY),
        (301, "", Meaning.HOLD),
        (401, "no org id", Meaning.HOLD),
        (403, "", Meaning.HOLD),
        (404, "404 page not found", Meaning.HOLD),
        (400, NO_METADATA, Meaning.HOLD),
        (400, FAR_BEHIND, Meaning.TOO_FAR_BEHIND),
        (400, "entry with timestamp … ignored, reason: 'entry out of order'", Meaning.TOO_FAR_BEHIND),
        (400, TOO_OLD, Meaning.TOO_OLD),
        (400, LINE_TOO_LONG, Meaning.REFUSED),
        (400, "entry for stream '{}' has timestamp too new: 2099-01-01T00:00:00Z", Meaning.REFUSED),
        (413, "request body too large", Meaning.REFUSED),
        (422, "", Meaning.REFUSED),
    ],
)
def test_meaning(status: int, text: str, meaning: Meaning) -> None:
    assert read_answer(status, text.encode()).meaning is meaning


def test_times_in_answers() -> None:
    behind = read_answer(400, FAR_BEHIND.encode())
    eleven = parse_rfc3339("2026-01-01T11:00:00Z")
    assert behind.cutoff == eleven
    assert behind.named == {
        parse_rfc3339("2026-01-01T10:58:50.800869130Z"),
        parse_rfc3339("2026-01-01T10:58:51Z"),
    }
    assert behind.ignored == (2, 9)
    assert behind.names(eleven - 1)
    assert not behind.names(eleven)

    old = read_answer(400, TOO_OLD.encode())
    assert old.cutoff == parse_rfc3339("2025-12-25T12:00:00Z")
    bare = read_answer(400, b"entry too far behind")
    assert (bare.cutoff, bare.named, bare.ignored) == (None, frozenset(), None)


fragments = st.sampled_from(
    [
        "entry with timestamp ",
        "2026-01-01 10:58:50.8 +0000 UTC ignored",
        "0000-99-99 99:99:99 -9999 X ignored",
        "9999-12-31 23:59:59.999999999999 -2359 X ignored",
        "entry too far behind",
        "has timestamp too old",
        "oldest acceptable timestamp is: ",
        "2026-01-01T10:58:50Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "9999-99-99T::::Z",
        "\n",
    ]
)


@given(
    st.integers(100, 999),
    st.binary(max_size=500)
    | st.lists(fragments | st.text(max_size=10), max_size=8).map(lambda parts: "".join(parts).encode()),
)
def test_any_answer_has_a_meaning(status: int, body: bytes) -> None:
    answer = read_answer(status, body)
    assert len(answer.text) <= 300
    assert (answer.meaning is Meaning.ACCEPTED) == (200 <= status < 300)


@given(st.text())
def test_any_text_is_a_time_or_not(text: str) -> None:
    for candidate in (text, f"2026-01-01T00:00:00{text}", f"2026-01-01T00:00:00.{text}Z"):
        try:
            assert isinstance(parse_rfc3339(candidate), int)
        except ValueError:
            continue


def rows(times: Sequence[int], mark: str = "") -> list[Row]:
    """dns events with ids in the order given."""
    return [Row(number, ts, "dns", json.dumps({"n": number, "mark": mark})) for number, ts in enumerate(times, 1)]


def test_push_format() -> None:
    body = (
        '{"v":1,"event":"flow","mac":"b8:27:eb:00:00:01","device_name":null,"address":"198.51.100.7","peer_name":"x"}'
    )
    pushed = json.loads(
        gzip.decompress(encode_push({"job": "netvane"}, [Row(1, NOON + 1, "flow", body), Row(2, 3, "dns", "{")]))
    )
    assert pushed == {
        "streams": [
            {
                "stream": {"job": "netvane"},
                "values": [
                    [
                        "1767268800000000001",
                        body,
                        {"mac": "b8:27:eb:00:00:01", "address": "198.51.100.7", "peer_name": "x"},
                    ],
                    ["3", "{", {}],
                ],
            }
        ]
    }


def test_backlog_label() -> None:
    assert backlog_label(NOON) == "2026-01-01T12"
    assert backlog_label(NOON - 1) == "2026-01-01T11"


class Model:
    """Loki by its rules, without the network."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.sink = LokiSink(behaviour)
        self.pushes = 0

    def push(self, labels: dict[str, str], run: Sequence[Row]) -> Answer:
        self.pushes += 1
        assert list(run) == sorted(run, key=lambda row: (row.ts, row.id))
        values = [[str(row.ts), row.body] for row in run]
        complaint = self.sink._store({"streams": [{"stream": labels, "values": values}]}, self.sink.behaviour)
        return read_answer(400 if complaint else 204, complaint.encode())

    def arrived(self, *, backlog: bool = False) -> list[int]:
        """Numbers of the events in the order of their first arrival."""
        lines = [line for line in self.sink.lines if ("backlog" in line.labels) == backlog]
        return list(dict.fromkeys(json.loads(line.line)["n"] for line in lines))


def test_kinds_are_streams_in_the_order_of_time() -> None:
    model, tally = Model(Behaviour()), Tally()
    mixed = [
        Row(1, 50, "flow", '{"n":1}'),
        Row(2, 40, "dns", '{"n":2}'),
        Row(3, 30, "flow", '{"n":3}'),
        Row(4, 40, "dns", '{"n":4}'),
        Row(5, 10, "dns", '{"n":5}'),
    ]
    deliver(mixed, model.push, tally)
    assert [(line.labels, json.loads(line.line)["n"]) for line in model.sink.lines] == [
        ({"event": "dns"}, 5),
        ({"event": "dns"}, 2),
        ({"event": "dns"}, 4),
        ({"event": "flow"}, 3),
        ({"event": "flow"}, 1),
    ]
    assert tally.shipped == 5


def test_too_far_behind_goes_into_the_backlog() -> None:
    model, tally = Model(Behaviour(behind_ns=HOUR)), Tally()
    deliver(rows([NOON]), model.push, tally)
    late = [NOON - 3 * HOUR + second * SECOND for second in range(-50, 50)]
    deliver(rows([*late, NOON - HOUR, NOON + 1]), model.push, tally)
    assert model.arrived(backlog=True) == list(range(1, 101))
    assert {line.labels.get("backlog") for line in model.sink.lines} == {None, "2026-01-01T08", "2026-01-01T09"}
    assert (tally.shipped, tally.late, sum(tally.set_aside.values())) == (103, 100, 0)
    # All late ones are found at once, though Loki names but ten, and no line is sent that it already has.
    assert model.pushes == 4
    assert len(model.sink.lines) == 103


def test_late_lines_of_any_age_and_order_are_taken() -> None:
    model, tally = Model(Behaviour(behind_ns=HOUR)), Tally()
    for hours in (0, 5, 3, 100, 4, 5):
        deliver(rows([NOON - hours * HOUR]), model.push, tally)
    assert (tally.shipped, tally.late) == (6, 5)


@pytest.mark.parametrize("terse", [False, True])
def test_fractions_of_a_second_are_settled(terse: bool) -> None:
    """Loki tells the oldest time that it takes in whole seconds, and names ten lines: more lie within that second."""
    model, tally = Model(Behaviour(behind_ns=HOUR, terse=terse)), Tally()
    deliver(rows([NOON + SECOND // 2]), model.push, tally)
    deliver(rows([NOON - HOUR + number for number in range(35)]), model.push, tally)
    assert model.arrived(backlog=True) == list(range(1, 36))
    assert (tally.shipped, tally.late) == (36, 35)


def test_too_old_is_set_aside_at_once() -> None:
    model, tally = Model(Behaviour(oldest=NOON)), Tally()
    deliver(rows([NOON - HOUR] * 500 + [NOON, NOON + 1]), model.push, tally)
    assert model.arrived() == [501, 502]
    assert tally.set_aside == {"too_old": 500, "too_far_behind": 0, "refused": 0}
    assert model.pushes == 2


def test_a_poison_line_is_found_by_halving() -> None:
    model, tally = Model(Behaviour(poison="bad")), Tally()
    good = rows([NOON + number for number in range(4096)])
    good[1234] = Row(1235, NOON + 1234, "dns", '{"n": 1235, "mark": "bad"}')
    deliver(good, model.push, tally)
    assert sorted(model.arrived()) == [number for number in range(1, 4097) if number != 1235]
    assert (tally.shipped, tally.set_aside["refused"]) == (4095, 1)
    assert model.pushes <= 2 * 12 + 1


def test_nothing_but_poison_comes_to_an_end() -> None:
    model, tally = Model(Behaviour(poison="bad")), Tally()
    deliver(rows(range(100), "bad"), model.push, tally)
    assert (tally.shipped, tally.set_aside["refused"]) == (0, 100)


@settings(max_examples=400)
@given(
    st.lists(st.integers(0, 4 * 3600).map(lambda seconds: NOON - seconds * SECOND), min_size=1, max_size=40),
    st.sets(st.integers(100, 140)),
    st.integers(0, 4),
    st.booleans(),
)
def test_every_line_is_settled_rightly(times: list[int], poison: set[int], oldest_hours: int, terse: bool) -> None:
    """Whatever mix there is: what can be taken is taken, the rest is set aside, and nothing is lost uncounted."""
    oldest = NOON - oldest_hours * HOUR
    model = Model(Behaviour(behind_ns=HOUR, oldest=oldest, poison="bad", terse=terse))
    tally = Tally()
    deliver(rows([NOON]), model.push, tally)  # makes what is more than an hour older too late
    model.sink.lines.clear()
    batch = [
        Row(number, ts, "dns", json.dumps({"n": number, "mark": "bad" if number in poison else ""}))
        for number, ts in enumerate(times, 100)
    ]
    deliver(batch, model.push, tally)
    takable = {row.id for row in batch if row.ts >= oldest and "bad" not in row.body}
    assert {*model.arrived(), *model.arrived(backlog=True)} == takable
    assert tally.shipped == len(takable) + 1
    assert sum(tally.set_aside.values()) == len(batch) - len(takable)
    first_arrivals: dict[str, dict[str, int]] = {}
    for line in model.sink.lines:
        first_arrivals.setdefault(json.dumps(line.labels), {}).setdefault(line.line, line.ts)
    for stream in first_arrivals.values():
        assert list(stream.values()) == sorted(stream.values())
