"""Speed and size of the features, as ratios against a bare TA-Lib loop in the same run.

``python bench/features.py --dataset folder [--json]``. The folder is the recorded KRX set; without
one the embedded bars are measured, too few to say anything of memory. What the numbers mean and
what they were is in ``docs/features.md``.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from time import thread_time_ns
from typing import Any

# Whether the kernel has large pages to give, or stops to make some, is up to what else runs.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")

import numpy as np
from measure import Result, Spread, show
from store import once, run_child

from trading.domain.instrument import Market
from trading.domain.market import AdjustedPanel
from trading.features import pipeline
from trading.features.indicators import Bars, Column
from trading.features.pipeline import FeatureSettings

FIRST, LAST = date(2015, 1, 12), date(2025, 1, 23)
SYMBOLS = 2300
ROUNDS = 9
S = FeatureSettings()


def recorded(folder: Path) -> Bars:
    """Return ten years of the names with most bars, with what was known of them."""
    from trading.sessions import SessionCalendar
    from trading.store.datasets import RecordedSource
    from trading.store.facts import facts_from
    from trading.store.panels import assemble_panels

    source = RecordedSource(folder)
    bars = source.table("daily", Market.KRX, None, FIRST, LAST)
    names, counts = np.unique(bars["symbol"].cast("string").to_numpy(False), return_counts=True)
    symbols = sorted(names[np.argsort(-counts, kind="stable")][:SYMBOLS].tolist())
    _, panel = assemble_panels(
        bars,
        [],
        SessionCalendar(Market.KRX).sessions(FIRST, LAST),
        Market.KRX,
        symbols,
        exchanges={one.symbol: one.exchange for one in source.instruments(Market.KRX)},
        index=source.index(Market.KRX, FIRST, LAST),
        benchmark="KOSPI",
    )
    return Bars(panel, facts_from(source, Market.KRX, panel.sessions, panel.symbols))


def embedded() -> Bars:
    """Return the bars that come with the program."""
    from trading.store.datasets import EmbeddedSource
    from trading.store.panels import assemble_panels

    source = EmbeddedSource()
    days = source.sessions(Market.US)
    _, panel = assemble_panels(
        source.daily(Market.US, None, days[0], days[-1]), [], days, Market.US, None
    )
    return Bars(panel)


def bare_loop(columns: list[Column]) -> list[Any]:
    """Call what the features call, symbol by symbol on contiguous arrays, and keep the answers."""
    import talib

    mean = talib.MA_Type.SMA
    kept: list[Any] = []
    for c in columns:
        bar = (c.high, c.low, c.close)
        kept += (
            talib.SMA(c.close, S.fast_window),
            talib.SMA(c.close, S.slow_window),
            talib.EMA(c.close, S.ema_window),
            talib.RSI(c.close, S.rsi_window),
            talib.MACD(c.close, S.macd_fast, S.macd_slow, S.macd_signal),
            talib.BBANDS(c.close, S.bollinger_window, S.bollinger_width, S.bollinger_width),
            talib.MFI(*bar, c.volume, S.mfi_window),
            talib.ATR(*bar, S.atr_window),
            talib.ADX(*bar, S.adx_window),
            talib.OBV(c.close, c.volume),
            talib.SUM(c.volume, S.obv_window),
            talib.STOCH(*bar, S.stochastic_window, S.stochastic_slow, mean,
                        S.stochastic_signal, mean),
            talib.MAX(c.close, S.drawdown_window),
        )  # fmt: skip
    return kept


TALIB = (
    "moving_average_gap", "ema_gap", "rsi", "macd_histogram", "bollinger_b", "mfi", "atr", "adx",
    "obv_flow", "stochastic_k", "stochastic_d", "drawdown",
)  # fmt: skip


def through_bars(bars: Bars) -> list[Any]:
    """Compute the same features as the program does, from bars to grids.

    The bars are as they come from the panel: a child of this process has computed nothing yet.
    """
    return [f.compute(bars, S) for f in pipeline.REGISTRY if f.name in TALIB]


def few(panel: AdjustedPanel) -> Bars:
    """Return the bars of the first two names."""
    grids = ("open", "high", "low", "close", "volume", "tradable")
    some = {name: getattr(panel, name)[:, :2].copy() for name in grids}
    return Bars(replace(panel, symbols=panel.symbols[:2], **some))


def in_a_child(call: Callable[[], Any]) -> int:
    """Return the processor time of one call in a process of its own, in nanoseconds."""

    def run(answer: Any) -> None:
        begin = thread_time_ns()
        made = call()
        answer.send(thread_time_ns() - begin)
        del made

    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=run, args=(sender,))
    child.start()
    taken: int = receiver.recv()
    child.join()
    return taken


def measured(bars: Bars) -> list[Result]:
    """Both ways in turns, then the whole registry once, feature by feature.

    Processor time of the one thread, each time in a process whose memory is new: both keep what
    they make, and one of them would find the memory of its last round.
    """
    panel = bars.panel
    columns = [
        Column(**{n: getattr(bars.own, n)[a:b].copy() for n in Column.__slots__})
        for a, b in zip(bars.starts[:-1], bars.starts[1:], strict=True)
        if b > a
    ]
    calls: dict[str, Callable[[], Any]] = {
        "bare TA-Lib loop, one contiguous array a symbol": lambda: bare_loop(columns),
        "the same features through Bars, as grids": lambda: through_bars(bars),
        "(taking the panel apart, once for all features)": lambda: Bars(panel),
    }
    # Compiled in this process, on a few names, so that no child has to.
    through_bars(few(panel))
    bare_loop(columns[:2])
    times: dict[str, list[int]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            times[name].append(in_a_child(call))
    bare, ours, _ = (min(found) for found in times.values())
    own: dict[str, Spread] = {}
    fresh = Bars(panel, bars.facts)
    for feature in pipeline.REGISTRY:
        begin = thread_time_ns()
        feature.compute(fresh, S)
        own[feature.name] = Spread.of([thread_time_ns() - begin])
    cells = bars.shape[0] * bars.shape[1]
    return [
        Result(
            name=f"TA-Lib 특성, {bars.shape[1]:,}종목 × {bars.shape[0]:,}거래일 (TA-Lib만 부르는 반복문 대비)",
            value=ours / bare,
            # Of a few names the calls themselves are most of it.
            limit=1.3 if bars.shape[1] >= 500 else None,
            unit="배",
            spreads={name: Spread.of(found) for name, found in times.items()},
        ),
        Result(
            name=f"특성 {len(pipeline.REGISTRY)}가지 전부, 칸 하나와 특성 하나에",
            value=sum(spread.p50 for spread in own.values()) * 1e3 / cells / len(own),
            limit=None,
            unit="ns",
            spreads=own,
        ),
    ]


def whole_set(folder: Path) -> None:
    """Compute the whole registry of the recorded panel and end: its memory is measured outside."""
    matrix = pipeline.compute(recorded(folder), S)
    assert matrix.values.shape[2] == len(pipeline.REGISTRY)


def main() -> int:
    """Run the benchmarks of the features."""
    parser = argparse.ArgumentParser(
        description="특성 계산의 속도와 메모리를 같은 실행 안의 기준과 비교합니다."
    )
    parser.add_argument("--dataset", type=Path, help="기록된 KRX 자료가 있는 폴더.")
    parser.add_argument("--json", action="store_true", help="결과를 JSON으로 씁니다.")
    parser.add_argument("--whole", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.whole is not None:
        whole_set(asked.whole)
        return 0
    if asked.dataset is None or not (asked.dataset / "krx_daily.parquet").is_file():
        sys.stderr.write(
            "기록된 KRX 자료가 없어 들어 있는 다섯 종목만 재고 메모리는 재지 않습니다: "
            "make bench DATASET=폴더\n"
        )
        return show(measured(embedded()), as_json=asked.json)
    folder = asked.dataset.resolve()
    results = measured(recorded(folder))
    seconds, _, memory = run_child([sys.executable, __file__, "--whole", str(folder)])
    results.append(
        Result(
            name="특성 전부의 최대 메모리 (자료를 읽어 판을 만드는 것까지)",
            value=memory,
            limit=6.0,
            unit="GiB",
            spreads={"reading, panel, facts and all features": once(seconds)},
        )
    )
    return show(results, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
