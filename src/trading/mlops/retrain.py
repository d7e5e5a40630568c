"""From recorded history to a verdict: a challenger is taught, traded on paper, judged, registered.

``latest.json`` beside a family's models is the report of its last training. Each training belongs
to the last session it saw: asked for again, nothing is done twice, and what was stopped between
two steps goes on. Who trades afterwards is in ``promote``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.backtest.robustness import Stretch
from trading.backtest.trials import Trial, TrialLedger, trials_path
from trading.clock import WallClock, monotonic_seconds
from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel
from trading.domain.wording import model_text
from trading.errors import AbstentionError, ModelError, TradingError
from trading.features.pipeline import FeatureSettings, fingerprint
from trading.log import get_logger
from trading.mlops import gate, health, promote
from trading.mlops.gate import Track, Trials
from trading.mlops.gate_page import page_of
from trading.mlops.track import Venue, trade_forecasts
from trading.mlops.tracking import CHALLENGER, MlflowRegistry, Version
from trading.mlops.train import (
    Challenger,
    Configuration,
    configuration,
    configuration_hash,
    curves,
    learner_of,
    model_name,
    reliance,
    taught,
    train,
)
from trading.models.base import Dataset, ModelCard, ModelSettings
from trading.models.validation import FIGURES, over_seeds

if TYPE_CHECKING:
    from trading.config import Home

log = get_logger(__name__)

_LATEST = "latest.json"
_TRACK, _CONFIGURATION = "model/track.json", "model/configuration.json"
# Whose first model takes the place without proof (ADR 0004).
_WITHOUT_PROOF = "forest"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainReport:
    """What the training of one family came to; JSON values only in ``to_json``.

    ``trials`` is how many configurations had been tried on the market by then, ``seconds`` what
    the training took without other seeds, ``page`` the file with the verdict. ``trained`` is false where nothing was
    due.
    """

    market: str
    family: str
    version: int
    promoted: bool
    verdict: str
    proven: bool
    reason: str
    trained_through: str
    panel_end: str
    rank_ic: float
    rank_ic_t: float
    rows: int
    trials: int
    dataset_hash: str
    feature_fingerprint: str
    seconds: float
    page: str
    trained: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What a training of several families came to.

    ``missed`` says in Korean, by family, why there is no report: the champion stays. ``silent``
    says the same of those that were taught and have no view: nothing failed.
    """

    reports: tuple[RetrainReport, ...]
    missed: Mapping[str, str]
    silent: Mapping[str, str]

    @property
    def trained(self) -> tuple[RetrainReport, ...]:
        """The reports of what was really trained."""
        return tuple(report for report in self.reports if report.trained)


def retrain_all(
    venue: Venue,
    home: "Home",
    models: ModelSettings,
    families: Sequence[str],
    *,
    minutes: float,
    is_full: bool = False,
    force: bool = False,
    bias: str | None = None,
) -> Outcomes:
    """Train those of ``families`` that are due, one after the other, within ``minutes``.

    ``is_full`` trains whatever has not seen the panel's last session, with several seeds. A family
    that fails, whatever the reason, or took longer the last time than is left, keeps its champion;
    whoever was taught the longest ago is first.
    """
    deadline = monotonic_seconds() + 60.0 * minutes
    market = venue.adjusted.market
    former = {family: last_report(home, market, family) for family in families}
    reports, missed, silent = [], {}, {}
    for family in sorted(families, key=lambda one: _taught_through(former[one])):
        latest = former[family]
        left = deadline - monotonic_seconds()
        is_wanted = force or is_due(
            home, venue.adjusted, venue.features, models, family, is_full=is_full
        )
        is_slow = latest is not None and latest.seconds > left and not force
        if is_wanted and (left <= 0 or is_slow):
            needed = f", 지난번 {latest.seconds / 60:.1f}분" if latest is not None else ""
            missed[family] = (
                f"남은 시간이 모자라 학습하지 않음 (남은 {max(left, 0) / 60:.1f}분{needed})"
            )
            log.warning("학습 시간 부족, 챔피언 유지", family=family, reason=missed[family])
            continue
        try:
            reports.append(
                retrain(
                    venue, home, models, family=family, is_full=is_full, force=force, bias=bias,
                    deadline=deadline,
                )
            )  # fmt: skip
        except AbstentionError as error:
            silent[family] = str(error)
            log.info("모델 기권, 챔피언 유지", family=family, reason=str(error))
        except TradingError as error:
            missed[family] = str(error)
            log.error("학습 실패, 챔피언 유지", family=family, reason=str(error), told=True)
        except Exception as error:
            # Nothing that goes wrong with a challenger may keep the day from its holdings.
            missed[family] = (
                f"예상하지 못한 오류 ({type(error).__name__}: {error}). 자세한 것은 오류 로그에 있습니다."
            )
            log.exception("학습 실패, 챔피언 유지", family=family, told=True)
    return Outcomes(reports=tuple(reports), missed=missed, silent=silent)


def _taught_through(latest: RetrainReport | None) -> str:
    return latest.panel_end if latest is not None else ""


def is_due(
    home: "Home",
    panel: AdjustedPanel,
    features: FeatureSettings,
    models: ModelSettings,
    family: str = "forest",
    *,
    is_full: bool = False,
) -> bool:
    """Return whether a model of ``family`` must be trained before ``panel``'s next session.

    Yes when ``retrain_every_sessions`` (``is_full``: any) have passed since the last training, the
    last session's check of the champion calls for it, or
    that was of other features or of a later history; of a family whose first model needs no proof
    also without a usable champion.
    """
    latest = last_report(home, panel.market, family)
    if latest is None:
        return True
    end = date.fromisoformat(latest.panel_end)
    if end > panel.sessions[-1].item():
        return True
    if latest.feature_fingerprint not in ("", fingerprint(features)):
        return True
    if family == _WITHOUT_PROOF and _rival(home, panel, features, models, family) is None:
        return True
    passed = int((panel.sessions > np.datetime64(end, "D")).sum())
    if passed >= (1 if is_full else models.gate.retrain_every_sessions):
        return True
    return health.wants_training(
        home, panel, family, since=end, pause_sessions=models.drift.pause_sessions
    )


def last_report(home: "Home", market: Market, family: str = "forest") -> RetrainReport | None:
    """Return the report of the last training of a family; ``None`` before the first one.

    One that cannot be read is told and counts as none: the next training writes another.
    """
    path = promote.family_dir(home, market, family) / _LATEST
    if not path.exists():
        return None
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        # Before there were families, a report said less.
        former = {
            "family": family,
            "proven": body["verdict"] == gate.PROMOTED,
            "feature_fingerprint": "",
            "seconds": 0.0,
            "page": "",
        }
        body.pop("threshold_t", None)
        report = RetrainReport(**(former | body))
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.error("지난 학습의 결과를 읽지 못함, 없는 것으로 봄", path=str(path), reason=str(error))
        return None
    # Of a home that was moved or restored elsewhere the file names the page at its former place.
    page = _pages(home, model_name(family, market.value)) / Path(report.page).name
    return replace(report, page=str(page)) if report.page else report


def _pages(home: "Home", name: str) -> Path:
    """Return the folder of the verdicts on a model's versions."""
    return home.data_dir / "reports" / "models" / name


def retrain(
    venue: Venue,
    home: "Home",
    models: ModelSettings,
    *,
    family: str = "forest",
    is_full: bool = False,
    force: bool = False,
    bias: str | None = None,
    deadline: float | None = None,
    chosen: Configuration | None = None,
    others: Sequence[Track] = (),
) -> RetrainReport:
    """Train a challenger on the history, judge it, register it, and let it trade if it may.

    Not due yet: the last report with ``trained`` false, nothing written. Killed at any moment and
    asked again, it ends as if it had not been: what was registered already is not trained again.

    Parameters
    ----------
    bias : str, optional
        Says in Korean what makes the evidence useless as proof, if anything does.
    deadline : float, optional
        Nothing is fitted any more after it, in ``clock.monotonic_seconds``.
    chosen : Configuration, optional
        What a search chose; the champion's own choice when not given, as long as the settings it
        was found under are still those of the operator.
    others : sequence of Track
        Those of the other configurations of the search.

    Raises
    ------
    ModelError
        If there is too little to learn from, or no time left; the champion stays.
    """
    panel, features = venue.adjusted, venue.features
    latest = last_report(home, panel.market, family)
    if (
        latest is not None
        and not force
        and not is_due(home, panel, features, models, family, is_full=is_full)
    ):
        return replace(latest, trained=False)
    begun = monotonic_seconds()
    base = configuration_hash(features, models, family)
    chosen = chosen or _kept_choice(home, panel.market, family, base)
    own = chosen.applied(models, family)
    data = taught(panel, features, own, venue.facts, family, chosen.only)
    registry = MlflowRegistry(home.mlruns_dir)
    found = _unsettled(registry, data, configuration_hash(features, own, family, chosen.only),
                       model_name(family, panel.market.value), latest)  # fmt: skip
    if found is None:
        challenger = train(
            panel, features, own, venue.facts, family, only=chosen.only, data=data,
            deadline=deadline,
        )  # fmt: skip
        rival = _rival(home, panel, features, models, family)
        former = _track_of(home, rival)
        track = trade_forecasts(venue, challenger.walk, family, own)
        trials = count_trial(home, venue, own, family, chosen, track, others)
        verdict = gate.judge(
            track,
            former,
            trials=trials,
            settings=models.gate,
            bias=bias,
            first_without_proof=family == _WITHOUT_PROOF and rival is None,
        )
        curve, measured = curves(challenger, own), _figures(challenger, track)
        # Other seeds take what time is left: the next training needs no room for them.
        seconds = monotonic_seconds() - begun
        if is_full:
            with_seeds, of_seeds = _over_seeds(challenger, own, family, deadline)
            curve, measured = curve | of_seeds, measured | with_seeds
        card = challenger.model.card
        version = registry.register(
            challenger.model,
            experiment=f"{model_text(family)} ({family})",
            parameters=_parameters(own, family, chosen, card),
            metrics=measured | {"trials": float(trials.raw), "seconds": seconds},
            curves=curve,
            tags={
                "market": card.market,
                "dataset_hash": card.dataset_hash,
                "feature_fingerprint": card.feature_fingerprint,
                "configuration_hash": card.configuration_hash,
                "seed": str(card.seed),
                "code_version": card.code_version,
                "trained_through": card.trained_through.isoformat(),
                "panel_end": panel.sessions[-1].item().isoformat(),
                "promoted": str(verdict.promoted),
                "proven": str(verdict.proven),
                "verdict": verdict.verdict,
                "reason": verdict.reason,
                "rank_ic": f"{card.rank_ic:.4f}",
                "rank_ic_t": f"{card.rank_ic_t:.2f}",
                "rows": str(card.rows),
                "trials": str(trials.raw),
                "seconds": f"{seconds:.1f}",
            },
            files={
                _TRACK: json.dumps(track_json(track)),
                _CONFIGURATION: json.dumps({"base": base, **chosen.to_json()}, ensure_ascii=False),
                "verdict.json": json.dumps(
                    verdict.to_json(), ensure_ascii=False, indent=1, default=bool
                ),
                "verdict.html": page_of(
                    verdict, track, former, trials, name=model_text(family), market=panel.market
                ),
                "importance.csv": _importance(challenger),
            },
        )
        found = registry.version(card.name, version)
    return _settle(home, registry, found, panel.market, family)


def count_trial(
    home: "Home",
    venue: Venue,
    models: ModelSettings,
    family: str,
    chosen: Configuration,
    track: Track,
    others: Sequence[Track] = (),
) -> Trials:
    """Write down that a configuration was tried, and return how many were on this market by now.

    A configuration that is taught again on longer history is no new one.
    """
    first, last = track.sessions[0], track.sessions[-1]
    trial = Trial(
        market=venue.adjusted.market,
        command="train",
        configuration=configuration(venue.features, models, family, chosen.only),
        first_session=str(first),
        last_session=str(last),
        at=WallClock().now(),
        returns=track.net,
    )
    with TrialLedger(trials_path(home.data_dir)) as ledger:
        ledger.record(trial)
        raw = ledger.count(venue.adjusted.market).distinct
    alike = [one.active for one in others if np.array_equal(one.sessions, track.sessions)]
    return Trials.of(track, alike, raw)


def champions_choice(
    home: "Home", venue: Venue, models: ModelSettings, family: str
) -> Configuration:
    """Return how the champion of a family is taught, or would be without a search."""
    base = configuration_hash(venue.features, models, family)
    return _kept_choice(home, venue.adjusted.market, family, base)


def track_json(track: Track) -> dict[str, Any]:
    """Return a track as JSON values."""
    body: dict[str, Any] = {}
    for field in fields(track):
        value = getattr(track, field.name)
        if isinstance(value, np.ndarray):
            body[field.name] = value.astype(str if field.name == "sessions" else float).tolist()
        else:
            body[field.name] = value
    body["stretches"] = [
        asdict(one) | {"first": one.first.isoformat(), "last": one.last.isoformat()}
        for one in track.stretches
    ]
    return body


def track_from(body: Mapping[str, Any]) -> Track:
    """Return the track written by ``track_json``."""
    arrays = {
        name: np.array(value, dtype="datetime64[D]" if name == "sessions" else np.float64)
        for name, value in body.items()
        if isinstance(value, list) and name != "stretches"
    }
    stretches = tuple(
        Stretch(**{**one, "first": date.fromisoformat(one["first"]),
                   "last": date.fromisoformat(one["last"])})
        for one in body["stretches"]
    )  # fmt: skip
    return Track(**{**body, **arrays, "stretches": stretches})


def _unsettled(
    registry: MlflowRegistry,
    data: Dataset,
    configured: str,
    name: str,
    latest: RetrainReport | None,
) -> Version | None:
    """Return what a training that was killed after it had registered left, of the same data."""
    wanted = {"dataset_hash": data.content_hash, "configuration_hash": configured}
    after = latest.version if latest is not None else 0
    for item in reversed(registry.versions(name)):
        is_open = "settled" not in item.tags and item.version > after and "promoted" in item.tags
        if is_open and wanted.items() <= item.tags.items():
            return item
    return None


def _settle(
    home: "Home", registry: MlflowRegistry, found: Version, market: Market, family: str
) -> RetrainReport:
    """Do what the verdict on a registered version says; done again, it changes nothing."""
    tags, promoted = found.tags, found.tags["promoted"] == "True"
    if promoted:
        promote.install(home, registry, found.version, found.name)
    else:
        registry.set_alias(found.name, CHALLENGER, found.version)
    folder = _pages(home, found.name)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("json", "html"):
        text = registry.text(found.name, found.version, f"verdict.{kind}")
        if text is not None:
            (folder / f"{found.version}.{kind}").write_text(text, encoding="utf-8")
    report = RetrainReport(
        market=market.value,
        family=family,
        version=found.version,
        promoted=promoted,
        verdict=tags["verdict"],
        proven=tags["proven"] == "True",
        reason=tags["reason"],
        trained_through=tags["trained_through"],
        panel_end=tags["panel_end"],
        rank_ic=float(tags["rank_ic"]),
        rank_ic_t=float(tags["rank_ic_t"]),
        rows=int(tags["rows"]),
        trials=int(tags["trials"]),
        dataset_hash=tags["dataset_hash"],
        feature_fingerprint=tags["feature_fingerprint"],
        seconds=float(tags["seconds"]),
        page=str(folder / f"{found.version}.html"),
    )
    promote.write_json(promote.family_dir(home, market, family) / _LATEST, report.to_json())
    registry.tag(found.name, found.version, {"settled": "True", "page": report.page})
    log.info("모델 판정", market=report.market, family=family, version=report.version,
             verdict=report.verdict, reason=report.reason)  # fmt: skip
    return report


def _rival(
    home: "Home",
    panel: AdjustedPanel,
    features: FeatureSettings,
    models: ModelSettings,
    family: str,
) -> ModelCard | None:
    """Return the champion's card if it holds its place against a newcomer taught on ``panel``.

    One whose files are damaged does not, nor one that is too old to be asked: a challenger is
    rarely proven, and the family would abstain for good.
    """
    try:
        champion = promote.load_champion(home, panel.market, family)
    except ModelError as error:
        log.error("챔피언 파일이 손상됨, 자리를 비운 것으로 봄", reason=str(error))
        return None
    if champion is None:
        return None
    card = champion.card
    if health.has_expired(card, panel.sessions, models.drift):
        return None
    return card if promote.usable(card, features, panel.sessions[-1].item()) is None else None


def _track_of(home: "Home", rival: ModelCard | None) -> Track | None:
    """Return what the champion earned on paper; one from before that was kept has none."""
    if rival is None:
        return None
    body = _champions_json(home, Market(rival.market), rival.family, _TRACK)
    return track_from(body) if body is not None else None


def _kept_choice(home: "Home", market: Market, family: str, base: str) -> Configuration:
    """Return what a search chose for the champion, unless the settings have changed since."""
    body = _champions_json(home, market, family, _CONFIGURATION)
    if body is None or body["base"] != base:
        return Configuration()
    return Configuration.from_json(body)


def _champions_json(
    home: "Home", market: Market, family: str, name: str
) -> Mapping[str, Any] | None:
    """Return what was registered as ``name`` with the champion; ``None`` where nothing was.

    Raises
    ------
    ModelError
        If it cannot be read: without it the challenger would be judged by less, or be another one.
    """
    try:
        version = promote.champion_version(home, market, family)
    except ModelError:
        return None
    if version is None:
        return None
    path = promote.family_dir(home, market, family) / str(version) / Path(name).name
    if not path.exists():
        return None
    try:
        body: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"챔피언의 기록을 읽을 수 없음: {path}. trading promote {version} --family {family} 로 "
            "등록소에서 다시 가져올 수 있습니다."
        ) from error
    return body


def _parameters(
    models: ModelSettings, family: str, chosen: Configuration, card: ModelCard
) -> dict[str, Any]:
    own = getattr(models, family).model_dump(mode="json")
    return {
        **own,
        "seed": card.seed,
        "horizon_sessions": card.horizon_sessions,
        "features": len(card.feature_names),
        "searched": bool(chosen.params or chosen.only),
    }


def _figures(challenger: Challenger, track: Track) -> dict[str, float]:
    card, walk = challenger.model.card, challenger.walk
    return {
        **{name: getattr(walk, name) for name in FIGURES},
        "rank_ic_sessions": float(card.rank_ic_sessions),
        "forecast_scale": card.forecast_scale,
        "rows": float(card.rows),
        "annual_excess": float(track.active.mean()) * track.sessions_per_year,
        "annual_turnover": track.turnover,
    }


def _over_seeds(
    challenger: Challenger, models: ModelSettings, family: str, deadline: float | None
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return mean and standard deviation over seeds, and the rank IC of each.

    Nothing where the time does not suffice for them: the verdict does not hang on it.
    """
    try:
        found = over_seeds(
            challenger.dataset,
            learner_of(family, models, deadline),
            models.validation,
            rank_min_names=models.rank_min_names,
            seed=challenger.model.card.seed,
            first=challenger.walk,
        )
    except ModelError as error:
        log.warning("시드마다의 검증을 남기지 못함", family=family, reason=str(error))
        return {}, {}
    figures = {f"{name}_mean_of_seeds": value for name, value in found.mean.items()}
    figures |= {f"{name}_std_of_seeds": value for name, value in found.std.items()}
    return figures, {"seed_rank_ic": [walk.rank_ic for walk in found.walks]}


def _importance(challenger: Challenger) -> str:
    rows = [f"{name},{value:.6f}" for name, value in reliance(challenger).items()]
    return "\n".join(("feature,change_of_forecast", *rows)) + "\n"


def text(outcomes: Outcomes) -> list[str]:
    """Return what a training came to as lines in Korean, one a family."""
    lines = [
        f"{model_text(report.family, report.version)}: {report.reason}"
        for report in outcomes.trained
    ]
    others = {**outcomes.missed, **outcomes.silent}
    return lines + [f"{model_text(family)}: {why}" for family, why in others.items()]
