"""Every hour: send what the outbox holds, and alarm when a running session is silent."""

from typing import Any

from prefect import flow

from flows.parameters import ROOT, described
from tasks.notify import send_outbox, tell_alarm, tell_failure


@flow(name="hourly-report", flow_run_name="매시 알림", on_failure=[tell_failure])
async def hourly_report(
    root: str | None = ROOT,
    alarm: str | None = described("함께 보낼 한 문장. 서버의 자동화가 씁니다."),
    about: str | None = described("무엇에 대한 문장인가: 같은 것은 한 번만 보냅니다."),
) -> dict[str, Any]:
    """Send the waiting messages of the home folder ``root``, with ``alarm`` among them."""
    if alarm is not None:
        await tell_alarm(root, alarm, about)
    return await send_outbox(root)
