"""Kernel: pure Python that every room may use: errors, who acts, signed link tokens, crash points for tests.

Tables: none. Callers: everyone. Imports nothing of the house.
"""
