"""The command line: Korean help, ``--json`` on every command that reports, stable exit codes.

0 fine · 1 finding · 2 usage or configuration · 3 venue or data failure. What the commands do is
elsewhere; everything heavy is imported inside them.
"""

import errno
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading.cli_models import app as models_app
from trading.cli_operations import app as operations_app
from trading.cli_research import app as research_app
from trading.progress import progress_bar
from trading.terminal import (
    EXIT_FAILURE,
    EXIT_FINDING,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    DatasetOption,
    FirstOption,
    JsonOption,
    KoreanTyper,
    LastOption,
    MarketName,
    MarketOption,
    State,
    SymbolsOption,
    date_option,
    listed,
    market_of,
    print_json,
    table,
)

if TYPE_CHECKING:
    from trading.errors import BrokerError
    from trading.store.lake import Lake
    from trading.store.quality import Report

# Disk full, quota used up, file too large.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = KoreanTyper(help="한국투자증권 OpenAPI로 한국·미국 주식을 자동으로 거래합니다.")
data_app = KoreanTyper(help="시세 저장소: 들여오기, 채우기, 상태.")
exchange_app = KoreanTyper(help="로컬 거래소: 혼자 띄우기, 답하는 기능.")
app.add_typer(research_app)
app.add_typer(models_app)
app.add_typer(operations_app)
app.add_typer(data_app, name="data")
app.add_typer(exchange_app, name="exchange")


class ProfileName(StrEnum):
    """Whose rules the local exchange keeps."""

    REAL = "real"
    PAPER = "paper"


class NoticeFieldsName(StrEnum):
    """Which layout of notices the local exchange sends."""

    CURRENT = "current"
    FORMER = "former"


class VenueEnv(StrEnum):
    """KIS environments."""

    PAPER = "paper"
    REAL = "real"


class PlantName(StrEnum):
    """A bug that ``chaos`` plants to prove that it sees it."""

    RETRY = "retry"
    DROP_INTENT = "drop-intent"
    LATE_JOURNAL = "late-journal"


class LeakName(StrEnum):
    """A leak that ``lookahead`` plants to prove that it sees it."""

    CENTRED = "centred"
    FULLSAMPLE_SCALER = "fullsample-scaler"
    SMOOTHED_HMM = "smoothed-hmm"
    SAME_BAR_FILL = "same-bar-fill"
    RESTATED_FUNDAMENTALS = "restated-fundamentals"
    SURVIVORS = "survivors"


FaultsOption = Annotated[
    str | None,
    typer.Option("--faults", help="거래소가 낼 장애: YAML 파일 또는 seed:N (docs/faults.md)."),
]


NoPrefectOption = Annotated[
    bool, typer.Option("--no-prefect", help="Prefect 없이 같은 단계를 차례로 부릅니다.")
]
AgainOption = Annotated[bool, typer.Option("--again", help="이미 받은 구간도 다시 받습니다.")]
KindOption = Annotated[
    str | None,
    typer.Option("--kind", help="쉼표로 나눈 자료 종류: daily, minute, index … (기본: 모두)."),
]


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise typer.BadParameter(f"배속은 0보다 큰 숫자로 적어 주세요: {text}")
    return speed


SpeedOption = Annotated[
    float | None,
    typer.Option(
        "--speed",
        parser=_speed,
        metavar="<float>",
        help="벽시계의 몇 배로 갈지 (없으면 한 걸음씩).",
    ),
]


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    root: Annotated[
        Path | None, typer.Option("--root", help="작업 폴더 (config, data, mlruns, logs).")
    ] = None,
) -> None:
    State.root = root
    if context.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        typer.echo(_modes_text())
        return
    words = _chosen_mode()
    if words:
        home = ["--root", str(root)] if root is not None else []
        raise typer.Exit(app([*home, *words], prog_name="trading", standalone_mode=False) or 0)


# What ``trading`` alone offers: the words of the command, and what it does.
_MODES = (
    ("demo", "기록된 시장으로 하루를 그대로 돌려 봅니다 (키 필요 없음)"),
    ("run --env paper", "한국투자증권 모의투자 계좌로 오늘을 거래합니다"),
    ("run --env real", "한국투자증권 실전 계좌로 오늘을 거래합니다 (조건을 모두 갖춘 뒤)"),
    ("monitor", "도는 세션을 지켜봅니다"),
    ("dashboard", "브라우저에서 계좌와 판단을 봅니다"),
    ("screen", "장전 분석과 종목이 뽑히고 빠진 까닭을 봅니다"),
    ("check", "설치와 설정을 점검합니다"),
    ("setup", "키, 메일, 예약 실행을 마련합니다"),
)
_OTHERS = (
    ("backtest", "과거 기록으로 전략을 시험합니다"),
    ("explain", "코드의 뜻과 할 일을 알려 줍니다"),
    ("--help", "모든 명령"),
)


def _modes_text() -> str:
    lines = [f"  trading {words:<17} {text}" for words, text in (*_MODES, *_OTHERS)]
    return "\n".join(["무엇을 할까요?", *lines])


def _chosen_mode() -> list[str]:
    """Ask on the terminal which mode to run; no words when none."""
    typer.echo("무엇을 할까요?")
    for number, (words, text) in enumerate(_MODES, 1):
        typer.echo(f"  {number}. {words:<17} {text}")
    typer.echo("  다른 명령은 trading --help")
    while True:
        try:
            said = input("번호 (그냥 Enter: 끝냄): ").strip()
        except EOFError:
            return []
        if not said:
            return []
        if said.isdigit() and 1 <= int(said) <= len(_MODES):
            return _MODES[int(said) - 1][0].split()
        typer.echo(f"  1에서 {len(_MODES)}까지의 번호를 골라 주세요.")


@app.command(help="기록된 거래일을 로컬 거래소에서 실제 통신으로 돌립니다.")
def demo(
    market: MarketOption = None,
    dataset: DatasetOption = None,
    start: Annotated[
        date | None, date_option("--start", "첫 거래일. 새 계좌로 시작합니다.")
    ] = None,
    sessions: Annotated[int, typer.Option("--sessions", min=1, help="마칠 거래일 수.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="새 계좌로 시작합니다.")] = False,
    profile: Annotated[
        ProfileName, typer.Option("--profile", help="거래소 규칙.")
    ] = ProfileName.REAL,
    faults: FaultsOption = None,
    speed: SpeedOption = None,
    no_prefect: NoPrefectOption = False,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading import demo as demo_runs
    from trading.domain.instrument import Market

    installation = bootstrap.open_home(State.root)
    chosen = Market(market) if market is not None else installation.settings.app.market
    request = bootstrap.DemoRequest(
        dataset=dataset,
        start=start,
        sessions=sessions,
        fresh=fresh,
        profile=str(profile),
        faults=faults,
        speed=speed,
    )
    result = demo_runs.run(installation, chosen, request, with_prefect=not no_prefect)
    if as_json:
        print_json(result)
    else:
        typer.echo(demo_runs.text(result))
    differs = result["parity"]["differences"] or result["book_differences"]
    raise typer.Exit(EXIT_FINDING if differs else 0)


@app.command(help="오늘의 하루를 한국투자증권 계좌로 돌립니다.")
def run(
    env: Annotated[VenueEnv, typer.Option("--env", help="paper(모의투자) 또는 real(실전).")],
    market: MarketOption = None,
    no_prefect: NoPrefectOption = False,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading import demo as demo_runs
    from trading.config import Env
    from trading.domain.instrument import Market
    from trading.errors import ConfigError

    installation = bootstrap.open_home(State.root)
    chosen = Market(market) if market is not None else installation.settings.app.market
    unmet = bootstrap.unmet_today(installation, Env(env), chosen)
    if unmet:
        raise ConfigError(f"{env} 거래를 시작할 수 없습니다. " + " ".join(unmet))
    result = demo_runs.run_today(installation.home, chosen, with_prefect=not no_prefect)
    if as_json:
        print_json(result)
    else:
        typer.echo(demo_runs.day_text(result))
    raise typer.Exit(EXIT_FINDING if demo_runs.has_riddles(result) else 0)


@app.command(help="끝난 세션을 저장소에서 다시 계산해 그대로인지 견줍니다.")
def parity(
    session: Annotated[date | None, date_option("--session", "거래일 (기본: 마지막).")] = None,
    market: MarketOption = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap, settlement

    context = bootstrap.open_past_day(State.root, market_of(market), session)
    try:
        report = settlement.parity(context)
    finally:
        bootstrap.close_day(context.key)
    body = {
        "session": report.session,
        "orders": report.orders,
        "differences": len(report.differences),
        "unexplained": report.unexplained,
        "details": [
            {
                "kind": str(d.kind),
                "symbol": d.symbol,
                "detail": d.detail,
                "explained": d.explained,
            }
            for d in report.differences
        ],
    }
    if as_json:
        print_json(body)
    else:
        typer.echo(
            f"{report.session}: 주문 {report.orders}건, 차이 {len(report.differences)}건, "
            f"설명되지 않는 차이 {report.unexplained}건"
        )
        for d in report.differences:
            typer.echo(f"  [{d.kind}] {d.symbol} {d.detail}")
    raise typer.Exit(EXIT_FINDING if report.differences else 0)


@app.command(help="장부와 거래소가 달라 멈춘 까닭을 보여 주고, 아는 차이면 받아들입니다.")
def reconcile(
    market: MarketOption = None,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="거래소의 값이 옳다고 장부에 적습니다 (입출금, 타사 대체)."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.live.books import listed_text

    installation = bootstrap.open_home(State.root)
    chosen = market_of(market) or installation.settings.app.market
    found = bootstrap.reconcile(installation, chosen, accept=accept)
    differences = found[1] if found is not None else []
    if as_json:
        print_json(
            {
                "session": str(found[0]) if found is not None else None,
                "accepted": accept and found is not None,
                "differences": [
                    {"what": d.what, "ours": d.ours, "theirs": d.theirs} for d in differences
                ],
            }
        )
    elif found is None:
        typer.echo("매매를 막는 차이가 없습니다.")
    elif accept:
        typer.echo(
            f"{found[0]} 세션의 차이를 거래소의 값으로 받아들였습니다: {listed_text(differences, chosen)}. "
            "같은 실행 명령을 다시 치면 시작합니다."
        )
    else:
        typer.echo(
            f"{found[0]} 세션이 시작하지 못했습니다: {listed_text(differences, chosen)}. 까닭을 아는 차이면 "
            "--accept를 붙여 받아들이십시오."
        )
    raise typer.Exit(EXIT_FINDING if differences and not accept else 0)


@app.command(help="안전장치마다 어긋난 주문을 하나씩 내 보아 지금도 막는지 시험합니다.")
def drill(market: MarketOption = None, as_json: JsonOption = False) -> None:
    from trading import bootstrap
    from trading.domain.wording import GUARD_TEXT
    from trading.live.drill import RULE_TEXT, outcome_text

    installation = bootstrap.open_home(State.root)
    chosen = market_of(market) or installation.settings.app.market
    report, is_recorded = bootstrap.drill(installation, chosen)
    if as_json:
        print_json(report.body() | {"market": str(chosen), "recorded": is_recorded})
    else:
        words = dict(GUARD_TEXT) | dict(RULE_TEXT)
        rows = [
            (one.code, outcome_text(one), words[one.code].removeprefix("거부: "))
            for one in (*report.guards, *report.rules)
        ]
        typer.echo(table(("코드", "결과", "내용"), rows))
        typer.echo(
            "모두 듣습니다."
            if report.passed
            else f"듣지 않는 것이 {len(report.failed)}가지 있습니다. 이대로면 세션은 파는 주문만 냅니다."
        )
    raise typer.Exit(0 if report.passed else EXIT_FINDING)


@app.command(help="장전 분석을 보여 줍니다: 시장, 종목이 뽑히고 빠진 까닭, 투표자.")
def screen(
    session: Annotated[date | None, date_option("--session", "거래일 (기본: 마지막).")] = None,
    symbols: SymbolsOption = None,
    market: MarketOption = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap, briefing

    installation = bootstrap.open_home(State.root)
    chosen = market_of(market) or installation.settings.app.market
    names = listed(symbols) or []
    body = briefing.kept(
        installation.home, installation.settings.app.env, chosen, session, symbols=names
    )
    if as_json:
        print_json(body)
    else:
        typer.echo(briefing.text(body, symbols=names))


@app.command(help="세션 보고서를 다시 만들고 있는 곳을 알려 줍니다.")
def report(
    session: Annotated[date | None, date_option("--session", "거래일 (기본: 마지막).")] = None,
    market: MarketOption = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap, settlement

    context = bootstrap.open_past_day(State.root, market_of(market), session)
    try:
        checked = settlement.parity(context)
        paths = settlement.write_report(context, checked)
        body = settlement.summarize(context, checked) | {"report": str(paths.html)}
    finally:
        bootstrap.close_day(context.key)
    if as_json:
        print_json(body)
    else:
        typer.echo(f"보고서: {paths.html}")


@app.command(help="끝난 세션이 남긴 보유 종목으로 무엇을 얼마나 잃을 수 있는지 보여 줍니다.")
def risk(
    session: Annotated[date | None, date_option("--session", "거래일 (기본: 마지막).")] = None,
    market: MarketOption = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap, holdings, risk_tables

    context = bootstrap.open_past_day(State.root, market_of(market), session)
    try:
        body = holdings.risk(context)
    finally:
        bootstrap.close_day(context.key)
    if as_json:
        print_json(body)
        return
    typer.echo(risk_tables.headline(body))
    for one in risk_tables.tables(body):
        typer.echo(f"\n{one.title}")
        if one.rows:
            typer.echo(table(one.heads, one.rows))
        for note in one.notes:
            typer.echo(f"  {note}")


@app.command(help="설치, 설정, 저장소, 키를 점검합니다.")
def check(
    env: Annotated[
        VenueEnv | None,
        typer.Option(
            "--env", help="이 환경으로 거래할 수 있는지, 계좌가 무엇을 할 수 있는지도 봅니다."
        ),
    ] = None,
    market: MarketOption = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap, doctor, real_money

    installation = bootstrap.open_home(State.root)
    asked = (str(env) if env else None, market_of(market))
    findings = doctor.examine(installation, *asked)
    wanted = doctor.conditions(installation, *asked)
    if as_json:
        print_json(
            {
                "findings": findings,
                "conditions": [
                    {"code": c.code, "name": c.name, "progress": c.progress, "met": c.is_met}
                    for c in wanted
                ],
            }
        )
    else:
        if wanted:
            typer.echo(table(("조건", "지금", "판정"), real_money.rows(wanted)) + "\n")
        typer.echo(doctor.text(findings))
    bad = any(f["severity"] == "error" for f in findings)
    raise typer.Exit(EXIT_FINDING if bad else 0)


@app.command(help="응답·판정 코드의 뜻과 할 일을 알려 줍니다 (코드 없이: 모든 갈래).")
def explain(
    code: Annotated[str | None, typer.Argument(help="코드. 예: EGW00201.")] = None,
    as_json: JsonOption = False,
) -> None:
    from trading import explain as explained

    if code is None:
        families = explained.families()
        if as_json:
            print_json({"families": [{"name": f.name, "codes": f.codes} for f in families]})
        else:
            typer.echo(explained.families_text())
        return
    found = explained.explain(code)
    if as_json:
        print_json(found)
    else:
        typer.echo(explained.text(found))
    raise typer.Exit(0 if found["known"] else EXIT_FINDING)


@app.command(help="발표된 수치를 거래에 쓰는 함수로 다시 계산해 견줍니다.")
def reference(
    only: Annotated[
        str | None, typer.Option("--only", help="쉼표로 나눈 번호. 예: 1,6b,15 (기본: 모두).")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="1번의 마르크/파운드 수익률을 한 줄에 하나씩 담은 파일."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    from trading import reference as references

    rows = references.run(only, data=data)
    if as_json:
        print_json({"rows": [row.to_json() for row in rows]})
    else:
        typer.echo(table(references.HEADS, map(references.cells, rows)))
        typer.echo(references.summary(rows))
    raise typer.Exit(0 if all(row.ok for row in rows) else EXIT_FINDING)


@app.command(help="기록을 아무 날에서나 잘라 보아 어떤 값도 앞일을 몰랐는지 시험합니다.")
def lookahead(
    cuts: Annotated[int, typer.Option("--cuts", min=1, help="자를 날의 수.")] = 12,
    seed: Annotated[int, typer.Option("--seed", min=0, help="자를 날을 뽑는 시드.")] = 0,
    names: Annotated[
        int, typer.Option("--names", min=0, help="넓은 기록에서 뽑아 볼 종목의 수 (0: 모두).")
    ] = 60,
    market: MarketOption = None,
    dataset: DatasetOption = None,
    plant: Annotated[
        LeakName | None, typer.Option("--plant", help="일부러 심을 결함: 찾아내야 합니다.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.lookahead import runner
    from trading.lookahead.plants import Plant

    with progress_bar("자르기") as progress:
        result = runner.run(
            bootstrap.open_home(State.root),
            cuts=cuts,
            seed=seed,
            names=names,
            dataset=dataset,
            market=market_of(market),
            plant=Plant(plant) if plant is not None else None,
            progress=progress,
        )
    if as_json:
        print_json(result)
    else:
        typer.echo(table(("구분", "등록", "확인", "위반"), runner.rows(result)))
        typer.echo(runner.text(result))
    raise typer.Exit(EXIT_FINDING if result["violations"] else 0)


@app.command(help="강제 종료와 장애 속에서 주문을 잃거나 두 번 내지 않는지 시험합니다.")
def chaos(
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="시험할 시드의 수.")] = 25,
    first: Annotated[int, typer.Option("--first", min=0, help="첫 시드.")] = 0,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="시드 하나만 자세히 다시 돌립니다.")
    ] = None,
    plant: Annotated[
        PlantName | None, typer.Option("--plant", help="일부러 심을 결함: 찾아내야 합니다.")
    ] = None,
    dataset: DatasetOption = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="함께 돌릴 수 (기본: 코어 수).")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="지난 결과를 버리고 다시 합니다.")] = False,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.chaos import runner
    from trading.chaos.plants import Plant

    installation = bootstrap.open_home(State.root, console=False)
    # A wrong folder is told before anything is written.
    bootstrap.open_source(installation, dataset)
    planted = Plant(plant) if plant is not None else None
    if seed is not None:
        result = runner.play_one(installation, seed, dataset=dataset, plant=planted)
    else:
        with progress_bar("시드") as progress:
            result = runner.run(
                installation,
                seeds=range(first, first + seeds),
                dataset=dataset,
                plant=planted,
                jobs=jobs or os.cpu_count() or 1,
                fresh=fresh,
                progress=progress,
            )
    if as_json:
        print_json(result)
    else:
        typer.echo(runner.text(result))
    if not runner.is_clean(result):
        raise typer.Exit(EXIT_FINDING)


@data_app.command("status", help="저장소에 무엇이 얼마나 있는지 보여 줍니다.")
def data_status(
    verify: Annotated[
        bool, typer.Option("--verify", help="모든 파일을 목록의 해시와 견줍니다.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    lake = _lake()
    damages = [f"{item.path}: {item.problem}" for item in lake.verify()] if verify else []
    status = lake.status() | ({"damaged": damages} if verify else {})
    if as_json:
        print_json(status)
    elif not status["datasets"]:
        typer.echo("아직 저장된 시세가 없습니다. trading data import 또는 trading demo로 채웁니다.")
    else:
        _print_status(status)
    if verify and not as_json:
        typer.echo("\n".join(damages) or "모든 파일이 목록의 해시와 같습니다.")
    if damages:
        raise typer.Exit(EXIT_FINDING)


def _lake() -> "Lake":
    from trading.config import resolve_root
    from trading.store.lake import Lake

    return Lake(resolve_root(State.root).data_dir / "lake")


def _print_status(status: dict[str, Any]) -> None:
    rows = [
        (
            item["market"],
            item["layer"],
            item["kind"],
            f"{item['rows']:,}",
            f"{item['symbols']:,}",
            # Instruments are kept whole, not by day.
            f"{item['first']} ~ {item['last']}" if item["first"] else "",
            f"{item['bytes'] / 1e6:,.1f}",
            f"{item['files']:,}",
            ", ".join(item["sources"]),
            (item["fetched"] or "")[:16].replace("T", " "),
        )
        for item in status["datasets"]
    ]
    heads = ("시장", "층", "종류", "행", "종목", "기간", "MB", "파일", "출처", "받은 때(UTC)")
    typer.echo(table(heads, rows))
    if status["quarantine_files"]:
        typer.echo(f"격리된 묶음 {status['quarantine_files']:,}개 (trading data quality)")


@data_app.command("repair", help="깨진 자료 파일을 치우고, 다시 받을 구간을 알려 줍니다.")
def data_repair(as_json: JsonOption = False) -> None:
    found = _lake().repair()
    if as_json:
        print_json(
            {
                "repaired": [
                    {
                        "market": market.value,
                        "kind": kind,
                        "file": str(damage.path),
                        "problem": damage.problem,
                        "first": damage.first,
                        "last": damage.last,
                    }
                    for market, kind, damage in found
                ]
            }
        )
        return
    for market, kind, damage in found:
        span = f" {damage.first} ~ {damage.last}" if damage.first else ""
        typer.echo(f"{market.value} {kind}{span}: {damage.path.name} ({damage.problem})")
    typer.echo(
        f"깨진 파일 {len(found):,}개를 치웠습니다. 같은 구간을 trading data backfill로 다시 받으십시오."
        if found
        else "깨진 파일이 없습니다."
    )


@data_app.command(
    "quality",
    help="저장소의 자료를 검사해 표와 HTML로 보여 줍니다. 격리한 행이 있으면 1로 끝납니다.",
)
def data_quality(
    market: MarketOption = None,
    kind: KindOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="일봉을 견줄 둘째 기록의 폴더나 파일.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.domain.instrument import Market
    from trading.errors import UsageError
    from trading.store import quality
    from trading.store.datasets import open_dataset
    from trading.store.quality.audit import audit

    kinds = listed(kind) or ()
    if unknown := [name for name in kinds if name not in quality.KINDS]:
        raise UsageError(
            f"검사하지 않는 자료 종류: {', '.join(unknown)} ({', '.join(sorted(quality.KINDS))})"
        )
    installation = bootstrap.open_home(State.root)
    home = installation.home
    settings = quality.read_settings(home.config_dir)
    reports = []
    for one in [Market(market)] if market is not None else list(Market):
        rules, calendar = bootstrap.rules_and_calendar(installation.settings, one)
        span = (first or rules.first, last or rules.last)
        other = None if against is None else open_dataset(against)
        reports += audit(_lake(), rules, calendar, settings, kinds=kinds, span=span, against=other)
    page = quality.write_page(reports, home.data_dir / "reports" / "quality") if reports else None
    if as_json:
        print_json(quality.summary(reports) | {"page": str(page) if page else None})
    elif page is None:
        typer.echo("검사할 시세가 없습니다. trading data import 또는 trading demo로 채웁니다.")
    else:
        _print_quality(reports)
        typer.echo(f"\n보고서: {page}")
    if any(report.matters for report in reports):
        raise typer.Exit(EXIT_FINDING)


def _print_quality(reports: "list[Report]") -> None:
    from trading.store.quality.page import KIND_WORDS, MARKET_WORDS, SEVERITY_WORDS

    for report in reports:
        title = f"{MARKET_WORDS[report.market.value]} {KIND_WORDS[report.kind]}"
        typer.echo(
            f"\n{title}: {report.rows:,}행 검사, {report.quarantined:,}행 격리, "
            f"종목·계열 {len(report.coverage.symbols):,}"
        )
        rows = [
            (SEVERITY_WORDS[found.severity], f"{found.failed:,}", found.title)
            for found in report.findings
        ]
        rows += [("설명됨", f"{item.rows:,}", item.reason) for item in report.explained.values()]
        if rows:
            typer.echo(table(("처리", "건수", "내용"), rows))
        else:
            typer.echo("어긋난 것이 없습니다.")
        for pair in report.agreements.values():
            rates = ", ".join(f"{name} {rate:.2%}" for name, rate in pair.rates.items())
            typer.echo(f"{pair.pair} ({pair.rows:,}건): {rates}")


@data_app.command("sql", help="저장소에 SQL로 묻습니다 (읽기만). 표: daily_krx, index_us …")
def data_sql(
    query: Annotated[str, typer.Argument(help='예: "SELECT max(session) FROM daily_us"')],
    rows: Annotated[int, typer.Option("--rows", min=1, help="화면에 보일 행의 수.")] = 40,
    csv: Annotated[Path | None, typer.Option("--csv", help="모든 행을 쓸 CSV 파일.")] = None,
    as_json: JsonOption = False,
) -> None:
    from trading.errors import UsageError

    if csv is not None and (csv.is_dir() or not csv.parent.is_dir()):
        raise UsageError(f"CSV를 쓸 수 없는 곳입니다 (있는 폴더 안의 파일 이름을 주십시오): {csv}")
    frame = _lake().sql(query)
    for name in frame.select_dtypes("datetime"):
        days = frame[name].dropna()
        if (days == days.dt.normalize()).all():
            frame[name] = frame[name].dt.strftime("%Y-%m-%d")
    if csv is not None:
        frame.to_csv(csv, index=False)
    if as_json:
        typer.echo(frame.to_json(orient="records", date_format="iso", force_ascii=False))
    elif csv is not None:
        typer.echo(f"{len(frame):,}행을 {csv}에 썼습니다.")
    else:
        shown = frame.head(rows).astype(object)
        typer.echo(table(frame.columns, shown.where(shown.notna(), "").itertuples(index=False)))
        if len(frame) > rows:
            typer.echo(f"… 모두 {len(frame):,}행 가운데 앞의 {rows:,}행 (--rows, --csv)")


@data_app.command("import", help="내장 기록이나 기록 폴더를 저장소에 들여옵니다.")
def data_import(
    market: MarketOption = None,
    dataset: DatasetOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    kind: KindOption = None,
    symbols: SymbolsOption = None,
    again: AgainOption = False,
    as_json: JsonOption = False,
) -> None:
    _fill(market, "recorded", dataset, first, last, kind, symbols, again, as_json)


@data_app.command("backfill", help="빠진 시세를 채웁니다. 멈춰도 같은 명령으로 이어집니다.")
def data_backfill(
    market: MarketOption = None,
    source: Annotated[
        str,
        typer.Option("--source", help="kis(한국투자증권) 또는 recorded(내장 기록이나 --dataset)."),
    ] = "recorded",
    dataset: DatasetOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    kind: KindOption = None,
    symbols: SymbolsOption = None,
    again: AgainOption = False,
    as_json: JsonOption = False,
) -> None:
    _fill(market, source, dataset, first, last, kind, symbols, again, as_json)


def _fill(
    market: MarketName | None,
    source: str,
    dataset: Path | None,
    first: date | None,
    last: date | None,
    kind: str | None,
    symbols: str | None,
    again: bool,
    as_json: bool,
) -> None:
    from trading import backfill, bootstrap

    request = backfill.Request(
        market=market_of(market),
        first=first,
        last=last,
        kinds=listed(kind),
        symbols=listed(symbols),
        source=source,
        dataset=dataset,
        again=again,
    )
    installation = bootstrap.open_home(State.root)
    with progress_bar("채우기", has_lines=True) as progress:
        result = backfill.backfill(installation, request, progress)
    if as_json:
        print_json(result)
    else:
        typer.echo(backfill.text(result))
    raise typer.Exit(0 if backfill.is_whole(result) else EXIT_FINDING)


@exchange_app.command(
    "status",
    help="로컬 거래소가 어떤 기능에 기록으로, 어떤 기능에 빈 응답으로 답하는지 보여 줍니다.",
)
def exchange_status(market: MarketOption = None, as_json: JsonOption = False) -> None:
    from trading.domain.instrument import Market
    from trading.exchange import coverage

    markets = list(Market) if market is None else [Market(market)]
    found = [coverage.coverage(one) for one in markets]
    if as_json:
        print_json(coverage.as_json(found))
    else:
        typer.echo(coverage.text(found))


@exchange_app.command(
    "serve", help="로컬 거래소를 띄웁니다. 어떤 KIS 클라이언트든 붙을 수 있습니다."
)
def exchange_serve(
    market: MarketOption = None,
    name: Annotated[str | None, typer.Option("--name", help="거래소 이름.")] = None,
    profile: Annotated[
        ProfileName, typer.Option("--profile", help="거래소 규칙.")
    ] = ProfileName.REAL,
    dataset: DatasetOption = None,
    speed: SpeedOption = None,
    start: Annotated[
        date | None, date_option("--start", "벽시계일 때 첫 거래일 (처음 띄울 때 꼭 필요).")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="포트 (0: 아무거나).")] = 0,
    faults: FaultsOption = None,
    notice_fields: Annotated[
        NoticeFieldsName,
        typer.Option("--notice-fields", help="통보 항목: 현재 26/25개 또는 예전 23/21개."),
    ] = NoticeFieldsName.CURRENT,
) -> None:
    from trading import bootstrap
    from trading.domain.instrument import Market
    from trading.domain.wording import MARKET_TEXT
    from trading.errors import MissingDataError
    from trading.exchange.server import serve

    installation = bootstrap.open_home(State.root)
    chosen = Market(market) if market is not None else installation.settings.app.market
    rules, calendar = bootstrap.rules_and_calendar(installation.settings, chosen)
    options = bootstrap.exchange_options(
        installation,
        chosen,
        name or f"local-{chosen}",
        profile=str(profile),
        speed=speed,
        port=port,
        start=start,
        faults=faults,
        notice_fields=str(notice_fields),
    )
    source = bootstrap.open_source(installation, dataset)
    if not source.sessions(chosen):
        raise MissingDataError(
            f"{MARKET_TEXT[chosen]} 시장의 기록이 없습니다. --dataset으로 기록 폴더를 주십시오."
        )
    serve(source, rules, calendar, options)


def main() -> None:
    """Run the command line; every expected failure is one Korean sentence and its exit code."""
    if os.name == "nt":
        sys.exit("윈도우에서는 WSL2 안에서 실행해 주십시오.")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    # Asked to end, the process stops as by Ctrl+C: connections closed, exchange stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise SystemExit(_guarded(lambda: app.execute("trading")))


def monitor_main() -> None:
    """``ai-trading-monitor``: the same as ``trading monitor``, with ``--root`` before the rest."""
    given = sys.argv[1:2]
    after = 3 if given == ["--root"] else 2 if given and given[0].startswith("--root=") else 1
    sys.argv[after:after] = ["monitor"]
    main()


def _guarded(command: Callable[[], int]) -> int:
    from trading.errors import (
        BrokerError,
        ConfigError,
        NothingLeftError,
        OrderStateError,
        ReconciliationError,
        SessionBusyError,
        TradingError,
    )
    from trading.errors import UsageError as WrongUsage

    try:
        code = command()
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except (WrongUsage, ConfigError) as error:
        return _say(str(error), EXIT_USAGE)
    except (SessionBusyError, NothingLeftError) as error:
        return _say(str(error), EXIT_FINDING)
    except BrokerError as error:
        _record("증권사와의 통신 실패로 끝남")
        return _say(_with_advice(error), EXIT_FAILURE)
    except (ReconciliationError, OrderStateError) as error:
        _record("장부와 거래소가 맞지 않아 끝남")
        return _say(str(error), EXIT_FAILURE)
    except TradingError as error:
        return _say(str(error), EXIT_FAILURE)
    except (OSError, sqlite3.Error) as error:
        sentence = _of_the_machine(error)
        if sentence is None:
            return _report_bug(error)
        return _say(sentence, EXIT_FAILURE)
    except Exception as error:
        return _report_bug(error)
    if code == EXIT_INTERRUPTED:
        return _say("멈췄습니다. 같은 명령을 다시 치면 이어서 합니다.", EXIT_FINDING)
    return code


def _say(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201
    return code


def _with_advice(error: "BrokerError") -> str:
    """Return what the venue said, and what the user does about its code."""
    from trading.wire.codes import CODES

    known = CODES.get(error.code)
    return f"{error} — {known.action}." if known is not None else str(error)


def _of_the_machine(error: OSError | sqlite3.Error) -> str | None:
    """Return the sentence for a disk that is full or may not be written, else ``None``."""
    number = getattr(error, "errno", None)
    if number in _NO_SPACE or "disk is full" in str(error) or "disk I/O" in str(error):
        return (
            "디스크에 자리가 없어 멈췄습니다. 자리를 만든 뒤 같은 명령을 다시 치면 이어서 합니다."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) or "readonly database" in str(error):
        where = getattr(error, "filename", None) or "작업 폴더"
        return f"쓰기 권한이 없습니다: {where}"
    if number in (errno.ENOENT, errno.ENOTDIR):
        return f"파일이나 폴더가 없습니다: {getattr(error, 'filename', None)}"
    return None


def _record(event: str) -> None:
    """Keep the error that is being handled, with its stack, in the error log."""
    from trading.log import get_logger

    # On a full disk the log itself may be what fails.
    with suppress(OSError):
        get_logger(__name__).exception(event)


def _report_bug(error: Exception) -> int:
    """Keep the stack in the error log and tell the user where it is."""
    _record("예상하지 못한 오류")
    print(  # noqa: T201
        f"예상하지 못한 오류가 났습니다: {type(error).__name__}: {error}\n"
        "자세한 내용은 logs/errors.jsonl에 있습니다.",
        file=sys.stderr,
    )
    if os.environ.get("TRADING_DEBUG"):
        traceback.print_exc()
    return EXIT_FAILURE


if __name__ == "__main__":
    main()
