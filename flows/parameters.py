"""Parameters that several deployments share, as Prefect's pages describe them to a person.

The descriptions are Korean because they are on the screen; docstrings beside them are for readers
of the code.
"""

from typing import Any

from pydantic import Field


def described(text: str, default: Any = None) -> Any:
    """Return the default of a flow's parameter with the Korean ``text`` beside its field."""
    return Field(default=default, description=text)


MARKET = described("시장: krx(한국) 또는 us(미국). 비우면 config/app.yaml의 market.")
ONLY_MARKET = described("예약이 쓰는 값: 설정된 시장이 이것이 아니면 Skipped로 끝납니다.")
ROOT = described("작업 폴더. 비우면 작업자를 띄운 폴더 또는 TRADING_HOME.")
