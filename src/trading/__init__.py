"""Fully automatic trading of Korean and US shares through the KIS OpenAPI."""

__version__ = "0.1.0"
