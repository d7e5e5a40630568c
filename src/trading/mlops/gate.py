"""Whether a challenger may trade: what its account would have earned, and what luck explains of it.

The account is made by ``mlops.track``, the gate's own errors are measured by ``mlops.calibrate``,
what follows from a verdict is in ``mlops.promote``. See docs/gate.md.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trading import measures
from trading.backtest import validation
from trading.backtest.robustness import Stretch
from trading.backtest.trials import effective_number
from trading.domain.arrays import DateArray, FloatArray
from trading.domain.wording import percent_text
from trading.models.base import GateSettings

PROMOTED, KEPT, NOT_PROVEN = "promoted", "kept", "not_proven"
# Fewer measured Sharpe ratios say too little of how far they vary.
_LEAST_TRIALS = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track:
    """What an account that follows out-of-sample forecasts earned, net of all costs.

    Attributes
    ----------
    sessions : ndarray of shape (n_sessions,)
        The traded dates; all arrays have one value for each.
    net, benchmark : ndarray
        Returns from close to close, as fractions: the account's, and those of all names in equal
        parts with as much invested as the account had at the close before.
    exposure : ndarray
        Share of the account in shares after each close.
    doubled, delayed : ndarray
        ``net`` of the same forecasts at twice the fees and taxes, and one session later.
    turnover : float
        Bought and sold a year, as a multiple of the account.
    break_even_bps : float
        What every traded amount could cost more before the benchmark is no longer beaten.
    capital, capacity : float
        Starting cash, and the capital at which the annual return is halved, in minor units;
        infinite beyond what was tried, NaN where nothing was earned.
    stretches : tuple of Stretch
        Crises that lie within the sessions.
    rank_ic, rank_ic_t : float
        Of the same forecasts, from ``models.validation``.
    """

    sessions: DateArray
    net: FloatArray
    benchmark: FloatArray
    exposure: FloatArray
    doubled: FloatArray
    delayed: FloatArray
    sessions_per_year: int
    turnover: float
    break_even_bps: float
    capital: float
    capacity: float
    stretches: tuple[Stretch, ...]
    rank_ic: float
    rank_ic_t: float

    @property
    def active(self) -> FloatArray:
        """What the account earned over its benchmark, per session."""
        return self.net - self.benchmark


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trials:
    """How much was tried to find the challenger.

    ``raw`` counts every configuration, ``effective`` the independent ones they are worth.
    ``active`` has what each one with a record earned over its benchmark in the challenger's
    sessions, shape ``(n_sessions, n)``, the challenger first.
    """

    raw: int
    effective: float
    active: FloatArray

    @classmethod
    def of(cls, challenger: Track, others: Sequence[FloatArray] = (), raw: int = 1) -> "Trials":
        """Return the trials that ``others``, active returns of the same sessions, make with it.

        Those of ``raw`` without a record count as independent: rather too many than too few.
        """
        known = [challenger.active, *others]
        effective, count = effective_number((("", ""), returns) for returns in known)
        raw = max(raw, count)
        return cls(raw=raw, effective=effective + raw - count, active=np.stack(known, axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question of the gate: what came out, what was asked for, and the sentence for people.

    ``value`` and ``threshold`` are NaN where there is nothing to count.
    """

    name: str
    value: float
    threshold: float
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The gate's word: ``promoted``, ``kept`` or ``not_proven`` (there is no champion)."""

    promoted: bool
    verdict: str
    checks: tuple[Check, ...]

    @property
    def proven(self) -> bool:
        """Whether every check was passed."""
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """The word and what decided it, in Korean."""
        if self.verdict == PROMOTED:
            shown = [check for check in self.checks if check.name in ("dsr_raw", "spa_benchmark")]
            return "승격: " + "; ".join(check.sentence for check in shown)
        head = "챔피언 유지"
        if self.verdict == NOT_PROVEN:
            head = "첫 모델이라 등록하나 증명되지 않음" if self.promoted else "증명되지 않음"
        return f"{head}: " + "; ".join(c.sentence for c in self.checks if not c.passed)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only; ``None`` for what cannot be counted."""
        return {
            "promoted": self.promoted,
            "verdict": self.verdict,
            "proven": self.proven,
            "reason": self.reason,
            "checks": [
                asdict(check)
                | {
                    "value": measures.known(check.value),
                    "threshold": measures.known(check.threshold),
                    "passed": bool(check.passed),
                }
                for check in self.checks
            ],
        }


def judge(
    challenger: Track,
    champion: Track | None,
    *,
    trials: Trials,
    settings: GateSettings,
    bias: str | None = None,
    first_without_proof: bool = False,
) -> Verdict:
    """Return whether ``challenger`` may trade in the place of ``champion``.

    Every check must be passed. What cannot be said of too short a record is not passed.

    Parameters
    ----------
    champion : Track, optional
        What the forecasts of the model that trades earn; ``None`` when there is none.
    bias : str, optional
        Says in Korean what makes the evidence useless as proof, if anything does (ADR 0010).
    first_without_proof : bool, default=False
        Whether a first model takes the place anyway, marked ``not_proven`` (ADR 0004).
    """
    checks = [
        *_plausible(challenger, champion, trials, settings, bias),
        _long_enough(challenger, settings),
        *_deflated_checks(challenger, trials, settings),
        *_overfit_check(trials, settings),
        _spa_benchmark(trials, settings),
        *([_spa_champion(challenger, champion, trials, settings)] if champion is not None else []),
        *_stress(challenger, settings),
        _capacity(challenger, settings),
        _break_even(challenger, settings),
    ]
    proven = all(check.passed for check in checks)
    if proven:
        return Verdict(promoted=True, verdict=PROMOTED, checks=tuple(checks))
    if champion is None:
        return Verdict(promoted=first_without_proof, verdict=NOT_PROVEN, checks=tuple(checks))
    return Verdict(promoted=False, verdict=KEPT, checks=tuple(checks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflated:
    """A Sharpe ratio beside the best that luck gives; ratios are per session.

    ``lucky_*`` are the expected best of as many worthless trials, ``raw`` and ``effective`` the
    probabilities that the true ratio exceeds them (DSR).
    """

    sharpe: float
    lucky_raw: float
    lucky_effective: float
    raw: float
    effective: float

    @property
    def probability(self) -> float:
        """The smaller of both."""
        return min(self.raw, self.effective)


def deflated(active: FloatArray, *, raw: float, effective: float) -> Deflated:
    """Return the deflated Sharpe ratio of the first of ``active``, shape ``(n_sessions, n)``.

    The raw count goes with the variance of the Sharpe ratios that were measured, where there are
    enough of them, and at most that of worthless independent trials, ``1 / (n - 1)``: alike ones
    vary less. The effective count has taken the likeness into account and goes with the latter.
    """
    own, n = active[:, 0], len(active)
    if n < 2:
        return Deflated(
            sharpe=math.nan, lucky_raw=math.nan, lucky_effective=math.nan, raw=math.nan,
            effective=math.nan,
        )  # fmt: skip
    sharpe = measures.period_sharpe(own)
    worthless = spread = 1.0 / (n - 1)
    if active.shape[1] >= _LEAST_TRIALS:
        ratios = np.array([measures.period_sharpe(column) for column in active.T])
        spread = min(worthless, float(np.nanvar(ratios, ddof=1)))
    moments = {"skew": measures.skewness(own), "kurt": measures.kurtosis(own)}
    return Deflated(
        sharpe=sharpe,
        lucky_raw=measures.expected_max_sharpe(raw, variance=spread),
        lucky_effective=measures.expected_max_sharpe(effective, variance=worthless),
        raw=measures.deflated_sharpe(sharpe, n, trials=raw, variance=spread, **moments),
        effective=measures.deflated_sharpe(
            sharpe, n, trials=effective, variance=worthless, **moments
        ),
    )


def is_superior(
    active: FloatArray, *, size: float, repetitions: int, seed: int
) -> tuple[float, bool]:
    """Return the p-value of SPA, and whether the first column is among what beats 0 at ``size``."""
    found = validation.superiority(
        active,
        np.zeros(len(active)),
        size=size,
        repetitions=repetitions,
        rng=np.random.default_rng(seed),
    )
    return found.p_value, 0 in found.superior


def _plausible(
    challenger: Track,
    champion: Track | None,
    trials: Trials,
    settings: GateSettings,
    bias: str | None,
) -> list[Check]:
    ic, t = challenger.rank_ic, challenger.rank_ic_t
    least = max(settings.min_t, measures.expected_max_sharpe(trials.raw))
    checks = [
        Check(
            name="unbiased",
            value=math.nan,
            threshold=math.nan,
            passed=bias is None,
            sentence=bias or "자료에 알려진 편향이 없음",
        ),
        Check(
            name="plausible",
            value=ic,
            threshold=settings.max_rank_ic,
            passed=ic <= settings.max_rank_ic,
            sentence=f"순위 IC {ic:+.4f} (상한 {settings.max_rank_ic:.2f} 이내)"
            if ic <= settings.max_rank_ic
            else f"순위 IC {ic:+.4f}: {settings.max_rank_ic:.2f}를 넘어 정보 누출이나 종목 쏠림을 의심",
        ),
        Check(
            name="rank_ic",
            value=t,
            threshold=least,
            passed=t > least,
            sentence=f"순위 IC {ic:+.4f}의 t {t:+.2f} (기준 {least:.2f})",
        ),
    ]
    if champion is not None:
        checks.append(
            Check(
                name="rank_ic_champion",
                value=ic,
                threshold=champion.rank_ic,
                passed=ic > champion.rank_ic,
                sentence=f"순위 IC {ic:+.4f}, 챔피언 {champion.rank_ic:+.4f}",
            )
        )
    return checks


def _long_enough(challenger: Track, settings: GateSettings) -> Check:
    n, least = len(challenger.sessions), settings.min_sessions
    return Check(
        name="sessions",
        value=float(n),
        threshold=float(least),
        passed=n >= least,
        sentence=f"표본 밖 계좌 {n:,}거래일 (기준 {least:,}거래일)",
    )


def _deflated_checks(challenger: Track, trials: Trials, settings: GateSettings) -> list[Check]:
    found = deflated(trials.active, raw=trials.raw, effective=trials.effective)
    annual = math.sqrt(challenger.sessions_per_year)
    return [
        Check(
            name=name,
            value=value,
            threshold=settings.min_dsr,
            passed=value >= settings.min_dsr,
            sentence=f"{what} {count:,.4g}번을 감안한 샤프(DSR) {_number(value, 3)} "
            f"(기준 {settings.min_dsr:.3f}; 연 초과 샤프 {_number(found.sharpe * annual)}, "
            f"운만으로 기대되는 최고 {_number(lucky * annual)})",
        )
        for name, what, count, value, lucky in (
            ("dsr_raw", "시도", float(trials.raw), found.raw, found.lucky_raw),
            (
                "dsr_effective", "독립인 시도", trials.effective, found.effective,
                found.lucky_effective,
            ),
        )
    ]  # fmt: skip


def _overfit_check(trials: Trials, settings: GateSettings) -> list[Check]:
    if trials.active.shape[1] < 2:
        return []
    pbo = validation.overfitting(trials.active, blocks=settings.blocks).pbo
    return [
        Check(
            name="pbo",
            value=pbo,
            threshold=settings.max_pbo,
            passed=pbo <= settings.max_pbo,
            sentence=f"과최적화 확률(PBO) {percent_text(pbo, signed=False)} "
            f"(기준 {percent_text(settings.max_pbo, signed=False)} 이하)",
        )
    ]


def _spa_benchmark(trials: Trials, settings: GateSettings) -> Check:
    p_value, better = is_superior(
        trials.active,
        size=settings.spa_size,
        repetitions=settings.spa_repetitions,
        seed=settings.seed,
    )
    return Check(
        name="spa_benchmark",
        value=p_value,
        threshold=settings.spa_size,
        passed=better,
        sentence="노출을 맞춘 같은 종목 벤치마크보다 "
        + ("나음" if better else "낫다고 할 수 없음")
        + f" (SPA p {_number(p_value, 3)}, 기준 {settings.spa_size:.2f})",
    )


def _spa_champion(
    challenger: Track, champion: Track, trials: Trials, settings: GateSettings
) -> Check:
    _, mine, theirs = np.intersect1d(challenger.sessions, champion.sessions, return_indices=True)
    p_value, better = is_superior(
        trials.active[mine] - champion.active[theirs][:, None],
        size=settings.champion_size,
        repetitions=settings.spa_repetitions,
        seed=settings.seed,
    )
    return Check(
        name="spa_champion",
        value=p_value,
        threshold=settings.champion_size,
        passed=better,
        sentence="챔피언보다 "
        + ("나음" if better else "낫다고 할 수 없음")
        + f" (함께 거래한 {len(mine):,}거래일, SPA p {_number(p_value, 3)}, "
        f"기준 {settings.champion_size:.2f})",
    )


def _stress(challenger: Track, settings: GateSettings) -> list[Check]:
    checks = [
        Check(
            name=name,
            value=earned,
            threshold=0.0,
            passed=earned > 0,
            sentence=f"{what} 벤치마크와 연 {percent_text(earned)} 차이 (기준 0 % 초과)",
        )
        for name, what, returns in (
            ("doubled_costs", "비용을 두 배로 내면", challenger.doubled),
            ("delayed", "하루 늦게 판단하면", challenger.delayed),
        )
        for earned in (_annual(returns - challenger.benchmark, challenger.sessions_per_year),)
    ]
    for stretch in challenger.stretches:
        short = stretch.benchmark_return - stretch.total_return
        checks.append(
            Check(
                name="crisis",
                value=short,
                threshold=settings.max_crisis_shortfall,
                passed=short <= settings.max_crisis_shortfall,
                sentence=f"{stretch.name}: {percent_text(stretch.total_return)}, "
                f"벤치마크 {percent_text(stretch.benchmark_return)} "
                f"(뒤처짐 {percent_text(settings.max_crisis_shortfall, signed=False)} 이내)",
            )
        )
    return checks


def _capacity(challenger: Track, settings: GateSettings) -> Check:
    multiple = challenger.capacity / challenger.capital
    least = settings.min_capacity_multiple
    told = f"자금의 {_number(multiple, 1)}배"
    if not math.isfinite(multiple):
        told = "시험한 자금보다 큼" if multiple > 0 else "알 수 없음 (벌지 못함)"
    return Check(
        name="capacity",
        value=multiple,
        threshold=least,
        passed=multiple >= least,
        sentence=f"수용 규모 {told} (기준 {least:g}배)",
    )


def _break_even(challenger: Track, settings: GateSettings) -> Check:
    extra, least = challenger.break_even_bps, settings.min_break_even_bps
    return Check(
        name="break_even",
        value=extra,
        threshold=least,
        passed=extra >= least,
        sentence=(
            f"거래대금마다 {extra:.1f}bp를 더 내면 벤치마크와 같음"
            if extra > 0
            else "손익분기 비용: 이미 벤치마크보다 못하거나 거래가 없음"
        )
        + f" (기준 {least:g}bp)",
    )


def _annual(returns: FloatArray, per_year: int) -> float:
    return float(np.mean(returns)) * per_year if len(returns) else math.nan


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "알 수 없음"
