"""What deep Q-learning must and must not find, in worlds made of recorded returns (REFERENCES 21).

The returns are recorded; their order is destroyed by permutation, so that nothing of the past says
anything of what comes, and their mean is taken out or put back. Costs are a market's own.
"""

import sys
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from trading.domain.arrays import FloatArray
from trading.domain.instrument import Exchange, Market
from trading.domain.market import AdjustedPanel
from trading.domain.rules import as_array, shipped_rules
from trading.features.pipeline import FeatureSettings, compute
from trading.mlops import dataset
from trading.models.base import ModelSettings, PolicySettings
from trading.models.dqn import DqnSettings, Layers, train
from trading.models.reinforcement import Dqn, reward_unit
from trading.models.rl_env import Account, Tape, Trading, follow, segments

pytestmark = pytest.mark.slow

SETTINGS = DqnSettings(steps_per_update=128)
UPDATES = 4_000
ROWS, NAMES = 3_000, 256
ACCOUNT = Account(cash=100_000_000, participation_bps=10_000)
FREE = np.zeros((1, 7), dtype=np.int64)
FREE[0, 4] = 1


def _fees(market: Market, exchange: Exchange) -> np.ndarray:
    """Return what was paid in 2012: 0.25 % a side in the US, 0.33 % there and back in Korea."""
    return as_array(shipped_rules(market).fees(exchange, date(2012, 6, 1), date(2012, 6, 6)))


def _growth(panel: AdjustedPanel, symbol: str) -> FloatArray:
    """Return the recorded logarithms of growth from open to open."""
    return np.diff(np.log(panel.open[:, panel.symbols.index(symbol)]))


def _shuffled(growth: FloatArray, names: int, rng: np.random.Generator) -> FloatArray:
    """Return ``names`` orders of the recorded growth, of ``ROWS`` sessions each."""
    return np.stack([rng.permutation(np.resize(growth, ROWS)) for _ in range(names)], axis=1)


def _world(growth: FloatArray, fees: np.ndarray, *, tells_tomorrow: bool = False) -> Tape:
    """Return prices that grow so; the features are the last two returns, or tomorrow's as well."""
    n, m = growth.shape
    past = np.vstack((np.zeros((1, m)), growth))
    price = np.rint(1_000_000 * np.exp(np.cumsum(past, axis=0))).astype(np.int64)
    features = [past, np.vstack((np.zeros((1, m)), past[:-1]))]
    if tells_tomorrow:
        features.append(np.vstack((past[2:], np.zeros((2, m)))))
    nothing = np.zeros((n + 1, m), dtype=np.int64)
    return Tape(
        features=np.clip(np.stack(features, axis=2) / past.std(), -5, 5).astype(np.float32),
        open=price,
        close=price,
        volume=nothing + 10**12,
        lower=nothing,
        upper=nothing,
        lot=nothing + 1,
        fees=fees[None],
        fee_of=nothing[:, 0].copy(),
    )


def _everywhere(world: Tape, length: int = ROWS) -> np.ndarray:
    whole = np.ones(world.close.shape, dtype=np.bool_)
    whole[length:] = False
    return segments(whole)


def _learned(world: Tape, seed: int) -> Layers:
    runs = _everywhere(world)
    trading = Trading(world, runs, ACCOUNT, lanes=256, length=250, unit=reward_unit(world, runs))
    return train(trading, SETTINGS, steps=UPDATES * SETTINGS.steps_per_update, seed=seed).layers


def _exposure(world: Tape, layers: Layers) -> float:
    """Return the share of sessions that the policy wants to hold in."""
    advantage, _ = follow(world, _everywhere(world), ACCOUNT, layers)
    return float(np.mean(advantage[:ROWS] > 0.0))


def _best(growth: FloatArray, buy: float, sell: float) -> float:
    """Return the most that can be earned of known growth, by dynamic programming; logarithms."""
    flat, held = 0.0, -np.inf
    for step in growth:
        flat, held = max(flat, held - sell), max(held, flat - buy) + step
    return max(flat, held - sell)


@pytest.mark.parametrize(
    ("market", "exchange"), [(Market.KRX, Exchange.KOSPI), (Market.US, Exchange.NASDAQ)]
)
def test_noise_is_not_traded(embedded_panels, market, exchange):
    """Returns without mean and order, with costs: exposure below 5 % in four of five seeds."""
    growth = _growth(embedded_panels[1], "IBM")
    growth -= growth.mean()
    fees = _fees(market, exchange)

    exposures = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        layers = _learned(_world(_shuffled(growth, NAMES, rng), fees), seed)
        exposures.append(_exposure(_world(_shuffled(growth, 16, rng), fees), layers))

    sys.stdout.write(f"비용이 있는 잡음 ({market}): 보유 비율 {np.round(exposures, 4).tolist()}\n")
    assert np.sum(np.array(exposures) < 0.05) >= 4


def test_drift_is_held(embedded_panels):
    """The recorded mean of AAPL, no order and no costs: exposure above 90 % in every seed."""
    growth = _growth(embedded_panels[1], "AAPL")

    exposures = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        layers = _learned(_world(_shuffled(growth, NAMES, rng), FREE), seed)
        exposures.append(_exposure(_world(_shuffled(growth, 16, rng), FREE), layers))

    sys.stdout.write(f"비용이 없는 상승: 보유 비율 {np.round(exposures, 4).tolist()}\n")
    assert np.min(exposures) > 0.9


def test_tomorrow_is_used(embedded_panels):
    """With tomorrow's return in its state the policy earns nine tenths of the most there is."""
    growth = _growth(embedded_panels[1], "IBM")
    growth -= growth.mean()
    fees = _fees(Market.US, Exchange.NASDAQ)
    rng = np.random.default_rng(1)
    layers = _learned(_world(_shuffled(growth, NAMES, rng), fees, tells_tomorrow=True), seed=1)

    unseen = _shuffled(growth, 16, rng)
    # Whole numbers of money end where an account of years of foresight would begin.
    length = 400
    _, earned = follow(
        _world(unseen, fees, tells_tomorrow=True),
        _everywhere(_world(unseen, fees), length),
        ACCOUNT,
        layers,
    )

    share = [
        np.nansum(earned[:, i]) / _best(unseen[1 : length - 1, i], 0.0025, 0.0025224)
        for i in range(16)
    ]
    sys.stdout.write(
        f"내일을 아는 정책: 최선의 {np.mean(share):.1%} (가장 낮은 종목 {np.min(share):.1%})\n"
    )
    assert 0.9 < np.mean(share) <= 1.0


def test_the_learner_finds_nothing_in_shuffled_days(embedded_panels):
    """A history of recorded days in another order, without their mean: what the learner makes of
    it holds less than 5 % of the sessions that follow, in four of five shuffles."""
    panel = embedded_panels[1]
    settings = ModelSettings(stride_sessions=10)
    exposures = []
    for seed in range(5):
        shuffled = _shuffled_days(panel, np.random.default_rng(seed))
        data = dataset.build(shuffled.until(1_500), FeatureSettings(), settings)
        policy = Dqn(PolicySettings()).fit(data, np.arange(len(data.row)), seed=seed)
        x = compute(shuffled, FeatureSettings()).select(data.feature_names)[1_500:]
        known = np.isfinite(x).all(axis=2)
        advantage = policy.advantages(shuffled, x, known, first=1_500)
        exposures.append(float(np.mean(advantage[known] > 0.0)) * policy.edge)

    sys.stdout.write(f"뒤섞은 날들에서 배운 정책: 보유 비율 {np.round(exposures, 4).tolist()}\n")
    assert np.sum(np.array(exposures) < 0.05) >= 4


def _shuffled_days(panel: AdjustedPanel, rng: np.random.Generator) -> AdjustedPanel:
    """Return nine names of 2,000 sessions whose days are recorded ones in another order."""
    names = [panel.symbols.index(name) for name in ("AAPL", "IBM", "MSFT")] * 3
    last = panel.close[:-1][:, names]
    fields = {}
    order = np.stack([rng.permutation(len(last))[:2_000] for _ in names], axis=1)
    for field in ("open", "high", "low", "close"):
        moved = np.log(getattr(panel, field)[1:][:, names] / last)
        fields[field] = np.take_along_axis(moved, order, axis=0)
    daily = fields["close"] - fields["close"].mean(axis=0)
    before = np.cumsum(daily, axis=0) - daily
    drift = fields["close"].mean(axis=0)
    prices = {field: 1e6 * np.exp(before + moved - drift) for field, moved in fields.items()}
    volume = np.take_along_axis(panel.volume[1:][:, names], order, axis=0)
    return replace(
        panel,
        symbols=tuple(f"{panel.symbols[name]}{k}" for k, name in enumerate(names)),
        sessions=panel.sessions[:2_000],
        volume=volume,
        tradable=np.ones(volume.shape, dtype=np.bool_),
        benchmark=np.full(2_000, np.nan),
        benchmark_name="",
        **prices,
    )
