"""A test message through each way out, right now, past outbox, quiet hours and gathering."""

import asyncio
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from trading.clock import monotonic_seconds
from trading.domain.wording import CHANNEL_TEXT
from trading.errors import DeliveryError
from trading.notify.channels import Channel
from trading.notify.message import TEST, Message, render


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How a test message fared: ``cause``, ``remedy`` and what the other side said when it failed.

    ``is_setting``: nothing changes until a setting does. ``remark`` is what was not quite right
    with one that went out.
    """

    channel: str
    target: str
    delivered: bool
    seconds: float = 0.0
    remark: str = ""
    cause: str = ""
    remedy: str = ""
    detail: str = ""
    is_setting: bool = False

    @property
    def is_fine(self) -> bool:
        """Whether the message went to everybody it was meant for."""
        return self.delivered and not self.remark

    def to_json(self) -> dict[str, Any]:
        """Return the probe as JSON values."""
        return asdict(self)

    def text(self) -> str:
        """Return the probe as the operator reads it."""
        name = CHANNEL_TEXT.get(self.channel, self.channel)
        if self.delivered:
            lines = [f"{name}: 시험 알림을 보냈습니다 ({self.target}, {self.seconds:.1f}초)."]
            if self.remark:
                lines.append(f"  주의: {self.remark}")
            return "\n".join(lines)
        lines = [f"{name}: 보내지 못했습니다 ({self.target}).", f"  원인: {self.cause}"]
        if self.detail:
            lines.append(f"  상대의 말: {self.detail}")
        return "\n".join([*lines, f"  할 일: {self.remedy}"])


def probe(channels: Sequence[Channel], *, at: datetime, prefix: str = "") -> list[Probe]:
    """Send one test message through every channel, side by side, and return how each fared."""
    message = render(TEST, {"ts": at, "machine": platform.node()}, prefix=prefix)

    async def all_of_them() -> list[Probe]:
        return await asyncio.gather(*(_probe(channel, message, at) for channel in channels))

    return asyncio.run(all_of_them())


async def _probe(channel: Channel, message: Message, at: datetime) -> Probe:
    begun = monotonic_seconds()
    try:
        remark = await channel.deliver(message, message_id=uuid4().hex, at=at)
    except DeliveryError as error:
        return Probe(
            channel=channel.name,
            target=channel.target,
            delivered=False,
            seconds=monotonic_seconds() - begun,
            cause=str(error),
            remedy=error.remedy,
            detail=error.detail,
            is_setting=error.is_setting,
        )
    return Probe(
        channel=channel.name,
        target=channel.target,
        delivered=True,
        seconds=monotonic_seconds() - begun,
        remark=remark,
    )


def no_recipients(target: str) -> Probe:
    """Return what is to be said of a mail server without anybody to write to."""
    return Probe(
        channel="mail",
        target=target,
        delivered=False,
        cause="받는 사람이 없습니다",
        remedy="환경 변수나 .env의 TRADING_MAIL_TO에 주소를 넣으십시오. 여럿은 쉼표로 나눕니다.",
        is_setting=True,
    )
