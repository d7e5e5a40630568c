"""Losses over several sessions: simulated, or exact where returns are independent.

One session ahead nothing needs to be simulated: ``risk.var``.
"""

import math
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
from numba import njit

from trading.domain.arrays import FloatArray
from trading.risk.student import fit_student, moments
from trading.risk.var import (
    TailRisk,
    VarSettings,
    filtered,
    garch_variance,
    historical,
    normal,
    sample_risk,
    student,
)


def risk_table(
    outcomes: FloatArray, *, level: float, settings: VarSettings, rng: np.random.Generator
) -> tuple[TailRisk, ...]:
    """Return the loss of today's weights by every method, as a report shows them.

    One session ahead by each of ``METHODS``; ``horizon_sessions`` ahead by simulation under the
    GARCH variance and, taking sessions as independent, by simulation and exactly. Over several
    sessions simple returns are summed as if they were log returns.

    Parameters
    ----------
    outcomes : ndarray of shape (n_sessions,)
        What today's weights made of past sessions (``var.portfolio_outcomes``), at least two.
    """
    alpha, beta = settings.garch_alpha, settings.garch_beta
    horizon, paths = settings.horizon_sessions, settings.monte_carlo_paths
    nu, location, scale = fit_student(outcomes)
    ahead = simulate_filtered(
        outcomes, alpha=alpha, beta=beta, n_sessions=horizon, n_paths=paths, rng=rng
    )
    independent = simulate_student(nu, location, scale, n_sessions=horizon, n_paths=paths, rng=rng)
    return (
        historical(outcomes, level),
        normal(outcomes, level),
        student(outcomes, level),
        filtered(outcomes, level, alpha=alpha, beta=beta),
        replace(simulation_risk(ahead, level), method="monte_carlo_filtered", sessions=horizon),
        replace(simulation_risk(independent, level), sessions=horizon),
        exact_sum(nu, location, scale, n_sessions=horizon, level=level),
    )


def simulate_student(
    nu: float,
    location: float,
    scale: float,
    *,
    n_sessions: int,
    n_paths: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return ``n_paths`` sums of ``n_sessions`` independent Student returns.

    Half of them are drawn, the others are their mirror images: the distribution is symmetric, and
    a path that is not in one tail may be in the other, so that the quantile of both together has
    the error of as many draws and a little less.
    The random numbers do not depend on ``nu``, ``location`` or ``scale``: two generators with one
    seed give common random numbers, and the difference of two portfolios keeps little of their
    error. Weights of jointly Student returns with one ``nu`` have such a portfolio return
    themselves, so nothing else needs drawing. ``simulation_risk`` makes a ``TailRisk`` of it,
    ``exact_sum`` the answer without simulation.

    References
    ----------
    .. [1] Bailey, R. W. (1994). "Polar Generation of Random Variates with the t-Distribution."
       Mathematics of Computation, 62(206), 779-781.
    .. [2] Blackman, D. and Vigna, S. (2021). "Scrambled Linear Pseudorandom Number Generators."
       ACM Transactions on Mathematical Software, 47(4), 36 (xoshiro256++).
    """
    state = rng.integers(0, 2**64, size=4, dtype=np.uint64)
    drawn = scale * _student_sums(state, nu, n_sessions, (n_paths + 1) // 2)
    sums: FloatArray = np.concatenate([drawn, -drawn])[:n_paths]
    sums += location * n_sessions
    return sums


def simulate_filtered(
    outcomes: FloatArray,
    *,
    alpha: float,
    beta: float,
    n_sessions: int,
    n_paths: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return ``n_paths`` sums of ``n_sessions`` returns under the GARCH variance of ``outcomes``.

    Filtered historical simulation: each step draws one of the standardized past returns, and the
    variance goes on from it. With common random numbers as in ``simulate_student``.
    """
    mean, sigma = moments(outcomes)
    if not sigma > 0.0:
        return np.full(n_paths, mean * n_sessions)
    variance = garch_variance(outcomes - mean, alpha, beta)
    standard = (outcomes - mean) / np.sqrt(variance[:-1])
    omega = (1.0 - alpha - beta) * variance[0]
    state = rng.integers(0, 2**64, size=4, dtype=np.uint64)
    sums: FloatArray = _filtered_sums(
        state, standard, omega, alpha, beta, variance[-1], n_sessions, n_paths
    )
    sums += mean * n_sessions
    return sums


def simulation_risk(sums: FloatArray, level: float) -> TailRisk:
    """Return VaR and expected shortfall of simulated outcomes, with the errors of simulation."""
    return sample_risk("monte_carlo", sums, level)


def exact_sum(
    nu: float, location: float, scale: float, *, n_sessions: int, level: float
) -> TailRisk:
    r"""Return VaR and expected shortfall of a sum of independent Student returns, exactly.

    .. math:: F(x) = \tfrac12 + \tfrac1\pi\int_0^\infty \frac{\sin \omega x}{\omega}
              \varphi^n(\omega)\,d\omega, \qquad
              E[S;\,S \le x] = \tfrac1\pi\int_0^\infty
              \cos(\omega x)\,\frac{(\varphi^n)'(\omega)}{\omega}\,d\omega

    for the centred sum, with the characteristic function :math:`\varphi` of one return [1]_.

    Parameters
    ----------
    nu : float
        Above 2: otherwise the sum has no variance.

    Raises
    ------
    ValueError
        If ``nu`` is 2 or less.

    Notes
    -----
    The integrals end where :math:`\varphi^n` is below the last bit, and there the integrand has
    turned only a few times: Gauss-Legendre nodes, crowded towards 0 where :math:`\varphi` is not
    smooth, reach twelve digits with some hundred values of the Bessel function. A Fourier
    transform on a grid needs thousands and folds the far tail back in.

    References
    ----------
    .. [1] Hurst, S. (1995). "The Characteristic Function of the Student t Distribution."
       Financial Mathematics Research Report FMRR006-95, Australian National University.
    .. [2] Gil-Pelaez, J. (1951). "Note on the Inversion Theorem." Biometrika, 38(3-4), 481-482.
    """
    from scipy.optimize import brentq

    if not nu > 2.0:
        raise ValueError(f"need nu above 2, got {nu}")
    # In units of the sum's own standard deviation.
    unit = math.sqrt(n_sessions * nu / (nu - 2.0))
    omega, node_weights, phi, slope = _characteristic(nu, n_sessions, 1.0 / unit)
    share = 1.0 - level

    def excess(x: float) -> float:
        below = float(np.sum(node_weights * np.sin(omega * x) / omega * phi)) / math.pi
        return 0.5 + below - share

    low = -1.0
    while excess(low) > 0.0:
        low *= 1.5
    x = float(brentq(excess, low, 0.0, xtol=1e-14))
    below = float(np.sum(node_weights * np.cos(omega * x) * slope)) / math.pi
    factor, drift = scale * unit, location * n_sessions
    return TailRisk(
        method="exact",
        level=level,
        sessions=n_sessions,
        var=-x * factor - drift,
        es=-below / share * factor - drift,
        var_error=0.0,
        es_error=0.0,
    )


def _characteristic(
    nu: float, n_sessions: int, scale: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    r"""Return nodes, weights, the sum's characteristic function and its slope over the node.

    .. math:: \varphi(\omega) = \frac{z^{\nu/2} K_{\nu/2}(z)}{2^{\nu/2-1}\Gamma(\nu/2)}, \qquad
              z = \sqrt\nu\,s\,|\omega|, \qquad \frac{d}{dz} z^a K_a(z) = -z^a K_{a-1}(z)
    """
    from scipy.special import gammaln, kve

    order = nu / 2.0
    constant = float(gammaln(order)) + (order - 1.0) * math.log(2.0)

    def pieces(z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log phi and K_{a-1} over K_a; the series where K_a overflows next to 0."""
        bessel = kve(order, z)
        is_near = np.isinf(bessel)
        safe = np.where(is_near, 1.0, bessel)
        logs = np.log(safe) - z + order * np.log(z) - constant
        ratio = kve(order - 1.0, z) / safe
        return (
            np.where(is_near, -z * z / (4.0 * (order - 1.0)), logs),
            np.where(is_near, z / (2.0 * (order - 1.0)), ratio),
        )

    per_omega = math.sqrt(nu) * scale
    end = 1.0
    while n_sessions * pieces(np.array([end * per_omega]))[0][0] > -_FADED:
        end *= 1.5
    share, node_weights = _nodes()
    omega = end * share
    logs, ratio = pieces(per_omega * omega)
    phi = np.exp(n_sessions * logs)
    slope = -n_sessions * phi * ratio * per_omega / omega
    return omega, end * node_weights, phi, slope


@lru_cache(maxsize=1)
def _nodes() -> tuple[FloatArray, FloatArray]:
    """Return Gauss-Legendre nodes and weights on (0, 1), crowded towards 0."""
    u, w = np.polynomial.legendre.leggauss(_NODES)
    u = (u + 1.0) / 2.0
    return u**_CROWDING, _CROWDING * u ** (_CROWDING - 1) * w / 2.0


# exp(-40) is below the last bit of 1.
_FADED: Final = 40.0
_NODES: Final = 256
_CROWDING: Final = 4


@njit(cache=True, nogil=True)
def _student_sums(  # type: ignore[no-untyped-def] # numba infers every type
    state, nu, n_sessions, n_paths
):
    """Return sums of standard Student values: one for each point of the unit disc (Bailey)."""
    sums = np.empty(n_paths)
    power = -2.0 / nu
    for i in range(n_paths):
        total = 0.0
        for _ in range(n_sessions):
            x, square = _disc(state)
            total += x * math.sqrt(nu * (math.exp(power * math.log(square)) - 1.0) / square)
        sums[i] = total
    return sums


@njit(cache=True, nogil=True)
def _filtered_sums(  # type: ignore[no-untyped-def] # numba infers every type
    state, standard, omega, alpha, beta, first, n_sessions, n_paths
):
    n = standard.shape[0]
    sums = np.empty(n_paths)
    for i in range(n_paths):
        total, variance = 0.0, first
        for _ in range(n_sessions):
            drawn = standard[np.int64(np.float64(_draw(state) >> np.uint64(11)) * 2.0**-53 * n)]
            change = math.sqrt(variance) * drawn
            total += change
            variance = omega + alpha * change * change + beta * variance
        sums[i] = total
    return sums


@njit(inline="always")
def _disc(state):  # type: ignore[no-untyped-def] # numba infers every type
    """Return a uniform point of the unit disc: one coordinate, and the squared distance."""
    while True:
        raw = _draw(state)
        x = np.float64(np.int64(raw >> np.uint64(32)) - 2147483648) * 2.0**-31
        y = np.float64(np.int64(raw & np.uint64(0xFFFFFFFF)) - 2147483648) * 2.0**-31
        square = x * x + y * y
        if 0.0 < square <= 1.0:
            return x, square


@njit(inline="always")
def _draw(state):  # type: ignore[no-untyped-def] # numba infers every type
    """Return the next 64 random bits (xoshiro256++)."""
    total = state[0] + state[3]
    raw = ((total << np.uint64(23)) | (total >> np.uint64(41))) + state[0]
    t = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= t
    state[3] = (state[3] << np.uint64(45)) | (state[3] >> np.uint64(19))
    return raw
