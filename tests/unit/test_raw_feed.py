import asyncio

import pytest

from netvane.common.raw_messages import Missed, Sighting
from netvane.raw import feed as feeds
from netvane.raw.feed import Feed


def sighting(number: int, message: str = "request", ts: int = 0) -> Sighting:
    return Sighting(ts=ts, interface="eth0", mac=f"02:00:00:00:00:{number:02x}", kind="arp", message=message)


async def take_all(feed: Feed, *later: Sighting) -> list[Sighting | Missed]:
    with feed.subscribe() as subscription:
        for one in later:
            feed.publish(one)
        taken: list[Sighting | Missed] = []
        while subscription_has_more(subscription):
            taken += await subscription.take(2)
        return taken


def subscription_has_more(subscription: feeds.Subscription) -> bool:
    return bool(subscription._queue)


def test_a_new_subscriber_gets_the_latest_of_each_sort_then_what_comes() -> None:
    feed = Feed()
    first, again, other, reply = sighting(1, ts=1), sighting(1, ts=2), sighting(2), sighting(1, "reply")
    for one in (first, other, again, reply):
        feed.publish(one)
    assert asyncio.run(take_all(feed, first)) == [other, again, reply, first]
    assert (feed.sightings, feed.recent, feed.subscribers, feed.missed) == (5, 3, 0, 0)


def test_what_was_not_heard_of_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "RECENT", 3)
    feed = Feed()
    for number in (1, 2, 3, 1, 4):
        feed.publish(sighting(number))
    assert asyncio.run(take_all(feed)) == [sighting(3), sighting(1), sighting(4)]
    assert (feed.recent, feed.evicted) == (3, 1)


def test_a_slow_subscriber_is_told_what_it_missed_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "QUEUED", 3)
    feed = Feed()

    async def slow() -> list[Sighting | Missed]:
        with feed.subscribe() as subscription, feed.subscribe() as attentive:
            for number in range(1, 6):
                feed.publish(sighting(number))
                assert await attentive.take(10) == [sighting(number)]
            taken = await subscription.take(2)
            feed.publish(sighting(6))  # finds room again
            return taken + await subscription.take(10)

    assert asyncio.run(slow()) == [sighting(1), sighting(2), sighting(3), Missed(2), sighting(6)]
    assert feed.missed == 2


def test_a_gap_at_the_end_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "QUEUED", 1)
    assert asyncio.run(take_all(Feed(), sighting(1), sighting(2))) == [sighting(1), Missed(1)]


def test_waiting_for_news() -> None:
    feed = Feed()

    async def wait() -> None:
        with feed.subscribe() as subscription:
            waiting = asyncio.create_task(subscription.take(10))
            await asyncio.sleep(0)
            assert not waiting.done()
            feed.publish(sighting(1))
            assert await waiting == [sighting(1)]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(subscription.take(10), 0.01)

    asyncio.run(wait())
