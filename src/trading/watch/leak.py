"""Whether something grows while it should not: a slope and how sure it is."""

from dataclasses import dataclass

import numpy as np

from trading.domain.arrays import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How fast a figure has grown, an hour, and the standard error of that; ``hours`` watched.

    ``lesser`` is the slope of the half in which it grew less: about 0 for what grew once and stayed.
    """

    slope: float
    error: float
    lesser: float
    samples: int
    hours: float

    def grows(self, *, beyond: float, errors: float) -> bool:
        """Whether it grows by more than ``beyond`` an hour, and by so many standard errors.

        What is loaded once, as a market opens, is no leak, however steep the line through it.
        """
        return min(self.slope, self.lesser) > beyond and self.slope > errors * self.error


def trend(seconds: FloatArray, values: FloatArray) -> Trend:
    """Return the least-squares slope of ``values`` over ``seconds``, both of shape (n_samples,).

    The standard error allows for neighbours that are alike (Bartlett weights up to the square
    root of the samples apart): a program takes memory in steps and keeps it.

    Raises ``ValueError`` below three samples or without time between them.

    References
    ----------
    .. [1] Newey, W. K. and West, K. D. (1987). "A Simple, Positive Semi-definite,
       Heteroskedasticity and Autocorrelation Consistent Covariance Matrix." Econometrica, 55(3),
       703-708.
    """
    n = len(values)
    hours = (seconds - seconds.mean()) / 3600.0
    spread = float(hours @ hours)
    if n < 3 or spread == 0.0:
        raise ValueError("a slope needs three samples at different times")
    slope = float(hours @ values) / spread
    moments = hours * (values - values.mean() - slope * hours)
    variance = float(moments @ moments)
    lags = int(np.sqrt(n))
    for lag in range(1, lags + 1):
        weight = 1.0 - lag / (lags + 1.0)
        variance += 2.0 * weight * float(moments[lag:] @ moments[:-lag])
    halves = slice(None, n // 2 + 1), slice(n // 2, None)
    return Trend(
        slope=slope,
        lesser=min(float(np.polyfit(hours[half], values[half], 1)[0]) for half in halves),
        error=float(np.sqrt(max(variance, 0.0))) / spread,
        samples=n,
        hours=float(seconds[-1] - seconds[0]) / 3600.0,
    )
