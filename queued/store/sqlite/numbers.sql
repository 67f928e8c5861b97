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

-- ended_runs --
-- A page of the runs that ended after the run `after_ended`, `after_job`, `after_number`, in the order of
-- their ends. By attempts_ended.
SELECT a.ended_at, a.job, a.number, j.queue, j.command, a.outcome, a.exit_code, a.deferrals, a.waited_ms,
       a.ran_ms, a.cpu_ms, a.peak_kib, j.labels
FROM attempts a JOIN jobs j ON j.seq = a.job
WHERE a.ended_at >= :after_ended
  AND (a.ended_at, a.job, a.number) > (:after_ended, :after_job, :after_number)
ORDER BY a.ended_at, a.job, a.number LIMIT :limit;
