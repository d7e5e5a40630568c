"""Overfitting, superiority and stability against other implementations and closed forms.

Samples without any edge are recorded returns, less their mean, redrawn in blocks.
"""

import itertools
import math

import numpy as np
import pytest
from arch.bootstrap import SPA, StationaryBootstrap
from scipy import stats

from trading import measures
from trading.backtest import validation


@pytest.fixture(scope="module")
def returns(embedded_panels):
    """Returns of AAPL, IBM, MSFT and the S&P 500, 2000-03-01 to 2013-03-01."""
    _, adjusted = embedded_panels
    closes = [adjusted.close[:, adjusted.symbols.index(s)] for s in ("AAPL", "IBM", "MSFT")]
    return np.column_stack([measures.returns_of(c) for c in (*closes, adjusted.benchmark)])


def redrawn(returns, rng, *, columns, sessions):
    """Return columns of recorded returns without their mean, each redrawn in blocks of 5."""
    fair = returns[:, 0] - returns[:, 0].mean()
    drawn = StationaryBootstrap(5, fair, seed=rng).bootstrap(columns)
    return np.column_stack([data[0][:sessions] for data, _ in drawn])


# ---- overfitting -------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [2, 4, 8])
def test_overfitting_as_defined(returns, blocks):
    """Rank by rank what the definition says, with scipy's ranks and numpy's deviations."""
    x = returns[:250]
    parts = np.array_split(np.arange(len(x)), blocks)
    logits, inside, outside = [], [], []
    for half in itertools.combinations(range(blocks), blocks // 2):
        rows = np.concatenate([parts[b] for b in half])
        rest = np.setdiff1d(np.arange(len(x)), rows)
        here, there = (x[r].mean(axis=0) / x[r].std(axis=0, ddof=1) for r in (rows, rest))
        best = int(np.argmax(here))
        omega = stats.rankdata(there)[best] / (x.shape[1] + 1)
        logits.append(math.log(omega / (1 - omega)))
        inside.append(here[best])
        outside.append(there[best])
    line = stats.linregress(inside, outside) if len(set(inside)) > 1 else None

    found = validation.overfitting(x, blocks=blocks)

    np.testing.assert_allclose(found.logits, logits, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.inside, inside, atol=1e-9)
    np.testing.assert_allclose(found.outside, outside, atol=1e-9)
    assert found.pbo == np.mean(np.array(logits) < 0)
    assert found.loss == np.mean(np.array(outside) < 0)
    assert len(found.logits) == math.comb(blocks, blocks // 2)
    if line is not None and blocks > 2:
        assert found.slope == pytest.approx(line.slope, rel=1e-6)
        assert found.intercept == pytest.approx(line.intercept, rel=1e-6)
        assert found.r_squared == pytest.approx(line.rvalue**2, rel=1e-6)


def test_copies_of_one_are_a_coin(returns):
    """Nothing was chosen among equals: every logit is 0 and the probability is a half."""
    found = validation.overfitting(np.repeat(returns[:500, :1], 7, axis=1), blocks=8)

    assert found.pbo == 0.5
    np.testing.assert_array_equal(found.logits, 0.0)


def test_all_flat_is_a_coin():
    """What never trades has a Sharpe ratio of 0 everywhere, and neither gains nor loses."""
    found = validation.overfitting(np.zeros((200, 5)), blocks=4)

    assert (found.pbo, found.loss) == (0.5, 0.0)
    np.testing.assert_array_equal(found.outside, 0.0)


def test_always_best_is_never_overfitted(returns):
    """A column that is another one and 10 bp a session more is best in every half."""
    x = np.column_stack([returns[:, 0], returns[:, 0] + 0.001, returns[:, 0] - 0.001])

    found = validation.overfitting(x, blocks=8)

    assert found.pbo == 0.0
    assert set(found.chosen) == {1}


def test_best_that_turns_is_always_overfitted(returns):
    """Two columns that are each other's mirror image over time: the best of one half is the worse
    in the other, in every half that differs."""
    x = returns[:200, :1]
    up = np.concatenate([np.abs(x[:100]), -np.abs(x[100:])])

    found = validation.overfitting(np.column_stack([up, -up]), blocks=2)

    assert (found.pbo, found.loss) == (1.0, 1.0)


@pytest.mark.compiled_only
def test_null_and_edge(returns):
    """About a half without any edge, near 0 with one of 0.2 deviations a day among 50 (REFERENCES 7:
    0.45 and 0.004 on drawn numbers; here recorded returns redrawn)."""
    rng = np.random.default_rng(7)
    fair, edge = [], []
    for _ in range(20):
        x = redrawn(returns, rng, columns=50, sessions=1000)
        fair.append(validation.overfitting(x, blocks=10).pbo)
        x[:, 7] += 0.2 * x[:, 7].std()
        edge.append(validation.overfitting(x, blocks=10).pbo)

    # The mean of 20 with a deviation of 0.19 has an error of 0.04.
    assert np.mean(fair) == pytest.approx(0.5, abs=0.12)
    assert np.mean(edge) < 0.05


def test_too_little_to_choose_from_is_unknown(returns):
    """One configuration, or less than two sessions a block, has no probability."""
    for x in (returns[:, :1], returns[:15], returns[:0]):
        found = validation.overfitting(x, blocks=8)
        assert math.isnan(found.pbo)
        assert math.isnan(found.loss)
        assert len(found.logits) == 0


@pytest.mark.parametrize("blocks", [0, 3, 18])
def test_impossible_blocks(returns, blocks):
    """Blocks that have no halves, or too many, are refused."""
    with pytest.raises(ValueError, match="blocks"):
        validation.overfitting(returns, blocks=blocks)


# ---- superiority -------------------------------------------------------------------------------


def test_superiority_agrees_with_arch(returns):
    """On studentized differences arch's SPA finds the same p-values from the same draws."""
    excess = returns[:, :3] - returns[:, 3:]
    scaled = excess / [validation._deviation(c, 6) for c in excess.T]
    theirs = SPA(np.zeros(len(excess)), -scaled, block_size=6, reps=500, seed=3)
    theirs.compute()

    ours = validation.superiority(
        returns[:, :3], returns[:, 3], repetitions=500, rng=np.random.default_rng(3), block=6
    )

    np.testing.assert_allclose(theirs._loss_diff_var, 1.0)
    for name, value in (
        ("lower", ours.p_lower), ("consistent", ours.p_value), ("upper", ours.p_upper),
    ):  # fmt: skip
        assert value == pytest.approx((theirs.pvalues[name] * 500 + 1) / 501)


def test_deviation_is_that_of_the_redrawn_mean(returns):
    """The formula is the limit of what many stationary bootstrap samples say."""
    x = returns[:800, 0]
    means = validation._redrawn_means(x[:, None], 10, 20_000, np.random.default_rng(1))

    assert validation._deviation(x, 10) == pytest.approx(
        float(means.std() * math.sqrt(len(x))), rel=0.03
    )


def test_a_real_edge_is_found_and_named(returns):
    """Of five, the two that earn 20 bp a session more than a fair one are superior, stepwise."""
    x = redrawn(returns, np.random.default_rng(5), columns=5, sessions=2000)
    x[:, 1] += 0.004
    x[:, 3] += 0.0025

    found = validation.superiority(
        x, np.zeros(len(x)), repetitions=500, rng=np.random.default_rng(1)
    )

    assert found.superior == (1, 3)
    assert found.p_lower <= found.p_value <= found.p_upper
    assert found.p_value == 1 / 501


def test_nothing_but_superior_columns(returns):
    """When the last step leaves nobody, everybody is superior (arch's StepM fails there)."""
    x = redrawn(returns, np.random.default_rng(5), columns=2, sessions=1000)
    x += np.array([0.02, 0.004])

    found = validation.superiority(
        x, np.zeros(len(x)), repetitions=300, rng=np.random.default_rng(1)
    )

    assert found.superior == (0, 1)


@pytest.mark.compiled_only
def test_luck_is_seldom_called_superior(returns):
    """Of 60 sets of 10 without an edge at most 8 are superior at 5 % (binomial, 99 %)."""
    rng = np.random.default_rng(11)
    found = [
        validation.superiority(
            redrawn(returns, rng, columns=10, sessions=400),
            np.zeros(400),
            repetitions=199,
            rng=rng,
            block=5,
        )
        for _ in range(60)
    ]

    assert sum(f.p_value <= 0.05 for f in found) <= 8
    assert sum(bool(f.superior) for f in found) <= 8


def test_the_benchmark_is_not_better_than_itself(returns):
    """Differences of exactly 0 are never superior."""
    found = validation.superiority(
        returns[:, [3, 3]], returns[:, 3], repetitions=100, rng=np.random.default_rng(1)
    )

    assert found.superior == ()
    assert found.p_value > 0.9


def test_superiority_of_too_little_is_unknown(returns):
    """Under 20 sessions, or of nobody, there is no p-value."""
    for x in (returns[:19], returns[:, :0]):
        found = validation.superiority(
            x, np.zeros(len(x)), repetitions=10, rng=np.random.default_rng(1)
        )
        assert math.isnan(found.p_value)
        assert found.superior == ()


# ---- stability ---------------------------------------------------------------------------------


def test_needle_and_plateau():
    """A needle falls by the whole range to its neighbours, a plateau by nothing."""
    points = [{"fast": f, "slow": s} for f in (5, 10, 20) for s in (50, 100, 200)]
    needle = validation.stability(points, np.array([0, 0, 0, 0, 1.0, 0, 0, 0, 0]))
    flat = validation.stability(points, np.full(9, 0.7))

    assert needle.neighbors.tolist() == [3, 5, 3, 5, 8, 5, 3, 5, 3]
    assert needle.plateau[4] == 0.0
    assert needle.plateau[0] == pytest.approx(1 + 1 / 3)
    assert (needle.mean[4], needle.worst[4], needle.worst[0]) == (0.0, 0.0, 0.0)
    np.testing.assert_array_equal(flat.plateau, 1.0)


def test_a_step_is_the_next_value_of_the_grid():
    """Uneven grids have neighbours too; those two steps away are none."""
    points = [{"window": w} for w in (200, 10, 11, 50)]

    found = validation.stability(points, np.array([4.0, 1.0, 2.0, 3.0]))

    assert found.neighbors.tolist() == [1, 1, 2, 2]
    assert found.mean.tolist() == [3.0, 2.0, 2.0, 3.0]


def test_words_have_no_neighbours():
    """An SMA of 10 is next to an SMA of 20, not to an EMA of 10; true is not next to false."""
    points = [{"kind": k, "window": w, "is_on": True} for k in ("sma", "ema") for w in (10, 20)] + [
        {"kind": "sma", "window": 10, "is_on": False}
    ]

    found = validation.stability(points, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))

    assert found.neighbors.tolist() == [1, 1, 1, 1, 0]
    assert found.mean[:4].tolist() == [2.0, 1.0, 4.0, 3.0]
    assert math.isnan(found.plateau[4])


def test_a_point_without_a_value_is_nobodys_neighbour():
    """What could not be measured neither helps nor hurts."""
    points = [{"w": w} for w in (1, 2, 3)]

    found = validation.stability(points, np.array([1.0, np.nan, 3.0]))

    assert found.neighbors.tolist() == [0, 0, 0]
    assert np.isnan(found.plateau).all()
    assert len(validation.stability([], np.empty(0)).plateau) == 0
