"""Which model trades: the gate, the aliases, and the files that the live path reads.

``data/models/<market>/<version>/`` holds a model's files, ``champion.json`` beside them names
the version that trades, ``latest.json`` the last training and its verdict. Reading them needs
no MLflow.
"""

import json
import math
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel, Facts
from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings, fingerprint
from trading.log import get_logger
from trading.mlops.tracking import CHALLENGER, CHAMPION, PREVIOUS, MlflowRegistry
from trading.mlops.train import model_name, train
from trading.models.base import GateSettings, ModelCard, ModelSettings
from trading.models.inference import TrainedModel, load

if TYPE_CHECKING:
    from trading.config import Home

log = get_logger(__name__)

_EULER = 0.5772156649015329
_POINTER = "champion.json"
_LATEST = "latest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The gate's word. ``verdict`` is ``promoted``, ``kept`` or ``not_proven`` (first model)."""

    promoted: bool
    verdict: str
    reason: str
    threshold_t: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainReport:
    """What a retraining came to; JSON values only in ``to_json``."""

    market: str
    version: int
    promoted: bool
    verdict: str
    reason: str
    trained_through: str
    panel_end: str
    rank_ic: float
    rank_ic_t: float
    threshold_t: float
    rows: int
    trials: int
    dataset_hash: str
    trained: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def judge(
    challenger: ModelCard,
    champion: ModelCard | None,
    *,
    trials: int,
    gate: GateSettings,
    bias: str | None = None,
) -> Judgement:
    """Return whether ``challenger`` may replace ``champion``.

    Its walk-forward rank IC must have a t-statistic above ``min_t`` and above what the best of
    ``trials`` worthless configurations is expected to reach, and its rank IC must beat the
    champion's. A rank IC above ``max_rank_ic`` is more likely a leak than an edge and proves
    nothing, nor does evidence with a ``bias``. The first model of a market takes the place
    without proof and is marked so.
    """
    threshold = max(gate.min_t, expected_best(trials))
    evidence = f"순위 IC {challenger.rank_ic:+.4f}, t {challenger.rank_ic_t:+.2f}"
    doubt = _doubt(challenger, threshold, gate, bias)
    if champion is None:
        reason = f"첫 모델이며 기준을 넘음: {evidence}"
        if doubt is not None:
            reason = f"첫 모델이라 등록하나 증명되지 않음: {evidence} ({doubt})"
        verdict = "promoted" if doubt is None else "not_proven"
        return Judgement(promoted=True, verdict=verdict, reason=reason, threshold_t=threshold)
    if doubt is None and challenger.rank_ic <= champion.rank_ic:
        doubt = f"챔피언의 순위 IC {champion.rank_ic:+.4f}보다 낫지 않음"
    if doubt is not None:
        reason = f"챔피언 유지: {evidence} ({doubt})"
        return Judgement(promoted=False, verdict="kept", reason=reason, threshold_t=threshold)
    reason = f"승격: {evidence} (챔피언 순위 IC {champion.rank_ic:+.4f}, 기준 t {threshold:.2f})"
    return Judgement(promoted=True, verdict="promoted", reason=reason, threshold_t=threshold)


def _doubt(
    challenger: ModelCard, threshold: float, gate: GateSettings, bias: str | None
) -> str | None:
    """Return why the evidence proves nothing, or ``None``."""
    if bias is not None:
        return bias
    if challenger.rank_ic > gate.max_rank_ic:
        return f"순위 IC가 {gate.max_rank_ic:.2f}를 넘어 정보 누출이나 종목 쏠림을 의심"
    if not challenger.rank_ic_t > threshold:
        return f"기준 t {threshold:.2f}에 못 미침"
    return None


def expected_best(trials: int) -> float:
    """Return the expected maximum of ``trials`` standard normals; 0 for a single one.

    References
    ----------
    .. [1] Bailey, D. H. and López de Prado, M. (2014). "The Deflated Sharpe Ratio."
       Journal of Portfolio Management, 40(5), 94-107.
    """
    if trials < 2:
        return 0.0
    normal = NormalDist()
    return (1 - _EULER) * normal.inv_cdf(1 - 1 / trials) + _EULER * normal.inv_cdf(
        1 - 1 / (trials * math.e)
    )


def is_due(
    home: "Home", panel: AdjustedPanel, features: FeatureSettings, gate: GateSettings
) -> bool:
    """Return whether a model must be trained before ``panel``'s next session.

    Yes without a usable champion, or when ``retrain_every_sessions`` have passed since the last
    training.
    """
    latest = last_report(home, panel.market)
    if latest is None or _rival(home, panel, features) is None:
        return True
    end = np.datetime64(date.fromisoformat(latest.panel_end), "D")
    return int((panel.sessions > end).sum()) >= gate.retrain_every_sessions


def retrain(
    panel: AdjustedPanel,
    home: "Home",
    features: FeatureSettings,
    models: ModelSettings,
    *,
    facts: Facts | None = None,
    force: bool = False,
    bias: str | None = None,
) -> RetrainReport:
    """Train a challenger on ``panel``, register it, judge it, and let it trade if it may.

    ``bias`` says in Korean what makes the evidence useless as proof, if anything does.
    Not due yet: the last report with ``trained`` false, nothing written. Run again after a
    crash it ends with the same champion.

    Raises
    ------
    ModelError
        If there is too little to learn from; the champion stays.
    """
    latest = last_report(home, panel.market)
    if latest is not None and not force and not is_due(home, panel, features, models.gate):
        return RetrainReport(**{**latest.to_json(), "trained": False})
    challenger = train(panel, features, models, facts).model
    card = challenger.card
    registry = MlflowRegistry(home.mlruns_dir)
    rival = _rival(home, panel, features)
    trials = len(registry.configurations(card.name) | {card.configuration_hash})
    judgement = judge(card, rival, trials=trials, gate=models.gate, bias=bias)
    version = registry.register(
        challenger,
        parameters={
            **models.forest.model_dump(),
            "horizon_sessions": card.horizon_sessions,
            "features": len(card.feature_names),
        },
        metrics={
            "rank_ic": card.rank_ic,
            "rank_ic_t": card.rank_ic_t,
            "rank_ic_sessions": float(card.rank_ic_sessions),
            "forecast_scale": card.forecast_scale,
            "rows": float(card.rows),
            "trials": float(trials),
        },
        tags={
            "market": card.market,
            "dataset_hash": card.dataset_hash,
            "feature_fingerprint": card.feature_fingerprint,
            "configuration_hash": card.configuration_hash,
            "seed": str(card.seed),
            "code_version": card.code_version,
            "trained_through": card.trained_through.isoformat(),
            "verdict": judgement.verdict,
            "reason": judgement.reason,
            "rank_ic": f"{card.rank_ic:.4f}",
            "rank_ic_t": f"{card.rank_ic_t:.2f}",
        },
    )
    if judgement.promoted:
        _install(registry, challenger, version, home)
    else:
        registry.set_alias(card.name, CHALLENGER, version)
    report = RetrainReport(
        market=card.market,
        version=version,
        promoted=judgement.promoted,
        verdict=judgement.verdict,
        reason=judgement.reason,
        trained_through=card.trained_through.isoformat(),
        panel_end=panel.sessions[-1].item().isoformat(),
        rank_ic=card.rank_ic,
        rank_ic_t=card.rank_ic_t,
        threshold_t=judgement.threshold_t,
        rows=card.rows,
        trials=trials,
        dataset_hash=card.dataset_hash,
    )
    _write(_folder(home, panel.market) / _LATEST, report.to_json())
    log.info("모델 판정", market=card.market, version=version, verdict=judgement.verdict,
             reason=judgement.reason)  # fmt: skip
    return report


def rollback(home: "Home", market: Market) -> int:
    """Let the previous champion trade again and return its version.

    Raises
    ------
    ModelError
        If there is no previous one.
    """
    registry, name = MlflowRegistry(home.mlruns_dir), model_name("forest", market.value)
    version = registry.version_of(name, PREVIOUS)
    if version is None:
        raise ModelError(f"되돌릴 이전 모델이 없음: {name}")
    _install(registry, registry.load_version(name, version), version, home)
    registry.tag(name, version, {"verdict": "rolled_back", "reason": "운영자가 이전 모델로 되돌림"})
    return version


def load_champion(home: "Home", market: Market) -> TrainedModel | None:
    """Return the model that trades, verified by hash; ``None`` when there is none.

    Raises
    ------
    ModelError
        If its files are not what was promoted.
    """
    version = champion_version(home, market)
    return load_version(home, market, version) if version is not None else None


def champion_version(home: "Home", market: Market) -> int | None:
    """Return the version of the model that trades; ``None`` when there is none."""
    pointer = _folder(home, market) / _POINTER
    if not pointer.exists():
        return None
    try:
        return int(json.loads(pointer.read_text())["version"])
    except (KeyError, ValueError) as error:
        raise ModelError(f"챔피언 기록을 읽을 수 없음: {pointer}") from error


def load_version(home: "Home", market: Market, version: int) -> TrainedModel:
    """Return a model that has been champion, for recomputing the sessions it traded."""
    return load(_folder(home, market) / str(version))


def last_report(home: "Home", market: Market) -> RetrainReport | None:
    """Return the report of the last training; ``None`` before the first one."""
    path = _folder(home, market) / _LATEST
    if not path.exists():
        return None
    return RetrainReport(**json.loads(path.read_text()))


def list_models(home: "Home", market: Market) -> list[dict[str, Any]]:
    """Return every registered version with its aliases and verdict, for ``trading models``."""
    return [
        {
            "name": item.name,
            "version": item.version,
            "aliases": list(item.aliases),
            "verdict": item.tags.get("verdict", ""),
            "reason": item.tags.get("reason", ""),
            "trained_through": item.tags.get("trained_through", ""),
            "rank_ic": float(item.tags.get("rank_ic", "nan")),
            "rank_ic_t": float(item.tags.get("rank_ic_t", "nan")),
        }
        for item in MlflowRegistry(home.mlruns_dir).versions(model_name("forest", market.value))
    ]


def _rival(home: "Home", panel: AdjustedPanel, features: FeatureSettings) -> ModelCard | None:
    """Return the champion's card if it can be asked about ``panel``'s last session.

    One that was taught other features, or has seen later prices (an account begun anew at an
    earlier date), holds no place.
    """
    champion = load_champion(home, panel.market)
    if champion is None:
        return None
    card = champion.card
    usable = card.feature_fingerprint == fingerprint(features) and card.trained_through <= (
        panel.sessions[-1].item()
    )
    return card if usable else None


def _install(registry: MlflowRegistry, model: TrainedModel, version: int, home: "Home") -> None:
    """Write the files, then the aliases, then the pointer: until then the old model trades."""
    folder = _folder(home, Market(model.card.market))
    temporary = folder / f".{version}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save(temporary)
    shutil.rmtree(folder / str(version), ignore_errors=True)
    temporary.replace(folder / str(version))
    name = model.card.name
    current = registry.version_of(name, CHAMPION)
    if current is not None and current != version:
        registry.set_alias(name, PREVIOUS, current)
    registry.set_alias(name, CHAMPION, version)
    if registry.version_of(name, CHALLENGER) == version:
        registry.remove_alias(name, CHALLENGER)
    _write(folder / _POINTER, {"name": model.card.name, "version": version,
                               "fingerprint": model.fingerprint})  # fmt: skip


def _folder(home: "Home", market: Market) -> Path:
    return home.data_dir / "models" / market.value


def _write(path: Path, body: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        json.dump(body, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
