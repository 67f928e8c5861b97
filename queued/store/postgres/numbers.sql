-- The numbers of a queue: totals of all runs that ever ended, to which `settle` adds. See queries.sql for
-- the form of this file.

-- fold_totals --
-- Adds the totals of instances that have ended to those without an instance.
WITH ended AS (
    DELETE FROM queued.run_totals
    WHERE instance <> '' AND instance NOT IN (SELECT id FROM queued.instances)
    RETURNING *
)
INSERT INTO queued.run_totals AS t
SELECT '', queue, result, waited_le, ran_le, sum(runs), sum(waited_ms), sum(ran_ms) FROM ended
GROUP BY queue, result, waited_le, ran_le ORDER BY queue, result, waited_le, ran_le
ON CONFLICT (instance, queue, result, waited_le, ran_le) DO UPDATE SET
    runs = t.runs + excluded.runs, waited_ms = t.waited_ms + excluded.waited_ms,
    ran_ms = t.ran_ms + excluded.ran_ms;

-- run_totals --
-- Over all instances. Some ten rows for each queue, however many runs there were.
SELECT queue, result, waited_le, ran_le, sum(runs)::bigint, sum(waited_ms)::bigint, sum(ran_ms)::bigint
FROM queued.run_totals GROUP BY queue, result, waited_le, ran_le;

-- oldest_period --
-- By the primary key.
SELECT min(begins_at) FROM queued.run_periods WHERE length_ms = :length_ms;

-- fold_minute --
-- Moves a minute into its hour, but for rows that other dispatchers move or add to at this moment: they
-- are moved later, so that no two wait for each other. By the primary key.
WITH unlocked AS MATERIALIZED (
    SELECT instance, queue, result, measure, bucket FROM queued.run_periods
    WHERE length_ms = 60000 AND begins_at = :begins_at FOR UPDATE SKIP LOCKED
), minute AS (
    DELETE FROM queued.run_periods p USING unlocked u
    WHERE p.length_ms = 60000 AND p.begins_at = :begins_at AND p.instance = u.instance AND p.queue = u.queue
      AND p.result = u.result AND p.measure = u.measure AND p.bucket = u.bucket
    RETURNING p.*
)
INSERT INTO queued.run_periods AS t
SELECT 3600000, begins_at / 3600000 * 3600000, '', queue, result, measure, bucket, sum(runs), sum(retries),
       sum(cpu_ms), max(peak_kib)
FROM minute GROUP BY begins_at, queue, result, measure, bucket ORDER BY queue, result, measure, bucket
ON CONFLICT (length_ms, begins_at, instance, queue, result, measure, bucket) DO UPDATE SET
    runs = t.runs + excluded.runs, retries = t.retries + excluded.retries,
    cpu_ms = t.cpu_ms + excluded.cpu_ms, peak_kib = greatest(t.peak_kib, excluded.peak_kib);

-- forget_hour --
-- By the primary key.
DELETE FROM queued.run_periods WHERE length_ms = 3600000 AND begins_at = :begins_at;

-- period_runs --
-- The runs since the begin of a minute or hour, by what `by` names. By the primary key.
SELECT CASE :by::text WHEN 'queue' THEN queue WHEN 'result' THEN result
                      WHEN 'hour' THEN (begins_at / 3600000 * 3600000)::text ELSE '' END AS name,
       result, measure, bucket, sum(runs)::bigint, sum(retries)::bigint, sum(cpu_ms)::bigint, max(peak_kib)
FROM queued.run_periods WHERE length_ms IN (60000, 3600000) AND begins_at >= :since
GROUP BY name, result, measure, bucket;

-- newest_runs --
-- A page of the runs that ended before the run `before_ended`, `before_job`, `before_number`, the last ended
-- first. By attempts_ended.
SELECT a.ended_at, a.job, a.number, j.queue, j.command, a.outcome, a.exit_code, a.deferrals, a.waited_ms,
       a.ran_ms, a.cpu_ms, a.peak_kib, j.labels
FROM queued.attempts a JOIN queued.jobs j ON j.seq = a.job
WHERE a.ended_at BETWEEN :since AND :before_ended
  AND (a.ended_at, a.job, a.number) < (:before_ended, :before_job, :before_number)
ORDER BY a.ended_at DESC, a.job DESC, a.number DESC LIMIT :limit;
