"""The access token of one key: one file, one issue a minute, whatever happens in between."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from trading.broker.auth import NotSentError, TokenCache
from trading.broker.settings import Credentials
from trading.clock import ManualClock
from trading.errors import AuthenticationError, BrokerError, TransientBrokerError
from trading.wire.values import KST

NOW = datetime(2024, 1, 5, 0, 0, tzinfo=UTC)
CREDENTIALS = Credentials(
    app_key="key-of-test", app_secret="secret-of-test", account="12345678", hts_id="hts-of-test"
)
HOST = "https://venue:9443"
TOO_SOON = BrokerError("1분당 1회", code="EGW00133")


class Venue:
    """Hands out tokens of 24 hours by its own clock; raises what it is given first."""

    def __init__(self, *faults, now=NOW):
        self.faults = list(faults)
        self.now = now
        self.asked = 0

    def post(self, endpoint, fields):
        assert (endpoint.name, fields["appkey"]) == ("token", "key-of-test")
        self.asked += 1
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        ends = (self.now + timedelta(hours=24)).astimezone(KST)
        return {
            "access_token": f"token-{self.asked}",
            "access_token_token_expired": f"{ends:%Y-%m-%d %H:%M:%S}",
        }


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a cache, as another process would, over the same file."""

    def cache(clock=None, *, wait_seconds=61.0, renew_before=timedelta(minutes=30)):
        return TokenCache(
            CREDENTIALS,
            host=HOST,
            directory=tmp_path / "broker",
            clock=clock or ManualClock(NOW),
            renew_before=renew_before,
            wait_seconds=wait_seconds,
        )

    return cache


@pytest.fixture
def path(tmp_path):
    """Return the file of the token."""
    return tmp_path / "broker" / f"kis-token-{CREDENTIALS.fingerprint(HOST)}.json"


def test_everybody_uses_the_token_of_the_first(make):
    """A second process reads the file and asks for nothing."""
    venue = Venue()

    assert [make().token(venue.post) for _ in range(3)] == ["token-1"] * 3
    assert venue.asked == 1


def test_threads_that_find_it_dead_renew_it_once(make):
    """However many drop the same token at once, one new one is asked for."""
    venue = Venue()
    clock = ManualClock(NOW)
    caches = [make(clock) for _ in range(8)]
    (dead,) = {cache.token(venue.post) for cache in caches}
    clock.set(NOW + timedelta(minutes=2))
    ready = threading.Barrier(len(caches))
    found = []

    def renew(cache):
        ready.wait()
        cache.forget(dead)
        found.append(cache.token(venue.post))

    threads = [threading.Thread(target=renew, args=(cache,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["token-2"] * len(caches)
    assert venue.asked == 2


def test_a_crash_between_issue_and_write_costs_a_minute(make):
    """The one who comes after waits the rest of the minute, then asks once."""
    clock = ManualClock(NOW)

    class Killed(BaseException):
        pass

    venue = Venue(Killed())
    with pytest.raises(Killed):
        make(clock).token(venue.post)  # what a kill leaves: the note that it was asked for

    assert make(clock, wait_seconds=0.3).token(venue.post) == "token-2"
    assert venue.asked == 2


def test_a_minute_passes_by_either_clock(make):
    """A replay that lives another day need not wait; nobody asks twice within the minute."""
    venue = Venue()
    clock = ManualClock(NOW)
    cache = make(clock, renew_before=timedelta(0))
    first = cache.token(venue.post)
    cache.forget(first)
    clock.set(NOW + timedelta(seconds=62))

    assert cache.token(venue.post) == "token-2"

    cache.forget("token-2")
    cache.close()  # whoever would wait gives up at once
    with pytest.raises(TransientBrokerError):
        cache.token(venue.post)
    assert venue.asked == 2


def test_a_token_that_cannot_be_renewed_is_used_to_its_end(make):
    """While the venue refuses a new one, the old one still opens doors; after its end it does not."""
    venue = Venue(None, AuthenticationError("거부", code="EGW00002"), AuthenticationError("거부"))
    clock = ManualClock(NOW)
    cache = make(clock)
    cache.token(venue.post)

    clock.set(NOW + timedelta(hours=23, minutes=45))
    assert cache.token(venue.post) == "token-1"
    assert cache.token(venue.post) == "token-1"  # and is not asked for again in the same minute
    asked = venue.asked
    clock.set(NOW + timedelta(hours=24, minutes=1))
    with pytest.raises(AuthenticationError):
        cache.token(venue.post)

    assert asked == 2


def test_a_full_disk_takes_no_token_away(make, monkeypatch):
    """One in hand is used to its end, and only then it is said that none can be had."""
    venue = Venue()
    clock = ManualClock(NOW)
    cache = make(clock)
    cache.token(venue.post)

    def full(self, saved):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TokenCache, "_write", full)
    clock.set(NOW + timedelta(hours=23, minutes=45))
    assert cache.token(venue.post) == "token-1"
    cache.forget("token-1")
    with pytest.raises(TransientBrokerError, match="공간"):
        make(ManualClock(NOW + timedelta(hours=25))).token(venue.post)


@pytest.mark.parametrize("hours", [-30, -2, 2, 30])
def test_a_wrong_clock_does_not_ask_again_and_again(make, hours):
    """With our clock hours away from the venue's, one token serves until the venue refuses it."""
    venue = Venue(now=NOW - timedelta(hours=hours))
    cache = make(ManualClock(NOW))

    tokens = {cache.token(venue.post) for _ in range(20)} | {make().token(venue.post)}

    assert (tokens, venue.asked) == ({"token-1"}, 1)


def test_what_was_not_sent_does_not_count(make):
    """Without a connection the minute has not begun."""
    venue = Venue(NotSentError("연결하지 못함"))
    cache = make()
    with pytest.raises(NotSentError):
        cache.token(venue.post)

    assert cache.token(venue.post) == "token-2"


def test_a_failure_after_sending_counts(make):
    """After a lost answer nobody asks again within the minute."""
    venue = Venue(TransientBrokerError("응답 없음"))
    cache = make(wait_seconds=0.2)
    with pytest.raises(TransientBrokerError):
        cache.token(venue.post)

    assert cache.token(venue.post) == "token-2"  # which took the rest of the 0.2 s
    assert venue.asked == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "\x00" * 40,
        '{"token": "x"}',
        '{"token": "x", "expires_at": "2024-01-06", "renew_at": "2024-01-06", "asked_at": null,'
        ' "asked_monotonic": 0}',
        '{"token": "x", "expires_at": 5, "renew_at": null, "asked_at": null, "asked_monotonic": 0}',
    ],
)
def test_a_damaged_file_costs_one_token(make, path, text):
    """Whatever stands in the file, the next token makes it whole again."""
    path.parent.mkdir(parents=True)
    path.write_text(text)
    venue = Venue()

    assert make().token(venue.post) == make().token(venue.post) == "token-1"


def test_the_file_is_private(make, path):
    """It is written for the owner alone, and closed again when somebody opened it."""
    venue = Venue()
    make().token(venue.post)
    made = path.stat().st_mode & 0o777
    path.chmod(0o644)

    assert make().token(venue.post) == "token-1"
    assert (made, path.stat().st_mode & 0o777) == (0o600, 0o600)
    assert json.loads(path.read_text())["token"] == "token-1"
    assert [p.name for p in path.parent.iterdir() if p.suffix == ".tmp"] == []


def test_the_second_refusal_for_the_minute_is_final(make):
    """Asked at the beginning and at the end of the minute, and then it is told."""
    venue = Venue(TOO_SOON, TOO_SOON, TOO_SOON)

    with pytest.raises(BrokerError) as refused:
        make(wait_seconds=0.1).token(venue.post)

    assert (refused.value.code, venue.asked) == ("EGW00133", 2)
