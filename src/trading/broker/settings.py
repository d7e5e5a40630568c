"""``kis.yaml`` and the credentials that come from the environment."""

from dataclasses import dataclass, field
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from trading.errors import ConfigError
from trading.wire.endpoints import Generation, Profile

# PROTOCOL 4: in the first three days after applying; 모의투자 knows no such time.
_NEW_CUSTOMER_CALLS = 3


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProfileSettings(_Settings):
    """Addresses and limits of one profile."""

    rest_base: str
    ws_base: str
    calls_per_second: PositiveInt
    reserved_for_cancel: int = Field(ge=0)
    reserved_for_session: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _leaves_calls(self) -> "ProfileSettings":
        if self.reserved_for_cancel + self.reserved_for_session >= self.calls_per_second:
            raise ValueError(
                "reserved_for_cancel 과 reserved_for_session 의 합은 calls_per_second 보다 "
                "작아야 합니다"
            )
        return self


class StreamSettings(_Settings):
    """Waiting times of the WebSocket, in seconds."""

    connect_timeout_seconds: PositiveFloat = 10.0
    reply_timeout_seconds: PositiveFloat = 10.0
    backoff_seconds: PositiveFloat = 0.5
    backoff_max_seconds: PositiveFloat = 30.0
    stall_seconds: PositiveFloat = 240.0
    audit_seconds: PositiveFloat = 120.0
    mend_after_seconds: float = Field(default=0.5, ge=0)
    mend_pause_seconds: float = Field(default=60.0, ge=0)


class KisSettings(_Settings):
    """``kis.yaml``."""

    profiles: dict[Profile, ProfileSettings]
    order_ids: Generation = Generation.NEW
    send_hashkey: bool = False
    new_customer: bool = False
    window_seconds: PositiveFloat = 1.02
    patience_seconds: PositiveFloat = 5.0
    idle_connection_seconds: PositiveFloat = 20.0
    connect_timeout_seconds: PositiveFloat = 3.0
    answer_timeout_seconds: PositiveFloat = 10.0
    read_retries: int = Field(default=3, ge=0)
    backoff_seconds: PositiveFloat = 0.5
    backoff_max_seconds: PositiveFloat = 8.0
    token_renew_minutes: int = Field(default=30, ge=0)
    token_wait_seconds: PositiveFloat = 61.0
    stream: StreamSettings = StreamSettings()
    history_connections: PositiveInt = 3
    us_search_least_volume: int = Field(default=1_000_000, ge=0)
    master_base: str = "https://new.real.download.dws.co.kr/common/master"

    @model_validator(mode="after")
    def _has_both(self) -> "KisSettings":
        missing = [profile for profile in Profile if profile not in self.profiles]
        if missing:
            raise ValueError(f"profiles 에 없음: {', '.join(missing)}")
        return self

    def budget(self, profile: Profile) -> tuple[int, int]:
        """Return the calls per second of ``profile``, and how many of them cancellations keep."""
        own = self.profiles[profile]
        limit, reserve = own.calls_per_second, own.reserved_for_cancel
        if self.new_customer and profile is Profile.REAL and limit > _NEW_CUSTOMER_CALLS:
            return _NEW_CUSTOMER_CALLS, min(reserve, 1)
        return limit, reserve


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What identifies the customer; ``repr`` shows none of it.

    ``account`` is the account number with or without dash and product code (default 01). Those of
    a local exchange are no secret (``is_secret``): masking them would mask plain words in logs.
    """

    app_key: str = field(repr=False)
    app_secret: str = field(repr=False)
    account: str = field(repr=False)
    hts_id: str = field(repr=False)
    is_secret: bool = field(default=True, repr=False)

    def __post_init__(self) -> None:
        digits = self.account.replace("-", "").strip()
        if len(digits) == 8:
            digits += "01"
        if len(digits) != 10 or not digits.isdigit():
            raise ConfigError("계좌번호는 숫자 10자리(또는 8자리-2자리)여야 합니다")
        object.__setattr__(self, "account", digits)
        if not all(key.isascii() and key.isprintable() for key in (self.app_key, self.app_secret)):
            # No header can carry it: every call would fail, and none say why.
            raise ConfigError(
                "앱키나 앱시크릿에 쓸 수 없는 글자가 있습니다. 다시 복사해 넣어 주십시오"
            )

    def fingerprint(self, host: str) -> str:
        """Return a name for what belongs to this key at this host, without revealing the key."""
        return sha256(f"{host}\n{self.app_key}".encode()).hexdigest()[:16]
