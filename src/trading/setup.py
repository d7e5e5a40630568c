"""``trading setup``: a home made ready to trade, and made ready again without changing anything.

Answers are gathered first and written afterwards, each file whole or not at all. What the files
mean is ``trading.config``'s; whether keys work is asked of the venue by ``trading.probes``.
"""

import asyncio
import contextlib
import getpass
import os
import re
import shutil
import stat
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

from trading import bootstrap, probes
from trading.bootstrap import Installation
from trading.broker.settings import Credentials
from trading.config import Env, Secrets, load_secrets, load_settings, resolve_root
from trading.domain.instrument import Market
from trading.domain.rules import shipped_config_dir
from trading.domain.wording import MARKET_TEXT
from trading.errors import ConfigError, SessionBusyError, TradingError, UsageError
from trading.log import get_logger
from trading.probes import Finding

log = get_logger(__name__)

ENV_TEXT = {
    Env.DEMO: "데모: 기록된 시장, 키 필요 없음",
    Env.PAPER: "모의투자: 한국투자증권, 가상의 돈",
    Env.REAL: "실전투자: 한국투자증권, 진짜 돈",
}
_SECRET_TEXT = {
    "APP_KEY": "앱키",
    "APP_SECRET": "앱시크릿",
    "ACCOUNT": "계좌번호 (8자리-2자리)",
    "KIS_HTS_ID": "HTS 아이디",
}
_PLAIN = re.compile(r"[A-Za-z0-9@._+/:=-]+")
_PARTIAL = ".env.partial"
_HEALTH_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MailWish:
    """Where mail is handed over, nowhere with no ``host``; password and recipients are secrets."""

    host: str | None
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None

    def settings(self) -> dict[str, Any]:
        """Return the keys of ``notify.yaml: mail`` that are wished."""
        if self.host is None:
            return {"host": None}
        return {
            "host": self.host,
            "port": self.port,
            "security": self.security,
            "username": self.username,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the operator wants; ``None`` leaves as it is. ``secrets`` maps a variable to its value.

    ``replaces``: a secret that is there already gives way to the one that is given.
    """

    env: Env | None = None
    market: Market | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    mail: MailWish | None = None
    replaces: bool = False
    tests_keys: bool = True
    tests_mail: bool = False
    with_prefect: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that setup looked at: whether it changed, and whether it needs the operator."""

    name: str
    text: str
    changed: bool = False
    is_fine: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return {
            "name": self.name, "text": self.text, "changed": self.changed, "fine": self.is_fine,
        }  # fmt: skip


def carry_out(root: Path | None, wish: Wish, say: Callable[[str], None]) -> list[Step]:
    """Make the home as wished and return what was done, step by step; ``say`` hears each at once.

    Again with the same wish changes nothing.

    Raises
    ------
    UsageError
        When a value cannot stand in ``.env``.
    ConfigError
        When a settings file cannot be changed by line, or is wrong afterwards: it is as it was.
    SessionBusyError
        When another setup writes here.
    """
    home = resolve_root(root).root
    steps: list[Step] = []

    def tell(step: Step) -> None:
        steps.append(step)
        say(step.text)

    with _alone(home):
        tell(_copy_config(home))
        tell(_choose(home, wish))
        if wish.mail is not None:
            tell(_set_mail(home, wish.mail))
        tell(_write_secrets(home, wish))
    installation = bootstrap.open_home(home, console=False)
    if wish.tests_keys:
        for step in _key_steps(installation):
            tell(step)
    if wish.tests_mail:
        for step in _mail_steps(home):
            tell(step)
    if wish.with_prefect:
        tell(_prefect(installation))
    return steps


def ask(root: Path | None, *, env: Env | None = None, market: Market | None = None) -> Wish:
    """Return what the operator answers on the terminal; secrets are not shown as they are typed.

    ``env`` and ``market`` are what an empty answer takes, else what is configured.
    """
    home = resolve_root(root)
    settings, secrets = load_settings(home.root), load_secrets(home.root)
    print(f"작업 폴더: {home.root}\n그냥 Enter를 치면 [ ] 안의 값을 그대로 둡니다.")  # noqa: T201
    markets = {str(m): f"{MARKET_TEXT[m]} 주식" for m in Market}
    market = Market(_pick("시장", markets, str(market or settings.app.market)))
    envs = {str(e): text for e, text in ENV_TEXT.items()}
    env = Env(_pick("환경", envs, str(env or settings.app.env)))
    given: dict[str, str] = {}
    if env is not Env.DEMO:
        for name in _needed(env):
            given |= _ask_secret(name, secrets)
    mail = None
    host = settings.notify.mail.host
    if _yes("메일로 알림을 받을까요?", default=host is not None):
        mail = _ask_mail(settings.notify.mail)
        given |= _ask_secret("SMTP_PASSWORD", secrets, "메일 비밀번호 (없으면 Enter)")
        given |= _ask_secret("TRADING_MAIL_TO", secrets, "받는 주소 (쉼표로 여럿)", is_shown=True)
    elif host is not None:
        mail = MailWish(host=None)
    can_test = mail is not None and mail.host is not None
    return Wish(
        env=env,
        market=market,
        secrets=given,
        mail=mail,
        replaces=True,
        tests_keys=env is not Env.DEMO,
        tests_mail=can_test and _yes("시험 메일을 지금 보낼까요?", default=True),
        with_prefect=_yes("예약 실행(Prefect)의 작업 풀과 자동화를 마련할까요?", default=True),
    )


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets that the environment holds, by variable."""
    names = [name.upper() for name in Secrets.model_fields]
    return {name: environ[name] for name in names if environ.get(name)}


# -- questions -----------------------------------------------------------------------------


def _needed(env: Env) -> list[str]:
    parts = ("APP_KEY", "APP_SECRET", "ACCOUNT")
    return [*(f"KIS_{env.upper()}_{part}" for part in parts), "KIS_HTS_ID"]


def _pick(title: str, choices: Mapping[str, str], default: str) -> str:
    names = list(choices)
    print(f"\n{title}")  # noqa: T201
    for number, name in enumerate(names, 1):
        print(f"  {number}. {name}  {choices[name]}")  # noqa: T201
    while True:
        said = input(f"번호나 이름 [{default}]: ").strip().lower()
        if not said:
            return default
        if said in names:
            return said
        if said.isdigit() and 1 <= int(said) <= len(names):
            return names[int(said) - 1]
        print(f"  {', '.join(names)} 가운데 하나를 골라 주세요.")  # noqa: T201


def _yes(question: str, *, default: bool) -> bool:
    said = input(f"\n{question} [{'예' if default else '아니오'}]: ").strip().lower()
    if not said:
        return default
    return said[0] in "yㅛ예네응1"


def _ask_secret(
    name: str, secrets: Secrets, text: str | None = None, *, is_shown: bool = False
) -> dict[str, str]:
    """Return the variable with what was typed; nothing when what is there shall stay."""
    is_there = getattr(secrets, name.lower()) is not None
    title = text or _SECRET_TEXT.get(name) or _SECRET_TEXT[name.split("_", 2)[2]]
    kept = " [이미 있음]" if is_there else ""
    prompt = f"{name} — {title}{kept}: "
    while True:
        shows = is_shown or name == "KIS_HTS_ID"
        said = (input(prompt) if shows else getpass.getpass(prompt)).strip()
        if not said:
            return {}
        problem = _problem(name, said)
        if problem is None:
            return {name: said}
        print(f"  {problem}")  # noqa: T201


def _ask_mail(now: Any) -> MailWish:
    host = input(f"SMTP 서버 [{now.host or 'smtp.gmail.com'}]: ").strip()
    host = host or now.host or "smtp.gmail.com"
    while True:
        port = input(f"포트 [{now.port}]: ").strip() or str(now.port)
        if port.isdigit() and 0 < int(port) < 65536:
            break
        print("  1에서 65535까지의 숫자를 적어 주세요.")  # noqa: T201
    usual = "tls" if port == "465" else now.security
    choices = {"starttls": "보통 587번", "tls": "보통 465번", "none": "이 컴퓨터 안의 서버에만"}
    security = _pick("연결 보호", choices, usual)
    username = input(f"로그인 이름 [{now.username or '없음'}]: ").strip() or now.username
    return MailWish(host=host, port=int(port), security=security, username=username)  # type: ignore[arg-type]


def _problem(name: str, value: str) -> str | None:
    """Return why ``value`` cannot be the secret ``name``; the sentence does not show it."""
    if not value.isprintable():
        return f"{name}에 보이지 않는 글자가 있습니다. 다시 붙여 넣어 주세요."
    if name.endswith("_ACCOUNT"):
        try:
            Credentials(app_key="-", app_secret="-", account=value, hts_id="-")  # noqa: S106 (no key: only the form of the account is looked at)
        except ConfigError as error:
            return f"{error}."
    return None


# -- files ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder = home / "data" / "run"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "setup.lock", timeout=0):
            yield
    except Timeout:
        raise SessionBusyError(f"다른 setup이 이 폴더에 쓰는 중입니다: {home}") from None


def _copy_config(home: Path) -> Step:
    target = home / "config"
    if target.exists():
        return Step(name="config", text=f"설정 폴더를 그대로 둡니다: {target}")
    partial = home / ".config.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shipped = shipped_config_dir()
    try:
        # File by file: ``copytree`` would hide a full disk in an error of its own.
        for source in sorted(shipped.rglob("*.yaml")):
            copy = partial / source.relative_to(shipped)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Step(name="config", text=f"설정 폴더를 만들었습니다: {target}", changed=True)


def _choose(home: Path, wish: Wish) -> Step:
    path = home / "config" / "app.yaml"
    wished = {"env": wish.env, "market": wish.market}
    changes = {name: str(value) for name, value in wished.items() if value is not None}
    if not _edit(home, path, None, changes):
        return Step(name="choice", text="환경과 시장을 그대로 둡니다.")
    told = ", ".join(f"{name}: {value}" for name, value in changes.items())
    return Step(name="choice", text=f"config/app.yaml에 적었습니다: {told}", changed=True)


def _set_mail(home: Path, mail: MailWish) -> Step:
    path = home / "config" / "notify.yaml"
    if not _edit(home, path, "mail", mail.settings()):
        return Step(name="mail", text="메일 설정을 그대로 둡니다.")
    if mail.host is None:
        text = "메일을 껐습니다: config/notify.yaml의 mail.host를 비웠습니다."
        return Step(name="mail", text=text, changed=True)
    return Step(
        name="mail", text=f"config/notify.yaml에 메일 서버 {mail.host}:{mail.port}를 적었습니다.",
        changed=True,
    )  # fmt: skip


def _edit(home: Path, path: Path, block: str | None, changes: Mapping[str, Any]) -> bool:
    """Set keys of a settings file line by line, so that its comments stay; return whether it changed."""
    old = path.read_text("utf-8")
    lines, inside = old.split("\n"), block is None
    left = dict(changes)
    for number, line in enumerate(lines):
        if block is not None and re.match(r"\S", line) and not line.startswith("#"):
            inside = bool(re.match(rf"{block}\s*:\s*(#.*)?$", line))
        found = re.match(r"(\s*)(\w+)\s*:", line) if inside else None
        if found is None or bool(found[1]) is (block is None) or found[2] not in left:
            continue
        lines[number] = f"{found[1]}{found[2]}: {_scalar(left.pop(found[2]))}"
    if left:
        raise ConfigError(
            f"{path}에서 {', '.join(left)}의 줄을 찾지 못했습니다. 손으로 적어 주세요."
        )
    fresh = "\n".join(lines)
    if fresh == old:
        return False
    _replace(path, fresh, stat.S_IMODE(path.stat().st_mode))
    try:
        load_settings(home)
    except TradingError:
        _replace(path, old, stat.S_IMODE(path.stat().st_mode))
        raise
    return True


def _scalar(value: Any) -> str:
    import json

    if value is None:
        return "null"
    return str(value) if _PLAIN.fullmatch(str(value)) else json.dumps(value, ensure_ascii=False)


def _write_secrets(home: Path, wish: Wish) -> Step:
    """Add what is missing to ``.env`` and replace what shall be; everything else stays as it is."""
    path = home / ".env"
    # What a killed setup left: it may hold secrets.
    path.with_name(_PARTIAL).unlink(missing_ok=True)
    for name, value in wish.secrets.items():
        problem = _problem(name, value)
        if problem is not None:
            raise UsageError(problem)
    old = path.read_text("utf-8") if path.exists() else ""
    there = _values(path)
    kept = [n for n in wish.secrets if there.get(n) and there[n] != wish.secrets[n]]
    writes = {
        name: value
        for name, value in wish.secrets.items()
        if there.get(name) != value and (wish.replaces or not there.get(name))
    }
    is_open = path.exists() and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    if writes:
        _replace_env(path, _with(old, writes), writes)
        replaced = f" ({', '.join(n for n in kept if n in writes)}은(는) 바꿈)" if kept else ""
        return Step(
            name="secrets", changed=True,
            text=f".env(0600)에 적었습니다: {', '.join(writes)}{replaced}",
        )  # fmt: skip
    if is_open:
        path.chmod(0o600)
    told = (
        f" (다른 값이 있어 그대로 둔 것: {', '.join(kept)}. --replace로 바꿉니다)" if kept else ""
    )
    did = ".env를 이 사용자만 읽게 했습니다(0600)." if is_open else ".env를 그대로 둡니다."
    return Step(name="secrets", text=did + told, changed=is_open, is_fine=not kept)


def _with(text: str, writes: Mapping[str, str]) -> str:
    lines, left = text.split("\n") if text else [], dict(writes)
    for number, line in enumerate(lines):
        found = re.match(r"\s*(?:export\s+)?([A-Z_]+)\s*=", line)
        if found is not None and found[1] in left:
            lines[number] = f"{found[1]}={_quoted(left.pop(found[1]))}"
    while lines and not lines[-1]:
        lines.pop()
    lines += [f"{name}={_quoted(value)}" for name, value in left.items()]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _values(path: Path) -> Mapping[str, str | None]:
    from dotenv import dotenv_values

    return dotenv_values(path) if path.exists() else {}


def _replace_env(path: Path, text: str, writes: Mapping[str, str]) -> None:
    partial = path.with_name(_PARTIAL)
    try:
        _write(partial, text, 0o600)
        read = _values(partial)
        if lost := [name for name, value in writes.items() if read.get(name) != value]:
            raise UsageError(
                f"이 값은 .env 파일에 적을 수 없는 글자를 담고 있습니다: {', '.join(lost)}. "
                "환경 변수로 주십시오."
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _replace(path: Path, text: str, mode: int) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        _write(partial, text, mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write(path: Path, text: str, mode: int) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


# -- proofs --------------------------------------------------------------------------------


def _key_steps(installation: Installation) -> list[Step]:
    app = installation.settings.app
    if app.env is Env.DEMO:
        keys = Step(name="keys", text="데모에는 한국투자증권 키가 필요 없습니다.")
        if bootstrap.open_source(installation).sessions(app.market):
            return [keys]
        text = (
            f"{MARKET_TEXT[app.market]} 시장의 기록이 내장되어 있지 않습니다. config/app.yaml의 data.dataset에 "
            "기록 폴더를 적으십시오."
        )
        return [keys, Step(name="history", text=text, is_fine=False)]
    missing = installation.secrets.missing("real" if app.env is Env.REAL else "paper")
    if missing:
        return [
            Step(name="keys", text=f"아직 없는 것: {', '.join(missing)}", is_fine=False),
        ]
    try:
        found = probes.probe(installation, app.env, app.market)
    except TradingError as error:
        return [Step(name="keys", text=f"키를 시험하지 못했습니다: {error}", is_fine=False)]
    return [_probed(one) for one in found]


def _probed(one: Finding) -> Step:
    action = f" → {one['action']}" if one["action"] else ""
    return Step(
        name=one["code"], text=f"{one['cause']}{action}", is_fine=one["severity"] != "error"
    )


def _mail_steps(home: Path) -> list[Step]:
    from trading.clock import WallClock
    from trading.notify.probe import probe

    notifier = bootstrap.open_notifier(home)
    channels = [channel for channel in notifier.channels if channel.name == "mail"]
    if not channels:
        text = "메일 서버나 받는 사람(TRADING_MAIL_TO)이 없어 시험 메일을 보내지 않았습니다."
        return [Step(name="mail_test", text=text, is_fine=False)]
    return [
        Step(name="mail_test", text=one.text(), is_fine=one.is_fine)
        for one in probe(channels, at=WallClock().now())
    ]


def _prefect(installation: Installation) -> Step:
    """Make pool and automations on the server that runs; say how where none does."""
    port = installation.settings.app.check.prefect_port
    api = os.environ.get("PREFECT_API_URL") or f"http://127.0.0.1:{port}/api"
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=_HEALTH_SECONDS):  # noqa: S310 (the address is a setting of the operator)
            pass
    except (OSError, ValueError, HTTPException):
        text = (
            f"Prefect 서버가 돌지 않아({api}) 예약 실행은 마련하지 않았습니다. make serve가 서버와 작업 풀, "
            "배포, 자동화를 함께 마련합니다."
        )
        return Step(name="prefect", text=text)
    os.environ["PREFECT_API_URL"] = api
    from flows.automations import ensure_automations, ensure_pool

    async def ensure() -> tuple[bool, dict[str, bool]]:
        return await ensure_pool(), await ensure_automations()

    try:
        is_new, automations = asyncio.run(ensure())
    except TradingError as error:
        return Step(name="prefect", text=f"자동화를 마련하지 못했습니다: {error}", is_fine=False)
    except Exception as error:  # whatever Prefect says, what was written before stays done
        log.exception("Prefect 준비 실패", api=api)
        text = f"Prefect 서버({api})가 받지 않았습니다: {type(error).__name__} (logs/errors.jsonl)"
        return Step(name="prefect", text=text, is_fine=False)
    made = [name for name, made in automations.items() if made]
    if not is_new and not made:
        return Step(name="prefect", text="Prefect의 작업 풀과 자동화가 이미 있습니다.")
    told = [*(["작업 풀"] if is_new else []), *made]
    return Step(name="prefect", text=f"Prefect에 마련했습니다: {', '.join(told)}", changed=True)
