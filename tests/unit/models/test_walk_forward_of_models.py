"""What out-of-sample forecasts come to, held against other implementations on recorded data."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset as datasets
from trading.models import validation
from trading.models.base import ForestSettings, ModelSettings, ValidationSettings
from trading.models.forest import Forest
from trading.models.validation import FIGURES

MODELS = ModelSettings(forest=ForestSettings(trees=6))
SETTINGS = MODELS.validation
LEARNER = Forest(MODELS.forest)
PRIOR = 60.0


@pytest.fixture(scope="module")
def data(embedded_panels):
    """Five names, a row every fifth session, labels over twenty."""
    return datasets.build(embedded_panels[1], FeatureSettings(), MODELS)


@pytest.fixture(scope="module")
def recorded(data):
    """A forecast that needs no learner: the first feature; with its table and what it came to."""
    forecast = data.x[:, 0].copy()
    forecast[data.row < data.row[len(data.row) // 3]] = np.nan
    found = validation.outcome(data, forecast, SETTINGS, rank_min_names=5)
    table = pd.DataFrame(
        {"row": data.row, "name": data.column, "f": forecast, "y": data.forward, "e": data.excess}
    ).dropna()
    return found, table


def per_session(table, of):
    """Return what ``of`` says of each session with three names or more."""
    told = table.groupby("row").filter(lambda part: len(part) >= SETTINGS.min_names)
    return told.groupby("row")[["f", "e"]].apply(of)


def test_information_coefficients_are_scipys(recorded):
    """IC and rank IC are Pearson's and Spearman's of each session (scipy), ICIR their ratio."""
    found, table = recorded

    linear = per_session(table, lambda part: stats.pearsonr(part.f, part.e).statistic)
    rank = per_session(table, lambda part: stats.spearmanr(part.f, part.e).statistic)

    assert found.ic == pytest.approx(linear.mean(), rel=1e-9)
    assert found.icir == pytest.approx(linear.mean() / linear.std(), rel=1e-9)
    assert found.rank_ic == pytest.approx(rank.mean(), rel=1e-9)
    assert found.rank_icir == pytest.approx(rank.mean() / rank.std(), rel=1e-9)
    assert found.rank_ic_t == pytest.approx(validation.newey_west_t(rank.to_numpy(), lags=3))


def test_quantiles_and_spread_are_pandas(recorded):
    """Each session's names in as many parts as it middlingly has names; the last is the spread."""
    found, table = recorded
    k = int(table.groupby("row").size().median())
    sessions = table.groupby("row")
    place = (sessions.f.rank() - 0.5) / sessions.f.transform("size")
    table = table.assign(
        part=np.floor(place * k), over=table.y - sessions.y.transform("mean")
    ).groupby("row").filter(lambda part: len(part) >= SETTINGS.min_names)  # fmt: skip

    mean = table.groupby(["part", "row"]).over.mean().groupby("part").mean()

    assert len(found.quantile_returns) == k < SETTINGS.quantiles
    np.testing.assert_allclose(found.quantile_returns, mean, rtol=1e-9)
    assert found.spread == found.quantile_returns[-1]


def test_net_pays_for_what_is_replaced(recorded):
    """A holding is renewed every fourth session; the first is bought from cash."""
    found, table = recorded
    k = len(found.quantile_returns)
    held, paid = {}, []
    for i, (_, part) in enumerate(table.groupby("row")):
        place = (part.f.rank() - 0.5) / len(part)
        now = set(part.name[np.floor(place * k) == k - 1])
        before = held.get(i - 4, set())
        weight = {name: 1 / len(now) for name in now}
        old = {name: 1 / len(before) for name in before} if before else {}
        bought = sum(max(weight.get(n, 0) - old.get(n, 0), 0) for n in weight)
        held[i] = now
        paid.append(bought)

    assert found.turnover == pytest.approx(np.mean(paid), rel=1e-9)
    cost = SETTINGS.turnover_cost_bps / 10_000 * found.turnover
    assert found.net == pytest.approx(found.spread - cost, rel=1e-9)


def test_what_knows_the_labels_is_worth_them(data):
    """The labels as forecast: an IC of 1, and quantiles that rise to the best name's excess."""
    best = validation.outcome(data, data.excess, SETTINGS, rank_min_names=5)
    worst = validation.outcome(data, -data.excess, SETTINGS, rank_min_names=5)

    assert (best.ic, best.rank_ic) == (pytest.approx(1.0), pytest.approx(1.0))
    assert np.all(np.diff(best.quantile_returns) > 0)
    assert worst.rank_ic == pytest.approx(-1.0)
    assert worst.net < worst.spread < 0 < best.net < best.spread


def test_too_few_names_say_nothing(data):
    """One name a session has no rank: figures are unknown, and none of them is an edge."""
    one = np.where(data.column == data.column[0], data.excess, np.nan)

    found = validation.outcome(data, one, SETTINGS, rank_min_names=5)

    assert (found.rank_ic, found.rank_ic_t, found.spread_t) == (0.0, 0.0, 0.0)
    assert np.isnan([found.ic, found.icir, found.rank_icir, found.spread, found.net]).all()


def test_a_rolling_fold_forgets(data):
    """Rolling folds learn from equally many dates, up to where the anchored ones do."""
    anchored = validation.folds(data, SETTINGS)
    rolling = validation.folds(data, SETTINGS.model_copy(update={"scheme": "rolling"}))

    lengths = [len(np.unique(data.row[train])) for train, _ in rolling]
    assert len(set(lengths)) == 1
    for (all_rows, test), (last, same_test) in zip(anchored, rolling, strict=True):
        np.testing.assert_array_equal(test, same_test)
        np.testing.assert_array_equal(last, all_rows[-len(last) :])
    assert len(rolling[-1][0]) < len(anchored[-1][0])


def test_a_window_is_purged_too(data):
    """A learner of windows is kept from as many more sessions as its rows look back."""
    ten = replace(data, x=np.repeat(data.x[:, None, :], 10, axis=1))

    for (plain, test), (wide, _) in zip(
        validation.folds(data, SETTINGS), validation.folds(ten, SETTINGS), strict=True
    ):
        begin = data.row[test].min()
        assert begin - data.row[plain].max() > 20 + 5
        assert begin - data.row[wide].max() > 20 + 9 + 5


@pytest.mark.compiled_only
def test_the_forest_says_how_sure_it_is(data):
    """Views are right as often as their credit says: ECE at most 0.05, on recorded data."""
    walk = validation.walk_forward(data, LEARNER, SETTINGS, rank_min_names=5, seed=7)

    found = validation.calibration(walk, horizon=data.horizon, prior_outcomes=PRIOR)

    assert found.count.sum() == np.count_nonzero(walk.vote)
    assert found.count.sum() > 1000
    assert found.error <= 0.05


@pytest.mark.compiled_only
def test_credit_is_of_what_was_known(recorded, data):
    """The reliability diagram, view by view, from nothing but what was known at its session."""
    walk, _ = recorded
    found = validation.calibration(walk, horizon=20, prior_outcomes=PRIOR)

    credit, right = [], []
    for t, vote, forward in zip(walk.row, walk.vote, walk.forward, strict=True):
        if vote == 0:
            continue
        sign, past = np.sign(vote), walk.row <= t - 20
        same = past & (np.sign(walk.vote) == sign)
        # Four sessions of a label's span, and the names of each, are one outcome.
        one = 1 / (4 * np.array([np.sum(walk.row == row) for row in walk.row]))
        weight = (np.abs(walk.vote) * one)[same]
        hits = weight[np.sign(walk.forward[same]) == sign].sum()
        moves = one[past & (np.sign(walk.forward) == sign)].sum()
        base = (moves + PRIOR / 2) / (one[past].sum() + PRIOR)
        credit.append((hits + PRIOR * base) / (weight.sum() + PRIOR))
        right.append(np.sign(forward) == sign)
    credit, right = np.array(credit), np.array(right)
    bins = np.minimum((credit * 10).astype(int), 9)
    error = sum(
        (bins == b).mean() * abs(credit[bins == b].mean() - right[bins == b].mean())
        for b in np.unique(bins)
    )

    assert found.error == pytest.approx(error, abs=1e-12)


@pytest.mark.compiled_only
def test_seeds_are_walks_of_their_own(data):
    """Mean and deviation of five seeds are those of five walk-forwards; fewer are refused."""
    found = validation.over_seeds(data, LEARNER, SETTINGS, rank_min_names=5, seed=3)
    alone = [
        validation.walk_forward(data, LEARNER, SETTINGS, rank_min_names=5, seed=s)
        for s in range(3, 8)
    ]

    assert found.mean.keys() == found.std.keys() == set(FIGURES)
    for name in FIGURES:
        values = np.array([getattr(walk, name) for walk in alone])
        assert found.mean[name] == pytest.approx(values.mean(), rel=1e-12)
        assert found.std[name] == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert found.std["rank_ic"] > 0
    with pytest.raises(ValueError, match="seeds"):
        ValidationSettings(seeds=4)


@pytest.mark.compiled_only
def test_paths_are_forecast_by_those_who_did_not_see_them(data):
    """Six groups, two tested: five paths of whole history; a leak shows on all of them."""
    told = replace(data, x=np.column_stack([data.x, data.excess]))

    honest = validation.dispersion(data, LEARNER, SETTINGS, rank_min_names=5, seed=7)
    leaked = validation.dispersion(told, LEARNER, SETTINGS, rank_min_names=5, seed=7)

    assert honest.shape == leaked.shape == (5,)
    assert np.abs(honest).max() < 0.3 < 0.6 < leaked.min()
    assert len(np.unique(honest)) > 1


def test_who_abstains_from_all_is_a_model_error(data):
    """Without any forecast there is nothing to measure."""
    with pytest.raises(ModelError, match="기권"):
        validation.outcome(data, np.full(len(data.row), np.nan), SETTINGS, rank_min_names=5)


def test_a_history_too_short_for_groups_is_a_model_error(data):
    """Where the purge leaves nothing to learn from, nothing is forecast."""
    short = data.row < data.row.min() + 60
    few = replace(
        data, x=data.x[short], excess=data.excess[short], forward=data.forward[short],
        row=data.row[short], column=data.column[short],
    )  # fmt: skip

    with pytest.raises(ModelError, match="비었음"):
        validation.dispersion(few, LEARNER, SETTINGS, rank_min_names=5, seed=7)
