"""Messages about the flows themselves; what happens in a session is told by the session."""

import re
from pathlib import Path
from typing import Any

from prefect import task

from tasks import in_day_thread, publish


def tell_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """Tell that a flow failed; a hook, so it never raises."""
    from trading import bootstrap
    from trading.log import get_logger
    from trading.notify import Event

    root = flow_run.parameters.get("root")
    try:
        notifier = bootstrap.open_notifier(Path(root) if root is not None else None)
        fields = {
            "stage": flow.name,
            "flow": flow_run.name,
            "message": _in_korean(state.message or ""),
            "key": str(flow_run.id),
        }
        notifier.send(Event.ERROR, fields)
        notifier.deliver_due()
    except Exception as error:  # the failure of the flow matters, not that of its messenger
        get_logger(__name__).error("실패 알림 불가", flow=flow.name, reason=str(error))


# What Prefect says of a run that no error of ours has ended.
_ENDS = {
    "Execution was aborted by an interrupt signal.": "Ctrl+C로 멈춤",
    "Execution was aborted by a termination signal.": "종료 요청(SIGTERM)으로 멈춤",
    "Execution was cancelled by the runtime environment.": "실행이 취소됨",
}


def _in_korean(message: str) -> str:
    """Return what a failed flow says without Prefect's English words."""
    said = re.sub(r"^\w+ run encountered an exception: ", "", message)
    timed_out = re.search(r"timed out after ([\d.]+) second", said)
    if timed_out is not None:
        said = f"{float(timed_out[1]):,.0f}초 안에 끝나지 않음"
    return f"흐름이 오류로 끝났습니다: {_ENDS.get(said, said)}"


@task(name="자동화의 알림 적기")
async def tell_alarm(root: str | None, alarm: str, about: str | None) -> None:
    """Put into the outbox what an automation of the server has seen; once for each ``about``."""
    await in_day_thread(_tell_alarm, Path(root) if root is not None else None, alarm, about)


def _tell_alarm(root: Path | None, alarm: str, about: str | None) -> None:
    from trading import bootstrap
    from trading.notify import Event

    fields = {"stage": "Prefect", "message": alarm}
    # The hook of a flow that failed in its own process has told the same under the same key.
    keyed = fields if about is None else fields | {"key": about}
    bootstrap.open_notifier(root).send(Event.ERROR, keyed)


@task(name="알림 보관함 보내기", retries=1, retry_delay_seconds=10, timeout_seconds=300)
async def send_outbox(root: str | None) -> dict[str, int]:
    """Send what the outbox holds; alarm when a running session put nothing into it."""
    summary = await in_day_thread(_send_outbox, Path(root) if root is not None else None)
    message = f"알림 {summary['sent']}건을 보냈습니다. 남은 것 {summary['pending']}건."
    await publish("hourly-report", message, summary)
    return summary


def _send_outbox(root: Path | None) -> dict[str, int]:
    from trading import bootstrap
    from trading.watch.contract import send_hourly

    installation = bootstrap.open_home(root)
    return send_hourly(installation, bootstrap.notifier_of(installation))
