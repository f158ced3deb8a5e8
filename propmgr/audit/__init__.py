"""Audit 审计日志: who did what, when, to which record; append-only and sealed into a hash chain.

审计记录 audit_record (one row an act) · 封存 audit_seal (one link of an organisation's chain, made every minute)
Heads of the chains are also kept outside the database (heads.py), because a chain alone cannot show that its tail was
cut off. Callers: every command (`commands.record`), the worker (`jobs.seal_all`), checks, backup.
"""
