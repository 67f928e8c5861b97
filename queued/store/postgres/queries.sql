-- Every statement of the queue, in the order of a job's life. A block begins with its name.
-- Each move of a job is one guarded UPDATE. If the UPDATE changes no row, the guard did not hold, and
-- the move did not happen. Statements that lock several jobs lock them in the order of `seq`, or skip
-- those that are locked, so that no two of them can wait for each other. Those that remove no job lock
-- with NO KEY, so that `keep_jobs`, which every user may call, keeps no job from being claimed.
-- {name} stands for the text of the block of that name; `queued` for the name of the schema.

-- begin --
-- Begins a transaction, with settings that end with it, because a pooler may share the connection.
-- All plans are meant to go by an index; the planner would choose others while statistics are old.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL synchronous_commit = on;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL standard_conforming_strings = on; -- else libpq writes bytes in another way
SET LOCAL row_security = on;
SET LOCAL lock_timeout = '5s';
SET LOCAL idle_in_transaction_session_timeout = '10s';
SET LOCAL plan_cache_mode = force_generic_plan;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL random_page_cost = 1.1;
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL jit = off;

-- session --
-- The same settings for the statements of a service outside of transactions. Without `jit` off, the cost
-- of a scan that is off makes the server compile for seconds.
SET search_path = pg_catalog, pg_temp;
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET jit = off;

-- snapshot --
-- The same for reading: all statements see the same commits.
{begin};
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- job --
seq, id, queue, priority, command, options, state, label, next_run_at, attempts, max_retries, runs,
    cancel_requested_at, last_error, created_at, updated_at,
    (SELECT requires FROM queued.lanes l WHERE l.id = lane), slots, submitted_by,
    unique_key, unique_while, unique_until, expires_at, labels, schedule, scheduled_at,
    array_id, key, key_limit, key_rate_starts, key_rate_ms

-- matches --
-- What a filter tests of a job. NULL tests nothing. The index by state has the queue, in a form that
-- the index can test, so that a job of another queue costs no read of its row. The outcome is
-- `dependency` or that of the last run, as the exit code is, by the primary key.
queue BETWEEN coalesce(:queue::text, '') AND coalesce(:queue::text, repeat(chr(1114111), 65))
    AND (:queues::text[] IS NULL OR queue = ANY(:queues::text[]))
    AND (:not_queues::text[] IS NULL OR queue <> ALL(:not_queues::text[]))
    AND (:label::text IS NULL OR label = :label AND (label <> 'scheduled' OR next_run_at > :now))
    AND (:command::text IS NULL OR command LIKE :command)
    AND (:priority::bigint IS NULL OR priority = :priority)
    AND (:label_name::text IS NULL OR labels::json ->> :label_name = :label_value::text)
    AND (:schedule::text IS NULL OR schedule = :schedule)
    AND (:by::text IS NULL OR submitted_by = :by)
    AND (:array_id::text IS NULL OR array_id = :array_id)
    AND (:key::text IS NULL OR key = :key)
    AND (:since::bigint IS NULL OR updated_at >= :since)
    AND (:before::bigint IS NULL OR updated_at < :before)
    AND (:outcomes::text[] IS NULL
         OR CASE WHEN state = 'cancelled' AND starts_with(last_error, 'dependency: ') THEN 'dependency'
                 ELSE (SELECT a.outcome FROM queued.attempts a WHERE a.job = seq AND a.number = runs) END
            = ANY(:outcomes::text[]))
    AND (:exit_code::bigint IS NULL
         OR (SELECT a.exit_code FROM queued.attempts a WHERE a.job = seq AND a.number = runs) = :exit_code)

-- run --
number, instance, worker, started_at, ended_at, outcome, exit_code, signal, error,
    ran_ms, cpu_ms, peak_kib, stdout_bytes, stderr_bytes, deferrals

-- missing_lanes --
-- The pairs of a queue and labels that have no lane yet. By the unique index.
SELECT queue, requires FROM unnest(:queues::text[], :requires::text[]) AS new (queue, requires)
WHERE NOT EXISTS (SELECT FROM queued.lanes l WHERE l.queue = new.queue AND l.requires = new.requires);

-- make_lanes --
-- Guard: there are no such lanes yet.
SELECT queued.make_lanes(:queues::text[], :requires::text[]);

-- enqueue --
-- No guard: the unique indexes leave out a second job with the same id, or with a key that a job holds.
INSERT INTO queued.jobs (id, queue, priority, lane, command, options, state, ready, next_run_at,
                         attempts, max_retries, runs, blocked, slots, unique_key, unique_while,
                         unique_until, expires_at, labels, array_id, key, key_limit,
                         key_rate_starts, key_rate_ms, created_at, updated_at)
SELECT id, queue, priority,
       (SELECT l.id FROM queued.lanes l WHERE l.queue = new.queue AND l.requires = new.requires),
       command, options, 'pending', blocked = 0 AND key IS NULL AND next_run_at <= :now, next_run_at, 0,
       max_retries, 0, blocked, slots, unique_key, unique_while, unique_until, expires_at, labels,
       array_id, key, coalesce(key_limit, 1), key_rate_starts, key_rate_ms, :now, :now
FROM json_to_recordset(:jobs::json) AS new (place integer, id text, queue text, priority integer,
    requires text, command text, options text, next_run_at bigint, max_retries integer,
    blocked integer, slots integer, unique_key text, unique_while text, unique_until bigint,
    expires_at bigint, labels text, array_id text, key text, key_limit integer,
    key_rate_starts integer, key_rate_ms bigint)
ORDER BY place
ON CONFLICT DO NOTHING
RETURNING id;

-- put_inputs --
-- Guard: the jobs were stored in the same transaction. By the unique index on id.
INSERT INTO queued.inputs (job, content)
SELECT j.seq, new.content
FROM unnest(:ids::text[], :contents::bytea[]) AS new (id, content) JOIN queued.jobs j ON j.id = new.id;

-- input --
-- By the primary key.
SELECT content FROM queued.inputs WHERE job = :job;

-- free_keys --
-- Takes keys from jobs that have had them long enough. By jobs_unique.
SELECT queued.free_keys(:keys::text[], :now);

-- replace --
-- Cancels the job that holds a key. Guard: pending. By jobs_unique.
UPDATE queued.jobs SET state = 'cancelled', ready = false, blocked = 0,
                       unique_while = nullif(unique_while, 'any'), last_error = 'replaced by ' || :id::text,
                       awaited = CASE WHEN awaited > 0 THEN 2 ELSE 0 END, updated_at = :now
WHERE held_key = :key AND state = 'pending';

-- key_holders --
-- The jobs that hold keys. By jobs_unique.
SELECT key, id FROM queued.key_holders(:keys::text[]);

-- time_waits --
-- Whether a job of some lanes becomes due by a time. By jobs_waiting; passes jobs of other lanes.
SELECT EXISTS (SELECT 1 FROM queued.jobs WHERE state = 'pending' AND NOT ready AND blocked = 0
               AND next_run_at <= :by AND lane = ANY(:lanes::integer[]));

-- next_times --
-- The earliest time at which a waiting job becomes due, whether dependents must be told of an end, the
-- earliest time at which a pending job expires, whether a key has changed, or has a start in the future, and
-- the earliest time at which a key with a rate is due. One step into jobs_waiting, jobs_changed,
-- jobs_expiring, rated_keys_set and rated_keys_due.
SELECT (SELECT min(next_run_at) FROM queued.jobs WHERE state = 'pending' AND NOT ready AND blocked = 0),
       EXISTS (SELECT FROM queued.jobs WHERE awaited = 2),
       (SELECT min(expires_at) FROM queued.jobs WHERE state = 'pending' AND expires_at IS NOT NULL),
       EXISTS (SELECT FROM queued.changed_keys WHERE seq >= :first)
           OR coalesce((SELECT max(due - window_ms) FROM queued.rated_keys) > {clock}, false),
       (SELECT min(due) FROM queued.rated_keys);

-- promote --
-- Makes waiting jobs claimable when they are due; those with a key join its line instead. Guard: waiting
-- and not blocked. By jobs_waiting; jobs that another dispatcher promotes at this moment are skipped.
WITH due AS MATERIALIZED (
    SELECT seq FROM queued.jobs
    WHERE state = 'pending' AND NOT ready AND blocked = 0 AND next_run_at <= :now
    ORDER BY next_run_at, seq LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
UPDATE queued.jobs j SET ready = key IS NULL, blocked = CASE WHEN key IS NULL THEN 0 ELSE 4 END
FROM due WHERE j.seq = due.seq;

-- lanes --
-- The lanes that were made since the lane `after`. By the primary key.
SELECT id, queue, requires FROM queued.lanes WHERE id > :after ORDER BY id;

-- claim --
-- Claims the first ready jobs of the lanes of some queues, in the order of the queues and then of
-- claiming, each lane from a place in the order of claiming on; tokens are in the same order. Guard:
-- ready and not expired, the history of the server is trusted, the jobs of the instance were not taken over, and each
-- queue is not paused and has the limits that the caller has locked, if any. The row of the instance is
-- locked, so that a take-over comes either later and finds these claims, or before, and there are none. A
-- row that was changed since the statement began means that a queue may have been paused since then.
-- Reads at most `count` entries of jobs_ready for each lane to find the share of each lane in the first
-- jobs of its queue, and locks so many jobs of the lane that no other dispatcher claims at this moment. A
-- lock on more would hide jobs from other dispatchers. A conflict means that another program has set
-- `runs` back; the row of the attempt is then used again. Of keys with a rate it takes jobs only among the
-- first `idle` ones, and notes their starts.
WITH own AS MATERIALIZED (
    SELECT fenced_at, ctid AS place FROM queued.instances WHERE id = :instance FOR SHARE
), part AS MATERIALIZED (
    SELECT asked.* FROM unnest(:queues::text[], :counts::integer[], :mosts::integer[], :rooms::integer[],
                               :rates::integer[])
        WITH ORDINALITY AS asked (queue, count, most, room, rate, part)
    WHERE NOT EXISTS (SELECT FROM own WHERE fenced_at IS NOT NULL
                      OR place <> (SELECT i.ctid FROM queued.instances i WHERE id = :instance))
      AND EXISTS (SELECT FROM queued.meta WHERE one AND history = {history})
      AND NOT EXISTS (SELECT FROM queued.queues q WHERE q.name = asked.queue
                      AND (paused_at IS NOT NULL OR q.concurrency IS DISTINCT FROM nullif(asked.most, -1)
                           OR q.rate_starts IS DISTINCT FROM nullif(asked.rate, -1)))
), lane AS MATERIALIZED (
    SELECT one.* FROM unnest(:parts::integer[], :lanes::integer[], :ranks::integer[], :dues::bigint[],
                             :afters::bigint[]) AS one (part, lane, rank, due, after)
), share AS MATERIALIZED (
    SELECT part, lane, rank, due, after, count(*) AS size FROM (
        SELECT lane.*, part.count, row_number() OVER (
            PARTITION BY part ORDER BY ready.rank, ready.next_run_at, ready.seq) AS place
        FROM part JOIN lane USING (part), LATERAL (
            SELECT seq, j.rank, next_run_at FROM queued.jobs j
            WHERE ready AND j.lane = lane.lane
              AND (j.rank, next_run_at, seq) > (lane.rank, lane.due, lane.after)
            ORDER BY j.rank, next_run_at, seq LIMIT part.count) AS ready) AS wanted
    WHERE place <= count
    GROUP BY part, lane, rank, due, after
), first AS MATERIALIZED (
    SELECT share.part, share.lane, ready.* FROM share, LATERAL (
        SELECT seq, j.rank, next_run_at, slots, expires_at, key_rate_ms FROM queued.jobs j
        WHERE ready AND j.lane = share.lane
          AND (j.rank, next_run_at, seq) > (share.rank, share.due, share.after)
        ORDER BY j.rank, next_run_at, seq LIMIT share.size FOR NO KEY UPDATE SKIP LOCKED) AS ready
), fitting AS MATERIALIZED (
    SELECT first.*, room < 0 OR room >= sum(least(slots, most)) OVER (
               PARTITION BY part ORDER BY rank, next_run_at, seq) AS fits,
           key_rate_ms IS NULL OR :idle >= row_number() OVER (
               ORDER BY part, rank, next_run_at, seq) AS at_once
    FROM first JOIN part USING (part)
), placed AS MATERIALIZED (
    SELECT part, lane, seq, row_number() OVER (ORDER BY part, rank, next_run_at, seq) - 1 AS place
    FROM fitting WHERE fits AND at_once AND (expires_at IS NULL OR expires_at > :now)
    ORDER BY place LIMIT :count
), taken AS (
    UPDATE queued.jobs j SET state = 'processing', ready = false, runs = runs + 1,
                             token = :token + place, updated_at = :now,
                             unique_while = nullif(unique_while, 'waiting')
    FROM placed WHERE j.seq = placed.seq
    RETURNING j.*, part, (:workers::integer[])[place + 1] AS worker
), opened AS (
    INSERT INTO queued.attempts (job, number, instance, worker, token, started_at)
    SELECT seq, runs, :instance, worker, token, :now FROM taken
    ON CONFLICT (job, number) DO UPDATE SET
        instance = excluded.instance, worker = excluded.worker, token = excluded.token,
        started_at = excluded.started_at, ended_at = NULL, outcome = NULL
), noted AS (
    INSERT INTO queued.changed_keys (key) SELECT key FROM taken WHERE key_rate_ms IS NOT NULL
    RETURNING seq, key
), started AS (
    INSERT INTO queued.starts AS s (kind, owner, number, n, at)
    SELECT 'key', key, -seq, 1, {clock_ms} FROM noted
    ON CONFLICT (kind, owner, number) DO UPDATE SET n = s.n + 1, at = greatest(s.at, excluded.at))
SELECT seq, runs, token, id, queue, command, options, attempts, max_retries, next_run_at, created_at,
       expires_at, worker, :now, rank, lane, part, key_rate_ms IS NOT NULL
FROM taken ORDER BY token;

-- claim_expired --
-- Claims expired jobs as `claim` does, to end them in the same transaction. Guard: pending. By
-- jobs_expiring; jobs that another dispatcher ends at this moment are skipped.
WITH first AS MATERIALIZED (
    SELECT seq FROM queued.jobs WHERE state = 'pending' AND expires_at <= :now
    ORDER BY expires_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
), placed AS MATERIALIZED (
    SELECT seq, row_number() OVER () - 1 AS place FROM first
), taken AS (
    UPDATE queued.jobs j SET state = 'processing', ready = false, blocked = 0, runs = runs + 1,
                             token = :token + place, updated_at = :now
    FROM placed WHERE j.seq = placed.seq
    RETURNING j.*
), opened AS (
    INSERT INTO queued.attempts (job, number, instance, worker, token, started_at)
    SELECT seq, runs, :instance, 0, token, :now FROM taken
    ON CONFLICT (job, number) DO UPDATE SET
        instance = excluded.instance, worker = excluded.worker, token = excluded.token,
        started_at = excluded.started_at, ended_at = NULL, outcome = NULL)
SELECT seq, runs, token, id, queue, command, options, attempts, max_retries, next_run_at, created_at,
       expires_at, 0, :now
FROM taken ORDER BY token;

-- restore_claim --
-- Records a claim again that the database has lost in a failover. Guard: the job is the same one, and is
-- in the state before the claim.
WITH restored AS (
    UPDATE queued.jobs SET state = 'processing', ready = false, blocked = 0, runs = :attempt,
                           token = :token, unique_while = nullif(unique_while, 'waiting'),
                           updated_at = :now
    WHERE seq = :job AND id = :id AND created_at = :created AND state = 'pending' AND runs = :attempt - 1
    RETURNING seq
), opened AS (
    INSERT INTO queued.attempts (job, number, instance, worker, token, started_at)
    SELECT seq, :attempt, :instance, :worker, :token, :claimed FROM restored
    ON CONFLICT (job, number) DO UPDATE SET
        instance = excluded.instance, worker = excluded.worker, token = excluded.token,
        started_at = excluded.started_at, ended_at = NULL, outcome = NULL)
SELECT EXISTS (SELECT FROM restored) FROM queued.jobs WHERE seq = :job AND id = :id;

-- unclaim --
-- Undoes a claim that was never started. A job whose key has a rate waits in line again, because its start
-- stays counted. Guard: the claim is in force (run and token match), and no cancel was requested.
UPDATE queued.jobs SET state = 'pending', ready = key_rate_ms IS NULL,
                       blocked = CASE WHEN key_rate_ms IS NULL THEN 0 ELSE 4 END,
                       runs = runs - 1, token = NULL, updated_at = :now
WHERE seq = :job AND runs = :attempt AND token = :token AND state = 'processing'
  AND cancel_requested_at IS NULL
RETURNING queue;

-- forget_attempt --
-- Guard: unclaim found the claim in force, in the same transaction.
DELETE FROM queued.attempts WHERE job = :job AND number = :attempt AND ended_at IS NULL;

-- settle --
-- Ends runs. Guard: the claim is in force (run and token match; only a running job has a token. The
-- state in the condition would invite the planner to read all running jobs). If a cancel was requested
-- during a run, a job that would be retried or dead is cancelled instead. The endings come in the
-- order of the jobs.
WITH ending AS MATERIALIZED (
    SELECT * FROM json_to_recordset(:endings::json) AS one (job bigint, attempt integer, token bigint,
        state text, next_run_at bigint, counted integer, error text, started_at bigint,
        ended_at bigint, outcome text, exit_code integer, signal text, ran_ms bigint, cpu_ms bigint,
        peak_kib bigint, stdout_bytes bigint, stderr_bytes bigint, deferrals integer,
        waited_ms bigint, result text, waited_le bigint, ran_le bigint, wait_bucket integer,
        run_bucket integer, retries integer)
), settled AS (
    UPDATE queued.jobs j SET
        state       = CASE WHEN cancel_requested_at IS NOT NULL AND e.state IN ('pending', 'dead')
                           THEN 'cancelled' ELSE e.state END,
        ready       = cancel_requested_at IS NULL AND e.state = 'pending' AND key IS NULL
                      AND e.next_run_at <= :now,
        next_run_at = e.next_run_at,
        attempts    = attempts + e.counted,
        token       = NULL,
        cancel_requested_at = NULL,
        last_error  = coalesce(e.error, last_error),
        awaited     = CASE WHEN awaited > 0 AND (e.state <> 'pending' OR cancel_requested_at IS NOT NULL)
                           THEN 2 ELSE awaited END,
        updated_at  = :now
    FROM ending e
    WHERE j.seq = e.job AND j.runs = e.attempt AND j.token = e.token
    RETURNING e.*, j.state AS new_state, j.queue
), closed AS (
    UPDATE queued.attempts a SET
        started_at = coalesce(s.started_at, a.started_at), ended_at = coalesce(s.ended_at, :now),
        outcome = s.outcome, exit_code = s.exit_code, signal = s.signal, error = s.error,
        ran_ms = s.ran_ms, cpu_ms = s.cpu_ms, peak_kib = s.peak_kib,
        stdout_bytes = s.stdout_bytes, stderr_bytes = s.stderr_bytes, deferrals = s.deferrals,
        waited_ms = s.waited_ms
    FROM settled s
    WHERE a.job = s.job AND a.number = s.attempt AND a.ended_at IS NULL
), added AS (
    INSERT INTO queued.run_totals AS t
    SELECT :instance, queue, result, waited_le, ran_le, count(*),
           sum(coalesce(waited_ms, 0)), sum(coalesce(ran_ms, 0))
    FROM settled GROUP BY queue, result, waited_le, ran_le
    ON CONFLICT (instance, queue, result, waited_le, ran_le) DO UPDATE SET
        runs = t.runs + excluded.runs, waited_ms = t.waited_ms + excluded.waited_ms,
        ran_ms = t.ran_ms + excluded.ran_ms
), minutes AS (
    INSERT INTO queued.run_periods AS t
    SELECT 60000, coalesce(ended_at, :now) / 60000 * 60000 AS begins_at, :instance, queue, result, measure,
           bucket, count(*), sum(retried), sum(used_ms), max(used_kib)
    FROM settled, LATERAL (VALUES
        ('wait', wait_bucket, 0, 0, 0),
        ('run', run_bucket, retries, coalesce(cpu_ms, 0), coalesce(peak_kib, 0))
    ) AS one (measure, bucket, retried, used_ms, used_kib)
    WHERE bucket IS NOT NULL
    GROUP BY begins_at, queue, result, measure, bucket
    ON CONFLICT (length_ms, begins_at, instance, queue, result, measure, bucket) DO UPDATE SET
        runs = t.runs + excluded.runs, retries = t.retries + excluded.retries,
        cpu_ms = t.cpu_ms + excluded.cpu_ms, peak_kib = greatest(t.peak_kib, excluded.peak_kib))
SELECT job, attempt, token, new_state FROM settled;

-- recorded --
-- What a commit without an answer has recorded of claims, and the state of the jobs now; a job that has
-- run again since then was pending. By the primary keys.
SELECT a.job, a.number, a.token, a.outcome,
       CASE WHEN j.runs = a.number AND j.state <> 'processing' THEN j.state ELSE 'pending' END
FROM queued.attempts a JOIN queued.jobs j ON j.seq = a.job
WHERE (a.job, a.number, a.token) IN (
    SELECT * FROM unnest(:jobs::bigint[], :numbers::integer[], :tokens::bigint[]))
  AND a.ended_at IS NOT NULL;

-- interruptions --
-- How many runs of a job were interrupted since the last one that ended in another way. By the
-- primary key, from the last run back.
SELECT count(*) FROM queued.attempts WHERE job = :job AND outcome = 'interrupted' AND number > coalesce(
    (SELECT number FROM queued.attempts WHERE job = :job AND outcome <> 'interrupted'
     ORDER BY number DESC LIMIT 1), 0);

-- deferrals --
-- How many runs of a job were deferred in a row until now. By the primary key.
SELECT deferrals FROM queued.attempts WHERE job = :job AND ended_at IS NOT NULL
ORDER BY number DESC LIMIT 1;

-- merge_deferrals --
-- Deletes the deferred run before a deferred run, and its output. Guard: the later run was recorded in
-- the same transaction.
DELETE FROM queued.attempts WHERE job = :job AND deferrals > 0
    AND number = (SELECT max(number) FROM queued.attempts WHERE job = :job AND number < :attempt);

-- store_output --
-- Stores many pieces. Guard: the claim is in force (run and token match). After a crash of the
-- dispatcher a worker sends pieces again; such a piece begins with the same bytes, and the longest one
-- is kept.
INSERT INTO queued.output (job, number, stream, position, content)
SELECT DISTINCT ON (j.seq, p.stream, p.position) j.seq, j.runs, p.stream, p.position, p.content
FROM unnest(:jobs::bigint[], :numbers::integer[], :tokens::bigint[], :streams::integer[],
            :positions::bigint[], :contents::bytea[])
    AS p (job, number, token, stream, position, content)
JOIN queued.jobs j ON j.seq = p.job AND j.runs = p.number AND j.token = p.token
ORDER BY j.seq, p.stream, p.position, length(p.content) DESC
ON CONFLICT (job, number, stream, position) DO UPDATE SET content = excluded.content
WHERE length(excluded.content) > length(output.content);

-- trim_output --
-- Deletes the pieces between the kept head and the kept tail.
DELETE FROM queued.output
WHERE job = :job AND number = :attempt AND stream = :stream
  AND position >= :head_end AND position < :tail_start;

-- running_claims --
-- The claims of an instance that are in force, in the order of claiming, which is the order of the
-- tokens. By jobs_by_state.
SELECT j.seq, j.runs, j.token, j.id, j.queue, j.command, j.options, j.attempts, j.max_retries,
       j.next_run_at, j.created_at, j.expires_at, a.worker, a.started_at
FROM queued.jobs j JOIN queued.attempts a ON a.job = j.seq AND a.number = j.runs
WHERE j.state = 'processing' AND a.instance = :instance
ORDER BY j.token;

-- cancel --
-- Pending jobs end at once; of running ones the end is requested, and their dispatchers read the
-- request. Guard: pending or processing. In one statement, because a job may move from one to the
-- other between two.
UPDATE queued.jobs SET
    state      = CASE state WHEN 'pending' THEN 'cancelled' ELSE state END,
    ready      = false,
    blocked    = 0,
    last_error = CASE state WHEN 'pending' THEN 'cancelled' ELSE last_error END,
    cancel_requested_at = CASE state WHEN 'processing' THEN coalesce(cancel_requested_at, :now) END,
    awaited    = CASE WHEN awaited > 0 AND state = 'pending' THEN 2 ELSE awaited END,
    updated_at = :now
WHERE seq = ANY(:jobs::bigint[]) AND state IN ('pending', 'processing')
RETURNING seq, id, state;

-- signal --
-- Requests a signal for running jobs; their dispatchers read the requests. Guard: processing.
INSERT INTO queued.signals (job, number, name)
SELECT seq, runs, :signal::text FROM queued.jobs
WHERE seq = ANY(:jobs::bigint[]) AND state = 'processing'
RETURNING job, (SELECT id FROM queued.jobs WHERE seq = job);

-- signal_requests --
-- The requests for the claims of some workers of an instance, oldest first. Reads all requests: they are
-- few.
SELECT s.id, s.name, j.seq, j.runs, j.token
FROM queued.signals s JOIN queued.jobs j ON j.seq = s.job AND j.runs = s.number AND j.state = 'processing'
JOIN queued.attempts a ON a.job = j.seq AND a.number = j.runs
WHERE a.instance = :instance AND a.worker = ANY(:workers::integer[]) ORDER BY s.id;

-- forget_signals --
-- Deletes requests that were read, and those for runs that are over.
DELETE FROM queued.signals WHERE id = ANY(:ids::bigint[]) OR NOT EXISTS (
    SELECT FROM queued.jobs j WHERE j.seq = job AND j.runs = number AND j.state = 'processing');

-- first_of_queue --
-- The first job in the order of claiming of the ready jobs of a queue and the line of a key. One step into
-- jobs_ready for each lane, and one into jobs_key_lines.
SELECT seq FROM (
    SELECT first.* FROM queued.lanes l, LATERAL (
        SELECT j.rank, j.next_run_at, j.seq FROM queued.jobs j WHERE j.ready AND j.lane = l.id
        ORDER BY j.rank, j.next_run_at, j.seq LIMIT 1) first
    WHERE l.queue = :queue
    UNION ALL
    (SELECT rank, next_run_at, seq FROM queued.jobs WHERE key = :key::text AND blocked = 4
     ORDER BY rank, next_run_at, seq LIMIT 1)) AS one
ORDER BY rank, next_run_at, seq LIMIT 1;

-- lanes_of --
-- The queues of some jobs and what they require. By the primary keys.
SELECT DISTINCT l.queue, l.requires FROM queued.jobs j JOIN queued.lanes l ON l.id = j.lane
WHERE j.seq = ANY(:jobs::bigint[]);

-- edit --
-- Changes jobs. Guard: pending, unless the changes have no effect on runs.
UPDATE queued.jobs j SET
    command     = coalesce(:command, command),
    lane        = (SELECT l.id FROM queued.lanes l JOIN queued.lanes own ON own.id = j.lane
                   WHERE l.queue = coalesce(:queue, j.queue)
                     AND l.requires = coalesce(:requires, own.requires)),
    queue       = coalesce(:queue, queue),
    priority    = coalesce(:priority, priority),
    max_retries = coalesce(:max_retries, max_retries),
    options     = CASE WHEN :options::text = '{{}}' THEN options
                       ELSE jsonb_strip_nulls(options::jsonb || :options::jsonb || (
                           SELECT coalesce(jsonb_object_agg(
                               key, coalesce(options::jsonb -> key, '{{}}') || value), '{{}}')
                           FROM jsonb_each(:options::jsonb) WHERE jsonb_typeof(value) = 'object'))::text END,
    labels      = CASE WHEN :labels::text IS NULL THEN labels
                       ELSE nullif(jsonb_strip_nulls(coalesce(labels, '{{}}')::jsonb || :labels::jsonb),
                                   '{{}}')::text END,
    slots       = coalesce(:slots, slots),
    key_limit   = coalesce(:key_limit, key_limit),
    expires_at  = coalesce(:expires_at, expires_at),
    next_run_at = coalesce(:next_run_at, next_run_at),
    blocked     = blocked & 3,
    ready       = state = 'pending' AND blocked = 0 AND key IS NULL
                  AND coalesce(:next_run_at, next_run_at) <= :now,
    updated_at  = CASE WHEN state = 'pending' THEN :now ELSE updated_at END
WHERE seq = ANY(:jobs::bigint[]) AND (state = 'pending' OR :any_state::boolean)
RETURNING seq, id, options, next_run_at, expires_at, key;

-- cancel_requests --
-- The claims of an instance whose jobs a user wants to cancel. By jobs_by_state.
SELECT j.seq, j.runs, j.token
FROM queued.jobs j JOIN queued.attempts a ON a.job = j.seq AND a.number = j.runs
WHERE j.state = 'processing' AND j.cancel_requested_at IS NOT NULL AND a.instance = :instance;

-- unexpired --
expires_at = CASE WHEN expires_at > :now THEN expires_at END,
options = CASE WHEN expires_at <= :now THEN (options::jsonb - 'deadline')::text ELSE options END

-- key_conflicts --
-- The jobs that hold keys that retried jobs would hold, one of which may be another retried job. By
-- the primary key and jobs_unique.
WITH wanted AS MATERIALIZED (
    SELECT seq, id, unique_key, row_number() OVER (PARTITION BY unique_key ORDER BY seq) AS place
    FROM queued.jobs
    WHERE seq = ANY(:jobs::bigint[]) AND unique_while IS NOT NULL AND held_key IS NULL)
SELECT w.id, w.unique_key, holder.id, w.seq
FROM wanted w JOIN queued.key_holders(ARRAY(SELECT unique_key FROM wanted)) holder
    ON holder.key = w.unique_key
UNION ALL
SELECT w.id, w.unique_key, first.id, w.seq
FROM wanted w JOIN wanted first ON first.unique_key = w.unique_key AND first.place = 1
WHERE w.place > 1;

-- retry --
-- Back to pending with the full budget; the history stays. An expiry that has passed does not, nor
-- a deadline with it. Guard: dead or cancelled.
WITH wanted AS MATERIALIZED (
    SELECT seq FROM queued.jobs WHERE seq = ANY(:jobs::bigint[]) AND state IN ('dead', 'cancelled')
    ORDER BY seq FOR NO KEY UPDATE)
UPDATE queued.jobs j SET state = 'pending', ready = key IS NULL, blocked = 0, next_run_at = :now,
                         attempts = 0, {unexpired},
                         awaited = CASE WHEN awaited > 0 THEN 2 ELSE 0 END, updated_at = :now
FROM wanted WHERE j.seq = wanted.seq
RETURNING j.seq, j.id;

-- hold --
-- Keeps jobs from being claimed. Guard: pending.
UPDATE queued.jobs SET ready = false, blocked = blocked & 3 | 1, updated_at = :now
WHERE seq = ANY(:jobs::bigint[]) AND state = 'pending'
RETURNING seq, id;

-- release --
-- Undoes hold; from now on the jobs wait as any other that is due. Guard: pending and held.
UPDATE queued.jobs SET ready = blocked = 1 AND key IS NULL AND next_run_at <= :now,
                       blocked = blocked & ~1,
                       next_run_at = greatest(next_run_at, :now), updated_at = :now
WHERE seq = ANY(:jobs::bigint[]) AND state = 'pending' AND blocked & 1 <> 0
RETURNING seq, id;

-- run_now --
-- Makes jobs that wait for their time due. Guard: pending and not blocked.
UPDATE queued.jobs SET ready = ready OR key IS NULL, next_run_at = least(next_run_at, :now),
                       updated_at = :now
WHERE seq = ANY(:jobs::bigint[]) AND state = 'pending' AND blocked = 0
RETURNING seq, id;

-- prunable --
-- A page of the jobs in one state other than completed, ended or not; those whose dependents were not
-- told of the end yet have no state. By jobs_by_state.
SELECT seq, CASE WHEN awaited < 2 THEN state END, created_at, updated_at FROM queued.jobs
WHERE state = :state AND state <> 'completed' AND seq > :after
ORDER BY seq LIMIT :limit;

-- prunable_completed --
-- A page of all jobs, most of which are completed. By the primary key.
SELECT seq, CASE WHEN awaited < 2 THEN state END, created_at, updated_at FROM queued.jobs
WHERE seq > :after AND :state = 'completed'
ORDER BY seq LIMIT :limit;

-- lock_ended --
-- Keeps jobs from being retried while they are removed. Jobs that are locked are left to the program
-- that has locked them, which removes or retries them. By the primary key.
SELECT seq FROM queued.jobs WHERE seq = ANY(:jobs::bigint[]) AND state = :state AND updated_at < :before
  AND awaited < 2
ORDER BY seq FOR UPDATE SKIP LOCKED;

-- purge_output --
-- Deletes a part of the output of jobs that are locked. The rows of the jobs are deleted in the same
-- or a later transaction; a job that is retried before that keeps the output that is left.
DELETE FROM queued.output WHERE (job, number, stream, position) IN
    (SELECT job, number, stream, position FROM queued.output WHERE job = ANY(:jobs::bigint[])
     ORDER BY job LIMIT :limit);

-- purge_attempts --
-- Deletes a part of the attempts of jobs, by the primary key. Their output is gone.
DELETE FROM queued.attempts WHERE (job, number) IN
    (SELECT job, number FROM queued.attempts WHERE job = ANY(:jobs::bigint[])
     ORDER BY job, number LIMIT :limit);

-- purge_dependencies --
-- Of jobs that are locked, and on them. By the primary key and by dependencies_of.
DELETE FROM queued.dependencies WHERE (on_job, job, condition) IN (
    SELECT on_job, job, condition FROM queued.dependencies WHERE job = ANY(:jobs::bigint[])
    UNION ALL
    SELECT on_job, job, condition FROM queued.dependencies WHERE on_job = ANY(:jobs::bigint[]));

-- purge --
-- Guard: the jobs have ended.
DELETE FROM queued.jobs
WHERE seq = ANY(:jobs::bigint[]) AND state IN ('completed', 'dead', 'cancelled');

-- find --
-- By the unique index on id.
SELECT seq, id FROM queued.jobs WHERE id = :id;

-- find_prefix --
-- Two rows are enough to know that a prefix is ambiguous. By the unique index on id. Generated ids
-- contain a letter; an id of digits alone, such as a timestamp, was given by a user.
SELECT seq, id FROM queued.jobs
WHERE id >= :prefix AND id < :beyond AND id ~ :form AND id ~ '[a-z]' ORDER BY id LIMIT 2;

-- show --
SELECT {job} FROM queued.jobs WHERE seq = :job;

-- list --
-- A page of all jobs, oldest first. By the primary key.
SELECT {job} FROM queued.jobs WHERE seq > :after AND {matches} ORDER BY seq LIMIT :limit;

-- list_reverse --
SELECT {job} FROM queued.jobs WHERE seq < :after AND {matches} ORDER BY seq DESC LIMIT :limit;

-- list_state --
-- A page of the jobs in one state other than completed. By jobs_by_state.
SELECT {job} FROM queued.jobs
WHERE state = :state AND state <> 'completed' AND seq > :after AND {matches}
ORDER BY seq LIMIT :limit;

-- list_state_reverse --
SELECT {job} FROM queued.jobs
WHERE state = :state AND state <> 'completed' AND seq < :after AND {matches}
ORDER BY seq DESC LIMIT :limit;

-- list_completed --
-- A page of completed jobs. By the primary key: most jobs are completed ones.
SELECT {job} FROM queued.jobs WHERE state = 'completed' AND seq > :after AND {matches}
ORDER BY seq LIMIT :limit;

-- list_completed_reverse --
SELECT {job} FROM queued.jobs WHERE state = 'completed' AND seq < :after AND {matches}
ORDER BY seq DESC LIMIT :limit;

-- list_array --
-- A page of the jobs of one array. By jobs_array.
SELECT {job} FROM queued.jobs
WHERE array_id = :array_id AND seq > :after AND (:state::text IS NULL OR state = :state) AND {matches}
ORDER BY seq LIMIT :limit;

-- list_array_reverse --
SELECT {job} FROM queued.jobs
WHERE array_id = :array_id AND seq < :after AND (:state::text IS NULL OR state = :state) AND {matches}
ORDER BY seq DESC LIMIT :limit;

-- select --
-- The row numbers of the jobs that `list` finds, for a change of all of them; also the next three.
SELECT seq FROM queued.jobs WHERE seq > :after AND {matches} ORDER BY seq LIMIT :limit;

-- select_state --
SELECT seq FROM queued.jobs
WHERE state = :state AND state <> 'completed' AND seq > :after AND {matches}
ORDER BY seq LIMIT :limit;

-- select_completed --
SELECT seq FROM queued.jobs WHERE state = 'completed' AND seq > :after AND {matches}
ORDER BY seq LIMIT :limit;

-- select_array --
SELECT seq FROM queued.jobs
WHERE array_id = :array_id AND seq > :after AND (:state::text IS NULL OR state = :state) AND {matches}
ORDER BY seq LIMIT :limit;

-- lock_jobs --
-- Before statements that lock some of these jobs, each in the order of the jobs. By the primary key.
SELECT FROM queued.jobs WHERE seq = ANY(:jobs::bigint[]) ORDER BY seq FOR UPDATE;

-- still --
-- Those of some jobs that match now; locks them for the transaction that changes them. By the primary
-- key.
SELECT seq FROM queued.jobs
WHERE seq = ANY(:jobs::bigint[]) AND (:state::text IS NULL OR state = :state) AND {matches}
ORDER BY seq FOR UPDATE;

-- attempts --
SELECT {run} FROM queued.attempts WHERE job = :job ORDER BY number;

-- last_attempts --
-- One run of each job. By the primary key.
SELECT job, {run} FROM queued.attempts
WHERE (job, number) IN (SELECT * FROM unnest(:jobs::bigint[], :numbers::integer[]));

-- output --
-- A page of one stream's pieces from a position on. By the primary key.
SELECT stream, position, content FROM queued.output
WHERE job = :job AND number = :attempt AND stream = :stream AND position >= :from
ORDER BY position LIMIT :limit;

-- status --
-- Jobs by queue and label: the counts and the differences that were not added to them yet.
SELECT queue, label, sum(n)::bigint FROM (
    SELECT queue, label, n FROM queued.counts UNION ALL SELECT queue, label, n FROM queued.deltas) AS one
GROUP BY queue, label HAVING sum(n) > 0 ORDER BY queue;

-- counts --
-- Jobs by label, over all queues.
SELECT label, sum(n)::bigint FROM (
    SELECT label, n FROM queued.counts UNION ALL SELECT label, n FROM queued.deltas) AS one
GROUP BY label;

-- fold --
-- Adds differences to the counts, from the number `first` on. Does nothing if another dispatcher has
-- the advisory lock, which ends with its transaction, so that no dispatcher waits for another.
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock('queued.deltas'::regclass::oid::integer, 0) AS mine
), folded AS (
    DELETE FROM queued.deltas WHERE seq IN (
        SELECT seq FROM queued.deltas WHERE seq >= :first AND (SELECT mine FROM turn)
        ORDER BY seq LIMIT :limit)
    RETURNING seq, queue, label, n
), added AS (
    INSERT INTO queued.counts AS c (queue, label, n)
    SELECT queue, label, sum(n) FROM folded GROUP BY queue, label
    ON CONFLICT (queue, label) DO UPDATE SET n = c.n + excluded.n)
SELECT max(seq) FROM folded;

-- overdue --
-- Jobs of each queue that are due and not promoted, because no service runs; `status` counts them as
-- scheduled. By jobs_waiting.
SELECT queue, count(*) FROM queued.jobs
WHERE state = 'pending' AND NOT ready AND blocked = 0 AND next_run_at <= :now AND attempts = 0
GROUP BY queue;

-- completed_since --
-- The number of jobs that completed in a span of time. By attempts_ended: reads these runs only.
SELECT count(*) FROM queued.attempts
WHERE outcome = 'exit' AND exit_code = 0 AND ended_at > :since AND ended_at <= :now;

-- required_now --
-- The sets of labels that ready jobs require. One step into jobs_ready for each lane.
SELECT DISTINCT requires FROM queued.lanes l,
    LATERAL (SELECT FROM queued.jobs WHERE ready AND lane = l.id LIMIT 1) AS one;

-- ready_ranks --
-- The ranks of the ready jobs of each lane, and NULL after the last one. One entry of jobs_ready for each.
WITH RECURSIVE ranks (lane, rank) AS (
    SELECT id, (SELECT min(rank) FROM queued.jobs WHERE ready AND lane = l.id) FROM queued.lanes l
    UNION ALL
    SELECT r.lane, (SELECT min(j.rank) FROM queued.jobs j
                     WHERE j.ready AND j.lane = r.lane AND j.rank > r.rank)
    FROM ranks r WHERE r.rank IS NOT NULL
)

-- oldest_due --
-- The earliest due time of the jobs that are due: of ready jobs, by one entry of jobs_ready for each
-- lane and priority, and of jobs that are due and not promoted, by jobs_waiting.
{ready_ranks}
SELECT min(due) FROM (
    SELECT (SELECT min(j.next_run_at) FROM queued.jobs j
            WHERE j.ready AND j.lane = r.lane AND j.rank = r.rank) AS due
    FROM ranks r
    UNION ALL
    SELECT min(next_run_at) FROM queued.jobs
    WHERE state = 'pending' AND NOT ready AND blocked = 0 AND next_run_at <= :now
) AS one;

-- oldest_ready --
-- The earliest due time of the ready jobs of each queue. One entry of jobs_ready for each lane and rank.
{ready_ranks}
SELECT (SELECT l.queue FROM queued.lanes l WHERE l.id = r.lane) AS queue,
       min((SELECT min(j.next_run_at) FROM queued.jobs j
            WHERE j.ready AND j.lane = r.lane AND j.rank = r.rank))
FROM ranks r WHERE rank IS NOT NULL GROUP BY 1;

-- config --
SELECT key, value FROM queued.settings;

-- config_set --
INSERT INTO queued.settings (key, value, updated_at) VALUES (:key, :value, :now)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at;

-- config_unset --
DELETE FROM queued.settings WHERE key = :key RETURNING key;

-- register --
INSERT INTO queued.instances
    (id, host, pid, version, schema, started_at, overrides, labels, host_id, lease_s, renewed_at)
VALUES (:id, :host, :pid, :version, :schema, :now, :overrides, :labels, :host_id, :lease_s, :now)
ON CONFLICT (id) DO NOTHING;

-- relabel --
-- Guard: the labels differ.
UPDATE queued.instances SET labels = :labels WHERE id = :id AND labels <> :labels;

-- renew --
-- Renews the lease. Guard: not taken over, and the tables were not upgraded beyond its program.
UPDATE queued.instances SET beat = beat + 1, renewed_at = {clock}
WHERE id = :id AND fenced_at IS NULL AND schema >= (SELECT works_from FROM queued.meta WHERE one)
RETURNING beat, {history}, (SELECT history FROM queued.meta WHERE one),
          (SELECT max(lease_s) FROM queued.instances);

-- renew_idle --
-- The renewal of a service that has nothing to do, as a transaction of its own. Guard: as of renew. Reads
-- as well all for which the service would make a turn. By jobs_ready, jobs_waiting, jobs_changed,
-- jobs_expiring, rated_keys_set, rated_keys_due and schedules_due, one step each.
WITH renewed AS (
    UPDATE queued.instances SET beat = beat + 1, renewed_at = {clock}
    WHERE id = :id AND fenced_at IS NULL AND schema >= (SELECT works_from FROM queued.meta WHERE one)
      AND set_config('synchronous_commit', 'on', true) = 'on'
    RETURNING beat, stop_requested_at
)
SELECT {clock}, {history}, beat, (SELECT history FROM queued.meta WHERE one),
       (SELECT max(lease_s) FROM queued.instances),
       EXISTS (SELECT FROM unnest(:lanes::integer[]) AS one (lane),
                    LATERAL (SELECT FROM queued.jobs j WHERE ready AND j.lane = one.lane LIMIT 1) AS job)
           OR (SELECT coalesce(due <= {clock}, false) OR changed OR keys_changed
                      OR coalesce(expiry <= {clock}, false) OR coalesce(key_due <= {clock}, false)
               FROM ({next_times}) AS next (due, changed, expiry, keys_changed, key_due)),
       json_build_array(stop_requested_at, (SELECT max(id) FROM queued.lanes),
           (SELECT json_agg(one ORDER BY key) FROM queued.settings one),
           (SELECT json_agg(one ORDER BY host) FROM queued.drained_hosts one),
           (SELECT json_agg(one ORDER BY name) FROM queued.queues one),
           (SELECT min(next_at) FROM queued.schedules WHERE paused_at IS NULL))::text,
       (SELECT json_object_agg(id, i.beat) FROM queued.instances i WHERE fenced_at IS NULL)
FROM renewed;

-- trust_history --
-- Allows claims on a server with this history.
UPDATE queued.meta SET history = :history WHERE one;

-- history --
-- The server and its timeline, which every promotion of a standby and every recovery to an earlier time
-- changes. Empty for a standby.
(SELECT CASE WHEN pg_is_in_recovery() THEN ''
             ELSE system_identifier || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END
 FROM pg_control_system())

-- take_over --
-- Guard: the lease was not renewed since `beat`, and no other instance has taken over the jobs.
UPDATE queued.instances SET fenced_at = {clock}
WHERE id = :id AND beat = :beat AND fenced_at IS NULL
RETURNING id;

-- take_over_unknown --
-- The same for an instance whose row was removed.
INSERT INTO queued.instances
    (id, host, pid, version, schema, started_at, host_id, lease_s, renewed_at, fenced_at)
VALUES (:id, '', 0, '', 0, {clock}, '', 0, {clock}, {clock})
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- forget_fenced --
-- A week after its jobs were taken over, no process of an instance asks for its row any more.
DELETE FROM queued.instances WHERE fenced_at < {clock} - 604800000;

-- set_hungry --
UPDATE queued.instances SET hungry = :hungry WHERE id = :id;

-- notify_hungry --
-- After a commit that made jobs ready, in a transaction of its own: inside the first one it would make
-- all enqueues wait for each other. Nothing is notified while all services have enough work.
BEGIN;
SET LOCAL synchronous_commit = off;
SELECT pg_notify('queued.changes', '') FROM queued.instances WHERE hungry AND fenced_at IS NULL LIMIT 1;
COMMIT;

-- notify_all --
-- The same after other changes that services must read.
BEGIN;
SET LOCAL synchronous_commit = off;
SELECT pg_notify('queued.changes', '');
COMMIT;

-- clock --
(extract(epoch FROM clock_timestamp()) * 1000)::bigint

-- server --
SELECT {clock}, {history}, pg_backend_pid();

-- instances --
SELECT {instance_columns} FROM queued.instances WHERE fenced_at IS NULL ORDER BY started_at, id;

-- instance_columns --
id, host, pid, version, started_at, stop_requested_at, overrides, labels, host_id, lease_s, beat,
    extract(epoch FROM clock_timestamp())::double precision - renewed_at / 1000.0

-- instance --
SELECT {instance_columns} FROM queued.instances WHERE id = :id AND fenced_at IS NULL;

-- unregistered_instances --
-- Instances that have claims in force and no row. By jobs_by_state.
SELECT DISTINCT a.instance
FROM queued.jobs j JOIN queued.attempts a ON a.job = j.seq AND a.number = j.runs
WHERE j.state = 'processing' AND NOT EXISTS (SELECT FROM queued.instances i WHERE i.id = a.instance);

-- drain --
INSERT INTO queued.drained_hosts (host, drained_at) VALUES (:host, :now) ON CONFLICT (host) DO NOTHING;

-- resume --
DELETE FROM queued.drained_hosts WHERE host = :host RETURNING host;

-- drained_hosts --
SELECT host, drained_at FROM queued.drained_hosts ORDER BY host;

-- stop --
UPDATE queued.instances SET stop_requested_at = coalesce(stop_requested_at, :now) WHERE id = :id;

-- unregister --
-- Guard: the instance has no claims in force.
DELETE FROM queued.instances WHERE id = :id AND NOT EXISTS (
    SELECT 1 FROM queued.jobs j JOIN queued.attempts a ON a.job = j.seq AND a.number = j.runs
    WHERE j.state = 'processing' AND a.instance = :id)
RETURNING id;

-- worker_started --
INSERT INTO queued.workers (instance, worker, pid, started_at) VALUES (:instance, :worker, :pid, :now)
ON CONFLICT (instance, worker) DO UPDATE SET pid = excluded.pid;

-- worker_gone --
DELETE FROM queued.workers WHERE instance = :instance AND worker = :worker;

-- workers_gone --
DELETE FROM queued.workers WHERE instance = :instance;

-- workers --
-- Each worker with the job that it runs, which is the oldest of its claims. By jobs_by_state.
SELECT w.instance, w.worker, w.pid, w.started_at, r.id, r.runs, r.command, r.started_at, r.token
FROM queued.workers w LEFT JOIN (
    SELECT DISTINCT ON (a.instance, a.worker)
           a.instance, a.worker, j.id, j.runs, j.command, a.started_at, j.token
    FROM queued.jobs j JOIN queued.attempts a ON a.job = j.seq AND a.number = j.runs
    WHERE j.state = 'processing'
    ORDER BY a.instance, a.worker, j.token
) AS r ON r.instance = w.instance AND r.worker = w.worker
ORDER BY w.instance, w.worker;

-- complete_jobs --
-- Ids that begin with the prefix, in the order of the ids. By the unique index on id.
SELECT id FROM queued.jobs WHERE id >= :prefix AND id < :beyond ORDER BY id LIMIT :limit;

-- complete_newest --
-- The newest ids, for an empty prefix. By the primary key.
SELECT id FROM queued.jobs WHERE seq < :after ORDER BY seq DESC LIMIT :limit;

-- complete_state --
-- The newest ids of the jobs in one state other than completed. By jobs_by_state.
SELECT id FROM queued.jobs WHERE state = :state AND state <> 'completed' ORDER BY seq DESC LIMIT :limit;

-- complete_queues --
-- Queues that have had a job.
SELECT queue FROM queued.counts UNION SELECT queue FROM queued.deltas ORDER BY queue LIMIT :limit;

-- complete_stored --
SELECT key FROM queued.settings ORDER BY key LIMIT :limit;

-- version --
-- A number for the set of all commits that a statement sees now.
SELECT hashtextextended(pg_current_snapshot()::text, 0);

-- end_lost --
-- Ends the server's side of a lost connection, and waits until its transaction has ended.
SELECT coalesce(bool_and(pg_terminate_backend(pid, 5000::bigint)), true) FROM pg_stat_activity
WHERE pid = :pid::integer AND usename = current_user AND application_name = :application;

-- has_schema --
-- `meta` is made with the first schema.
SELECT to_regclass('queued.meta') IS NOT NULL;

-- schema --
SELECT schema, works_from FROM queued.meta;

-- schema_set --
INSERT INTO queued.meta (schema, works_from, history) VALUES (:schema, :works_from, {history})
ON CONFLICT (one) DO UPDATE SET schema = excluded.schema, works_from = excluded.works_from;

-- older_services --
-- Services whose lease lasts and whose program knows no newer schema than an older one.
SELECT host, id, version FROM queued.instances
WHERE fenced_at IS NULL AND schema < :works_from AND renewed_at + lease_s * 1000 > {clock} ORDER BY host, id;

-- snapshot_holders --
-- Other sessions whose transactions keep dead rows of this database from being removed, the oldest first.
-- Address, state and age are null if this user may not see them.
SELECT pid, coalesce(backend_xmin, backend_xid)::text::bigint, usename::text,
       coalesce(client_hostname, host(client_addr), ''), coalesce(application_name, ''), coalesce(state, ''),
       extract(epoch FROM clock_timestamp() - xact_start)::double precision
FROM pg_stat_activity
WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND usename IS NOT NULL
  AND pid <> pg_backend_pid() AND (datname = current_database() OR datname IS NULL)
ORDER BY age(coalesce(backend_xmin, backend_xid)) DESC LIMIT 10;

-- search_path --
-- The schemas in which the server looks for functions and operators, in this order.
SELECT current_schemas(true)::text[];

-- server_process --
-- The process of the server; a pooler tells its clients another number.
SELECT pg_backend_pid();

-- unsafe --
-- All that lets users without a role of the queue change its tables, or run code as the user of a
-- service, each with the statement that removes it; triggers come before their functions.
WITH tables AS MATERIALIZED (
    SELECT oid, oid::regclass AS name, relowner, relacl FROM pg_class
    WHERE relnamespace = to_regnamespace(:schema::text) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), functions AS MATERIALIZED (
    SELECT oid, oid::regprocedure AS name, proowner,
           proname IN ('count_inserted', 'count_deleted', 'count_updated', 'free_keys', 'keep_jobs',
                       'key_holders', 'key_users', 'make_lanes', 'note_changed_key', 'was_completed')
               AS own,
           coalesce(proacl, acldefault('f', proowner)) AS acl
    FROM pg_proc WHERE pronamespace = to_regnamespace(:schema::text)
), granted AS (
    SELECT 'TABLE ' || name AS object, relowner AS owner, (aclexplode(relacl)).* FROM tables
    UNION ALL
    SELECT 'TABLE ' || name, relowner, (aclexplode(attacl)).*
    FROM tables JOIN pg_attribute ON attrelid = tables.oid
    UNION ALL
    SELECT 'FUNCTION ' || name, proowner, (aclexplode(acl)).* FROM functions WHERE own
    UNION ALL
    SELECT 'SCHEMA ' || quote_ident(nspname), nspowner, (aclexplode(nspacl)).*
    FROM pg_namespace WHERE nspname = :schema::text
), taken AS (
    SELECT DISTINCT object, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
    FROM granted
    WHERE grantee <> owner AND (grantee = 0 OR privilege_type NOT IN ('SELECT', 'USAGE', 'EXECUTE')
        AND grantee <> ALL (SELECT oid FROM pg_roles WHERE rolname = ANY(:roles::text[])))
)
SELECT grantee || ' has rights on the ' || lower(split_part(object, ' ', 1)) || ' '
           || split_part(object, ' ', 2), format('REVOKE ALL ON %s FROM %s', object, grantee)
FROM taken
UNION ALL
SELECT 'the function ' || name || ' is not of the queue', 'DROP FUNCTION ' || name
FROM functions WHERE NOT own
UNION ALL
SELECT format('the trigger %I is not of the queue', tgname), format('DROP TRIGGER %I ON %s', tgname, name)
FROM pg_trigger JOIN tables ON tgrelid = tables.oid
WHERE NOT tgisinternal AND tgfoid <> ALL (SELECT oid FROM functions WHERE own)
UNION ALL
SELECT format('the rule %I is not of the queue', rulename), format('DROP RULE %I ON %s', rulename, name)
FROM pg_rewrite JOIN tables ON ev_class = tables.oid WHERE rulename <> '_RETURN'
ORDER BY 2 DESC;

-- hold_upgrade --
-- One upgrade at a time, until the end of the transaction. The key of the lock is "qued".
SELECT current_setting('server_version_num')::integer, current_setting('server_encoding'),
       to_regnamespace(:schema::text) IS NOT NULL
FROM pg_advisory_xact_lock(1903519076);

-- make_schema --
CREATE SCHEMA queued;
