"""The one decision and the one engine, shared by every environment."""
