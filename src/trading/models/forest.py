"""The random forest: how it is taught; its predictions are made in ``trees``."""

from dataclasses import dataclass

import numpy as np

from trading.domain.arrays import FloatArray, IntArray
from trading.models.base import Dataset, ForestSettings
from trading.models.trees import Trees


@dataclass(frozen=True, slots=True)
class Forest:
    """The learner."""

    settings: ForestSettings
    family: str = "forest"
    window: int = 1

    def fit(self, data: Dataset, at: IntArray, *, seed: int) -> Trees:
        """Return trees fitted on the rows ``at``, on one thread."""
        return fit(data.x[at], data.excess[at], self.settings, seed=seed)


def fit(x: FloatArray, y: FloatArray, settings: ForestSettings, *, seed: int) -> Trees:
    """Return trees fitted on one thread.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Features, all finite.
    y : ndarray of shape (n_rows,)
        Forward excess returns, as fractions.
    settings : ForestSettings
        Each tree draws at most ``sample_rows`` rows.
    """
    from sklearn.ensemble import RandomForestRegressor

    drawn = min(settings.sample_rows, len(x))
    forest = RandomForestRegressor(
        n_estimators=settings.trees,
        max_depth=settings.max_depth,
        min_samples_leaf=max(1, round(settings.min_leaf_share * drawn)),
        max_features=settings.max_features,
        max_samples=drawn,
        bootstrap=True,
        n_jobs=1,
        random_state=seed,
    )
    forest.fit(x, y)
    return flatten(forest)


def flatten(forest: object) -> Trees:
    """Return the nodes of a fitted scikit-learn forest as one row of arrays."""
    parts = [estimator.tree_ for estimator in forest.estimators_]  # type: ignore[attr-defined]
    offset = np.cumsum([0, *(tree.node_count for tree in parts)])[:-1]
    inner = [tree.children_left >= 0 for tree in parts]

    def joined(children: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        moved = [
            np.where(mask, getattr(tree, children) + start, -1)
            for tree, start, mask in zip(parts, offset, inner, strict=True)
        ]
        return np.concatenate(moved).astype(np.int64)

    return Trees(
        root=offset.astype(np.int64),
        feature=np.concatenate([np.maximum(tree.feature, 0) for tree in parts]).astype(np.int64),
        threshold=np.concatenate([tree.threshold for tree in parts]).astype(np.float64),
        left=joined("children_left"),
        right=joined("children_right"),
        value=np.concatenate([tree.value[:, 0, 0] for tree in parts]).astype(np.float64),
    )
