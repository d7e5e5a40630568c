"""From a panel to what a model is taught."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from trading.domain.arrays import BoolArray
from trading.domain.market import AdjustedPanel, Facts
from trading.errors import ModelError
from trading.features import pipeline
from trading.features.indicators import Bars
from trading.features.labels import forward_returns
from trading.features.pipeline import FeatureSettings
from trading.models.base import Dataset, History, ModelSettings, windows


def select(data: Dataset, names: Sequence[str]) -> Dataset:
    """Return the rows of ``data`` with only the named features; unknown names are left out.

    Raises
    ------
    ModelError
        If none of them is there.
    """
    kept = [i for i, name in enumerate(data.feature_names) if name in names]
    if not kept:
        raise ModelError("고른 특성이 학습 자료에 하나도 없음")
    chosen = tuple(data.feature_names[i] for i in kept)
    digest = hashlib.sha256("\n".join((data.content_hash, *chosen)).encode())
    return replace(
        data,
        feature_names=chosen,
        x=np.ascontiguousarray(data.x[..., kept]),
        content_hash=digest.hexdigest(),
    )


def build(
    panel: AdjustedPanel,
    features: FeatureSettings,
    models: ModelSettings,
    facts: Facts | None = None,
    *,
    window: int = 1,
) -> Dataset:
    """Return features and labels of every ``stride_sessions``-th session.

    With a ``window`` above 1 a row has the features of that many sessions, the newest last.

    A feature that most labelled rows lack (ranks of a small universe), or most names that trade in
    the last of the sessions looked at (fundamentals that are too old by now), is left out: a
    model taught with it could not be asked. A row that lacks one of the others is left out. Every
    label is known within the panel; a name that was gone by then has a row without one.

    Raises
    ------
    ModelError
        If fewer than ``min_rows`` rows with a label remain.
    """
    bars = Bars(panel, facts)
    every = slice(None, None, models.stride_sessions)
    matrix = pipeline.compute(bars, features, rows=every if window == 1 else slice(None))
    labels = forward_returns(panel, models.horizon_sessions)
    rows = np.arange(len(panel.sessions))[every]
    values = matrix.values if window == 1 else matrix.values[every]
    labelled = np.isfinite(labels.excess[rows]) & bars.tradable[rows]
    coverage = np.isfinite(values[labelled]).mean(axis=0) if labelled.any() else np.zeros(1)
    now = values[-1, bars.tradable[rows[-1]]] if len(rows) else np.empty((0, 1))
    if len(now):
        coverage = np.minimum(coverage, np.isfinite(now).mean(axis=0))
    kept = np.flatnonzero(coverage >= models.min_coverage)
    values = values[:, :, kept]
    # Whether a name will have a label is not known when it is asked.
    is_past = rows + models.horizon_sessions < len(panel.sessions)
    usable = is_past[:, None] & bars.tradable[rows] & np.isfinite(values).all(axis=2)
    if window > 1:
        told: BoolArray = np.logical_and.reduce(np.isfinite(matrix.values[:, :, kept]), axis=2)
        usable &= windows(told, window)[rows].all(axis=2)
    at, column = np.nonzero(usable)
    taught = int((usable & labelled).sum())
    if taught < models.min_rows or len(kept) == 0:
        raise ModelError(f"학습 자료가 부족함: {taught}행 (최소 {models.min_rows}행)")
    row = rows[at]
    if window == 1:
        x = np.ascontiguousarray(values[usable])
    else:
        # Networks calculate in single precision, and twice as much would not fit.
        whole = matrix.values[:, :, kept].astype(np.float32)
        x = windows(whole, window)[row, column]
    excess = labels.excess[row, column]
    # Shorter than the label, so known before it.
    steps = models.steps_sessions if window > 1 else ()
    path = [forward_returns(panel, step).excess[row, column] for step in steps]
    digest = hashlib.sha256()
    for part in (x, excess, *path, row, column, panel.sessions.astype(np.int64)):
        digest.update(np.ascontiguousarray(part).tobytes())
    digest.update("\n".join(panel.symbols).encode())
    return Dataset(
        market=panel.market,
        feature_names=tuple(matrix.names[i] for i in kept),
        feature_fingerprint=matrix.fingerprint,
        horizon=models.horizon_sessions,
        sessions=panel.sessions,
        x=x,
        excess=excess,
        forward=labels.forward[row, column],
        row=row.astype(np.int64),
        column=column.astype(np.int64),
        content_hash=digest.hexdigest(),
        steps=steps,
        path=np.column_stack(path) if path else None,
        history=partial(history, panel, features, facts),
    )


def history(
    panel: AdjustedPanel, features: FeatureSettings, facts: Facts | None, names: tuple[str, ...]
) -> History:
    """Return the named features of every session of ``panel``; NaN where one is not known."""
    matrix = pipeline.compute(Bars(panel, facts), features)
    return History(panel=panel, x=matrix.select(names).astype(np.float32))
