"""What is shown of a study: a page, a table of its trials, and a run in MLflow."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trading.backtest.optimize import Found, State
from trading.backtest.page import Cell, Grid, Page, Section, Tile, Words, render, text_cell
from trading.backtest.settings import Objective
from trading.backtest.walkforward import MINIMIZED
from trading.charts import attempts_chart
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT
from trading.store.parts import write_durably

OBJECTIVE_TEXT: Mapping[Objective, str] = {
    "sharpe": "샤프 비율",
    "sortino": "소르티노 지수",
    "calmar": "칼마 지수",
    "total_return": "총수익률",
    "annual_return": "연 수익률",
    "annual_volatility": "연 변동성",
    "max_drawdown": "최대 낙폭",
}
STATE_TEXT = {
    State.COMPLETE: "끝까지 시험",
    State.PRUNED: "중간에 그만둠",
    State.REFUSED: "시험할 수 없음",
}
_SHOWN = 20


def page_of(body: Mapping[str, Any], found: Sequence[Found]) -> str:
    """Return the page of a study as one HTML text."""
    words = Words("ko")
    objectives: list[Objective] = body["objectives"]
    states, luck, overfit = body["states"], body["luck"], body["overfitting"]
    best = body["best"]
    tiles = [
        Tile(
            name=f"가장 좋은 {OBJECTIVE_TEXT[objectives[0]]}",
            value=words.number(best[0]["values"][objectives[0]] if best else None, 3),
            small="고른 구간 안에서 잰 값",
        ),
        Tile(
            name="시험한 조합",
            value=f"{body['asked']:,}",
            small=", ".join(f"{STATE_TEXT[State(k)]} {n:,}" for k, n in states.items() if n),
        ),
        Tile(
            name="운만으로 나올 최고 샤프",
            value=words.number(luck and luck["expected_best_sharpe"]),
            small="쓸모없는 조합 같은 수를 시험했을 때의 기댓값"
            if luck
            else "끝까지 시험한 조합이 두 개보다 적음",
        ),
        Tile(
            name="과최적화 확률(PBO)",
            value=words.percent(overfit and overfit["pbo"], signed=False, digits=0),
            small="과거의 최고가 다른 때에는 중간보다 못할 확률"
            if overfit
            else "견줄 조합이나 기록이 모자람",
        ),
    ]
    page = Page(
        title=f"{body['strategy']} 매개변수 탐색",
        meta=f"{MARKET_TEXT[Market(body['market'])]} {body['first_session']} ~ "
        f"{body['last_session']} · 연구 {body['study']}",
        answer=None,
        tiles=tuple(tiles),
        sections=(
            _history(found, objectives),
            _importance(body["importance"], objectives, words),
            _best(best, objectives, words),
            _all(found, objectives, words),
        ),
        footer=(
            "여기의 값은 매개변수를 고른 바로 그 기록에서 잰 것입니다. 다른 기록에서도 그런지는 전진 분석"
            "(trading walk-forward)으로 확인하십시오.",
            f"생존 편향: {body['survivorship_text']}",
        ),
    )
    return render(page, words)


def table_of(found: Sequence[Found], objectives: Sequence[Objective]) -> str:
    """Return every trial as a line of CSV."""
    names = sorted({name for one in found for name in one.params})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["trial", "state", *names, *objectives, "reason"])
    for number, one in enumerate(found, start=1):
        values = one.values or ("",) * len(objectives)
        given = [one.params.get(name, "") for name in names]
        writer.writerow([number, str(one.state), *given, *values, one.reason])
    return out.getvalue()


def publish(
    folder: Path, registry_folder: Path, body: Mapping[str, Any], found: Sequence[Found]
) -> dict[str, Any]:
    """Write the page and the table of a study beside it; log a run where it has gone on."""
    name, objectives = body["study"], body["objectives"]
    page, table = folder / f"{name}.html", folder / f"{name}.csv"
    write_durably(page, page_of(body, found).encode())
    write_durably(table, table_of(found, objectives).encode())
    run_id = None
    if body["new"]:
        from trading.mlops.tracking import MlflowRegistry

        best = body["best"][0] if body["best"] else {"params": {}, "values": {}}
        run_id = MlflowRegistry(registry_folder).log_study(
            name,
            parameters=best["params"],
            metrics={**best["values"], "trials": float(body["asked"])},
            tags={
                "study": name,
                "storage": str(folder / f"{name}.journal")
                if body["storage"] == "optuna"
                else body["storage"],
                "strategy": body["strategy"],
                "market": body["market"],
                "policy_hash": body["policy_hash"],
                "objectives": ",".join(objectives),
                "best": json.dumps(body["best"], ensure_ascii=False),
            },
            files=(page, table),
        )
    return {"page": str(page), "table": str(table), "mlflow_run": run_id}


def _history(found: Sequence[Found], objectives: Sequence[Objective]) -> Section:
    charts = []
    for k, objective in enumerate(objectives):
        values = np.array([one.values[k] if one.values else np.nan for one in found])
        worst = np.inf if objective in MINIMIZED else -np.inf
        course = np.minimum if objective in MINIMIZED else np.maximum
        best = course.accumulate(np.where(np.isfinite(values), values, worst))
        best[~np.isfinite(best)] = np.nan
        text = OBJECTIVE_TEXT[objective]
        charts.append((text, attempts_chart(values, best, title=f"시도마다의 {text}")))
    has_any = any(chart for _, chart in charts)
    return Section(
        title="탐색의 경과",
        lead="점은 끝까지 시험한 조합, 선은 그때까지의 최고",
        charts=tuple(charts) if has_any else (),
        notes=() if has_any else ("끝까지 시험한 조합이 아직 없습니다.",),
    )


def _importance(
    shares: Sequence[Mapping[str, float]] | None, objectives: Sequence[Objective], words: Words
) -> Section:
    title, lead = "무엇이 결과를 갈랐나", "값의 차이 가운데 매개변수마다의 몫 (함수형 분산 분석)"
    if shares is None:
        note = "값이 서로 다른 조합이 둘보다 적어 알 수 없습니다."
        return Section(title=title, lead=lead, notes=(note,), is_narrow=True)
    names = sorted(shares[0], key=lambda name: -shares[0][name])
    rows = tuple(
        (
            text_cell(name),
            *(
                Cell(text=words.percent(of[name], signed=False, digits=1), heat=of[name])
                for of in shares
            ),
        )
        for name in names
    )
    heads = ("매개변수", *(OBJECTIVE_TEXT[objective] for objective in objectives))
    grid = Grid(heads=heads, rows=rows, groups={})
    return Section(title=title, lead=lead, grid=grid, is_narrow=True)


def _best(
    best: Sequence[Mapping[str, Any]], objectives: Sequence[Objective], words: Words
) -> Section:
    title = "가장 좋은 조합" if len(objectives) == 1 else "서로 못 이기는 조합 (파레토 해)"
    if not best:
        return Section(title=title, notes=("끝까지 시험한 조합이 없습니다.",), is_narrow=True)
    rows = tuple(
        (
            text_cell(", ".join(f"{k}={_short(v)}" for k, v in one["params"].items())),
            *(Cell(text=words.number(one["values"][o], 3)) for o in objectives),
        )
        for one in best
    )
    heads = ("조합", *(OBJECTIVE_TEXT[objective] for objective in objectives))
    return Section(title=title, grid=Grid(heads=heads, rows=rows, groups={}), is_narrow=True)


def _all(found: Sequence[Found], objectives: Sequence[Objective], words: Words) -> Section:
    sign = 1.0 if objectives[0] in MINIMIZED else -1.0
    ranked = sorted(
        enumerate(found, start=1),
        key=lambda item: sign * item[1].values[0] if item[1].values else np.inf,
    )
    rows = tuple(
        (
            text_cell(f"{number:,}"),
            text_cell(", ".join(f"{k}={_short(v)}" for k, v in one.params.items())),
            *(Cell(text=words.number(v, 3)) for v in one.values or [None] * len(objectives)),
            text_cell(one.reason or STATE_TEXT[one.state]),
        )
        for number, one in ranked[:_SHOWN]
    )
    heads = ("시도", "조합", *(OBJECTIVE_TEXT[o] for o in objectives), "끝")
    more = len(found) - _SHOWN
    return Section(
        title="시험한 조합",
        grid=Grid(heads=heads, rows=rows, groups={}),
        notes=(f"이 밖에 {more:,}개는 함께 저장한 CSV에 있습니다.",) if more > 0 else (),
    )


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
