"""What a finished day says on the terminal."""

import pytest

from trading.demo import day_text, has_riddles

CLEAN = {
    "session": "2026-11-30", "currency": "KRW", "orders": 3, "fills": 2,
    "final_equity": 1_234_567, "cash_difference": 0, "parity_unexplained": 0,
}  # fmt: skip


def test_a_clean_day_is_one_sentence():
    """Orders, fills and what the account is worth."""
    assert not has_riddles(CLEAN)
    assert day_text(CLEAN) == (
        "2026-11-30 세션을 마쳤습니다. 주문 3건, 체결 2건, 총자산 1,234,567원."
    )


@pytest.mark.parametrize("riddle", [{"cash_difference": -1}, {"parity_unexplained": 1}])
def test_a_riddle_is_said_to_whoever_started_the_day(riddle):
    """A difference that nobody can explain ends the command as a finding, with what to do."""
    day = CLEAN | riddle

    assert has_riddles(day)
    assert "다음 날을 시작하지 마십시오" in day_text(day)
