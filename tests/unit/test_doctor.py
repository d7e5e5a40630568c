"""``trading check`` finds each fault when it is really there, and says what to do."""

import hashlib
import http.server
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import yaml

from trading import bootstrap, doctor, explain, real_money
from trading.backup import Backup
from trading.config import CheckSettings, Env
from trading.doctor import account, machine, stores
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.home import shipped_config_dir
from trading.live import control
from trading.ports import Record, RecordKind

NOW = datetime.now(UTC)


def installed(home, **changes):
    """Return an installation at ``home``; ``changes`` are keys by file."""
    for source in shipped_config_dir().rglob("*.yaml"):
        path = home / "config" / source.relative_to(shipped_config_dir())
        path.parent.mkdir(parents=True, exist_ok=True)
        body = yaml.safe_load(source.read_text("utf-8"))
        for key, value in changes.get(path.stem, {}).items():
            body[key] = {**body[key], **value} if isinstance(value, dict) else value
        path.write_text(yaml.safe_dump(body, allow_unicode=True), "utf-8")
    return bootstrap.open_home(home, console=False)


def write(path, text, mode=0o600):
    """Write a file with exactly this mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def code(found):
    """Return the codes of what was found, one or several."""
    return found["code"] if isinstance(found, dict) else [one["code"] for one in found]


@pytest.fixture
def free_port():
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def web():
    """Return a function that starts an HTTP server which answers with a status and a date."""
    servers = []

    def start(status=200, date_header=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response_only(status)
                if date_header is not None:
                    self.send_header("Date", date_header)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_address[1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_fresh_home_is_sound_and_nothing_is_written(home, monkeypatch, free_port):
    """No finding of a demo without keys is a fault, every sentence is Korean, the home stays empty."""
    monkeypatch.setenv("PREFECT_HOME", str(home / "nowhere"))
    ports = {"prefect_port": free_port, "mlflow_port": free_port}
    found = doctor.examine(installed(home, app={"check": ports, "dashboard": {"port": free_port}}))

    assert [f for f in found if f["severity"] == "error"] == []
    assert all(set(f) == {"code", "severity", "cause", "action"} for f in found)
    assert not [f for f in found if not any("가" <= letter <= "힣" for letter in f["cause"])]
    assert sorted(p.name for p in home.iterdir() if p.name != "logs") == ["config"]
    assert doctor.text(found).endswith("모두 정상입니다.")


def test_the_shipped_thresholds_are_the_defaults(home):
    """Who leaves the block out has what the shipped file says."""
    assert bootstrap.open_home(home, console=False).settings.app.check == CheckSettings()


def test_disk_and_memory(home):
    """Less than is asked for is a fault that names what there is."""
    sound = installed(home)
    small = installed(home, app={"check": {"min_free_gb": 1e9, "min_memory_gb": 1e9}})

    assert (code(machine.disk(sound)), code(machine.disk(small))) == ("DISK", "DISK_LOW")
    assert (code(machine.memory(sound)), code(machine.memory(small))) == ("MEMORY", "MEMORY_LOW")


def test_a_folder_that_takes_no_file(home):
    """A file stands where the lake should be."""
    installation = installed(home)
    write(home / "data", "")

    assert code(machine.folders(installation)) == ["FOLDER_READONLY"]


def test_the_clock_is_compared_with_the_venue(home, web, free_port):
    """Fast, slow and unreachable; a refusal tells the time as well."""

    def checked(port):
        base = {"rest_base": f"http://127.0.0.1:{port}", "ws_base": "ws://127.0.0.1:1"}
        real = {"calls_per_second": 18, "reserved_for_cancel": 2, **base}
        paper = {"calls_per_second": 1, "reserved_for_cancel": 0, **base}
        profiles = {"profiles": {"real": real, "paper": paper}}
        return machine.clock(installed(home, kis=profiles), Env.PAPER)

    def told(shift, status=200):
        stamp = format_datetime(datetime.now(UTC) + timedelta(seconds=shift), usegmt=True)
        return checked(web(status, stamp))

    assert code(told(0)) == "CLOCK"
    assert code(told(0, status=404)) == "CLOCK"
    slow, fast = told(120), told(-3600)
    assert (code(slow), code(fast)) == ("CLOCK_DRIFT", "CLOCK_DRIFT")
    assert "느립니다" in slow["cause"] and "빠릅니다" in fast["cause"]
    assert code(checked(free_port)) == "CLOCK_UNKNOWN"
    assert code(checked(web(200, None))) == "CLOCK_UNKNOWN"
    assert code(checked(web(200, "어제"))) == "CLOCK_UNKNOWN"


def test_packages_that_break_each_other(tmp_path):
    """A newer FastAPI, an untested pandas and a missing package, as pip would have left them."""
    for name, version in (("fastapi", "0.163.2"), ("pandas", "4.1.0")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        write(folder / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    program = (
        "import json; from trading.doctor import machine; print(json.dumps(machine.versions()))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip

    found = json.loads(done.stdout)
    assert {f["code"] for f in found} == {"VERSIONS_BROKEN", "VERSION_OUT"}
    broken = next(f for f in found if f["code"] == "VERSIONS_BROKEN")
    assert broken["cause"].startswith("fastapi: 0.163.2") and "422" in broken["cause"]
    assert "<0.151" in broken["action"]
    assert next(f for f in found if f["code"] == "VERSION_OUT")["cause"].startswith("pandas: 4.1.0")


def test_these_packages_are_the_tested_ones():
    """What stands on this machine satisfies the bounds of the project."""
    assert code(machine.versions()) == ["VERSIONS"]


def test_ports(home, web, free_port):
    """Free, taken by a healthy server, taken by something else, which is named."""
    healthy = web(200)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = {"check": {"prefect_port": healthy, "mlflow_port": taken}}
        found = machine.ports(installed(home, app={**ports, "dashboard": {"port": free_port}}))

    assert code(found) == ["PORT", "PORT_TAKEN", "PORT"]
    assert str(taken) in found[1]["cause"] and str(os.getpid()) in found[1]["cause"]


def test_what_speaks_no_http_is_said():
    """A port that a shell server holds, or a venue behind one, ends no check."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet():
            for _ in range(3):
                with other.accept()[0] as caller:
                    caller.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                    caller.recv(1024)

        threading.Thread(target=greet, daemon=True).start()
        taken = other.getsockname()[1]
        found = machine._port("MLflow", taken, "/health", "make mlflow")
        stamp = machine._server_date(f"http://127.0.0.1:{taken}", 2.0)

    assert (code(found), stamp) == ("PORT_TAKEN", None)


def test_a_webhook_of_the_environment_is_a_way_out(home, monkeypatch):
    """Its address is a secret and stands in no settings file."""
    without = account.mail(installed(home))
    monkeypatch.setenv("TRADING_WEBHOOK_URL", "https://example.com/services/T0/B0")

    assert (code(without), code(account.mail(installed(home)))) == ("NOTIFY_NONE", "NOTIFY")


def test_a_login_without_its_password(home, monkeypatch):
    """No mail would leave, and nobody would hear of it."""
    monkeypatch.setenv("TRADING_MAIL_TO", "a@example.com")
    server = {"mail": {"host": "smtp.example.com", "username": "a@example.com"}}

    without = account.mail(installed(home, notify=server))
    monkeypatch.setenv("SMTP_PASSWORD", "sixteen letters")

    assert (code(without), code(account.mail(installed(home, notify=server)))) == (
        "MAIL_NO_PASSWORD",
        "NOTIFY",
    )


def test_a_calendar_that_ends(home):
    """So many days must be known ahead; an override list of former years is pointed out."""
    sound = installed(home)
    short = installed(home, app={"check": {"calendar_days": 100_000}})
    overrides = sound.settings.markets[Market.KRX].calendar_overrides

    assert code(machine.calendars(sound, list(Market))) == ["CALENDAR", "CALENDAR"]
    assert code(machine.calendars(short, [Market.US])) == ["CALENDAR_ENDS"]
    later = machine._calendar(sound, Market.KRX, date(max(overrides).year + 1, 1, 5))
    assert code(later) == "CALENDAR_OLD"


def test_secret_files_that_others_may_read(home):
    """``.env`` and token caches; the sentence is the command that mends it."""
    env = write(home / ".env", "KIS_HTS_ID=user01\n", 0o644)
    installation = installed(home)
    token = write(home / "data" / "broker" / "kis-token-abc.json", "{}", 0o640)

    found = account.secret_files(installation)
    for one in found:
        subprocess.run(one["action"], shell=True, check=True)

    assert code(found) == ["ENV_FILE_OPEN", "TOKEN_FILE_OPEN"]
    assert (env.stat().st_mode & 0o777, token.stat().st_mode & 0o777) == (0o600, 0o600)
    assert code(account.secret_files(installation)) == ["SECRET_FILES"]


def test_tokens_by_age(home):
    """Alive, ended, unreadable, and one from the future: the clock was set back.

    Only that of the environment's own key: the demo's live by the clock of a replay.
    """
    write(home / ".env", "KIS_PAPER_APP_KEY=a-key-of-the-test\n")
    installation = installed(home)
    folder = home / "data" / "broker"
    write(folder / "kis-token-0123456789abcdef.json", "{}")
    assert code(account.tokens(installation, Env.PAPER)) == ["TOKEN_NONE"]
    assert account.tokens(installation, Env.REAL) == []
    base = installation.settings.kis.profiles["paper"].rest_base
    owner = hashlib.sha256(f"{base}\na-key-of-the-test".encode()).hexdigest()[:16]
    name = f"kis-token-{owner}.json"
    assert account.tokens(installation, Env.DEMO) == []

    def told(**body):
        spelled = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in body.items()}
        write(folder / name, json.dumps(spelled))
        return account.tokens(installation, Env.PAPER)[0]

    now = datetime.now(UTC)
    alive = told(token="t", expires_at=now + timedelta(hours=5), asked_at=now)
    assert code(alive) == "TOKEN"
    assert any(hours in alive["cause"] for hours in ("5.0시간", "4.9시간"))
    assert code(told(token="t", expires_at=now, asked_at=now)) == "TOKEN_STALE"
    assert code(told(token=None, expires_at=None, asked_at=None)) == "TOKEN_STALE"
    future = now + timedelta(days=2)
    assert code(told(token="t", expires_at=future, asked_at=future)) == "TOKEN_FUTURE"
    write(folder / name, '{"token": "secret-tok')
    broken = account.tokens(installation, Env.PAPER)[0]
    assert code(broken) == "TOKEN_BROKEN" and "secret-tok" not in json.dumps(broken)


def test_an_account_number_that_is_none(home):
    """It is said to be wrong and not shown."""
    write(home / ".env", "KIS_PAPER_ACCOUNT=12-34\n")

    found = account.account_numbers(installed(home), Env.PAPER)

    assert code(found) == ["ACCOUNT_MALFORMED"]
    assert "12-34" not in json.dumps(found, ensure_ascii=False)


def test_the_operators_word(home):
    """Halted by whom, since when, why, and how to go on; the kill switch has its own way out."""
    installation = installed(home)
    run = home / "data" / "run"
    assert code(account.control_state(installation, Market.US)) == "STATE"

    control.ask(run, "demo", "us", TradingState.REDUCING, by=control.By.DASHBOARD, reason="점검 중")
    reducing = account.control_state(installation, Market.US)
    (run / "HALT").touch()
    halted = account.control_state(installation, Market.US)

    assert (code(reducing), reducing["severity"]) == ("STATE_REDUCING", "info")
    assert "대시보드" in reducing["cause"] and "점검 중" in reducing["cause"]
    assert "trading resume --market us" in reducing["action"]
    assert (code(halted), halted["severity"]) == ("STATE_HALTED", "error")
    assert str(run / "HALT") in halted["action"]


def test_a_session_that_died_or_went_silent(home):
    """Its process is gone, or it lives and shows no sign."""
    installation = installed(home)

    def beat(pid, ts, phase="open"):
        body = {
            "pid": pid, "ts": ts.isoformat(), "market": "us", "session": "2005-03-01",
            "phase": phase, "counters": {}, "memory_mb": 1.0, "cpu_percent": 0.0,
        }  # fmt: skip
        write(home / "data" / "run" / "demo-us.json", json.dumps(body))
        return code(account.heartbeat(installation, Market.US))

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert beat(gone.pid, NOW) == "SESSION_DEAD"
    assert beat(gone.pid, NOW, "closed") == "SESSION"
    assert beat(os.getpid(), datetime.now(UTC)) == "SESSION"
    assert beat(os.getpid(), NOW - timedelta(hours=1)) == "SESSION_SILENT"


def test_drills(home):
    """None, one that failed, one that is old where money is at stake."""
    installation = installed(home, app={"env": "paper"})
    assert code(account.drilled(installation, Market.US)) == "DRILL_NONE"
    ledger = bootstrap.open_ledger(installation.home, "paper", Market.US)

    def told(passed, ts):
        record = Record(
            kind=RecordKind.DRILL, key=ts.isoformat(), session=ts.date(), ts=ts,
            body={"passed": passed, "policy_hash": "-"},
        )  # fmt: skip
        ledger.append(record)
        return code(account.drilled(installation, Market.US))

    assert told(True, NOW - timedelta(days=30)) == "DRILL_OLD"
    assert told(False, NOW - timedelta(days=1)) == "DRILL_FAILED"
    assert told(True, NOW) == "DRILL"
    ledger.close()


def test_damaged_stores(home, monkeypatch):
    """Bytes overwritten in the middle, a file of something else, a store without its tables."""
    monkeypatch.setenv("PREFECT_HOME", str(home / "prefect"))
    installation = installed(home)
    bootstrap.open_ledger(installation.home, "demo", Market.US).close()
    assert code(stores.ledger(installation, Market.US)) == "LEDGER"

    path = home / "data" / "ledger" / "demo-us.db"
    content = bytearray(path.read_bytes())
    content[100:4096] = os.urandom(3996)
    path.write_bytes(content)
    assert code(stores.ledger(installation, Market.US)) == "LEDGER_BROKEN"

    assert code(stores.prefect(installation)) == "PREFECT_STORE_NONE"
    write(home / "prefect" / "prefect.db", "이것은 데이터베이스가 아닙니다" * 100)
    assert code(stores.prefect(installation)) == "PREFECT_STORE_BROKEN"
    (home / "mlruns").mkdir()
    sqlite3.connect(home / "mlruns" / "mlflow.db").execute("CREATE TABLE runs (a)").close()
    broken = stores.mlflow(installation)
    assert code(broken) == "MLFLOW_STORE_BROKEN" and "registered_models" in broken["cause"]
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql://somewhere")
    elsewhere = stores.prefect(installation)
    assert code(elsewhere) == "PREFECT_STORE" and "postgresql" not in elsewhere["cause"]


def test_messages_that_never_leave(home):
    """Written hours ago, tried, refused: the last reason is told."""
    installation = installed(home)
    assert code(stores.outbox(installation)) == "OUTBOX"
    bootstrap.open_notifier(home).send("risk_event", {"message": "시험", "market": "us"})
    assert code(stores.outbox(installation)) == "OUTBOX"

    early = (datetime.now(UTC) - timedelta(hours=5)).isoformat()
    with sqlite3.connect(home / "data" / "outbox.db") as db:
        db.execute(
            "UPDATE outbox SET created_at = ?, attempts = 3, last_error = '535 비밀번호 거부'",
            (early,),
        )
    db.close()
    stuck = stores.outbox(installation)
    assert code(stuck) == "OUTBOX_STUCK" and "535" in stuck["cause"]

    write(home / "data" / "outbox.db", "x" * 5000)
    assert code(stores.outbox(installation)) == "OUTBOX_BROKEN"


def test_backups(home):
    """None, fresh, unverified, old, and one whose file was lost."""
    installation = installed(home, app={"env": "paper"})
    assert (code(stores.backups(installation)), stores.backups(installation)["severity"]) == (
        "BACKUP_NONE", "info",
    )  # fmt: skip
    bootstrap.open_ledger(installation.home, "paper", Market.US).close()
    assert stores.backups(installation)["severity"] == "error"
    archive = write(home / "backups" / "trading.zip", "")

    def told(ts, verified=True):
        taken = Backup(ts=ts, path=archive, files=1, bytes=1, verified=verified, with_lake=False)
        write(home / "data" / "backup.json", json.dumps(taken.to_json()))
        return code(stores.backups(installation))

    assert told(NOW) == "BACKUP"
    assert told(NOW, verified=False) == "BACKUP_UNVERIFIED"
    assert told(NOW - timedelta(days=4)) == "BACKUP_OLD"
    archive.unlink()
    assert told(NOW) == "BACKUP_LOST"


def test_a_lake_that_fell_behind(home):
    """Recorded history ends in 2013: stale for paper trading, information for the demo."""
    from trading import backfill

    demo = installed(home)
    request = backfill.Request(
        market=Market.US, first=date(2004, 1, 2), last=date(2004, 2, 27), kinds=["daily"]
    )
    backfill.backfill(demo, request)
    paper = installed(home, app={"env": "paper"})

    assert code(stores.freshness(demo, Market.US)) == "LAKE_LAST"
    stale = stores.freshness(paper, Market.US)
    assert (code(stale), stale["severity"]) == ("LAKE_STALE", "error")
    assert "2004-02-27" in stale["cause"] and "--source kis" in stale["action"]
    assert code(stores.lake(demo)) == "LAKE"
    big = installed(home, app={"check": {"verify_lake_mb": 0}})
    assert code(stores.lake(big)) == "LAKE_UNVERIFIED"
    part = next((home / "data" / "lake" / "clean").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-10])
    assert code(stores.lake(demo)) == "LAKE_DAMAGED"


def test_a_check_that_fails_is_found(home):
    """A broken record hides nothing and stops nothing else."""
    write(home / "data" / "backup.json", "{")

    found = doctor.examine(installed(home))

    failed = [f for f in found if f["code"] == "CHECK_FAILED"]
    assert len(failed) == 1 and "백업 기록을 읽을 수 없음" in failed[0]["cause"]
    assert "SETTINGS" in code(found)


def test_a_check_that_breaks_in_a_library_is_found():
    """What a library makes of a damaged file has any name."""

    def broken():
        raise RuntimeError("out of spec")

    (found,) = doctor._asked(broken)

    assert code(found) == "CHECK_FAILED" and "out of spec" in found["cause"]


def test_it_is_fast(home, monkeypatch, free_port):
    """The checks of a normal home take less than three seconds once the program is loaded."""
    installation = installed(home)
    doctor.examine(installation)

    begun = time.perf_counter()
    doctor.examine(installation)

    assert time.perf_counter() - begun < 3.0


def test_every_finding_is_explained():
    """Whatever is told as a fault or as information is explained, and so has its row in docs/codes.md."""
    checkout = Path(__file__).parents[2]
    sources = [*(checkout / "src/trading/doctor").glob("*.py"), checkout / "src/trading/probes.py"]
    told = {
        name
        for source in sources
        for name in re.findall(
            r'finding\(\s*"([A-Z_]+)",\s*"(?:error|info)"', source.read_text("utf-8")
        )
    }
    named = [real_money.KEY, real_money.ENV, real_money.PAPER, real_money.WALK_FORWARD]
    told |= {*named, real_money.DRILL, real_money.CONFIRM, "ENV_FILE_OPEN", "TOKEN_FILE_OPEN"}

    assert len(told) > 40
    assert sorted(code for code in told if not explain.explain(code)["known"]) == []
