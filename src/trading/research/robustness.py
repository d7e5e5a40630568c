"""A backtest put to other costs, later decisions and more capital, by trading it again."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from trading import measures
from trading.backtest import figures, robustness, runner
from trading.backtest.record import RunRecord
from trading.backtest.robustness import BASIS_POINT, Stretch
from trading.backtest.settings import RobustnessSettings
from trading.domain.instrument import Currency
from trading.domain.rules import MarketRules
from trading.domain.wording import REGIME_TEXT, money_text, percent_text
from trading.research.trader import Trader
from trading.strategies.base import Evaluation

_PPB = 1_000_000_000
_SHOWN = ("total_return", "annual_return", "sharpe", "max_drawdown")


def measure(
    trader: Trader,
    evaluation: Evaluation,
    record: RunRecord,
    settings: RobustnessSettings,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Return what became of a run under other conditions; ``None`` for what cannot be said.

    The reruns are no trials: nothing is chosen from them. They trade daily bars whatever ``record``
    was made of.
    """
    return _Reruns(trader, evaluation, record, settings, progress).measure()


class _Reruns:
    """One run, and the others that it is held against."""

    def __init__(
        self,
        trader: Trader,
        evaluation: Evaluation,
        record: RunRecord,
        settings: RobustnessSettings,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._trader = trader
        self._evaluation = evaluation
        self._record = record
        self._settings = settings
        self._progress = progress
        self._done = 0
        self._all = (
            len(settings.cost_multiples)
            + 2 * settings.break_even_reruns
            + len(settings.delays)
            + len(settings.capital_multiples)
        )

    def measure(self) -> dict[str, Any]:
        """Return everything."""
        record, settings = self._record, self._settings
        returns, matched = record.returns(), record.matched_returns()
        per_year = record.sessions_per_year
        return {
            "regimes": _stretches(
                robustness.by_regime(
                    record.sessions, record.regimes, returns, matched, periods_per_year=per_year
                )
            ),
            "crises": _stretches(
                robustness.in_crises(
                    settings.crises, record.sessions, returns, matched, periods_per_year=per_year
                )
            ),
            "costs": [
                {
                    "multiple": multiple,
                    **self._figures(self._equity(self._trader.rules.costing(multiple=multiple))),
                }
                for multiple in settings.cost_multiples
            ],
            "break_even": self._break_even(),
            "delays": [
                {
                    "sessions": sessions,
                    **self._figures(
                        self._equity(
                            self._trader.rules, robustness.delayed(self._evaluation, sessions)
                        )
                    ),
                }
                for sessions in settings.delays
            ],
            "capacity": self._capacity(),
        }

    def _equity(self, rules: MarketRules, evaluation: Evaluation | None = None) -> Sequence[int]:
        """Return the account of a rerun, from its starting cash on."""
        made = replace(self._trader, rules=rules).run(
            evaluation or self._evaluation, self._trader.strategies.exits()
        )
        self._tell()
        return [made.starting_cash, *made.equity]

    def _figures(self, equity: Sequence[int]) -> dict[str, Any]:
        found = figures.path_figures(equity, periods_per_year=self._record.sessions_per_year)
        return {"final_equity": equity[-1], **{name: found[name] for name in _SHOWN}}

    def _break_even(self) -> dict[str, Any]:
        record = self._record
        traded = sum(fill.amount for fill in record.fills)
        paid = sum(fill.commission + fill.tax for fill in record.fills)
        grown = figures.benchmark_path(record.matched_returns())[-1]
        targets = {"cash": float(record.starting_cash), "benchmark": record.starting_cash * grown}
        return {
            "traded": traded,
            "paid_bps": measures.known(paid / traded / BASIS_POINT if traded else math.nan),
            **{name: self._break_even_of(target, traded) for name, target in targets.items()},
        }

    def _break_even_of(self, target: float, traded: int) -> dict[str, Any] | None:
        """Return the cost that leaves ``target``; that of the benchmark is the run's own."""
        if not math.isfinite(target):
            return None
        wanted = round(target)

        def profit_at(bps: float) -> int:
            rules = self._trader.rules.costing(extra_ppb=round(bps * BASIS_POINT * _PPB))
            return self._equity(rules)[-1] - wanted

        found = robustness.break_even(
            self._record.equity[-1] - wanted,
            traded,
            self._record.starting_cash,
            profit_at,
            reruns=self._settings.break_even_reruns,
        )
        return {name: measures.known(value) for name, value in asdict(found).items()}

    def _capacity(self) -> dict[str, Any]:
        """Return what more capital earns; by the engine itself, which tells what was filled."""
        trader = self._trader
        policy = replace(trader.policy, agent_exits=trader.strategies.exits())
        points = []
        for multiple in self._settings.capital_multiples:
            made = runner.run(
                trader.views(self._evaluation),
                trader.raw,
                trader.actions,
                trader.calendar,
                trader.rules,
                policy,
                cash=trader.cash * multiple,
                first=trader.first,
                last=trader.last,
            )
            self._tell()
            points.append(
                {
                    "capital": made.starting_cash,
                    **self._figures([made.starting_cash, *made.equity]),
                    "filled": measures.known(robustness.filled_share(made)),
                }
            )
        half = robustness.capacity(
            [point["capital"] for point in points],
            [
                math.nan if point["annual_return"] is None else point["annual_return"]
                for point in points
            ],
        )
        return {
            "points": points,
            "capital": round(half) if math.isfinite(half) else None,
            "is_beyond": math.isinf(half),
        }

    def _tell(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(min(self._done, self._all), self._all)


def lines(found: Mapping[str, Any], currency: Currency) -> list[str]:
    """Return what ``measure`` found, as a user reads it; without annual returns, whole ones."""
    is_long = all(one["annual_return"] is not None for one in found["costs"])
    name, what = ("annual_return", "연 수익률") if is_long else ("total_return", "수익률")
    return [
        "견고성 (조건만 바꾸어 다시 거래한 결과)",
        *(
            f"  {REGIME_TEXT.get(one['name'], '모르는')} 국면 {one['sessions']:,}거래일: "
            + _stretch_text(one)
            for one in found["regimes"]
        ),
        *(
            f"  {one['name']} ({one['first']} ~ {one['last']}): " + _stretch_text(one)
            for one in found["crises"]
        ),
        f"  비용을 바꾸면 ({what}): "
        + ", ".join(f"{one['multiple']:g}배 {percent_text(one[name])}" for one in found["costs"]),
        *_break_even_lines(found["break_even"]),
        f"  늦게 판단하면 ({what}): "
        + ", ".join(
            f"{one['sessions']}거래일 {percent_text(one[name])}" for one in found["delays"]
        ),
        *(
            f"  자금 {money_text(one['capital'], currency)}: {what} {percent_text(one[name])}, "
            f"주문의 {percent_text(one['filled'], signed=False, digits=0)} 체결"
            for one in found["capacity"]["points"]
        ),
        _capacity_line(found["capacity"], currency),
    ]


def _stretch_text(one: Mapping[str, Any]) -> str:
    sharpe = "" if one["sharpe"] is None else f", 샤프 {one['sharpe']:.2f}"
    return (
        f"{percent_text(one['total_return'])} (벤치마크 {percent_text(one['benchmark_return'])})"
        f"{sharpe}, 최대 낙폭 {percent_text(-one['max_drawdown'])}"
    )


def _break_even_lines(found: Mapping[str, Any]) -> list[str]:
    if found["paid_bps"] is None:
        return ["  손익분기 비용: 거래가 없어 알 수 없음"]
    lines = [f"  낸 비용: 거래대금의 {found['paid_bps']:.1f}bp (수수료와 세금)"]
    for name, what, with_it in (
        ("cash", "현금만 든 것", "현금만 든 것과"),
        ("benchmark", "벤치마크", "벤치마크와"),
    ):
        one = found[name]
        if one is None:
            continue
        if one["extra_bps"] <= 0:
            lines.append(f"  손익분기 비용: 이미 {what}보다 못함")
            continue
        rerun = one["rerun_bps"]
        confirmed = f" (다시 거래해 보면 {rerun:,.1f}bp)" if rerun is not None else ""
        lines.append(
            f"  손익분기 비용: {one['extra_bps']:,.1f}bp를 더 내면 {with_it} 같음{confirmed}"
        )
    return lines


def _capacity_line(found: Mapping[str, Any], currency: Currency) -> str:
    if found["capital"] is not None:
        half = money_text(found["capital"], currency)
        return f"  수용 규모: {half}에서 연 수익률이 절반이 됨"
    if found["is_beyond"]:
        return "  수용 규모: 시험한 자금보다 큼"
    return "  수용 규모: 벌지 못했거나 기록이 짧아 말할 수 없음"


def _stretches(found: Sequence[Stretch]) -> list[dict[str, Any]]:
    return [
        {
            name: measures.known(value)
            if isinstance(value, float)
            else str(value)
            if name in ("first", "last")
            else value
            for name, value in asdict(one).items()
        }
        for one in found
    ]
