"""KIS's message codes: what happened, what to do, whether to ask again.

Also the envelope of a REST answer, which carries such a code in every reply.
"""

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
    """One code: KIS's own text, the cause in our words, what the operator does."""

    code: str
    cause: str
    action: str
    retry: Retry
    text: str = ""


_WAIT = "잠시 후 조회를 다시 시도함"
_SETUP = "앱키와 설정을 확인하십시오"
_REQUEST = "요청 항목을 확인하고 개발자에게 알리십시오"
_ORDER = "주문이 접수되지 않음; 다시 보내지 않음"
_DONE = "조치 없음"

# code | cause | action | retry | text that the venue sends with it
_TABLE: tuple[tuple[str, str, str, Retry, str], ...] = (
    ("EGW00001", "일시적 오류", _WAIT, Retry.AGAIN, "일시적으로 오류가 발생했습니다."),
    ("EGW00002", "서버 오류", _WAIT, Retry.AGAIN, "서버 에러가 발생했습니다."),
    ("EGW00003", "접근 거부", _SETUP, Retry.NEVER, "접근이 거부되었습니다."),
    ("EGW00004", "권한 없는 고객", _SETUP, Retry.NEVER, "권한을 부여받지 않은 고객입니다."),
    ("EGW00101", "잘못된 요청", _REQUEST, Retry.NEVER, "유효하지 않은 요청입니다."),
    ("EGW00102", "앱키 누락", _SETUP, Retry.NEVER, "AppKey는 필수입니다."),
    ("EGW00103", "앱키 오류", _SETUP, Retry.NEVER, "유효하지 않은 AppKey입니다."),
    ("EGW00104", "앱시크릿 누락", _SETUP, Retry.NEVER, "AppSecret은 필수입니다."),
    ("EGW00105", "앱시크릿 오류", _SETUP, Retry.NEVER, "유효하지 않은 AppSecret입니다."),
    ("EGW00112", "인증 방식 오류", _REQUEST, Retry.NEVER, "유효하지 않은 grant입니다."),
    ("EGW00115", "인증 방식 누락", _REQUEST, Retry.NEVER, "grant_type은 필수입니다."),
    ("EGW00116", "지원하지 않는 인증 방식", _REQUEST, Retry.NEVER, "지원하지 않는 grant_type입니다."),
    ("EGW00117", "지원하지 않는 토큰 종류", _REQUEST, Retry.NEVER, "지원하지 않는 token_type입니다."),
    ("EGW00121", "토큰 무효", "토큰을 한 번 새로 받음", Retry.RENEW, "유효하지 않은 token 입니다."),
    ("EGW00122", "토큰 없음", "토큰을 한 번 새로 받음", Retry.RENEW, "token을 찾을 수 없습니다."),
    ("EGW00123", "토큰 만료", "토큰을 한 번 새로 받음", Retry.RENEW, "기간이 만료된 token 입니다."),
    ("EGW00131", "해시키 오류", _REQUEST, Retry.NEVER, "유효하지 않은 hashkey입니다."),
    ("EGW00132", "콘텐츠 형식 오류", _REQUEST, Retry.NEVER, "유효하지 않은 Content-Type입니다."),
    (
        "EGW00133",
        "토큰 발급은 1분에 한 번",
        "60초 뒤 다시 발급함",
        Retry.MINUTE,
        "접근토큰 발급 잠시 후 다시 시도하세요(1분당 1회)",
    ),
    ("EGW00201", "초당 호출 한도 초과", _WAIT, Retry.AGAIN, "초당 거래건수를 초과하였습니다."),
    ("EGW00202", "게이트웨이 오류", _WAIT, Retry.AGAIN, "GW라우팅 중 오류가 발생했습니다."),
    ("EGW00203", "OPS 오류", _WAIT, Retry.AGAIN, "OPS라우팅 중 오류가 발생했습니다."),
    ("EGW00204", "내부 게이트웨이 오류", _SETUP, Retry.NEVER, ""),
    ("EGW00205", "인증 종류 오류 또는 없는 TR", _SETUP, Retry.NEVER, ""),
    ("EGW00206", "API 사용 권한 없음", _SETUP, Retry.NEVER, "API 사용 권한이 없습니다."),
    ("EGW00207", "IP 주소 오류", _SETUP, Retry.NEVER, ""),
    ("EGW00208", "고객 구분 오류", _REQUEST, Retry.NEVER, ""),
    ("EGW00209", "일련번호 오류", _REQUEST, Retry.NEVER, ""),
    ("EGW00210", "법인은 모의투자를 쓸 수 없음", _SETUP, Retry.NEVER, ""),
    ("EGW00213", "모의투자에 없는 TR", _SETUP, Retry.NEVER, ""),
    ("EGW00215", "원장 초당 호출 한도 초과", _WAIT, Retry.AGAIN, ""),
    ("EGW00300", "게이트웨이 연결 오류", _WAIT, Retry.AGAIN, ""),
    ("EGW00301", "연결 시간 초과", "마지막 주문을 조회하여 확인함", Retry.VERIFY, ""),
    ("EGW00302", "거래 시간 초과", "마지막 주문을 조회하여 확인함", Retry.VERIFY, ""),
    ("EGW00303", "허용되지 않은 IP", _SETUP, Retry.NEVER, ""),
    ("EGW00304", "앱시크릿 오류", _SETUP, Retry.NEVER, ""),
    ("EGW00316", "조회 처리 중 오류", _WAIT, Retry.AGAIN, ""),
    (
        "EGW02004",
        "실전 서버에 모의투자 앱키를 사용함",
        _SETUP,
        Retry.NEVER,
        "실전투자 도메인은 모의투자 앱키로 호출하실 수 없습니다.",
    ),
    ("EGW02006", "모의투자에 없는 TR", _SETUP, Retry.NEVER, "모의투자 TR 이 아닙니다."),
    ("OPSQ0002", "없는 서비스 코드", _REQUEST, Retry.NEVER, "없는 서비스 코드 입니다."),
    ("OPSQ0010", "자원 부족", _WAIT, Retry.AGAIN, ""),
    ("OPSQ0011", "자원 부족", _WAIT, Retry.AGAIN, ""),
    ("OPSQ1002", "세션 연결 오류", _WAIT, Retry.AGAIN, ""),
    ("OPSQ2000", "계좌번호 오류", _SETUP, Retry.NEVER, "ERROR : INPUT INVALID_CHECK_ACNO"),
    ("OPSQ2001", "필수 항목 누락", _REQUEST, Retry.NEVER, "ERROR : INPUT INVALID_CHECK_MRKT_DIV_CODE"),
    ("OPSQ2002", "항목 길이 오류", _REQUEST, Retry.NEVER, ""),
    ("OPSQ2003", "전송 오류", _WAIT, Retry.AGAIN, ""),
    ("MCA00000", "정상", _DONE, Retry.OK, "정상처리 되었습니다."),
    ("MCA00124", "없는 서비스", _REQUEST, Retry.NEVER, "해당 서비스를 찾을수 없습니다."),
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
    ("APBK0400", "주문 가능 수량 초과", _ORDER, Retry.NEVER, "주문가능수량을 초과 했습니다"),
    ("APBK0656", "없는 종목 또는 거래소 오류", _ORDER, Retry.NEVER, "해당종목정보가 없습니다"),
    ("APBK0918", "장 시간이 아니거나 주문이 거부됨", _ORDER, Retry.NEVER, "장운영시간이 아닙니다"),
    ("APBK0919", "주문일과 영업일이 다름", _ORDER, Retry.NEVER, "장운영일자가 주문일과 상이합니다"),
    ("APBK0952", "주문 가능 금액 초과", _ORDER, Retry.NEVER, "주문가능금액을 초과 했습니다"),
    ("APBK1234", "보유 수량 부족", _ORDER, Retry.NEVER, "보유수량이 부족합니다"),
    ("APBK1711", "취소 접수", _DONE, Retry.OK, "취소주문이 접수되었습니다."),
    ("APBK2938", "예약 주문 접수", _DONE, Retry.OK, ""),
    ("APAC0081", "계좌번호 입력 오류", _SETUP, Retry.NEVER, "계좌번호 입력오류입니다"),
    ("APAC0489", "위탁계좌만 가능", _SETUP, Retry.NEVER, "위탁계좌만 가능합니다"),
    ("KIER3672", "예약 주문 시간이 아님", _ORDER, Retry.NEVER, ""),
    ("20310000", "조회 완료", _DONE, Retry.OK, "모의투자 조회가 완료되었습니다."),
    ("70070000", "조회할 자료 없음", _DONE, Retry.OK, "모의투자 조회할 내역(자료)이 없습니다."),
    ("40600000", "매수 주문 접수", _DONE, Retry.OK, "모의투자 매수주문이 완료 되었습니다."),
    ("40590000", "매도 주문 접수", _DONE, Retry.OK, "모의투자 매도주문이 완료 되었습니다."),
    ("40620000", "정정 주문 접수", _DONE, Retry.OK, "모의투자 정정주문이 완료 되었습니다."),
    ("40630000", "취소 주문 접수", _DONE, Retry.OK, "모의투자 취소주문이 완료 되었습니다."),
    ("40030000", "호가 단위 오류", _ORDER, Retry.NEVER, "모의투자 주문처리가 안되었습니다(호가단위 오류)"),
    ("40070000", "매매 불가 종목", _ORDER, Retry.NEVER, "모의투자 주문처리가 안되었습니다(매매불가 종목)"),
    ("40100000", "영업일이 아님", _ORDER, Retry.NEVER, "모의투자 영업일이 아닙니다."),
    ("40250000", "주문 가능 금액 부족", _ORDER, Retry.NEVER, "모의투자 주문가능금액이 부족합니다."),
    ("40330000", "정정·취소할 수량 없음", _ORDER, Retry.NEVER, "모의투자 정정/취소할 수량이 없습니다"),
    ("40570000", "장 시작 전", _ORDER, Retry.NEVER, "모의투자 장시작전 입니다."),
    ("40580000", "장 종료", _ORDER, Retry.NEVER, "모의투자 장종료 입니다."),
    ("90000000", "모의투자에 없는 기능", _SETUP, Retry.NEVER, "모의투자에서는 해당업무가 제공되지 않습니다."),
    ("OPSP0000", "실시간 등록", _DONE, Retry.OK, "SUBSCRIBE SUCCESS"),
    ("OPSP0001", "실시간 해제", _DONE, Retry.OK, "UNSUBSCRIBE SUCCESS"),
    ("OPSP0002", "이미 등록됨", _DONE, Retry.NEVER, "ALREADY IN SUBSCRIBE"),
    ("OPSP0003", "등록되지 않은 해제", _DONE, Retry.NEVER, "UNSUBSCRIBE ERROR(not found!)"),
    ("OPSP0007", "실시간 내부 오류", _WAIT, Retry.AGAIN, "SUBSCRIBE INTERNAL ERROR"),
    ("OPSP0008", "실시간 등록 41건 초과", "등록 종목을 줄이십시오", Retry.NEVER, "MAX SUBSCRIBE OVER"),
    ("OPSP0009", "실시간 전송 실패", _WAIT, Retry.AGAIN, "SUBSCRIBE ERROR : mci send failed"),
    ("OPSP0010", "앱키 오류", _SETUP, Retry.NEVER, "SUBSCRIBE WARNING : invalid appkey"),
    ("OPSP0011", "접속키 오류", "접속키를 새로 받음", Retry.RENEW, "invalid approval : NOT FOUND"),
    ("OPSP8991", "잘못된 TR", _REQUEST, Retry.NEVER, "SUBSCRIBE ERROR : invalid tr_id"),
    ("OPSP8992", "잘못된 종목 키", _REQUEST, Retry.NEVER, "SUBSCRIBE ERROR : invalid tr_key"),
    ("OPSP8993", "잘못된 종목 키", _REQUEST, Retry.NEVER, "JSON PARSING ERROR : invalid tr_key"),
    (
        "OPSP8996",
        "같은 앱키의 다른 접속이 있음",
        "다른 프로그램을 끄거나 잠시 후 다시 접속함",
        Retry.AGAIN,
        "ALREADY IN USE appkey",
    ),
    ("OPSP8997", "잘못된 등록 구분", _REQUEST, Retry.NEVER, "JSON PARSING ERROR : invalid tr_type"),
    ("OPSP8999", "자원 부족", _WAIT, Retry.AGAIN, ""),
    ("OPSP9990", "종목 키 누락", _REQUEST, Retry.NEVER, ""),
    ("OPSP9991", "입력 누락", _REQUEST, Retry.NEVER, ""),
    ("OPSP9992", "본문 누락", _REQUEST, Retry.NEVER, ""),
    ("OPSP9993", "실시간 내부 오류", _WAIT, Retry.AGAIN, ""),
    ("OPSP9994", "앱키 오류", _SETUP, Retry.NEVER, "INVALID appkey"),
    ("OPSP9995", "자원 부족", _WAIT, Retry.AGAIN, ""),
    ("OPSP9998", "머리말 누락", _REQUEST, Retry.NEVER, ""),
    ("OPSP9999", "JSON 형식 오류", _REQUEST, Retry.NEVER, "invalid json format"),
)  # fmt: skip
CODES: Mapping[str, MessageCode] = {
    code: MessageCode(code=code, cause=cause, action=action, retry=retry, text=text)
    for code, cause, action, retry, text in _TABLE
}


def lookup(code: str) -> MessageCode:
    """Return what is known about ``code``; an unknown one is never retried."""
    known = CODES.get(code)
    if known is not None:
        return known
    if code.startswith(("OPSQ0", "OPSQ3")):
        return MessageCode(code=code, cause="조회 서버 처리 오류", action=_WAIT, retry=Retry.AGAIN)
    return MessageCode(
        code=code,
        cause="알려지지 않은 응답 코드",
        action="응답 문구를 확인하십시오",
        retry=Retry.NEVER,
    )


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
    """What an answer says about itself."""

    ok: bool
    code: str
    text: str


def outcome(body: Mapping[str, Any]) -> Outcome:
    """Read the envelope of an answer; OAuth refusals have another shape and are read too.

    An answer without ``rt_cd`` counts as refused: KIS sends one with every reply.
    """
    if "error_code" in body:
        return Outcome(
            ok=False,
            code=str(body["error_code"]),
            text=str(body.get("error_description", "")).strip(),
        )
    return Outcome(
        ok=str(body.get("rt_cd", "")) == "0",
        code=str(body.get("msg_cd", "")).strip(),
        text=str(body.get("msg1", "")).strip(),
    )
