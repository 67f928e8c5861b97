-- Every statement of the queue, in the order of a job's life. A block begins with its name.
-- Each move of a job is one guarded UPDATE in a BEGIN IMMEDIATE transaction. If the UPDATE changes
-- no row, the guard did not hold, and the move did not happen.
-- {name} stands for the text of the block of that name.

-- job --
seq, id, queue, priority, command, options, state, label, next_run_at, attempts, max_retries, runs,
    cancel_requested_at, last_error, created_at, updated_at,
    (SELECT requires FROM lanes l WHERE l.id = lane), slots, submitted_by,
    unique_key, unique_while, unique_until, expires_at, labels, schedule, scheduled_at,
    array_id, key, key_limit, key_rate_starts, key_rate_ms

-- matches --
-- What a filter tests of a job. NULL tests nothing. The index by state has the queue, so that a job of
-- another queue costs no read of its row. The outcome is `dependency` or that of the last run, as the
-- exit code is, by the primary key.
(:queue IS NULL OR queue = :queue)
    AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
    AND (:not_queues IS NULL OR queue NOT IN (SELECT value FROM json_each(:not_queues)))
    AND (:label IS NULL OR label = :label AND (label <> 'scheduled' OR next_run_at > :now))
    AND (:command IS NULL OR command GLOB :command)
    AND (:priority IS NULL OR priority = :priority)
    AND (:label_name IS NULL OR labels ->> :label_name = :label_value)
    AND (:schedule IS NULL OR schedule = :schedule)
    AND (:by IS NULL OR submitted_by = :by)
    AND (:array_id IS NULL OR array_id = :array_id)
    AND (:key IS NULL OR key = :key)
    AND (:since IS NULL OR updated_at >= :since) AND (:before IS NULL OR updated_at < :before)
    AND (:outcomes IS NULL
         OR CASE WHEN state = 'cancelled' AND last_error GLOB 'dependency: *' THEN 'dependency'
                 ELSE (SELECT a.outcome FROM attempts a WHERE a.job = seq AND a.number = runs) END
            IN (SELECT value FROM json_each(:outcomes)))
    AND (:exit_code IS NULL OR (SELECT a.exit_code FROM attempts a WHERE a.job = seq AND a.number = runs)
                               = :exit_code)

-- run --
number, instance, worker, started_at, ended_at, outcome, exit_code, signal, error,
    ran_ms, cpu_ms, peak_kib, stdout_bytes, stderr_bytes, deferrals

-- make_lane --
-- Guard: there is no such lane yet.
INSERT INTO lanes (queue, requires) VALUES (:queue, :requires) ON CONFLICT DO NOTHING;

-- enqueue --
-- No guard: the unique indexes refuse a second job with the same id, or with a key that a job holds.
INSERT INTO jobs (id, queue, priority, lane, command, options, state, ready, next_run_at,
                  attempts, max_retries, runs, blocked, slots, unique_key, unique_while, unique_until,
                  expires_at, labels, submitted_by, array_id, key, key_limit, key_rate_starts,
                  key_rate_ms, created_at, updated_at)
VALUES (:id, :queue, :priority, (SELECT id FROM lanes WHERE queue = :queue AND requires = :requires),
        :command, :options, 'pending', :blocked = 0 AND :key IS NULL AND :next_run_at <= :now, :next_run_at, 0,
        :max_retries, 0, :blocked, :slots, :unique_key, :unique_while, :unique_until, :expires_at,
        :labels, :submitted_by, :array_id, :key, :key_limit, :key_rate_starts, :key_rate_ms, :now, :now);

-- put_input --
-- Guard: the job was stored in the same transaction. By the unique index on id.
INSERT INTO inputs (job, content) SELECT seq, :content FROM jobs WHERE id = :id;

-- input --
-- By the primary key.
SELECT content FROM inputs WHERE job = :job;

-- free_key --
-- Takes a key from a job that has had it long enough. By jobs_unique.
UPDATE jobs SET unique_while = NULL WHERE held_key = :key AND unique_until <= :now;

-- replace --
-- Cancels the job that holds a key. Guard: pending. By jobs_unique.
UPDATE jobs SET state = 'cancelled', ready = 0, blocked = 0,
                unique_while = nullif(unique_while, 'any'), last_error = 'replaced by ' || :id,
                awaited = CASE WHEN awaited > 0 THEN 2 ELSE 0 END, updated_at = :now
WHERE held_key = :key AND state = 'pending';

-- key_holder --
-- By jobs_unique.
SELECT id FROM jobs WHERE held_key = :key;

-- time_waits --
-- Whether a job of some lanes becomes due by a time. By jobs_waiting; passes jobs of other lanes.
SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'pending' AND (ready = 0 AND blocked = 0)
               AND next_run_at <= :by AND lane IN (SELECT value FROM json_each(:lanes)));

-- next_due --
-- The earliest time at which a waiting job becomes due, and whether dependents must be told of an end.
-- One step into jobs_waiting and jobs_changed.
SELECT (SELECT min(next_run_at) FROM jobs WHERE state = 'pending' AND ready = 0 AND blocked = 0),
       EXISTS (SELECT 1 FROM jobs WHERE awaited = 2);

-- promote --
-- Makes waiting jobs claimable when they are due; those with a key join its line instead. Guard: waiting
-- and not blocked. By jobs_waiting.
UPDATE jobs SET ready = key IS NULL, blocked = CASE WHEN key IS NULL THEN 0 ELSE 4 END
WHERE seq IN (SELECT seq FROM jobs
              WHERE state = 'pending' AND ready = 0 AND blocked = 0 AND next_run_at <= :now
              ORDER BY next_run_at LIMIT :limit);

-- lanes --
-- The lanes that were made since the lane `after`. By the primary key.
SELECT id, CAST(queue AS BLOB), CAST(requires AS BLOB) FROM lanes WHERE id > :after ORDER BY id;

-- first_ready --
-- The first ready jobs of one lane, in values that sort in the order of claiming. Reads one entry of
-- jobs_ready for each job.
SELECT -priority, next_run_at, seq FROM jobs WHERE ready = 1 AND lane = :lane
ORDER BY priority DESC, next_run_at, seq LIMIT :count;

-- claim --
-- Claims the jobs of a JSON array, with consecutive tokens in its order. Guard: ready, not expired, and
-- one of the first `idle` ones if its key has a rate. By the primary key.
UPDATE jobs SET state = 'processing', ready = 0, runs = runs + 1, token = :token + live.place,
                unique_while = nullif(unique_while, 'waiting'), updated_at = :now
FROM (SELECT j.seq AS job, row_number() OVER (ORDER BY first.key) - 1 AS place
      FROM json_each(:jobs) AS first JOIN jobs AS j ON j.seq = first.value
      WHERE j.ready = 1 AND (j.expires_at IS NULL OR j.expires_at > :now)
        AND (j.key_rate_ms IS NULL OR first.key < :idle)) AS live
WHERE seq = live.job
RETURNING seq, runs, token, CAST(id AS BLOB), CAST(queue AS BLOB), CAST(command AS BLOB),
          CAST(options AS BLOB), attempts, max_retries, next_run_at, created_at, expires_at,
          key_rate_ms IS NOT NULL;

-- next_expiry --
-- The earliest time at which a pending job expires. One step into jobs_expiring.
SELECT min(expires_at) FROM jobs WHERE state = 'pending' AND expires_at IS NOT NULL;

-- expired --
-- By jobs_expiring.
SELECT seq FROM jobs WHERE state = 'pending' AND expires_at <= :now ORDER BY expires_at LIMIT :limit;

-- claim_expired --
-- Claims expired jobs as `claim` does, to end them in the same transaction. Guard: pending.
UPDATE jobs SET state = 'processing', ready = 0, blocked = 0, runs = runs + 1, token = :token + first.key,
                updated_at = :now
FROM json_each(:jobs) AS first
WHERE seq = first.value AND state = 'pending'
RETURNING seq, runs, token, CAST(id AS BLOB), CAST(queue AS BLOB), CAST(command AS BLOB),
          CAST(options AS BLOB), attempts, max_retries, next_run_at, created_at, expires_at;

-- open_attempt --
-- A conflict means that another program has set `runs` back; the row is then used again.
INSERT INTO attempts (job, number, instance, worker, started_at)
VALUES (:job, :attempt, :instance, :worker, :now)
ON CONFLICT DO UPDATE SET
    instance = :instance, worker = :worker, started_at = :now, ended_at = NULL, outcome = NULL;

-- unclaim --
-- Undoes a claim that was never started. A job whose key has a rate waits in line again, because its start
-- stays counted. Guard: the claim is in force (run and token match), and no cancel was requested.
UPDATE jobs SET state = 'pending', ready = key_rate_ms IS NULL,
                blocked = CASE WHEN key_rate_ms IS NULL THEN 0 ELSE 4 END,
                runs = runs - 1, token = NULL, updated_at = :now
WHERE seq = :job AND runs = :attempt AND token = :token AND state = 'processing'
  AND cancel_requested_at IS NULL
RETURNING seq;

-- forget_attempt --
-- Guard: unclaim found the claim in force, in the same transaction.
DELETE FROM attempts WHERE job = :job AND number = :attempt AND ended_at IS NULL;

-- settle --
-- Ends a run. Guard: the claim is in force (run and token match). If a cancel was requested during
-- the run, a job that would be retried or dead is cancelled instead.
UPDATE jobs SET
    state      = CASE WHEN cancel_requested_at IS NOT NULL AND :state IN ('pending', 'dead')
                      THEN 'cancelled' ELSE :state END,
    ready      = cancel_requested_at IS NULL AND :state = 'pending' AND key IS NULL
                 AND :next_run_at <= :now,
    next_run_at     = :next_run_at,
    attempts   = attempts + :counted,
    token      = NULL,
    cancel_requested_at = NULL,
    last_error = coalesce(:error, last_error),
    awaited    = CASE WHEN awaited > 0 AND (:state <> 'pending' OR cancel_requested_at IS NOT NULL)
                      THEN 2 ELSE awaited END,
    updated_at = :now
WHERE seq = :job AND runs = :attempt AND token = :token AND state = 'processing'
RETURNING seq, runs, :token, state;

-- close_attempt --
-- Guard: settle found the claim in force, in the same transaction.
UPDATE attempts SET
    started_at = coalesce(:started_at, started_at), ended_at = coalesce(:ended_at, :now), outcome = :outcome,
    exit_code = :exit_code, signal = :signal, error = :error, ran_ms = :ran_ms, cpu_ms = :cpu_ms,
    peak_kib = :peak_kib, stdout_bytes = :stdout_bytes, stderr_bytes = :stderr_bytes,
    deferrals = :deferrals, waited_ms = :waited_ms
WHERE job = :job AND number = :attempt AND ended_at IS NULL;

-- interruptions --
-- How many runs of a job were interrupted since the last one that ended in another way. By the
-- primary key, from the last run back.
SELECT count(*) FROM attempts WHERE job = :job AND outcome = 'interrupted' AND number > coalesce(
    (SELECT number FROM attempts WHERE job = :job AND outcome <> 'interrupted'
     ORDER BY number DESC LIMIT 1), 0);

-- deferrals --
-- How many runs of a job were deferred in a row until now. By the primary key.
SELECT deferrals FROM attempts WHERE job = :job AND ended_at IS NOT NULL ORDER BY number DESC LIMIT 1;

-- merge_deferrals --
-- Deletes the deferred run before a deferred run, and its output. Guard: the later run was recorded in
-- the same transaction.
DELETE FROM attempts WHERE job = :job AND deferrals > 0
    AND number = (SELECT max(number) FROM attempts WHERE job = :job AND number < :attempt);

-- store_output --
-- Guard: the claim is in force (run and token match). After a crash of the dispatcher a worker sends
-- pieces again; such a piece begins with the same bytes, and the longer one is kept.
INSERT INTO output (job, number, stream, position, content)
SELECT :job, :attempt, :stream, :position, :content
FROM jobs WHERE seq = :job AND runs = :attempt AND token = :token AND state = 'processing'
ON CONFLICT DO UPDATE SET content = excluded.content WHERE length(excluded.content) > length(content);

-- trim_output --
-- Deletes the pieces between the kept head and the kept tail.
DELETE FROM output
WHERE job = :job AND number = :attempt AND stream = :stream
  AND position >= :head_end AND position < :tail_start;

-- running_claims --
-- The claims of an instance that are in force, in the order of claiming, which is the order of the
-- tokens. By jobs_by_state: reads the running jobs only.
SELECT j.seq, j.runs, j.token, CAST(j.id AS BLOB), CAST(j.queue AS BLOB),
       CAST(j.command AS BLOB), CAST(j.options AS BLOB), j.attempts, j.max_retries,
       j.next_run_at, j.created_at, j.expires_at, a.worker, a.started_at
FROM jobs j JOIN attempts a ON a.job = j.seq AND a.number = j.runs
WHERE j.state = 'processing' AND j.state <> 'completed' AND a.instance = :instance
ORDER BY j.token;

-- cancel --
-- A pending job ends at once. Guard: pending.
UPDATE jobs SET state = 'cancelled', ready = 0, blocked = 0, last_error = 'cancelled', updated_at = :now,
                awaited = CASE WHEN awaited > 0 THEN 2 ELSE 0 END
WHERE seq = :job AND state = 'pending'
RETURNING id;

-- cancel_running --
-- Requests the end of a running job; its dispatcher reads the request. Guard: processing.
UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, :now), updated_at = :now
WHERE seq = :job AND state = 'processing'
RETURNING id;

-- signal --
-- Requests a signal for a running job; its dispatcher reads the request. Guard: processing.
INSERT INTO signals (job, number, name)
SELECT seq, runs, :signal FROM jobs WHERE seq = :job AND state = 'processing'
RETURNING (SELECT id FROM jobs WHERE seq = job);

-- signal_requests --
-- The requests for the claims of some workers of an instance, oldest first. Reads all requests: they are
-- few.
SELECT s.id, CAST(s.name AS BLOB), j.seq, j.runs, j.token
FROM signals s JOIN jobs j ON j.seq = s.job AND j.runs = s.number AND j.state = 'processing'
JOIN attempts a ON a.job = j.seq AND a.number = j.runs
WHERE a.instance = :instance AND a.worker IN (SELECT value FROM json_each(:workers)) ORDER BY s.id;

-- forget_signals --
-- Deletes requests that were read, and those for runs that are over.
DELETE FROM signals WHERE id IN (SELECT value FROM json_each(:ids)) OR NOT EXISTS (
    SELECT 1 FROM jobs j WHERE j.seq = job AND j.runs = number AND j.state = 'processing');

-- first_of_queue --
-- The first job in the order of claiming of the ready jobs of a queue and the line of a key. One step into
-- jobs_ready for each lane, and one into jobs_key_lines.
SELECT seq FROM jobs WHERE seq IN (
    SELECT (SELECT j.seq FROM jobs j WHERE j.ready = 1 AND j.lane = l.id
            ORDER BY j.priority DESC, j.next_run_at, j.seq LIMIT 1)
    FROM lanes l WHERE l.queue = :queue
    UNION ALL
    SELECT (SELECT j.seq FROM jobs j WHERE j.key = :key AND j.blocked = 4
            ORDER BY j.priority DESC, j.next_run_at, j.seq LIMIT 1))
ORDER BY priority DESC, next_run_at, seq LIMIT 1;

-- lanes_of --
-- The queues of some jobs and what they require. By the primary keys.
SELECT DISTINCT l.queue, l.requires FROM jobs j JOIN lanes l ON l.id = j.lane
WHERE j.seq IN (SELECT value FROM json_each(:jobs));

-- edit --
-- Changes a job. Guard: pending, unless the changes have no effect on runs.
UPDATE jobs SET
    command     = coalesce(:command, command),
    lane        = (SELECT l.id FROM lanes l JOIN lanes own ON own.id = jobs.lane
                   WHERE l.queue = coalesce(:queue, jobs.queue)
                     AND l.requires = coalesce(:requires, own.requires)),
    queue       = coalesce(:queue, queue),
    priority    = coalesce(:priority, priority),
    max_retries = coalesce(:max_retries, max_retries),
    slots       = coalesce(:slots, slots),
    key_limit   = coalesce(:key_limit, key_limit),
    expires_at  = coalesce(:expires_at, expires_at),
    options     = json_patch(options, :options),
    labels      = CASE WHEN :labels IS NULL THEN labels
                       ELSE nullif(json_patch(coalesce(labels, '{{}}'), :labels), '{{}}') END,
    next_run_at = coalesce(:next_run_at, next_run_at),
    blocked     = blocked & 3,
    ready       = state = 'pending' AND blocked = 0 AND key IS NULL
                  AND coalesce(:next_run_at, next_run_at) <= :now,
    updated_at  = iif(state = 'pending', :now, updated_at)
WHERE seq = :job AND (state = 'pending' OR :any_state)
RETURNING id, options, next_run_at, expires_at, key;

-- cancel_requests --
-- The claims of an instance whose jobs a user wants to cancel. By jobs_by_state.
SELECT j.seq, j.runs, j.token
FROM jobs j JOIN attempts a ON a.job = j.seq AND a.number = j.runs
WHERE j.state = 'processing' AND j.state <> 'completed' AND j.cancel_requested_at IS NOT NULL
  AND a.instance = :instance;

-- unexpired --
expires_at = CASE WHEN expires_at > :now THEN expires_at END,
options = CASE WHEN expires_at <= :now THEN json_remove(options, '$.deadline') ELSE options END

-- retry --
-- Back to pending with the full budget; the history stays. An expiry that has passed does not, nor
-- a deadline with it. Guard: dead or cancelled, and no other job holds its key.
UPDATE OR IGNORE jobs SET state = 'pending', ready = key IS NULL, blocked = 0, next_run_at = :now,
                          attempts = 0, {unexpired},
                          awaited = CASE WHEN awaited > 0 THEN 2 ELSE 0 END, updated_at = :now
WHERE seq = :job AND state IN ('dead', 'cancelled')
RETURNING id;

-- key_conflict --
-- The job that holds the key that a retried job would hold. By jobs_unique.
SELECT j.id, j.unique_key, holder.id FROM jobs j JOIN jobs holder ON holder.held_key = j.unique_key
WHERE j.seq = :job AND j.unique_while IS NOT NULL AND j.held_key IS NULL;

-- hold --
-- Keeps a job from being claimed. Guard: pending.
UPDATE jobs SET ready = 0, blocked = blocked & 3 | 1, updated_at = :now
WHERE seq = :job AND state = 'pending'
RETURNING id;

-- release --
-- Undoes hold; from now on the job waits as any other that is due. Guard: pending and held.
UPDATE jobs SET ready = blocked = 1 AND key IS NULL AND next_run_at <= :now, blocked = blocked & ~1,
                next_run_at = max(next_run_at, :now), updated_at = :now
WHERE seq = :job AND state = 'pending' AND blocked & 1
RETURNING id;

-- run_now --
-- Makes a job that waits for its time due. Guard: pending and not blocked.
UPDATE jobs SET ready = ready OR key IS NULL, next_run_at = min(next_run_at, :now), updated_at = :now
WHERE seq = :job AND state = 'pending' AND blocked = 0
RETURNING id;

-- prunable --
-- A page of the jobs in one state other than completed; those whose dependents were not told of the
-- end yet have no state. By jobs_by_state.
SELECT seq, iif(awaited = 2, '', state), created_at, updated_at FROM jobs
WHERE state = :state AND state <> 'completed' AND seq > :after ORDER BY seq LIMIT :limit;

-- prunable_completed --
-- A page of all jobs, most of which are completed. By the primary key.
SELECT seq, iif(awaited = 2, '', state), created_at, updated_at FROM jobs
WHERE seq > :after AND :state = 'completed'
ORDER BY seq LIMIT :limit;

-- purge_output --
-- Deletes a part of a job's output. The job's row is deleted in the same or a later transaction; if
-- the job was retried before that, it keeps the output that is left.
DELETE FROM output WHERE job = :job AND (number, stream, position) IN
    (SELECT number, stream, position FROM output WHERE job = :job LIMIT :limit);

-- purge_attempts --
-- Deletes a part of a job's attempts, by the primary key.
DELETE FROM attempts WHERE job = :job AND number IN
    (SELECT number FROM attempts WHERE job = :job LIMIT :limit);

-- purge --
-- Guard: the job has ended.
DELETE FROM jobs WHERE seq = :job AND state IN ('completed', 'dead', 'cancelled');

-- find --
-- By the unique index on id.
SELECT seq, id FROM jobs WHERE id = :id;

-- find_prefix --
-- Two rows are enough to know that a prefix is ambiguous. By the unique index on id. Generated ids
-- contain a letter; an id of digits alone, such as a timestamp, was given by a user.
SELECT seq, id FROM jobs
WHERE id >= :prefix AND id < :beyond AND id GLOB :form AND id GLOB '*[a-z]*' ORDER BY id LIMIT 2;

-- show --
SELECT {job} FROM jobs WHERE seq = :job;

-- list --
-- A page of all jobs, oldest first. By the primary key.
SELECT {job} FROM jobs WHERE seq > :after AND {matches} ORDER BY seq LIMIT :limit;

-- list_reverse --
SELECT {job} FROM jobs WHERE seq < :after AND {matches} ORDER BY seq DESC LIMIT :limit;

-- list_state --
-- A page of the jobs in one state other than completed. By jobs_by_state.
SELECT {job} FROM jobs WHERE state = :state AND state <> 'completed' AND seq > :after AND {matches}
ORDER BY seq LIMIT :limit;

-- list_state_reverse --
SELECT {job} FROM jobs WHERE state = :state AND state <> 'completed' AND seq < :after AND {matches}
ORDER BY seq DESC LIMIT :limit;

-- list_completed --
-- A page of completed jobs. By the primary key: most jobs are completed ones.
SELECT {job} FROM jobs WHERE state = 'completed' AND seq > :after AND {matches}
ORDER BY seq LIMIT :limit;

-- list_completed_reverse --
SELECT {job} FROM jobs WHERE state = 'completed' AND seq < :after AND {matches}
ORDER BY seq DESC LIMIT :limit;

-- list_array --
-- A page of the jobs of one array. By jobs_array.
SELECT {job} FROM jobs
WHERE array_id = :array_id AND seq > :after AND (:state IS NULL OR state = :state) AND {matches}
ORDER BY seq LIMIT :limit;

-- list_array_reverse --
SELECT {job} FROM jobs
WHERE array_id = :array_id AND seq < :after AND (:state IS NULL OR state = :state) AND {matches}
ORDER BY seq DESC LIMIT :limit;

-- select --
-- The row numbers of the jobs that `list` finds, for a change of all of them; also the next three.
SELECT seq FROM jobs WHERE seq > :after AND {matches} ORDER BY seq LIMIT :limit;

-- select_state --
SELECT seq FROM jobs WHERE state = :state AND state <> 'completed' AND seq > :after AND {matches}
ORDER BY seq LIMIT :limit;

-- select_completed --
SELECT seq FROM jobs WHERE state = 'completed' AND seq > :after AND {matches}
ORDER BY seq LIMIT :limit;

-- select_array --
SELECT seq FROM jobs
WHERE array_id = :array_id AND seq > :after AND (:state IS NULL OR state = :state) AND {matches}
ORDER BY seq LIMIT :limit;

-- still --
-- Those of some jobs that match now, in the transaction that changes them. By the primary key.
SELECT seq FROM jobs
WHERE seq IN (SELECT value FROM json_each(:jobs)) AND (:state IS NULL OR state = :state) AND {matches};

-- attempts --
SELECT {run} FROM attempts WHERE job = :job ORDER BY number;

-- last_attempt --
-- One run. By the primary key.
SELECT job, {run} FROM attempts WHERE job = :job AND number = :number;

-- output --
-- A page of one stream's pieces from a position on. By the primary key.
SELECT stream, position, content FROM output
WHERE job = :job AND number = :attempt AND stream = :stream AND position >= :from
ORDER BY position LIMIT :limit;

-- status --
-- Jobs by queue and label. Triggers keep the counts, so this reads a few rows only. Bytes, because
-- another program may have stored a name that is not UTF-8.
SELECT CAST(queue AS BLOB), label, n FROM counts WHERE n > 0 ORDER BY queue;

-- counts --
-- Jobs by label, over all queues.
SELECT label, sum(n) FROM counts GROUP BY label;

-- overdue --
-- Jobs of each queue that are due and not promoted, because no service runs; `status` counts them as
-- scheduled. By jobs_waiting.
SELECT CAST(queue AS BLOB), count(*) FROM jobs
WHERE state = 'pending' AND ready = 0 AND blocked = 0 AND next_run_at <= :now AND attempts = 0
GROUP BY queue;

-- completed_since --
-- The number of jobs that completed in a span of time. By attempts_ended: reads these runs only.
SELECT count(*) FROM attempts
WHERE outcome = 'exit' AND exit_code = 0 AND ended_at > :since AND ended_at <= :now;

-- required_now --
-- The sets of labels that ready jobs require. One step into jobs_ready for each lane.
SELECT DISTINCT CAST(requires AS BLOB) FROM lanes l
WHERE EXISTS (SELECT 1 FROM jobs WHERE ready = 1 AND lane = l.id);

-- ready_priorities --
-- The priorities of the ready jobs of each lane, and NULL after the last one. One entry of jobs_ready
-- for each.
WITH RECURSIVE priorities (lane, priority) AS (
    SELECT id, (SELECT max(priority) FROM jobs WHERE ready = 1 AND lane = l.id) FROM lanes l
    UNION ALL
    SELECT p.lane, (SELECT max(j.priority) FROM jobs j
                     WHERE j.ready = 1 AND j.lane = p.lane AND j.priority < p.priority)
    FROM priorities p WHERE p.priority IS NOT NULL
)

-- oldest_due --
-- The earliest due time of the jobs that are due: of ready jobs, by one entry of jobs_ready for each
-- lane and priority, and of jobs that are due and not promoted, by jobs_waiting.
{ready_priorities}
SELECT min(due) FROM (
    SELECT (SELECT min(j.next_run_at) FROM jobs j
            WHERE j.ready = 1 AND j.lane = p.lane AND j.priority = p.priority) AS due
    FROM priorities p
    UNION ALL
    SELECT min(next_run_at) FROM jobs
    WHERE state = 'pending' AND ready = 0 AND blocked = 0 AND next_run_at <= :now
);

-- oldest_ready --
-- The earliest due time of the ready jobs of each queue. One entry of jobs_ready for each lane and
-- priority.
{ready_priorities}
SELECT CAST((SELECT queue FROM lanes WHERE id = p.lane) AS BLOB) AS queue,
       min((SELECT min(j.next_run_at) FROM jobs j
            WHERE j.ready = 1 AND j.lane = p.lane AND j.priority = p.priority))
FROM priorities p WHERE priority IS NOT NULL GROUP BY 1;

-- config --
-- As bytes: a value that is not UTF-8 is refused like any other bad value.
SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM settings;

-- config_set --
INSERT INTO settings (key, value, updated_at) VALUES (:key, :value, :now)
ON CONFLICT DO UPDATE SET value = :value, updated_at = :now;

-- config_unset --
DELETE FROM settings WHERE key = :key RETURNING key;

-- register --
INSERT INTO instances (id, host, pid, version, started_at, overrides, labels)
VALUES (:id, :host, :pid, :version, :now, :overrides, :labels)
ON CONFLICT DO NOTHING;

-- relabel --
-- Guard: the labels differ.
UPDATE instances SET labels = :labels WHERE id = :id AND labels <> :labels;

-- instances --
SELECT id, host, pid, version, started_at, stop_requested_at, overrides, labels
FROM instances ORDER BY started_at, id;

-- instance --
SELECT id, host, pid, version, started_at, stop_requested_at, overrides, labels
FROM instances WHERE id = :id;

-- unregistered_instances --
-- Instances that have claims in force and no row. By jobs_by_state.
SELECT DISTINCT a.instance
FROM jobs j JOIN attempts a ON a.job = j.seq AND a.number = j.runs
WHERE j.state = 'processing' AND j.state <> 'completed'
  AND a.instance NOT IN (SELECT id FROM instances);

-- drain --
INSERT INTO drained_hosts (host, drained_at) VALUES (:host, :now) ON CONFLICT DO NOTHING;

-- resume --
DELETE FROM drained_hosts WHERE host = :host RETURNING host;

-- drained_hosts --
SELECT host, drained_at FROM drained_hosts ORDER BY host;

-- stop --
UPDATE instances SET stop_requested_at = coalesce(stop_requested_at, :now) WHERE id = :id;

-- unregister --
-- Guard: the instance has no claims in force.
DELETE FROM instances WHERE id = :id AND NOT EXISTS (
    SELECT 1 FROM jobs j JOIN attempts a ON a.job = j.seq AND a.number = j.runs
    WHERE j.state = 'processing' AND j.state <> 'completed' AND a.instance = :id)
RETURNING id;

-- worker_started --
INSERT INTO workers (instance, worker, pid, started_at) VALUES (:instance, :worker, :pid, :now)
ON CONFLICT DO UPDATE SET pid = :pid;

-- worker_gone --
DELETE FROM workers WHERE instance = :instance AND worker = :worker;

-- workers_gone --
DELETE FROM workers WHERE instance = :instance;

-- workers --
-- Each worker with the job that it runs, which is the oldest of its claims. By jobs_by_state.
SELECT w.instance, w.worker, w.pid, w.started_at, r.id, r.runs, r.command, r.started_at,
       r.token
FROM workers w LEFT JOIN (
    SELECT a.instance, a.worker, j.id, j.runs, j.command, a.started_at, min(j.token) AS token
    FROM jobs j JOIN attempts a ON a.job = j.seq AND a.number = j.runs
    WHERE j.state = 'processing' AND j.state <> 'completed'
    GROUP BY a.instance, a.worker
) r ON r.instance = w.instance AND r.worker = w.worker
ORDER BY w.instance, w.worker;

-- clock --
SELECT offset_ms FROM clock WHERE boot_id = :boot_id;

-- clock_set --
INSERT INTO clock (boot_id, offset_ms) VALUES (:boot_id, :offset)
ON CONFLICT DO UPDATE SET offset_ms = :offset;

-- clock_forget --
DELETE FROM clock WHERE boot_id <> :boot_id;

-- shift_retries --
-- Moves the due times of retries after the wall clock was set. Guard: waiting and not blocked, and has
-- run before. By jobs_waiting.
UPDATE jobs SET next_run_at = next_run_at + :shift
WHERE state = 'pending' AND ready = 0 AND blocked = 0 AND runs > 0;

-- check_dependents --
-- Jobs that wait for other jobs, of which none is left.
SELECT id FROM jobs j WHERE state = 'pending' AND blocked & 2
    AND NOT EXISTS (SELECT 1 FROM dependencies WHERE job = j.seq AND status = 'waiting');

-- check_counts --
-- Counts that differ from the number of jobs. All check_ blocks read all jobs; no service runs them.
SELECT queue, label, sum(n), sum(found) FROM (
    SELECT queue, label, n, 0 AS found FROM counts
    UNION ALL
    SELECT queue, label, 0, count(*) FROM jobs GROUP BY queue, label
)
GROUP BY queue, label HAVING sum(n) <> sum(found);

-- check_claims --
-- Running jobs without an open attempt; no service would ever settle them.
SELECT j.id, j.runs FROM jobs j
LEFT JOIN attempts a ON a.job = j.seq AND a.number = j.runs AND a.ended_at IS NULL
WHERE j.state = 'processing' AND j.state <> 'completed' AND a.job IS NULL;

-- check_open_attempts --
-- Attempts without an end that are not the current run of their job.
SELECT coalesce(j.id, a.job), a.number FROM attempts a LEFT JOIN jobs j ON j.seq = a.job
WHERE a.ended_at IS NULL AND (j.seq IS NULL OR j.state <> 'processing' OR j.runs <> a.number);

-- check_lanes --
-- Jobs with the lane of another queue: they pass the limit and the pause of their queue.
SELECT j.id, j.queue, l.id, l.queue FROM jobs j JOIN lanes l ON l.id = j.lane WHERE l.queue <> j.queue;

-- check_runs --
-- Jobs whose attempts do not end with the last run, or are not numbered without a gap; an attempt stands
-- for all runs that were deferred in a row. The first ones may be missing, because a purge that was
-- interrupted deletes them first.
SELECT j.id, j.runs, count(a.number), max(a.number) FROM jobs j LEFT JOIN attempts a ON a.job = j.seq
GROUP BY j.seq
HAVING max(a.number) <> j.runs
    OR sum(max(a.deferrals, 1)) <> max(a.number) - min(a.number - max(a.deferrals, 1))
    OR (count(a.number) = 0 AND j.runs > 0 AND j.state IN ('pending', 'processing'));

-- stats_rows --
-- How many rows each table has. Reads them all.
SELECT 'jobs', count(*) FROM jobs
UNION ALL SELECT 'attempts', count(*) FROM attempts
UNION ALL SELECT 'output', count(*) FROM output
UNION ALL SELECT 'settings', count(*) FROM settings
UNION ALL SELECT 'schedules', count(*) FROM schedules
UNION ALL SELECT 'instances', count(*) FROM instances
UNION ALL SELECT 'workers', count(*) FROM workers;

-- stats_output --
-- The bytes of output that are kept, and the bytes that were printed.
SELECT (SELECT coalesce(sum(length(content)), 0) FROM output),
       (SELECT coalesce(sum(stdout_bytes + stderr_bytes), 0) FROM attempts);

-- stats_ends --
-- The oldest and the newest job. By the primary key.
SELECT id, created_at FROM (SELECT seq, id, created_at FROM jobs ORDER BY seq LIMIT 1)
UNION ALL
SELECT id, created_at FROM (SELECT seq, id, created_at FROM jobs ORDER BY seq DESC LIMIT 1);

-- complete_jobs --
-- Ids that begin with the prefix, in the order of the ids: sorting them by age would read all of
-- them. By the unique index on id.
SELECT id FROM jobs WHERE id >= :prefix AND id < :beyond ORDER BY id LIMIT :limit;

-- complete_newest --
-- The newest ids, for an empty prefix. By the primary key.
SELECT id FROM jobs WHERE seq < :after ORDER BY seq DESC LIMIT :limit;

-- complete_state --
-- The newest ids of the jobs in one state other than completed. By jobs_by_state.
SELECT id FROM jobs WHERE state = :state AND state <> 'completed' ORDER BY seq DESC LIMIT :limit;

-- complete_queues --
-- Queues that have had a job. Kept by triggers, so it reads a few rows.
SELECT DISTINCT queue FROM counts ORDER BY queue LIMIT :limit;

-- complete_stored --
SELECT key FROM settings ORDER BY key LIMIT :limit;

-- last_seq --
-- The highest number that a job ever had; NULL if there was none.
SELECT max(seq) FROM sqlite_sequence WHERE name = 'jobs';

-- set_last_seq --
-- Before the first job; SQLite keeps the highest number after that.
INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', :seq);

-- put_mark --
-- Of a queue that no program may use; see `move_mark`.
CREATE TABLE moved AS SELECT :gone AS gone, :place AS place, :host AS host;

-- remove_mark --
DROP TABLE IF EXISTS moved;
