"""What ``holdings`` measured, as tables in Korean: for the console and the report alike."""

from collections.abc import Mapping
from typing import Any, Final

from trading.domain.instrument import Currency
from trading.domain.wording import (
    BASIS_OF_SCENARIO_TEXT,
    EXPOSURE_TEXT,
    FACTOR_TEXT,
    LIMIT_TEXT,
    VAR_TEXT,
    ZONE_TEXT,
    money_text,
    percent_text,
)
from trading.reporting import Table

# A p-value below which a test is marked; what demotes a method is ``risk.backtests.judge``.
_DOUBTFUL: Final = 0.05
_TESTS: Final = {
    "coverage": "횟수(Kupiec)",
    "independence": "독립",
    "conditional_coverage": "조건부",
    "dynamic_quantile": "DQ",
    "shortfall_given_hits": "크기 Z1",
    "shortfall": "크기·횟수 Z2",
}


def tables(body: Mapping[str, Any]) -> list[Table]:
    """Return a ``risk`` as tables in Korean, for the console and the report alike."""
    return [
        _limit_table(body),
        _tail_table(body),
        _test_table(
            "예측의 검정: 오늘 비중을 지난 기록에 댄 것",
            body["backtests"],
            body["method"],
            nothing=_nothing_to_measure(body),
        ),
        _test_table(
            "예측의 검정: 계좌의 실제 수익률",
            body["account"],
            body["method"],
            nothing="수익률이 아직 없습니다: 다음 세션부터 셉니다.",
        ),
        _exposure_table(body),
        _name_table(body),
        _sector_table(body),
        _factor_table(body),
        _scenario_table(body),
    ]


def headline(body: Mapping[str, Any]) -> str:
    """Return what a ``risk`` is of, as one sentence in Korean."""
    money = money_text(body["equity"], Currency(body["currency"]))
    held = [one for one in body["names"] if one["held"]]
    what = f"보유 {len(held)}종목" if held else "보유 종목 없음"
    return (
        f"{body['session']} 마감 뒤: 평가금액 {money}, {what}. "
        f"기록 {body['first']} ~ {body['as_of']}. 손실은 양수이고 평가금액에 대한 비율입니다."
    )


def _limit_table(body: Mapping[str, Any]) -> Table:
    rows, bad = [], set()
    for i, one in enumerate(body["limits"]):
        rows.append(
            (
                LIMIT_TEXT[one["name"]] + (f" ({one['of']})" if one["of"] else ""),
                _percent(one["value"]),
                _percent(one["limit"]),
                _percent(one["room"]),
            )
        )
        if one["room"] is not None and one["room"] < 0.0:
            bad |= {(i, 1), (i, 3)}
    return Table(
        title="한도와 남은 여유",
        heads=("한도", "지금", "한도 값", "여유"),
        rows=tuple(rows),
        bad=frozenset(bad),
    )


def _tail_table(body: Mapping[str, Any]) -> Table:
    found = body["var"]
    title = "손실 전망: 오늘 비중을 지난 수익률에 댄 것"
    if found is None:
        return Table(title=title, notes=(_nothing_to_measure(body),))
    levels = sorted({one["level"] for one in found["rows"]})
    heads = ["방법", "거래일 뒤"]
    by_method: dict[tuple[str, int], list[str]] = {}
    for level in levels:
        heads += [f"VaR {100 * level:g}%", f"CVaR {100 * level:g}%"]
        for one in (row for row in found["rows"] if row["level"] == level):
            name = VAR_TEXT[one["method"]] + (" ★" if one["in_force"] else "")
            by_method.setdefault((name, one["sessions"]), []).extend(
                (_with_error(one["var"], one["var_error"]), _with_error(one["es"], one["es_error"]))
            )
    method = body["method"]
    in_force = f"쓰는 방법(★): {VAR_TEXT[method]}." if method else "모든 방법이 강등되어 있습니다."
    rule = "이 방법과 역사적 VaR 가운데 큰 쪽" if method else "네 방법 가운데 가장 큰 값"
    return Table(
        title=title,
        heads=tuple(heads),
        rows=tuple((name, str(days), *cells) for (name, days), cells in by_method.items()),
        notes=(
            f"지난 {found['sessions']}거래일로 잰 값 ± 표준오차. {in_force}"
            f" 한도에 대는 하루 VaR {_percent(found['limit'])}: {rule}.",
            *_short_histories(body, found["sessions"]),
        ),
    )


def _nothing_to_measure(body: Mapping[str, Any]) -> str:
    held = any(one["held"] for one in body["names"])
    return "보유 종목의 수익률 기록이 모자랍니다." if held else "보유 종목이 없습니다."


def _short_histories(body: Mapping[str, Any], sessions: int) -> tuple[str, ...]:
    short = [
        f"{one['symbol']} {one['sessions']}일"
        for one in body["names"]
        if one["held"] and one["sessions"] < sessions
    ]
    if not short:
        return ()
    return (f"기록이 짧아 없는 날을 움직이지 않은 것으로 친 종목: {', '.join(short)}.",)


def _exposure_table(body: Mapping[str, Any]) -> Table:
    title = "오늘 판단의 노출 계수"
    found = body["exposure"]
    if found is None:
        return Table(title=title, notes=("오늘은 판단이 없었습니다.",))
    if found["cause"] is None:
        said = "지금의 자료와 설정으로는 그 판단이 다시 나오지 않아 까닭은 보일 수 없습니다."
        return Table(title=title, notes=(f"계수 {found['exposure']:.2f}. {said}",))
    targets = found["targets"] | {"drawdown": None}
    words = {"volatility": "연 변동성", "var": "하루 VaR", "drawdown": "고점 대비 낙폭"}
    return Table(
        title=title,
        heads=("기준", "줄이기 전", "목표", "허용 계수"),
        rows=tuple(
            (
                words[name],
                _percent(value),
                _percent(targets[name]) if targets[name] is not None else "사다리",
                f"{found['bounds'][name]:.2f}",
            )
            for name, value in found["measures"].items()
        ),
        notes=(
            f"계수 {found['exposure']:.2f} (전날 {found['previous']:.2f}):"
            f" {EXPOSURE_TEXT[found['cause']]}.",
        ),
    )


def _test_table(title: str, found: Mapping[str, Any], method: str | None, *, nothing: str) -> Table:
    if not found["sessions"]:
        return Table(title=title, notes=(nothing,))
    if not found["rows"]:
        return Table(
            title=title,
            notes=(f"기록 {found['sessions']:,}거래일: {found['needed']:,}거래일부터 시험합니다.",),
        )
    rows, bad = [], set()
    for i, one in enumerate(found["rows"]):
        p_values = [one["p_values"][name] for name in _TESTS]
        star = " ★" if one["method"] == method else ""
        rows.append(
            (
                VAR_TEXT[one["method"]] + star,
                f"{one['sessions']:,}",
                f"{one['hits']} / {one['expected']:.1f}",
                ZONE_TEXT[one["zone"]],
                *map(_p_text, p_values),
            )
        )
        bad |= {(i, 4 + k) for k, p in enumerate(p_values) if p is not None and p < _DOUBTFUL}
        if one["zone"] == "red":
            bad.add((i, 3))
    notes = ["나머지 칸은 맞는 예측이 이만큼 어긋날 확률(p, 모의실험). 작을수록 의심스럽습니다."]
    if found.get("listed") is not None and found["listed"] < 1.0:
        notes.append(
            f"기간 첫날에 상장되어 있던 비중 {_percent(found['listed'])}: 나머지는 상장 뒤부터 움직입니다."
        )
    return Table(
        title=title,
        heads=(
            "방법",
            "거래일",
            "넘은 날 / 기대",
            "바젤 구간",
            *_TESTS.values(),
        ),
        rows=tuple(rows),
        notes=tuple(notes),
        bad=frozenset(bad),
    )


def _name_table(body: Mapping[str, Any]) -> Table:
    title = "종목: 바란 비중에서 보유까지"
    names = body["names"]
    if not names:
        return Table(title=title, notes=("바란 종목도 보유 종목도 없습니다.",))
    notes = []
    if names[0]["wished"] is None and body["exposure"] is not None:
        notes.append("오늘 판단을 지금의 자료로 다시 만들 수 없어 한도 전의 비중을 모릅니다.")
    if not any(one["held"] for one in names):
        notes.append("보유 종목이 없습니다: 오늘 판단이 바란 비중만 보입니다.")
    strange = [one["symbol"] for one in names if one["held"] and not one["sessions"]]
    if strange:
        notes.append(f"수익률 기록이 없어 위험에 들지 않은 종목: {', '.join(strange)}.")
    return Table(
        title=title,
        heads=(
            "종목",
            "이름",
            "업종",
            "한도 전",
            "한도 뒤",
            "보유",
            "위험 몫: 한도 전",
            "위험 몫: 한도 뒤",
            "위험 몫: 보유",
        ),
        rows=tuple(
            (
                one["symbol"],
                one["name"],
                one["sector"] or "모름",
                *(_percent(one[key]) for key in ("wished", "allowed", "held")),
                *(_percent(one[f"variance_{key}"]) for key in ("wished", "allowed", "held")),
            )
            for one in names
        ),
        notes=tuple(notes),
    )


def _sector_table(body: Mapping[str, Any]) -> Table:
    return Table(
        title="업종",
        heads=("업종", "한도 전", "보유"),
        rows=tuple(
            (
                one["name"] or "업종 모름 (한도에 들지 않음)",
                _percent(one["wished"]),
                _percent(one["held"]),
            )
            for one in body["sectors"]
        ),
        notes=() if body["sectors"] else ("보유 종목이 없습니다.",),
    )


def _factor_table(body: Mapping[str, Any]) -> Table:
    title = "팩터 노출"
    found = body["factors"]
    if found is None:
        return Table(title=title, notes=("보유 종목이 없습니다.",))
    known = [one for one in found["rows"] if one["beta"] is not None]
    absent = [FACTOR_TEXT[one["name"]] for one in found["rows"] if one["beta"] is None]
    notes = []
    if known:
        notes.append(
            f"{found['sessions']}거래일. 어느 팩터로도 설명되지 않는 분산"
            f" {_percent(found['specific'])}. 연 변동성 {_percent(found['annual_volatility'])}."
        )
    if absent:
        notes.append(f"자료나 종목이 모자라 재지 못한 팩터: {', '.join(absent)}.")
    return Table(
        title=title,
        heads=("팩터", "베타", "표준오차", "분산 몫"),
        rows=tuple(
            (
                FACTOR_TEXT[one["name"]],
                f"{one['beta']:+.2f}",
                f"{one['error']:.2f}",
                _percent(one["share"]),
            )
            for one in known
        ),
        notes=tuple(notes),
    )


def _scenario_table(body: Mapping[str, Any]) -> Table:
    title = "기록된 위기를 오늘 보유로 겪는다면"
    if not any(one["held"] for one in body["names"]):
        return Table(title=title, notes=("보유 종목이 없습니다.",))
    covered = [one for one in body["scenarios"] if one["is_covered"]]
    absent = [one["name"] for one in body["scenarios"] if not one["is_covered"]]
    notes = []
    if absent:
        notes.append(f"기록에 없어 재생하지 못한 위기: {', '.join(absent)}.")
    for one in covered:
        by_basis: dict[str, list[str]] = {}
        for symbol, basis in one["flagged"].items():
            by_basis.setdefault(BASIS_OF_SCENARIO_TEXT[basis], []).append(symbol)
        notes += [
            f"{one['name']}, {basis}: {', '.join(symbols)}." for basis, symbols in by_basis.items()
        ]
    return Table(
        title=title,
        heads=(
            "위기",
            "거래일",
            "손실",
            "최대 낙폭",
            "가장 나쁜 날",
            "자기 기록",
            "업종 대신",
            "제외",
        ),
        rows=tuple(
            (
                one["name"],
                str(one["sessions"]),
                _percent(one["loss"]),
                _percent(one["max_drawdown"]),
                f"{_percent(one['worst_day'])} ({one['worst_session']})",
                *(_percent(one[key]) for key in ("own", "proxy", "left_out")),
            )
            for one in covered
        ),
        notes=tuple(notes),
    )


def _p_text(p: float | None) -> str:
    if p is None:
        return "—"
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _percent(value: float | None) -> str:
    return percent_text(value, signed=False)


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return _percent(None)
    return f"{100 * value:.2f}" + (f" ± {100 * error:.2f} %" if error else " %")
