"""How fast contributions are computed, beside XGBoost's own: rows per core-second and the largest difference.

    python benchmarks/shap.py [--thousand] [--million ROWS] [--quick]

Prints one JSON object. A relative difference is that of a value over the row's largest contribution. ``seconds_1m`` is
scaled up if ``--million`` is smaller. shap.TreeExplainer calls XGBoost's own code for such models and woodelf is not
measured, so its figure is null.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

# Run as a script, this file's folder is searched first and would hide the package 'shap'.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from batch_scoring.domain import Column  # noqa: E402 - after the path is mended
from explain.contributions import Explainer  # noqa: E402 - after the path is mended
from explain.forest import forest  # noqa: E402 - after the path is mended

FEATURES = 40
COLUMNS = tuple(Column(name=f"f{number}", type="DOUBLE", role="feature") for number in range(FEATURES))


def made(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((rows, FEATURES), dtype=np.float32)
    matrix[:, -1] = rng.integers(0, 30, rows)
    target = matrix[:, 0] * matrix[:, 1] + np.sin(2 * matrix[:, 2]) + matrix[:, 3:8].sum(axis=1) + (matrix[:, -1] % 3 == 0)
    target += rng.standard_normal(rows, dtype=np.float32)
    matrix[rng.random(matrix.shape, dtype=np.float32) < 0.1] = np.nan
    return matrix, np.nan_to_num(target)


def trained(depth: int, trees: int, *, classes: int = 2, categorical: bool = False) -> tuple[xgb.Booster, list[str]]:
    matrix, target = made(20_000)
    labels = np.digitize(target, np.quantile(target, np.linspace(0, 1, classes + 1)[1:-1]))
    types = ["q"] * (FEATURES - 1) + ["c" if categorical else "q"]
    data = xgb.QuantileDMatrix(
        matrix, labels, feature_names=[c.name for c in COLUMNS], feature_types=types, enable_categorical=True
    )
    task = {"objective": "multi:softprob", "num_class": classes} if classes > 2 else {"objective": "binary:logistic"}
    booster = xgb.train(
        {**task, "max_depth": depth, "eta": 0.1, "max_cat_to_onehot": 1, "nthread": 2},
        data,
        trees // max(1, classes - 1 if classes > 2 else 1),
    )
    booster.set_param({"nthread": 1})
    return booster, types


def cpu(work: Any) -> tuple[float, Any]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def measured(depth: int, trees: int, *, quick: bool, **kind: Any) -> dict[str, Any]:
    booster, types = trained(depth, trees, **kind)
    matrix, _ = made(2048 if quick else 8192, seed=1)
    kernel = forest(bytes(booster.save_raw("ubj")))
    kernel.contributions(matrix[:1])  # compiled and warm
    slow = matrix[: 16 if depth > 6 else 64]
    data = xgb.DMatrix(slow, feature_names=booster.feature_names, feature_types=types, enable_categorical=True)
    theirs, known = cpu(lambda: booster.predict(data, pred_contribs=True))
    ours, values = cpu(lambda: kernel.contributions(matrix))
    known = known.reshape(len(slow), -1, FEATURES + 1)[:, :, :-1]
    difference = np.abs(values[: len(slow)] - known).max(axis=2) / np.abs(known).max(axis=2)
    fast, xgboost = len(matrix) / ours, len(slow) / theirs
    return {
        "depth": depth, "trees": trees, **kind, "rows_per_core_second": round(fast), "xgboost": round(xgboost, 1),
        "woodelf": None, "times_xgboost": round(fast / xgboost, 1), "max_rel_diff": float(difference.max()),
    }  # fmt: skip


def million(rows: int) -> dict[str, Any]:
    booster, _ = trained(6, 300)
    cores = len(os.sched_getaffinity(0))
    explainer = Explainer(model=bytes(booster.save_raw("ubj")), features=COLUMNS, threads=cores)
    explainer.contributions(made(1)[0])
    seconds, part = 0.0, 50_000
    for start in range(0, rows, part):
        matrix, _ = made(min(part, rows - start), seed=start)
        began = time.perf_counter()
        explainer.contributions(matrix)
        seconds += time.perf_counter() - began
    return {"rows": rows, "cores": cores, "seconds": round(seconds, 2), "rows_per_second": round(rows / seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--thousand", action="store_true", help="also 1,000 trees")
    parser.add_argument("--million", type=int, default=1_000_000, metavar="ROWS")
    parser.add_argument("--quick", action="store_true", help="depths 6 and 8 of 300 trees only")
    given = parser.parse_args()
    counts = (300,) if given.quick else (100, 300, 1000) if given.thousand else (100, 300)
    results = [
        measured(depth, trees, quick=given.quick) for depth in ((6, 8) if given.quick else (4, 6, 8, 10)) for trees in counts
    ]
    results.append(measured(6, 100, quick=given.quick, categorical=True))
    results.append(measured(6, 100, quick=given.quick, classes=5))
    whole = million(given.million)

    def times(depth: int) -> float:
        return next(float(r["times_xgboost"]) for r in results if r["depth"] == depth and r["trees"] == 300)

    summary = {
        "vs_xgboost_d6_300": times(6), "vs_xgboost_d8_300": times(8), "vs_woodelf_d6_300": None,
        "max_rel_diff": max(r["max_rel_diff"] for r in results),
        "seconds_1m": round(whole["seconds"] * 1e6 / given.million, 1),
        "rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }  # fmt: skip
    print(json.dumps({"models": results, "million": whole, "summary": summary}))


if __name__ == "__main__":
    main()
