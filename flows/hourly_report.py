"""Every hour: send what the outbox holds, and alarm when a running session is silent."""

from typing import Any

from prefect import flow

from tasks.notify import send_outbox, tell_failure


@flow(name="hourly-report", flow_run_name="매시 알림", on_failure=[tell_failure])
async def hourly_report(root: str | None = None) -> dict[str, Any]:
    """Send the waiting messages of the home folder ``root``."""
    return await send_outbox(root)
