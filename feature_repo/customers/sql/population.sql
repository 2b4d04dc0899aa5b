-- Everybody who has bought before, on a Monday that the book reaches.
SELECT customer_id FROM activity WHERE event_timestamp = $as_of
