"""Presence: nobody asleep is called away, nobody gone is called here."""

import random

import pytest

from netvane.hosts.presence import BASE_ROUNDS, LONGEST_LIMIT, QUIET_AFTER, Presence, State

WEEK = 2016  # sweeps, one every five minutes


def play(presence: Presence, heard: list[bool], *, expected: bool = False) -> list[State]:
    states = []
    for is_heard in heard:
        presence.heard |= is_heard
        presence.end_round(expected=expected)
        states.append(presence.state(expected=expected))
    return states


@pytest.mark.parametrize("seed", range(50))
def test_a_week_of_a_phone_that_answers_one_sweep_in_six(seed: int) -> None:
    """Recorded evidence of 2,016 sweeps: never away."""
    dice = random.Random(seed)  # noqa: S311 - a repeatable week, no secret
    states = play(Presence(), [dice.randrange(6) == 0 for _ in range(WEEK)])
    assert "away" not in states
    assert states.count("quiet") > WEEK / 10


@pytest.mark.parametrize("period", [2, 3, 6, 12])
def test_a_regular_sleeper_is_never_away(period: int) -> None:
    states = play(Presence(), [number % period == period - 1 for number in range(WEEK)])
    assert "away" not in states


def test_a_phone_that_has_slept_for_a_week_is_away_within_a_working_day_of_leaving() -> None:
    presence = Presence()
    dice = random.Random(1)  # noqa: S311
    play(presence, [dice.randrange(6) == 0 for _ in range(WEEK)])
    states = play(presence, [False] * 120)
    assert states[0] != "away"
    assert states[-1] == "away"


def test_a_device_that_always_answers_is_missed_soon() -> None:
    presence = Presence()
    play(presence, [True] * WEEK)
    assert presence.limit(expected=False) == BASE_ROUNDS
    assert play(presence, [False] * 4) == ["present", "quiet", "away", "away"]


@pytest.mark.parametrize("heard", [0, 1, 3, 300])
def test_an_expected_device_is_missed_within_half_an_hour_however_new_it_is(heard: int) -> None:
    presence = Presence(heard=False)
    states = play(presence, [True] * heard + [False] * 6, expected=True)
    assert states[heard : heard + 2] == ["present", "quiet"]
    assert states[-1] == "away"


def test_an_expected_sleeper_teaches_its_habits_by_its_first_silences() -> None:
    dice = random.Random(7)  # noqa: S311
    week = [dice.randrange(6) == 0 for _ in range(WEEK)]
    states = play(Presence(), week, expected=True)
    assert "away" not in states[72:]  # six hours


def test_one_missed_sweep_changes_nothing() -> None:
    presence = Presence()
    states = play(presence, [True] * 300 + [False] + [True] * 300)
    assert set(states) == {"present"}


def test_heard_again_is_present_at_once_and_not_at_the_next_sweep() -> None:
    presence = Presence()
    play(presence, [True] * 300 + [False] * 10)
    states = [presence.state(expected=False)]
    presence.heard = True
    assert [*states, presence.state(expected=False)] == ["away", "present"]


def test_long_absences_are_not_learned_as_usual() -> None:
    """A phone that leaves for nine hours every day is away each time, also after a month of it."""
    presence = Presence()
    for _ in range(30):
        states = play(presence, [True] * 180 + [False] * 108)
    assert states[-1] == "away"
    assert presence.limit(expected=False) < 40


def test_limit_is_bounded_whatever_is_learned() -> None:
    presence = Presence()
    for silence in range(0, 400, 7):
        play(presence, [False] * silence + [True])
        assert BASE_ROUNDS <= presence.limit(expected=True) <= presence.limit(expected=False) <= LONGEST_LIMIT


def test_states_come_in_order() -> None:
    presence = Presence()
    play(presence, [True] * 20)
    states = play(presence, [False] * 40)
    assert states == sorted(states, key=["present", "quiet", "away"].index)
    assert states.index("quiet") == QUIET_AFTER - 1
