"""Doors to disk: the lake, the ledger, recorded sources, quality and the two panels."""
