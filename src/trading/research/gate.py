"""The promotion gate measured on recorded history: which history, and where the result is kept."""

from dataclasses import replace
from typing import Any

import numpy as np

from trading import bootstrap
from trading.bootstrap import Installation
from trading.mlops import calibrate
from trading.research.history import Scope, load_history
from trading.research.runs import Progress

FOLDER = "gate"


def measure(
    installation: Installation,
    scope: Scope,
    progress: Progress | None = None,
    *,
    is_quick: bool = False,
    draws: int | None = None,
) -> dict[str, Any]:
    """Measure the configured gate on the history that ``scope`` names, and keep the result.

    ``draws`` of each null instead of the configured number. Of a record with many symbols only
    ``calibration.symbols`` are read, drawn by its seed.

    Raises
    ------
    MissingDataError
        If too little was recorded to draw from.
    """
    settings = installation.settings.models.gate
    market = scope.market or installation.settings.app.market
    if scope.symbols is None:
        source = bootstrap.open_source(installation, scope.dataset)
        named = sorted(one.symbol for one in source.instruments(market))
        if len(named) > settings.calibration.symbols:
            rng = np.random.default_rng(settings.calibration.seed)
            drawn = rng.choice(len(named), settings.calibration.symbols, replace=False)
            scope = replace(scope, symbols=[named[i] for i in np.sort(drawn)])
    history = load_history(installation, scope)
    world = calibrate.World.of(
        history.adjusted, history.policy.sessions_per_year, settings.calibration
    )
    result = calibrate.measure(
        world,
        settings,
        market=str(market),
        is_quick=is_quick,
        draws=draws,
        progress=progress,
    )
    path = calibrate.keep(installation.home.data_dir / FOLDER, result)
    return {**result, "path": str(path)}
