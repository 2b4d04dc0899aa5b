"""One workspace for all Feast tests: what ``foretable init`` makes, and beside it a product of bare facts.

``facts`` has a composite key of two integers and takes event time and created time from its file, so a test can put any
history there and ask what Feast makes of it.
"""

from pathlib import Path

import pytest

from batch_scoring.settings import Settings, load_settings
from pipelines.features import FeastFeatures
from pipelines.ingest import ingest
from pipelines.init import initialise
from pipelines.repository import load_repository

TABLE = """
from datetime import timedelta
from batch_scoring import *

facts = PredictionTable(
    name="facts",
    description="Bare facts.",
    entity=Entity(name="pair", keys=(Key(name="one", type="integer"), Key(name="other", type="integer"))),
    schedule=Schedule(every="day", at="00:00"),
    population="sql/facts.sql",
    feature_service="facts",
    label=Label(sql="sql/facts.sql", horizon=timedelta(days=1), delay=timedelta(0)),
    sources=(RawFile(name="facts", location=LandedFile(path="facts.csv"), format=Csv(), checks="Facts"),),
    datasets=(Dataset(name="facts", sql="sql/facts.sql", keys=("one", "other")),),
)
"""
CHECKS = """
import pandera.polars as pa
from pandera.engines.polars_engine import DateTime

MOMENT = {"time_unit": "us", "time_zone": "UTC"}

class Facts(pa.DataFrameModel):
    one: int
    other: int
    event_timestamp: DateTime = pa.Field(dtype_kwargs=MOMENT)
    created_timestamp: DateTime = pa.Field(dtype_kwargs=MOMENT)
    size: int = pa.Field(nullable=True)
    share: float = pa.Field(nullable=True)
    word: str = pa.Field(nullable=True)
"""
FEATURES = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String
from batch_scoring.settings import dataset_path

one = Entity(name="one", value_type=ValueType.INT64)
other = Entity(name="other", value_type=ValueType.INT64)
known = FeatureView(
    name="known",
    entities=[one, other],
    ttl=timedelta(days=2),
    source=FileSource(
        name="facts",
        path=dataset_path("facts", "facts"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    ),
    schema=[
        Field(name="one", dtype=Int64),
        Field(name="other", dtype=Int64),
        Field(name="word", dtype=String, description="a word"),
        Field(name="size", dtype=Int64, description="a size"),
        Field(name="share", dtype=Float64, description="a share"),
    ],
)
facts = FeatureService(name="facts", features=[known])
"""


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("workspace")
    initialise(folder)
    product = folder / "feature_repo" / "facts"
    (product / "sql").mkdir(parents=True)
    (product / "table.py").write_text(TABLE)
    (product / "checks.py").write_text(CHECKS)
    (product / "features.py").write_text(FEATURES)
    (product / "sql" / "facts.sql").write_text("SELECT * FROM raw.facts")
    return load_settings(folder)


@pytest.fixture(scope="session")
def orders(workspace: Settings) -> FeastFeatures:
    product = load_repository(workspace.repo).product("orders")
    ingest(product, workspace)
    source = FeastFeatures(product=product, settings=workspace)
    source.apply()
    return source


@pytest.fixture(scope="session")
def facts(workspace: Settings, orders: FeastFeatures) -> FeastFeatures:
    return FeastFeatures(product=load_repository(workspace.repo).product("facts"), settings=workspace)
