"""What happened to a store, as values."""

from __future__ import annotations

from batch_scoring.declare import TableName
from batch_scoring.domain import Manifest, Release
from batch_scoring.store.files import plain_errors
from batch_scoring.store.layout import (
    Store,
    is_table_name,
    read_current,
    readable_versions,
    unknown_table,
    versions_folder,
    walk_back,
)


def history(store: Store, table: TableName | None = None) -> tuple[Release, ...]:
    """Every release that led to the current one, newest first; with ``table``, those that changed it.

    Raises:
        StoreUnavailable: there is no store.
        StoreCorrupt: the current release cannot be read.
    """
    with plain_errors(store.root):
        releases = tuple(walk_back(store.root, read_current(store.root)))
    return tuple(release for release in releases if table is None or release.action.table == table)


def versions(store: Store, table: TableName) -> tuple[Manifest, ...]:
    """The manifests of every kept version that can be read, published or not, failed or not, ascending.

    Raises:
        UnknownTable: none was ever built.
        StoreUnavailable: there is no store.
    """
    with plain_errors(store.root):
        read_current(store.root)
        if not is_table_name(table) or not versions_folder(store.root, table).is_dir():
            raise unknown_table(store.root, table)
        return readable_versions(store.root, table)
