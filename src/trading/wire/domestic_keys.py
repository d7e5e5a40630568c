"""Every key that rows of Korean answers have, for the venue that must send them all.

The records of ``domestic_*`` read what the program needs; other clients read the rest, so what
nothing was recorded for goes out blank. Names and order are those of the official workbook, and
those of the recorded answers that it does not list.
"""

from collections.abc import Mapping
from typing import Any

from trading.wire import values
from trading.wire.domestic_account import (
    AssetClass,
    AssetSums,
    ProfitDay,
    ProfitSums,
    ProfitTrade,
    RealizedHolding,
    RealizedSums,
    Sellable,
)
from trading.wire.domestic_bars import RecentBar
from trading.wire.domestic_company import MarketTime, ProductInfo, StockInfo
from trading.wire.domestic_index import IndexBar, IndexQuote
from trading.wire.domestic_quotes import PriceDetail, RecentTrade, TimedTrade, WatchedPrice
from trading.wire.domestic_rankings import Interruption
from trading.wire.domestic_reserves import ReservedOrder
from trading.wire.fields import write

_KEYS: Mapping[type, str] = {
    PriceDetail: (
        "rprs_mrkt_kor_name new_hgpr_lwpr_cls_code mxpr_llam_cls_code crdt_able_yn stck_mxpr "
        "elw_pblc_yn prdy_clpr_vrss_oprc_rate crdt_rate marg_rate lwpr_vrss_prpr "
        "lwpr_vrss_prpr_sign prdy_clpr_vrss_lwpr_rate stck_lwpr hgpr_vrss_prpr "
        "hgpr_vrss_prpr_sign prdy_clpr_vrss_hgpr_rate stck_hgpr oprc_vrss_prpr "
        "oprc_vrss_prpr_sign mang_issu_yn divi_app_cls_code short_over_yn mrkt_warn_cls_code "
        "invt_caful_yn stange_runup_yn ssts_hot_yn low_current_yn vi_cls_code short_over_cls_code "
        "stck_llam new_lstn_cls_name vlnt_deal_cls_name flng_cls_name revl_issu_reas_name "
        "mrkt_warn_cls_name stck_sdpr bstp_cls_code stck_prdy_clpr insn_pbnt_yn fcam_mod_cls_name "
        "stck_prpr prdy_vrss prdy_vrss_sign prdy_ctrt acml_tr_pbmn acml_vol prdy_vrss_vol_rate "
        "bstp_kor_isnm sltr_yn trht_yn oprc_rang_cont_yn vlnt_fin_cls_code stck_oprc prdy_vol"
    ),
    RecentTrade: ("stck_cntg_hour stck_prpr prdy_vrss prdy_vrss_sign cntg_vol tday_rltv prdy_ctrt"),
    TimedTrade: (
        "stck_cntg_hour stck_pbpr prdy_vrss prdy_vrss_sign prdy_ctrt askp bidp tday_rltv acml_vol "
        "cnqn"
    ),
    WatchedPrice: (
        "kospi_kosdaq_cls_name mrkt_trtm_cls_name hour_cls_code inter_shrn_iscd inter_kor_isnm "
        "inter2_prpr inter2_prdy_vrss prdy_vrss_sign prdy_ctrt acml_vol inter2_oprc inter2_hgpr "
        "inter2_lwpr inter2_llam inter2_mxpr inter2_askp inter2_bidp seln_rsqn shnu_rsqn "
        "total_askp_rsqn total_bidp_rsqn acml_tr_pbmn inter2_prdy_clpr oprc_vrss_hgpr_rate "
        "intr_antc_cntg_vrss intr_antc_cntg_vrss_sign intr_antc_cntg_prdy_ctrt intr_antc_vol "
        "inter2_sdpr"
    ),
    RecentBar: (
        "stck_bsop_date stck_oprc stck_hgpr stck_lwpr stck_clpr acml_vol prdy_vrss_vol_rate "
        "prdy_vrss prdy_vrss_sign prdy_ctrt hts_frgn_ehrt frgn_ntby_qty flng_cls_code "
        "acml_prtt_rate"
    ),
    IndexQuote: (
        "bstp_nmix_prpr bstp_nmix_prdy_vrss prdy_vrss_sign bstp_nmix_prdy_ctrt acml_vol prdy_vol "
        "acml_tr_pbmn prdy_tr_pbmn bstp_nmix_oprc prdy_nmix_vrss_nmix_oprc oprc_vrss_prpr_sign "
        "bstp_nmix_oprc_prdy_ctrt bstp_nmix_hgpr prdy_nmix_vrss_nmix_hgpr hgpr_vrss_prpr_sign "
        "bstp_nmix_hgpr_prdy_ctrt bstp_nmix_lwpr prdy_clpr_vrss_lwpr lwpr_vrss_prpr_sign "
        "prdy_clpr_vrss_lwpr_rate ascn_issu_cnt uplm_issu_cnt stnr_issu_cnt down_issu_cnt "
        "lslm_issu_cnt dryy_bstp_nmix_hgpr dryy_hgpr_vrss_prpr_rate dryy_bstp_nmix_hgpr_date "
        "dryy_bstp_nmix_lwpr dryy_lwpr_vrss_prpr_rate dryy_bstp_nmix_lwpr_date total_askp_rsqn "
        "total_bidp_rsqn seln_rsqn_rate shnu_rsqn_rate ntby_rsqn"
    ),
    IndexBar: (
        "stck_bsop_date bstp_nmix_prpr prdy_vrss_sign bstp_nmix_prdy_vrss bstp_nmix_prdy_ctrt "
        "bstp_nmix_oprc bstp_nmix_hgpr bstp_nmix_lwpr acml_vol_rlim acml_vol acml_tr_pbmn "
        "invt_new_psdg d20_dsrt"
    ),
    Interruption: (
        "hts_kor_isnm mksc_shrn_iscd vi_cls_code bsop_date cntg_vi_hour vi_cncl_hour vi_kind_code "
        "vi_prc vi_stnd_prc vi_dprt vi_dmc_stnd_prc vi_dmc_dprt vi_count"
    ),
    StockInfo: (
        "pdno prdt_type_cd mket_id_cd scty_grp_id_cd excg_dvsn_cd setl_mmdd lstg_stqt "
        "lstg_cptl_amt cpta papr issu_pric kospi200_item_yn scts_mket_lstg_dt "
        "scts_mket_lstg_abol_dt kosdaq_mket_lstg_dt kosdaq_mket_lstg_abol_dt frbd_mket_lstg_dt "
        "frbd_mket_lstg_abol_dt reits_kind_cd etf_dvsn_cd oilf_fund_yn idx_bztp_lcls_cd "
        "idx_bztp_mcls_cd idx_bztp_scls_cd stck_kind_cd mfnd_opng_dt mfnd_end_dt "
        "dpsi_erlm_cncl_dt etf_cu_qty prdt_name prdt_name120 prdt_abrv_name std_pdno "
        "prdt_eng_name prdt_eng_name120 prdt_eng_abrv_name dpsi_aptm_erlm_yn etf_txtn_type_cd "
        "etf_type_cd lstg_abol_dt nwst_odst_dvsn_cd sbst_pric thco_sbst_pric "
        "thco_sbst_pric_chng_dt tr_stop_yn admn_item_yn thdt_clpr bfdy_clpr clpr_chng_dt "
        "std_idst_clsf_cd std_idst_clsf_cd_name idx_bztp_lcls_cd_name idx_bztp_mcls_cd_name "
        "idx_bztp_scls_cd_name ocr_no crfd_item_yn elec_scty_yn issu_istt_cd "
        "etf_chas_erng_rt_dbnb etf_etn_ivst_heed_item_yn stln_int_rt_dvsn_cd frnr_psnl_lmt_rt "
        "lstg_rqsr_issu_istt_cd lstg_rqsr_item_cd trst_istt_issu_istt_cd cptt_trad_tr_psbl_yn "
        "nxt_tr_stop_yn"
    ),
    ProductInfo: (
        "pdno prdt_type_cd prdt_name prdt_name120 prdt_abrv_name prdt_eng_name prdt_eng_name120 "
        "prdt_eng_abrv_name std_pdno shtn_pdno prdt_sale_stat_cd prdt_risk_grad_cd prdt_clsf_cd "
        "prdt_clsf_name sale_strt_dt sale_end_dt wrap_asst_type_cd ivst_prdt_type_cd "
        "ivst_prdt_type_cd_name frst_erlm_dt"
    ),
    MarketTime: ("date1 date2 date3 date4 date5 today time s_time e_time"),
    Sellable: (
        "pdno prdt_name buy_qty sll_qty cblc_qty nsvg_qty ord_psbl_qty pchs_avg_pric pchs_amt "
        "now_pric evlu_amt evlu_pfls_amt evlu_pfls_rt"
    ),
    RealizedHolding: (
        "pdno prdt_name trad_dvsn_name bfdy_buy_qty bfdy_sll_qty thdt_buyqty thdt_sll_qty "
        "hldg_qty ord_psbl_qty pchs_avg_pric pchs_amt prpr evlu_amt evlu_pfls_amt evlu_pfls_rt "
        "evlu_erng_rt loan_dt loan_amt stln_slng_chgs expd_dt stck_loan_unpr bfdy_cprs_icdc "
        "fltt_rt"
    ),
    RealizedSums: (
        "dnca_tot_amt nxdy_excc_amt prvs_rcdl_excc_amt cma_evlu_amt bfdy_buy_amt thdt_buy_amt "
        "nxdy_auto_rdpt_amt bfdy_sll_amt thdt_sll_amt d2_auto_rdpt_amt bfdy_tlex_amt "
        "thdt_tlex_amt tot_loan_amt scts_evlu_amt tot_evlu_amt nass_amt fncg_gld_auto_rdpt_yn "
        "pchs_amt_smtl_amt evlu_amt_smtl_amt evlu_pfls_smtl_amt tot_stln_slng_chgs "
        "bfdy_tot_asst_evlu_amt asst_icdc_amt asst_icdc_erng_rt rlzt_pfls rlzt_erng_rt "
        "real_evlu_pfls real_evlu_pfls_erng_rt"
    ),
    AssetClass: ("pchs_amt evlu_amt evlu_pfls_amt crdt_lnd_amt real_nass_amt whol_weit_rt"),
    AssetSums: (
        "pchs_amt_smtl nass_tot_amt loan_amt_smtl evlu_pfls_amt_smtl evlu_amt_smtl tot_asst_amt "
        "tot_lnda_tot_ulst_lnda cma_auto_loan_amt tot_mgln_amt stln_evlu_amt crdt_fncg_amt "
        "ocl_apl_loan_amt pldg_stup_amt frcr_evlu_tota tot_dncl_amt cma_evlu_amt dncl_amt "
        "tot_sbst_amt thdt_rcvb_amt ovrs_stck_evlu_amt1 ovrs_bond_evlu_amt mmf_cma_mgge_loan_amt "
        "sbsc_dncl_amt pbst_sbsc_fnds_loan_use_amt etpr_crdt_grnt_loan_amt"
    ),
    ProfitDay: ("trad_dt buy_amt sll_amt rlzt_pfls fee loan_int tl_tax pfls_rt sll_qty1 buy_qty1"),
    ProfitTrade: (
        "trad_dt pdno prdt_name trad_dvsn_name loan_dt hldg_qty pchs_unpr buy_qty buy_amt "
        "sll_pric sll_qty sll_amt rlzt_pfls pfls_rt fee tl_tax loan_int"
    ),
    ProfitSums: (
        "sll_qty_smtl sll_tr_amt_smtl sll_fee_smtl sll_tltx_smtl sll_excc_amt_smtl buy_qty_smtl "
        "buy_tr_amt_smtl buy_fee_smtl buy_tax_smtl buy_excc_amt_smtl tot_qty tot_tr_amt tot_fee "
        "tot_tltx tot_excc_amt tot_rlzt_pfls loan_int buyqty_smtl tot_pftrt"
    ),
    ReservedOrder: (
        "rsvn_ord_seq rsvn_ord_ord_dt rsvn_ord_rcit_dt pdno ord_dvsn_cd ord_rsvn_qty tot_ccld_qty "
        "cncl_ord_dt ord_tmd ctac_tlno rjct_rson2 odno rsvn_ord_rcit_tmd kor_item_shtn_name "
        "sll_buy_dvsn_cd ord_rsvn_unpr tot_ccld_amt loan_dt cncl_rcit_tmd prcs_rslt ord_dvsn_name "
        "tmnl_mdia_kind_cd rsvn_end_dt"
    ),
}


def whole_row(record: Any) -> dict[str, str]:
    """Write ``record`` with all the keys of its row."""
    return values.blanks(_KEYS[type(record)]) | write(record)
