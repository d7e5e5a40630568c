"""Whether those who trade are still what was promoted, and what follows when they are not.

After the close ``check`` weighs the evidence and keeps it under ``data/health/<market>/``; before
the next session ``apply`` takes a refused champion out, ``wants_training`` calls for a new one, and
``silenced`` names those who are not asked. How anything is measured is in ``drift``.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.domain.arrays import BoolArray, DateArray, FloatArray
from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel
from trading.domain.wording import model_text
from trading.errors import ModelError
from trading.features import pipeline
from trading.features.indicators import Bars
from trading.features.labels import forward_returns
from trading.features.pipeline import FeatureSettings, fingerprint
from trading.log import get_logger
from trading.mlops import drift, promote
from trading.mlops.drift import Drift, Kept, Realized, Reference
from trading.models.base import DriftSettings, ModelCard, ModelSettings
from trading.models.inference import TrainedModel
from trading.models.validation import rank_correlation
from trading.sessions import SessionCalendar
from trading.strategies.learned import forecasts

if TYPE_CHECKING:
    from trading.config import Home
    from trading.context import DayContext, Prepared

log = get_logger(__name__)

_GRIDS = ("open", "high", "low", "close", "volume", "tradable")


class Action(StrEnum):
    """What follows from a finding."""

    RETRAIN = "retrain"
    ABSTAIN = "abstain"
    DEMOTE = "demote"


ACTION_TEXT = {
    Action.RETRAIN: "다시 학습",
    Action.ABSTAIN: "묻지 않음",
    Action.DEMOTE: "강등",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action with its reason in Korean; ``since`` is the session that gave cause."""

    action: Action
    reason: str
    since: date


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """What is known of one champion after a session; ``None`` is unknown.

    ``age`` is how many sessions have passed since the last one it has seen. ``rose_on`` is the last
    session at whose close ADWIN found that the error had risen, ``rose_ago`` how many sessions have
    passed since. ``is_skewed`` says that it was asked with features that the same data do not give
    again.
    """

    card: ModelCard
    session: date
    age: int
    features: Drift | None
    forecasts: Drift | None
    rose_on: date | None
    rose_ago: int
    realized: Realized
    kept: Kept | None
    is_skewed: bool


def examine(
    model: TrainedModel,
    bars: Bars,
    features: FeatureSettings,
    models: ModelSettings,
    *,
    session: date,
    is_skewed: bool = False,
) -> Findings:
    """Return what ``bars``, known before ``session``, say of a champion.

    Forecasts since ``trained_through`` are asked for again: they are those that voted, as long as
    features do not skew. Forecasts are held against the walk-forward's from the first session on
    that taught nothing.
    """
    card, settings, panel = model.card, models.drift, bars.panel
    start = int(np.searchsorted(panel.sessions, np.datetime64(card.trained_through, "D")))
    untaught = max(0, start - card.horizon_sessions + 1)
    asked = forecasts(model, bars, features, start=untaught)
    lived = asked[start - untaught :]
    least = models.validation.min_names
    outcome = forward_returns(panel, card.horizon_sessions).excess[start:]
    ic = rank_correlation(lived, outcome, min_names=least)
    kept_sessions = panel.sessions[start:]
    found = Findings(
        card=card,
        session=session,
        age=max(0, len(kept_sessions) - 1),
        features=None,
        forecasts=None,
        rose_on=None,
        rose_ago=0,
        realized=drift.realized(ic, horizon=card.horizon_sessions),
        kept=None,
        is_skewed=is_skewed,
    )
    reference = Reference.from_tensors(model.reference)
    if reference is None:
        return found
    recent = slice(-settings.window_sessions, None)
    now = pipeline.compute(bars, features, rows=recent).select(card.feature_names)
    errors = drift.errors(lived, forward_returns(panel, 1).excess[start:], min_names=least)
    rose = drift.rises(reference.errors, errors, delta=settings.error_delta)
    last = asked[-settings.forecast_sessions :]
    full = len(last) == settings.forecast_sessions
    return replace(
        found,
        features=reference.features.compare(
            _spread(now, bars.tradable[recent], reference.step), settings
        ),
        forecasts=(
            reference.forecasts.compare(
                _spread(last[:, :, None], np.isfinite(last), reference.step), settings
            )
            if full
            else None
        ),
        # The error of a forecast is known a session later.
        rose_on=kept_sessions[rose[-1] + 1].item() if len(rose) else None,
        rose_ago=len(kept_sessions) - 2 - int(rose[-1]) if len(rose) else 0,
        kept=drift.kept(
            ic,
            promise=promise_of(card, settings),
            spread=reference.spread,
            horizon=card.horizon_sessions,
        ),
    )


def promise_of(card: ModelCard, settings: DriftSettings) -> float:
    """Return the rank IC that a model must keep: its walk-forward's lower bound, at least 0."""
    if card.rank_ic_t == 0.0:
        return 0.0
    error = abs(card.rank_ic / card.rank_ic_t)
    return max(0.0, card.rank_ic - NormalDist().inv_cdf(settings.promise_level) * error)


def _spread(values: FloatArray, eligible: BoolArray, step: int) -> FloatArray:
    """Return the rows of names in every ``step``-th session, counted from the last one."""
    rows: FloatArray = values[::-1][::step][eligible[::-1][::step]]
    return rows


def decide(found: Findings, settings: DriftSettings) -> tuple[Step, ...]:
    """Return what follows from ``found``, the gravest first; nothing from what is unknown."""
    steps: list[tuple[Action, str, date]] = []
    today, names = found.session, found.card.feature_names
    if found.kept is not None and found.kept.p <= settings.demote_level:
        reason = (
            f"실현 순위 IC가 약속({found.kept.promise:+.3f})에 못 미침 (p {found.kept.p:.3f}, "
            f"{found.kept.blocks}구간)"
        )
        steps += [(Action.DEMOTE, reason, today), (Action.RETRAIN, "강등된 모델의 자리", today)]
    if found.is_skewed:
        steps.append((Action.ABSTAIN, "투표에 쓴 특성이 같은 자료로 다시 계산되지 않음", today))
    if found.age >= settings.max_age_sessions:
        reason = f"배운 지 {found.age:,}거래일 (한도 {settings.max_age_sessions:,}거래일)"
        steps += [(Action.ABSTAIN, reason, today), (Action.RETRAIN, reason, today)]
    if found.features is not None:
        steps += _of_features(found.features, names, settings, today)
    if found.forecasts is not None and found.forecasts.has_drifted:
        reason = f"예측의 분포가 검증 때와 다름 ({_distance(found.forecasts)})"
        steps.append((Action.RETRAIN, reason, today))
    # What rose longer ago has called for its training already.
    if found.rose_on is not None and found.rose_ago < settings.pause_sessions:
        reason = f"예측 오차가 커짐 ({found.rose_on}, ADWIN)"
        steps.append((Action.RETRAIN, reason, found.rose_on))
    order = list(Action)[::-1]
    return tuple(
        Step(action=action, reason=reason, since=since)
        for action, reason, since in sorted(steps, key=lambda step: order.index(step[0]))
    )


def _of_features(
    found: Drift, names: Sequence[str], settings: DriftSettings, today: date
) -> list[tuple[Action, str, date]]:
    steps = []
    beyond = np.flatnonzero(found.outside > settings.max_outside)
    if len(beyond):
        worst = int(beyond[np.argmax(found.outside[beyond])])
        reason = f"{names[worst]} 값의 {found.outside[worst]:.0%}가 배운 범위 밖"
        steps += [(Action.ABSTAIN, reason, today), (Action.RETRAIN, reason, today)]
    elif found.has_drifted:
        worst = int(np.nanargmax(found.score))
        reason = f"{names[worst]} 분포가 배운 것과 다름 ({_distance(found)})"
        steps.append((Action.RETRAIN, reason, today))
    lacking = np.flatnonzero(found.missing > settings.max_missing)
    if len(lacking):
        worst = int(lacking[np.argmax(found.missing[lacking])])
        reason = f"{names[worst]} 값의 {found.missing[worst]:.0%}가 없음"
        steps.append((Action.RETRAIN, reason, today))
    return steps


def _distance(found: Drift) -> str:
    return f"거리 {found.farthest:.3f}, 한도 {found.limit:.3f}"


def keep_features(context: "DayContext", prepared: "Prepared") -> None:
    """Keep what the learned agents were asked with before the open, and their votes.

    Those of more than ``keep_sessions`` sessions are not kept: nobody compares them any more.
    """
    from safetensors.numpy import save_file

    folder = _folder(context.home, context.market)
    path = folder / f"{context.session}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file(_asked(prepared, context.settings.features), temporary)
    temporary.replace(path)
    # Of an account begun anew at an earlier date later ones are there: they are nobody's past.
    past = sorted(one for one in folder.glob("*.safetensors") if one.stem <= path.stem)
    for old in past[: -context.settings.models.drift.keep_sessions]:
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            log.warning("오래된 특성의 기록을 지우지 못함", path=str(old), reason=str(error))


def _asked(prepared: "Prepared", features: FeatureSettings) -> dict[str, Any]:
    """Return features, votes and a digest of the data of the last session before the open."""
    bars, evaluation = prepared.research.bars, prepared.research.evaluation
    panel = bars.panel
    now = pipeline.compute(bars, features, rows=slice(-1, None))
    digest = hashlib.sha256("\n".join(panel.symbols).encode())
    for name in _GRIDS:
        digest.update(np.ascontiguousarray(getattr(panel, name)).tobytes())
    for grid in (bars.facts.sectors, *bars.facts.fundamentals.values()):
        digest.update(np.ascontiguousarray(grid[-1:]).tobytes())
    votes = {
        f"votes.{family}": evaluation.votes[-1, evaluation.agents.index(family)]
        for family in prepared.model_versions
        if family in evaluation.agents
    }
    return {
        "features": np.ascontiguousarray(now.values[-1]),
        "data": np.frombuffer(digest.digest(), dtype=np.uint8),
        **{name: np.ascontiguousarray(vote) for name, vote in votes.items()},
    }


def skew(kept: Mapping[str, Any] | None, again: Mapping[str, Any]) -> str:
    """Return how what was asked before the open compares with the same computed again, to the bit.

    ``equal``, ``revised`` (the data before the session are not what they were, so nothing can be
    said), ``skewed`` (the same data give something else) or ``unknown`` (nothing was kept).
    """
    if kept is None:
        return "unknown"
    if kept["data"].tobytes() != again["data"].tobytes():
        return "revised"
    same = kept.keys() == again.keys() and all(
        kept[name].tobytes() == again[name].tobytes() for name in kept
    )
    return "equal" if same else "skewed"


def check(context: "DayContext", prepared: "Prepared") -> dict[str, Any]:
    """Weigh the evidence on every champion after a session; keep it, log and tell what follows.

    ``prepared`` is the session computed again. Repeated for the same session it keeps the same.
    """
    kept = _kept_features(context)
    settings = context.settings
    body = weigh(
        context.home,
        prepared.research.bars,
        settings.features,
        settings.models,
        session=context.session,
        skew=skew(kept, _asked(prepared, settings.features)),
    )
    for model in body["models"]:
        for step in model["steps"]:
            about = {
                "market": str(context.market),
                "session": str(context.session),
                "model": model_text(model["family"]),
                "version": model["version"],
                "action": ACTION_TEXT[step["action"]],
                "message": step["reason"],
            }
            log.warning("모델 점검", **about)
            told = f"{context.run.run_id}:{context.session}:{model['family']}"
            context.notifier.send(
                "model_health", about | {"key": f"health:{told}:{step['action']}:{step['reason']}"}
            )
    return body


def _kept_features(context: "DayContext") -> dict[str, Any] | None:
    """Return what ``keep_features`` kept; ``None`` when nothing was, or it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = _folder(context.home, context.market) / f"{context.session}.safetensors"
    try:
        return load_file(path) if path.exists() else None
    except (OSError, SafetensorError) as error:
        log.error("아침에 쓴 특성의 기록을 읽지 못함", path=str(path), reason=str(error))
        return None


def weigh(
    home: "Home",
    bars: Bars,
    features: FeatureSettings,
    models: ModelSettings,
    *,
    session: date,
    skew: str = "unknown",
) -> dict[str, Any]:
    """Examine every champion of the market, decide, and keep that as JSON; return it.

    One that cannot be loaded, or was taught other features, is not examined: it is not asked either.
    """
    market = bars.panel.market
    voting, versions, _ = promote.load_champions(home, market, features)
    before = last_check(home, market, session)
    refused = dict.fromkeys(before["refused"] if before is not None else ())
    entries = []
    for family, model in voting.items():
        found = examine(model, bars, features, models, session=session, is_skewed=skew == "skewed")
        steps = decide(found, models.drift)
        if any(step.action is Action.DEMOTE for step in steps):
            refused[model.fingerprint] = None
        entries.append(_entry(family, versions[family], model, found, steps))
    body = {
        "market": market.value,
        "session": session.isoformat(),
        "skew": skew,
        "models": entries,
        "refused": list(refused),
    }
    promote.write_json(_folder(home, market) / f"{session}.json", body)
    return body


def _entry(
    family: str, version: int, model: TrainedModel, found: Findings, steps: Sequence[Step]
) -> dict[str, Any]:
    names = found.card.feature_names
    return {
        "family": family,
        "version": version,
        "fingerprint": model.fingerprint,
        "age": found.age,
        "features": _drift_body(found.features, names),
        "forecasts": _drift_body(found.forecasts, ("forecast",)),
        "rose_on": found.rose_on.isoformat() if found.rose_on is not None else None,
        "realized": {
            "sessions": found.realized.sessions,
            "mean": _known(found.realized.mean),
            "low": _known(found.realized.low),
            "high": _known(found.realized.high),
        },
        "promise": (
            {"rank_ic": found.kept.promise, "p": found.kept.p, "blocks": found.kept.blocks}
            if found.kept is not None
            else None
        ),
        "steps": [
            {"action": step.action, "reason": step.reason, "since": step.since.isoformat()}
            for step in steps
        ],
    }


def _drift_body(found: Drift | None, names: Sequence[str]) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "farthest": _known(found.farthest),
        "limit": _known(found.limit),
        "columns": {
            name: {
                "psi": _known(found.psi[i]),
                "ks": _known(found.ks[i]),
                "score": _known(found.score[i]),
                "missing": _known(found.missing[i]),
                "outside": _known(found.outside[i]),
            }
            for i, name in enumerate(names)
        },
    }


def _known(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def last_check(home: "Home", market: Market, before: date) -> dict[str, Any] | None:
    """Return what the last session before ``before`` left behind; ``None`` when none did."""
    days = [path.stem for path in _folder(home, market).glob("*.json")]
    earlier = [day for day in days if day < before.isoformat()]
    return read_check(home, market, date.fromisoformat(max(earlier))) if earlier else None


def read_check(home: "Home", market: Market, session: date) -> dict[str, Any] | None:
    """Return what was kept of the check after ``session``; ``None`` when nothing was.

    One that cannot be read is told and counts as none: whom it took out stays out.
    """
    path = _folder(home, market) / f"{session}.json"
    if not path.exists():
        return None
    try:
        body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        log.error("모델 점검의 기록을 읽지 못함", path=str(path), reason=str(error))
        return None
    return body


def age_of(card: ModelCard, sessions: DateArray) -> int:
    """Return how many of ``sessions`` have passed since the last one that a model has seen."""
    return int((sessions > np.datetime64(card.trained_through, "D")).sum())


def has_expired(card: ModelCard, sessions: DateArray, settings: DriftSettings) -> bool:
    """Whether a model is too old to be asked in the session after the last of ``sessions``."""
    return age_of(card, sessions) > settings.max_age_sessions


def last_asked(later: Sequence[date], settings: DriftSettings) -> date | None:
    """Return the last session before a model has expired; ``None`` when that is not in ``later``.

    ``later`` are the sessions after the last one that it has seen.
    """
    age = settings.max_age_sessions
    return later[age] if len(later) > age else None


def silenced(
    home: "Home",
    market: Market,
    models: Mapping[str, TrainedModel],
    settings: DriftSettings,
    *,
    session: date,
    sessions: DateArray,
) -> dict[str, str]:
    """Return which of the champions are not asked in ``session``, and why, in Korean.

    ``sessions`` are those before it. What the last check said of another model says nothing of
    the one that has taken its place.
    """
    found: dict[str, str] = {}
    before = last_check(home, market, session)
    for family, model in models.items():
        if has_expired(model.card, sessions, settings):
            found[family] = f"배운 지 {age_of(model.card, sessions):,}거래일이 지나 만료됨"
        # Of an account begun anew at an earlier date: it would abstain without a word.
        elif len(sessions) and (seen := model.card.trained_through) > sessions[-1].item():
            found[family] = f"{sessions[-1]} 뒤의 가격을 본 모델 ({seen}까지 배움)"
        if before is None:
            continue
        if model.fingerprint in before["refused"]:
            found[family] = "실현된 성과가 약속에 못 미쳐 강등된 모델"
        for entry in before["models"]:
            bars = [s["reason"] for s in entry["steps"] if s["action"] == Action.ABSTAIN]
            if entry["fingerprint"] == model.fingerprint and bars:
                found.setdefault(family, bars[0])
    return found


def objection(
    home: "Home",
    family: str,
    model: TrainedModel,
    features: FeatureSettings,
    settings: DriftSettings,
    *,
    session: date,
    calendar: SessionCalendar,
) -> str | None:
    """Return in Korean what keeps a champion from voting in ``session``; ``None`` when nothing does.

    Said before that session is prepared, of one that was put in its place by hand.
    """
    if model.card.feature_fingerprint != fingerprint(features):
        return f"다음 세션에 기권합니다: {promote.OTHER_FEATURES}."
    market, former = calendar.market, calendar.previous(session)
    sessions = calendar.sessions(min(former, model.card.trained_through), former)
    reason = silenced(
        home, market, {family: model}, settings,
        session=session, sessions=np.array(sessions, dtype="datetime64[D]"),
    ).get(family)  # fmt: skip
    if reason is None:
        return None
    before = last_check(home, market, session)
    if before is not None and model.fingerprint in before["refused"]:
        return (
            f"다음 세션의 아침에 자동으로 내려옵니다: {reason}. 그 자리에는 이전 챔피언이 돌아오고, "
            "없거나 그것도 강등됐으면 기권합니다."
        )
    return f"다음 세션에 기권합니다: {reason}."


def wants_training(
    home: "Home", panel: AdjustedPanel, family: str, *, since: date, pause_sessions: int
) -> bool:
    """Return whether the last check calls for a training that ``since`` has not brought yet.

    ``since`` is the last session that the last training saw; for ``pause_sessions`` after it
    nothing calls again.
    """
    last = panel.sessions[-1].item()
    passed = int((panel.sessions > np.datetime64(since, "D")).sum())
    checked = last_check(home, panel.market, last + timedelta(days=1))
    if checked is None or passed < pause_sessions:
        return False
    return any(
        step["action"] == Action.RETRAIN and since < date.fromisoformat(step["since"])
        for entry in checked["models"]
        if entry["family"] == family
        for step in entry["steps"]
    )


def apply(context: "DayContext") -> list[str]:
    """Take out the champions that the last check refused, and return what was done, in Korean.

    The previous champion trades again; without one, or when it was refused itself, the family
    abstains. Done already, nothing is done.
    """
    home, market = context.home, context.market
    before = last_check(home, market, context.session)
    done = []
    voting, _, _ = promote.load_champions(home, market, context.settings.features)
    for family, model in voting.items():
        if before is None or model.fingerprint not in before["refused"]:
            continue
        done.append(_take_out(home, market, family, before["refused"]))
        context.notifier.send(
            "model_health",
            {
                "market": str(market),
                "session": str(context.session),
                "model": model_text(family),
                "action": ACTION_TEXT[Action.DEMOTE],
                "message": done[-1],
                "key": f"demoted:{context.run.run_id}:{context.session}:{family}",
            },
        )
    return done


def _take_out(home: "Home", market: Market, family: str, refused: Sequence[str]) -> str:
    reason = "실현된 성과가 약속에 못 미쳐 자동으로 내려옴"
    name = model_text(family)
    try:
        move = promote.rollback(home, market, family, reason=reason)
        former = promote.load_champion(home, market, family)
        if former is not None and former.fingerprint not in refused:
            log.warning("모델 자동 되돌림", model=name, version=move.version)
            return f"{name} 모델을 이전 {move.version}판으로 되돌렸습니다."
    except ModelError as error:
        log.info("되돌릴 모델 없음", model=name, reason=str(error))
    promote.demote(home, market, family, reason=reason)
    return f"{name} 모델을 내렸습니다. 되돌릴 모델이 없어 새 모델이 나올 때까지 기권합니다."


def rows(body: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a check in words, a row for each champion, under ``HEADS``."""
    return [
        (
            model_text(entry["family"], entry["version"]),
            f"{entry['age']:,}",
            _drift_text(entry["features"]),
            _drift_text(entry["forecasts"]),
            entry["rose_on"] or "없음",
            _realized_text(entry["realized"]),
            f"{entry['promise']['p']:.3f}" if entry["promise"] is not None else "모름",
            ", ".join(f"{ACTION_TEXT[s['action']]}: {s['reason']}" for s in entry["steps"])
            or "없음",
        )
        for entry in body["models"]
    ]


HEADS = (
    "모델", "배운 지 (거래일)", "특성 거리 / 한도", "예측 거리 / 한도", "오차가 커진 날", "실현 순위 IC",
    "약속 p값", "조치",
)  # fmt: skip
SKEW_TEXT = {
    "equal": "아침에 쓴 특성을 저장소에서 다시 계산한 값과 비트까지 같습니다.",
    "revised": "아침 뒤에 지난 자료가 고쳐져 특성을 견줄 수 없습니다.",
    "skewed": "아침에 쓴 특성이 같은 자료로 다시 계산되지 않습니다. 학습 모델에 묻지 않습니다.",
    "unknown": "아침에 쓴 특성의 기록이 없어 견주지 못했습니다.",
}


def _drift_text(found: Mapping[str, Any] | None) -> str:
    if found is None or found["farthest"] is None or found["limit"] is None:
        return "모름"
    return f"{found['farthest']:.2f} / {found['limit']:.2f}"


def _realized_text(found: Mapping[str, Any]) -> str:
    if found["mean"] is None:
        return "모름"
    span = f" [{found['low']:+.3f}, {found['high']:+.3f}]" if found["low"] is not None else ""
    return f"{found['mean']:+.3f}{span} ({found['sessions']:,}일)"


def _folder(home: "Home", market: Market) -> Path:
    return home.data_dir / "health" / market.value
