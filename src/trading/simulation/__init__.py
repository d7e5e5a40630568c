"""How a market answers orders, and what that does to an account; deterministic, compiled."""
