"""The referee of ``make compare-peers``: exact arithmetic, and nothing that it lets pass."""

import importlib
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

# A folder of scripts, not a package: they find each other by their own folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "peers"))
referee = importlib.import_module("referee")
cases = importlib.import_module("cases")
compare = importlib.import_module("compare")
habits = importlib.import_module("habits")
signals = importlib.import_module("engines.signals")
files = importlib.import_module("engines.case")

# The fee rule of the reference results: 0.015 % on both sides, 0.2 % on sales.
ACCOUNT = referee.Account(cash=1_000_000, commission_ppb=150_000, tax_ppb=2_000_000)
FILLS = np.array([[1, 0, 1, 10, 1_001], [3, 0, -1, 10, 1_100]])


@pytest.fixture(scope="module", params=tuple(cases.RULES))
def market(request):
    """Return one rule on the embedded history with what we did in it."""
    return compare._market(request.param, cases.recorded(cases.RULES[request.param]))


def as_answer(market, *, fills=None, equity=None):
    """Return our own result as if a peer had given it, fees exact; or another one."""
    fills = market.ours.fills if fills is None else fills
    minor = market.case.minor_per_unit
    if equity is None:
        exact = referee.worth(market.ours.fills, market.case.close, market.account)
        equity = exact.path() / minor
    return files.Answer.of(fills[:, :4], fills[:, 4] / minor, equity)


def test_fees_are_fractions():
    """10 x 1,001 at 0.015 % is 1.5015; the sale of 11,000 pays 1.65 and 22 of tax."""
    assert referee.fees(FILLS, ACCOUNT) == [
        (Fraction(15_015, 10_000), Fraction(0)),
        (Fraction(165, 100), Fraction(22)),
    ]


def test_equity_of_every_bar():
    """Cash less what was paid, and what is held at the mark of the bar, by hand."""
    marks = np.array([[990], [1_002], [1_050], [1_090]])

    worth = referee.worth(FILLS, marks, ACCOUNT)

    assert worth.gross.tolist() == [1_000_000, 1_000_010, 1_000_490, 1_000_990]
    assert worth.final == 1_000_990 - Fraction(15_015, 10_000) - Fraction(2_365, 100)
    np.testing.assert_allclose(
        worth.path(), [1_000_000, 1_000_008.4985, 1_000_488.4985, 1_000_964.8485], rtol=1e-15
    )


def test_no_fill_is_cash():
    """Without fills the equity is the cash, and no fee was rounded."""
    nothing = np.empty((0, 7), dtype=np.int64)

    worth = referee.worth(nothing, np.array([[5], [6]]), ACCOUNT)

    assert worth.final == ACCOUNT.cash
    assert worth.path().tolist() == [ACCOUNT.cash, ACCOUNT.cash]
    assert referee.largest_rounding(nothing, ACCOUNT) == 0


@pytest.mark.parametrize("fills", [FILLS[::-1], FILLS[1:]], ids=["order", "oversold"])
def test_impossible_fills_are_refused(fills):
    """Fills out of order, and a sale of what is not held, have no worth."""
    with pytest.raises(ValueError, match=r"out of order|not held"):
        referee.worth(fills, np.full((4, 1), 1_000), ACCOUNT)


def test_largest_rounding():
    """Booked as 2 and 0, then 2 and 22: the first commission is 0.4985 away, the most."""
    booked = np.column_stack((FILLS, [[2, 0], [2, 22]]))

    assert referee.largest_rounding(booked, ACCOUNT) == Fraction(4_985, 10_000)


def test_first_difference():
    """The first fill that is not in the other list, or is another."""
    other = FILLS.copy()
    other[1, referee.PRICE] += 1

    assert referee.first_difference(FILLS, FILLS.copy()) is None
    assert referee.first_difference(FILLS, FILLS[:1]) == (FILLS[1].tolist(), None)
    assert referee.first_difference(FILLS, other) == (FILLS[1].tolist(), other[1].tolist())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(100_787_553_527), "10,078,755.35"),
        (Fraction(-3), "0.00"),
        (Fraction(-123_456), "-12.35"),
        (Fraction(50), "0.00"),
        (Fraction(51), "0.01"),
    ],
)
def test_in_units(value, text):
    """Ten thousandths of a dollar to the cent; what rounds to nothing has no sign."""
    assert referee.in_units(value, 10_000) == text


def test_our_own_result_is_exact(market):
    """Event engine and compiled path agree, every fee is within half a unit of the exact one."""
    checks = list(compare._own_checks(market))

    assert len(checks) == 2
    assert [check.text for check in checks if not check.kept] == []


def test_written_out_rules_wish_the_same(market):
    """The peers' own rules, Wilder's RSI by hand among them, lead to the orders of ours."""
    theirs = cases.trade(market.case, signals.wishes(market.case))

    np.testing.assert_array_equal(theirs.fills, market.ours.fills)


def test_case_and_answer_survive_their_files(market, tmp_path):
    """What an engine reads and writes is what was given."""
    market.case.save(tmp_path / "case.npz")
    answer = as_answer(market)
    answer.save(tmp_path / "answer.npz")

    case = files.Case.load(tmp_path / "case.npz")
    again = files.Answer.load(tmp_path / "answer.npz")

    assert (case.symbols, case.rule, case.cash) == (
        market.case.symbols, market.case.rule, market.case.cash,
    )  # fmt: skip
    np.testing.assert_array_equal(case.close, market.case.close)
    np.testing.assert_array_equal(again.orders, answer.orders)
    np.testing.assert_array_equal(again.equity, answer.equity)


def test_same_result_has_no_fault(market):
    """A peer that does what we do is explained by our rounding alone."""
    finding = compare._judged(market, "peer", as_answer(market), ())

    assert finding.fault is None
    assert finding.same_fills
    assert finding.unexplained == "0.00"
    assert {text for text, _ in finding.reasons} == {"우리는 비용을 최소 단위로 반올림함"}


def test_every_deviation_is_a_fault(market):
    """A later fill, a share less, another price, a cent in the middle, a bar too few, no number."""
    fills, exact = market.ours.fills, as_answer(market).equity
    days = market.case.times.astype("datetime64[D]")
    late, fewer, dearer = fills.copy(), fills.copy(), fills.copy()
    late[0, 0] += 1
    fewer[0, 3] -= 1
    dearer[0, 4] += 1
    middle, hole, end = exact.copy(), exact.copy(), exact.copy()
    middle[1_000] += 0.01
    hole[500] = np.nan
    end[-1] = np.inf

    faults = [
        compare._judged(market, "peer", as_answer(market, **change), ()).fault
        for change in (
            {"fills": late}, {"fills": fewer}, {"fills": dearer}, {"fills": fills[:-1]},
            {"equity": middle}, {"equity": exact[1:]}, {"equity": hole},
            {"equity": end}, {"equity": exact[:0]},
        )
    ]  # fmt: skip

    assert [fault.split(":")[0] for fault in faults[:4]] == ["체결이 다름"] * 4
    assert faults[3].endswith(", 상대는 없음")
    assert faults[4] == f"평가금액이 {days[1_000]} 봉부터 0.0100 다름"
    assert faults[5].startswith("평가금액이 2,014봉")
    assert faults[6].startswith(f"평가금액이 {days[500]} 봉부터")
    assert faults[7].startswith(f"평가금액이 {days[-1]} 봉부터")
    assert faults[8].startswith("평가금액이 0봉")


def test_prices_between_the_units_are_a_fault(market):
    """A price that is no recorded one is not rounded into it."""
    answer = as_answer(market)
    answer.prices[0] += 0.00004

    assert compare._judged(market, "peer", answer, ()).fault == "체결가가 기록된 값이 아님"


def test_untaxed_sales_are_explained_by_the_tax(market):
    """What a peer without the sell tax has more is the sum of the exact taxes."""
    untaxed = replace(market.account, tax_ppb=0)
    path = referee.worth(market.ours.fills, market.case.close, untaxed).path()
    answer = as_answer(market, equity=path / market.case.minor_per_unit)
    taxes = sum(tax for _, tax in referee.fees(market.ours.fills, market.account))

    finding = compare._judged(market, "peer", answer, (habits.Habit(text="세금", untaxed=True),))

    assert finding.fault is None
    assert dict(finding.reasons)["세금"] == referee.in_units(taxes, market.case.minor_per_unit)
    assert compare._judged(market, "peer", answer, ()).fault is not None
