"""Models as they trade, and their files.

No pickle: weights are safetensors, facts are JSON, and the JSON names the weights' sha256. How a
family answers, compiled and without the library that taught it, is in ``trees``, ``sequences`` and
``pooled``.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.domain.arrays import FloatArray
from trading.errors import ModelError
from trading.models.arima import Arma
from trading.models.base import Fitted, ModelCard
from trading.models.garch import Gjr
from trading.models.hmm import Hidden
from trading.models.level import Level
from trading.models.pooled import Forecaster
from trading.models.reinforcement import Policy
from trading.models.sequences import Encoder, Recurrent
from trading.models.trees import BoostedTrees, Trees

WEIGHTS = "model.safetensors"
FACTS = "model.json"
REFERENCE = "reference.safetensors"


# What a family's tensors become again when they are read.
FITTED: dict[str, Callable[..., Fitted]] = {
    "forest": Trees,
    "boosting": BoostedTrees,
    "arima": partial(Forecaster.of, Arma),
    "garch": partial(Forecaster.of, Gjr),
    "hmm": partial(Forecaster.of, Hidden),
    "kalman": partial(Forecaster.of, Level),
    "lstm": Recurrent,
    "transformer": Encoder,
    "dqn": Policy.of,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedModel:
    """What was learned, with its card.

    ``reference`` is what live data are held against (``mlops.drift``); empty where none was kept.
    """

    card: ModelCard
    fitted: Fitted
    reference: Mapping[str, NDArray[Any]] = field(default_factory=dict)

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
        if self.reference:
            kept = {name: np.ascontiguousarray(t) for name, t in self.reference.items()}
            save_file(kept, directory / REFERENCE)
        facts: dict[str, Any] = {"sha256": _sha256((directory / WEIGHTS).read_bytes())}
        if self.reference:
            facts["reference_sha256"] = _sha256((directory / REFERENCE).read_bytes())
        facts["card"] = self.card.to_json()
        (directory / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=1))


def load(directory: Path) -> TrainedModel:
    """Return the model kept in ``directory``; ``ModelError`` when a file is not what was saved."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as tensors_of

    try:
        facts = json.loads((directory / FACTS).read_text())
        weights = tensors_of(_verified(directory / WEIGHTS, facts["sha256"]))
        card = ModelCard.from_json(facts["card"])
        fitted = FITTED[card.family](**weights)
        kept = directory / REFERENCE
        reference = {}
        if kept.exists():
            # Models from before references were hashed name no hash of it.
            reference = tensors_of(_verified(kept, facts.get("reference_sha256")))
        return TrainedModel(card=card, fitted=fitted, reference=reference)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ModelError(f"모델을 읽을 수 없음: {directory} ({error})") from error


def _verified(path: Path, sha256: str | None) -> bytes:
    """Return the bytes of a file, which are those that were hashed when it was saved."""
    data = path.read_bytes()
    if sha256 is not None and _sha256(data) != sha256:
        raise ModelError(f"모델 파일의 해시가 다름: {path}")
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
