"""``foretable sql`` lists what an analyst should read, described, and nothing else."""

from pathlib import Path

from support.stores import build_and_publish, new_store

from pipelines.catalog_query import LISTING, run_query


def test_the_listing_describes_all_that_it_names(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    build_and_publish(store, 0)
    listed = dict(run_query(store.root, LISTING).rows)
    assert all(listed.values())
    assert {name for name in listed if name.startswith("main.")} == {
        f"main.flight_delays{suffix}" for suffix in ("", "_all_versions", "_explanations", "_features")
    }
    assert not any(name.startswith("served_files.") for name in listed)
