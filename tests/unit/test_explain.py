"""Every code is explained in Korean, on the command line and in the documents."""

import re
from pathlib import Path

import pytest

from trading import explain
from trading.domain.decision import Verdict
from trading.execution.engine import REASON_TRIGGER
from trading.execution.exits import ExitRule
from trading.notify.settings import Event
from trading.risk.guards import GuardCode
from trading.terminal import EXIT_FAILURE, EXIT_FINDING, EXIT_USAGE
from trading.wire.codes import CODES, Retry

CHECKOUT = Path(__file__).parents[2]
# PROTOCOL 3.1 to 3.3, written out: which codes there are, by what the fact sheet says of retrying.
BY_CLASS = {
    Retry.AGAIN: "EGW00001 EGW00002 EGW00201 EGW00202 EGW00203 EGW00300 EGW00215 EGW00316 OPSQ0001 "
    "OPSQ0003 OPSQ0004 OPSQ0005 OPSQ0006 OPSQ0007 OPSQ0008 OPSQ0009 OPSQ0010 OPSQ0011 OPSQ1002 "
    "OPSQ2003 OPSQ3001 OPSQ3002 OPSQ3004",
    Retry.RENEW: "EGW00121 EGW00122 EGW00123",
    Retry.MINUTE: "EGW00133",
    Retry.VERIFY: "EGW00301 EGW00302",
    Retry.NEVER: "EGW00003 EGW00004 EGW00101 EGW00102 EGW00103 EGW00104 EGW00105 EGW00106 EGW00107 "
    "EGW00108 EGW00109 EGW00110 EGW00111 EGW00112 EGW00113 EGW00114 EGW00115 EGW00116 EGW00117 "
    "EGW00118 EGW00119 EGW00120 EGW00124 EGW00125 EGW00126 EGW00127 EGW00128 EGW00129 EGW00130 "
    "EGW00131 EGW00132 EGW00204 EGW00205 EGW00206 EGW00207 EGW00208 EGW00209 EGW00210 EGW00211 "
    "EGW00212 EGW00213 EGW00303 EGW00304 EGW02004 EGW02006 OPSQ0002 OPSQ2000 OPSQ2001 OPSQ2002 "
    "OPSQ9995 OPSQ9996 OPSQ9997 OPSQ9998 OPSQ9999 MCA00124 APBK0400 APBK0656 APBK0918 APBK0919 "
    "APBK0952 APBK1234 APAC0081 APAC0489 40030000 40070000 40100000 40250000 40330000 40570000 "
    "40580000 90000000",
    Retry.OK: "MCA00000 KIOK0420 KIOK0460 KIOK0510 KIOK0530 KIOK0490 KIOK0500 KIOK0560 KIOK0430 "
    "APBK0013 APBK0029 APBK1711 APBK2938 20310000 70070000 40600000 40590000 40630000 40620000",
}
STREAM = (
    "0000 0001 0002 0003 0007 0008 0009 0010 0011 8991 8992 8993 8994 8995 8996 8997 8998 8999 "
    "9990 9991 9992 9993 9994 9995 9996 9997 9998 9999"
)


@pytest.mark.parametrize("retry", BY_CLASS)
def test_every_code_of_the_protocol_has_its_class(retry):
    """The table says of each code whether to ask again as the fact sheet does."""
    codes = BY_CLASS[retry].split()

    assert {code: CODES[code].retry for code in codes if code in CODES} == dict.fromkeys(
        codes, retry
    )


def test_the_stream_codes_are_all_there():
    """PROTOCOL 3.4."""
    assert [number for number in STREAM.split() if f"OPSP{number}" not in CODES] == []


def test_no_code_of_the_fact_sheet_is_missing(shared_data):
    """Whatever section 3 of the fact sheet names is in the table."""
    sheet = (shared_data.parent / "kis" / "PROTOCOL.md").read_text("utf-8")
    section = sheet[sheet.index("## 3. Errors") : sheet.index("## 4. Rate limits")]
    named = set(re.findall(r"\b(?:EGW|OPSQ|OPSP|APBK|APAC|KIER|KIOK|MCA)\d{4,5}\b", section))

    assert sorted(named - set(CODES)) == []


def test_every_explanation_is_korean_and_whole():
    """Each code says what it means, what the program does and what the user does."""
    for family in explain.families():
        for code in family.codes:
            found = explain.explain(code)
            told = (found["cause"], found["response"], found["action"])
            assert all(re.search("[가-힣]", part) for part in told), code
            assert explain.text(found).count("\n") >= 3


def test_our_own_codes_are_all_there():
    """A verdict, a guard or an exit rule that nobody explained is found here."""
    names = {family.name: list(family.codes) for family in explain.families()}

    assert sorted(names["판정"]) == sorted(verdict.name for verdict in Verdict)
    assert sorted(names["거부"]) == sorted(code.value for code in GuardCode)
    rules = [rule.name.lower() for rule in ExitRule if rule]
    assert names["파는 규칙"] == ["rebalance", *rules, REASON_TRIGGER]
    assert names["알림"] == [str(event) for event in Event]
    assert set(explain.EXITS) == {0, EXIT_FINDING, EXIT_USAGE, EXIT_FAILURE}


def test_every_code_has_one_family():
    """Nothing is listed twice or left out."""
    listed = [code for family in explain.families() for code in family.codes]

    assert len(listed) == len(set(listed))
    assert set(CODES) <= set(listed)


@pytest.mark.parametrize("word", ["egw00201", " EGW00201 ", "Egw00201"])
def test_the_case_does_not_matter(word):
    """A code is found as people type it."""
    assert explain.explain(word)["code"] == "EGW00201"


def test_an_unknown_code_says_so_and_what_is_near():
    """Nothing is made up about a code that nobody knows."""
    found = explain.explain("EGW0201")

    assert not found["known"]
    assert found["near"][0] == "EGW00201"
    assert "알려지지 않은 코드" in explain.text(found)
    assert explain.explain("???")["near"] == []


def test_the_document_is_the_table():
    """docs/codes.md is written from the table: ``python -m trading.explain > docs/codes.md``."""
    assert (CHECKOUT / "docs" / "codes.md").read_text("utf-8") == explain.page()
