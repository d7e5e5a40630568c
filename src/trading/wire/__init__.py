"""KIS text to and from domain values, pure; the broker and the local exchange share it."""
