"""An XGBoost model as the kernel wants it: parsed from UBJSON, laid out once, explained as often as asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from batch_scoring.errors import StoreCorrupt
from explain.ubjson import read_ubjson

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FLOAT32_NODES = 8  # deeper trees multiply so many small shares that float32 could underflow
_building = Lock()


class Unsupported(Exception):  # never leaves this package: the caller takes XGBoost's own method instead
    """A model the kernel cannot explain; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """The trees of one model, ready for :meth:`contributions`.

    Attributes:
        features: columns of the matrix. groups: outputs (classes). expected: mean output of the trees, without the
            model's intercept, float64 ``(groups,)``.
    """

    features: int
    groups: int
    expected: npt.NDArray[np.float64]
    _laid_out: tuple[Any, ...] = field(repr=False)

    def contributions(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Exact contributions to the margin, shape ``(n_rows, groups, features)``. Releases the GIL.

        Raises:
            StoreCorrupt: the matrix has another number of columns than the model has features.
        """
        import numpy as np

        from explain import kernel

        if matrix.shape[1] != self.features:
            raise StoreCorrupt(
                "matrix to explain",
                expected=f"{self.features} features",
                found=f"{matrix.shape[1]}",
                fix="Give the columns the model was trained on.",
            )
        result = np.zeros((matrix.shape[0], self.groups, self.features), dtype=np.float32)
        if matrix.shape[0]:
            kernel.contributions(*(np.ascontiguousarray(matrix, dtype=np.float32), *self._laid_out, result))
        return result


def forest(model: bytes, iterations: tuple[int, int] | None = None) -> Forest:
    """The forest of a UBJSON model; the last few are kept.

    Args:
        iterations: half-open range of boosting rounds, e.g. ``(0, best_iteration + 1)``; None takes all.

    Raises:
        Unsupported: not ``gbtree``, vector leaves, or a split without cover.
        StoreCorrupt: not a model.
    """
    with _building:
        return _forest(model, iterations)


@lru_cache(maxsize=4)
def _forest(model: bytes, iterations: tuple[int, int] | None) -> Forest:
    import numpy as np

    learner = read_ubjson(model)["learner"]
    booster, param = learner["gradient_booster"], learner["learner_model_param"]
    if booster["name"] != "gbtree":
        raise Unsupported(f"booster {booster['name']}")
    gbtree = booster["model"]
    trees, group = gbtree["trees"], np.asarray(gbtree["tree_info"], dtype=np.int32)
    if iterations is not None:
        bounds = np.asarray(gbtree["iteration_indptr"])
        chosen = slice(int(bounds[iterations[0]]), int(bounds[iterations[1]]))
        trees, group = trees[chosen], group[chosen]
    if any(int(tree["tree_param"]["size_leaf_vector"]) > 1 for tree in trees):
        raise Unsupported("trees with vector leaves")
    groups = max(1, int(param["num_class"]), int(param["num_target"]))
    return _lay_out(trees, group, groups, int(param["num_feature"]))


def _lay_out(trees: list[dict[str, Any]], group: npt.NDArray[np.int32], groups: int, features: int) -> Forest:
    import numpy as np

    from explain import kernel

    def joined(name: str, dtype: str) -> npt.NDArray[Any]:
        return np.concatenate([np.empty(0, dtype), *(np.asarray(tree[name], dtype=dtype) for tree in trees)])

    starts = np.concatenate([[0], np.cumsum([len(tree["left_children"]) for tree in trees])]).astype(np.int64)
    left, cover = joined("left_children", "i4"), joined("sum_hessian", "f4")
    if not (cover[left >= 0] > 0).all() or (cover < 0).any():
        raise Unsupported("a split that no training weight reached")
    splits = int((left >= 0).sum())
    where, size, words = _categories(trees, starts, len(left))
    nodes, steps = np.zeros(splits, kernel.NODE), np.zeros((3 * splits, 2), np.int32)
    node_starts, step_starts, base = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64), np.zeros(len(trees))
    _, used, most, depth = kernel.layout(
        starts, left, joined("right_children", "i4"), joined("split_indices", "i4"), joined("split_conditions", "f4"),
        joined("default_left", "u1"), cover, where, size, nodes, node_starts, steps, step_starts, base, splits + 1,
    )  # fmt: skip
    steps = steps[:used].copy()
    leaf_kind = np.zeros(splits, np.int32)
    at_leaves = steps[np.isin(steps[:, 0], (kernel.LEAVES, kernel.ENTER_LEAF))]
    leaf_kind[at_leaves[:, 1]] = at_leaves[:, 0]
    count = max(1, (most + 1) // 2)
    points, weights = np.polynomial.legendre.leggauss(count)
    real = np.zeros(1, np.float32 if count <= _FLOAT32_NODES else np.float64)
    biggest = int(np.diff(node_starts).max(initial=0))
    return Forest(
        features=features,
        groups=groups,
        expected=np.bincount(group, weights=base, minlength=groups).astype(np.float64),
        _laid_out=(
            nodes, node_starts, steps, step_starts, leaf_kind, group, words,
            tuple(((points + 1) / 2).tolist()), tuple((weights / 2).tolist()), depth, biggest, real,
        ),
    )  # fmt: skip


def _categories(
    trees: list[dict[str, Any]], starts: npt.NDArray[np.int64], nodes: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
    """Where each node's set of categories (those that go right) begins in the words, -1 for numbers; its size; the words."""
    import numpy as np

    where, size, words, end = np.full(nodes, -1, np.int32), np.zeros(nodes, np.int32), [np.zeros(1, np.uint32)], 1
    for tree, start in zip(trees, starts, strict=False):
        segments = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
        for node, first, count in segments:
            chosen = tree["categories"][first : first + count].astype(np.int64)
            bits = np.zeros(int(chosen.max(initial=0)) // 32 + 1, np.uint32)
            np.bitwise_or.at(bits, chosen >> 5, np.uint32(1) << (chosen & 31).astype(np.uint32))
            where[start + node], size[start + node] = end, len(bits)
            words.append(bits)
            end += len(bits)
    return where, size, np.concatenate(words)
