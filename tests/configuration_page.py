"""docs/configuration.md, written from the settings files: ``python tests/configuration_page.py``.

The comments of ``config/*.yaml`` say what a key does, the settings models what it may be.
"""

import re
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from trading.allocation.sizing import AllocationSettings
from trading.backtest.settings import ResearchSettings
from trading.broker.rest import KisSettings
from trading.config import AppSettings
from trading.execution.orders import ExecutionSettings
from trading.features.pipeline import FeatureSettings
from trading.models.base import ModelSettings
from trading.notify import NotifySettings
from trading.risk.limits import RiskSettings
from trading.store.universe import UniverseSettings
from trading.strategies.catalog import StrategySettings

CHECKOUT = Path(__file__).parents[1]
FILES: Mapping[str, tuple[str, type[BaseModel]]] = {
    "app": ("환경, 시장, 자료, 데모, 감시, 점검, 백업, 화면", AppSettings),
    "kis": ("한국투자증권과의 통신", KisSettings),
    "universe": ("매매할 거래소와 종목", UniverseSettings),
    "features": ("지표와 특성", FeatureSettings),
    "strategies": ("전략과 선별", StrategySettings),
    "models": ("학습과 관문", ModelSettings),
    "allocation": ("의견에서 비중으로", AllocationSettings),
    "risk": ("잃어도 되는 만큼", RiskSettings),
    "execution": ("주문과 청산", ExecutionSettings),
    "notify": ("알림", NotifySettings),
    "research": ("연구", ResearchSettings),
}
# Below these a file lists facts of its user, not settings with a meaning of their own.
FACTS = {
    "universe": (("instruments",),),
    "research": (("spaces",),),
    "models": (("search", "spaces"), ("search", "groups")),
}
KEY = re.compile(r"^( *)([\w.]+|\S[^:#]*):(?: +(?!#)(.*?))?(?:\s+# ?(.*))?$")
INTRODUCTION = """# 설정

`config/*.yaml` 의 모든 항목입니다. 이 쪽은 그 파일들의 설명과 설정 모델에서 만들어지고, 테스트가 견줍니다.

- 모르는 이름, 두 번 나온 이름, 범위를 벗어난 값은 오류이고, 어느 파일의 무엇인지와 기대한 값을 한 문장으로 말합니다(종료 코드 2).
- 바꾼 값은 다음에 시작하는 명령과 세션부터 듣습니다. 결정을 바꾸는 값을 고치면 정책의 지문이 달라집니다.
- 작업 폴더에 `config/` 가 없으면 프로그램에 든 이 기본값을 씁니다.
- 비밀(키, 계좌, 비밀번호)은 여기에 없습니다: 환경 변수나 `.env` 에 둡니다([security.md](security.md)).
- 날짜가 있는 시장의 법은 `config/markets/*.yaml`, 자료의 검사는 `config/quality/*.yaml` 에 있습니다([data.md](data.md)).

"범위" 는 설정 모델이 받는 값입니다. 비어 있으면 그 꼴의 아무 값이나 됩니다. "〃" 는 위의 항목이나 묶음과 같은 뜻입니다."""


@dataclass(slots=True)
class Row:
    """One key: its path in the file, and what its comments say."""

    path: tuple[str, ...]
    said: list[str] = field(default_factory=list)


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for name, (title, model) in FILES.items():
        text = (CHECKOUT / "config" / f"{name}.yaml").read_text("utf-8")
        values = yaml.safe_load(text)
        parts.append(f"## {name}.yaml: {title}")
        lines = ["| 항목 | 기본값 | 범위 | 뜻 |", "|---|---|---|---|"]
        for row in _rows(name, text):
            value = _value(values, row.path)
            shown = "" if isinstance(value, dict) and value else f"`{_written(value)}`"
            cells = (f"`{'.'.join(row.path)}`", shown, _range(model, row.path), " ".join(row.said))
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        parts.append(
            "\n".join(line.replace("|  |", "| |").replace("|  |", "| |") for line in lines)
        )
    return "\n\n".join(parts) + "\n"


def _rows(name: str, text: str) -> Iterator[Row]:
    """Return the keys of a file in its order with what the comments above and beside them say."""
    rows: list[Row] = []
    stack: list[tuple[int, str]] = []
    above: list[str] = []
    head = True  # the comment that opens the file speaks of the whole of it
    for line in text.split("\n"):
        stripped = line.strip()
        if not stripped:
            above, head = [], False
            continue
        if stripped.startswith("#"):
            indent = len(line) - len(line.lstrip())
            if not above and rows and indent > 12:  # goes on under the one beside a key
                rows[-1].said.append(stripped.lstrip("# "))
            elif not head:
                above.append(stripped.lstrip("# "))
            continue
        found = KEY.match(line)
        if found is None or stripped.startswith(("-", "{", "(")):
            above = []
            continue
        head = False
        indent = len(found[1])
        while stack and stack[-1][0] >= indent:
            stack.pop()
        stack.append((indent, found[2].strip()))
        path = tuple(key for _, key in stack)
        if any(
            len(path) > len(facts) and path[: len(facts)] == facts for facts in FACTS.get(name, ())
        ):
            above = []
            continue
        rows.append(Row(path, [*above, *([found[4]] if found[4] else [])]))
        above = []
    for row in rows:
        if not row.said and len(row.path) > 1:
            row.said = ["〃"]
    return iter(rows)


def _value(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


def _written(value: Any) -> str:
    """Return a value as YAML writes it, on one line."""
    if isinstance(value, dict | list) and len(str(value)) > 60:
        return "…"
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("...").strip()


def _range(model: Any, path: tuple[str, ...]) -> str:
    """Return what the settings model allows at ``path``."""
    limits: list[str] = []
    annotation: Any = model
    for key in path:
        annotation = _plain(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            known = annotation.model_fields.get(key)
            if known is None:
                return ""
            annotation, limits = known.annotation, _limits(known.metadata)
        elif get_origin(annotation) is not None and len(get_args(annotation)) == 2:
            annotation, limits = get_args(annotation)[1], []
        else:
            return ""
    metadata = getattr(annotation, "__metadata__", ())
    annotation = _plain(annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    return " ".join(limits or _limits(metadata))


def _plain(annotation: Any) -> Any:
    """Return an annotation without ``None`` and without what is annotated to it."""
    while True:
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
        elif get_origin(annotation) in (Union, types.UnionType):
            annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
        else:
            return annotation


def _limits(metadata: Any) -> list[str]:
    words = (("ge", "이상"), ("gt", "초과"), ("le", "이하"), ("lt", "미만"))
    return [
        f"{getattr(one, name):g} {word}"
        for one in metadata
        for name, word in words
        if isinstance(getattr(one, name, None), int | float)
    ]


if __name__ == "__main__":
    sys.stdout.write(page())
