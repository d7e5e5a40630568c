"""Intraday bars: from recorded ticks, of any width, and the days they make."""

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import PriceBasis, Tick
from trading.domain.rules import shipped_rules
from trading.errors import ConfigError, DataError, UsageError
from trading.execution.bars import BarBuilder
from trading.sessions import SessionCalendar
from trading.simulation.paths import minute_prints
from trading.store import lake, minutes, schema

KRX, US = SessionCalendar(Market.KRX), SessionCalendar(Market.US)
IBM_DAY = date(2013, 10, 8)
IBM = Instrument(symbol="IBM", exchange=Exchange.NYSE, name="IBM")
OHLCV = ("open", "high", "low", "close", "volume")
# As KRX published them, in Korean time: 265740 on 2025-09-01, interrupted from 09:05 to 09:07,
NFC = [
    ("09:00", 5_990, 6_120, 5_980, 6_120, 39_346),
    ("09:01", 6_120, 6_450, 6_120, 6_310, 50_248),
    ("09:02", 6_320, 6_380, 6_250, 6_350, 59_116),
    ("09:03", 6_350, 6_450, 6_290, 6_430, 28_844),
    ("09:04", 6_400, 6_570, 6_400, 6_560, 71_281),
    ("09:05", 6_570, 6_580, 6_500, 6_580, 30_040),
    ("09:07", 6_600, 6_870, 6_600, 6_790, 170_064),
    ("09:08", 6_780, 6_990, 6_780, 6_890, 183_405),
    ("09:09", 6_870, 6_900, 6_725, 6_790, 58_927),
]
# and 012200 on 2026-01-09, whose fall of the last minute put the closing auction off.
KEYANG = [
    ("15:18", 14_090, 14_150, 14_080, 14_110, 24_767),
    ("15:19", 14_120, 14_120, 12_340, 12_340, 263_654),
    ("15:32", 12_340, 12_340, 12_340, 12_340, 366_459),
]


def minute_bars(day, symbol, rows, *, hours=9):
    """Return minute bars whose starts are given as local times, so many hours before UTC."""
    starts = [
        datetime.combine(day, time.fromisoformat(row[0]), tzinfo=UTC) - timedelta(hours=hours)
        for row in rows
    ]
    columns = {name: [row[i + 1] for row in rows] for i, name in enumerate(OHLCV)}
    text = {"symbol": symbol, "exchange": "KOSDAQ", "source": "published"}
    return schema.conform(
        pa.table(
            {
                "ts": starts,
                "session": [day] * len(rows),
                **{name: [value] * len(rows) for name, value in text.items()},
                **columns,
            }
        ),
        schema.MINUTE_BARS,
    )


def rows_of(table, zone=9):
    """Return (local time, open, high, low, close, volume) of each bar."""
    return [
        ((row["ts"] + timedelta(hours=zone)).strftime("%H:%M"), *(row[name] for name in OHLCV))
        for row in table.to_pylist()
    ]


def ohlcv(table):
    """Return the five figures of every row, as arrays."""
    return np.array([table[name].to_numpy() for name in OHLCV])


# --- without recorded data ------------------------------------------------------------------


def test_wider_bars_and_the_day():
    """Added up by hand."""
    bars = minute_bars(date(2025, 9, 1), "265740", NFC)

    five = minutes.wider(bars, KRX, every=5)
    day = minutes.days(bars, KRX, basis=PriceBasis.RAW)

    assert rows_of(five) == [
        ("09:00", 5_990, 6_570, 5_980, 6_560, 248_835),
        ("09:05", 6_570, 6_990, 6_500, 6_790, 442_436),
    ]
    assert rows_of(minutes.wider(bars, KRX, every=1)) == NFC
    (row,) = day.to_pylist()
    assert tuple(row[name] for name in OHLCV) == (5_990, 6_990, 5_980, 6_790, 691_271)
    assert (row["session"], row["basis"], row["source"]) == (date(2025, 9, 1), "raw", "published")


def test_a_closing_auction_that_ended_late():
    """Two minutes after the close it is the close still; the day ends with it."""
    bars = minute_bars(date(2026, 1, 9), "012200", KEYANG)

    assert rows_of(minutes.wider(bars, KRX, every=10)) == [
        ("15:10", 14_090, 14_150, 12_340, 12_340, 288_421),
        ("15:30", 12_340, 12_340, 12_340, 12_340, 366_459),
    ]
    assert rows_of(minutes.wider(bars, KRX, every=60))[0][0] == "15:00"


@pytest.mark.parametrize(
    ("day", "at", "start"),
    [
        (date(2025, 9, 1), "10:59", "10:30"),  # opens at 09:00
        (date(2025, 11, 13), "10:59", "10:00"),  # the university entrance exam: 10:00 to 16:30
        (date(2025, 11, 13), "16:10", "16:00"),
        (date(2025, 11, 13), "16:30", "16:30"),
        (date(2026, 1, 2), "11:29", "10:00"),  # the first session of the year: 10:00 to 15:30
        (date(2026, 1, 2), "11:30", "11:30"),
        (date(2026, 1, 2), "15:30", "15:30"),
    ],
)
def test_widths_count_from_the_open(day, at, start):
    """Bars of ninety minutes, on days that open and close at other hours."""
    bars = minute_bars(day, "265740", [(at, *NFC[0][1:])])

    assert rows_of(minutes.wider(bars, KRX, every=90))[0][0] == start


def test_the_hours_of_new_york():
    """The bar of an hour begins at half past, in summer and winter; a half day closes at 13:00."""
    for day, hours, at, start in (
        (date(2024, 7, 2), -4, "10:29", "09:30"),
        (date(2024, 7, 2), -4, "10:30", "10:30"),
        (date(2024, 12, 23), -5, "10:29", "09:30"),
        (date(2024, 7, 3), -4, "12:55", "12:30"),
        (date(2024, 7, 3), -4, "13:00", "13:00"),
    ):
        bars = minute_bars(day, "AAPL", [(at, *NFC[0][1:])], hours=hours)
        assert rows_of(minutes.wider(bars, US, every=60), zone=hours)[0][0] == start


def test_nothing_traded_is_no_bar():
    """Waiting for an auction, an interruption, prints before the open: none of them is a bar."""
    silent = [("15:20", 6_790, 6_790, 6_790, 6_790, 0), ("15:29", 6_790, 6_790, 6_790, 6_790, 0)]
    early = [("08:59", 6_000, 6_000, 6_000, 6_000, 10)]
    bars = minute_bars(date(2025, 9, 1), "265740", [*early, *NFC, *silent])

    assert rows_of(minutes.wider(bars, KRX, every=1)) == NFC
    assert len(minutes.wider(bars.slice(0, 0), KRX, every=5)) == 0
    assert len(minutes.days(bars.slice(0, 0), KRX, basis=PriceBasis.RAW)) == 0


def test_the_order_of_the_rows_does_not_matter():
    """Two names, two days, shuffled."""
    whole = pa.concat_tables(
        [
            minute_bars(date(2025, 9, 1), "265740", NFC),
            minute_bars(date(2025, 9, 1), "012200", NFC[3:]),
            minute_bars(date(2026, 1, 9), "012200", KEYANG),
        ]
    )
    shuffled = whole.take(np.random.default_rng(7).permutation(len(whole)))

    for every in (1, 2, 3, 5, 60):
        made = minutes.wider(whole, KRX, every=every)
        assert minutes.wider(shuffled, KRX, every=every).equals(made)
        assert made.column_names == list(schema.MINUTE_BARS.columns)
    assert minutes.days(shuffled, KRX, basis=PriceBasis.RAW).num_rows == 3


def test_what_cannot_be_made():
    """A width of nothing, and a day on which nobody trades."""
    bars = minute_bars(date(2025, 9, 1), "265740", NFC)
    with pytest.raises(UsageError, match="1분"):
        minutes.wider(bars, KRX, every=0)
    with pytest.raises(ConfigError, match="거래일이 아님: 2025-09-06"):
        minutes.wider(minute_bars(date(2025, 9, 6), "265740", NFC), KRX, every=5)


def test_from_the_lake_in_one_line(tmp_path):
    """What is narrower is made wider; a range without anything has no bars."""
    store = lake.at(tmp_path)
    store.upsert(Market.KRX, "minute", minute_bars(date(2025, 9, 1), "265740", NFC))

    five = lake.bars("krx", "265740", "2025-09-01", every=5, root=tmp_path)

    assert five["volume"].tolist() == [248_835, 442_436]
    assert lake.bars("krx", None, "2025-09-02", every=5, root=tmp_path).empty


# --- the tape of one day --------------------------------------------------------------------


@pytest.fixture
def ticks(recorded):
    """Return every trade and quote of IBM on 2013-10-08."""
    return recorded.table("ticks", Market.US, ["IBM"], IBM_DAY, IBM_DAY)


def test_ticks_make_the_recorded_day(recorded, ticks):
    """Open, high, low and close are the recorded ones; the volume is explained to the share."""
    bars = minutes.from_ticks(ticks, US, [IBM])
    (made,) = minutes.days(bars, US, basis=PriceBasis.RAW).to_pylist()
    (known,) = recorded.table("daily", Market.US, ["IBM"], IBM_DAY, IBM_DAY).to_pylist()

    # 181.89, 181.99, 178.71, 178.72 dollars.
    assert [made[n] for n in OHLCV[:4]] == [known[n] for n in OHLCV[:4]]
    assert [made[n] for n in OHLCV[:4]] == [1_818_900, 1_819_900, 1_787_100, 1_787_200]
    trades = ticks.filter(pc.equal(ticks["kind"], "trade"))
    by_condition = {
        row["condition"]: row["size_sum"]
        for row in trades.group_by("condition").aggregate([("size", "sum")]).to_pylist()
    }
    # Before 09:30 and in the evening; four trades repeated as official open or close.
    extended = sum(by_condition[c] for c in ("2000", "102000", "20002008", "20002020"))
    repeated = by_condition["1000000"] + by_condition["4000000"]
    assert (extended, repeated) == (87_126, 2_255)
    assert sum(by_condition.values()) == 5_564_671
    assert made["volume"] == 5_564_671 - extended - repeated
    # The day counts the evening too; 0.28 % of it is not on this tape.
    assert known["volume"] - (made["volume"] + extended) == 15_884


def test_minutes_of_the_tape(ticks):
    """From 09:30 to the closing auction, every minute; NYSE opened a minute and a half late."""
    bars = rows_of(minutes.from_ticks(ticks, US, [IBM]), zone=-4)

    assert len(bars) == 391
    assert [bar[0] for bar in bars[:3]] == ["09:30", "09:31", "09:32"]
    assert bars[-1] == ("16:00", *[1_787_200] * 4, 262_948 + 4_300 + 4_490)
    # The first trade was on another exchange (184 shares at 181.89).
    assert bars[0][1] == 1_818_900
    assert bars[1][5] > 88_065


def test_the_builder_of_the_session_makes_the_same_bars(ticks):
    """Fed print by print and closed by the clock, ``BarBuilder`` gives every bar to the unit."""
    flags = {c: int(c, 16) for c in pc.unique(ticks["condition"]).to_pylist()}
    plain = [c for c, flag in flags.items() if flag & ~0x200000E1 == 0]
    prints = ticks.filter(
        pc.and_(pc.equal(ticks["kind"], "trade"), pc.is_in(ticks["condition"], pa.array(plain)))
    )
    assert len(prints) > 33_000
    for every in (1, 5):
        builder, made, until = BarBuilder(), [], None
        for row in prints.to_pylist():
            ts = row["ts"]
            start = min(
                ts.replace(minute=ts.minute // every * every, second=0, microsecond=0),
                datetime(2013, 10, 8, 20, tzinfo=UTC),
            )
            if until is not None and start != until:
                made.append(builder.close()["IBM"])
            until = start
            builder.add(
                Tick(symbol="IBM", price=row["price"], volume=row["size"],
                     cumulative_volume=0, ts_event=ts, ts_recv=ts)
            )  # fmt: skip
        made.append(builder.close()["IBM"])

        bars = minutes.from_ticks(prints, US, [IBM], every=every)

        assert [tuple(bar) for bar in ohlcv(bars).T] == made


@pytest.mark.parametrize("every", [5, 15, 30, 60, 390])
def test_widths_agree_with_each_other(ticks, every):
    """From ticks or from minutes, the wider bar is the same."""
    narrow = minutes.from_ticks(ticks, US, [IBM])

    assert minutes.from_ticks(ticks, US, [IBM], every=every).equals(
        minutes.wider(narrow, US, every=every)
    )


def changed(ticks, trade, column, value):
    """Return the tape with one cell changed of the only trade of this price and size."""
    rows = ticks.to_pylist()
    (found,) = (row for row in rows if (row["price"], row["size"]) == trade)
    found[column] = value
    return schema.conform(pa.Table.from_pylist(rows, schema=ticks.schema), schema.TICKS)


def day_of(ticks):
    """Return open, high, low, close and volume of the day that a tape makes."""
    bars = minutes.from_ticks(ticks, US, [IBM])
    (day,) = minutes.days(bars, US, basis=PriceBasis.RAW).to_pylist()
    return tuple(day[name] for name in OHLCV)


def test_a_trade_counts_for_what_it_is(ticks):
    """The day's high, 190 shares at 181.99, and 5,700 of the evening at 180.28, under other names.

    The next trade below the high was at 181.94.
    """
    high, evening = (1_819_900, 190), (1_802_800, 5_700)
    whole = day_of(ticks)
    assert whole == (1_818_900, 1_819_900, 1_787_100, 1_787_200, 5_475_290)

    average = day_of(changed(ticks, high, "condition", "100000"))
    repeated = day_of(changed(ticks, high, "condition", "4000000"))
    suspicious = day_of(changed(ticks, high, "suspicious", True))
    reported_late = day_of(changed(ticks, evening, "condition", "1"))

    lower = 1_819_400
    assert average == (1_818_900, lower, 1_787_100, 1_787_200, 5_475_290)
    assert repeated == suspicious == (1_818_900, lower, 1_787_100, 1_787_200, 5_475_290 - 190)
    assert reported_late == (*whole[:4], 5_475_290 + 5_700)


def test_trades_of_one_instant_keep_their_order(ticks):
    """Rows in any order: the sequence of the tape decides which was first and last."""
    shuffled = ticks.take(np.random.default_rng(11).permutation(len(ticks)))

    made = minutes.from_ticks(shuffled, US, [IBM])

    assert made.equals(minutes.from_ticks(ticks, US, [IBM]))


def test_a_broken_tape_is_refused(ticks):
    """A condition that is none, and a symbol that nobody lists."""
    some = ticks.slice(0, 5_000)
    with pytest.raises(DataError, match="IBM"):
        minutes.from_ticks(some, US, [])
    place = some.column_names.index("condition")
    wrong = pa.array(["@@"] * len(some)).dictionary_encode()
    with pytest.raises(DataError, match="체결 조건"):
        minutes.from_ticks(some.set_column(place, "condition", wrong), US, [IBM])


def test_the_lake_makes_bars_of_its_ticks(ticks, tmp_path):
    """Where only ticks are kept, they are what bars are made of."""
    store = lake.at(tmp_path)
    store.upsert(Market.US, "ticks", ticks)
    store.upsert_instruments(Market.US, [IBM])

    made = lake.bars("us", "IBM", IBM_DAY, every=30, root=tmp_path)

    assert len(made) == 14
    assert made["open"].iloc[0] == 1_818_900


# --- recorded minutes -----------------------------------------------------------------------


@pytest.fixture
def korean(recorded):
    """Return every recorded Korean minute bar of September 2025."""
    return recorded.table("minute", Market.KRX, None, date(2025, 9, 1), date(2025, 9, 30))


def test_korean_minutes_make_the_recorded_days(recorded, korean):
    """Every day but for the won by which a vendor rounds adjusted prices, of 1,793 not adjusted."""
    made = minutes.days(korean, KRX, basis=PriceBasis.RAW).to_pandas()
    known = recorded.table("daily", Market.KRX, None, date(2025, 9, 1), date(2025, 9, 30))
    both = made.merge(known.to_pandas(), on=["session", "symbol"], suffixes=("", "_known"))
    prices, theirs = (
        both[[*OHLCV[:4]]].to_numpy(),
        both[[f"{n}_known" for n in OHLCV[:4]]].to_numpy(),
    )
    ratio = prices / theirs

    # A later action has adjusted some names since: one factor for all four prices of a day.
    assert (np.abs(ratio / ratio[:, :1] - 1) < 0.002).all()
    same = np.abs(ratio - 1).max(axis=1) < 0.001
    apart = np.abs(prices - theirs)[same]
    assert (len(both), int(same.sum()), int((apart > 0).any(axis=1).sum())) == (1_905, 1_793, 23)
    assert apart.max() == 1
    # After-hours trades are in the day and not in its minutes.
    traded = (both["volume"] / both["volume_known"])[same]
    assert ((traded > 0.95) & (traded <= 1)).mean() > 0.97


def test_korean_widths_agree(korean):
    """Five minutes made fifteen and sixty; days made of any width."""
    some = korean.filter(pc.equal(korean["session"], date(2025, 9, 10)))
    five = minutes.wider(some, KRX, every=5)
    day = minutes.days(some, KRX, basis=PriceBasis.RAW)

    for every in (15, 30, 60):
        wide = minutes.wider(some, KRX, every=every)
        assert minutes.wider(five, KRX, every=every).equals(wide)
        assert minutes.days(wide, KRX, basis=PriceBasis.RAW).equals(day)
    assert set(minutes.wider(some, KRX, every=60)["ts"].to_pylist()) == {
        datetime(2025, 9, 10, hour, tzinfo=UTC) for hour in range(7)
    } | {datetime(2025, 9, 10, 6, 30, tzinfo=UTC)}


def test_five_minutes_of_another_vendor(recorded, shared_data):
    """005380 on 2025-10-16: Yahoo's highs and lows are ours; one print at an edge may move over."""
    import pyarrow.parquet as pq

    day = date(2025, 10, 16)
    other = pq.read_table(
        shared_data / "krx_bars_5m_1h.parquet",
        filters=[("symbol", "=", "005380"), ("interval", "=", "5m")],
    ).to_pandas()
    bars = recorded.table("minute", Market.KRX, ["005380"], day, day)
    ours = minutes.wider(bars, KRX, every=5).to_pandas()
    ours["ts_kst"] = ours["ts"].dt.tz_convert("Asia/Seoul").dt.tz_localize(None)

    both = ours.merge(other, on="ts_kst", suffixes=("", "_other"))

    agreed = {n: int((both[n] == both[f"{n}_other"]).sum()) for n in OHLCV[:4]}
    assert agreed == {"open": 69, "high": 72, "low": 72, "close": 68}
    # 15:00 on and the closing auction are not in Yahoo's day.
    assert (len(both), len(ours)) == (72, 77)


def test_half_ticks_are_kept(korean):
    """Midpoint orders trade half a tick off the grid (since 2025-03); no bar rounds them.

    Half of 5 won is recorded as 2.
    """
    rules = shipped_rules(Market.KRX)
    some = korean.filter(pc.equal(korean["session"], date(2025, 9, 10)))

    def half_ticks(table):
        frame = table.to_pandas()
        found = set()
        for symbol, exchange, close in zip(
            frame["symbol"], frame["exchange"], frame["close"], strict=True
        ):
            tick = rules.tick_size(Exchange(exchange), int(close), date(2025, 9, 10))
            if close % tick == tick // 2 > 0:
                found.add((symbol, int(close)))
        return found

    kept = half_ticks(minutes.wider(some, KRX, every=5))
    assert kept <= half_ticks(some)
    assert len(kept) > 100


def test_american_half_days_and_days(recorded):
    """Five-minute bars: 78 a day, 42 on the half days; their vendor leaves the auctions out.

    So open and close are those of continuous trading; highs and lows are the day's but for prints
    that only the day has.
    """
    year = date(2024, 3, 11), date(2024, 12, 31)
    bars = recorded.table("minute", Market.US, None, *year)
    made = minutes.days(bars, US, basis=PriceBasis.ADJUSTED).to_pandas()
    known = recorded.table("daily", Market.US, None, *year).to_pandas()
    both = made.merge(known, on=["session", "symbol"], suffixes=("", "_known"))
    half = {date(2024, 7, 3), date(2024, 11, 29), date(2024, 12, 24)}

    counts = bars.group_by(["session", "symbol"]).aggregate([("ts", "count")]).to_pylist()
    hours = minutes.wider(bars, US, every=60)
    per_day = hours.group_by(["session", "symbol"]).aggregate([("ts", "count")]).to_pylist()

    assert {r["session"]: r["ts_count"] for r in counts if r["ts_count"] != 78} == dict.fromkeys(
        half, 42
    )
    assert {r["session"]: r["ts_count"] for r in per_day if r["ts_count"] != 7} == dict.fromkeys(
        half, 4
    )
    near = {
        name: float((np.abs(both[name] / both[f"{name}_known"] - 1) <= 0.001).mean())
        for name in OHLCV[:4]
    }
    assert len(both) == len(made)
    assert near["high"] > 0.99 and near["low"] > 0.99
    assert near["open"] > 0.97 and near["close"] > 0.97


# --- what the local exchange makes of them ----------------------------------------------------


@pytest.mark.parametrize(
    ("market", "day", "every"),
    [
        (Market.KRX, date(2025, 9, 10), 1),
        (Market.KRX, date(2025, 11, 13), 1),
        (Market.KRX, date(2026, 1, 2), 1),
        (Market.KRX, date(2026, 1, 9), 1),
        (Market.US, date(2024, 7, 3), 5),
    ],
)
def test_prints_of_a_replay_make_the_recorded_bars(recorded, market, day, every):
    """Each share of volume and each price of every bar, through the builder of a live session."""
    calendar = KRX if market is Market.KRX else US
    opened, closed = calendar.open_close(day)
    recorded_bars = minutes.wider(
        recorded.table("minute", market, None, day, day), calendar, every=every
    )
    by_symbol = {}
    for row in recorded_bars.to_pylist():
        by_symbol.setdefault(row["symbol"], []).append((row["ts"], *(row[n] for n in OHLCV)))
    assert len(by_symbol) > 5

    for symbol, bars in by_symbol.items():
        builder, made = BarBuilder(), {}
        prints = minute_prints(symbol, bars, opened, closed, bar_seconds=60 * every)
        for k, one in enumerate(prints):
            builder.add(
                Tick(symbol=symbol, price=one.price, volume=one.volume,
                     cumulative_volume=0, ts_event=one.ts, ts_recv=one.ts)
            )  # fmt: skip
            start = opened + (one.ts - opened) // timedelta(minutes=every) * timedelta(
                minutes=every
            )
            if k + 1 == len(prints) or prints[k + 1].ts >= start + timedelta(minutes=every):
                made[start] = builder.close()[symbol]
        assert made == {start: tuple(bar) for start, *bar in bars}
