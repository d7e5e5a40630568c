"""Sessions replayed from recorded minutes and trades: what prints, what is refused, what is counted."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from trading import bootstrap
from trading.backtest import replay, runner
from trading.backtest.replay import IntradayReplay, ReplayKind
from trading.domain.instrument import Market
from trading.errors import MissingDataError
from trading.execution.engine import SessionStart
from trading.research.history import Scope, load_history, replay_of
from trading.research.trader import Trader
from trading.simulation.paths import DayPrices, Print, refusal

# Whole runs: as plain Python they would take minutes.
pytestmark = pytest.mark.compiled_only

DAY = date(2005, 5, 27)


@pytest.fixture
def morning(embedded_market):
    """Return view, row and start of an embedded session."""
    market = embedded_market
    _, views = market.views()
    row = market.raw.row_of(DAY)
    view = views.at(row)
    opened, closed = market.calendar.open_close(DAY)
    reference = {s: int(market.raw.reference[row, i]) for i, s in enumerate(market.raw.symbols)}
    start = SessionStart(
        session=DAY, open_ts=opened, close_ts=closed, actions=(), reference=reference,
        withholding_ppb=0,
    )  # fmt: skip
    return view, row, start


def of_day(market, row, symbol, start, view):
    """Return the four prints of a symbol's recorded daily bar."""
    daily = [p for _, at in runner.daily_instants(market.raw, row, view, start) for p in at]
    return [p for p in daily if p.symbol == symbol]


def test_names_without_a_record_keep_their_day(embedded_market, morning):
    """A name with finer prints shows them, in view order at each instant; the others their bar."""
    view, row, start = morning
    whole = of_day(embedded_market, row, "IBM", start, view)
    late = [replace(p, ts=p.ts + timedelta(seconds=1)) for p in whole]
    fine = IntradayReplay(
        embedded_market.raw, embedded_market.rules, ReplayKind.TICK, lambda *_: {"IBM": late}
    )

    instants = fine.instants(row, view, start)

    told = {s: [p for _, at in instants for p in at if p.symbol == s] for s in view.symbols}
    assert told["IBM"] == late
    assert told["AAPL"] == of_day(embedded_market, row, "AAPL", start, view)
    assert [ts for ts, _ in instants] == sorted({p.ts for own in told.values() for p in own})
    traded = len([s for s in view.symbols if s != "IBM"])
    assert fine.sessions == {"tick": 1, "daily": 0}
    assert fine.names == {"tick": 1, "daily": traded}
    # Asked a second time, as for the other bound, a session still counts once.
    fine.instants(row, view, start)
    assert fine.sessions == {"tick": 1, "daily": 0}


def test_a_record_that_ends_elsewhere_is_refused(embedded_market, morning):
    """A name whose last intraday price is not the day's close is no name to order."""
    view, row, start = morning
    whole = of_day(embedded_market, row, "IBM", start, view)
    off = [*whole[:-1], replace(whole[-1], price=whole[-1].price * 102 // 100)]

    def refused(prints):
        fine = IntradayReplay(
            embedded_market.raw, embedded_market.rules, ReplayKind.MINUTE, lambda *_: prints
        )
        return fine.refused(row, view, start)

    assert refused({"IBM": whole}) == frozenset()
    assert refused({"IBM": off}) == {"IBM"}


@pytest.mark.parametrize(
    ("changes", "last", "limits", "told"),
    [
        ({}, None, (0, 0), ""),
        ({}, 50_000, (0, 0), ""),
        ({}, 50_049, (0, 0), ""),
        ({}, 50_051, (0, 0), "분봉 종가"),
        ({"high": 50_350, "is_adjusted": True}, None, (0, 0), "호가 단위"),
        ({"high": 50_350, "is_adjusted": True}, 50_000, (0, 0), ""),
        ({"high": 50_350}, None, (0, 0), ""),
        ({}, None, (49_900, 50_200), "제한폭"),
        ({"volume": 0}, None, (49_900, 50_200), ""),
    ],
)
def test_refusal(embedded_market, changes, last, limits, told):
    """Another close, an adjusted price off that day's grid, a price beyond the limits."""
    from trading.domain.instrument import Exchange
    from trading.domain.rules import shipped_rules

    day = DayPrices(50_100, 50_300, 49_950, 50_000, 1_000, False)._replace(**changes)

    found = refusal(day, last, Exchange.KOSPI, date(2024, 1, 8), limits, shipped_rules(Market.KRX))

    assert found.startswith(told) if not told else told in found


def test_the_same_day_in_minutes_and_at_once(embedded_market):
    """A backtest whose finer record is the daily prints themselves is the daily backtest."""
    market = embedded_market
    policy, views = market.views()
    asked = views, market.raw, market.actions, market.calendar, market.rules, policy
    span = {"cash": 1_000_000_000, "first": date(2003, 6, 2), "last": date(2005, 12, 30)}

    def recorded(start, symbols):
        row = market.raw.row_of(start.session)
        found = {}
        for _, at in runner.daily_instants(market.raw, row, views.at(row), start):
            for trade in at:
                found.setdefault(trade.symbol, []).append(trade)
        return found

    fine = IntradayReplay(market.raw, market.rules, ReplayKind.MINUTE, recorded)
    daily, again = runner.run(*asked, **span), runner.run(*asked, **span, replay=fine)

    assert again.equity == daily.equity
    assert sum(len(day.booked) for day in daily.days) > 8
    assert fine.sessions == {"minute": len(daily.sessions), "daily": 0}


def test_no_record_is_one_sentence(home):
    """The embedded history has neither minutes nor trades."""
    history = load_history(
        bootstrap.open_home(home, console=False),
        Scope(market=Market.US, first=date(2010, 1, 4), last=date(2010, 2, 1)),
    )

    assert replay_of(history, ReplayKind.DAILY) is None
    for kind, told in ((ReplayKind.MINUTE, "분봉"), (ReplayKind.TICK, "체결")):
        with pytest.raises(MissingDataError, match=f"{told} 기록이 있는 날: 없음"):
            replay_of(history, kind)


def test_recorded_american_minutes(shared_data, home):
    """Half days and five-minute bars: every session replayed, money to the unit, not as by days."""
    installation = bootstrap.open_home(home, console=False)
    scope = Scope(
        market=Market.US, symbols=["AAPL", "AMZN", "MSFT"], first=date(2024, 6, 3),
        last=date(2024, 12, 31), dataset=shared_data, first_bar=date(2020, 1, 2),
    )  # fmt: skip
    history = load_history(installation, scope)
    strategies = installation.settings.strategies
    trader = Trader.of(installation, history, "ma_crossover")
    views = trader.views(trader.evaluation_of(strategies))
    tapes = replay_of(history, ReplayKind.MINUTE)

    def run(**more):
        return runner.run(
            views, history.raw, history.actions, history.calendar, history.rules, history.policy,
            cash=1_000_000_000, first=history.first, last=history.last, **more,
        )  # fmt: skip

    fine, daily = run(replay=tapes), run()

    assert tapes.sessions["minute"] == len(fine.sessions)
    assert fine.cash_difference == daily.cash_difference == 0
    assert sum(len(day.booked) for day in fine.days) > 10
    assert fine.equity != daily.equity


def test_recorded_trades(shared_data):
    """IBM's trades of 2013-10-08: their minutes are those that the data platform makes of them."""
    from trading.sessions import SessionCalendar
    from trading.store import minutes
    from trading.store.datasets import RecordedSource

    source, calendar = RecordedSource(shared_data), SessionCalendar(Market.US)
    day = date(2013, 10, 8)
    ticks = source.table("ticks", Market.US, ["IBM"], day, day)
    opened, closed = calendar.open_close(day)
    listed = [i for i in source.instruments(Market.US) if i.symbol == "IBM"]

    trades = minutes.prints(ticks, calendar)["IBM"]

    assert source.tick_sessions(Market.US) == [day]
    assert source.tick_sessions(Market.KRX) == []
    assert trades == sorted(trades, key=lambda p: p.ts)
    assert opened <= trades[0].ts
    assert trades[-1].ts == closed
    # The opening print of the NYSE, and its closing print: the day's close, told at the close.
    assert [(p.price, p.volume) for p in trades if p.auction] == [
        (1_818_500, 88_065),
        (1_787_200, 262_948),
    ]
    bars = minutes.from_ticks(ticks, calendar, listed).to_pydict()
    first_minute = [p.price for p in trades if p.ts < opened + timedelta(minutes=1)]
    made = [bars[name][0] for name in ("open", "high", "low", "close")]
    assert made == [first_minute[0], max(first_minute), min(first_minute), first_minute[-1]]
    assert max(bars["high"]) == max(p.price for p in trades)
    assert min(bars["low"]) == min(p.price for p in trades)
    assert bars["close"][-1] == trades[-1].price
    # Volume without a price of its moment counts in bars, and fills nobody.
    assert 0.9 * sum(bars["volume"]) < sum(p.volume for p in trades) < sum(bars["volume"])


def test_minutes_of_a_frame(shared_data):
    """Prints by name, as wide as the bars of the whole session, volatility interruptions as auctions."""
    from trading.sessions import SessionCalendar
    from trading.store.datasets import RecordedSource

    source, calendar = RecordedSource(shared_data), SessionCalendar(Market.KRX)
    day = date(2025, 9, 1)
    opened, closed = calendar.open_close(day)
    frame = source.minute(Market.KRX, day, None)
    start = SessionStart(
        session=day, open_ts=opened, close_ts=closed, actions=(), reference={"265740": 5_990},
        withholding_ppb=0,
    )  # fmt: skip

    prints = replay.minutes(Market.KRX, start, frame, ["265740"])["265740"]

    assert isinstance(prints[0], Print)
    assert prints[0].ts == opened
    assert prints[0].auction
    assert prints[1].ts - prints[0].ts == timedelta(seconds=15)
    # 265740 was interrupted from 09:05 to 09:07 (tests/unit/store/test_minutes.py).
    singles = [p.ts - opened for p in prints if p.auction]
    assert timedelta(minutes=7) in singles
    own = frame.loc[frame["symbol"] == "265740"]
    assert sum(p.volume for p in prints) == own["volume"].sum()
    assert max(p.price for p in prints) == own["high"].max()
    assert np.isin([p.other for p in prints if p.other], own[["high", "low"]]).all()
