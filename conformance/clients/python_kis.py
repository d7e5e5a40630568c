"""What python-kis can do at the local exchange; started by ``conformance/run.py``."""

from datetime import date, time
from decimal import Decimal

from pykis import PyKis
from pykis import logging as kis_logging
from steps import Steps, same, wait_for

MARKETS = {"krx": "KRX", "us": "NASDAQ"}
NOTICES = {"krx": "H0STCNI0", "us": "H0GSCNI0"}
TRADES = {"krx": "H0STCNT0", "us": "HDFSCNT0"}


def main() -> None:
    """Try one feature after the other."""
    kis_logging.setLevel("ERROR")
    steps = Steps()
    facts = steps.facts
    market = facts["market"]
    days, times = facts["days"], facts["times"]
    session = date.fromisoformat(facts["session"])
    number = Decimal if market == "us" else int

    kis = PyKis(
        id=steps.user,
        account=f"{steps.account}-01",
        appkey=steps.app_key,
        secretkey=steps.app_secret,
        keep_token=False,
    )
    stock = steps.try_out("종목 조회", lambda: kis.stock(facts["symbol"], MARKETS[market]))
    if stock is None:
        return
    account = kis.account()

    def quote():
        now = stock.quote()
        same((now.symbol, now.prev_price), (facts["symbol"], number(days[-1]["close"])))

    steps.try_out("현재가", quote)

    def daily_chart():
        first = date.fromisoformat(days[0]["date"])
        chart = stock.chart(start=first, end=date.fromisoformat(days[-1]["date"]))
        same(
            [[bar.time.date().isoformat(), bar.open, bar.high, bar.low, bar.close, bar.volume]
             for bar in chart.bars],
            [[day["date"], *(number(day[k]) for k in ("open", "high", "low", "close")),
              day["volume"]] for day in days],
        )  # fmt: skip

    steps.try_out("일봉", daily_chart)
    # No order book was ever recorded: ten levels that do not exist.
    steps.try_out("호가", lambda: same([level.price for level in stock.orderbook().asks], [0] * 10))
    steps.try_out(
        "매수 가능 금액",
        lambda: same(stock.orderable_amount(price=number(facts["low"])).amount, facts["cash"]),
    )

    def pending():
        return account.pending_orders().orders

    def buy():
        order = stock.buy(price=number(facts["low"]), qty=3)
        same([(o.qty, o.unit_price) for o in pending()], [(3, number(facts["low"]))])
        return order

    order = steps.try_out("매수", buy)

    def revise():
        revised = order.modify(price=number(facts["low_revised"]))
        same([(o.qty, o.unit_price) for o in pending()], [(3, number(facts["low_revised"]))])
        return revised

    revised = steps.try_out("정정", revise)

    def cancel():
        revised.cancel()
        same(pending(), [])

    steps.try_out("취소", cancel)

    def market_order():
        stock.buy(qty=2)

    if market == "us":
        # Before the open one and a half times the close before is the price that it sends.
        steps.try_out("시장가 매수", market_order)
    registered: set[str] = set()
    prices, notices = [], []
    tickets = [
        kis.websocket.subscribed_event.on(lambda _, event: registered.add(event.tr.id)),
    ]

    def watch():
        # Registered while it connects, a feed may be forgotten by the client.
        kis.websocket.ensure_connected(timeout=10)
        tickets.append(stock.on("price", lambda _, event: prices.append(event.response)))
        tickets.append(account.on("execution", lambda _, event: notices.append(event.response)))
        wanted = {TRADES[market], NOTICES[market]}
        wait_for(lambda: wanted <= registered, "실시간 등록")

    steps.try_out("실시간 등록", watch)

    def filled():
        stock.buy(price=number(facts["high"]), qty=5)
        steps.advance(times["watched"])
        wait_for(lambda: any(one.executed_qty for one in notices), "체결 통보")
        accepted = [one for one in notices if not one.executed_qty]
        fills = [one for one in notices if one.executed_qty]
        same([one.qty for one in accepted], [5])
        same(
            [(one.symbol, one.type, one.price, one.executed_qty) for one in fills],
            [(facts["symbol"], "buy", number(facts["open"]), 5)],
        )

    steps.try_out("실시간 체결 통보", filled)

    def printed():
        watched = facts["watched"]
        wait_for(lambda: prices and prices[-1].volume >= watched["volume"], "실시간 체결가")
        same((prices[0].symbol, prices[0].price), (facts["symbol"], number(facts["open"])))
        same(
            (prices[-1].volume, prices[-1].high, prices[-1].low),
            (watched["volume"], number(watched["high"]), number(watched["low"])),
        )

    steps.try_out("실시간 체결가", printed)

    if market == "krx":
        steps.try_out("시장가 매수", market_order)

    def sell():
        stock.sell(price=number(facts["low"]), qty=1)

    steps.try_out("매도", sell)
    steps.advance(times["later"])

    def minute_chart():
        chart = stock.chart(period=1, start=time.fromisoformat(facts["opens"]))
        same(chart.bars[0].open, number(facts["open"]))
        same(
            [[bar.time.strftime("%H:%M"), bar.open, bar.high, bar.low, bar.close, bar.volume]
             for bar in chart.bars][: len(facts["minutes"])],
            [[bar["at"], *(number(bar[k]) for k in ("open", "high", "low", "close")),
              bar["volume"]] for bar in facts["minutes"]],
        )  # fmt: skip

    steps.try_out("분봉", minute_chart)

    def fills():
        orders = account.daily_orders(start=session, end=session).orders
        bought = [o for o in orders if o.type == "buy" and o.executed_qty == 5]
        same([(o.symbol, o.price, o.qty) for o in bought],
             [(facts["symbol"], number(facts["open"]), 5)])  # fmt: skip
        same([o.executed_qty for o in orders if o.type == "sell"], [1])

    steps.try_out("체결 내역", fills)

    def balance():
        whole = account.balance()
        (held,) = whole.stocks
        quantity = 6 if market == "krx" else 4
        same((held.symbol, held.qty, held.orderable), (facts["symbol"], quantity, quantity))

    steps.try_out("잔고", balance)

    def profits():
        (row,) = account.profits(start=session, end=session).orders
        same((row.symbol, row.qty), (facts["symbol"], 1))

    steps.try_out("기간 손익", profits)

    def paged_orders():
        before = len(account.daily_orders(start=session, end=session).orders)
        for _ in range(facts["open_orders"]):
            stock.buy(price=number(facts["low"]), qty=1)
        open_orders = pending()
        same(len({o.order_number.number for o in open_orders}), facts["open_orders"])
        orders = account.daily_orders(start=session, end=session).orders
        same(len({o.order_number.number for o in orders}), before + facts["open_orders"])

    steps.try_out("주문 연속 조회", paged_orders)
    if facts["many"]:

        def paged_balance():
            for symbol in facts["many"]:
                kis.stock(symbol, MARKETS[market]).buy(qty=1)
            steps.advance(times["last"])
            held = {one.symbol for one in account.balance().stocks}
            same(sorted(held), sorted({facts["symbol"], *facts["many"]}))

        steps.try_out("잔고 연속 조회", paged_balance)
    kis.websocket.disconnect()


if __name__ == "__main__":
    main()
