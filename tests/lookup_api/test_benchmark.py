"""The benchmark runs, and counts every answer that is not what it asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "lookup.py"


def test_the_benchmark_prints_one_json_object_and_nothing_failed() -> None:
    options = ["--entities", "500", "--connections", "4", "--seconds", "0.3"]
    result = subprocess.run([sys.executable, str(BENCHMARK), *options], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures["summary"]["failed"] == 0
    assert figures["entities"] == 500
    for kind in ("floor", "single", "batch"):
        assert figures[kind]["requests"] > 0
        assert 0 < figures[kind]["p50_ms"] <= figures[kind]["p99_ms"]
