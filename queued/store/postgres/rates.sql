-- The statements for rates, of queues that start only so many jobs in a time; see queries.sql. The row of a
-- claim has the number of all starts before it, so that a window is counted by one step into the primary
-- key at each of its ends, and one more step finds the start whose age decides when the next one is
-- allowed: `rate_starts` before the next one. The clock is that of this server, and not what hosts know of it, which
-- may differ by milliseconds. Starts are judged by the beginning of the transaction, so that all statements of
-- a turn agree, and recorded later.

-- turn_ms --
(extract(epoch FROM transaction_timestamp()) * 1000)::bigint

-- clock_ms --
(extract(epoch FROM clock_timestamp()) * 1000)::bigint

-- start_windows --
-- Of queues with a rate: how many starts it allows now, and when the next one if none; whether a job is ready
-- then; and whether a start lies in the future, because the clock was set back. By the primary keys, and one
-- step into jobs_ready for each lane.
SELECT q.name, greatest(q.rate_starts - coalesce(last.total - first.number, 0), 0),
       CASE WHEN nth.at > {turn_ms} - q.rate_ms THEN nth.at + q.rate_ms END,
       coalesce(nth.at > {turn_ms} - q.rate_ms AND EXISTS (
           SELECT FROM queued.lanes l, LATERAL (
               SELECT FROM queued.jobs j WHERE ready AND j.lane = l.id LIMIT 1) AS job
           WHERE l.queue = q.name), false),
       coalesce(last.at > {clock_ms}, false)
FROM queued.queues q
LEFT JOIN LATERAL (SELECT number + n AS total, at FROM queued.starts s WHERE s.queue = q.name
                   ORDER BY number DESC LIMIT 1) AS last ON true
LEFT JOIN LATERAL (SELECT number FROM queued.starts s WHERE s.queue = q.name AND s.at > {turn_ms} - q.rate_ms
                   ORDER BY number LIMIT 1) AS first ON true
LEFT JOIN LATERAL (SELECT at FROM queued.starts s
                   WHERE s.queue = q.name AND s.number <= last.total - q.rate_starts
                   ORDER BY number DESC LIMIT 1) AS nth ON true
WHERE q.name IN (SELECT json_array_elements_text(:queues::json)) AND q.rate_starts IS NOT NULL;

-- add_starts --
-- Guard: the rate allowed them, and the row of the queue is locked since then. By the primary key.
INSERT INTO queued.starts (queue, number, n, at)
SELECT one.key, coalesce(last.total, 0), one.value::integer, greatest({clock_ms}, last.at)
FROM json_each_text(:started::json) AS one
LEFT JOIN LATERAL (SELECT number + n AS total, at FROM queued.starts s WHERE s.queue = one.key
                   ORDER BY number DESC LIMIT 1) AS last ON true;

-- forget_starts --
-- Deletes the starts that are out of the window. Guard: one is in it. By the primary key.
DELETE FROM queued.starts WHERE (queue, number) IN (
    SELECT s.queue, s.number FROM queued.queues q, LATERAL (
        SELECT f.number FROM queued.starts f WHERE f.queue = q.name AND f.at > {turn_ms} - q.rate_ms
        ORDER BY f.number LIMIT 1) AS first, queued.starts s
    WHERE q.name IN (SELECT key FROM json_each_text(:started::json))
      AND s.queue = q.name AND s.number < first.number);

-- bring_back_starts --
-- Counts starts in the future as made now, so that a clock that was set back stops no queue for longer
-- than its window. All get one time, because rows may be changed in any order.
WITH clock AS MATERIALIZED (SELECT {clock_ms} AS now)
UPDATE queued.starts SET at = now FROM clock
WHERE queue IN (SELECT json_array_elements_text(:queues::json)) AND at > now;

-- remove_starts --
DELETE FROM queued.starts WHERE queue = :queue;

-- check_starts --
-- Starts of which the row says another number than those before it.
SELECT queue, number, expected FROM (
    SELECT queue, number, lag(number + n) OVER (PARTITION BY queue ORDER BY number) AS expected
    FROM queued.starts) AS row
WHERE number <> expected;
