"""A Korean account over REST, in both directions: holdings, cash, what may be traded, profit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from trading.domain.instrument import Market
from trading.errors import SchemaError
from trading.wire import values
from trading.wire.accounts import (
    SYMBOL,
    account_fields,
    page_fields,
    parse_account,
    parse_page_request,
)
from trading.wire.fields import DAY, NUMBER, TEXT, WHOLE, WON, kis, read_rows
from trading.wire.records import Balance, BuyingPower, Holding, Page

_KRX = Market.KRX


def balance_request(account: str, page: Page) -> dict[str, str]:
    """Ask for holdings and cash, today's trades included."""
    return {
        **account_fields(account),
        "AFHR_FLPR_YN": "N",
        "OFL_YN": "",
        "INQR_DVSN": "02",
        "UNPR_DVSN": "01",
        "FUND_STTL_ICLD_YN": "N",
        "FNCG_AMT_AUTO_RDPT_YN": "N",
        "PRCS_DVSN": "00",
        **page_fields(page, 100),
    }


def parse_balance_request(params: Mapping[str, Any]) -> tuple[str, Page]:
    """Read the account and the page."""
    return parse_account(values.upper_keys(params)), parse_page_request(params, 100)


def render_balance(balance: Balance, *, every: Sequence[Holding] | None = None) -> dict[str, Any]:
    """Answer one page of holdings with the cash of all; ``every`` are all holdings.

    Prices and costs are as the records say; previous-day figures are blank.
    """
    whole = balance.holdings if every is None else every
    worth = sum(holding.quantity * holding.price for holding in whole)
    paid = sum(holding.cost for holding in whole)
    total = worth + balance.cash_final
    return {
        "output1": [_render_holding(holding) for holding in balance.holdings],
        "output2": [
            {
                "dnca_tot_amt": str(balance.cash),
                "nxdy_excc_amt": str(balance.cash_next),
                "prvs_rcdl_excc_amt": str(balance.cash_final),
                "cma_evlu_amt": "0",
                "bfdy_buy_amt": "",
                "thdt_buy_amt": str(balance.bought_today),
                "nxdy_auto_rdpt_amt": "0",
                "bfdy_sll_amt": "",
                "thdt_sll_amt": str(balance.sold_today),
                "d2_auto_rdpt_amt": "0",
                "bfdy_tlex_amt": "",
                "thdt_tlex_amt": str(balance.costs_today),
                "tot_loan_amt": "0",
                "scts_evlu_amt": str(worth),
                "tot_evlu_amt": str(total),
                "nass_amt": str(total),
                "fncg_gld_auto_rdpt_yn": "",
                "pchs_amt_smtl_amt": str(paid),
                "evlu_amt_smtl_amt": str(worth),
                "evlu_pfls_smtl_amt": str(worth - paid),
                "tot_stln_slng_chgs": "0",
                "bfdy_tot_asst_evlu_amt": "",
                "asst_icdc_amt": "",
                "asst_icdc_erng_rt": "",
            }
        ],
    }


def _render_holding(holding: Holding) -> dict[str, str]:
    worth = holding.quantity * holding.price
    average = holding.cost / holding.quantity if holding.quantity else 0.0
    return {
        "pdno": holding.symbol,
        "prdt_name": holding.name,
        "trad_dvsn_name": "현금",
        "bfdy_buy_qty": "",
        "bfdy_sll_qty": "",
        "thdt_buyqty": str(holding.bought_today),
        "thdt_sll_qty": str(holding.sold_today),
        "hldg_qty": str(holding.quantity),
        "ord_psbl_qty": str(holding.sellable),
        "pchs_avg_pric": f"{average:.4f}",
        "pchs_amt": str(holding.cost),
        "prpr": str(holding.price),
        "evlu_amt": str(worth),
        "evlu_pfls_amt": str(worth - holding.cost),
        "evlu_pfls_rt": values.ratio_text(worth - holding.cost, holding.cost),
        "evlu_erng_rt": "0.00000000",
        "loan_dt": "",
        "loan_amt": "0",
        "stln_slng_chgs": "0",
        "expd_dt": "",
        "fltt_rt": "",
        "bfdy_cprs_icdc": "",
        "item_mgna_rt_name": "",
        "grta_rt_name": "",
        "sbst_pric": "",
        "stck_loan_unpr": "0.0000",
    }


def parse_balance(body: Mapping[str, Any]) -> Balance:
    """Read holdings and cash; sold-out positions, which stay listed until D+2, are dropped."""
    holdings = []
    for row in values.rows(body.get("output1")):
        values.required(row, "hldg_qty", "pchs_amt")
        quantity = values.integer(row.get("hldg_qty"))
        if not quantity:
            continue
        holdings.append(
            Holding(
                symbol=values.needed(row, "pdno"),
                quantity=quantity,
                sellable=values.integer(row.get("ord_psbl_qty")),
                cost=values.to_minor_rounded(row.get("pchs_amt"), _KRX),
                price=values.to_minor(row.get("prpr"), _KRX),
                name=str(row.get("prdt_name", "")),
                bought_today=values.integer(row.get("thdt_buyqty")),
                sold_today=values.integer(row.get("thdt_sll_qty")),
            )
        )
    sums = values.rows(body.get("output2"))
    if not sums:
        raise SchemaError("잔고 응답에 예수금 없음")
    cash = sums[0]
    values.required(cash, "dnca_tot_amt", "prvs_rcdl_excc_amt")
    return Balance(
        holdings=tuple(holdings),
        cash=values.to_minor(cash.get("dnca_tot_amt"), _KRX),
        cash_next=values.to_minor(cash.get("nxdy_excc_amt"), _KRX),
        cash_final=values.to_minor(cash.get("prvs_rcdl_excc_amt"), _KRX),
        bought_today=values.to_minor(cash.get("thdt_buy_amt"), _KRX),
        sold_today=values.to_minor(cash.get("thdt_sll_amt"), _KRX),
        costs_today=values.to_minor(cash.get("thdt_tlex_amt"), _KRX),
    )


def buying_power_request(account: str, symbol: str = "", limit: int = 0) -> dict[str, str]:
    """Ask what may be spent; without a symbol the amount alone is answered."""
    return {
        **account_fields(account),
        "PDNO": symbol,
        "ORD_UNPR": str(limit) if limit else "",
        # With 00 the margin rate of the symbol would not be applied to the quantity.
        "ORD_DVSN": "01" if not limit else "00",
        "CMA_EVLU_AMT_ICLD_YN": "N",
        "OVRS_ICLD_YN": "N",
    }


def parse_buying_power_request(params: Mapping[str, Any]) -> tuple[str, str, int]:
    """Read account, symbol and price; blank and 0 when not given."""
    fields = values.upper_keys(params)
    values.required(fields, "PDNO", "ORD_UNPR")
    return (
        parse_account(fields),
        fields["PDNO"].strip(),
        values.to_minor(fields["ORD_UNPR"], _KRX),
    )


def render_buying_power(power: BuyingPower) -> dict[str, Any]:
    """Answer what may be spent; without credit the maximum is the amount without margin."""
    return {
        "output": {
            "ord_psbl_cash": str(power.amount),
            "ord_psbl_sbst": "0",
            "ruse_psbl_amt": "0",
            "fund_rpch_chgs": "0",
            "psbl_qty_calc_unpr": str(power.price),
            "nrcvb_buy_amt": str(power.amount),
            "nrcvb_buy_qty": str(power.quantity),
            "max_buy_amt": str(power.amount),
            "max_buy_qty": str(power.quantity),
            "cma_evlu_amt": "0",
            "ovrs_re_use_amt_wcrc": "0",
            "ord_psbl_frcr_amt_wcrc": "0",
        }
    }


def parse_buying_power(body: Mapping[str, Any]) -> BuyingPower:
    """Read what may be spent without credit (미수)."""
    output = values.first_row(body.get("output"))
    values.required(output, "nrcvb_buy_amt")
    return BuyingPower(
        amount=values.to_minor(output.get("nrcvb_buy_amt"), _KRX),
        quantity=values.integer(output.get("nrcvb_buy_qty")),
        price=values.to_minor(output.get("psbl_qty_calc_unpr"), _KRX),
    )


# --- sellable, profit, assets: rows that are read as they stand --------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sellable:
    """How much of one holding may be sold now."""

    symbol: str = kis("pdno", TEXT, required=True)
    name: str | None = kis("prdt_name", TEXT)
    quantity: int = kis("ord_psbl_qty", WHOLE, required=True)
    held: int | None = kis("cblc_qty", WHOLE)
    bought: int | None = kis("buy_qty", WHOLE)
    sold: int | None = kis("sll_qty", WHOLE)
    average_price: Decimal | None = kis("pchs_avg_pric", NUMBER)
    price: int | None = kis("now_pric", WON)
    worth: int | None = kis("evlu_amt", WON)
    profit: int | None = kis("evlu_pfls_amt", WON)
    profit_percent: Decimal | None = kis("evlu_pfls_rt", NUMBER)


def sellable_request(account: str, symbol: str) -> dict[str, str]:
    """Ask how much of ``symbol`` may be sold."""
    return {**account_fields(account), "PDNO": symbol}


def parse_sellable_request(params: Mapping[str, Any]) -> tuple[str, str]:
    """Read account and symbol."""
    fields = values.upper_keys(params)
    values.required(fields, "PDNO")
    return parse_account(fields), fields["PDNO"].strip()


def parse_sellable(body: Mapping[str, Any]) -> Sellable | None:
    """Read the answer, whose output has been seen under both names; ``None`` when empty."""
    found = read_rows(Sellable, body.get("output") or body.get("output1"))
    return found[0] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RealizedHolding:
    """One holding beside what it would bring; sold-out ones are listed until they settle."""

    symbol: str = kis("pdno", TEXT, required=True)
    name: str | None = kis("prdt_name", TEXT)
    quantity: int = kis("hldg_qty", WHOLE, required=True)
    sellable: int | None = kis("ord_psbl_qty", WHOLE)
    bought_today: int | None = kis("thdt_buyqty", WHOLE)
    sold_today: int | None = kis("thdt_sll_qty", WHOLE)
    average_price: Decimal | None = kis("pchs_avg_pric", NUMBER)
    cost: int | None = kis("pchs_amt", WON)
    price: int | None = kis("prpr", WON)
    worth: int | None = kis("evlu_amt", WON)
    profit: int | None = kis("evlu_pfls_amt", WON)
    profit_percent: Decimal | None = kis("evlu_pfls_rt", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealizedSums:
    """Cash by settlement, worth, and the profit that was realized and that is still open."""

    cash: int = kis("dnca_tot_amt", WON, required=True)
    cash_next: int | None = kis("nxdy_excc_amt", WON)
    cash_final: int | None = kis("prvs_rcdl_excc_amt", WON)
    bought_today: int | None = kis("thdt_buy_amt", WON)
    sold_today: int | None = kis("thdt_sll_amt", WON)
    costs_today: int | None = kis("thdt_tlex_amt", WON)
    worth: int | None = kis("scts_evlu_amt", WON)
    total: int | None = kis("tot_evlu_amt", WON)
    cost: int | None = kis("pchs_amt_smtl_amt", WON)
    open_profit: int | None = kis("evlu_pfls_smtl_amt", WON)
    realized: int | None = kis("rlzt_pfls", WON)
    realized_percent: Decimal | None = kis("rlzt_erng_rt", NUMBER)
    actual_profit: int | None = kis("real_evlu_pfls", WON)
    actual_profit_percent: Decimal | None = kis("real_evlu_pfls_erng_rt", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealizedProfit:
    """All holdings with the sums of the account."""

    sums: RealizedSums
    holdings: tuple[RealizedHolding, ...] = ()


def realized_request(account: str, page: Page) -> dict[str, str]:
    """Ask for holdings and realized profit, costs included."""
    return {**balance_request(account, page), "INQR_DVSN": "00", "COST_ICLD_YN": "Y"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetClass:
    """What one class of assets is worth; KIS names a class by its place in the list alone."""

    cost: int | None = kis("pchs_amt", WON)
    worth: int | None = kis("evlu_amt", WON)
    profit: int | None = kis("evlu_pfls_amt", WON)
    loan: int | None = kis("crdt_lnd_amt", WON)
    net: int | None = kis("real_nass_amt", WON)
    share_percent: Decimal | None = kis("whol_weit_rt", NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetSums:
    """The whole of an account's assets in won."""

    cost: int | None = kis("pchs_amt_smtl", WON)
    net: int | None = kis("nass_tot_amt", WON)
    loans: int | None = kis("loan_amt_smtl", WON)
    profit: int | None = kis("evlu_pfls_amt_smtl", WON)
    worth: int | None = kis("evlu_amt_smtl", WON)
    total: int | None = kis("tot_asst_amt", WON)
    cash: int | None = kis("dncl_amt", WON)
    deposits: int | None = kis("tot_dncl_amt", WON)
    foreign_currency: int | None = kis("frcr_evlu_tota", WON)
    foreign_shares: Decimal | None = kis("ovrs_stck_evlu_amt1", NUMBER)
    unpaid_today: int | None = kis("thdt_rcvb_amt", WON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """Classes of assets in KIS's order, and their sums."""

    sums: AssetSums
    classes: tuple[AssetClass, ...] = ()


def assets_request(account: str) -> dict[str, str]:
    """Ask what the account is worth."""
    return {**account_fields(account), "INQR_DVSN_1": "", "BSPR_BF_DT_APLY_YN": ""}


def parse_assets(body: Mapping[str, Any]) -> Assets:
    """Read the answer; the outputs' names have been seen in both cases."""
    sums = read_rows(AssetSums, body.get("output2") or body.get("Output2"))
    return Assets(
        sums=sums[0] if sums else AssetSums(),
        classes=read_rows(AssetClass, body.get("output1") or body.get("Output1")),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfitDay:
    """What was traded and realized on one day."""

    session: date = kis("trad_dt", DAY, required=True)
    bought: int | None = kis("buy_amt", WON)
    sold: int | None = kis("sll_amt", WON)
    realized: int | None = kis("rlzt_pfls", WON)
    commission: int | None = kis("fee", WON)
    tax: int | None = kis("tl_tax", WON)
    interest: int | None = kis("loan_int", WON)
    percent: Decimal | None = kis("pfls_rt", NUMBER)
    bought_quantity: int | None = kis("buy_qty1", WHOLE)
    sold_quantity: int | None = kis("sll_qty1", WHOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfitTrade:
    """What was traded and realized in one share on one day."""

    session: date = kis("trad_dt", DAY, required=True)
    symbol: str = kis("pdno", SYMBOL, required=True)
    name: str | None = kis("prdt_name", TEXT)
    held: int | None = kis("hldg_qty", WHOLE)
    purchase_price: Decimal | None = kis("pchs_unpr", NUMBER)
    bought_quantity: int | None = kis("buy_qty", WHOLE)
    bought: int | None = kis("buy_amt", WON)
    sale_price: Decimal | None = kis("sll_pric", NUMBER)
    sold_quantity: int | None = kis("sll_qty", WHOLE)
    sold: int | None = kis("sll_amt", WON)
    realized: int | None = kis("rlzt_pfls", WON)
    percent: Decimal | None = kis("pfls_rt", NUMBER)
    commission: int | None = kis("fee", WON)
    tax: int | None = kis("tl_tax", WON)
    interest: int | None = kis("loan_int", WON)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfitSums:
    """The sums of a period."""

    sold_quantity: int | None = kis("sll_qty_smtl", WHOLE)
    sold: int | None = kis("sll_tr_amt_smtl", WON)
    sale_commission: int | None = kis("sll_fee_smtl", WON)
    sale_tax: int | None = kis("sll_tltx_smtl", WON)
    bought: int | None = kis("buy_tr_amt_smtl", WON)
    purchase_commission: int | None = kis("buy_fee_smtl", WON)
    commission: int | None = kis("tot_fee", WON)
    tax: int | None = kis("tot_tltx", WON)
    realized: int | None = kis("tot_rlzt_pfls", WON)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodProfit:
    """The days of a period, newest first, with their sums as the venue tells them."""

    sums: ProfitSums
    days: tuple[ProfitDay, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeProfit:
    """The trades of a period, newest first, with their sums as the venue tells them."""

    sums: ProfitSums
    trades: tuple[ProfitTrade, ...] = ()


def period_profit_request(account: str, first: date, last: date, page: Page) -> dict[str, str]:
    """Ask what every day of a period brought."""
    return {**trade_profit_request(account, first, last, page), "INQR_DVSN": "00"}


def trade_profit_request(account: str, first: date, last: date, page: Page) -> dict[str, str]:
    """Ask what every trade of a period brought."""
    return {
        **account_fields(account),
        "PDNO": "",
        "INQR_STRT_DT": values.day_text(first),
        "INQR_END_DT": values.day_text(last),
        "SORT_DVSN": "00",
        "CBLC_DVSN": "00",
        **page_fields(page, 100),
    }


def parse_profit_request(params: Mapping[str, Any]) -> tuple[str, date, date, bool, Page]:
    """Read account, first and last day, whether the newest come first, and the page."""
    fields = values.upper_keys(params)
    values.required(fields, "INQR_STRT_DT", "INQR_END_DT")
    return (
        parse_account(fields),
        values.day(fields["INQR_STRT_DT"]),
        values.day(fields["INQR_END_DT"]),
        fields.get("SORT_DVSN", "00") != "01",
        parse_page_request(params, 100),
    )
