"""Replaying history through the one engine."""
