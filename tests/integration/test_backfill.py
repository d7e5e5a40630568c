"""Back-fill from KIS: the real command against the local exchange, killed and continued."""

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
import yaml
from program import command, environment, trading
from venue_home import CALLS, KEYS, Venue, home_of

from trading.domain.actions import ActionKind
from trading.domain.instrument import Market
from trading.store.datasets import EmbeddedSource
from trading.store.lake import Lake
from trading.wire.endpoints import Profile

TODAY = "2005-06-30"
FIRST, LAST = "2004-03-01", "2005-05-31"
SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
FILL = (
    "data", "backfill", "--source", "kis", "--market", "us", "--from", FIRST, "--to", LAST,
    "--symbols", ",".join(SYMBOLS), "--kind", "instruments,index,daily", "--json",
)  # fmt: skip
PRICES = ["symbol", "session", "open", "high", "low", "close", "volume"]


class Served:
    """Every question that an exchange answered, and what happens at one of them."""

    def __init__(self, venue: Venue) -> None:
        self.calls: list[tuple[str, str]] = []
        self.at = -1
        self.then = lambda: None
        serve = venue.server._serve

        def watched(endpoint, head, params):
            self.calls.append((endpoint.name, json.dumps(dict(params), sort_keys=True)))
            if len(self.calls) == self.at:
                self.then()
            return serve(endpoint, head, params)

        venue.server._serve = watched

    @property
    def daily(self) -> list[dict]:
        """What was asked for of daily bars."""
        return [json.loads(params) for name, params in self.calls if name == "us_daily"]


@pytest.fixture
def venue(tmp_path):
    """Return an exchange of a real account on 2005-06-30."""
    venue = Venue(tmp_path / "exchange", profile=Profile.REAL, session=TODAY)
    yield venue
    venue.stop()


@pytest.fixture
def root(tmp_path, venue) -> Path:
    """Return a home whose KIS is that exchange, without symbol files."""
    profile = {"rest_base": venue.base, "ws_base": venue.ws_base, "calls_per_second": CALLS}
    kis = {
        "profiles": {"real": profile, "paper": profile},
        "backoff_seconds": 0.05,
        "master_base": f"{venue.base}/common/master",
    }
    return home_of(tmp_path / "home", venue.base, venue.ws_base, {"kis": kis})


def kept(root: Path) -> pd.DataFrame:
    """Return the clean daily bars of the lake."""
    lake = Lake(root / "data" / "lake")
    return lake.daily(Market.US, None, date.fromisoformat(FIRST), date.fromisoformat(LAST))


def recorded() -> pd.DataFrame:
    """Return what the exchange replays."""
    first, last = date.fromisoformat(FIRST), date.fromisoformat(LAST)
    return EmbeddedSource().daily(Market.US, list(SYMBOLS), first, last)


def test_the_lake_holds_what_kis_answers(venue, root):
    """Bars, index and the split that the two adjustments show; a second run asks nothing."""
    served = Served(venue)

    first = trading(root, *FILL, **KEYS)
    asked = len(served.calls)
    second = trading(root, *FILL, **KEYS)

    assert first.code == second.code == 0, first.err + second.err
    pd.testing.assert_frame_equal(kept(root)[PRICES], recorded()[PRICES], check_dtype=False)
    assert first.json["kinds"]["daily"] == first.json["changed"] - 4 - first.json["kinds"]["index"]
    assert first.json["failed"] == {}
    actions = Lake(root / "data" / "lake").actions(Market.US, date(2004, 1, 1), date(2005, 12, 31))
    assert [(a.symbol, a.ex_date, a.kind, a.numerator, a.denominator) for a in actions] == [
        ("AAPL", date(2005, 2, 28), ActionKind.SPLIT, 2, 1)
    ]
    assert max(Counter(served.calls).values()) == 1
    assert len(served.calls) == asked
    assert second.json["rows"] == 0


def test_killed_and_continued(venue, root):
    """After kill -9 the same command goes on: what was fetched whole is not fetched again."""
    served = Served(venue)
    process: list[subprocess.Popen[bytes]] = []
    started = threading.Event()

    def kill() -> None:
        started.wait(10)
        os.kill(process[0].pid, signal.SIGKILL)

    # 4 symbols, 2 years, 2 adjustments and 2 or 3 pages each: in the second year.
    served.at, served.then = 30, kill
    process.append(
        subprocess.Popen(
            command(root, *FILL), env=environment(**KEYS), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    )  # fmt: skip
    started.set()
    assert process[0].wait(60) == -signal.SIGKILL
    before = list(served.daily)

    after = trading(root, *FILL, **KEYS)

    assert after.code == 0, after.err
    pd.testing.assert_frame_equal(kept(root)[PRICES], recorded()[PRICES], check_dtype=False)
    twice = {
        json.loads(params)["SYMB"] for (name, params), count in Counter(served.calls).items()
        if name == "us_daily" and count > 1
    }  # fmt: skip
    # Only what the three connections had not brought whole.
    assert len(twice) <= 3
    assert before
    assert not list((root / "data" / "lake" / "backfill").rglob("*.parquet"))


def test_interrupted_it_says_how_to_go_on(venue, root):
    """Ctrl+C ends it within seconds, with a sentence and no stack."""
    served = Served(venue)
    process: list[subprocess.Popen[str]] = []
    started = threading.Event()

    def interrupt() -> None:
        started.wait(10)
        process[0].send_signal(signal.SIGINT)

    served.at, served.then = 12, interrupt
    process.append(
        subprocess.Popen(
            command(root, *FILL), env=environment(**KEYS), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
    )  # fmt: skip
    started.set()
    _, told = process[0].communicate(timeout=120)

    assert process[0].returncode == 1
    assert "같은 명령을 다시 치면 이어서 합니다" in told
    assert "Traceback" not in told


def test_the_morning_of_an_account_takes_its_bars_from_kis(tmp_path):
    """모의투자, too, begins with the bars of KIS up to the evening before; again it asks nothing,
    and the split of the very morning is known before the open."""
    from trading import bootstrap, day

    morning = date(2005, 2, 28)
    venue = Venue(tmp_path / "exchange", profile=Profile.PAPER, session=morning.isoformat())
    root = home_of(tmp_path / "home", venue.base, venue.ws_base)
    universe = root / "config" / "universe.yaml"
    settings = yaml.safe_load(universe.read_text())
    settings["instruments"] = {name: settings["instruments"][name] for name in SYMBOLS}
    universe.write_text(yaml.safe_dump(settings, allow_unicode=True))
    (root / ".env").write_text("".join(f"{name}={value}\n" for name, value in KEYS.items()))
    (root / ".env").chmod(0o600)
    served = Served(venue)

    def market_data():
        context = bootstrap.open_day(root, Market.US, morning)
        try:
            return day.market_data(context), context.run.first_bar
        finally:
            bootstrap.close_day(context.key)

    first, first_bar = market_data()
    asked = len(served.daily)
    again, _ = market_data()
    venue.stop()

    last = date(2005, 2, 25)
    lake = Lake(root / "data" / "lake")
    record = EmbeddedSource().daily(Market.US, list(SYMBOLS), first_bar, last)
    assert first.summary["rows"] == len(record)
    pd.testing.assert_frame_equal(
        lake.daily(Market.US, None, first_bar, last)[PRICES], record[PRICES], check_dtype=False
    )
    splits = [a for a in lake.actions(Market.US, first_bar, morning) if a.numerator != 1]
    assert [(a.symbol, a.ex_date) for a in splits if a.ex_date >= date(2004, 1, 1)] == [
        ("AAPL", morning)
    ]
    assert again.summary["rows"] == 0
    assert len(served.daily) == asked


def test_without_keys_it_says_which(root):
    """No key, no question: the sentence names the environment variables."""
    answer = trading(root, *FILL)

    assert answer.code == 2
    assert "KIS_REAL_APP_KEY" in answer.err


def test_the_session_of_today_never_enters(venue, root):
    """A day that has not ended is not brought, whatever is asked for."""
    answer = trading(
        root, "data", "backfill", "--source", "kis", "--market", "us", "--symbols", "IBM",
        "--kind", "daily", "--from", "2100-01-04", "--to", "2100-01-08", **KEYS,
    )  # fmt: skip

    assert answer.code == 2
    assert "아직 끝나지 않았습니다" in answer.err


@pytest.mark.slow
def test_recorded_history_the_same_way(tmp_path):
    """``data import`` and ``data backfill`` fill the lake alike; an unknown kind is told."""
    fills = ["--market", "us", "--from", "2004-01-02", "--to", "2004-12-31", "--json"]
    imported = trading(tmp_path / "a", "data", "import", *fills)
    filled = trading(tmp_path / "b", "data", "backfill", *fills)
    unknown = trading(tmp_path / "a", "data", "backfill", *fills, "--kind", "dailys")

    assert imported.code == filled.code == 0, imported.err + filled.err
    assert imported.json["kinds"] == filled.json["kinds"]
    lakes = [Lake(tmp_path / name / "data" / "lake") for name in ("a", "b")]
    assert lakes[0].fingerprint(Market.US) == lakes[1].fingerprint(Market.US)
    assert unknown.code == 2
    assert "dailys" in unknown.err


@pytest.mark.slow
def test_killed_anywhere_and_continued_the_lake_is_the_same(tmp_path):
    """An import that is killed at one moment after another ends as one that nobody disturbed."""
    undisturbed = trading(tmp_path / "a", "data", "import", "--market", "us", "--json")
    assert undisturbed.code == 0, undisturbed.err
    disturbed = tmp_path / "b"
    kills = 0
    patience = 1.5
    while True:
        process = subprocess.Popen(
            command(disturbed, "data", "import", "--market", "us"), env=environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            code = process.wait(timeout=patience)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            patience += 0.25

    assert (code, kills > 2) == (0, True)
    lakes = [Lake(root / "data" / "lake") for root in (tmp_path / "a", disturbed)]
    for layer in ("raw", "clean"):
        assert lakes[0].fingerprint(Market.US, layer) == lakes[1].fingerprint(Market.US, layer)
    assert lakes[1].verify() == []
