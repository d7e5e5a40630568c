"""Training of a challenger: walk-forward first, then one fit on everything known.

Whether it may trade is decided in ``promote``.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trading import __version__
from trading.domain.market import AdjustedPanel, Facts
from trading.features.pipeline import FeatureSettings
from trading.log import get_logger
from trading.mlops import dataset
from trading.models.base import Dataset, Learner, ModelCard, ModelSettings
from trading.models.forest import Forest
from trading.models.inference import TrainedModel
from trading.models.validation import WalkForward, walk_forward

log = get_logger(__name__)

# Every family that can be taught, with what makes its learner from the settings.
FAMILIES: dict[str, Callable[[ModelSettings], Learner]] = {
    "forest": lambda models: Forest(models.forest)
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Challenger:
    """A fitted model with the evidence for it."""

    model: TrainedModel
    walk: WalkForward
    dataset: Dataset


def train(
    panel: AdjustedPanel,
    features: FeatureSettings,
    models: ModelSettings,
    facts: Facts | None = None,
    family: str = "forest",
) -> Challenger:
    """Return a model of ``family`` taught on all labels known at the end of ``panel``.

    The same panel and settings give the same model, to the bit.

    Raises
    ------
    ModelError
        If there is too little to learn from.
    """

    learner, seed = FAMILIES[family](models), models.forest.seed
    data = dataset.build(panel, features, models, facts, window=learner.window)
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
        rows=len(data.row),
        seed=seed,
        dataset_hash=data.content_hash,
        configuration_hash=configuration_hash(features, models),
        code_version=__version__,
    )
    everything = np.arange(len(data.row))
    model = TrainedModel(card=card, fitted=learner.fit(data, everything, seed=seed))
    log.info(
        "모델 학습",
        market=card.market,
        rows=card.rows,
        rank_ic=round(card.rank_ic, 4),
        rank_ic_t=round(card.rank_ic_t, 2),
        trained_through=card.trained_through.isoformat(),
    )
    return Challenger(model=model, walk=walk, dataset=data)


def model_name(family: str, market: str) -> str:
    """Return the registered name of a market's models of one family."""
    return f"{family}-{market}"


def configuration_hash(features: FeatureSettings, models: ModelSettings) -> str:
    """Return a hash of everything that was chosen: one trial of the trial ledger."""
    chosen = {
        "features": features.model_dump(mode="json", exclude={"regime"}),
        "models": models.model_dump(mode="json", exclude={"gate", "drift"}),
    }
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
