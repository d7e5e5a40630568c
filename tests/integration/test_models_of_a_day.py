"""Models in a real day: trained before the open, and followed where the registry names another."""

from collections.abc import Iterator
from datetime import date

import pytest
from program import configure, messages

from trading import bootstrap, briefing, day
from trading.context import DayContext
from trading.domain.instrument import Market
from trading.mlops.promote import champions
from trading.mlops.retrain import last_report
from trading.mlops.tracking import aliases
from trading.notify import Event

SESSION = date(2006, 6, 1)
SETTINGS = {"models": {"forest": {"trees": 4}, "boosting": {"trees": 4, "patience": 2}}}


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[DayContext]:
    """A day whose models were trained: the forest's, and one of every other family asked for."""
    installation = bootstrap.open_home(
        configure(tmp_path_factory.mktemp("models"), SETTINGS), console=False
    )
    request = bootstrap.DemoRequest(start=SESSION, sessions=1)
    context = bootstrap.open_demo_day(
        installation, bootstrap.begin_demo(installation, Market.US, request)
    )
    try:
        day.market_data(context)
        yield context
    finally:
        bootstrap.close_day(context.key)


def client(context):
    """MLflow's own client: what its pages use."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{context.home.mlruns_dir / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def test_a_day_trains_what_is_due_and_follows_the_registry(opened):
    """The forest trades unproven, boosting waits for proof; then its alias is moved by hand."""
    told = day.retrain(opened)
    assert (told.skipped, day.retrain(opened).skipped) == (False, True)
    assert len(messages(opened.home.root, Event.PROMOTED)) == 1
    others = day.tell_training(opened, day.train_families(opened, ["boosting"]))
    assert "부스팅" in others.message
    assert len(messages(opened.home.root, Event.PROMOTED)) == 1
    day.premarket(opened)
    assert opened.prepared.model_versions == {"forest": 1}

    client(opened).set_registered_model_alias("boosting-us", "champion", "1")
    day.premarket(opened)

    assert champions(opened.home, Market.US) == {"forest": 1, "boosting": 1}
    assert opened.prepared.model_versions == {"forest": 1, "boosting": 1}
    votes = opened.prepared.research.evaluation
    assert "boosting" in votes.agents
    assert len(messages(opened.home.root, Event.PROMOTED)) == 2
    body = briefing.kept(opened.home, opened.env, Market.US, SESSION)
    assert body["model_versions"] == {"forest": 1, "boosting": 1}
    assert last_report(opened.home, Market.US, "boosting").verdict == "not_proven"
    assert aliases(opened.home.mlruns_dir)["boosting-us"] == {"champion": 1}
