"""Korean messages by mail and webhook, through an outbox that survives a crash.

``send`` only writes a row and returns; a thread delivers. Who decides that something is worth a
message is the caller; what the log keeps is in ``trading.log``.
"""

import json
import smtplib
import sqlite3
import ssl
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from enum import StrEnum
from html import escape
from pathlib import Path
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from trading.domain.instrument import Currency, Market
from trading.domain.wording import (
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
from trading.ports import Clock

log = get_logger(__name__)


class Event(StrEnum):
    """What a message can be about."""

    SESSION_STARTED = "session_started"
    SESSION_ENDED = "session_ended"
    ORDER_SUBMITTED = "order_submitted"
    ORDER_FILLED = "order_filled"
    ORDER_REFUSED = "order_refused"
    API_FAILED = "api_failed"
    RISK_EVENT = "risk_event"
    PROMOTED = "promoted"
    TRAINING_FAILED = "training_failed"
    MODEL_HEALTH = "model_health"
    ERROR = "error"
    HOURLY_STATUS = "hourly_status"
    DAILY_REPORT = "daily_report"
    EVENT_MISSED = "event_missed"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MailSettings(_Settings):
    """How mail leaves; no host, no mail."""

    host: str | None = None
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    sender: str | None = None
    timeout_seconds: float = Field(default=20.0, gt=0)


class WebhookSettings(_Settings):
    """Where JSON is posted; many services treat the address itself as a secret."""

    url: SecretStr | None = None
    timeout_seconds: float = Field(default=10.0, gt=0)


class RetrySettings(_Settings):
    """How often a failed delivery is tried again; the delay doubles each time."""

    first_delay_seconds: float = Field(default=30.0, gt=0)
    longest_delay_seconds: float = Field(default=3600.0, gt=0)
    max_attempts: int = Field(default=12, ge=1)


class NotifySettings(_Settings):
    """``config/notify.yaml``."""

    subject_prefix: str = "[AI 매매]"
    events: tuple[Event, ...] = tuple(Event)
    mail: MailSettings = MailSettings()
    webhook: WebhookSettings = WebhookSettings()
    retry: RetrySettings = RetrySettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One rendered message; ``attachment`` is a file that a mail carries along."""

    event: str
    subject: str
    text: str
    html: str
    attachment: Path | None = None


class Channel(Protocol):
    """One way out; raises ``OSError`` or ``smtplib.SMTPException`` when it did not work."""

    name: str

    def deliver(self, message: Message) -> None:
        """Hand the message over."""
        ...


class MailChannel:
    """SMTP, with the password and the recipients from the environment."""

    name = "mail"

    def __init__(
        self, settings: MailSettings, *, recipients: Sequence[str], password: SecretStr | None
    ) -> None:
        self._settings = settings
        self._recipients = tuple(recipients)
        self._password = password

    def deliver(self, message: Message) -> None:
        """Send the text, its HTML twin and the attachment to every recipient."""
        mail = EmailMessage()
        mail["Subject"] = message.subject
        mail["From"] = self._settings.sender or self._settings.username or "trading@localhost"
        mail["To"] = ", ".join(self._recipients)
        mail.set_content(message.text)
        mail.add_alternative(message.html, subtype="html")
        if message.attachment is not None and message.attachment.is_file():
            mail.add_attachment(
                message.attachment.read_text("utf-8"),
                subtype="html",
                filename=message.attachment.name,
            )
        with self._connect() as server:
            if self._settings.username is not None and self._password is not None:
                server.login(self._settings.username, self._password.get_secret_value())
            server.send_message(mail)

    def _connect(self) -> smtplib.SMTP:
        host, port = self._settings.host or "", self._settings.port
        timeout = self._settings.timeout_seconds
        if self._settings.security == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
        server = smtplib.SMTP(host, port, timeout=timeout)
        if self._settings.security == "starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except BaseException:
                server.close()
                raise
        return server


class WebhookChannel:
    """A JSON POST, as Slack-like services and plain receivers understand it."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings

    def deliver(self, message: Message) -> None:
        """Post the message; any status of 400 or more is a failure."""
        if self._settings.url is None:
            return
        body = {"event": message.event, "subject": message.subject, "text": message.text}
        request = urllib.request.Request(
            self._settings.url.get_secret_value(),
            data=json.dumps(body, ensure_ascii=False).encode(),
            headers={"Content-Type": "application/json; charset=utf-8"},
        )
        with urllib.request.urlopen(request, timeout=self._settings.timeout_seconds):
            pass


class LogChannel:
    """The log, when no other way out is configured; says so once."""

    name = "log"

    def __init__(self) -> None:
        self._said = False

    def deliver(self, message: Message) -> None:
        """Log the subject, for a developer: the log has told of the event itself already."""
        if not self._said:
            self._said = True
            log.info(
                "메일과 웹훅 설정 없음, 알림은 로그와 보관함에만 남음", file="config/notify.yaml"
            )
        log.debug("알림", event_name=message.event, subject=message.subject)


class OutboxNotifier:
    """The ``Notifier`` of this program: a durable outbox in front of the channels.

    Each channel has its own row of a message, so that a dead webhook never sends a mail twice.
    A delivery is claimed before it is tried: two processes never send the same row at once, and
    a crash in between means another try after the delay (at least once, rarely twice).
    """

    def __init__(
        self, path: Path, *, settings: NotifySettings, channels: Sequence[Channel], clock: Clock
    ) -> None:
        self._path = path
        self._settings = settings
        self._channels = {channel.name: channel for channel in channels}
        self._clock = clock
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._worker: threading.Thread | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as db:
            db.execute(_TABLE)

    def send(self, event: str, fields: Mapping[str, Any]) -> None:
        """Put the message into the outbox and return; problems are logged, never raised.

        The reserved field ``key`` makes the message one of a kind: a second one with the same
        key (a restarted session tells its day again) is left out.
        """
        try:
            if event not in self._settings.events:
                return
            now = self._clock.now().isoformat()
            body = json.dumps(dict(fields), ensure_ascii=False, default=_plain)
            rows = [
                (fields.get("key"), channel, event, body, now, now) for channel in self._channels
            ]
            with closing(self._connect()) as db, db:
                db.executemany(_INSERT, rows)
            self._wake.set()
        except Exception as error:  # a message must never stop a trade
            log.error("알림 보관 실패", event_name=event, reason=str(error))

    def deliver_due(self) -> int:
        """Try every row whose time has come, oldest first; return how many went out."""
        now = self._clock.now()
        with closing(self._connect()) as db:
            rows = db.execute(_DUE, (now.isoformat(), self._settings.retry.max_attempts)).fetchall()
        return sum(self._try(*row) for row in rows)

    def pending(self) -> int:
        """Return how many deliveries are still to be made."""
        with closing(self._connect()) as db:
            row = db.execute(_PENDING, (self._settings.retry.max_attempts,)).fetchone()
        return int(row[0])

    def count(self, event: str, *, since: datetime) -> int:
        """Return how many messages of ``event`` were written at ``since`` or later."""
        instant = since.astimezone(UTC).isoformat()
        with closing(self._connect()) as db:
            row = db.execute(_COUNT, (event, instant)).fetchone()
        return int(row[0])

    def start(self) -> None:
        """Deliver in a thread of its own from now on."""
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="notify", daemon=True)
            self._worker.start()

    def close(self, *, timeout_seconds: float = 5.0) -> None:
        """Stop the thread after what it is doing; undelivered rows wait for the next start."""
        self._closing.set()
        self._wake.set()
        if self._worker is not None:
            self._worker.join(timeout_seconds)

    def _work(self) -> None:
        while True:
            closing_now = self._closing.is_set()
            self._wake.clear()
            try:
                self.deliver_due()
            except Exception as error:  # the thread must outlive a full disk or a locked file
                log.error("알림 전송 중단", reason=str(error))
            if closing_now:
                return
            self._wake.wait(self._settings.retry.first_delay_seconds)

    def _try(self, row: int, channel: str, event: str, body: str, attempts: int) -> bool:
        target = self._channels.get(channel)
        if target is None:
            return False
        now = self._clock.now()
        retry = self._settings.retry
        delay = min(retry.first_delay_seconds * 2.0**attempts, retry.longest_delay_seconds)
        next_try = (now + timedelta(seconds=delay)).isoformat()
        with closing(self._connect()) as db, db:
            if db.execute(_CLAIM, (next_try, row, attempts)).rowcount != 1:
                return False
        try:
            target.deliver(render(event, json.loads(body), prefix=self._settings.subject_prefix))
        except (OSError, smtplib.SMTPException, ValueError) as error:
            with closing(self._connect()) as db, db:
                db.execute(_FAILED, (str(error), row))
            final = attempts + 1 >= retry.max_attempts
            report = log.error if final else log.warning
            report("알림 전송 실패", channel=channel, event_name=event, reason=str(error))
            return False
        with closing(self._connect()) as db, db:
            db.execute(_SENT, (self._clock.now().isoformat(), row))
        return True

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10.0)


def open_notifier(
    settings: NotifySettings,
    *,
    path: Path,
    clock: Clock,
    recipients: Sequence[str] = (),
    password: SecretStr | None = None,
) -> OutboxNotifier:
    """Return the notifier with the channels that are configured; the log when none is."""
    channels: list[Channel] = []
    if settings.mail.host is not None:
        if recipients:
            channels.append(MailChannel(settings.mail, recipients=recipients, password=password))
        else:
            log.warning("메일 받는 사람 없음, 메일은 보내지 않음", variable="TRADING_MAIL_TO")
    if settings.webhook.url is not None:
        channels.append(WebhookChannel(settings.webhook))
    return OutboxNotifier(path, settings=settings, channels=channels or [LogChannel()], clock=clock)


def render(event: str, fields: Mapping[str, Any], *, prefix: str = "") -> Message:
    """Return the Korean message of ``event``; unknown fields are shown under their own name."""
    shown = _shown(fields)
    title = " ".join(_TITLES.get(event, event).format_map(_Blank(shown)).split())
    subject = f"{prefix} {title}".strip()
    rows = labeled(fields)
    cells = "".join(
        f'<tr><td style="padding:4px 16px 4px 0;color:#667;white-space:nowrap">{escape(label)}</td>'
        f'<td style="padding:4px 0;white-space:pre-line">{escape(text)}</td></tr>'
        for label, text in rows
    )
    html = (
        '<div style="font-family:sans-serif;font-size:15px;line-height:1.5">'
        f'<h2 style="font-size:18px;margin:0 0 12px">{escape(title)}</h2>'
        f'<table style="border-collapse:collapse;font-size:14px">{cells}</table></div>'
    )
    text = "\n".join([title, "", *(f"{label}: {value}" for label, value in rows), ""])
    report = fields.get("report")
    return Message(
        event=event,
        subject=subject,
        text=text,
        html=html,
        attachment=Path(str(report)) if report else None,
    )


def labeled(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (Korean name, value as people read it) of each field; money in its currency."""
    return [(_FIELDS.get(name, (name, ""))[0], text) for name, text in _shown(fields).items()]


def _shown(fields: Mapping[str, Any]) -> dict[str, str]:
    currency = _currency(fields)
    return {
        name: _format(_FIELDS.get(name, (name, "text"))[1], value, currency)
        for name, value in fields.items()
        if name not in _HIDDEN and value is not None
    }


_TITLES: Mapping[str, str] = {
    Event.SESSION_STARTED: "{market} {session} 장 시작",
    Event.SESSION_ENDED: "{market} {session} 장 마감 {daily_return}",
    Event.ORDER_SUBMITTED: "{symbol} {side} {quantity} 주문 접수",
    Event.ORDER_FILLED: "{symbol} {side} {quantity} 체결",
    Event.ORDER_REFUSED: "{symbol} {side} 주문 거부",
    Event.API_FAILED: "API 호출 실패 {operation}",
    Event.RISK_EVENT: "위험 알림 {verdict}{message}",
    Event.PROMOTED: "{market} 모델 교체 {model} {version} {verdict}",
    Event.TRAINING_FAILED: "{market} 학습 실패",
    Event.MODEL_HEALTH: "{market} 모델 상태 {model} {action}",
    Event.ERROR: "오류 {stage}",
    Event.HOURLY_STATUS: "{market} 매시 상태 {ts}",
    Event.DAILY_REPORT: "{market} {session} 일일 보고서 {daily_return}",
    Event.EVENT_MISSED: "예정된 일이 없었음 {expected}",
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
    "drawdown": ("낙폭", "percent"),
    "portfolio_var": ("포트폴리오 VaR", "percent"),
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
    "missed": ("조용한 세션", "whole"),
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
}


# ``key`` tells messages apart, ``currency`` says how the money fields read.
_HIDDEN = frozenset({"key", "currency"})


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
}

_TABLE = """
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY,
    key TEXT,
    channel TEXT NOT NULL,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at TEXT NOT NULL,
    next_try_at TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    sent_at TEXT,
    last_error TEXT,
    UNIQUE (key, channel)
)
"""
_INSERT = """
INSERT INTO outbox (key, channel, event, body, created_at, next_try_at)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key, channel) DO NOTHING
"""
_DUE = """
SELECT id, channel, event, body, attempts FROM outbox
WHERE sent_at IS NULL AND next_try_at <= ? AND attempts < ? ORDER BY id
"""
_PENDING = "SELECT count(*) FROM outbox WHERE sent_at IS NULL AND attempts < ?"
_COUNT = (
    "SELECT count(DISTINCT coalesce(key, created_at || body)) FROM outbox "
    "WHERE event = ? AND created_at >= ?"
)
_CLAIM = (
    "UPDATE outbox SET attempts = attempts + 1, next_try_at = ? WHERE id = ? AND attempts = ? "
    "AND sent_at IS NULL"
)
_FAILED = "UPDATE outbox SET last_error = ? WHERE id = ?"
_SENT = "UPDATE outbox SET sent_at = ?, last_error = NULL WHERE id = ?"
