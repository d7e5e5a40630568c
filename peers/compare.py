"""Runs the same rules on the same bars here and in backtesters of others, and explains every cent.

``make compare-peers`` starts this; the first time it makes the peers' environments. Each peer is a
process of its own environment. Ends with 1 when a fill or a cent is unexplained.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import cases
import environments
import numpy as np
import referee
from engines import workloads
from engines.case import Answer, Case
from habits import HABITS, Habit

from trading.backtest.direct import DirectResult
from trading.domain.arrays import SideArray
from trading.terminal import table

HERE = Path(__file__).resolve().parent
WORKERS = 2
# Everything that floats lose over a run stays far below one minor unit, a hundredth of a cent.
FLOAT_MINOR = 1.0
NAMES = {"backtesting": "backtesting.py", "numba": "numba 루프"}
RECORDED = ("backtesting", "backtrader", "vectorbt", "bt")


@dataclass(frozen=True)
class Reference:
    """What several engines agree on: orders, and the equity to the cent."""

    title: str
    orders: int
    equity: str


# Long runs first.
REFERENCES: Mapping[str, Reference] = {
    "million": Reference("GOOG을 이어 붙인 100만 봉 (10/30)", 31_657, "13,872,380.63"),
    "hundred": Reference("GOOG을 민 100종목 × 2,500봉 (10/30)", 7_865, "10,981,480.15"),
    "single": Reference("GOOG 2,148봉 (10/30)", 67, "10,078,755.35"),
}
REFERENCE_ENGINES = ("backtrader", "pybroker", "bt", "backtesting", "vectorbt", "numba")


@dataclass(frozen=True, eq=False)
class Market:
    """A case with what this program wished and did in it."""

    title: str
    case: Case
    wish: SideArray
    ours: DirectResult

    @property
    def account(self) -> referee.Account:
        """The account as the exact arithmetic knows it."""
        return referee.Account(
            cash=self.case.cash * self.case.minor_per_unit,
            commission_ppb=self.case.commission_ppb,
            tax_ppb=self.case.tax_ppb,
        )


@dataclass(frozen=True)
class Finding:
    """One peer in one market; money in whole units, as text to the cent."""

    market: str
    peer: str
    our_fills: int
    their_fills: int
    same_fills: bool
    our_equity: str
    their_equity: str
    explained: str
    unexplained: str
    reasons: tuple[tuple[str, str], ...]
    fault: str | None


@dataclass(frozen=True)
class Check:
    """One thing that this program's own result must keep."""

    market: str
    text: str
    kept: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 0 when everything is explained, 1 when something is not."""
    parser = argparse.ArgumentParser(description="다른 백테스터와 체결과 평가금액을 견줍니다.")
    parser.add_argument(
        "--part", choices=("all", "recorded", "reference"), default="all",
        help="recorded: 기록된 네 종목의 세 규칙, reference: 알려진 결과가 있는 세 작업",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="표 대신 JSON")
    chosen = parser.parse_args(arguments)
    environments.ensure()
    checks: list[Check] = []
    jobs: list[tuple[Market, str]] = []
    if chosen.part != "recorded":
        for name, known in REFERENCES.items():
            market = _market(known.title, workloads.reference(name, environments.goog()))
            checks += _reference_checks(market, known)
            jobs += [(market, engine) for engine in REFERENCE_ENGINES]
    if chosen.part != "reference":
        for title, rule in cases.RULES.items():
            market = _market(title, cases.recorded(rule))
            checks += _own_checks(market)
            jobs += [(market, engine) for engine in RECORDED]
    findings = _compared(jobs)
    if chosen.json:
        content = {"findings": [asdict(f) for f in findings], "checks": [asdict(c) for c in checks]}
        sys.stdout.write(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write(_report(findings, checks))
    return 1 if any(f.fault for f in findings) or not all(c.kept for c in checks) else 0


def _market(title: str, case: Case) -> Market:
    wish = cases.wishes(case)
    return Market(title, case, wish, cases.trade(case, wish))


# --- our own result ---------------------------------------------------------------------------


def _reference_checks(market: Market, known: Reference) -> Iterator[Check]:
    count = len(market.ours.fills)
    exact = _exact(market).final
    cents = referee.in_units(exact, market.case.minor_per_unit)
    yield Check(market.title, f"주문 {count:,}건 (기준 {known.orders:,}건)", count == known.orders)
    yield Check(
        market.title,
        f"우리 체결을 분수로 다시 셈: {cents} (기준 {known.equity})",
        cents == known.equity,
    )
    yield from _own_checks(market)


def _own_checks(market: Market) -> Iterator[Check]:
    again = cases.replay(market.case, market.wish)
    same = np.array_equal(again.fills, market.ours.fills)
    yield Check(
        market.title,
        "TradingEngine이 사건으로 한 체결과 평가금액이 끝자리까지 같음",
        same and np.array_equal(again.equity, market.ours.equity),
    )
    yield _rounding_check(market)


def _rounding_check(market: Market) -> Check:
    """Every booked fee is within half a minor unit, and equity is off by their sum only."""
    fills = market.ours.fills
    largest = referee.largest_rounding(fills, market.account)
    charges = len(fills) + int((fills[:, referee.SIGN] < 0).sum())
    exact = _exact(market)
    off = market.ours.equity - exact.path()
    booked = np.r_[0, np.cumsum(fills[:, referee.PRICE + 1 :].sum(axis=1))][exact.count]
    kept = (
        largest <= Fraction(1, 2)
        and np.abs(off).max() <= charges / 2 + FLOAT_MINOR
        and np.array_equal(market.ours.equity, exact.gross - booked)
    )
    return Check(
        market.title,
        f"비용 {charges:,}건이 정확한 값과 최소 단위의 {float(largest):.2f}까지 차이, 평가금액은 "
        f"{np.abs(off).max() / market.case.minor_per_unit:,.4f} (허용 "
        f"{charges / 2 / market.case.minor_per_unit:,.4f})",
        bool(kept),
    )


def _exact(market: Market) -> referee.Worth:
    return referee.worth(market.ours.fills, market.case.close, market.account)


# --- the peers ----------------------------------------------------------------------------------


def _compared(jobs: Sequence[tuple[Market, str]]) -> list[Finding]:
    """Run every engine once, in a process that takes its markets one after the other."""
    engines = list(dict.fromkeys(engine for _, engine in jobs))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        cases_of: dict[str, Path] = {}
        for market, _ in jobs:
            if market.title not in cases_of:
                cases_of[market.title] = Path(scratch) / f"case-{len(cases_of)}.npz"
                market.case.save(cases_of[market.title])

        def one(engine: str) -> dict[int, Finding]:
            markets = {number: market for number, (market, e) in enumerate(jobs) if e == engine}
            answers = {Path(scratch) / f"answer-{number}.npz": number for number in markets}
            found = {}
            fault = "답이 없음"
            for line in _run(
                engine, [(cases_of[markets[n].title], path) for path, n in answers.items()]
            ):
                number = answers.get(Path(line))
                if number is None:
                    fault = f"실행하지 못함: {line}"
                    continue
                answer = Answer.load(Path(line))
                Path(line).unlink()
                market = markets[number]
                found[number] = _judged(market, engine, answer, HABITS[engine])
                sys.stderr.write(
                    f"  {market.title}: {_name(engine)} ({time.monotonic() - begun:,.0f}초)\n"
                )
            return {
                number: found[number] if number in found else _failed(market, engine, fault)
                for number, market in markets.items()
            }

        with ThreadPoolExecutor(WORKERS) as pool:
            together = {n: f for part in pool.map(one, engines) for n, f in part.items()}
    return [together[number] for number in range(len(jobs))]


def _run(engine: str, files: Sequence[tuple[Path, Path]]) -> Iterator[str]:
    """Yield every line that the engine's process says: answers written, else its complaints."""
    command = [str(environments.python_of(engine)), str(HERE / "run_engine.py"), "trade", engine]
    with subprocess.Popen(
        [*command, *(str(path) for pair in files for path in pair)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            yield line.strip()


def _failed(market: Market, engine: str, fault: str) -> Finding:
    ours = referee.in_units(Fraction(int(market.ours.equity[-1])), market.case.minor_per_unit)
    return Finding(
        market=market.title, peer=engine, our_fills=len(market.ours.fills), their_fills=0,
        same_fills=False, our_equity=ours, their_equity="-", explained="-", unexplained="-",
        reasons=(), fault=fault,
    )  # fmt: skip


def _judged(market: Market, engine: str, answer: Answer, habits: Sequence[Habit]) -> Finding:
    """Follow a peer from our result to its own, one habit after the other."""
    case, minor = market.case, market.case.minor_per_unit
    wish, fills, account, marks = market.wish, market.ours.fills, market.account, case.close
    reached = Fraction(int(market.ours.equity[-1]))
    begun, reasons = reached, []

    def account_for(text: str, expected: referee.Worth) -> None:
        nonlocal reached
        if expected.final != reached:
            reasons.append((text, referee.in_units(expected.final - reached, minor)))
        reached = expected.final

    expected = _exact(market)
    account_for("우리는 비용을 최소 단위로 반올림함", expected)
    for habit in habits:
        if habit.wish is not None:
            wish = habit.wish(case, wish)
            fills = cases.trade(case, wish).fills
        if habit.untaxed:
            account = replace(account, tax_ppb=0)
        if habit.mark is not None:
            marks = case.open
        expected = referee.worth(fills, marks, account)
        account_for(habit.text, expected)
    theirs = np.column_stack((answer.orders, np.rint(answer.prices * minor).astype(np.int64)))
    last = float(answer.equity[-1]) if len(answer.equity) else math.nan
    final = Fraction(last) * minor if math.isfinite(last) else None
    return Finding(
        market=market.title,
        peer=engine,
        our_fills=len(market.ours.fills),
        their_fills=len(theirs),
        same_fills=referee.first_difference(market.ours.fills, theirs) is None,
        our_equity=referee.in_units(begun, minor),
        their_equity="-" if final is None else referee.in_units(final, minor),
        explained=referee.in_units(reached - begun, minor),
        unexplained="-" if final is None else referee.in_units(final - reached, minor),
        reasons=tuple(reasons),
        fault=_fault(case, fills, theirs, answer, expected),
    )


def _fault(
    case: Case, fills: Any, theirs: Any, answer: Answer, expected: referee.Worth
) -> str | None:
    """Return the first thing that the peer's habits do not explain."""
    different = referee.first_difference(fills, theirs)
    if different is not None:
        expected_fill, their_fill = (_as_text(case, fill) for fill in different)
        return f"체결이 다름: 설명대로면 {expected_fill}, 상대는 {their_fill}"
    if np.abs(answer.prices * case.minor_per_unit - theirs[:, referee.PRICE]).max(initial=0) > 1e-3:
        return "체결가가 기록된 값이 아님"
    if answer.equity.shape != expected.gross.shape:
        return f"평가금액이 {len(answer.equity):,}봉: 자료는 {len(expected.gross):,}봉"
    off = np.abs(answer.equity * case.minor_per_unit - expected.path())
    if not (off <= FLOAT_MINOR).all():
        row = int(np.argmax(~(off <= FLOAT_MINOR)))
        amount = off[row] / case.minor_per_unit
        return f"평가금액이 {_at(case, row)} 봉부터 {amount:,.4f} 다름"
    return None


def _as_text(case: Case, fill: list[int] | None) -> str:
    if fill is None:
        return "없음"
    row, column, sign, shares, price = fill
    side = "매수" if sign > 0 else "매도"
    amount = price / case.minor_per_unit
    return f"{_at(case, row)} {case.symbols[column]} {side} {shares:,}주 {amount:,.2f}"


def _at(case: Case, row: int) -> str:
    """Return the time of a bar: its date, and the minute where it has one."""
    time_of_day = case.times[row] != case.times[row].astype("datetime64[D]")
    return str(np.datetime_as_string(case.times[row], unit="m" if time_of_day else "D"))


# --- the report ---------------------------------------------------------------------------------


def _report(findings: Sequence[Finding], checks: Sequence[Check]) -> str:
    heads = (
        "규칙", "상대", "우리 체결", "상대 체결", "체결", "우리 평가금액", "상대 평가금액",
        "설명된 차이", "남은 차이",
    )  # fmt: skip
    rows = [
        (
            f.market, _versioned(f.peer), f"{f.our_fills:,}", f"{f.their_fills:,}",
            "같음" if f.same_fills else ("설명됨" if f.fault is None else "다름"),
            f.our_equity, f.their_equity, f.explained, f.unexplained,
        )
        for f in findings
    ]  # fmt: skip
    lines = [table(heads, rows), "", "차이의 까닭 (마지막 봉의 평가금액)"]
    for f in findings:
        whys = [f"{text} {amount}" for text, amount in f.reasons if amount != "0.00"]
        if whys:
            lines.append(f"  {f.market} · {_name(f.peer)}: {', '.join(whys)}")
    lines += ["", "우리 결과"]
    lines += [f"  {'맞음' if c.kept else '틀림'}  {c.market}: {c.text}" for c in checks]
    faults = [f"  {f.market} · {_name(f.peer)}: {f.fault}" for f in findings if f.fault]
    lines += ["", "설명되지 않은 것", *faults] if faults else ["", "모든 체결과 차이가 설명됨"]
    return "\n".join(lines) + "\n"


def _name(engine: str) -> str:
    return NAMES.get(engine, engine)


def _versioned(engine: str) -> str:
    package = environments.PACKAGES.get(engine, engine)
    place = environments.folder(environments.ENGINES[engine])
    found = {
        one.metadata["Name"]: one.version
        for one in distributions(path=[str(p) for p in place.glob("lib/python3*/site-packages")])
    }
    return f"{_name(engine)} {found[package]}"


if __name__ == "__main__":
    sys.exit(main())
