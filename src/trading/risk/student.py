"""The normal and the Student distribution: tails, fit, information; compiled where decisions go.

What is made of them is ``risk.var``.
"""

import math
from typing import Final

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray

# Below 2 a Student distribution has no variance; above 100 it is the normal one to three digits.
NU_MIN: Final = 2.01
NU_MAX: Final = 100.0


@njit(cache=True)
def normal_tail(level: float) -> tuple[float, float]:
    """Return VaR and expected shortfall of the standard normal distribution."""
    z = _normal_quantile(1.0 - level)
    return z, math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) / (1.0 - level)


@njit(cache=True)
def student_tail(nu: float, level: float) -> tuple[float, float]:
    r"""Return VaR and expected shortfall of the standard Student distribution.

    .. math:: ES = \frac{f_\nu(t)}{1 - \alpha}\,\frac{\nu + t^2}{\nu - 1}

    Its variance is :math:`\nu/(\nu - 2)`, not 1: multiply by the scale of ``fit_student``, or by
    :math:`\sigma\sqrt{(\nu-2)/\nu}` where the standard deviation :math:`\sigma` is what is known.

    References
    ----------
    .. [1] McNeil, A., Frey, R. and Embrechts, P. (2015). Quantitative Risk Management, 2nd ed.,
       Example 2.15.
    """
    t = _student_quantile(1.0 - level, nu)
    density = math.exp(_student_log_density(t, nu))
    return t, density / (1.0 - level) * (nu + t * t) / (nu - 1.0)


@njit(cache=True, nogil=True)
def fit_student(sample: FloatArray) -> tuple[float, float, float]:
    r"""Return ``(nu, location, scale)`` of a Student distribution by maximum likelihood.

    Parameters
    ----------
    sample : ndarray of shape (n,)
        Without NaN.

    Returns
    -------
    tuple of float
        ``nu`` within ``NU_MIN`` and ``NU_MAX``; ``scale`` is not the standard deviation (see
        ``student_tail``). A sample of which half or more is one and the same value has no
        maximum: it gets ``NU_MAX``, its mean and its standard deviation.

    Notes
    -----
    For each ``nu`` location and scale come from the parameter-expanded EM algorithm, whose
    scale step divides by the sum of the weights instead of ``n`` and therefore needs far fewer
    steps [1]_. By the envelope theorem the slope of the likelihood so profiled is its partial
    derivative in ``nu``, whose zero a bracketed secant finds (Illinois rule).

    References
    ----------
    .. [1] Liu, C., Rubin, D. and Wu, Y. N. (1998). "Parameter Expansion to Accelerate EM: The
       PX-EM Algorithm." Biometrika, 85(4), 755-770.
    """
    return fit_ordered(np.sort(sample))


@njit(cache=True, nogil=True)
def fit_ordered(ordered: FloatArray) -> tuple[float, float, float]:
    """Return ``fit_student`` of a sample that is already in rising order."""
    n = ordered.shape[0]
    mean, sigma = moments(ordered)
    middle = ordered[n // 2]
    same = np.searchsorted(ordered, middle, side="right") - np.searchsorted(ordered, middle)
    if not sigma > 0.0 or 2 * same >= n:
        return NU_MAX, mean, sigma
    lowest, highest = math.log(NU_MIN), math.log(NU_MAX)
    location, variance = middle, 0.5 * sigma * sigma
    u = math.log(5.0)
    slope, location, variance = _profile(ordered, math.exp(u), location, variance)
    # Widen the step until the slope changes its sign or a bound is the answer.
    step = 0.5 if slope > 0.0 else -0.5
    other, other_slope = u, slope
    while other_slope * slope > 0.0:
        if other in (lowest, highest):
            return math.exp(other), location, math.sqrt(variance)
        u, slope = other, other_slope
        other = min(max(other + step, lowest), highest)
        step *= 1.6
        other_slope, location, variance = _profile(ordered, math.exp(other), location, variance)
    for _ in range(100):
        if other_slope == slope:
            break
        new = other - other_slope * (other - u) / (other_slope - slope)
        new_slope, location, variance = _profile(ordered, math.exp(new), location, variance)
        if new_slope * other_slope < 0.0:
            u, slope = other, other_slope
        else:
            slope *= 0.5
        moved = abs(new - other)
        other, other_slope = new, new_slope
        if moved < 1e-8:
            break
    return math.exp(other), location, math.sqrt(variance)


def student_information(nu: float, scale: float) -> FloatArray:
    """Return the Fisher information of one return about location, scale and ``nu`` (3 by 3)."""
    from scipy.special import polygamma

    cross = -2.0 / (scale * (nu + 1.0) * (nu + 3.0))
    shape = (
        polygamma(1, nu / 2.0) / 4.0
        - polygamma(1, (nu + 1.0) / 2.0) / 4.0
        - (nu + 5.0) / (2.0 * nu * (nu + 1.0) * (nu + 3.0))
    )
    return np.array(
        [
            [(nu + 1.0) / ((nu + 3.0) * scale**2), 0.0, 0.0],
            [0.0, 2.0 * nu / ((nu + 3.0) * scale**2), cross],
            [0.0, cross, float(shape)],
        ]
    )


@njit(cache=True)
def moments(outcomes: FloatArray) -> tuple[float, float]:
    """Return mean and standard deviation (ddof 1); rounding of equal values is no deviation."""
    n = outcomes.shape[0]
    total = 0.0
    for x in outcomes:
        total += x
    mean = total / n
    squares = 0.0
    for x in outcomes:
        squares += (x - mean) * (x - mean)
    sigma = math.sqrt(squares / (n - 1)) if n > 1 else 0.0
    return mean, sigma if sigma > 1e-12 * abs(mean) else 0.0


@njit(cache=True, nogil=True)
def _profile(
    sample: FloatArray, nu: float, location: float, variance: float
) -> tuple[float, float, float]:
    """Return the slope in ``nu`` of the likelihood at its best location and scale, and these."""
    n = sample.shape[0]
    for _ in range(500):
        weights, first, second = 0.0, 0.0, 0.0
        inverse = 1.0 / (nu * variance)
        for x in sample:
            d = x - location
            w = 1.0 / (1.0 + d * d * inverse)
            weights += w
            first += w * d
            second += w * d * d
        shift = first / weights
        # The weighted mean of (x - new location)^2, without a second walk.
        updated = (second - shift * first) / weights
        change = abs(updated - variance) + abs(shift) * math.sqrt(variance)
        location += shift
        variance = updated
        if change < 1e-9 * variance:
            break
    logs, product, ratio = 0.0, 1.0, 0.0
    inverse = 1.0 / (nu * variance)
    for x in sample:
        d = x - location
        q = 1.0 + d * d * inverse
        # One logarithm for many factors; it is taken before the product can overflow.
        product *= q
        if product > 1e100:
            logs += math.log(product)
            product = 1.0
        ratio += 1.0 - 1.0 / q
    logs += math.log(product)
    slope = (
        _digamma((nu + 1.0) / 2.0)
        - _digamma(nu / 2.0)
        - 1.0 / nu
        - logs / n
        + (nu + 1.0) / nu * ratio / n
    )
    return slope, location, variance


@njit(cache=True)
def _normal_quantile(share: float) -> float:
    """Return the normal value that ``share`` of the distribution is above."""
    if share > 0.5:
        return -_normal_quantile(1.0 - share)
    # Abramowitz and Stegun 26.2.23 is good for three digits; Newton's steps double them.
    r = math.sqrt(-2.0 * math.log(share))
    z = r - (2.515517 + r * (0.802853 + r * 0.010328)) / (
        1.0 + r * (1.432788 + r * (0.189269 + r * 0.001308))
    )
    for _ in range(4):
        above = 0.5 * math.erfc(z / math.sqrt(2.0))
        z += (above - share) / (math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi))
    return z


@njit(cache=True)
def _student_quantile(share: float, nu: float) -> float:
    """Return the Student value that ``share`` of the distribution is above."""
    if share > 0.5:
        return -_student_quantile(1.0 - share, nu)
    z = _normal_quantile(share)
    # Fisher's expansion starts at or below the value, from where Newton's steps only rise.
    t = z + (z**3 + z) / (4.0 * nu) + (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / (96.0 * nu * nu)
    for _ in range(60):
        step = (_student_above(t, nu) - share) / math.exp(_student_log_density(t, nu))
        t += step
        if abs(step) <= 1e-14 * abs(t):
            break
    return t


@njit(cache=True)
def _student_above(t: float, nu: float) -> float:
    """Return the probability of a Student value above ``t >= 0``."""
    x = nu / (nu + t * t)
    return 0.5 * _incomplete_beta(nu / 2.0, 0.5, x)


@njit(cache=True)
def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function (DLMF 8.17.22, by Lentz)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    # The fraction converges fast on one side of its mean; the other is its mirror.
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    front = math.exp(
        a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    )
    value, c, d = 1.0, 1.0, 0.0
    for j in range(1, 2000):
        m = j // 2
        if j % 2 == 0:
            term = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        d = 1.0 / (1.0 + term * d)
        c = 1.0 + term / c
        value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return front / (a * value)


@njit(cache=True)
def _student_log_density(t: float, nu: float) -> float:
    return (
        math.lgamma((nu + 1.0) / 2.0)
        - math.lgamma(nu / 2.0)
        - 0.5 * math.log(nu * math.pi)
        - (nu + 1.0) / 2.0 * math.log1p(t * t / nu)
    )


@njit(cache=True)
def _digamma(x: float) -> float:
    result = 0.0
    while x < 8.0:
        result -= 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132)))))
    return result + math.log(x) - 0.5 / x - series
