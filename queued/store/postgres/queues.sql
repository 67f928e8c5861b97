-- The statements for queues as such; see queries.sql.

-- queue_columns --
name, concurrency, priority, weight, paused_at, paused_by, paused_reason, draining_at, defaults,
    suspended_at, note, rate_starts, rate_ms

-- queues --
-- What users have set for queues.
SELECT {queue_columns} FROM queued.queues ORDER BY name;

-- queues_of --
-- By the primary key.
SELECT {queue_columns} FROM queued.queues WHERE name = ANY(:queues::text[]);

-- lock_queue --
-- The same, and no other program changes it until the end of the transaction.
SELECT {queue_columns} FROM queued.queues WHERE name = :queue FOR UPDATE;

-- store_queue --
INSERT INTO queued.queues ({queue_columns})
VALUES (:queue, :concurrency, :priority, :weight, :paused_ms, :paused_by, :paused_reason, :draining_ms,
        :defaults, :suspended_ms, :note, :rate_starts, :rate_ms)
ON CONFLICT (name) DO UPDATE SET
    concurrency = excluded.concurrency, priority = excluded.priority, weight = excluded.weight,
    paused_at = excluded.paused_at, paused_by = excluded.paused_by,
    paused_reason = excluded.paused_reason, draining_at = excluded.draining_at,
    defaults = excluded.defaults, suspended_at = excluded.suspended_at, note = excluded.note,
    rate_starts = excluded.rate_starts, rate_ms = excluded.rate_ms;

-- await_claims --
-- Waits until an instance has committed the claims that it makes. A claim that began before, and has not
-- locked the row yet, finds it changed and takes nothing.
UPDATE queued.instances SET stop_requested_at = stop_requested_at WHERE id = :id;

-- remove_queue --
DELETE FROM queued.queues WHERE name = :queue RETURNING name;

-- lock_limits --
-- Limits and rates of the queues with ready jobs in some lanes, which no other claim uses until the end of
-- the transaction; not those of a queue whose row another session has locked. By the primary key, and one
-- step into jobs_ready for each lane.
WITH wanted AS MATERIALIZED (
    SELECT name FROM queued.queues
    WHERE paused_at IS NULL AND (concurrency IS NOT NULL OR rate_starts IS NOT NULL) AND name IN (
        SELECT one.queue FROM unnest(:queues::text[], :lanes::integer[]) AS one (queue, lane),
            LATERAL (SELECT FROM queued.jobs j WHERE ready AND j.lane = one.lane LIMIT 1) AS job)
), locked AS MATERIALIZED (
    SELECT name, true AS held, concurrency, rate_starts FROM queued.queues
    WHERE name IN (SELECT name FROM wanted)
    ORDER BY name FOR UPDATE SKIP LOCKED)
SELECT name, held, concurrency, rate_starts FROM wanted LEFT JOIN locked USING (name);

-- used_places --
-- How many places the running jobs of each limited queue take; a job takes at most all places of its
-- queue, and one if that has none any more. By jobs_by_state: reads the running jobs only.
SELECT j.queue, sum(least(j.slots, greatest(q.concurrency, 1)))::bigint
FROM queued.jobs j JOIN queued.queues q ON q.name = j.queue AND q.concurrency IS NOT NULL
WHERE j.state = 'processing'
GROUP BY j.queue;

-- ready_lanes --
-- The lanes that have ready jobs. One step into jobs_ready for each of them.
WITH RECURSIVE ready (lane) AS (
    SELECT min(lane) FROM queued.jobs WHERE ready
    UNION ALL
    SELECT (SELECT min(j.lane) FROM queued.jobs j WHERE j.ready AND j.lane > r.lane)
    FROM ready r WHERE r.lane IS NOT NULL
)
SELECT lane FROM ready WHERE lane IS NOT NULL;
