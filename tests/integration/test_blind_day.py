"""A day on which the venue forgets what was asked for: no print comes, and it is not kept quiet."""

import sqlite3

import pytest
import yaml
from program import EAGER, configure, trading


@pytest.mark.slow
def test_no_print_of_a_holding_came(tmp_path):
    """It is said and told, the books agree, and nothing is left unexplained."""
    root = tmp_path / "home"
    configure(root, EAGER)
    first = trading(root, "demo", "--no-prefect", "--json")
    held = first.json["fills"] > 0
    schedule = tmp_path / "faults.yaml"
    schedule.write_text(
        yaml.safe_dump([{"fault": 15, "variant": "lost_registrations"}]), encoding="utf-8"
    )

    blind = trading(root, "demo", "--no-prefect", "--json", "--faults", str(schedule))

    assert held and blind.code in (0, 1), blind.err
    assert "보유 종목의 체결이 하루 내내 오지 않음" in blind.err
    assert blind.json["cash_difference"] == 0
    assert blind.json["parity"]["unexplained"] == 0
    with sqlite3.connect(root / "data" / "outbox.db") as outbox:
        told = [row[0] for row in outbox.execute("SELECT body FROM outbox")]
    assert sum("손절을 살피지 못했습니다" in body for body in told) == 1
