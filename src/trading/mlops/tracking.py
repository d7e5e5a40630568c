"""MLflow: runs, model versions, aliases. The only module that knows it.

The live path does not come here: it reads the files that ``promote`` keeps under ``data/models``.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trading.errors import ModelError
from trading.models.inference import TrainedModel, load

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SWITCHES = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_ENV_CREATION": "true",
    # MLflow and alembic report every migration in English at INFO.
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
_EXPERIMENT = "trading"
_ARTIFACTS = "model"
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One registered model version, as the registry knows it."""

    name: str
    version: int
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


class MlflowRegistry:
    """Runs and models in one folder, in ``mlflow.db`` there; implements ``ModelRegistry``."""

    def __init__(self, folder: Path) -> None:
        for name, value in _SWITCHES.items():
            os.environ.setdefault(name, value)
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._client = _client(f"sqlite:///{self._folder / 'mlflow.db'}")

    def register(
        self,
        model: TrainedModel,
        *,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> int:
        """Log a run with the model's files, register them, and return the new version."""
        client, name = self._client, model.card.name
        run = client.create_run(
            self._experiment(), run_name=f"{name} {model.card.trained_through}", tags=dict(tags)
        )
        run_id = run.info.run_id
        for key, value in parameters.items():
            client.log_param(run_id, key, value)
        for key, number in metrics.items():
            client.log_metric(run_id, key, number)
        with TemporaryDirectory() as folder:
            model.save(Path(folder))
            client.log_artifacts(run_id, folder, _ARTIFACTS)
        client.set_terminated(run_id)
        if not self._exists(name):
            client.create_registered_model(name)
        source = f"{run.info.artifact_uri}/{_ARTIFACTS}"
        created = client.create_model_version(name, source, run_id, tags=dict(tags))
        return int(created.version)

    def log_study(
        self,
        name: str,
        *,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Sequence[Path],
    ) -> str:
        """Log a run that says where a study is kept, what it found and shows; return its id."""
        run = self._client.create_run(self._experiment(), run_name=name, tags=dict(tags))
        run_id = str(run.info.run_id)
        for key, value in parameters.items():
            self._client.log_param(run_id, key, value)
        for key, number in metrics.items():
            self._client.log_metric(run_id, key, number)
        for path in files:
            self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id)
        return run_id

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let ``alias`` name ``version`` from now on."""
        self._client.set_registered_model_alias(name, alias, str(version))

    def remove_alias(self, name: str, alias: str) -> None:
        """Let ``alias`` name nothing."""
        self._client.delete_registered_model_alias(name, alias)

    def tag(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Write tags on a version, over what they were."""
        for key, value in tags.items():
            self._client.set_model_version_tag(name, str(version), key, value)

    def version_of(self, name: str, alias: str) -> int | None:
        """Return the version under ``alias``; ``None`` when there is none."""
        return next((v.version for v in self.versions(name) if alias in v.aliases), None)

    def versions(self, name: str) -> list[Version]:
        """Return every registered version of ``name``, oldest first."""
        if not self._exists(name):
            return []
        aliases: dict[int, list[str]] = {}
        for alias, version in self._client.get_registered_model(name).aliases.items():
            aliases.setdefault(int(version), []).append(alias)
        found = self._client.search_model_versions(f"name = '{name}'")
        return sorted(
            (
                Version(
                    name=name,
                    version=int(item.version),
                    aliases=tuple(sorted(aliases.get(int(item.version), ()))),
                    tags=dict(item.tags),
                )
                for item in found
            ),
            key=lambda item: item.version,
        )

    def load(self, name: str, alias: str) -> TrainedModel:
        """Return the model under ``alias``; ``ModelError`` when there is none."""
        version = self.version_of(name, alias)
        if version is None:
            raise ModelError(f"등록된 모델이 없음: {name}@{alias}")
        return self.load_version(name, version)

    def load_version(self, name: str, version: int) -> TrainedModel:
        """Return one registered version, verified by hash."""
        source = self._client.get_model_version(name, str(version)).source or ""
        return load(Path(source.removeprefix("file://")))

    def configurations(self, name: str) -> set[str]:
        """Return the hashes of every configuration ever tried for ``name``."""
        tried = {item.tags.get("configuration_hash", "") for item in self.versions(name)}
        return tried - {""}

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        # Without a location of its own MLflow would put artifacts under the current folder.
        return str(self._client.create_experiment(_EXPERIMENT, artifact_location=str(self._folder)))

    def _exists(self, name: str) -> bool:
        return bool(self._client.search_registered_models(f"name = '{name}'"))


def _client(uri: str) -> "MlflowClient":
    import logging

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        # alembic names each migration of a fresh database on stderr, in English.
        logging.getLogger("alembic").setLevel(logging.ERROR)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
