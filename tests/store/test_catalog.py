"""What analysts are promised: one DuckDB file per release, every view working and commented, from any folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from support.drafts import DAY_ONE, FAILED, LEG, legs, staged_version
from support.stores import FLIGHTS, build, build_and_publish, new_store, put_live, roll_back

from batch_scoring.data_checks import DataReport, Finding
from batch_scoring.declare import Entity, Key, TableName
from batch_scoring.domain import FeatureSkew, Skew, VersionId
from batch_scoring.store import Store, build_version, version_folder, write_catalog
from batch_scoring.store.layout import read_current

VIEWS = ("", "_explanations", "_features", "_all_versions")


@contextmanager
def catalog(store: Store) -> Iterator[Any]:
    number = (store.root / "current").resolve().name
    with duckdb.connect(store.root / "releases" / number / "predictions.duckdb", read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        yield con


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with catalog(store) as con:
        return list(con.execute(query).fetchall())


def test_an_empty_store_has_a_catalog_with_an_empty_record(store: Store) -> None:
    assert rows(store, "SELECT release, action, is_current FROM meta.releases") == [(1, "create", True)]
    for table in ("versions", "gates", "windows", "holdout", "columns"):
        assert rows(store, f"SELECT * FROM meta.{table}") == []


def test_the_live_views_hold_exactly_the_live_files(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1)
    folder = version_folder(store.root, FLIGHTS, VersionId(2))
    for name, view in (("predictions", ""), ("explanations", "_explanations"), ("features", "_features")):
        with catalog(store) as con:
            assert (
                con.sql(f"SELECT * FROM flight_delays{view} ORDER BY key").to_arrow_table().to_pylist()
                == pq.read_table(folder / f"{name}.parquet").to_pylist()
            )


def test_all_versions_holds_every_kept_version_that_passed(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 1, gates=(FAILED,))
    build(store, 2)
    build_and_publish(store, 3, keys=legs(5))
    assert rows(store, "SELECT version, count(*) FROM flight_delays_all_versions GROUP BY ALL ORDER BY ALL") == [
        (1, 20),
        (3, 20),
        (4, 5),
    ]


def test_as_of_gives_the_version_that_spoke_for_that_moment(store: Store) -> None:
    for day in (0, 2, 4):
        build_and_publish(store, day)
    build(store, 3)  # never live
    build_and_publish(store, 5)
    roll_back(store)  # bars version 5
    expected = {
        "2013-02-28": [],
        "2013-03-01": [],
        "2013-03-02": [1],
        "2013-03-03": [1],
        "2013-03-05": [2],
        "2013-03-06": [3],
        "2030-01-01": [3],
    }
    for day, versions in expected.items():
        found = rows(store, f"SELECT DISTINCT version FROM flight_delays_as_of('{day} 00:00:00+00')")
        assert [version for (version,) in found] == versions, day


def test_of_two_versions_with_one_as_of_the_later_speaks(store: Store) -> None:
    build_and_publish(store, 0)
    build(store, 0, seed=9)
    put_live(store, 2)
    assert rows(store, "SELECT DISTINCT version FROM flight_delays_as_of(TIMESTAMPTZ '2013-03-01 09:00:00+00')") == [(2,)]


@pytest.mark.parametrize("live", [True, False])
def test_every_view_works_with_and_without_a_live_version(store: Store, live: bool) -> None:
    build(store, 0)
    put_live(store, 1, channel="live" if live else "shadow")
    for view in VIEWS:
        assert rows(store, f"SELECT count(*) FROM flight_delays{view}") == [(20 if live or view == "_all_versions" else 0,)]
    assert rows(store, "SELECT count(*) FROM flight_delays_as_of(TIMESTAMPTZ '2030-01-01 00:00:00+00')") == [(20 if live else 0,)]


def test_every_view_works_when_only_failed_versions_are_kept(store: Store) -> None:
    build(store, 0, gates=(FAILED,))
    build_and_publish(store, 0, "customers")
    for view in VIEWS:
        assert rows(store, f"SELECT count(*) FROM flight_delays{view}") == [(0,)]
    assert rows(store, "SELECT count(*) FROM flight_delays_as_of(TIMESTAMPTZ '2030-01-01 00:00:00+00')") == [(0,)]


def test_every_view_and_every_column_is_described(store: Store) -> None:
    build_and_publish(store, 0)
    ours = "schema_name <> 'served_files'"  # what the views themselves read
    for listing in ("duckdb_views()", "duckdb_tables()"):
        assert rows(store, f"SELECT count(*) FROM {listing} WHERE NOT internal AND {ours} AND coalesce(comment, '') = ''") == [
            (0,)
        ]
    missing = rows(
        store,
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND schema_name = 'main' AND comment IS NULL",
    )
    assert missing == []
    declared = rows(
        store,
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'flight_delays_features' AND column_name = 'delay_7d' "
        f"AND {ours}",
    )
    assert declared == [("mean delay of the leg over 7 days, minutes",)]


def test_the_record_says_what_became_of_every_version(store: Store) -> None:
    build_and_publish(store, 0)
    build_and_publish(store, 1)
    build(store, 2, gates=(FAILED,))
    build(store, 3)
    put_live(store, 4, channel="shadow")
    roll_back(store)
    found = rows(store, "SELECT version, passed, served, live, shadow, barred, kept FROM meta.versions ORDER BY version")
    assert found == [
        (1, True, True, True, False, False, True),
        (2, True, True, False, False, True, True),
        (3, False, False, False, False, False, True),
        (4, True, False, False, True, False, True),
    ]
    assert rows(store, "SELECT gate, passed, observed, limit_value FROM meta.gates WHERE version = 3") == [
        ("beats_baseline", False, -0.01, 0.0)
    ]
    assert rows(store, "SELECT training_window, chosen FROM meta.windows WHERE version = 1 ORDER BY ALL") == [
        ("14", False),
        ("30", True),
        ("all", False),
    ]
    assert rows(store, "SELECT competitor, auc FROM meta.holdout WHERE version = 1 ORDER BY ALL") == [
        ("baseline", None),
        ("contender", 0.66),
    ]
    assert rows(
        store, "SELECT release, previous, action, from_version, to_version, who FROM meta.releases ORDER BY 1 DESC LIMIT 1"
    ) == [(5, 4, "rollback", 2, 1, "operator")]
    assert rows(store, "SELECT made_at FROM meta.releases WHERE release = 1") == [(DAY_ONE,)]


def test_names_with_quotes_brackets_and_stars_do_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s [a] "st*re"'
    folder.mkdir()
    store = new_store(folder)
    build_and_publish(store, 0)
    put_live(store, build(store, 1).version, why='because it\'s "better"; DROP TABLE x; --\0')
    assert rows(store, "SELECT version, count(*) FROM flight_delays_all_versions GROUP BY ALL ORDER BY ALL") == [(1, 20), (2, 20)]
    assert rows(store, "SELECT why FROM meta.releases WHERE is_current") == [('because it\'s "better"; DROP TABLE x; --\0',)]


def test_views_work_from_another_folder_and_inside_another_database(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_and_publish(store, 0)
    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{store.root}/current/predictions.duckdb' AS f (READ_ONLY)")
        for view in VIEWS:
            assert con.execute(f"SELECT count(*) FROM f.flight_delays{view}").fetchall() == [(20,)]
        assert con.execute("SELECT count(*) FROM f.flight_delays_as_of(TIMESTAMPTZ '2030-01-01 00:00:00+00')").fetchall() == [
            (20,)
        ]


def test_the_file_is_written_for_older_readers_too(store: Store) -> None:
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{store.root}/current/predictions.duckdb' AS f (READ_ONLY)")
        tags = con.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'f'").fetchall()
    assert "v1.5" in str(tags)


def test_a_table_whose_key_changed_keeps_its_history_in_one_view(store: Store) -> None:
    build_and_publish(store, 0)
    wider = Entity(name="leg", keys=(*LEG.keys, Key(name="origin", type="string")))
    build_and_publish(store, 1, keys=[("UA", 1, "EWR"), ("UA", 1, "JFK")], entity=wider)
    found = rows(store, "SELECT version, count(*), count(origin) FROM flight_delays_all_versions GROUP BY ALL ORDER BY ALL")
    assert found == [(1, 20, 0), (2, 2, 2)]


def test_a_damaged_live_version_of_another_table_says_so_instead_of_being_empty(store: Store) -> None:
    build_and_publish(store, 0, "customers")
    (version_folder(store.root, "customers", VersionId(1)) / "predictions.parquet").unlink()  # type: ignore[arg-type]
    build_and_publish(store, 0)
    assert rows(store, "SELECT count(*) FROM flight_delays") == [(20,)]
    for view in VIEWS:
        with pytest.raises(duckdb.Error, match="table customers: version 1 is damaged"):
            rows(store, f"SELECT * FROM customers{view}")
    assert rows(store, "SELECT kept FROM meta.versions WHERE table_name = 'customers'") == [(False,)]


def test_a_table_of_which_no_manifest_can_be_read_says_so(store: Store) -> None:
    build(store, 0, "customers")
    (version_folder(store.root, TableName("customers"), VersionId(1)) / "manifest.json").unlink()
    for day in range(2):
        build_and_publish(store, day)
        with pytest.raises(duckdb.Error, match="table customers: every kept version is damaged"):
            rows(store, "SELECT * FROM customers")


def test_what_is_no_version_is_passed_over(store: Store) -> None:
    versions = store.root / "tables" / "customers" / "versions"
    versions.mkdir(parents=True)
    build_and_publish(store, 0)
    (versions / "000001").symlink_to("nowhere")
    build_and_publish(store, 1)
    assert rows(store, "SELECT DISTINCT table_name FROM meta.versions") == [("flight_delays",)]


def test_a_folder_that_cannot_take_a_catalog_is_an_error(store: Store) -> None:
    with pytest.raises(duckdb.Error, match="nowhere"):
        write_catalog(store.root / "nowhere" / "predictions.duckdb", store.root, read_current(store.root))


def test_the_record_shows_served_features_beside_training_and_what_the_data_checks_saw(store: Store, tmp_path: Path) -> None:
    staged = staged_version(tmp_path / "staged")
    seen = FeatureSkew(feature="delay_7d", serve_as=None, differing=0, psi=0.1, served_nulls=0.0, trained_nulls=None)
    found = Finding(source="legs", check="volume", severity="warn", passed=False, must="1,000 rows", found="20")
    report = DataReport(delivery="d1", checked_at=DAY_ONE, accepted=True, findings=(found,))
    draft = replace(staged.draft, skew=Skew(compared=20, features=(seen,)), data=(report,))
    build_version(store, replace(staged, draft=draft))
    put_live(store, 1)
    assert rows(store, "SELECT version, source, delivery, passed FROM meta.data_checks") == [(1, "legs", "d1", False)]
    assert rows(store, "SELECT version, feature, psi, compared FROM meta.skew") == [(1, "delay_7d", 0.1, 20)]
