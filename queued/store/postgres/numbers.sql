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

-- ended_runs --
-- A page of the runs that ended after the run `after_ended`, `after_job`, `after_number`, in the order of
-- their ends. By attempts_ended.
SELECT a.ended_at, a.job, a.number, j.queue, j.command, a.outcome, a.exit_code, a.deferrals, a.waited_ms,
       a.ran_ms, a.cpu_ms, a.peak_kib, j.labels
FROM queued.attempts a JOIN queued.jobs j ON j.seq = a.job
WHERE a.ended_at >= :after_ended
  AND (a.ended_at, a.job, a.number) > (:after_ended, :after_job, :after_number)
ORDER BY a.ended_at, a.job, a.number LIMIT :limit;
