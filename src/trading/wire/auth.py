"""OAuth bodies, request headers and the hash key."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from trading.errors import SchemaError
from trading.wire.values import KST


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """An access token and the instant at which the venue stops taking it."""

    value: str = field(repr=False)
    expires_at: datetime


def token_request(app_key: str, app_secret: str) -> dict[str, str]:
    """Return the body that asks for an access token."""
    return {"grant_type": "client_credentials", "appkey": app_key, "appsecret": app_secret}


def render_token(token: AccessToken, now: datetime) -> dict[str, Any]:
    """Return the body that hands out ``token``."""
    return {
        "access_token": token.value,
        "access_token_token_expired": f"{token.expires_at.astimezone(KST):%Y-%m-%d %H:%M:%S}",
        "token_type": "Bearer",
        "expires_in": int((token.expires_at - now).total_seconds()),
    }


def parse_token(body: Mapping[str, Any]) -> AccessToken:
    """Read a token; its expiry is the stated Korean time, not the ``expires_in`` of a skewed clock."""
    try:
        expires = datetime.fromisoformat(str(body["access_token_token_expired"]))
        return AccessToken(
            value=str(body["access_token"]),
            expires_at=expires.replace(tzinfo=KST).astimezone(UTC),
        )
    except (KeyError, ValueError) as error:
        raise SchemaError("토큰 응답 형식 오류") from error


def render_revoked() -> dict[str, Any]:
    """Return the body that confirms a revocation."""
    return {"code": 200, "message": "접근토큰 폐기에 성공하였습니다"}


def approval_request(app_key: str, app_secret: str) -> dict[str, str]:
    """Return the body that asks for a WebSocket key; the secret has another name here."""
    return {"grant_type": "client_credentials", "appkey": app_key, "secretkey": app_secret}


def render_approval(key: str) -> dict[str, str]:
    """Return the body that hands out a WebSocket key."""
    return {"approval_key": key}


def parse_approval(body: Mapping[str, Any]) -> str:
    """Read a WebSocket key."""
    key = str(body.get("approval_key", ""))
    if not key:
        raise SchemaError("접속키 응답 형식 오류")
    return key


def render_hashkey(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of the hash service: the body and 64 hex digits made from it."""
    canonical = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return {"BODY": dict(body), "HASH": hashlib.sha256(canonical.encode()).hexdigest()}


def parse_hashkey(body: Mapping[str, Any]) -> str:
    """Read a hash key."""
    value = str(body.get("HASH", ""))
    if not value:
        raise SchemaError("해시키 응답 형식 오류")
    return value


def request_headers(
    *, app_key: str, app_secret: str, token: str, tr_id: str, is_next_page: bool = False,
    hashkey: str = "",
) -> dict[str, str]:  # fmt: skip
    """Return the headers of a REST call."""
    headers = {
        "content-type": "application/json; charset=utf-8",
        "authorization": f"Bearer {token}",
        "appkey": app_key,
        "appsecret": app_secret,
        "tr_id": tr_id,
        "tr_cont": "N" if is_next_page else "",
        "custtype": "P",
    }
    if hashkey:
        headers["hashkey"] = hashkey
    return headers


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """What a REST call's headers say; absent ones are blank."""

    token: str = field(repr=False)
    app_key: str = field(repr=False)
    app_secret: str = field(repr=False)
    tr_id: str
    is_next_page: bool


def parse_request_headers(headers: Mapping[str, str]) -> RequestHead:
    """Read the headers of a REST call; names in any case (some clients write ``appKey``)."""
    lower = {name.lower(): value for name, value in headers.items()}
    scheme, _, token = lower.get("authorization", "").partition(" ")
    return RequestHead(
        token=token.strip() if scheme.lower() == "bearer" else "",
        app_key=lower.get("appkey", ""),
        app_secret=lower.get("appsecret", ""),
        tr_id=lower.get("tr_id", ""),
        is_next_page=lower.get("tr_cont", "").strip() == "N",
    )


def response_headers(*, tr_id: str, has_next_page: bool | None = None) -> dict[str, str]:
    """Return the answer's headers; ``None`` for a call without paging.

    The official sample reads lower-case names only.
    """
    tr_cont = "" if has_next_page is None else "M" if has_next_page else "D"
    return {"tr_id": tr_id, "tr_cont": tr_cont, "gt_uid": ""}
