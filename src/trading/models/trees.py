"""What fitted trees answer, compiled: the mean of a forest, the sum of boosted trees."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trees:
    """All nodes of all trees in one row of arrays; ``left`` is -1 at a leaf."""

    root: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: FloatArray
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: FloatArray

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every array by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def predict(self, x: FloatArray) -> FloatArray:
        """Return the mean of the trees for each row of ``x``, shape ``(n_rows, n_features)``."""
        # scikit-learn's forest compares float32 features with float64 thresholds; so do we.
        single = np.ascontiguousarray(x, dtype=np.float32)
        return _walked(self, single, 0.0, float(len(self.root)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoostedTrees(Trees):
    """Trees that each correct those before them, their learning rate in ``value``.

    ``base``, of shape ``(1,)``, is what is forecast before the first.
    """

    base: FloatArray

    def predict(self, x: FloatArray) -> FloatArray:
        """Return the base and the sum of the trees for each row of ``x``."""
        # Gradient boosting, in contrast to the forest, compares what it was given.
        double = np.ascontiguousarray(x, dtype=np.float64)
        return _walked(self, double, float(self.base[0]), 1.0)


def _walked(trees: Trees, x: NDArray[Any], base: float, divisor: float) -> FloatArray:
    out: FloatArray = walk(
        x, trees.root, trees.feature, trees.threshold, trees.left, trees.right, trees.value,
        base, divisor,
    )  # fmt: skip
    return out


@njit(cache=True)
def walk(
    x: NDArray[Any],
    root: NDArray[np.int64],
    feature: NDArray[np.int64],
    threshold: FloatArray,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    value: FloatArray,
    base: float,
    divisor: float,
) -> FloatArray:
    """Return ``base`` and the sum of the leaves that each row falls into, over ``divisor``."""
    out = np.zeros(len(x))
    for i in range(len(x)):
        total = base
        for start in root:
            node = start
            while left[node] >= 0:
                if np.float64(x[i, feature[node]]) <= threshold[node]:
                    node = left[node]
                else:
                    node = right[node]
            total += value[node]
        out[i] = total / divisor
    return out
