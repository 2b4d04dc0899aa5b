"""Do gates stop what is wrong, and only that? Planted faults and false alarms, on real flights.

    python benchmarks/gates.py [--days 60] [--workspace DIR]

False alarms: sixty daily runs in a row, from files to a published version, on flights as they were. Each knows what was known
that morning, is judged against the live version, and is published if its gates let it; a day on which a gate stops it is a false
alarm, for nothing is wrong with the data. The search is small (one window, the declared model with fewer trees), since gates are
what is measured. Planted: the faults of tests/support/planted.py, each into one run of its own, and beside them a control: the
champion's recipe on the next morning, which has to pass. A fault is caught when its own gate fails and names what was planted.

Prints one JSON object; a line per day goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.planted import FAULTS, Bench, copied, open_bench, stopped_by  # noqa: E402  # the faults that the tests plant, and no others

from batch_scoring.domain import Manifest  # noqa: E402
from batch_scoring.errors import GateFailed  # noqa: E402
from batch_scoring.store import Store, versions  # noqa: E402
from pipelines.run import plan_run  # noqa: E402
from pipelines.steps import run_all  # noqa: E402

FIRST = date(2013, 5, 1)


def run(days: int = 60, workspace: Path | None = None) -> dict[str, Any]:
    """False alarms over so many daily runs, and what becomes of every planted fault.

    Returns:
        ``planted``, ``caught`` (counts), ``false_alarm_rate`` (share of days), ``reasons`` (days per gate that stopped one),
        ``warnings`` (the same of gates that only warn), ``highest`` (per gate, the highest quantiles of what it observed),
        ``faults`` (per fault: whether its gate caught it, and all that failed), ``control_passed``, ``seconds``.
    """
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        bench = open_bench(workspace or Path(scratch) / "workspace")
        quiet = false_alarms(bench, days, Path(scratch) / "store")
        faults, control = plant_all(bench, Path(scratch))
    return {
        "days": days,
        "planted": len(faults),
        "caught": sum(fault["caught"] for fault in faults.values()),
        **quiet,
        "faults": faults,
        "control_passed": control,
        "seconds": round(time.perf_counter() - begun, 1),
    }


def false_alarms(bench: Bench, days: int, store: Path) -> dict[str, Any]:
    settings = bench.settings.model_copy(update={"store": store})
    bench = replace(bench, product=replace(bench.product, table=replace(bench.product.table, windows=(60,))))
    stopped: Counter[str] = Counter()
    warned: Counter[str] = Counter()
    seen: dict[str, list[float]] = {}
    alarms = 0
    for number in range(days):
        day = FIRST + timedelta(days=number)
        manifest = one_day(bench, settings, day)
        stops = [gate.gate for gate in manifest.draft.gates if gate.stops]
        warns = [gate.gate for gate in manifest.draft.gates if gate.verdict == "warn"]
        alarms += bool(stops)
        stopped.update(stops)
        warned.update(warns)
        for gate in manifest.draft.gates:
            if gate.observed is not None:
                seen.setdefault(gate.gate, []).append(gate.observed)
        print(f"{day}  {'stopped by ' + ', '.join(stops) if stops else 'published'}"
              f"{'; warned: ' + ', '.join(warns) if warns else ''}", file=sys.stderr, flush=True)  # fmt: skip
    return {
        "false_alarm_rate": round(alarms / days, 4) if days else 0.0,
        "reasons": dict(stopped),
        "warnings": dict(warned),
        "highest": {gate: [round(value, 4) for value in sorted(values)[-3:]] for gate, values in seen.items()},
        "lowest": {gate: [round(value, 4) for value in sorted(values)[:3]] for gate, values in seen.items()},
    }


def one_day(bench: Bench, settings: Any, day: date) -> Manifest:
    planned = plan_run(bench.product, settings, day, reason="benchmark")
    try:
        return run_all(planned, bench.source, clock=lambda: datetime.now(UTC))[0]
    except GateFailed:
        return versions(Store(root=settings.store), bench.product.table.name)[-1]


def plant_all(bench: Bench, scratch: Path) -> tuple[dict[str, dict[str, Any]], bool]:
    """What becomes of every fault, and whether the control passes."""
    champion = bench.champion(scratch / "champion")
    found: dict[str, dict[str, Any]] = {}
    for fault in FAULTS:
        failed = fault.failed_gates(bench, champion, scratch / fault.name)
        found[fault.name] = {"gate": fault.gate, "caught": fault.is_caught(failed), "failed": sorted(failed)}
        shutil.rmtree(scratch / fault.name, ignore_errors=True)
        print(f"{fault.name}: {', '.join(sorted(failed)) or 'passed'}", file=sys.stderr, flush=True)
    stops = stopped_by(bench, champion, scratch / "control", copied)
    print(f"control, a champion copied: {', '.join(sorted(stops)) or 'passed'}", file=sys.stderr, flush=True)
    return found, not stops


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--workspace", type=Path, default=None, help="keep ingested data and features here")
    given = parser.parse_args()
    print(json.dumps(run(given.days, given.workspace)))


if __name__ == "__main__":
    main()
