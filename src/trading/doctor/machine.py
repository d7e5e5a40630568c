"""The machine under the program: disk, memory, folders, clock, packages, ports, calendars."""

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from trading.bootstrap import Installation
from trading.clock import WallClock
from trading.config import Env
from trading.domain.instrument import Market
from trading.domain.wording import MARKET_TEXT
from trading.probes import Finding, finding
from trading.wire.endpoints import Profile

DISTRIBUTION = "ai-trading"
# Pairs that pip takes for compatible and that were seen to break: what must not stand beside
# what, and how it shows. Bounds of the project itself are in its metadata.
BROKEN_TOGETHER: tuple[tuple[str, str, str], ...] = (
    (
        "fastapi>=0.151", "prefect",
        "Prefect 서버가 뜨지 않거나 prefect deploy가 422로 끝납니다",
    ),
    (
        "sqlalchemy>=2.1", "prefect",
        "Prefect 서버는 멀쩡해 보이는데 예약된 실행이 하나도 생기지 않습니다",
    ),
)  # fmt: skip
_HEALTH_SECONDS = 1.0


def settings(installation: Installation) -> Finding:
    """Say which configuration is in force; a broken one has ended the command before this."""
    app = installation.settings.app
    return finding(
        "SETTINGS", "ok",
        f"설정을 읽었습니다: 환경 {app.env}, 시장 {MARKET_TEXT[app.market]} "
        f"({installation.home.config_dir})",
    )  # fmt: skip


def disk(installation: Installation) -> Finding:
    """Whether the disk of the home has room."""
    least = installation.settings.app.check.min_free_gb
    free = shutil.disk_usage(_standing(installation.home.root)).free / 1e9
    if free < least:
        return finding(
            "DISK_LOW", "error", f"디스크 여유가 {free:.1f} GB뿐입니다.",
            f"{least:g} GB 이상 비워 주십시오.",
        )  # fmt: skip
    return finding("DISK", "ok", f"디스크 여유 {free:.1f} GB")


def memory(installation: Installation) -> Finding:
    """Whether a day fits into what is left of the memory."""
    import psutil

    least = installation.settings.app.check.min_memory_gb
    free = psutil.virtual_memory().available / 1e9
    if free < least:
        return finding(
            "MEMORY_LOW", "error", f"쓸 수 있는 메모리가 {free:.1f} GB뿐입니다.",
            f"다른 프로그램을 끄거나 메모리를 늘려 {least:g} GB 이상 남겨 주십시오.",
        )  # fmt: skip
    return finding("MEMORY", "ok", f"쓸 수 있는 메모리 {free:.1f} GB")


def folders(installation: Installation) -> list[Finding]:
    """Whether what is produced can be written."""
    import tempfile

    home = installation.home
    found = []
    for folder in (home.data_dir, home.logs_dir, home.mlruns_dir):
        standing = _standing(folder)
        try:
            with tempfile.TemporaryFile(dir=standing):
                pass
        except OSError as error:
            found.append(
                finding(
                    "FOLDER_READONLY", "error", f"쓸 수 없는 폴더입니다: {standing} ({error.strerror})",
                    "권한과 디스크를 살피거나 다른 --root를 쓰십시오.",
                )
            )  # fmt: skip
    return found or [finding("FOLDERS", "ok", "data, logs, mlruns 폴더에 쓸 수 있습니다.")]


def clock(installation: Installation, env: Env) -> Finding:
    """How far this machine's clock is from the venue's, by the date that its server sends."""
    if env is Env.DEMO:
        return finding("CLOCK", "info", "데모는 로컬 거래소의 시계를 따릅니다.")
    limit = installation.settings.app.check.max_clock_drift_seconds
    profile = Profile.REAL if env is Env.REAL else Profile.PAPER
    address = installation.settings.kis.profiles[profile].rest_base
    started = WallClock().now().timestamp()
    stamp = _server_date(address, installation.settings.app.check.network_seconds)
    ended = WallClock().now().timestamp()
    if stamp is None:
        return finding(
            "CLOCK_UNKNOWN", "info", f"시계를 견줄 서버에 닿지 않았습니다: {address}",
            "네트워크와 config/kis.yaml의 주소를 확인하십시오.",
        )  # fmt: skip
    # The header names whole seconds, of some moment between asking and being answered.
    low, high = started - (stamp + 1.0), ended - stamp
    drift = low if low > 0.0 else high if high < 0.0 else 0.0
    if abs(drift) > limit:
        way = "빠릅니다" if drift > 0 else "느립니다"
        return finding(
            "CLOCK_DRIFT", "error", f"이 컴퓨터의 시계가 증권사보다 {abs(drift):,.0f}초 {way}.",
            "시각 동기화(timedatectl set-ntp true, macOS는 자동 시각 설정)를 켜십시오.",
        )  # fmt: skip
    return finding("CLOCK", "ok", f"시계가 증권사와 {max(abs(drift), 1.0):.0f}초 안에서 맞습니다.")


def _server_date(address: str, seconds: float) -> float | None:
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 (the address is a setting of the operator)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310 (the address is a setting of the operator)
            text = answer.headers["Date"]
    except urllib.error.HTTPError as error:
        # It refused what was asked, and said what time it is.
        text = error.headers["Date"]
    except (OSError, ValueError, HTTPException):
        return None
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None


def versions() -> list[Finding]:
    """Whether the installed packages are those that this program was built for."""
    found = list(_broken_pairs())
    named = {one.split(":", 1)[0] for one in (f["cause"] for f in found)}
    found += [f for f in _out_of_bounds() if f["cause"].split(":", 1)[0] not in named]
    return found or [finding("VERSIONS", "ok", "패키지 판이 모두 요구하는 범위 안에 있습니다.")]


def _broken_pairs() -> Iterator[Finding]:
    for spelled, beside, symptom in BROKEN_TOGETHER:
        bad = Requirement(spelled)
        version = _installed(bad.name)
        if version is None or _installed(beside) is None:
            continue
        if bad.specifier.contains(version, prereleases=True):
            yield finding(
                "VERSIONS_BROKEN", "error",
                f"{bad.name}: {version}은(는) {beside}와 함께 쓸 수 없습니다. {symptom}.",
                f"pip install '{_bound(bad.name)}' 로 낮추십시오.",
            )  # fmt: skip


def _out_of_bounds() -> Iterator[Finding]:
    for requirement in _required():
        version = _installed(requirement.name)
        if version is None:
            yield finding(
                "PACKAGE_MISSING", "error", f"{requirement.name}: 설치되어 있지 않습니다.",
                f"pip install '{requirement}'",
            )  # fmt: skip
        elif not requirement.specifier.contains(version, prereleases=True):
            yield finding(
                "VERSION_OUT", "error",
                f"{requirement.name}: {version}은(는) 시험하지 않은 판입니다 ({requirement.specifier}).",
                f"pip install '{requirement}'",
            )  # fmt: skip


def _required() -> list[Requirement]:
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    parsed = [Requirement(line) for line in lines]
    return [r for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]


def _bound(name: str) -> str:
    return next((str(r) for r in _required() if r.name.lower() == name.lower()), name)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def ports(installation: Installation) -> list[Finding]:
    """Who listens where Prefect, MLflow and the dashboard want to."""
    app = installation.settings.app
    services = [
        ("Prefect", app.check.prefect_port, "/api/health", "make serve"),
        ("MLflow", app.check.mlflow_port, "/health", "make mlflow"),
        ("대시보드", app.dashboard.port, "/_stcore/health", "trading dashboard"),
    ]
    return [_port(*service) for service in services]


def _port(name: str, port: int, path: str, command: str) -> Finding:
    holder = _listener(port)
    if holder is None:
        return finding("PORT", "ok", f"{name} 포트 {port}번이 비어 있습니다 ({command}).")
    try:
        address = f"http://127.0.0.1:{port}{path}"
        with urllib.request.urlopen(address, timeout=_HEALTH_SECONDS):
            return finding("PORT", "ok", f"{name} 서버가 {port}번 포트에서 답합니다.")
    except (OSError, ValueError, HTTPException):
        # Refused, or what answers speaks another language.
        return finding(
            "PORT_TAKEN", "error", f"{name} 포트 {port}번을 다른 프로그램이 쓰고 있습니다{holder}.",
            f"그 프로그램을 끄거나, {command}의 포트를 바꾸고 config/app.yaml의 번호도 바꾸십시오.",
        )  # fmt: skip


def _listener(port: int) -> str | None:
    """Return who listens on ``port`` as a suffix, empty when that is not told; ``None``: nobody."""
    import socket

    import psutil

    with socket.socket() as probe:
        probe.settimeout(_HEALTH_SECONDS)
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return None
    try:
        for one in psutil.net_connections(kind="tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
                return f": {psutil.Process(one.pid).name()} (프로세스 {one.pid})"
    except (psutil.Error, OSError):
        pass
    return ""


def calendars(installation: Installation, markets: Sequence[Market]) -> Iterable[Finding]:
    """Whether the calendars know the days to come."""
    today = WallClock().now().astimezone(UTC).date()
    return [_calendar(installation, market, today) for market in markets]


def _calendar(installation: Installation, market: Market, today: date) -> Finding:
    rules = installation.settings.markets[market]
    name, file = MARKET_TEXT[market], f"config/markets/{market}.yaml"
    left = (rules.last - today).days
    if left < installation.settings.app.check.calendar_days:
        return finding(
            "CALENDAR_ENDS", "error", f"{name} 시장의 달력과 법이 {rules.last}에 끝납니다.",
            f"프로그램을 새 판으로 올리거나 {file}의 기간을 늘리십시오.",
        )  # fmt: skip
    library = metadata.version("exchange_calendars")
    overrides = sorted(rules.calendar_overrides)
    last = overrides[-1] if overrides else None
    if last is not None and last.year < today.year:
        return finding(
            "CALENDAR_OLD", "info",
            f"{name} 시장의 달력 재정의가 {last.year}년까지만 있습니다 (exchange_calendars {library}).",
            f"{today.year}년의 임시 휴장일과 늦은 개장일을 거래소 공지에서 확인해 {file}의 "
            "calendar_overrides에 적으십시오.",
        )  # fmt: skip
    near = [str(d) for d in overrides if abs(d - today) <= timedelta(days=60)]
    told = f", 앞뒤 60일에는 {', '.join(near)}" if near else ""
    return finding(
        "CALENDAR", "ok",
        f"{name} 시장 달력: exchange_calendars {library}에 재정의 {len(overrides)}일{told}",
    )  # fmt: skip


def _standing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())
