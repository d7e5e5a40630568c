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
def backtest(
    strategy: Annotated[str, typer.Argument(help="전략 이름 또는 ensemble.")],
    symbols: SymbolsOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    market: MarketOption = None,
    dataset: DatasetOption = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.research import runs

    installation = bootstrap.open_home(State.root)
    with progress_bar("백테스트") as progress:
        result = runs.backtest(
            installation,
            strategy,
            scope(market, symbols, first, last, dataset),
            progress,
        )
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
