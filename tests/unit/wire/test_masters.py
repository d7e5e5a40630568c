"""Symbol master files: every documented field is where it should be, and damage is told."""

from contextlib import suppress
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from master_lines import (
    APPLE,
    ECOPRO_BM,
    KODEX_200,
    KONEX,
    KONEX_WIDTH,
    KOSPI,
    KOSPI_WIDTH,
    QQQ,
    SAMSUNG,
    line,
)

from trading.domain.instrument import Exchange
from trading.errors import SchemaError
from trading.wire import masters
from trading.wire.masters import Board, ForeignKind, MarketWarning

READERS = (
    lambda content: masters.read_board(content, Board.KOSPI),
    lambda content: masters.read_board(content, Board.KOSDAQ),
    lambda content: masters.read_board(content, Board.KONEX),
    masters.read_foreign,
    masters.read_sectors,
    masters.read_foreign_codes,
)


def test_korean_shares():
    """Symbol, state and figures of a share and a fund are read from their columns."""
    share, fund = masters.read_board(SAMSUNG + b"\n" + KODEX_200 + b"\n", Board.KOSPI).rows
    (other,) = masters.read_board(ECOPRO_BM, Board.KOSDAQ).rows

    assert (share.symbol, share.isin, share.name) == ("005930", "KR7005930003", "삼성전자")
    assert (share.base_price, share.lot, share.par_value) == (79_600, 1, Decimal(100))
    assert (share.listed_on, share.shares) == (date(1975, 6, 11), 5_969_782_000)
    assert not (share.is_halted or share.is_delisting or share.is_administrative or share.is_etf)
    assert share.warning is MarketWarning.NONE
    assert share.instrument is not None
    assert (share.instrument.exchange, share.instrument.listed) == (
        Exchange.KOSPI, date(1975, 6, 11),
    )  # fmt: skip
    assert (fund.is_etf, fund.is_etn, fund.etp_code) == (True, False, "2")
    assert (other.symbol, other.listed_on) == ("247540", date(2019, 3, 5))
    assert other.instrument is not None and other.instrument.exchange is Exchange.KOSDAQ


@pytest.mark.parametrize(
    ("column", "value", "field", "expected"),
    [
        ("halted", "Y", "is_halted", True),
        ("delisting", "Y", "is_delisting", True),
        ("administrative", "Y", "is_administrative", True),
        ("warning", "03", "warning", MarketWarning.DANGER),
        ("announced", "Y", "is_warning_announced", True),
        ("unfaithful", "Y", "is_unfaithful", True),
        ("ex_code", "02", "ex_rights_code", "02"),
        ("margin", "100", "margin_percent", 100),
        ("previous_volume", "17142847", "previous_volume", 17_142_847),
        ("preferred", "1", "is_preferred", True),
        ("short", "Y", "is_short_sale_overheated", True),
        ("surge", "Y", "is_surging", True),
        ("market_cap", "4751947", "market_cap", 475_194_700_000_000),
        ("overheating", "2", "overheating", 2),
        ("spac", "Y", "is_spac", True),
        ("middle", "0013", "sectors", ("", "0013", "")),
    ],
)
def test_each_state_is_its_own_column(column, value, field, expected):
    """A state set in the file shows in its own field, and in no other."""
    facts = ("005930", "KR7005930003", "삼성전자")
    plain = line(KOSPI, KOSPI_WIDTH, *facts, listed="19750611")
    marked = line(KOSPI, KOSPI_WIDTH, *facts, listed="19750611", **{column: value})

    (before,), (after,) = (masters.read_board(one, Board.KOSPI).rows for one in (plain, marked))

    changed = {
        name for name in before.__dataclass_fields__
        if getattr(before, name) != getattr(after, name)
    }  # fmt: skip
    assert changed == {field}
    assert getattr(after, field) == expected


def test_konex_is_read_but_not_traded():
    """KONEX has a layout of its own and no exchange that the program trades."""
    row = line(KONEX, KONEX_WIDTH, "076340", "KR7076340009", "관악산업", halted="Y",
               listed="20131230")  # fmt: skip

    (share,) = masters.read_board(row, Board.KONEX).rows

    assert (share.symbol, share.is_halted, share.listed_on) == ("076340", True, date(2013, 12, 30))
    assert (share.instrument, share.overheating) == (None, None)


def test_foreign_shares():
    """Tab-separated columns are read by position; funds carry their class."""
    share, fund = masters.read_foreign(APPLE + b"\r\n" + QQQ + b"\r\n").rows

    assert (share.symbol, share.english_name, share.key) == ("AAPL", "APPLE INC", "DNASAAPL")
    assert (share.kind, share.currency, share.opens) == (ForeignKind.STOCK, "USD", "0930")
    assert (fund.kind, fund.etp_class) == (ForeignKind.ETP, "001")


def test_codes_of_indices():
    """Sector codes lose their market digit; foreign ones tell which indices hold a share."""
    content = "00001종합\n10001KOSDAQ\n".encode("cp949")
    apple = (
        b"QAAPL      " + b"APPLE INC".ljust(39) + "애플".encode("cp949").ljust(40)
        + b"    111NAS US "
    )  # fmt: skip

    kospi, kosdaq = masters.read_sectors(content).rows
    (share,) = masters.read_foreign_codes(apple).rows

    assert (kospi.market, kospi.code, kospi.name) == ("0", "0001", "종합")
    assert (kosdaq.market, kosdaq.code) == ("1", "0001")
    assert (share.kind, share.symbol, share.name) == ("Q", "AAPL", "애플")
    assert (share.is_dow_30, share.is_nasdaq_100, share.is_sp_500) == (True, True, True)
    assert (share.exchange_code, share.country_code) == ("NAS", "US")


def test_bad_lines_are_told_and_left_out():
    """One damaged line costs itself alone; a file of them is refused as another layout."""
    cut = SAMSUNG[:-7]
    shifted = SAMSUNG + b"0"

    master = masters.read_board(b"\n".join([SAMSUNG, cut, KODEX_200]), Board.KOSPI)

    assert [row.symbol for row in master.rows] == ["005930", "069500"]
    assert [bad.number for bad in master.bad] == [2]
    for content in (b"", b"\n\n", b"\n".join([cut, cut, SAMSUNG]), shifted, ECOPRO_BM):
        with pytest.raises(SchemaError):
            masters.read_board(content, Board.KOSPI)


@given(content=st.binary(max_size=600), reader=st.sampled_from(READERS))
def test_any_bytes_are_read_or_refused(content, reader):
    """No content, however broken, raises anything but the one error of its layout."""
    with suppress(SchemaError):
        assert reader(content).rows


@given(
    at=st.integers(0, len(SAMSUNG) - 1),
    byte=st.integers(0, 255).filter(lambda value: value != 10),
)
def test_one_altered_byte_never_spreads(at, byte):
    """The neighbours of an altered line are read as before."""
    altered = SAMSUNG[:at] + bytes([byte]) + SAMSUNG[at + 1 :]

    master = masters.read_board(b"\n".join([KODEX_200, altered, KODEX_200]), Board.KOSPI)

    whole = masters.read_board(KODEX_200, Board.KOSPI).rows[0]
    assert master.rows[0] == master.rows[-1] == whole
    assert len(master.rows) + len(master.bad) == 3


def test_last_statement_of_a_share():
    """Sales, profits and ROE are read with their day; without a day they are no figures."""
    # Samsung's first quarter of 2024: sales 71,915.6, operating profit 6,606.0 billion won.
    figures = {
        "sales": "719156", "operating_profit": "66060", "ordinary_profit": "77104",
        "net_income": "67547", "roe": "2.02",
    }  # fmt: skip
    layout = {
        **KOSPI, "sales": (163, 9), "operating_profit": (172, 9), "ordinary_profit": (181, 9),
        "net_income": (190, 5), "roe": (195, 9), "stated_on": (204, 8),
    }  # fmt: skip
    facts = ("005930", "KR7005930003", "삼성전자")
    dated = line(layout, KOSPI_WIDTH, *facts, **figures, stated_on="20240331")
    undated = line(layout, KOSPI_WIDTH, *facts, **figures)
    loss = line(layout, KOSPI_WIDTH, *facts, operating_profit="-1135", stated_on="20240331")

    known, unknown, losing = (
        masters.read_board(one, Board.KOSPI).rows[0] for one in (dated, undated, loss)
    )

    assert (known.sales, known.operating_profit) == (71_915_600_000_000, 6_606_000_000_000)
    assert (known.net_income, known.return_on_equity) == (6_754_700_000_000, Decimal("2.02"))
    assert known.stated_on == date(2024, 3, 31)
    assert (unknown.sales, unknown.return_on_equity, unknown.stated_on) == (None, None, None)
    assert (losing.operating_profit, losing.sales) == (-113_500_000_000, None)
