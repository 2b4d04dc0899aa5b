"""The SQL of flights against a plain Python model of what happened, and of when anybody in New York could know it.

The model runs forward: it invents flights, lets them land, and writes down what the raw file would say. The SQL has to
work its way back from the file to the same delivery nights and the same trailing numbers.
"""

import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_scoring.settings import Settings
from pipelines.ingest import derive, register_raw
from pipelines.queries import ask_labels, ask_population
from pipelines.repository import Product, load_repository
from pipelines.sql import connection
from pipelines.validation import CheckedFile, column_types, load_checks

ROOT = Path(__file__).parents[2]
NEW_YORK = ZoneInfo("America/New_York")
ZONES = {"ORD": "America/Chicago", "HNL": "Pacific/Honolulu", "BQN": "America/Puerto_Rico"}
PLANES = {"N1": (2000, 100), "N2": (None, 50)}
Row = dict[str, object]


@dataclass(frozen=True)
class Flight:
    carrier: str
    number: int
    origin: str
    dest: str
    day: date
    scheduled: time
    fate: str
    tail: str | None
    delay: int
    arrival_delay: int
    air: int
    taxi: int

    @property
    def leg(self) -> tuple[str, int, str, str]:
        return (self.carrier, self.number, self.origin, self.dest)

    @property
    def departs(self) -> datetime:
        return datetime.combine(self.day, self.scheduled, NEW_YORK).astimezone(UTC)

    @cached_property
    def known(self) -> datetime:
        """The first 03:00 in New York after the outcome is final."""
        match self.fate:
            case "cancelled":
                final = self.departs + timedelta(hours=4)
            case "diverted":
                final = self.departs + timedelta(minutes=self.delay, hours=12)
            case _:
                final = self.departs + timedelta(minutes=self.delay + self.air + self.taxi)
        night = datetime.combine(self.day, time(3), NEW_YORK)
        while night.astimezone(UTC) <= final:
            night += timedelta(days=1)  # wall-clock arithmetic: 03:00 stays 03:00
        return night.astimezone(UTC)

    @property
    def late(self) -> bool:
        return self.fate != "flown" or self.arrival_delay > 15

    @property
    def delayed(self) -> int | None:
        return self.arrival_delay if self.fate == "flown" else None

    @cached_property
    def raw(self) -> Row:
        """Its line in the file."""
        flown, left = self.fate == "flown", self.fate != "cancelled"
        gate = self.departs + timedelta(minutes=self.delay + self.air + self.taxi)
        return {
            "year": self.day.year,
            "month": self.day.month,
            "day": self.day.day,
            "dep_time": 1 if left else None,
            "sched_dep_time": self.scheduled.hour * 100 + self.scheduled.minute,
            "dep_delay": self.delay if left else None,
            "arr_time": clock(gate, self.dest) if flown else None,
            "sched_arr_time": 1,
            "arr_delay": self.delayed,
            "carrier": self.carrier,
            "flight": self.number,
            "tailnum": self.tail,
            "origin": self.origin,
            "dest": self.dest,
            "air_time": self.air if flown else None,
            "distance": 700,
            "hour": self.scheduled.hour,
            "minute": self.scheduled.minute,
            "time_hour": self.departs - timedelta(minutes=self.scheduled.minute),
        }


def clock(moment: datetime, airport: str) -> int:
    """HHMM on the airport's clock; midnight is 2400, as in the file."""
    local = moment.astimezone(ZoneInfo(ZONES[airport]))
    return local.hour * 100 + local.minute or 2400


legs = st.sampled_from([("AA", 1, "EWR", "ORD"), ("AA", 11, "EWR", "ORD"), ("UA", 1, "EWR", "HNL"), ("UA", 11, "JFK", "BQN")])
flights_of_a_season = st.sampled_from([date(2013, 3, 7), date(2013, 10, 31), date(2013, 7, 1)]).flatmap(
    lambda first: st.lists(
        st.builds(
            lambda leg, ahead, **what: Flight(*leg, first + timedelta(days=ahead), **what),
            legs,
            st.integers(0, 9),
            scheduled=st.builds(time, st.integers(5, 23), st.integers(0, 59)),
            fate=st.sampled_from(["flown", "flown", "flown", "cancelled", "diverted"]),
            tail=st.sampled_from(["N1", "N2", "N3", None]),
            delay=st.one_of(st.integers(-20, 60), st.integers(0, 1200)),
            arrival_delay=st.integers(-60, 300),
            air=st.integers(20, 660),
            taxi=st.integers(5, 240),
        ),
        min_size=1,
        max_size=30,
        unique_by=lambda flight: (flight.leg, flight.day),
    )
)


def a_hundred_days(first: date) -> list[Flight]:
    """Five legs that fly nearly every day, with all kinds of trouble: every edge of every span is met."""
    draw = random.Random(7)
    routes = [
        ("AA", 1, "EWR", "ORD"),
        ("AA", 11, "EWR", "ORD"),
        ("UA", 1, "EWR", "HNL"),
        ("UA", 1, "JFK", "HNL"),
        ("UA", 11, "JFK", "BQN"),
    ]
    return [
        Flight(
            *leg,
            first + timedelta(days=ahead),
            scheduled=time(draw.randint(5, 23), draw.randint(0, 59)),
            fate=draw.choice(["flown", "flown", "flown", "flown", "cancelled", "diverted"]),
            tail=draw.choice(["N1", "N2", "N3", None]),
            delay=draw.choice([0, draw.randint(-20, 60), draw.randint(0, 900)]),
            arrival_delay=draw.randint(-60, 120),
            air=draw.randint(60, 600),
            taxi=draw.randint(5, 60),
        )
        for ahead in range(100)
        for leg in routes
        if draw.random() < 0.95
    ]


@pytest.fixture(scope="module")
def flights() -> Product:
    return load_repository(ROOT / "feature_repo").product("flights")


@pytest.fixture(scope="module")
def schemas(flights: Product) -> dict[str, object]:
    return load_checks(flights)


def ingested(product: Product, schemas: dict, folder: Path, history: list[Flight], as_of: datetime) -> dict[str, list[Row]]:
    """Every dataset as rows, and the answers of label and population."""
    frames = {raw.name: pl.DataFrame(schema=column_types(schemas[raw.checks])) for raw in product.table.sources}
    frames["flights"] = pl.DataFrame([flight.raw for flight in history], schema=frames["flights"].schema)
    planes = [{"tailnum": tail, "year": year, "seats": seats} for tail, (year, seats) in PLANES.items()]
    frames["planes"] = pl.DataFrame(planes, schema=frames["planes"].schema)
    airports = [{"faa": "ORD", "tzone": ZONES["ORD"]}, {"faa": "HNL", "tzone": ZONES["HNL"]}]
    frames["airports"] = pl.DataFrame(airports, schema=frames["airports"].schema)
    found = {}
    with connection(product, Settings(workspace=folder), folder) as con:
        for raw in product.table.sources:
            frame, part = frames[raw.name], folder / f"{raw.name}.parquet"
            frame.write_parquet(part)
            register_raw(con, CheckedFile(raw=raw, parts=(part,), rows=len(frame), bytes=0, sha256=""))
        for dataset in product.table.datasets:
            derive(con, product, dataset)
            found[dataset.name] = con.sql(f"SELECT * FROM {dataset.name}").to_arrow_table().to_pylist()
        found["label"] = ask_labels(con, product).to_pylist()
        found["population"] = ask_population(con, product, as_of).to_pylist()
    return found


def share(part: list[Flight], whole: list[Flight]) -> float | None:
    return len(part) / len(whole) if whole else None


def mean(values: list[int]) -> float | None:
    return sum(values) / len(values) if values else None


def expected(name: str, seen: list[Flight]) -> float | None:
    """A trailing feature by its name, of the flights that it may have seen."""
    match name:
        case "late_share":
            return share([flight for flight in seen if flight.late], seen)
        case "cancelled_share":
            return share([flight for flight in seen if flight.fate == "cancelled"], seen)
        case "delay":
            return mean([flight.delayed for flight in seen if flight.delayed is not None])
        case "flights":
            return len(seen)
        case "plane_seats":
            return mean([PLANES[flight.tail][1] for flight in seen if flight.tail in PLANES])
        case "plane_age":
            built = [(flight.day.year, PLANES[flight.tail][0]) for flight in seen if flight.tail in PLANES]
            return mean([year - made for year, made in built if made])
    raise AssertionError(name)


HISTORIES = {
    "leg_history": ("carrier", "flight", "origin", "dest"),
    "route_history": ("origin", "dest"),
    "carrier_history": ("carrier",),
    "origin_history": ("origin",),
    "dest_history": ("dest",),
}
SLOW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_mornings_see_their_last_nights(product: Product, found: dict[str, list[Row]], history: list[Flight]) -> None:
    schedule = product.table.schedule
    for dataset, keys in HISTORIES.items():
        of: dict[tuple[object, ...], list[Flight]] = {}
        for flight in history:
            of.setdefault(tuple(flight.raw[key] for key in keys), []).append(flight)
        mornings = {(entity, schedule.as_of(flight.day)) for entity, flights in of.items() for flight in flights}
        assert {(tuple(row[key] for key in keys), row["event_timestamp"]) for row in found[dataset]} == mornings
        for row in found[dataset]:
            as_of, mine = row["event_timestamp"], of[tuple(row[key] for key in keys)]
            day = as_of.astimezone(NEW_YORK).date()
            assert row["created_timestamp"] == as_of
            for name in row.keys() - {*keys, "event_timestamp", "created_timestamp"}:
                feature, _, span = name.removeprefix(dataset.removesuffix("history")).rpartition("_")
                since = schedule.as_of(day - timedelta(days=int(span.removesuffix("d"))))
                seen = [flight for flight in mine if since < flight.known <= as_of]
                assert row[name] == pytest.approx(expected(feature, seen), abs=1e-12), (dataset, name, day)


@SLOW
@given(history=flights_of_a_season)
def test_a_morning_sees_exactly_the_deliveries_of_its_last_nights(flights, schemas, tmp_path, history: list[Flight]):
    found = ingested(flights, schemas, tmp_path, history, datetime(2013, 1, 1, tzinfo=UTC))
    assert_mornings_see_their_last_nights(flights, found, history)


@pytest.mark.parametrize("first", [date(2013, 2, 1), date(2013, 8, 20)], ids=["spring", "autumn"])
def test_a_hundred_days_through_a_change_of_the_clocks_agree_with_the_model(flights, schemas, tmp_path, first: date):
    history = a_hundred_days(first)
    found = ingested(flights, schemas, tmp_path, history, datetime(2013, 1, 1, tzinfo=UTC))
    assert sum(flight.known > flights.table.schedule.as_of(flight.day + timedelta(days=1)) for flight in history) > 20
    assert_mornings_see_their_last_nights(flights, found, history)


LANDED_AS_CLOCKS_WENT_BACK = Flight("AA", 1, "EWR", "ORD", date(2013, 11, 2), time(20), "flown", "N1", 0, 0, 361, 59)
LANDED_AS_CLOCKS_WENT_FORWARD = Flight("AA", 1, "EWR", "ORD", date(2013, 3, 9), time(20), "flown", "N1", 0, 0, 415, 10)


@pytest.mark.parametrize(
    ("flight", "at_the_gate"),
    [
        (LANDED_AS_CLOCKS_WENT_BACK, datetime(2013, 11, 3, 7, 0, tzinfo=UTC)),  # 01:01 touched down, 01:00 at the gate
        (LANDED_AS_CLOCKS_WENT_FORWARD, datetime(2013, 3, 10, 8, 5, tzinfo=UTC)),  # 01:55 touched down, 03:05 at the gate
    ],
    ids=["autumn", "spring"],
)
def test_a_change_of_the_clocks_between_touchdown_and_gate_moves_no_outcome(flights, schemas, tmp_path, flight, at_the_gate):
    (row,) = ingested(flights, schemas, tmp_path, [flight], flight.departs)["outcomes"]
    assert (row["event_timestamp"], row["created_timestamp"]) == (at_the_gate, flight.known)


@SLOW
@given(history=flights_of_a_season)
def test_an_outcome_is_known_at_the_first_delivery_after_the_aircraft_is_at_the_gate(flights, schemas, tmp_path, history):
    as_of = flights.table.schedule.as_of(history[0].day)
    found = ingested(flights, schemas, tmp_path, history, as_of)
    delivered = {(row["carrier"], row["flight"], row["origin"], row["dest"], row["flight_day"]): row for row in found["outcomes"]}
    labels = {(row["carrier"], row["flight"], row["origin"], row["dest"], row["event_timestamp"]): row for row in found["label"]}
    assert len(delivered) == len(labels) == len(history)
    for flight in history:
        row = delivered[(*flight.leg, flight.day)]
        assert row["created_timestamp"] == flight.known
        assert row["event_timestamp"] < flight.known
        label = labels[(*flight.leg, flights.table.schedule.as_of(flight.day))]
        assert (label["label"], label["label_known_at"]) == (int(flight.late), flight.known)
        assert label["label_known_at"] > label["event_timestamp"]
    today = {flight.leg for flight in history if flight.day == history[0].day}
    assert [tuple(row.values()) for row in found["population"]] == sorted(today, key=lambda leg: "/".join(map(str, leg)))


@SLOW
@given(history=flights_of_a_season, pick=st.integers(0, 10**6))
def test_nothing_before_its_delivery_depends_on_an_outcome(flights, schemas, tmp_path, history: list[Flight], pick: int):
    """The leak test proper: change what became of one flight, and no row of an earlier morning may change."""
    chosen = history[pick % len(history)]
    other = replace(
        chosen, fate="cancelled" if chosen.fate == "flown" else "flown", arrival_delay=299, tail="N1", delay=0, taxi=5, air=20
    )
    changed = [other if flight is chosen else flight for flight in history]
    first_known = min(chosen.known, other.known)
    before, after = (ingested(flights, schemas, tmp_path, case, first_known) for case in (history, changed))
    for dataset in ("schedule", "weather", *HISTORIES):
        earlier = [
            sorted((row for row in rows[dataset] if row["event_timestamp"] < first_known), key=str) for rows in (before, after)
        ]
        assert earlier[0] == earlier[1]


def test_the_plan_of_a_day_is_known_at_noon_before(flights, schemas, tmp_path):
    day = date(2013, 11, 3)  # clocks go back at 02:00 of this day
    base = Flight("AA", 1, "EWR", "ORD", day, time(7, 30), "flown", None, 0, 0, 100, 20)
    history = [
        base,
        replace(base, number=11),
        replace(base, carrier="UA", dest="HNL"),
        replace(base, number=12, scheduled=time(8)),
    ]
    rows = ingested(flights, schemas, tmp_path, history, base.departs)["schedule"]
    assert {row["created_timestamp"] for row in rows} == {datetime(2013, 11, 2, 16, tzinfo=UTC)}
    assert {row["event_timestamp"] for row in rows} == {datetime(2013, 11, 3, 9, tzinfo=UTC)}
    plan = {row["flight"]: row for row in rows if row["carrier"] == "AA"}
    assert (plan[1]["departure_minute"], plan[1]["weekday"], plan[1]["month"]) == (450, 7, 11)
    assert (plan[1]["origin_hour_legs"], plan[1]["route_day_legs"], plan[12]["origin_hour_legs"]) == (3, 3, 1)
