"""What the Prefect server does by itself: the pool, and automations that speak of flows only.

``ensure_pool`` and ``ensure_automations`` may be called any number of times. Who pauses an
automation on the server's pages finds it paused afterwards. What a session does is watched by the
program (``trading monitor``), not here: a server that is down sees nothing.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from prefect.automations import (
    AutomationCore,
    EventTrigger,
    Posture,
)
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from trading.errors import MissingDataError

POOL = "trading"
# The days are begun again when their process dies; the others are told of.
DAYS = ("daily-trading", "daily-trading-krx", "daily-trading-us")
TOLD = (*DAYS, "retrain", "backfill", "research")
MESSENGER = "hourly-report"

# Three of ``flows.heartbeat_frequency`` in prefect.toml: dead, not slow.
_SILENT_RUN = timedelta(seconds=90)
# The messenger comes every hour: two in a row are missing.
_SILENT_MESSENGER = timedelta(hours=2)
# A day that dies as soon as it has begun is not begun again for ever.
_ONE_RESTART_IN = timedelta(minutes=10)
_NOT_STARTED = timedelta(minutes=10)
# Events are called by the names of the states, and "Skipped" is ours.
_ENDS = frozenset(
    f"prefect.flow-run.{end}" for end in ("Completed", "Skipped", "Failed", "Cancelled", "Crashed")
)
_WAITS = frozenset(f"prefect.flow-run.{wait}" for wait in ("AwaitingConcurrencySlot", "Scheduled"))
_ANY_RUN = ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]})


async def ensure_pool(name: str = POOL) -> bool:
    """Make the pool of local processes where there is none; return whether it was made."""
    async with get_client() as client:
        try:
            await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        except ObjectAlreadyExists:
            return False
    return True


async def ensure_automations() -> dict[str, bool]:
    """Make or bring up to date every automation; return its name and whether it is new.

    Raises
    ------
    MissingDataError
        When the deployments that they speak of are not there yet (``prefect deploy --all``).
    """
    async with get_client() as client:
        messenger = await _messenger(client)
        made = {}
        for wanted in _automations(messenger):
            existing = await client.read_automations_by_name(wanted.name)
            if not existing:
                await client.create_automation(wanted)
            for one in existing[:1]:
                kept = wanted.model_copy(update={"enabled": one.enabled})
                await client.update_automation(one.id, kept)
            for surplus in existing[1:]:
                await client.delete_automation(surplus.id)
            made[wanted.name] = not existing
        return made


async def _messenger(client: PrefectClient) -> Any:
    try:
        found = await client.read_deployment_by_name(f"{MESSENGER}/{MESSENGER}")
    except ObjectNotFound:
        raise MissingDataError(
            "배포가 아직 없어 자동화를 만들 수 없습니다. make serve 또는 prefect deploy --all 뒤에 다시 하십시오."
        ) from None
    return found.id


def _automations(messenger: Any) -> Sequence[AutomationCore]:
    def tell(message: str, about: str | None = None) -> RunDeployment:
        # The server fills in the run that it speaks of.
        texts = {"alarm": message} if about is None else {"alarm": message, "about": about}
        return RunDeployment(
            source="selected",
            deployment_id=messenger,
            parameters={
                name: {"__prefect_kind": "jinja", "template": text} for name, text in texts.items()
            },
        )

    return (
        AutomationCore(
            name="멎은 실행 정리",
            description="신호가 90초 끊긴 실행을 Crashed로 바꿉니다. 프로세스나 기계가 갑자기 죽은 경우입니다.",
            trigger=EventTrigger(
                match=_ANY_RUN,
                for_each={"prefect.resource.id"},
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat", *_ENDS},
                posture=Posture.Proactive,
                threshold=1,
                within=_SILENT_RUN,
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED, message="90초 동안 신호가 없어 죽은 것으로 봅니다."
                )
            ],
        ),
        AutomationCore(
            name="시작하지 못한 실행 정리",
            description="작업자가 받아 간 뒤 10분 안에 시작하지 못한 실행을 Crashed로 바꿉니다. 작업자가 그 사이에 죽은 경우입니다.",
            trigger=EventTrigger(
                match=_ANY_RUN,
                for_each={"prefect.resource.id"},
                after={"prefect.flow-run.Pending", "prefect.flow-run.Submitting"},
                expect={"prefect.flow-run.Running", *_WAITS, *_ENDS},
                posture=Posture.Proactive,
                threshold=1,
                within=_NOT_STARTED,
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED, message="10분 동안 시작하지 못해 죽은 것으로 봅니다."
                )
            ],
        ),
        AutomationCore(
            name="죽은 실행 알림",
            description="예약하거나 부른 실행의 프로세스가 죽으면 알림 보관함으로 알립니다.",
            trigger=_on("Crashed", TOLD),
            actions=[
                tell(
                    "실행이 죽었습니다: {{ flow_run.name }} ({{ flow_run.state.message }})",
                    "{{ flow_run.id }}",
                )
            ],
        ),
        AutomationCore(
            name="죽은 하루 다시 시작",
            description="하루 매매의 프로세스가 죽으면 다시 시작합니다. 장부에서 이어 가고, 10분에 한 번까지입니다.",
            trigger=_on("Crashed", DAYS, within=_ONE_RESTART_IN),
            actions=[RunDeployment(source="inferred")],
        ),
        AutomationCore(
            name="늦은 실행 알림",
            description="예약된 시각에 시작하지 못한 실행을 알립니다. 작업자가 죽었거나 바쁜 경우입니다.",
            trigger=_on("Late", TOLD),
            actions=[
                tell(
                    "예약된 시각에 시작하지 못했습니다: {{ flow_run.name }}",
                    "late:{{ flow_run.id }}",
                )
            ],
        ),
        AutomationCore(
            name="조용한 예약 알림",
            description="매시 알림이 두 시간 동안 한 번도 끝나지 않으면 알립니다.",
            trigger=_on("Completed", (MESSENGER,), within=_SILENT_MESSENGER, is_missed=True),
            actions=[
                tell("매시 알림이 두 시간 동안 한 번도 끝나지 않았습니다. 작업자를 보십시오.")
            ],
        ),
    )


def _on(
    state: str,
    deployments: Sequence[str],
    *,
    within: timedelta = timedelta(0),
    is_missed: bool = False,
) -> EventTrigger:
    """Fire when a run of one of ``deployments`` reaches ``state``, or when none does (missed)."""
    return EventTrigger(
        match=_ANY_RUN,
        # A stage of the day is a run of its own and has no deployment: the day speaks for it.
        match_related=ResourceSpecification(
            {"prefect.resource.role": "deployment", "prefect.resource.name": list(deployments)}
        ),
        # Each deployment has a window of its own.
        for_each=set() if is_missed else {"related:deployment:prefect.resource.id"},
        expect={f"prefect.flow-run.{state}"},
        posture=Posture.Proactive if is_missed else Posture.Reactive,
        threshold=1,
        within=within,
    )
