"""The registry of features, their settings, and the matrix that models learn from.

Regimes are apart in ``regimes`` (one number per session, not per name); labels in ``labels``.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading.domain.arrays import FloatArray
from trading.domain.market import AdjustedPanel
from trading.features import factors, indicators, statistics
from trading.features.cross_section import percentile_rank, standard_score
from trading.features.factors import FactorSettings
from trading.features.indicators import Bars
from trading.features.regimes import RegimeSettings

REVISION = 2
"""Raised when a formula changes: models trained on the old one are then refused."""


class FeatureSettings(BaseModel):
    """Windows of the features, in bars; commented in ``config/features.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fast_window: int = Field(default=10, ge=2)
    slow_window: int = Field(default=30, ge=3)
    macd_fast: int = Field(default=12, ge=2)
    macd_slow: int = Field(default=26, ge=3)
    macd_signal: int = Field(default=9, ge=2)
    rsi_window: int = Field(default=14, ge=2)
    bollinger_window: int = Field(default=20, ge=2)
    bollinger_width: float = Field(default=2.0, gt=0)
    mfi_window: int = Field(default=10, ge=2)
    atr_window: int = Field(default=14, ge=2)
    ema_window: int = Field(default=20, ge=2)
    adx_window: int = Field(default=14, ge=2)
    obv_window: int = Field(default=20, ge=2)
    stochastic_window: int = Field(default=14, ge=2)
    stochastic_slow: int = Field(default=3, ge=2)
    stochastic_signal: int = Field(default=3, ge=2)
    volatility_short_window: int = Field(default=20, ge=2)
    volatility_long_window: int = Field(default=60, ge=2)
    range_window: int = Field(default=20, ge=2)
    autocorrelation_window: int = Field(default=60, ge=3)
    beta_window: int = Field(default=252, ge=3)
    drawdown_window: int = Field(default=60, ge=2)
    volume_window: int = Field(default=20, ge=2)
    momentum_window: int = Field(default=252, ge=3)
    momentum_skip: int = Field(default=21, ge=0)
    min_names: int = Field(default=5, ge=2)
    factors: FactorSettings = FactorSettings()
    regime: RegimeSettings = RegimeSettings()

    @model_validator(mode="after")
    def _ordered(self) -> "FeatureSettings":
        if self.fast_window >= self.slow_window:
            raise ValueError("fast_window 는 slow_window 보다 작아야 합니다")
        if self.macd_fast >= self.macd_slow:
            raise ValueError("macd_fast 는 macd_slow 보다 작아야 합니다")
        if self.momentum_skip >= self.momentum_window:
            raise ValueError("momentum_skip 은 momentum_window 보다 작아야 합니다")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One registered feature.

    ``warm_up`` is the number of an instrument's own bars before its first value. Ranks and scores
    need enough names besides, and what is made of fundamentals needs them published.
    """

    name: str
    unit: str
    reference: str
    warm_up: Callable[[FeatureSettings], int]
    compute: Callable[[Bars, FeatureSettings], FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureMatrix:
    """Features by name, ``values`` of shape ``(n_sessions, n_instruments, n_features)``."""

    names: tuple[str, ...]
    values: FloatArray
    fingerprint: str

    def select(self, names: Sequence[str]) -> FloatArray:
        """Return the named features in that order; ``KeyError`` for one that is not here."""
        position = {name: i for i, name in enumerate(self.names)}
        return self.values[:, :, [position[name] for name in names]]


def compute(
    panel: AdjustedPanel | Bars, settings: FeatureSettings, *, rows: slice = slice(None)
) -> FeatureMatrix:
    """Return all registered features; NaN during warm-up, carried over halts.

    Only the sessions ``rows`` are kept: of a wide universe the whole matrix would not fit.
    """
    bars = panel if isinstance(panel, Bars) else Bars(panel)
    kept = len(range(*rows.indices(bars.shape[0])))
    # Feature after feature, each as lines are: none has to be turned over.
    values = np.empty((len(REGISTRY), bars.shape[1], kept))
    for i, feature in enumerate(REGISTRY):
        values[i] = feature.compute(bars, settings)[rows].T
    return FeatureMatrix(
        names=tuple(feature.name for feature in REGISTRY),
        values=values.T,
        fingerprint=fingerprint(settings),
    )


def fingerprint(settings: FeatureSettings) -> str:
    """Return a hash over names, units, warm-ups and windows: what a model must have seen."""
    facts = {
        "revision": REVISION,
        "features": [(f.name, f.unit, f.warm_up(settings)) for f in REGISTRY],
        "settings": settings.model_dump(exclude={"regime"}),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _momentum(bars: Bars, s: FeatureSettings) -> FloatArray:
    return statistics.momentum(bars, s.momentum_window, s.momentum_skip)


def _rank(values: FloatArray, bars: Bars, s: FeatureSettings) -> FloatArray:
    return percentile_rank(values, bars.tradable, min_names=s.min_names)


def _in_sector(values: FloatArray, bars: Bars, s: FeatureSettings) -> FloatArray:
    return standard_score(values, bars.tradable, bars.facts.sectors, min_names=s.min_names)


def _stochastic(bars: Bars, s: FeatureSettings) -> tuple[FloatArray, FloatArray]:
    return indicators.stochastic(bars, s.stochastic_window, s.stochastic_slow, s.stochastic_signal)


def _stochastic_warm_up(s: FeatureSettings) -> int:
    # TA-Lib begins both lines where the slower one has its first value.
    return s.stochastic_window + s.stochastic_slow + s.stochastic_signal - 3


def _factor(name: str, reference: str) -> Feature:
    return Feature(
        name=f"{name}_score",
        unit="standard deviations",
        reference=reference,
        warm_up=lambda s: s.factors.momentum_window if name == "momentum" else 0,
        compute=lambda b, s: factors.factor(b, name, s.factors),
    )


REGISTRY: tuple[Feature, ...] = (
    Feature(
        name="return_1",
        unit="fraction",
        reference="close to close",
        warm_up=lambda s: 1,
        compute=lambda b, s: statistics.simple_return(b, 1),
    ),
    Feature(
        name="return_5",
        unit="fraction",
        reference="Lehmann (1990), QJE 105(1): weekly reversal",
        warm_up=lambda s: 5,
        compute=lambda b, s: statistics.simple_return(b, 5),
    ),
    Feature(
        name="return_20",
        unit="fraction",
        reference="Jegadeesh (1990), JF 45(3): monthly reversal",
        warm_up=lambda s: 20,
        compute=lambda b, s: statistics.simple_return(b, 20),
    ),
    Feature(
        name="momentum",
        unit="fraction",
        reference="Jegadeesh and Titman (1993), JF 48(1)",
        warm_up=lambda s: s.momentum_window,
        compute=_momentum,
    ),
    Feature(
        name="moving_average_gap",
        unit="fraction",
        reference="SMA fast over SMA slow minus 1; TA-Lib SMA",
        warm_up=lambda s: s.slow_window - 1,
        compute=lambda b, s: indicators.average_gap(b, s.fast_window, s.slow_window),
    ),
    Feature(
        name="macd_histogram",
        unit="fraction",
        reference="Appel; TA-Lib MACD over the close",
        warm_up=lambda s: s.macd_slow + s.macd_signal - 2,
        compute=lambda b, s: indicators.macd_histogram(b, s.macd_fast, s.macd_slow, s.macd_signal),
    ),
    Feature(
        name="rsi",
        unit="points 0..100",
        reference="Wilder (1978); TA-Lib RSI",
        warm_up=lambda s: s.rsi_window,
        compute=lambda b, s: indicators.rsi(b, s.rsi_window),
    ),
    Feature(
        name="bollinger_b",
        unit="fraction of the band",
        reference="Bollinger (2001); TA-Lib BBANDS, population sigma",
        warm_up=lambda s: s.bollinger_window - 1,
        compute=lambda b, s: indicators.percent_b(b, s.bollinger_window, s.bollinger_width),
    ),
    Feature(
        name="mfi",
        unit="points 0..100",
        reference="Quong and Soudack (1989); TA-Lib MFI",
        warm_up=lambda s: s.mfi_window,
        compute=lambda b, s: indicators.mfi(b, s.mfi_window),
    ),
    Feature(
        name="atr",
        unit="fraction of the close",
        reference="Wilder (1978); TA-Lib ATR",
        warm_up=lambda s: s.atr_window,
        compute=lambda b, s: indicators.atr_ratio(b, s.atr_window),
    ),
    Feature(
        name="volatility_short",
        unit="fraction per day",
        reference="Andersen and Bollerslev (1998), IER 39(4)",
        warm_up=lambda s: s.volatility_short_window,
        compute=lambda b, s: statistics.realized_volatility(b, s.volatility_short_window),
    ),
    Feature(
        name="volatility_long",
        unit="fraction per day",
        reference="Andersen and Bollerslev (1998), IER 39(4)",
        warm_up=lambda s: s.volatility_long_window,
        compute=lambda b, s: statistics.realized_volatility(b, s.volatility_long_window),
    ),
    Feature(
        name="drawdown",
        unit="fraction",
        reference="close over the highest close of the window minus 1",
        warm_up=lambda s: s.drawdown_window - 1,
        compute=lambda b, s: statistics.drawdown(b, s.drawdown_window),
    ),
    Feature(
        name="volume_ratio",
        unit="times",
        reference="volume over its mean; Gervais, Kaniel and Mingelgrin (2001), JF 56(3)",
        warm_up=lambda s: s.volume_window - 1,
        compute=lambda b, s: statistics.volume_ratio(b, s.volume_window),
    ),
    Feature(
        name="momentum_rank",
        unit="percentile 0..1",
        reference="Jegadeesh and Titman (1993), JF 48(1)",
        warm_up=lambda s: s.momentum_window,
        compute=lambda b, s: _rank(_momentum(b, s), b, s),
    ),
    Feature(
        name="return_5_rank",
        unit="percentile 0..1",
        reference="Lehmann (1990), QJE 105(1)",
        warm_up=lambda s: 5,
        compute=lambda b, s: _rank(statistics.simple_return(b, 5), b, s),
    ),
    Feature(
        name="return_20_rank",
        unit="percentile 0..1",
        reference="Jegadeesh (1990), JF 45(3)",
        warm_up=lambda s: 20,
        compute=lambda b, s: _rank(statistics.simple_return(b, 20), b, s),
    ),
    Feature(
        name="volatility_rank",
        unit="percentile 0..1",
        reference="Ang, Hodrick, Xing and Zhang (2006), JF 61(1)",
        warm_up=lambda s: s.volatility_long_window,
        compute=lambda b, s: _rank(
            statistics.realized_volatility(b, s.volatility_long_window), b, s
        ),
    ),
    Feature(
        name="ema_gap",
        unit="fraction",
        reference="close over its EMA minus 1; TA-Lib EMA",
        warm_up=lambda s: s.ema_window - 1,
        compute=lambda b, s: indicators.ema_gap(b, s.ema_window),
    ),
    Feature(
        name="adx",
        unit="points 0..100",
        reference="Wilder (1978); TA-Lib ADX",
        warm_up=lambda s: 2 * s.adx_window - 1,
        compute=lambda b, s: indicators.adx(b, s.adx_window),
    ),
    Feature(
        name="obv_flow",
        unit="fraction -1..1",
        reference="Granville (1963); TA-Lib OBV, its change per share traded",
        warm_up=lambda s: s.obv_window,
        compute=lambda b, s: indicators.obv_flow(b, s.obv_window),
    ),
    Feature(
        name="stochastic_k",
        unit="points 0..100",
        reference="Lane (1984); TA-Lib STOCH, slow %K",
        warm_up=_stochastic_warm_up,
        compute=lambda b, s: _stochastic(b, s)[0],
    ),
    Feature(
        name="stochastic_d",
        unit="points 0..100",
        reference="Lane (1984); TA-Lib STOCH, slow %D",
        warm_up=_stochastic_warm_up,
        compute=lambda b, s: _stochastic(b, s)[1],
    ),
    Feature(
        name="volatility_downside",
        unit="fraction per day",
        reference="Ang, Chen and Xing (2006), RFS 19(4)",
        warm_up=lambda s: s.volatility_long_window,
        compute=lambda b, s: statistics.downside_volatility(b, s.volatility_long_window),
    ),
    Feature(
        name="volatility_parkinson",
        unit="fraction per day",
        reference="Parkinson (1980), JB 53(1)",
        warm_up=lambda s: s.range_window - 1,
        compute=lambda b, s: statistics.parkinson_volatility(b, s.range_window),
    ),
    Feature(
        name="volatility_garman_klass",
        unit="fraction per day",
        reference="Garman and Klass (1980), JB 53(1)",
        warm_up=lambda s: s.range_window - 1,
        compute=lambda b, s: statistics.garman_klass_volatility(b, s.range_window),
    ),
    Feature(
        name="autocorrelation",
        unit="correlation -1..1",
        reference="Lo and MacKinlay (1990), RFS 3(2): first-order autocorrelation of returns",
        warm_up=lambda s: s.autocorrelation_window + 1,
        compute=lambda b, s: statistics.autocorrelation(b, s.autocorrelation_window),
    ),
    Feature(
        name="beta",
        unit="times the market's return",
        reference="Frazzini and Pedersen (2014), JFE 111(1)",
        warm_up=lambda s: s.beta_window,
        compute=lambda b, s: statistics.market_beta(b, s.beta_window),
    ),
    Feature(
        name="volatility_idiosyncratic",
        unit="fraction per day",
        reference="Ang, Hodrick, Xing and Zhang (2006), JF 61(1)",
        warm_up=lambda s: s.beta_window,
        compute=lambda b, s: statistics.idiosyncratic_volatility(b, s.beta_window),
    ),
    Feature(
        name="momentum_in_sector",
        unit="standard deviations",
        reference="Moskowitz and Grinblatt (1999), JF 54(4): apart from the industry's momentum",
        warm_up=lambda s: s.momentum_window,
        compute=lambda b, s: _in_sector(_momentum(b, s), b, s),
    ),
    Feature(
        name="return_20_in_sector",
        unit="standard deviations",
        reference="Da, Liu and Schaumburg (2014), MS 60(3): reversal within the industry",
        warm_up=lambda s: 20,
        compute=lambda b, s: _in_sector(statistics.simple_return(b, 20), b, s),
    ),
    _factor("value", "Fama and French (1992), JF 47(2)"),
    _factor("quality", "Asness, Frazzini and Pedersen (2019), RAS 24(1)"),
    _factor("momentum", "Jegadeesh and Titman (1993), JF 48(1)"),
    _factor("growth", "Lakonishok, Shleifer and Vishny (1994), JF 49(5)"),
    Feature(
        name="factor_score",
        unit="standard deviations",
        reference="weighted sum of value, quality, momentum and growth",
        warm_up=lambda s: 0,
        compute=lambda b, s: factors.composite(b, s.factors),
    ),
)
