"""Home folder, settings and secrets, and the sentences said when they are wrong."""

import os
import shutil
from datetime import date

import pytest

from trading import config
from trading.domain.instrument import Market
from trading.domain.rules import shipped_config_dir
from trading.errors import ConfigError, UsageError


@pytest.fixture
def own(home):
    """Return a home with its own copy of the shipped configuration."""
    shutil.copytree(shipped_config_dir(), home / "config")
    return home


def edit(home, name, old, new):
    """Replace text in one file of a home's configuration."""
    path = home / "config" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_an_empty_home_uses_the_shipped_configuration(home):
    """Only what is produced lands under the root; asking writes nothing."""
    found = config.resolve_root(home)

    assert found.config_dir == shipped_config_dir()
    assert found.data_dir == home / "data"
    assert found.mlruns_dir == home / "mlruns"
    assert found.logs_dir == home / "logs"
    assert list(home.iterdir()) == []


def test_a_home_with_configuration_uses_its_own(own):
    """``root/config`` wins over the shipped one, and moves the folders."""
    edit(own, "app.yaml", "data: data\n", "data: elsewhere\n")

    found = config.resolve_root(own)

    assert found.config_dir == own / "config"
    assert found.data_dir == own / "elsewhere"


def test_the_default_home(own, tmp_path, monkeypatch):
    """The current folder when it has config/app.yaml, else TRADING_HOME, else a sentence."""
    monkeypatch.delenv("TRADING_HOME", raising=False)
    monkeypatch.chdir(own)
    assert config.resolve_root().root == own

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="TRADING_HOME"):
        config.resolve_root()

    monkeypatch.setenv("TRADING_HOME", str(own))
    assert config.resolve_root().root == own


def test_a_file_is_no_home(tmp_path):
    """A root that is a file, or lies under one, is refused before anything is written."""
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")

    for root in (file, file / "under"):
        with pytest.raises(UsageError, match="폴더가 아니라서"):
            config.resolve_root(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root 사용자는 어디에나 쓸 수 있음")
def test_a_read_only_home_is_refused(home):
    """A folder without write permission is refused."""
    home.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="쓰기 권한"):
            config.resolve_root(home)
    finally:
        home.chmod(0o700)


def test_the_shipped_settings_are_valid():
    """Every section of the shipped configuration loads."""
    settings = config.load_settings(shipped_config_dir().parent)

    assert settings.app.env is config.Env.DEMO
    assert settings.app.market is Market.US
    assert settings.app.demo.cash_minor(Market.US) == 1_000_000_000
    assert settings.app.demo.cash_minor(Market.KRX) == 100_000_000
    assert settings.markets[Market.KRX].hours(date(2024, 1, 8)).open.hour == 9


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("env: demo", "envv: demo", "모르는 설정: .*app.yaml의 'envv' — 'env'"),
        ("speed: null", "sped: null", "'demo.sped' — 'speed'"),
        ("market: us", "market: japan", "'market' — 받은 값 'japan', 기대한 값 'krx', 'us'"),
        (
            "minutes: 5",
            "minutes: five",
            "'check_interval_minutes' — 받은 값 'five', 기대한 값 정수",
        ),
        ("minutes: 5", "minutes: 0", "받은 값 0, 기대한 값 1 이상"),
        ("start: null", "start: soon", "'demo.start' — 받은 값 'soon', 기대한 값 날짜"),
        ("market: us\n", "", "빠진 설정: .*'market'"),
        ("env: demo", "env: [demo", "YAML 형식이 잘못됨: .*app.yaml [0-9]+번째 줄"),
        ("env: demo", "env: demo\nenv: real", "같은 이름이 두 번 나옴: env"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(own, old, new, said):
    """File, key, what came and what was expected, or the nearest known key."""
    edit(own, "app.yaml", old, new)

    with pytest.raises(ConfigError, match=said) as caught:
        _ = config.Settings(own / "config").app

    assert "\n" not in str(caught.value)


def test_a_wrong_law_is_said_too(own):
    """Keys of the market files are checked the same way."""
    edit(own, "markets/krx.yaml", "lag_sessions: 2", "lag_session: 2")

    with pytest.raises(
        ConfigError, match=r"krx.yaml의 'settlement.0.lag_session' — 'lag_sessions'"
    ):
        config.load_rules(own / "config", Market.KRX)


def test_an_override_must_say_closed_or_hours(own):
    """A calendar override that says neither is refused with its reason."""
    edit(own, "markets/krx.yaml", "{date: 2026-06-03, closed: true,", "{date: 2026-06-03,")

    with pytest.raises(ConfigError, match="closed: true 또는"):
        config.load_rules(own / "config", Market.KRX)


def test_missing_and_misshapen_files(own):
    """A missing file, a list instead of a mapping, an empty file."""
    app = own / "config" / "app.yaml"
    app.write_text("- env\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'이름: 값' 꼴"):
        config.read_yaml(app)

    app.write_text("", encoding="utf-8")
    assert config.read_yaml(app) == {}

    app.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="읽을 수 없음"):
        config.read_yaml(app)

    app.unlink()
    with pytest.raises(ConfigError, match="설정 파일이 없음"):
        config.resolve_root(own)


def test_secrets_come_from_file_and_environment(home, monkeypatch):
    """The environment wins over .env; what is missing is named; nothing is shown."""
    for name in config.Secrets.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    (home / ".env").write_text(
        "KIS_PAPER_APP_KEY=fromfile\nKIS_PAPER_ACCOUNT=12345678-01\nUNRELATED=1\n", encoding="utf-8"
    )
    (home / ".env").chmod(0o600)
    monkeypatch.setenv("KIS_PAPER_APP_KEY", "fromenvironment")
    monkeypatch.setenv("TRADING_MAIL_TO", "a@example.com, b@example.com")

    secrets = config.load_secrets(home)

    assert secrets.kis_paper_app_key.get_secret_value() == "fromenvironment"
    assert secrets.missing("paper") == ["KIS_PAPER_APP_SECRET", "KIS_HTS_ID"]
    assert len(secrets.missing("real")) == 4
    assert secrets.mail_recipients == ("a@example.com", "b@example.com")
    assert "fromenvironment" not in repr(secrets)
    assert "12345678" not in str(secrets)


def test_an_open_env_file_is_warned_of(home, capsys):
    """A .env that others may read gives a warning, not a refusal."""
    (home / ".env").write_text("SMTP_PASSWORD=secretsecret\n", encoding="utf-8")
    (home / ".env").chmod(0o644)

    secrets = config.load_secrets(home)

    assert secrets.smtp_password.get_secret_value() == "secretsecret"
    assert "chmod 600" in capsys.readouterr().err
    assert config.Secrets().mail_recipients == ()
