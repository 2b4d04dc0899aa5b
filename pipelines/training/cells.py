"""Recipes on blocks, fitted side by side, each at most once: the work under a search.

A cell is a recipe fitted at a block's cut-off and asked about the block. What it forecasts depends on nothing but the rows it
may see, its parameters and its base, so that it is named by a hash of these: two windows that hold the same rows are fitted
once, and a search that was killed finds in its folder what it had done and goes on to the same end.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from batch_scoring.codec import to_json
from batch_scoring.declare import Label
from pipelines.training.fit import TrainingData, both_classes, fit_matrix, parameters, predict, training_matrix
from pipelines.training.folds import Block, judged_on
from pipelines.training.samples import training_rows

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipelines.training.continuing import Continuation
    from pipelines.training.folds import Mask
    from pipelines.training.recipe import Recipe

    Forecasts = npt.NDArray[np.float64]

_POOL_BYTES = 512 * 2**20
"""Matrices kept for later trials, estimated; the rest are made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A recipe on a block."""

    recipe: Recipe
    block: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A cell that can be fitted: its name, the rows it may see, and a hash of them."""

    cell: Cell
    name: str
    rows: Mask
    rows_hash: str


@dataclass(slots=True, kw_only=True)
class Evaluator:
    """Fits cells and remembers what they forecast.

    Attributes:
        fingerprint: names the training data; part of every cell's name.
        continuation: what warm starts and refreshes stand on; without it such cells cannot be fitted.
        threads: fits at a time; each is single-threaded, so their number changes no result.
        folder: where forecasts are kept, one file per cell; None keeps them in memory.
        fits: models fitted so far, live ones that were stood in for not counted.
    """

    data: TrainingData
    label: Label
    fingerprint: str = ""
    continuation: Continuation | None = None
    threads: int = 1
    folder: Path | None = None
    progress: Callable[[str], None] = lambda _: None
    fits: int = 0
    _kept: dict[str, Forecasts] = field(default_factory=dict)
    _bases: dict[Block, bytes | None] = field(default_factory=dict)
    _idle: dict[str, Any] = field(default_factory=dict)
    _idle_bytes: int = 0
    _lock: Lock = field(default_factory=Lock)

    def forecasts(self, cells: Sequence[Cell]) -> dict[Cell, Forecasts]:
        """What each cell forecasts for its block's rows, in row order. Cells that cannot be fitted are left out."""
        jobs = {cell: job for cell in dict.fromkeys(cells) if (job := self._plan(cell)) is not None}
        named = {job.name: job for job in jobs.values()}
        missing = [job for name, job in named.items() if self._recall(name) is None]
        self.fits += len(missing)
        if missing:
            self._fit_all(missing)
        found = {name: self._recall(name) for name in named}
        return {cell: forecast for cell, job in jobs.items() if (forecast := found[job.name]) is not None}

    def fit(self, cell: Cell) -> bytes | None:
        """The model of a cell; None if it cannot be fitted. Not remembered."""
        job = self._plan(cell)
        return None if job is None else self._fit(job)

    def parameters(self, recipe: Recipe) -> Mapping[str, Any]:
        """XGBoost's parameters of a recipe; a refresh has those of the live model."""
        if recipe.mode == "refresh" and self.continuation is not None:
            return self.continuation.champion.training.params
        return parameters(recipe.model, self.data.task)

    def material(self, recipe: Recipe) -> TrainingData:
        """The training data as the recipe's model sees it: one that goes on from another keeps its codes of categories."""
        going_on = self.continuation if recipe.mode != "scratch" else None
        return self.data if going_on is None else going_on.data

    def train_rows(self, cell: Cell) -> int:
        """Rows that the cell's model is fitted on."""
        return int(training_rows(self.data, self.label, cell.block.cutoff, cell.recipe.window, cell.block).sum())

    def base(self, block: Block) -> bytes | None:
        """The live model's recipe, fitted as long before the block as the live model is old; None if it cannot be."""
        if self.continuation is None:
            return None
        if block not in self._bases:
            self._bases[block] = self._fit_base(self.continuation, block)
        return self._bases[block]

    def _fit_base(self, known_from: Continuation, block: Block) -> bytes | None:
        training = known_from.champion.training
        rows = training_rows(known_from.data, self.label, block.cutoff - known_from.age, training.window, block)
        if not both_classes(known_from.data, rows):
            return None
        matrix = training_matrix(known_from.data, rows)
        return fit_matrix(matrix, training.params, training.rounds)

    def _plan(self, cell: Cell) -> _Job | None:
        recipe, block = cell.recipe, cell.block
        rows = training_rows(self.data, self.label, block.cutoff, recipe.window, block)
        if not both_classes(self.data, rows) or (recipe.mode != "scratch" and self.base(block) is None):
            return None
        rows_hash = hashlib.sha256(np.packbits(rows).tobytes()).hexdigest()
        base = hashlib.sha256(self.base(block) or b"").hexdigest() if recipe.mode != "scratch" else ""
        rounds = 0 if recipe.mode == "refresh" else recipe.model.rounds
        made = [self.parameters(recipe), rounds, recipe.mode, base]
        said = [self.fingerprint, version("xgboost-cpu"), rows_hash, block.first, block.last, block.known_by, *made]
        return _Job(cell=cell, name=hashlib.sha256(to_json(said)).hexdigest()[:32], rows=rows, rows_hash=rows_hash)

    def _fit_all(self, jobs: list[_Job]) -> None:
        """Jobs on the same matrix one after the other on one core, so that they share it; others side by side."""
        groups: dict[str, list[_Job]] = defaultdict(list)
        for job in jobs:
            groups[self._matrix_key(job)].append(job)
        shares = [share for group in groups.values() for share in _dealt(group, self.threads // len(groups))]
        done = 0

        def work(share: list[_Job]) -> None:
            nonlocal done
            for job in share:
                asked = judged_on(self.data.events, self.data.known_at, job.cell.block)
                self._keep(job.name, predict(self._fit(job), self.material(job.cell.recipe), asked))
                with self._lock:
                    done += 1
                    self.progress(f"search {bar(done, len(jobs))} {done} of {len(jobs)} fits")

        with ThreadPoolExecutor(max_workers=self.threads) as pool:  # the dearest first: none is left over at the end
            for _ in pool.map(work, sorted(shares, key=_cost, reverse=True)):
                pass

    def _fit(self, job: _Job) -> bytes:
        recipe, data, key = job.cell.recipe, self.material(job.cell.recipe), self._matrix_key(job)
        matrix = self._take(key)
        if matrix is None:
            matrix = training_matrix(data, job.rows, recipe.mode)
        base = None if recipe.mode == "scratch" else self.base(job.cell.block)
        model = fit_matrix(matrix, self.parameters(recipe), recipe.model.rounds, mode=recipe.mode, base=base)
        self._give_back(key, matrix)
        return model

    def _matrix_key(self, job: _Job) -> str:
        kind = "raw" if job.cell.recipe.mode == "refresh" else "cuts"
        return f"{job.rows_hash} {kind} {'own' if self.material(job.cell.recipe) is self.data else 'aligned'}"

    def _take(self, key: str) -> Any:
        with self._lock:
            matrix = self._idle.pop(key, None)
            if matrix is not None:
                self._idle_bytes -= _size(matrix)
            return matrix

    def _give_back(self, key: str, matrix: Any) -> None:
        with self._lock:
            if key not in self._idle and self._idle_bytes + _size(matrix) <= _POOL_BYTES:
                self._idle[key] = matrix
                self._idle_bytes += _size(matrix)

    def _recall(self, name: str) -> Forecasts | None:
        if self.folder is None:
            return self._kept.get(name)
        try:
            return np.asarray(np.load(self.folder / f"{name}.npy", allow_pickle=False))
        except (OSError, ValueError, EOFError):
            return None

    def _keep(self, name: str, forecasts: Forecasts) -> None:
        if self.folder is None:
            self._kept[name] = forecasts
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"{name}.tmp"
        with unfinished.open("wb") as file:
            np.save(file, forecasts, allow_pickle=False)
        unfinished.replace(self.folder / f"{name}.npy")


def bar(done: int, total: int, width: int = 16) -> str:
    """A progress bar in one line of text."""
    full = width * done // max(total, 1)
    return "━" * full + "╌" * (width - full)


def _dealt(group: list[_Job], hands: int) -> list[list[_Job]]:
    """A group split for as many cores as would have nothing to do otherwise."""
    hands = max(1, min(hands, len(group)))
    return [group[hand::hands] for hand in range(hands)]


def _cost(share: list[_Job]) -> int:
    return sum(int(job.rows.sum()) * job.cell.recipe.model.rounds for job in share)


def _size(matrix: Any) -> int:
    """Bytes of a matrix, estimated: two per value."""
    return int(matrix.num_row()) * int(matrix.num_col()) * 2
