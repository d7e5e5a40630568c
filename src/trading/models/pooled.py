"""Learners that look at returns alone: one process for the returns of all names.

Each name's returns are measured in its own volatility, so that one set of numbers serves all of
them. The processes are in ``arima``, ``garch``, ``hmm`` and ``level``; this is what they share:
their windows, when they abstain, how wide their interval is.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray, IntArray
from trading.domain.wording import model_text
from trading.errors import ModelError
from trading.models.base import Dataset, ReturnsSettings, purged_tail
from trading.models.validation import newey_west_t

_RETURN, _VOLATILITY = "return_1", "volatility_long"
_LEAST_ROWS = 20


class Process(Protocol):
    """How returns in units of a volatility follow each other.

    ``scaled_at`` says whose volatility that is: of the window's newest session (-1), or of its
    first (0), which knows nothing yet of the returns that are measured by it.
    """

    scaled_at: ClassVar[int]

    @property
    def tensors(self) -> Mapping[str, NDArray[Any]]:
        """Every number by name."""
        ...

    def log_density(self, u: FloatArray, own: int) -> FloatArray:
        """Return the mean log density of the last ``own`` returns of each window, given the rest."""
        ...

    def ahead(self, u: FloatArray, horizon: int) -> tuple[FloatArray, FloatArray]:
        """Return what each window adds to the sum of the next ``horizon`` returns, and its spread.

        Both of shape ``(n_windows,)``; the mean that they have anyway is left out.
        """
        ...


class Estimate(Protocol):
    """What finds a process."""

    def __call__(
        self, u: FloatArray, own: int, like: Process | None = None
    ) -> tuple[Process, Process]:
        """Return the process of these windows, and the same without any expectation.

        It is judged by the last ``own`` returns of each window. What is chosen rather than fitted
        (an order) is as in ``like``, where one is given.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecaster:
    """A process, and where in a window its returns are.

    ``columns`` are those of the daily return and of its volatility, ``half_width`` is that of the
    interval of a forecast in units of its spread, ``least`` the forecast in the same units below
    which the model abstains: infinite where the past explains nothing.
    """

    process: Process
    columns: IntArray
    horizon: IntArray
    half_width: FloatArray
    least: FloatArray

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every array by name."""
        return {
            "columns": self.columns,
            "horizon": self.horizon,
            **self.process.tensors,
            "half_width": self.half_width,
            "least": self.least,
        }

    @classmethod
    def of(
        cls,
        process: Callable[..., Process],
        columns: IntArray,
        horizon: IntArray,
        half_width: FloatArray,
        least: FloatArray,
        **own: NDArray[Any],
    ) -> "Forecaster":
        """Return the model with these ``tensors``."""
        return cls(
            process=process(**own),
            columns=columns,
            horizon=horizon,
            half_width=half_width,
            least=least,
        )

    def predict(self, x: FloatArray) -> FloatArray:
        """Return what the past returns add to the next ones, NaN where that is next to nothing.

        ``x`` has shape ``(n_rows, window, n_features)``.
        """
        mean, spread, scale = self._ahead(x)
        return np.where(np.abs(mean) >= float(self.least[0]) * spread, scale * mean, np.nan)

    def interval(self, x: FloatArray) -> FloatArray:
        """Return the half-width of each row's forecast interval, as a fraction."""
        _, spread, scale = self._ahead(x)
        width: FloatArray = scale * float(self.half_width[0]) * spread
        return width

    def _ahead(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        returns, volatility = (x[:, :, column] for column in self.columns)
        u, scale = _measured(returns, volatility, self.process.scaled_at)
        return *self.process.ahead(u, int(self.horizon[0])), scale


@dataclass(frozen=True, slots=True)
class Pooled:
    """The learner of a process."""

    family: str
    settings: ReturnsSettings
    estimate: Estimate
    scaled_at: int

    @property
    def window(self) -> int:
        """Sessions of returns that one forecast looks at."""
        return self.settings.window

    def fit(self, data: Dataset, at: IntArray, *, seed: int) -> Forecaster:
        """Return the process fitted on the rows ``at``; nothing is drawn, ``seed`` changes nothing.

        On the last sessions, purged of what the others looked at, the log likelihood of the next
        return must gain over that of the same process without expectations by ``min_gain_t``
        standard errors of its mean over sessions (names of a session are one observation: they
        move together), and that of the labels by ``min_outcome_t`` (who knows a little of tomorrow
        need not know of the month); otherwise the model abstains from everything. The labels
        also set the width of the interval: a quantile of the errors over the process' own spread.

        Raises
        ------
        ModelError
            If there are too few sessions to split, if too few names move, or if returns or
            volatility are no features.

        References
        ----------
        .. [1] Diebold, F. and Mariano, R. (1995). "Comparing Predictive Accuracy." Journal of
           Business and Economic Statistics, 13(3), 253-263.
        .. [2] Lei, J. et al. (2018). "Distribution-Free Predictive Inference for Regression."
           Journal of the American Statistical Association, 113(523), 1094-1111.
        """
        missing = {_RETURN, _VOLATILITY} - set(data.feature_names)
        if missing:
            name = model_text(self.family)
            raise ModelError(f"{name}에 필요한 특성이 없음: {', '.join(sorted(missing))}")
        columns = np.array([data.feature_names.index(n) for n in (_RETURN, _VOLATILITY)])
        taught, held = purged_tail(data, at, share=self.settings.validation_share)
        dates = np.unique(data.row[at])
        # Windows overlap: of each only the sessions count that the one before does not have.
        own = min(self.window // 2, int(np.median(np.diff(dates))) if len(dates) > 1 else 1)
        early, _, _ = self._moving(data, taught, columns)
        late, scale, rows = self._moving(data, held, columns)
        process, null = self.estimate(early, own)

        def t_of(gain: FloatArray, lags: int) -> float:
            by_session = [gain[data.row[rows] == row].mean() for row in np.unique(data.row[rows])]
            return newey_west_t(np.array(by_session), lags=lags)

        mean, spread = process.ahead(late, data.horizon)
        earned = data.excess[rows] / scale
        missed = np.abs(earned - mean) / spread
        next_gain = process.log_density(late, own) - null.log_density(late, own)
        label_gain = 0.5 * ((earned / spread) ** 2 - missed**2)
        explains = (
            t_of(next_gain, lags=0) > self.settings.min_gain_t
            # Labels overlap where sessions are nearer than they reach.
            and t_of(label_gain, lags=-(-data.horizon // own) - 1) > self.settings.min_outcome_t
        )
        width = float(np.quantile(missed, self.settings.coverage))

        everything, _, _ = self._moving(data, at, columns)
        return Forecaster(
            process=self.estimate(everything, own, process)[0],
            columns=columns,
            horizon=np.array([data.horizon], dtype=np.int64),
            half_width=np.array([width]),
            least=np.array([self.settings.abstain_share * width if explains else math.inf]),
        )

    def _moving(
        self, data: Dataset, at: IntArray, columns: IntArray
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return the windows of those rows ``at`` whose name has a volatility, and those rows."""
        returns, volatility = (data.x[at, :, column] for column in columns)
        u, scale = _measured(returns, volatility, self.scaled_at)
        known = np.isfinite(u).all(axis=1)
        if known.sum() < _LEAST_ROWS:
            raise ModelError(
                f"가격이 움직인 종목이 부족함: {int(known.sum())}행 (최소 {_LEAST_ROWS}행)"
            )
        return u[known], scale[known], at[known]


def _measured(
    returns: FloatArray, volatility: FloatArray, scaled_at: int
) -> tuple[FloatArray, FloatArray]:
    """Return each window's returns in units of one of its volatilities, and that volatility."""
    scale = volatility[:, scaled_at].astype(np.float64)
    # A name that did not move for months has nothing to forecast.
    scale = np.where(scale > 0.0, scale, np.nan)
    # The return of the session whose volatility measures the others is part of it.
    measured = returns.astype(np.float64)[:, scaled_at + 1 :]
    return np.ascontiguousarray(measured / scale[:, None]), scale
