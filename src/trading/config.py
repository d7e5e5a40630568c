"""Where the program lives and what its operator chose: home folder, settings, secrets.

Each settings model stands beside its consumer; this module finds the files, reads them, and
turns what is wrong with them into one Korean sentence.
"""

import difflib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from trading.domain.instrument import Currency, Market
from trading.domain.rules import MarketLaw, MarketRules
from trading.errors import ConfigError, UsageError
from trading.home import config_dir_of, default_root
from trading.log import get_logger, register_secret

if TYPE_CHECKING:
    from trading.allocation.sizing import AllocationSettings
    from trading.backtest.settings import ResearchSettings
    from trading.broker.rest import KisSettings
    from trading.execution.orders import ExecutionSettings
    from trading.features.pipeline import FeatureSettings
    from trading.models.base import ModelSettings
    from trading.notify import NotifySettings
    from trading.risk.limits import RiskSettings
    from trading.store.universe import UniverseSettings
    from trading.strategies.catalog import StrategySettings

log = get_logger(__name__)

M = TypeVar("M", bound=BaseModel)
Profile = Literal["real", "paper"]


class Env(StrEnum):
    """Which venue the day runs against."""

    DEMO = "demo"
    PAPER = "paper"
    REAL = "real"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PathSettings(_Strict):
    """Folders of what is produced, relative to the home folder."""

    data: str = "data"
    mlruns: str = "mlruns"
    logs: str = "logs"


class DataSettings(_Strict):
    """Which recorded history is used, and how much of it a run sees."""

    dataset: Path | None = None
    first_bar_sessions: Mapping[Market, Annotated[int, Field(ge=60)]]
    require_raw: Mapping[Market, bool]


class DemoSettings(_Strict):
    """The local exchange's account and the stretch of history it replays."""

    starting_cash: Mapping[Literal["usd", "krw"], int]
    start: date | None = None
    warmup_sessions: Mapping[Market, Annotated[int, Field(ge=20)]]
    least_sessions: int = Field(default=300, ge=60)
    speed: float | None = Field(default=None, gt=0)

    def cash_minor(self, market: Market) -> int:
        """Return the starting cash of ``market`` in minor units."""
        key: Literal["usd", "krw"] = "krw" if market.currency is Currency.KRW else "usd"
        return self.starting_cash[key] * market.currency.minor_per_unit


class SupervisionSettings(_Strict):
    """How long the session waits for its helpers before it gives up, in seconds of wall time."""

    exchange_start_seconds: float = Field(default=30, gt=0)
    exchange_stop_seconds: float = Field(default=10, gt=0)
    frame_wait_seconds: float = Field(default=60, gt=0)
    absence_listings: int = Field(default=3, ge=2)
    absence_seconds: float = Field(default=15, ge=0)
    absence_wait_seconds: float = Field(default=1, ge=0)
    balance_reads: int = Field(default=3, ge=2)
    dead_man_seconds: float = Field(default=180, ge=4)


class BackupSettings(_Strict):
    """Where backups go, how many stay, and whether the day takes one after its close.

    ``folder`` is relative to the home folder; better a disk of its own.
    """

    folder: str = "backups"
    keep: int = Field(default=14, ge=1)
    on_closing: bool = True
    with_lake: bool = False


class LogSettings(_Strict):
    """How many days the log files of past days are kept; those of orders apart."""

    keep_days: int = Field(default=90, ge=1)
    keep_trade_days: int = Field(default=1830, ge=1)

    def by_file(self) -> Mapping[str, int]:
        """Return the days by the name of the file."""
        return {
            "trading": self.keep_days,
            "errors": self.keep_days,
            "trades": self.keep_trade_days,
        }


class DashboardSettings(_Strict):
    """The dashboard's port on this machine, how often its pages look, and its lock."""

    port: int = Field(default=8501, ge=1, le=65535)
    refresh_seconds: float = Field(default=5, ge=1)
    password_attempts: int = Field(default=5, ge=1)
    lock_seconds: float = Field(default=300, ge=1)


class LeakSettings(_Strict):
    """What counts as a leak: growth an hour that is both large and beyond doubt."""

    warmup_minutes: float = Field(default=20, ge=0)
    least_minutes: float = Field(default=40, gt=0)
    memory_mb_per_hour: float = Field(default=20, gt=0)
    files_per_hour: float = Field(default=5, gt=0)
    standard_errors: float = Field(default=3, gt=0)


class MonitorSettings(_Strict):
    """How ``trading monitor`` looks, and how late an expected event may be."""

    sample_seconds: float = Field(default=10, gt=0)
    line_seconds: float = Field(default=60, gt=0)
    keep_days: int = Field(default=30, ge=1)
    late_seconds: float = Field(default=90, gt=0)
    silence_seconds: float = Field(default=300, gt=0)
    start_minutes: float = Field(default=30, gt=0)
    closing_minutes: float = Field(default=30, gt=0)
    demo_speed: float = Field(default=1, gt=0)
    leak: LeakSettings = LeakSettings()


class CheckSettings(_Strict):
    """What ``trading check`` takes for a fault."""

    min_free_gb: float = Field(default=5.0, ge=0)
    min_memory_gb: float = Field(default=1.0, ge=0)
    max_clock_drift_seconds: float = Field(default=5.0, gt=0)
    network_seconds: float = Field(default=2.0, gt=0)
    calendar_days: int = Field(default=30, ge=0)
    max_lake_lag_sessions: int = Field(default=1, ge=0)
    verify_lake_mb: float = Field(default=500.0, ge=0)
    max_store_gb: float = Field(default=2.0, gt=0)
    outbox_minutes: int = Field(default=60, ge=1)
    max_backup_days: int = Field(default=3, ge=1)
    max_drill_days: int = Field(default=7, ge=1)
    heartbeat_minutes: int = Field(default=5, ge=1)
    prefect_port: int = Field(default=4200, ge=1, le=65535)
    mlflow_port: int = Field(default=5000, ge=1, le=65535)


class AppSettings(_Strict):
    """``config/app.yaml``."""

    env: Env
    market: Market
    check_interval_minutes: int = Field(default=5, ge=1)
    paths: PathSettings = PathSettings()
    data: DataSettings
    demo: DemoSettings
    check: CheckSettings = CheckSettings()
    supervision: SupervisionSettings = SupervisionSettings()
    monitor: MonitorSettings = MonitorSettings()
    dashboard: DashboardSettings = DashboardSettings()
    logs: LogSettings = LogSettings()
    backup: BackupSettings = BackupSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """One installation: where its settings are read and where it writes."""

    root: Path
    config_dir: Path
    data_dir: Path
    mlruns_dir: Path
    logs_dir: Path


def resolve_root(root: Path | None = None) -> Home:
    """Return the home folder; writes nothing.

    Without ``root``: the current folder when it has ``config/app.yaml``, else ``TRADING_HOME``.
    Where ``root/config`` is missing the shipped configuration is read.

    Raises
    ------
    UsageError
        If there is no such folder or it cannot be written.
    """
    root = (default_root() if root is None else root).expanduser().absolute()
    _check_usable(root)
    config_dir = config_dir_of(root)
    paths = _read(config_dir / "app.yaml", AppSettings).paths
    return Home(
        root=root,
        config_dir=config_dir,
        data_dir=root / paths.data,
        mlruns_dir=root / paths.mlruns,
        logs_dir=root / paths.logs,
    )


class Settings:
    """Everything under ``config/``; a section is read and validated when first asked for.

    Commands that need one section pay for one; ``load_settings`` validates them all.
    """

    def __init__(self, config_dir: Path) -> None:
        self.config_dir = config_dir

    @cached_property
    def app(self) -> AppSettings:
        """``app.yaml``."""
        return _read(self.config_dir / "app.yaml", AppSettings)

    @cached_property
    def kis(self) -> "KisSettings":
        """``kis.yaml``."""
        from trading.broker.rest import KisSettings

        return _read(self.config_dir / "kis.yaml", KisSettings)

    @cached_property
    def markets(self) -> Mapping[Market, MarketRules]:
        """``markets/*.yaml``."""
        return {market: load_rules(self.config_dir, market) for market in Market}

    @cached_property
    def universe(self) -> "UniverseSettings":
        """``universe.yaml``."""
        from trading.store.universe import UniverseSettings

        return _read(self.config_dir / "universe.yaml", UniverseSettings)

    @cached_property
    def features(self) -> "FeatureSettings":
        """``features.yaml``."""
        from trading.features.pipeline import FeatureSettings

        return _read(self.config_dir / "features.yaml", FeatureSettings)

    @cached_property
    def strategies(self) -> "StrategySettings":
        """``strategies.yaml``."""
        from trading.strategies.catalog import StrategySettings

        return _read(self.config_dir / "strategies.yaml", StrategySettings)

    @cached_property
    def models(self) -> "ModelSettings":
        """``models.yaml``."""
        from trading.models.base import ModelSettings

        return _read(self.config_dir / "models.yaml", ModelSettings)

    @cached_property
    def allocation(self) -> "AllocationSettings":
        """``allocation.yaml``."""
        from trading.allocation.sizing import AllocationSettings

        return _read(self.config_dir / "allocation.yaml", AllocationSettings)

    @cached_property
    def risk(self) -> "RiskSettings":
        """``risk.yaml``."""
        from trading.risk.limits import RiskSettings

        return _read(self.config_dir / "risk.yaml", RiskSettings)

    @cached_property
    def execution(self) -> "ExecutionSettings":
        """``execution.yaml``."""
        from trading.execution.orders import ExecutionSettings

        return _read(self.config_dir / "execution.yaml", ExecutionSettings)

    @cached_property
    def notify(self) -> "NotifySettings":
        """``notify.yaml``."""
        from trading.notify import NotifySettings

        return _read(self.config_dir / "notify.yaml", NotifySettings)

    @cached_property
    def research(self) -> "ResearchSettings":
        """``research.yaml``."""
        from trading.backtest.settings import ResearchSettings

        return _read(self.config_dir / "research.yaml", ResearchSettings)


SECTIONS = (
    "app",
    "kis",
    "markets",
    "universe",
    "features",
    "strategies",
    "models",
    "allocation",
    "risk",
    "execution",
    "notify",
    "research",
)


def load_settings(root: Path) -> Settings:
    """Return the settings of a home folder, every section validated.

    Raises
    ------
    ConfigError
        If a file is missing, is no YAML, or has an unknown key or a wrong value.
    """
    settings = Settings(config_dir_of(root))
    for section in SECTIONS:
        getattr(settings, section)
    return settings


def load_rules(config_dir: Path, market: Market) -> MarketRules:
    """Return the dated law of ``market`` from ``config_dir/markets``."""
    path = config_dir / "markets" / f"{market}.yaml"
    with _explained(path, MarketLaw):
        return MarketRules(read_yaml(path))


class Secrets(BaseSettings):
    """Keys and addresses from the environment and ``.env``; never shown, never written."""

    # A line of .env.example that was not filled in is a value that is not set.
    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_file_encoding="utf-8", env_ignore_empty=True
    )

    kis_real_app_key: SecretStr | None = None
    kis_real_app_secret: SecretStr | None = None
    kis_real_account: SecretStr | None = None
    kis_paper_app_key: SecretStr | None = None
    kis_paper_app_secret: SecretStr | None = None
    kis_paper_account: SecretStr | None = None
    kis_hts_id: SecretStr | None = None
    smtp_password: SecretStr | None = None
    trading_mail_to: SecretStr | None = None
    trading_dashboard_password: SecretStr | None = None
    trading_webhook_url: SecretStr | None = None

    def missing(self, profile: Profile) -> list[str]:
        """Return the environment variables that ``profile`` needs and that are not set."""
        names = (*(f"kis_{profile}_{part}" for part in ("app_key", "app_secret", "account")),)
        return [name.upper() for name in (*names, "kis_hts_id") if getattr(self, name) is None]

    @property
    def mail_recipients(self) -> tuple[str, ...]:
        """The addresses of ``TRADING_MAIL_TO``, which separates them by commas."""
        if self.trading_mail_to is None:
            return ()
        parts = self.trading_mail_to.get_secret_value().split(",")
        return tuple(part.strip() for part in parts if part.strip())


def load_secrets(root: Path) -> Secrets:
    """Return the secrets of the environment and of ``root/.env``; the environment wins.

    Their values are masked in logs from here on. A ``.env`` that others may read is warned of.
    """
    env_file = root / ".env"
    if env_file.is_file() and stat.S_IMODE(env_file.stat().st_mode) & 0o077:
        log.warning("다른 사용자가 읽을 수 있는 .env 파일, chmod 600 필요", path=str(env_file))
    secrets = Secrets(_env_file=env_file)
    for name in type(secrets).model_fields:
        value = getattr(secrets, name)
        if value is not None:
            register_secret(value.get_secret_value())
            if name.endswith("_account"):
                # Others write it without its dash, or without the product code.
                register_secret(value.get_secret_value().replace("-", "")[:8])
    return secrets


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; ``ConfigError`` says the line that is broken."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"설정 파일이 없음: {path} — 함께 배포된 config 폴더에서 복사해 주세요"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"설정 파일을 읽을 수 없음: {path} ({error})") from error
    try:
        document = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader that refuses a key named twice)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" {mark.line + 1}번째 줄" if mark is not None else ""
        # The parser's own words are English; ours (a key named twice) are not.
        what = str(getattr(error, "problem", ""))
        told = f" ({what})" if re.search("[가-힣]", what) else ""
        raise ConfigError(f"YAML 형식이 잘못됨: {path}{where}{told}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"설정 파일은 '이름: 값' 꼴이어야 함: {path}")
    return document


def _check_usable(root: Path) -> None:
    standing = next(path for path in (root, *root.parents) if path.exists())
    if not standing.is_dir():
        raise UsageError(f"폴더가 아니라서 쓸 수 없음: {standing} — --root에 폴더를 주세요")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise UsageError(f"쓰기 권한이 없는 폴더: {standing} — 다른 --root를 주세요")


def _read(path: Path, model: type[M]) -> M:
    with _explained(path, model):
        return model.model_validate(read_yaml(path))


@contextmanager
def _explained(path: Path, model: type[BaseModel]) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise ConfigError(_sentence(path, model, error)) from None


# The parser in C, ten times as fast, where PyYAML was built with it.
class _UniqueKeyLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML takes the last of two equal keys in silence; a settings file must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"같은 이름이 두 번 나옴: {key}", key_node.start_mark
                )
            seen.add(key)
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


_EXPECTED = {
    "int": "정수",
    "float": "숫자",
    "decimal": "숫자",
    "bool": "true 또는 false",
    "string": "글자",
    "date": "날짜(YYYY-MM-DD)",
    "time": '시각("HH:MM")',
    "list": "목록",
    "tuple": "목록",
    "dict": "'이름: 값' 묶음",
    "mapping": "'이름: 값' 묶음",
    "model": "'이름: 값' 묶음",
    "path": "경로",
}


def _sentence(path: Path, model: type[BaseModel], error: ValidationError) -> str:
    """Say the first thing that is wrong: file, key, what came, what is expected."""
    # A misspelt key is also a missing one: the misspelling is the better explanation.
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    where = ".".join(str(part) for part in first["loc"])
    kind, context = first["type"], first.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(model, first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"'{close[0]}'을(를) 뜻했나요?" if close else f"쓸 수 있는 이름: {', '.join(known)}"
        return f"모르는 설정: {path}의 '{where}' — {hint}"
    if kind == "missing":
        return f"빠진 설정: {path}에 '{where}' 값을 적어 주세요"
    if kind == "value_error":
        return f"잘못된 설정: {path}의 '{where}' — {context.get('error', first['msg'])}"
    if "expected" in context:
        expected = str(context["expected"]).replace(" or ", ", ") + " 가운데 하나"
    elif limits := [
        f"{context[key]} {word}"
        for key, word in (("ge", "이상"), ("gt", "초과"), ("le", "이하"), ("lt", "미만"))
        if key in context
    ]:
        expected = " ".join(limits)
    else:
        expected = _EXPECTED.get(kind.split("_")[0], first["msg"])
    return f"잘못된 설정: {path}의 '{where}' — 받은 값 {first['input']!r}, 기대한 값 {expected}"


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys allowed at ``loc``, following nested models through their annotations."""
    for part in loc:
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        inner = _model_in(field.annotation) if field is not None else None
        if inner is not None:
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model is not None), None)
