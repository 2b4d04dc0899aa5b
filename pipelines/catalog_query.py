"""Reading the analysts' catalog of the current release, as ``foretable sql`` does."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.errors import ForetableError
from batch_scoring.store import Reader, release_folder

if TYPE_CHECKING:
    import duckdb

LISTING = """
SELECT schema_name || '.' || view_name AS "view", coalesce(comment, '') AS "holds"
FROM duckdb_views() WHERE NOT internal
UNION ALL
SELECT schema_name || '.' || table_name, coalesce(comment, '') FROM duckdb_tables() WHERE NOT internal
ORDER BY ALL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of one statement: rows as values, and as the box that DuckDB draws."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    box: str
    catalog: Path


def run_query(root: Path, query: str, width: int = 120) -> Answer:
    """One read-only query against the release that is current now.

    Args:
        width: of the box, in characters.

    Raises:
        ForetableError: DuckDB refused it; its own words are passed on.
    """
    import duckdb

    release = Reader(root).snapshot().release
    # By the release's own path: through the link, this process could be handed an older file it still has open.
    path = release_folder(root, release.id) / "predictions.duckdb"
    try:
        with duckdb.connect(path, read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            found: duckdb.DuckDBPyRelation | None = connection.sql(query)
            if found is None:
                return Answer(columns=(), rows=(), box="", catalog=path)
            box = _draw(found, width)
            return Answer(columns=tuple(found.columns), rows=tuple(found.fetchall()), box=box, catalog=path)
    except duckdb.Error as error:
        raise ForetableError(
            "query", found=str(error).splitlines()[0], fix="Run 'foretable sql' to list what there is."
        ) from None


def _draw(found: duckdb.DuckDBPyRelation, width: int) -> str:
    """DuckDB prints its box and does not return it."""
    drawn = io.StringIO()
    with redirect_stdout(drawn):
        found.show(max_width=width, max_rows=40)
    return drawn.getvalue().rstrip()
