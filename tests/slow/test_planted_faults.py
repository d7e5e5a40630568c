"""Every kind of fault, planted many times into recorded KRX data: detection and false alarms."""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from planted_faults import DAILY, INDEX, gate, score

from trading.domain.instrument import Market
from trading.domain.rules import shipped_rules
from trading.sessions import SessionCalendar
from trading.store import quality, schema
from trading.store.datasets import RecordedSource

pytestmark = pytest.mark.slow

# Raw prices of 2023, and vendor-adjusted ones of 2012.
YEARS, SYMBOLS, SEEDS, FAULTS = (2023, 2012), 500, 4, 40
# Kinds that take a whole session have few faults a batch, so they need more batches.
WHOLE_SESSIONS = {
    "다른 날을 베낌", "토요일에 베낌", "같은 날 두 번", "거래일 통째로 빠짐", "종목이 한 칸씩 밀림",
}  # fmt: skip
MORE_SEEDS = 25
# The share of faults that must be told of, where it is not all of them: what is left cannot be
# told from honest trading by these rows alone (docs/data.md, "Quality").
LEAST = {
    "값만 밀림 (120일)": 0.35,
    "시가↔종가 (60일)": 0.95,
    "시가↔종가 (20일)": 0.3,
    "시가↔종가 (1일)": 0.0,
    "두 종목이 바뀜 (5일)": 0.85,
}
MOST_FALSE = 0.002


def context(as_of: date) -> quality.Context:
    return quality.Context(
        rules=shipped_rules(Market.KRX), calendar=SessionCalendar(Market.KRX), as_of=as_of
    )


def test_detection_and_false_alarms(shared_data: Path, tmp_path: Path, capsys):
    """Each kind of fault is found as often as stated, and the table is printed and written."""
    source = RecordedSource(shared_data)
    scores = []
    for year in YEARS:
        frame = source.daily(Market.KRX, None, date(year, 1, 1), date(year, 12, 31))
        names = np.random.default_rng(0).choice(
            sorted(frame["symbol"].unique()), SYMBOLS, replace=False
        )
        frame = frame.loc[frame["symbol"].isin(names)].reset_index(drop=True)
        judge = gate("daily", context(frame["session"].max().date()))
        for kind, plant in DAILY.items():
            seeds = MORE_SEEDS if kind in WHOLE_SESSIONS else SEEDS
            made = score(kind, plant, frame, judge, seeds=seeds, count=FAULTS)
            scores.append({"record": f"krx {year}", **asdict(made)})
            with capsys.disabled():
                print(f"krx {year}  {made.line}")  # noqa: T201 - the table is what the suite is for
    levels = source.table("index", Market.KRX, None, date(2005, 1, 3), date(2023, 12, 28))
    frame = schema.to_frame(levels, schema.INDEX)
    frame = frame.loc[frame["name"].isin(["KOSPI", "KOSDAQ", "KOSPI200"])].reset_index(drop=True)
    judge = gate("index", context(date(2023, 12, 28)), "name")
    for kind, plant in INDEX.items():
        made = score(kind, plant, frame, judge, seeds=100, count=1)
        scores.append({"record": "krx index", **asdict(made)})
        with capsys.disabled():
            print(f"krx 지수  {made.line}")  # noqa: T201
    path = tmp_path / "planted_faults.json"
    path.write_text(json.dumps(scores, ensure_ascii=False, indent=1), encoding="utf-8")
    with capsys.disabled():
        print(path)  # noqa: T201

    for made in scores:
        assert made["found"] >= LEAST.get(made["kind"], 1.0), made
        assert made["false"] <= MOST_FALSE * made["judged"], made
