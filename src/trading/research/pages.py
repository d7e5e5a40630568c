"""Pages of more than one run: sweeps, walk-forwards, and runs side by side.

The page of a single run is ``backtest.report``'s; how a page looks is ``backtest.page``'s.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from trading import measures
from trading.backtest import figures
from trading.backtest.figures import Sampling
from trading.backtest.page import (
    UNKNOWN,
    Answer,
    Cell,
    Fold,
    Grid,
    Language,
    Page,
    Section,
    Tile,
    Words,
    grid_html,
    interval_chart,
    render,
    text_cell,
    tone,
    toned,
)
from trading.backtest.report import (
    bias_rows,
    drawdowns,
    months,
    rolling,
    span_text,
    trials_text,
    written,
)
from trading.backtest.settings import ReportSettings
from trading.backtest.validation import stability
from trading.bootstrap import Installation, research_dir
from trading.charts import Band, Line, line_chart
from trading.domain.arrays import FloatArray
from trading.domain.instrument import Market
from trading.research.compare import COMPARED, Comparison, Difference
from trading.research.records import save_page
from trading.sessions import SessionCalendar

# Of a sweep, rows of its table and maps of its parameters that are not folded away.
_SHOWN_RUNS, _SHOWN_MAPS = 20, 4
# Styles of lines, in the order of runs.
_LINES = ("equity", "rival1", "rival2", "rival3", "rival4")


def write_sweep(installation: Installation, result: Mapping[str, Any], language: Language) -> str:
    """Write the page of a sweep under ``data/research/sweeps`` and return its path."""
    told = json.dumps([result["strategy"], result["market"], result["runs"]], sort_keys=True)
    name = f"{result['strategy']}-{result['market']}-{_short_hash(told)}.html"
    words = Words(language)
    html = render(sweep_page(result, words), words)
    return str(save_page(research_dir(installation.home) / "sweeps", html, name))


def write_walk_forward(
    installation: Installation, result: Mapping[str, Any], language: Language
) -> str:
    """Write the page of a walk-forward beside its record and return its path."""
    words = Words(language)
    page = walk_forward_page(result, words, installation.settings.research.report)
    kept = Path(result["path"])
    return str(save_page(kept.parent, render(page, words), f"{kept.stem}.html"))


def write_comparison(installation: Installation, found: Comparison, language: Language) -> str:
    """Write the page of runs side by side under ``data/research/compare``; return its path."""
    words = Words(language)
    name = f"{_short_hash(' '.join(run.run_id for run in found.runs))}.html"
    html = render(compare_page(found, words), words)
    return str(save_page(research_dir(installation.home) / "compare", html, name))


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def sweep_page(result: Mapping[str, Any], words: Words) -> Page:
    """Return the page of a sweep's result."""
    runs = result["runs"]
    ranked = sorted(
        runs, key=lambda run: (-(_sharpe(run) if math.isfinite(_sharpe(run)) else -math.inf),
                               -run["final_equity"])
    )  # fmt: skip
    return Page(
        title=words("sweep.title", strategy=result["strategy"]),
        meta=words(
            "sweep.meta", market=words.code("market", result["market"]), count=f"{len(runs):,}"
        ),
        answer=_chosen(result, ranked, words),
        tiles=(),
        sections=(
            *_maps(runs, words),
            _stable(runs, words),
            _ranking(ranked, words),
            _evidence(result, words),
        ),
    )


def walk_forward_page(result: Mapping[str, Any], words: Words, settings: ReportSettings) -> Page:
    """Return the page of a walk-forward's result."""
    days = [date.fromisoformat(day) for day in result["sessions"]]
    path = np.array([result["starting_cash"], *result["equity"]], dtype=np.float64)
    returns = measures.returns_of(path)
    metrics = result["metrics"]
    per_year = SessionCalendar(Market(result["market"])).sessions_per_year
    return Page(
        title=words("folds.title", strategy=result["strategy"]),
        meta=words(
            "folds.meta",
            market=words.code("market", result["market"]),
            first=days[0],
            last=days[-1],
            sessions=f"{len(days):,}",
            count=len(result["folds"]),
        ),
        answer=_out_of_sample(result, returns, per_year, words, settings),
        tiles=tuple(_walked_tiles(metrics, words)),
        sections=(
            _walked_curve(result, [days[0], *days], path, words),
            _folds(result, words),
            _changes(result, words),
            months(days, returns, None, words),
            rolling(days, returns, words, settings.rolling_sessions, per_year),
            drawdowns([days[0], *days], path, words, settings.drawdowns),
            _evidence(result, words),
        ),
        footer=(str(result["orders_hash"]),),
    )


def compare_page(found: Comparison, words: Words) -> Page:
    """Return the page of runs side by side."""
    return Page(
        title=words("compare.title"),
        meta=words(
            "compare.meta",
            count=len(found.runs),
            first=found.sessions[0],
            last=found.sessions[-1],
            sessions=f"{len(found.sessions):,}",
        ),
        answer=_told_apart(found, found.differences[0], words),
        tiles=(),
        sections=(
            _accounts(found, words),
            _compared(found, words),
            _differences(found, words),
            _correlations(found, words),
            _set_apart(found, words),
        ),
        footer=tuple(run.run_id for run in found.runs),
    )


def comparison_table(
    found: Comparison, words: Words
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the heads and rows of a comparison as a terminal shows it."""
    rows = []
    for name, kind in COMPARED:
        # A unit after the number would not stand in line: it goes to the name.
        unit = words(f"unit.{kind}") if kind in ("sessions", "times") else ""
        plain = {"sessions": "count", "times": "number"}.get(kind, kind)
        told = (written(own[name], plain, words).replace("\u00a0", " ") for own in found.figures)
        rows.append((words(f"figure.{name}") + unit, *told))
    return ("", *found.names), rows


def comparison_lines(found: Comparison, words: Words) -> list[str]:
    """Return what a comparison comes to, a sentence a line."""
    lines = [verdict_sentence(found, one, words) for one in found.differences]
    for i in range(len(found.runs)):
        for j in range(i):
            value = words.number(float(found.correlation[i, j]))
            lines.append(
                words("compare.moved", name=found.names[i], other=found.names[j], value=value)
            )
    for name, values in found.apart.items():
        told = " / ".join(_told(name, v, words) for v in values)
        lines.append(f"{words.code('differing', name)}: {told}")
    if found.is_cut:
        lines.append(words("compare.cut", sessions=f"{len(found.sessions):,}"))
    if not found.has_one_currency:
        lines.append(words("compare.currency"))
    return [line.replace("\u00a0", " ") for line in lines]


def verdict_sentence(found: Comparison, one: Difference, words: Words) -> str:
    """Return what a difference comes to, in one sentence with its interval."""
    run, other = found.names[one.run], found.names[one.other]
    head = words(f"compare.{one.verdict}.head", name=run, other=other)
    return f"{head}. {_why_so(one, words)}"


def _why_so(one: Difference, words: Words) -> str:
    if one.verdict == "same" and one.interval.value == 0.0:
        return words("compare.equal")
    if not math.isfinite(one.interval.low):
        return words("compare.unknown")
    interval = words(
        "compare.interval",
        value=words.points(one.interval.value),
        low=words.points(one.interval.low),
        high=words.points(one.interval.high),
        level=f"{100 * one.interval.level:.0f}",
    )
    return f"{interval} {words(f'compare.{one.verdict}')}"


def _sharpe(run: Mapping[str, Any]) -> float:
    value = run["metrics"].get("sharpe")
    return math.nan if value is None else float(value)


def _chosen(result: Mapping[str, Any], ranked: Sequence[Mapping[str, Any]], words: Words) -> Answer:
    """Return whether any combination is more than the benchmark and the luck of choosing."""
    if len(ranked) < 2:
        return Answer(kind="unknown", head=words("sweep.one.head"), sentences=())
    ratios = np.array([_sharpe(run) for run in ranked])
    ratios = ratios[np.isfinite(ratios)]
    sentences = []
    if len(ratios) > 1:
        # Worthless trials that resemble each other vary less than one of them would by chance.
        by_chance = min(float(run["metrics"]["sharpe_error"] or 0.0) for run in ranked) ** 2
        variance = max(float(np.var(ratios, ddof=1)), by_chance)
        lucky = measures.expected_max_sharpe(len(ratios), variance=variance)
        sentences = [
            words(
                "sweep.best",
                params=_params_text(ranked[0]["params"], words),
                best=words.number(float(ratios[0])),
                count=f"{len(ratios):,}",
                lucky=words.number(lucky),
            )
        ]
    better = result["superiority"]
    kind = "unknown" if better is None else "better" if better["superior"] else "same"
    if better is not None:
        sentences.append(
            words(
                f"sweep.{kind}",
                names="; ".join(
                    _params_text(result["runs"][i]["params"], words)
                    for i in better["superior"][:_SHOWN_MAPS]
                ),
                p=words.number(better["p_value"], 3),
            )
        )
    sentences += [_pbo(result, words), words("sweep.advice")]
    return Answer(kind=kind, head=words(f"sweep.{kind}.head"), sentences=tuple(sentences))


def _pbo(result: Mapping[str, Any], words: Words) -> str:
    luck = result["overfitting"]
    if luck is None:
        return words("folds.pbo.none")
    return words("folds.pbo", pbo=words.percent(luck["pbo"], signed=False, digits=0))


def _maps(runs: Sequence[Mapping[str, Any]], words: Words) -> Iterable[Section]:
    """Yield the grid as maps of two parameters, one for each choice of the others."""
    from markupsafe import escape

    values = {
        name: list(dict.fromkeys(run["params"][name] for run in runs)) for name in runs[0]["params"]
    }
    for name, found in values.items():
        if all(isinstance(v, int | float) for v in found):
            values[name] = sorted(found)
    varied = [name for name, found in values.items() if len(found) > 1]
    if not varied:
        yield Section(title=words("sweep.map"), notes=(words("sweep.map.none"),))
        return
    # The two with the most values make the maps.
    chosen = sorted(varied, key=lambda name: -len(values[name]))[:2]
    columns, rows = chosen[0], chosen[1] if len(chosen) > 1 else None
    others = [name for name in varied if name not in chosen]
    at = {tuple(run["params"][name] for name in values): run for run in runs}
    most = max((abs(_sharpe(run)) for run in runs if math.isfinite(_sharpe(run))), default=1.0)
    maps = []
    for rest in product(*(values[name] for name in others)):
        fixed = dict(zip(others, rest, strict=True))
        title = ", ".join(f"{name}={value}" for name, value in fixed.items())
        maps.append((title, _map(values, fixed, columns, rows, at, most or 1.0, words)))
    lead = (
        words("sweep.map.lead", rows=rows, columns=columns)
        if rows is not None
        else words("sweep.map.line", columns=columns)
    )
    shown, rest_maps = maps[:_SHOWN_MAPS], maps[_SHOWN_MAPS:]
    yield Section(
        title=words("sweep.map"),
        lead=lead,
        charts=tuple((title, grid_html(grid)) for title, grid in shown),
        folds=(
            (
                Fold(
                    title=words("sweep.rest", count=len(rest_maps)),
                    html="".join(
                        f'<p class="chart-title">{escape(title)}</p>{grid_html(grid)}'
                        for title, grid in rest_maps
                    ),
                ),
            )
            if rest_maps
            else ()
        ),
    )


def _map(
    values: Mapping[str, Sequence[Any]],
    fixed: Mapping[str, Any],
    columns: str,
    rows: str | None,
    at: Mapping[tuple[Any, ...], Mapping[str, Any]],
    most: float,
    words: Words,
) -> Grid:
    lines = []
    for down in values[rows] if rows is not None else (None,):
        cells = [text_cell("" if rows is None else f"{rows}={down}")]
        for across in values[columns]:
            place = {name: found[0] for name, found in values.items()} | dict(fixed)
            place[columns] = across
            if rows is not None:
                place[rows] = down
            run = at.get(tuple(place[name] for name in values))
            cells.append(_spot(run, most, words))
        lines.append(tuple(cells))
    return Grid(
        heads=("", *(f"{columns}={across}" for across in values[columns])),
        rows=tuple(lines),
        groups={},
        kind="surface",
    )


def _spot(run: Mapping[str, Any] | None, most: float, words: Words) -> Cell:
    if run is None:
        return Cell(text=UNKNOWN)
    value = _sharpe(run)
    return Cell(
        text=words.number(value),
        small=words.percent(run["metrics"]["total_return"], digits=1),
        heat=value / most if math.isfinite(value) else None,
    )


def _stable(runs: Sequence[Mapping[str, Any]], words: Words) -> Section:
    values = np.array([_sharpe(run) for run in runs])
    found = stability([run["params"] for run in runs], values)
    known = np.flatnonzero(np.isfinite(found.mean))
    if not len(known):
        return Section(title=words("sweep.stable"), notes=(words("sweep.stable.none"),))
    order = known[np.argsort(-found.mean[known], kind="stable")][:10]
    heads = ("params", "sharpe", "mean", "worst", "plateau")
    return Section(
        title=words("sweep.stable"),
        lead=words("sweep.stable.lead"),
        grid=Grid(
            heads=tuple(words(f"sweep.{head}") for head in heads),
            rows=tuple(
                (
                    text_cell(_params_text(runs[i]["params"], words)),
                    *(
                        Cell(text=words.number(float(column[i])))
                        for column in (values, found.mean, found.worst, found.plateau)
                    ),
                )
                for i in order.tolist()
            ),
            groups={},
        ),
    )


def _ranking(ranked: Sequence[Mapping[str, Any]], words: Words) -> Section:
    shown = ranked[:_SHOWN_RUNS]
    heads = ("params", "sharpe", "return", "drawdown", "orders")
    return Section(
        title=words("sweep.table", count=f"{len(ranked):,}", shown=len(shown)),
        grid=Grid(
            heads=tuple(words(f"sweep.{head}") for head in heads),
            rows=tuple(
                (
                    text_cell(_params_text(run["params"], words)),
                    Cell(text=words.number(_sharpe(run))),
                    toned(
                        words.percent(run["metrics"]["total_return"]),
                        run["metrics"]["total_return"],
                    ),
                    Cell(text=words.percent(run["metrics"]["max_drawdown"], signed=False)),
                    Cell(text=f"{run['orders']:,}"),
                )
                for run in shown
            ),
            groups={},
        ),
    )


def _evidence(result: Mapping[str, Any], words: Words) -> Section:
    rows = (
        *bias_rows(result, words),
        (words("label.trials"), trials_text(result["trials"], words)),
    )
    return Section(
        title=words("labels.title"),
        grid=Grid(
            heads=(),
            rows=tuple((text_cell(name), text_cell(text)) for name, text in rows),
            groups={},
            kind="labels",
        ),
    )


def _out_of_sample(
    result: Mapping[str, Any],
    returns: FloatArray,
    per_year: int,
    words: Words,
    settings: ReportSettings,
) -> Answer:
    if len(returns) >= figures.MIN_RETURNS:
        span = Sampling.of(settings).interval(
            returns, lambda drawn: measures.sharpe(drawn, periods_per_year=per_year)
        )
        kind = figures.verdict(span)
    else:
        span, kind = None, "unknown"
    after = (
        words("folds.how"),
        _beside_universe(result, words),
        _pbo(result, words),
        *_dispersion(result, words),
    )
    if span is None or not math.isfinite(span.low):
        sentences = (words("folds.unknown"), *after)
        return Answer(kind="unknown", head=words("folds.unknown.head"), sentences=sentences)
    told = words(
        f"folds.{kind}",
        value=words.number(span.value),
        level=f"{100 * span.level:.0f}",
        span=span_text(span, "number", words),
    )
    return Answer(
        kind=kind,
        head=words(f"folds.{kind}.head"),
        sentences=(told, *after),
        chart=interval_chart(
            span.value,
            span.low,
            span.high,
            title=told,
            ends=(words("folds.lost"), words("folds.won")),
        ),
    )


def _beside_universe(result: Mapping[str, Any], words: Words) -> str:
    """Return what was earned beside as much of the universe as the account's beta."""
    found = result["against_universe"]
    if found is None:
        return words("folds.universe.unknown")
    # Two errors, Newey and West's: what lies within may be nothing.
    kind = "same" if abs(found["alpha_t"]) <= 2.0 else "better" if found["alpha"] > 0 else "worse"
    return words(
        f"folds.universe.{kind}",
        alpha=words.percent(found["alpha"]),
        beta=words.number(found["beta"]),
        t=words.number(found["alpha_t"]),
    )


def _dispersion(result: Mapping[str, Any], words: Words) -> Iterable[str]:
    found = result["dispersion"]
    if found is not None:
        yield words(
            "folds.dispersion",
            paths=found["paths"],
            least=words.number(found["sharpe_least"]),
            median=words.number(found["sharpe_median"]),
            most=words.number(found["sharpe_most"]),
        )


def _walked_tiles(metrics: Mapping[str, Any], words: Words) -> Iterable[Tile]:
    yield Tile(
        name=words("tile.return"),
        value=words.percent(metrics["total_return"]),
        small=words("tile.a_year", value=words.percent(metrics["annual_return"])),
        tone=tone(metrics["total_return"]),
    )
    yield Tile(name=words("tile.sharpe"), value=words.number(metrics["sharpe"]))
    yield Tile(
        name=words("tile.drawdown"),
        value=words.percent(metrics["max_drawdown"], signed=False),
        small=words("tile.longest", sessions=f"{metrics['longest_drawdown']:,}"),
    )
    yield Tile(
        name=words("figure.annual_volatility"),
        value=words.percent(metrics["annual_volatility"], signed=False),
    )


def _walked_curve(
    result: Mapping[str, Any], days: Sequence[date], path: FloatArray, words: Words
) -> Section:
    row = {day.isoformat(): i for i, day in enumerate(days)}
    # Every second test range is shaded, so that each begins where the ground changes.
    bands = [
        Band(first=row[fold["test_first"]], last=row[fold["test_last"]], kind="normal")
        for fold in result["folds"][1::2]
    ]
    own = 100.0 * path / path[0]
    return Section(
        title=words("folds.equity"),
        lead=words("folds.equity.lead"),
        legend=(
            (
                "equity",
                words("folds.account", value=words.percent(result["metrics"]["total_return"])),
            ),
        ),
        charts=(
            (
                "",
                line_chart(
                    days,
                    [Line(kind="equity", values=own)],
                    title=words("folds.equity"),
                    bands=bands,
                    size="tall",
                ),
            ),
            (
                words("curve.drawdown"),
                line_chart(
                    days,
                    [
                        Line(
                            kind="drawdown",
                            values=-100.0 * measures.drawdown(path),
                            is_area=True,
                        )
                    ],
                    title=words("curve.drawdown"),
                    unit="%",
                    is_pinned=True,
                    size="low",
                ),
            ),
        ),
    )


def _folds(result: Mapping[str, Any], words: Words) -> Section:
    heads = ("test", "params", "value", "sharpe", "return", "drawdown")
    rows = []
    for fold in result["folds"]:
        metrics = fold["test_metrics"]
        rows.append(
            (
                text_cell(
                    f"{fold['test_first']} ~ {fold['test_last']}",
                    words("folds.train", first=fold["train_first"], last=fold["train_last"]),
                ),
                text_cell(
                    _params_text(fold["params"], words),
                    words("folds.among", count=f"{fold['candidates']:,}"),
                ),
                Cell(text=words.number(fold["train_value"])),
                Cell(text=words.number(metrics.get("sharpe"))),
                toned(
                    words.percent(metrics["total_return"]),
                    metrics["total_return"],
                    words("folds.orders", count=f"{fold['orders']:,}"),
                ),
                Cell(text=words.percent(metrics["max_drawdown"], signed=False)),
            )
        )
    return Section(
        title=words("folds.table"),
        lead=words("folds.table.lead", objective=words.code("objective", result["objective"])),
        grid=Grid(
            heads=tuple(words(f"folds.{head}") for head in heads), rows=tuple(rows), groups={}
        ),
    )


def _changes(result: Mapping[str, Any], words: Words) -> Section:
    """Return the chosen values, a row a parameter and a column a fold."""
    folds = result["folds"]
    names = dict.fromkeys(name for fold in folds for name in fold["params"])
    if not names:
        return Section(title=words("folds.changes"), notes=(words("params.none"),))
    rows = []
    for name in names:
        chosen = [fold["params"].get(name) for fold in folds]
        numbers = [v for v in chosen if isinstance(v, int | float) and not isinstance(v, bool)]
        low, high = (min(numbers), max(numbers)) if numbers else (0.0, 0.0)
        rows.append(
            (
                text_cell(name),
                *(
                    Cell(
                        text=UNKNOWN if value is None else str(value),
                        heat=(value - low) / (high - low)
                        if value in numbers and high > low
                        else None,
                    )
                    for value in chosen
                ),
            )
        )
    return Section(
        title=words("folds.changes"),
        lead=words("folds.changes.lead"),
        grid=Grid(
            heads=("", *(fold["test_first"][:7] for fold in folds)),
            rows=tuple(rows),
            groups={},
            kind="surface",
        ),
    )


def _told_apart(found: Comparison, one: Difference, words: Words) -> Answer:
    run, other = found.names[one.run], found.names[one.other]
    sentences = [_why_so(one, words)]
    if found.is_cut:
        sentences.append(words("compare.cut", sessions=f"{len(found.sessions):,}"))
    if not found.has_one_currency:
        sentences.append(words("compare.currency"))
    span = one.interval
    ends = (words("compare.side", name=other), words("compare.side", name=run))
    return Answer(
        kind=one.verdict,
        head=words(f"compare.{one.verdict}.head", name=run, other=other),
        sentences=tuple(sentences),
        chart=interval_chart(span.value, span.low, span.high, title=sentences[0], ends=ends)
        if math.isfinite(span.low)
        else "",
    )


def _accounts(found: Comparison, words: Words) -> Section:
    days = [found.sessions[0], *found.sessions]
    paths = [100.0 * figures.benchmark_path(found.returns[:, i]) for i in range(len(found.runs))]
    kinds = [_LINES[i % len(_LINES)] for i in range(len(found.runs))]
    return Section(
        title=words("compare.curves"),
        lead=words("compare.curves.lead"),
        legend=tuple(
            (kind, f"{name} {words.percent(path[-1] / 100.0 - 1.0)}")
            for kind, name, path in zip(kinds, found.names, paths, strict=True)
        ),
        charts=(
            (
                "",
                line_chart(
                    days,
                    [Line(kind=k, values=p) for k, p in zip(kinds, paths, strict=True)],
                    title=words("compare.curves"),
                    size="tall",
                ),
            ),
            (
                words("compare.drawdown"),
                line_chart(
                    days,
                    [
                        Line(kind=k, values=-100.0 * measures.drawdown(p))
                        for k, p in zip(kinds, paths, strict=True)
                    ],
                    title=words("compare.drawdown"),
                    unit="%",
                    is_pinned=True,
                    size="low",
                ),
            ),
        ),
    )


def _compared(found: Comparison, words: Words) -> Section:
    rows = []
    for name, kind in COMPARED:
        first = found.figures[0][name]
        cells = []
        for i, own in enumerate(found.figures):
            value = own[name]
            apart = ""
            if i and value is not None and first is not None:
                apart = _apart(value - first, kind, words)
            cells.append(Cell(text=written(value, kind, words), small=apart))
        rows.append((text_cell(words(f"figure.{name}")), *cells))
    return Section(
        title=words("compare.figures"),
        lead=words("compare.figures.lead"),
        grid=Grid(heads=("", *found.names), rows=tuple(rows), groups={}),
        notes=(words("compare.cut", sessions=f"{len(found.sessions):,}"),) if found.is_cut else (),
    )


def _differences(found: Comparison, words: Words) -> Section:
    heads = ("pair", "annual", "span", "verdict")
    return Section(
        title=words("compare.differences"),
        grid=Grid(
            heads=tuple(words(f"compare.{head}") for head in heads),
            rows=tuple(
                (
                    text_cell(f"{found.names[one.run]} − {found.names[one.other]}"),
                    toned(words.points(one.interval.value), one.interval.value),
                    Cell(text=span_text(one.interval, "points", words) or UNKNOWN),
                    text_cell(
                        words(
                            f"compare.{one.verdict}.head",
                            name=found.names[one.run],
                            other=found.names[one.other],
                        )
                    ),
                )
                for one in found.differences
            ),
            groups={},
        ),
    )


def _correlations(found: Comparison, words: Words) -> Section:
    rows = []
    for name, line in zip(found.names, found.correlation.tolist(), strict=True):
        cells = (
            Cell(text=words.number(value), heat=value if math.isfinite(value) else None)
            for value in line
        )
        rows.append((text_cell(name), *cells))
    return Section(
        title=words("compare.correlation"),
        lead=words("compare.correlation.lead"),
        grid=Grid(heads=("", *found.names), rows=tuple(rows), groups={}, kind="surface"),
    )


def _set_apart(found: Comparison, words: Words) -> Section:
    if not found.apart:
        return Section(title=words("compare.params"), notes=(words("compare.params.same"),))
    return Section(
        title=words("compare.params"),
        grid=Grid(
            heads=(words("compare.name"), *found.names),
            rows=tuple(
                (
                    text_cell(words.code("differing", name)),
                    *(text_cell(_told(name, v, words)) for v in values),
                )
                for name, values in found.apart.items()
            ),
            groups={},
        ),
    )


def _told(name: str, value: Any, words: Words) -> str:
    if value is None:
        return UNKNOWN
    if name in ("market", "survivorship", "price_basis"):
        return words.code(name, str(value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _params_text(params: Mapping[str, Any], words: Words) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items()) or words("params.none")


def _apart(value: float, kind: str, words: Words) -> str:
    text = written(value, "points" if kind in ("percent", "share") else kind, words)
    return f"+{text}" if value > 0 and not text.startswith("+") else text
