"""Which instruments exist on a session, and what is known about them without a data vendor.

Screening by price, liquidity or factors belongs to ``strategies.screener``.
"""

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trading.domain.instrument import Exchange, Market
from trading.domain.rules import shipped_config_dir
from trading.errors import ConfigError

_FILE = "universe.yaml"


class InstrumentFact(BaseModel):
    """What is known of an instrument whose data source does not say it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange: Exchange
    name: str
    sector: str | None = None


class UniverseSettings(BaseModel):
    """``config/universe.yaml``: exchanges traded, benchmarks, and facts of single instruments."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchanges: dict[Market, tuple[Exchange, ...]]
    benchmark: dict[Market, str]
    instruments: dict[str, InstrumentFact] = Field(default_factory=dict)

    def exchange(self, symbol: str) -> Exchange:
        """Return the listing exchange; ``ConfigError`` when no fact names it."""
        try:
            return self.instruments[symbol].exchange
        except KeyError:
            raise ConfigError(
                f"{symbol}의 거래소를 알 수 없음: config/{_FILE}의 instruments에 적어 주세요"
            ) from None


@cache
def shipped_universe() -> UniverseSettings:
    """Return the universe file that comes with the program."""
    return read_universe(shipped_config_dir() / _FILE)


def read_universe(path: Path) -> UniverseSettings:
    """Return the settings in ``path``; ``ConfigError`` when they are not valid."""
    try:
        return UniverseSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"설정 파일이 없음: {path}") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"설정 파일 오류: {path}: {error}") from error
