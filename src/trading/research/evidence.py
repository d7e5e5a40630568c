"""Whether the best of a sweep is more than the luck of having tried so many."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trading import measures
from trading.backtest import validation
from trading.backtest.figures import MIN_RETURNS
from trading.backtest.settings import ResearchSettings, WalkForwardSettings
from trading.domain.arrays import FloatArray
from trading.domain.wording import percent_text


def evidence_of_choice(
    returns: Sequence[FloatArray], universe: FloatArray, settings: ResearchSettings
) -> dict[str, Any]:
    """Return ``overfitting`` and ``superiority`` of configurations that traded the same sessions.

    ``superiority`` holds each one against the universe in equal parts, with as much of it as its
    beta: an account that is half in cash is not better for being out of a falling market. ``None``
    for what cannot be said.
    """
    return {
        "overfitting": overfitting(returns, settings.walk_forward.blocks),
        "superiority": _superiority(np.stack(returns, axis=1), universe, settings)
        if returns
        else None,
    }


def overfitting(returns: Sequence[FloatArray], blocks: int) -> dict[str, Any] | None:
    """Return how likely the best of these accounts was luck; ``None`` where nothing was chosen."""
    if len(returns) < 2:
        return None
    found = validation.overfitting(np.stack(returns, axis=1), blocks=blocks)
    if not math.isfinite(found.pbo):
        return None
    numbers = {
        "pbo": found.pbo,
        "loss_probability": found.loss,
        "degradation_slope": found.slope,
    }
    return {
        **{name: measures.known(value) for name, value in numbers.items()},
        "configurations": len(returns),
        "blocks": blocks,
    }


def against_universe(
    returns: FloatArray, universe: FloatArray, *, periods_per_year: int
) -> dict[str, Any] | None:
    """Return what an account earned beside its beta to the universe, after its costs.

    Annual ``alpha`` with its t-value (Newey and West), and ``beta``: an account that is half in
    cash is not better for being out of a falling market. ``None`` where the universe is unknown
    or the account never moved.
    """
    if len(returns) < MIN_RETURNS or not np.isfinite(universe).all():
        return None
    found = measures.regression(returns, universe, periods_per_year=periods_per_year)
    if not math.isfinite(found.alpha_t):
        return None
    return {"alpha": found.alpha, "alpha_t": found.alpha_t, "beta": found.beta}


def dispersion(
    returns: Sequence[FloatArray], settings: WalkForwardSettings, *, periods_per_year: int
) -> dict[str, Any] | None:
    """Return how far the outcome hangs on which sessions the choice was made on (CPCV).

    The best of these accounts by Sharpe ratio is chosen on all groups of sessions but some, and
    takes the returns of those; every way to do so, recombined to whole paths. The spread of the
    paths says something, their level does not: no path was ahead of its own future. ``None``
    where nothing was chosen, or a choice has nothing to go by.
    """
    if len(returns) < 2 or len(returns[0]) < settings.groups:
        return None
    accounts = np.stack(returns, axis=1)
    splits = measures.combinatorial_splits(
        len(accounts),
        groups=settings.groups,
        tested=settings.tested_groups,
        horizon=settings.purge_sessions,
        embargo=settings.purge_sessions,
    )
    found = []
    for split in splits:
        values = [measures.period_sharpe(account) for account in accounts[split.train].T]
        if not np.isfinite(values).any():
            return None
        found.append(accounts[split.test, int(np.nanargmax(values))])
    paths = measures.recombined(len(accounts), splits, found)
    ratios = np.array([measures.sharpe(path, periods_per_year=periods_per_year) for path in paths])
    if not np.isfinite(ratios).all():
        return None
    return {
        "groups": settings.groups,
        "tested_groups": settings.tested_groups,
        "paths": len(paths),
        "sharpe_least": float(ratios.min()),
        "sharpe_median": float(np.median(ratios)),
        "sharpe_most": float(ratios.max()),
    }


def _superiority(
    returns: FloatArray, universe: FloatArray, settings: ResearchSettings
) -> dict[str, Any] | None:
    if not np.isfinite(universe).all():
        return None
    betas = [measures.regression(r, universe, periods_per_year=1).beta for r in returns.T]
    excess = returns - np.outer(universe, np.nan_to_num(betas))
    found = validation.superiority(
        excess,
        np.zeros(len(excess)),
        size=1.0 - settings.report.level,
        repetitions=settings.report.repetitions,
        rng=np.random.default_rng(settings.report.seed),
    )
    if math.isnan(found.p_value):
        return None
    return {
        "p_value": found.p_value,
        "p_lower": found.p_lower,
        "p_upper": found.p_upper,
        "superior": list(found.superior),
        "size": found.size,
        "block": found.block,
    }


def choice_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what ``evidence_of_choice`` found, as a user reads it."""
    chosen, better = result["overfitting"], result["superiority"]
    lines = []
    if chosen is not None:
        lines.append(
            f"  과최적화 확률(PBO) {percent_text(chosen['pbo'], signed=False, digits=0)}: "
            "기록의 절반에서 가장 나았던 조합이 나머지 절반에서 중간에도 못 든 비율"
        )
    if better is not None:
        count = len(better["superior"])
        verdict = f"조합 {count:,}개가 나음" if count else "나은 조합이 있다고 할 수 없음"
        lines.append(
            f"  같은 종목을 베타만큼 든 것과 견주면: {verdict} "
            f"(여럿 가운데 고른 운까지 셈한 p = {better['p_value']:.3f}, SPA)"
        )
    return lines
