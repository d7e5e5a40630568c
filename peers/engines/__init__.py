"""Backtesters of others, each driven by one module; runs in their environments, not in ours."""
