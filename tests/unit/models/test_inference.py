"""Files of networks, and that asking one never loads what taught it."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops import dataset as datasets
from trading.models import inference
from trading.models.base import LstmSettings, ModelCard, ModelSettings, TransformerSettings
from trading.models.deep import Lstm, Transformer

SMALL = {"window": 5, "epochs": 1, "abstain_share": 0.0}
LEARNERS = (
    Lstm(LstmSettings(hidden=4, layers=2, **SMALL)),
    Transformer(TransformerSettings(d_model=4, d_model_cuda=4, heads=2, layers=2, **SMALL)),
)

# What the live process does: reads the champion's files and asks.
ASK = """
import sys
import numpy as np
from pathlib import Path
import trading.strategies.learned
from trading.models.inference import load

model = load(Path(sys.argv[1]))
print(model.predict(np.load(sys.argv[2])).tolist())
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "sklearn", "mlflow"}))
"""


@pytest.fixture(scope="module")
def data(embedded_panels):
    return datasets.build(embedded_panels[1], FeatureSettings(), ModelSettings(), window=5)


@pytest.fixture(scope="module", params=LEARNERS, ids=lambda one: one.family)
def model(request, data):
    card = ModelCard(
        name=f"{request.param.family}-us", family=request.param.family, market="us", window=5,
        feature_names=data.feature_names, feature_fingerprint=data.feature_fingerprint,
        horizon_sessions=20, rank_min_names=5, trained_through=date(2005, 1, 3),
        forecast_scale=0.01, long_hits=1.0, long_count=2.0, short_hits=1.0, short_count=2.0,
        rank_ic=0.0, rank_ic_t=0.0, rank_ic_sessions=100, rows=500, seed=7, dataset_hash="",
        configuration_hash="", code_version="",
    )  # fmt: skip
    fitted = request.param.fit(data, np.arange(600), seed=7)
    return inference.TrainedModel(card=card, fitted=fitted)


def test_what_is_loaded_is_what_was_saved(tmp_path, model, data):
    """Card, fingerprint and forecasts come back to the bit; a changed byte is refused."""
    model.save(tmp_path)

    loaded = inference.load(tmp_path)

    assert loaded.card == model.card
    assert loaded.fingerprint == model.fingerprint
    np.testing.assert_array_equal(loaded.predict(data.x[:9]), model.predict(data.x[:9]))
    weights = tmp_path / inference.WEIGHTS
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(bytes(body))
    with pytest.raises(ModelError, match="해시"):
        inference.load(tmp_path)


def test_what_live_data_are_held_against_is_hashed_too(tmp_path, model):
    """A changed byte of the reference is refused like one of the weights; an old model names none."""
    replace(model, reference={"returns": np.arange(4.0)}).save(tmp_path)
    kept = tmp_path / inference.REFERENCE
    body = bytearray(kept.read_bytes())
    body[-1] ^= 1
    kept.write_bytes(bytes(body))

    with pytest.raises(ModelError, match="해시"):
        inference.load(tmp_path)

    facts = tmp_path / inference.FACTS
    old = json.loads(facts.read_text())
    del old["reference_sha256"]
    facts.write_text(json.dumps(old))
    assert list(inference.load(tmp_path).reference) == ["returns"]
    kept.write_bytes(b"cut")
    with pytest.raises(ModelError, match="읽을 수 없음"):
        inference.load(tmp_path)


def test_the_live_process_never_imports_torch(tmp_path, model, data):
    """Another process reads the files, forecasts the same, and has loaded no training library."""
    model.save(tmp_path)
    np.save(tmp_path / "x.npy", data.x[:3])

    out = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path), str(tmp_path / "x.npy")],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip

    assert json.loads(out[0]) == model.predict(data.x[:3]).tolist()
    assert out[1] == "[]"
