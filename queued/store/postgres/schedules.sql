-- The statements of schedules. See queries.sql for the form.

-- schedule --
name, cron, zone, job, catch_up, overlap, file, coalesce(owed_at, next_at), last_at, paused_at, fired,
    skipped, created_at

-- schedule_add --
-- Guard: there is no schedule of this name.
INSERT INTO queued.schedules (name, cron, zone, job, catch_up, overlap, file, next_at, created_at)
VALUES (:schedule, :cron, :zone, :job, :catch_up, :overlap, :file, :next_at, :now)
ON CONFLICT (name) DO NOTHING
RETURNING name;

-- schedule_edit --
-- Guard: the schedule exists. Its next time changes only with the times that it names, so that times
-- which are due now are not lost.
UPDATE queued.schedules SET
    next_at = CASE WHEN cron = :cron AND zone = :zone THEN coalesce(owed_at, next_at) ELSE :next_at END,
    owed_at = NULL,
    cron = :cron, zone = :zone, job = :job, catch_up = :catch_up, overlap = :overlap, file = :file
WHERE name = :schedule
RETURNING name;

-- schedule_remove --
DELETE FROM queued.schedules WHERE name = :schedule;

-- schedule_pause --
-- Guard: not paused.
UPDATE queued.schedules SET paused_at = :now WHERE name = :schedule AND paused_at IS NULL RETURNING name;

-- schedule_resume --
-- Guard: paused.
UPDATE queued.schedules SET paused_at = NULL, next_at = :next_at, owed_at = NULL
WHERE name = :schedule AND paused_at IS NOT NULL RETURNING name;

-- schedule_show --
SELECT {schedule} FROM queued.schedules WHERE name = :schedule;

-- schedule_list --
SELECT {schedule} FROM queued.schedules ORDER BY name;

-- schedule_jobs --
-- The jobs of a schedule that wait or run. By jobs_fired_live.
SELECT seq, id, state FROM queued.jobs WHERE schedule = :schedule AND state IN ('pending', 'processing')
ORDER BY seq;

-- schedule_waits --
overlap = 'queue' AND EXISTS (
    SELECT 1 FROM queued.jobs j WHERE j.schedule = s.name AND j.state IN ('pending', 'processing'))

-- schedules_next --
-- The first time at which a schedule is to fire: in the future, or now if it waits for no job; and the
-- first time of all. By schedules_due.
SELECT (SELECT next_at FROM queued.schedules s
        WHERE paused_at IS NULL AND next_at IS NOT NULL AND (next_at > :now OR NOT ({schedule_waits}))
        ORDER BY next_at LIMIT 1),
       (SELECT min(next_at) FROM queued.schedules WHERE paused_at IS NULL);

-- schedules_due --
-- The schedules to fire now. By schedules_due. Those that another dispatcher fires
-- are skipped; the lock keeps others from firing these.
SELECT {schedule} FROM queued.schedules s
WHERE next_at <= :now AND paused_at IS NULL AND NOT ({schedule_waits})
ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED;

-- schedule_fired --
-- Whether a time of a schedule has a job. By jobs_fired.
SELECT 1 FROM queued.jobs WHERE schedule = :schedule AND scheduled_at = :at;

-- schedule_mark --
-- Makes a new job a firing. Guard: it was enqueued in the same transaction. By the unique index on id.
UPDATE queued.jobs SET schedule = :schedule, scheduled_at = :at WHERE id = :id;

-- schedule_move_on --
-- Guard: no other transaction has read the schedule as due; see schedules_due.
UPDATE queued.schedules SET next_at = :next_at, owed_at = NULL, last_at = :last_at, fired = fired + :fired,
    skipped = skipped + :skipped
WHERE name = :schedule;

-- schedule_put_off --
-- Tries a refused schedule again later, and keeps its times. Guard: as that of schedule_move_on.
UPDATE queued.schedules SET owed_at = coalesce(owed_at, next_at), next_at = :retry_at
WHERE name = :schedule;

-- schedules_ahead --
-- Schedules that have fired at a later time than the clock shows. Reads all.
SELECT {schedule} FROM queued.schedules WHERE last_at > :at;

-- complete_schedules --
SELECT name FROM queued.schedules ORDER BY name LIMIT :limit;
