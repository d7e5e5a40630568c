"""ARIMA as a learner: one autoregressive moving average of the returns of all names.

Each name's returns are measured in its own volatility, so that one set of coefficients serves all
of them. The exact-likelihood ARIMA of a single series is in ``timeseries``.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray, IntArray
from trading.errors import ModelError
from trading.models.base import ArimaSettings, Dataset, purged_tail
from trading.models.validation import newey_west_t

_RETURN, _VOLATILITY = "return_1", "volatility_long"
# Roots stay outside the unit circle by this much: what happened is forgotten within the window.
_LARGEST = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arma:
    """Coefficients, and where in a window the returns are; everything is an array to be saved.

    ``columns`` are those of the daily return and of its volatility, ``half_width`` is that of the
    interval of a forecast in units of the volatility over the horizon, ``least`` the forecast in
    the same units below which the model abstains: infinite where the coefficients explain nothing.
    """

    columns: IntArray
    horizon: IntArray
    mean: FloatArray
    ar: FloatArray
    ma: FloatArray
    half_width: FloatArray
    least: FloatArray

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every array by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def predict(self, x: FloatArray) -> FloatArray:
        r"""Return what the past returns add to the next ones, NaN where that is next to nothing.

        .. math:: \hat y = \sigma \sum_{k=1}^{h} \mathrm{E}[u_{t+k}] - \mu, \qquad
                  u_t - \mu = \sum_i \varphi_i (u_{t-i} - \mu) + \sum_j \theta_j e_{t-j} + e_t

        ``x`` has shape ``(n_rows, window, n_features)``; :math:`u` is the return over the
        volatility :math:`\sigma` at the end of the window.
        """
        u, scale = _in_volatility(x, self.columns)
        return scale * _ahead(
            u, float(self.mean[0]), self.ar, self.ma, int(self.horizon[0]),
            float(self.least[0]) * math.sqrt(float(self.horizon[0])),
        )  # fmt: skip

    def interval(self, x: FloatArray) -> FloatArray:
        """Return the half-width of each row's forecast interval, as a fraction."""
        _, scale = _in_volatility(x, self.columns)
        width: FloatArray = scale * float(self.half_width[0]) * math.sqrt(float(self.horizon[0]))
        return width


@dataclass(frozen=True, slots=True)
class Arima:
    """The learner."""

    settings: ArimaSettings
    family: str = "arima"

    @property
    def window(self) -> int:
        """Sessions of returns that one forecast looks at."""
        return self.settings.window

    def fit(self, data: Dataset, at: IntArray, *, seed: int) -> Arma:
        """Return the coefficients of the order that the earlier rows prefer, fitted on all rows.

        Nothing is drawn: ``seed`` changes nothing. On the last sessions, purged of what the others
        looked at, the log likelihood must gain over that of white noise by ``min_gain_t`` standard
        errors of its mean over sessions (names of a session are one observation: they move
        together); otherwise the model abstains from everything. Their outcomes also set the width
        of the interval.

        References
        ----------
        .. [1] Box, G. and Jenkins, G. (1976). "Time Series Analysis: Forecasting and Control."
        .. [2] Diebold, F. and Mariano, R. (1995). "Comparing Predictive Accuracy." Journal of
           Business and Economic Statistics, 13(3), 253-263.

        Raises
        ------
        ModelError
            If there are too few sessions to split, or returns or volatility are no features.
        """
        missing = {_RETURN, _VOLATILITY} - set(data.feature_names)
        if missing:
            raise ModelError(f"ARIMA에 필요한 특성이 없음: {', '.join(sorted(missing))}")
        names = data.feature_names
        columns = np.array([names.index(_RETURN), names.index(_VOLATILITY)], dtype=np.int64)
        taught, held = purged_tail(data, at, share=self.settings.validation_share)
        dates = np.unique(data.row[at])
        # Windows overlap: of each only the sessions count that the one before does not have.
        own = min(self.window // 2, int(np.median(np.diff(dates))) if len(dates) > 1 else 1)
        early, _ = _in_volatility(data.x[taught], columns)
        late, scale = _in_volatility(data.x[held], columns)
        mean = float(early[:, -own:].mean())
        found = [_fitted(early, mean, p, q, own) for p, q in self.settings.orders]
        n = len(taught) * own
        information = [
            n * math.log(variance) + (len(ar) + len(ma)) * math.log(n) for ar, ma, variance in found
        ]
        ar, ma, variance = found[int(np.argmin(information))]
        null = float(np.mean((early[:, -own:] - mean) ** 2))
        surprise = _residuals(late, mean, ar, ma)[:, -own:]
        gain = (
            0.5 * math.log(null / variance)
            + 0.5 * (late[:, -own:] - mean) ** 2 / null
            - 0.5 * surprise**2 / variance
        ).mean(axis=1)
        of_session = [gain[data.row[held] == row].mean() for row in np.unique(data.row[held])]
        explains = newey_west_t(np.array(of_session), lags=0) > self.settings.min_gain_t
        forecast = _ahead(late, mean, ar, ma, data.horizon, 0.0)
        missed = np.abs(data.excess[held] / scale - forecast) / math.sqrt(data.horizon)
        width = float(np.quantile(missed, self.settings.coverage))
        everything, _ = _in_volatility(data.x[at], columns)
        ar, ma, _ = _fitted(everything, mean, len(ar), len(ma), own)
        return Arma(
            columns=columns,
            horizon=np.array([data.horizon], dtype=np.int64),
            mean=np.array([mean]),
            ar=ar,
            ma=ma,
            half_width=np.array([width]),
            least=np.array([self.settings.abstain_share * width if explains else math.inf]),
        )


def _in_volatility(x: FloatArray, columns: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return each window's returns in units of the volatility at its end, and that volatility."""
    returns = x[:, :, columns[0]].astype(np.float64)
    scale = x[:, -1, columns[1]].astype(np.float64)
    # A name that did not move for months has nothing to forecast.
    scale = np.where(scale > 0.0, scale, np.nan)
    return np.ascontiguousarray(returns / scale[:, None]), scale


def _fitted(
    u: FloatArray, mean: float, p: int, q: int, own: int
) -> tuple[FloatArray, FloatArray, float]:
    """Return the coefficients with the least squared surprises in the last ``own`` sessions."""
    from scipy.optimize import minimize

    moving = u[np.isfinite(u).all(axis=1)]

    def squares(partial: FloatArray) -> float:
        ar, ma = _coefficients(partial[:p]), -_coefficients(partial[p:])
        return float(np.mean(_residuals(moving, mean, ar, ma)[:, -own:] ** 2))

    # Partial autocorrelations inside the unit interval are all that is stationary and invertible.
    best = minimize(
        squares, np.zeros(p + q), method="L-BFGS-B", bounds=[(-_LARGEST, _LARGEST)] * (p + q)
    )
    return _coefficients(best.x[:p]), -_coefficients(best.x[p:]), float(best.fun)


def _coefficients(partial: FloatArray) -> FloatArray:
    """Return the autoregressive coefficients of these partial autocorrelations (Durbin-Levinson)."""
    found = np.zeros(0)
    for r in partial:
        found = np.append(found - r * found[::-1], r)
    return found


@njit(cache=True)
def _residuals(u: FloatArray, mean: float, ar: FloatArray, ma: FloatArray) -> FloatArray:
    """Return what each return was beyond its expectation; nothing was before the window."""
    n, window = u.shape
    e = np.zeros((n, window))
    for i in range(n):
        for t in range(window):
            expected = 0.0
            for k in range(len(ar)):
                if t > k:
                    expected += ar[k] * (u[i, t - 1 - k] - mean)
            for k in range(len(ma)):
                if t > k:
                    expected += ma[k] * e[i, t - 1 - k]
            e[i, t] = u[i, t] - mean - expected
    return e


@njit(cache=True)
def _ahead(
    u: FloatArray, mean: float, ar: FloatArray, ma: FloatArray, horizon: int, least: float
) -> FloatArray:
    """Return the sum of the expected deviations of the next ``horizon``; NaN if below ``least``."""
    e = _residuals(u, mean, ar, ma)
    n, window = u.shape
    out = np.empty(n)
    ahead = np.empty(horizon)
    for i in range(n):
        total = 0.0
        for h in range(horizon):
            expected = 0.0
            for k in range(len(ar)):
                expected += ar[k] * (ahead[h - 1 - k] if h > k else u[i, window + h - 1 - k] - mean)
            for k in range(len(ma)):
                if h <= k:
                    expected += ma[k] * e[i, window + h - 1 - k]
            ahead[h] = expected
            total += expected
        out[i] = total if abs(total) >= least else np.nan
    return out
