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
FROM duckdb_views() WHERE NOT internal AND schema_name <> 'served_files' -- read by the others, described there
UNION ALL
SELECT schema_name || '.' || table_name, coalesce(comment, '') FROM duckdb_tables() WHERE NOT internal
ORDER BY ALL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of one query, with the rows or with the box that DuckDB draws of them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    box: str
    catalog: Path


def run_query(root: Path, query: str, *, width: int | None = None) -> Answer:
    """One query against the release that is current now. It reads the store and nothing else, and writes nothing.

    Args:
        width: draw a box so many characters wide, of forty rows at most; without it, give every row.

    Raises:
        ForetableError: not one query, or DuckDB refused it; its own words are passed on.
    """
    import duckdb

    release = Reader(root).snapshot().release
    # By the release's own path: through the link, this process could be handed an older file it still has open.
    path = release_folder(root.absolute(), release.id) / "predictions.duckdb"
    try:
        with duckdb.connect(path, read_only=True) as connection:
            _confine(connection, root)
            if len(connection.extract_statements(query)) != 1:
                raise ForetableError("query", expected="one statement", found="none or several", fix="Give them one at a time.")
            found: duckdb.DuckDBPyRelation | None = connection.sql(query)
            if found is None:
                return Answer(columns=(), rows=(), box="", catalog=path)
            columns = tuple(found.columns)
            if width is None:
                return Answer(columns=columns, rows=tuple(found.fetchall()), box="", catalog=path)
            return Answer(columns=columns, rows=(), box=_draw(found, width), catalog=path)
    except duckdb.Error as error:
        raise ForetableError(
            "query", found=str(error).splitlines()[0], fix="Run 'foretable sql' to list what there is."
        ) from None


def _confine(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Let a connection read the store and no other file, for good."""
    store = str(root.absolute()).replace("'", "''")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET allowed_directories = ['{store}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _draw(found: duckdb.DuckDBPyRelation, width: int) -> str:
    """DuckDB prints its box and does not return it."""
    drawn = io.StringIO()
    with redirect_stdout(drawn):
        found.show(max_width=width, max_rows=40)
    return drawn.getvalue().rstrip()
