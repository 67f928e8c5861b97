-- The roles of a queue: what members of each may do. Each upgrade runs this after the migrations. It
-- makes the roles if it may, and does nothing if they do not exist. Their names begin with that of
-- the schema, because all databases of a server have the same roles.
DO $$ BEGIN
    IF to_regrole('queued_service') IS NULL
       AND (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
        CREATE ROLE queued_reader;
        CREATE ROLE queued_enqueuer;
        CREATE ROLE queued_operator;
        CREATE ROLE queued_service;
    END IF;
    IF to_regrole('queued_service') IS NULL THEN
        RETURN;
    END IF;

    GRANT USAGE ON SCHEMA queued
    TO queued_reader, queued_enqueuer, queued_operator, queued_service;
    GRANT SELECT ON ALL TABLES IN SCHEMA queued
    TO queued_reader, queued_enqueuer, queued_operator, queued_service;

    -- Not `submitted_by`, so that its default applies, and not `token`, without which no row can be
    -- that of a running job.
    GRANT INSERT (id, queue, priority, lane, command, options, state, ready, next_run_at, attempts,
                  max_retries, runs, blocked, slots, unique_key, unique_while, unique_until, expires_at,
                  labels, array_id, key, key_limit, key_rate_starts, key_rate_ms, created_at,
                  updated_at)
    ON queued.jobs TO queued_enqueuer, queued_operator, queued_service;
    GRANT UPDATE (state, ready, next_run_at, attempts, cancel_requested_at, last_error, blocked,
                  unique_while, expires_at, options, awaited, updated_at)
    ON queued.jobs TO queued_enqueuer, queued_operator, queued_service;

    GRANT UPDATE (command, queue, priority, lane, max_retries, labels, slots, key_limit)
    ON queued.jobs TO queued_operator, queued_service;
    GRANT EXECUTE ON FUNCTION queued.was_completed TO queued_operator;
    GRANT INSERT ON queued.inputs, queued.signals TO queued_enqueuer, queued_operator, queued_service;
    GRANT EXECUTE ON FUNCTION queued.free_keys, queued.keep_jobs, queued.key_holders, queued.key_users,
                              queued.make_lanes
    TO queued_enqueuer, queued_operator, queued_service;

    GRANT INSERT, UPDATE (status) ON queued.dependencies
    TO queued_enqueuer, queued_operator, queued_service;

    GRANT DELETE ON queued.jobs, queued.attempts, queued.output, queued.dependencies
    TO queued_operator, queued_service;
    GRANT INSERT, UPDATE, DELETE ON queued.settings, queued.drained_hosts, queued.queues
    TO queued_operator;
    GRANT DELETE ON queued.starts TO queued_operator;
    GRANT UPDATE (stop_requested_at) ON queued.instances TO queued_operator;
    GRANT INSERT, UPDATE, DELETE ON queued.schedules TO queued_operator, queued_service;
    GRANT UPDATE (schedule, scheduled_at) ON queued.jobs TO queued_operator, queued_service;

    GRANT UPDATE ON queued.meta TO queued_service;
    -- A claim locks the rows of limited queues, which needs the right to change one of their columns.
    GRANT UPDATE (paused_reason) ON queued.queues TO queued_service;
    GRANT UPDATE (runs, token) ON queued.jobs TO queued_service;
    GRANT INSERT, UPDATE ON queued.attempts, queued.output TO queued_service;
    GRANT DELETE ON queued.signals TO queued_service;
    GRANT INSERT, UPDATE, DELETE
    ON queued.instances, queued.workers, queued.counts, queued.deltas, queued.run_totals,
       queued.run_periods, queued.changed_keys, queued.starts, queued.rated_keys
    TO queued_service;

    IF EXISTS (SELECT FROM pg_policy WHERE polrelid = 'queued.jobs'::regclass) THEN
        RETURN;
    END IF;
    CREATE POLICY read_all ON queued.jobs FOR SELECT TO queued_reader, queued_operator USING (true);
    CREATE POLICY read_own ON queued.jobs FOR SELECT
    TO queued_enqueuer USING (submitted_by = session_user);
    -- Its lane decides which services claim a job, its queue decides limits and pauses: with the lane of
    -- another queue it would pass both.
    CREATE POLICY enqueue ON queued.jobs FOR INSERT
    TO queued_enqueuer, queued_operator
    WITH CHECK (state = 'pending' AND runs = 0 AND attempts = 0
                AND queue = (SELECT l.queue FROM queued.lanes l WHERE l.id = lane));
    -- Users may cancel a job, request its end, hold or retry it, and make other jobs wait for it.
    CREATE POLICY move_own ON queued.jobs FOR UPDATE TO queued_enqueuer
    USING (submitted_by = session_user AND state <> 'completed')
    WITH CHECK (state <> 'completed');
    -- Operators may also change labels of a completed job, but complete none.
    CREATE POLICY move_all ON queued.jobs FOR UPDATE TO queued_operator
    USING (true)
    WITH CHECK ((state <> 'completed' OR queued.was_completed(seq)) AND queue = (SELECT l.queue FROM queued.lanes l WHERE l.id = lane));
    CREATE POLICY purge ON queued.jobs FOR DELETE TO queued_operator
    USING (state IN ('completed', 'dead', 'cancelled'));
    CREATE POLICY serve ON queued.jobs TO queued_service USING (true);

    CREATE POLICY read_all ON queued.attempts FOR SELECT TO queued_reader, queued_operator USING (true);
    CREATE POLICY read_own ON queued.attempts FOR SELECT TO queued_enqueuer
    USING (EXISTS (SELECT FROM queued.jobs j WHERE j.seq = job));
    -- A run without its row would be found by no rescue.
    CREATE POLICY purge ON queued.attempts FOR DELETE TO queued_operator USING (ended_at IS NOT NULL);
    CREATE POLICY serve ON queued.attempts TO queued_service USING (true);

    CREATE POLICY read_all ON queued.dependencies FOR SELECT TO queued_reader USING (true);
    CREATE POLICY own ON queued.dependencies TO queued_enqueuer
    USING (EXISTS (SELECT FROM queued.jobs j WHERE j.seq = job)
           AND EXISTS (SELECT FROM queued.jobs j WHERE j.seq = on_job));
    CREATE POLICY all_jobs ON queued.dependencies TO queued_operator, queued_service USING (true);

    CREATE POLICY read_all ON queued.output FOR SELECT TO queued_reader, queued_operator USING (true);
    CREATE POLICY read_own ON queued.output FOR SELECT TO queued_enqueuer
    USING (EXISTS (SELECT FROM queued.jobs j WHERE j.seq = job));
    CREATE POLICY purge ON queued.output FOR DELETE TO queued_operator USING (true);
    CREATE POLICY serve ON queued.output TO queued_service USING (true);

    CREATE POLICY read_all ON queued.inputs FOR SELECT TO queued_reader, queued_operator USING (true);
    CREATE POLICY read_own ON queued.inputs FOR SELECT TO queued_enqueuer
    USING (EXISTS (SELECT FROM queued.jobs j WHERE j.seq = job));
    CREATE POLICY enqueue ON queued.inputs FOR INSERT TO queued_enqueuer, queued_operator
    WITH CHECK (EXISTS (SELECT FROM queued.jobs j WHERE j.seq = job
                        AND state = 'pending' AND submitted_by = session_user));
    CREATE POLICY serve ON queued.inputs TO queued_service USING (true);

    CREATE POLICY read_own ON queued.signals FOR SELECT TO queued_enqueuer, queued_operator
    USING (EXISTS (SELECT FROM queued.jobs j WHERE j.seq = job));
    CREATE POLICY request_own ON queued.signals FOR INSERT TO queued_enqueuer
    WITH CHECK (EXISTS (SELECT FROM queued.jobs j WHERE j.seq = job AND submitted_by = session_user));
    CREATE POLICY request ON queued.signals FOR INSERT TO queued_operator WITH CHECK (true);
    CREATE POLICY serve ON queued.signals TO queued_service USING (true);

    -- The environment of a job may have secrets.
    CREATE POLICY read_all ON queued.schedules FOR SELECT TO queued_reader USING (true);
    CREATE POLICY serve ON queued.schedules TO queued_operator, queued_service USING (true);
END $$;
