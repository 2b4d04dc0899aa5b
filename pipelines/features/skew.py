"""Training–serving skew: do served features equal what training would see, and how far are they from what it saw?

Two questions. *Cells*: for the same entities and the same moment, the training path must give what was served, cell by
cell, because it is the same code; a difference is a fault. *Distribution*: a feature may have moved since the rows that
the model was fitted on; that is worth knowing and no fault.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.declare import Positional
from batch_scoring.domain import FEATURES, Column, FeatureSkew, Manifest, Skew
from batch_scoring.errors import DeclarationError
from batch_scoring.settings import Settings
from pipelines.features.port import FeatureSource
from pipelines.features.training_set import EVENT
from pipelines.repository import Product

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    import numpy.typing as npt
    import polars as pl
    import pyarrow as pa

COMPARED = 200_000
"""Rows compared cell by cell: all of a smaller population, evenly spread ones of a larger."""

_BINS = 10
_VALUES = 20


def with_constants(features: pa.Table, positional: tuple[Positional, ...]) -> pa.Table:
    """The features with every positional one fixed at the value it is served with. Pure."""
    import pyarrow as pa

    for each in positional:
        place = features.schema.get_field_index(each.feature)
        kind = features.schema.field(place).type
        features = features.set_column(place, each.feature, pa.repeat(pa.scalar(each.serve_as, kind), features.num_rows))
    return features


def misfits(positional: tuple[Positional, ...], columns: tuple[Column, ...]) -> tuple[str, ...]:
    """What is wrong between declared positional features and the features there are, a sentence each. Pure."""
    kinds = {column.name: column.type for column in columns}
    found = []
    for each in positional:
        kind = kinds.get(each.feature)
        if kind is None:
            found.append(f"positional names {each.feature}, which is no feature; there are {', '.join(kinds)}")
        elif not _fits(each.serve_as, kind):
            found.append(f"positional serves {each.feature} as {each.serve_as!r}, which is no {kind}")
    return tuple(found)


def require_positional(product: Product, columns: tuple[Column, ...]) -> None:
    """Refuse a declaration whose positional features do not fit.

    Args:
        columns: the features; where categories are known, a constant must be one of them, or the model would take it for
            missing.

    Raises:
        DeclarationError: with the first thing that is wrong.
    """
    table = product.table
    for sentence in misfits(table.positional, columns):
        raise DeclarationError(
            f"{product.folder.name}/table.py: PredictionTable.positional",
            expected="features of the table, each with a value of its type",
            found=sentence,
            fix="Correct the name or the constant.",
        )
    categories = {column.name: column.categories for column in columns if column.categories}
    for each in table.positional:
        if each.feature in categories and each.serve_as not in categories[each.feature]:
            raise DeclarationError(
                f"{product.folder.name}/table.py: Positional(feature='{each.feature}').serve_as",
                expected=f"a value seen in training: {', '.join(categories[each.feature][:_VALUES])}",
                found=repr(each.serve_as),
                fix="Serve one of those.",
            )


def measure(
    served: pl.DataFrame,
    source: FeatureSource,
    *,
    product: Product,
    as_of: datetime,
    features: tuple[Column, ...],
    trained: pl.LazyFrame | None,
) -> Skew:
    """Compare the features served at a moment with the training path and with the rows a model was fitted on.

    Args:
        served: key columns and features, a row per entity.
        trained: the rows it was fitted on; None leaves distributions out.
    """
    import polars as pl

    keys = list(product.table.entity.key_names)
    constants = {each.feature: each.serve_as for each in product.table.positional}
    names = [feature.name for feature in features]
    some = served.gather_every(max(1, -(-len(served) // COMPARED)))
    moments = pl.lit(as_of).cast(pl.Datetime("us", "UTC")).alias(EVENT)
    again = pl.DataFrame(source.training(some.select(*keys).with_columns(moments).to_arrow().cast(_schema(served, keys))))
    differing = differing_cells(some, again, keys, names, constants)
    return Skew(
        compared=len(some),
        features=tuple(
            _one(served[name], trained, name, differing=differing[name], serve_as=constants.get(name)) for name in names
        ),
    )


def compare_again(product: Product, settings: Settings, source: FeatureSource, manifest: Manifest) -> Skew:
    """A stored version's served features against what the training path gives for them today, from the current delivery.

    A difference means that a source was corrected, or that rows came late and claim not to have.
    """
    import polars as pl

    from batch_scoring.store import version_folder

    features = tuple(column for column in manifest.draft.columns if column.role == "feature")
    path = version_folder(settings.store, product.table.name, manifest.version) / FEATURES
    served = pl.read_parquet(path, columns=[*product.table.entity.key_names, *(feature.name for feature in features)])
    return measure(served, source, product=product, as_of=manifest.draft.as_of, features=features, trained=None)


def differing_cells(
    served: pl.DataFrame,
    trained: pl.DataFrame,
    keys: list[str],
    features: list[str],
    constants: dict[str, int | float | str],
) -> dict[str, int]:
    """Cells per feature in which served and trained rows of the same key differ. Pure.

    Null equals null and NaN equals NaN. A key that ``trained`` lacks differs in every feature, and so does a feature that
    it lacks. A feature with a constant is compared with that, whatever training saw.
    """
    import polars as pl

    found = served.select(keys).join(
        trained.with_columns(_there=pl.lit(value=True)), on=keys, how="left", nulls_equal=True, maintain_order="left"
    )
    absent = found["_there"].is_null()
    counts = {}
    for name in features:
        cells = served[name]
        if name in constants:
            differs = ~cells.eq_missing(pl.repeat(constants[name], len(cells), dtype=cells.dtype, eager=True))
        elif name not in trained.columns or trained[name].dtype != cells.dtype:
            differs = pl.repeat(value=True, n=len(cells), dtype=pl.Boolean, eager=True)
        else:
            differs = ~cells.eq_missing(found[name]) | absent
        counts[name] = int(differs.sum())
    return counts


def shift(reference: pl.Series, current: pl.Series) -> float | None:
    """Population stability index Σ (p − q) ln(p / q) of ``current`` against ``reference``. Pure.

    Numbers fall into the deciles of the reference, and a value that is itself a decile is a cell of its own, so that a
    constant feature has shifted as soon as it takes another value, to whichever side. Words are cells of their own, beyond
    the twenty most frequent of the reference together; so are unseen words together. Missing (null, NaN) is a cell.
    Shares are smoothed by half a row, so an empty cell is large and not infinite; a cell that is empty on both sides is
    none. (Siddiqi, *Credit Risk Scorecards*, 2006.)

    Returns:
        0 for equal distributions, two constants or nothing but nulls among them; None when either side has no rows.
    """
    import numpy as np
    import polars as pl

    if not len(reference) or not len(current):
        return None
    if reference.dtype == pl.String:
        before, now = _word_cells(reference, current)
    else:
        before, now = _number_cells(reference, current)
    used = (before + now) > 0
    q, p = ((counts[used] + 0.5) / (counts.sum() + 0.5 * used.sum()) for counts in (before, now))
    return float(max(((p - q) * np.log(p / q)).sum(), 0.0))


def _number_cells(reference: pl.Series, current: pl.Series) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    import numpy as np
    import polars as pl

    known = [side.cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy() for side in (reference, current)]
    deciles = np.quantile(known[0], np.linspace(0, 1, _BINS + 1)[1:-1], method="lower") if len(known[0]) else np.empty(0)
    edges = np.unique(deciles)
    counts = []
    for side, values in zip((reference, current), known, strict=True):
        cells = np.searchsorted(edges, values, side="left") + np.searchsorted(edges, values, side="right")
        counts.append(np.append(np.bincount(cells, minlength=2 * len(edges) + 1), len(side) - len(values)))
    return counts[0], counts[1]


def _word_cells(reference: pl.Series, current: pl.Series) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    import numpy as np

    tallies = [dict(side.drop_nulls().value_counts().iter_rows()) for side in (reference, current)]
    frequent = sorted(tallies[0], key=lambda word: (-tallies[0][word], word))[:_VALUES]
    counts = []
    for side, tally in zip((reference, current), tallies, strict=True):
        cells = [tally.get(word, 0) for word in frequent]
        rare = sum(count for word, count in tally.items() if word in tallies[0]) - sum(cells)
        unseen = sum(count for word, count in tally.items() if word not in tallies[0])
        counts.append(np.array([*cells, rare, unseen, side.null_count()], dtype=np.int64))
    return counts[0], counts[1]


def _one(
    served: pl.Series, trained: pl.LazyFrame | None, name: str, *, differing: int, serve_as: int | float | str | None
) -> FeatureSkew:
    seen = None if trained is None else trained.select(name).collect()[name]
    return FeatureSkew(
        feature=name,
        serve_as=None if serve_as is None else str(serve_as),
        differing=differing,
        psi=None if seen is None else shift(seen, served),
        served_nulls=_null_share(served),
        trained_nulls=None if seen is None else _null_share(seen),
    )


def _null_share(values: pl.Series) -> float:
    missing = values.null_count() + (int(values.is_nan().sum()) if values.dtype.is_float() else 0)
    return missing / len(values) if len(values) else 0.0


def _schema(served: pl.DataFrame, keys: list[str]) -> pa.Schema:
    import polars as pl
    import pyarrow as pa

    kinds = [(key, pa.string() if served[key].dtype == pl.String else pa.int64()) for key in keys]
    return pa.schema([*kinds, (EVENT, pa.timestamp("us", tz="UTC"))])


def _fits(constant: int | float | str, kind: str) -> bool:
    match kind:
        case "VARCHAR":
            return isinstance(constant, str)
        case "BIGINT":
            return isinstance(constant, int)
        case _:
            return not isinstance(constant, str)


def read_trained(path: Path, first: datetime, last: datetime) -> pl.LazyFrame:
    """The rows of a training set between the first and the last that a model was fitted on; nothing is read yet."""
    import polars as pl

    return pl.scan_parquet(path).filter(pl.col(EVENT).is_between(first, last))
