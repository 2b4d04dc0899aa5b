-- What is planned for the day, known the noon before.
SELECT
    carrier, flight, dest,
    as_of AS event_timestamp,
    as_of - INTERVAL 16 HOUR AS created_timestamp,
    hour, distance,
    isodow(calendar.day) AS weekday,
    carrier AS airline
FROM raw.flights AS flights
JOIN calendar ON calendar.day = flights.day::DATE
