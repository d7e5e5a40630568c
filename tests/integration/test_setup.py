"""``trading setup`` and ``trading`` alone, typed on a terminal and called by a script."""

import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mail_server import Mailbox
from program import CHECKOUT, command, configure, environment, trading
from venue_home import KEYS, Venue, home_of

from trading.wire.endpoints import Profile

SECRETS = {
    "KIS_PAPER_APP_KEY": "PSabcdef+of/test=",
    "KIS_PAPER_APP_SECRET": "secret with space # and 'quote' \\ back",
    "KIS_PAPER_ACCOUNT": "50001234-01",
    "KIS_HTS_ID": "user01",
}


class Terminal:
    """A command on a terminal of its own: what it shows, and what is typed into it."""

    def __init__(self, root: Path, *words: str, **more: str) -> None:
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            line = command(root, *words)
            nowhere = environment(PREFECT_API_URL="http://127.0.0.1:1", **more)
            os.execve(line[0], line, nowhere)  # noqa: S606
        self.shown = ""
        self._seen = 0

    def until(self, text: str, seconds: float = 60.0) -> None:
        """Wait until ``text`` is shown after what was awaited before."""
        deadline = time.monotonic() + seconds
        while text not in self.shown[self._seen :]:
            assert time.monotonic() < deadline, self.shown
            assert self._read(deadline), self.shown
        self._seen = self.shown.index(text, self._seen) + len(text)

    def answer(self, question: str, text: str) -> None:
        """Type ``text`` and Enter when ``question`` is shown."""
        self.until(question)
        # The echo is off only once the question was read by the program.
        time.sleep(0.05)
        os.write(self._end, text.encode() + b"\n")

    def press(self, key: bytes) -> None:
        """Press one key."""
        os.write(self._end, key)

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        deadline = time.monotonic() + 120
        while self._read(deadline):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._end], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
            return False
        try:
            data = os.read(self._end, 65536)
        except OSError:
            return False
        self.shown += data.decode("utf-8", errors="replace")
        return bool(data)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Venue]]:
    """Return a function that starts an exchange."""
    venues: list[Venue] = []

    def make(**options: object) -> Venue:
        venues.append(Venue(tmp_path / f"exchange-{len(venues)}", **options))
        return venues[-1]

    yield make
    for venue in venues:
        venue.stop()


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def files(root: Path) -> dict[str, bytes]:
    """Return what every file of a home holds, but for logs and locks."""
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not str(p.relative_to(root)).startswith(("logs", "data"))
    }


def test_a_dialogue(home: Path, start: Callable[..., Venue]) -> None:
    """Market, environment, keys that are not shown, a real test of them; again, nothing changes."""
    venue = start(profile=Profile.PAPER)
    home_of(home, venue.base, venue.ws_base, {"app": {"env": "demo"}})

    first = Terminal(home, "setup")
    first.answer("번호나 이름 [us]:", "")
    first.answer("번호나 이름 [demo]:", "모의")
    first.answer("가운데 하나를 골라 주세요.", "2")
    first.answer("KIS_PAPER_APP_KEY", SECRETS["KIS_PAPER_APP_KEY"])
    first.answer("KIS_PAPER_APP_SECRET", SECRETS["KIS_PAPER_APP_SECRET"])
    first.answer("KIS_PAPER_ACCOUNT", "1234")
    first.answer("계좌번호는 숫자", SECRETS["KIS_PAPER_ACCOUNT"])
    first.answer("KIS_HTS_ID", SECRETS["KIS_HTS_ID"])
    first.answer("메일로 알림을", "")
    first.answer("예약 실행(Prefect)", "")
    code = first.end()

    assert code == 0, first.shown
    assert "접근토큰을 받았고 현재가가 옵니다." in first.shown
    assert "make serve" in first.shown
    assert [v for n, v in SECRETS.items() if n != "KIS_HTS_ID" and v in first.shown] == []
    assert mode(home / ".env") == 0o600
    assert re.search(r"^env: paper$", (home / "config" / "app.yaml").read_text(), re.M)
    checked = trading(home, "check", "--env", "paper", "--json", timeout=60).json["findings"]
    assert {f["code"] for f in checked} >= {"KEYS", "KIS_TOKEN"}

    before = files(home)
    second = Terminal(home, "setup")
    for question in ("[us]:", "[paper]:", "APP_KEY", "APP_SECRET", "ACCOUNT", "HTS_ID"):
        second.answer(question, "")
    second.answer("메일로 알림을", "")
    second.answer("예약 실행(Prefect)", "n")
    assert (second.end(), files(home)) == (0, before)
    assert "[이미 있음]" in second.shown and "바뀐 것이 없습니다." in second.shown
    assert venue.journal("order") == []


def test_ctrl_c_leaves_nothing(home: Path) -> None:
    """Stopped in the middle of the questions, no file was written."""
    stopped = Terminal(home, "setup")
    stopped.answer("번호나 이름 [us]:", "krx")
    stopped.answer("번호나 이름 [demo]:", "real")
    stopped.answer("KIS_REAL_APP_KEY", "typed-before-the-stop")
    stopped.until("KIS_REAL_APP_SECRET")
    stopped.press(b"\x03")

    assert stopped.end() == 1
    assert files(home) == {}
    assert "멈췄습니다" in stopped.shown and "typed-before" not in stopped.shown


def test_a_script(home: Path) -> None:
    """Options only: configuration copied, secrets out of the environment, read back as they were."""
    words = ("setup", "--yes", "--env", "paper", "--market", "krx", "--save-keys",
             "--no-key-test", "--no-prefect", "--json")  # fmt: skip

    done = trading(home, *words, **SECRETS)
    again = trading(home, *words, **SECRETS)

    assert (done.code, again.code) == (0, 0), done.err
    assert done.json["changed"] == ["config", "choice", "secrets"]
    assert again.json["changed"] == []
    assert [v for v in SECRETS.values() if v in done.out + done.err] == []
    program = (
        "from pathlib import Path; import json, sys; from trading.config import load_secrets; "
        "s = load_secrets(Path(sys.argv[1])); "
        "print(json.dumps([getattr(s, n.lower()).get_secret_value() for n in sys.argv[2:]]))"
    )
    read = subprocess.run(
        [command(None)[0], "-c", program, str(home), *SECRETS],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    assert json.loads(read.stdout) == list(SECRETS.values())


def test_what_is_there_stays(home: Path) -> None:
    """Comments, other variables and other values; a secret gives way only to ``--replace``."""
    configure(home, {})
    shipped = (home / "config" / "app.yaml").read_text()
    (home / ".env").write_text("# 내 메모\nKIS_HTS_ID=old\nOTHER=1\n")
    (home / ".env").chmod(0o644)
    words = ("setup", "--yes", "--save-keys", "--no-key-test", "--no-prefect", "--json")

    kept = trading(home, *words, KIS_HTS_ID="new")
    assert (kept.code, kept.json["changed"]) == (1, ["secrets"])  # the permissions
    assert mode(home / ".env") == 0o600
    assert (home / ".env").read_text() == "# 내 메모\nKIS_HTS_ID=old\nOTHER=1\n"

    replaced = trading(home, *words, "--replace", KIS_HTS_ID="new", SMTP_PASSWORD="p w")
    assert (replaced.code, replaced.json["changed"]) == (0, ["secrets"])
    text = (home / ".env").read_text()
    assert text == "# 내 메모\nKIS_HTS_ID=new\nOTHER=1\nSMTP_PASSWORD='p w'\n"
    assert (home / "config" / "app.yaml").read_text() == shipped


def test_a_demo_without_records(home: Path) -> None:
    """The embedded history is American: who chooses the Korean market hears what is missing."""
    done = trading(home, "setup", "--yes", "--market", "krx", "--no-prefect")

    assert done.code == 1
    assert "data.dataset" in done.out


def test_values_that_cannot_be_kept(home: Path) -> None:
    """A reference to another variable, an account that is none: said, shown to nobody, not written."""
    words = ("setup", "--yes", "--save-keys", "--no-key-test", "--no-prefect")

    reference = trading(home, *words, SMTP_PASSWORD="x${HOME}y")
    account = trading(home, *words, KIS_REAL_ACCOUNT="77-88")

    assert (reference.code, account.code) == (2, 2)
    assert "SMTP_PASSWORD" in reference.err and "HOME" not in reference.err
    assert "계좌번호" in account.err and "77-88" not in account.err
    assert not (home / ".env").exists() and not (home / ".env.partial").exists()


def test_mail(home: Path) -> None:
    """The server is written into notify.yaml with its comments kept, and a test mail arrives."""
    server = Mailbox()
    server.listen()
    try:
        words = ("setup", "--yes", "--no-key-test", "--no-prefect", "--mail-host", "127.0.0.1",
                 "--mail-port", str(server.port), "--mail-security", "none", "--test-mail")  # fmt: skip
        done = trading(home, *words, TRADING_MAIL_TO="me@example.com")
        again = trading(home, *words, TRADING_MAIL_TO="me@example.com")
    finally:
        server.close()

    text = (home / "config" / "notify.yaml").read_text()
    assert (done.code, again.code) == (0, 0), done.out + done.err
    assert "시험 알림을 보냈습니다" in done.out and "바뀐 것이 없습니다." in again.out
    assert f"  port: {server.port}\n" in text and "# SMTP 서버 이름." in text
    assert len(server.mails) == 2


def test_mail_in_the_dialogue(home: Path) -> None:
    """Wrong numbers are asked again; the recipient is kept in .env and gets the test mail."""
    server = Mailbox()
    server.listen()
    try:
        asked = Terminal(home, "setup", "--env", "demo")
        asked.answer("번호나 이름 [us]:", "")
        asked.answer("번호나 이름 [demo]:", "")
        asked.answer("메일로 알림을", "y")
        asked.answer("SMTP 서버", "127.0.0.1")
        asked.answer("포트 [587]:", "99999")
        asked.answer("포트 [587]:", str(server.port))
        asked.answer("번호나 이름 [starttls]:", "none")
        asked.answer("로그인 이름", "")
        asked.answer("SMTP_PASSWORD", "")
        asked.answer("TRADING_MAIL_TO", "me@example.com")
        asked.answer("시험 메일을 지금", "")
        asked.answer("예약 실행(Prefect)", "n")
        code = asked.end()
    finally:
        server.close()

    assert code == 0, asked.shown
    assert [mail["To"] for mail in server.mails] == ["me@example.com"]
    assert (home / ".env").read_text() == "TRADING_MAIL_TO=me@example.com\n"


def test_a_dead_venue_is_said(home: Path) -> None:
    """Keys that cannot be tested are kept, and the command ends with a finding."""
    home_of(home, "http://127.0.0.1:1", "ws://127.0.0.1:1")

    done = trading(home, "setup", "--yes", "--save-keys", "--no-prefect", timeout=60, **KEYS)

    assert done.code == 1
    assert "접근토큰 실패" in done.out
    assert mode(home / ".env") == 0o600


def test_a_full_disk_leaves_nothing(home: Path) -> None:
    """No file may grow beyond a few kilobytes: one sentence, its exit code, and no half of a folder."""
    words = command(home, "setup", "--yes", "--no-prefect", "--env", "paper")

    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 8; exec "$@"', "-", *words],
        capture_output=True, text=True, env=environment(), cwd=home,
    )  # fmt: skip

    assert (done.returncode, "자리가 없어" in done.stderr) == (3, True), done.stderr
    assert files(home) == {}


def test_two_at_once(home: Path) -> None:
    """The second one is told; nobody's file is mixed with another's."""
    from filelock import FileLock

    (home / "data" / "run").mkdir(parents=True)
    with FileLock(home / "data" / "run" / "setup.lock"):
        second = trading(home, "setup", "--yes", "--no-prefect", "--env", "demo")

    assert second.code == 1 and "다른 setup" in second.err
    assert files(home) == {}


@pytest.mark.slow
def test_pool_and_automations_on_a_running_server(home: Path, tmp_path: Path) -> None:
    """Made once, found the second time; before there are deployments it says what to do."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "DO_NOT_TRACK": "true",
    }
    prefect = str(Path(sys.executable).with_name("prefect"))
    server = subprocess.Popen(
        [prefect, "server", "start", "--port", str(port)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=environment(**api), cwd=CHECKOUT,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 90
        while "Prefect 서버가 돌지 않아" in trading(home, "setup", "--yes", **api).out:
            assert time.monotonic() < deadline
        early = trading(home, "setup", "--yes", **api)
        subprocess.run(
            [prefect, "--no-prompt", "deploy", "--all"], check=True, capture_output=True,
            env=environment(**api), cwd=CHECKOUT,
        )  # fmt: skip
        made = trading(home, "setup", "--yes", **api)
        again = trading(home, "setup", "--yes", "--json", **api)
    finally:
        server.terminate()
        server.wait(30)

    assert early.code == 1 and "prefect deploy --all" in early.out
    assert made.code == 0 and "Prefect에 마련했습니다" in made.out
    assert (again.code, again.json["changed"]) == (0, [])


def test_not_on_a_terminal(home: Path) -> None:
    """A script is told which options it needs; the modes are listed and nothing is started."""
    asked = trading(home, "setup")
    modes = trading(home)

    assert (asked.code, modes.code) == (2, 0)
    assert "--yes" in asked.err
    assert "trading demo" in modes.out and "trading run --env real" in modes.out


def test_the_modes_on_a_terminal(home: Path) -> None:
    """A number runs its command with the same home and exit code; real money without its conditions does not."""
    checked = Terminal(home)
    checked.answer("번호 (그냥 Enter: 끝냄):", "99")
    checked.answer("번호를 골라 주세요.", "7")
    assert checked.end() in (0, 1)
    assert "기록 3,270거래일" in checked.shown

    real = Terminal(home)
    real.answer("번호 (그냥 Enter: 끝냄):", "3")
    assert real.end() == 2
    assert "차이 없이 마친 세션이 20회" in real.shown

    nothing = Terminal(home)
    nothing.answer("번호 (그냥 Enter: 끝냄):", "")
    assert nothing.end() == 0
