"""Training of a challenger: walk-forward first, then one fit on everything known.

Whether it may trade is decided in ``gate``, what is done with it in ``retrain``.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from trading import __version__
from trading.clock import monotonic_seconds
from trading.domain.arrays import FloatArray, IntArray
from trading.domain.market import AdjustedPanel, Facts
from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.log import get_logger
from trading.mlops import dataset
from trading.mlops.drift import Reference
from trading.models import arima, garch, hmm, level
from trading.models.base import Dataset, Fitted, Learner, ModelCard, ModelSettings
from trading.models.boosting import Boosting
from trading.models.deep import Lstm, Transformer
from trading.models.forest import Forest
from trading.models.inference import TrainedModel
from trading.models.pooled import Pooled
from trading.models.reinforcement import Dqn
from trading.models.validation import WalkForward, folds, walk_forward

log = get_logger(__name__)

# Every family that can be taught, with what makes its learner from the settings.
FAMILIES: dict[str, Callable[[ModelSettings], Learner]] = {
    "forest": lambda models: Forest(models.forest),
    "boosting": lambda models: Boosting(models.boosting),
    "lstm": lambda models: Lstm(models.lstm),
    "transformer": lambda models: Transformer(models.transformer),
    "arima": lambda models: Pooled(
        "arima", models.arima, arima.estimator(models.arima), arima.Arma.scaled_at
    ),
    "garch": lambda models: Pooled(
        "garch", models.garch, garch.estimator(models.garch), garch.Gjr.scaled_at
    ),
    "hmm": lambda models: Pooled(
        "hmm", models.hmm, hmm.estimator(models.hmm), hmm.Hidden.scaled_at
    ),
    "kalman": lambda models: Pooled("kalman", models.kalman, level.estimate, level.Level.scaled_at),
    "dqn": lambda models: Dqn(models.dqn),
}


# What every family is taught by; the rest of the settings is the family's own, or no choice.
_COMMON = (
    "horizon_sessions", "steps_sessions", "stride_sessions", "min_rows", "min_coverage", "rank_min_names",
    "validation",
)  # fmt: skip
# A curve is drawn by so many points; more cost time and show nothing.
_POINTS = 200
# Rows whose forecasts are asked for again with the values of a feature shuffled.
_ASKED_ROWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What was chosen for a model besides the settings: by a search, or nothing.

    ``params`` replace settings of the family, ``only`` names the features it may see; ``None``
    for all.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] | None = None

    def applied(self, models: ModelSettings, family: str) -> ModelSettings:
        """Return the settings with the choice; ``ModelError`` when they cannot be."""
        if not self.params:
            return models
        own = getattr(models, family)
        try:
            chosen = type(own).model_validate({**own.model_dump(), **self.params})
        except ValidationError as error:
            raise ModelError(f"쓸 수 없는 설정: {family} {dict(self.params)}") from error
        return models.model_copy(update={family: chosen})

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only."""
        only = list(self.only) if self.only is not None else None
        return {"params": dict(self.params), "only": only}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Configuration":
        """Return the configuration written by ``to_json``."""
        only = body["only"]
        return cls(params=body["params"], only=tuple(only) if only is not None else None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Challenger:
    """A fitted model with the evidence for it."""

    model: TrainedModel
    walk: WalkForward
    dataset: Dataset


def taught(
    panel: AdjustedPanel,
    features: FeatureSettings,
    models: ModelSettings,
    facts: Facts | None,
    family: str,
    only: Sequence[str] | None = None,
) -> Dataset:
    """Return what a model of ``family`` is taught; ``ModelError`` when it is too little."""
    window = FAMILIES[family](models).window
    data = dataset.build(panel, features, models, facts, window=window)
    return data if only is None else dataset.select(data, only)


def train(
    panel: AdjustedPanel,
    features: FeatureSettings,
    models: ModelSettings,
    facts: Facts | None = None,
    family: str = "forest",
    *,
    only: Sequence[str] | None = None,
    data: Dataset | None = None,
    deadline: float | None = None,
) -> Challenger:
    """Return a model of ``family`` taught on all labels known at the end of ``panel``.

    The same panel and settings give the same model, to the bit.

    Parameters
    ----------
    only : sequence of str, optional
        The features it may see; all when not given.
    data : Dataset, optional
        What ``taught`` gave for the same panel and settings.
    deadline : float, optional
        Nothing is fitted any more after it, in ``clock.monotonic_seconds``.

    Raises
    ------
    ModelError
        If there is too little to learn from, or no time left.
    """
    learner, seed = learner_of(family, models, deadline), models.seed
    if data is None:
        data = taught(panel, features, models, facts, family, only)
    walk = walk_forward(
        data, learner, models.validation, rank_min_names=models.rank_min_names, seed=seed
    )
    card = ModelCard(
        name=model_name(family, panel.market.value),
        family=learner.family,
        market=panel.market.value,
        window=learner.window,
        feature_names=data.feature_names,
        feature_fingerprint=data.feature_fingerprint,
        horizon_sessions=data.horizon,
        rank_min_names=models.rank_min_names,
        trained_through=data.known_at,
        forecast_scale=walk.forecast_scale,
        long_hits=walk.long_hits,
        long_count=walk.long_count,
        short_hits=walk.short_hits,
        short_count=walk.short_count,
        rank_ic=walk.rank_ic,
        rank_ic_t=walk.rank_ic_t,
        rank_ic_sessions=len(walk.session_ic),
        rows=len(data.labelled),
        seed=seed,
        dataset_hash=data.content_hash,
        configuration_hash=configuration_hash(features, models, family, only),
        code_version=__version__,
    )
    kept = Reference.of(
        data, walk, panel, models.drift,
        step=models.stride_sessions, min_names=models.validation.min_names,
    )  # fmt: skip
    model = TrainedModel(
        card=card,
        fitted=learner.fit(data, data.labelled, seed=seed),
        reference=kept.tensors(),
    )
    log.info(
        "모델 학습",
        market=card.market,
        family=family,
        rows=card.rows,
        rank_ic=round(card.rank_ic, 4),
        rank_ic_t=round(card.rank_ic_t, 2),
        trained_through=card.trained_through.isoformat(),
    )
    return Challenger(model=model, walk=walk, dataset=data)


def learner_of(family: str, models: ModelSettings, deadline: float | None = None) -> Learner:
    """Return the learner of a family, which refuses to begin a fit after ``deadline``."""
    learner = FAMILIES[family](models)
    return learner if deadline is None else _Timed(learner, deadline)


@dataclass(frozen=True, slots=True)
class _Timed:
    """A learner that begins nothing after its deadline."""

    learner: Learner
    deadline: float

    @property
    def family(self) -> str:
        return self.learner.family

    @property
    def window(self) -> int:
        return self.learner.window

    def fit(self, data: Dataset, at: IntArray, *, seed: int) -> Fitted:
        if monotonic_seconds() > self.deadline:
            raise ModelError("정해진 시간 안에 학습을 마치지 못함")
        return self.learner.fit(data, at, seed=seed)


def curves(challenger: Challenger, models: ModelSettings) -> dict[str, list[float]]:
    """Return what is drawn of a training, step by step.

    The mean rank IC of each fold of the walk-forward, and the sum of the sessions' so far.
    """
    walk = challenger.walk
    rows = np.unique(walk.row)
    by_fold = []
    for _, test in folds(challenger.dataset, models.validation):
        inside = walk.session_ic[np.isin(rows, challenger.dataset.row[test])]
        inside = inside[np.isfinite(inside)]
        by_fold.append(float(inside.mean()) if len(inside) else 0.0)
    total = np.cumsum(np.nan_to_num(walk.session_ic))
    shown = np.unique(np.linspace(0, len(total) - 1, min(_POINTS, len(total))).astype(int))
    return {"fold_rank_ic": by_fold, "cumulative_rank_ic": total[shown].tolist()}


def reliance(challenger: Challenger) -> dict[str, float]:
    """Return how far a model's answers hang on each feature, the most important first.

    The root mean square change of the forecast when the values of a feature change places
    between rows, over the forecast's standard deviation. In sample: it tells what the model looks
    at, not whether that helps.
    """
    x, names = challenger.dataset.x, challenger.dataset.feature_names
    rng = np.random.default_rng(challenger.model.card.seed)
    asked = np.array(x[np.sort(rng.permutation(len(x))[:_ASKED_ROWS])])
    answer = challenger.model.predict(asked)
    size = float(np.nanstd(answer)) or 1.0
    order = rng.permutation(len(asked))
    found = {}
    for i, name in enumerate(names):
        kept: FloatArray = asked[..., i].copy()
        asked[..., i] = kept[order]
        changed = challenger.model.predict(asked) - answer
        asked[..., i] = kept
        found[name] = float(np.sqrt(np.nanmean(changed**2))) / size
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def model_name(family: str, market: str) -> str:
    """Return the registered name of a market's models of one family."""
    return f"{family}-{market}"


def configuration(
    features: FeatureSettings,
    models: ModelSettings,
    family: str,
    only: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return everything that was chosen, as JSON values: one trial of the trial ledger."""
    return {
        "family": family,
        "features": features.model_dump(mode="json", exclude={"regime"}),
        "models": models.model_dump(mode="json", include={*_COMMON, family}),
        "seed": models.seed,
        "only": list(only) if only is not None else None,
    }


def configuration_hash(
    features: FeatureSettings,
    models: ModelSettings,
    family: str,
    only: Sequence[str] | None = None,
) -> str:
    """Return a hash of everything that was chosen."""
    chosen = configuration(features, models, family, only)
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
