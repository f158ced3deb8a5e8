"""propmgr: the software with which property companies keep renovated old neighbourhoods alive.

This page imports nothing. The floors of the house are in docs/tour.md and held by import-linter (pyproject.toml).
"""
