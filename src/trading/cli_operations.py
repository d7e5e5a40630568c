"""The commands of running it every day: state of trading, watching, telling, keeping safe."""

import os
import sys
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading.terminal import (
    EXIT_FAILURE,
    EXIT_FINDING,
    EXIT_USAGE,
    JsonOption,
    KoreanTyper,
    MarketName,
    MarketOption,
    State,
    market_of,
    print_json,
)

if TYPE_CHECKING:
    from trading.backup import Contents
    from trading.supervision import Outcome

app = KoreanTyper()
notify_app = KoreanTyper()
app.add_typer(notify_app, name="notify", help="알림: 메일과 웹훅.")


@app.command(
    help="도는 세션을 지켜봅니다. 없으면 데모를 벽시계로 띄웁니다. 끝에 판정을 말합니다 (이상이 있으면 1)."
)
def monitor(
    hours: Annotated[
        float,
        typer.Option("--hours", min=0.001, metavar="<숫자>", help="지켜볼 시간, 시간 단위."),
    ] = 24.0,
    attach_only: Annotated[
        bool,
        typer.Option(
            "--attach-only", help="데모를 띄우지 않고, 다른 것이 돌리는 세션만 지켜봅니다."
        ),
    ] = False,
    market: MarketOption = None,
    as_json: JsonOption = False,
) -> None:
    import threading

    from trading import bootstrap
    from trading.watch.run import Watch
    from trading.watch.screen import screen

    installation = bootstrap.open_home(State.root, console=False)
    chosen = market_of(market) or installation.settings.app.market
    watch = Watch(installation, chosen, only_attaches=attach_only)
    with screen(sys.stderr if as_json else sys.stdout) as show:
        verdict = watch.run(hours, show, threading.Event())
    if as_json:
        print_json(verdict.to_json())
    else:
        typer.echo(verdict.text())
    raise typer.Exit(0 if verdict.is_clean else EXIT_FINDING)


@notify_app.callback()
def _notify() -> None:
    """Keep ``test`` a command of its own: a group of one would be that command."""


@notify_app.command(
    "test", help="설정된 통로마다 시험 알림을 지금 보내고, 안 되면 원인과 할 일을 말합니다."
)
def notify_test(as_json: JsonOption = False) -> None:
    from trading import bootstrap
    from trading.clock import WallClock
    from trading.notify.probe import no_recipients, probe

    installation = bootstrap.open_home(State.root)
    settings = installation.settings.notify
    channels = [c for c in bootstrap.notifier_of(installation).channels if c.name != "log"]
    found = probe(channels, at=WallClock().now(), prefix=settings.subject_prefix)
    if settings.mail.host is not None and not installation.secrets.mail_recipients:
        found.insert(0, no_recipients(f"{settings.mail.host}:{settings.mail.port}"))
    if as_json:
        print_json({"channels": [one.to_json() for one in found]})
    elif found:
        typer.echo("\n".join(one.text() for one in found))
    else:
        typer.echo(
            "설정된 통로가 없습니다. config/notify.yaml의 mail.host나 webhook.url을 정하고, "
            "비밀번호와 받는 사람은 .env의 SMTP_PASSWORD, TRADING_MAIL_TO에 넣으십시오."
        )
    bad = [one for one in found if not one.is_fine]
    if not found or any(one.is_setting or one.remark for one in bad):
        raise typer.Exit(EXIT_USAGE)
    if bad:
        raise typer.Exit(EXIT_FAILURE)


@app.command(
    help="장부, 모델, 연구 기록, 설정을 파일 하나로 백업하고 다시 읽어 검증합니다. 비밀은 넣지 않습니다."
)
def backup(
    to: Annotated[
        Path | None, typer.Option("--to", help="백업을 둘 폴더 (기본: 설정의 backup.folder).")
    ] = None,
    with_lake: Annotated[
        bool, typer.Option("--with-lake", help="시세 저장소도 넣습니다 (클 수 있습니다).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    from trading import backup as safe
    from trading import bootstrap

    installation = bootstrap.open_home(State.root)
    done = safe.back_up(installation.home, installation.settings, to, with_lake=with_lake)
    contents = safe.contents_of(done.path)
    if as_json:
        print_json(done.to_json() | _described(contents))
        return
    typer.echo(f"백업했습니다: {done.path} (파일 {done.files:,}개, {done.bytes / 1e6:,.1f} MB)")
    typer.echo("  다시 읽어 모든 파일의 해시와 데이터베이스를 확인했습니다.")
    _tell_contents(contents)


@app.command(help="백업에서 되살립니다. 다른 컴퓨터나 다른 폴더에서도 됩니다.")
def restore(
    archive: Annotated[
        Path | None,
        typer.Argument(
            help="백업 파일. 주지 않으면 멈춘 복원을 마치거나, 있는 백업을 보여 줍니다."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="지금 있는 것을 옆 폴더로 옮기고 되살립니다.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    from trading import backup as safe
    from trading.config import load_settings, resolve_root
    from trading.errors import UsageError

    home = resolve_root(State.root)
    if archive is None:
        done = safe.finish_restore(home.root)
        if done is None:
            folder = home.root / load_settings(home.root).app.backup.folder
            kept = "".join(f"\n  {path}" for path in reversed(safe.archives(folder)))
            raise UsageError(f"되살릴 백업 파일을 적어 주세요. 있는 백업:{kept or ' 없음'}")
    else:
        done = safe.restore(archive, home.root, force=force)
    contents = done.contents
    if as_json:
        print_json(
            {
                "archive": str(done.archive),
                "root": str(home.root),
                "aside": [str(path) for path in done.aside],
                "missing_datasets": list(done.missing_datasets),
                **_described(contents),
            }
        )
        return
    typer.echo(f"되살렸습니다: {home.root} ({done.archive}, {contents.created:%Y-%m-%d %H:%M} UTC)")
    for path in done.aside:
        typer.echo(f"  있던 것은 옮겨 두었습니다: {path}")
    _tell_contents(contents)
    for dataset in done.missing_datasets:
        typer.echo(
            f"  이 컴퓨터에 없는 기록 폴더: {dataset} (같은 자리에 두어야 이어서 거래합니다)"
        )
    typer.echo("다음에 할 일:")
    if not (home.root / ".env").exists():
        typer.echo("  .env에 키를 다시 적습니다 (chmod 600). 비밀은 백업에 없습니다.")
    lacking = {} if contents.has_lake else _spans(contents)
    if lacking and any(account["name"].startswith("demo") for account in contents.accounts):
        typer.echo("  데모의 시세는 다음 trading demo가 저절로 채웁니다. 다른 계좌와 연구에는:")
    for market, (first, last) in sorted(lacking.items()):
        typer.echo(f"  trading data backfill --market {market} --from {first} --to {last}")
    typer.echo("  trading check로 살피고, trading reconcile로 증권사와 장부를 맞춰 봅니다.")


def _described(contents: "Contents") -> dict[str, Any]:
    lacking = {} if contents.has_lake else _spans(contents)
    return {
        "created": contents.created.isoformat(),
        "accounts": contents.accounts,
        "with_lake": contents.has_lake,
        "backfill": [
            {"market": market, "first": str(first), "last": str(last)}
            for market, (first, last) in sorted(lacking.items())
        ],
        "left_out": contents.left_out,
    }


def _spans(contents: "Contents") -> dict[str, tuple[date, date]]:
    """Return the days of each market that the lake held."""
    found: dict[str, tuple[date, date]] = {}
    for held in contents.lake:
        if held["first"] is None or held["last"] is None:
            continue
        first, last = date.fromisoformat(held["first"]), date.fromisoformat(held["last"])
        known = found.get(held["market"], (first, last))
        found[held["market"]] = min(known[0], first), max(known[1], last)
    return found


def _tell_contents(contents: "Contents") -> None:
    for account in contents.accounts:
        last = f", 마지막 {account['last_session']}" if account["last_session"] else ""
        typer.echo(f"  장부 {account['name']}: 마친 세션 {account['sessions']:,}회{last}")
    typer.echo(f"  넣지 않은 것: {', '.join(contents.left_out)}")


@app.command(help="화면(대시보드)을 이 컴퓨터의 브라우저에 띄웁니다. 끝내려면 Ctrl+C.")
def dashboard(
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="포트 (기본: 설정 파일).")
    ] = None,
) -> None:
    from trading import bootstrap
    from trading.dashboard import server

    installation = bootstrap.open_home(State.root)
    chosen = port or installation.settings.app.dashboard.port
    server.prepare(installation, chosen)
    typer.echo(f"대시보드: {server.address(chosen)} (끝내려면 Ctrl+C)")
    server.serve(installation, chosen)
    typer.echo("대시보드를 끝냈습니다.")


class EnvName(StrEnum):
    """An environment as the user types it."""

    DEMO = "demo"
    PAPER = "paper"
    REAL = "real"


class MailSecurity(StrEnum):
    """How the connection to the mail server is protected."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@app.command(
    help="처음 설정: 시장과 환경, 키, 메일, 예약 실행을 묻고 마련합니다. 다시 해도 같은 답이면 아무것도 바꾸지 않습니다."
)
def setup(
    env: Annotated[EnvName | None, typer.Option("--env", help="demo, paper 또는 real.")] = None,
    market: MarketOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="묻지 않고 옵션대로 합니다 (스크립트용).")
    ] = False,
    save_keys: Annotated[
        bool,
        typer.Option("--save-keys", help="환경 변수에 있는 키와 비밀번호를 .env에 적습니다."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="--save-keys: .env에 다른 값이 있으면 바꿉니다.")
    ] = False,
    mail_host: Annotated[str | None, typer.Option("--mail-host", help="SMTP 서버.")] = None,
    mail_port: Annotated[
        int, typer.Option("--mail-port", min=1, max=65535, help="SMTP 포트.")
    ] = 587,
    mail_security: Annotated[
        MailSecurity, typer.Option("--mail-security", help="연결 보호.")
    ] = MailSecurity.STARTTLS,
    mail_username: Annotated[
        str | None, typer.Option("--mail-username", help="SMTP 로그인 이름.")
    ] = None,
    test_mail: Annotated[
        bool, typer.Option("--test-mail", help="시험 메일을 지금 보냅니다.")
    ] = False,
    no_key_test: Annotated[
        bool, typer.Option("--no-key-test", help="증권사에 키를 시험하지 않습니다.")
    ] = False,
    no_prefect: Annotated[
        bool, typer.Option("--no-prefect", help="예약 실행을 마련하지 않습니다.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    from trading import setup as first_run
    from trading.config import Env
    from trading.errors import UsageError

    mail = None
    if mail_host is not None:
        mail = first_run.MailWish(
            host=mail_host,
            port=mail_port,
            security=mail_security.value,
            username=mail_username,
        )
    if yes:
        wish = first_run.Wish(
            env=Env(env) if env is not None else None,
            market=market_of(market),
            secrets=first_run.from_environment(os.environ) if save_keys else {},
            mail=mail,
            replaces=replace,
            tests_keys=not no_key_test,
            tests_mail=test_mail,
            with_prefect=not no_prefect,
        )
    elif sys.stdin.isatty() and not as_json:
        wish = first_run.ask(
            State.root, env=Env(env) if env is not None else None, market=market_of(market)
        )
    else:
        raise UsageError(
            "터미널이 아니라서 물을 수 없습니다. --yes와 함께 --env, --market 같은 옵션을 주십시오."
        )
    steps = first_run.carry_out(State.root, wish, (lambda text: None) if as_json else typer.echo)
    changed = [step.name for step in steps if step.changed]
    if as_json:
        print_json({"changed": changed, "steps": [step.to_json() for step in steps]})
    else:
        typer.echo(
            "마쳤습니다. trading check 로 점검하고 trading 으로 시작합니다."
            if changed
            else "바뀐 것이 없습니다."
        )
    raise typer.Exit(0 if all(step.is_fine for step in steps) else EXIT_FINDING)


ReasonOption = Annotated[str, typer.Option("--reason", help="까닭. 장부와 알림에 그대로 남습니다.")]


@app.command(help="모든 거래를 멈춥니다: 미체결 주문을 취소하고 손절도 내지 않습니다.")
def halt(
    market: MarketOption = None, reason: ReasonOption = "", as_json: JsonOption = False
) -> None:
    _give_word("halted", market, reason, as_json=as_json)


@app.command(help="파는 주문만 냅니다: 매수 미체결을 취소하고, 손절과 청산은 그대로 합니다.")
def reduce(
    market: MarketOption = None, reason: ReasonOption = "", as_json: JsonOption = False
) -> None:
    _give_word("reducing", market, reason, as_json=as_json)


@app.command(
    help="다시 거래합니다. 손실 한도나 정지 파일이 막고 있으면 무엇인지 말합니다 (종료 코드 1)."
)
def resume(
    market: MarketOption = None, reason: ReasonOption = "", as_json: JsonOption = False
) -> None:
    _give_word("active", market, reason, as_json=as_json)


def _give_word(word: str, market: MarketName | None, reason: str, *, as_json: bool) -> None:
    from trading import bootstrap, supervision
    from trading.domain.decision import TradingState
    from trading.live.control import By

    installation = bootstrap.open_home(State.root)
    state, chosen = TradingState(word), market_of(market) or installation.settings.app.market
    found = supervision.give_word(installation, chosen, state, by=By.CLI, reason=reason)
    _tell_outcome(found, as_json=as_json)
    raise typer.Exit(0 if found.is_done and found.state is state else EXIT_FINDING)


@app.command(
    "cancel-all",
    help="이 프로그램이 낸 미체결 주문을 모두 취소합니다. 거래 상태는 그대로입니다.",
)
def cancel_all(
    market: MarketOption = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="손으로 낸 주문도 취소합니다.")
    ] = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    from trading import bootstrap, supervision
    from trading.live.control import By, Scope

    installation = bootstrap.open_home(State.root)
    found = supervision.cancel_all(
        installation,
        market_of(market) or installation.settings.app.market,
        by=By.CLI,
        scope=Scope.EVERYTHING if everything else Scope.OURS,
        reason=reason,
    )
    _tell_outcome(found, as_json=as_json)
    raise typer.Exit(0 if found.is_done and not found.orders.failed else EXIT_FINDING)


def _tell_outcome(found: "Outcome", *, as_json: bool) -> None:
    if as_json:
        print_json(found.to_json())
    else:
        typer.echo(found.text())


@app.command(
    "guard-session",
    hidden=True,
    help="세션 곁에서 살아 있는지 지켜보다가, 아니면 대신 멈춥니다. 세션이 스스로 띄웁니다.",
)
def guard_session(
    env: Annotated[str, typer.Option("--env", help="환경.")],
    market: Annotated[MarketName, typer.Option("--market", help="시장.")],
    run_dir: Annotated[Path, typer.Option("--run-dir", help="심장박동이 있는 폴더.")],
    seconds: Annotated[float, typer.Option("--seconds", help="기다리는 시간, 초.")],
    after: Annotated[int, typer.Option("--after", help="이 표시까지는 앞선 세션의 것.")] = 0,
) -> None:
    from filelock import FileLock, Timeout

    from trading.live import guardian

    name = f"{env}-{market}"
    lock = FileLock(run_dir / f"{name}.guardian.lock")
    try:
        # One that guards an earlier session ends within a second of it; one that guards this very
        # session over a restart goes on doing so.
        lock.acquire(timeout=guardian.PREDECESSOR_SECONDS)
    except Timeout:
        return
    with lock:
        silence = guardian.watch(
            run_dir / f"{name}.json",
            after=after,
            seconds=seconds,
            is_succeeded=lambda pid: guardian.is_succeeded(run_dir / f"{name}.lock", pid),
        )
        if silence is None:
            return
        from trading import supervision
        from trading.config import Env
        from trading.domain.instrument import Market

        found = supervision.stand_in(State.root, Env(env), Market(market), silence)
        if found is not None:
            typer.echo(found.text())
