"""Kernel: pure Python that every room may use: errors, who acts, the clock's one reader, crash points for tests.

Tables: none. Callers: everyone. Imports nothing of the house.
"""
