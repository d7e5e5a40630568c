"""The commands of models: training, who trades, and how the gate between them is measured."""

from datetime import date, timedelta
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
    MarketName,
    MarketOption,
    State,
    SymbolsOption,
    market_of,
    print_json,
    scope,
    table,
)

if TYPE_CHECKING:
    from trading.bootstrap import Installation
    from trading.domain.instrument import Market
    from trading.mlops.promote import Move

app = KoreanTyper()

FamilyOption = Annotated[
    str | None,
    typer.Option(
        "--family",
        help="모델 계열: forest, boosting, lstm, transformer, arima, garch, hmm, kalman, dqn "
        "(기본: forest).",
    ),
]


@app.command(help="모델을 학습하고 심사합니다. 관문을 넘으면 다음 세션부터 거래합니다.")
def train(
    family: Annotated[
        str | None,
        typer.Option(
            "--family", help="모델 계열 하나, 또는 all (기본: config/models.yaml의 families)."
        ),
    ] = None,
    market: MarketOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="아직 학습할 때가 아니어도 학습합니다.")
    ] = False,
    search: Annotated[
        bool,
        typer.Option(
            "--search",
            help="계열과 설정과 특성 묶음을 찾아보고, 가장 나은 것을 도전자로 심사합니다.",
        ),
    ] = False,
    minutes: Annotated[
        int | None,
        typer.Option("--minutes", min=1, help="--search가 찾는 시간, 분 (기본: 설정 파일)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap, day
    from trading.mlops import automl

    families = (_family(family),) if family not in (None, "all") else None
    asked = market_of(market)
    # Also on a day without a session: one learns for the next.
    context = bootstrap.open_day(State.root, asked, bootstrap.coming_session(State.root, asked))
    try:
        day.market_data(context)
        body: dict[str, Any] = {"market": str(context.market), "session": str(context.session)}
        if search:
            with progress_bar("모델 찾기", has_lines=True) as progress:
                sought, found = day.search_models(context, families, minutes, progress)
            body["search"] = sought
        else:
            found = day.train_families(context, families, is_full=family == "all", force=force)
        told = day.tell_training(context, found)
    finally:
        bootstrap.close_day(context.key)
    body |= {
        "trained": [report.to_json() for report in found.trained],
        "not_due": [report.family for report in found.reports if not report.trained],
        "missed": dict(found.missed),
        "silent": dict(found.silent),
    }
    if as_json:
        print_json(body)
    else:
        if search:
            typer.echo(automl.text(body["search"]))
        for line in told.summary.get("models", [told.message]):
            typer.echo(line)
        for report in found.trained:
            typer.echo(f"  판정: {report.page}")
    if found.missed:
        raise typer.Exit(EXIT_FINDING)


@app.command(help="등록된 모델과 판정을 봅니다: 판, 별칭, 까닭, 배운 날, 만료일.")
def models(market: MarketOption = None, as_json: JsonOption = False) -> None:
    from trading import bootstrap
    from trading.domain.wording import GATE_TEXT, MARKET_TEXT, model_text
    from trading.mlops import health, promote

    installation = bootstrap.open_home(State.root)
    asked = _market(installation, market)
    found = promote.list_models(installation.home, asked)
    if found:
        rules, calendar = bootstrap.rules_and_calendar(installation.settings, asked)
        for one in found:
            after = date.fromisoformat(one["trained_through"]) + timedelta(days=1)
            later = calendar.sessions(after, rules.last)
            expires = health.last_asked(later, installation.settings.models.drift)
            one["expires"] = str(expires) if expires is not None else None
    if as_json:
        print_json({"market": str(asked), "models": found})
        return
    if not found:
        typer.echo(
            f"{MARKET_TEXT[asked]} 시장에 등록된 모델이 없습니다. trading train으로 학습합니다."
        )
        return
    rows = [
        (
            model_text(one["family"]),
            one["version"],
            ", ".join(one["aliases"]) + (" (거래 중)" if one["trades"] else ""),
            GATE_TEXT.get(one["verdict"], one["verdict"]),
            f"{one['rank_ic']:+.4f}",
            f"{one['rank_ic_t']:+.2f}",
            one["trained_through"],
            # The law of the market, and so its calendar, is stated for so long.
            one["expires"] or f"{rules.last} 뒤",
        )
        for one in found
    ]
    heads = ("계열", "판", "별칭", "판정", "순위 IC", "t", "배운 날", "만료일")
    typer.echo(table(heads, rows))
    for one in found:
        if one["aliases"]:
            moved = f" ({one['moved']})" if one["moved"] else ""
            typer.echo(f"  {model_text(one['family'], one['version'])}: {one['reason']}{moved}")


@app.command(help="등록된 판 하나를 챔피언으로 올립니다. 관문의 판정을 먼저 보여 줍니다.")
def promote(
    version: Annotated[int, typer.Argument(min=1, help="모델의 판 번호.")],
    family: FamilyOption = None,
    market: MarketOption = None,
    without_proof: Annotated[
        bool,
        typer.Option(
            "--without-proof", help="관문이 증명하지 못한 모델도 올립니다. 기록하고 알립니다."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.domain.wording import GATE_TEXT, model_text
    from trading.mlops import promote as promotion

    installation = bootstrap.open_home(State.root)
    asked, chosen = _market(installation, market), _family(family or "forest")
    found = promotion.find_model(installation.home, asked, chosen, version)
    name = model_text(chosen, version)
    if not as_json:
        typer.echo(f"{name}의 판정: {GATE_TEXT.get(found['verdict'], found['verdict'])}")
        typer.echo(f"  {found['reason']}")
        if found["page"]:
            typer.echo(f"  {found['page']}")
    if not found["proven"] and not without_proof:
        if as_json:
            print_json({"promoted": False, **found})
        else:
            typer.echo(
                "관문이 증명하지 못해 올리지 않았습니다. 그래도 올리려면 --without-proof 를 붙이십시오."
            )
        raise typer.Exit(EXIT_FINDING)
    move = promotion.promote(installation.home, asked, chosen, version, without_proof=without_proof)
    how = "" if found["proven"] else "운영자가 증명 없이 올림. "
    _tell_move(installation, move, f"{how}{name}을(를) 챔피언으로 올렸습니다.", as_json)


@app.command(help="이전 챔피언으로 되돌립니다.")
def rollback(
    family: FamilyOption = None, market: MarketOption = None, as_json: JsonOption = False
) -> None:
    from trading import bootstrap
    from trading.domain.wording import model_text
    from trading.mlops import promote as promotion

    installation = bootstrap.open_home(State.root)
    asked, chosen = _market(installation, market), _family(family or "forest")
    move = promotion.rollback(installation.home, asked, chosen)
    _tell_move(
        installation, move, f"{model_text(chosen, move.version)}(으)로 되돌렸습니다.", as_json
    )


def _tell_move(installation: "Installation", move: "Move", done: str, as_json: bool) -> None:
    """Say what was done and what follows, to whoever asked and to whoever is notified."""
    from trading import bootstrap
    from trading.domain.wording import model_text

    objection = _objection(installation, move)
    message = f"{done} {objection or '다음 세션부터 거래합니다.'}"
    body = move.to_json()
    shown = {name: body[name] for name in ("market", "version", "previous", "verdict", "reason")}
    notifier = bootstrap.open_notifier(State.root)
    notifier.send("promoted", {**shown, "model": model_text(move.family), "message": message})
    notifier.deliver_due()
    if as_json:
        print_json({"promoted": True, **body, "objection": objection})
    else:
        typer.echo(message)


def _objection(installation: "Installation", move: "Move") -> str | None:
    """Return what keeps the new champion from voting next, and what to do; ``None`` if nothing."""
    from trading import bootstrap
    from trading.domain.instrument import Market
    from trading.errors import TradingError
    from trading.mlops import health, promote

    settings, market = installation.settings, Market(move.market)
    try:
        session = bootstrap.next_session(installation, market)
        if session is None:
            # A demo that has not begun has no evidence against anybody.
            return None
        found = health.objection(
            installation.home,
            move.family,
            promote.load_version(installation.home, market, move.family, move.version),
            settings.features,
            settings.models.drift,
            session=session,
            calendar=bootstrap.rules_and_calendar(settings, market)[1],
        )
    except TradingError as error:
        # The move is made: whoever made it has to hear of it.
        return f"다음 세션에 거래하는지는 알아내지 못했습니다: {error}"
    if found is None:
        return None
    return (
        f"{found} trading models 로 다른 판을 고르거나, "
        f"trading train --family {move.family} --market {move.market} --force 로 새로 배우십시오."
    )


def _family(name: str) -> str:
    from trading.errors import UsageError
    from trading.mlops.train import FAMILIES

    if name not in FAMILIES:
        raise UsageError(f"없는 모델 계열입니다: {name} (있는 것: {', '.join(FAMILIES)})")
    return name


def _market(installation: "Installation", market: MarketName | None) -> "Market":
    return market_of(market) or installation.settings.app.market


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


@app.command(
    "model-validate",
    help="모델 계열 하나를 기록된 시세로 검증합니다: 표본 밖 순위 IC, 순수익, 흩어짐. 등록하지 않습니다.",
)
def model_validate(
    family: FamilyOption = None,
    market: MarketOption = None,
    symbols: SymbolsOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    dataset: DatasetOption = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="대조 시험도 합니다: 심은 것은 찾고 없는 것은 찾지 않는지 (오래 걸림).",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap
    from trading.research import learning

    result = learning.validate(
        bootstrap.open_home(State.root),
        _family(family or "forest"),
        scope(market, symbols, first, last, dataset),
        is_controlled=controls,
    )
    if as_json:
        print_json(result)
    else:
        typer.echo(learning.text(result))
    if not all(control["passed"] for control in result["controls"]):
        raise typer.Exit(EXIT_FINDING)
