-- What became of each flight. The outcomes of a day are delivered at three in the morning of the next.
SELECT
    carrier, flight, dest,
    (day::DATE + INTERVAL 22 HOUR) AT TIME ZONE 'America/New_York' AS event_timestamp,
    (day::DATE + INTERVAL 27 HOUR) AT TIME ZONE 'America/New_York' AS created_timestamp,
    day::DATE AS flight_day,
    hour,
    dep_delay,
    arr_delay
FROM raw.flights
