"""How the gate is measured: the draws, what is planted, the counting."""

import json
from dataclasses import replace

import numpy as np
import pytest

from trading.errors import MissingDataError
from trading.mlops import calibrate
from trading.mlops.calibrate import Rate, World, stationary_rows
from trading.mlops.gate import Track, Trials, judge
from trading.models.base import CalibrationSettings, GateSettings

pytestmark = pytest.mark.compiled_only
SMALL = CalibrationSettings(
    draws=40, quick_draws=40, power_draws=20, information_ratios=(3.0,), max_years=2.5
)


@pytest.fixture(scope="module")
def world(embedded_panels):
    """Return the world of the embedded names."""
    return World.of(embedded_panels[1], 252, SMALL)


def _gate(**changes):
    return GateSettings(spa_repetitions=200, blocks=8, calibration=SMALL, **changes)


@pytest.fixture(scope="module")
def measured(world):
    """Return a small measurement of the shipped gate."""
    return calibrate.measure(world, _gate(), market="us")


@pytest.mark.parametrize(
    ("count", "draws", "low", "high"),
    # R 4.3: binom.test(5, 100)$conf.int, binom.test(0, 20), binom.test(20, 20).
    [(5, 100, 0.01643188, 0.1128349), (0, 20, 0.0, 0.1684335), (20, 20, 0.8315665, 1.0)],
)
def test_the_interval_is_that_of_clopper_and_pearson(count, draws, low, high):
    """The bounds are those of R."""
    assert Rate(count=count, draws=draws).interval == pytest.approx((low, high), abs=1e-6)


def test_blocks_follow_the_record():
    """Within a block dates follow each other, around the end; blocks are as long as asked."""
    rows = stationary_rows(1000, 50_000, 20, np.random.default_rng(1))
    follows = np.diff(rows) % 1000 == 1

    assert set(rows) <= set(range(1000))
    # A new block begins with probability 1/20, and follows by chance in 1 of 1,000.
    assert 1.0 / (1.0 - follows.mean()) == pytest.approx(20.0, rel=0.05)


def test_the_search_holds_the_best_of_the_past(world):
    """The winners of the window, its losers, and the names that rose, each with its own cost."""
    returns = np.array([[0.01, -0.02, 0.04], [0.01, 0.01, -0.01], [0.0, 0.0, 0.1]])
    search = calibrate.Search(windows=np.array([2]), shares=np.array([0.3]), every=1, cost=0.001)

    weights = calibrate._weights(returns, np.array([0, 1]), search)

    # Sums over two sessions: 0.02, -0.01, 0.03.
    np.testing.assert_array_equal(weights[0], np.zeros((4, 3)))
    np.testing.assert_allclose(weights[1, 0], [0, 0, 1])
    np.testing.assert_allclose(weights[1, 1], [1 / 3, 0, 1 / 3])
    np.testing.assert_allclose(weights[1, 2], [0, 1, 0])
    np.testing.assert_allclose(weights[1, 3], [0, 1 / 3, 0])


def test_the_benchmark_holds_as_much_of_everything(world):
    """What is earned is over all names in equal parts with the same exposure; turnover costs."""
    returns = np.array([[0.01, -0.02, 0.04], [0.01, 0.01, -0.01], [0.0, 0.0, 0.1]])
    search = calibrate.Search(windows=np.array([2]), shares=np.array([0.3]), every=1, cost=0.001)
    weights = np.array([[[1.0, 0, 0]], [[0, 0, 0.5]], [[0, 0, 0]]])

    gross, cost = calibrate._earned(returns, weights, search, 0)
    late, _ = calibrate._earned(returns, weights, search, 1)

    np.testing.assert_allclose(gross[:, 0], [0, 0.01 - 0.01 / 3, 0.05 - 0.05 / 3])
    np.testing.assert_allclose(cost[:, 0], [0, 0.001, 0.0015])
    np.testing.assert_allclose(late[:, 0], [0, 0, -0.1 / 3])


class _Recording(np.random.Generator):
    """A generator that remembers between what it was asked to draw."""

    def __init__(self, seed):
        super().__init__(np.random.PCG64(seed))
        self.asked = []

    def integers(self, low, high=None, **more):
        self.asked.append((low, high))
        return super().integers(low, high, **more)


def test_signals_are_moved_far_in_time(world):
    """One shift for all names, at least 250 sessions from their own time in both directions."""
    rng = _Recording(1)
    n = len(world.returns)

    world.shifted(rng)

    assert rng.asked[1] == (250, n - 250 + 1)


def test_a_redrawn_world_is_worthless(embedded_panels):
    """Without costs all configurations earn nothing over their benchmarks in the mean."""
    free = World.of(embedded_panels[1], 252, SMALL.model_copy(update={"cost_bps": 0.0}))
    draws = [free.redrawn(np.random.default_rng([5, k])).active.mean() for k in range(300)]

    error = np.std(draws, ddof=1) / np.sqrt(len(draws))

    assert abs(np.mean(draws)) < 3.0 * error


def test_a_planted_ratio_is_what_it_says(world):
    """The planted configuration earns its ratio more than it did, over and above its costs."""
    returns = world.returns - world.returns.mean(axis=0)
    rows = np.arange(0, len(returns), world.search.every)
    weights = calibrate._weights(returns, rows, world.search)[:, [4]]
    before, cost = calibrate._earned(returns, weights, world.search, 0)

    planted = world._planted(returns, weights[:, 0], 1.5)
    after, _ = calibrate._earned(planted, weights, world.search, 0)

    gained = (after - before).mean() - cost.mean()
    spread = (before - cost).std(ddof=1)
    assert gained / spread * np.sqrt(252) == pytest.approx(1.5, rel=1e-9)


def test_the_same_seed_gives_the_same_numbers(world, measured):
    """A measurement repeats to the bit; another seed draws other worlds."""
    other = replace(world, settings=SMALL.model_copy(update={"seed": 99}))
    first, second = (
        calibrate._Null(
            calibrate._Gate(world=drawn, settings=_gate()), calibrate.REDRAWN, 20, lambda: None
        )
        for drawn in (world, other)
    )

    assert json.dumps(calibrate.measure(world, _gate(), market="us")) == json.dumps(measured)
    assert not np.array_equal(first.probability, second.probability)


def test_the_threshold_lets_no_more_through_than_asked(world):
    """Of the draws that it is found by, at most the target is promoted at it."""
    asked = calibrate._Gate(world=world, settings=_gate(max_pbo=0.9, spa_size=0.5))
    null = calibrate._Null(asked, calibrate.SHIFTED, 40, lambda: None)

    threshold = null.threshold()

    even = np.arange(0, 40, 2)
    over = [k for k in even[null.probability[even] >= threshold] if null._holds(int(k))]
    just_under = [
        k for k in even[null.probability[even] >= threshold - 1e-9] if null._holds(int(k))
    ]
    allowed = int(SMALL.target_rate * len(even))
    assert len(over) <= allowed
    assert threshold == 0.5 or len(just_under) == allowed + 1


def _track_of(draw):
    """Return the track of the best of a draw; its benchmark is 0, so that it is all active."""
    n = len(draw.active)
    return Track(
        sessions=np.arange(n).astype("datetime64[D]"), net=draw.active[:, 0],
        benchmark=np.zeros(n), exposure=np.ones(n), doubled=draw.doubled[:, 0],
        delayed=draw.delayed[:, 0], sessions_per_year=252, turnover=1.0, break_even_bps=99.0,
        capital=1.0, capacity=np.inf, stretches=(), rank_ic=0.05, rank_ic_t=99.0,
    )  # fmt: skip


def test_what_is_measured_is_what_judges(world):
    """Asked about the same returns, the gate that is measured says what the one that judges says."""
    settings = _gate()
    asked = calibrate._Gate(world=world, settings=settings)
    said = []
    for number in range(12):
        draw = world.redrawn(np.random.default_rng([8, number]), 1.5)
        track = _track_of(draw)
        others = [draw.active[:, k] for k in range(1, draw.active.shape[1])]

        verdict = judge(track, None, trials=Trials.of(track, others), settings=settings)

        said.append(verdict.promoted)
        assert asked.promotes(draw, settings.min_dsr) == verdict.promoted, verdict.reason
    assert 0 < sum(said) < 12


@pytest.mark.parametrize("name", ["doubled", "delayed", "pbo", "spa"])
def test_each_further_question_is_measured_too(world, name):
    """The best of a good draw is refused when it fails one of the other questions alone."""
    draw = world.redrawn(np.random.default_rng([8, 1]), 4.0)
    settings = _gate()
    if name in ("doubled", "delayed"):
        failing = replace(draw, **{name: getattr(draw, name) - 0.01})
    elif name == "pbo":
        failing = replace(draw, active=draw.active[:, [0, 0]])
    else:
        failing, settings = draw, _gate(spa_size=1e-6)

    assert calibrate._Gate(world=world, settings=_gate()).holds(draw)
    assert not calibrate._Gate(world=world, settings=settings).holds(failing)


def test_size_and_power_are_told(measured):
    """Rates of both nulls, the interval of the worse one, and the power, as the JSON promises."""
    worse = max(measured["nulls"], key=lambda null: null["interval"][1])

    assert measured["runs"] == 80
    assert [null["draws"] for null in measured["nulls"]] == [20, 20]
    assert measured["false_promotion_rate"] == worse["rate"]
    assert measured["interval"] == worse["interval"]
    assert [(one["information_ratio"], one["draws"]) for one in measured["power"]] == [(3.0, 20)]
    # A ratio of 3 over 5 years is a t of 6.7.
    assert measured["power"][0]["rate"] > 0.9


def test_a_gate_that_asks_for_little_is_found_out(world):
    """Without its questions the gate breaks its promise, and the measurement says so."""
    loose = _gate(min_dsr=0.5, max_pbo=0.99, spa_size=0.9)

    found = calibrate.measure(world, loose, market="us", draws=40)

    assert found["shipped"]["interval"][1] > found["promise"]
    assert not found["is_within"]


def test_too_little_history_is_said(embedded_panels):
    """A record that is shorter than its shifts is no ground to measure on."""
    with pytest.raises(MissingDataError, match="기록이 모자람"):
        World.of(embedded_panels[1].until(700), 252, SMALL)


def test_the_result_is_kept_and_told(measured, tmp_path):
    """The file has what was measured; the text says both rates, the promise and the power."""
    path = calibrate.keep(tmp_path / "gate", measured)
    text = calibrate.text(measured)

    assert json.loads(path.read_text("utf-8")) == measured
    assert path.name == "calibration-us.json"
    assert "귀무 1" in text
    assert "귀무 2" in text
    assert "연 3:" in text
