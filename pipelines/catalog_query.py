"""Reading the analysts' catalog of the current release, as ``foretable sql`` does."""

from __future__ import annotations

from pathlib import Path

from batch_scoring.errors import ForetableError
from batch_scoring.store import Reader

LISTING = """
SELECT schema_name || '.' || view_name AS "view", coalesce(comment, '') AS "holds"
FROM duckdb_views() WHERE NOT internal
UNION ALL
SELECT schema_name || '.' || table_name, coalesce(comment, '') FROM duckdb_tables() WHERE NOT internal
ORDER BY ALL
"""


def run_query(root: Path, query: str) -> tuple[tuple[str, ...], tuple[tuple[object, ...], ...], Path]:
    """One read-only statement against the release that is current now.

    Returns:
        Column names, rows, and the catalog's file.

    Raises:
        ForetableError: DuckDB refused the statement; its own words are passed on.
    """
    import duckdb

    release = Reader(root).snapshot().release
    # By the release's own path: through the link, this process could be handed an older file it still has open.
    path = root / "releases" / f"{release.id:06d}" / "predictions.duckdb"
    try:
        with duckdb.connect(path, read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            cursor = connection.execute(query)
            columns = tuple(column[0] for column in cursor.description or ())
            return columns, tuple(cursor.fetchall()), path
    except duckdb.Error as error:
        raise ForetableError(
            "query", found=str(error).splitlines()[0], fix="Run 'foretable sql' to list what there is."
        ) from None
