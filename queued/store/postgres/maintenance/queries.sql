-- The statements of `queuectl db`, which read whole tables; no service runs them. The same form as in
-- the other file of this name: {name} stands for a block, `queued` for the name of the schema.

-- long --
-- Begins a transaction over whole tables, whose statements may take hours. Only locks are bounded.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL synchronous_commit = on;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;

-- long_snapshot --
-- The same for reading: all statements see the same commits.
{long};
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- hold_queue --
-- Until the end of the transaction no other one writes, not even a second move.
LOCK TABLE queued.instances, queued.settings, queued.drained_hosts, queued.lanes, queued.queues,
    queued.jobs, queued.attempts, queued.output, queued.inputs, queued.signals, queued.run_totals,
    queued.run_periods, queued.schedules, queued.dependencies
IN SHARE ROW EXCLUSIVE MODE;

-- sees_all --
-- Whether the user sees the jobs of all users; see roles.sql.
SELECT NOT row_security_active('queued.jobs'::regclass) OR EXISTS (
    SELECT FROM pg_roles WHERE pg_has_role(oid, 'USAGE') AND rolname IN
        (:schema || '_reader', :schema || '_operator', :schema || '_service'));

-- table_columns --
-- The columns of a table that are stored.
SELECT attname::text FROM pg_attribute
WHERE attrelid = :table::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum;

-- is_used --
SELECT EXISTS (SELECT FROM queued.jobs) OR EXISTS (SELECT FROM queued.settings)
    OR EXISTS (SELECT FROM queued.schedules) OR EXISTS (SELECT FROM queued.queues)
    OR EXISTS (SELECT FROM queued.drained_hosts);

-- last_seq --
-- The highest number that a job ever had, as far as the user may know it; 0 if there was none.
SELECT coalesce(CASE WHEN has_sequence_privilege(pg_get_serial_sequence('queued.jobs', 'seq'), 'SELECT')
                     THEN pg_sequence_last_value(pg_get_serial_sequence('queued.jobs', 'seq'))
                     ELSE (SELECT max(seq) FROM queued.jobs) END, 0);

-- set_last_seq --
SELECT setval(pg_get_serial_sequence('queued.jobs', 'seq'), greatest(:seq, 1), :seq > 0);

-- mark --
SELECT gone, place, host FROM queued.moved;

-- make_mark --
-- The triggers are for programs that have the queue open, because they read the mark only when they
-- connect.
CREATE TABLE queued.moved (gone boolean NOT NULL, place text NOT NULL, host text NOT NULL);
GRANT SELECT ON queued.moved TO PUBLIC;
CREATE FUNCTION queued.refuse_moved() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN
    RAISE EXCEPTION USING ERRCODE = 'QD001',
        MESSAGE = (SELECT CASE WHEN gone THEN 'it was moved to ' || place
                               ELSE 'it is the copy of an unfinished move from ' || place END
                   FROM queued.moved);
END $$;
CREATE TRIGGER refused BEFORE INSERT OR UPDATE OR DELETE ON queued.jobs
    EXECUTE FUNCTION queued.refuse_moved();
CREATE TRIGGER refused BEFORE INSERT OR UPDATE OR DELETE ON queued.settings
    EXECUTE FUNCTION queued.refuse_moved();
CREATE TRIGGER refused BEFORE INSERT OR UPDATE OR DELETE ON queued.schedules
    EXECUTE FUNCTION queued.refuse_moved();
CREATE TRIGGER refused BEFORE INSERT OR UPDATE OR DELETE ON queued.instances
    EXECUTE FUNCTION queued.refuse_moved();

-- put_mark --
INSERT INTO queued.moved (gone, place, host) VALUES (:gone, :place, :host);

-- remove_mark --
DROP FUNCTION queued.refuse_moved CASCADE;
DROP TABLE queued.moved;

-- discard_copy --
-- What an unfinished move has left.
TRUNCATE queued.settings, queued.drained_hosts, queued.lanes, queued.queues, queued.jobs,
    queued.attempts, queued.output, queued.inputs, queued.signals, queued.schedules, queued.dependencies,
    queued.changed_keys, queued.starts, queued.rated_keys, queued.counts, queued.deltas, queued.run_totals,
    queued.run_periods;
{remove_mark};

-- objects --
-- Everything that the migrations make in a schema: its kind, name and definition.
SELECT kind, name, replace(replace(definition, :schema || '.', ''), '"' || :schema || '".', '')
FROM (
    SELECT 'table' AS kind, relname::text AS name, concat_ws(' ', reloptions, relrowsecurity) AS definition
    FROM pg_class WHERE relnamespace = :schema::regnamespace AND relkind = 'r'
    UNION ALL
    SELECT 'column', c.relname || '.' || a.attname, concat_ws(' ', format_type(atttypid, atttypmod),
           attnotnull, attidentity, attgenerated, attcollation, pg_get_expr(adbin, adrelid))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE relnamespace = :schema::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'index', c.relname::text, concat_ws(' ', pg_get_indexdef(i.indexrelid), indisvalid)
    FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE relnamespace = :schema::regnamespace
    UNION ALL
    SELECT 'constraint', c.relname || '.' || conname, pg_get_constraintdef(p.oid)
    FROM pg_class c JOIN pg_constraint p ON p.conrelid = c.oid
    WHERE relnamespace = :schema::regnamespace AND contype <> 'n'
    UNION ALL
    SELECT 'trigger', c.relname || '.' || tgname, concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled)
    FROM pg_class c JOIN pg_trigger t ON t.tgrelid = c.oid
    WHERE relnamespace = :schema::regnamespace AND NOT tgisinternal
    UNION ALL
    SELECT 'function', proname::text, concat_ws(' ', prosrc, prosecdef, proconfig)
    FROM pg_proc WHERE pronamespace = :schema::regnamespace
) AS made;

-- check_server --
-- Settings of the server without which a power cut loses jobs.
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name;

-- check_references --
-- Rows that belong to no row of another table. The server allows that if its checks were off, and always
-- of a lane: it checks none, because all enqueues would lock the same row for that.
SELECT 'jobs', 'lanes' FROM queued.jobs j
WHERE NOT EXISTS (SELECT FROM queued.lanes l WHERE l.id = j.lane)
UNION ALL
SELECT 'attempts', 'jobs' FROM queued.attempts a
WHERE NOT EXISTS (SELECT FROM queued.jobs j WHERE j.seq = a.job)
UNION ALL
SELECT 'output', 'attempts' FROM queued.output o
WHERE NOT EXISTS (SELECT FROM queued.attempts a WHERE (a.job, a.number) = (o.job, o.number))
UNION ALL
SELECT 'dependencies', 'jobs' FROM queued.dependencies d
WHERE NOT EXISTS (SELECT FROM queued.jobs j WHERE j.seq = d.job)
   OR NOT EXISTS (SELECT FROM queued.jobs j WHERE j.seq = d.on_job)
UNION ALL
SELECT 'workers', 'instances' FROM queued.workers w
WHERE NOT EXISTS (SELECT FROM queued.instances i WHERE i.id = w.instance);

-- check_dependents --
-- Jobs that wait for other jobs, of which none is left.
SELECT id FROM queued.jobs j WHERE state = 'pending' AND blocked & 2 <> 0
    AND NOT EXISTS (SELECT FROM queued.dependencies WHERE job = j.seq AND status = 'waiting');

-- check_counts --
-- Counts, with the differences not added yet, that differ from the number of jobs.
SELECT queue, label, sum(n)::bigint, sum(found)::bigint FROM (
    SELECT queue, label, n, 0 AS found FROM queued.counts
    UNION ALL
    SELECT queue, label, n, 0 FROM queued.deltas
    UNION ALL
    SELECT queue, label, 0, count(*) FROM queued.jobs GROUP BY queue, label
) AS one
GROUP BY queue, label HAVING sum(n) <> sum(found) ORDER BY queue, label;

-- check_claims --
-- Running jobs without an open attempt; no service would ever settle them.
SELECT j.id, j.runs FROM queued.jobs j
LEFT JOIN queued.attempts a ON a.job = j.seq AND a.number = j.runs AND a.ended_at IS NULL
WHERE j.state = 'processing' AND a.job IS NULL ORDER BY j.seq;

-- check_open_attempts --
-- Attempts without an end that are not the current run of their job.
SELECT coalesce(j.id, a.job::text), a.number
FROM queued.attempts a LEFT JOIN queued.jobs j ON j.seq = a.job
WHERE a.ended_at IS NULL AND (j.seq IS NULL OR j.state <> 'processing' OR j.runs <> a.number);

-- check_lanes --
-- Jobs with the lane of another queue: they pass the limit and the pause of their queue.
SELECT j.id, j.queue, l.id, l.queue FROM queued.jobs j JOIN queued.lanes l ON l.id = j.lane
WHERE l.queue <> j.queue ORDER BY j.seq;

-- check_keys --
-- Keys of which more jobs have a place than the limit of any of these allows.
SELECT key, count(*), max(key_limit) FROM queued.jobs
WHERE key IS NOT NULL AND (ready OR state = 'processing')
GROUP BY key HAVING count(*) > max(key_limit);

-- check_lines --
-- Jobs that are first in the line of a key which has a place for them, and stay there. Their rate allows
-- the start even if it counts all starts that are remembered.
SELECT first.id, first.key
FROM (SELECT DISTINCT ON (key) key, id, key_limit, key_rate_starts FROM queued.jobs WHERE blocked = 4
      ORDER BY key, rank, next_run_at, seq) AS first
WHERE key_limit > (SELECT count(*) FROM queued.jobs u
                   WHERE u.key = first.key AND (u.ready OR u.state = 'processing'))
  AND (key_rate_starts IS NULL OR key_rate_starts > (
          SELECT count(*) FROM queued.jobs u WHERE u.key = first.key AND u.ready AND u.key_rate_ms IS NOT NULL
      ) + (SELECT coalesce(sum(n), 0) FROM queued.starts WHERE kind = 'key' AND owner = first.key))
  AND NOT EXISTS (SELECT FROM queued.changed_keys c WHERE c.key = first.key);

-- check_runs --
-- Jobs whose attempts do not end with the last run, or are not numbered without a gap; an attempt stands
-- for all runs that were deferred in a row. The first ones may be missing, because a purge that was
-- interrupted deletes them first.
SELECT j.id, j.runs, count(a.number), max(a.number)
FROM queued.jobs j LEFT JOIN queued.attempts a ON a.job = j.seq
GROUP BY j.seq
HAVING max(a.number) <> j.runs
    OR sum(greatest(a.deferrals, 1)) <> max(a.number) - min(a.number - greatest(a.deferrals, 1))
    OR (count(a.number) = 0 AND j.runs > 0 AND j.state IN ('pending', 'processing'));

-- owns --
-- For other users VACUUM does nothing, with a warning.
SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'queued.jobs'::regclass;

-- vacuum --
VACUUM (ANALYZE) queued.settings, queued.queues, queued.lanes, queued.drained_hosts, queued.schedules,
    queued.jobs, queued.attempts, queued.output, queued.inputs, queued.dependencies, queued.instances,
    queued.workers, queued.counts, queued.deltas, queued.run_totals, queued.run_periods, queued.changed_keys,
    queued.starts, queued.rated_keys;

-- bytes --
-- The size of all tables with their indexes.
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint
FROM pg_class WHERE relnamespace = :schema::regnamespace AND relkind = 'r';

-- stats_rows --
-- How many rows each table has. Reads them all.
SELECT 'jobs', count(*) FROM queued.jobs
UNION ALL SELECT 'attempts', count(*) FROM queued.attempts
UNION ALL SELECT 'output', count(*) FROM queued.output
UNION ALL SELECT 'settings', count(*) FROM queued.settings
UNION ALL SELECT 'schedules', count(*) FROM queued.schedules
UNION ALL SELECT 'instances', count(*) FROM queued.instances
UNION ALL SELECT 'workers', count(*) FROM queued.workers;

-- stats_output --
-- The bytes of output that are kept, and the bytes that were printed.
SELECT (SELECT coalesce(sum(length(content)), 0)::bigint FROM queued.output),
       (SELECT coalesce(sum(stdout_bytes + stderr_bytes), 0)::bigint FROM queued.attempts);

-- stats_ends --
-- The oldest and the newest job. By the primary key.
SELECT id, created_at FROM queued.jobs
WHERE seq IN ((SELECT min(seq) FROM queued.jobs), (SELECT max(seq) FROM queued.jobs)) ORDER BY seq;

-- stats_tables --
-- The size of each table with its indexes, and what autovacuum has to do and has done.
SELECT c.relname::text, pg_total_relation_size(c.oid), coalesce(s.n_dead_tup, 0),
       (extract(epoch FROM s.last_autovacuum) * 1000)::bigint
FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE relnamespace = :schema::regnamespace AND relkind = 'r' ORDER BY 2 DESC, 1;

-- stats_replication --
-- The standbys, as far as this user may see them.
SELECT application_name, state, sync_state, extract(epoch FROM replay_lag)::double precision
FROM pg_stat_replication ORDER BY application_name;
