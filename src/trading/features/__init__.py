"""Causal functions of the as-of adjusted panel: row ``t`` knows rows up to ``t`` only."""
