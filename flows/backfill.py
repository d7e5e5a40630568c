"""Fill the lake from a recorded source or from KIS, without trading."""

import inspect
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from prefect import flow
from prefect.runtime import flow_run

from flows.parameters import MARKET, ROOT, described
from tasks.backfill import fill_lake
from tasks.notify import tell_failure
from trading.backfill import Request
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT

F = TypeVar("F", bound=Callable[..., Any])


def _first_named(name: str) -> Callable[[F], F]:
    """Let the first parameter, which is positional only, be known as ``name`` outside of Python.

    Prefect reads names of parameters from the signature. ``from`` is a keyword of the language, so
    no function can be written with it; the signature of a positional-only one may say it.
    """

    def rename(function: F) -> F:
        signature = inspect.signature(function)
        first, *others = signature.parameters.values()
        renamed = signature.replace(parameters=[first.replace(name=name), *others])
        function.__signature__ = renamed  # type: ignore[attr-defined]
        return function

    return rename


def _run_name() -> str:
    asked = flow_run.parameters
    market = MARKET_TEXT[Market(asked["market"])] if asked.get("market") else "설정된 시장"
    return f"시세 채우기 {market} {asked.get('from') or '처음'} ~ {asked.get('to') or '끝'}"


@flow(name="backfill", flow_run_name=_run_name, on_failure=[tell_failure])
@_first_named("from")
async def backfill(
    first: date | None = described("첫날 (YYYY-MM-DD). 비우면 자료원이 가진 처음부터."),
    /,
    to: date | None = described("끝날 (YYYY-MM-DD, 포함). 비우면 자료원이 가진 끝까지."),
    market: Market | None = MARKET,
    kinds: list[str] | None = described(
        "자료 종류의 목록: daily, minute, index, listings, fundamentals … 비우면 모두."
    ),
    symbols: list[str] | None = described("종목의 목록. 비우면 모두."),
    source: str = described("자료원: recorded(기록) 또는 kis(한국투자증권).", "recorded"),
    dataset: str | None = described("기록 폴더. 비우면 config/app.yaml의 data.dataset."),
    again: bool = described("이미 받은 구간도 다시 받습니다.", False),
    root: str | None = ROOT,
) -> dict[str, Any]:
    """Bring what is missing from ``from`` to ``to``; all that there is when not given.

    The parameters are those of ``trading data backfill``; a run that failed goes on where it was.
    """
    request = Request(
        market=market,
        first=first,
        last=to,
        kinds=kinds,
        symbols=symbols,
        source=source,
        dataset=Path(dataset) if dataset is not None else None,
        again=again,
    )
    return await fill_lake(root, request)
