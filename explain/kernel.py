"""The compiled part: exact path-dependent SHAP by quadrature, many rows side by side.

A leaf with value v is reached by a coalition with the product over its path's features of o (the row meets the feature's
merged conditions: 0 or 1) or z (the share of the cover that does). Its Shapley value for feature i is

    v (o_i - z_i) * integral over y in [0, 1] of  prod_{j != i} (z_j (1 - y) + o_j y)

a polynomial of degree below the number k of features on the path, so ceil(k / 2) Gauss-Legendre nodes give it exactly.
A depth-first walk carries the products down and the sums over leaves up (Yu et al., *Linear TreeSHAP*, 2022, with
quadrature in place of polynomial division). All factors are known per edge and state of the row, so a step is one
multiplication per row and node of the quadrature. Rows are taken ``LANES`` at a time, padded, without fast-math: a row's
bits depend on nothing but the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

_F = TypeVar("_F", bound=Callable[..., Any])

LANES = 256  # rows per step: enough to hide the cost of a step, few enough for the second-level cache
STRIPE = 2048  # rows for which the factors of a tree are made once
FLUSH = 8  # trees summed in the working type before they go to float64
ENTER, SWITCH, FINISH, ENTER_LEAF, LEAVES = range(5)
DEFAULT_LEFT, SWAPPED, CATEGORICAL = 1, 2, 4
UNKNOWN_CATEGORY = 16777216  # from here on XGBoost takes a category for invalid

# One split. a is the child walked first (a leaf if there is one), b the other; z_* are merged over the feature's
# conditions so far; previous is the level of the last split on the same feature (-1: none), side the child taken there.
NODE = np.dtype(
    [
        ("feature", "i4"), ("threshold", "f4"), ("kind", "i4"), ("level", "i4"), ("previous", "i4"), ("side", "i4"),
        ("categories", "i4"), ("words", "i4"), ("z_a", "f8"), ("z_b", "f8"), ("z_previous", "f8"), ("value_a", "f8"),
        ("value_b", "f8"),
    ],
    align=True,
)  # fmt: skip


def _compiled(function: _F) -> _F:
    return cast(_F, numba.njit(nogil=True, error_model="numpy")(function))


def _cached(function: _F) -> _F:
    """Compiled once per machine, beside the source or in the user's cache; every time where neither can be written."""
    try:
        return cast(_F, numba.njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:
        return _compiled(function)


@_cached
def layout(
    starts: Any,
    left: Any,
    right: Any,
    feature: Any,
    threshold: Any,
    default_left: Any,
    cover: Any,
    cat_start: Any,
    cat_words: Any,
    nodes: Any,
    node_starts: Any,
    ops: Any,
    op_starts: Any,
    base: Any,
    depth_max: Any,
) -> Any:
    """Lay all trees out as splits in walking order and steps over them: (splits, steps, most features on a path, depth)."""
    nn = 0
    no = 0
    st_node = np.empty(depth_max + 2, np.int32)
    st_phase = np.empty(depth_max + 2, np.int32)
    st_k = np.empty(depth_max + 2, np.int32)
    feat = np.empty(depth_max + 2, np.int32)
    side = np.empty(depth_max + 2, np.int32)
    zc = np.ones((depth_max + 2, 2))
    reach = np.ones(depth_max + 2)
    fresh = np.empty(depth_max + 2, np.int32)
    most = 0
    deepest = 0
    for t in range(starts.size - 1):
        o = starts[t]
        node_starts[t] = nn
        op_starts[t] = no
        if left[o] < 0:
            base[t] = threshold[o]
            continue
        level = 0
        st_node[0] = 0
        st_phase[0] = 0
        total = 0.0
        while level >= 0:
            v = o + st_node[level]
            if st_phase[level] == 0:
                k = nn
                nn += 1
                st_k[level] = k
                f = feature[v]
                prev = -1
                z = 1.0
                distinct = 1
                for j in range(level - 1, -1, -1):
                    if feat[j] == f and prev < 0:
                        prev = j
                        z = zc[j, side[j]]
                    distinct += fresh[j]
                if prev >= 0:
                    distinct -= 1
                most = max(most, distinct)
                deepest = max(deepest, level + 1)
                feat[level] = f
                fresh[level] = 1 if prev < 0 else 0
                a = o + left[v]
                b = o + right[v]
                swap = left[a] >= 0 and left[b] < 0
                if swap:
                    a, b = b, a
                ca = np.float64(cover[a]) / np.float64(cover[v])
                cb = np.float64(cover[b]) / np.float64(cover[v])
                n = nodes[k]
                n.feature = f
                n.threshold = threshold[v]
                n.level = level
                n.previous = prev
                n.side = side[prev] if prev >= 0 else 0
                n.kind = (
                    (DEFAULT_LEFT if default_left[v] else 0)
                    | (SWAPPED if swap else 0)
                    | (CATEGORICAL if cat_start[v] >= 0 else 0)
                )
                n.categories = cat_start[v]
                n.words = cat_words[v]
                n.z_previous = z
                n.z_a = z * ca
                n.z_b = z * cb
                zc[level, 0] = z * ca
                zc[level, 1] = z * cb
                la = left[a] < 0
                lb = left[b] < 0
                if la:
                    n.value_a = threshold[a]
                    total += reach[level] * ca * threshold[a]
                if lb:
                    n.value_b = threshold[b]
                    total += reach[level] * cb * threshold[b]
                if la and lb:
                    ops[no, 0] = LEAVES
                    ops[no, 1] = k
                    no += 1
                    level -= 1
                elif la:
                    ops[no, 0] = ENTER_LEAF
                    ops[no, 1] = k
                    no += 1
                    side[level] = 1
                    st_phase[level] = 2
                    reach[level + 1] = reach[level] * cb
                    level += 1
                    st_node[level] = b - o
                    st_phase[level] = 0
                else:
                    ops[no, 0] = ENTER
                    ops[no, 1] = k
                    no += 1
                    side[level] = 0
                    st_phase[level] = 1
                    reach[level + 1] = reach[level] * ca
                    level += 1
                    st_node[level] = a - o
                    st_phase[level] = 0
            elif st_phase[level] == 1:
                ops[no, 0] = SWITCH
                ops[no, 1] = st_k[level]
                no += 1
                b = right[v]
                side[level] = 1
                st_phase[level] = 2
                reach[level + 1] = reach[level] * np.float64(cover[o + b]) / np.float64(cover[v])
                level += 1
                st_node[level] = b
                st_phase[level] = 0
            else:
                ops[no, 0] = FINISH
                ops[no, 1] = st_k[level]
                no += 1
                level -= 1
        base[t] = total
    node_starts[starts.size - 1] = nn
    op_starts[starts.size - 1] = no
    return nn, no, most, deepest


@_compiled
def factors(nodes: Any, lo: Any, hi: Any, ys: Any, ws: Any, leaf_kind: Any, c: Any) -> Any:
    """What each edge multiplies by and credits, by split: ``[down a | credit a | down b | credit b][state][quadrature node]``."""
    n = len(ys)
    for k in range(lo, hi):
        v = nodes[k]
        base = (k - lo) * 12 * n
        leaf = leaf_kind[k]
        for q in range(n):
            y = ys[q]
            w = ws[q]
            zp = v.z_previous
            za = v.z_a
            zb = v.z_b
            fp = zp * (1 - y) + y
            ap = w * (1 - zp) / fp
            un = -w / (1 - y) - ap
            fa0 = za * (1 - y) / fp + y / fp
            fa1 = za * (1 - y) / fp
            fa2 = za / zp
            fb0 = zb * (1 - y) / fp
            fb1 = fb0 + y / fp
            fb2 = zb / zp
            aa0 = w * (1 - za) / (za * (1 - y) + y) - ap
            ab1 = w * (1 - zb) / (zb * (1 - y) + y) - ap
            if leaf == LEAVES:
                fa0 *= v.value_a
                fa1 *= v.value_a
                fa2 *= v.value_a
                fb0 *= v.value_b
                fb1 *= v.value_b
                fb2 *= v.value_b
                c[base + q] = fa0 + fb0
                c[base + n + q] = fa1 + fb1
                c[base + 2 * n + q] = fa2 + fb2
                c[base + 3 * n + q] = fa0 * aa0 + fb0 * un
                c[base + 4 * n + q] = fa1 * un + fb1 * ab1
                c[base + 5 * n + q] = 0
            else:
                if leaf == ENTER_LEAF:
                    fa0 *= v.value_a
                    fa1 *= v.value_a
                    fa2 *= v.value_a
                    aa0 *= fa0
                    una = un * fa1
                else:
                    una = un
                c[base + q] = fa0
                c[base + n + q] = fa1
                c[base + 2 * n + q] = fa2
                c[base + 3 * n + q] = aa0
                c[base + 4 * n + q] = una
                c[base + 5 * n + q] = 0
                c[base + 6 * n + q] = fb0
                c[base + 7 * n + q] = fb1
                c[base + 8 * n + q] = fb2
                c[base + 9 * n + q] = un
                c[base + 10 * n + q] = ab1
                c[base + 11 * n + q] = 0


@_compiled
def decide(x: Any, state: Any, prior: Any, node: Any, words: Any) -> Any:
    """The state of every row at a split: 0 goes to a, 1 to b, 2 failed this feature higher up. XGBoost's own comparisons."""
    s0 = np.int32(1 if node.kind & SWAPPED else 0)
    s1 = np.int32(1 - s0)
    t = node.threshold
    if node.kind & CATEGORICAL:
        for r in range(LANES):
            value = x[r]
            left = True
            if np.isnan(value):
                left = (node.kind & DEFAULT_LEFT) != 0
            elif value >= 0 and value < UNKNOWN_CATEGORY:
                cat = np.int64(value)
                if cat < 32 * node.words:
                    left = (words[node.categories + (cat >> 5)] >> np.uint32(cat & 31)) & np.uint32(1) == 0
            state[r] = s0 if left else s1
    elif node.kind & DEFAULT_LEFT:
        for r in range(LANES):
            state[r] = s1 if x[r] >= t else s0
    else:
        for r in range(LANES):
            state[r] = s0 if x[r] < t else s1
    if node.previous >= 0:
        side = np.int32(node.side)
        for r in range(LANES):
            state[r] = state[r] if prior[r] == side else np.int32(2)


@_compiled
def multiply_down(src: Any, dst: Any, state: Any, c: Any, rep: Any) -> Any:
    """Products of the parent times the edge's factor."""
    n = src.shape[0]
    for q in range(n):
        a = c[q]
        b = c[n + q]
        e = c[2 * n + q]
        u = src[q]
        v = dst[q]
        if rep:
            for r in range(LANES):
                v[r] = u[r] * (a if state[r] == 0 else (b if state[r] == 1 else e))
        else:
            for r in range(LANES):
                v[r] = u[r] * (a if state[r] == 0 else b)


@_compiled
def credit(src: Any, phi: Any, state: Any, c: Any, rep: Any) -> Any:
    """Add what the leaves under an edge owe to its feature."""
    n = src.shape[0]
    for q in range(n):
        a = c[q]
        b = c[n + q]
        e = c[2 * n + q]
        u = src[q]
        if rep:
            for r in range(LANES):
                phi[r] += u[r] * (a if state[r] == 0 else (b if state[r] == 1 else e))
        else:
            for r in range(LANES):
                phi[r] += u[r] * (a if state[r] == 0 else b)


@_compiled
def move(src: Any, dst: Any) -> Any:
    """Copy sums one level up."""
    for q in range(src.shape[0]):
        u = src[q]
        v = dst[q]
        for r in range(LANES):
            v[r] = u[r]


@_compiled
def increase(src: Any, dst: Any) -> Any:
    """Add sums one level up."""
    for q in range(src.shape[0]):
        u = src[q]
        v = dst[q]
        for r in range(LANES):
            v[r] += u[r]


@_compiled
def block(
    x: Any, phi: Any, products: Any, sums: Any, state: Any, nodes: Any, lo: Any, ops: Any, olo: Any, ohi: Any, c: Any, words: Any
) -> Any:
    """One tree for one block of rows."""
    n = products.shape[1]
    for i in range(olo, ohi):
        op = ops[i, 0]
        k = ops[i, 1]
        v = nodes[k]
        co = (k - lo) * 12 * n
        d = v.level
        f = v.feature
        s = state[d]
        rep = v.previous >= 0
        c0 = c[co:]
        c1 = c[co + 3 * n :]
        c2 = c[co + 6 * n :]
        c3 = c[co + 9 * n :]
        if op in (ENTER, ENTER_LEAF, LEAVES):
            decide(x[f], s, state[max(v.previous, 0)], v, words)
            if op == ENTER:
                multiply_down(products[d], products[d + 1], s, c0, rep)
            else:
                credit(products[d], phi[f], s, c1, rep)
                multiply_down(products[d], sums[d], s, c0, rep)
                if op == ENTER_LEAF:
                    multiply_down(products[d], products[d + 1], s, c2, rep)
        elif op == SWITCH:
            credit(sums[d + 1], phi[f], s, c1, rep)
            move(sums[d + 1], sums[d])
            multiply_down(products[d], products[d + 1], s, c2, rep)
        else:
            credit(sums[d + 1], phi[f], s, c3, rep)
            increase(sums[d + 1], sums[d])


@_cached
def contributions(
    matrix: Any,
    nodes: Any,
    node_starts: Any,
    ops: Any,
    op_starts: Any,
    leaf_kind: Any,
    group: Any,
    words: Any,
    ys: Any,
    ws: Any,
    depth: Any,
    biggest: Any,
    real: Any,
    out: Any,
) -> Any:
    """Contributions of all rows, float32 ``(rows, groups, features)``, into ``out``; ``real`` gives the working type."""
    n = len(ys)
    rows, width = matrix.shape
    groups = out.shape[1]
    c = np.zeros(biggest * 12 * n, real.dtype)
    products = np.ones((depth + 2, n, LANES), real.dtype)
    sums = np.zeros((depth + 2, n, LANES), real.dtype)
    state = np.zeros((depth + 2, LANES), np.int32)
    blocks = (min(rows, STRIPE) + LANES - 1) // LANES
    x = np.zeros((blocks, width, LANES), np.float32)
    phi = np.zeros((blocks, groups, width, LANES), real.dtype)
    total = np.zeros((blocks, groups, width, LANES))
    flat = total.reshape(-1)
    part = phi.reshape(-1)
    for start in range(0, rows, STRIPE):
        m = min(STRIPE, rows - start)
        for r in range(m):
            for f in range(width):
                x[r // LANES, f, r % LANES] = matrix[start + r, f]
        used = (m + LANES - 1) // LANES
        flat[:] = 0
        for t in range(group.size):
            lo = node_starts[t]
            hi = node_starts[t + 1]
            if lo < hi:
                factors(nodes, lo, hi, ys, ws, leaf_kind, c)
                for b in range(used):
                    block(x[b], phi[b, group[t]], products, sums, state, nodes, lo, ops, op_starts[t], op_starts[t + 1], c, words)
            if t % FLUSH == FLUSH - 1 or t == group.size - 1:
                for j in range(used * groups * width * LANES):
                    flat[j] += part[j]
                    part[j] = 0
        for r in range(m):
            for g in range(groups):
                for f in range(width):
                    out[start + r, g, f] = total[r // LANES, g, f, r % LANES]
