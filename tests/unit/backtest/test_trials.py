"""The trial ledger counts everything that was tried, once and for good."""

import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from trading.backtest.trials import Outcome, Trial, TrialLedger, effective_number
from trading.domain.instrument import Market
from trading.errors import DataError

AT = datetime(2026, 1, 5, tzinfo=UTC)

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from trading.backtest.trials import Trial, TrialLedger
from trading.domain.instrument import Market

first, count = int(sys.argv[2]), int(sys.argv[3])
with TrialLedger(Path(sys.argv[1])) as ledger:
    for number in range(first, first + count):
        ledger.record(
            Trial(
                market=Market.US,
                command="test",
                configuration={"number": number},
                first_session="2005-01-03",
                last_session="2005-12-30",
                at=datetime(2026, 1, 5, tzinfo=UTC),
            )
        )
        print(number, flush=True)
"""


def trial(params, returns=None, market=Market.US, outcome=Outcome.COMPLETE, last="2006-12-01"):
    """Return a trial of one set of parameters."""
    return Trial(
        market=market,
        command="sweep",
        configuration={"strategy": "ma_crossover", "params": params},
        first_session="2005-03-04",
        last_session=last,
        at=AT,
        outcome=outcome,
        returns=returns,
    )


@pytest.fixture
def ledger(tmp_path):
    """Return an empty ledger."""
    with TrialLedger(tmp_path / "research" / "trials.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def recorded(embedded_panels):
    """Return daily returns of the four names that are recorded from the first day, one a row."""
    _, adjusted = embedded_panels
    close = adjusted.close[1200:1700]
    whole = np.isfinite(close).all(axis=0)
    return (close[1:, whole] / close[:-1, whole] - 1.0).T


def test_the_same_configuration_counts_once_in_distinct_and_always_in_raw(ledger):
    """Order of keys and repetition make no new configuration; another value does."""
    ledger.record(trial({"fast": 5, "slow": 20}), trial({"slow": 20, "fast": 5}))
    ledger.record(trial({"fast": 5, "slow": 20}), trial({"fast": 6, "slow": 20}))
    ledger.record(trial({"fast": 7, "slow": 20}, market=Market.KRX))

    counted = ledger.count(Market.US)

    assert (counted.raw, counted.distinct, counted.effective) == (4, 2, 2.0)
    assert ledger.count(Market.KRX).raw == 1


def test_copies_are_worth_one_trial(ledger, recorded):
    """Equal returns under other parameters are no second chance; a pruned trial is a whole one."""
    ledger.record(*(trial({"fast": fast}, recorded[0]) for fast in range(2, 12)))

    assert ledger.count(Market.US).distinct == 10
    assert ledger.count(Market.US).effective == pytest.approx(1.0, abs=1e-5)

    ledger.record(trial({"fast": 99}, outcome=Outcome.PRUNED))

    assert ledger.count(Market.US).effective == pytest.approx(2.0, abs=1e-5)


def test_the_effective_number_follows_the_mean_correlation(recorded):
    """With numpy's own correlations: rho + (1 - rho) M (Bailey and López de Prado 2014, A.3)."""
    rho = np.corrcoef(recorded)
    m = len(recorded)
    mean = (rho.sum() - m) / (m * (m - 1))

    found, count = effective_number((("a", "b"), row) for row in recorded)

    assert count == m
    assert found == pytest.approx(mean + (1.0 - mean) * m, rel=1e-12)


def test_other_sessions_and_accounts_that_never_moved_stand_alone(recorded):
    """What cannot be compared counts whole."""
    groups = [
        (("2005", "2006"), recorded[0]),
        (("2006", "2007"), recorded[0]),
        (("2005", "2006"), recorded[0][:-1]),
        (("2005", "2006"), np.zeros(recorded.shape[1])),
        (("2005", "2006"), np.zeros(0)),
    ]

    assert effective_number(groups) == (5.0, 5)
    assert effective_number([]) == (0.0, 0)


def test_opposite_trials_are_two(recorded):
    """A negative mean correlation makes no more trials than there are."""
    pair = [(("a", "b"), recorded[0]), (("a", "b"), -recorded[0])]

    assert effective_number(pair) == (2.0, 2)


def test_a_row_is_never_changed(ledger):
    """Nobody un-tries what was tried."""
    ledger.record(trial({"fast": 5}))

    with sqlite3.connect(ledger.path) as other:
        for sentence in ("DELETE FROM trials", "UPDATE trials SET market = 'krx'"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                other.execute(sentence)
    other.close()
    assert ledger.count(Market.US).raw == 1


def test_a_file_that_is_no_ledger_is_refused_in_a_sentence(tmp_path):
    """A torn file is named and left as it is."""
    path = tmp_path / "trials.db"
    path.write_bytes(b"not a ledger at all, but longer than a header" * 40)

    with pytest.raises(DataError, match="시도 장부를 쓸 수 없습니다"):
        TrialLedger(path)
    assert path.read_bytes().startswith(b"not a ledger")


def test_a_killed_writer_loses_nothing_that_it_had_written(tmp_path):
    """SIGKILL in the middle: every trial that was reported written is there, and one more goes in."""
    path = tmp_path / "trials.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "0", "1000000"], stdout=subprocess.PIPE, text=True
    )
    seen = [int(writer.stdout.readline()) for _ in range(25)]
    writer.send_signal(signal.SIGKILL)
    seen += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    writer.wait()

    with TrialLedger(path) as ledger:
        counted = ledger.count(Market.US)
        ledger.record(trial({"after": True}))
        whole = sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()

        assert len(seen) <= counted.raw <= len(seen) + 1
        assert counted.distinct == counted.raw
        assert ledger.count(Market.US).raw == counted.raw + 1
        assert whole == ("ok",)


def test_many_may_write_at_once(tmp_path):
    """Two processes that also create the file: nothing is lost, nothing is refused."""
    path = tmp_path / "new" / "trials.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(first), "60"], stdout=subprocess.DEVNULL
        )
        for first in (0, 40)
    ]

    assert [writer.wait() for writer in writers] == [0, 0]
    with TrialLedger(path) as ledger:
        assert (ledger.count(Market.US).raw, ledger.count(Market.US).distinct) == (120, 100)
