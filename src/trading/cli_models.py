"""The commands of models: how the gate that promotes them is measured."""

from typing import Annotated

import typer

from trading.terminal import (
    EXIT_FINDING,
    DatasetOption,
    JsonOption,
    KoreanTyper,
    MarketOption,
    State,
    SymbolsOption,
    print_json,
    progress_bar,
    scope,
)

app = KoreanTyper()


@app.command(
    "gate-calibrate",
    help="승격 관문이 얼마나 자주 틀리는지, 심어 놓은 실력을 얼마나 찾아내는지 기록된 수익률로 잽니다.",
)
def gate_calibrate(
    market: MarketOption = None,
    symbols: SymbolsOption = None,
    draws: Annotated[
        int | None,
        typer.Option("--draws", min=20, help="귀무 가설마다 뽑는 역사의 수 (기본: 설정 파일)."),
    ] = None,
    dataset: DatasetOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="적게 뽑아 빨리 잽니다 (구간이 넓습니다).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.mlops import calibrate
    from trading.research import gate

    installation = bootstrap.open_home(State.root)
    with progress_bar("관문 재기", has_lines=True) as progress:
        result = gate.measure(
            installation,
            scope(market, symbols, None, None, dataset),
            progress,
            is_quick=quick,
            draws=draws,
        )
    if as_json:
        print_json(result)
    else:
        typer.echo(calibrate.text(result))
        typer.echo(f"  저장: {result['path']}")
    if not result["is_within"]:
        raise typer.Exit(EXIT_FINDING)
