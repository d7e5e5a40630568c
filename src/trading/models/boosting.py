"""Gradient boosting: how it is taught; what its trees answer is in ``trees``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trading.domain.arrays import FloatArray, IntArray
from trading.models.base import BoostingSettings, Dataset, purged_tail
from trading.models.trees import BoostedTrees

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor


@dataclass(frozen=True, slots=True)
class Boosting:
    """The learner."""

    settings: BoostingSettings
    family: str = "boosting"
    window: int = 1

    def fit(self, data: Dataset, at: IntArray, *, seed: int) -> BoostedTrees:
        """Return trees fitted on the rows ``at``, on one thread.

        How many is found by the squared error on the last sessions, purged of what the others'
        labels saw; then that many are fitted on all rows.

        Raises
        ------
        ModelError
            If there are too few sessions to split.
        """
        from threadpoolctl import threadpool_limits

        taught, held = purged_tail(data, at, share=self.settings.validation_share)
        # Sums over several threads come out in another order.
        with threadpool_limits(1):
            trees = self._best_number(data, taught, held, seed)
            return fit(data.x[at], data.excess[at], self.settings, seed=seed, trees=trees)

    def _best_number(self, data: Dataset, taught: IntArray, held: IntArray, seed: int) -> int:
        trial = _regressor(self.settings, len(taught), seed, self.settings.trees)
        trial.set_params(
            early_stopping=True, scoring="loss", tol=0.0, n_iter_no_change=self.settings.patience
        )
        trial.fit(data.x[taught], data.excess[taught], X_val=data.x[held], y_val=data.excess[held])
        # The first score is that of no tree at all.
        return max(1, int(np.argmax(trial.validation_score_)))


def fit(
    x: FloatArray, y: FloatArray, settings: BoostingSettings, *, seed: int, trees: int
) -> BoostedTrees:
    """Return ``trees`` trees fitted on ``x`` of shape ``(n_rows, n_features)`` and ``y``."""
    return flatten(_regressor(settings, len(x), seed, trees).fit(x, y))


def flatten(boosting: "HistGradientBoostingRegressor") -> BoostedTrees:
    """Return the nodes of a fitted scikit-learn model as one row of arrays."""
    parts = [stage[0].nodes for stage in boosting._predictors]
    offset = np.cumsum([0, *(len(nodes) for nodes in parts)])[:-1]
    nodes = np.concatenate(parts)
    start = np.repeat(offset, [len(part) for part in parts])
    leaf = nodes["is_leaf"].astype(bool)
    return BoostedTrees(
        root=offset.astype(np.int64),
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(leaf, -1, nodes["left"].astype(np.int64) + start),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64) + start),
        value=nodes["value"].astype(np.float64),
        base=np.asarray(boosting._baseline_prediction, dtype=np.float64).reshape(1),
    )


def _regressor(
    settings: BoostingSettings, rows: int, seed: int, trees: int
) -> "HistGradientBoostingRegressor":
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=trees,
        learning_rate=settings.learning_rate,
        max_depth=settings.max_depth,
        max_leaf_nodes=None,
        min_samples_leaf=max(1, round(settings.min_leaf_share * rows)),
        max_features=settings.max_features,
        l2_regularization=settings.l2,
        early_stopping=False,
        random_state=seed,
    )
