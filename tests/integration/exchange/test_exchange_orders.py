"""Orders, fills, cancels and money at the local exchange, over real sockets."""

from datetime import date

from conftest import ACCOUNT  # noqa: F401


def test_placeholder(exchange):
    s = exchange.open("2005-02-25")
    print(s)
    w = exchange.listen()
    print(w.register("HDFSCNT0", "DNASAAPL"), w.register("H0GSCNI0", "trader1"))
    print(exchange.order("buy", "AAPL", 100, "100.00"))
    print(w.records())
    for _ in range(6):
        p = exchange.advance("2005-02-25T23:59:00+00:00")
        print(p)
    for _ in range(6):
        print(w.records())
    print(exchange.cash(), exchange.holdings())
    print(exchange.orders("20050225", "20050225"))
    assert 0
