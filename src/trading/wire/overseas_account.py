"""Money and holdings of US accounts over REST, in both directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from trading.domain.instrument import Exchange, Instrument, Market
from trading.wire import values
from trading.wire.accounts import account_fields, page_fields, parse_account, parse_page_request
from trading.wire.fields import DAY, NUMBER, TEXT, WHOLE, Kind, kis, read, write
from trading.wire.overseas_codes import (
    MARKET_NAMES,
    QUOTE_CODES,
    TRADE_CODES,
    UNITED_STATES,
    exchange_of_trade,
    find_exchange,
    us_exchange,
)
from trading.wire.records import Balance, BuyingPower, Holding, Page

_US = Market.US


def balance_request(
    account: str, page: Page, exchange: Exchange = Exchange.NASDAQ
) -> dict[str, str]:
    """Ask for the holdings on one exchange; on the real server ``NASD`` means all US ones."""
    return {
        **account_fields(account),
        "OVRS_EXCG_CD": TRADE_CODES[exchange],
        "TR_CRCY_CD": "USD",
        **page_fields(page, 200),
    }


def parse_balance_request(params: Mapping[str, Any]) -> tuple[str, str, Page]:
    """Read account, four-letter (or, for one exchange, three-letter) code, and page."""
    fields = values.upper_keys(params)
    values.required(fields, "OVRS_EXCG_CD", "TR_CRCY_CD")
    return (
        parse_account(fields),
        fields["OVRS_EXCG_CD"].strip(),
        parse_page_request(params, 200),
    )


def render_holdings(
    account: str, holdings: Sequence[Holding], *, every: Sequence[Holding] | None = None
) -> dict[str, Any]:
    """Answer one page of holdings with the sums of all; realised profit is not kept here."""
    whole = holdings if every is None else every
    worth = sum(holding.quantity * holding.price for holding in whole)
    paid = sum(holding.cost for holding in whole)
    return {
        "output1": [_render_holding(account, holding) for holding in holdings],
        "output2": {
            "frcr_pchs_amt1": values.from_minor(paid, _US) + "0",
            "ovrs_rlzt_pfls_amt": "",
            "ovrs_tot_pfls": values.from_minor(worth - paid, _US) + "0",
            "rlzt_erng_rt": "",
            "tot_evlu_pfls_amt": values.from_minor(worth - paid, _US) + "0000",
            "tot_pftrt": values.ratio_text(worth - paid, paid) + "000000",
            "frcr_buy_amt_smtl1": values.from_minor(paid, _US) + "00",
            "ovrs_rlzt_pfls_amt2": "",
            "frcr_buy_amt_smtl2": values.from_minor(paid, _US) + "00",
        },
    }


def _render_holding(account: str, holding: Holding) -> dict[str, str]:
    worth = holding.quantity * holding.price
    average = holding.cost / holding.quantity / 10_000 if holding.quantity else 0.0
    return {
        **{name.lower(): value for name, value in account_fields(account).items()},
        "prdt_type_cd": "512",
        "ovrs_pdno": holding.symbol,
        "ovrs_item_name": holding.name,
        "frcr_evlu_pfls_amt": values.from_minor(worth - holding.cost, _US) + "00",
        "evlu_pfls_rt": values.ratio_text(worth - holding.cost, holding.cost),
        "pchs_avg_pric": f"{average:.4f}",
        "ovrs_cblc_qty": str(holding.quantity),
        "ord_psbl_qty": str(holding.sellable),
        "frcr_pchs_amt1": values.from_minor(holding.cost, _US) + "0",
        "ovrs_stck_evlu_amt": values.from_minor(worth, _US) + "0000",
        "now_pric2": values.from_minor(holding.price, _US) + "00",
        "tr_crcy_cd": "USD",
        "ovrs_excg_cd": TRADE_CODES[us_exchange(holding.exchange, holding.symbol)],
        "loan_type_cd": "10",
        "loan_dt": "",
        "expd_dt": "",
    }


def parse_holdings(body: Mapping[str, Any]) -> tuple[Holding, ...]:
    """Read holdings; blank rows and sold-out positions are dropped.

    Of a holding that was bought in fractions the whole shares count, with their part of the cost:
    no order of ours can sell the rest.
    """
    held = []
    for row in values.rows(body.get("output1")):
        values.required(row, "ovrs_pdno", "ovrs_cblc_qty", "frcr_pchs_amt1")
        shares = values.decimal(row.get("ovrs_cblc_qty"))
        quantity = int(shares)
        if not quantity or not row["ovrs_pdno"]:
            continue
        paid = values.to_minor_rounded(row.get("frcr_pchs_amt1"), _US)
        held.append(
            Holding(
                symbol=str(row["ovrs_pdno"]).strip(),
                quantity=quantity,
                sellable=int(values.decimal(row.get("ord_psbl_qty"))),
                cost=paid if quantity == shares else round(paid * quantity / shares),
                price=values.to_minor_rounded(row.get("now_pric2"), _US),
                name=str(row.get("ovrs_item_name", "")),
                exchange=find_exchange(str(row.get("ovrs_excg_cd", "")).strip()),
            )
        )
    return tuple(held)


def present_balance_request(account: str) -> dict[str, str]:
    """Ask for cash in dollars, today's trades included."""
    return {
        **account_fields(account),
        "WCRC_FRCR_DVSN_CD": "02",
        "NATN_CD": "840",
        "TR_MKET_CD": "00",
        "INQR_DVSN_CD": "00",
    }


def parse_present_balance_request(params: Mapping[str, Any]) -> tuple[str, bool]:
    """Read the account, and whether amounts are wanted in foreign currency."""
    fields = values.upper_keys(params)
    values.required(fields, "WCRC_FRCR_DVSN_CD", "NATN_CD", "TR_MKET_CD", "INQR_DVSN_CD")
    return parse_account(fields), fields["WCRC_FRCR_DVSN_CD"] == "02"


_TOTAL_KEYS = (
    "pchs_amt_smtl evlu_amt_smtl evlu_pfls_amt_smtl dncl_amt cma_evlu_amt tot_dncl_amt etc_mgna "
    "wdrw_psbl_tot_amt frcr_evlu_tota evlu_erng_rt1 pchs_amt_smtl_amt evlu_amt_smtl_amt "
    "tot_evlu_pfls_amt tot_asst_amt buy_mgn_amt mgna_tota frcr_use_psbl_amt ustl_sll_amt_smtl "
    "ustl_buy_amt_smtl tot_frcr_cblc_smtl tot_loan_amt"
)


def render_present_balance(
    balance: Balance, *, unsettled_bought: int, unsettled_sold: int
) -> dict[str, Any]:
    """Answer cash and holdings in dollars; what would need an exchange rate is blank.

    ``unsettled_bought`` is what purchases will still take from ``balance.cash``, costs
    included; ``unsettled_sold`` is what sales will still bring, costs deducted.
    """
    dollars = _dollars6
    rows = []
    for holding in balance.holdings:
        exchange = us_exchange(holding.exchange, holding.symbol)
        worth = holding.quantity * holding.price
        average = holding.cost / holding.quantity / 10_000 if holding.quantity else 0.0
        rows.append(
            {
                "prdt_name": holding.name,
                "cblc_qty13": f"{holding.quantity}.00000000",
                "thdt_buy_ccld_qty1": f"{holding.bought_today}.00000000",
                "thdt_sll_ccld_qty1": f"{holding.sold_today}.00000000",
                "ccld_qty_smtl1": f"{holding.quantity}.00000000",
                "ord_psbl_qty1": f"{holding.sellable}.00000000",
                "frcr_pchs_amt": values.from_minor(holding.cost, _US) + "0",
                "frcr_evlu_amt2": dollars(worth),
                "evlu_pfls_amt2": values.from_minor(worth - holding.cost, _US) + "0",
                "evlu_pfls_rt1": values.ratio_text(worth - holding.cost, holding.cost) + "000000",
                "pdno": holding.symbol,
                "bass_exrt": "",
                "buy_crcy_cd": "USD",
                "ovrs_now_pric1": values.from_minor(holding.price, _US) + "0",
                "avg_unpr3": f"{average:.4f}",
                "tr_mket_name": MARKET_NAMES[exchange],
                "natn_kor_name": "미국",
                "pchs_rmnd_wcrc_amt": "",
                "thdt_buy_ccld_frcr_amt": "",
                "thdt_sll_ccld_frcr_amt": "",
                "unit_amt": "1",
                "std_pdno": "",
                "prdt_type_cd": "512",
                "scts_dvsn_name": "현금",
                "loan_rmnd": "0",
                "loan_dt": "",
                "loan_expd_dt": "",
                "ovrs_excg_cd": TRADE_CODES[exchange],
                "item_lnkg_excg_cd": QUOTE_CODES[exchange],
            }
        )
    currency = {
        "crcy_cd": "USD",
        "crcy_cd_name": "미국 달러",
        "frcr_buy_amt_smtl": dollars(unsettled_bought),
        "frcr_sll_amt_smtl": dollars(unsettled_sold),
        "frcr_dncl_amt_2": dollars(balance.cash),
        "frst_bltn_exrt": "",
        "frcr_buy_mgn_amt": "",
        "frcr_etc_mgna": "",
        "frcr_drwg_psbl_amt_1": dollars(min(balance.cash, balance.cash_final)),
        "frcr_evlu_amt2": "",
        "acpl_cstd_crcy_yn": "Y",
        "nxdy_frcr_drwg_psbl_amt": dollars(balance.cash_next),
    }
    return {"output1": rows, "output2": [currency], "output3": values.blanks(_TOTAL_KEYS)}


def parse_present_balance(body: Mapping[str, Any]) -> Balance | None:
    """Read dollar cash; ``None`` where the venue sends none (paper fills only ``output3``).

    ``cash_final`` is the deposit with unsettled sales added and purchases deducted.
    """
    for row in values.rows(body.get("output2")):
        values.required(row, "crcy_cd")
        if str(row["crcy_cd"]).strip() == "USD":
            values.required(row, "frcr_dncl_amt_2", "frcr_sll_amt_smtl", "frcr_buy_amt_smtl")
            deposit = values.to_minor_rounded(row.get("frcr_dncl_amt_2"), _US)
            sold = values.to_minor_rounded(row.get("frcr_sll_amt_smtl"), _US)
            bought = values.to_minor_rounded(row.get("frcr_buy_amt_smtl"), _US)
            return Balance(
                cash=deposit,
                cash_next=values.to_minor_rounded(row.get("nxdy_frcr_drwg_psbl_amt"), _US),
                cash_final=deposit + sold - bought,
                bought_today=bought,
                sold_today=sold,
            )
    return None


def buying_power_request(account: str, instrument: Instrument, limit: int) -> dict[str, str]:
    """Ask what may be spent on one share at ``limit``."""
    return {
        **account_fields(account),
        "OVRS_EXCG_CD": TRADE_CODES[instrument.exchange],
        "OVRS_ORD_UNPR": values.from_minor(limit, _US),
        "ITEM_CD": instrument.symbol,
    }


def parse_buying_power_request(params: Mapping[str, Any]) -> tuple[str, Exchange, str, int]:
    """Read account, exchange, symbol and price."""
    fields = values.upper_keys(params)
    values.required(fields, "OVRS_EXCG_CD", "OVRS_ORD_UNPR", "ITEM_CD")
    return (
        parse_account(fields),
        exchange_of_trade(fields["OVRS_EXCG_CD"].strip()),
        fields["ITEM_CD"].strip(),
        values.to_minor(fields["OVRS_ORD_UNPR"], _US),
    )


def render_buying_power(power: BuyingPower) -> dict[str, Any]:
    """Answer what may be spent in dollars, to the cent as KIS does, rounded down."""
    amount = values.from_minor(power.amount // 100 * 100, _US)[:-2]
    quantity = str(power.quantity)
    return {
        "output": {
            "tr_crcy_cd": "USD",
            "ord_psbl_frcr_amt": amount,
            "sll_ruse_psbl_amt": "0.00",
            "ovrs_ord_psbl_amt": amount,
            "max_ord_psbl_qty": quantity,
            "echm_af_ord_psbl_amt": "0.00",
            "echm_af_ord_psbl_qty": "0",
            "ord_psbl_qty": quantity,
            "exrt": "",
            "frcr_ord_psbl_amt1": amount,
            "ovrs_max_ord_psbl_qty": quantity,
        }
    }


def parse_buying_power(body: Mapping[str, Any], limit: int) -> BuyingPower:
    """Read what may be spent in dollars, without exchanging won for it."""
    output = values.first_row(body.get("output"))
    values.required(output, "ovrs_ord_psbl_amt")
    return BuyingPower(
        amount=values.to_minor_rounded(output.get("ovrs_ord_psbl_amt"), _US),
        quantity=values.integer(output.get("max_ord_psbl_qty")),
        price=limit,
    )


# --- what was earned, what is kept -----------------------------------------------------------------
#
# Amounts of these reports are exact decimals in the row's currency: KIS writes more decimals than
# a minor unit has. They are asked for in foreign currency.


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """Money of one currency, and what orders may take of it."""

    currency: str = kis("crcy_cd", TEXT, required=True)
    country: str | None = kis("natn_name", TEXT)
    deposit: Decimal | None = kis("frcr_dncl_amt1", NUMBER)
    unsettled_bought: Decimal | None = kis("ustl_buy_amt", NUMBER)
    unsettled_sold: Decimal | None = kis("ustl_sll_amt", NUMBER)
    unpaid: Decimal | None = kis("frcr_rcvb_amt", NUMBER)
    margin: Decimal | None = kis("frcr_mgn_amt", NUMBER)
    general_buying_power: Decimal | None = kis("frcr_gnrl_ord_psbl_amt", NUMBER)
    buying_power: Decimal | None = kis("frcr_ord_psbl_amt1", NUMBER)
    integrated_buying_power: Decimal | None = kis("itgr_ord_psbl_amt", NUMBER)
    exchange_rate: Decimal | None = kis("bass_exrt", NUMBER)


def margins_request(account: str) -> dict[str, str]:
    """Ask for the money of every currency."""
    return account_fields(account)


def parse_margins_request(params: Mapping[str, Any]) -> str:
    """Read the account."""
    return parse_account(values.upper_keys(params))


def render_margins(rows: Sequence[Margin]) -> dict[str, Any]:
    """Answer the money of every currency."""
    return {"output": [write(row) for row in rows]}


def parse_margins(body: Mapping[str, Any]) -> tuple[Margin, ...]:
    """Read the money of every currency; lines without one are left out."""
    return tuple(read(Margin, row) for row in values.rows(body.get("output")) if row.get("crcy_cd"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfitRow:
    """What the sales of one share on one day realized."""

    session: date = kis("trad_day", DAY, required=True)
    symbol: str = kis("ovrs_pdno", TEXT, required=True)
    name: str | None = kis("ovrs_item_name", TEXT)
    exchange_code: str | None = kis("ovrs_excg_cd", TEXT)
    quantity: int | None = kis("slcl_qty", WHOLE)
    average_cost: Decimal | None = kis("pchs_avg_pric", NUMBER)
    cost: Decimal | None = kis("frcr_pchs_amt1", NUMBER)
    average_price: Decimal | None = kis("avg_sll_unpr", NUMBER)
    proceeds: Decimal | None = kis("frcr_sll_amt_smtl1", NUMBER)
    costs: Decimal | None = kis("stck_sll_tlex", NUMBER)
    realized: Decimal | None = kis("ovrs_rlzt_pfls_amt", NUMBER)
    realized_percent: Decimal | None = kis("pftrt", NUMBER)
    exchange_rate: Decimal | None = kis("exrt", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfitTotal:
    """What all sales of a range of days realized."""

    sold: Decimal | None = kis("stck_sll_amt_smtl", NUMBER)
    bought: Decimal | None = kis("stck_buy_amt_smtl", NUMBER)
    fees: Decimal | None = kis("smtl_fee1", NUMBER)
    paid: Decimal | None = kis("excc_dfrm_amt", NUMBER)
    realized: Decimal | None = kis("ovrs_rlzt_pfls_tot_amt", NUMBER)
    realized_percent: Decimal | None = kis("tot_pftrt", NUMBER)
    as_of: date | None = kis("bass_dt", DAY)
    exchange_rate: Decimal | None = kis("exrt", NUMBER)


def period_profit_request(account: str, first: date, last: date, page: Page) -> dict[str, str]:
    """Ask what the US sales of a range of days realized, in dollars."""
    return {
        **account_fields(account),
        "OVRS_EXCG_CD": "",
        "NATN_CD": UNITED_STATES,
        "CRCY_CD": "USD",
        "PDNO": "",
        "INQR_STRT_DT": values.day_text(first),
        "INQR_END_DT": values.day_text(last),
        # Foreign currency is 01 here and 02 in the balances.
        "WCRC_FRCR_DVSN_CD": "01",
        **page_fields(page, 200),
    }


def parse_period_profit_request(params: Mapping[str, Any]) -> tuple[str, date, date, Page]:
    """Read account, first and last day, and page."""
    fields = values.upper_keys(params)
    values.required(fields, "INQR_STRT_DT", "INQR_END_DT", "WCRC_FRCR_DVSN_CD")
    return (
        parse_account(fields),
        values.day(fields["INQR_STRT_DT"]),
        values.day(fields["INQR_END_DT"]),
        parse_page_request(params, 200),
    )


def render_period_profit(rows: Sequence[ProfitRow], total: ProfitTotal | None) -> dict[str, Any]:
    """Answer realized profit; KIS's document writes the names with a capital, clients read none."""
    return {
        "output1": [{"frst_bltn_exrt": "", **write(row)} for row in rows],
        "output2": {} if total is None else write(total),
    }


def parse_period_profit(
    body: Mapping[str, Any],
) -> tuple[tuple[ProfitRow, ...], ProfitTotal | None]:
    """Read realized profit by day and share, and in all; output names in either case."""
    rows = values.rows(body.get("output1") or body.get("Output1"))
    totals = values.rows(body.get("output2") or body.get("Output2"))
    return (
        tuple(read(ProfitRow, row) for row in rows if row.get("trad_day")),
        read(ProfitTotal, totals[0]) if totals else None,
    )


# Shares of reports have eight decimals: a broker may hold fractions, an order may not.
_SHARES8 = Kind("shares-8", values.decimal, lambda number: f"{number:.8f}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledTrade:
    """One trade with its fees and settlement."""

    session: date = kis("trad_dt", DAY, required=True)
    settled_on: date | None = kis("sttl_dt", DAY)
    side_code: str | None = kis("sll_buy_dvsn_cd", TEXT)
    side_name: str | None = kis("sll_buy_dvsn_name", TEXT)
    symbol: str = kis("pdno", TEXT, required=True)
    isin: str | None = kis("std_pdno", TEXT)
    name: str | None = kis("ovrs_item_name", TEXT)
    quantity: int | None = kis("ccld_qty", WHOLE)
    fractional_quantity: Decimal | None = kis("amt_unit_ccld_qty", _SHARES8)
    price: Decimal | None = kis("ft_ccld_unpr2", NUMBER)
    amount: Decimal | None = kis("tr_frcr_amt2", NUMBER)
    settlement: Decimal | None = kis("frcr_excc_amt_1", NUMBER)
    domestic_fee: Decimal | None = kis("dmst_frcr_fee1", NUMBER)
    foreign_fee: Decimal | None = kis("frcr_fee1", NUMBER)
    currency: str | None = kis("crcy_cd", TEXT)
    exchange_rate: Decimal | None = kis("erlm_exrt", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledTradeTotal:
    """What was bought, sold and paid in fees in a range of days."""

    bought: Decimal | None = kis("frcr_buy_amt_smtl", NUMBER)
    sold: Decimal | None = kis("frcr_sll_amt_smtl", NUMBER)
    domestic_fees: Decimal | None = kis("dmst_fee_smtl", NUMBER)
    foreign_fees: Decimal | None = kis("ovrs_fee_smtl", NUMBER)


def period_trades_request(account: str, first: date, last: date, page: Page) -> dict[str, str]:
    """Ask for the trades of a range of days."""
    return {
        **account_fields(account),
        "ERLM_STRT_DT": values.day_text(first),
        "ERLM_END_DT": values.day_text(last),
        "OVRS_EXCG_CD": "",
        "PDNO": "",
        "SLL_BUY_DVSN_CD": "00",
        "LOAN_DVSN_CD": "",
        **page_fields(page, 100),
    }


def parse_period_trades_request(params: Mapping[str, Any]) -> tuple[str, date, date, Page]:
    """Read account, first and last day, and page."""
    fields = values.upper_keys(params)
    values.required(fields, "ERLM_STRT_DT", "ERLM_END_DT")
    return (
        parse_account(fields),
        values.day(fields["ERLM_STRT_DT"]),
        values.day(fields["ERLM_END_DT"]),
        parse_page_request(params, 100),
    )


def render_period_trades(
    rows: Sequence[SettledTrade], total: SettledTradeTotal | None
) -> dict[str, Any]:
    """Answer trades with their fees; won amounts need a rate that is not known here."""
    blanks = values.blanks(
        "ovrs_stck_ccld_unpr tr_amt wcrc_excc_amt dmst_wcrc_fee ovrs_wcrc_fee loan_dvsn_cd "
        "loan_dvsn_name"
    )
    return {
        "output1": [{**blanks, **write(row)} for row in rows],
        "output2": {} if total is None else write(total),
    }


def parse_period_trades(
    body: Mapping[str, Any],
) -> tuple[tuple[SettledTrade, ...], SettledTradeTotal | None]:
    """Read trades with their fees, and their sums."""
    totals = values.rows(body.get("output2"))
    return (
        tuple(
            read(SettledTrade, row)
            for row in values.rows(body.get("output1"))
            if row.get("trad_dt")
        ),
        read(SettledTradeTotal, totals[0]) if totals else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptShare:
    """One holding of a balance report, in its own currency or in won as it was asked."""

    symbol: str = kis("pdno", TEXT, required=True)
    name: str | None = kis("prdt_name", TEXT)
    exchange_code: str | None = kis("ovrs_excg_cd", TEXT)
    isin: str | None = kis("std_pdno", TEXT)
    currency: str | None = kis("buy_crcy_cd", TEXT)
    quantity: Decimal | None = kis("cblc_qty13", _SHARES8)
    sellable: Decimal | None = kis("ord_psbl_qty1", _SHARES8)
    bought_today: Decimal | None = kis("thdt_buy_ccld_qty1", _SHARES8)
    sold_today: Decimal | None = kis("thdt_sll_ccld_qty1", _SHARES8)
    average_cost: Decimal | None = kis("avg_unpr3", NUMBER)
    cost: Decimal | None = kis("frcr_pchs_amt", NUMBER)
    price: Decimal | None = kis("ovrs_now_pric1", NUMBER)
    worth: Decimal | None = kis("frcr_evlu_amt2", NUMBER)
    profit: Decimal | None = kis("evlu_pfls_amt2", NUMBER)
    profit_percent: Decimal | None = kis("evlu_pfls_rt1", NUMBER)
    exchange_rate: Decimal | None = kis("bass_exrt", NUMBER)
    security_class: str | None = kis("scts_dvsn_name", TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCurrency:
    """The cash of one currency."""

    currency: str = kis("crcy_cd", TEXT, required=True)
    name: str | None = kis("crcy_cd_name", TEXT)
    deposit: Decimal | None = kis("frcr_dncl_amt_2", NUMBER)
    exchange_rate: Decimal | None = kis("frst_bltn_exrt", NUMBER)
    worth_krw: Decimal | None = kis("frcr_evlu_amt2", NUMBER)
    bought: Decimal | None = kis("frcr_buy_amt_smtl", NUMBER)
    sold: Decimal | None = kis("frcr_sll_amt_smtl", NUMBER)
    withdrawable: Decimal | None = kis("frcr_drwg_psbl_amt_1", NUMBER)
    withdrawable_next_day: Decimal | None = kis("nxdy_frcr_drwg_psbl_amt", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTotal:
    """Everything abroad together, in won."""

    cost_krw: Decimal | None = kis("pchs_amt_smtl_amt", NUMBER)
    profit_krw: Decimal | None = kis("tot_evlu_pfls_amt", NUMBER)
    profit_percent: Decimal | None = kis("evlu_erng_rt1", NUMBER)
    deposit_krw: Decimal | None = kis("tot_dncl_amt", NUMBER)
    present_assets_krw: Decimal | None = kis("tot_asst_amt", NUMBER)
    settled_assets_krw: Decimal | None = kis("tot_asst_amt2", NUMBER)
    loans_krw: Decimal | None = kis("tot_loan_amt", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBalance:
    """Holdings and cash by execution, or by settlement."""

    shares: tuple[KeptShare, ...] = ()
    currencies: tuple[KeptCurrency, ...] = ()
    total: KeptTotal | None = None


def settled_balance_request(account: str, day: date) -> dict[str, str]:
    """Ask what was settled by ``day``, in foreign currency."""
    return {
        **account_fields(account),
        "BASS_DT": values.day_text(day),
        "WCRC_FRCR_DVSN_CD": "02",
        "INQR_DVSN_CD": "00",
    }


def parse_settled_balance_request(params: Mapping[str, Any]) -> tuple[str, date]:
    """Read account and day."""
    fields = values.upper_keys(params)
    values.required(fields, "BASS_DT", "WCRC_FRCR_DVSN_CD", "INQR_DVSN_CD")
    return parse_account(fields), values.day(fields["BASS_DT"])


def render_settled_balance(
    shares: Sequence[KeptShare], currencies: Sequence[KeptCurrency]
) -> dict[str, Any]:
    """Answer what was settled; the totals are in won, for which no rate is known here."""
    share_blanks = values.blanks(
        "oprt_dtl_dtime tr_mket_name natn_kor_name mgge_qty loan_rmnd prdt_type_cd ldng_cblc_qty"
    )
    total_blanks = values.blanks(
        "wcrc_evlu_amt_smtl frcr_cblc_wcrc_evlu_amt_smtl tot_ldng_evlu_amt"
    )
    return {
        "output1": [{**share_blanks, **write(share)} for share in shares],
        "output2": [write(currency) for currency in currencies],
        "output3": {**total_blanks, **write(KeptTotal())},
    }


def parse_kept(body: Mapping[str, Any]) -> KeptBalance:
    """Read a balance by execution or by settlement in full; paper fills only the total."""
    totals = values.rows(body.get("output3"))
    return KeptBalance(
        shares=tuple(
            read(KeptShare, row) for row in values.rows(body.get("output1")) if row.get("pdno")
        ),
        currencies=tuple(
            read(KeptCurrency, row)
            for row in values.rows(body.get("output2"))
            if row.get("crcy_cd")
        ),
        total=read(KeptTotal, totals[0]) if totals else None,
    )


def _dollars6(minor: int) -> str:
    return values.from_minor(minor, _US) + "00"
