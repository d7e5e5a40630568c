"""Mail and webhooks over real sockets: what arrives, and what is said when nothing does."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiosmtpd.smtp import AuthResult
from mail_server import Mailbox, certificate
from program import configure, trading
from pydantic import SecretStr

from trading.clock import ManualClock
from trading.errors import ConfigError
from trading.notify import Event, NotifySettings, open_notifier
from trading.notify.probe import Probe, probe

START = datetime(2012, 6, 1, 13, 30, tzinfo=UTC)
SECRET = "/hooks/very-secret-path"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    yield box
    box.close()


class Hook:
    """A real HTTP server that keeps what is posted and answers as it is told."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.status, self.headers = 204, {}
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.bodies.append(json.loads(body))
                self.send_response(hook.status)
                for name, value in hook.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}{SECRET}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.close()


def opened(folder: Path, mail=None, webhook=None, *, recipients=("a@example.org",), password=None):
    settings = NotifySettings.model_validate({"mail": mail or {}, "webhook": webhook or {}})
    return open_notifier(
        settings,
        path=folder / "outbox.db",
        clock=ManualClock(START),
        recipients=recipients,
        password=SecretStr(password) if password is not None else None,
    )


def plain(mailbox: Mailbox, **more) -> dict:
    return {"host": "localhost", "port": mailbox.port, "security": "none", **more}


def probed(out) -> Probe:
    (found,) = probe(out.channels, at=START, prefix="[AI 매매]")
    return found


CURVE = [["2005-03-07", 1_000_000_000], ["2005-03-08", 999_808_400], ["2005-03-09", 997_301_300]]


def test_a_report_carries_its_curve_inside(mailbox, tmp_path):
    """Text, HTML with the picture it names, and the page as a file, in a mail with Korean names."""
    mailbox.listen()
    page = tmp_path / "report.html"
    page.write_text("<h1>보고서</h1>", encoding="utf-8")
    out = opened(
        tmp_path,
        plain(mailbox, sender="bot@example.org", sender_name="자동 매매"),
        recipients=["홍길동 <a@example.org>", "b@example.org"],
    )
    out.send(
        Event.DAILY_REPORT,
        {
            "market": "us",
            "session": "2005-03-09",
            "daily_return": -0.0025,
            "curve": CURVE,
            "benchmark": [["2005-03-07", 1225.31], ["2005-03-09", 1207.01]],
            "report": page,
        },
    )

    assert out.deliver_due() == 1
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[AI 매매] 미국 2005-03-09 일일 보고서 -0.25 %"
    assert mail["From"] == "자동 매매 <bot@example.org>"
    assert mail["To"] == "홍길동 <a@example.org>, b@example.org"
    html = mail.get_body(("html",)).get_content()
    assert 'src="cid:curve0"' in html
    (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert picture["Content-ID"] == "<curve0>"
    assert picture.get_content()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(picture.get_content()) < 60_000
    text = mail.get_body(("plain",)).get_content()
    assert "자산 곡선: 계좌 -0.27 % (가장 낮을 때 -0.27 %, 가장 높을 때 +0.00 %)" in text
    assert "기준 지표 -1.49 %" in text
    (attached,) = [part for part in mail.walk() if part.get_filename() == "report.html"]
    assert "보고서" in attached.get_content()


def test_several_in_one_keep_their_pictures_apart(mailbox, tmp_path):
    """Two statuses in one mail name two pictures."""
    mailbox.listen()
    settings = NotifySettings.model_validate(
        {"mail": plain(mailbox), "batch": {"groups": [["hourly_status"]]}}
    )
    out = open_notifier(
        settings, path=tmp_path / "o.db", clock=ManualClock(START), recipients=["a@example.org"]
    )
    for hour in (14, 15):
        ts = f"2005-03-08T{hour}:30:00+00:00"
        curve = [["2005-03-08T14:00:00+00:00", 1_000_000_000], [ts, 999_808_400]]
        out.send(Event.HOURLY_STATUS, {"market": "us", "ts": ts, "curve": curve})

    assert out.deliver_due() == 2
    (mail,) = mailbox.mails
    pictures = [
        part["Content-ID"] for part in mail.walk() if part.get_content_type() == "image/png"
    ]
    assert pictures == ["<curve0>", "<curve1>"]
    assert mail["Subject"] == "[AI 매매] 미국 매시 상태 2건"


@pytest.mark.parametrize("security", ["none", "starttls"])
def test_a_test_message_arrives(mailbox, tmp_path, monkeypatch, security):
    """Sent right now, with its time and where from."""
    context, authority = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    mailbox.listen(**({} if security == "none" else {"tls_context": context}))
    out = opened(tmp_path, plain(mailbox, security=security))

    found = probed(out)

    assert found.is_fine
    assert "메일: 시험 알림을 보냈습니다" in found.text()
    assert mailbox.mails[0]["Subject"] == "[AI 매매] 알림 시험: 이 글이 보이면 알림이 잘 옵니다"
    assert out.pending() == 0


def test_a_wrong_password(mailbox, tmp_path, monkeypatch):
    """Refused by the server: a setting, with what such services want."""
    context, authority = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    mailbox.listen(
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=lambda *_: AuthResult(success=False, handled=False),
    )
    mail = plain(mailbox, security="starttls", username="me@example.org")

    found = probed(opened(tmp_path, mail, password="nonsense"))
    missing = probed(opened(tmp_path, mail))

    assert found.cause == "메일 서버가 로그인을 거절했습니다"
    assert found.detail.startswith("535")
    assert "앱 비밀번호" in found.remedy
    assert found.is_setting and not found.delivered
    assert "nonsense" not in found.text()
    assert "SMTP_PASSWORD" in missing.remedy and missing.is_setting
    assert mailbox.mails == []


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("smtp.gmail.com", "앱 비밀번호(16자리)"),
        ("smtp.naver.com", "IMAP/SMTP를 사용함"),
        ("smtp.kakao.com", "카카오"),
        ("smtp.office365.com", "마이크로소프트"),
    ],
)
def test_a_refused_login_says_what_that_service_wants(host, said):
    """Each of the usual services has its own way of refusing an account's password."""
    import aiosmtplib

    from trading.notify.channels import mail_failure
    from trading.notify.settings import MailSettings

    refused = aiosmtplib.SMTPAuthenticationError(535, "5.7.8 Username and Password not accepted")

    assert said in mail_failure(refused, MailSettings(host=host)).remedy


def test_a_server_that_wants_protection_before_the_login(mailbox, tmp_path):
    """Login without TLS is not offered: the remedy names the setting."""
    context, _ = certificate(tmp_path)
    mailbox.listen(tls_context=context, auth_required=True)

    found = probed(opened(tmp_path, plain(mailbox, username="me@example.org"), password="x1234"))

    assert found.is_setting
    assert "mail.security" in found.remedy


def test_a_recipient_that_is_refused(mailbox, tmp_path):
    """All refused: a failure. Some: the others have it, once, and it is said."""
    mailbox.listen()
    mailbox.refused_recipients = ("no@example.org",)

    alone = probed(opened(tmp_path, plain(mailbox), recipients=["no@example.org"]))
    both = probed(opened(tmp_path, plain(mailbox), recipients=["no@example.org", "a@example.org"]))

    assert alone.cause == "메일 서버가 받는 사람을 모두 거절했습니다"
    assert alone.detail == "550 no such user here"
    assert both.delivered and not both.is_fine
    assert "2명 가운데 1명" in both.remark
    assert len(mailbox.mails) == 1


def test_a_server_that_repeats_the_address_of_a_name(mailbox, tmp_path):
    """The recipients are secrets, also where the address is only a part of what was given."""
    mailbox.listen()
    mailbox.refused_recipients = ("no@example.org",)
    mailbox.refusal = "550 <no@example.org>: no such user here"

    alone = probed(opened(tmp_path, plain(mailbox), recipients=["홍길동 <no@example.org>"]))

    assert alone.detail == "550 <***>: no such user here"


def test_a_certificate_that_nobody_signed(mailbox, tmp_path):
    """Neither mail nor password leave; the remedy is the host's name or the signer."""
    context, _ = certificate(tmp_path)
    mailbox.listen(tls_context=context)

    found = probed(opened(tmp_path, plain(mailbox, security="starttls")))

    assert found.cause.startswith("메일 서버의 인증서를 믿을 수 없습니다")
    assert found.is_setting
    assert mailbox.mails == []


@pytest.mark.parametrize(
    ("security", "said"),
    [("tls", "TLS 연결을 맺지 못했습니다"), ("starttls", "STARTTLS를 모릅니다")],
)
def test_the_wrong_protection_for_the_port(mailbox, tmp_path, security, said):
    """A plain server asked for TLS at once, or for STARTTLS that it does not know."""
    mailbox.listen()

    found = probed(opened(tmp_path, plain(mailbox, security=security, timeout_seconds=5)))

    assert said in found.cause
    assert "mail.security" in found.remedy
    assert found.is_setting


def test_a_server_that_hangs(mailbox, tmp_path):
    """Given up after the time of the settings, and not a setting's fault."""
    mailbox.listen()
    mailbox.hangs = True

    found = probed(opened(tmp_path, plain(mailbox, timeout_seconds=0.5)))

    assert "0.5초 안에 대답하지 않았습니다" in found.cause
    assert not found.is_setting
    assert found.seconds < 5


def test_nobody_there_and_no_such_name(tmp_path):
    """A port where nobody listens, and a name that no server has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    closed = probed(opened(tmp_path, {"host": "127.0.0.1", "port": port, "security": "none"}))
    unknown = probed(opened(tmp_path, {"host": "mail.invalid", "timeout_seconds": 5}))

    assert closed.cause == f"메일 서버에 접속할 수 없습니다: 127.0.0.1:{port}"
    assert "이름을 찾을 수 없습니다" in unknown.cause or "접속할 수 없습니다" in unknown.cause


@pytest.mark.parametrize("address", ["secret-name", "@secret-name"])
def test_an_address_that_is_none_is_a_configuration_error(tmp_path, address):
    """Found when the notifier opens, without showing the address."""
    with pytest.raises(ConfigError, match="TRADING_MAIL_TO") as caught:
        opened(tmp_path, {"host": "localhost"}, recipients=[address])

    assert "secret-name" not in str(caught.value)


def test_a_dead_mail_server_holds_no_webhook_up(mailbox, hook, tmp_path):
    """Both ways go side by side: the webhook has it while the mail still waits."""
    mailbox.listen()
    mailbox.hangs = True
    out = opened(tmp_path, plain(mailbox, timeout_seconds=3), {"url": hook.url})
    out.send(Event.RISK_EVENT, {"market": "us", "message": "하루 손실 한도"})
    delivering = threading.Thread(target=out.deliver_due)
    delivering.start()
    while not hook.bodies and delivering.is_alive():
        delivering.join(0.02)
    arrived_first = delivering.is_alive()
    delivering.join(20)

    assert arrived_first
    assert out.pending() == 1


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        (
            {"format": "json"},
            {
                "event": "risk_event",
                "subject": "[AI 매매] 위험 알림 <한도> & *손실*",
                "text": "위험 알림 <한도> & *손실*\n\n시장: 미국\n내용: <한도> & *손실*\n",
            },
        ),
        (
            {"format": "slack"},
            {
                "text": "*[AI 매매] 위험 알림 &lt;한도&gt; &amp; *손실**\n"
                "시장: 미국\n내용: &lt;한도&gt; &amp; *손실*"
            },
        ),
        (
            {"format": "discord"},
            {
                "content": "**[AI 매매] 위험 알림 <한도> & *손실***\n시장: 미국\n내용: <한도> & *손실*",
                "allowed_mentions": {"parse": []},
            },
        ),
        (
            {"format": "telegram", "chat_id": "42"},
            {
                "chat_id": "42",
                "text": "[AI 매매] 위험 알림 <한도> & *손실*\n시장: 미국\n내용: <한도> & *손실*",
            },
        ),
    ],
)
def test_each_service_gets_its_own_body(hook, tmp_path, settings, body):
    """Slack, Discord and Telegram each take another shape; plain JSON is the default."""
    out = opened(tmp_path, webhook={"url": hook.url, **settings})
    out.send(Event.RISK_EVENT, {"market": "us", "message": "<한도> & *손실*"})

    assert out.deliver_due() == 1
    assert hook.bodies == [body]


def test_a_long_text_is_cut_to_what_the_service_takes(hook, tmp_path):
    """Discord refuses more than 2,000 letters: the rest is left out, and that is said."""
    out = opened(tmp_path, webhook={"url": hook.url, "format": "discord"})
    out.send(Event.HOURLY_STATUS, {"positions": [f"종목 {n}" for n in range(900)]})

    assert out.deliver_due() == 1
    content = hook.bodies[0]["content"]
    assert len(content) <= 2000
    assert content.endswith("(뒤는 줄였습니다)")


@pytest.mark.parametrize(
    ("status", "said", "is_setting"),
    [
        (404, "주소가 없거나 권한이 없습니다", True),
        (400, "본문을 거절했습니다", True),
        (301, "다른 주소로 가라고 합니다", True),
        (429, "너무 잦다고 합니다", False),
        (503, "서버가 오류를 냈습니다", False),
    ],
)
def test_a_webhook_that_refuses(hook, tmp_path, status, said, is_setting):
    """What the answer means, and that the address itself is never shown."""
    hook.status = status

    found = probed(opened(tmp_path, webhook={"url": hook.url}))

    assert said in found.cause
    assert found.is_setting is is_setting
    assert SECRET not in json.dumps(found.to_json()) + found.text()


def test_a_webhook_that_asks_for_patience_gets_it(hook, tmp_path):
    """Retry-After decides when the next try is made."""
    hook.status, hook.headers = 429, {"Retry-After": "120"}
    out = opened(tmp_path, webhook={"url": hook.url})
    clock = out._clock
    out.send(Event.RISK_EVENT, {"message": "한도"})
    out.deliver_due()
    hook.status = 204
    clock.set(START + timedelta(seconds=100))
    too_early = out.deliver_due()
    clock.set(START + timedelta(seconds=121))

    assert (too_early, out.deliver_due()) == (0, 1)


CHILD = """
import sys, time
from pathlib import Path
from trading.clock import WallClock
from trading.notify import NotifySettings, open_notifier
mail = {"host": "127.0.0.1", "port": int(sys.argv[2]), "security": "none", "timeout_seconds": 30}
settings = NotifySettings.model_validate({"mail": mail})
out = open_notifier(settings, path=Path(sys.argv[1]), clock=WallClock(), recipients=["a@b.org"])
out.start()
for number in range(3):
    out.send("session_started", {"market": "us", "session": str(number)})
time.sleep(60)
"""


def test_killed_while_sending_nothing_is_lost(mailbox, tmp_path):
    """What a killed process had on its way, and what waited behind it, goes out later, once."""
    mailbox.listen()
    mailbox.hangs = True
    path = tmp_path / "outbox.db"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(mailbox.port)])
    try:
        assert mailbox.asked.wait(30)
    finally:
        child.kill()
        child.wait()
    mailbox.hangs = False
    settings = NotifySettings.model_validate({"mail": plain(mailbox)})
    clock = ManualClock(datetime.now(UTC) + timedelta(seconds=40))

    again = open_notifier(settings, path=path, clock=clock, recipients=["a@b.org"])

    assert again.deliver_due() == 3
    assert again.deliver_due() == 0
    assert sorted(mail["Subject"][-6:] for mail in mailbox.mails) == [
        "0 장 시작",
        "1 장 시작",
        "2 장 시작",
    ]


def test_the_command_tells_how_each_way_fared(mailbox, hook, home):
    """``trading notify test``: 0 when all went out, 2 for a setting, 3 for a server that fails."""
    mailbox.listen()
    mail = {"host": "127.0.0.1", "port": mailbox.port, "security": "none", "timeout_seconds": 1}
    configure(home, {"notify": {"mail": mail, "webhook": {"url": hook.url}}})

    fine = trading(home, "notify", "test", TRADING_MAIL_TO="a@example.org")
    no_recipient = trading(home, "notify", "test", "--json")
    mailbox.hangs = True
    hanging = trading(home, "notify", "test", TRADING_MAIL_TO="a@example.org")

    assert fine.code == 0
    assert fine.out.count("시험 알림을 보냈습니다") == 2
    assert no_recipient.code == 2
    assert [one["delivered"] for one in no_recipient.json["channels"]] == [False, True]
    assert hanging.code == 3
    assert "원인: 127.0.0.1" in hanging.out and "할 일:" in hanging.out
    for answer in (fine, no_recipient, hanging):
        assert SECRET not in answer.out + answer.err
    assert len(mailbox.mails) == 1
    assert len(hook.bodies) == 3


def test_the_command_without_any_way_out(home):
    """Nothing is configured: what to set, and exit code 2."""
    answer = trading(home, "notify", "test")

    assert answer.code == 2
    assert "설정된 통로가 없습니다" in answer.out


def test_the_webhook_of_the_environment_goes_first(hook, home):
    """An address in TRADING_WEBHOOK_URL needs none in the file, and shows nowhere."""
    answer = trading(home, "notify", "test", TRADING_WEBHOOK_URL=hook.url)

    assert answer.code == 0, answer.out
    assert len(hook.bodies) == 1
    assert SECRET not in answer.out + answer.err
