-- The statements for queues as such; see queries.sql.

-- queue_columns --
name, concurrency, priority, weight, paused_at, paused_by, paused_reason, draining_at, defaults,
    suspended_at, note, rate_starts, rate_ms

-- queue_values --
-- Texts as bytes: another program may have stored one that is not UTF-8.
CAST(name AS BLOB), concurrency, priority, weight, paused_at, CAST(paused_by AS BLOB),
    CAST(paused_reason AS BLOB), draining_at, CAST(defaults AS BLOB), suspended_at,
    CAST(note AS BLOB), rate_starts, rate_ms

-- queues --
-- What users have set for queues.
SELECT {queue_values} FROM queues ORDER BY name;

-- queue --
SELECT {queue_values} FROM queues WHERE name = :queue;

-- store_queue --
INSERT INTO queues ({queue_columns})
VALUES (:queue, :concurrency, :priority, :weight, :paused_ms, :paused_by, :paused_reason, :draining_ms,
        :defaults, :suspended_ms, :note, :rate_starts, :rate_ms)
ON CONFLICT DO UPDATE SET
    concurrency = :concurrency, priority = :priority, weight = :weight, paused_at = :paused_ms,
    paused_by = :paused_by, paused_reason = :paused_reason, draining_at = :draining_ms,
    defaults = :defaults, suspended_at = :suspended_ms, note = :note,
    rate_starts = :rate_starts, rate_ms = :rate_ms;

-- remove_queue --
DELETE FROM queues WHERE name = :queue RETURNING name;

-- most_places --
-- How many places the running jobs of a queue may take, and whether it has a rate; no row if it has no
-- limit of either kind.
SELECT CASE WHEN paused_at IS NULL THEN concurrency ELSE 0 END, rate_starts IS NOT NULL FROM queues
WHERE name = :queue AND (paused_at IS NOT NULL OR concurrency IS NOT NULL OR rate_starts IS NOT NULL);

-- used_places --
-- How many places the running jobs of each limited queue take; a job takes at most all places of its
-- queue, and one if that has none any more. By jobs_by_state: reads the running jobs only.
SELECT CAST(j.queue AS BLOB), sum(min(j.slots, max(q.concurrency, 1)))
FROM jobs j JOIN queues q ON q.name = j.queue AND q.concurrency IS NOT NULL
WHERE j.state = 'processing' AND j.state <> 'completed'
GROUP BY j.queue;

-- ready_lanes --
-- The lanes that have ready jobs. One step into jobs_ready for each of them.
WITH RECURSIVE ready (lane) AS (
    SELECT min(lane) FROM jobs WHERE ready = 1
    UNION ALL
    SELECT (SELECT min(j.lane) FROM jobs j WHERE j.ready = 1 AND j.lane > r.lane)
    FROM ready r WHERE r.lane IS NOT NULL
)
SELECT lane FROM ready WHERE lane IS NOT NULL;

-- slots --
-- By the primary key.
SELECT slots FROM jobs WHERE seq = :job;
