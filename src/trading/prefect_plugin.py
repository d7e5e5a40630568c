"""Teaches ``prefect deployment run`` the bare name of a deployment.

Prefect loads this through its ``prefect.plugins`` entry point on every ``import prefect`` where
plugins are enabled (``prefect.toml``), so it imports nothing before it is called. Stock Prefect
takes only ``flow/deployment``; when its private method has moved, the stock behavior stays.
"""

from typing import Any

from prefect.plugins import register_hook

PREFECT_PLUGIN_API_REQUIRES = ">=0.1,<1"


@register_hook
def setup_environment(*, ctx: Any) -> None:
    """Let the client find a deployment by an unambiguous name without a slash."""
    try:
        from prefect.client.orchestration._deployments.client import DeploymentAsyncClient
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
    except ImportError:
        return
    original = getattr(DeploymentAsyncClient, "read_deployment_by_name", None)
    if original is None or getattr(original, "takes_bare_names", False):
        return

    async def read_deployment_by_name(self: Any, name: str) -> Any:
        if "/" in name:
            return await original(self, name)
        found = await self.read_deployments(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[name])), limit=2
        )
        if len(found) == 1:
            return found[0]
        if not found:
            # Stock wording of "not found" for a name that exists nowhere.
            return await original(self, f"{name}/{name}")
        raise ValueError(f"배포 이름이 여럿을 가리킴: {name!r}, '<flow>/<deployment>' 로 쓸 것")

    read_deployment_by_name.takes_bare_names = True  # type: ignore[attr-defined]
    DeploymentAsyncClient.read_deployment_by_name = read_deployment_by_name  # type: ignore[method-assign]
