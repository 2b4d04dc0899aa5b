"""What comes online: everything known at a moment, whatever order it arrived in, also after a kill in the middle."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.common.materialization_job import MaterializationTask
from feast.types import Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.features.asof_pull import Pull, pull_sql
from pipelines.features.asof_store import AsofDuckDBOfflineStoreConfig
from pipelines.features.chunked_engine import _work

# Feast 0.67 on its way to SQLite: datetimes by an adapter on the way out, numpy's old names.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

START = datetime(2024, 3, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOMENT = pa.timestamp("us", tz="UTC")
ENGINE = "pipelines.features.chunked_engine.ChunkedComputeEngine"


@dataclass(frozen=True)
class Fact:
    one: int
    other: str
    event: datetime
    created: datetime
    size: int | None


def write(facts: list[Fact], file: Path) -> None:
    columns = {
        "one": (pa.int64(), "one"),
        "second": (pa.string(), "other"),
        "at": (MOMENT, "event"),
        "created": (MOMENT, "created"),
        "magnitude": (pa.int64(), "size"),
    }
    pq.write_table(
        pa.table({name: pa.array([getattr(fact, of) for fact in facts], kind) for name, (kind, of) in columns.items()}), file
    )


def open_shop(
    folder: Path, rows_per_piece: int, online_db: str = "online.db", offline: AsofDuckDBOfflineStoreConfig | None = None
) -> FeatureStore:
    """A repository of one view with two join keys, one of them renamed, online in SQLite."""
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "sqlite", "path": str(folder / online_db)},
        offline_store=(offline or AsofDuckDBOfflineStoreConfig()).model_dump(),
        batch_engine={"type": ENGINE, "rows_per_piece": rows_per_piece},
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    source = FileSource(
        name="facts",
        path=str(folder / "facts.parquet"),
        timestamp_field="at",
        created_timestamp_column="created",
        field_mapping={"second": "other", "magnitude": "size"},
    )
    keys = [Entity(name="one", value_type=ValueType.INT64), Entity(name="other", value_type=ValueType.STRING)]
    fields = [Field(name=name, dtype=dtype) for name, dtype in (("one", Int64), ("other", String), ("size", Int64))]
    made = FeatureStore(config=config)
    made.apply([*keys, FeatureView(name="known", entities=keys, ttl=timedelta(0), source=source, schema=fields)])
    return made


def online(store: FeatureStore, keys: list[tuple[int, str]]) -> list[int | None]:
    rows = [{"one": one, "other": other} for one, other in keys]
    return store.get_online_features(features=["known:size"], entity_rows=rows).to_dict()["size"]


def pulled(folder: Path, start: datetime | None, end: datetime, *, latest: str = "known", piece=None) -> list[tuple]:
    source = FileSource(name="facts", path=str(folder / "facts.parquet"), timestamp_field="at")
    pull = Pull(
        source=source,
        keys=("one", "second"),
        features=("magnitude",),
        event="at",
        created="created",
        start=start,
        end=end,
        latest=latest,
        piece=piece,
    )
    with AsofDuckDBOfflineStoreConfig().query(partial(pull_sql, pull, folder)).open() as (con, sql):
        return con.sql(sql).fetchall()


def known(facts: list[Fact], end: datetime, start: datetime | None = None) -> dict[tuple[int, str], int | None]:
    """The newest row of each key among those that are valid and created by ``end``, if it became so since ``start``."""
    found: dict[tuple[int, str], Fact] = {}
    for _, fact in sorted(enumerate(facts), key=lambda each: (each[1].event, each[1].created, each[0])):
        if max(fact.event, fact.created) <= end:
            found[fact.one, fact.other] = fact
    return {key: fact.size for key, fact in found.items() if start is None or max(fact.event, fact.created) >= start}


moments = st.integers(0, 8).map(lambda hours: START + hours * HOUR)
histories = st.lists(
    st.builds(
        lambda one, other, event, late, size: Fact(one, other, event, event + late * HOUR, size),
        st.sampled_from([1, 12, -(2**63)]),
        st.sampled_from(["23", "3", "ключ/ß", "k" * 3000]),
        moments,
        st.integers(-1, 4),
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    ),
    max_size=25,
)
QUICK = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(facts=histories, start=st.one_of(st.none(), moments), end=moments)
def test_an_interval_brings_what_became_known_in_it(tmp_path: Path, facts: list[Fact], start: datetime | None, end: datetime):
    write(facts, tmp_path / "facts.parquet")
    rows = pulled(tmp_path, start, end)
    assert len(rows) == len({row[:2] for row in rows})
    assert {(one, other): size for one, other, size, *_ in rows} == known(facts, end, start)


@QUICK
@given(facts=histories, stops=st.lists(moments, min_size=1, max_size=4))
def test_going_on_from_interval_to_interval_gives_what_one_go_gives(tmp_path: Path, facts: list[Fact], stops: list[datetime]):
    write(facts, tmp_path / "facts.parquet")
    state: dict[tuple[int, str], int | None] = {}
    since = None
    for stop in sorted(stops):
        state |= {(one, other): size for one, other, size, *_ in pulled(tmp_path, since, stop)}
        since = stop
    assert state == known(facts, max(stops))


@QUICK
@given(facts=histories, end=moments, pieces=st.integers(1, 3))
def test_pieces_are_the_whole_and_share_no_key(tmp_path: Path, facts: list[Fact], end: datetime, pieces: int):
    write(facts, tmp_path / "facts.parquet")
    parts = [pulled(tmp_path, None, end, piece=(number, pieces)) for number in range(pieces)]
    assert sorted(str(row) for part in parts for row in part) == sorted(map(str, pulled(tmp_path, None, end)))


def test_without_the_cut_off_an_interval_is_of_event_times(tmp_path: Path):
    write([Fact(1, "a", START, START + 9 * HOUR, 1), Fact(1, "a", START - HOUR, START, 2)], tmp_path / "facts.parquet")
    assert [row[2] for row in pulled(tmp_path, START, START + HOUR, latest="any")] == [1]
    assert [row[2] for row in pulled(tmp_path, START, START + HOUR)] == [2]


def test_a_row_that_arrives_late_comes_online_when_it_arrives_and_hides_nothing_newer(tmp_path: Path):
    late = [Fact(1, "a", START, START + 3 * HOUR, 10), Fact(2, "a", START, START + 3 * HOUR, 20)]
    write([*late, Fact(2, "a", START + HOUR, START + HOUR, 21)], tmp_path / "facts.parquet")
    shop = open_shop(tmp_path, 500_000)
    states = []
    for begin, end in ((0, 2), (2, 4)):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            shop.materialize(START + begin * HOUR, START + end * HOUR)
        states.append(online(shop, [(1, "a"), (2, "a")]))
    assert states == [[None, 21], [10, 21]]


MATERIALIZE = """
    import sys, warnings
    from datetime import datetime, UTC
    from pathlib import Path
    warnings.simplefilter("ignore")
    from feast import FeatureStore, RepoConfig
    config = RepoConfig(**eval(Path(sys.argv[1]).read_text()))
    FeatureStore(config=config).materialize(datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
"""


def test_a_killed_materialization_goes_on_with_the_piece_it_was_at(tmp_path: Path):
    keys = [(number, f"k{number % 7}") for number in range(600)]
    facts = [Fact(one, other, START + n * HOUR, START + n * HOUR, one + n) for n in range(2) for one, other in keys]
    write(facts, tmp_path / "facts.parquet")
    shop = open_shop(tmp_path, 15)  # 80 pieces
    configuration = tmp_path / "config"
    configuration.write_text(
        repr(
            {
                "project": "shop",
                "provider": "local",
                "registry": str(tmp_path / "registry.db"),
                "online_store": {"type": "sqlite", "path": str(tmp_path / "online.db")},
                "offline_store": AsofDuckDBOfflineStoreConfig().model_dump(),
                "batch_engine": {"type": ENGINE, "rows_per_piece": 15},
                "entity_key_serialization_version": 3,
                "repo_path": str(tmp_path),
            }
        )
    )
    progress = tmp_path / "materialize" / "shop.known.json"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(MATERIALIZE), str(configuration)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        while process.poll() is None and not (progress.exists() and json.loads(progress.read_bytes())["done"] >= 5):
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    before = json.loads(progress.read_bytes())
    assert 5 <= before["done"] < before["pieces"] == 80
    store = shop._get_provider().online_store
    written, write_batch = [], store.online_write_batch
    store.online_write_batch = lambda config, view, data, progress: (
        written.append(len(data)),
        write_batch(config, view, data, progress),
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        shop.materialize(datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    assert sum(written) == len(keys) - before["rows"]
    assert online(shop, keys) == [one + 1 for one, _ in keys]
    assert not progress.exists()


def quietly(shop: FeatureStore, begin: datetime, end: datetime) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        shop.materialize(begin, end)


def test_another_online_store_gets_everything_and_not_only_what_is_new(tmp_path: Path):
    write([Fact(1, "a", START, START, 10), Fact(2, "a", START + 3 * HOUR, START + 3 * HOUR, 20)], tmp_path / "facts.parquet")
    shop = open_shop(tmp_path, 500_000)
    quietly(shop, START, START + 2 * HOUR)
    assert online(shop, [(1, "a"), (2, "a")]) == [10, None]
    other = open_shop(tmp_path, 500_000, "other.db")
    quietly(other, START + 2 * HOUR, START + 4 * HOUR)
    assert online(other, [(1, "a"), (2, "a")]) == [10, 20]


def test_a_stopped_materialization_of_one_online_store_or_cut_off_is_not_gone_on_with_in_another(tmp_path: Path):
    write([Fact(1, "a", START, START, 10)], tmp_path / "facts.parquet")
    shop = open_shop(tmp_path, 500_000)
    elsewhere = open_shop(tmp_path, 500_000, "other.db")
    loose = open_shop(tmp_path, 500_000, offline=AsofDuckDBOfflineStoreConfig(created_timestamp_cutoff=False))
    view = shop.get_feature_view("known")
    task = MaterializationTask(project="shop", feature_view=view, start_time=START, end_time=START + HOUR)
    facts = tmp_path / "facts.parquet"
    assert len({_work(task, facts, 1, each.config) for each in (shop, elsewhere, loose)}) == 3
    eastern = replace(task, start_time=START.astimezone(timezone(timedelta(hours=-5))))
    assert _work(eastern, facts, 1, shop.config) == _work(task, facts, 1, shop.config)
