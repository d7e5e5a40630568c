"""``trading explain CODE``: what a code means, what the program does, what the user does.

The codes of the venue are in ``wire.codes``; ours stand here. ``docs/codes.md`` is ``page()``.
"""

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trading.domain.decision import TradingState
from trading.domain.order import OrderStatus
from trading.domain.wording import STATE_TEXT, STATUS_TEXT
from trading.wire.codes import CODES, RATE_REFUSALS, RATE_RESPONSE, MessageCode, Retry, lookup
from trading.wire.endpoints import Profile, lacking


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Codes that begin alike, and who says them."""

    name: str
    title: str
    codes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """A code of ours: its meaning, the setting behind it, what the user does."""

    cause: str
    setting: str = ""
    action: str = ""


_VERDICT = "판정"
_GUARD = "거부"
_REASON = "파는 규칙"
_FINDING = "점검"
_EVENT = "알림"
# In the order in which they are decided.
_VERDICTS: Mapping[str, _Own] = {
    "ALLOWED": _Own(cause="목표 비중 그대로 허용"),
    "ABSTAIN": _Own(cause="모든 전략이 기권해 의견이 없음", setting="`strategies.yaml`"),
    "NOT_TRADABLE": _Own(cause="정지, 상장 전후, 또는 그날 호가 단위에 맞지 않는 기록"),
    "NOT_SCREENED": _Own(cause="장전 선별에서 빠짐", setting="`strategies.yaml` `screener`"),
    "BELOW_ENTRY_FORECAST": _Own(
        cause="종합 예측이 진입 기준 이하", setting="`allocation.yaml` `ensemble.entry_forecast`"
    ),
    "BELOW_MIN_CONFIDENCE": _Own(
        cause="신뢰도가 최소 기준 미만", setting="`allocation.yaml` `ensemble.min_confidence`"
    ),
    "ENTRY_VAR": _Own(
        cause="종목 자체의 하루 95 % VaR가 너무 크거나 알 수 없음",
        setting="`allocation.yaml` `ensemble.max_entry_var`",
    ),
    "EXIT_SIGNAL": _Own(
        cause="보유 의견이 사라져 판다", setting="`allocation.yaml` `ensemble.exit_forecast`"
    ),
    "REGIME_BLOCK": _Own(
        cause="시장 국면이 새 진입을 막음", setting="`allocation.yaml` `ensemble.regime_action`"
    ),
    "COOLDOWN": _Own(
        cause="손절 등으로 판 뒤 다시 사지 않는 기간",
        setting="`execution.yaml` `exits.cooldown_sessions`",
    ),
    "NO_VOLATILITY": _Own(
        cause="변동성이나 이력이 모자라 비중을 정할 수 없어 가진 만큼 그대로 둠",
        setting="`features.yaml` `volatility_long_window`, `allocation.yaml` `optimizer.min_sessions`",
    ),
    "NO_EDGE": _Own(
        cause="기록에서 기대되는 수익이 0 이하라 비중을 두지 않음 (켈리)",
        setting="`allocation.yaml` `sizing.method`",
    ),
    "TIME_STOP": _Own(
        cause="보유 기간이 끝나 다음 개장에 판다",
        setting="`strategies.yaml` `exits.max_sessions`",
    ),
    "WAITING": _Own(
        cause="장중에 정한 가격까지 오르면 산다 (변동성 돌파)",
        setting="`strategies.yaml` `volatility_breakout`",
    ),
    "CAP_EXPOSURE": _Own(
        cause="변동성 목표나 낙폭 사다리가 전체 노출을 줄임", setting="`risk.yaml` `exposure`"
    ),
    "CAP_SINGLE_NAME": _Own(cause="단일 종목 한도로 줄임", setting="`risk.yaml` `max_single_name`"),
    "CAP_SECTOR": _Own(cause="업종 한도로 줄임", setting="`risk.yaml` `max_sector`"),
    "CAP_GROSS": _Own(cause="총 노출 한도로 줄임", setting="`risk.yaml` `max_gross`"),
    "CAP_PORTFOLIO_VAR": _Own(
        cause="포트폴리오 VaR 한도로 줄임", setting="`risk.yaml` `max_portfolio_var`"
    ),
    "CAP_ADV": _Own(cause="평균 거래량 비율 한도로 줄임", setting="`risk.yaml` `max_adv_share`"),
    "CAP_DRAWDOWN": _Own(cause="고점 대비 낙폭 한도", setting="`risk.yaml` `max_drawdown`"),
    "DAILY_LOSS": _Own(
        cause="하루 손실 한도에 닿아 사지 않음", setting="`risk.yaml` `max_daily_loss`"
    ),
    "REDUCING": _Own(cause="줄이는 주문만 허용되는 상태"),
    "HALTED": _Own(cause="거래 정지 상태"),
    "WITHIN_BAND": _Own(
        cause="바꿀 양이 무거래 구간 안이라 그대로 둠", setting="`allocation.yaml` `no_trade_band`"
    ),
    "BELOW_LOT": _Own(cause="한 매매 단위에 못 미침", setting="`config/markets/*.yaml`"),
    "NO_CASH": _Own(
        cause="쓸 수 있는 현금이 모자라 줄임", setting="`allocation.yaml` `cash_buffer`"
    ),
}
_GUARDS: Mapping[str, _Own] = {
    "GUARD_BAD_QUANTITY": _Own(cause="수량이나 가격이 0 이하이거나 정수가 아님"),
    "GUARD_ORDER_TYPE": _Own(cause="지정가가 없어 얼마가 될지 알 수 없는 주문 유형"),
    "GUARD_DUPLICATE": _Own(cause="같은 주문이 이미 나감"),
    "GUARD_SYMBOL_FROZEN": _Own(cause="결과를 모르는 주문이 있어 멈춘 종목"),
    "GUARD_SESSION_CLOSED": _Own(cause="주문을 받는 시간이 아니거나 오늘의 주문이 아님"),
    "GUARD_HALTED": _Own(cause="거래 정지 상태"),
    "GUARD_REDUCING": _Own(cause="축소만 허용되는 상태에서 사려 함"),
    "GUARD_SHORT_SALE": _Own(cause="가진 수량보다 많이 팔려 함"),
    "GUARD_UNKNOWN_SYMBOL": _Own(cause="오늘의 호가 단위, 매매 단위, 가격제한을 모르는 종목"),
    "GUARD_SYMBOL_HALTED": _Own(
        cause="거래정지, VI, 서킷브레이커로 매매가 멈춤 (파는 주문도 풀릴 때까지 기다림)"
    ),
    "GUARD_ENTRY_STOPPED": _Own(cause="사이드카이거나 오늘 매매할 수 없는 종목을 사려 함"),
    "GUARD_STALE_DATA": _Own(cause="시세가 없거나 너무 오래됨", setting="`guards.stale_seconds`"),
    "GUARD_PRICE_LIMIT": _Own(
        cause="하루 가격제한폭 밖의 지정가", setting="`config/markets/*.yaml`"
    ),
    "GUARD_TICK": _Own(cause="호가 단위에 맞지 않는 지정가", setting="`config/markets/*.yaml`"),
    "GUARD_LOT": _Own(cause="매매 단위의 배수가 아닌 수량", setting="`config/markets/*.yaml`"),
    "GUARD_PRICE_BAND": _Own(
        cause="마지막 시세에서 너무 먼 지정가", setting="`guards.max_price_deviation`"
    ),
    "GUARD_ORDER_VALUE": _Own(cause="한 주문의 금액이 너무 큼", setting="`guards.max_order_share`"),
    "GUARD_ADV_SHARE": _Own(
        cause="평균 거래량에 견주어 너무 큰 매수 (같은 종목의 미체결 포함)",
        setting="`max_adv_share`",
    ),
    "GUARD_NO_CASH": _Own(cause="수수료까지 쓸 수 있는 현금보다 큰 매수 (미수 금지)"),
    "GUARD_GROSS": _Own(
        cause="보유와 미체결을 더하면 총 노출이 한도와 오늘의 결정을 넘음", setting="`max_gross`"
    ),
    "GUARD_SECTOR": _Own(
        cause="보유와 미체결을 더하면 업종 비중이 한도와 오늘의 결정을 넘음", setting="`max_sector`"
    ),
    "GUARD_SINGLE_NAME": _Own(
        cause="보유와 미체결을 더하면 단일 종목 한도를 넘음", setting="`max_single_name`"
    ),
    "GUARD_ORDER_RATE": _Own(
        cause="1분 안의 주문 수 한도", setting="`guards.max_orders_per_minute`"
    ),
}
_REASONS: Mapping[str, _Own] = {
    "rebalance": _Own(cause="아침 판단에 따른 비중 조정"),
    "stop_loss": _Own(cause="평균 매입가에서 정한 비율만큼 내림", setting="`stop_loss`"),
    "trailing_stop": _Own(cause="매입 뒤 고점에서 정한 비율만큼 내림", setting="`trailing_stop`"),
    "take_profit": _Own(cause="평균 매입가에서 정한 비율만큼 오름", setting="`take_profit`"),
    "trigger": _Own(
        cause="장중에 정한 가격까지 올라 삼", setting="`strategies.yaml` `volatility_breakout`"
    ),
}
_FINDINGS: Mapping[str, Mapping[str, _Own]] = {
    "컴퓨터": {
        "SETTINGS": _Own(cause="읽은 설정 폴더와 환경 (정상)"),
        "DISK_LOW": _Own(
            cause="디스크 여유가 `check.min_free_gb` 보다 적음",
            action="비우십시오. 디스크가 차면 장부를 쓰지 못해 주문을 멈춥니다",
        ),
        "MEMORY_LOW": _Own(
            cause="쓸 수 있는 메모리가 `check.min_memory_gb` 보다 적음",
            action="다른 프로그램을 끄거나 메모리를 늘리십시오",
        ),
        "FOLDER_READONLY": _Own(
            cause="`data`, `logs`, `mlruns` 에 쓸 수 없음",
            action="권한을 고치거나 다른 --root를 쓰십시오",
        ),
        "CLOCK": _Own(cause="증권사의 시각과 같거나, 데모라 견주지 않음"),
        "CLOCK_DRIFT": _Own(
            cause="이 컴퓨터의 시계가 증권사와 어긋남", action="시각 동기화를 켜십시오"
        ),
        "CLOCK_UNKNOWN": _Own(cause="시각을 견줄 서버에 닿지 않음", action="네트워크를 보십시오"),
        "VERSIONS_BROKEN": _Own(
            cause="함께 쓰면 깨지는 것으로 알려진 패키지", action="적힌 pip install을 하십시오"
        ),
        "VERSION_OUT": _Own(cause="시험한 범위 밖의 패키지", action="적힌 pip install을 하십시오"),
        "PACKAGE_MISSING": _Own(cause="없는 패키지", action="적힌 pip install을 하십시오"),
        "PORT_TAKEN": _Own(
            cause="Prefect, MLflow, 대시보드의 포트를 다른 프로그램이 씀",
            action="그 프로그램을 끄거나 포트를 바꾸십시오",
        ),
        "CALENDAR_ENDS": _Own(
            cause="달력과 법의 기간이 곧 끝남",
            action="새 판으로 올리십시오. 기간 밖의 날은 거래하지 않습니다",
        ),
        "CALENDAR_OLD": _Own(
            cause="올해의 재정의(임시 휴장, 늦은 개장)가 없음",
            action="거래소 공지를 보고 `config/markets/<시장>.yaml` 에 적으십시오",
        ),
        "CHECK_FAILED": _Own(
            cause="점검 하나를 마치지 못함",
            action="적힌 파일을 보십시오. 다른 점검은 그대로 합니다",
        ),
    },
    "저장소": {
        "DATASET": _Own(
            cause="기록된 시장 자료를 읽지 못함",
            action="`app.yaml` 의 `data.dataset` 을 고치십시오",
        ),
        "DATASET_EMPTY": _Own(
            cause="그 시장의 기록이 없음", action="`data.dataset` 에 그 시장의 폴더를 주십시오"
        ),
        "LAKE_EMPTY": _Own(cause="시세 저장소가 비었음", action="하루를 돌리면 채워집니다"),
        "LAKE_LAST": _Own(cause="시세 저장소의 마지막 거래일"),
        "LAKE_DAMAGED": _Own(
            cause="파일이 목록의 해시와 다름",
            action="trading data repair, 이어서 trading data backfill",
        ),
        "LAKE_UNVERIFIED": _Own(
            cause="저장소가 커서 해시를 견주지 않음",
            action="trading data status --verify 을 하십시오",
        ),
        "LAKE_STALE": _Own(
            cause="일봉이 끝난 세션보다 뒤짐 (모의투자, 실전)",
            action="trading data backfill --source kis 을 하십시오",
        ),
        "LEDGER_EMPTY": _Own(cause="아직 거래한 기록이 없음"),
        "LEDGER_BROKEN": _Own(
            cause="장부가 손상됐거나 이 프로그램보다 새로움",
            action="백업에서 되살리거나 맞는 판의 프로그램으로 여십시오",
        ),
        "MODEL_NONE": _Own(cause="아직 모델이 없음", action="그 전략은 기권합니다"),
        "MODEL_BROKEN": _Own(
            cause="모델 파일의 해시가 다름", action="다음 세션이 등록소에서 다시 가져옵니다"
        ),
        "OUTBOX_STUCK": _Own(
            cause="알림이 `check.outbox_minutes` 넘게 나가지 못함",
            action="trading notify test 을 하십시오",
        ),
        "OUTBOX_BROKEN": _Own(
            cause="알림 보관함이 손상됨",
            action="다음 실행이 파일을 옆으로 옮기고 새로 만듭니다. 보내지 못한 알림은 잃습니다",
        ),
        "BACKUP_NONE": _Own(cause="백업이 없음", action="trading backup 을 하십시오"),
        "BACKUP_OLD": _Own(
            cause="마지막 백업이 `check.max_backup_days` 보다 오래됨",
            action="trading backup 을 하십시오",
        ),
        "BACKUP_LOST": _Own(
            cause="마지막 백업 파일이 없음",
            action="옮겼으면 그대로 두고, 아니면 trading backup",
        ),
        "BACKUP_UNVERIFIED": _Own(
            cause="마지막 백업이 검증되지 않음", action="trading backup 을 하십시오"
        ),
        "PREFECT_STORE": _Own(cause="Prefect의 장부가 다른 곳에 있음"),
        "PREFECT_STORE_NONE": _Own(
            cause="Prefect의 장부가 아직 없음", action="make serve 가 처음 만듭니다"
        ),
        "PREFECT_STORE_BROKEN": _Own(
            cause="Prefect의 장부를 읽을 수 없음",
            action="서버를 끄고 파일을 옮긴 뒤 make serve. 거래 기록은 여기에 없습니다",
        ),
        "PREFECT_STORE_BIG": _Own(
            cause="Prefect의 장부가 `check.max_store_gb` 보다 큼",
            action="오래된 실행을 지우거나 PostgreSQL로 옮기십시오",
        ),
        "MLFLOW_STORE_NONE": _Own(cause="모델 등록소가 아직 없음", action="첫 학습이 만듭니다"),
        "MLFLOW_STORE_BROKEN": _Own(
            cause="모델 등록소를 읽을 수 없음", action="백업에서 되살리십시오"
        ),
        "MLFLOW_STORE_BIG": _Own(
            cause="모델 등록소가 `check.max_store_gb` 보다 큼",
            action="오래된 실행을 지우거나 PostgreSQL로 옮기십시오",
        ),
    },
    "키와 상태": {
        "ENV_FILE_OPEN": _Own(
            cause="`.env` 를 다른 사용자가 읽을 수 있음",
            action="chmod 600 .env. 이미 읽혔을 수 있으면 키를 새로 받으십시오",
        ),
        "TOKEN_FILE_OPEN": _Own(
            cause="토큰 파일을 다른 사용자가 읽을 수 있음", action="적힌 chmod를 하십시오"
        ),
        "KEYS": _Own(cause="그 환경의 키가 있음, 또는 데모라 필요 없음"),
        "KEY_MISSING": _Own(cause="그 환경의 키가 모자람", action="trading setup 을 하십시오"),
        "ENV_DIFFERS": _Own(
            cause="`config/app.yaml` 의 `env` 가 그 환경이 아님", action="trading setup 을 하십시오"
        ),
        "ACCOUNT_MALFORMED": _Own(
            cause="계좌번호가 숫자 10자리(8-2)가 아님", action="trading setup 을 하십시오"
        ),
        "REAL_PAPER_SESSIONS": _Own(
            cause="실전 조건: 최근 60일의 모의투자와 실전 20세션",
            action="trading run --env paper 를 날마다 하십시오",
        ),
        "REAL_WALK_FORWARD": _Own(
            cause="실전 조건: 지금 정책의 전진 분석 3년",
            action="trading walk-forward ensemble 을 하십시오",
        ),
        "REAL_DRILL": _Own(
            cause="실전 조건: 오늘의 안전장치 훈련", action="trading drill 을 하십시오"
        ),
        "REAL_CONFIRM": _Own(
            cause="실전 조건: 사람의 확인",
            action="환경 변수 TRADING_CONFIRM_REAL에 실전 계좌번호의 마지막 네 자리를 주십시오",
        ),
        "FIRST_SESSIONS": _Own(
            cause="첫 실전 세션들의 좁은 한도", setting="`execution.yaml` `first_sessions`"
        ),
        "TOKEN": _Own(cause="접근토큰의 남은 시간"),
        "TOKEN_NONE": _Own(cause="접근토큰이 아직 없음", action="처음 부를 때 받습니다"),
        "TOKEN_STALE": _Own(cause="접근토큰이 만료됨", action="다음에 부를 때 새로 받습니다"),
        "TOKEN_BROKEN": _Own(
            cause="토큰 파일을 읽을 수 없음", action="다음에 부를 때 새로 받습니다"
        ),
        "TOKEN_FUTURE": _Own(
            cause="토큰을 받은 때가 지금보다 뒤: 시계가 뒤로 감", action="시각 동기화를 켜십시오"
        ),
        "RATE": _Own(
            cause="초당 호출에서 세션과 취소의 몫을 뺀 여유",
            setting="`kis.yaml` `calls_per_second`",
        ),
        "RATE_REFUSED": _Own(
            cause="오늘 호출 한도 초과로 거절된 횟수",
            action="`kis.yaml` 의 `calls_per_second` 를 낮추십시오",
        ),
        "NOTIFY_NONE": _Own(
            cause="알림이 나갈 곳이 없음", action="trading setup 또는 `config/notify.yaml`"
        ),
        "MAIL_NO_RECIPIENT": _Own(
            cause="메일을 받을 사람이 없음", action="TRADING_MAIL_TO에 주소를 주십시오"
        ),
        "MAIL_NO_PASSWORD": _Own(
            cause="메일 서버에 로그인할 비밀번호가 없음",
            action="SMTP_PASSWORD를 주십시오. 로그인이 없는 서버면 mail.username을 null로 두십시오",
        ),
        "STATE_HALTED": _Own(
            cause="운영자의 말로 거래 정지: 누가, 언제, 왜",
            action="trading resume, 또는 정지 파일 data/run/HALT를 지우십시오",
        ),
        "STATE_REDUCING": _Own(
            cause="운영자의 말이나 감시 프로세스로 축소만 허용", action="trading resume 을 하십시오"
        ),
        "SESSION_DEAD": _Own(
            cause="세션이 끝나지 않고 죽음", action="같은 실행 명령을 다시 치십시오"
        ),
        "SESSION_SILENT": _Own(
            cause="세션이 살아 있으나 심장박동이 없음",
            action="logs/errors.jsonl을 보고, 멎었으면 끝내고 다시 시작하십시오",
        ),
        "DRILL_NONE": _Own(
            cause="안전장치 훈련을 한 적이 없음", action="trading drill 을 하십시오"
        ),
        "DRILL_OLD": _Own(
            cause="마지막 훈련이 `check.max_drill_days` 보다 오래됨",
            action="trading drill 을 하십시오",
        ),
        "DRILL_FAILED": _Own(
            cause="마지막 훈련에서 막지 못한 안전장치가 있음",
            action="trading drill 로 다시 보십시오. 그동안 세션은 줄이기만 합니다",
        ),
    },
    "계좌": {
        "KIS_TOKEN": _Own(
            cause="접근토큰과 현재가",
            action="이것이 안 되면 더 묻지 않습니다. 적힌 코드를 보십시오",
        ),
        "KIS_BALANCE": _Own(cause="잔고 조회", action="적힌 코드를 보십시오"),
        "KIS_BUYING_POWER": _Own(cause="매수 가능 금액 조회", action="적힌 코드를 보십시오"),
        "KIS_ORDERS": _Own(cause="주문·체결 조회", action="적힌 코드를 보십시오"),
        "KIS_OPEN_ORDERS": _Own(cause="미체결 주문 조회 (모의투자에는 없음)"),
        "KIS_SELLABLE": _Own(cause="매도 가능 수량 조회 (모의투자에는 없음)"),
        "KIS_ROUTES": _Own(
            cause="NXT와 SOR로 낸 주문이 조회에 보이는지",
            action="보이지 않으면 HTS에서 확인하십시오",
        ),
        "KIS_WHOLE_US": _Own(
            cause="한 거래소 코드의 잔고가 미국 전체를 보이는지",
            action="문제면 거래를 멈추고 로그와 함께 개발자에게 알리십시오",
        ),
        "KIS_MARGIN": _Own(
            cause="통합증거금 계좌인지",
            action="그렇다면 환전하지 않은 매수의 환율은 다음 날 정해집니다",
        ),
        "KIS_HOLIDAYS": _Own(cause="휴장일 조회 (모의투자에는 없음)"),
        "KIS_CALENDAR": _Own(
            cause="앞으로 28일 안에서 증권사와 달력이 다름",
            action="거래소 공지를 보고 `config/markets/krx.yaml` 의 `calendar_overrides` 에 적으십시오",
        ),
        "KIS_STREAM": _Own(cause="실시간 접속과 체결 통보 등록", action="적힌 코드를 보십시오"),
        "KIS_RATE": _Own(
            cause="점검하는 동안 호출 한도 초과가 왔는지",
            action="`kis.yaml` 의 `calls_per_second` 를 낮추고, 신청한 지 사흘이 안 됐으면 `new_customer` 를 true로",
        ),
        "KIS_LACKS": _Own(cause="모의투자에 없는 기능", action="대신하는 것은 아래 표에 있습니다"),
        "KIS_NO_SYMBOL": _Own(
            cause="물어볼 종목이 설정에 없음",
            action="`config/universe.yaml` 의 `instruments` 에 종목을 적으십시오",
        ),
        "KIS_ACCOUNT": _Own(
            cause="계좌에 물을 수 없었음", action="적힌 까닭을 고친 뒤 다시 점검하십시오"
        ),
    },
}
_EVENTS: Mapping[str, _Own] = {
    "session_started": _Own(cause="세션이 열림"),
    "session_ended": _Own(cause="세션이 끝남"),
    "order_submitted": _Own(cause="주문이 접수됨"),
    "order_filled": _Own(cause="체결: 가격, 수수료, 세금, 판 주식의 실현 손익"),
    "order_refused": _Own(
        cause="주문이 거부됨: 안에서 또는 거래소에서", action="적힌 코드를 보십시오"
    ),
    "api_failed": _Own(
        cause="증권사와 통신이 끊겨 세션이 멈춤", action="네트워크와 증권사 공지를 보십시오"
    ),
    "risk_event": _Own(
        cause="손실 한도, 거래 상태의 변화, 안전장치 훈련 실패",
        action="적힌 상태를 보고, 풀 것이면 trading resume",
    ),
    "promoted": _Own(cause="매매하는 모델이 바뀜", action="되돌리려면 trading rollback"),
    "training_failed": _Own(
        cause="학습 실패: 챔피언은 그대로", action="logs/errors.jsonl을 보십시오"
    ),
    "model_health": _Own(
        cause="모델 점검의 조치: 다시 학습, 묻지 않음, 강등", action="조치는 저절로 합니다"
    ),
    "error": _Own(cause="로그의 ERROR 한 줄", action="logs/errors.jsonl에서 스택을 보십시오"),
    "hourly_status": _Own(cause="매시 상태"),
    "daily_report": _Own(cause="마감 뒤의 일일 보고"),
    "event_missed": _Own(
        cause="있어야 할 일이 제때 없었음", action="프로세스와 logs/errors.jsonl을 보십시오"
    ),
}
_OWN: Mapping[str, Mapping[str, _Own]] = {
    _VERDICT: _VERDICTS,
    _GUARD: _GUARDS,
    _REASON: _REASONS,
    _FINDING: {code: own for part in _FINDINGS.values() for code, own in part.items()},
    _EVENT: _EVENTS,
}
_OWN_RESPONSE = {
    _VERDICT: "그 종목의 목표를 이 까닭으로 정하고 결정에 적음",
    _GUARD: "주문을 보내지 않고 거부로 적음",
    _REASON: "이 까닭으로 주문을 내고 주문 기록에 적음",
    _FINDING: "trading check 가 알리기만 하고 아무것도 고치지 않음",
    _EVENT: "config/notify.yaml 의 events 에 있으면 메일과 웹훅으로 알림",
}
_STATES: Mapping[TradingState, str] = {
    TradingState.ACTIVE: "사고팝니다",
    TradingState.REDUCING: "매수 미체결을 취소하고 새로 사지 않습니다. 손절과 청산은 나갑니다",
    TradingState.HALTED: "미체결 주문을 취소하고 어떤 주문도 내지 않습니다. 손절도 나가지 않습니다",
}
# What ``trading.terminal`` ends with; a sibling of this floor.
EXITS: Mapping[int, str] = {
    0: "정상",
    1: "살펴볼 것이 있음: 문제, 차이, 거절, 이미 도는 실행. Ctrl+C로 멈춘 명령도",
    2: "명령이나 설정이 잘못됨. 아무것도 하지 않음",
    3: "거래소나 자료의 실패, 프로그램의 오류. 까닭은 `logs/errors.jsonl`",
}
# How the codes of the venue begin, and who says them.
_VENUE: tuple[tuple[str, str], ...] = (
    ("EGW", "게이트웨이와 인증"),
    ("OPSQ", "조회 서버"),
    ("MCA", "공통 처리"),
    ("KIOK", "조회 결과"),
    ("APBK", "원장: 주문"),
    ("APAC", "원장: 계좌"),
    ("KIER", "원장: 예약 주문"),
    ("OPSP", "실시간 접속"),
    ("", "모의투자 원장 (숫자 여덟 자리)"),
)
_CLASSES: Mapping[Retry, str] = {
    Retry.OK: "성공",
    Retry.AGAIN: "다시 물음",
    Retry.RENEW: "새로 받음",
    Retry.MINUTE: "1분 뒤",
    Retry.VERIFY: "확인",
    Retry.NEVER: "거부",
}
_RATE = "속도 한도"


def families() -> list[Family]:
    """Return every family of codes: ours, then the venue's."""
    own = [
        Family(name=name, title="이 프로그램", codes=tuple(codes)) for name, codes in _OWN.items()
    ]
    return own + [
        Family(name=prefix or "숫자", title=title, codes=_venue_codes(prefix))
        for prefix, title in _VENUE
    ]


def explain(code: str) -> dict[str, Any]:
    """Return what is known about ``code``, in any case; ``known`` is false when nothing is.

    An unknown code comes with the ``near`` ones, nearest first.
    """
    for family in families():
        for known in family.codes:
            if known.upper() == code.strip().upper():
                return _explained(known, family)
    all_codes = {known.upper(): known for family in families() for known in family.codes}
    near = difflib.get_close_matches(code.strip().upper(), all_codes, n=5, cutoff=0.6)
    return {"code": code.strip(), "known": False, "near": [all_codes[name] for name in near]}


def text(found: Mapping[str, Any]) -> str:
    """Return an explanation as a user reads it."""
    if not found["known"]:
        sentence = f"알려지지 않은 코드입니다: {found['code']}"
        return f"{sentence}\n비슷한 코드: {', '.join(found['near'])}" if found["near"] else sentence
    lines = [f"{found['code']} ({found['family']})", f"  뜻: {found['cause']}"]
    if found["text"]:
        lines.append(f"  증권사 문구: {found['text']}")
    lines.append(f"  프로그램이 하는 일: {found['response']}")
    lines.append(f"  할 일: {found['action']}")
    return "\n".join(lines)


def families_text() -> str:
    """Return the list of families as a user reads it."""
    lines = ["코드를 하나 주면 뜻과 할 일을 알려 줍니다. 예: trading explain EGW00201", ""]
    for family in families():
        first, last = family.codes[0], family.codes[-1]
        lines.append(f"  {family.name} ({family.title}): {len(family.codes)}개, {first} ~ {last}")
    return "\n".join(lines)


def page() -> str:
    """Return ``docs/codes.md``."""
    sections = [
        "# 코드",
        "왜 사지 않았는지, 왜 주문이 나가지 않았는지, 증권사가 무엇이라 답했는지는 늘 코드 하나로 남습니다. "
        "코드는 보고서, `logs/trades.jsonl`, 장부, 메일에서 같습니다. "
        "`trading explain 코드` 가 이 표의 한 줄을 보여 줍니다.",
        "## 판정: 포트폴리오가 허락되는가",
        "`decide` 가 종목마다 하나를 남깁니다. 앞의 것이 뒤의 것보다 먼저 정해지고, "
        "한도(`CAP_*`)는 가장 나중에 줄인 것이 남습니다.",
        _own_table(_VERDICTS, "코드", "정하는 설정"),
        "## 거부: 이 주문이 지금 나가도 되는가",
        "`risk.guards` 가 주문이 나가기 직전에 봅니다. 확인할 수 없는 것은 거부합니다. "
        "백테스트에서는 하나도 걸리지 않아야 합니다.",
        _own_table(_GUARDS, "코드", "정하는 설정 (`risk.yaml`)"),
        "## 파는 규칙",
        _own_table(_REASONS, "주문의 `reason`", "정하는 설정 (`execution.yaml` `exits`)"),
        "## 상태",
        _table(
            ("거래 상태", "화면의 말", "하는 일"),
            [(f"`{state}`", STATE_TEXT[state], does) for state, does in _STATES.items()],
        ),
        "주문의 상태는 [주문의 일생](orders.md)의 차례를 따릅니다.",
        _table(
            ("주문 상태", "화면의 말", "끝남"),
            [(f"`{status}`", STATUS_TEXT[status], "예" if status.is_end else "")
             for status in OrderStatus],
        ),
        "## 종료 코드",
        _table(("코드", "뜻"), [(f"`{code}`", meaning) for code, meaning in EXITS.items()]),
        "## 점검",
        "`trading check` 가 말하는 것입니다. 줄마다 정상(`ok`), 참고(`info`), 문제(`error`) 가운데 하나이고, 문제가 "
        "하나라도 있으면 종료 코드 1입니다. 문턱은 `config/app.yaml` 의 `check` 에 있습니다([점검](doctor.md)).",
        *(part for title, codes in _FINDINGS.items()
          for part in (f"### {title}", _action_table(codes))),
        "## 알림",
        "`config/notify.yaml` 의 `events` 에 적는 이름입니다([알림](notifications.md)).",
        _action_table(_EVENTS),
        "## 증권사의 응답 코드",
        "프로그램이 하는 일은 갈래마다 하나입니다. 주문은 어느 갈래에서도 다시 보내지 않습니다. "
        "여기 없는 코드가 주문에 오면, 원장의 거부(HTTP 200, `APBK`·`APAC`·`KIER`·숫자 여덟 자리)가 "
        "아닌 한 결과 불명으로 두고 주문 목록에서 확인합니다.",
        _table(
            ("갈래", "프로그램이 하는 일"),
            [(title, MessageCode(code="", cause="", action="", retry=retry).response)
             for retry, title in _CLASSES.items()] + [(_RATE, RATE_RESPONSE)],
        ),
    ]  # fmt: skip
    for prefix, title in _VENUE:
        sections.append(f"### {prefix or '숫자'}: {title}")
        sections.append(_venue_table(prefix))
    sections.append("## 모의투자에 없는 기능")
    sections.append(
        "`trading check --env paper` 가 그 시장의 것을 늘어놓습니다. "
        "부르면 보내기 전에 이 까닭으로 끝납니다."
    )
    sections.append(
        _table(
            ("기능", "주소", "대신하는 것"),
            [(e.title, f"`{e.path}`", e.instead or "없음") for e in lacking(Profile.PAPER)],
        )
    )
    return "\n\n".join(sections) + "\n"


def _explained(code: str, family: Family) -> dict[str, Any]:
    found = {"code": code, "known": True, "family": f"{family.name}, {family.title}"}
    own = _OWN.get(family.name, {}).get(code)
    if own is not None:
        setting = f"{own.setting} 설정을 보십시오" if own.setting else "할 일 없음"
        return found | {
            "cause": own.cause.replace("`", ""),
            "text": "",
            "response": _OWN_RESPONSE[family.name],
            "action": (own.action or setting).replace("`", ""),
            "retry": str(Retry.NEVER),
        }
    known = lookup(code)
    return found | {
        "cause": known.cause,
        "text": known.text,
        "response": known.response,
        "action": known.action,
        "retry": str(known.retry),
    }


def _venue_codes(prefix: str) -> tuple[str, ...]:
    if not prefix:
        return tuple(sorted(code for code in CODES if code.isdecimal()))
    return tuple(sorted(code for code in CODES if code.startswith(prefix)))


def _own_table(codes: Mapping[str, _Own], first: str, last: str) -> str:
    rows = [(f"`{code}`", own.cause, own.setting) for code, own in codes.items()]
    return _table((first, "뜻", last), rows)


def _action_table(codes: Mapping[str, _Own]) -> str:
    rows = [
        (f"`{code}`", own.cause, own.action or own.setting or "없음") for code, own in codes.items()
    ]
    return _table(("코드", "뜻", "할 일"), rows)


def _venue_table(prefix: str) -> str:
    rows = []
    for code in _venue_codes(prefix):
        known = CODES[code]
        retry = _RATE if code in RATE_REFUSALS else _CLASSES[known.retry]
        rows.append((f"`{code}`", known.cause, retry, known.action))
    return _table(("코드", "뜻", "갈래", "할 일"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |".replace("  |", " |") for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
