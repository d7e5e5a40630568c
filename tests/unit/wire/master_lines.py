"""Lines of symbol master files, built from the offsets of PROTOCOL 14 and published facts."""

# (offset, width) in the tail, as PROTOCOL 14 lists them; the tail has 227 characters.
KOSPI_WIDTH = 227
KOSPI = {
    "group": (0, 2), "large": (3, 4), "middle": (7, 4), "small": (11, 4), "etp": (22, 1),
    "spac": (29, 1), "overheating": (32, 1), "base_price": (41, 9), "lot": (50, 5),
    "halted": (60, 1), "delisting": (61, 1), "administrative": (62, 1), "warning": (63, 2),
    "announced": (65, 1), "unfaithful": (66, 1), "ex_code": (68, 2), "margin": (74, 3),
    "previous_volume": (81, 12), "par": (93, 12), "listed": (105, 8), "shares": (113, 15),
    "preferred": (158, 1), "short": (159, 1), "surge": (160, 1), "market_cap": (212, 9),
}  # fmt: skip
KOSDAQ_WIDTH = 221
KOSDAQ = {
    "group": (0, 2), "large": (3, 4), "middle": (7, 4), "small": (11, 4), "etp": (18, 1),
    "spac": (24, 1), "overheating": (27, 1), "base_price": (36, 9), "lot": (45, 5),
    "halted": (55, 1), "delisting": (56, 1), "administrative": (57, 1), "warning": (58, 2),
    "announced": (60, 1), "unfaithful": (61, 1), "ex_code": (63, 2), "margin": (69, 3),
    "previous_volume": (76, 12), "par": (88, 12), "listed": (100, 8), "shares": (108, 15),
    "preferred": (153, 1), "short": (154, 1), "surge": (155, 1), "market_cap": (206, 9),
}  # fmt: skip
# From KIS's own reader of the file.
KONEX_WIDTH = 184
KONEX = {
    "group": (0, 2), "base_price": (2, 9), "lot": (11, 5), "halted": (21, 1),
    "delisting": (22, 1), "administrative": (23, 1), "warning": (24, 2), "announced": (26, 1),
    "unfaithful": (27, 1), "ex_code": (29, 2), "margin": (35, 3), "previous_volume": (42, 12),
    "par": (54, 12), "listed": (66, 8), "shares": (74, 15), "preferred": (119, 1),
    "short": (120, 1), "surge": (121, 1), "market_cap": (172, 9),
}  # fmt: skip

_PLAIN = {
    "group": "ST", "halted": "N", "delisting": "N", "administrative": "N", "warning": "00",
    "announced": "N", "unfaithful": "N", "ex_code": "00", "lot": "00001", "preferred": "0",
    "short": "N", "surge": "N", "overheating": "0", "etp": "0", "spac": "N",
}  # fmt: skip


def line(layout, width, symbol, isin, name, **fields):
    """Return one line of a Korean file as bytes, without its end."""
    tail = [" "] * width
    for field, value in {**_PLAIN, **fields}.items():
        if field in layout:
            start, size = layout[field]
            tail[start : start + size] = value.rjust(size)
    head = f"{symbol:<9}{isin:<12}".encode("ascii")
    return head + name.encode("cp949").ljust(40) + "".join(tail).encode("ascii")


# Listed on 1975-06-11 with 5,969,782,550 common shares of 100 won; closed at 79,600 won on
# 2024-01-02.
SAMSUNG = line(
    KOSPI, KOSPI_WIDTH, "005930", "KR7005930003", "삼성전자",
    base_price="79600", par="100", listed="19750611", shares="5969782",
)  # fmt: skip
# An exchange-traded fund on the KOSPI 200, listed on 2002-10-14.
KODEX_200 = line(
    KOSPI, KOSPI_WIDTH, "069500", "KR7069500007", "KODEX 200",
    group="EF", etp="2", listed="20021014",
)  # fmt: skip
# Listed on KOSDAQ on 2019-03-05.
ECOPRO_BM = line(
    KOSDAQ, KOSDAQ_WIDTH, "247540", "KR7247540008", "에코프로비엠", par="500", listed="20190305"
)


def foreign(symbol, name, english, *, exchange, kind="2", base="", etp=""):
    """Return one line of a US file as bytes, without its end."""
    columns = [
        "US", exchange, exchange, "나스닥", symbol, f"D{exchange}{symbol}", name, english, kind,
        "USD", "4", "1", base, "1", "1", "0930", "1600", "N", "", "370", "1", "1", etp, "1",
    ]  # fmt: skip
    return "\t".join(columns).encode("cp949")


APPLE = foreign("AAPL", "애플", "APPLE INC", exchange="NAS")
QQQ = foreign("QQQ", "인베스코 QQQ", "INVESCO QQQ TRUST", exchange="NAS", kind="3", etp="001")
