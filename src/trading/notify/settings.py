"""What a message can be about, and what ``config/notify.yaml`` may say."""

from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)


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


# What of the network is this computer itself.
_OWN_HOSTS = ("localhost", "127.0.0.1", "::1")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MailSettings(_Settings):
    """How mail leaves; no host, no mail."""

    host: str | None = None
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    sender: str | None = None
    sender_name: str = "AI 매매"
    timeout_seconds: float = Field(default=20.0, gt=0)

    @model_validator(mode="after")
    def _goes_in_clear_to_this_computer_alone(self) -> "MailSettings":
        if self.security == "none" and self.host not in (None, *_OWN_HOSTS):
            raise ValueError(
                "security: none은 이 컴퓨터 안의 서버에만 쓸 수 있습니다(비밀번호와 잔고가 평문으로 나갑니다). "
                "starttls나 tls로 바꾸세요"
            )
        return self


class WebhookSettings(_Settings):
    """Where JSON is posted; many services treat the address itself as a secret."""

    url: SecretStr | None = None
    format: Literal["json", "slack", "discord", "telegram"] = "json"
    chat_id: str | None = None
    timeout_seconds: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _telegram_names_a_chat(self) -> "WebhookSettings":
        if self.url is not None and self.format == "telegram" and self.chat_id is None:
            raise ValueError("format이 telegram이면 chat_id를 적어 주세요")
        return self


class RetrySettings(_Settings):
    """How often a failed delivery is tried again; the delay doubles each time."""

    first_delay_seconds: float = Field(default=30.0, gt=0)
    longest_delay_seconds: float = Field(default=3600.0, gt=0)
    max_attempts: int = Field(default=12, ge=1)

    def delay_seconds(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row, the first being 1."""
        doubled: float = self.first_delay_seconds * 2.0 ** min(failures - 1, 60)
        return min(doubled, self.longest_delay_seconds)


class BatchSettings(_Settings):
    """Which messages are gathered into one: those of a group, for ``wait_seconds``."""

    groups: tuple[tuple[Event, ...], ...] = (
        (Event.ORDER_SUBMITTED, Event.ORDER_FILLED, Event.ORDER_REFUSED),
        (Event.ERROR,),
    )
    wait_seconds: float = Field(default=30.0, ge=0)
    most: int = Field(default=100, ge=1)

    @field_validator("groups")
    @classmethod
    def _each_once(cls, groups: tuple[tuple[Event, ...], ...]) -> tuple[tuple[Event, ...], ...]:
        named = [event for group in groups for event in group]
        if len(named) != len(set(named)):
            raise ValueError("한 알림은 한 묶음에만 적어 주세요")
        return groups

    def group_of(self, event: str) -> str | None:
        """Return the name under which ``event`` is gathered, or ``None``."""
        return next((str(group[0]) for group in self.groups if event in group), None)


class RepeatSettings(_Settings):
    """The same message within ``window_seconds`` is told once, with how often it came."""

    events: tuple[Event, ...] = (
        Event.ERROR,
        Event.API_FAILED,
        Event.TRAINING_FAILED,
        Event.EVENT_MISSED,
    )
    window_seconds: float = Field(default=3600.0, ge=0)


def _clock_text(value: object) -> object:
    # YAML reads 22:00 without quotes as the number 1320, which would be taken for seconds.
    if value is None or isinstance(value, str | time):
        return value
    raise ValueError('시각은 따옴표 안에 "22:00"처럼 적어 주세요')


ClockTime = Annotated[time | None, BeforeValidator(_clock_text)]


class QuietSettings(_Settings):
    """Hours in the recipient's zone in which only ``passing`` events are told; the rest waits."""

    start: ClockTime = None
    end: ClockTime = None
    timezone: str = "Asia/Seoul"
    passing: tuple[Event, ...] = (
        Event.ERROR,
        Event.API_FAILED,
        Event.RISK_EVENT,
        Event.EVENT_MISSED,
    )

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            raise ValueError(f"없는 시간대 {name!r} (예: Asia/Seoul)") from None
        return name

    @model_validator(mode="after")
    def _has_both_ends(self) -> "QuietSettings":
        if (self.start is None) != (self.end is None):
            raise ValueError("start와 end를 함께 적거나 둘 다 null로 두세요")
        if any(at is not None and at.tzinfo is not None for at in (self.start, self.end)):
            raise ValueError('시간대는 timezone에 적고 시각에는 "22:00"처럼 붙이지 마세요')
        return self

    def over_at(self, now: datetime) -> datetime | None:
        """Return when the quiet hours end that ``now`` lies in; ``None`` outside of them."""
        if self.start is None or self.end is None:
            return None
        local = now.astimezone(ZoneInfo(self.timezone))
        at = local.time()
        if self.start <= self.end:
            is_quiet = self.start <= at < self.end
        else:
            is_quiet = at >= self.start or at < self.end
        if not is_quiet:
            return None
        day = local.date() + timedelta(days=1 if at >= self.end else 0)
        return datetime.combine(day, self.end, tzinfo=local.tzinfo)


class NotifySettings(_Settings):
    """``config/notify.yaml``."""

    subject_prefix: str = "[AI 매매]"
    events: tuple[Event, ...] = tuple(Event)
    mail: MailSettings = MailSettings()
    webhook: WebhookSettings = WebhookSettings()
    batch: BatchSettings = BatchSettings()
    repeat: RepeatSettings = RepeatSettings()
    quiet: QuietSettings = QuietSettings()
    retry: RetrySettings = RetrySettings()
    keep_days: int = Field(default=30, ge=1)
