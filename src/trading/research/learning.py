"""How a family of models forecasts recorded history out of sample, and whether it learns soundly."""

from typing import TYPE_CHECKING, Any

import numpy as np

from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT, model_text, percent_text
from trading.measures import known
from trading.mlops import controls
from trading.mlops.train import learner_of, taught
from trading.models import validation
from trading.research.history import Scope, load_history

if TYPE_CHECKING:
    from trading.bootstrap import Installation

_SHOWN = (
    ("rank_ic", "순위 IC"), ("rank_ic_t", "순위 IC의 t값"), ("rank_icir", "순위 ICIR"),
    ("ic", "IC"), ("icir", "ICIR"),
)  # fmt: skip
_SHARES = (
    ("spread", "가장 높은 묶음 − 전체"), ("turnover", "바꾸는 비중"), ("net", "비용을 뺀 순수익"),
)  # fmt: skip


def validate(
    installation: "Installation", family: str, scope: Scope, *, is_controlled: bool = False
) -> dict[str, Any]:
    """Return the walk-forward of ``family`` over seeds, its calibration and its dispersion.

    Nothing is registered and nobody is promoted. ``is_controlled`` adds ``mlops.controls``, with
    the configured settings of the family: many times the time.

    Raises
    ------
    ModelError
        If there is too little to learn from.
    MissingDataError
        If nothing was recorded of ``scope``.
    """
    settings = installation.settings
    models, history = settings.models, load_history(installation, scope)
    data = taught(history.adjusted, settings.features, models, history.facts, family)
    learner, seed = learner_of(family, models), models.seed
    found = validation.over_seeds(
        data, learner, models.validation, rank_min_names=models.rank_min_names, seed=seed
    )
    paths = validation.dispersion(
        data, learner, models.validation, rank_min_names=models.rank_min_names, seed=seed
    )
    errors = [
        validation.calibration(
            walk,
            horizon=data.horizon,
            prior_outcomes=settings.strategies.confidence.prior_outcomes,
        ).error
        for walk in found.walks
    ]
    tested = found.walks[0].row
    result: dict[str, Any] = {
        "market": str(history.market),
        "family": family,
        "first": data.sessions[tested.min()].item().isoformat(),
        "last": data.sessions[tested.max()].item().isoformat(),
        "sessions": len(np.unique(tested)),
        "names": len(np.unique(data.column)),
        "rows": len(data.labelled),
        "horizon_sessions": data.horizon,
        "purge_sessions": validation.purge(data, models.validation),
        "scheme": models.validation.scheme,
        "seeds": len(found.walks),
        "figures": {
            name: {"mean": known(found.mean[name]), "std": known(found.std[name])}
            for name in validation.FIGURES
        },
        "quantile_returns": np.mean([w.quantile_returns for w in found.walks], axis=0).tolist(),
        "calibration_error": known(float(np.mean(errors))),
        "path_rank_ic": paths.tolist(),
        "survivorship": history.survivorship.text,
        "controls": [],
    }
    if is_controlled:
        result["controls"] = [
            {
                "name": control.name, "value": control.value, "passed": control.passed,
                "low": control.low, "high": known(control.high), "sentence": control.sentence,
            }
            for control in controls.examine(
                learner, data, models.validation, rank_min_names=models.rank_min_names, seed=seed
            )
        ]  # fmt: skip
    return result


def text(result: dict[str, Any]) -> str:
    """Return the lines that an operator reads."""
    figures, paths = result["figures"], result["path_rank_ic"]

    def line(name: str, label: str, as_share: bool) -> str:
        mean, std = figures[name]["mean"], figures[name]["std"]
        if mean is None or std is None:
            return f"  {label}: 알 수 없음"
        if as_share:
            return f"  {label}: {percent_text(mean)} ± {percent_text(std, signed=False)}"
        return f"  {label}: {mean:+.4f} ± {std:.4f}"

    error = result["calibration_error"]
    return "\n".join(
        [
            f"{MARKET_TEXT[Market(result['market'])]} {model_text(result['family'])} 검증: {result['names']:,}종목, "
            f"{result['first']} ~ {result['last']}의 {result['sessions']:,}거래일 "
            f"(시드 {result['seeds']}개의 평균 ± 표준편차, {result['horizon_sessions']}거래일 앞, "
            f"학습과 {result['purge_sessions']}거래일 떨어짐)",
            *(line(name, label, as_share=False) for name, label in _SHOWN),
            *(line(name, label, as_share=True) for name, label in _SHARES),
            f"  확률이 빗나간 정도(ECE): {'알 수 없음' if error is None else f'{error:.4f}'}",
            f"  학습 구간을 바꾸었을 때(CPCV) 순위 IC: {min(paths):+.4f} ~ {max(paths):+.4f} "
            "(흩어짐만 봄)",
            f"  생존 편향: {result['survivorship']}",
            *(
                f"  {'통과' if control['passed'] else '실패'} {control['sentence']}"
                for control in result["controls"]
            ),
        ]
    )
