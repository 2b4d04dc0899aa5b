-- The legs scheduled for the day.
SELECT carrier, flight, dest FROM plan WHERE event_timestamp = $as_of AND created_timestamp <= $as_of
