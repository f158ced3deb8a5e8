"""API: answers for machines. health.py (process alive? ready for requests?). Imports nothing here."""
