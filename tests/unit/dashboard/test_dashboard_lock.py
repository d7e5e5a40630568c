"""The password of the dashboard: right, wrong, and too often wrong."""

import socket
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from trading import config
from trading.clock import ManualClock
from trading.dashboard import server
from trading.dashboard.lock import Lock
from trading.domain.rules import shipped_config_dir
from trading.errors import UsageError

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PAUSE = timedelta(seconds=60)


def a_lock(clock):
    return Lock(SecretStr("열려라 참깨"), attempts=3, pause=PAUSE, clock=clock)


def test_the_password_opens():
    """Korean letters too; nothing else does, not even its beginning."""
    lock = a_lock(ManualClock(NOON))

    assert lock.refusal("열려라 참깨") is None
    assert lock.refusal("열려라") is not None
    assert lock.refusal("") is not None


def test_too_many_wrong_ones_close_it_for_everybody():
    """Then the right one is not heard either, until the pause is over."""
    clock = ManualClock(NOON)
    lock = a_lock(clock)

    told = [lock.refusal("x") for _ in range(3)]
    assert "2번 더" in told[0]
    assert "60초 동안 잠급니다" in told[2]
    assert "60초 뒤" in lock.refusal("열려라 참깨")

    clock.set(NOON + timedelta(seconds=59))
    assert "1초 뒤" in lock.refusal("열려라 참깨")

    clock.set(NOON + PAUSE)
    assert lock.refusal("열려라 참깨") is None


def test_the_right_one_forgives_the_wrong_ones():
    """Attempts are counted in a row."""
    lock = a_lock(ManualClock(NOON))

    for _ in range(4):
        lock.refusal("x")
        lock.refusal("x")
        assert lock.refusal("열려라 참깨") is None


def test_a_refusal_never_shows_the_password():
    """Nor does the lock itself."""
    lock = a_lock(ManualClock(NOON))

    assert "참깨" not in repr(lock)
    assert "참깨" not in lock.refusal("x")


def test_a_taken_port_is_said():
    """Before anything is started, with what to do."""
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(UsageError, match=rf"{port} 포트를 다른 프로그램이"):
            server.check_port(port)

    server.check_port(port)


def test_the_shipped_settings_are_the_defaults():
    """A home without a word on the dashboard has the one that the file describes."""
    shipped = config.Settings(shipped_config_dir()).app.dashboard

    assert shipped == config.DashboardSettings()
