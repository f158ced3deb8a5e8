"""Telemetry: what the house says of itself to its operators: JSON logs and Prometheus figures, without people in them.

logs.py · metrics.py. Callers: any room may count and log. Imports nothing here.
"""
