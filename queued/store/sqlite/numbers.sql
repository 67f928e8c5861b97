-- The numbers of a queue: totals of all runs that ever ended. See queries.sql for the form of this file.

-- add_runs --
-- Guard: settle found the claim in force, in the same transaction. By the primary key.
INSERT INTO run_totals (instance, queue, result, waited_le, ran_le, runs, waited_ms, ran_ms)
VALUES (:instance, :queue, :result, :waited_le, :ran_le, :runs, :waited_ms, :ran_ms)
ON CONFLICT DO UPDATE SET
    runs = runs + :runs, waited_ms = waited_ms + :waited_ms, ran_ms = ran_ms + :ran_ms;

-- fold_totals --
-- Adds the totals of instances that have ended to those without an instance.
INSERT INTO run_totals (instance, queue, result, waited_le, ran_le, runs, waited_ms, ran_ms)
SELECT '', queue, result, waited_le, ran_le, sum(runs), sum(waited_ms), sum(ran_ms) FROM run_totals
WHERE instance <> '' AND instance NOT IN (SELECT id FROM instances)
GROUP BY queue, result, waited_le, ran_le
ON CONFLICT DO UPDATE SET
    runs = runs + excluded.runs, waited_ms = waited_ms + excluded.waited_ms, ran_ms = ran_ms + excluded.ran_ms;

-- forget_folded --
-- Guard: fold_totals has added them, in the same transaction.
DELETE FROM run_totals WHERE instance <> '' AND instance NOT IN (SELECT id FROM instances);

-- run_totals --
-- Over all instances. Some ten rows for each queue, however many runs there were.
SELECT queue, result, waited_le, ran_le, sum(runs), sum(waited_ms), sum(ran_ms) FROM run_totals
GROUP BY queue, result, waited_le, ran_le;

-- add_to_minutes --
-- Guard: settle found the claim in force, in the same transaction. By the primary key.
INSERT INTO run_periods (length_ms, begins_at, instance, queue, result, measure, bucket, runs, retries, cpu_ms,
                         peak_kib)
VALUES (60000, :begins_at, '', :queue, :result, :measure, :bucket, :runs, :retries, :cpu_ms, :peak_kib)
ON CONFLICT DO UPDATE SET
    runs = runs + :runs, retries = retries + :retries, cpu_ms = cpu_ms + :cpu_ms,
    peak_kib = max(peak_kib, :peak_kib);

-- oldest_period --
-- By the primary key.
SELECT min(begins_at) FROM run_periods WHERE length_ms = :length_ms;

-- fold_minute --
-- Adds a minute to its hour; forget_minute follows. By the primary key.
INSERT INTO run_periods (length_ms, begins_at, instance, queue, result, measure, bucket, runs, retries, cpu_ms,
                         peak_kib)
SELECT 3600000, begins_at / 3600000 * 3600000, '', queue, result, measure, bucket, sum(runs), sum(retries),
       sum(cpu_ms), max(peak_kib)
FROM run_periods WHERE length_ms = 60000 AND begins_at = :begins_at
GROUP BY begins_at, queue, result, measure, bucket
ON CONFLICT DO UPDATE SET
    runs = runs + excluded.runs, retries = retries + excluded.retries, cpu_ms = cpu_ms + excluded.cpu_ms,
    peak_kib = max(peak_kib, excluded.peak_kib);

-- forget_minute --
-- Guard: fold_minute has added it to its hour, in the same transaction. By the primary key.
DELETE FROM run_periods WHERE length_ms = 60000 AND begins_at = :begins_at;

-- forget_hour --
-- By the primary key.
DELETE FROM run_periods WHERE length_ms = 3600000 AND begins_at = :begins_at;

-- period_runs --
-- The runs since the begin of a minute or hour, by what `by` names. By the primary key.
SELECT CASE :by WHEN 'queue' THEN queue WHEN 'result' THEN result
                WHEN 'hour' THEN CAST(begins_at / 3600000 * 3600000 AS TEXT) ELSE '' END AS name,
       result, measure, bucket, sum(runs), sum(retries), sum(cpu_ms), max(peak_kib)
FROM run_periods WHERE length_ms IN (60000, 3600000) AND begins_at >= :since
GROUP BY name, result, measure, bucket;

-- newest_runs --
-- A page of the runs that ended before the run `before_ended`, `before_job`, `before_number`, the last ended
-- first. By attempts_ended.
SELECT a.ended_at, a.job, a.number, j.queue, j.command, a.outcome, a.exit_code, a.deferrals, a.waited_ms,
       a.ran_ms, a.cpu_ms, a.peak_kib, j.labels
FROM attempts a JOIN jobs j ON j.seq = a.job
WHERE a.ended_at BETWEEN :since AND :before_ended
  AND (a.ended_at, a.job, a.number) < (:before_ended, :before_job, :before_number)
ORDER BY a.ended_at DESC, a.job DESC, a.number DESC LIMIT :limit;
