"""The page of one run: did it beat its benchmark after costs, and how sure is that.

The run is a ``record``, its figures are in ``figures``, the page's shape in ``page``. Pages of
several runs are ``research.pages``'s.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np

from trading import measures
from trading.backtest import figures, robustness
from trading.backtest.figures import Figures, Sampling
from trading.backtest.page import (
    UNKNOWN,
    Answer,
    Cell,
    Fold,
    Grid,
    Page,
    Section,
    Tile,
    Words,
    interval_chart,
    text_cell,
    tone,
    toned,
)
from trading.backtest.record import ENSEMBLE, PriceLine, RunRecord, TradeLine
from trading.backtest.settings import ReportSettings
from trading.charts import Line, Mark, bands_of, histogram, line_chart
from trading.domain.arrays import FloatArray
from trading.domain.decision import Verdict
from trading.domain.order import Side
from trading.domain.wording import VERDICT_TEXT
from trading.measures import Interval

# The figures of the table, by group: name, how it is written, and its benchmark's name.
_TABLE: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "return": (
        ("total_return", "percent", "benchmark_total_return"),
        ("annual_return", "percent", "benchmark_annual_return"),
        ("best_session", "percent", ""),
        ("worst_session", "percent", ""),
        ("positive_sessions", "share", ""),
    ),
    "risk": (
        ("annual_volatility", "share", "benchmark_volatility"),
        ("max_drawdown", "share", "benchmark_max_drawdown"),
        ("longest_drawdown", "sessions", ""),
        ("var_95", "share", ""),
        ("es_95", "share", ""),
        ("skewness", "number", ""),
        ("kurtosis", "number", ""),
        ("tail_ratio", "number", ""),
    ),
    "ratio": (
        ("sharpe", "number", "benchmark_sharpe"),
        ("sharpe_lo", "number", ""),
        ("sortino", "number", ""),
        ("calmar", "number", ""),
        ("omega", "number", ""),
    ),
    "against": (
        ("excess_return", "points", ""),
        ("alpha", "percent", ""),
        ("beta", "number", ""),
        ("information_ratio", "number", ""),
        ("tracking_error", "share", ""),
        ("r_squared", "number", ""),
    ),
    "trading": (
        ("trades", "count", ""),
        ("hit_rate", "share", ""),
        ("payoff_ratio", "number", ""),
        ("profit_factor", "number", ""),
        ("mean_trade", "percent", ""),
        ("holding_sessions", "sessions", ""),
        ("exposure", "share", ""),
        ("max_exposure", "share", ""),
        ("turnover", "times", ""),
        ("cost_drag", "share", ""),
        ("cost_bps", "bps", ""),
    ),
    "evidence": (
        ("psr", "share", ""),
        ("deflated_sharpe", "share", ""),
        ("deflated_sharpe_effective", "share", ""),
        ("min_track_record", "sessions", ""),
    ),
}  # fmt: skip
# Returns are counted in so many columns on each side of 0.
_COLUMNS = 20


def run_page(record: RunRecord, words: Words, settings: ReportSettings) -> Page:
    """Return the page of a run."""
    found = figures.run_figures(record)
    spans = figures.intervals(record, Sampling.of(settings))
    return Page(
        title=words("run.title", strategy=record.strategy),
        meta=words(
            "run.meta",
            market=words.code("market", record.market.value),
            first=record.sessions[0],
            last=record.sessions[-1],
            sessions=f"{len(record.sessions):,}",
        ),
        answer=_answer(record, found, spans.get("excess_return"), words),
        tiles=tuple(_tiles(record, found, spans, words)),
        sections=(
            _labels(record, words),
            _curves(record, found, words),
            months(record.sessions, record.returns(), record.matched_returns(), words),
            rolling(
                record.sessions,
                record.returns(),
                words,
                settings.rolling_sessions,
                record.sessions_per_year,
            ),
            _exposure(record, words),
            _distribution(record, words),
            _costs(record, found, words),
            _table(record, found, spans, words, settings),
            drawdowns(_days(record), record.path(), words, settings.drawdowns),
            _regimes(record, words),
            _robustness(record, words),
            _trades(record, words, settings.trades),
            _charts(record, words, settings.open_charts),
            _verdicts(record, words),
        ),
        footer=(
            words("run.footer", run_id=record.run_id),
            words(
                "run.hashes",
                policy=record.policy_hash,
                decisions=record.decision_hash[:16],
                orders=record.orders_hash[:16],
            ),
        ),
    )


def bias_rows(told: Mapping[str, Any], words: Words) -> Iterable[tuple[str, str]]:
    """Yield what makes a history easier than life was, of a record's evidence or of a result."""
    yield (
        words("label.survivorship"),
        told["survivorship_text"]
        if words.language == "ko"
        else words.code("survivorship", told["survivorship"]),
    )
    yield words("label.price_basis"), words.code("price_basis", str(told["price_basis"]))
    yield (
        words("label.sectors"),
        words("sectors.today" if told["are_sectors_of_today"] else "sectors.dated"),
    )


def trials_text(trials: Mapping[str, Any], words: Words) -> str:
    """Return how much was tried, in one sentence; the keys are those of ``trials.Count``."""
    return words(
        "trials.counted",
        raw=f"{trials['raw']:,}",
        distinct=f"{trials['distinct']:,}",
        effective=words.number(trials["effective"], 1),
    )


def evidence_rows(record: RunRecord, words: Words) -> Iterable[tuple[str, str]]:
    """Yield what biases or limits a run, by name, in plain words."""
    evidence = record.evidence
    yield from bias_rows(asdict(evidence), words)
    if record.strategy == ENSEMBLE:
        yield words("label.learned"), words("learned.abstain")
    yield words("label.ambiguous"), _ambiguous(record, words)
    yield words("label.trials"), _trials(record, words)
    yield words("label.benchmark"), words("benchmark.how")
    yield (
        words("label.slippage"),
        words("slippage.none")
        if not record.slippage
        else words("slippage.some", money=words.money(record.slippage, record.currency)),
    )
    yield (
        words("label.replay"),
        ", ".join(
            words(f"replay.{kind}", count=f"{count:,}")
            for kind, count in evidence.replayed.items()
            if count
        ),
    )


def _answer(record: RunRecord, found: Figures, span: Interval | None, words: Words) -> Answer:
    kind = figures.verdict(span) if span is not None else "unknown"
    sentences = [
        words(
            "answer.returns",
            total=words.percent(found["total_return"]),
            benchmark=words.percent(found["benchmark_total_return"]),
        )
    ]
    if span is None or kind == "unknown":
        sentences.append(words("answer.unknown"))
        return Answer(kind=kind, head=words("answer.unknown.head"), sentences=tuple(sentences))
    told = {
        "value": words.points(span.value),
        "low": words.points(span.low),
        "high": words.points(span.high),
        "level": f"{100 * span.level:.0f}",
    }
    sentences += [words("answer.interval", **told), words(f"answer.{kind}")]
    if kind == "better" and (record.trials is None or record.trials.distinct > 1):
        sentences.append(words("answer.better.trials"))
    return Answer(
        kind=kind,
        head=words(f"answer.{kind}.head"),
        sentences=tuple(sentences),
        chart=interval_chart(
            span.value,
            span.low,
            span.high,
            title=words("answer.interval", **told),
            ends=(words("answer.lost"), words("answer.won")),
        )
        if math.isfinite(span.low)
        else "",
    )


def _tiles(
    record: RunRecord, found: Figures, spans: Mapping[str, Interval], words: Words
) -> Iterable[Tile]:
    money = record.currency
    profit = record.equity[-1] - record.starting_cash
    yield Tile(
        name=words("tile.equity"),
        value=words.money(record.equity[-1], money),
        small=words.money(profit, money, signed=True),
    )
    yield Tile(
        name=words("tile.return"),
        value=words.percent(found["total_return"]),
        small=words("tile.a_year", value=words.percent(found["annual_return"])),
        tone=tone(found["total_return"]),
    )
    yield Tile(
        name=words("tile.benchmark"),
        value=words.percent(found["benchmark_total_return"]),
        small=words("tile.a_year", value=words.percent(found["benchmark_annual_return"])),
        tone=tone(found["benchmark_total_return"]),
    )
    yield Tile(
        name=words("tile.drawdown"),
        value=words.percent(found["max_drawdown"], signed=False),
        small=words("tile.longest", sessions=f"{found['longest_drawdown']:,}"),
    )
    yield Tile(
        name=words("tile.sharpe"),
        value=words.number(found["sharpe"]),
        small=span_text(spans.get("sharpe"), "number", words),
    )
    paid = sum(fill.commission + fill.tax for fill in record.fills)
    yield Tile(
        name=words("tile.costs"),
        value=words.money(paid, money),
        small=words("tile.cost_drag", value=words.percent(found["cost_drag"], signed=False)),
    )
    yield Tile(
        name=words("tile.trades"),
        value=f"{found['trades']:,}",
        small=words("tile.hit", value=words.percent(found["hit_rate"], signed=False, digits=1)),
    )
    yield Tile(
        name=words("tile.exposure"),
        value=words.percent(found["exposure"], signed=False, digits=1),
        small=words(
            "tile.most", value=words.percent(found["max_exposure"], signed=False, digits=1)
        ),
    )


def _labels(record: RunRecord, words: Words) -> Section:
    rows = tuple((text_cell(name), text_cell(text)) for name, text in evidence_rows(record, words))
    return Section(
        title=words("labels.title"), grid=Grid(heads=(), rows=rows, groups={}, kind="labels")
    )


def _ambiguous(record: RunRecord, words: Words) -> str:
    if not record.ambiguous_fills:
        return words("ambiguous.none")
    counted = f"{record.ambiguous_fills:,}"
    if record.optimistic_equity is None:
        return words("ambiguous.one_bound", count=counted)
    return words(
        "ambiguous.bounds",
        count=counted,
        low=words.percent(record.equity[-1] / record.starting_cash - 1.0),
        high=words.percent(record.optimistic_equity[-1] / record.starting_cash - 1.0),
    )


def _trials(record: RunRecord, words: Words) -> str:
    if record.trials is None:
        return words("trials.unknown")
    return trials_text(record.trials.to_json(), words)


def _curves(record: RunRecord, found: Figures, words: Words) -> Section:
    days = _days(record)
    own = 100.0 * record.path() / record.starting_cash
    matched = 100.0 * figures.benchmark_path(record.matched_returns())
    lines = [Line(kind="equity", values=own), Line(kind="benchmark", values=matched)]
    legend = [
        ("equity", words("curve.account", value=words.percent(found["total_return"]))),
        ("benchmark", words("curve.matched", value=words.percent(found["benchmark_total_return"]))),
    ]
    if record.optimistic_equity is not None and record.optimistic_equity != record.equity:
        best = np.array([record.starting_cash, *record.optimistic_equity], dtype=np.float64)
        lines.append(Line(kind="universe", values=100.0 * best / record.starting_cash))
        legend.append(("universe", words("curve.optimistic")))
    under = -100.0 * measures.drawdown(own)
    beside = -100.0 * measures.drawdown(matched)
    return Section(
        title=words("curve.title"),
        lead=words("curve.lead"),
        legend=tuple(legend),
        charts=(
            ("", line_chart(days, lines, title=words("curve.title"), size="tall")),
            (
                words("curve.drawdown"),
                line_chart(
                    days,
                    [
                        Line(kind="drawdown", values=under, is_area=True),
                        Line(kind="benchmark", values=beside),
                    ],
                    title=words("curve.drawdown"),
                    unit="%",
                    is_pinned=True,
                    size="low",
                ),
            ),
        ),
        notes=(
            words(
                "curve.invested",
                universe=words.percent(found["universe_total_return"]),
                index=words.percent(found["index_total_return"]),
                name=record.index_name or UNKNOWN,
            ),
        ),
    )


def months(
    sessions: Sequence[date], returns: FloatArray, beside: FloatArray | None, words: Words
) -> Section:
    """Return monthly and yearly returns; ``beside`` are those of the benchmark, where there is one."""
    own = _by_month(sessions, returns)
    other = _by_month(sessions, beside) if beside is not None else None
    most = max(map(abs, own.values()), default=0.0) or 1.0
    rows = []
    for year in sorted({year for year, _ in own}):
        total = _compounded(v for (y, _), v in own.items() if y == year)
        cells = [Cell(text=str(year), is_text=True), toned(_short(total), total)]
        if other is not None:
            cells.append(
                Cell(text=_short(_compounded(v for (y, _), v in other.items() if y == year)))
            )
        for month in range(1, 13):
            value = own.get((year, month))
            if value is None:
                cells.append(Cell(text=""))
            else:
                cells.append(Cell(text=_short(value), heat=max(-1.0, min(1.0, value / most))))
        rows.append(tuple(cells))
    heads = (
        words("months.year"),
        words("months.total"),
        *((words("months.benchmark"),) if other is not None else ()),
        *(words("months.month", month=month) for month in range(1, 13)),
    )
    return Section(
        title=words("months.title"),
        lead=words("months.lead") if other is not None else words("months.alone"),
        grid=Grid(heads=heads, rows=tuple(rows), groups={}, kind="months"),
    )


def rolling(
    sessions: Sequence[date], returns: FloatArray, words: Words, window: int, per_year: int
) -> Section:
    """Return the Sharpe ratio of the last ``window`` sessions over time."""
    sharpe = rolling_sharpe(returns, window, per_year)
    chart = line_chart(
        sessions, [Line(kind="equity", values=sharpe)], title=words("rolling.title"), size="low"
    )
    return Section(
        title=words("rolling.title"),
        lead=words("rolling.lead", sessions=window),
        charts=(("", chart),) if chart else (),
        notes=() if chart else (words("rolling.short", sessions=window),),
        is_narrow=True,
    )


def _exposure(record: RunRecord, words: Words) -> Section:
    shown = [name if words.has(f"regime.{name}") else "" for name in record.regimes]
    return Section(
        title=words("exposure.title"),
        lead=words("exposure.lead"),
        legend=tuple(
            (f"band {name}", words(f"regime.{name}")) for name in dict.fromkeys(filter(None, shown))
        ),
        charts=(
            (
                "",
                line_chart(
                    record.sessions,
                    [Line(kind="equity", values=100.0 * record.exposure(), is_area=True)],
                    title=words("exposure.title"),
                    unit="%",
                    bands=bands_of(shown),
                    size="low",
                ),
            ),
        ),
        is_narrow=True,
    )


def _distribution(record: RunRecord, words: Words) -> Section:
    returns = record.returns()
    moved = returns[returns != 0.0]
    if not len(moved):
        return Section(
            title=words("distribution.title"), notes=(words("distribution.none"),), is_narrow=True
        )
    width = float(np.max(np.abs(moved))) / _COLUMNS
    edges = width * np.arange(-_COLUMNS, _COLUMNS + 1, dtype=np.float64)
    place = np.clip(np.floor(moved / width).astype(np.int64) + _COLUMNS, 0, 2 * _COLUMNS - 1)
    counts = np.bincount(place, minlength=2 * _COLUMNS)
    return Section(
        title=words("distribution.title"),
        lead=words(
            "distribution.lead",
            moved=f"{len(moved):,}",
            still=f"{len(returns) - len(moved):,}",
        ),
        charts=(
            ("", histogram(counts, 100.0 * edges, title=words("distribution.title"), unit="%",
                           size="low")),
        ),
        is_narrow=True,
    )  # fmt: skip


def _costs(record: RunRecord, found: Figures, words: Words) -> Section:
    money = record.currency
    profit = record.equity[-1] - record.starting_cash
    commission, tax = (int(found[name] or 0) for name in ("commission", "tax"))
    before = profit + commission + tax + record.slippage
    rows = [
        (text_cell(words("costs.before")), toned(words.money(before, money, signed=True), before)),
        (text_cell(words("costs.commission")), Cell(text=words.money(-commission, money))),
        (text_cell(words("costs.tax")), Cell(text=words.money(-tax, money))),
        (
            text_cell(words("costs.slippage")),
            Cell(text=UNKNOWN if not record.slippage else words.money(-record.slippage, money),
                 small=words("costs.slippage.none") if not record.slippage else ""),
        ),
        (text_cell(words("costs.after")), toned(words.money(profit, money, signed=True), profit)),
    ]  # fmt: skip
    share = (commission + tax) / before if before > 0 else None
    return Section(
        title=words("costs.title"),
        grid=Grid(heads=(), rows=tuple(rows), groups={}),
        notes=(
            words(
                "costs.traded",
                traded=words.money(found["traded"], money),
                bps=words.number(found["cost_bps"], 1),
            ),
            words("costs.share", share=words.percent(share, signed=False, digits=1))
            if share is not None
            else words("costs.no_gain"),
            words(
                "costs.income",
                income=words.money(record.income, money),
                withheld=words.money(record.withheld, money),
            )
            if record.income
            else words("costs.no_income"),
        ),
        is_narrow=True,
    )


def _table(
    record: RunRecord,
    found: Figures,
    spans: Mapping[str, Interval],
    words: Words,
    settings: ReportSettings,
) -> Section:
    rows: list[tuple[Cell, ...]] = []
    groups = {}
    for group, names in _TABLE.items():
        groups[len(rows)] = words(f"group.{group}")
        for name, kind, beside in names:
            value = found[name]
            text = written(value, kind, words)
            small = span_text(spans.get(name), kind, words)
            if text == UNKNOWN:
                small = _why(name, record, found, words)
            rows.append(
                (
                    text_cell(words(f"figure.{name}"), words(f"figure.{name}.is")),
                    Cell(text=text, small=small),
                    Cell(text=written(found[beside], kind, words) if beside else ""),
                )
            )
    return Section(
        title=words("figures.title"),
        lead=words("figures.lead", level=f"{100 * settings.level:.0f}"),
        grid=Grid(
            heads=(words("figures.name"), words("figures.value"), words("figures.benchmark")),
            rows=tuple(rows),
            groups=groups,
            kind="figures",
        ),
        notes=(
            words(
                "figures.intervals",
                repetitions=f"{settings.repetitions:,}",
                block=words.number(spans["sharpe"].block, 1) if "sharpe" in spans else UNKNOWN,
            ),
            _trials(record, words),
        ),
    )


def _why(name: str, record: RunRecord, found: Figures, words: Words) -> str:
    """Return why a figure is not known."""
    if name.startswith("deflated") and record.trials is None:
        return words("why.trials")
    if name in ("hit_rate", "payoff_ratio", "profit_factor", "mean_trade", "holding_sessions"):
        return words("why.trades")
    if int(found["returns"] or 0) < figures.MIN_RETURNS:
        return words("why.short", sessions=figures.MIN_RETURNS)
    if name == "min_track_record":
        return words("why.never")
    if name in ("excess_return", "alpha", "beta", "information_ratio", "tracking_error",
                "r_squared"):  # fmt: skip
        return words("why.benchmark")
    return words("why.still")


def drawdowns(days: Sequence[date], path: FloatArray, words: Words, most: int) -> Section:
    """Return the deepest drawdowns of a path over its days."""
    rows = []
    for spell in measures.drawdown_spells(path)[:most]:
        ended = (
            str(days[spell.recovery]) if spell.recovery is not None else words("drawdowns.not_yet")
        )
        trough = words("drawdowns.trough", day=days[spell.trough])
        rows.append(
            (
                text_cell(str(days[spell.peak]), trough),
                text_cell(ended),
                Cell(text=words.percent(spell.depth, signed=False)),
                Cell(text=words("sessions", count=f"{spell.length:,}")),
            )
        )
    heads = ("peak", "recovery", "depth", "length")
    return Section(
        title=words("drawdowns.title", count=most),
        grid=Grid(
            heads=tuple(words(f"drawdowns.{head}") for head in heads),
            rows=tuple(rows),
            groups={},
            kind="days",
        ) if rows else None,
        notes=() if rows else (words("drawdowns.none"),),
    )  # fmt: skip


def _regimes(record: RunRecord, words: Words) -> Section:
    """Return the run by market regime and, where they were looked at, by crisis."""
    rows = [
        _stretch_row(words.code("regime", one.name), "", asdict(one), words)
        for one in robustness.by_regime(
            record.sessions,
            record.regimes,
            record.returns(),
            record.matched_returns(),
            periods_per_year=record.sessions_per_year,
        )
    ]
    crises = record.robustness["crises"] if record.robustness is not None else ()
    groups = {0: words("regimes.by_regime"), len(rows): words("regimes.by_crisis")}
    if not crises:
        groups = {}
    for one in crises:
        rows.append(_stretch_row(one["name"], f"{one['first']} ~ {one['last']}, ", one, words))
    heads = ("regime", "return", "benchmark", "sharpe", "drawdown")
    return Section(
        title=words("regimes.title"),
        lead=words("regimes.lead"),
        grid=Grid(
            heads=tuple(words(f"regimes.{head}") for head in heads), rows=tuple(rows), groups=groups
        ) if rows else None,
        notes=(words("regimes.no_crisis"),) if not crises and record.robustness is not None else (),
    )  # fmt: skip


def _stretch_row(name: str, dates: str, one: Mapping[str, Any], words: Words) -> tuple[Cell, ...]:
    return (
        text_cell(name, dates + words("sessions", count=f"{one['sessions']:,}")),
        toned(words.percent(one["total_return"]), one["total_return"]),
        Cell(text=words.percent(one["benchmark_return"])),
        Cell(text=words.number(one["sharpe"])),
        Cell(text=words.percent(one["max_drawdown"], signed=False)),
    )


def _robustness(record: RunRecord, words: Words) -> Section:
    """Return what reruns under other conditions came to, where they were made."""
    found = record.robustness
    if found is None:
        return Section(title=words("robustness.title"), notes=(words("robustness.none"),))
    rows: list[tuple[Cell, ...]] = []
    groups = {}
    conditions = {
        "costs": [
            (words("robustness.times", count=f"{one['multiple']:g}"), "", one)
            for one in found["costs"]
        ],
        "delays": [
            (words("sessions", count=f"{one['sessions']:,}"), "", one) for one in found["delays"]
        ],
        "capital": [
            (
                words.money(one["capital"], record.currency),
                words(
                    "robustness.filled",
                    share=words.percent(one["filled"], signed=False, digits=0),
                ),
                one,
            )
            for one in found["capacity"]["points"]
        ],
    }
    for name, reruns in conditions.items():
        groups[len(rows)] = words(f"robustness.{name}")
        for told, small, one in reruns:
            rows.append(
                (
                    text_cell(told, small),
                    toned(words.percent(one["annual_return"]), one["annual_return"]),
                    Cell(text=words.number(one["sharpe"])),
                    Cell(text=words.percent(one["max_drawdown"], signed=False)),
                )
            )
    heads = ("condition", "return", "sharpe", "drawdown")
    return Section(
        title=words("robustness.title"),
        lead=words("robustness.lead"),
        grid=Grid(
            heads=tuple(words(f"robustness.{head}") for head in heads),
            rows=tuple(rows),
            groups=groups,
        ),
        notes=(
            *_break_even(found["break_even"], words),
            _capacity(found["capacity"], record, words),
        ),
    )


def _break_even(found: Mapping[str, Any], words: Words) -> Iterable[str]:
    for name in ("cash", "benchmark"):
        one = found[name]
        if one is None or one["extra_bps"] is None:
            yield words(f"robustness.{name}.unknown")
        elif one["extra_bps"] <= 0:
            yield words(f"robustness.{name}.lost")
        else:
            yield words(
                f"robustness.{name}.left",
                bps=words.number(one["extra_bps"], 1),
                rerun=words.number(one["rerun_bps"], 1),
            )


def _capacity(found: Mapping[str, Any], record: RunRecord, words: Words) -> str:
    if found["capital"] is not None:
        return words("robustness.half", capital=words.money(found["capital"], record.currency))
    return words("robustness.beyond" if found["is_beyond"] else "robustness.no_half")


def _trades(record: RunRecord, words: Words, most: int) -> Section:
    ranked = sorted(record.trades, key=lambda trade: (-trade.profit, trade.entry, trade.symbol))
    if not ranked:
        return Section(title=words("trades.title"), notes=(words("trades.none"),))
    groups: dict[int, str] = {}
    if len(ranked) <= 2 * most:
        shown = ranked
    else:
        shown = [*ranked[:most], *ranked[: -most - 1 : -1]]
        groups = {0: words("trades.best"), most: words("trades.worst")}
    heads = ("symbol", "profit", "reason")
    open_ = sum(trade.exit is None for trade in ranked)
    return Section(
        title=words("trades.title"),
        lead=words("trades.lead"),
        grid=Grid(
            heads=tuple(words(f"trades.{head}") for head in heads),
            rows=tuple(_trade_row(trade, record, words) for trade in shown),
            groups=groups,
            kind="days",
        ),
        notes=(words("trades.open", count=f"{open_:,}"),) if open_ else (),
    )


def _trade_row(trade: TradeLine, record: RunRecord, words: Words) -> tuple[Cell, ...]:
    ended = str(trade.exit) if trade.exit is not None else words("trades.still")
    reason = words.code("reason", trade.reason) if trade.reason else words("trades.still")
    held = words("sessions", count=f"{trade.sessions:,}")
    return (
        text_cell(record.name_of(trade.symbol), f"{trade.entry} → {ended}"),
        toned(
            words.money(trade.profit, record.currency, signed=True),
            trade.profit,
            words.percent(trade.fraction),
        ),
        text_cell(
            reason, held if trade.agent in ("", record.strategy) else f"{held} · {trade.agent}"
        ),
    )


def _charts(record: RunRecord, words: Words, most_open: int) -> Section:
    if not record.prices:
        return Section(title=words("charts.title"), notes=(words("trades.none"),))
    drawn = [
        (record.name_of(line.symbol), _price_chart(record, line, words)) for line in record.prices
    ]
    left = len({fill.symbol for fill in record.fills}) - len(drawn)
    return Section(
        title=words("charts.title"),
        lead=words("charts.lead"),
        charts=tuple(drawn[:most_open]),
        folds=tuple(Fold(title=symbol, html=chart) for symbol, chart in drawn[most_open:]),
        notes=(words("charts.left", count=left),) if left else (),
    )


def _verdicts(record: RunRecord, words: Words) -> Section:
    """Return how often each verdict fell: why what was bought was bought, and the rest was not."""
    total = sum(record.verdicts.values())
    rows = [
        (
            text_cell(
                VERDICT_TEXT[Verdict[name]]
                if words.language == "ko"
                else name.replace("_", " ").lower()
            ),
            Cell(text=f"{count:,}"),
            Cell(text=words.percent(count / total, signed=False, digits=1)),
        )
        for name, count in record.verdicts.items()
    ]
    return Section(
        title=words("verdicts.title"),
        lead=words("verdicts.lead"),
        grid=Grid(
            heads=tuple(words(f"verdicts.{head}") for head in ("name", "count", "share")),
            rows=tuple(rows),
            groups={},
            kind="labels",
        )
        if rows
        else None,
        notes=() if rows else (words("verdicts.none"),),
    )


def _price_chart(record: RunRecord, line: PriceLine, words: Words) -> str:
    unit = record.currency.minor_per_unit
    close = np.array([np.nan if p is None else p / unit for p in line.close])
    row = {day: i for i, day in enumerate(record.sessions)}
    marks = [
        Mark(
            index=row[fill.session],
            value=fill.price * line.scale[row[fill.session]] / unit,
            kind="buy" if fill.side is Side.BUY else "sell",
            text=words(
                "charts.fill",
                session=fill.session,
                side=words(f"side.{fill.side.value}"),
                quantity=f"{fill.quantity:,}",
                price=words.money(fill.price, record.currency),
                reason=words.code("reason", fill.reason),
            ),
        )
        for fill in record.fills
        if fill.symbol == line.symbol
    ]
    return line_chart(
        record.sessions,
        [Line(kind="price", values=close)],
        title=words("charts.of", symbol=line.symbol),
        marks=marks,
    )


def rolling_sharpe(returns: FloatArray, window: int, periods_per_year: int) -> FloatArray:
    """Return the annual Sharpe ratio of the last ``window`` returns at each of them.

    NaN before there are so many, and where they did not vary.
    """
    result = np.full(len(returns), np.nan)
    if len(returns) < window:
        return result
    views = np.lib.stride_tricks.sliding_window_view(returns, window)
    deviation = views.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = views.mean(axis=1) / deviation * math.sqrt(periods_per_year)
    result[window - 1 :] = np.where(deviation > 0, ratio, np.nan)
    return result


def written(value: float | int | None, kind: str, words: Words) -> str:
    """Return a figure as people read it; ``kind`` says what it counts."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    match kind:
        case "percent":
            return words.percent(value)
        case "points":
            return words.points(value)
        case "share":
            return words.percent(value, signed=False)
        case "count":
            return f"{value:,.0f}"
        case "sessions":
            return words("sessions", count=f"{math.ceil(value):,}")
        case "bps":
            return f"{value:,.1f} bp"
        case "times":
            return words("times", count=words.number(value))
        case _:
            return words.number(value)


def span_text(interval: Interval | None, kind: str, words: Words) -> str:
    """Return the bounds of an interval as people read them; "" where they are not known."""
    if interval is None or not math.isfinite(interval.low):
        return ""
    low, high = (written(bound, kind, words) for bound in (interval.low, interval.high))
    if kind in ("percent", "share"):
        low = low.removesuffix("\u00a0%")
    if kind == "points":
        low = low.removesuffix("\u00a0%p")
    return f"{low} ~ {high}"


def _days(record: RunRecord) -> list[date]:
    """Return the dates of ``record.path``: the starting cash stands on the first session."""
    return [record.sessions[0], *record.sessions]


def _by_month(sessions: Sequence[date], returns: FloatArray) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    for day, value in zip(sessions, returns.tolist(), strict=True):
        found[day.year, day.month].append(value)
    return {month: _compounded(values) for month, values in found.items()}


def _compounded(returns: Iterable[float]) -> float:
    return math.prod(1.0 + value for value in returns) - 1.0


def _short(value: float) -> str:
    if not math.isfinite(value):
        return UNKNOWN
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"
