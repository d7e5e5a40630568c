"""Korean messages by mail and webhook, through an outbox that survives a crash.

Who decides that something is worth a message is the caller; what the log keeps is in
``trading.log``, and every ERROR line of it is told, too, once a notifier is started.
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from trading.log import get_logger, register_secret
from trading.notify.channels import Channel, LogChannel, MailChannel, WebhookChannel
from trading.notify.message import Message, labeled, render
from trading.notify.outbox import OutboxNotifier
from trading.notify.settings import Event, NotifySettings
from trading.ports import Clock

__all__ = [
    "Channel",
    "Event",
    "Message",
    "NotifySettings",
    "OutboxNotifier",
    "labeled",
    "open_notifier",
    "render",
]

log = get_logger(__name__)


def open_notifier(
    settings: NotifySettings,
    *,
    path: Path,
    clock: Clock,
    recipients: Sequence[str] = (),
    password: SecretStr | None = None,
    webhook_url: SecretStr | None = None,
) -> OutboxNotifier:
    """Return the notifier with the channels that are configured; the log when none is.

    ``webhook_url`` of the environment goes before ``webhook.url``. ``ConfigError`` when an address
    is none.
    """
    channels: list[Channel] = []
    if settings.mail.host is not None:
        if recipients:
            channels.append(MailChannel(settings.mail, recipients=recipients, password=password))
        else:
            log.warning("메일 받는 사람 없음, 메일은 보내지 않음", variable="TRADING_MAIL_TO")
    url = webhook_url or settings.webhook.url
    if url is not None:
        register_secret(url.get_secret_value())
        # A service that refuses may name the path alone, and it is the path that opens the door.
        register_secret(urlsplit(url.get_secret_value()).path.rstrip("/"))
        channels.append(WebhookChannel(settings.webhook, url=url))
    return OutboxNotifier(path, settings=settings, channels=channels or [LogChannel()], clock=clock)
