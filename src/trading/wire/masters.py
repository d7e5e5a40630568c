"""Symbol master files: what KIS publishes each day about every share it quotes (PROTOCOL 14).

Text in cp949, one record a line. Korean files end in a tail of fixed width that is cut from the
end, because the width of the name differs; foreign ones are separated by tabs. Downloading is in
``trading.broker.masters``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar

from trading.domain.instrument import Exchange, Instrument
from trading.errors import SchemaError
from trading.wire import values

T = TypeVar("T")


class Board(StrEnum):
    """The three Korean markets that have a file; the program trades the first two."""

    KOSPI = "kospi"
    KOSDAQ = "kosdaq"
    KONEX = "konex"


class MarketWarning(StrEnum):
    """How strongly the exchange warns of a share."""

    NONE = "00"
    CAUTION = "01"
    WARNING = "02"
    DANGER = "03"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedShare:
    """One Korean security with its state of the day; amounts in won.

    ``group`` is KIS's two letters: ST share, EF ETF, EN ETN, EW warrant, RT REIT and others.
    ``overheating`` is 0 unless short-term overheating is announced (1), in force (2) or
    extended (3); ``None`` where the board has no such field. ``sectors`` are the index codes of
    its large, middle and small sector. The figures of the last statement are those of ``stated_on``,
    ``return_on_equity`` in percent; ``None`` where the file says nothing.
    """

    board: Board
    symbol: str
    isin: str
    name: str
    group: str
    base_price: int
    lot: int
    is_halted: bool
    is_delisting: bool
    is_administrative: bool
    warning: MarketWarning
    is_warning_announced: bool
    is_unfaithful: bool
    ex_rights_code: str
    margin_percent: int
    previous_volume: int
    par_value: Decimal
    listed_on: date | None
    shares: int
    is_preferred: bool
    is_short_sale_overheated: bool
    is_surging: bool
    market_cap: int
    etp_code: str = ""
    is_spac: bool = False
    overheating: int | None = None
    sectors: tuple[str, str, str] | None = None
    sales: int | None = None
    operating_profit: int | None = None
    ordinary_profit: int | None = None
    net_income: int | None = None
    return_on_equity: Decimal | None = None
    stated_on: date | None = None

    @property
    def is_share(self) -> bool:
        """Whether it is a share of a company, and no fund, note, warrant or bond."""
        return self.group in _SHARE_GROUPS

    @property
    def is_etf(self) -> bool:
        """Whether it is an exchange-traded fund, of Korea or abroad."""
        return self.group in ("EF", "FE")

    @property
    def is_etn(self) -> bool:
        """Whether it is an exchange-traded note."""
        return self.group == "EN"

    @property
    def instrument(self) -> Instrument | None:
        """The share as the program knows it; ``None`` for a board that it does not trade."""
        exchange = _EXCHANGES.get(self.board)
        if exchange is None:
            return None
        return Instrument(
            symbol=self.symbol, exchange=exchange, name=self.name, listed=self.listed_on
        )


_EXCHANGES = {Board.KOSPI: Exchange.KOSPI, Board.KOSDAQ: Exchange.KOSDAQ}


class ForeignKind(StrEnum):
    """What a foreign record is about."""

    INDEX = "1"
    STOCK = "2"
    ETP = "3"
    WARRANT = "4"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignShare:
    """One foreign security; prices are exact decimals in its currency.

    ``etp_class`` is 001 ETF, 002 ETN, 003 ETC, 004 other, 005 VIX ETF, 006 VIX ETN or blank.
    ``opens`` and ``closes`` are local times HHMM.
    """

    country_code: str
    exchange_id: str
    exchange_code: str
    exchange_name: str
    symbol: str
    key: str
    name: str
    english_name: str
    kind: ForeignKind
    currency: str
    base_price: Decimal
    bid_lot: int
    ask_lot: int
    opens: str
    closes: str
    is_depositary: bool
    depositary_country: str
    sector_code: str
    is_index_member: bool
    etp_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sector:
    """One Korean index or sector; ``code`` is what the index calls ask for (0001 KOSPI)."""

    market: str
    code: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCode:
    """One foreign index, rate, future or well-known share, and which indices hold it.

    ``kind`` is KIS's letter: W world index, P US index, Q US share, X exchange rate and others.
    """

    kind: str
    symbol: str
    name: str
    english_name: str
    sector_code: str
    is_dow_30: bool
    is_nasdaq_100: bool
    is_sp_500: bool
    exchange_code: str
    country_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that could not be read; numbers begin with 1."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Master(Generic[T]):
    """The records of one file, and the lines that were left out."""

    rows: tuple[T, ...]
    bad: tuple[BadLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where the fields of a Korean tail are; the block from the base price on is common."""

    width: int
    base: int
    market_cap_from_end: int
    etp: int | None = None
    spac: int | None = None
    overheating: int | None = None
    sectors: int | None = None


_LAYOUTS: Mapping[Board, _Layout] = {
    Board.KOSPI: _Layout(
        width=227, base=41, market_cap_from_end=15, etp=22, spac=29, overheating=32, sectors=3
    ),
    Board.KOSDAQ: _Layout(
        width=221, base=36, market_cap_from_end=15, etp=18, spac=24, overheating=27, sectors=3
    ),
    # Not in PROTOCOL 14; from KIS's own reader of the file (stocks_info/kis_konex_code_mst.py).
    Board.KONEX: _Layout(width=184, base=2, market_cap_from_end=12),
}
_HEAD = 21
# Shares, REITs, ship and infrastructure funds, depositary receipts, foreign shares, mutual funds.
_SHARE_GROUPS = frozenset({"ST", "RT", "SC", "IF", "DR", "FS", "MF"})
_HUNDRED_MILLION = 100_000_000
_FOREIGN_COLUMNS = 24
_INDEX_TAIL = 14
_ENCODING = "cp949"
_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?")


def read_board(content: bytes, board: Board) -> Master[ListedShare]:
    """Read the file of a Korean board; see ``read_lines`` for what is refused."""
    return read_lines(content, lambda line: _listed(line, board))


def read_foreign(content: bytes) -> Master[ForeignShare]:
    """Read the file of a foreign exchange."""
    return read_lines(content, _foreign)


def read_sectors(content: bytes) -> Master[Sector]:
    """Read the file of Korean index and sector codes."""
    return read_lines(content, _sector)


def read_foreign_codes(content: bytes) -> Master[ForeignCode]:
    """Read the file of foreign indices and rates."""
    return read_lines(content, _foreign_code)


def read_lines(content: bytes, read: Callable[[bytes], T]) -> Master[T]:
    """Return what ``read`` makes of each line; a line that it refuses is told, not hidden.

    Raises ``SchemaError`` when most lines are bad: then the layout has changed, and those that
    happen to be readable are not to be trusted either.
    """
    rows: list[T] = []
    bad: list[BadLine] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        text = line.rstrip(b"\r")
        if not text.strip():
            continue
        try:
            rows.append(read(text))
        except (SchemaError, UnicodeDecodeError) as error:
            bad.append(BadLine(number=number, reason=str(error)))
    if not rows or len(bad) > len(rows):
        raise SchemaError(f"종목 마스터의 형식이 다름: {len(rows)}줄 읽음, {len(bad)}줄 못 읽음")
    return Master(tuple(rows), tuple(bad))


def _listed(line: bytes, board: Board) -> ListedShare:
    layout = _LAYOUTS[board]
    if len(line) <= _HEAD + layout.width:
        raise SchemaError(f"줄이 짧음: {len(line)}바이트")
    # All of the tail is ASCII: cut from the end, whatever the width of the name is.
    head, tail = line[: -layout.width], _ascii(line[-layout.width :])
    base, cap = layout.base, layout.width - layout.market_cap_from_end

    def at(start: int, width: int) -> str:
        return tail[start : start + width]

    def common(start: int, width: int) -> str:
        return at(base + start, width)

    return ListedShare(
        board=board,
        symbol=_code(head[:9], "단축코드"),
        isin=_isin(head[9:_HEAD]),
        name=head[_HEAD:].decode(_ENCODING).strip(),
        group=_group(at(0, 2)),
        base_price=_whole(common(0, 9)),
        lot=_whole(common(9, 5)),
        is_halted=_flag(common(19, 1)),
        is_delisting=_flag(common(20, 1)),
        is_administrative=_flag(common(21, 1)),
        warning=_warning(common(22, 2)),
        is_warning_announced=_flag(common(24, 1)),
        is_unfaithful=_flag(common(25, 1)),
        ex_rights_code=common(27, 2).strip(),
        margin_percent=_whole(common(33, 3)),
        previous_volume=_whole(common(40, 12)),
        par_value=values.decimal(common(52, 12)),
        listed_on=_day(common(64, 8)),
        shares=1000 * _whole(common(72, 15)),
        is_preferred=common(117, 1) in ("1", "2"),
        is_short_sale_overheated=_flag(common(118, 1)),
        is_surging=_flag(common(119, 1)),
        market_cap=_HUNDRED_MILLION * _whole(at(cap, 9)),
        etp_code="" if layout.etp is None else at(layout.etp, 1).strip(" 0"),
        is_spac=layout.spac is not None and _flag(at(layout.spac, 1)),
        overheating=None if layout.overheating is None else _whole(at(layout.overheating, 1)),
        sectors=None
        if layout.sectors is None
        else (
            at(layout.sectors, 4).strip(),
            at(layout.sectors + 4, 4).strip(),
            at(layout.sectors + 8, 4).strip(),
        ),
        **_statement(tail, cap),
    )


def _statement(tail: str, end: int) -> dict[str, Any]:
    """Read the last statement, which ends where the market cap begins; empty without its day.

    A share may be traded whose statement cannot be read: what is no number is absent.
    """

    def before(start: int, width: int) -> str:
        return tail[end - start : end - start + width]

    try:
        stated_on = _day(before(8, 8))
    except SchemaError:
        return {}
    if stated_on is None:
        return {}
    return {
        "sales": _won(before(49, 9)),
        "operating_profit": _won(before(40, 9)),
        "ordinary_profit": _won(before(31, 9)),
        "net_income": _won(before(22, 5)),
        "return_on_equity": _number(before(17, 9)),
        "stated_on": stated_on,
    }


def _foreign(line: bytes) -> ForeignShare:
    columns = [column.strip() for column in line.decode(_ENCODING).split("\t")]
    if len(columns) < _FOREIGN_COLUMNS:
        raise SchemaError(f"열이 {_FOREIGN_COLUMNS}개보다 적음: {len(columns)}개")
    kind, symbol = columns[8], columns[4]
    if kind not in tuple(ForeignKind):
        raise SchemaError(f"알 수 없는 종류: {kind!r}")
    if not symbol:
        raise SchemaError("종목 코드 없음")
    return ForeignShare(
        country_code=columns[0],
        exchange_id=columns[1],
        exchange_code=columns[2],
        exchange_name=columns[3],
        symbol=symbol,
        key=columns[5],
        name=columns[6],
        english_name=columns[7],
        kind=ForeignKind(kind),
        currency=columns[9],
        base_price=values.decimal(columns[12]),
        bid_lot=_whole(columns[13]),
        ask_lot=_whole(columns[14]),
        opens=columns[15],
        closes=columns[16],
        is_depositary=_flag(columns[17]),
        depositary_country=columns[18],
        sector_code=columns[19],
        is_index_member=columns[20] == "1",
        etp_class=columns[22],
    )


def _sector(line: bytes) -> Sector:
    code, name = _ascii(line[:5]), line[5:45].decode(_ENCODING).strip()
    if not code.isdigit() or len(code) < 5 or not name:
        raise SchemaError("업종 코드나 업종명이 없음")
    return Sector(market=code[0], code=code[1:], name=name)


def _foreign_code(line: bytes) -> ForeignCode:
    if len(line) < 50 + _INDEX_TAIL:
        raise SchemaError(f"줄이 짧음: {len(line)}바이트")
    tail = _ascii(line[-_INDEX_TAIL:])
    kind, symbol = _ascii(line[:1]), _ascii(line[1:11]).strip()
    if not kind.isalpha() or not symbol:
        raise SchemaError("구분이나 심볼이 없음")
    return ForeignCode(
        kind=kind,
        symbol=symbol,
        english_name=line[11:50].decode(_ENCODING).strip(),
        name=line[50:-_INDEX_TAIL].decode(_ENCODING).strip(),
        sector_code=tail[:4].strip(),
        is_dow_30=tail[4] == "1",
        is_nasdaq_100=tail[5] == "1",
        is_sp_500=tail[6] == "1",
        exchange_code=tail[7:11].strip(),
        country_code=tail[11:14].strip(),
    )


def _ascii(text: bytes) -> str:
    return text.decode("ascii")


def _code(text: bytes, name: str) -> str:
    code = _ascii(text).strip()
    if not code.isalnum():
        raise SchemaError(f"{name}가 아님: {code!r}")
    return code


def _isin(text: bytes) -> str:
    code = _code(text, "표준코드")
    if len(code) != 12:
        raise SchemaError(f"표준코드가 아님: {code!r}")
    return code


def _group(text: str) -> str:
    if not (text.isalpha() and text.isupper()):
        raise SchemaError(f"증권그룹 구분이 아님: {text!r}")
    return text


def _warning(text: str) -> MarketWarning:
    code = text.strip() or "00"
    if code not in tuple(MarketWarning):
        raise SchemaError(f"시장 경고 구분이 아님: {text!r}")
    return MarketWarning(code)


def _flag(text: str) -> bool:
    if text.strip() not in ("Y", "N", "", "0", "1"):
        raise SchemaError(f"여부가 아님: {text!r}")
    return text in ("Y", "1")


def _whole(text: str) -> int:
    cleaned = text.strip()
    if not cleaned:
        return 0
    if not (cleaned.isascii() and cleaned.isdigit()):
        raise SchemaError(f"정수가 아님: {text!r}")
    return int(cleaned)


def _won(text: str) -> int | None:
    amount = _number(text)
    return None if amount is None else int(amount * _HUNDRED_MILLION)


def _number(text: str) -> Decimal | None:
    cleaned = text.strip()
    return Decimal(cleaned) if _DECIMAL.fullmatch(cleaned) else None


def _day(text: str) -> date | None:
    return values.day(text) if text.strip(" 0") else None
