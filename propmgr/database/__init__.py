"""Database: the only room that knows the session.

base.py (tables' base classes) · types.py · tenancy.py (who sees which rows) · unit_of_work.py (one act, one commit) ·
ids.py (id blocks for bulk statements) · locks.py · migration.py (the forms every migration uses) · engines.py ·
embedded.py (our own PostgreSQL) · roles.py (who may log in to it). Callers: every slice. Imports nothing here.
"""
