"""Agents that vote on instruments, and the daily screen."""
