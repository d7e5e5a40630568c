"""Messages about the flows themselves; what happens in a session is told by the session."""

from pathlib import Path
from typing import Any

from prefect import task

from tasks import in_day_thread
from trading.notify import Event


def tell_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """Tell that a flow failed; a hook, so it never raises."""
    from trading import bootstrap
    from trading.log import get_logger

    root = flow_run.parameters.get("root")
    try:
        notifier = bootstrap.open_notifier(Path(root) if root is not None else None)
        notifier.send(
            Event.ERROR,
            {
                "stage": flow.name,
                "flow": flow_run.name,
                "message": state.message,
                "key": flow_run.id,
            },
        )
        notifier.deliver_due()
    except Exception as error:  # the failure of the flow matters, not that of its messenger
        get_logger(__name__).error("실패 알림 불가", flow=flow.name, reason=str(error))


@task(name="알림 보관함 보내기", retries=1, retry_delay_seconds=10, timeout_seconds=300)
async def send_outbox(root: str | None) -> dict[str, Any]:
    """Send what the outbox holds; alarm when a running session put nothing into it."""
    from trading import bootstrap
    from trading import day as stages

    home = Path(root) if root is not None else None
    return await in_day_thread(lambda: stages.hourly(bootstrap.open_home(home)))
