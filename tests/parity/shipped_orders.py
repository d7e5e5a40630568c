"""What every shipped strategy orders on recorded history, as one JSON object; a process of its own.

``shipped_orders.py HOME`` trades the embedded history, ``shipped_orders.py HOME FOLDER`` wider
universes from a folder of recorded data, where strategies rank, pair and compare that have too few
names in the embedded one. There the learned ones vote by model files that are kept beside this one,
taught on what was known before the first session here; ``shipped_orders.py HOME pin`` writes them
anew (``pin FAMILY`` one of them).
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from trading import bootstrap
from trading.backtest import runner, sweep
from trading.backtest.record import ENSEMBLE
from trading.domain.instrument import Market
from trading.mlops.train import FAMILIES, train
from trading.models import inference
from trading.models.dqn import DqnSettings
from trading.research.history import Scope, load_history
from trading.research.trader import Trader
from trading.strategies.catalog import AGENTS

# A strategy alone seldom reaches the thresholds that an ensemble is held to.
EAGER = {"entry_forecast": 0.0, "min_confidence": 0.0, "max_entry_var": 1.0}
CASH = 1_000_000_000
# Over AAPL's split and MSFT's dividend, and over FB's first months.
EMBEDDED = (
    (date(2004, 11, 1), date(2006, 6, 30)),
    (date(2012, 1, 3), date(2013, 3, 1)),
)
PINNED = Path(__file__).parent / "pinned"
# Files that lie in the repository are small, whatever people train.
SMALL = {
    "boosting": {"trees": 20},
    # As shipped they abstain: these returns explain next to nothing of those that follow.
    "arima": {"min_gain_t": -100.0, "min_outcome_t": -100.0},
    "garch": {"min_gain_t": -100.0, "min_outcome_t": -100.0},
    "hmm": {"min_gain_t": -100.0, "min_outcome_t": -100.0},
    "kalman": {"min_gain_t": -100.0, "min_outcome_t": -100.0, "abstain_share": 0.0},
    "lstm": {"hidden": 8, "epochs": 3},
    "transformer": {"d_model": 8, "heads": 2, "layers": 1, "epochs": 3},
    # As shipped it buys only what has paid where it was not taught.
    "dqn": {"learning": DqnSettings(hidden=(8, 8)), "steps": 40_000, "min_t": -100.0},
}
# Wider than one feed carries: each morning only the most traded are looked at.
KRX_NAMES = 80


def scopes(folder: Path | None) -> Iterator[Scope]:
    """Yield what is traded."""
    if folder is None:
        for first, last in EMBEDDED:
            yield Scope(market=Market.US, first=first, last=last)
        return
    from trading.store.datasets import RecordedSource

    source = RecordedSource(folder)
    day = date(2024, 3, 11)
    american = source.daily(Market.US, None, day, day)["symbol"].tolist()
    yield Scope(
        market=Market.US, symbols=american, first=date(2018, 1, 2), last=date(2018, 12, 31),
        dataset=folder, first_bar=date(2015, 1, 2),
    )  # fmt: skip
    day = date(2022, 1, 4)
    listed = source.daily(Market.KRX, None, day, day)
    raw = sorted(listed.loc[listed["basis"] == "raw", "symbol"])
    yield Scope(
        market=Market.KRX, symbols=raw[:KRX_NAMES], first=date(2022, 1, 4), last=date(2022, 12, 29),
        dataset=folder, first_bar=date(2020, 1, 2),
    )  # fmt: skip


def orders(home: Path, folder: Path | None) -> dict[str, list[dict[str, object]]]:
    """Return for each strategy and scope the orders and the equity, by the engine and the sweep."""
    installation = bootstrap.open_home(home, console=False)
    strategies = installation.settings.strategies
    found: dict[str, list[dict[str, object]]] = {name: [] for name in (*AGENTS, ENSEMBLE)}
    for scope in scopes(folder):
        history = load_history(installation, scope)
        allocation = history.policy.allocation
        ensemble = allocation.ensemble.model_copy(update=EAGER)
        eager = replace(
            history.policy, allocation=allocation.model_copy(update={"ensemble": ensemble})
        )
        for name, runs in found.items():
            traded = history if name == ENSEMBLE else replace(history, policy=eager)
            pinned = name in FAMILIES and folder is None
            models = {name: inference.load(PINNED / name)} if pinned else {}
            trader = Trader.of(installation, traded, name)
            views = trader.views(trader.evaluation_of(strategies, models))
            asked = (
                views, traded.raw, traded.actions, traded.calendar, traded.rules, traded.policy,
            )  # fmt: skip
            span = {"cash": CASH, "first": traded.first, "last": traded.last}
            engine, swept = runner.run(*asked, **span), sweep.run(*asked, **span)
            intents = [order.intent for day in engine.days for order in day.orders]
            runs.append(
                {
                    "engine": [len(intents), runner.orders_hash(intents), engine.equity[-1]],
                    "sweep": [
                        len(swept.orders), runner.orders_hash(swept.orders), swept.equity[-1],
                    ],
                    "decisions": runner.decision_hash(d.decision for d in engine.days if d.decision),
                    "equity": list(engine.equity),
                }
            )  # fmt: skip
    return found


def pin(home: Path, families: Sequence[str]) -> None:
    """Teach each family on the embedded history before the first session, and keep it."""
    installation = bootstrap.open_home(home, console=False)
    first = EMBEDDED[0][0]
    history = load_history(installation, Scope(market=Market.US, first=first, last=first))
    past = history.adjusted.until(history.raw.row_of(first))
    settings = installation.settings
    facts = history.facts.until(len(past.sessions))
    for family in families:
        own = getattr(settings.models, family).model_copy(update=SMALL.get(family, {}))
        models = settings.models.model_copy(update={family: own})
        model = train(past, settings.features, models, facts, family).model
        # What live data are held against is no part of an order.
        replace(model, reference={}).save(PINNED / family)


if __name__ == "__main__":
    if sys.argv[2:3] == ["pin"]:
        pin(Path(sys.argv[1]), sys.argv[3:] or list(FAMILIES))
        sys.exit()
    chosen = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    print(json.dumps(orders(Path(sys.argv[1]), chosen)))  # noqa: T201
