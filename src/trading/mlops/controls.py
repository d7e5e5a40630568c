"""What a learner must show before its result counts: it finds what is there, and nothing else.

Each control plants something known and asks what the learner, or the split, makes of it. They are
run where a learner is changed (tests), not every night: they say nothing of a market.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from trading.domain.arrays import FloatArray, IntArray
from trading.errors import ModelError
from trading.models.base import Dataset, Fitted, Learner, ValidationSettings
from trading.models.pooled import Pooled
from trading.models.validation import folds, outcome, walk_forward

# Fewer independent draws say too little of their own spread.
LEAST_DRAWS = 30
# A learner that may look is rarely as good as what it looks at: trees draw features, networks stop
# early. Below this share of it, it would not find an edge either.
NEAR = 0.7
# The oracle is the label and this much of another row's label: about 0.89 correlated.
_NOISE_SHARE = 0.5
# A mean that is known less exactly than this would let a leak pass, in units of rank IC.
_RESOLUTION = 0.05
# Below this share of its usual size a change of a forecast is rounding.
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One question and its answer: ``value`` should be in ``[low, high]``.

    ``sentence`` says in Korean what was found. ``passed`` is false also where the answer is too
    inexact to tell.
    """

    name: str
    value: float
    low: float
    high: float
    passed: bool
    sentence: str


def examine(
    learner: Learner,
    data: Dataset,
    settings: ValidationSettings,
    *,
    rank_min_names: int,
    seed: int,
    draws: int = LEAST_DRAWS,
) -> list[Control]:
    """Return every control that a learner which forecasts can be asked, the cheap ones first.

    Parameters
    ----------
    learner : Learner
        With settings as cheap as the question allows: it is fitted about ``2 draws x folds`` times.
    data : Dataset
        Recorded features and labels, of the learner's window. Its ``history`` is kept from the
        learner: what is planted must be all there is. Who learns from that alone needs other
        controls.
    draws : int
        Independent shuffles and draws of noise; at least 30.

    Raises
    ------
    ModelError
        If the data have no fold to test.
    """
    data = replace(data.kept(data.labelled), history=None)
    some = {"rank_min_names": rank_min_names, "seed": seed}
    found = [
        future_rows(learner, data, settings, seed=seed),
        inside_the_fold(learner, data, settings, seed=seed),
    ]
    # Who looks at returns alone sees no planted feature and is taught no label; of a drift that
    # stays as it is the order says nothing.
    if not isinstance(learner, Pooled):
        found.insert(0, constant_target(learner, data, settings, **some))
        if data.window > 2:
            found.append(order_in_window(learner, data, settings, seed=seed))
        found.append(oracle(learner, data, settings, **some))
    return [
        *found,
        purged(data, settings, rank_min_names=rank_min_names, seed=seed, draws=draws),
        shuffled_labels(learner, data, settings, **some, draws=draws),
        noise_features(learner, data, settings, **some, draws=draws),
    ]


def oracle(
    learner: Learner,
    data: Dataset,
    settings: ValidationSettings,
    *,
    rank_min_names: int,
    seed: int,
) -> Control:
    """A feature that knows the label, with other rows' labels as noise, is found and used.

    ``value`` is the learner's rank IC over that of the feature itself, on the same rows.
    """
    rng = np.random.default_rng((seed, 1))
    known = data.excess + _NOISE_SHARE * rng.permutation(data.excess)
    shape = (*data.x.shape[:-1], 1)
    told = np.broadcast_to(known.reshape(-1, *([1] * (data.x.ndim - 1))), shape)
    knowing = replace(
        data,
        x=np.concatenate([data.x, told.astype(data.x.dtype)], axis=-1),
        feature_names=(*data.feature_names, "oracle"),
    )
    walk = walk_forward(knowing, learner, settings, rank_min_names=rank_min_names, seed=seed)
    tested = np.concatenate([test for _, test in folds(data, settings)])
    best = np.full(len(known), np.nan)
    best[tested] = known[tested]
    itself = outcome(data, best, settings, rank_min_names=rank_min_names)
    share = walk.rank_ic / itself.rank_ic
    # Better than what it was told: something else tells it, too.
    low, high = NEAR, 1.1
    return Control(
        name="oracle",
        value=share,
        low=low,
        high=high,
        passed=low <= share <= high,
        sentence=f"내일을 알려 주는 특성의 순위 IC {itself.rank_ic:.3f} 가운데 {share:.0%}를 얻음 "
        f"({low:.0%} 이상이어야 함)",
    )


def shuffled_labels(
    learner: Learner,
    data: Dataset,
    settings: ValidationSettings,
    *,
    rank_min_names: int,
    seed: int,
    draws: int = LEAST_DRAWS,
) -> Control:
    """Labels that changed names within their date teach nothing; the date's mean stays."""

    def drawn(rng: np.random.Generator) -> float:
        order = np.empty(len(data.row), dtype=np.int64)
        by_date = np.argsort(data.row, kind="stable")
        order[by_date] = np.lexsort((rng.random(len(data.row)), data.row))
        return _rank_ic(_labelled(data, order), learner, settings, rank_min_names, seed)

    return _nothing("shuffled", "날짜 안에서 섞은 레이블", drawn, draws, seed=seed)


def noise_features(
    learner: Learner,
    data: Dataset,
    settings: ValidationSettings,
    *,
    rank_min_names: int,
    seed: int,
    draws: int = LEAST_DRAWS,
) -> Control:
    """Recorded features that changed their rows, each by itself, teach nothing about the labels."""

    def drawn(rng: np.random.Generator) -> float:
        noise = rng.permuted(data.x, axis=0)
        return _rank_ic(replace(data, x=noise), learner, settings, rank_min_names, seed)

    return _nothing("noise", "잡음뿐인 특성", drawn, draws, seed=seed)


def purged(
    data: Dataset,
    settings: ValidationSettings,
    *,
    rank_min_names: int,
    seed: int,
    draws: int = LEAST_DRAWS,
) -> Control:
    """Nothing is remembered across the split of ``data``, whoever learns.

    Labels are sums over ``horizon`` sessions of recorded outcomes in an order that knows neither
    past nor future, so all that a training row tells of a tested one is the sessions that both labels share; ``Memory``
    lives of that alone. The tests are as short as a label, so that most of what is tested could be
    remembered.
    """
    dates = np.unique(data.row)
    within = int(np.searchsorted(dates, dates[0] + data.horizon))
    tested = len(dates) - int(len(dates) * settings.first_train_share)
    short = settings.model_copy(update={"folds": max(settings.folds, tested // max(1, within))})

    def drawn(rng: np.random.Generator) -> float:
        return _rank_ic(remembered(data, rng), Memory(), short, rank_min_names, seed)

    return _nothing("purge", "겹치는 레이블을 외우는 학습기", drawn, draws, seed=seed)


def remembered(data: Dataset, rng: np.random.Generator) -> Dataset:
    """Return rows that know only their place, with labels that overlap as recorded ones do.

    What a name earns in a session is drawn from the recorded excess returns, whosever and whenever.
    """
    n_sessions, names = int(data.row.max()) + data.horizon + 1, int(data.column.max()) + 1
    path = np.zeros((n_sessions + 1, names))
    path[1:] = np.cumsum(rng.choice(data.excess, (n_sessions, names)), axis=0)
    # What is earned after the close of the row, to that of ``horizon`` sessions later.
    label = path[data.row + data.horizon + 1, data.column] - path[data.row + 1, data.column]
    place = np.stack([data.row, data.column], axis=1).astype(np.float64)
    x = place if data.window == 1 else np.repeat(place[:, None, :], data.window, axis=1)
    return replace(data, x=x, excess=label, forward=label, path=None, steps=())


def constant_target(
    learner: Learner,
    data: Dataset,
    settings: ValidationSettings,
    *,
    rank_min_names: int,
    seed: int,
) -> Control:
    """Where all labels are equal no name is better: ``ModelError`` or no forecast, never a view.

    ``value`` is the spread of the forecasts, as a fraction; views are sized by it, so that any
    spread above 0 would be a view.
    """
    same = np.full_like(data.excess, data.excess.std())
    path = None if data.path is None else np.full_like(data.path, data.excess.std())
    still = replace(data, excess=same, forward=same, path=path)
    try:
        walk = walk_forward(still, learner, settings, rank_min_names=rank_min_names, seed=seed)
        spread = walk.forecast_scale
    except ModelError:
        spread = 0.0
    return Control(
        name="constant",
        value=spread,
        low=0.0,
        high=0.0,
        passed=spread == 0.0,
        sentence="레이블이 모두 같으면 예측하지 않음"
        if spread == 0.0
        else f"레이블이 모두 같은데 예측이 {spread:.2g}만큼 갈림",
    )


def order_in_window(
    learner: Learner, data: Dataset, settings: ValidationSettings, *, seed: int
) -> Control:
    """The order of the sessions before the newest matters to a learner that looks at a window.

    ``value`` is how much forecasts change when these are turned round, in standard deviations of
    the forecasts.
    """
    fitted, x = _first_fold(learner, data, settings, seed=seed)
    turned = np.concatenate([x[:, -2::-1], x[:, -1:]], axis=1)
    before, after = fitted.predict(x), fitted.predict(np.ascontiguousarray(turned))
    both = np.isfinite(before) & np.isfinite(after)
    scale = float(before[both].std()) if both.any() else 0.0
    change = float(np.sqrt(np.mean((after[both] - before[both]) ** 2))) if both.any() else 0.0
    value = change / scale if scale > 0 else 0.0
    return Control(
        name="order",
        value=value,
        low=_ROUNDING,
        high=math.inf,
        passed=value >= _ROUNDING,
        sentence=f"창 안의 날짜를 뒤집으면 예측이 제 크기의 {value:.0%}만큼 바뀜",
    )


def future_rows(
    learner: Learner, data: Dataset, settings: ValidationSettings, *, seed: int
) -> Control:
    """What is asked together with a row, later rows above all, does not change its forecast.

    ``value`` counts the forecasts that change in any bit.
    """
    fitted, x = _first_fold(learner, data, settings, seed=seed)
    first = len(x) // 2
    later = np.concatenate([x[:first], 2.0 * x[: first - 1 : -1] + 1.0]).astype(x.dtype)
    whole = fitted.predict(x)[:first]
    others = (fitted.predict(x[:first]), fitted.predict(later)[:first])
    changed = max(_different(whole, other) for other in others)
    return Control(
        name="future_rows",
        value=float(changed),
        low=0.0,
        high=0.0,
        passed=changed == 0,
        sentence=f"함께 물은 뒷날의 행 때문에 바뀐 예측 {changed:,}개 (없어야 함)",
    )


def inside_the_fold(
    learner: Learner, data: Dataset, settings: ValidationSettings, *, seed: int
) -> Control:
    """All is fitted on the fold's own rows: others may say anything, and nothing changes.

    ``value`` counts the forecasts that change in any bit, also by having been fitted before.
    """
    train, test = _folds(data, settings)[0]
    outside = np.ones(len(data.row), dtype=np.bool_)
    outside[train] = False
    x, excess, forward = data.x.copy(), data.excess.copy(), data.forward.copy()
    x[outside] = 2.0 * x[outside] + 1.0
    excess[outside], forward[outside] = -3.0 * excess[outside], -3.0 * forward[outside]
    path = None if data.path is None else np.where(outside[:, None], -3.0 * data.path, data.path)
    other = replace(data, x=x, excess=excess, forward=forward, path=path)
    before = learner.fit(data, train, seed=seed).predict(data.x[test])
    after = learner.fit(other, train, seed=seed).predict(data.x[test])
    changed = _different(before, after)
    return Control(
        name="inside_the_fold",
        value=float(changed),
        low=0.0,
        high=0.0,
        passed=changed == 0,
        sentence=f"학습 구간 밖의 자료 때문에 바뀐 예측 {changed:,}개 (없어야 함)",
    )


def _nothing(
    name: str,
    planted: str,
    drawn: Callable[[np.random.Generator], float],
    draws: int,
    *,
    seed: int,
) -> Control:
    """Return whether the mean over independent draws is 0, as far as their own spread can tell.

    The interval is Student's, at 99 %: one sound learner in a hundred fails by chance.
    """
    from scipy.special import stdtrit

    if draws < LEAST_DRAWS:
        raise ValueError(f"need {LEAST_DRAWS} draws, got {draws}")
    values = np.array(
        [drawn(np.random.default_rng((seed, 2, k))) for k in range(draws)], dtype=np.float64
    )
    mean = float(values.mean())
    half = float(stdtrit(draws - 1, 0.995) * values.std(ddof=1) / math.sqrt(draws))
    is_exact = half <= _RESOLUTION
    return Control(
        name=name,
        value=mean,
        low=-half,
        high=half,
        passed=is_exact and abs(mean) <= half,
        sentence=f"{planted}: {draws}번의 순위 IC 평균 {mean:+.4f} (±{half:.4f} 안이어야 함)"
        + ("" if is_exact else "; 자료가 적어 알 수 없음"),
    )


def _rank_ic(
    data: Dataset, learner: Learner, settings: ValidationSettings, rank_min_names: int, seed: int
) -> float:
    """Return the walk-forward's rank IC; 0 for who abstains from everything, as it should here."""
    try:
        walk = walk_forward(data, learner, settings, rank_min_names=rank_min_names, seed=seed)
    except ModelError:
        return 0.0
    return walk.rank_ic


def _labelled(data: Dataset, order: IntArray) -> Dataset:
    """Return the data with other rows' labels, all of them."""
    path = None if data.path is None else data.path[order]
    return replace(data, excess=data.excess[order], forward=data.forward[order], path=path)


def _folds(data: Dataset, settings: ValidationSettings) -> list[tuple[IntArray, IntArray]]:
    found = folds(data, settings)
    if not found:
        raise ModelError("검증 구간을 만들 수 없음: 학습 자료의 거래일이 너무 적음")
    return found


def _first_fold(
    learner: Learner, data: Dataset, settings: ValidationSettings, *, seed: int
) -> tuple[Fitted, FloatArray]:
    """Return what the first fold teaches, and the rows that it is asked."""
    train, test = _folds(data, settings)[0]
    return learner.fit(data, train, seed=seed), data.x[test]


def _different(a: FloatArray, b: FloatArray) -> int:
    """Return how many forecasts differ; two abstentions do not."""
    return int(np.sum((a != b) & ~(np.isnan(a) & np.isnan(b))))


@dataclass(frozen=True, slots=True, eq=False)
class _Remembered:
    """The labels of every name by row; ``x`` ends with row and column."""

    labels: dict[int, tuple[FloatArray, FloatArray]]

    @property
    def tensors(self) -> dict[str, FloatArray]:
        return {str(name): label for name, (_, label) in self.labels.items()}

    def predict(self, x: FloatArray) -> FloatArray:
        """Return the label of the nearest training row of the name; 0 for a name without any."""
        row, column = x.reshape(len(x), -1)[:, -2:].T
        out = np.zeros(len(x))
        for name in np.unique(column):
            rows, label = self.labels.get(int(name), (np.empty(0), np.empty(0)))
            if len(rows):
                at = column == name
                last = np.clip(np.searchsorted(rows, row[at]), 1, max(1, len(rows) - 1))
                next_ = np.minimum(last, len(rows) - 1)
                is_before = row[at] - rows[last - 1] <= np.abs(rows[next_] - row[at])
                out[at] = label[np.where(is_before, last - 1, next_)]
        return out


@dataclass(frozen=True, slots=True)
class Memory:
    """The learner that only remembers: it forecasts the label of the name's nearest training row."""

    family: str = "memory"
    window: int = 1

    def fit(self, data: Dataset, at: IntArray, *, seed: int) -> _Remembered:
        """Return the labels of the rows ``at``; there is no chance in it."""
        by_name = {}
        for name in np.unique(data.column[at]):
            own = at[data.column[at] == name]
            own = own[np.argsort(data.row[own])]
            by_name[int(name)] = (data.row[own].astype(np.float64), data.excess[own])
        return _Remembered(by_name)
