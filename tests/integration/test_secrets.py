"""Nothing that the program writes holds a secret: a whole day with known keys, faults and mail, then everything is read."""

import base64
import json
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from aiosmtpd.smtp import AuthResult
from mail_server import Mailbox
from program import CHECKOUT, EAGER, Answer, command, configure, environment, trading
from venue_home import CALLS, SESSION, Venue

from trading.broker.settings import Credentials
from trading.config import Secrets
from trading.errors import ConfigError

# Long and odd enough to be found nowhere by chance, and to change in every way of writing.
KNOWN: Mapping[str, str] = {
    "KIS_REAL_APP_KEY": "PSrealKnownAppKey0123456789abcdef+/Q",
    "KIS_REAL_APP_SECRET": "realKnownSecret/+=&\"quote'%2F" + "x7" * 20,
    "KIS_REAL_ACCOUNT": "61728394-01",
    "KIS_PAPER_APP_KEY": "PSpaperKnownAppKey9876543210fedcba+/",
    "KIS_PAPER_APP_SECRET": "paperKnownSecret/+=%20" + "y8" * 20,
    "KIS_PAPER_ACCOUNT": "51627384-01",
    "KIS_HTS_ID": "zqhtsid7",
    "SMTP_PASSWORD": 'smtp known "pass" +/=&',
    "TRADING_MAIL_TO": "who-receives-it@example.com",
    "TRADING_DASHBOARD_PASSWORD": "dashboard-known-pass/+ 1",
}
# The part of a webhook's address that opens the door.
HOOK = "/services/T00/very-known-hook+path"
# The demo's exchange is asked with the known keys instead of those that mean nothing.
DEMO = """
import os, sys
from trading import bootstrap
from trading.broker.settings import Credentials
from trading.cli import main
bootstrap._demo_credentials = lambda: Credentials(
    app_key=os.environ["KIS_REAL_APP_KEY"], app_secret=os.environ["KIS_REAL_APP_SECRET"],
    account=os.environ["KIS_REAL_ACCOUNT"], hts_id=os.environ["KIS_HTS_ID"],
)
sys.exit(main())
"""


def forms(secret: str) -> dict[str, bytes]:
    """Return the ways in which a text may be written down."""
    data = secret.encode()
    found = {
        "as it is": data,
        "JSON": json.dumps(secret)[1:-1].encode(),
        "repr": repr(secret)[1:-1].encode(),
        "URL": quote(secret, safe="").encode(),
        "URL with plus": quote_plus(secret).encode(),
        "hex": data.hex().encode(),
    }
    for shift in range(3):
        # Inside another text: the letters at either end belong to its neighbours, too.
        coded = base64.b64encode(b"\0" * shift + data).rstrip(b"=")
        found[f"base64 {shift}"] = coded[4 if shift else 0 : -2]
    return found


def written(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield all that stands under a home: files, rows of databases, what is inside of backups."""
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path == root / ".env":
            continue
        name = str(path.relative_to(root))
        yield name, path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                for member in file.namelist():
                    yield f"{name}:{member}", file.read(member)
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as db:
                yield f"{name} (rows)", "\n".join(map(str, db.iterdump())).encode()


def leaks(places: Iterator[tuple[str, bytes]], secrets: Mapping[str, str]) -> list[str]:
    """Return where which secret stands."""
    sought = {name: forms(value) for name, value in secrets.items()}
    return [
        f"{place}: {name} ({form})"
        for place, data in places
        for name, ways in sought.items()
        for form, text in ways.items()
        if text in data
    ]


class _Hook(BaseHTTPRequestHandler):
    bodies: list[bytes]

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        # A service that says no, and names the address in doing so.
        self.send_response(500)
        self.end_headers()
        self.wfile.write(f"no such hook: {self.path}".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def outside() -> Iterator[tuple[Mailbox, list[str], dict[str, str]]]:
    """A mail server, a webhook that fails, and the environment with every secret of ``Secrets``."""
    mailbox, logins = Mailbox(), []

    def authenticate(_server, _session, _envelope, _mechanism, data) -> AuthResult:
        logins.append(data.password.decode())
        return AuthResult(success=True)

    mailbox.listen(auth_required=True, auth_require_tls=False, authenticator=authenticate)
    _Hook.bodies = []
    hook = HTTPServer(("127.0.0.1", 0), _Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{hook.server_port}{HOOK}"
    secrets = {**KNOWN, "TRADING_WEBHOOK_URL": url}
    assert {name.upper() for name in Secrets.model_fields} == set(secrets)
    yield mailbox, logins, secrets
    hook.shutdown()
    mailbox.close()


def changes(mailbox: Mailbox) -> dict[str, Mapping[str, object]]:
    mail = {
        "host": "127.0.0.1", "port": mailbox.port, "security": "none", "username": "robot@example.com",
    }  # fmt: skip
    return {"notify": {"mail": mail, "retry": {"first_delay_seconds": 1}}}


def assert_clean(root: Path, answers: list[Answer], secrets: Mapping[str, str]) -> None:
    """No secret stands anywhere, and no access token outside of its own file."""
    tokens = {
        f"token of {path.name}": json.loads(path.read_text())["token"]
        for path in (root / "data" / "broker").glob("kis-token-*.json")
    }
    assert all(tokens.values())

    def places() -> Iterator[tuple[str, bytes]]:
        yield from written(root)
        for number, answer in enumerate(answers):
            yield f"stdout {number}", answer.out.encode()
            yield f"stderr {number}", answer.err.encode()

    def elsewhere() -> Iterator[tuple[str, bytes]]:
        return ((p, d) for p, d in places() if not p.startswith("data/broker/kis-token-"))

    def without_venue(found: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        return ((p, d) for p, d in found if "journal.db" not in p)

    keys = {n: v for n, v in secrets.items() if not n.endswith(("ACCOUNT", "HTS_ID"))}
    numbers = {n: v for n, v in secrets.items() if n not in keys}
    for name, value in list(numbers.items()):
        if name.endswith("ACCOUNT"):
            digits = value.replace("-", "")
            numbers |= {f"{name} without its dash": digits, f"{name}, eight digits": digits[:8]}
    assert leaks(places(), {**keys, "path of the webhook": HOOK}) == []
    # A venue knows its customers and what it gave them: the local one, too, in its own books.
    assert leaks(without_venue(places()), numbers) == []
    assert leaks(without_venue(elsewhere()), tokens) == []


def test_a_whole_day_writes_no_secret(tmp_path, outside):
    """A demo day with known keys, faults, mail, a failing webhook, Prefect, a backup and its restore."""
    mailbox, logins, secrets = outside
    root = configure(tmp_path / "home", {**EAGER, **changes(mailbox)})
    everything = environment(**secrets)

    def run(*arguments: str) -> Answer:
        line = [sys.executable, "-c", DEMO, *command(root, *arguments)[3:]]
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=900, env=everything, cwd=CHECKOUT
        )
        return Answer(code=done.returncode, out=done.stdout, err=done.stderr)

    answers = [
        run("demo", "--start", "2004-11-12", "--sessions", "1", "--faults", "seed:3", "--json"),
        run("notify", "test"),
        run("backup", "--json"),
        run("check"),
        run("report"),
        run("backup", "--to", "/proc/none"),
    ]

    # Faults that change what was seen are findings: explained differences.
    assert answers[0].code in (0, 1), answers[0].err
    assert answers[0].json["orders"] > 0
    assert KNOWN["SMTP_PASSWORD"] in logins
    assert mailbox.mails and _Hook.bodies
    assert list((root / "backups").glob("*.zip"))
    assert (root / "data" / "prefect" / "prefect.db").exists()
    assert_clean(root, answers, secrets)


@pytest.mark.slow
def test_paper_trading_writes_no_secret(tmp_path, outside):
    """The commands that speak with KIS, with keys that it takes and with such that it refuses."""
    mailbox, _, secrets = outside
    venue = Venue(tmp_path / "venue")
    profile = {"rest_base": venue.base, "ws_base": venue.ws_base, "calls_per_second": CALLS}
    root = configure(
        tmp_path / "home",
        {
            "app": {"env": "paper", "market": "us"},
            "kis": {"profiles": {"real": profile, "paper": profile}, "backoff_seconds": 0.05},
            **changes(mailbox),
        },
    )
    wrong = {**secrets, "KIS_PAPER_APP_SECRET": "another-known-but-wrong-secret/+="}
    try:
        answers = [
            trading(root, *arguments, **keys)
            for keys in (secrets, wrong)
            for arguments in (
                ("check", "--json"),
                ("run", "--env", "paper"),
                ("data", "backfill", "--source", "kis", "--symbols", "IBM", "--from", "2005-02-22",
                 "--to", SESSION, "--kind", "daily"),
                ("reconcile",),
            )
        ]  # fmt: skip
    finally:
        venue.stop()

    assert answers[2].code in (0, 1), answers[2].err
    assert (root / "data" / "broker").is_dir()
    assert_clean(root, answers, {**secrets, "wrong": wrong["KIS_PAPER_APP_SECRET"]})


@pytest.mark.parametrize("key", ["열쇠" * 9, "key with a line\nbreak", "copied\u200bwith more"])
def test_a_key_that_no_header_can_carry_is_told(key):
    """A letter that was copied by mistake is told at once, without showing the key."""
    with pytest.raises(ConfigError, match="쓸 수 없는 글자") as told:
        Credentials(app_key="a" * 36, app_secret=key, account="61728394-01", hts_id="user01")

    assert key not in str(told.value)


def test_what_it_would_find(tmp_path):
    """The search sees a secret in any of the ways of writing, in rows and inside of archives."""
    secret = 'known "pass" +/='
    for number, text in enumerate(forms(secret).values()):
        (tmp_path / str(number)).write_bytes(b"before " + text + b" after")
    (tmp_path / "coded").write_bytes(base64.b64encode(b"\0me\0" + secret.encode() + b"\0"))
    with closing(sqlite3.connect(tmp_path / "rows.db")) as db, db:
        db.execute("CREATE TABLE t (x TEXT)")
        db.execute("INSERT INTO t VALUES (?)", (secret,))
    with zipfile.ZipFile(tmp_path / "packed.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inside", secret)

    found = {line.split(": s")[0] for line in leaks(written(tmp_path), {"s": secret})}

    assert found >= {str(n) for n in range(len(forms(secret)))}
    assert found >= {"coded", "rows.db", "rows.db (rows)", "packed.zip:inside"}
