"""A session that broke off because of its venue is begun again by its flow, from the ledger."""

import pytest
import yaml
from program import EAGER, configure, trading

pytestmark = pytest.mark.slow


def test_a_token_that_dies_twice(tmp_path):
    """The client renews a dead token once; that the new one is dead too ends a try, not the day."""
    root = configure(tmp_path / "home", EAGER | {"kis": {"token_wait_seconds": 0.2}})
    schedule = tmp_path / "faults.yaml"
    schedule.write_text(
        yaml.safe_dump([{"fault": 5, "call": "us_present_balance", "count": 2}]), encoding="utf-8"
    )

    day = trading(root, "demo", "--json", "--faults", str(schedule))

    assert day.code in (0, 1), day.err
    assert day.err.count("단계 실패") == day.err.count("기간이 만료된 token") == 1
    assert day.err.count("안전장치 훈련 통과") == 2
    assert (day.json["sessions"], day.json["cash_difference"]) == (1, 0)
    assert day.json["parity"]["unexplained"] == 0
