"""What the gate lets through and what it refuses, one question at a time."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from trading.backtest.robustness import Stretch
from trading.domain.instrument import Market
from trading.mlops.gate import Track, Trials, deflated, judge
from trading.mlops.gate_page import page_of
from trading.models.base import GateSettings

GATE = GateSettings(spa_repetitions=300)
SHARE = 0.08


@pytest.fixture(scope="module")
def recorded(embedded_panels):
    """Return recorded daily returns of the names that were always there, and their sessions."""
    adjusted = embedded_panels[1]
    close = adjusted.close[:, np.isfinite(adjusted.close).all(axis=0)][-1260:]
    return close[1:] / close[:-1] - 1.0, adjusted.sessions[-1259:]


def _active(returns, held):
    """Return what one name held at each session earned over all in equal parts."""
    return returns[np.arange(len(returns)), held] - returns.mean(axis=1)


def _track(recorded, active, **changes):
    returns, sessions = recorded
    benchmark = returns.mean(axis=1)
    net = benchmark + active
    return replace(
        Track(
            sessions=sessions,
            net=net,
            benchmark=benchmark,
            exposure=np.ones(len(net)),
            doubled=net - 1e-4,
            delayed=net - 1e-4,
            sessions_per_year=252,
            turnover=12.0,
            break_even_bps=40.0,
            capital=1e9,
            capacity=np.inf,
            stretches=(),
            rank_ic=0.05,
            rank_ic_t=50.0,
        ),
        **changes,
    )


@pytest.fixture(scope="module")
def skilled(recorded):
    """Return the track of a hand that knows the best name of the next session now and then."""
    returns, _ = recorded
    rng = np.random.default_rng(1)
    blind = rng.integers(0, returns.shape[1], len(returns))
    held = np.where(rng.random(len(returns)) < SHARE, returns.argmax(axis=1), blind)
    return _track(recorded, _active(returns, held))


@pytest.fixture(scope="module")
def champion(recorded):
    """Return the track of a hand that knows nothing, with a lower rank IC."""
    returns, _ = recorded
    blind = np.random.default_rng(2).integers(0, returns.shape[1], len(returns))
    return _track(recorded, _active(returns, blind), rank_ic=0.01)


def _failed(verdict):
    return {check.name for check in verdict.checks if not check.passed}


def test_a_planted_edge_is_promoted(skilled, champion):
    """Who knows something is let through, with and without a champion."""
    verdict = judge(skilled, champion, trials=Trials.of(skilled), settings=GATE)
    first = judge(skilled, None, trials=Trials.of(skilled), settings=GATE)

    assert (verdict.promoted, verdict.verdict, _failed(verdict)) == (True, "promoted", set())
    assert (first.promoted, first.verdict) == (True, "promoted")


def test_the_best_of_fifty_blind_hands_is_refused(recorded):
    """Noise does not pass by being tried often enough."""
    returns, _ = recorded
    rng = np.random.default_rng(3)
    hands = [_active(returns, rng.integers(0, returns.shape[1], len(returns))) for _ in range(50)]
    hands.sort(key=lambda active: -active.mean() / active.std())
    best = _track(recorded, hands[0])

    verdict = judge(best, None, trials=Trials.of(best, hands[1:]), settings=GATE)

    assert not verdict.promoted
    assert {"dsr_raw", "dsr_effective", "spa_benchmark"} <= _failed(verdict)


CRISIS = Stretch(
    name="세계 금융위기", first=date(2008, 9, 15), last=date(2008, 11, 20), sessions=48,
    total_return=-0.35, benchmark_return=-0.2, sharpe=float("nan"), max_drawdown=0.4,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "asked"),
    [
        ("unbiased", {}, {"bias": "공급자 수정주가로 배워 증거가 되지 않음"}),
        ("plausible", {"rank_ic": 0.26}, {}),
        ("rank_ic", {"rank_ic_t": 1.9}, {}),
        ("rank_ic_champion", {"rank_ic": 0.005}, {}),
        ("sessions", {}, {"settings": GATE.model_copy(update={"min_sessions": 1260})}),
        ("dsr_raw", {}, {"raw": 10**12}),
        ("dsr_effective", {}, {"effective": 1e12}),
        ("pbo", {}, {"copies": 2}),
        ("spa_benchmark", {}, {"settings": GATE.model_copy(update={"spa_size": 1e-6})}),
        ("spa_champion", {}, {"settings": GATE.model_copy(update={"champion_size": 1e-6})}),
        ("doubled_costs", {"doubled": -0.01}, {}),
        ("delayed", {"delayed": -0.01}, {}),
        ("crisis", {"stretches": (CRISIS,)}, {}),
        ("capacity", {"capacity": 5e9}, {}),
        ("break_even", {"break_even_bps": 4.9}, {}),
    ],
)
def test_one_failing_answer_keeps_the_champion(skilled, champion, name, changes, asked):
    """Every question decides by itself: a challenger that fails this one alone is refused."""
    asked = dict(asked)
    for part in ("doubled", "delayed"):
        if part in changes:
            changes = changes | {part: skilled.net + changes[part]}
    challenger = replace(skilled, **changes)
    copies = asked.pop("copies", 1)
    trials = Trials(
        raw=asked.pop("raw", 1),
        effective=asked.pop("effective", 1.0),
        active=np.stack([challenger.active] * copies, axis=1),
    )

    verdict = judge(challenger, champion, trials=trials, **({"settings": GATE} | asked))

    assert _failed(verdict) == {name}
    assert (verdict.promoted, verdict.verdict) == (False, "kept")


def test_a_first_model_without_proof(skilled):
    """It takes the place only where that is allowed, and is marked in both cases."""
    weak = replace(skilled, rank_ic_t=0.0)
    allowed = judge(weak, None, trials=Trials.of(weak), settings=GATE, first_without_proof=True)
    other = judge(weak, None, trials=Trials.of(weak), settings=GATE)

    assert (allowed.promoted, allowed.verdict, allowed.proven) == (True, "not_proven", False)
    assert (other.promoted, other.verdict) == (False, "not_proven")


def test_too_short_a_record_proves_nothing(skilled):
    """What cannot be counted is not passed, and ends in a verdict."""
    few = slice(0, 5)
    short = replace(
        skilled,
        **{
            part: getattr(skilled, part)[few]
            for part in ("sessions", "net", "benchmark", "exposure", "doubled", "delayed")
        },
    )

    verdict = judge(short, skilled, trials=Trials.of(short), settings=GATE)

    assert {"sessions", "spa_benchmark", "spa_champion"} <= _failed(verdict)
    json.dumps(verdict.to_json(), allow_nan=False)


def test_only_common_sessions_meet_the_champion(skilled, champion):
    """A champion whose record is of other years cannot be beaten."""
    elsewhere = replace(champion, sessions=champion.sessions - np.timedelta64(20_000, "D"))

    verdict = judge(skilled, elsewhere, trials=Trials.of(skilled), settings=GATE)

    assert _failed(verdict) == {"spa_champion"}


def test_trials_without_a_record_count_as_independent(skilled, champion):
    """Copies are worth one trial, what left no returns one each."""
    trials = Trials.of(skilled, [skilled.active, champion.active], raw=10)

    assert trials.raw == 10
    assert trials.active.shape == (len(skilled.net), 3)
    # Two copies and one other are worth fewer than three, the seven unknown ones seven.
    assert 8.0 < trials.effective < 10.0


def test_more_trials_ask_for_more(skilled):
    """The expected best of worthless trials rises with their number, the probability falls."""
    one, many = (
        deflated(skilled.active[:, None], raw=count, effective=count) for count in (1, 100)
    )

    # Expected maximum of 100 standard normals: 2.508 (Bailey and Lopez de Prado's formula, 2.53).
    assert one.lucky_raw == 0.0
    assert many.lucky_raw * np.sqrt(len(skilled.net) - 1) == pytest.approx(2.53, abs=0.005)
    assert many.probability < one.probability


def test_alike_trials_vary_less(skilled):
    """The raw count of copies expects nothing more of the best of them; the spread is measured."""
    copies = np.stack([skilled.active] * 20, axis=1)

    found = deflated(copies, raw=20, effective=1.0)

    assert found.lucky_raw == pytest.approx(0.0, abs=1e-12)


def test_the_page_says_it_all_without_the_network(skilled, champion):
    """Every answer stands on the page, which asks nobody for anything."""
    trials = Trials.of(skilled, [champion.active])
    verdict = judge(skilled, champion, trials=trials, settings=GATE)

    html = page_of(verdict, skilled, champion, trials, name="forest-us", market=Market.US)

    assert all(check.sentence in html for check in verdict.checks)
    assert "운만으로 기대되는 최고 샤프" in html
    assert "<script" not in html
    assert "://" not in html
