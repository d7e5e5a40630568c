"""A marcap archive is the official record: raw bars, listings, lives and base prices."""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.domain.actions import ActionKind, CorporateAction
from trading.domain.instrument import Exchange, Market
from trading.errors import DataError, SchemaError, TradingError
from trading.store.datasets import MarcapSource, RecordedSource, open_dataset

ALL = (date(1990, 1, 1), date(2030, 12, 31))
# 005930 around its 50:1 split and on 2021-01-04, as KRX published it; the rows between are absent.
SAMSUNG = pd.DataFrame(
    [
        ("2018-05-02", 0, 0, 0, 2_650_000, 0, 0, 128_386_494),
        ("2018-05-03", 0, 0, 0, 2_650_000, 0, 0, 128_386_494),
        ("2018-05-04", 53_000, 53_900, 51_800, 51_900, 39_565_391, -1_100, 6_419_324_700),
        ("2021-01-04", 81_000, 84_400, 80_200, 83_000, 38_655_276, 2_000, 5_969_782_550),
    ],
    columns=["Date", "Open", "High", "Low", "Close", "Volume", "Changes", "Stocks"],
).assign(
    Code="005930",
    Name="삼성전자",
    Market="KOSPI",
    Amount=lambda rows: rows["Close"] * rows["Volume"],
    Marcap=lambda rows: rows["Close"] * rows["Stocks"],
)


def archive(folder: Path, rows: pd.DataFrame) -> MarcapSource:
    """Write rows as an archive does: one file a year, the later ones as Parquet."""
    for year, part in rows.groupby(pd.to_datetime(rows["Date"]).dt.year):
        if int(str(year)) < 2021:
            part.to_csv(folder / f"marcap-{year}.csv.gz", index=False)
        else:
            part.assign(Date=pd.to_datetime(part["Date"])).to_parquet(
                folder / f"marcap-{year}.parquet"
            )
    source = open_dataset(folder)
    assert isinstance(source, MarcapSource)
    return source


def test_published_rows(tmp_path: Path):
    """Bars are raw with value, capitalization and shares; a halt keeps its close only."""
    source = archive(tmp_path, SAMSUNG)

    bars = source.daily(Market.KRX, None, *ALL)

    halt, last = bars.iloc[1], bars.iloc[3]
    assert halt[["open", "high", "low", "close", "volume"]].tolist() == [0, 0, 0, 2_650_000, 0]
    assert last[["open", "high", "low", "close", "volume", "shares"]].tolist() == [
        81_000, 84_400, 80_200, 83_000, 38_655_276, 5_969_782_550,
    ]  # fmt: skip
    assert last["market_cap"] == 83_000 * 5_969_782_550
    assert (set(bars["basis"]), set(bars["exchange"])) == ({"raw"}, {"KOSPI"})
    assert source.kinds(Market.KRX) == {"daily", "listings", "instruments", "actions"}
    assert source.sessions(Market.KRX)[-1] == date(2021, 1, 4)
    assert len(source.daily(Market.KRX, None, date(2021, 1, 1), date(2021, 12, 31))) == 1
    assert source.daily(Market.KRX, ["000660"], *ALL).empty
    assert source.daily(Market.US, None, *ALL).empty
    assert source.minute_sessions(Market.KRX) == []


def test_a_split_is_read_from_the_base_price(tmp_path: Path):
    """2018-05-04: 51,900 is 1,100 below the base of 53,000, which is 1/50 of 2,650,000.

    The change of 2021-01-04 is counted from a close that is not in the archive: no action.
    """
    actions = archive(tmp_path, SAMSUNG).actions(Market.KRX, *ALL)

    assert actions == [
        CorporateAction(
            symbol="005930", ex_date=date(2018, 5, 4), kind=ActionKind.SPLIT, numerator=50,
            denominator=1, source="marcap", inferred=True,
        )
    ]  # fmt: skip


def test_changes_without_their_sign(tmp_path: Path):
    """Where a year writes |change|, the sign is that of the ratio beside it."""
    unsigned = SAMSUNG.assign(
        Changes=SAMSUNG["Changes"].abs(), ChagesRatio=[0.0, 0.0, -2.08, 2.47], ChangeCode=1
    )

    (action,) = archive(tmp_path, unsigned).actions(Market.KRX, *ALL)

    assert (action.numerator, action.denominator) == (50, 1)


def test_names_that_end_are_delisted(tmp_path: Path):
    """A name that is gone before the archive ends leaves at its last close, and is kept."""
    other = SAMSUNG.assign(Code="000020", Name="동화약품", Market="KOSDAQ GLOBAL", Dept="관리종목")
    source = archive(tmp_path, pd.concat([SAMSUNG, other.iloc[:2].assign(Changes=0)]))

    lives = {item.symbol: item for item in source.instruments(Market.KRX)}
    (listing,) = source.table(
        "listings", Market.KRX, ["000020"], date(2018, 5, 3), date(2018, 5, 3)
    ).to_pylist()

    assert (lives["000020"].listed, lives["000020"].delisted) == (
        date(2018, 5, 2), date(2018, 5, 3),
    )  # fmt: skip
    assert lives["000020"].exchange is Exchange.KOSDAQ
    assert lives["005930"].delisted is None
    (gone,) = [a for a in source.actions(Market.KRX, *ALL) if a.kind is ActionKind.DELISTING]
    assert (gone.symbol, gone.ex_date, gone.amount) == ("000020", date(2018, 5, 4), 2_650_000)
    assert (listing["is_halted"], listing["is_administrative"]) == (True, True)


def test_other_boards_are_left_out(tmp_path: Path):
    """KONEX is not traded here."""
    source = archive(tmp_path, pd.concat([SAMSUNG, SAMSUNG.assign(Code="999999", Market="KONEX")]))

    assert [item.symbol for item in source.instruments(Market.KRX)] == ["005930"]
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="코스피·코스닥의 행이 없음"):
        archive(tmp_path / "other", SAMSUNG.assign(Market="KONEX")).sessions(Market.KRX)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (SAMSUNG.drop(columns="Market"), "열이 없음: Market"),
        (SAMSUNG.assign(Close=-1), "1번째 행: Close 값이 음수임"),
        (SAMSUNG.assign(Volume="많음"), "Volume 칸이 숫자가 아님: '많음'"),
        (pd.concat([SAMSUNG, SAMSUNG]), "같은 키"),
    ],
)
def test_bad_archives(tmp_path: Path, rows: pd.DataFrame, message: str):
    """What is wrong is said."""
    rows.iloc[:3].to_csv(tmp_path / "marcap-2018.csv.gz", index=False)
    if len(rows) > len(SAMSUNG):
        rows.loc[rows["Date"] < "2021"].to_csv(tmp_path / "marcap-2018.csv.gz", index=False)

    with pytest.raises((DataError, SchemaError), match=message):
        MarcapSource(tmp_path).daily(Market.KRX, None, *ALL)


def test_a_year_in_the_wrong_file(tmp_path: Path):
    """A file that holds another year's rows would be read for the wrong range."""
    SAMSUNG.to_csv(tmp_path / "marcap-2018.csv", index=False)

    with pytest.raises(DataError, match=r"marcap-2018\.csv의 자료 4번째 행: 2018년의 날짜가 아님"):
        MarcapSource(tmp_path).sessions(Market.KRX)


GOOD = SAMSUNG.iloc[:3].to_csv(index=False).encode()


@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=3)), max_size=4),
    cut=st.none() | st.integers(0, 10**6),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_mutated_archives_give_rows_or_one_refusal(
    tmp_path: Path, changes: list[tuple[int, bytes]], cut: int | None
):
    """Whatever a year's file is damaged to, the answer is rows or a ``TradingError``."""
    content = bytearray(GOOD)
    for place, new in changes:
        at = place % len(content)
        content[at : at + len(new)] = new
    (tmp_path / "marcap-2018.csv").write_bytes(content[: cut % len(content) if cut else None])

    source = MarcapSource(tmp_path)
    try:
        bars = source.daily(Market.KRX, None, *ALL)
        source.actions(Market.KRX, *ALL)
    except TradingError:
        return
    assert (bars["close"] >= 0).all()


def test_the_recorded_cross_section_as_an_archive(recorded: RecordedSource, tmp_path: Path):
    """Official rows come through an archive's layout as the recorded source serves them."""
    rows = pd.read_parquet(
        recorded.directory / "krx_cross_section.parquet",
        filters=[("date", ">=", date(2024, 1, 2)), ("date", "<=", date(2024, 1, 12))],
    ).rename(
        columns={
            "date": "Date", "symbol": "Code", "name": "Name", "market": "Market", "dept": "Dept",
            "value": "Amount", "market_cap": "Marcap", "shares": "Stocks", "open": "Open",
            "high": "High", "low": "Low", "close": "Close", "volume": "Volume",
        }
    )  # fmt: skip
    before = rows.sort_values("Date").groupby("Code")["Close"].shift()
    source = archive(tmp_path, rows.assign(Changes=(rows["Close"] - before).fillna(0)))
    span = (date(2024, 1, 2), date(2024, 1, 12))

    listings, official = (
        one.table("listings", Market.KRX, None, *span).drop_columns("source")
        for one in (source, recorded)
    )
    assert listings.to_pylist() == official.to_pylist()
    key = ["symbol", "session"]
    bars = source.daily(Market.KRX, None, *span).set_index(key)
    known = recorded.daily(Market.KRX, None, *span).set_index(key)
    known = known.loc[known["source"] == "FinanceData/marcap"]
    columns = ["exchange", "open", "high", "low", "close", "volume", "value", "shares", "basis"]
    pd.testing.assert_frame_equal(bars.loc[known.index, columns], known[columns])
    assert len(known) > 10_000
    assert not source.actions(Market.KRX, *ALL)
