"""``trading lookahead``: nothing that was decided on a day knew what came later (law 3)."""
