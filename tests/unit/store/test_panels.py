"""Panels know nothing of the future."""

from contextlib import chdir
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Exchange, Market
from trading.domain.market import AdjustedPanel, PriceBasis, RawPanel
from trading.domain.rules import shipped_rules
from trading.errors import DataError, MissingDataError, UsageError
from trading.sessions import SessionCalendar
from trading.store import schema
from trading.store.datasets import EmbeddedSource, RecordedSource
from trading.store.lake import Lake
from trading.store.panels import assemble_panels, build_panels

SOURCE = EmbeddedSource()
FIRST, LAST = date(2004, 1, 2), date(2005, 12, 30)
CALENDAR = SessionCalendar(Market.US)


def bars(symbols: list[str] | None = None, first: date = FIRST, last: date = LAST) -> pd.DataFrame:
    return SOURCE.daily(Market.US, symbols, first, last)


def panels(
    symbols: list[str] | None = None, first: date = FIRST, last: date = LAST
) -> tuple[RawPanel, AdjustedPanel]:
    return assemble_panels(
        bars(symbols, first, last),
        SOURCE.actions(Market.US, first, last),
        CALENDAR.sessions(first, last),
        Market.US,
        symbols,
    )


def test_reference_is_restated_for_the_morning():
    """AAPL 88.99 before its 2:1 split gives 44.495; MSFT 29.97 less 3.08 gives 26.89."""
    raw, _ = panels()
    apple, microsoft = raw.symbols.index("AAPL"), raw.symbols.index("MSFT")

    assert raw.reference[raw.row_of(date(2005, 2, 28)), apple] == 444_950
    assert raw.reference[raw.row_of(date(2004, 11, 15)), microsoft] == 268_900
    ordinary = raw.row_of(date(2004, 3, 2))
    np.testing.assert_array_equal(raw.reference[ordinary], raw.close[ordinary - 1])
    assert (raw.reference[0] == 0).all()


def test_adjusted_closes_move_like_the_vendors():
    """Returns equal those of the vendor's adjusted closes; dividend days only nearly.

    The vendor divides a dividend by the close of the ex-date, we by the close before.
    """
    raw, adjusted = panels(["AAPL", "IBM", "MSFT"])
    frame = bars(["AAPL", "IBM", "MSFT"])
    theirs = frame.pivot(index="session", columns="symbol", values="adj_close").to_numpy()

    ours = adjusted.close[1:] / adjusted.close[:-1] - 1
    gap = np.abs(ours - (theirs[1:] / theirs[:-1] - 1))

    paid = np.zeros_like(gap, dtype=np.bool_)
    for action in SOURCE.actions(Market.US, FIRST, LAST):
        if action.symbol in raw.symbols and action.kind is ActionKind.CASH_DIVIDEND:
            paid[raw.row_of(action.ex_date) - 1, raw.symbols.index(action.symbol)] = True
    assert gap[~paid].max() < 1e-12
    assert gap[paid].max() < 0.012


def test_volume_follows_the_split_only():
    """AAPL's volume is halved from its 2:1 split on, MSFT's stays through its dividend."""
    raw, adjusted = panels()
    split = raw.row_of(date(2005, 2, 28))
    apple, microsoft = raw.symbols.index("AAPL"), raw.symbols.index("MSFT")

    np.testing.assert_array_equal(adjusted.volume[:split, apple], raw.volume[:split, apple])
    np.testing.assert_array_equal(adjusted.volume[split:, apple], raw.volume[split:, apple] / 2)
    np.testing.assert_array_equal(adjusted.volume[:, microsoft], raw.volume[:, microsoft])


@pytest.mark.parametrize("last", [date(2004, 8, 18), date(2004, 11, 12), date(2005, 2, 28)])
def test_later_rows_never_change_earlier_ones(last: date):
    """Cutting the data after a day leaves every field of both panels equal, to the bit."""
    symbols = ["AAPL", "GOOG", "IBM", "MSFT"]
    exchanges = {item.symbol: item.exchange for item in SOURCE.instruments(Market.US)}
    whole = assemble_panels(
        bars(symbols),
        SOURCE.actions(Market.US, FIRST, LAST),
        CALENDAR.sessions(FIRST, LAST),
        Market.US,
        symbols,
        exchanges=exchanges,
    )
    cut = assemble_panels(
        bars(symbols, FIRST, last),
        SOURCE.actions(Market.US, FIRST, last),
        CALENDAR.sessions(FIRST, last),
        Market.US,
        symbols,
        exchanges=exchanges,
    )

    n = len(cut[0].sessions)
    for name in ("open", "high", "low", "close", "reference", "volume", "tradable"):
        np.testing.assert_array_equal(getattr(whole[0], name)[:n], getattr(cut[0], name))
    for name in ("open", "high", "low", "close", "volume", "tradable"):
        left, right = getattr(whole[1], name)[:n], getattr(cut[1], name)
        assert left.tobytes() == right.tobytes()


def test_before_listing_there_is_nothing():
    """GOOG before 2004-08-19: zeros in the raw panel, NaN in the adjusted one."""
    raw, adjusted = panels()
    google, ipo = raw.symbols.index("GOOG"), raw.row_of(date(2004, 8, 19))

    assert (raw.close[:ipo, google] == 0).all()
    assert np.isnan(adjusted.close[:ipo, google]).all()
    assert not raw.tradable[:ipo, google].any()
    assert raw.reference[ipo, google] == 0
    assert raw.reference[ipo + 1, google] == raw.close[ipo, google]


def test_halts_and_gaps_carry_the_close():
    """A row without volume and a missing row are both halts, also on an ex-date."""
    frame = bars(["AAPL"], date(2005, 2, 22), date(2005, 3, 4))
    halted = frame["session"] == pd.Timestamp(2005, 2, 24)
    frame.loc[halted, ["open", "high", "low", "volume"]] = 0
    frame.loc[halted, "close"] = 881_000
    frame = frame.loc[frame["session"] != pd.Timestamp(2005, 2, 28)]

    raw, adjusted = assemble_panels(
        frame,
        SOURCE.actions(Market.US, FIRST, LAST),
        CALENDAR.sessions(date(2005, 2, 22), date(2005, 3, 4)),
        Market.US,
        ["AAPL"],
    )

    halt, gap = raw.row_of(date(2005, 2, 24)), raw.row_of(date(2005, 2, 28))
    assert (raw.close[halt, 0], raw.open[halt, 0], raw.volume[halt, 0]) == (881_000, 0, 0)
    assert (raw.close[gap, 0], raw.reference[gap, 0]) == (444_950, 444_950)
    assert raw.reference[gap + 1, 0] == 444_950
    for row in (halt, gap):
        assert not raw.tradable[row, 0]
        assert np.isnan(adjusted.close[row, 0])
    assert adjusted.close[gap + 1, 0] == 2 * raw.close[gap + 1, 0]


def test_delisting_ends_the_life():
    """From the delisting on all is 0, even if a row is there; before it nothing changes."""
    gone = CorporateAction(symbol="IBM", ex_date=date(2004, 2, 2), kind=ActionKind.DELISTING)
    days = CALENDAR.sessions(date(2004, 1, 2), date(2004, 2, 27))
    frame = bars(["IBM"], days[0], days[-1])

    raw, adjusted = assemble_panels(frame, [gone], days, Market.US, ["IBM"])

    end = raw.row_of(date(2004, 2, 2))
    assert (raw.close[end:] == 0).all() and (raw.reference[end:] == 0).all()
    assert not raw.tradable[end:].any() and np.isnan(adjusted.close[end:]).all()
    assert raw.tradable[:end].all()


def test_split_and_dividend_on_one_morning():
    """The dividend is per old share, then the split: (88.99 - 0.99) / 2 = 44.00."""
    frame = bars(["AAPL"], date(2005, 2, 25), date(2005, 2, 28))
    actions = [
        CorporateAction(
            symbol="AAPL", ex_date=date(2005, 2, 28), kind=ActionKind.SPLIT, numerator=2
        ),
        CorporateAction(
            symbol="AAPL", ex_date=date(2005, 2, 28), kind=ActionKind.CASH_DIVIDEND, amount=9_900
        ),
    ]
    # A 2:1 split halves the price: the reference is multiplied by denominator / numerator.
    raw, _ = assemble_panels(
        frame, actions, [date(2005, 2, 25), date(2005, 2, 28)], Market.US, ["AAPL"]
    )

    assert raw.reference[1, 0] == 440_000


def test_reverse_split_multiplies():
    """A 1:10 reverse split of 12.34 gives a reference of 123.40 and a tenth of the factor."""
    frame = bars(["IBM"], date(2004, 1, 2), date(2004, 1, 5))
    reverse = CorporateAction(
        symbol="IBM", ex_date=date(2004, 1, 5), kind=ActionKind.SPLIT, numerator=1, denominator=10
    )

    raw, adjusted = assemble_panels(
        frame, [reverse], [date(2004, 1, 2), date(2004, 1, 5)], Market.US, ["IBM"]
    )

    assert raw.reference[1, 0] == raw.close[0, 0] * 10
    assert adjusted.close[1, 0] == raw.close[1, 0] * 0.1


def test_panels_from_the_lake(tmp_path: Path):
    """The lake's bars, actions, instruments and index make the same panels as the source's."""
    lake = Lake(tmp_path)
    lake.upsert(Market.US, "daily", bars())
    lake.upsert_actions(Market.US, SOURCE.actions(Market.US, FIRST, LAST))
    lake.upsert_instruments(Market.US, SOURCE.instruments(Market.US))
    lake.upsert(Market.US, "index", SOURCE.index(Market.US, FIRST, LAST).assign(source=SOURCE.name))

    raw, adjusted = build_panels(
        lake, CALENDAR, Market.US, ["MSFT", "AAPL"], FIRST, LAST, benchmark="S&P 500"
    )

    expected, _ = panels(["MSFT", "AAPL"])
    np.testing.assert_array_equal(raw.close, expected.close)
    np.testing.assert_array_equal(raw.reference, expected.reference)
    assert raw.symbols == ("MSFT", "AAPL")
    assert raw.exchanges == (Exchange.NASDAQ, Exchange.NASDAQ)
    assert raw.basis is PriceBasis.RAW
    # S&P 500 on 2004-01-02: 1,108.48 (S&P Dow Jones Indices).
    assert adjusted.benchmark[0] == pytest.approx(1108.48, abs=0.005)
    assert adjusted.benchmark_name == "S&P 500"


def test_a_listing_is_not_known_before_its_day(tmp_path: Path):
    """FB first traded on 2012-05-18: that morning has no column for it, the next one has."""
    lake = Lake(tmp_path)
    listed, later = date(2012, 5, 18), date(2012, 5, 21)
    lake.upsert(Market.US, "daily", bars(None, date(2012, 5, 14), later))

    mornings = [
        build_panels(
            lake, CALENDAR, Market.US, None, date(2012, 5, 14), day, benchmark="", known_on=day
        )[0].symbols
        for day in (listed, later)
    ]

    assert mornings == [("AAPL", "GOOG", "IBM", "MSFT"), ("AAPL", "FB", "GOOG", "IBM", "MSFT")]


def test_what_does_not_exist_is_an_error(tmp_path: Path):
    """Unknown symbols and ranges without a session are missing data; a name twice is a mistake."""
    lake = Lake(tmp_path)
    lake.upsert(Market.US, "daily", bars(["IBM"]))

    with pytest.raises(MissingDataError, match="NONE"):
        build_panels(lake, CALENDAR, Market.US, ["NONE"], FIRST, LAST, benchmark="")
    with pytest.raises(MissingDataError, match="거래일"):
        build_panels(
            lake, CALENDAR, Market.US, None, date(2005, 1, 1), date(2005, 1, 2), benchmark=""
        )
    with pytest.raises(UsageError, match="IBM, IBM"):
        build_panels(lake, CALENDAR, Market.US, ["IBM", "IBM"], FIRST, LAST, benchmark="")
    with pytest.raises(DataError, match="LSE"):
        assemble_panels(bars(["IBM"]).assign(exchange="LSE"), [], [FIRST], Market.US, None)


def test_rows_outside_the_calendar_are_left_out():
    """A row on a Saturday gets no row in the panel and moves nothing."""
    frame = bars(["IBM"], date(2004, 1, 2), date(2004, 1, 9))
    saturday = frame.iloc[[0]].assign(session=pd.Timestamp(2004, 1, 3))
    days = CALENDAR.sessions(date(2004, 1, 2), date(2004, 1, 9))

    with_it, _ = assemble_panels(pd.concat([frame, saturday]), [], days, Market.US, ["IBM"])
    without, _ = assemble_panels(frame, [], days, Market.US, ["IBM"])

    np.testing.assert_array_equal(with_it.close, without.close)


def test_adjusted_rows_do_not_trade_off_the_grid(recorded: RecordedSource):
    """A vendor-adjusted price that nobody could have quoted is seen, but not tradable."""
    calendar = SessionCalendar(Market.KRX)
    first, last = date(2024, 1, 2), date(2024, 1, 12)
    frame = recorded.daily(Market.KRX, None, first, last)
    days = calendar.sessions(first, last)

    plain, _ = assemble_panels(frame, [], days, Market.KRX, None)
    gridded, features = assemble_panels(
        frame, [], days, Market.KRX, None, rules=shipped_rules(Market.KRX)
    )
    strict, _ = assemble_panels(frame, [], days, Market.KRX, None, require_raw=True)

    assert plain.basis is PriceBasis.ADJUSTED
    assert strict.tradable.sum() < gridded.tradable.sum() < plain.tradable.sum()
    np.testing.assert_array_equal(features.tradable, plain.tradable)
    raw_rows = (frame["basis"] == "raw") & (frame["volume"] > 0)
    assert strict.tradable.sum() == raw_rows.sum()
    assert schema.day(frame["session"].max()) == last


def test_the_guide_runs(tmp_path: Path):
    """The example of the section "Panels" works as it stands: Apple's split, 88.99 to 44.495."""
    store = Lake(tmp_path / "data" / "lake")
    store.upsert(Market.US, "daily", bars())
    store.upsert_actions(Market.US, SOURCE.actions(Market.US, FIRST, LAST))
    store.upsert_instruments(Market.US, SOURCE.instruments(Market.US))
    guide = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    code = guide.split("## Panels")[1].split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}

    with chdir(tmp_path):
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "app.yaml").touch()
        exec(code, names)

    raw = names["raw"]
    assert isinstance(raw, RawPanel)
    assert raw.reference[1, raw.symbols.index("AAPL")] == 444_950
