"""Measures of an equity path, of a track record and of a forecast; splits of a history.

Returns are fractions per period, one value a period, without NaN. Losses and drawdowns are
positive numbers. What cannot be computed is NaN, never 0. Risk forecasts for limits are in
``trading.risk.var``; docs/measures.md has every definition in one place.
"""

from trading.measures.against import (
    Regression,
    exposure_matched,
    information_ratio,
    long_run_variance,
    regression,
)
from trading.measures.evidence import (
    Interval,
    block_length,
    bootstrap_interval,
    deflated_sharpe,
    expected_max_sharpe,
    min_track_record,
    probabilistic_sharpe,
    sharpe_error,
    sharpe_lo,
    sharpe_scale,
)
from trading.measures.forecasts import Reliability, information_coefficient, reliability
from trading.measures.outcomes import attribution, hit_rate, payoff_ratio, profit_factor
from trading.measures.path import (
    Drawdown,
    annual_volatility,
    cagr,
    calmar,
    drawdown,
    drawdown_spells,
    historical_es,
    historical_var,
    known,
    kurtosis,
    max_drawdown,
    omega,
    period_sharpe,
    returns_of,
    sharpe,
    skewness,
    sortino,
    tail_ratio,
    total_return,
    turnover,
)
from trading.measures.splits import Split, combinatorial_splits, recombined

__all__ = [
    "Drawdown",
    "Interval",
    "Regression",
    "Reliability",
    "Split",
    "annual_volatility",
    "attribution",
    "block_length",
    "bootstrap_interval",
    "cagr",
    "calmar",
    "combinatorial_splits",
    "deflated_sharpe",
    "drawdown",
    "drawdown_spells",
    "expected_max_sharpe",
    "exposure_matched",
    "historical_es",
    "historical_var",
    "hit_rate",
    "information_coefficient",
    "information_ratio",
    "known",
    "kurtosis",
    "long_run_variance",
    "max_drawdown",
    "min_track_record",
    "omega",
    "payoff_ratio",
    "period_sharpe",
    "probabilistic_sharpe",
    "profit_factor",
    "recombined",
    "regression",
    "reliability",
    "returns_of",
    "sharpe",
    "sharpe_error",
    "sharpe_lo",
    "sharpe_scale",
    "skewness",
    "sortino",
    "tail_ratio",
    "total_return",
    "turnover",
]
