"""The WebSocket: control messages, data frames, trades, encrypted order notices.

A data frame is ``flag|TR|count|f^f^…``; field counts have grown before, so a record is cut by
the frame's own width and what was appended is ignored.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from trading.domain.instrument import Exchange, Instrument, Market
from trading.domain.market import Tick
from trading.domain.order import Fill, OrderStatus, OrderUpdate, Side
from trading.errors import SchemaError
from trading.wire import codes, values
from trading.wire.accounts import SIDE_CODES
from trading.wire.endpoints import Profile
from trading.wire.layouts import FIELD_COUNTS, FORMER_NOTICE_FIELDS
from trading.wire.overseas_codes import stream_key, symbol_of_key
from trading.wire.records import Notice, OrderKind

TRADE_TR = {Market.KRX: "H0STCNT0", Market.US: "HDFSCNT0"}
NOTICE_TR = {
    (Market.KRX, Profile.REAL): "H0STCNI0",
    (Market.KRX, Profile.PAPER): "H0STCNI9",
    (Market.US, Profile.REAL): "H0GSCNI0",
    (Market.US, Profile.PAPER): "H0GSCNI9",
}
NOTICE_TRS = frozenset(NOTICE_TR.values())
# The same record of the Korean exchange, the alternative one, and of both.
KRX_TRADE_TRS = frozenset({"H0STCNT0", "H0NXCNT0", "H0UNCNT0"})
TRADE_TRS = KRX_TRADE_TRS | {"HDFSCNT0"}
MAX_REGISTRATIONS = 41
# The shortest record each parser can read: older layouts had fewer fields at the end.
_LEAST_FIELDS = {
    **dict.fromkeys(KRX_TRADE_TRS, 34),
    "HDFSCNT0": 26,
    **dict.fromkeys(("H0STCNI0", "H0STCNI9"), 17),
    **dict.fromkeys(("H0GSCNI0", "H0GSCNI9"), 16),
}
# Before the open and after the close (PROTOCOL 12.11, MTYP).
_US_OFF_HOURS = ("2", "3")
# How long a time of day seen on the wire stands for the same instant: less than half a day.
_SAME_DAY = timedelta(hours=1)


# --- control messages ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A client's wish to receive (or no longer) one TR for one key."""

    approval_key: str = field(repr=False)
    is_on: bool
    tr_id: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The venue's word on a registration; ``iv`` and ``secret`` decrypt that TR's frames."""

    tr_id: str
    key: str
    ok: bool
    code: str
    text: str
    encrypted: bool
    iv: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """The venue asks whether we are there; the text goes back as it came."""

    text: str


def registration_message(registration: Registration) -> str:
    """Write a registration."""
    return json.dumps(
        {
            "header": {
                "approval_key": registration.approval_key,
                "custtype": "P",
                "tr_type": "1" if registration.is_on else "2",
                "content-type": "utf-8",
            },
            "body": {"input": {"tr_id": registration.tr_id, "tr_key": registration.key}},
        }
    )


def parse_client_message(text: str) -> Registration | Ping:
    """Read what a client sends: a registration, or the echo of a PINGPONG."""
    message = _json(text)
    header = _part(message, "header")
    if header.get("tr_id") == "PINGPONG":
        return Ping(text=text)
    wanted = _part(_part(message, "body"), "input")
    kind = str(header.get("tr_type", ""))
    if kind not in ("1", "2") or "tr_id" not in wanted or "tr_key" not in wanted:
        raise SchemaError("실시간 등록 형식 오류")
    return Registration(
        approval_key=str(header.get("approval_key", "")),
        is_on=kind == "1",
        tr_id=str(wanted["tr_id"]),
        key=str(wanted["tr_key"]),
    )


def reply_message(reply: Reply) -> str:
    """Write the venue's reply; keys come with every successful registration."""
    body: dict[str, Any] = {
        "rt_cd": "0" if reply.ok else "9" if reply.code == "OPSP8996" else "1",
        "msg_cd": reply.code,
        "msg1": reply.text or codes.lookup(reply.code).text,
    }
    if reply.iv:
        body["output"] = {"iv": reply.iv, "key": reply.secret}
    header = {
        "tr_id": reply.tr_id or "(null)",
        "tr_key": reply.key,
        "encrypt": "Y" if reply.encrypted else "N",
    }
    return json.dumps({"header": header, "body": body})


def ping_message(now: datetime) -> str:
    """Write a PINGPONG."""
    day, clock = values.date_and_time(now, Market.KRX)
    return json.dumps({"header": {"tr_id": "PINGPONG", "datetime": day + clock}})


def parse_control(text: str) -> Reply | Ping:
    """Read a control message of the venue."""
    message = _json(text)
    header = _part(message, "header")
    if header.get("tr_id") == "PINGPONG":
        return Ping(text=text)
    body = _part(message, "body")
    if "msg_cd" not in body:
        raise SchemaError("실시간 응답 형식 오류")
    output = _part(body, "output")
    return Reply(
        tr_id=str(header.get("tr_id", "")),
        key=str(header.get("tr_key", "")),
        ok=str(body.get("rt_cd", "")) == "0",
        code=str(body.get("msg_cd", "")),
        text=str(body.get("msg1", "")).strip(),
        encrypted=header.get("encrypt") == "Y",
        iv=str(output.get("iv", "")),
        secret=str(output.get("key", "")),
    )


def _json(text: str) -> Mapping[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaError("실시간 메시지가 JSON이 아님") from error
    if not isinstance(message, dict):
        raise SchemaError("실시간 메시지 형식 오류")
    return message


def _part(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object inside a message; absent is empty."""
    part = message.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise SchemaError(f"실시간 메시지 형식 오류: {name}")
    return part


# --- data frames ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """One data frame, its payload still as it came."""

    encrypted: bool
    tr_id: str
    count: int
    payload: str = field(repr=False)


def is_data(text: str) -> bool:
    """Whether a message is a data frame rather than a control message."""
    return text[:2] in ("0|", "1|")


def frame_message(tr_id: str, records: Sequence[str], *, iv: str = "", secret: str = "") -> str:
    """Write records (each already joined by ``^``) as one frame, encrypted when keys are given."""
    payload = "^".join(records)
    if secret:
        return f"1|{tr_id}|{len(records):03d}|{encrypt(payload, iv=iv, secret=secret)}"
    return f"0|{tr_id}|{len(records):03d}|{payload}"


def parse_frame(text: str) -> Frame:
    """Split a data frame, at most three times: a payload may hold the separator."""
    parts = text.split("|", 3)
    if len(parts) != 4:
        raise SchemaError("실시간 자료 형식 오류")
    count = values.integer(parts[2])
    if count < 1:
        raise SchemaError(f"실시간 자료 건수 오류: {parts[1]} {count}건")
    return Frame(parts[0] == "1", parts[1], count, parts[3])


def records_of(tr_id: str, count: int, payload: str) -> list[list[str]]:
    """Cut a decrypted payload into its records.

    The width is the frame's own (fields divided by count), so that appended fields do no harm.

    Raises ``SchemaError`` when so many records cannot be in it.
    """
    fields = payload.split("^")
    width = _width(tr_id, count, len(fields))
    return [fields[width * i : width * (i + 1)] for i in range(count)]


def _width(tr_id: str, count: int, fields: int) -> int:
    """Return how many fields each of ``count`` records has."""
    known = FIELD_COUNTS.get(tr_id, 1)
    if fields == known * count:
        return known
    if tr_id in FORMER_NOTICE_FIELDS and fields < known * count:
        known = FORMER_NOTICE_FIELDS[tr_id]
    width, rest = divmod(fields, count)
    if rest:
        # Appended to the last record alone.
        width, rest = known, fields - known * count
    is_miscounted = known > 1 and fields % known == 0 and fields != known * count
    least = _LEAST_FIELDS.get(tr_id, 1) if count == 1 else known
    if width < least or not 0 <= rest < known or is_miscounted:
        raise SchemaError(f"실시간 항목 수 오류: {tr_id} {fields}개 ({count}건)")
    return width


def encrypt(text: str, *, iv: str, secret: str) -> str:
    """Encrypt as KIS does: AES-256-CBC, PKCS#7, base64; keys are used as ASCII text."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    padder = PKCS7(128).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES(secret.encode()), modes.CBC(iv.encode())).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def decrypt(text: str, *, iv: str, secret: str) -> str:
    """Undo ``encrypt``; ``SchemaError`` when the key does not fit."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    try:
        decryptor = Cipher(algorithms.AES(secret.encode()), modes.CBC(iv.encode())).decryptor()
        padded = decryptor.update(base64.b64decode(text)) + decryptor.finalize()
        unpadder = PKCS7(128).unpadder()
        plain = unpadder.update(padded) + unpadder.finalize()
    except ValueError as error:
        raise SchemaError("실시간 암호 해독 실패") from error
    return text_of(plain)


def text_of(data: bytes) -> str:
    """Return the text of a message: UTF-8, or cp949 as in KIS's files (names, reasons)."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp949", errors="replace")


# --- trades --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """A trade as the venue tells it, with the day so far. Prices in minor units.

    ``value`` is the turnover so far; ``previous_close`` is the day's base price. ``open_ts``,
    ``high_ts`` and ``low_ts`` say when these prices were first paid.
    """

    symbol: str
    ts: datetime
    price: int
    volume: int
    cumulative_volume: int
    value: int
    open: int
    high: int
    low: int
    previous_close: int
    open_ts: datetime | None = None
    high_ts: datetime | None = None
    low_ts: datetime | None = None


def render_trade(market: Market, trade: Print, instrument: Instrument) -> str:
    """Write one trade record; what is not recorded (book, sides, ratios) is zero or blank."""
    return _render_krx(trade) if market is Market.KRX else _render_us(trade, instrument)


# Sides and book of a trade: KIS leaves none of these numbers blank.
_KRX_ZEROS = (16, 17, 19, 20, 36, 37, 38, 39, 41)


def _render_krx(trade: Print) -> str:
    day, clock = values.date_and_time(trade.ts, Market.KRX)
    price, base = trade.price, trade.previous_close
    average = f"{trade.value / trade.cumulative_volume:.2f}" if trade.cumulative_volume else "0.00"
    record = [""] * 46
    for index in _KRX_ZEROS:
        record[index] = "0"
    record[:16] = [
        trade.symbol,
        clock,
        str(price),
        values.change_sign(price, base),
        str(price - base),
        values.ratio_text(price - base, base),
        average,
        str(trade.open),
        str(trade.high),
        str(trade.low),
        "0",
        "0",
        str(trade.volume),
        str(trade.cumulative_volume),
        str(trade.value),
        "0",
    ]
    for index, level, ts in (
        (25, trade.open, trade.open_ts),
        (28, trade.high, trade.high_ts),
        (31, trade.low, trade.low_ts),
    ):
        record[index - 1] = "" if ts is None else values.korean_time(ts)
        record[index] = values.change_sign(price, level)
        record[index + 1] = str(price - level)
    record[33:36] = [day, "20", "N"]
    record[43] = "0"
    return "^".join(record)


def _render_us(trade: Print, instrument: Instrument) -> str:
    local_day, local_time = values.date_and_time(trade.ts, Market.US)
    korean_day, korean_time = values.date_and_time(trade.ts, Market.KRX)
    price, base = trade.price, trade.previous_close
    dollars = values.from_minor
    return "^".join(
        (
            stream_key(instrument),
            trade.symbol,
            "4",
            local_day,
            local_day,
            local_time,
            korean_day,
            korean_time,
            dollars(trade.open, Market.US),
            dollars(trade.high, Market.US),
            dollars(trade.low, Market.US),
            dollars(price, Market.US),
            values.change_sign(price, base),
            dollars(abs(price - base), Market.US),
            values.ratio_text(price - base, base),
            *("0.0000", "0.0000", "0", "0"),
            str(trade.volume),
            str(trade.cumulative_volume),
            str(trade.value // 10_000),
            *("0", "0", ""),
            "1",
        )
    )


class TradeDecoder:
    """Frames of one plain trade, decoded with the help of those that came before.

    Which symbol a frame's head names, which instant its clock and which number a price are
    remembered, so that a frame costs little more than its split. The Korean TRs only: they are
    what comes by the thousand.

    ``decode(text, received)`` returns the trade in a frame, ``None`` when ``read`` must look at it.
    """

    __slots__ = ("_prices", "_symbols", "_times", "_until", "decode")

    def __init__(self) -> None:
        self._symbols: dict[str, str] = {}
        self._times: dict[str, datetime] = {}
        self._prices: dict[str, int] = {}
        self._until = datetime.min.replace(tzinfo=UTC)
        self.decode = _quick_decoder(self._symbols, self._times, self._prices)

    def begin(self, received: datetime) -> None:
        """Forget the times of a day that may be over; to be called before decoding."""
        if received >= self._until:
            self._times.clear()
            self._prices.clear()
            self._until = received + _SAME_DAY

    def read(self, frame: Frame, received: datetime) -> list[tuple[Tick, bool]]:
        """Return the trades of a frame, each with whether it is of the regular session; learn."""
        if frame.tr_id not in KRX_TRADE_TRS:
            records = records_of(frame.tr_id, frame.count, frame.payload)
            return [
                (parse_trade(frame.tr_id, record, received), record[25] not in _US_OFF_HOURS)
                for record in records
            ]
        fields = frame.payload.split("^")
        width = _width(frame.tr_id, frame.count, len(fields))
        self._symbols[f"0|{frame.tr_id}|001|{fields[0]}"] = fields[0]
        return [(self.read_krx(fields, width * i, received), True) for i in range(frame.count)]

    def read_krx(self, fields: Sequence[str], at: int, received: datetime) -> Tick:
        """Return the trade of the Korean record that begins at field ``at``."""
        symbol, clock, volume, total = fields[at], fields[at + 1], fields[at + 12], fields[at + 13]
        moment = self._times.get(clock)
        if moment is None:
            moment = values.instant(fields[at + 33], clock, Market.KRX)
            self._times[clock] = moment
        try:
            numbers = int(fields[at + 2]), int(volume), int(total)
        except ValueError:
            price = values.to_minor(fields[at + 2], Market.KRX)
            numbers = price, values.integer(volume), values.integer(total)
        self._prices[fields[at + 2]] = numbers[0]
        return tuple.__new__(Tick, (symbol, *numbers, moment, received, volume == total))


def _quick_decoder(
    symbols: Mapping[str, str],
    times: Mapping[str, datetime],
    prices: Mapping[str, int],
    new: Callable[..., Tick] = tuple.__new__,
) -> Callable[[str, datetime], Tick | None]:
    # A closure, because every name it must look up would cost a twentieth of the whole.
    def decode(text: str, received: datetime) -> Tick | None:
        f = text.split("^", 14)
        try:
            return new(
                Tick,
                (
                    symbols[f[0]],
                    prices[f[2]],
                    int(f[12]),
                    int(f[13]),
                    times[f[1]],
                    received,
                    f[12] == f[13],
                ),
            )
        except (LookupError, ValueError):
            return None

    return decode


def parse_trade(tr_id: str, record: Sequence[str], received: datetime) -> Tick:
    """Read one trade of either market.

    The wire does not mark auctions; the day's first print is the opening auction's.
    """
    if tr_id in KRX_TRADE_TRS:
        return TradeDecoder().read_krx(record, 0, received)
    volume, cumulative = values.integer(record[19]), values.integer(record[20])
    return Tick(
        symbol=record[1] or symbol_of_key(record[0]),
        price=values.to_minor(record[11], Market.US),
        volume=volume,
        cumulative_volume=cumulative,
        ts_event=values.instant(record[4], record[5], Market.US),
        ts_recv=received,
        auction=volume == cumulative,
    )


# --- notices -------------------------------------------------------------------------------

_CHANGE_CODES = {OrderKind.NEW: "0", OrderKind.REVISE: "1", OrderKind.CANCEL: "2"}
_CHANGES = {code: kind for kind, code in _CHANGE_CODES.items()}
_COUNTRY_CODES = {Exchange.NASDAQ: "6", Exchange.NYSE: "7", Exchange.AMEX: "8"}
_COUNTRIES = {code: exchange for exchange, code in _COUNTRY_CODES.items()}


def render_notice(market: Market, notice: Notice, *, is_former: bool = False) -> str:
    """Write one notice record, not yet encrypted; US prices have four implied decimals.

    ``is_former`` writes the fields of before 2025-03, which older clients count on.
    """
    flags = [
        notice.time,
        "1" if notice.is_refused else "0",
        "2" if notice.is_fill else "1",
        notice.acceptance,
        notice.branch,
    ]
    head = [
        notice.customer,
        notice.account,
        notice.order_id,
        notice.original_order_id,
        SIDE_CODES[notice.side],
        _CHANGE_CODES[notice.kind],
    ]
    quantity = f"{notice.quantity:010d}"
    if market is Market.KRX:
        inserted = [] if is_former else ["", "1", "Y"]
        fields = [
            *head,
            "00",
            "0",
            notice.symbol,
            quantity,
            f"{notice.price:09d}",
            *flags,
            f"{notice.order_quantity:09d}",
            "",
            *inserted,
            notice.name if is_former else "",
            "10",
            "",
            notice.name,
            f"{notice.limit:09d}",
        ]
        return "^".join(fields)
    country = _COUNTRY_CODES.get(notice.exchange, "") if notice.exchange else ""
    fields = [
        *head,
        "2",
        notice.symbol,
        quantity,
        f"{notice.price:09d}",
        *flags,
        f"{notice.order_quantity:09d}" if notice.is_fill else "",
        "",
        notice.name,
        country,
        "10",
        "",
    ]
    appended = [] if is_former else ["", "", "", f"{notice.price:012d}"]
    return "^".join(fields + appended)


def parse_notice(tr_id: str, record: Sequence[str]) -> Notice:
    """Read one decrypted notice; the layouts of before 2025-03 are read too."""
    is_krx = tr_id in ("H0STCNI0", "H0STCNI9")
    at = 8 if is_krx else 7
    quantity = values.integer(record[at + 1])
    ordered = values.integer(record[at + 8])
    is_fill = record[at + 5] == "2"
    # An unfamiliar code must not raise: the notice then counts as one of a new order.
    kind = _CHANGES.get(record[5], OrderKind.NEW)
    is_former = len(record) <= FORMER_NOTICE_FIELDS[tr_id]
    limit_at = 22 if is_former else 25
    side = Side.SELL if record[4] == "01" else Side.BUY
    return Notice(
        customer=record[0],
        account=record[1],
        order_id=values.order_number(record[2]),
        original_order_id=values.order_number(record[3]),
        side=side,
        kind=kind,
        symbol=record[at].strip(),
        quantity=quantity,
        price=values.integer(record[at + 2]),
        time=record[at + 3],
        is_refused=record[at + 4] == "1",
        is_fill=is_fill,
        acceptance=record[at + 6],
        branch=record[at + 7],
        order_quantity=ordered or quantity,
        limit=values.integer(record[limit_at]) if is_krx and len(record) > limit_at else 0,
        name=_at(record, (21 if is_former else 24) if is_krx else 17),
        exchange=None if is_krx else _COUNTRIES.get(_at(record, 18)),
    )


def notice_event(notice: Notice, received: datetime) -> Fill | OrderUpdate | None:
    """Return what a notice means for our orders; ``None`` when it says nothing new.

    A cancel is a request of its own at KIS: its receipt means nothing yet, its confirmation
    ends the original order, its refusal leaves the original as it was.
    """
    moment = values.nearest_instant(notice.time, received)
    if notice.is_fill:
        return Fill(
            symbol=notice.symbol,
            side=notice.side,
            quantity=notice.quantity,
            amount=notice.quantity * notice.price,
            venue_order_id=notice.order_id,
            ts_event=moment,
            ts_recv=received,
        )
    target, status, reason = notice.order_id, OrderStatus.ACCEPTED, ""
    if notice.kind is not OrderKind.NEW:
        target = notice.original_order_id or notice.order_id
        if notice.is_refused:
            reason = "취소 거부" if notice.kind is OrderKind.CANCEL else "정정 거부"
        elif notice.kind is OrderKind.CANCEL and notice.acceptance == "2":
            status = OrderStatus.CANCELED
        else:
            return None
    elif notice.is_refused:
        status, reason = OrderStatus.REJECTED, "거래소 거부"
    elif notice.acceptance == "3":
        status, reason = OrderStatus.CANCELED, "거래소 취소"
    return OrderUpdate(
        venue_order_id=target,
        symbol=notice.symbol,
        status=status,
        ts_event=moment,
        ts_recv=received,
        reason=reason,
    )


def _at(record: Sequence[str], index: int) -> str:
    return record[index] if index < len(record) else ""
