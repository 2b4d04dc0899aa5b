"""What was served beside what training sees: every difference is counted, and every distribution has a defined distance."""

import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_scoring import Positional
from batch_scoring.domain import Column
from batch_scoring.errors import DeclarationError
from pipelines.features.skew import differing_cells, misfits, shift, with_constants

NUMBERS = st.lists(st.none() | st.integers(-3, 3) | st.floats(-1e300, 1e300) | st.just(math.nan), max_size=40)
WORDS = st.lists(st.none() | st.sampled_from(["a", "b", "ä", ""]) | st.text(max_size=2), max_size=40)


def numbers(values: list[float | None]) -> pl.Series:
    return pl.Series("x", [None if value is None else float(value) for value in values], pl.Float64)


def words(values: list[str | None]) -> pl.Series:
    return pl.Series("x", values, pl.String)


@given(before=NUMBERS, now=NUMBERS, shuffle=st.randoms(use_true_random=False))
def test_the_distance_of_numbers_is_defined_for_anything(
    before: list[float | None], now: list[float | None], shuffle: object
) -> None:
    found = shift(numbers(before), numbers(now))
    assert (found is None) == (not before or not now)
    if found is None:
        return
    assert math.isfinite(found)
    assert found >= 0
    mixed = list(now)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    assert shift(numbers(before), numbers(mixed)) == found
    assert shift(numbers(before), numbers(before)) == 0


@given(before=WORDS, now=WORDS)
def test_the_distance_of_words_is_defined_for_anything(before: list[str | None], now: list[str | None]) -> None:
    found = shift(words(before), words(now))
    assert (found is None) == (not before or not now)
    if found is not None:
        assert math.isfinite(found)
        assert found >= 0
        assert shift(words(before), words(before)) == 0


@given(before=st.lists(st.sampled_from("abc"), min_size=1, max_size=30), now=st.lists(st.sampled_from("abcd"), min_size=1))
def test_the_distance_of_words_is_that_of_the_textbook(before: list[str], now: list[str]) -> None:
    now_cells = [word if word in before else "unseen" for word in now]
    cells = sorted({*before, *now_cells})
    shares = [[(side.count(cell) + 0.5) / (len(side) + 0.5 * len(cells)) for cell in cells] for side in (before, now_cells)]
    expected = sum((p - q) * math.log(p / q) for q, p in zip(*shares, strict=True))
    assert shift(words(before), words(now)) == pytest.approx(expected, abs=1e-12)  # type: ignore[arg-type]


def test_a_constant_has_shifted_as_soon_as_it_takes_another_value_to_either_side() -> None:
    five = numbers([5.0] * 100)
    assert shift(five, five) == 0
    for other in (4.0, 6.0):
        assert shift(five, numbers([other] * 100)) > 1  # type: ignore[operator]


def test_nothing_but_nulls_is_a_distribution_of_its_own() -> None:
    nulls = numbers([None] * 50)
    assert shift(nulls, nulls) == 0
    assert shift(nulls, numbers([math.nan] * 20)) == pytest.approx(0)
    assert shift(nulls, numbers([1.0] * 50)) > 1  # type: ignore[operator]
    assert shift(numbers([1.0] * 50), nulls) > 1  # type: ignore[operator]


def test_a_day_drawn_from_training_hardly_shifts_and_a_moved_one_does() -> None:
    rng = np.random.default_rng(0)
    before = numbers(rng.normal(size=20_000).tolist())
    same, moved = (numbers((rng.normal(size=900) + by).tolist()) for by in (0.0, 1.0))
    assert shift(before, same) < 0.05  # type: ignore[operator]
    assert shift(before, moved) > 0.5  # type: ignore[operator]


@given(
    rows=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2) | st.none()), unique_by=lambda row: row[0], max_size=7),
    other=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2) | st.none()), unique_by=lambda row: row[0], max_size=7),
)
def test_cells_are_compared_by_key(rows: list[tuple[int, int | None]], other: list[tuple[int, int | None]]) -> None:
    served, trained = (
        pl.DataFrame({"id": [row[0] for row in some], "x": [row[1] for row in some]}, schema={"id": pl.Int64, "x": pl.Int64})
        for some in (rows, other)
    )
    there = dict(other)
    expected = sum(key not in there or there[key] != value for key, value in rows)
    assert differing_cells(served, trained, ["id"], ["x"], {}) == {"x": expected}


def test_a_feature_that_training_lacks_or_types_otherwise_differs_in_every_row() -> None:
    served = pl.DataFrame({"id": [1, 2], "x": [1, 2], "y": [1.0, math.nan], "z": [None, "a"]})
    trained = pl.DataFrame({"id": [2, 1], "x": [2.0, 1.0], "y": [math.nan, 1.0]})
    assert differing_cells(served, trained, ["id"], ["x", "y", "z"], {}) == {"x": 2, "y": 0, "z": 2}


def test_a_constant_is_compared_with_what_it_is_declared_to_be() -> None:
    served = pl.DataFrame({"id": [1, 2, 3], "position": [1, 1, 2]})
    trained = pl.DataFrame({"id": [1, 2, 3], "position": [7, 8, 9]})
    assert differing_cells(served, trained, ["id"], ["position"], {"position": 1}) == {"position": 1}


COLUMNS = tuple(
    Column(name=name, type=kind, role="feature") for name, kind in (("n", "BIGINT"), ("x", "DOUBLE"), ("w", "VARCHAR"))
)


def test_a_positional_feature_is_served_as_its_constant_in_its_own_type() -> None:
    features = pa.table({"id": [1, 2], "n": [5, 6], "x": [0.5, None], "w": ["a", "b"]})
    fixed = with_constants(features, (Positional(feature="x", serve_as=1), Positional(feature="w", serve_as="top")))
    assert fixed.to_pydict() == {"id": [1, 2], "n": [5, 6], "x": [1.0, 1.0], "w": ["top", "top"]}
    assert fixed.schema == features.schema


@pytest.mark.parametrize(
    ("feature", "constant", "said"),
    [
        ("rank", 1, "positional names rank, which is no feature; there are n, x, w"),
        ("n", 1.5, "positional serves n as 1.5, which is no BIGINT"),
        ("w", 1, "positional serves w as 1, which is no VARCHAR"),
        ("x", "1", "positional serves x as '1', which is no DOUBLE"),
    ],
)
def test_a_positional_feature_that_does_not_fit_is_named(feature: str, constant: float | str, said: str) -> None:
    assert misfits((Positional(feature=feature, serve_as=constant),), COLUMNS) == (said,)


def test_positional_features_that_fit_have_no_misfits() -> None:
    fitting = (Positional(feature="n", serve_as=1), Positional(feature="x", serve_as=1), Positional(feature="w", serve_as="a"))
    assert misfits(fitting, COLUMNS) == ()


@pytest.mark.parametrize("constant", [None, True, math.inf, math.nan, datetime(2024, 1, 1, tzinfo=UTC)])
def test_a_constant_that_is_no_value_is_refused_where_it_is_declared(constant: object) -> None:
    with pytest.raises(DeclarationError, match=r"Positional\.serve_as"):
        Positional(feature="position", serve_as=constant)  # type: ignore[arg-type]
