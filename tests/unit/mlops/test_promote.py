"""Who trades: files and registry agree, whoever moves the alias, and nothing damaged trades."""

import json
import shutil
from dataclasses import replace
from datetime import date

import pytest

from trading.domain.instrument import Market
from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings
from trading.mlops import promote
from trading.mlops.promote import (
    champion_version,
    champions,
    demote,
    follow_registry,
    install,
    list_models,
    load_champion,
    load_champions,
    load_version,
    rollback,
)
from trading.mlops.retrain import last_report
from trading.mlops.tracking import MlflowRegistry, aliases
from trading.models.inference import WEIGHTS

FEATURES = FeatureSettings()
UNTIL = date(2006, 3, 1)


def registry(home):
    return MlflowRegistry(home.mlruns_dir)


def artifacts(home, version, name="forest-us"):
    """Return where the registry keeps the files of a version."""
    return registry(home)._source(name, version)


def client(home):
    """Return MLflow's own client on the store: what its pages use."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{home.mlruns_dir / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def spoil(path):
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(content)


def test_an_older_layout_is_moved_once(bare_home, model):
    """Files of before there were families are the forest's; the champion is not lost."""
    folder = bare_home.data_dir / "models" / "us"
    for version in (1, 2):
        model.save(folder / str(version))
    (folder / "champion.json").write_text('{"name": "forest-us", "version": 2, "fingerprint": ""}')
    (folder / "latest.json").write_text(
        json.dumps(
            {
                "market": "us", "version": 2, "promoted": True, "verdict": "not_proven",
                "reason": "", "trained_through": "2006-02-10", "panel_end": "2006-02-15",
                "rank_ic": 0.1, "rank_ic_t": 1.0, "threshold_t": 2.0, "rows": 900, "trials": 1,
                "dataset_hash": "d", "trained": True,
            }
        )
    )  # fmt: skip
    # As if an earlier move had been stopped after its first step.
    (folder / "forest").mkdir()
    (folder / "1").rename(folder / "forest" / "1")

    assert champion_version(bare_home, Market.US, "forest") == 2
    assert load_champion(bare_home, Market.US, "forest").fingerprint == model.fingerprint
    assert load_version(bare_home, Market.US, "forest", 1).fingerprint == model.fingerprint
    report = last_report(bare_home, Market.US, "forest")
    assert (report.family, report.version, report.proven) == ("forest", 2, False)
    assert [path.name for path in folder.iterdir()] == ["forest"]
    assert champions(bare_home, Market.US) == {"forest": 2}


def test_every_family_has_a_champion_of_its_own(home, register, boosted):
    """One version each trades; a damaged one abstains and the others do not."""
    register()
    register()
    register(boosted)
    for name, version in (("forest-us", 2), ("boosting-us", 1)):
        install(home, registry(home), version, name)

    assert champions(home, Market.US) == {"forest": 2, "boosting": 1}
    models, _, silent = load_champions(home, Market.US, FEATURES)
    assert (sorted(models), silent) == (["boosting", "forest"], {})
    assert models["boosting"].fingerprint == boosted.fingerprint

    spoil(home.data_dir / "models" / "us" / "forest" / "2" / WEIGHTS)
    models, _, silent = load_champions(home, Market.US, FEATURES)
    assert list(models) == ["boosting"]
    assert "해시" in silent["forest"]


def test_features_of_other_settings_abstain(home, register):
    """A champion that was taught other features than today's is not asked."""
    install(home, registry(home), register(feature_fingerprint="other"), "forest-us")

    models, _, silent = load_champions(home, Market.US, FEATURES)

    assert models == {}
    assert "특성" in silent["forest"]


def test_the_alias_is_followed(home, register):
    """Moved in MLflow's pages, the next session installs the version and tells the verdict."""
    install(home, registry(home), register(), "forest-us")
    register(proven=False)
    assert follow_registry(home, Market.US, FEATURES, UNTIL) == []

    client(home).set_registered_model_alias("forest-us", "champion", "2")
    (move,) = follow_registry(home, Market.US, FEATURES, UNTIL)

    assert (move.family, move.version, move.previous, move.refused) == ("forest", 2, 1, None)
    assert (move.verdict, move.reason) == ("not_proven", "증명되지 않음: 시험")
    assert champion_version(home, Market.US, "forest") == 2
    assert load_champion(home, Market.US, "forest").card.trained_through == date(2006, 2, 10)
    assert aliases(home.mlruns_dir) == {"forest-us": {"champion": 2, "previous": 1}}
    assert follow_registry(home, Market.US, FEATURES, UNTIL) == []


@pytest.mark.parametrize("damage", ["byte", "folder", "later", "features"])
def test_what_cannot_trade_is_refused(home, register, damage):
    """A damaged, missing or unusable version: the champion stays and has its alias back."""
    install(home, registry(home), register(), "forest-us")
    before = load_champion(home, Market.US, "forest").fingerprint
    register(
        through=date(2007, 1, 3) if damage == "later" else date(2006, 2, 10),
        **({"feature_fingerprint": "other"} if damage == "features" else {}),
    )
    if damage == "byte":
        spoil(artifacts(home, 2) / WEIGHTS)
    elif damage == "folder":
        shutil.rmtree(artifacts(home, 2))

    client(home).set_registered_model_alias("forest-us", "champion", "2")
    (move,) = follow_registry(home, Market.US, FEATURES, UNTIL)

    assert move.refused
    assert champion_version(home, Market.US, "forest") == 1
    assert load_champion(home, Market.US, "forest").fingerprint == before
    assert aliases(home.mlruns_dir) == {"forest-us": {"champion": 1}}
    assert not (home.data_dir / "models" / "us" / "forest" / "2").exists()
    assert follow_registry(home, Market.US, FEATURES, UNTIL) == []


def test_damaged_files_are_fetched_again(home, register):
    """The registry has another copy of the champion."""
    install(home, registry(home), register(), "forest-us")
    spoil(home.data_dir / "models" / "us" / "forest" / "1" / WEIGHTS)

    (move,) = follow_registry(home, Market.US, FEATURES, UNTIL)

    assert (move.version, move.refused) == (1, None)
    assert load_champion(home, Market.US, "forest") is not None


def test_promotion_by_hand_needs_proof_or_a_word(home, register):
    """What the gate has not proven is refused, and marked when it is promoted all the same."""
    install(home, registry(home), register(), "forest-us")
    register(proven=False)

    with pytest.raises(ModelError, match="증명되지 않은"):
        promote.promote(home, Market.US, "forest", 2)
    assert champion_version(home, Market.US, "forest") == 1
    with pytest.raises(ModelError, match="9판"):
        promote.promote(home, Market.US, "forest", 9, without_proof=True)
    move = promote.promote(home, Market.US, "forest", 2, without_proof=True)

    assert (move.version, move.previous) == (2, 1)
    first, second = list_models(home, Market.US)
    assert (first["aliases"], first["trades"]) == (["previous"], False)
    assert (second["aliases"], second["trades"]) == (["champion"], True)
    assert (second["verdict"], second["moved"]) == ("not_proven", "운영자가 증명 없이 승격")


def test_rollback(home, register):
    """One call: the predecessor trades, and the way back stays open; without one it is refused."""
    install(home, registry(home), register(), "forest-us")
    with pytest.raises(ModelError, match="이전 모델"):
        rollback(home, Market.US, "forest")
    install(home, registry(home), register(), "forest-us")

    move = rollback(home, Market.US, "forest", reason="실현된 성과")

    assert (move.version, move.previous) == (1, 2)
    assert champion_version(home, Market.US, "forest") == 1
    assert aliases(home.mlruns_dir) == {"forest-us": {"champion": 1, "previous": 2}}
    assert registry(home).version("forest-us", 1).tags["moved"] == "실현된 성과"
    assert rollback(home, Market.US, "forest").version == 2


def test_a_demoted_family_abstains(home, register):
    """Nobody trades until the next promotion, in the files and in the registry."""
    install(home, registry(home), register(), "forest-us")

    assert demote(home, Market.US, "forest", reason="실현된 성과") == 1

    assert champions(home, Market.US) == {}
    assert aliases(home.mlruns_dir) == {}
    assert follow_registry(home, Market.US, FEATURES, UNTIL) == []


def test_nothing_registered(bare_home):
    """Asking makes no database; an alias that names nothing is a ``ModelError``."""
    assert list_models(bare_home, Market.US) == []
    assert follow_registry(bare_home, Market.US, FEATURES, UNTIL) == []
    assert not bare_home.mlruns_dir.exists()
    with pytest.raises(ModelError):
        promote.find_model(bare_home, Market.US, "forest", 1)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_pointer_is_a_model_error(bare_home, text):
    """A champion record that cannot be read is not taken for "no champion"."""
    folder = bare_home.data_dir / "models" / "us" / "boosting"
    folder.mkdir(parents=True)
    (folder / "champion.json").write_text(text)

    with pytest.raises(ModelError):
        load_champion(bare_home, Market.US, "boosting")
    assert "boosting" in load_champions(bare_home, Market.US, FEATURES)[2]


def test_another_models_files_do_not_trade(home, register, model):
    """Files of another name in the place of a version are found out."""
    version = register()
    shutil.rmtree(artifacts(home, version))
    other = replace(model, card=replace(model.card, name="boosting-us"))
    other.save(artifacts(home, version))

    with pytest.raises(ModelError, match="다른 모델"):
        install(home, registry(home), version, "forest-us")
