"""What is known about a leg at four in the morning, as Feast feature views. The descriptions become the words of reasons."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

from batch_scoring.settings import dataset_path

MORNING = timedelta(hours=12)  # a row speaks for the morning it was made for, and for no other

carrier = Entity(name="carrier", value_type=ValueType.STRING, description="airline")
flight = Entity(name="flight", value_type=ValueType.INT64, description="flight number")
origin = Entity(name="origin", value_type=ValueType.STRING, description="airport of departure")
dest = Entity(name="dest", value_type=ValueType.STRING, description="airport of arrival")

CARRIER = Field(name="carrier", dtype=String)
FLIGHT = Field(name="flight", dtype=Int64)
ORIGIN = Field(name="origin", dtype=String)
DEST = Field(name="dest", dtype=String)


def dataset(name: str) -> FileSource:
    """The Parquet file of a dataset that table.py declares."""
    return FileSource(
        name=f"flights_{name}",
        path=dataset_path("flights", name),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )


schedule = FeatureView(
    name="flight_schedule",
    description="What is planned for the day, known the noon before.",
    entities=[carrier, flight, origin, dest],
    ttl=MORNING,
    source=dataset("schedule"),
    schema=[
        CARRIER,
        FLIGHT,
        ORIGIN,
        DEST,
        Field(name="departure_hour", dtype=Int64, description="planned hour of departure"),
        Field(name="departure_minute", dtype=Int64, description="planned departure, in minutes after midnight"),
        Field(name="weekday", dtype=Int64, description="day of the week, Monday = 1"),
        Field(name="month", dtype=Int64, description="month of the year"),
        Field(name="distance", dtype=Int64, description="distance, in miles"),
        Field(name="origin_hour_legs", dtype=Int64, description="flights planned from this airport in the same hour"),
        Field(name="route_day_legs", dtype=Int64, description="flights planned on this route today"),
    ],
)

leg_history = FeatureView(
    name="leg_history",
    description="How this flight number did lately on this route.",
    entities=[carrier, flight, origin, dest],
    ttl=MORNING,
    source=dataset("leg_history"),
    schema=[
        CARRIER,
        FLIGHT,
        ORIGIN,
        DEST,
        Field(name="leg_flights_91d", dtype=Int64, description="days flown of this flight, last 91 days"),
        Field(name="leg_late_share_28d", dtype=Float64, description="share of late days of this flight, last 28 days"),
        Field(name="leg_late_share_91d", dtype=Float64, description="share of late days of this flight, last 91 days"),
        Field(name="leg_delay_28d", dtype=Float64, description="mean delay of this flight, last 28 days"),
        Field(name="leg_cancelled_share_91d", dtype=Float64, description="share of cancelled days of this flight, last 91 days"),
        Field(name="leg_plane_seats_28d", dtype=Float64, description="mean seats of the planes of this flight, last 28 days"),
        Field(
            name="leg_plane_age_28d", dtype=Float64, description="mean age of the planes of this flight in years, last 28 days"
        ),
    ],
)

route_history = FeatureView(
    name="route_history",
    description="How the route did lately, all airlines together.",
    entities=[origin, dest],
    ttl=MORNING,
    source=dataset("route_history"),
    schema=[
        ORIGIN,
        DEST,
        Field(name="route_flights_28d", dtype=Int64, description="flights on this route, last 28 days"),
        Field(name="route_late_share_7d", dtype=Float64, description="share of late flights on this route, last 7 days"),
        Field(name="route_late_share_28d", dtype=Float64, description="share of late flights on this route, last 28 days"),
        Field(name="route_delay_28d", dtype=Float64, description="mean delay on this route, last 28 days"),
        Field(
            name="route_cancelled_share_28d", dtype=Float64, description="cancelled share of flights on this route, last 28 days"
        ),
    ],
)

carrier_history = FeatureView(
    name="carrier_history",
    description="How the airline did lately, on all its routes from New York.",
    entities=[carrier],
    ttl=MORNING,
    source=dataset("carrier_history"),
    schema=[
        CARRIER,
        Field(name="carrier_late_share_1d", dtype=Float64, description="share of late flights of this airline, yesterday"),
        Field(name="carrier_late_share_7d", dtype=Float64, description="share of late flights of this airline, last 7 days"),
        Field(name="carrier_late_share_28d", dtype=Float64, description="share of late flights of this airline, last 28 days"),
        Field(name="carrier_late_share_91d", dtype=Float64, description="share of late flights of this airline, last 91 days"),
        Field(name="carrier_delay_1d", dtype=Float64, description="mean delay of this airline, yesterday"),
        Field(
            name="carrier_cancelled_share_1d", dtype=Float64, description="cancelled share of this airline's flights, yesterday"
        ),
        Field(
            name="carrier_cancelled_share_28d",
            dtype=Float64,
            description="cancelled share of this airline's flights, last 28 days",
        ),
    ],
)

origin_history = FeatureView(
    name="origin_history",
    description="How the airport of departure did lately.",
    entities=[origin],
    ttl=MORNING,
    source=dataset("origin_history"),
    schema=[
        ORIGIN,
        Field(name="origin_late_share_1d", dtype=Float64, description="share of late flights from this airport, yesterday"),
        Field(name="origin_late_share_7d", dtype=Float64, description="share of late flights from this airport, last 7 days"),
        Field(name="origin_late_share_28d", dtype=Float64, description="share of late flights from this airport, last 28 days"),
        Field(name="origin_delay_1d", dtype=Float64, description="mean delay from this airport, yesterday"),
        Field(name="origin_delay_7d", dtype=Float64, description="mean delay from this airport, last 7 days"),
        Field(
            name="origin_cancelled_share_1d", dtype=Float64, description="cancelled share of flights from this airport, yesterday"
        ),
    ],
)

dest_history = FeatureView(
    name="dest_history",
    description="How flights from New York to this airport did lately.",
    entities=[dest],
    ttl=MORNING,
    source=dataset("dest_history"),
    schema=[
        DEST,
        Field(name="dest_late_share_1d", dtype=Float64, description="share of late flights to this airport, yesterday"),
        Field(name="dest_late_share_7d", dtype=Float64, description="share of late flights to this airport, last 7 days"),
        Field(name="dest_late_share_28d", dtype=Float64, description="share of late flights to this airport, last 28 days"),
        Field(name="dest_delay_1d", dtype=Float64, description="mean delay to this airport, yesterday"),
        Field(name="dest_delay_7d", dtype=Float64, description="mean delay to this airport, last 7 days"),
        Field(name="dest_cancelled_share_1d", dtype=Float64, description="cancelled share of flights to this airport, yesterday"),
    ],
)

weather = FeatureView(
    name="origin_weather",
    description="The last 24 hours of weather at the airport of departure.",
    entities=[origin],
    ttl=MORNING,
    source=dataset("weather"),
    schema=[
        ORIGIN,
        Field(name="temperature_24h", dtype=Float64, description="mean temperature at departure, last 24 hours (°F)"),
        Field(name="humidity_24h", dtype=Float64, description="mean humidity at departure, last 24 hours (%)"),
        Field(name="rain_24h", dtype=Float64, description="rain at departure, last 24 hours (inches)"),
        Field(name="wind_24h", dtype=Float64, description="strongest wind at departure, last 24 hours (mph)"),
        Field(name="visibility_24h", dtype=Float64, description="worst visibility at departure, last 24 hours (miles)"),
        Field(name="visibility_last", dtype=Float64, description="latest visibility at departure (miles)"),
        Field(name="pressure_change_24h", dtype=Float64, description="change of air pressure at departure, last 24 hours (mbar)"),
    ],
)

flights = FeatureService(
    name="flights",
    description="Everything known about a leg at four in the morning of its day.",
    features=[schedule, leg_history, route_history, carrier_history, origin_history, dest_history, weather],
)
