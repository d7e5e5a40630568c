"""``trading check --env``: what an account can do, asked of a local exchange of both profiles."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from program import trading
from venue_home import KEYS, Venue, home_of

from trading.domain.instrument import Market
from trading.sessions import SessionCalendar
from trading.store.datasets import RecordedSource
from trading.wire.endpoints import Profile


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Venue]]:
    """Return a function that starts an exchange."""
    venues: list[Venue] = []

    def make(**options: Any) -> Venue:
        venues.append(Venue(tmp_path / f"exchange-{len(venues)}", **options))
        return venues[-1]

    yield make
    for venue in venues:
        venue.stop()


def findings(home: Path, *words: str) -> dict[str, dict[str, str]]:
    """Return what ``check`` found of the account, by code."""
    answer = trading(home, "check", "--json", *words, timeout=60, **KEYS)
    return {f["code"]: f for f in answer.json["findings"] if f["code"].startswith("KIS_")}


def severities(found: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the severity of each finding."""
    return {code: finding["severity"] for code, finding in found.items()}


def test_a_real_account(start: Callable[..., Venue], tmp_path: Path) -> None:
    """A real account has everything; nothing but queries was sent."""
    venue = start(profile=Profile.REAL)

    found = findings(home_of(tmp_path / "home", venue.base, venue.ws_base), "--env", "real")

    assert severities(found) == {
        "KIS_TOKEN": "ok",
        "KIS_BALANCE": "ok",
        "KIS_BUYING_POWER": "ok",
        "KIS_ORDERS": "ok",
        "KIS_WHOLE_US": "info",  # nothing is held outside Nasdaq
        "KIS_MARGIN": "ok",
        "KIS_OPEN_ORDERS": "ok",
        "KIS_STREAM": "ok",
        "KIS_RATE": "ok",
    }
    assert venue.journal("order") == []


def test_a_paper_account_lacks_what_paper_accounts_lack(
    start: Callable[..., Venue], tmp_path: Path
) -> None:
    """What is missing is information with what stands in for it, and the rest works."""
    venue = start(profile=Profile.PAPER)

    found = findings(home_of(tmp_path / "home", venue.base, venue.ws_base), "--env", "paper")

    assert severities(found) == {
        "KIS_TOKEN": "ok",
        "KIS_BALANCE": "ok",
        "KIS_BUYING_POWER": "ok",
        "KIS_ORDERS": "ok",
        "KIS_WHOLE_US": "info",
        "KIS_MARGIN": "info",
        "KIS_OPEN_ORDERS": "info",
        "KIS_STREAM": "ok",
        "KIS_LACKS": "info",
        "KIS_RATE": "ok",
    }
    assert "모의투자에 없는 기능" in found["KIS_OPEN_ORDERS"]["cause"]
    assert "주문·체결 내역에서" in found["KIS_OPEN_ORDERS"]["action"]
    assert "해외 미체결 주문" in found["KIS_LACKS"]["cause"]


@pytest.mark.parametrize("profile", [Profile.REAL, Profile.PAPER])
def test_a_korean_account(
    start: Callable[..., Venue], tmp_path: Path, shared_data: Path, profile: Profile
) -> None:
    """The Korean questions, where a recorded Korean day is at hand."""
    venue = start(
        profile=profile,
        market=Market.KRX,
        source=RecordedSource(shared_data),
        session="2024-01-05",
    )
    samsung = {"exchange": "KOSPI", "name": "삼성전자", "sector": "반도체"}
    home = home_of(
        tmp_path / "home",
        venue.base,
        venue.ws_base,
        {"universe": {"instruments": {"005930": samsung}}},
    )

    found = findings(home, "--env", str(profile), "--market", "krx")

    expected = "ok" if profile is Profile.REAL else "info"
    assert {found[c]["severity"] for c in ("KIS_TOKEN", "KIS_BALANCE", "KIS_ORDERS")} == {"ok"}
    assert {
        found[c]["severity"]
        for c in ("KIS_ROUTES", "KIS_OPEN_ORDERS", "KIS_SELLABLE", "KIS_HOLIDAYS")
    } == {expected}
    assert ("KIS_LACKS" in found) is (profile is Profile.PAPER)


def test_a_calendar_that_differs_from_the_venue(
    start: Callable[..., Venue], tmp_path: Path, shared_data: Path
) -> None:
    """A day that our settings close and the venue opens is named, with the file to mend."""
    venue = start(
        profile=Profile.REAL,
        market=Market.KRX,
        source=RecordedSource(shared_data),
        session="2024-01-05",
    )
    today = datetime.now(ZoneInfo("Asia/Seoul")).date()
    closed = SessionCalendar(Market.KRX, around=today).next(today)
    samsung = {"exchange": "KOSPI", "name": "삼성전자", "sector": "반도체"}
    override = {"date": closed, "closed": True, "source": "a mistake"}
    home = home_of(
        tmp_path / "home",
        venue.base,
        venue.ws_base,
        {
            "universe": {"instruments": {"005930": samsung}},
            "markets/krx": {"calendar_overrides": [override]},
        },
    )

    found = findings(home, "--env", "real", "--market", "krx")

    assert found["KIS_CALENDAR"]["severity"] == "error"
    assert f"{closed} 증권사는 개장" in found["KIS_CALENDAR"]["cause"]
    assert "markets/krx.yaml" in found["KIS_CALENDAR"]["action"]


@pytest.mark.slow
def test_a_rate_that_is_too_high_is_found(start: Callable[..., Venue], tmp_path: Path) -> None:
    """When the venue allows less than configured, the setting is named; the day remembers it."""
    venue = start(profile=Profile.REAL, calls_per_second=3)

    home = home_of(tmp_path / "home", venue.base, venue.ws_base)

    found = findings(home, "--env", "real")
    later = trading(home, "check", "--json", timeout=60).json["findings"]

    assert found["KIS_RATE"]["severity"] == "error"
    assert "RATE_REFUSED" in {f["code"] for f in later}
    assert "calls_per_second" in found["KIS_RATE"]["action"]
    assert "new_customer" in found["KIS_RATE"]["action"]


def test_without_keys_nobody_is_asked(tmp_path: Path) -> None:
    """Missing keys are said one by one, as findings; without ``--env`` they are no fault."""
    home = home_of(tmp_path / "home", "http://127.0.0.1:1", "ws://127.0.0.1:1", {"app": {}})

    asked = trading(home, "check", "--env", "paper", "--json")
    plain = trading(home, "check", "--json")

    missing = [f["cause"] for f in asked.json["findings"] if f["code"] == "KEY_MISSING"]
    assert asked.code == 1
    assert [name for name in KEYS if "REAL" not in name and name not in " ".join(missing)] == []
    assert plain.code == 0
