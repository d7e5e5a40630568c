from datetime import UTC, datetime
from pathlib import Path

import pytest

from trading.config import LeakSettings
from trading.watch.run import Leak, Verdict, judge

NOW = datetime(2012, 6, 1, 15, 0, tzinfo=UTC)


def memory(first: int, last: int) -> list[float]:
    """Recorded closes of IBM as if they were megabytes: a series that wanders."""
    from bokeh_sampledata import stocks

    return list(stocks.IBM["close"][first:last])


def judged(values: list[float], seconds: float) -> Leak:
    every = [seconds * i for i in range(len(values))]
    return judge("session", "메모리", "MB", every, values, 20.0, LeakSettings())


def test_too_short_is_no_judgement():
    """Below the least time nothing is said of a process, however steep."""
    found = judged([float(i) for i in range(100)], 10.0)

    assert found.trend is None and not found.is_leak
    assert found.text == "세션 메모리: 판단하기에 짧음"


def test_what_grows_for_long_leaks():
    """A hundred megabytes an hour over two hours is told, what wanders is not."""
    steady = judged([800.0 + i / 3.6 for i in range(720)], 10.0)
    wandering = judged(memory(0, 720), 10.0)

    assert steady.is_leak and "샘" in steady.text
    assert steady.trend is not None and steady.trend.slope == pytest.approx(100.0)
    assert not wandering.is_leak and "새지 않음" in wandering.text


def test_a_verdict_is_clean_without_findings():
    """JSON and text say the same."""
    verdict = Verdict(
        started=NOW, ended=NOW.replace(hour=17), samples=720, sessions=("2005-03-08",), errors=0,
        missed=(), differences=0, leaks=(), findings=(), folder=Path("logs/monitor"),
    )  # fmt: skip

    assert verdict.is_clean and verdict.to_json()["clean"] and verdict.to_json()["hours"] == 2.0
    assert "이상 없음" in verdict.text()
