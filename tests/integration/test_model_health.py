"""Champions in a real day: what they were asked is proven again, and who is not fit is not asked."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from program import EAGER, configure, ledger_rows, messages, trading
from safetensors.numpy import load_file, save_file

from trading import bootstrap, briefing, day
from trading.context import DayContext, panels, prepare
from trading.domain.instrument import Market
from trading.live.journal import Evidence
from trading.mlops import health, promote
from trading.mlops.train import train

SESSION = date(2013, 1, 15)
SETTINGS = {"models": {"forest": {"trees": 8}}}


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[DayContext]:
    """A day before its open, whose forest was taught half a year ago."""
    root = configure(tmp_path_factory.mktemp("health"), SETTINGS)
    context = open_day(root)
    try:
        day.market_data(context)
        _, adjusted, row = panels(context)
        model = train(
            adjusted.until(row - 120), context.settings.features, context.settings.models, None
        ).model
        folder = promote.family_dir(context.home, Market.US, "forest")
        model.save(folder / "1")
        promote.write_json(folder / "champion.json", {"version": 1})
        yield context
    finally:
        bootstrap.close_day(context.key)


def open_day(root: Path) -> DayContext:
    installation = bootstrap.open_home(root, console=False)
    request = bootstrap.DemoRequest(start=SESSION, sessions=1)
    return bootstrap.open_demo_day(
        installation, bootstrap.begin_demo(installation, Market.US, request)
    )


def kept_features(context: DayContext) -> Path:
    return context.home.data_dir / "health" / "us" / f"{SESSION}.safetensors"


@pytest.fixture(scope="module")
def morning(opened) -> dict[str, int]:
    """Who was asked before the open, after which the day was computed again and checked."""
    day.premarket(opened)
    return dict(opened.prepared.model_versions)


def checked(context: DayContext, versions: dict[str, int]) -> dict:
    """The day as it is computed again from the lake after the close."""
    context.panels = None
    again = prepare(context, Evidence(model_versions=versions))
    return health.check(context, again)


def test_features_of_the_morning_are_those_of_the_lake(opened, morning):
    """Computed again they are the same to the bit; the check is kept and shown in the report."""
    body = checked(opened, morning)
    (table,) = briefing.model_tables(opened)

    assert morning == {"forest": 1}
    assert body["skew"] == "equal"
    (entry,) = body["models"]
    assert (entry["family"], entry["version"]) == ("forest", 1)
    # A row in five teaches: the last label was known up to four sessions before.
    assert 120 <= entry["age"] < 125
    assert entry["features"]["limit"] > 0.0
    assert checked(opened, morning) == body
    assert health.read_check(opened.home, Market.US, SESSION) == body
    assert len(table.heads) == len(table.rows[0])
    assert health.SKEW_TEXT["equal"] in table.notes


def test_a_skew_ends_the_asking(opened, morning):
    """One bit of one feature that the lake does not give again: nobody is asked the next day."""
    path = kept_features(opened)
    before = path.read_bytes()
    kept = load_file(path)
    at = np.flatnonzero(np.isfinite(kept["features"]))[0]
    kept["features"].flat[at] = np.nextafter(kept["features"].flat[at], np.inf)
    save_file(kept, path)
    try:
        body = checked(opened, morning)
    finally:
        path.write_bytes(before)

    assert body["skew"] == "skewed"
    assert body["models"][0]["steps"][0]["action"] == "abstain"
    assert messages(opened.home.root, "model_health")
    following = asked_on(opened, SESSION + timedelta(days=1))
    assert "특성" in following["forest"]
    checked(opened, morning)
    assert asked_on(opened, SESSION + timedelta(days=1)) == {}


def asked_on(context: DayContext, session: date) -> dict[str, str]:
    """Who is silenced in a session, and why."""
    models, _, _ = promote.load_champions(context.home, Market.US, context.settings.features)
    _, adjusted, row = panels(context)
    return health.silenced(
        context.home,
        Market.US,
        models,
        context.settings.models.drift,
        session=session,
        sessions=adjusted.sessions[:row],
    )


def test_an_expired_champion_abstains(opened, morning, monkeypatch):
    """Older than the limit it has no vote in a prepared day; younger it has."""
    found = prepare(opened)
    forest = found.research.evaluation.agents.index("forest")
    models = opened.settings.models
    short = models.drift.model_copy(update={"max_age_sessions": 100})
    monkeypatch.setattr(opened.settings, "models", models.model_copy(update={"drift": short}))
    expired = prepare(opened)

    assert np.isfinite(found.research.evaluation.votes[-1, forest]).any()
    assert found.model_versions == {"forest": 1}
    assert not np.isfinite(expired.research.evaluation.votes[:, forest]).any()
    assert expired.model_versions == {}


def test_a_promotion_meanwhile_changes_nothing_of_what_is_recorded(opened, morning, monkeypatch):
    """The version that is recorded is the one that voted, whoever is promoted while it is asked."""
    folder = promote.family_dir(opened.home, Market.US, "forest")
    silenced = health.silenced

    def promoted_meanwhile(*args, **named):
        promote.write_json(folder / "champion.json", {"version": 2})
        return silenced(*args, **named)

    monkeypatch.setattr(health, "silenced", promoted_meanwhile)
    try:
        found = prepare(opened)
    finally:
        promote.write_json(folder / "champion.json", {"version": 1})

    assert found.model_versions == {"forest": 1}


def test_old_features_are_not_kept(opened, morning, monkeypatch):
    """Of the mornings only the last are left; checks stay, and so does what came later."""
    folder = kept_features(opened).parent
    for day_of_it in ("2013-01-10", "2013-01-11", "2013-01-14", "2013-02-01"):
        (folder / f"{day_of_it}.safetensors").write_bytes(b"")
    (folder / "2013-01-10.json").write_text("{}")
    models = opened.settings.models
    short = models.drift.model_copy(update={"keep_sessions": 2})
    monkeypatch.setattr(opened.settings, "models", models.model_copy(update={"drift": short}))

    health.keep_features(opened, opened.prepared)

    left = {path.name for path in folder.iterdir()} - {f"{SESSION}.json"}
    assert left == {
        "2013-01-10.json", "2013-01-14.safetensors", f"{SESSION}.safetensors",
        "2013-02-01.safetensors",
    }  # fmt: skip
    (folder / "2013-01-10.json").unlink()


def test_what_was_revised_is_no_skew(opened, morning):
    """Other bars in the lake than in the morning explain other features."""
    prepared = prepare(opened, Evidence(model_versions=morning))
    panel = prepared.research.bars.panel
    volume = panel.volume.copy()
    volume[-1] *= 2
    bars = type(prepared.research.bars)(replace(panel, volume=volume), prepared.facts)
    body = health.check(opened, replace(prepared, research=replace(prepared.research, bars=bars)))

    assert body["skew"] == "revised"
    assert "abstain" not in {step["action"] for step in body["models"][0]["steps"]}


@pytest.mark.slow
def test_a_check_that_fails_keeps_nothing_else_back(tmp_path):
    """Where the check cannot be written the error is told, and the day has report and parity."""
    root = configure(tmp_path, EAGER)
    (root / "data" / "health" / "us" / f"{SESSION}.json").mkdir(parents=True)

    answer = trading(root, "demo", "--no-prefect", "--start", str(SESSION), "--json")

    assert answer.json["parity"]["unexplained"] == 0, answer.err
    assert ledger_rows(root, "SELECT key FROM journal WHERE kind = 'parity'") == [
        (f"{SESSION}:parity",)
    ]
    assert messages(root, "daily_report")
    assert any("모델 점검 실패" in told["message"] for told in messages(root, "error"))
