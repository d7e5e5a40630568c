"""The only inference of what was learned, compiled, and the files of models.

No pickle: weights are safetensors, facts are JSON, and the JSON names the weights' sha256.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray
from trading.errors import ModelError
from trading.models.base import Fitted, ModelCard

WEIGHTS = "model.safetensors"
FACTS = "model.json"


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
        return predict(self, x)


# What a family's tensors become again when they are read.
FITTED: dict[str, Callable[..., Fitted]] = {"forest": Trees}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedModel:
    """What was learned, with its card."""

    card: ModelCard
    fitted: Fitted

    @property
    def fingerprint(self) -> str:
        """Hash of every number."""
        digest = hashlib.sha256()
        for tensor in self.fitted.tensors.values():
            digest.update(np.ascontiguousarray(tensor).tobytes())
        return digest.hexdigest()

    def predict(self, x: FloatArray) -> FloatArray:
        """Return the forecast excess return of each row of ``x``, in the card's feature order."""
        return self.fitted.predict(x)

    def save(self, directory: Path) -> None:
        """Write the weights, then the facts that name their hash."""
        from safetensors.numpy import save_file

        directory.mkdir(parents=True, exist_ok=True)
        tensors = {name: np.ascontiguousarray(t) for name, t in self.fitted.tensors.items()}
        save_file(tensors, directory / WEIGHTS)
        facts = {"sha256": _sha256(directory / WEIGHTS), "card": self.card.to_json()}
        (directory / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=1))


def load(directory: Path) -> TrainedModel:
    """Return the model kept in ``directory``; ``ModelError`` when a file is not what was saved."""
    from safetensors.numpy import load_file

    try:
        facts = json.loads((directory / FACTS).read_text())
        if _sha256(directory / WEIGHTS) != facts["sha256"]:
            raise ModelError(f"모델 파일의 해시가 다름: {directory / WEIGHTS}")
        card = ModelCard.from_json(facts["card"])
        return TrainedModel(card=card, fitted=FITTED[card.family](**load_file(directory / WEIGHTS)))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"모델을 읽을 수 없음: {directory} ({error})") from error


def predict(trees: Trees, x: FloatArray) -> FloatArray:
    """Return the mean of all trees per row; every row is independent of the others."""
    # scikit-learn compares float32 features with float64 thresholds; so do we.
    single = np.ascontiguousarray(x, dtype=np.float32)
    out: FloatArray = _walk(
        single, trees.root, trees.feature, trees.threshold, trees.left, trees.right, trees.value
    )
    return out


@njit(cache=True)
def _walk(
    x: NDArray[np.float32],
    root: NDArray[np.int64],
    feature: NDArray[np.int64],
    threshold: FloatArray,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    value: FloatArray,
) -> FloatArray:
    out = np.zeros(len(x))
    for i in range(len(x)):
        total = 0.0
        for start in root:
            node = start
            while left[node] >= 0:
                if np.float64(x[i, feature[node]]) <= threshold[node]:
                    node = left[node]
                else:
                    node = right[node]
            total += value[node]
        out[i] = total / len(root)
    return out


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
