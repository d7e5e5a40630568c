"""Every figure of an equity path and of a run, by name; ``None`` for what cannot be computed.

What each name means stands beside the figure on the page, in ``_templates/tearsheet.yaml``; the
formulas are those of ``measures``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trading import measures
from trading.backtest.record import RunRecord
from trading.backtest.settings import ReportSettings
from trading.domain.arrays import FloatArray, IntArray
from trading.measures import Interval

# Below this many returns an annualized figure says more about luck than about the account.
MIN_RETURNS = 20

Figures = dict[str, float | int | None]


def path_figures(
    equity: Sequence[int] | IntArray | FloatArray, *, periods_per_year: int
) -> Figures:
    """Return the figures of an equity path, one value a session after the starting capital.

    Whatever is annualized, compared or tested is ``None`` with fewer than ``MIN_RETURNS`` returns.
    """
    k = periods_per_year
    values = np.asarray(equity, dtype=np.float64)
    returns = measures.returns_of(values)
    spells = measures.drawdown_spells(values)
    body: dict[str, float | int] = {
        "returns": len(returns),
        "total_return": measures.total_return(values),
        "max_drawdown": measures.max_drawdown(values),
        "longest_drawdown": max((spell.length for spell in spells), default=0),
        "best_session": float(np.max(returns, initial=-math.inf)),
        "worst_session": float(np.min(returns, initial=math.inf)),
        "positive_sessions": measures.hit_rate(returns),
    }
    long: dict[str, Callable[[], float]] = {
        "annual_return": lambda: measures.cagr(values, periods_per_year=k),
        "annual_volatility": lambda: measures.annual_volatility(returns, periods_per_year=k),
        "sharpe": lambda: measures.sharpe(returns, periods_per_year=k),
        "sharpe_lo": lambda: measures.sharpe_lo(returns, periods_per_year=k, lags=_lags(returns)),
        "sharpe_error": lambda: measures.sharpe_error(
            returns, periods_per_year=k, lags=_lags(returns)
        ),
        "sortino": lambda: measures.sortino(returns, periods_per_year=k),
        "calmar": lambda: measures.calmar(values, periods_per_year=k),
        "omega": lambda: measures.omega(returns),
        "tail_ratio": lambda: measures.tail_ratio(returns),
        "skewness": lambda: measures.skewness(returns),
        "kurtosis": lambda: measures.kurtosis(returns),
        "var_95": lambda: measures.historical_var(returns),
        "es_95": lambda: measures.historical_es(returns),
        "psr": lambda: _psr(returns),
        "min_track_record": lambda: _min_track_record(returns),
    }
    is_long = len(returns) >= MIN_RETURNS
    return {name: measures.known(value) for name, value in body.items()} | {
        name: measures.known(compute()) if is_long else None for name, compute in long.items()
    }


def run_figures(record: RunRecord) -> Figures:
    """Return the figures of a run: its path, trades, costs, and what it is worth to a benchmark."""
    return (
        path_figures(record.path(), periods_per_year=record.sessions_per_year)
        | _deflated(record)
        | _activity(record)
        | _against(record)
    )


def benchmark_path(returns: FloatArray) -> FloatArray:
    """Return the path of returns from 1 on; NaN from the first unknown one."""
    return np.concatenate(([1.0], np.cumprod(1.0 + returns)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How intervals are drawn: their level, how often, and from which seed."""

    level: float = 0.95
    repetitions: int = 1000
    seed: int = 20

    @classmethod
    def of(cls, settings: ReportSettings) -> "Sampling":
        """Return how the reports of these settings draw."""
        return cls(level=settings.level, repetitions=settings.repetitions, seed=settings.seed)

    def interval(
        self,
        values: FloatArray,
        statistic: Callable[[FloatArray], float],
        *,
        is_serial: bool = True,
    ) -> Interval:
        """Return the interval of a statistic; of values in time by blocks, else one by one."""
        return measures.bootstrap_interval(
            values,
            statistic,
            level=self.level,
            repetitions=self.repetitions,
            rng=np.random.default_rng(self.seed),
            method="stationary" if is_serial else "bca",
        )


def difference(
    returns: FloatArray, other: FloatArray, sampling: Sampling, *, periods_per_year: int
) -> Interval:
    """Return how much more a year ``returns`` earned on average than ``other``, as a fraction.

    Pairs are drawn together, in blocks. All NaN when one of them is unknown somewhere.
    """
    apart = returns - other
    if len(apart) < MIN_RETURNS or not np.all(np.isfinite(apart)):
        return Interval(
            value=math.nan, low=math.nan, high=math.nan, level=sampling.level, block=math.nan
        )
    return sampling.interval(apart, lambda drawn: float(np.mean(drawn)) * periods_per_year)


def verdict(interval: Interval) -> str:
    """Return ``better``, ``worse``, ``same`` (not to be told apart) or ``unknown``.

    Never apart at all is ``same``: there is nothing to tell.
    """
    if interval.value == 0.0:
        return "same"
    if not math.isfinite(interval.low):
        return "unknown"
    return "better" if interval.low > 0 else "worse" if interval.high < 0 else "same"


def intervals(record: RunRecord, sampling: Sampling) -> Mapping[str, Interval]:
    """Return the intervals of the figures that have one; those of trades draw single trades."""
    k = record.sessions_per_year
    returns = record.returns()
    if len(returns) < MIN_RETURNS:
        return {}
    serial: dict[str, Callable[[FloatArray], float]] = {
        "annual_return": lambda r: measures.cagr(benchmark_path(r), periods_per_year=k),
        "annual_volatility": lambda r: measures.annual_volatility(r, periods_per_year=k),
        "sharpe": lambda r: measures.sharpe(r, periods_per_year=k),
        "sortino": lambda r: measures.sortino(r, periods_per_year=k),
        "max_drawdown": lambda r: measures.max_drawdown(benchmark_path(r)),
    }
    found = {name: sampling.interval(returns, one) for name, one in serial.items()}
    matched = record.matched_returns()
    if np.all(np.isfinite(matched)):
        pair = np.column_stack((returns, matched))
        found["excess_return"] = difference(returns, matched, sampling, periods_per_year=k)
        found["information_ratio"] = sampling.interval(
            pair, lambda p: measures.information_ratio(p[:, 0], p[:, 1], periods_per_year=k)
        )
        found["alpha"] = sampling.interval(pair, lambda p: _line(p)[0] * k)
        found["beta"] = sampling.interval(pair, lambda p: _line(p)[1])
    outcomes = _outcomes(record)
    for name, one in (
        ("hit_rate", measures.hit_rate),
        ("mean_trade", lambda drawn: float(np.mean(drawn))),
    ):
        if len(outcomes) >= MIN_RETURNS:
            found[name] = sampling.interval(outcomes, one, is_serial=False)
    return found


def _activity(record: RunRecord) -> Figures:
    years = len(record.sessions) / record.sessions_per_year
    closed = [trade for trade in record.trades if trade.exit is not None]
    outcomes = _outcomes(record)
    traded = sum(fill.amount for fill in record.fills)
    commission = sum(fill.commission for fill in record.fills)
    tax = sum(fill.tax for fill in record.fills)
    mean_equity = float(np.mean(record.equity))
    exposure = record.exposure()
    body: dict[str, float | int] = {
        "exposure": float(np.mean(exposure)),
        "max_exposure": float(np.max(exposure)),
        "turnover": traded / 2.0 / mean_equity / years,
        "traded": traded,
        "commission": commission,
        "tax": tax,
        "income": record.income,
        "cost_drag": (commission + tax) / mean_equity / years,
        "cost_bps": 10_000.0 * (commission + tax) / traded if traded else math.nan,
        "trades": len(closed),
        "open_trades": len(record.trades) - len(closed),
        "hit_rate": measures.hit_rate(outcomes),
        "payoff_ratio": measures.payoff_ratio(outcomes),
        "profit_factor": measures.profit_factor(
            np.array([trade.profit for trade in closed], dtype=np.float64)
        ),
        "mean_trade": float(np.mean(outcomes)) if len(outcomes) else math.nan,
        "holding_sessions": float(np.mean([t.sessions for t in closed])) if closed else math.nan,
    }
    return {name: measures.known(value) for name, value in body.items()}


def _against(record: RunRecord) -> Figures:
    k = record.sessions_per_year
    returns, matched = record.returns(), record.matched_returns()
    universe, index = record.universe_returns(), record.index_returns()
    path = benchmark_path(matched)
    is_long = len(returns) >= MIN_RETURNS and bool(np.all(np.isfinite(matched)))
    line = measures.regression(returns, matched, periods_per_year=k) if is_long else None
    body: dict[str, float] = {
        "benchmark_total_return": measures.total_return(path),
        "benchmark_max_drawdown": measures.max_drawdown(path),
        "universe_total_return": measures.total_return(benchmark_path(universe)),
        "index_total_return": measures.total_return(benchmark_path(index)),
    }
    if line is not None:
        body |= {
            "benchmark_annual_return": measures.cagr(path, periods_per_year=k),
            "benchmark_volatility": measures.annual_volatility(matched, periods_per_year=k),
            "benchmark_sharpe": measures.sharpe(matched, periods_per_year=k),
            "excess_return": float(np.mean(returns - matched)) * k,
            "tracking_error": measures.annual_volatility(returns - matched, periods_per_year=k),
            "information_ratio": measures.information_ratio(returns, matched, periods_per_year=k),
            "alpha": line.alpha,
            "alpha_t": line.alpha_t,
            "beta": line.beta,
            "r_squared": line.r_squared,
        }
    return dict.fromkeys(_COMPARED) | {n: measures.known(value) for n, value in body.items()}


_COMPARED = (
    "benchmark_annual_return", "benchmark_volatility", "benchmark_sharpe", "excess_return",
    "tracking_error", "information_ratio", "alpha", "alpha_t", "beta", "r_squared",
)  # fmt: skip


def _outcomes(record: RunRecord) -> FloatArray:
    """Return what each closed trade made of its money."""
    return np.array([t.fraction for t in record.trades if t.exit is not None], dtype=np.float64)


def _lags(returns: FloatArray) -> int:
    # The usual rule of thumb, that of measures.regression.
    return int(4.0 * (len(returns) / 100.0) ** (2.0 / 9.0))


def _psr(returns: FloatArray) -> float:
    return measures.probabilistic_sharpe(
        measures.period_sharpe(returns),
        len(returns),
        skew=measures.skewness(returns),
        kurt=measures.kurtosis(returns),
    )


def _min_track_record(returns: FloatArray) -> float:
    return measures.min_track_record(
        measures.period_sharpe(returns),
        skew=measures.skewness(returns),
        kurt=measures.kurtosis(returns),
    )


def _deflated(record: RunRecord) -> Figures:
    """Return the DSR by all trials and by the independent ones they are worth.

    The Sharpe ratios of worthless trials vary by 1 / (n - 1) per session.
    """
    found: Figures = {"deflated_sharpe": None, "deflated_sharpe_effective": None}
    returns = record.returns()
    if record.trials is None or len(returns) < MIN_RETURNS:
        return found
    for name, count in zip(found, (record.trials.distinct, record.trials.effective), strict=True):
        found[name] = measures.known(
            measures.deflated_sharpe(
                measures.period_sharpe(returns),
                len(returns),
                trials=count,
                variance=1.0 / (len(returns) - 1),
                skew=measures.skewness(returns),
                kurt=measures.kurtosis(returns),
            )
        )
    return found


def _line(pair: FloatArray) -> tuple[float, float]:
    """Return intercept and slope of the first column on the second, as ``measures.regression``."""
    y, x = pair[:, 0], pair[:, 1]
    centered = x - np.mean(x)
    spread = float(np.sum(centered * centered))
    beta = float(np.sum(centered * y)) / spread if spread > 0 else math.nan
    return float(np.mean(y)) - beta * float(np.mean(x)), beta
