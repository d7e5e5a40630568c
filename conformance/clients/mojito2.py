"""What mojito2 can do at the local exchange; started by ``conformance/run.py``."""

import queue
import time
from typing import Any

import mojito
from steps import WAIT_SECONDS, Steps, same

EXCHANGES = {"krx": "서울", "us": "나스닥"}
# mojito2 does not pace itself, and a second has eighteen calls: an order is two of them.
FEATURE_PAUSE_SECONDS = 0.5
ORDER_PAUSE_SECONDS = 0.13


def done(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that is no refusal."""
    if answer.get("rt_cd") != "0":
        raise AssertionError(f"{answer.get('msg_cd')} {answer.get('msg1')}")
    return answer


def main() -> None:
    """Try one feature after the other."""
    steps = Steps(pause_seconds=FEATURE_PAUSE_SECONDS)
    facts = steps.facts
    broker = steps.try_out(
        "접속",
        lambda: mojito.KoreaInvestment(
            api_key=steps.app_key,
            api_secret=steps.app_secret,
            acc_no=f"{steps.account}-01",
            exchange=EXCHANGES[facts["market"]],
        ),
    )
    if broker is None:
        return
    if facts["market"] == "krx":
        korean(steps, broker)
    else:
        american(steps, broker)


def korean(steps: Steps, broker: Any) -> None:
    """Try what there is for Korean shares."""
    facts, times = steps.facts, steps.facts["times"]
    symbol, days = facts["symbol"], facts["days"]

    def quote():
        output = done(broker.fetch_price(symbol))["output"]
        same((output["stck_shrn_iscd"], output["stck_sdpr"]), (symbol, days[-1]["close"]))

    steps.try_out("현재가", quote)

    def daily_chart():
        first, last = (days[k]["date"].replace("-", "") for k in (0, -1))
        rows = done(broker.fetch_ohlcv(symbol, "D", first, last, adj_price=False))["output2"]
        keys = ("stck_oprc", "stck_hgpr", "stck_lwpr", "stck_clpr", "acml_vol")
        same(
            [[row["stck_bsop_date"], *(row[key] for key in keys)] for row in reversed(rows)],
            [[day["date"].replace("-", ""), day["open"], day["high"], day["low"], day["close"],
              str(day["volume"])] for day in days],
        )  # fmt: skip
        recent = done(broker.fetch_ohlcv_recent30(symbol))["output"]
        same(recent[0]["stck_clpr"], days[-1]["close"])

    steps.try_out("일봉", daily_chart)
    steps.try_out(
        "매수 가능 금액",
        lambda: same(
            int(done(broker.check_buy_order(symbol, int(facts["low"]), "00"))["output"][
                "ord_psbl_cash"]),
            facts["cash"],
        ),
    )  # fmt: skip

    def pending():
        asked = {"CTX_AREA_FK100": "", "CTX_AREA_NK100": "", "INQR_DVSN_1": "0", "INQR_DVSN_2": "0"}
        return done(broker.fetch_open_order(asked))["output"]

    def buy():
        order = done(broker.create_limit_buy_order(symbol, int(facts["low"]), 3))["output"]
        same([(row["ord_qty"], row["ord_unpr"]) for row in pending()], [("3", facts["low"])])
        return order

    order = steps.try_out("매수", buy)

    def revise():
        revised = done(
            broker.modify_order(
                order["KRX_FWDG_ORD_ORGNO"],
                order["ODNO"],
                "00",
                int(facts["low_revised"]),
                3,
                total=True,
            )
        )["output"]
        same([row["ord_unpr"] for row in pending()], [facts["low_revised"]])
        return revised

    revised = steps.try_out("정정", revise)

    def cancel():
        done(broker.cancel_order(revised["KRX_FWDG_ORD_ORGNO"], revised["ODNO"], 3, total=True))
        same(pending(), [])

    steps.try_out("취소", cancel)

    live = mojito.KoreaInvestmentWS(
        steps.app_key, steps.app_secret, ["H0STCNT0", "H0STASP0"], [symbol], user_id=steps.user
    )
    heard: list[tuple[str, dict[str, str]]] = []

    def hear(is_there: Any, what: str) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while not is_there():
            try:
                kind, fields = live.queue.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"{what}: 오지 않음") from None
            heard.append((kind, fields))

    def of(kind: str) -> list[dict[str, str]]:
        return [fields for name, fields in heard if name == kind]

    def watch():
        live.start()
        steps.wait_registered(3)

    steps.try_out("실시간 등록", watch)

    def filled():
        done(broker.create_limit_buy_order(symbol, int(facts["high"]), 5))
        steps.advance(times["watched"])
        hear(lambda: any(one["체결여부"] == "2" for one in of("체잔")), "체결 통보")
        accepted, fill = of("체잔")
        same((accepted["체결여부"], int(accepted["주문수량"])), ("1", 5))
        same(
            (fill["주식단축종목코드"], int(fill["체결단가"]), int(fill["체결수량"])),
            (symbol, int(facts["open"]), 5),
        )

    steps.try_out("실시간 체결 통보", filled)

    def printed():
        watched = facts["watched"]
        hear(
            lambda: of("체결") and int(of("체결")[-1]["누적거래량"]) >= watched["volume"],
            "실시간 체결가",
        )
        first, last = of("체결")[0], of("체결")[-1]
        same((first["유가증권단축종목코드"], first["주식현재가"]), (symbol, facts["open"]))
        same(
            (int(last["누적거래량"]), last["주식최고가"], last["주식최저가"]),
            (watched["volume"], watched["high"], watched["low"]),
        )

    steps.try_out("실시간 체결가", printed)
    live.terminate()
    live.join()
    steps.try_out("시장가 매수", lambda: done(broker.create_market_buy_order(symbol, 2)))
    steps.try_out(
        "매도", lambda: done(broker.create_limit_sell_order(symbol, int(facts["low"]), 1))
    )
    steps.advance(times["later"])

    def minute_chart():
        rows = broker.fetch_today_1m_ohlcv(symbol)["output2"]
        keys = ("stck_oprc", "stck_hgpr", "stck_lwpr", "stck_prpr", "cntg_vol")
        same(
            [[row["stck_cntg_hour"], *(row[key] for key in keys)]
             for row in reversed(rows)][: len(facts["minutes"])],
            [[bar["at"].replace(":", "") + "00", bar["open"], bar["high"], bar["low"],
              bar["close"], str(bar["volume"])] for bar in facts["minutes"]],
        )  # fmt: skip

    steps.try_out("분봉", minute_chart)

    def balance():
        (held,) = broker.fetch_balance()["output1"]
        same((held["pdno"], held["hldg_qty"], held["ord_psbl_qty"]), (symbol, "6", "6"))

    steps.try_out("잔고", balance)

    def paged_balance():
        for other in facts["many"]:
            done(broker.create_market_buy_order(other, 1))
            time.sleep(ORDER_PAUSE_SECONDS)
        steps.advance(times["last"])
        time.sleep(1)
        held = [row["pdno"] for row in broker.fetch_balance()["output1"]]
        same(sorted(held), sorted({symbol, *facts["many"]}))

    steps.try_out("잔고 연속 조회", paged_balance)


def american(steps: Steps, broker: Any) -> None:
    """Try what there is for US shares."""
    facts, times = steps.facts, steps.facts["times"]
    symbol, days = facts["symbol"], facts["days"]

    def quote():
        output = done(broker.fetch_price(symbol))["output"]
        same(float(output["base"]), float(days[-1]["close"]))

    steps.try_out("현재가", quote)

    def daily_chart():
        last = days[-1]["date"].replace("-", "")
        rows = done(broker.fetch_ohlcv(symbol, "D", end_day=last, adj_price=False))["output2"]
        same(
            [[row["xymd"], *(float(row[key]) for key in ("open", "high", "low", "clos")),
              row["tvol"]] for row in rows[: len(days)]][::-1],
            [[day["date"].replace("-", ""),
              *(float(day[key]) for key in ("open", "high", "low", "close")),
              str(day["volume"])] for day in days],
        )  # fmt: skip

    steps.try_out("일봉", daily_chart)

    def buy():
        done(broker.create_limit_buy_order(symbol, facts["high"], 5))
        steps.advance(times["watched"])
        (held,) = broker.fetch_balance()["output1"]
        same((held["ovrs_pdno"], int(held["ovrs_cblc_qty"])), (symbol, 5))

    steps.try_out("매수", buy)

    def sell():
        done(broker.create_limit_sell_order(symbol, facts["low"], 1))
        steps.advance(times["later"])

    steps.try_out("매도", sell)

    def balance():
        (held,) = broker.fetch_balance()["output1"]
        same(int(held["ovrs_cblc_qty"]), 4)
        (present,) = done(broker.fetch_present_balance())["output1"]
        same(float(present["ccld_qty_smtl1"]), 4.0)

    steps.try_out("잔고", balance)


if __name__ == "__main__":
    main()
