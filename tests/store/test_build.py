"""What a build promises: one immutable, sorted, indexed, hashed unit, or nothing."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.drafts import FAILED, FEATURE_COLUMNS, LEG, legs, staged_version
from support.stores import FLIGHTS, build, new_store, put_live

from batch_scoring.declare import Entity, Key, TableName
from batch_scoring.domain import EXPLANATIONS, FEATURES, MANIFEST, PREDICTIONS, VersionId
from batch_scoring.errors import StoreCorrupt, StoreUnavailable, UnknownTable
from batch_scoring.keys import encode_key
from batch_scoring.store import Files, Reader, Store, build_version, verify, version_folder
from batch_scoring.store.index import index_key, iterate, open_index, write_index
from batch_scoring.store.sorting import canonical_key

TEXT_AND_NUMBER = Entity(name="thing", keys=(Key(name="name", type="string"), Key(name="number", type="integer")))
ONE_TEXT = Entity(name="thing", keys=(Key(name="name", type="string"),))


def table(store: Store, version: int, name: str) -> pa.Table:
    return pq.read_table(version_folder(store.root, FLIGHTS, version) / name)


def test_every_parquet_file_is_sorted_by_canonical_key(store: Store) -> None:
    build(store)
    expected = sorted(encode_key(LEG, key).encode() for key in legs(20))
    for name in (PREDICTIONS, EXPLANATIONS, FEATURES):
        assert [key.encode() for key in table(store, 1, name)["key"].to_pylist()] == expected


def test_rows_keep_what_was_staged_and_gain_key_as_of_and_version(store: Store, tmp_path: Path) -> None:
    staged = staged_version(tmp_path / "staged")
    build_version(store, staged)
    for name in (PREDICTIONS, EXPLANATIONS, FEATURES):
        before, after = pq.read_table(staged.folder / name), table(store, 1, name)
        assert after.column_names == ["key", *before.column_names, "as_of", "version"]
        by_key = {(row["carrier"], row["flight"]): row for row in before.to_pylist()}
        for row in after.to_pylist():
            added = {row.pop(part) for part in ("key", "as_of", "version")}
            assert added == {f"{row['carrier']}/{row['flight']}", staged.draft.as_of, 1}
            assert row == by_key[row["carrier"], row["flight"]]


def test_the_same_rows_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    hashes = set()
    for order in (None, 1, 2):
        folder = tmp_path / str(order)
        store = new_store(folder)
        manifest = build_version(store, staged_version(folder / "staged", shuffle=order, keys=legs(3000)))
        hashes.add(tuple(fact.sha256 for fact in manifest.files if fact.name.endswith(".parquet")))
    assert len(hashes) == 1


def test_many_row_groups_sorted_by_two_threads_in_little_memory_give_the_same_bytes(tmp_path: Path) -> None:
    hashes = set()
    for threads, order in ((1, "hash(range)"), (2, "range")):
        target = tmp_path / f"{threads}.parquet"
        with duckdb.connect(
            config={"threads": threads, "memory_limit": "100MB", "temp_directory": str(tmp_path / "spill")}
        ) as con:
            con.execute(f"COPY (SELECT md5(range::VARCHAR) k FROM range(300000) ORDER BY {order}) TO '{tmp_path}/source.parquet'")
            con.execute(
                f"COPY (SELECT * FROM '{tmp_path}/source.parquet' ORDER BY k) TO '{target}'"
                " (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)"
            )
        hashes.add(sha256(target.read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_the_lookup_index_holds_the_final_json_of_every_entity(store: Store) -> None:
    put_live(store, build(store).version)
    snapshot = Reader(store.root).snapshot()
    for row in table(store, 1, PREDICTIONS).to_pylist():
        found = snapshot.prediction(FLIGHTS, row["key"])
        assert found is not None
        assert json.loads(found) == {
            "table": "flight_delays",
            "key": {"carrier": row["carrier"], "flight": row["flight"]},
            "version": 1,
            "as_of": "2013-03-01T09:00:00Z",
            **{name: row[name] for name in ("score", "decision", "threshold", "rank", "reasons")},
        }


def test_explanations_carry_every_contribution_exactly_largest_first_and_add_up(store: Store) -> None:
    put_live(store, build(store).version)
    snapshot = Reader(store.root).snapshot()
    values = {row["key"]: row for row in table(store, 1, FEATURES).to_pylist()}
    scores = {row["key"]: row for row in table(store, 1, PREDICTIONS).to_pylist()}
    descriptions = {column.name: column.description for column in FEATURE_COLUMNS}
    for row in table(store, 1, EXPLANATIONS).to_pylist():
        found = json.loads(snapshot.explanation(FLIGHTS, row["key"]) or b"")
        assert found["key"] == {"carrier": row["carrier"], "flight": row["flight"]}
        assert (found["version"], found["base_value"]) == (1, row["base_value"])
        assert (found["score"], found["margin"]) == (scores[row["key"]]["score"], scores[row["key"]]["margin"])
        parts = found["contributions"]
        assert [abs(part["contribution"]) for part in parts] == sorted(
            (abs(part["contribution"]) for part in parts), reverse=True
        )
        for part in parts:
            assert struct.pack("<f", part["contribution"]) == struct.pack("<f", row[part["feature"]])
            assert part["value"] == values[row["key"]][part["feature"]]
            assert part["description"] == descriptions[part["feature"]]
        assert found["margin"] == pytest.approx(found["base_value"] + sum(part["contribution"] for part in parts), abs=1e-5)


def test_an_unknown_key_has_no_answer(store: Store) -> None:
    put_live(store, build(store).version)
    snapshot = Reader(store.root).snapshot()
    assert snapshot.prediction(FLIGHTS, "UA/1") is None
    assert snapshot.explanation(FLIGHTS, "UA/1") is None
    assert snapshot.prediction(FLIGHTS, "") is None
    assert snapshot.predictions(FLIGHTS, ["x" * 5000, "UA/1000"])[0] is None


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=50, deadline=None)
@given(keys=st.lists(st.tuples(TEXTS, st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=30, unique=True))
def test_keys_made_and_sorted_in_sql_are_those_made_in_python(keys: list[tuple[str, int]]) -> None:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE staged (name VARCHAR, number BIGINT)")
        con.executemany("INSERT INTO staged VALUES (?, ?)", keys)
        found = con.execute(f"SELECT {canonical_key(TEXT_AND_NUMBER)} AS key FROM staged ORDER BY key").fetchall()
    assert [key for (key,) in found] == sorted(encode_key(TEXT_AND_NUMBER, key) for key in keys)


def test_random_keys_are_all_found_under_their_canonical_form(store: Store) -> None:
    chance = random.Random(5)
    keys = list({("".join(chance.choices("aé%/ ~漢\0-.", k=chance.randrange(6))), chance.randrange(-50, 50)) for _ in range(300)})
    build(store, keys=keys, entity=TEXT_AND_NUMBER)
    put_live(store, 1)
    answers = Reader(store.root).snapshot().predictions(FLIGHTS, [encode_key(TEXT_AND_NUMBER, key) for key in keys])
    assert [tuple(json.loads(found or b"")["key"].values()) for found in answers] == keys


@pytest.mark.parametrize("char", ["é", "%", "/", " ", "~", "漢", "\0", "😀", "'", '"', "#", "+"])
def test_an_awkward_character_in_a_key_survives(store: Store, char: str) -> None:
    keys = [(char,), (f"a{char}",), (f"{char}b",), ("",)]
    build(store, keys=keys, entity=ONE_TEXT)
    put_live(store, 1)
    snapshot = Reader(store.root).snapshot()
    for key in keys:
        assert json.loads(snapshot.prediction(FLIGHTS, encode_key(ONE_TEXT, key)) or b"")["key"] == {"name": key[0]}


def test_keys_longer_than_the_index_allows_are_found_among_short_ones(store: Store) -> None:
    keys = [("a" * n,) for n in (1, 399, 400, 479, 480, 481, 500, 5000)] + [("a" * 400 + "b" * n,) for n in (1, 80, 81, 300)]
    build(store, keys=keys, entity=ONE_TEXT)
    put_live(store, 1)
    snapshot = Reader(store.root).snapshot()
    for (name,) in keys:
        assert json.loads(snapshot.prediction(FLIGHTS, name) or b"")["key"] == {"name": name}
        assert json.loads(snapshot.explanation(FLIGHTS, name) or b"")["key"] == {"name": name}


@given(st.lists(st.text("ab%/", max_size=900), min_size=2, max_size=2, unique=True))
def test_different_keys_never_share_an_index_key(pair: list[str]) -> None:
    first, second = map(index_key, pair)
    assert first != second
    assert max(len(first), len(second)) <= 511


def test_the_manifest_knows_the_size_and_hash_of_every_file_beside_it(store: Store) -> None:
    manifest = build(store)
    folder = version_folder(store.root, FLIGHTS, manifest.version)
    assert {fact.name for fact in manifest.files} == {path.name for path in folder.iterdir()} - {MANIFEST, "SHA256SUMS"}
    for fact in manifest.files:
        data = (folder / fact.name).read_bytes()
        assert (fact.bytes, fact.sha256) == (len(data), sha256(data).hexdigest())


def test_coreutils_can_check_a_version_without_foretable(store: Store) -> None:
    build(store)
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=version_folder(store.root, FLIGHTS, 1), check=False
    )
    assert done.returncode == 0


def test_files_of_a_version_cannot_be_written_by_accident(store: Store) -> None:
    build(store)
    for path in version_folder(store.root, FLIGHTS, 1).iterdir():
        assert path.stat().st_mode & 0o222 == 0


def test_a_version_that_failed_its_gates_is_stored_with_its_report(store: Store) -> None:
    manifest = build(store, gates=(FAILED,))
    assert not manifest.passed
    assert manifest.draft.gates == (FAILED,)
    assert verify(store) == ()


def test_versions_are_numbered_per_table_and_a_number_is_never_given_twice(store: Store) -> None:
    assert [build(store, day).version for day in range(3)] == [1, 2, 3]
    assert build(store, 0, "customers").version == 1
    (version_folder(store.root, FLIGHTS, 1).parent / "building-000007").mkdir()
    assert build(store, 3).version == 8


def test_an_empty_population_is_a_version_like_any_other(store: Store) -> None:
    build(store, keys=())
    put_live(store, 1)
    assert Reader(store.root).snapshot().prediction(FLIGHTS, "UA/1") is None
    assert verify(store) == ()


def rewrite(path: Path, change: object) -> None:
    pq.write_table(change(pq.read_table(path)), path)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (PREDICTIONS, lambda t: t.slice(1), "expected 20 rows, found 19"),
        (EXPLANATIONS, lambda t: t.slice(1), "expected 20 rows, found 19"),
        (PREDICTIONS, lambda t: t.drop_columns(["rank"]), "missing rank"),
        (FEATURES, lambda t: t.append_column("tailnum", t["season"]), "unknown tailnum"),
        (EXPLANATIONS, lambda t: t.rename_columns([*t.column_names[:-1], "version"]), "missing season; unknown version"),
        (
            PREDICTIONS,
            lambda t: t.set_column(1, "flight", pa.array(map(str, t["flight"].to_pylist()))),
            "key flight of type BIGINT",
        ),
        (PREDICTIONS, lambda t: pa.concat_tables([t.slice(0, 19), t.slice(0, 1)]), "keys in all three files"),
        (
            FEATURES,
            lambda t: t.set_column(0, "carrier", pa.array([None, *t["carrier"].to_pylist()[1:]], pa.string())),
            "keys in all three",
        ),
        (
            EXPLANATIONS,
            lambda t: t.set_column(3, "delay_7d", pa.nulls(20, pa.float32())),
            "expected a number for every contribution",
        ),
    ],
)
def test_staged_files_that_disagree_are_refused_whole(store: Store, tmp_path: Path, name: str, change: object, says: str) -> None:
    staged = staged_version(tmp_path / "staged")
    rewrite(staged.folder / name, change)
    with pytest.raises(StoreCorrupt, match=says):
        build_version(store, staged)
    assert list(version_folder(store.root, FLIGHTS, 1).parent.iterdir()) == []


def test_a_key_that_comes_twice_in_every_file_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    staged = staged_version(tmp_path / "staged")
    for name in (PREDICTIONS, EXPLANATIONS, FEATURES):
        rewrite(staged.folder / name, lambda t: pa.concat_tables([t.slice(0, 19), t.slice(4, 1)]))
    with pytest.raises(StoreCorrupt, match="expected one row per key, found 'UA/996' more than once"):
        build_version(store, staged)


def test_a_null_key_in_every_file_is_refused(store: Store, tmp_path: Path) -> None:
    staged = staged_version(tmp_path / "staged")
    for name in (PREDICTIONS, EXPLANATIONS, FEATURES):
        rewrite(
            staged.folder / name,
            lambda t: t.set_column(0, "carrier", pa.array([None, *t["carrier"].to_pylist()[1:]], pa.string())),
        )
    with pytest.raises(StoreCorrupt, match="expected no null in a key"):
        build_version(store, staged)


def test_a_missing_staged_file_is_named(store: Store, tmp_path: Path) -> None:
    for name in (FEATURES, "model.ubj"):
        staged = staged_version(tmp_path / name)
        (staged.folder / name).unlink()
        with pytest.raises(StoreCorrupt, match=name):
            build_version(store, staged)


def test_a_feature_may_not_be_called_like_a_column_the_store_adds(store: Store, tmp_path: Path) -> None:
    staged = staged_version(tmp_path / "staged")
    columns = tuple(replace(column, name="version") if column.name == "season" else column for column in staged.draft.columns)
    with pytest.raises(StoreCorrupt, match="other than key, as_of, version"):
        build_version(store, replace(staged, draft=replace(staged.draft, columns=columns)))


def test_scores_that_are_not_numbers_are_kept_for_the_record_and_answered_as_null(store: Store, tmp_path: Path) -> None:
    staged = staged_version(tmp_path / "staged", gates=(FAILED,))
    rewrite(staged.folder / PREDICTIONS, lambda t: t.set_column(2, "score", pa.array([float("nan"), None] + [float("inf")] * 18)))
    manifest = build_version(store, staged)
    from batch_scoring.store.index import iterate, open_index

    env = open_index(version_folder(store.root, FLIGHTS, manifest.version) / "lookup.mdb")
    assert {json.loads(value)["score"] for _, value in iterate(env)} == {None}
    env.close()


def test_a_build_without_a_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="expected a store, found none"):
        build_version(Store(tmp_path / "none"), staged_version(tmp_path / "staged"))


def test_a_record_is_small(store: Store) -> None:
    build(store)
    from batch_scoring.store.index import iterate, open_index

    env = open_index(version_folder(store.root, FLIGHTS, 1) / "explanations.mdb")
    for _, record in iterate(env):
        *_, values, packed = msgspec.msgpack.decode(record)
        assert len(values) == 3
        assert len(packed) == 3 * 4
    env.close()


class Rivals(Files):
    """Somebody else is always first: claims the number, finishes it, or takes the fresh folder for a leftover."""

    def __init__(self, *deeds: str) -> None:
        self.deeds = [*deeds]

    def make_folder(self, path: Path) -> None:
        deed = self.deeds.pop(0) if path.name.startswith("building-") and self.deeds else ""
        if deed == "claims":
            super().make_folder(path)
        if deed == "finishes":
            super().make_folder(path.with_name(path.name.removeprefix("building-")))
        super().make_folder(path)
        if deed == "repairs":
            self.remove_folder(path)


def test_a_number_that_somebody_else_takes_first_is_left_to_them(store: Store) -> None:
    rivals = Rivals("claims", "finishes", "repairs")
    assert build(Store(store.root, rivals)).version == 4
    assert rivals.deeds == []
    names = sorted(path.name for path in version_folder(store.root, FLIGHTS, VersionId(1)).parent.iterdir())
    assert names == ["000002", "000004", "building-000001"]


def test_a_table_needs_a_name_that_can_be_a_folder(store: Store, tmp_path: Path) -> None:
    staged = staged_version(tmp_path / "staged")
    with pytest.raises(UnknownTable):
        build_version(store, replace(staged, draft=replace(staged.draft, table=TableName("../x"))))


def test_an_index_grows_as_far_as_its_rows_need(tmp_path: Path) -> None:
    rows = [(f"{n:06d}".encode(), bytes(4_000)) for n in range(6_000)]
    assert write_index(tmp_path / "index.mdb", rows, ordered=True) == 6_000
    env = open_index(tmp_path / "index.mdb")
    assert sum(1 for _ in iterate(env)) == 6_000
    env.close()


@pytest.mark.parametrize("ordered", [True, False])
def test_an_index_refuses_a_key_that_comes_twice(tmp_path: Path, ordered: bool) -> None:
    with pytest.raises(StoreCorrupt, match="expected every key once, in order"):
        write_index(tmp_path / "index.mdb", [(b"a", b"1"), (b"b", b"2"), (b"b", b"3")], ordered=ordered)
