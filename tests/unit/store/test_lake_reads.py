"""One line reads anything, in a notebook, in SQL and on the command line."""

import json
import re
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from trading.cli import app
from trading.domain.instrument import Market
from trading.errors import DataError, UsageError
from trading.store import lake
from trading.store.datasets import EmbeddedSource
from trading.store.lake import Lake

FIRST, LAST = date(2004, 2, 2), date(2005, 4, 29)
SOURCE = EmbeddedSource()
GUIDE = Path(__file__).parents[3] / "docs" / "data.md"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with the embedded stocks, a quarantined row and no settings of its own."""
    root = tmp_path_factory.mktemp("home")
    store = Lake(root / "data" / "lake")
    bars = SOURCE.daily(Market.US, None, FIRST, LAST)
    store.upsert(Market.US, "daily", bars)
    store.upsert(Market.US, "daily", bars.iloc[:10], layer="raw")
    store.upsert(
        Market.US, "index", SOURCE.index(Market.US, FIRST, LAST).assign(source=SOURCE.name)
    )
    store.upsert_instruments(Market.US, SOURCE.instruments(Market.US), SOURCE.name)
    store.upsert_actions(Market.US, SOURCE.actions(Market.US, FIRST, LAST))
    store.quarantine(Market.US, "daily", bars.iloc[:2].assign(reason="시험"))
    return root


@pytest.fixture
def home(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRADING_HOME", str(filled))
    return filled


def test_the_guide_runs(home: Path):
    """Every Python line of the section "Reading" works as it stands, and gives something."""
    section = GUIDE.read_text(encoding="utf-8").split("## Reading")[1].split("\n## ")[0]
    names: dict[str, object] = {}
    lines = 0
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        for statement in re.split(r"\n(?=lake\.|from )", block):
            if statement.startswith("from "):
                exec(statement, names)
            elif statement.strip():
                found = eval(statement.partition("  #")[0].strip(), names)
                # Neither intraday bars nor holidays are embedded.
                is_there = not ("holidays" in statement or "lake.bars" in statement)
                assert not isinstance(found, pd.DataFrame) or bool(len(found)) == is_there
                lines += 1
    assert lines >= 12


def test_ends_and_symbols(home: Path):
    """Texts or dates, one symbol or several, an open end, another home: the same rows."""
    whole = Lake(home / "data" / "lake").daily(Market.US, ["IBM"], date(2005, 1, 31), LAST)

    for found in (
        lake.daily("us", "IBM", "2005-01-31"),
        lake.daily("us", ["IBM"], date(2005, 1, 31), "2005-04-29"),
        lake.daily("us", "IBM", "2005-01-31", root=home),
    ):
        pd.testing.assert_frame_equal(found, whole)
    assert list(lake.daily("us", columns=["close"], last="2004-02-03")) == ["close"]
    # 2004-02-02 and -03: Apple, IBM and Microsoft; Google and Facebook came later.
    assert len(lake.daily("us", last="2004-02-03")) == 6
    assert lake.daily("krx").empty


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lake.daily("us", "IBM", "2005/01/31"), "YYYY-MM-DD"),
        (lambda: lake.daily("de"), "krx, us"),
        (lambda: lake.read("dayly", "us"), "daily, minute"),
        (lambda: lake.daily("us", columns=["price"]), "price"),
        (lambda: lake.daily("us", layer="cleaned"), "raw, clean"),
    ],
)
def test_wrong_words(home: Path, call, message: str):
    """What cannot be is a sentence that names what can."""
    with pytest.raises(UsageError, match=message):
        call()


def test_home_is_found_as_the_commands_do(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The current folder counts where it has settings, whatever TRADING_HOME says; else a sentence."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRADING_HOME", raising=False)
    with pytest.raises(UsageError, match="TRADING_HOME"):
        lake.status()

    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "nowhere"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "app.yaml").write_text("paths: {data: stuff}\n")
    (tmp_path / "stuff").symlink_to(filled / "data")
    assert set(lake.status()["kind"]) == {"daily", "index", "instruments", "actions"}


# ---- SQL ---------------------------------------------------------------------------------------


def test_a_view_for_every_kind_and_market(home: Path):
    """Kinds that nothing was kept of are empty and have their columns."""
    views = set(lake.sql("SHOW TABLES")["name"])

    assert {"daily_krx", "minute_us", "ticks_us", "index_krx", "fundamentals_krx"} <= views
    assert {"raw_daily_us", "quarantine_daily_us", "listings_krx", "holidays_us"} <= views
    empty = lake.sql("SELECT * FROM fundamentals_krx")
    assert list(empty)[:4] == ["symbol", "metric", "period", "published"]
    assert len(empty) == 0
    assert lake.sql("SELECT reason FROM quarantine_daily_us")["reason"].tolist() == ["시험"] * 2
    assert lake.sql("SELECT count(*) AS n FROM raw_daily_us")["n"].tolist() == [10]


@pytest.mark.parametrize(
    "query",
    [
        "DROP VIEW daily_us",
        "CREATE TABLE t AS SELECT 1",
        "COPY daily_us TO '{file}'",
        "EXPLAIN ANALYZE COPY daily_us TO '{file}'",
        "INSERT INTO daily_us SELECT * FROM daily_us",
        "SET enable_external_access = true",
        "ATTACH '{file}.db'",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_nothing_but_a_select(home: Path, query: str):
    """No statement that could change something is taken; the files stay as they are."""
    path = next((home / "data" / "lake").rglob("part-*.parquet"))
    before = path.read_bytes()

    with pytest.raises(UsageError, match="SELECT 문 하나만"):
        lake.sql(query.format(file=path))

    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "source", ["read_text('{}')", "read_csv('{}')", "read_blob('{}')", "glob('{}*')", "'{}'"]
)
def test_no_other_file_is_read(home: Path, tmp_path: Path, source: str):
    """What is not of the lake cannot be read through it."""
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")

    with pytest.raises(UsageError):
        lake.sql(f"SELECT * FROM {source.format(secret)}")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM dayly_us", "그런 표가 없음: dayly_us"),
        ("SELECT price FROM daily_us", "그런 열이 없음: price"),
        ("SELEC 1", 'SQL 문법 오류: "SELEC"'),
        ("SELECT 1 FROM daily_us WHERE symbol + 1 = 2", "SQL 오류"),
    ],
)
def test_sql_errors_are_sentences(home: Path, query: str, message: str):
    """The usual mistakes are told in Korean."""
    with pytest.raises(UsageError, match=message):
        lake.sql(query)


def test_sums_of_whole_numbers_are_exact(home: Path, tmp_path: Path):
    """Sums of turnover beyond 2^53, to the last unit: in the frame, the table, JSON and CSV."""
    bars = lake.daily("us", columns=["symbol", "volume", "close"])
    expected: dict[str, int] = {}
    for symbol, volume, close in zip(bars["symbol"], bars["volume"], bars["close"], strict=True):
        expected[symbol] = expected.get(symbol, 0) + int(volume) * int(close) * 997 + 1
    assert any(turnover != int(float(turnover)) for turnover in expected.values())
    query = (
        "SELECT symbol, sum(volume * close * 997 + 1) AS turnover, sum(volume::HUGEINT * 1000000000000)"
        ' AS "a ""b", count(*) AS turnover FROM daily_us GROUP BY 1 ORDER BY 1 DESC'
    )

    found = lake.sql(query)

    assert found["turnover"].dtype == "int64"
    assert found["turnover"].tolist() == [expected[name] for name in sorted(expected)[::-1]]
    wide = [int(bars.loc[bars["symbol"] == name, "volume"].sum()) * 10**12
            for name in found["symbol"]]  # fmt: skip
    assert max(wide) > 2**63
    assert found['a "b'].tolist() == wide
    rows = json.loads(run(home, "sql", query, "--json")[1])
    assert [row["turnover"] for row in rows] == found["turnover"].tolist()
    assert [row['a "b'] for row in rows] == wide
    table = run(home, "sql", query)[1].splitlines()[1:]
    assert [line.split()[1:3] for line in table] == [
        [str(expected[name]), str(number)]
        for name, number in zip(found["symbol"], wide, strict=True)
    ]
    run(home, "sql", query, "--csv", str(tmp_path / "sums.csv"))
    lines = (tmp_path / "sums.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [int(line.split(",")[1]) for line in lines] == found["turnover"].tolist()


@pytest.mark.parametrize(
    ("values", "kept", "dtype"),
    [
        ("(9007199254740993), (NULL)", [9007199254740993, None], "Int64"),
        ("(170141183460469231731687303715884105727), (NULL)", [2**127 - 1, None], "object"),
        ("(-9223372036854775808)", [-(2**63)], "int64"),
    ],
)
def test_wide_numbers_beside_nothing(home: Path, values: str, kept: list[int | None], dtype: str):
    """A null stays a null and costs no digit."""
    found = lake.sql(f"SELECT x::HUGEINT AS x FROM (VALUES {values}) t(x)")["x"]

    assert str(found.dtype) == dtype
    assert [None if pd.isna(value) else value for value in found] == kept


def test_a_csv_that_cannot_be_written(home: Path, tmp_path: Path):
    """A folder, or a file in no folder: refused before the question is put."""
    for place in (tmp_path, tmp_path / "nope" / "x.csv"):
        done = CliRunner().invoke(
            app, ["--root", str(home), "data", "sql", "SELECT 1 AS x", "--csv", str(place)]
        )

        assert isinstance(done.exception, UsageError)
        assert str(place) in str(done.exception)


def test_sql_reads_no_damaged_file(home: Path):
    """The file is named; queries that do not need it go on."""
    path = next((home / "data" / "lake" / "clean").rglob("month=2005-02/*.parquet"))
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(64) + whole[264:])
    try:
        with pytest.raises(DataError, match=path.name):
            lake.sql("SELECT sum(volume) FROM daily_us")
        assert len(lake.sql("SELECT * FROM index_us")) > 0
    finally:
        path.write_bytes(whole)


# ---- the command line --------------------------------------------------------------------------


def run(home: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["--root", str(home), "data", *words])
    return done.exit_code, done.output


def test_sql_command(home: Path, tmp_path: Path):
    """A table of the first rows that says what it leaves out; JSON and CSV have every row."""
    query = "SELECT session, symbol, close FROM daily_us ORDER BY session, symbol"
    rows = len(lake.daily("us"))

    code, text = run(home, "sql", query, "--rows", "3")
    assert code == 0
    assert text.splitlines()[0].split() == ["session", "symbol", "close"]
    # Yahoo, 2004-02-02: Apple closed at 22.32 dollars.
    assert text.splitlines()[1].split() == ["2004-02-02", "AAPL", "223200"]
    assert f"모두 {rows:,}행 가운데 앞의 3행" in text

    code, text = run(home, "sql", query, "--json")
    assert len(json.loads(text)) == rows
    assert json.loads(text)[0] == {"session": "2004-02-02", "symbol": "AAPL", "close": 223200}

    code, text = run(home, "sql", query, "--csv", str(tmp_path / "out.csv"))
    assert f"{rows:,}행" in text
    assert len(pd.read_csv(tmp_path / "out.csv")) == rows


def test_status_command(home: Path):
    """Rows, symbols, span and sources of each dataset; ``--verify`` compares every file."""
    code, text = run(home, "status", "--verify", "--json")

    assert code == 0
    status = json.loads(text)
    (daily,) = [d for d in status["datasets"] if (d["layer"], d["kind"]) == ("clean", "daily")]
    assert daily["symbols"] == 4  # Facebook came in 2012
    assert (daily["first"], daily["last"]) == ("2004-02-02", "2005-04-29")
    assert daily["sources"] == ["bokeh_sampledata"]
    assert status["damaged"] == []
    assert "2004-02-02 ~ 2005-04-29" in run(home, "status")[1]


def test_repair_command(filled: Path, tmp_path: Path):
    """A damaged month is a finding, is moved away, and is fetched again by the next import."""
    code, _ = run(tmp_path, "import", "--to", "2000-06-30")
    assert code == 0
    whole = run(tmp_path, "sql", "SELECT count(*) AS n FROM daily_us", "--json")
    path = next((tmp_path / "data" / "lake" / "clean").rglob("month=2000-05/*.parquet"))
    path.write_bytes(path.read_bytes()[:-9])

    code, text = run(tmp_path, "status", "--verify")
    assert (code, path.name in text) == (1, True)
    code, text = run(tmp_path, "repair")
    assert code == 0
    assert "us daily 2000-05-01 ~ 2000-05-31" in text
    assert run(tmp_path, "sql", "SELECT count(*) AS n FROM daily_us", "--json") != whole
    assert run(tmp_path, "status", "--verify")[0] == 0

    assert run(tmp_path, "import", "--to", "2000-06-30")[0] == 0
    assert run(tmp_path, "sql", "SELECT count(*) AS n FROM daily_us", "--json") == whole
