"""The ways out: mail by SMTP, a webhook, and the log where neither is configured.

A channel hands one message over or raises ``DeliveryError``, which says in Korean why and what to
do. When something is tried, and again, is ``outbox``.
"""

import logging
import ssl
from collections.abc import Sequence
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, getaddresses, parseaddr
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from trading.errors import ConfigError, DeliveryError
from trading.log import get_logger, masked, register_secret
from trading.notify.message import Message
from trading.notify.settings import MailSettings, WebhookSettings

if TYPE_CHECKING:
    import httpx

log = get_logger(__name__)

# The most letters that a service takes in one message.
_LONGEST = {"slack": 39_000, "discord": 2_000, "telegram": 4_096}
_CUT = "\n… (뒤는 줄였습니다)"
# A proxy's or service's word on an error may be a whole page.
_LONGEST_ANSWER = 200


class Channel(Protocol):
    """One way out."""

    name: str

    @property
    def target(self) -> str:
        """Where it goes, without anything secret."""
        ...

    async def deliver(self, message: Message, *, message_id: str, at: datetime) -> str:
        """Hand the message over; return "" or a Korean sentence on what was not quite right.

        ``message_id`` stays the same when the same message is sent again: a mail program shows it
        once. Raises ``DeliveryError``.
        """
        ...


class MailChannel:
    """SMTP, with the password and the recipients from the environment."""

    name = "mail"

    def __init__(
        self, settings: MailSettings, *, recipients: Sequence[str], password: SecretStr | None
    ) -> None:
        """Take the addresses apart; ``ConfigError`` when one is none."""
        self._settings = settings
        self._password = password
        self._recipients = [_address(text, "TRADING_MAIL_TO") for text in recipients]
        for one in self._recipients:
            # A server that refuses one repeats it, without the name.
            register_secret(one.addr_spec)
        sender = settings.sender or settings.username or "trading@localhost"
        self._sender = _address(sender, "mail.sender", name=settings.sender_name)

    @property
    def target(self) -> str:
        """See ``Channel``."""
        settings = self._settings
        return (
            f"{settings.host}:{settings.port} ({settings.security}), "
            f"받는 사람 {len(self._recipients)}명"
        )

    async def deliver(self, message: Message, *, message_id: str, at: datetime) -> str:
        """Send text, HTML with its pictures, and attachments to every recipient."""
        import aiosmtplib

        settings = self._settings
        if settings.username is not None and self._password is None:
            raise DeliveryError(
                "로그인할 비밀번호가 없습니다",
                remedy="SMTP_PASSWORD를 환경 변수나 .env에 넣거나, 로그인이 없는 서버면 "
                "config/notify.yaml의 mail.username을 null로 두십시오.",
                is_setting=True,
            )
        try:
            async with aiosmtplib.SMTP(
                hostname=settings.host,
                port=settings.port,
                use_tls=settings.security == "tls",
                start_tls=settings.security == "starttls",
                username=settings.username,
                password=None if self._password is None else self._password.get_secret_value(),
                timeout=settings.timeout_seconds,
                tls_context=None if settings.security == "none" else ssl.create_default_context(),
            ) as server:
                refused, _ = await server.send_message(
                    self._mail(message, message_id, at),
                    sender=self._sender.addr_spec,
                    recipients=[one.addr_spec for one in self._recipients],
                )
        except (OSError, ValueError, aiosmtplib.SMTPException) as error:
            raise mail_failure(error, settings) from error
        if not refused:
            return ""
        # Those who took it must not get it again: it counts as sent.
        code, answer = next(iter(refused.values()))
        return (
            f"받는 사람 {len(self._recipients)}명 가운데 {len(refused)}명을 서버가 거절했습니다: "
            f"{code} {_one_line(answer)}"
        )

    def _mail(self, message: Message, message_id: str, at: datetime) -> EmailMessage:
        mail = EmailMessage(policy=SMTP_POLICY)
        mail["Subject"] = " ".join(message.subject.split())
        mail["From"] = self._sender
        mail["To"] = self._recipients
        mail["Date"] = format_datetime(at)
        mail["Message-ID"] = f"<{message_id}@{self._sender.domain or 'localhost'}>"
        # No holiday answer comes back to a machine.
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        mail.add_alternative(message.html, subtype="html")
        html = mail.get_payload(1)
        assert isinstance(html, EmailMessage)
        for picture in message.pictures:
            html.add_related(
                picture.png, "image", "png", cid=f"<{picture.cid}>", disposition="inline",
                filename=f"{picture.cid}.png",
            )  # fmt: skip
        for path in message.attachments:
            self._attach(mail, path)
        return mail

    def _attach(self, mail: EmailMessage, path: Path) -> None:
        try:
            content = path.read_text("utf-8")
        except (OSError, ValueError) as error:
            log.warning("첨부할 파일을 읽지 못함", path=str(path), reason=str(error))
            return
        mail.add_attachment(content, subtype="html", filename=path.name)


class WebhookChannel:
    """A JSON POST, in the shape that the receiving service expects."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings, *, url: SecretStr) -> None:
        self._settings = settings
        self._url = url.get_secret_value()
        # It would write the whole address, which is the secret, into whatever log listens.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    @property
    def target(self) -> str:
        """See ``Channel``: the host alone, because the path is often the secret."""
        return f"{urlsplit(self._url).hostname or '주소 없음'} ({self._settings.format})"

    async def deliver(self, message: Message, *, message_id: str, at: datetime) -> str:
        """Post the message; any status but 2xx is a failure."""
        import httpx

        timeout = self._settings.timeout_seconds
        try:
            async with httpx.AsyncClient(timeout=timeout) as client:
                answer = await client.post(self._url, json=self._body(message))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _webhook_failure(error, timeout) from None  # its text may hold the address
        if not answer.is_success:
            raise _refused_webhook(answer)
        return ""

    def _body(self, message: Message) -> dict[str, Any]:
        kind = self._settings.format
        # The text begins with the title, which the subject repeats behind its prefix.
        rest = message.text.partition("\n")[2].strip("\n")
        match kind:
            case "slack":
                head = f"*{_slack_text(message.subject)}*"
                return {"text": _cut(f"{head}\n{_slack_text(rest)}", kind)}
            case "discord":
                text = _cut(f"**{message.subject}**\n{rest}", kind)
                return {"content": text, "allowed_mentions": {"parse": []}}
            case "telegram":
                text = _cut(f"{message.subject}\n{rest}", kind)
                return {"chat_id": self._settings.chat_id, "text": text}
            case _:
                return {"event": message.event, "subject": message.subject, "text": message.text}


class LogChannel:
    """The log, when no other way out is configured; says so once."""

    name = "log"
    target = "logs/trading.jsonl"

    def __init__(self) -> None:
        self._said = False

    async def deliver(self, message: Message, *, message_id: str, at: datetime) -> str:
        """Log the subject, for a developer: the log has told of the event itself already."""
        if not self._said:
            self._said = True
            log.info(
                "메일과 웹훅 설정 없음, 알림은 로그와 보관함에만 남음", file="config/notify.yaml"
            )
        log.debug("알림", event_name=message.event, subject=message.subject)
        return ""


def mail_failure(error: Exception, settings: MailSettings) -> DeliveryError:
    """Return what an SMTP failure means and what the operator does about it."""
    import aiosmtplib

    where = f"{settings.host}:{settings.port}"
    code = getattr(error, "code", None)
    detail = _one_line(f"{code} {getattr(error, 'message', '')}" if code else str(error))
    cause, remedy, is_setting = "메일을 보내지 못했습니다", _LOOK_AT_MAIL, False
    # A failed handshake is wrapped in a connection error.
    tls = next((e for e in (error, error.__cause__) if isinstance(e, ssl.SSLError)), None)
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            cause = "메일 서버가 로그인을 거절했습니다"
            remedy = _password_remedy(settings.host or "")
            is_setting = not _is_passing(code)
        case aiosmtplib.SMTPRecipientsRefused():
            first = error.recipients[0]
            code, detail = first.code, _one_line(f"{first.code} {first.message}")
            cause = "메일 서버가 받는 사람을 모두 거절했습니다"
            remedy = "TRADING_MAIL_TO의 주소를 확인하십시오. 바깥 주소로는 로그인해야 보내 주는 서버도 많습니다."
            is_setting = not _is_passing(code)
        case aiosmtplib.SMTPSenderRefused():
            cause = "메일 서버가 보내는 사람을 거절했습니다"
            remedy = (
                "config/notify.yaml의 mail.sender를 로그인한 주소와 같게 하십시오. 로그인이 필요한 "
                "서버면 mail.username과 SMTP_PASSWORD를 정하십시오."
            )
            is_setting = not _is_passing(code)
        case aiosmtplib.SMTPDataError() if code in (552, 554):
            cause = "메일 서버가 내용을 거절했습니다 (크기나 스팸 규칙)"
            remedy = "서버의 크기 한도와 스팸 규칙을 확인하십시오."
            is_setting = True
        case _ if tls is not None:
            cause, remedy = _tls_failure(tls, settings)
            detail, is_setting = _one_line(str(tls)), True
        case aiosmtplib.SMTPTimeoutError():
            cause = f"{where} 이(가) {settings.timeout_seconds:g}초 안에 대답하지 않았습니다"
            remedy = (
                "mail.host와 mail.port를 확인하십시오. 465 포트는 security: tls, 587 포트는 starttls이며, "
                "둘이 어긋나면 서로 기다리다 끝납니다. 방화벽이 나가는 SMTP를 막는 곳도 많습니다."
            )
        case aiosmtplib.SMTPConnectError() if _is_unknown_host(error):
            cause = f"메일 서버의 이름을 찾을 수 없습니다: {settings.host}"
            remedy = "config/notify.yaml의 mail.host를 확인하고, 이 컴퓨터의 인터넷과 DNS를 확인하십시오."
        case aiosmtplib.SMTPConnectResponseError():
            cause = f"메일 서버가 접속을 받지 않습니다: {where}"
        case aiosmtplib.SMTPConnectError():
            cause = f"메일 서버에 접속할 수 없습니다: {where}"
            remedy = (
                "mail.host, mail.port를 확인하고 서버가 떠 있는지 보십시오. 방화벽이 나가는 SMTP를 막는 "
                "곳도 많습니다."
            )
        case aiosmtplib.SMTPServerDisconnected():
            cause = f"메일 서버가 대답 없이 끊었습니다: {where}"
            remedy = (
                "mail.port와 mail.security가 서로 맞는지 확인하십시오 (465는 tls, 587은 starttls)."
            )
        case aiosmtplib.SMTPException() if "STARTTLS" in str(error):
            cause = f"메일 서버가 STARTTLS를 모릅니다: {where}"
            remedy = "465 포트면 mail.security를 tls로 바꾸십시오. 이 컴퓨터 안의 서버면 none으로 두십시오."
            is_setting = True
        case aiosmtplib.SMTPException() if "AUTH" in str(error):
            cause = f"메일 서버가 로그인을 받지 않습니다: {where}"
            remedy = (
                "보호된 연결에서만 로그인을 받는 서버면 mail.security를 starttls나 tls로 바꾸십시오. "
                "로그인이 없는 서버면 mail.username을 null로 두십시오."
            )
            is_setting = True
        case ValueError():
            cause, is_setting = "메일의 주소나 머리글을 쓸 수 없습니다", True
    return DeliveryError(
        cause,
        remedy=remedy,
        detail=detail,
        is_setting=is_setting,
        # What the server says of one message says nothing of the next; anything else does, and a
        # password that is wrong ten times in a row locks an account.
        is_down=not isinstance(error, aiosmtplib.SMTPDataError | ValueError),
    )


_LOOK_AT_MAIL = "config/notify.yaml의 mail과 서버의 대답을 확인하십시오. 잠시 뒤 다시 보냅니다."


def _is_passing(code: Any) -> bool:
    """Whether a reply code asks to come again later (RFC 5321, 4.2.1)."""
    return isinstance(code, int) and 400 <= code < 500


def _password_remedy(host: str) -> str:
    """Return what a refused login asks for, at the services that people use."""
    name = host.lower()
    if "gmail" in name or "google" in name:
        return (
            "Gmail은 계정 비밀번호를 받지 않습니다. 구글 계정에서 2단계 인증을 켜고 앱 비밀번호"
            "(16자리)를 만들어 SMTP_PASSWORD에 넣으십시오. mail.username은 전체 메일 주소입니다."
        )
    if "naver" in name:
        return (
            "네이버 메일의 환경설정에서 IMAP/SMTP를 사용함으로 바꾸고, 2단계 인증을 쓰면 애플리케이션 "
            "비밀번호를 만들어 SMTP_PASSWORD에 넣으십시오."
        )
    if "daum" in name or "kakao" in name:
        return (
            "다음·카카오 메일의 설정에서 IMAP/SMTP를 사용함으로 바꾸고, 앱 비밀번호를 만들어 "
            "SMTP_PASSWORD에 넣으십시오."
        )
    if "outlook" in name or "office365" in name or "hotmail" in name:
        return (
            "마이크로소프트 메일은 비밀번호 로그인을 막아 둔 계정이 많습니다. 관리자가 SMTP 인증을 열었는지 "
            "확인하거나 앱 비밀번호를 받는 다른 메일 서비스를 쓰십시오."
        )
    return (
        "mail.username과 SMTP_PASSWORD를 확인하십시오. 2단계 인증을 쓰는 서비스는 계정 비밀번호 대신 "
        "앱 비밀번호를 요구합니다."
    )


def _tls_failure(error: ssl.SSLError, settings: MailSettings) -> tuple[str, str]:
    where = f"{settings.host}:{settings.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"메일 서버의 인증서를 믿을 수 없습니다: {where} ({error.verify_message})",
            "mail.host가 인증서에 적힌 이름과 같은지 확인하십시오. 직접 만든 인증서면 그 발급자 파일을 "
            "환경 변수 SSL_CERT_FILE로 알려 주십시오.",
        )
    return (
        f"메일 서버와 TLS 연결을 맺지 못했습니다: {where}",
        "mail.port와 mail.security가 서로 맞는지 확인하십시오: 465 포트는 tls, 587 포트는 starttls입니다.",
    )


def _is_unknown_host(error: Exception) -> bool:
    import socket

    return isinstance(error.__cause__, socket.gaierror)


def _webhook_failure(error: "httpx.HTTPError | httpx.InvalidURL", timeout: float) -> DeliveryError:
    import httpx

    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return DeliveryError(
            "웹훅의 주소를 쓸 수 없습니다",
            remedy="https://로 시작하는 전체 주소를 webhook.url이나 TRADING_WEBHOOK_URL에 넣으십시오.",
            is_setting=True,
        )
    if isinstance(error, httpx.TimeoutException):
        return DeliveryError(
            f"웹훅이 {timeout:g}초 안에 대답하지 않았습니다",
            remedy="받는 쪽이 떠 있는지, 이 컴퓨터의 인터넷이 되는지 확인하십시오.",
            is_down=True,
        )
    return DeliveryError(
        "웹훅에 접속할 수 없습니다",
        remedy="webhook.url의 이름과 포트, 이 컴퓨터의 인터넷과 DNS를 확인하십시오.",
        detail=type(error).__name__,
        is_down=True,
    )


def _refused_webhook(answer: "httpx.Response") -> DeliveryError:
    status = answer.status_code
    detail = _one_line(f"{status} {answer.text}")
    if status == 429:
        wait = answer.headers.get("Retry-After", "")
        return DeliveryError(
            "웹훅이 너무 잦다고 합니다",
            remedy="잠시 뒤 다시 보냅니다. 자주 그러면 batch.wait_seconds를 늘리십시오.",
            detail=detail,
            is_down=True,
            retry_seconds=float(wait) if wait.replace(".", "", 1).isdigit() else None,
        )
    if status >= 500:
        return DeliveryError(
            "웹훅의 서버가 오류를 냈습니다",
            remedy="받는 쪽의 상태를 확인하십시오. 잠시 뒤 다시 보냅니다.",
            detail=detail,
            is_down=True,
        )
    if status in (401, 403, 404, 410):
        return DeliveryError(
            "웹훅의 주소가 없거나 권한이 없습니다",
            remedy="받는 서비스에서 웹훅을 다시 만들어 주소를 바꾸십시오.",
            detail=detail,
            is_setting=True,
            is_down=True,
        )
    if 300 <= status < 400:
        return DeliveryError(
            "웹훅이 다른 주소로 가라고 합니다",
            remedy="webhook.url을 마지막 주소로 바꾸십시오 (http 대신 https인 때가 많습니다).",
            detail=str(status),
            is_setting=True,
        )
    return DeliveryError(
        "웹훅이 본문을 거절했습니다",
        remedy="webhook.format이 받는 서비스와 맞는지 확인하십시오. 텔레그램이면 chat_id도 확인하십시오.",
        detail=detail,
        is_setting=True,
    )


def _address(text: str, where: str, *, name: str = "") -> Address:
    """Return an address with its name; ``ConfigError`` when it is none."""
    own_name, spec = parseaddr(text)
    try:
        if len(getaddresses([text])) != 1 or "@" not in spec:
            raise ValueError("주소가 아님")
        return Address(display_name=own_name or name, addr_spec=spec)
    except (ValueError, IndexError, MessageError):
        # The text itself may be a secret.
        raise ConfigError(
            f"메일 주소로 읽을 수 없음: {where} — 이름@서버 꼴로 적고, 여럿은 쉼표로 나누세요"
        ) from None


def _cut(text: str, kind: str) -> str:
    most = _LONGEST[kind]
    return text if len(text) <= most else text[: most - len(_CUT)] + _CUT


def _slack_text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _one_line(text: str) -> str:
    # A server may repeat the address that it was asked at, or the mail address that it refuses.
    line = masked(" ".join(text.split()))
    return line if len(line) <= _LONGEST_ANSWER else f"{line[:_LONGEST_ANSWER]}…"
