"""The research commands: backtests, sweeps and what is made of them."""

from dataclasses import replace
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading.progress import progress_bar
from trading.terminal import (
    EXIT_FINDING,
    DatasetOption,
    FirstOption,
    JsonOption,
    KoreanTyper,
    LastOption,
    MarketOption,
    State,
    SymbolsOption,
    date_option,
    print_json,
    scope,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

app = KoreanTyper()


class SchemeName(StrEnum):
    """How the training ranges of a walk-forward lie, as the user types it."""

    ANCHORED = "anchored"
    ROLLING = "rolling"


ParamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="이름=값,값", help="시험할 값. 여러 번 주면 모든 조합을 시험합니다."
    ),
]
SchemeOption = Annotated[
    SchemeName | None,
    typer.Option("--scheme", help="학습 구간: anchored 처음부터 늘려 감, rolling 밀고 감."),
]
ObjectiveOption = Annotated[
    str | None,
    typer.Option("--objective", help="고르는 기준: sharpe, sortino, calmar, total_return …"),
]
WorkersOption = Annotated[
    str | None,
    typer.Option(
        "--workers",
        metavar="N|dask://주소:포트",
        help="함께 일할 프로세스 수, 또는 Dask 스케줄러. 결과는 같습니다.",
    ),
]


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
SlippageOption = Annotated[
    float | None,
    typer.Option(
        "--slippage-bps", help="체결마다 호가 차이로 잃는 만큼, 만분율 (기본: 설정 파일)."
    ),
]
ImpactOption = Annotated[
    float | None,
    typer.Option("--impact", help="시장 충격 계수: 보통 0.1~1 (기본: 설정 파일)."),
]
FirstBarOption = Annotated[
    date | None,
    date_option(
        "--first-bar", "판단에 쓰는 기록의 첫날 (기본: 기록의 처음; 데모는 제 첫날이 있습니다)."
    ),
]

RobustnessOption = Annotated[
    bool,
    typer.Option(
        "--robustness",
        help="비용, 늦은 판단, 큰 자금, 국면과 위기에 얼마나 견디는지 다시 거래해 봅니다 (일봉).",
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
    replay: ReplayOption = ReplayName.DAILY,
    slippage_bps: SlippageOption = None,
    impact: ImpactOption = None,
    first_bar: FirstBarOption = None,
    report: ReportOption = False,
    lang: LanguageOption = LanguageName.KO,
    robustness: RobustnessOption = False,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.backtest.replay import ReplayKind
    from trading.research import runs

    installation = bootstrap.open_home(State.root)
    with progress_bar("백테스트") as progress:
        result = runs.backtest(
            installation,
            strategy,
            replace(scope(market, symbols, first, last, dataset), first_bar=first_bar),
            progress,
            replay=ReplayKind(replay),
            slippage_bps=slippage_bps,
            impact=impact,
            report=lang.value if report else None,
            is_robustness_asked=robustness,
        )
    if as_json:
        print_json(result)
    else:
        typer.echo(runs.text(result))


@app.command(help="기록된 분봉과 체결에 견주어, 봉이 약속한 체결이 정말 있었는지 확인합니다.")
def fills(
    symbols: SymbolsOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    market: MarketOption = None,
    dataset: DatasetOption = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.research import fills as recorded

    installation = bootstrap.open_home(State.root)
    result = recorded.validate(installation, scope(market, symbols, first, last, dataset))
    if as_json:
        print_json(result)
    else:
        typer.echo(recorded.text(result))
        for one in result["comparisons"]:
            typer.echo(table(recorded.HEADS, recorded.rows(one)))
    if result["false_fills"]:
        raise typer.Exit(EXIT_FINDING)


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
    report: ReportOption = False,
    lang: LanguageOption = LanguageName.KO,
    slippage_bps: SlippageOption = None,
    impact: ImpactOption = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.research import pages, runs
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
            slippage_bps=slippage_bps,
            impact=impact,
        )
    if report:
        result["report"] = pages.write_sweep(installation, result, lang.value)
    if as_json:
        print_json(result)
    else:
        typer.echo(runs.sweep_text(result))
        _echo_page(result)


@app.command(
    "walk-forward", help="과거에서 고른 매개변수로 그다음 구간을 거래해 봅니다 (표본 밖 검증)."
)
def walk_forward(
    strategy: Annotated[str, typer.Argument(help="전략 이름 또는 ensemble.")],
    param: ParamOption = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            min=1,
            help="--param 대신, 구간마다 config/research.yaml의 범위에서 이만큼 찾아봅니다.",
        ),
    ] = None,
    scheme: SchemeOption = None,
    train: Annotated[
        int | None, typer.Option("--train", min=20, help="학습 구간의 거래일 수.")
    ] = None,
    test: Annotated[
        int | None, typer.Option("--test", min=5, help="시험 구간의 거래일 수.")
    ] = None,
    purge: Annotated[
        int | None, typer.Option("--purge", min=0, help="학습과 시험 사이에 비울 거래일 수.")
    ] = None,
    objective: ObjectiveOption = None,
    symbols: SymbolsOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    market: MarketOption = None,
    dataset: DatasetOption = None,
    workers: WorkersOption = None,
    report: ReportOption = False,
    lang: LanguageOption = LanguageName.KO,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.backtest.settings import Scheme
    from trading.research import pages, parameters, walkforward

    installation = bootstrap.open_home(State.root)
    plan = walkforward.Plan(
        scheme=Scheme(scheme) if scheme is not None else None,
        train=train,
        test=test,
        purge=purge,
        objective=parameters.objective(objective) if objective is not None else None,
    )
    with progress_bar("전진 분석", has_lines=True) as progress:
        result = walkforward.walk_forward(
            installation,
            strategy,
            parameters.grid(param or []),
            scope(market, symbols, first, last, dataset),
            plan,
            progress,
            trials=trials,
            workers=workers,
        )
    if report:
        result["report"] = pages.write_walk_forward(installation, result, lang.value)
    if as_json:
        print_json(result)
    else:
        typer.echo(walkforward.text(result))
        _echo_page(result)


@app.command(help="매개변수를 스스로 찾습니다. 멈추어도 같은 명령이 이어서 합니다.")
def optimize(
    strategy: Annotated[str, typer.Argument(help="전략 이름 또는 ensemble.")],
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="모두 합쳐 시험할 조합의 수.")
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option("--objectives", help="고르는 기준, 쉼표로 여럿: sharpe,max_drawdown …"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="연구의 이름 (기본: 조건에서 정해짐).")
    ] = None,
    symbols: SymbolsOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    market: MarketOption = None,
    dataset: DatasetOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.research import optimize as study
    from trading.research import parameters

    installation = bootstrap.open_home(State.root)
    with progress_bar("매개변수 탐색", has_lines=True) as progress:
        result = study.optimize(
            installation,
            strategy,
            scope(market, symbols, first, last, dataset),
            progress,
            trials=trials,
            objectives=parameters.objectives(objectives) if objectives is not None else None,
            name=name,
            workers=workers,
        )
    if as_json:
        print_json(result)
    else:
        typer.echo(study.text(result))


@app.command(help="남겨 둔 실행 둘 이상을 나란히 견줍니다 (backtest --report가 남긴 것).")
def compare(
    run: Annotated[list[str], typer.Argument(help="실행의 이름, 이름의 앞부분, 또는 폴더.")],
    report: ReportOption = False,
    lang: LanguageOption = LanguageName.KO,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.backtest.figures import Sampling
    from trading.backtest.page import Words
    from trading.research import compare as comparison
    from trading.research import pages, records

    installation = bootstrap.open_home(State.root)
    found = comparison.compare(
        [records.load(installation, named) for named in run],
        Sampling.of(installation.settings.research.report),
    )
    result = comparison.to_json(found)
    if report:
        result["report"] = pages.write_comparison(installation, found, lang.value)
    if as_json:
        print_json(result)
        return
    words = Words("ko")
    typer.echo(table(*pages.comparison_table(found, words)))
    for line in pages.comparison_lines(found, words):
        typer.echo(line)
    _echo_page(result)


def _echo_page(result: "Mapping[str, Any]") -> None:
    if "report" in result:
        typer.echo(f"  성적표 {result['report']}")
