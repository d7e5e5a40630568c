"""What the gate checks and how severely, as ``config/quality/*.yaml`` states it."""

from datetime import date
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trading.domain.instrument import Market
from trading.domain.rules import shipped_config_dir
from trading.errors import ConfigError

S = TypeVar("S", bound="KindSettings")


class Severity(StrEnum):
    """What a failed check does."""

    ROW = "row"  # the failing rows go to quarantine
    BATCH = "batch"  # the batch as a whole is refused
    WARN = "warn"  # nothing is held back, and someone must look
    NOTE = "note"  # it is reported, nothing is held back


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Expectation(_Strict):
    """One Great Expectations check as ``type`` and ``kwargs``."""

    title: str
    type: str
    kwargs: dict[str, Any]
    severity: Severity = Severity.ROW


class Check(_Strict):
    """One check of our own: the title that reports show, and its severity."""

    title: str
    severity: Severity


class ReportSettings(_Strict):
    """How much the page shows."""

    examples: int = Field(ge=0)
    symbols: int = Field(ge=0)


class KindSettings(_Strict):
    """What every kind's file has."""

    expectations: tuple[Expectation, ...]
    checks: dict[str, Check]
    max_failed_share: float = Field(gt=0, le=1)
    failed_share_from: int = Field(ge=1)
    history_sessions: int = Field(ge=0)
    report: ReportSettings


class DailySettings(KindSettings):
    """``config/quality/daily.yaml``."""

    tick_grid_markets: tuple[Market, ...]
    half_tick_from: date
    max_factor: float = Field(gt=1)
    max_wick: float = Field(gt=0)
    odd_move: float = Field(gt=0)
    adjusted_tolerance: float = Field(ge=0)
    adjusted_rounding: int = Field(ge=0)
    excursion_sessions: int = Field(ge=1)
    liquidation_sessions: int = Field(ge=0)
    split_gap: float = Field(gt=0)
    split_tolerance: float = Field(gt=0)
    split_max_value_ratio: float = Field(gt=0)
    value_tolerance: float = Field(gt=0)
    stale_sessions: int = Field(ge=2)
    repeat_min_volume: int = Field(ge=1)
    copied_share: float = Field(gt=0, le=1)
    wild_share: float = Field(gt=0, le=1)
    wild_min_symbols: int = Field(ge=1)
    thin_share: float = Field(gt=0, le=1)
    market_min_symbols: int = Field(ge=1)
    order_score: float = Field(gt=0)
    shift_score: float = Field(gt=0)
    shift_min_symbols: int = Field(ge=2)


class MinuteSettings(KindSettings):
    """``config/quality/minute.yaml``."""

    half_tick_from: date
    tick_grid_markets: tuple[Market, ...]
    late_close_seconds: int = Field(ge=0)
    volume_low: float = Field(gt=0)
    volume_high: float = Field(gt=0)
    price_tolerance: float = Field(ge=0)
    max_move: float = Field(gt=0)
    stale_bars: int = Field(ge=2)
    repeat_min_volume: int = Field(ge=1)
    twin_min_bars: int = Field(ge=1)
    twin_share: float = Field(gt=0, le=1)


class IndexSettings(KindSettings):
    """``config/quality/index.yaml``."""

    off_calendar: tuple[str, ...]
    warm_up: int = Field(ge=2)
    jump_scales: float = Field(gt=1)
    min_jump: float = Field(gt=0)
    mixed_scales: float = Field(gt=1)
    mixed_within: float = Field(gt=0)
    stale_chance: float = Field(gt=0, lt=1)


class FundamentalsSettings(KindSettings):
    """``config/quality/fundamentals.yaml``."""

    bounds: dict[str, tuple[float | None, float | None]]
    steady_metrics: frozenset[str]
    slip_tolerance: float = Field(gt=0)
    slip_factors: tuple[float, ...]
    repeated_metrics: int = Field(ge=2)
    repeated_days: int = Field(ge=1)
    identity_tolerance: float = Field(gt=0)


class QualitySettings(_Strict):
    """All files of ``config/quality``."""

    daily: DailySettings
    minute: MinuteSettings
    index: IndexSettings
    fundamentals: FundamentalsSettings

    def of(self, kind: str) -> KindSettings:
        """Return the settings of one kind of data."""
        found: KindSettings = getattr(self, kind)
        return found


@cache
def shipped_settings() -> QualitySettings:
    """Return the settings that come with the program."""
    return read_settings(shipped_config_dir())


def read_settings(config_dir: Path) -> QualitySettings:
    """Return the settings under ``config_dir``; ``ConfigError`` when a file is not valid."""
    folder = config_dir / "quality"
    return QualitySettings(
        daily=_read(folder / "daily.yaml", DailySettings),
        minute=_read(folder / "minute.yaml", MinuteSettings),
        index=_read(folder / "index.yaml", IndexSettings),
        fundamentals=_read(folder / "fundamentals.yaml", FundamentalsSettings),
    )


def _read(path: Path, model: type[S]) -> S:
    try:
        return model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"설정 파일이 없음: {path}") from None
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"설정 파일 오류: {path}: {error}") from error
