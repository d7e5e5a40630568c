"""Where an installation lives: found without reading its settings. What they say is ``config``'s."""

import os
from pathlib import Path

import yaml

from trading.domain.rules import shipped_config_dir
from trading.errors import ConfigError, UsageError

# Stands in a home whose restore was interrupted: nothing may work there until it is carried out.
UNFINISHED_RESTORE = ".restore.json"


def default_root() -> Path:
    """Return the current folder when it has ``config/app.yaml``, else ``TRADING_HOME``."""
    here = Path.cwd()
    if (here / "config" / "app.yaml").is_file():
        return here
    home = os.environ.get("TRADING_HOME")
    if not home:
        raise UsageError(
            "작업 폴더를 알 수 없음: --root 폴더를 주거나 TRADING_HOME 환경 변수를 정해 주세요"
        )
    return Path(home)


def config_dir_of(root: Path) -> Path:
    """Return ``root/config``, or the shipped configuration where that is missing."""
    own = root / "config"
    return own if own.is_dir() else shipped_config_dir()


def lake_dir(root: Path | None = None) -> Path:
    """Return the folder of the lake of an installation, the default one when none is given."""
    root = (default_root() if root is None else root).expanduser().absolute()
    path = config_dir_of(root) / "app.yaml"
    try:
        paths = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("paths") or {}
        return root / str(paths.get("data", "data")) / "lake"
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"설정 파일을 읽을 수 없음: {path}: {error}") from error
