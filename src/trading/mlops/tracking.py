"""MLflow: runs, model versions, aliases. The only module that knows it.

The live path does not come here: it reads the files that ``promote`` keeps under ``data/models``.
"""

import os
import shutil
import sqlite3
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from trading.errors import ModelError
from trading.models.inference import TrainedModel, load

if TYPE_CHECKING:
    from mlflow import MlflowClient

P = ParamSpec("P")
T = TypeVar("T")

_SWITCHES = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_ENV_CREATION": "true",
    # MLflow and alembic report every migration in English at INFO.
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
_DATABASE = "mlflow.db"
_STUDIES = "trading"
_ARTIFACTS = "model"
# MLflow takes so many metrics in one request.
_BATCH = 1000
# Where the registry's database keeps paths: of artifacts, and of pages that tags lead to.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("model_version_tags", "value"),
    ("tags", "value"),
)
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One registered model version, as the registry knows it."""

    name: str
    version: int
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


def _translated(method: Callable[P, T]) -> Callable[P, T]:
    """Let what MLflow, its database or the disk refuses be a ``ModelError``: the champion stays."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return method(*args, **kwargs)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"모델 등록소(MLflow)를 쓸 수 없음: {reason}") from error

    return call


def aliases(folder: Path) -> dict[str, dict[str, int]] | None:
    """Return the version under each alias of each model, without MLflow (which takes seconds).

    ``None`` where its database cannot be read that way: ask ``MlflowRegistry``.
    """
    path = folder / _DATABASE
    if not path.exists():
        return {}
    found: dict[str, dict[str, int]] = {}
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as db:
            for name, alias, version in db.execute(
                "SELECT name, alias, version FROM registered_model_aliases"
            ):
                found.setdefault(name, {})[alias] = int(version)
    except sqlite3.Error:
        return None
    return found


def relocate(folder: Path, moved: Mapping[str, str]) -> None:
    """Let the registry in ``folder`` find its files where they are now.

    MLflow keeps whole paths; ``moved`` says which folder has become which, the narrower first.
    """
    path = folder / _DATABASE
    if not path.exists():
        return
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        columns = {
            table: {row[1] for row in db.execute("SELECT * FROM pragma_table_info(?)", (table,))}
            for table, _ in _PLACES
        }
        for table, column in _PLACES:
            if column not in columns[table]:
                continue
            found = db.execute(f"SELECT rowid, {column} FROM {table}").fetchall()  # noqa: S608 (the names are ours, from the list above)
            for row, value in found:
                place = _moved(value, moved)
                if place != value:
                    db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (place, row))  # noqa: S608 (the names are ours, from the list above)
        db.execute("COMMIT")


def _moved(place: str | None, moved: Mapping[str, str]) -> str | None:
    for before, after in moved.items():
        for scheme in ("", "file://"):
            start = f"{scheme}{before}"
            if place is not None and (place == start or place.startswith(f"{start}/")):
                return f"{scheme}{after}{place[len(start) :]}"
    return place


def exists(folder: Path) -> bool:
    """Whether anything was ever registered in ``folder``; making a registry takes seconds."""
    return (folder / _DATABASE).exists()


class MlflowRegistry:
    """Runs and models in one folder, in ``mlflow.db`` there; implements ``ModelRegistry``."""

    @_translated
    def __init__(self, folder: Path) -> None:
        for name, value in _SWITCHES.items():
            os.environ.setdefault(name, value)
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._client = _client(f"sqlite:///{self._folder / _DATABASE}")

    @_translated
    def register(
        self,
        model: TrainedModel,
        *,
        experiment: str,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        curves: Mapping[str, Sequence[float]],
        tags: Mapping[str, str],
        files: Mapping[str, str],
    ) -> int:
        """Log a run with the model's files, register them, and return the new version.

        ``experiment`` is made when there is none of that name. ``curves`` are metrics of which
        every step is kept, ``files`` texts by path; those under ``model/`` go where the model goes. What a process that
        was killed had begun here is marked as given up.
        """
        from mlflow.entities import Metric, Param, RunStatus, ViewType

        client, name = self._client, model.card.name
        where = self._experiment(experiment)
        known = f"tags.model = '{name}' AND attributes.status = 'RUNNING'"
        for left in client.search_runs([where], known, ViewType.ACTIVE_ONLY):
            client.set_terminated(left.info.run_id, RunStatus.to_string(RunStatus.KILLED))
        run = client.create_run(
            where,
            run_name=f"{name} {model.card.trained_through}",
            tags={**tags, "model": name},
        )
        run_id, now = run.info.run_id, run.info.start_time
        logged = [Metric(key, float(value), now, 0) for key, value in metrics.items()]
        logged += [
            Metric(key, float(value), now, step)
            for key, values in curves.items()
            for step, value in enumerate(values)
        ]
        client.log_batch(run_id, params=[Param(k, str(v)) for k, v in parameters.items()])
        for first in range(0, len(logged), _BATCH):
            client.log_batch(run_id, metrics=logged[first : first + _BATCH])
        with TemporaryDirectory() as folder:
            model.save(Path(folder) / _ARTIFACTS)
            for path, text in files.items():
                (Path(folder) / path).write_text(text, encoding="utf-8")
            client.log_artifacts(run_id, folder)
        client.set_terminated(run_id)
        if not self._exists(name):
            client.create_registered_model(name)
        source = f"{run.info.artifact_uri}/{_ARTIFACTS}"
        created = client.create_model_version(name, source, run_id, tags=dict(tags))
        return int(created.version)

    @_translated
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
        run = self._client.create_run(self._experiment(_STUDIES), run_name=name, tags=dict(tags))
        run_id = str(run.info.run_id)
        for key, value in parameters.items():
            self._client.log_param(run_id, key, value)
        for key, number in metrics.items():
            self._client.log_metric(run_id, key, number)
        for path in files:
            self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id)
        return run_id

    @_translated
    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let ``alias`` name ``version`` from now on."""
        self._client.set_registered_model_alias(name, alias, str(version))

    @_translated
    def remove_alias(self, name: str, alias: str) -> None:
        """Let ``alias`` name nothing."""
        self._client.delete_registered_model_alias(name, alias)

    @_translated
    def tag(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Write tags on a version, over what they were."""
        for key, value in tags.items():
            self._client.set_model_version_tag(name, str(version), key, value)

    @_translated
    def version_of(self, name: str, alias: str) -> int | None:
        """Return the version under ``alias``; ``None`` when there is none."""
        if not self._exists(name):
            return None
        version = self._client.get_registered_model(name).aliases.get(alias)
        return int(version) if version is not None else None

    @_translated
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

    @_translated
    def version(self, name: str, version: int) -> Version:
        """Return one registered version; ``ModelError`` when there is none."""
        found = next((item for item in self.versions(name) if item.version == version), None)
        if found is None:
            raise ModelError(f"등록된 모델이 없음: {name} {version}판")
        return found

    @_translated
    def has(self, name: str, version: int) -> bool:
        """Whether a version is registered."""
        return any(item.version == version for item in self.versions(name))

    @_translated
    def fetch(self, name: str, version: int, target: Path) -> None:
        """Copy the files of a version to ``target``; ``ModelError`` when they are not there."""
        source = self._source(name, version)
        try:
            shutil.copytree(source, target)
        except OSError as error:
            raise ModelError(f"등록된 모델의 파일이 없음: {source}") from error

    @_translated
    def load(self, name: str, alias: str) -> TrainedModel:
        """Return the model under ``alias``; ``ModelError`` when there is none."""
        version = self.version_of(name, alias)
        if version is None:
            raise ModelError(f"등록된 모델이 없음: {name}@{alias}")
        return self.load_version(name, version)

    @_translated
    def load_version(self, name: str, version: int) -> TrainedModel:
        """Return one registered version, verified by hash."""
        return load(self._source(name, version))

    @_translated
    def text(self, name: str, version: int, file: str) -> str | None:
        """Return a text that was registered with a version; ``None`` when there is none."""
        path = self._source(name, version).parent / file
        return path.read_text(encoding="utf-8") if path.exists() else None

    def _source(self, name: str, version: int) -> Path:
        source = self._client.get_model_version(name, str(version)).source or ""
        return Path(source.removeprefix("file://"))

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage != "active":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        # Without a location of its own MLflow would put artifacts under the current folder.
        return str(self._client.create_experiment(name, artifact_location=str(self._folder)))

    def _exists(self, name: str) -> bool:
        return bool(self._client.search_registered_models(f"name = '{name}'"))


def _client(uri: str) -> "MlflowClient":
    import logging

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        # alembic names each migration of a fresh database on stderr, in English.
        logging.getLogger("alembic").setLevel(logging.ERROR)
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
