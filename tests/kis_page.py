"""The tables of docs/kis-api.md, written from ``wire``: ``python tests/kis_page.py``."""

import re
from collections.abc import Mapping
from pathlib import Path

from trading.domain.instrument import Market
from trading.wire.endpoints import BY_PATH, Endpoint, Profile
from trading.wire.stream import MAX_REGISTRATIONS, NOTICE_TR, TRADE_TR
from trading.wire.ticker import PAPER_TRS

PAGE = Path(__file__).parents[1] / "docs" / "kis-api.md"
# The line before a table names it; the line after ends it.
BEGIN, END = "<!-- table: {} -->", "<!-- end -->"
VARIANTS = {"": "", "buy": "매수 ", "sell": "매도 ", "old_days": "석 달 전 ", "cancel": "취소 ", "revise": "정정 "}  # fmt: skip
TITLES = {
    "token": "접근토큰 발급",
    "revoke": "접근토큰 폐기",
    "approval": "실시간 접속키 발급",
    "hashkey": "해시키",
}


def page(text: str) -> str:
    """Return the page with its tables as the program's calls are now."""
    for name, table in _tables().items():
        begin = BEGIN.format(name)
        text = re.sub(
            rf"{re.escape(begin)}\n.*?{re.escape(END)}",
            lambda _, new=f"{begin}\n{table}\n{END}": new,
            text,
            flags=re.DOTALL,
        )
    return text


def _tables() -> Mapping[str, str]:
    # The last one is other clients' and only answered by the local exchange.
    calls = [call for call in BY_PATH.values() if call.name != "us_ledger"]
    open_to_all = [call for call in calls if not (call.real or call.paper)]
    return {
        "key": _table(open_to_all),
        "krx-account": _table(
            [c for c in calls if c.path.startswith("/uapi/domestic-stock/v1/trading/")]
        ),
        "us-account": _table(
            [c for c in calls if c.path.startswith("/uapi/overseas-stock/v1/trading/")]
        ),
        "krx-market": _table(
            [c for c in calls if c.name.startswith("krx_") and "/trading/" not in c.path]
        ),
        "us-market": _table(
            [c for c in calls if c.name.startswith("us_") and "/trading/" not in c.path]
        ),
        "stream": _stream(),
    }


def _table(calls: list[Endpoint]) -> str:
    lines = ["| 하는 일 | 주소 | 실전 TR | 모의 TR |", "|---|---|---|---|"]
    for call in calls:
        if call.real or call.paper:
            ids = (_ids(call.real), _ids(call.paper) or "**없음**")
        else:
            ids = ("필요 없음", "필요 없음")
        lines.append(
            f"| {call.title or TITLES[call.name]} | `{call.method} {call.path}` | {' | '.join(ids)} |"
        )
    return "\n".join(lines)


def _ids(ids: Mapping[str, str]) -> str:
    return ", ".join(f"{VARIANTS[variant]}`{tr_id}`" for variant, tr_id in ids.items())


def _stream() -> str:
    names = {Market.KRX: "한국", Market.US: "미국"}
    lines = ["| 받는 것 | 실전 TR | 모의 TR |", "|---|---|---|"]
    for market, name in names.items():
        trades = TRADE_TR[market]
        paper = f"`{trades}`" if trades in PAPER_TRS else "**없음**: 현재가를 조회"
        lines.append(f"| {name} 체결 | `{trades}` | {paper} |")
        real, paper = (NOTICE_TR[market, profile] for profile in (Profile.REAL, Profile.PAPER))
        lines.append(f"| {name} 주문·체결 통보 (암호문) | `{real}` | `{paper}` |")
    lines.append(f"\n한 접속에 등록은 {MAX_REGISTRATIONS}건까지입니다.")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
