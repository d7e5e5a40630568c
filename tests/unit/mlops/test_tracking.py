"""What MLflow keeps of a training, whose account is really traded, and how long that takes."""

import time

import pytest

from trading.domain.instrument import Market
from trading.errors import ModelError
from trading.mlops.promote import load_champion
from trading.mlops.retrain import retrain, retrain_all
from trading.mlops.tracking import MlflowRegistry, aliases
from trading.models.base import ForestSettings, ModelSettings

SMALL = ModelSettings(forest=ForestSettings(trees=4))


def test_what_is_kept_of_a_training(home, venue):
    """Experiment, parameters, figures, curves, importance, hashes, seeds, and the verdict's page."""
    report = retrain(venue(1500), home, SMALL, is_full=True)

    registry = MlflowRegistry(home.mlruns_dir)
    client = registry._client
    run = client.get_run(client.get_model_version("forest-us", "1").run_id)
    assert client.get_experiment(run.info.experiment_id).name == "랜덤 포레스트 (forest)"
    assert run.data.params["trees"] == "4" and run.data.params["seed"] == "7"
    assert run.data.metrics["rank_ic"] == pytest.approx(report.rank_ic, abs=1e-4)
    assert run.data.metrics["rank_ic_std_of_seeds"] > 0
    folds = client.get_metric_history(run.info.run_id, "fold_rank_ic")
    assert [point.step for point in folds] == [0, 1, 2, 3]
    seeds = client.get_metric_history(run.info.run_id, "seed_rank_ic")
    assert len(seeds) == SMALL.validation.seeds
    for name in ("dataset_hash", "feature_fingerprint", "code_version", "configuration_hash"):
        assert run.data.tags[name]
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert files == {"model", "verdict.json", "verdict.html", "importance.csv"}
    rows = registry.text("forest-us", 1, "importance.csv").splitlines()
    looked_at = [float(row.split(",")[1]) for row in rows[1:]]
    assert looked_at == sorted(looked_at, reverse=True) and looked_at[0] > 0
    # The verdict of the gate is what the pages show.
    assert registry.version("forest-us", 1).tags["verdict"] == report.verdict
    assert load_champion(home, Market.US, "forest") is not None


def test_registering_takes_less_than_a_second(home, register):
    """Processor time of one version with its run, files and curves, the database being there."""
    register()

    begun = time.process_time()
    register()

    assert time.process_time() - begun < 1.0


def test_aliases_are_read_without_mlflow(home, register):
    """The plain look into the database agrees with MLflow's own answer."""
    registry = MlflowRegistry(home.mlruns_dir)
    assert aliases(home.mlruns_dir) == {}
    for version in (register(), register()):
        registry.set_alias("forest-us", "champion", version)
    registry.set_alias("forest-us", "previous", 1)

    found = aliases(home.mlruns_dir)

    assert found == {"forest-us": {"champion": 2, "previous": 1}}
    for alias, version in found["forest-us"].items():
        assert registry.version_of("forest-us", alias) == version


def test_a_database_of_another_shape_is_left_to_mlflow(home):
    """What cannot be read plainly is unknown, not empty."""
    (home.mlruns_dir / "mlflow.db").write_bytes(b"not a database")

    assert aliases(home.mlruns_dir) is None


def test_a_registry_without_models(home):
    """An alias that names nothing is a ``ModelError``; a listing is empty."""
    registry = MlflowRegistry(home.mlruns_dir)

    assert registry.versions("forest-us") == []
    assert registry.version_of("forest-us", "champion") is None
    with pytest.raises(ModelError, match="champion"):
        registry.load("forest-us", "champion")


def test_what_mlflow_refuses_is_a_model_error(home, register):
    """The champion stays, whatever the registry says."""
    register()

    with pytest.raises(ModelError, match="MLflow"):
        MlflowRegistry(home.mlruns_dir).set_alias("forest-us", "champion", 99)


def test_a_damaged_database_is_a_model_error(home, venue):
    """Training says so and is missed: no day ends because the registry cannot be read."""
    (home.mlruns_dir / "mlflow.db").write_text("garbage")

    with pytest.raises(ModelError, match="모델 등록소"):
        MlflowRegistry(home.mlruns_dir).versions("forest-us")
    found = retrain_all(venue(1500), home, SMALL, ["forest"], minutes=10)

    assert not found.reports
    assert "모델 등록소" in found.missed["forest"]
