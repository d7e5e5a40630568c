"""What ``trading model-validate`` says of a family: the figures, and nothing else happens."""

import json
import re
import shutil
from pathlib import Path

import pytest

from trading import bootstrap
from trading.mlops import controls
from trading.models.validation import FIGURES
from trading.research import learning
from trading.research.history import Scope

pytestmark = pytest.mark.compiled_only

CONFIG = Path(__file__).resolve().parents[3] / "config"


@pytest.fixture
def installation(home):
    """Return the shipped settings with a forest of three trees."""
    shutil.copytree(CONFIG, home / "config")
    models = home / "config" / "models.yaml"
    models.write_text(re.sub(r"(?m)^  trees: 100 ", "  trees: 3 ", models.read_text(), count=1))
    return bootstrap.open_home(home)


def test_a_family_is_validated_on_recorded_prices(installation, home):
    """Figures of five seeds, five paths; it is JSON, and no model is registered."""
    result = learning.validate(installation, "forest", Scope())

    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert set(result["figures"]) == set(FIGURES)
    assert result["figures"]["rank_ic"]["std"] > 0
    assert (result["seeds"], len(result["path_rank_ic"]), result["purge_sessions"]) == (5, 5, 25)
    assert 0 <= result["calibration_error"] <= 0.05
    assert not (home / "mlruns").exists()
    assert not (home / "data" / "models").exists()

    shown = learning.text(result)
    mean = result["figures"]["rank_ic"]["mean"]
    assert f"순위 IC: {mean:+.4f}" in shown
    assert "생존 편향: 있음" in shown


def test_a_failed_control_is_told(installation, monkeypatch):
    """Each control is a line of its own, and one that fails says so."""
    failed = controls.Control(
        name="noise", value=0.2, low=-0.01, high=0.01, passed=False, sentence="잡음뿐인 특성: +0.2"
    )
    monkeypatch.setattr(controls, "examine", lambda *asked, **settings: [failed])

    result = learning.validate(installation, "forest", Scope(), is_controlled=True)

    assert [control["passed"] for control in result["controls"]] == [False]
    assert "실패 잡음뿐인 특성: +0.2" in learning.text(result)
