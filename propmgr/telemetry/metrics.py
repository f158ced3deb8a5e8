"""Figures for Prometheus. Decides their names and labels; a label never carries a person or an organisation's name."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("propmgr_http_requests_total", "Requests answered.", ["endpoint", "method", "status"])
REQUEST_SECONDS = Histogram(
    "propmgr_http_request_seconds",
    "Time to answer a request.",
    ["endpoint"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.15, 0.3, 0.6, 1.0, 2.5, 5.0, 10.0),
)
JOB_RUNS = Counter("propmgr_job_runs_total", "Job runs that ended.", ["job", "status"])
POLL_FAILURES = Counter("propmgr_poll_failures_total", "Polls of the worker that raised.", ["poll"])
MESSAGES = Counter("propmgr_messages_total", "Delivery attempts.", ["channel", "outcome"])
MESSAGES_DUE = Gauge("propmgr_messages_due", "Messages waiting to be delivered.", multiprocess_mode="max")
SEALS = Counter("propmgr_audit_seals_total", "Links added to audit chains.")
VIOLATIONS = Gauge("propmgr_check_violations", "Violations at the last check.", ["check"], multiprocess_mode="max")
