"""The Korean words of a message: its title, its fields as people read them, both bodies.

One template set serves mail (HTML and text) and webhooks (text). How a message leaves is
``channels``; when it does, and what it is told together with, is ``outbox``.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from trading.domain.instrument import Currency, Market
from trading.domain.wording import (
    CHANNEL_TEXT,
    GATE_TEXT,
    GUARD_TEXT,
    MARKET_TEXT,
    REGIME_TEXT,
    SIDE_TEXT,
    STATE_TEXT,
    STATUS_TEXT,
    VERDICT_TEXT,
    money_text,
    percent_text,
    reason_text,
)
from trading.log import get_logger
from trading.notify.picture import Picture, curve_picture, curve_text
from trading.notify.settings import Event

if TYPE_CHECKING:
    from jinja2 import Environment

log = get_logger(__name__)

# The message of ``trading notify test``: no event of the program.
TEST = "test"

# An entry with so few lines is one line in a message that tells of many.
_BRIEF = 14
# A subject is a line in a list of mails.
_LONGEST_TITLE = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that is told: ``times`` it happened alike, the last one at ``last_at``."""

    event: str
    fields: Mapping[str, Any]
    at: datetime | None = None
    times: int = 1
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One rendered message; ``pictures`` stand inside the HTML, ``attachments`` beside it."""

    event: str
    subject: str
    text: str
    html: str
    attachments: tuple[Path, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One entry as the templates show it."""

    title: str
    at: str
    rows: Sequence[tuple[str, str]]
    again: str = ""
    curve: str = ""
    picture: Picture | None = None
    details: str = field(default="")

    @property
    def is_brief(self) -> bool:
        return self.picture is None and len(self.rows) < _BRIEF and "\n" not in self.details


def render(event: str, fields: Mapping[str, Any], *, prefix: str = "") -> Message:
    """Return the Korean message of ``event``; unknown fields are shown under their own name.

    Hidden fields serve the message itself: ``key`` (one of a kind), ``same_as`` (what counts as
    the same), ``currency`` of the money, ``report`` (a file that a mail carries along), ``curve``
    and ``benchmark`` (pairs of ISO instant or date and value, drawn as a picture).
    """
    return compose([Entry(event=event, fields=fields)], prefix=prefix)


def compose(entries: Sequence[Entry], *, prefix: str = "", headline: str = "") -> Message:
    """Return one message that tells of all ``entries``, in their order, under ``headline``."""
    sections = [_section(entry, number) for number, entry in enumerate(entries)]
    if len(entries) == 1 and not headline:
        title = sections[0].title
    else:
        title = " ".join(filter(None, (headline, _summary(entries))))
    shown = {"title": title, "sections": sections, "is_one": len(sections) == 1 and not headline}
    templates = _templates()
    reports = [entry.fields.get("report") for entry in entries]
    return Message(
        event=entries[0].event if len({entry.event for entry in entries}) == 1 else "batch",
        subject=f"{prefix} {_shortened(title)}".strip(),
        text=templates.get_template("mail.txt.j2").render(shown),
        html=templates.get_template("mail.html.j2").render(shown),
        attachments=tuple(Path(str(report)) for report in reports if report),
        pictures=tuple(s.picture for s in sections if s.picture is not None),
    )


def labeled(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (Korean name, value as people read it) of each field; money in its currency."""
    return [(_FIELDS.get(name, (name, ""))[0], text) for name, text in _shown(fields).items()]


def as_json(fields: Mapping[str, Any]) -> str:
    """Return the fields as the outbox keeps them; what JSON has no word for as people read it.

    A number that is none is ``null``: SQLite reads no JSON with it.
    """
    try:
        return json.dumps(dict(fields), ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:
        whole = json.dumps(dict(fields), ensure_ascii=False, default=_plain)
        read = json.loads(whole, parse_constant=lambda _: None)
        return json.dumps(read, ensure_ascii=False)


def _section(entry: Entry, number: int) -> _Section:
    curve, benchmark = entry.fields.get("curve"), entry.fields.get("benchmark")
    try:
        shown, rows = _shown(entry.fields), labeled(entry.fields)
        line = curve_text(curve, benchmark)
    except Exception as error:
        # A field that nobody can read must not keep the others from being told.
        log.warning("알림의 값을 읽지 못함", event_name=entry.event, reason=str(error))
        line = ""
        shown = {name: str(value) for name, value in entry.fields.items() if name not in HIDDEN}
        rows = [(_FIELDS.get(name, (name, ""))[0], text) for name, text in shown.items()]
    template = _TITLES.get(entry.event, "알림 {message}")
    again = ""
    if entry.times > 1:
        last = f", 마지막 {_plain(entry.last_at)}" if entry.last_at is not None else ""
        again = f"같은 일이 {entry.times:,}번 있었습니다{last}"
    return _Section(
        title=" ".join(template.format_map(_Blank(shown)).split()),
        at=_plain(entry.at) if entry.at is not None else "",
        rows=rows,
        again=again,
        curve=line,
        picture=curve_picture(curve, benchmark, cid=f"curve{number}"),
        details=" · ".join(f"{label}: {text}" for label, text in rows),
    )


def _summary(entries: Sequence[Entry]) -> str:
    """Return what a message of many is about: the market when it is one, and counts by kind."""
    markets = {str(entry.fields.get("market", "")) for entry in entries}
    market = _WORDS["market"].get(next(iter(markets)), "") if len(markets) == 1 else ""
    counts = Counter(entry.event for entry in entries)
    kinds = ", ".join(f"{_NAMES.get(event, event)} {n:,}건" for event, n in counts.items())
    return f"{market} {kinds}".strip()


def _shortened(title: str) -> str:
    return title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

    folder = resources.files("trading") / "_templates"
    return Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text("utf-8")),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(fields: Mapping[str, Any]) -> dict[str, str]:
    currency = _currency(fields)
    return {
        name: _format(_FIELDS.get(name, (name, "text"))[1], value, currency)
        for name, value in fields.items()
        if name not in HIDDEN and value is not None
    }


# Events in the count of a message that tells of many.
_NAMES: Mapping[str, str] = {
    Event.SESSION_STARTED: "장 시작",
    Event.SESSION_ENDED: "장 마감",
    Event.ORDER_SUBMITTED: "주문 접수",
    Event.ORDER_FILLED: "체결",
    Event.ORDER_REFUSED: "주문 거부",
    Event.API_FAILED: "API 실패",
    Event.RISK_EVENT: "위험 알림",
    Event.PROMOTED: "모델 교체",
    Event.TRAINING_FAILED: "학습 실패",
    Event.MODEL_HEALTH: "모델 상태",
    Event.ERROR: "오류",
    Event.HOURLY_STATUS: "매시 상태",
    Event.DAILY_REPORT: "일일 보고서",
    Event.EVENT_MISSED: "없었던 일",
}

_TITLES: Mapping[str, str] = {
    Event.SESSION_STARTED: "{market} {session} 장 시작",
    Event.SESSION_ENDED: "{market} {session} 장 마감 {daily_return}",
    Event.ORDER_SUBMITTED: "{symbol} {side} {quantity} 주문 접수",
    Event.ORDER_FILLED: "{symbol} {side} {quantity} 체결",
    Event.ORDER_REFUSED: "{symbol} {side} {quantity} 주문 거부",
    Event.API_FAILED: "API 호출 실패 {operation}",
    Event.RISK_EVENT: "위험 알림 {verdict} {message}",
    Event.PROMOTED: "{market} 모델 교체 {model} {version} {verdict}",
    Event.TRAINING_FAILED: "{market} 학습 실패 {model}",
    Event.MODEL_HEALTH: "{market} 모델 상태 {model} {action}",
    Event.ERROR: "오류 {stage} {message}",
    Event.HOURLY_STATUS: "{market} 매시 상태 {ts}",
    Event.DAILY_REPORT: "{market} {session} 일일 보고서 {daily_return}",
    Event.EVENT_MISSED: "예정된 일이 없었음 {expected}",
    TEST: "알림 시험: 이 글이 보이면 알림이 잘 옵니다",
}

_FIELDS: Mapping[str, tuple[str, str]] = {
    "market": ("시장", "market"),
    "session": ("거래일", "text"),
    "environment": ("환경", "text"),
    "run_id": ("실행", "text"),
    "symbol": ("종목", "text"),
    "name": ("종목명", "text"),
    "ts": ("시각", "instant"),
    "side": ("구분", "side"),
    "quantity": ("수량", "shares"),
    "filled_quantity": ("누적 체결", "shares"),
    "limit": ("지정가", "money"),
    "price": ("가격", "money"),
    "amount": ("금액", "money"),
    "commission": ("수수료", "money"),
    "tax": ("세금", "money"),
    "realized": ("실현 손익", "money"),
    "status": ("주문 상태", "status"),
    "order_id": ("주문 번호", "text"),
    "reason": ("사유", "reason"),
    "verdict": ("판정", "verdict"),
    "code": ("코드", "text"),
    "message": ("내용", "text"),
    "operation": ("호출", "text"),
    "state": ("거래 상태", "state"),
    "equity": ("총자산", "money"),
    "cash": ("현금", "money"),
    "daily_profit": ("오늘 손익", "money"),
    "daily_return": ("오늘 수익률", "percent"),
    "total_return": ("누적 수익률", "percent"),
    "drawdown": ("낙폭", "share"),
    "portfolio_var": ("포트폴리오 VaR", "share"),
    "final_equity": ("총자산", "money"),
    "orders": ("주문", "count"),
    "fills": ("체결", "count"),
    "refused": ("거부", "count"),
    "positions": ("보유", "lines"),
    "cash_difference": ("현금 대조 차이", "money"),
    "ambiguous_fills": ("봉 안의 순서를 모르는 체결", "count"),
    "parity_orders": ("재현한 주문", "count"),
    "parity_differences": ("재현 차이", "count"),
    "parity_unexplained": ("설명되지 않은 재현 차이", "count"),
    "api_succeeded": ("API 성공", "count"),
    "api_failed": ("API 실패", "count"),
    "memory_mb": ("메모리 (MB)", "number"),
    "cpu_percent": ("CPU (%)", "number"),
    "disk_free_gb": ("남은 디스크 (GB)", "number"),
    "market_state": ("시장 상태", "lines"),
    "kst": ("한국 시각", "text"),
    "eastern": ("미국 동부 시각", "text"),
    "rows": ("검사한 행", "whole"),
    "quarantined": ("격리한 행", "whole"),
    "findings": ("어긋난 것", "lines"),
    "page": ("품질 보고서", "text"),
    "symbols": ("종목 수", "whole"),
    "features": ("특성 수", "whole"),
    "screened": ("선별한 종목", "whole"),
    "watched": ("지켜보는 종목", "whole"),
    "regime": ("시장 국면", "regime"),
    "rank_ic": ("순위 IC", "ratio"),
    "rank_ic_t": ("순위 IC의 t값", "ratio"),
    "sent": ("보낸 알림", "whole"),
    "pending": ("남은 알림", "whole"),
    "running": ("도는 세션", "whole"),
    "missed": ("없었던 일", "whole"),
    "max_drawdown": ("최대 낙폭", "share"),
    "annual_return": ("연 수익률", "percent"),
    "annual_volatility": ("연 변동성", "share"),
    "sharpe": ("샤프 비율", "ratio"),
    "sortino": ("소르티노 비율", "ratio"),
    "model_versions": ("투표하는 모델", "lines"),
    "model": ("모델", "text"),
    "action": ("조치", "text"),
    "models": ("모델", "lines"),
    "pages": ("판정", "lines"),
    "version": ("모델 버전", "text"),
    "previous": ("이전 버전", "text"),
    "stage": ("단계", "text"),
    "flow": ("흐름", "text"),
    "error": ("오류", "text"),
    "expected": ("기다린 일", "text"),
    "report": ("보고서 파일", "text"),
    "gross_exposure": ("투자 비중", "share"),
    "benchmark_return": ("기준 지표 수익률", "percent"),
    "level": ("등급", "text"),
    # What lines of the log bring along.
    "intent_id": ("주문 의도", "text"),
    "venue_order_id": ("거래소 주문 번호", "text"),
    "what": ("다른 것", "text"),
    "ours": ("장부", "text"),
    "theirs": ("거래소", "text"),
    "differences": ("차이", "lines"),
    "failed": ("실패한 것", "lines"),
    "family": ("모델 계열", "text"),
    "champion": ("챔피언", "text"),
    "kind": ("자료", "text"),
    "chunk": ("자료 묶음", "text"),
    "first": ("첫날", "text"),
    "last": ("끝날", "text"),
    "sessions": ("거래일 수", "whole"),
    "path": ("파일", "text"),
    "endpoint": ("호출", "text"),
    "tr_id": ("실시간 종류", "text"),
    "is_listed": ("주문 목록에서 옴", "text"),
    "channel": ("통로", "channel"),
    "machine": ("보낸 컴퓨터", "text"),
    "thread": ("스레드", "text"),
    "event_name": ("알림", "text"),
    "remedy": ("할 일", "text"),
    "logger": ("기록한 곳", "text"),
    "api": ("호출", "text"),
    "canceled": ("취소한 주문", "text"),
    "duty": ("기다린 일", "text"),
    "phase": ("단계", "text"),
    "pid": ("프로세스 번호", "text"),
    "seconds": ("걸린 시간 (초)", "text"),
    "detail": ("자세히", "text"),
}


# They serve the message itself: see ``render``. ``report`` is shown, too.
HIDDEN = frozenset({"key", "same_as", "currency", "curve", "benchmark"})


class _Blank(dict[str, str]):
    """A title with a field that was not given reads as if the field were not in it."""

    def __missing__(self, key: str) -> str:
        return ""


def _currency(fields: Mapping[str, Any]) -> Currency:
    """Return the currency that is named, or that of the market; won when neither is."""
    if "currency" in fields:
        return Currency(fields["currency"])
    return Market(fields["market"]).currency if "market" in fields else Currency.KRW


def _format(kind: str, value: Any, currency: Currency) -> str:
    """Return the value as people read it; a value of another kind is shown as it is."""
    if kind == "instant":
        return _plain(datetime.fromisoformat(str(value)))
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {entry}" for key, entry in value.items()) or "없음"
    if isinstance(value, (list, tuple)):
        return "\n".join(str(entry) for entry in value) or "없음"
    if isinstance(value, (int, float)) and kind in _NUMBERS:
        return _number(kind, value, currency)
    table: Mapping[str, str] = _WORDS.get(kind, {})
    return reason_text(str(value)) if kind == "reason" else table.get(str(value), str(value))


def _plain(value: object) -> str:
    """Return what JSON has no word for; an instant in Korean time."""
    if isinstance(value, datetime):
        return value.astimezone(ZoneInfo("Asia/Seoul")).strftime("%Y-%m-%d %H:%M:%S KST")
    return str(value)


def _number(kind: str, value: float, currency: Currency) -> str:
    match kind:
        case "money":
            return money_text(value, currency)
        case "percent":
            return percent_text(value)
        case "shares":
            return f"{value:,}주"
        case "share":
            return percent_text(value, signed=False)
        case "count":
            return f"{value:,}건"
        case "whole":
            return f"{value:,}"
        case "ratio":
            return f"{value:+.4f}"
        case _:
            return f"{value:,.1f}"


_NUMBERS = frozenset({"money", "percent", "share", "shares", "count", "whole", "number", "ratio"})
_WORDS: Mapping[str, Mapping[str, str]] = {
    "market": {key.value: text for key, text in MARKET_TEXT.items()},
    "side": {key.value: text for key, text in SIDE_TEXT.items()},
    "state": {key.value: text for key, text in STATE_TEXT.items()},
    "status": {key.value: text for key, text in STATUS_TEXT.items()},
    "verdict": {
        name: text for key, text in VERDICT_TEXT.items() for name in (key.name, str(key.value))
    }
    | dict(GUARD_TEXT)
    | dict(GATE_TEXT),
    "regime": REGIME_TEXT,
    "channel": CHANNEL_TEXT,
}
