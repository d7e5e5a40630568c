"""What may be lost with holdings: the measures as plain values, and as tables in Korean."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from trading import holdings, risk_tables
from trading.domain.account import Portfolio
from trading.domain.decision import TradingState
from trading.domain.instrument import Market
from trading.execution.decide import RiskState, decide, plan_of
from trading.live.journal import CLOSED
from trading.ports import Record, RecordKind
from trading.risk.scenarios import ScenarioSettings, replay
from trading.risk.var import FILTERED, NO_CHAMPION
from trading.store.ledger import MemoryLedger

CASH = 1_000_000_000  # 100,000 USD
ROWS = 1700


@pytest.fixture(scope="module")
def past(embedded_market) -> holdings.Past:
    """The embedded shares to 2006-12-01, all of one sector; what the market did is IBM."""
    returns = embedded_market.evaluation.returns
    symbols = embedded_market.raw.symbols
    return holdings.Past(
        symbols=symbols,
        sessions=embedded_market.raw.sessions[:ROWS],
        returns=returns,
        n_known=ROWS,
        sectors=np.zeros(len(symbols), dtype=np.int64),
        sector_names=("기술",),
        factors={"market": returns[-250:, symbols.index("IBM")]},
    )


@pytest.fixture(scope="module")
def settings(embedded_market):
    """The shipped limits with fewer draws: what is drawn is proven where it is drawn."""
    risk = embedded_market.policy.risk
    return risk.model_copy(
        update={
            "var": risk.var.model_copy(update={"monte_carlo_paths": 1_000}),
            "demotion": risk.demotion.model_copy(update={"draws": 1_000}),
        }
    )


def of(past, **weights) -> np.ndarray:
    return np.array([weights.get(symbol, 0.0) for symbol in past.symbols])


def outcomes_of(past, **weights) -> np.ndarray:
    """The same by numpy: a name that did not move adds nothing."""
    return np.nansum(past.returns * of(past, **weights), axis=1)


# --- losses ---------------------------------------------------------------------------------------


def test_losses_of_the_last_window(past, settings):
    """Historical VaR is an order statistic of the last 250 sessions, at both levels."""
    ordered = np.sort(outcomes_of(past, AAPL=0.2, IBM=0.3)[-250:])

    found = holdings.tail(of(past, AAPL=0.2, IBM=0.3), past, FILTERED, settings)

    rows = {(row["method"], row["level"]): row for row in found["rows"]}
    # floor(p n) + 1 from below: the 13th worst of 250 at 95 %, the third at 99 %.
    assert rows["historical", 0.95]["var"] == pytest.approx(-ordered[12], abs=1e-9)
    assert rows["historical", 0.99]["var"] == pytest.approx(-ordered[2], abs=1e-9)
    assert found["sessions"] == 250
    assert {level for _, level in rows} == {0.95, 0.99}
    assert [key for key, row in rows.items() if row["in_force"]] == [
        ("filtered", 0.95),
        ("filtered", 0.99),
    ]
    assert found["limit"] == max(rows["filtered", 0.95]["var"], rows["historical", 0.95]["var"])
    assert all(row["es"] > row["var"] for row in rows.values())
    assert all(row["var_error"] > 0.0 for key, row in rows.items() if key[0] != "exact")
    assert rows["exact", 0.95]["sessions"] == settings.var.horizon_sessions


def test_no_method_in_force(past, settings):
    """Where all are demoted limits go by the largest of the four."""
    found = holdings.tail(of(past, AAPL=0.2), past, NO_CHAMPION, settings)

    one_day = [row["var"] for row in found["rows"] if row["sessions"] == 1 and row["level"] == 0.95]
    assert not any(row["in_force"] for row in found["rows"])
    assert found["limit"] == max(one_day)


def test_nothing_held_and_nothing_recorded(past, settings):
    """Without weights, or with a name that has no record, there is no number."""
    silent = replace(past, returns=np.full_like(past.returns, np.nan))

    assert holdings.tail(of(past), past, FILTERED, settings) is None
    assert holdings.tail(of(past, AAPL=0.2), silent, FILTERED, settings) is None
    assert holdings.backtests(of(past), past, settings)["rows"] == []
    assert holdings.backtests(of(past, AAPL=0.2), silent, settings)["sessions"] == 0


def test_only_the_window_counts(past, settings):
    """What lies before the window changes nothing, to the bit."""
    cut = replace(past, returns=past.returns[-250:], sessions=past.sessions[-250:])

    weights = of(past, AAPL=0.2, IBM=0.3)

    assert holdings.tail(weights, past, FILTERED, settings) == holdings.tail(
        weights, cut, FILTERED, settings
    )


# --- were the forecasts right ---------------------------------------------------------------------


@pytest.mark.compiled_only
def test_hits_of_the_historical_method(past, settings):
    """A hit is a session worse than the 13th worst of the 250 before it."""
    outcomes = outcomes_of(past, IBM=1.0)
    hits = [
        outcomes[t] < np.sort(outcomes[t - 250 : t])[12]
        for t in range(len(outcomes) - 250, len(outcomes))
    ]

    found = holdings.backtests(of(past, IBM=1.0), past, settings)

    assert [(row["method"], row["sessions"]) for row in found["rows"]] == [
        (method, span)
        for span in (250, 1000)
        for method in ("historical", "normal", "student", "filtered")
    ]
    assert found["rows"][0]["hits"] == sum(hits)
    assert found["rows"][0]["expected"] == pytest.approx(12.5)
    assert found["rows"][0]["zone"] == "green"
    assert set(found["rows"][0]["p_values"]) == set(holdings.TESTS)
    assert all(
        p is None or 0.0 < p <= 1.0 for row in found["rows"] for p in row["p_values"].values()
    )
    assert found["listed"] == 1.0


@pytest.mark.compiled_only
def test_a_name_listed_later_is_told(past, settings):
    """Google was listed in 2004: of the tests' first session only IBM's share was there."""
    found = holdings.backtests(of(past, IBM=0.3, GOOG=0.1), past, settings)

    assert found["listed"] == pytest.approx(0.75)


@pytest.mark.compiled_only
def test_too_short_a_record(past, settings):
    """Google alone has fewer sessions than a window of 1,000 needs, and none before its first."""
    found = holdings.backtests(of(past, GOOG=0.1), past, settings)

    column = past.returns[:, past.symbols.index("GOOG")]
    assert found["sessions"] == np.isfinite(column).sum()
    assert {row["sessions"] for row in found["rows"]} == {250}
    short = holdings.judged(outcomes_of(past, IBM=1.0)[-499:], settings)
    assert (short["sessions"], short["needed"], short["rows"]) == (499, 500, [])


def test_an_account_that_never_moved(settings):
    """Cash alone has no losses to forecast: nothing is tested, nothing fails."""
    found = holdings.judged(np.zeros(600), settings)

    assert found["rows"] == []


@pytest.mark.compiled_only
def test_a_name_that_did_not_move_for_a_year(past, settings):
    """A forecast of no loss at all is tested like any other."""
    outcomes = np.concatenate([np.zeros(300), outcomes_of(past, IBM=1.0)[-230:]])

    found = holdings.judged(outcomes, settings)

    assert [row["sessions"] for row in found["rows"]] == [250] * 4
    assert found["rows"][0]["hits"] > found["rows"][0]["expected"]


def _adjusted(ledger, day, symbol, amount, price=0):
    """Write that the operator accepted money or shares for a session."""
    body = {"adjustments": [{"symbol": symbol, "amount": amount, "price": price}]}
    ts = datetime(day.year, day.month, day.day, tzinfo=UTC)
    ledger.append(
        Record(kind=RecordKind.ADJUSTMENT, key=f"{day}:{symbol}", session=day, ts=ts, body=body)
    )


def _closed(ledger, day, **last_price):
    """Write how a session ended."""
    ts = datetime(day.year, day.month, day.day, tzinfo=UTC)
    body = {"engine": {"last_price": last_price}}
    ledger.append(
        Record(kind=RecordKind.SESSION, key=f"{day}:{CLOSED}", session=day, ts=ts, body=body)
    )


def test_what_the_operator_brought_is_no_return():
    """Cash and shares taken into the books on a morning do not count as what the account earned."""
    ledger = MemoryLedger()
    # The seventh is a Saturday: the first session after it began with the money.
    _adjusted(ledger, date(2006, 1, 7), "", 100)
    _adjusted(ledger, date(2006, 1, 9), "IBM", 5, 20)
    curve = [
        (date(2006, 1, 5), 1_000),
        (date(2006, 1, 6), 1_010),
        (date(2006, 1, 9), 1_210),
        (date(2006, 1, 10), 1_089),
    ]

    found = holdings.account_returns(ledger, curve)

    np.testing.assert_allclose(found, [0.01, 0.0, -0.1], atol=1e-12)


def test_money_that_was_brought_earns_too():
    """Nine times the money on a morning of +10 %: the account earned a tenth, not all of it again."""
    ledger = MemoryLedger()
    _adjusted(ledger, date(2006, 1, 6), "", 900)
    _adjusted(ledger, date(2006, 1, 9), "", -1_100)
    curve = [
        (date(2006, 1, 5), 100),
        (date(2006, 1, 6), 1_100),
        (date(2006, 1, 9), 0),
        (date(2006, 1, 10), 0),
    ]

    found = holdings.account_returns(ledger, curve)

    np.testing.assert_allclose(found, [0.1, 0.0, 0.0], atol=1e-12)


def test_shares_that_were_moved_count_at_their_price():
    """What was once paid for them, or nothing for what is gone, is no measure of what they were worth."""
    ledger = MemoryLedger()
    _closed(ledger, date(2006, 1, 5), MSFT=30)
    # Bought for 2 each years ago, and worth 20 on the evening of the day they came.
    _adjusted(ledger, date(2006, 1, 6), "IBM", 10, 2)
    _closed(ledger, date(2006, 1, 6), MSFT=30, IBM=20)
    _adjusted(ledger, date(2006, 1, 9), "MSFT", -10)
    _closed(ledger, date(2006, 1, 9), IBM=20)
    curve = [(date(2006, 1, 5), 1_000), (date(2006, 1, 6), 1_200), (date(2006, 1, 9), 900)]

    found = holdings.account_returns(ledger, curve)

    np.testing.assert_allclose(found, [0.0, 0.0], atol=1e-12)


# --- exposure -------------------------------------------------------------------------------------


def test_betas_of_a_share_of_the_factor(past, embedded_market):
    """Half of it in IBM and a market that is IBM: beta 0.5, nothing unexplained."""
    found = holdings.factor_body(of(past, IBM=0.5), past, embedded_market.policy)

    (row,) = found["rows"]
    assert row["beta"] == pytest.approx(0.5)
    assert row["share"] == pytest.approx(1.0)
    assert found["specific"] == pytest.approx(0.0, abs=1e-9)
    deviation = 0.5 * past.factors["market"].std(ddof=1)
    per_year = embedded_market.policy.sessions_per_year
    assert found["annual_volatility"] == pytest.approx(deviation * math.sqrt(per_year))


def test_a_factor_without_data(past, embedded_market):
    """A factor nobody could be ranked by has no beta; the others keep theirs."""
    blind = replace(past, factors=past.factors | {"value": np.full(250, np.nan)})

    rows = holdings.factor_body(of(past, IBM=0.5), blind, embedded_market.policy)["rows"]

    assert rows[0]["beta"] == pytest.approx(0.5)
    assert (rows[1]["name"], rows[1]["beta"], rows[1]["error"]) == ("value", None, None)


@pytest.fixture(scope="module")
def wishing(embedded_market):
    """Return a function: policy changes and risk state to the plan of a session that buys."""

    def planned(changes, **state):
        policy, views = embedded_market.views(
            risk=embedded_market.policy.risk.model_copy(update=changes)
        )
        portfolio = Portfolio(market=Market.US, cash=CASH)
        for row in range(ROWS - 400, ROWS):
            view = views.at(row)
            risk = RiskState(**{"peak": CASH, "cooldown": 0, "state": TradingState.ACTIVE} | state)
            plan, status = plan_of(view, portfolio, policy, risk)
            if (plan.wished > 0.0).any():
                return view, plan, status, policy, portfolio, risk
        raise AssertionError("no session of the recorded ones buys")

    return planned


def test_the_plan_is_that_of_the_decision(wishing):
    """What is shown as wished and allowed is what ``decide`` worked with."""
    view, plan, status, policy, portfolio, risk = wishing({"max_single_name": 0.01})

    decision = decide(view, portfolio, policy, risk)

    assert [choice.weight for choice in decision.choices] == plan.weights.tolist()
    assert [choice.target_quantity for choice in decision.choices] == plan.target.tolist()
    assert (decision.exposure, decision.allocation) == (plan.exposure, status)
    assert plan.wished.max() > 0.01
    assert plan.weights.max() == pytest.approx(0.01)


def explained(found, *, previous=1.0, drawdown=0.0):
    view, plan, _, policy, _, _ = found
    return holdings.exposure_body(view, plan, policy, previous=previous, drawdown=drawdown)


def exposure_with(policy, **changes):
    return policy.risk.exposure.model_copy(update=changes)


def test_why_nothing_is_reduced(wishing):
    """With room everywhere the factor is 1, and so is what each measure allows."""
    body = explained(wishing({}))

    assert (body["exposure"], body["cause"]) == (1.0, "full")
    assert body["bounds"] == {"volatility": 1.0, "var": 1.0, "drawdown": 1.0}


def test_the_volatility_target_binds(wishing, embedded_market):
    """A target below the portfolio's volatility: their ratio is the factor and the cause."""
    tight = {"exposure": exposure_with(embedded_market.policy, annual_volatility_target=0.01)}

    body = explained(wishing(tight))

    assert body["cause"] == "volatility"
    assert body["measures"]["volatility"] > 0.01
    assert body["exposure"] == pytest.approx(0.01 / body["measures"]["volatility"], abs=1e-8)
    assert body["exposure"] == body["bounds"]["volatility"]


def test_the_var_limit_binds(wishing):
    """A VaR limit below the wished VaR: their ratio is the factor and the cause."""
    body = explained(wishing({"max_portfolio_var": 0.0005}))

    assert body["cause"] == "var"
    assert body["exposure"] == pytest.approx(0.0005 / body["measures"]["var"], abs=1e-7)


def test_the_drawdown_ladder_binds(wishing):
    """Six per cent below the peak: three quarters, by the shipped ladder."""
    peak = round(CASH / 0.94)

    body = explained(wishing({}, peak=peak), drawdown=1.0 - CASH / peak)

    assert (body["exposure"], body["cause"]) == (0.75, "drawdown")
    assert body["bounds"] == {"volatility": 1.0, "var": 1.0, "drawdown": 0.75}


def test_slowly_back(wishing):
    """After a reduction the factor rises by a step a session, and says that it does."""
    body = explained(wishing({}, exposure=0.5), previous=0.5)

    assert (body["exposure"], body["cause"]) == (pytest.approx(0.55), "rising")


def test_waiting_for_room(wishing):
    """Between the bound and the room the factor stays: 4.8 % is not a tenth below the step at 5 %."""
    peak = round(CASH / 0.952)

    found = wishing({}, peak=peak, exposure=0.75)
    body = explained(found, previous=0.75, drawdown=1.0 - CASH / peak)

    assert (body["exposure"], body["cause"]) == (0.75, "waiting")


# --- limits and names -----------------------------------------------------------------------------


def name(symbol, held, sector="기술", **more):
    row = {
        "symbol": symbol,
        "name": symbol.title(),
        "sector": sector,
        "wished": held,
        "allowed": held,
        "held": held,
        "variance_wished": 0.5,
        "variance_allowed": 0.5,
        "variance_held": 0.5,
        "sessions": 250,
    }
    return row | more


def test_room_to_each_limit(settings):
    """Each limit with what there is of it; beyond one the room is negative."""
    names = [name("AAPL", 0.12), name("IBM", 0.08), name("XYZ", 0.05, sector="")]
    sectors = [
        {"name": "기술", "wished": 0.2, "held": 0.2},
        {"name": "", "wished": 0.05, "held": 0.05},
    ]

    rows = holdings.limits(
        names, sectors, {"limit": 0.01}, equity=99_000, earned=-0.01, peak=110_000,
        settings=settings,
    )  # fmt: skip

    found = {row["name"]: (row["value"], row["room"], row["of"]) for row in rows}
    assert found == {
        "single_name": (0.12, pytest.approx(-0.02), "AAPL"),
        "sector": (0.2, pytest.approx(0.2), "기술"),
        "gross": (pytest.approx(0.25), pytest.approx(0.75), ""),
        "var": (0.01, pytest.approx(0.02), ""),
        "drawdown": (pytest.approx(0.1), pytest.approx(0.05), ""),
        "daily_loss": (pytest.approx(0.01), pytest.approx(0.02), ""),
    }


def test_an_unknown_var_is_no_small_one(settings):
    """Held without a record: the VaR is unknown; with nothing held it is 0."""
    whole = {"equity": 100_000, "earned": 0.01, "peak": 100_000, "settings": settings}

    held = holdings.limits([name("AAPL", 0.1)], [], None, **whole)
    empty = holdings.limits([], [], None, **whole)

    var = {row["name"]: (row["value"], row["room"]) for row in held}["var"]
    assert var == (None, None)
    assert [row["value"] for row in empty] == [0.0] * 6


# --- crises and tables ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crises(embedded_panels):
    """AAPL and FB of 2013 in the shipped windows; FB was not listed in 2008."""
    panel = embedded_panels[1]
    returns = np.full(panel.close.shape, np.nan)
    returns[1:] = panel.close[1:] / panel.close[:-1] - 1.0
    weights = np.array([{"AAPL": 0.1, "FB": 0.05}.get(s, 0.0) for s in panel.symbols])
    sectors = np.zeros(len(weights), dtype=np.int64)
    found = replay(weights, panel.symbols, sectors, returns, panel.sessions, ScenarioSettings())
    return [holdings.scenario_body(one) for one in found]


def test_a_crisis_as_values(crises, embedded_panels):
    """A recorded one tells its loss and who stood in; one not recorded tells no number."""
    covered, later = crises[0], crises[2]

    assert (covered["is_covered"], covered["own"], covered["proxy"]) == (True, 0.1, 0.05)
    assert covered["flagged"] == {"FB": "proxy"}
    assert covered["loss"] == pytest.approx(
        -sum(one["contribution"] for one in covered["holdings"].values()), abs=1e-8
    )
    assert (later["is_covered"], later["loss"], later["worst_day"]) == (False, None, None)
    assert later["flagged"] == {}


TESTED = {
    "method": "historical",
    "sessions": 250,
    "hits": 13,
    "expected": 12.5,
    "zone": "green",
    "p_values": dict.fromkeys(holdings.TESTS, 0.5),
}


@pytest.fixture
def body(past, settings, crises, wishing, embedded_market):
    """The whole of it for two names."""
    weights = of(past, AAPL=0.1, IBM=0.08)
    names = [name("AAPL", 0.1, wished=0.2, sessions=90), name("IBM", 0.08)]
    sectors = [{"name": "기술", "wished": 0.28, "held": 0.18}]
    var = holdings.tail(weights, past, FILTERED, settings)
    return {
        "session": "2006-12-01",
        "market": "us",
        "currency": "USD",
        "first": "2000-03-01",
        "as_of": "2006-12-01",
        "equity": CASH,
        "level": 0.95,
        "method": "filtered",
        "limits": holdings.limits(
            names, sectors, var, equity=CASH, earned=0.0, peak=CASH, settings=settings
        ),
        "var": var,
        "exposure": explained(wishing({})),
        "backtests": {
            "sessions": ROWS,
            "needed": 500,
            "listed": 0.75,
            "rows": [TESTED, TESTED | {"method": "filtered"}],
        },
        "account": holdings.judged(np.zeros(3), settings),
        "names": names,
        "sectors": sectors,
        "factors": holdings.factor_body(weights, past, embedded_market.policy),
        "scenarios": crises,
    }


def test_tables_of_all(body):
    """Every figure has its cell: one table a subject, each row as long as its heads."""
    found = {table.title: table for table in risk_tables.tables(body)}

    assert len(found) == 9
    assert all(len(row) == len(table.heads) for table in found.values() for row in table.rows)
    (limits,) = (t for t in found.values() if t.title.startswith("한도"))
    assert limits.rows[0] == ("가장 큰 종목 (AAPL)", "10.00 %", "10.00 %", "0.00 %")
    (losses,) = (t for t in found.values() if t.title.startswith("손실"))
    assert losses.heads[2:] == ("VaR 95%", "CVaR 95%", "VaR 99%", "CVaR 99%")
    assert [row[0] for row in losses.rows if "★" in row[0]] == ["필터(GARCH) ★"]
    assert any("AAPL 90일" in note for note in losses.notes)
    (crises,) = (t for t in found.values() if t.title.startswith("기록된 위기"))
    assert len(crises.rows) == 2
    assert any("2020 코로나19" in note for note in crises.notes)
    assert any("FB" in note for note in crises.notes)
    assert "보유 2종목" in risk_tables.headline(body)


def test_what_alarms_is_marked(body):
    """A limit that is broken, a red zone and a small p-value are marked, nothing else is."""
    body["limits"][0] |= {"value": 0.12, "room": -0.02}
    doubtful = TESTED["p_values"] | {"coverage": 0.0001, "shortfall_given_hits": None}
    body["backtests"]["rows"][0] = TESTED | {"zone": "red", "p_values": doubtful}

    limits, _, tests, *_ = risk_tables.tables(body)

    assert limits.bad == {(0, 1), (0, 3)}
    assert tests.bad == {(0, 3), (0, 4)}
    assert tests.rows[0][:5] == ("역사적", "250", "13 / 12.5", "적색", "<0.001")
    assert tests.rows[0][8] == "—"
    assert tests.rows[1][0] == "필터(GARCH) ★"
    assert any("75.00 %" in note for note in tests.notes)


def test_tables_without_holdings(body):
    """Nothing held is said in each table; what the decision wished is still shown."""
    body |= {
        "names": [name("AAPL", 0.0, wished=0.2, allowed=0.1)],
        "sectors": [],
        "var": None,
        "factors": None,
        "backtests": {"sessions": 0, "needed": 500, "rows": [], "listed": None},
    }

    tables = risk_tables.tables(body)

    silent = [table for table in tables if table.notes == ("보유 종목이 없습니다.",)]
    assert len(silent) == 5
    (names,) = (table for table in tables if table.title.startswith("종목"))
    assert names.rows[0][3:6] == ("20.00 %", "10.00 %", "0.00 %")
    assert "보유 종목 없음" in risk_tables.headline(body)


def test_why_nothing_is_tested(body):
    """Holdings without a record, and an account that has earned nothing yet, are no empty account."""
    nothing = {"sessions": 0, "needed": 500, "rows": [], "listed": None}
    body |= {"backtests": nothing, "account": nothing}

    _, _, of_weights, of_account, *_ = risk_tables.tables(body)

    assert of_weights.notes == ("보유 종목의 수익률 기록이 모자랍니다.",)
    assert of_account.notes == ("수익률이 아직 없습니다: 다음 세션부터 셉니다.",)


def test_a_decision_that_does_not_come_again(body):
    """Where today's data no longer lead to the decision, its wishes and causes are unknown."""
    body["exposure"] = {"exposure": 0.85, "cause": None}
    body["names"] = [name("AAPL", 0.1, wished=None, variance_wished=None)]

    tables = risk_tables.tables(body)

    (exposure,) = (table for table in tables if table.title.startswith("오늘 판단"))
    assert not exposure.rows
    assert exposure.notes[0].startswith("계수 0.85.")
    (names,) = (table for table in tables if table.title.startswith("종목"))
    assert names.rows[0][3] == "기록 없음"
    assert any("다시 만들 수 없어" in note for note in names.notes)
