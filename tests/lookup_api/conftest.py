from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.serving import Server, serving
from support.stores import build, build_and_publish, new_store, put_live

from batch_scoring.declare import Entity, Key
from batch_scoring.store import Store

NOTE = Entity(name="note", keys=(Key(name="shelf", type="string"), Key(name="title", type="string")), description="a note")
NOTES = (("a/b", "c"), ("a", "b/c"), ("", ""), ("100%", "ü?#"), ("..", "."), ("a b", "a+b"), ("'; DROP TABLE x; --", '\\"&<>'))


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two tables. ``flight_delays``: versions 1 to 3, the second live, the third shadow. ``notes``: text keys, version 1 live."""
    store = new_store(tmp_path_factory.mktemp("published"))
    for day in (1, 2):
        build_and_publish(store, day)
    put_live(store, build(store, 3).version, channel="shadow")
    build_and_publish(store, 1, "notes", keys=NOTES, entity=NOTE)
    return store


@pytest.fixture(scope="session")
def server(published: Store) -> Iterator[Server]:
    """Serves :func:`published`, which no test changes."""
    with serving(published.root.parent) as running:
        yield running
