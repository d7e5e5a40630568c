"""What is answered about mail is what is set."""

from pathlib import Path

import pytest

from trading import setup
from trading.config import load_settings


@pytest.fixture
def answers(monkeypatch) -> list[str]:
    """Answers that are typed one after the other."""
    given: list[str] = []
    monkeypatch.setattr("builtins.input", lambda _: given.pop(0))
    return given


def test_who_wants_no_mail_gets_none(tmp_path: Path, answers: list[str]) -> None:
    """A server that was set before is asked no more; the rest of its settings stay."""
    wish = setup.Wish(
        mail=setup.MailWish(host="smtp.example.com", port=465, security="tls"),
        tests_keys=False, with_prefect=False,
    )  # fmt: skip
    setup.carry_out(tmp_path, wish, lambda _: None)

    answers += ["us", "demo", "아니오", "아니오"]
    said: list[str] = []
    steps = setup.carry_out(tmp_path, setup.ask(tmp_path), said.append)

    mail = load_settings(tmp_path).notify.mail
    assert (mail.host, mail.port, answers) == (None, 465, [])
    assert [step.changed for step in steps if step.name == "mail"] == [True]
    assert any("메일을 껐습니다" in line for line in said)
