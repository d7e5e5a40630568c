"""The research commands: backtests, sweeps and what is made of them."""

from typing import Annotated

import typer

from trading.terminal import (
    DatasetOption,
    FirstOption,
    JsonOption,
    KoreanTyper,
    LastOption,
    MarketOption,
    State,
    SymbolsOption,
    print_json,
    progress_bar,
    scope,
)

app = KoreanTyper()

ParamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="이름=값,값", help="시험할 값. 여러 번 주면 모든 조합을 시험합니다."
    ),
]
WorkersOption = Annotated[
    str | None,
    typer.Option(
        "--workers",
        metavar="N|dask://주소:포트",
        help="함께 일할 프로세스 수, 또는 Dask 스케줄러. 결과는 같습니다.",
    ),
]


@app.command(help="과거 기록으로 전략 하나를 시험합니다 (ensemble은 전체 정책).")
class LanguageName(StrEnum):
    """The language of a page, as the user types it."""

    KO = "ko"
    EN = "en"


ReportOption = Annotated[
    bool, typer.Option("--report", help="결과를 HTML 성적표로도 남깁니다 (인터넷 없이 열립니다).")
]
LanguageOption = Annotated[
    LanguageName, typer.Option("--lang", help="성적표의 말: ko 한국어, en 영어.")
]


class ReplayName(StrEnum):
    """What the prints of a session are made of, as the user types it."""

    DAILY = "daily"
    MINUTE = "minute"
    TICK = "tick"


ReplayOption = Annotated[
    ReplayName,
    typer.Option("--replay", help="장중을 무엇으로 재생할지: daily 일봉, minute 분봉, tick 체결."),
]


def backtest(
    strategy: Annotated[str, typer.Argument(help="전략 이름 또는 ensemble.")],
    symbols: SymbolsOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    market: MarketOption = None,
    dataset: DatasetOption = None,
    as_json: JsonOption = False,
    replay: ReplayOption = ReplayName.DAILY,
    report: ReportOption = False,
    lang: LanguageOption = LanguageName.KO,
) -> None:
    from trading import bootstrap
    from trading.research import runs
    from trading.backtest.replay import ReplayKind

    installation = bootstrap.open_home(State.root)
    with progress_bar("백테스트") as progress:
        result = runs.backtest(
            installation,
            strategy,
            scope(market, symbols, first, last, dataset),
            progress,
        )
            replay=ReplayKind(replay),
            report=lang.value if report else None,
    if as_json:
        print_json(result)
    else:
        typer.echo(runs.text(result))


@app.command(help="매개변수 조합 여럿을 한꺼번에 시험합니다.")
def sweep(
    strategy: Annotated[str, typer.Argument(help="전략 이름.")],
    param: ParamOption = None,
    symbols: SymbolsOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    market: MarketOption = None,
    dataset: DatasetOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.research import runs
    from trading.research.parameters import grid

    installation = bootstrap.open_home(State.root)
    with progress_bar("매개변수 조합") as progress:
        result = runs.sweep(
            installation,
            strategy,
            grid(param or []),
            scope(market, symbols, first, last, dataset),
            progress,
            workers=workers,
        )
    if as_json:
        print_json(result)
    else:
        typer.echo(runs.sweep_text(result))
