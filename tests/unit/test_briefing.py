"""What is known before the open, as it is kept and read again."""

import json
from datetime import date

import pytest

from trading import briefing, config
from trading.briefing import Voter
from trading.domain.instrument import Currency, Market
from trading.errors import MissingDataError


def voter(name="rsi", **changes):
    """Return a voter with a record."""
    body = {
        "name": name, "family": "technical", "prior": 1.0, "weight": 1.25, "closed": 130,
        "mean": 0.004, "score": 0.05, "long": 2, "flat": 0, "short": 1, "waiting": 0,
        "hit_rate": 0.53, "calibration_error": 0.021, "diagram": (),
    }  # fmt: skip
    return Voter(**body | changes)


def test_what_the_account_earned_adds_up():
    """Each voter's part, and what belongs to nobody who votes today, add up to the total."""
    table = briefing.voter_table(
        [voter(), voter("momentum", long=0, short=0, hit_rate=None, mean=None)],
        {"rsi": -1_000_000, "gone": 250_000, "": 50_000},
        Currency.USD,
    )

    assert [row[0] for row in table.rows] == ["rsi", "momentum", "그 밖"]
    assert [row[-1] for row in table.rows] == ["-$100.00", "$0.00", "$30.00"]
    assert "더하면 -$70.00" in table.notes[1]
    assert table.rows[0][2:5] == ("1.25", "매수 2 · 매도 1", "53.0 %")
    assert table.rows[1][3:5] == ("기권", "기록 없음")


def test_kept_mornings(home):
    """The last of the account when none is named; what is not there is said in one sentence."""
    installed = config.resolve_root(home)
    for day, symbols in (("2005-03-08", ["AAPL"]), ("2005-03-09", ["AAPL", "IBM"])):
        folder = home / "data" / "reports" / "paper-us" / day
        folder.mkdir(parents=True)
        names = [{"symbol": symbol} for symbol in symbols]
        (folder / "briefing.json").write_text(
            json.dumps({"session": day, "screen": {"names": names}})
        )

    assert briefing.kept(installed, "paper", Market.US)["session"] == "2005-03-09"
    assert briefing.kept(installed, "paper", Market.US, date(2005, 3, 8))["session"] == "2005-03-08"
    with pytest.raises(MissingDataError, match="마지막은 2005-03-09"):
        briefing.kept(installed, "paper", Market.US, date(2005, 3, 10))
    with pytest.raises(MissingDataError, match="보지 않은 종목입니다: IBM"):
        briefing.kept(installed, "paper", Market.US, date(2005, 3, 8), symbols=["IBM"])
    with pytest.raises(
        MissingDataError, match=r"한국 시장의 장전 분석이 아직 없습니다.*trading run"
    ):
        briefing.kept(installed, "paper", Market.KRX)
    with pytest.raises(MissingDataError, match=r"demo 계좌에 미국 시장의 .* trading demo"):
        briefing.kept(installed, "demo", Market.US)
