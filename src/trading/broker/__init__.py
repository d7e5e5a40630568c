"""The KIS client: the only place with sockets to the broker. It translates and never thinks."""
