"""The trading environment: it trades as backtests do, and many accounts as one."""

import numpy as np
import pytest

from trading.backtest import direct
from trading.domain.instrument import Exchange, Market
from trading.domain.rules import shipped_rules
from trading.models.rl_env import (
    CASH,
    HELD,
    Account,
    Trading,
    fee_tables,
    follow,
    gymnasium_env,
    segments,
    tape,
)

ROWS = slice(1400, 1900)
ACCOUNT = Account(cash=1_000_000_000, participation_bps=10_000)


@pytest.fixture(scope="module")
def recorded(embedded_panels):
    """Two years of recorded bars; the features are the last return and the last range."""
    panel = embedded_panels[1]
    with np.errstate(invalid="ignore"):
        gap = np.diff(np.log(panel.close), axis=0, prepend=np.nan)
        width = np.log(panel.high / panel.low)
    features = np.stack([gap, width], axis=2).astype(np.float32)
    return tape(panel.until(ROWS.stop), features[: ROWS.stop], shipped_rules(Market.US))


@pytest.fixture(scope="module")
def runs(recorded):
    """The whole of both years, for each name that traded in all of them."""
    usable = np.isfinite(recorded.features).all(axis=2)
    usable[: ROWS.start] = False
    found = segments(usable)
    assert found[:, 0].tolist() == [0, 2, 3, 4]
    return found


def _random_wish(n: int, seed: int) -> np.ndarray:
    """Return actions that change every few sessions."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(2, size=n), rng.integers(1, 7, size=n))[:n]


@pytest.mark.parametrize(("participation_bps", "cash"), [(10_000, 10**9), (3, 5 * 10**11)])
def test_it_trades_as_backtests_do(recorded, runs, participation_bps, cash):
    """Shares and cash after each session are those of ``backtest.direct`` with the same wishes,
    to the unit: alone in the auction, and as an account too large for it."""
    column, first, last = runs[2]
    n = last - first + 1
    wishes = _random_wish(n - 2, seed=1)
    one = (slice(first, last + 1), slice(column, column + 1))
    bars = direct.Bars(
        *(np.ascontiguousarray(field[one]) for field in recorded[1:7]),
        recorded.fees,
        recorded.fee_of[one[0], None],
    )
    sides = np.where(wishes > 0, 1, -1).astype(np.int8)[:, None]
    sides = np.vstack((sides, sides[-1:], sides[-1:]))
    expected = direct.run(bars, sides, direct.Size(0, participation_bps), cash=cash)

    trading = Trading(recorded, runs, Account(cash, participation_bps), lanes=1, length=n)
    trading.place(np.array([True]), *(np.array([at]) for at in (column, first, last - 2)))
    held, left = [0], [cash]
    for action in wishes:
        trading.step(np.array([action]))
        held.append(trading.accounts[0, HELD])
        left.append(trading.accounts[0, CASH])

    shares, money = np.zeros(n, dtype=np.int64), np.full(n, cash)
    for row, _, sign, count, price, commission, tax in expected.fills:
        shares[row:] += sign * count
        money[row:] -= sign * count * price + commission + tax
    np.testing.assert_array_equal(held, shares[: n - 1])
    np.testing.assert_array_equal(left, money[: n - 1])
    assert len(expected.fills) > 60


def test_rewards_add_up_to_what_the_account_grew_by(recorded, runs):
    """From the first open to the last, costs and the sale at the end taken off, as by hand."""
    column, first, last = runs[0]
    trading = Trading(recorded, runs, ACCOUNT, lanes=1, length=1_000)
    trading.place(np.array([True]), *(np.array([at]) for at in (column, first, last - 2)))

    rewards, ends = [], []
    for _ in range(first, last - 1):
        _, reward, terminated, truncated = trading.step(np.array([1]))
        rewards.append(reward[0])
        ends.append((terminated[0], truncated[0]))

    opens = recorded.open[first : last + 1, column]
    shares = 10**9 // (recorded.close[first, column] + recorded.close[first, column] // 400 + 1)
    shares = min(shares, 10**9 // (opens[1] + opens[1] // 400 + 1))
    bought = shares * opens[1]
    cash = 10**9 - bought - -(-bought * 25 // 10_000)
    final = cash + shares * opens[-1]
    # The commission is a quarter of a percent; the SEC's fee is thirty times smaller.
    sold = final - shares * opens[-1] * 0.0025
    assert sum(rewards) == pytest.approx(np.log(sold / 10**9), abs=1e-4)
    assert ends[-1] == (True, False)
    assert not any(a or b for a, b in ends[:-1])


def test_a_cut_episode_is_truncated(recorded, runs):
    """One that only reaches its length is truncated; what it earned until then is the same."""
    column, first, last = runs[0]
    start = tuple(np.array([at]) for at in (column, first, last - 2))
    cut = Trading(recorded, runs, ACCOUNT, lanes=1, length=5)
    whole = Trading(recorded, runs, ACCOUNT, lanes=1, length=100)
    for trading in (cut, whole):
        trading.place(np.array([True]), *start)

    for step in range(5):
        _, reward, terminated, truncated = cut.step(np.array([1]))
        _, expected, *_ = whole.step(np.array([1]))
        assert reward == expected
        assert (terminated[0], truncated[0]) == (False, step == 4)


def test_a_purchase_pays_for_its_sale(recorded, runs):
    """The first reward has both commissions in it, the sale itself then costs nothing more."""
    column, first, last = runs[0]
    trading = Trading(recorded, runs, ACCOUNT, lanes=1, length=100)
    trading.place(np.array([True]), *(np.array([at]) for at in (column, first, last - 2)))

    rewards = [float(trading.step(np.array([action]))[1][0]) for action in (1, 1, 0, 0)]

    grew = np.diff(np.log(recorded.open[first + 1 : first + 4, column]))
    # The SEC's fee of the sale is thirty times smaller than the commission.
    assert rewards[0] == pytest.approx(grew[0] - 2 * 0.0025, abs=2e-4)
    assert rewards[1] == pytest.approx(grew[1], abs=1e-4)
    assert rewards[2:] == [0.0, 0.0]


def test_many_accounts_are_each_as_one(recorded, runs):
    """Forty lanes give, step for step, what Gymnasium's environment gives to each alone."""
    lanes = 40
    many = Trading(recorded, runs, ACCOUNT, lanes=lanes, length=60)
    rng = np.random.default_rng(3)
    seen = many.reset(rng).copy()
    begun = many.accounts.copy()
    actions = np.stack([_random_wish(60, seed) for seed in range(lanes)], axis=1)
    steps = [tuple(part.copy() for part in many.step(row)) for row in actions[:20]]

    single = Trading(recorded, runs, ACCOUNT, lanes=1, length=60)
    env = gymnasium_env(single)
    for lane in range(lanes):
        env.reset(seed=lane)
        single.accounts[0] = begun[lane]
        over = False
        for action, (following, reward, terminated, truncated) in zip(actions, steps, strict=False):
            if over:
                break
            observation, gain, ends, cut, _ = env.step(action[lane])
            np.testing.assert_array_equal(observation, following[lane])
            assert (gain, ends, cut) == (reward[lane], terminated[lane], truncated[lane])
            over = ends or cut
    assert np.isfinite(seen).all()


@pytest.mark.filterwarnings("ignore:.*A Box observation space")
def test_gymnasium_accepts_it(recorded, runs):
    """Gymnasium's own checker finds nothing, and a seed is a course."""
    from gymnasium.utils.env_checker import check_env

    env = gymnasium_env(Trading(recorded, runs, ACCOUNT, lanes=1, length=60))
    check_env(env, skip_render_check=True)

    first, again, other = (env.reset(seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    with pytest.raises(ValueError, match="one lane"):
        gymnasium_env(Trading(recorded, runs, ACCOUNT, lanes=2, length=60))


def test_an_observation_is_features_and_the_account(recorded, runs):
    """The last two numbers are the share of the account in the name, and the gain on its cost."""
    column, first, last = runs[3]
    trading = Trading(recorded, runs, ACCOUNT, lanes=1, length=100)
    trading.place(np.array([True]), *(np.array([at]) for at in (column, first, last - 2)))

    for action in (1, 1, 1, 0):
        before = trading.accounts[0].copy()
        seen, *_ = trading.step(np.array([action]))
        t = before[4] + 1
        np.testing.assert_array_equal(seen[0, :-2], recorded.features[t, column])
        value = trading.accounts[0, HELD] * recorded.close[t, column]
        share = value / (value + trading.accounts[0, CASH])
        gain = np.log(recorded.close[t, column] / recorded.open[first + 1, column])
        expected = [share, gain] if action else [0.0, 0.0]
        np.testing.assert_allclose(seen[0, -2:], expected, atol=1e-6)


def test_episodes_stay_in_their_segments(recorded, runs):
    """Wherever an episode begins, what it is paid for lies within a run of usable rows."""
    trading = Trading(recorded, runs, ACCOUNT, lanes=500, length=60)
    trading.reset(np.random.default_rng(1))

    _, _, _, _, row, stop, name, ends = trading.accounts.T
    for column, first, last in runs:
        mine = name == column
        assert (row[mine] >= first).all()
        assert (stop[mine] <= last - 2).all()
        assert (ends[mine] == (stop[mine] == last - 2)).all()
        assert mine.sum() > 80
    assert (stop - row < 60).all()


def test_segments():
    """The longest runs of each column; those too short to be paid for are left out."""
    usable = np.array([[1, 1, 1, 0, 1, 1], [0, 1, 1, 1, 1, 1]], dtype=bool).T

    assert segments(usable).tolist() == [[0, 0, 2], [1, 1, 5]]
    assert segments(usable, least=1).tolist() == [[0, 0, 2], [0, 4, 5], [1, 1, 5]]


def test_fees_are_those_of_the_day():
    """A Korean sale of 2018 pays 0.30 % of tax, one of 2024 0.18 %, by the day it settles."""
    days = np.array(["2018-06-01", "2023-12-26", "2023-12-27", "2024-06-03"], "datetime64[D]")

    tables, which = fee_tables(shipped_rules(Market.KRX), Exchange.KOSPI, days)

    taxes = [int(table[table[:, 0] == 1, 2].sum()) for table in tables[which]]
    assert taxes == [3_000_000, 2_000_000, 1_800_000, 1_800_000]


def test_following_a_network_is_stepping_by_it(recorded, runs):
    """What a followed policy thinks and earns is what greedy steps of the environment give, and
    later rows change nothing of it."""
    rng = np.random.default_rng(4)
    layers = tuple(
        (rng.standard_normal(shape).astype(np.float32), np.zeros(shape[1], dtype=np.float32))
        for shape in ((4, 8), (8, 2))
    )
    # Returns are small beside the account's share in the name.
    layers[0][0][:2] *= 100.0
    advantage, growth = follow(recorded, runs, ACCOUNT, layers)

    trading = Trading(recorded, runs, ACCOUNT, lanes=len(runs), length=1_000)
    column, first, last = runs.T
    trading.place(np.ones(len(runs), dtype=np.bool_), column, first, last - 2)
    _, reward, *_ = trading.step((advantage[first, column] > 0).astype(np.int64))
    for t in range(1, last[0] - first[0] - 1):
        np.testing.assert_allclose(reward, growth[first + t - 1, column], rtol=0, atol=1e-15)
        wish = (advantage[first + t, column] > 0).astype(np.int64)
        _, reward, terminated, _ = trading.step(wish)
    np.testing.assert_allclose(reward, growth[last - 2, column], rtol=0, atol=1e-15)
    assert terminated.all()
    assert 0.1 < np.mean(advantage[ROWS.start + 1 :, [0, 2, 3, 4]] > 0) < 0.9

    shorter = runs.copy()
    shorter[:, 2] -= 100
    cut, _ = follow(recorded, shorter, ACCOUNT, layers)
    np.testing.assert_array_equal(cut[:-100], advantage[:-100])
