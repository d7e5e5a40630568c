"""Parameters looked for over the embedded history, and what is shown of it."""

import csv
import re
from datetime import date
from pathlib import Path

import pytest

from trading import bootstrap
from trading.domain.instrument import Market
from trading.errors import UsageError
from trading.mlops.tracking import MlflowRegistry
from trading.research.history import Scope
from trading.research.optimize import optimize, text

SCOPE = Scope(
    market=Market.US, symbols=("AAPL", "IBM", "MSFT"), first=date(2005, 6, 1), last=date(2006, 6, 1)
)


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """Return an installation of its own."""
    return bootstrap.open_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def found(installation):
    """Return a study of eight trials."""
    return optimize(installation, "ma_crossover", SCOPE, trials=8)


def test_a_study_says_what_it_found_and_what_luck_would_have(found):
    """Counts add up, the best is the best of the table, and its value comes beside luck's."""
    rows = list(csv.DictReader(Path(found["table"]).read_text("utf-8").splitlines()))
    values = [float(row["sharpe"]) for row in rows if row["state"] == "complete"]

    assert sum(found["states"].values()) == len(rows) == found["asked"] == found["new"] == 8
    assert found["best"][0]["values"]["sharpe"] == max(values)
    assert found["luck"]["trials"] == len(values)
    assert found["luck"]["best_sharpe"] > 0
    assert 0.0 <= found["overfitting"]["pbo"] <= 1.0
    evaluated = found["states"]["complete"] + found["states"]["pruned"]
    assert found["trials"]["raw"] == evaluated
    refused = [row["reason"] for row in rows if row["state"] == "refused"]
    assert all("쓸 수 없는 조합" in reason for reason in refused)


def test_the_page_needs_nothing_from_outside(found):
    """Korean, with both drawings, and without one address."""
    page = Path(found["page"]).read_text("utf-8")

    assert '<html lang="ko">' in page
    assert "탐색의 경과" in page and "<svg" in page and "무엇이 결과를 갈랐나" in page
    assert not re.search(r"https?://|<script|@import|url\(", page)


def test_the_run_in_mlflow_says_where_the_study_is(installation, found):
    """Best parameters, values, and tags; a study that has not gone on makes no second run."""
    client = MlflowRegistry(installation.home.mlruns_dir)._client
    run = client.get_run(found["mlflow_run"])
    files = {item.path for item in client.list_artifacts(found["mlflow_run"])}

    assert run.data.tags["study"] == found["study"]
    assert Path(run.data.tags["storage"]).is_file()
    assert {k: str(v) for k, v in found["best"][0]["params"].items()} == run.data.params
    assert run.data.metrics["sharpe"] == found["best"][0]["values"]["sharpe"]
    assert files == {f"{found['study']}.html", f"{found['study']}.csv"}

    again = optimize(installation, "ma_crossover", SCOPE, trials=8)

    assert (again["new"], again["mlflow_run"]) == (0, None)
    assert again["trials"] == found["trials"]
    for name in ("best", "importance", "luck", "overfitting", "states"):
        assert again[name] == found[name]
    assert found["study"] in text(again)


def test_the_ensemble_has_the_parameters_of_all_its_agents(installation):
    """Named by their agent; the best of two objectives is a front."""
    made = optimize(
        installation,
        "ensemble",
        Scope(market=Market.US, first=date(2005, 6, 1), last=date(2006, 1, 31)),
        trials=4,
        objectives=("sharpe", "max_drawdown"),
        name="둘.1",
    )

    assert made["states"]["complete"] + made["states"]["refused"] + made["states"]["pruned"] == 4
    names = {name for one in made["best"] for name in one["params"]}
    assert not names or {"ma_crossover.fast", "rsi.window"} <= names


@pytest.mark.parametrize(
    ("strategy", "options", "sentence"),
    [
        ("nope", {}, "없는 전략"),
        ("forest", {}, "탐색 범위를 적어"),
        ("ma_crossover", {"name": "../out"}, "연구의 이름"),
        ("ma_crossover", {"name": ""}, "연구의 이름"),
    ],
)
def test_what_cannot_be_looked_for_is_a_sentence(tmp_path, strategy, options, sentence):
    """Nothing is begun."""
    with pytest.raises(UsageError, match=sentence):
        optimize(bootstrap.open_home(tmp_path), strategy, SCOPE, trials=1, **options)
    assert not (tmp_path / "data" / "research" / "optuna").exists()


def test_too_short_a_history_is_a_sentence(tmp_path):
    """Folds of a few days say nothing."""
    short = Scope(market=Market.US, first=date(2005, 6, 1), last=date(2005, 8, 1))

    with pytest.raises(UsageError, match="조각으로 나누면"):
        optimize(bootstrap.open_home(tmp_path), "ma_crossover", short, trials=1)
