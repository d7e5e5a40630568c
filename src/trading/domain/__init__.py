"""Values of the trading domain; immutable, without I/O."""
