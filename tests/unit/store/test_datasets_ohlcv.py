"""Anybody's OHLCV files become rows, or one clear refusal; never something in between."""

import gzip
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trading.domain.instrument import Exchange, Market
from trading.domain.market import PriceBasis
from trading.errors import ConfigError, DataError, SchemaError, TradingError, UsageError
from trading.store.datasets import EmbeddedSource, OhlcvSource, open_dataset
from trading.store.datasets.ohlcv import OhlcvSettings

ALL = (date(1990, 1, 1), date(2030, 12, 31))
# 005930 on 2021-01-04 and 2021-01-05, as KRX published them.
KOREAN = """일자,시가,고가,저가,종가,거래량
20210104,"81,000","84,400","80,200","83,000","38,655,276"
20210105,"81,600","83,900","81,600","83,900","35,335,669"
"""
FIRST, SECOND = KOREAN.splitlines()[1:]


def ibm() -> pd.DataFrame:
    """Return the embedded bars of IBM, January 2005, as a vendor writes them."""
    bars = EmbeddedSource().daily(Market.US, ["IBM"], date(2005, 1, 3), date(2005, 1, 31))
    prices = {name.capitalize(): bars[name] / 10_000 for name in ("open", "high", "low", "close")}
    return pd.DataFrame(
        {"Date": bars["session"], **prices, "Adj Close": bars["adj_close"]}
        | {"Volume": bars["volume"]}
    )


def write(folder: Path, text: str | bytes, name: str = "005930.csv", describe: str = "") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    if describe:
        path.with_name(f"{name}.yaml").write_text(describe, encoding="utf-8")
    return path


def bars_of(path: Path, market: Market = Market.KRX) -> pd.DataFrame:
    frame: pd.DataFrame = OhlcvSource(path).daily(market, None, *ALL)
    return frame


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
def test_korean_headers_in_every_encoding(tmp_path: Path, encoding: str):
    """Headers, separators and encodings are understood without a word of description."""
    path = write(tmp_path, KOREAN.encode(encoding), describe="exchange: KOSPI")

    bars = bars_of(path)

    first = bars.iloc[0]
    assert (first["symbol"], first["exchange"], first["basis"]) == ("005930", "KOSPI", "adjusted")
    assert first[["open", "high", "low", "close", "volume"]].tolist() == [
        81_000, 84_400, 80_200, 83_000, 38_655_276,
    ]  # fmt: skip
    assert bars["session"].dt.date.tolist() == [date(2021, 1, 4), date(2021, 1, 5)]
    assert bars["source"].unique().tolist() == ["005930.csv"]


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "tsv", "txt"])
def test_without_a_column_the_symbol_is_the_files_name(tmp_path: Path, form: str):
    """Of every form of file, without its ending; a point of the symbol stays."""
    frame, path = ibm(), tmp_path / f"BRK.B.{form}"
    if form == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if form in ("tsv", "txt") else ",", index=False)

    path.with_name(f"{path.name}.yaml").write_text("exchange: NYSE\n")

    assert [one.symbol for one in OhlcvSource(path).instruments(Market.US)] == ["BRK.B"]


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "tsv"])
def test_every_form_gives_the_same_rows(tmp_path: Path, form: str):
    """The embedded bars of IBM, written out and read back, are the embedded bars of IBM."""
    frame, path = ibm(), tmp_path / f"IBM.{form}"
    if form == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if form == "tsv" else ",")  # with pandas' nameless index

    path.with_name(f"{path.name}.yaml").write_text("basis: raw\nsymbol: IBM\n")
    source = OhlcvSource(path)
    bars = source.daily(Market.US, None, *ALL)

    exact = EmbeddedSource().daily(Market.US, ["IBM"], date(2005, 1, 3), date(2005, 1, 31))
    for name in ("session", "symbol", "exchange", "open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(bars[name], exact[name])
    np.testing.assert_allclose(bars["adj_close"], exact["adj_close"], rtol=1e-12)
    assert set(bars["basis"]) == {"raw"}
    assert source.basis is PriceBasis.RAW


def test_a_folder_of_one_file_a_symbol(tmp_path: Path):
    """Names of files are symbols; a narrower question gets its part; nothing else is offered."""
    write(tmp_path, "어디서 받았는지", "readme.txt")
    for symbol in ("IBM", "MSFT"):
        ibm().to_csv(tmp_path / f"{symbol}.csv", index=False)

    source = open_dataset(tmp_path)

    assert source.kinds(Market.US) == {"daily", "actions", "instruments"}
    assert source.kinds(Market.KRX) == frozenset()
    assert [i.symbol for i in source.instruments(Market.US)] == ["IBM", "MSFT"]
    assert source.instruments(Market.US)[0].listed == date(2005, 1, 3)
    day = date(2005, 1, 10)
    assert source.daily(Market.US, ["MSFT"], day, day)["symbol"].tolist() == ["MSFT"]
    assert len(source.sessions(Market.US)) == 20
    assert source.daily(Market.KRX, None, *ALL).empty
    assert source.sessions(Market.KRX) == []
    assert not source.actions(Market.US, *ALL)
    assert source.index(Market.US, *ALL).empty


def test_a_described_file(tmp_path: Path):
    """Column names, date format, price unit and exchange are what the YAML says."""
    text = "when;o;h;l;c;v;code\n04.01.2021;810;844;802;830;38655276;A005930\n"
    path = write(
        tmp_path,
        text,
        "bars.txt",
        "name: 내 자료\ndate_format: '%d.%m.%Y'\nprice_unit: 100\nbasis: raw\nexchange: KOSPI\n"
        "columns: {date: when, open: o, high: h, low: l, close: c, volume: v, symbol: code}\n",
    )

    (bar,) = bars_of(path).to_dict("records")

    assert (bar["symbol"], bar["open"], bar["close"]) == ("005930", 81_000, 83_000)
    assert (bar["basis"], bar["source"]) == ("raw", "내 자료")


def test_exchanges_by_row(tmp_path: Path):
    """A column may name the exchange; rows of exchanges that are not dealt with are left out."""
    header = "date,code,market,open,high,low,close,volume\n"
    rows = [
        f"2021-01-04,{code},{market},81000,84400,80200,83000,5"
        for code, market in (("5930", "KOSPI"), ("035720", "코스닥"), ("999999", "KONEX"))
    ]
    path = write(tmp_path, header + "\n".join(rows), "all.csv", "market: krx")

    bars = bars_of(path)

    assert dict(zip(bars["symbol"], bars["exchange"], strict=True)) == {
        "005930": "KOSPI", "035720": "KOSDAQ",
    }  # fmt: skip
    assert [i.exchange for i in OhlcvSource(path).instruments(Market.KRX)] == [
        Exchange.KOSPI, Exchange.KOSDAQ,
    ]  # fmt: skip


def test_a_halt_keeps_its_close_only(tmp_path: Path):
    """Without volume the other prices may be empty, and are 0."""
    path = write(tmp_path, KOREAN + "20210106,,,,83900,0\n", describe="exchange: KOSPI")

    assert bars_of(path).iloc[2][["open", "high", "low", "close", "volume"]].tolist() == [
        0, 0, 0, 83_900, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stamps", "describe", "expected"),
    [
        (["2025-09-08 09:00", "2025-09-08 09:01"], "", "00:00"),
        (["2025-09-08T00:00:00+00:00", "2025-09-08T00:01:00+00:00"], "", "00:00"),
        (["2025-09-08 09:01", "2025-09-08 09:02"], "stamp: end\n", "00:00"),
        (["2025-09-08 00:00:00", "2025-09-08 00:01:00"], "timezone: UTC\n", "00:00"),
    ],
)
def test_minutes_begin_in_utc(tmp_path: Path, stamps: list[str], describe: str, expected: str):
    """Local time, an offset, another zone, labels at the end of the bar: the same instants."""
    rows = "\n".join(f"{stamp},276500,277000,276000,276500,10" for stamp in stamps)
    path = write(
        tmp_path,
        f"Datetime,Open,High,Low,Close,Volume\n{rows}\n",
        "000660.csv",
        f"exchange: KOSPI\nkind: minute\n{describe}",
    )

    source = OhlcvSource(path)
    bars = source.minute(Market.KRX, date(2025, 9, 8), ["000660"])

    assert source.minute_sessions(Market.KRX) == [date(2025, 9, 8)]
    assert source.sessions(Market.KRX) == []
    assert bars["ts"].dt.strftime("%H:%M").tolist() == [expected, "00:01"]
    assert bars["ts"].iloc[0] == datetime(2025, 9, 8, tzinfo=UTC)


def test_minutes_without_a_trade_are_no_bars(tmp_path: Path):
    """Vendors carry the price through minutes in which nothing traded."""
    text = (
        "Datetime,Open,High,Low,Close,Volume\n"
        "2025-09-08 09:00,276500,277000,276000,276500,10\n"
        "2025-09-08 09:01,276500,276500,276500,276500,0\n"
    )
    path = write(tmp_path, text, "000660.csv", "exchange: KOSPI")

    assert len(OhlcvSource(path).minute(Market.KRX, date(2025, 9, 8), ["000660"])) == 1


def test_the_documented_description_is_valid():
    """The YAML of docs/data.md can be copied as it stands."""
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    (block,) = [part.split("```")[0] for part in page.split("```yaml\n")[1:] if "TRD_DD" in part]

    described = OhlcvSettings.model_validate(yaml.safe_load(block))

    assert described.model_fields_set == OhlcvSettings.model_fields.keys() - {"bar_minutes"}


def test_date_and_time_apart(tmp_path: Path):
    """KIS-like files write 90000 for nine o'clock; several times on a day make it intraday."""
    text = (
        "영업일자,체결시간,시가,고가,저가,종가,거래량\n"
        "20250908,90000,276500,277000,276000,276500,10\n"
        "20250908,153000,276500,277000,276000,276500,10\n"
    )
    path = write(tmp_path, text, "000660.csv", "exchange: KOSPI")

    bars = OhlcvSource(path).minute(Market.KRX, date(2025, 9, 8), ["000660"])

    assert bars["ts"].dt.strftime("%H:%M").tolist() == ["00:00", "06:30"]


def test_actions_where_the_adjusted_close_is_explained(tmp_path: Path):
    """Raw prices with explained adjusted ones give the splits and dividends of the embedded data."""
    span = (date(2005, 1, 3), date(2005, 3, 31))
    bars = EmbeddedSource().daily(Market.US, ["AAPL", "IBM"], *span)
    for name in ("open", "high", "low", "close"):
        bars[name] /= 10_000
    bars.drop(columns=["basis", "value"]).to_csv(tmp_path / "both.csv", index=False)
    path = tmp_path / "both.csv"

    silent = OhlcvSource(path).actions(Market.US, *ALL)
    path.with_name("both.csv.yaml").write_text("basis: raw\nadjusted: {dividends: ex_close}\n")
    found = OhlcvSource(path).actions(Market.US, *ALL)

    known = [a for a in EmbeddedSource().actions(Market.US, *span) if a.symbol in ("AAPL", "IBM")]
    assert silent == []
    assert {a.symbol: a.ex_date for a in found} == {
        "AAPL": date(2005, 2, 28), "IBM": date(2005, 2, 8),
    }  # fmt: skip
    assert found == [replace(action, source="both.csv") for action in known]


HEADER = KOREAN.splitlines()[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "빈 파일"),
        ("\n\n", "빈 파일"),
        (HEADER + "\n", "자료 행이 없는 파일"),
        (f"{HEADER}\n{FIRST}\n{HEADER}\n{SECOND}", "2번째 행: .*일자"),
        (f"{HEADER}\n{FIRST}\n{FIRST}", "2번째 행: 같은 종목의 같은 때"),
        (f"{HEADER}\n{FIRST}\n20210105,1,2", "잘렸거나 손상됨: .*[Rr]ow"),
        (f"{HEADER}\n20210104,-1,2,1,2,3", "1번째 행: open 값이 음수"),
        (f"{HEADER}\n20210104,1,2,1,,3", "1번째 행: close 값이 비었음"),
        (f"{HEADER}\n20210104,1,nan,1,2,3", "1번째 행: high 값이 비었음"),
        (f"{HEADER}\n20210104,1,inf,1,2,3", "1번째 행: 고가 값이 너무 큼"),
        (f"{HEADER}\n20210104,1,1e300,1,2,3", "1번째 행: 고가 값이 너무 큼"),
        (f"{HEADER}\n20210104,1,two,1,2,3", "1번째 행: 고가 칸이 숫자가 아님: 'two'"),
        (f"{HEADER}\n20210104,1,2,1,2,3.5", "1번째 행: 거래량이 정수가 아님"),
        (f"{HEADER}\n20210230,1,2,1,2,3", "1번째 행: 일자 칸이 날짜가 아님: '20210230'"),
        (f"{HEADER}\n10210104,1,2,1,2,3", "1번째 행: 일자 칸이 있을 수 없는 날짜"),
        (f"{HEADER}\n44200,1,2,1,2,3", "1번째 행: 일자 칸이 날짜가 아님"),
        (f"{HEADER}\n,1,2,1,2,3", "1번째 행: 일자 칸이 비었음"),
        (f"{HEADER},시가\n{FIRST},1", "같은 이름의 열이 여럿 있음: 시가"),
        ("일자,시가,고가,저가,거래량\n20210104,1,2,1,3", "close 열을 찾지 못함"),
        (f"{HEADER}\n2021-01-04 09:00,1,2,1,2,3\n2021-01-05 09:00+09:00,1,2,1,2,3",
         "1번째 행: 일자 열에 시간대가 있는 시각과 없는 시각이 섞임"),
    ],
)  # fmt: skip
def test_bad_text_is_named(tmp_path: Path, text: str, message: str):
    """The message says which file, which row and what stands there."""
    path = write(tmp_path, text, describe="exchange: KOSPI")

    with pytest.raises(DataError, match=message) as caught:
        bars_of(path)
    assert str(path) in str(caught.value)


def test_bad_bytes_are_named(tmp_path: Path):
    """Cut files and unreadable text stop the whole folder, whatever else lies in it."""
    write(tmp_path, KOREAN)
    whole = gzip.compress(KOREAN.encode())
    cases = {
        "cut.csv.gz": whole[: len(whole) // 2],
        "latin.csv": KOREAN.encode() + b"\xff\xff",
        "zeros.csv": b"\0" * 512,
        "cut.parquet": _parquet_bytes(ibm())[:-20],
    }
    for name, content in cases.items():
        bad = write(tmp_path, content, name)

        with pytest.raises(DataError, match=name):
            bars_of(tmp_path)
        bad.unlink()


def test_wrong_encoding_is_refused(tmp_path: Path):
    """An encoding that is written down is the only one tried."""
    path = write(tmp_path, KOREAN.encode("cp949"), describe="exchange: KOSPI\nencoding: utf-8")

    with pytest.raises(DataError, match="해 본 인코딩: utf-8"):
        bars_of(path)


def test_times_that_never_were(tmp_path: Path):
    """02:30 on the night American clocks go forward is no time."""
    rows = "\n".join(f"2024-03-10 02:{m},1,2,1,2,3" for m in (30, 31))
    path = write(tmp_path, f"Datetime,Open,High,Low,Close,Volume\n{rows}", "IBM.csv")

    with pytest.raises(DataError, match="서머타임"):
        OhlcvSource(path).kinds(Market.US)


@pytest.mark.parametrize(
    ("describe", "message"),
    [
        ("basis: maybe", "basis"),
        ("colums: {date: 일자}", "colums"),
        ("columns: {date: 날}", "'날' 열이 없음"),
        ("timezone: Asia/Soul", "Asia/Soul"),
        ("[", "자료 설명 파일 오류"),
    ],
)
def test_bad_descriptions(tmp_path: Path, describe: str, message: str):
    """A description with an unknown key, value or column says which."""
    path = write(tmp_path, KOREAN, describe=describe)

    with pytest.raises((ConfigError, SchemaError), match=message):
        bars_of(path)


def test_what_cannot_be_told_is_asked(tmp_path: Path):
    """No exchange for a Korean name, two markets in one folder, a folder of something else."""
    path = write(tmp_path, KOREAN)
    with pytest.raises(ConfigError, match="005930의 거래소"):
        bars_of(path)

    write(tmp_path, KOREAN, "IBM.csv")
    with pytest.raises(ConfigError, match="market"):
        bars_of(tmp_path)

    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="marcap"):
        open_dataset(tmp_path / "empty")
    with pytest.raises(UsageError, match="nowhere"):
        open_dataset(tmp_path / "nowhere")


def _parquet_bytes(frame: pd.DataFrame) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink)
    return bytes(sink.getvalue())


GOOD = {
    "IBM.csv": ibm().to_csv(index=False).encode(),
    "IBM.csv.gz": gzip.compress(ibm().to_csv(index=False).encode(), mtime=0),
    "IBM.parquet": _parquet_bytes(ibm()),
}
CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4)), min_size=1, max_size=6)


@pytest.mark.parametrize("name", GOOD)
@given(changes=CHANGES, cut=st.none() | st.integers(0, 10**6))
@example(changes=[(0, b"")], cut=0)
@example(changes=[(12, b"\xed\xa0\x80")], cut=None)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_mutated_files_give_rows_or_one_refusal(
    tmp_path: Path, name: str, changes: list[tuple[int, bytes]], cut: int | None
):
    """Whatever bytes a good file is damaged to, the answer is rows or a ``TradingError``."""
    content = bytearray(GOOD[name])
    for place, new in changes:
        at = place % len(content)
        content[at : at + len(new)] = new
    if cut is not None:
        content = content[: cut % len(content)]
    path = write(tmp_path, bytes(content), name)

    try:
        bars: Any = bars_of(path, Market.US)
    except TradingError as error:
        assert name.split(".")[0] in str(error)
    else:
        assert (bars[["open", "high", "low", "close"]] >= 0).all(axis=None)
