-- The orders. The book of a day is delivered at five in the morning of the next.
SELECT
    order_id,
    ordered_at AS event_timestamp,
    (ordered_at::DATE + INTERVAL 29 HOUR)::TIMESTAMPTZ AS created_timestamp,
    customer,
    ordered_at::DATE AS ordered_on,
    ordered_at::DATE + 1 AS delivered_on,
    amount::DECIMAL(12, 2) AS amount,
    channel
FROM raw.orders
