"""Watching the program at work: what should have happened, what leaks, what is shown."""
