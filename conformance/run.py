"""Runs KIS clients of others, their files untouched, against the local exchange.

``make conformance`` makes their environment and starts this. Each client is a process of that
environment which believes to speak with KIS (see ``redirect/sitecustomize.py``); what it understood
is compared with the recorded data itself. Ends with 1 when the exchange is at fault.
"""

import argparse
import base64
import csv
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
START_SECONDS = 120
CLIENT_SECONDS = 240
# The clients' own account of what a Korean or a US share needs.
FEATURES = {
    "krx": (
        "종목 조회", "접속", "현재가", "일봉", "분봉", "호가", "매수 가능 금액", "매수", "정정", "취소",
        "시장가 매수", "매도", "체결 내역", "주문 연속 조회", "잔고", "잔고 연속 조회", "기간 손익",
        "실시간 등록", "실시간 체결가", "실시간 체결 통보",
    ),
}  # fmt: skip
FEATURES["us"] = FEATURES["krx"]


@dataclass(frozen=True, slots=True)
class Client:
    """A client of others: its package, its script, and what it does not offer."""

    name: str
    package: str
    script: str
    absent: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A known fault of a client: part of the error it shows, and why the fault is the client's."""

    error: str
    reason: str


_NO_LOOKUP = "현재가로 대신"
CLIENTS = (
    Client(
        "python-kis",
        "python_kis",
        "python_kis.py",
        {
            "krx": {"접속": "첫 호출과 함께"},
            "us": {
                "접속": "첫 호출과 함께",
                "잔고 연속 조회": "내장 기록의 종목이 한 쪽(100개)보다 적음",
            },
        },
    ),
    Client(
        "mojito2",
        "mojito2",
        "mojito2.py",
        {
            "krx": {
                "종목 조회": _NO_LOOKUP,
                "호가": "REST 호가 없음",
                "체결 내역": "체결 조회 없음",
                "주문 연속 조회": "미체결만, 한 쪽씩",
                "기간 손익": "손익 조회 없음",
            },
            "us": {
                "종목 조회": _NO_LOOKUP,
                "분봉": "해외 분봉 없음",
                "호가": "REST 호가 없음",
                "매수 가능 금액": "국내만",
                "정정": "국내 주소만 부름",
                "취소": "국내 주소만 부름",
                "시장가 매수": "값 0의 지정가로 보냄",
                "체결 내역": "체결 조회 없음",
                "주문 연속 조회": "미체결 조회는 국내만",
                "기간 손익": "손익 조회 없음",
                "잔고 연속 조회": "내장 기록의 종목이 한 쪽(100개)보다 적음",
                "실시간 등록": "해외 실시간 없음",
                "실시간 체결가": "해외 실시간 없음",
                "실시간 체결 통보": "해외 실시간 없음",
            },
        },
    ),
)
FAULTS: Mapping[tuple[str, str, str], Fault] = {
    ("python-kis", "us", "시장가 매수"): Fault(
        "호가단위에 맞지 않는 가격입니다",
        "미국에는 시장가가 없어 현재가의 1.5배를 지정가로 보내면서 0.01달러 단위로 맞추지 않음"
        " (pykis/api/account/order.py, PROTOCOL 13.2)",
    ),
}
SESSIONS = {"krx": date(2025, 9, 8), "us": date(2012, 6, 15)}


def main() -> int:
    """Try every client on every market that has recorded data."""
    parser = argparse.ArgumentParser(
        description="다른 이가 만든 KIS 클라이언트를 로컬 거래소에서 시험"
    )
    parser.add_argument("--python", default=str(ROOT / ".venv-conformance/bin/python"))
    parser.add_argument("--dataset", default=str(ROOT.parent / "shared/data"))
    parser.add_argument("--json", action="store_true", help="표 대신 JSON 한 개")
    options = parser.parse_args()
    report: dict[str, Any] = {
        "packages": untouched(Path(options.python)),
        "rows": [],
        "skipped": [],
    }
    dataset = Path(options.dataset)
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        home = Path(folder)
        for market in ("krx", "us"):
            if market == "krx" and not (dataset / "krx_minute.parquet").exists():
                report["skipped"].append(
                    {"market": "krx", "reason": f"기록된 한국 자료가 없음: {dataset}"}
                )
                continue
            for client in CLIENTS:
                folder = home / f"{client.name}-{market}"
                folder.mkdir()
                with exchange(folder, market, dataset) as port_file:
                    seen = run(client, market, folder, port_file, options.python, dataset)
                report["rows"] += judged(client, market, seen)
    report["ours"] = sum(row["result"] == "거래소 결함" for row in report["rows"])
    broken = [one for one in report["packages"] if one["changed"]]
    if options.json:
        print(json.dumps(report, ensure_ascii=False))  # noqa: T201 -- the report itself
    else:
        show(report)
    return 1 if report["ours"] or broken else 0


# --- the exchange and its clients ------------------------------------------------------------


@contextmanager
def exchange(home: Path, market: str, dataset: Path) -> Iterator[Path]:
    """Serve ``market`` in lock-step until the block ends; yields its port file."""
    command = [
        sys.executable, "-m", "trading.cli", "--root", str(home), "exchange", "serve",
        "--market", market, "--name", market, "--notice-fields", "former",
    ]  # fmt: skip
    if market == "krx":
        command += ["--dataset", str(dataset)]
    port_file = home / "data" / "exchange" / market / "port.json"
    with (home / f"{market}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            end = time.monotonic() + START_SECONDS
            while not port_file.exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(
                        f"거래소가 뜨지 않음: {market}\n" + (home / f"{market}.log").read_text()
                    )
                time.sleep(0.1)
            yield port_file
        finally:
            process.terminate()
            process.wait()


def run(
    client: Client, market: str, folder: Path, port_file: Path, python: str, dataset: Path
) -> list[dict[str, Any]]:  # fmt: skip
    """Run one client through one session; return what it reported, feature by feature."""
    session = SESSIONS[market]
    port = json.loads(port_file.read_text())
    url = f"http://{port['host']}:{port['rest_port']}/control"
    place = control(f"{url}/session", port["token"], {"session": session.isoformat()})
    untradable = control(f"{url}/status", port["token"])["untradable_symbols"]
    facts = korean_facts(dataset, session, untradable) if market == "krx" else us_facts(session)
    (folder / "facts.json").write_text(json.dumps({"market": market, **facts}))
    report = folder / "report.jsonl"
    report.touch()
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "PYTHONUTF8": "1",
        "PYTHONPATH": str(HERE / "redirect"),
        "KIS_LOCAL": f"{port['host']}:{port['rest_port']}",
        "KIS_LOCAL_NOW": place["now"],
        "CONFORMANCE_FACTS": str(folder / "facts.json"),
        "CONFORMANCE_PORT": str(port_file),
        "CONFORMANCE_REPORT": str(report),
    }
    print(f"{client.name} · {market} · {session}", file=sys.stderr, flush=True)  # noqa: T201
    with (folder / "client.log").open("w") as log:
        try:
            subprocess.run(
                [python, str(HERE / "clients" / client.script)],
                cwd=folder, env=environment, stdout=log, stderr=log, timeout=CLIENT_SECONDS,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            log.write("시간 초과\n")
    seen = [json.loads(line) for line in report.read_text().splitlines()]
    if any(not one["ok"] for one in seen) or not seen:
        sys.stderr.write((folder / "client.log").read_text()[-6000:])
    return seen


def control(url: str, token: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Ask the control door of an exchange."""
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"x-control-token": token, "content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=120) as answer:
        return dict(json.load(answer))


def judged(client: Client, market: str, seen: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Say of every feature whether it works, and if not, whose fault it is."""
    outcomes = {one["feature"]: one for one in seen}
    rows = []
    for feature in FEATURES[market]:
        outcome = outcomes.get(feature)
        absent = client.absent[market].get(feature)
        fault = FAULTS.get((client.name, market, feature))
        if outcome is None:
            result, note = ("없음", absent) if absent else ("거래소 결함", "시험에 이르지 못함")
        elif outcome["ok"]:
            result, note = "작동", ""
        elif fault is not None and fault.error in outcome["error"]:
            result, note = "클라이언트 결함", fault.reason
        else:
            result, note = "거래소 결함", outcome["error"]
        rows.append(
            {"client": client.name, "market": market, "feature": feature, "result": result,
             "note": note}
        )  # fmt: skip
    return rows


def untouched(python: Path) -> list[dict[str, Any]]:
    """Compare the clients' installed files with the hashes of their packages."""
    (packages,) = python.parent.parent.glob("lib/python3*/site-packages")
    checked = []
    for client in CLIENTS:
        (record,) = packages.glob(f"{client.package}-*.dist-info/RECORD")
        files = [row for row in csv.reader(record.read_text().splitlines()) if row[1]]
        changed = [path for path, digest, _ in files if digest != _digest(packages / path)]
        checked.append(
            {"package": record.parent.name.removesuffix(".dist-info"), "files": len(files),
             "changed": changed}
        )  # fmt: skip
    return checked


def _digest(path: Path) -> str:
    raw = hashlib.sha256(path.read_bytes()).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


# --- recorded figures, read from the data and not from the exchange ---------------------------


def korean_facts(dataset: Path, session: date, untradable: Mapping[str, str]) -> dict[str, Any]:
    """Return what was recorded of one share on one day, and the cheap shares of that day."""
    import pandas as pd

    symbol = "000660"
    daily = pd.read_parquet(
        dataset / "krx_daily_2025.parquet", filters=[("symbol", "==", symbol)]
    ).sort_values("date")
    before = daily[pd.to_datetime(daily["date"]).dt.date < session].tail(20)
    minute = pd.read_parquet(dataset / "krx_minute.parquet")
    minute = minute[minute["ts_kst"].dt.date == session]
    # Newer shares are in no list of symbols: nothing says what they are.
    known = set(pd.read_parquet(dataset / "krx_symbols.parquet", columns=["symbol"])["symbol"])
    bars = minute[minute["symbol"] == symbol].sort_values("ts_kst")
    first, watched = bars.head(5), bars.head(2)
    opening = minute[
        (minute["ts_kst"].dt.strftime("%H:%M") == "09:00")
        & (minute["quality"] == "full_day_matches_daily")
        & (minute["volume"] > 5_000)
        & minute["symbol"].isin(known - {symbol, *untradable})
    ]
    day = session.isoformat()
    return {
        "session": day,
        "symbol": symbol,
        "cash": 100_000_000,
        "days": [
            {
                "date": pd.Timestamp(row.date).date().isoformat(),
                **{k: str(int(getattr(row, k))) for k in ("open", "high", "low", "close")},
                "volume": int(row.volume),
            }
            for row in before.itertuples()
        ],
        "open": str(int(bars["open"].iloc[0])),
        "opens": "09:00",
        "watched": {
            "volume": int(watched["volume"].sum()),
            "high": str(int(watched["high"].max())),
            "low": str(int(watched["low"].min())),
        },
        "minutes": [
            {
                "at": row.ts_kst.strftime("%H:%M"),
                **{k: str(int(getattr(row, k))) for k in ("open", "high", "low", "close")},
                "volume": int(row.volume),
            }
            for row in first.itertuples()
        ],
        # Steps of 500 won from 200,000 to 500,000 won; inside thirty percent of the close before.
        "low": "220000",
        "low_revised": "220500",
        "high": "310000",
        # More than two pages of open orders, and one of all orders (50 and 100).
        "open_orders": 101,
        "many": sorted(opening.sort_values("open")["symbol"].head(60)),
        "times": {
            "watched": f"{day}T09:01:50+09:00",
            "later": f"{day}T09:06:00+09:00",
            "last": f"{day}T09:08:00+09:00",
        },
    }


def us_facts(session: date) -> dict[str, Any]:
    """Return what the embedded history recorded of one share on one day."""
    import bokeh_sampledata

    symbol = "AAPL"
    path = Path(bokeh_sampledata.__file__).parent / "_data" / "stocks.csv.gz"
    with gzip.open(path, "rt") as file:
        bars = [row for row in csv.DictReader(file) if row["Ticker"] == symbol]
    day = session.isoformat()
    index = next(k for k, row in enumerate(bars) if row["Date"] == day)
    today = bars[index]
    return {
        "session": day,
        "symbol": symbol,
        "cash": 100_000,
        "days": [
            {
                "date": row["Date"],
                **{k: row[k.title()] for k in ("open", "high", "low", "close")},
                "volume": int(row["Volume"]),
            }
            for row in bars[index - 20 : index]
        ],
        "open": today["Open"],
        "opens": "09:30",
        # A day bar is replayed as four prints of equal volume; the third one is behind the extremes.
        "watched": {
            "volume": int(today["Volume"]) * 3 // 4,
            "high": today["High"],
            "low": today["Low"],
        },
        "minutes": [],
        "low": "400.00",
        "low_revised": "410.00",
        "high": "600.00",
        "open_orders": 45,
        "many": [],
        "times": {
            "watched": f"{day}T13:55:00-04:00",
            "later": f"{day}T15:55:00-04:00",
            "last": f"{day}T15:55:00-04:00",
        },
    }


# --- for people -------------------------------------------------------------------------------


def show(report: Mapping[str, Any]) -> None:
    """Print the table."""
    lines = []
    for one in report["packages"]:
        state = f"바뀐 파일 {one['changed']}" if one["changed"] else "모두 배포본 그대로"
        lines.append(f"{one['package']}: 파일 {one['files']}개, {state}")
    columns = sorted({(row["client"], row["market"]) for row in report["rows"]})
    results = {(row["client"], row["market"], row["feature"]): row for row in report["rows"]}
    lines += ["", "| 기능 | " + " | ".join(f"{c} {m}" for c, m in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    features = dict.fromkeys(row["feature"] for row in report["rows"])
    for feature in features:
        cells = [results[(*column, feature)]["result"] for column in columns]
        lines.append(f"| {feature} | " + " | ".join(cells) + " |")
    notes = [row for row in report["rows"] if row["note"]]
    for result in ("거래소 결함", "클라이언트 결함", "없음"):
        found = [row for row in notes if row["result"] == result]
        lines += ["", f"{result}: {len(found)}"]
        lines += [f"- {r['client']} {r['market']} {r['feature']}: {r['note']}" for r in found]
    lines += [f"\n{one['market']} 시험하지 않음: {one['reason']}" for one in report["skipped"]]
    print("\n".join(lines))  # noqa: T201 -- the report itself


if __name__ == "__main__":
    sys.exit(main())
