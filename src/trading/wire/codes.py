"""KIS's message codes: what happened, what to do, whether to ask again.

Also the envelope of a REST answer, which carries such a code in every reply.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Retry(StrEnum):
    """What a client may do after a code."""

    OK = "ok"
    AGAIN = "again"
    RENEW = "renew"
    MINUTE = "minute"
    VERIFY = "verify"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageCode:
    """One code: KIS's own text, the cause in our words, what the user does about it."""

    code: str
    cause: str
    action: str
    retry: Retry
    text: str = ""

    @property
    def response(self) -> str:
        """What the program does when it meets the code, in Korean."""
        return RATE_RESPONSE if self.code in RATE_REFUSALS else _RESPONSES[self.retry]


# Refused for their rate alone, by the gateway and by the ledger behind it: such a call was not
# carried out.
GATEWAY_RATE, LEDGER_RATE = "EGW00201", "EGW00215"
RATE_REFUSALS = frozenset({GATEWAY_RATE, LEDGER_RATE})
RATE_RESPONSE = "모든 프로세스가 1초쯤 쉬고 호출을 반으로 줄였다가 천천히 늘림; 조회는 다시 묻고, 주문은 나가지 않은 것으로 두고 다시 점검한 뒤 냄"

_RESPONSES: Mapping[Retry, str] = {
    Retry.OK: "성공으로 보고 그대로 진행함",
    Retry.AGAIN: "조회는 간격을 늘려 가며 다시 묻고, 주문은 다시 보내지 않고 목록에서 접수 여부를 확인함",
    Retry.RENEW: "접근토큰이나 접속키를 한 번 새로 받아 조회를 다시 하고, 주문은 나가지 않은 것으로 두고 다시 점검한 뒤 냄",
    Retry.MINUTE: "1분을 기다리며 다른 프로세스가 받은 토큰을 찾고, 없으면 한 번 더 요청함",
    Retry.VERIFY: "조회는 다시 묻고, 주문은 결과 불명으로 두고 목록에서 접수 여부를 확인함",
    Retry.NEVER: "다시 보내지 않고 실패로 적음; 주문이면 거부로 적고 그 주문을 끝냄",
}

_DONE = "할 일 없음"
_WAIT = "이어지면 증권사 공지와 네트워크를 확인하십시오"
_RATE = "같은 앱키를 쓰는 다른 컴퓨터나 프로그램을 끄고 config/kis.yaml의 calls_per_second를 확인하십시오"
_KEY = "앱키와 앱시크릿 환경 변수를 KIS Developers에서 받은 값으로 고치십시오"
_SIGN_UP = "KIS Developers에서 계좌의 API 신청과 권한을 확인하십시오"
_ACCOUNT = "계좌번호 환경 변수를 10자리(앞 8자리와 상품코드 2자리)로 고치십시오"
_PERSON = "개인 계좌에는 나오지 않는 응답이니 로그와 함께 개발자에게 알리십시오"
_REPORT = "프로그램의 잘못일 수 있으니 로그와 함께 개발자에게 알리십시오"
_CHECK_ORDER = "그 종목은 확인이 끝날 때까지 멈춤; 이어지면 HTS에서 주문을 확인하십시오"
_SYMBOL = "종목코드와 거래소(config/universe.yaml)를 확인하십시오"
_HOURS = "장 운영 시간과 휴장일을 확인하십시오"
_CASH = "예수금과 미체결 주문을 확인하십시오"
_SHARES = "잔고와 미체결 매도 주문을 확인하십시오"
_PAPER_GAP = "모의투자에서는 쓸 수 없으니 trading check --env paper로 없는 기능을 보십시오"

# code | cause | what the user does | retry | text that the venue sends with it (PROTOCOL 3)
_TABLE: tuple[tuple[str, str, str, Retry, str], ...] = (
    ("EGW00001", "일시적 오류", _WAIT, Retry.AGAIN, "일시적으로 오류가 발생했습니다."),
    ("EGW00002", "서버 오류", _WAIT, Retry.AGAIN, "서버 에러가 발생했습니다."),
    ("EGW00003", "접근 거부", _SIGN_UP, Retry.NEVER, "접근이 거부되었습니다."),
    ("EGW00004", "권한 없는 고객", _SIGN_UP, Retry.NEVER, "권한을 부여받지 않은 고객입니다."),
    ("EGW00101", "잘못된 요청", _REPORT, Retry.NEVER, "유효하지 않은 요청입니다."),
    ("EGW00102", "앱키 누락", _KEY, Retry.NEVER, "AppKey는 필수입니다."),
    ("EGW00103", "앱키 오류", _KEY, Retry.NEVER, "유효하지 않은 AppKey입니다."),
    ("EGW00104", "앱시크릿 누락", _KEY, Retry.NEVER, "AppSecret은 필수입니다."),
    ("EGW00105", "앱시크릿 오류", _KEY, Retry.NEVER, "유효하지 않은 AppSecret입니다."),
    ("EGW00106", "되돌림 주소 누락", _PERSON, Retry.NEVER, ""),
    ("EGW00107", "되돌림 주소 오류", _PERSON, Retry.NEVER, ""),
    ("EGW00108", "잘못된 서비스", _PERSON, Retry.NEVER, ""),
    ("EGW00109", "권한 범위 누락", _PERSON, Retry.NEVER, ""),
    ("EGW00110", "권한 범위 오류", _PERSON, Retry.NEVER, ""),
    ("EGW00111", "상태값 오류", _PERSON, Retry.NEVER, ""),
    ("EGW00112", "인증 방식 오류", _REPORT, Retry.NEVER, "유효하지 않은 grant입니다."),
    ("EGW00113", "응답 종류 누락", _PERSON, Retry.NEVER, ""),
    ("EGW00114", "지원하지 않는 응답 종류", _PERSON, Retry.NEVER, ""),
    ("EGW00115", "인증 방식 누락", _REPORT, Retry.NEVER, "grant_type은 필수입니다."),
    ("EGW00116", "지원하지 않는 인증 방식", _REPORT, Retry.NEVER, "지원하지 않는 grant_type입니다."),
    ("EGW00117", "지원하지 않는 토큰 종류", _REPORT, Retry.NEVER, "지원하지 않는 token_type입니다."),
    ("EGW00118", "인가 코드 오류", _PERSON, Retry.NEVER, ""),
    ("EGW00119", "인가 코드 없음", _PERSON, Retry.NEVER, ""),
    ("EGW00120", "인가 코드 만료", _PERSON, Retry.NEVER, ""),
    ("EGW00121", "접근토큰 무효", _DONE, Retry.RENEW, "유효하지 않은 token 입니다."),
    ("EGW00122", "접근토큰 없음", _DONE, Retry.RENEW, "token을 찾을 수 없습니다."),
    ("EGW00123", "접근토큰 만료", _DONE, Retry.RENEW, "기간이 만료된 token 입니다."),
    ("EGW00124", "세션키 오류", _PERSON, Retry.NEVER, ""),
    ("EGW00125", "세션키 없음", _PERSON, Retry.NEVER, ""),
    ("EGW00126", "세션키 만료", _PERSON, Retry.NEVER, ""),
    ("EGW00127", "법인 번호 누락", _PERSON, Retry.NEVER, ""),
    ("EGW00128", "계좌번호 누락", _ACCOUNT, Retry.NEVER, ""),
    ("EGW00129", "HTS ID 누락", "KIS_HTS_ID 환경 변수를 넣으십시오", Retry.NEVER, ""),
    ("EGW00130", "잘못된 사용자", _SIGN_UP, Retry.NEVER, ""),
    ("EGW00131", "해시키 오류", _REPORT, Retry.NEVER, "유효하지 않은 hashkey입니다."),
    ("EGW00132", "콘텐츠 형식 오류", _REPORT, Retry.NEVER, "유효하지 않은 Content-Type입니다."),
    (
        "EGW00133",
        "접근토큰은 1분에 한 번만 발급됨",
        "기다리면 됨; 이어지면 같은 앱키를 쓰는 다른 프로그램을 끄십시오",
        Retry.MINUTE,
        "접근토큰 발급 잠시 후 다시 시도하세요(1분당 1회)",
    ),
    ("EGW00201", "초당 호출 한도 초과", _RATE, Retry.AGAIN, "초당 거래건수를 초과하였습니다."),
    ("EGW00202", "게이트웨이 오류", _WAIT, Retry.AGAIN, "GW라우팅 중 오류가 발생했습니다."),
    ("EGW00203", "OPS 오류", _WAIT, Retry.AGAIN, "OPS라우팅 중 오류가 발생했습니다."),
    ("EGW00204", "내부 게이트웨이 오류", _REPORT, Retry.NEVER, ""),
    ("EGW00205", "인증 종류 오류, 또는 모의투자에 없는 기능", _PAPER_GAP, Retry.NEVER, ""),
    ("EGW00206", "API 사용 권한 없음", _SIGN_UP, Retry.NEVER, "API 사용 권한이 없습니다."),
    ("EGW00207", "IP 주소 누락 또는 오류", _PERSON, Retry.NEVER, ""),
    ("EGW00208", "고객 구분 오류", _REPORT, Retry.NEVER, ""),
    ("EGW00209", "일련번호 오류", _PERSON, Retry.NEVER, ""),
    ("EGW00210", "법인은 모의투자를 쓸 수 없음", _SIGN_UP, Retry.NEVER, ""),
    ("EGW00211", "고객 이름 누락", _PERSON, Retry.NEVER, ""),
    ("EGW00212", "고객 전화번호 누락", _PERSON, Retry.NEVER, ""),
    ("EGW00213", "법인 이름 누락, 또는 모의투자에 없는 기능", _PAPER_GAP, Retry.NEVER, ""),
    ("EGW00215", "원장의 초당 호출 한도 초과", _RATE, Retry.AGAIN, ""),
    ("EGW00300", "게이트웨이 연결 오류", _WAIT, Retry.AGAIN, ""),
    ("EGW00301", "연결 시간 초과", _CHECK_ORDER, Retry.VERIFY, ""),
    ("EGW00302", "거래 시간 초과", _CHECK_ORDER, Retry.VERIFY, ""),
    ("EGW00303", "법인에 허용되지 않은 IP", _PERSON, Retry.NEVER, ""),
    ("EGW00304", "앱시크릿 오류", _KEY, Retry.NEVER, ""),
    ("EGW00316", "조회 처리 중 오류", _WAIT, Retry.AGAIN, ""),
    (
        "EGW02004",
        "실전 서버에 모의투자 앱키를 썼거나 실전에 없는 기능",
        "KIS_REAL_APP_KEY와 KIS_REAL_APP_SECRET에 실전 앱키를 넣고 config/kis.yaml의 주소를 확인하십시오",
        Retry.NEVER,
        "실전투자 도메인은 모의투자 앱키로 호출하실 수 없습니다.",
    ),
    ("EGW02006", "모의투자에 없는 기능", _PAPER_GAP, Retry.NEVER, "모의투자 TR 이 아닙니다."),
    *((f"OPSQ000{n}", "조회 서버 처리 오류", _WAIT, Retry.AGAIN, "") for n in (1, *range(3, 10))),
    ("OPSQ0002", "없는 서비스 코드", _REPORT, Retry.NEVER, "없는 서비스 코드 입니다."),
    ("OPSQ0010", "조회 서버 자원 부족", _WAIT, Retry.AGAIN, ""),
    ("OPSQ0011", "조회 서버 자원 부족", _WAIT, Retry.AGAIN, ""),
    ("OPSQ1002", "세션 연결 오류", _WAIT, Retry.AGAIN, ""),
    ("OPSQ2000", "계좌번호 오류", _ACCOUNT, Retry.NEVER, "ERROR : INPUT INVALID_CHECK_ACNO"),
    ("OPSQ2001", "필수 항목 누락", _REPORT, Retry.NEVER, "ERROR : INPUT INVALID_CHECK_MRKT_DIV_CODE"),
    ("OPSQ2002", "항목 길이 오류", _REPORT, Retry.NEVER, ""),
    ("OPSQ2003", "원장 전송 오류", _WAIT, Retry.AGAIN, ""),
    *((f"OPSQ300{n}", "응답 작성 오류", _WAIT, Retry.AGAIN, "") for n in (1, 2, 4)),
    ("OPSQ9995", "본문 누락", _REPORT, Retry.NEVER, ""),
    ("OPSQ9996", "머리말 누락", _REPORT, Retry.NEVER, ""),
    ("OPSQ9997", "JSON 형식 오류", _REPORT, Retry.NEVER, ""),
    ("OPSQ9998", "일련번호 누락", _REPORT, Retry.NEVER, ""),
    ("OPSQ9999", "TR 누락", _REPORT, Retry.NEVER, ""),
    ("MCA00000", "정상", _DONE, Retry.OK, "정상처리 되었습니다."),
    ("MCA00124", "없는 서비스", _REPORT, Retry.NEVER, "해당 서비스를 찾을수 없습니다."),
    ("KIOK0420", "조회 완료", _DONE, Retry.OK, "조회가 완료되었습니다"),
    ("KIOK0430", "처리 완료", _DONE, Retry.OK, "처리가 완료되었습니다"),
    ("KIOK0460", "조회 완료 (마지막 자료)", _DONE, Retry.OK, "조회 되었습니다. (마지막 자료)"),
    ("KIOK0490", "다음 자료 있음", _DONE, Retry.OK, "조회가 계속됩니다..다음버튼을 Click 하십시오."),
    ("KIOK0500", "다음 자료 있음", _DONE, Retry.OK, "조회가 계속됩니다..다음버튼을 Click 하십시오."),
    ("KIOK0510", "조회 완료", _DONE, Retry.OK, "조회가 완료되었습니다"),
    ("KIOK0530", "조회 완료", _DONE, Retry.OK, "조회가 완료되었습니다"),
    ("KIOK0560", "조회할 자료 없음", _DONE, Retry.OK, "조회할 내용이 없습니다"),
    ("APBK0013", "주문 전송 완료", _DONE, Retry.OK, "주문 전송 완료 되었습니다."),
    ("APBK0029", "주문 전송 완료", _DONE, Retry.OK, "주문 전송 완료 되었습니다."),
    ("APBK0400", "주문 가능 수량 초과", _SHARES, Retry.NEVER, "주문가능수량을 초과 했습니다"),
    ("APBK0656", "없는 종목, 또는 종목과 맞지 않는 거래소", _SYMBOL, Retry.NEVER, "해당종목정보가 없습니다"),
    (
        "APBK0918",
        "장 운영 시간이 아니거나 그 밖의 까닭으로 주문이 거부됨 (함께 온 문구가 까닭)",
        _HOURS,
        Retry.NEVER,
        "장운영시간이 아닙니다",
    ),
    ("APBK0919", "주문일과 영업일이 다름", _HOURS, Retry.NEVER, "장운영일자가 주문일과 상이합니다"),
    ("APBK0952", "주문 가능 금액 초과", _CASH, Retry.NEVER, "주문가능금액을 초과 했습니다"),
    ("APBK1234", "보유 수량 부족", _SHARES, Retry.NEVER, "보유수량이 부족합니다"),
    ("APBK1711", "취소 접수", _DONE, Retry.OK, "취소주문이 접수되었습니다."),
    ("APBK2938", "예약 주문 접수", _DONE, Retry.OK, ""),
    ("APAC0081", "계좌번호 입력 오류", _ACCOUNT, Retry.NEVER, "계좌번호 입력오류입니다"),
    ("APAC0489", "위탁계좌만 가능", _ACCOUNT, Retry.NEVER, "위탁계좌만 가능합니다"),
    ("KIER3672", "예약 주문을 받는 시간이 아님", _HOURS, Retry.NEVER, ""),
    ("20310000", "조회 완료", _DONE, Retry.OK, "모의투자 조회가 완료되었습니다."),
    ("70070000", "조회할 자료 없음", _DONE, Retry.OK, "모의투자 조회할 내역(자료)이 없습니다."),
    ("40600000", "매수 주문 접수", _DONE, Retry.OK, "모의투자 매수주문이 완료 되었습니다."),
    ("40590000", "매도 주문 접수", _DONE, Retry.OK, "모의투자 매도주문이 완료 되었습니다."),
    ("40620000", "정정 주문 접수", _DONE, Retry.OK, "모의투자 정정주문이 완료 되었습니다."),
    ("40630000", "취소 주문 접수", _DONE, Retry.OK, "모의투자 취소주문이 완료 되었습니다."),
    ("40030000", "호가 단위 오류", _REPORT, Retry.NEVER, "모의투자 주문처리가 안되었습니다(호가단위 오류)"),
    ("40070000", "모의투자에서 매매할 수 없는 종목", _SYMBOL, Retry.NEVER, "모의투자 주문처리가 안되었습니다(매매불가 종목)"),
    ("40100000", "영업일이 아님", _HOURS, Retry.NEVER, "모의투자 영업일이 아닙니다."),
    ("40250000", "주문 가능 금액 부족", _CASH, Retry.NEVER, "모의투자 주문가능금액이 부족합니다."),
    ("40330000", "정정·취소할 수량 없음", _DONE, Retry.NEVER, "모의투자 정정/취소할 수량이 없습니다"),
    ("40570000", "장 시작 전", _HOURS, Retry.NEVER, "모의투자 장시작전 입니다."),
    ("40580000", "장 종료", _HOURS, Retry.NEVER, "모의투자 장종료 입니다."),
    ("90000000", "모의투자에 없는 기능", _PAPER_GAP, Retry.NEVER, "모의투자에서는 해당업무가 제공되지 않습니다."),
    ("OPSP0000", "실시간 등록", _DONE, Retry.OK, "SUBSCRIBE SUCCESS"),
    ("OPSP0001", "실시간 해제", _DONE, Retry.OK, "UNSUBSCRIBE SUCCESS"),
    ("OPSP0002", "이미 등록됨", _DONE, Retry.NEVER, "ALREADY IN SUBSCRIBE"),
    ("OPSP0003", "등록되지 않은 것을 해제함", _DONE, Retry.NEVER, "UNSUBSCRIBE ERROR(not found!)"),
    ("OPSP0007", "실시간 내부 오류", _WAIT, Retry.AGAIN, "SUBSCRIBE INTERNAL ERROR"),
    ("OPSP0008", "실시간 등록 41건 초과", "지켜볼 종목을 줄이십시오", Retry.NEVER, "MAX SUBSCRIBE OVER"),
    ("OPSP0009", "실시간 전송 실패", _WAIT, Retry.AGAIN, "SUBSCRIBE ERROR : mci send failed"),
    ("OPSP0010", "앱키 오류", _KEY, Retry.NEVER, "SUBSCRIBE WARNING : invalid appkey"),
    ("OPSP0011", "접속키 오류", _DONE, Retry.RENEW, "invalid approval : NOT FOUND"),
    ("OPSP8991", "잘못된 TR", _REPORT, Retry.NEVER, "SUBSCRIBE ERROR : invalid tr_id"),
    ("OPSP8992", "잘못된 종목 키", _SYMBOL, Retry.NEVER, "SUBSCRIBE ERROR : invalid tr_key"),
    ("OPSP8993", "잘못된 종목 키", _REPORT, Retry.NEVER, "JSON PARSING ERROR : invalid tr_key"),
    ("OPSP8994", "법인용 보안키 누락", _PERSON, Retry.NEVER, "JSON PARSING ERROR : personalseckey not found"),
    ("OPSP8995", "앱시크릿 누락", _REPORT, Retry.NEVER, "JSON PARSING ERROR : appsecret not found"),
    (
        "OPSP8996",
        "같은 앱키의 다른 접속이 있음",
        "같은 앱키를 쓰는 다른 프로그램을 끄십시오; 방금 꺼진 접속은 잠시 뒤 풀림",
        Retry.AGAIN,
        "ALREADY IN USE appkey",
    ),
    ("OPSP8997", "잘못된 등록 구분", _REPORT, Retry.NEVER, "JSON PARSING ERROR : invalid tr_type"),
    ("OPSP8998", "잘못된 고객 구분", _REPORT, Retry.NEVER, "JSON PARSING ERROR : invalid custtype"),
    ("OPSP8999", "실시간 자원 부족", _WAIT, Retry.AGAIN, ""),
    ("OPSP9990", "종목 키 누락", _REPORT, Retry.NEVER, ""),
    ("OPSP9991", "입력 누락", _REPORT, Retry.NEVER, ""),
    ("OPSP9992", "본문 누락", _REPORT, Retry.NEVER, ""),
    ("OPSP9993", "실시간 내부 오류", _WAIT, Retry.AGAIN, ""),
    ("OPSP9994", "앱키 오류", _KEY, Retry.NEVER, "INVALID appkey"),
    ("OPSP9995", "실시간 자원 부족", _WAIT, Retry.AGAIN, ""),
    ("OPSP9996", "앱키 누락", _KEY, Retry.NEVER, ""),
    ("OPSP9997", "고객 구분 누락", _REPORT, Retry.NEVER, ""),
    ("OPSP9998", "머리말 누락", _REPORT, Retry.NEVER, ""),
    ("OPSP9999", "JSON 형식 오류", _REPORT, Retry.NEVER, "invalid json format"),
)  # fmt: skip
CODES: Mapping[str, MessageCode] = {
    code: MessageCode(code=code, cause=cause, action=action, retry=retry, text=text)
    for code, cause, action, retry, text in _TABLE
}


# Families of the ledger's business refusals; 모의투자 answers with eight digits.
_LEDGER = re.compile(r"(APBK|APAC|KIER)\d{4}|\d{8}")
_ABOUT_TOKEN = re.compile(r"token|토큰", re.IGNORECASE)


def lookup(code: str, text: str = "") -> MessageCode:
    """Return what is known about ``code``; an unknown one is never retried.

    An unknown code whose ``text`` speaks of the token counts as a void token: after maintenance
    KIS has said so in other words than its own (FAULTS 3).
    """
    known = CODES.get(code)
    if known is not None:
        return known
    is_token = _ABOUT_TOKEN.search(text) is not None
    return MessageCode(
        code=code,
        cause="접근토큰에 관한 알려지지 않은 응답" if is_token else "알려지지 않은 응답 코드",
        action="함께 온 문구를 확인하고 로그와 함께 개발자에게 알리십시오",
        retry=Retry.RENEW if is_token else Retry.NEVER,
    )


def is_ledger_refusal(code: str) -> bool:
    """Whether a refusal with ``code``, listed here or not, comes from the ledger itself."""
    known = CODES.get(code)
    return _LEDGER.fullmatch(code) is not None and (known is None or known.retry is Retry.NEVER)


def success(fields: Mapping[str, Any], code: str = "MCA00000") -> dict[str, Any]:
    """Return ``fields`` as a successful answer."""
    return {**fields, "rt_cd": "0", "msg_cd": code, "msg1": lookup(code).text}


def refusal(code: str, text: str = "", *, rt_cd: str = "1") -> dict[str, Any]:
    """Return a refusal with the venue's usual text, or with ``text``."""
    return {"rt_cd": rt_cd, "msg_cd": code, "msg1": text or lookup(code).text}


def oauth_refusal(code: str) -> dict[str, str]:
    """Return the refusal that the OAuth endpoints send with HTTP 403."""
    return {"error_description": lookup(code).text, "error_code": code}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an answer says about itself: accepted, refused, or (neither) nothing at all."""

    ok: bool
    refused: bool
    code: str
    text: str


def outcome(body: Mapping[str, Any]) -> Outcome:
    """Read the envelope of an answer; OAuth refusals have another shape and are read too.

    KIS sends ``rt_cd`` with every reply: without it, nothing is known.
    """
    if "error_code" in body:
        return Outcome(
            ok=False,
            refused=True,
            code=_text(body["error_code"]),
            text=_text(body.get("error_description")),
        )
    result = _text(body.get("rt_cd"))
    return Outcome(
        ok=result == "0",
        refused=result not in ("", "0"),
        code=_text(body.get("msg_cd")),
        text=_text(body.get("msg1")),
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
