import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from mail_server import Mailbox, certificate
from pydantic import SecretStr, ValidationError

from trading.clock import ManualClock
from trading.domain.decision import Verdict
from trading.domain.order import Side
from trading.notify import Event, NotifySettings, OutboxNotifier, open_notifier, render
from trading.notify.settings import MailSettings

START = datetime(2012, 6, 1, 13, 30, tzinfo=UTC)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    yield box
    box.close()


def settings_for(mailbox: Mailbox | None = None, **overrides) -> NotifySettings:
    mail = {}
    if mailbox is not None:
        mail = {"host": "localhost", "port": mailbox.port, "security": "none"}
    return NotifySettings.model_validate({"mail": mail, **overrides})


def notifier(path: Path, settings: NotifySettings, clock=None) -> OutboxNotifier:
    return open_notifier(
        settings,
        path=path / "outbox.db",
        clock=clock or ManualClock(START),
        recipients=["a@example.org"],
    )


FILL = {
    "market": "us",
    "symbol": "AAPL",
    "side": Side.BUY,
    "quantity": 100,
    "price": 5_609_900,
    "verdict": Verdict.ALLOWED,
}


def test_shipped_settings_are_the_defaults():
    """The YAML shows every key with the value that the code takes without it."""
    text = Path(__file__).parents[2].joinpath("config/notify.yaml").read_text("utf-8")

    assert NotifySettings.model_validate(yaml.safe_load(text)) == NotifySettings()


def test_unknown_key_is_an_error():
    """A misspelled setting is found on load."""
    with pytest.raises(ValidationError):
        NotifySettings.model_validate({"mial": {}})


@pytest.mark.parametrize("event", list(Event))
def test_every_event_renders_with_and_without_fields(event):
    """A message is made whatever the caller knows."""
    assert render(event, {}).subject
    message = render(event, FILL | {"session": "2012-06-01"}, prefix="[AI 매매]")
    assert message.subject.startswith("[AI 매매] ")
    assert "$560.99" in message.text and "$560.99" in message.html
    assert "100주" in message.text
    assert "매수" in message.text
    assert "{" not in message.subject


def test_fields_read_as_people_read_them():
    """Money by market, percentages, codes, lines, and markup made harmless."""
    message = render(
        Event.HOURLY_STATUS,
        {
            "market": "krx",
            "equity": 100_000_000,
            "daily_return": 0.008,
            "state": "reducing",
            "positions": ["005930 10주", "000660 5주"],
            "market_state": {"한국": "장중", "미국": "마감"},
            "memory_mb": 512.25,
            "message": "<b>x</b>",
            "own_field": 3,
            "price": None,
            "ts": "2012-06-01T13:30:00+00:00",
            "reason": "GUARD_NO_CASH",
        },
    )

    assert "총자산: 100,000,000원" in message.text
    assert "오늘 수익률: +0.80 %" in message.text
    assert "거래 상태: 축소만 허용" in message.text
    assert "005930 10주\n000660 5주" in message.text
    assert "한국: 장중\n미국: 마감" in message.text
    assert "메모리 (MB): 512.2" in message.text
    assert "own_field: 3" in message.text
    assert "가격" not in message.text
    assert "시각: 2012-06-01 22:30:00 KST" in message.text
    assert "사유: 거부: 쓸 수 있는 현금 부족" in message.text
    assert "<b>x</b>" not in message.html


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        ([["2024-01-02", 0], ["2024-01-03", 100], ["2024-01-04", 110]], "계좌 +10.00 %"),
        ([["2024-01-02", 100], ["2024-01-03", None], ["2024-01-04", 90]], "계좌 -10.00 %"),
        ([["2024-01-02", 100], ["2024-01-03", float("nan")], ["2024-01-04", 90]], "계좌 -10.00 %"),
        ([["2024-01-02", 0], ["2024-01-03", 0]], "총자산: 0원"),
        ([["2024-01-02", "없음"], ["2024-01-03", 0]], "총자산: 0"),
    ],
)
def test_a_curve_that_begins_with_nothing_keeps_no_message_back(curve, said):
    """An account that was empty, a point that is not known: the rest is told and drawn."""
    message = render(Event.DAILY_REPORT, {"market": "krx", "equity": 0, "curve": curve})

    assert said in message.text
    assert len(message.pictures) == ("계좌" in said)


def test_mail_arrives_with_text_html_and_report(mailbox, tmp_path):
    """One message is one mail with both bodies and the report attached."""
    mailbox.listen()
    report = tmp_path / "report.html"
    report.write_text("<h1>보고서</h1>", encoding="utf-8")
    out = notifier(tmp_path, settings_for(mailbox))

    out.send(Event.DAILY_REPORT, {"market": "us", "session": date(2012, 6, 1), "report": report})

    assert out.pending() == 1
    assert out.deliver_due() == 1
    assert out.pending() == 0
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[AI 매매] 미국 2012-06-01 일일 보고서"
    assert mail["To"] == "a@example.org"
    assert "거래일: 2012-06-01" in mail.get_body(("plain",)).get_content()
    assert "<table" in mail.get_body(("html",)).get_content()
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "report.html"
    assert "보고서" in attached.get_content()


def test_starttls_with_login(mailbox, tmp_path, monkeypatch):
    """The connection is protected before the password leaves."""
    server_side, authority = certificate(tmp_path)
    seen = []

    def authenticate(server, session, envelope, mechanism, data):
        from aiosmtpd.smtp import AuthResult

        seen.append((data.login, data.password))
        return AuthResult(success=True)

    mailbox.listen(
        tls_context=server_side,
        require_starttls=True,
        auth_required=True,
        authenticator=authenticate,
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    settings = NotifySettings.model_validate(
        {"mail": {"host": "localhost", "port": mailbox.port, "username": "me@example.org"}}
    )
    out = open_notifier(
        settings,
        path=tmp_path / "outbox.db",
        clock=ManualClock(START),
        recipients=["a@example.org"],
        password=SecretStr("sesame"),
    )

    out.send(Event.ORDER_FILLED, FILL)

    assert out.deliver_due() == 1
    assert seen == [(b"me@example.org", b"sesame")]
    assert mailbox.mails[0]["From"] == "AI 매매 <me@example.org>"


def test_refused_certificate_is_a_failed_delivery(mailbox, tmp_path):
    """A server that cannot prove its name gets neither mail nor password, and no exception."""
    server_side, _ = certificate(tmp_path)
    mailbox.listen(tls_context=server_side)
    settings = NotifySettings.model_validate({"mail": {"host": "localhost", "port": mailbox.port}})
    out = notifier(tmp_path, settings)

    out.send(Event.ORDER_FILLED, FILL)

    assert out.deliver_due() == 0
    assert out.pending() == 1
    assert mailbox.mails == []


def test_failed_mail_is_tried_again_after_the_delay(mailbox, tmp_path):
    """A server that is busy once gets the mail later, and gets it once."""
    mailbox.listen()
    mailbox.refusals = 1
    clock = ManualClock(START)
    out = notifier(tmp_path, settings_for(mailbox), clock)
    out.send(Event.ERROR, {"stage": "장중", "message": "시험"})

    first = out.deliver_due()
    too_early = out.deliver_due()
    clock.set(START + timedelta(seconds=31))
    second = out.deliver_due()

    assert (first, too_early, second) == (0, 0, 1)
    assert len(mailbox.mails) == 1


def test_outbox_survives_a_restart(mailbox, tmp_path):
    """What was written by a process that died is sent by the next one."""
    mailbox.listen()
    settings = settings_for(mailbox)
    notifier(tmp_path, settings).send(Event.ORDER_FILLED, FILL)

    later = notifier(tmp_path, settings, ManualClock(START + timedelta(hours=1)))

    assert later.deliver_due() == 1
    assert later.deliver_due() == 0
    assert len(mailbox.mails) == 1


def test_same_key_is_told_once(tmp_path):
    """A restarted session does not tell the same thing twice."""
    out = notifier(tmp_path, settings_for())
    for _ in range(2):
        out.send(Event.SESSION_STARTED, {"market": "us", "key": "us-2012-06-01-start"})
    out.send(Event.SESSION_STARTED, {"market": "us"})

    assert out.pending() == 2


def test_currency_says_how_money_reads():
    """The currency itself is no line of the message."""
    message = render(Event.ORDER_FILLED, {"currency": "USD", "amount": 12_345_600})

    assert "금액: $1,234.56" in message.text
    assert "currency" not in message.text


def test_gives_up_after_the_last_attempt(tmp_path):
    """A dead address is not tried for ever."""
    clock = ManualClock(START)
    settings = NotifySettings.model_validate(
        {"webhook": {"url": "http://127.0.0.1:9/none"}, "retry": {"max_attempts": 2}}
    )
    out = notifier(tmp_path, settings, clock)
    out.send(Event.ERROR, {"message": "시험"})

    for hours in range(3):
        clock.set(START + timedelta(hours=hours))
        assert out.deliver_due() == 0

    assert out.pending() == 0


def test_webhook_gets_json_and_a_dead_one_does_not_double_the_mail(mailbox, tmp_path):
    """Each channel has its own row: one failing leaves the other alone."""
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body))
            self.send_response(500 if len(received) == 1 else 204)
            self.end_headers()

        def log_message(self, *args):
            pass

    mailbox.listen()
    clock = ManualClock(START)
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/hook"
        out = notifier(tmp_path, settings_for(mailbox, webhook={"url": url}), clock)
        out.send(Event.ORDER_FILLED, FILL)
        first = out.deliver_due()
        clock.set(START + timedelta(minutes=1))
        second = out.deliver_due()
        server.shutdown()

    assert (first, second) == (1, 1)
    assert len(mailbox.mails) == 1
    assert received[1]["event"] == "order_filled"
    assert received[1]["subject"] == "[AI 매매] AAPL 매수 100주 체결"


def test_send_never_raises(tmp_path):
    """A broken outbox costs the message, not the trade."""
    out = notifier(tmp_path, settings_for())
    (tmp_path / "outbox.db").write_bytes(b"not a database at all, not even nearly" * 50)

    out.send(Event.ORDER_FILLED, FILL)


def test_unwanted_events_are_left_out(tmp_path):
    """The operator's list decides."""
    out = notifier(tmp_path, settings_for(events=["error"]))

    out.send(Event.ORDER_FILLED, FILL)

    assert out.pending() == 0


def test_without_channels_the_log_takes_them(tmp_path):
    """Nothing configured is no failure: the log has it and the outbox is empty."""
    out = notifier(tmp_path, NotifySettings())
    out.send(Event.ORDER_FILLED, FILL)
    out.send(Event.ORDER_FILLED, FILL)

    assert out.deliver_due() == 2
    assert out.pending() == 0


def test_mail_without_recipients_falls_back_to_the_log(mailbox, tmp_path):
    """A server alone is not enough; the message still goes somewhere."""
    mailbox.listen()
    out = open_notifier(
        settings_for(mailbox), path=tmp_path / "outbox.db", clock=ManualClock(START)
    )
    out.send(Event.ORDER_FILLED, FILL)

    assert out.deliver_due() == 1
    assert mailbox.mails == []


def test_thread_delivers_by_itself(mailbox, tmp_path):
    """A started notifier needs nobody to push it."""
    mailbox.listen()
    out = notifier(tmp_path, settings_for(mailbox))
    out.start()

    out.send(Event.SESSION_STARTED, {"market": "us"})

    assert mailbox.arrived.wait(20)
    out.close()
    assert out.pending() == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", None])
def test_mail_goes_in_clear_to_this_computer_alone(host):
    """``none`` is for a server of this computer; to another one password and figures would be open."""
    assert MailSettings(host=host, security="none").security == "none"
    assert MailSettings(host="smtp.example.com", security="tls").security == "tls"
    with pytest.raises(ValueError, match="이 컴퓨터 안의 서버에만"):
        MailSettings(host="smtp.example.com", security="none")
