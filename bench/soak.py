"""Many recorded days in a row with faults on: nothing grows, nothing is lost, no error unexplained.

``make soak``. ``trading demo --sessions 60`` runs as a user runs it: Prefect, the session, and the
local exchange over HTTP and WebSocket, each day with a schedule of faults of its own. This process
only watches from outside: after each day it looks at the memory and the open files of every
process, and at the size of what was written. Killed itself by a fault that ends the command, the
run is started again as its last sentence says, and that is counted.
"""

import argparse
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from measure import Result, show

MARKET = "us"
# The first half compiles, trains and fills caches of a bounded size: a month of fits, of tables and
# of the allocator's own. What grows without an end grows in the second half as well.
WARM_SHARE = 0.5
# More than this over the whole run is growth, however noisy the days are.
GROWTH_LIMIT_MIB, HANDLE_LIMIT = 32.0, 8.0
LOG_LIMIT_KIB = 512.0
MOST_STARTS = 20
POLL_SECONDS = 0.2
# A process that lived for fewer days tells nothing of growth.
LEAST_DAYS = 15
# KIS issues one token a minute: with tokens that die every other day, days would be mostly waiting.
# Shares are bought and sold every day, so that faults of orders meet orders.
CHANGED = (
    ("kis.yaml", "token_wait_seconds", "0.5"),
    ("allocation.yaml", "resize", "daily"),
    ("allocation.yaml", "no_trade_band", "0.0"),
)
# "Not for this account" (fault 12) ends a command with its sentence, as it should: no long run.
LEFT_OUT = 12
# Growth within so many of its standard errors may be noise.
NOISE_T = 3.0


@dataclass(slots=True)
class Series:
    """What was seen of one process of the run after each day."""

    memory_mib: list[float] = field(default_factory=list)
    handles: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Seen:
    """Everything seen; ``series`` by (start of the command, process)."""

    series: dict[tuple[int, str], Series] = field(default_factory=dict)
    log_bytes: list[int] = field(default_factory=list)
    starts: int = 0
    endings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return everything for whoever wants to draw it."""
        series = {
            f"{name} {start}": {"memory_mib": one.memory_mib, "handles": one.handles}
            for (start, name), one in self.series.items()
        }
        return {"series": series, "log_bytes": self.log_bytes, "endings": self.endings}


def schedule(path: Path, sessions: Sequence[date], seed: int) -> int:
    """Write the faults of each session to ``path``; return how many."""
    from trading.domain.instrument import Market
    from trading.exchange.faults import draw

    entries = []
    for i, session in enumerate(sessions):
        for fault in draw(seed + i, Market(MARKET)).faults:
            if fault.kind.number == LEFT_OUT:
                continue
            spec = {key: value for key, value in fault.spec().items() if value not in (None, "")}
            entries.append(spec | {"session": session.isoformat()})
    path.write_text(yaml.safe_dump(entries, allow_unicode=True), encoding="utf-8")
    return len(entries)


def furnish(home: Path) -> None:
    """Give the home a configuration of its own: ``CHANGED``, the rest as shipped."""
    from trading.domain.rules import shipped_config_dir

    shutil.copytree(shipped_config_dir(), home / "config", dirs_exist_ok=True)
    for name, key, value in CHANGED:
        path = home / "config" / name
        text, count = re.subn(rf"(?m)^{key}: .*$", f"{key}: {value}", path.read_text("utf-8"))
        assert count == 1, (name, key)
        path.write_text(text, encoding="utf-8")


def coming(home: Path, count: int) -> list[date]:
    """Return the sessions that a new demo account trades."""
    from trading import bootstrap
    from trading.domain.instrument import Market

    installation = bootstrap.open_home(home, console=False)
    recorded = bootstrap.open_source(installation).sessions(Market(MARKET))
    first = installation.settings.app.demo.warmup_sessions[Market(MARKET)]
    return recorded[first : first + count]


def watch(home: Path, command: Sequence[str], count: int) -> tuple[Seen, dict[str, Any]]:
    """Run the command to its end, starting it again where it stopped; return what was seen."""
    seen = Seen()
    ledger = home / "data" / "ledger" / f"demo-{MARKET}.db"
    while True:
        seen.starts += 1
        with tempfile.TemporaryFile() as out, (home / "soak.err").open("ab") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=os.environ.copy())
            _follow(psutil.Process(process.pid), ledger, home, seen)
            code = process.wait()
            out.seek(0)
            said = out.read().decode()
        done = settled(ledger)
        sys.stderr.write(f"{done}/{count}거래일, 종료 코드 {code}\n")
        if done >= count:
            return seen, json.loads(said.strip().splitlines()[-1])
        seen.endings.append(_last_line(home / "soak.err"))
        if seen.starts >= MOST_STARTS:
            raise SystemExit(f"{MOST_STARTS}번 시작하고도 끝나지 않음: {seen.endings[-1]}")


def _follow(process: psutil.Process, ledger: Path, home: Path, seen: Seen) -> None:
    done = settled(ledger)
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        now = settled(ledger)
        if now > done:
            done = now
            _sample(process, seen)
            seen.log_bytes.append(sum(f.stat().st_size for f in (home / "logs").rglob("*.*")))
        time.sleep(POLL_SECONDS)


def _sample(process: psutil.Process, seen: Seen) -> None:
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            name = _name(one.cmdline())
            if name is None:
                continue
            series = seen.series.setdefault((seen.starts, name), Series())
            series.memory_mib.append(one.memory_info().rss / 2**20)
            series.handles.append(float(one.num_fds()))


def _name(words: Sequence[str]) -> str | None:
    if "exchange" in words:
        return "거래소"
    if "demo" in words:
        return "매매"
    if any("prefect" in word for word in words):
        return "Prefect 서버"
    return None


def settled(ledger: Path) -> int:
    """Return how many sessions the ledger holds as proven."""
    if not ledger.exists():
        return 0
    query = "SELECT count(*) FROM journal WHERE kind='parity'"
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        try:
            return int(db.execute(query).fetchone()[0])
        except sqlite3.OperationalError:
            # Its tables are not there yet.
            return 0


def _last_line(path: Path) -> str:
    lines = path.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def growth(values: Sequence[float]) -> tuple[float, float]:
    """Return the growth over the days after the warm-up and its standard error (HAC)."""
    import statsmodels.api as sm

    kept = np.asarray(values[int(len(values) * WARM_SHARE) :])
    if len(kept) < 5 or not kept.std():
        return 0.0, 0.0
    days = np.arange(len(kept), dtype=float)
    fit = sm.OLS(kept, sm.add_constant(days)).fit(
        cov_type="HAC", cov_kwds={"maxlags": max(1, len(kept) // 6)}
    )
    return float(fit.params[1] * len(kept)), float(fit.bse[1] * len(kept))


def errors(home: Path) -> Iterator[dict[str, Any]]:
    """Yield every line of the error log."""
    for path in sorted((home / "logs").glob("errors*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            yield json.loads(line)


# Which faults of the exchange (docs/faults.md) an error line speaks of, by the start of their names.
_LOST = ("1/", "3/maintenance", "27/")
_REFUSED = ("3/", "4/", "5/", "10/", "27/")
EXPLAINED: dict[str, tuple[str, ...]] = {
    "실시간 메시지 해석 실패": ("13/garbled", "14/miscounted", "27/"),
    "실시간 등록 거부": ("15/unavailable", "15/approval"),
    "실시간 등록에 응답이 없어 포기함": ("15/stall",),
    "주문 결과 불명": _LOST,
    "취소 결과 불명": _LOST,
    "주문 미도착": ("1/before", "1/late", *_REFUSED),
    "종목 격리": ("26/", *_LOST),
    "목록에 없는 주문번호의 통보": ("13/", "26/", *_LOST),
    "받아들일 수 없는 통보": ("13/", "26/"),
    "단계 실패": _REFUSED,
    "놓친 체결 확인 실패": _REFUSED,
    "놓친 체결 복구 실패": _REFUSED,
}
# An error may be told by the caller and by the called.
LINES_PER_FAULT = 2


def unexplained(home: Path, faults: Mapping[str, int]) -> Counter[str]:
    """Return the errors that the faults of the run do not explain, by event: one or two lines each."""
    counts = Counter(line["event"] for line in errors(home))
    for event, names in EXPLAINED.items():
        fired = sum(n for name, n in faults.items() if name.startswith(names))
        counts[event] -= LINES_PER_FAULT * fired
    return +counts


def main() -> int:
    """Run the soak that was asked for."""
    parser = argparse.ArgumentParser(
        description="기록된 거래일 여럿을 장애 속에서 이어 돌리며 늘어나는 것을 봅니다."
    )
    parser.add_argument("--sessions", type=int, default=60, help="거래일 수.")
    parser.add_argument("--seed", type=int, default=1, help="장애의 시드.")
    parser.add_argument("--home", type=Path, help="쓸 폴더 (기본: 임시 폴더).")
    parser.add_argument("--no-faults", action="store_true", help="장애 없이.")
    parser.add_argument("--json", action="store_true", help="결과를 JSON으로 씁니다.")
    asked = parser.parse_args()
    home = asked.home or Path(tempfile.mkdtemp(prefix="soak-"))
    home.mkdir(parents=True, exist_ok=True)
    furnish(home)
    command = [
        sys.executable, "-m", "trading.cli", "--root", str(home), "demo", "--market", MARKET,
        "--sessions", str(asked.sessions), "--json",
    ]  # fmt: skip
    if not asked.no_faults:
        path = home / "faults.yaml"
        schedule(path, coming(home, asked.sessions), asked.seed)
        command += ["--faults", str(path)]
    seen, body = watch(home, command, asked.sessions)
    (home / "soak.json").write_text(json.dumps(seen.to_json()), encoding="utf-8")
    code = show(results(home, seen, body), as_json=asked.json)
    if asked.home is None and code == 0:
        shutil.rmtree(home)
    else:
        sys.stderr.write(f"남은 폴더: {home}\n")
    return code


def results(home: Path, seen: Seen, body: dict[str, Any]) -> list[Result]:
    """Return what was seen, against what is promised."""
    from trading.chaos.audit import compare

    ledger = home / "data" / "ledger" / f"demo-{MARKET}.db"
    journal = next((home / "data" / "exchange" / f"demo-{MARKET}").glob("*.db"))
    with closing(sqlite3.connect(ledger)) as db:
        intact = db.execute("PRAGMA integrity_check").fetchone()[0]
    audit = compare(ledger, journal, account="7001000101", starting_cash=body["starting_equity"])
    variants = {name: count for name, count in audit.faults.items() if "/" in name}
    strange = unexplained(home, variants)
    found = [
        Result(name="거래일", value=body["sessions"], limit=None, unit="일", spreads={}),
        Result(name="주문", value=body["orders"], limit=None, unit="건", spreads={}),
        Result(name="일어난 장애", value=sum(variants.values()), limit=None, unit="번", spreads={}),
        Result(name="다시 시작", value=seen.starts - 1, limit=None, unit="번", spreads={}),
    ]
    for (start, name), series in seen.series.items():
        if len(series.memory_mib) < LEAST_DAYS:
            continue
        for what, values, limit, unit in (
            ("메모리", series.memory_mib, GROWTH_LIMIT_MIB, "MiB"),
            ("연 파일", series.handles, HANDLE_LIMIT, "개"),
        ):
            value, error = growth(values)
            found.append(
                Result(
                    name=f"{name} ({start}번째 시작, {len(values)}일): 늘어난 {what}, "
                    f"표준오차 {error:.1f}, 처음 {values[0]:.0f}, 끝 {values[-1]:.0f}",
                    value=value, limit=max(limit, NOISE_T * error), unit=unit, spreads={},
                )
            )  # fmt: skip
    daily = np.diff(seen.log_bytes) / 1024 if len(seen.log_bytes) > 1 else np.zeros(1)
    found += [
        Result(name="하루의 로그 (최대)", value=float(daily.max()), limit=LOG_LIMIT_KIB, unit="KiB", spreads={}),
        Result(name="잃은 주문", value=audit.lost, limit=0, unit="건", spreads={}),
        Result(name="두 번 낸 주문", value=audit.doubled, limit=0, unit="건", spreads={}),
        Result(name="돈의 차이", value=abs(audit.money_difference), limit=0, unit="최소 단위", spreads={}),
        Result(name="장부의 무결성", value=float(intact != "ok"), limit=0, unit="문제", spreads={}),
        Result(name="현금 대조 차이", value=body["cash_difference"], limit=0, unit="최소 단위", spreads={}),
        Result(name="설명되지 않은 재현 차이", value=body["parity"]["unexplained"], limit=0, unit="건", spreads={}),
        Result(name="설명되지 않은 오류 줄", value=strange.total(), limit=0, unit="줄", spreads={}),
    ]  # fmt: skip
    for text in (*audit.findings, *(f"{event}: {count}줄" for event, count in strange.items())):
        sys.stderr.write(f"  {text}\n")
    return found


if __name__ == "__main__":
    sys.exit(main())
