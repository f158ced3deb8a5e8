"""Every benchmark runs, at a small size, and ends with its line of JSON. How fast it was is nobody's test."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from propmgr.config import PROJECT

SMALL = {"units_of_work": "20", "audit_seal": "20000", "load_divisions": None}
FIELDS = {"name", "seconds", "floor_seconds", "ratio", "rows", "peak_mb"}


def test_every_benchmark_ends_with_its_result():
    """One after another: they share a database of their own."""
    scripts = {path.stem for path in (PROJECT / "benchmarks").glob("*.py")} - {"measure"}
    assert scripts == set(SMALL), "a new benchmark says here how it is run small"
    for name, size in SMALL.items():
        done = subprocess.run(
            [sys.executable, f"benchmarks/{name}.py", *([size] if size else [])],
            cwd=PROJECT,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        result = json.loads(done.stdout.splitlines()[-1])
        assert set(result) == FIELDS and result["name"] == name
        assert result["rows"] > 0 and result["ratio"] > 0 and result["floor_seconds"] > 0
