#!/usr/bin/env bash
# Shows the queue at work: a real service on a new database, a dozen jobs, and how each of them goes.
# Needs `queued` and `queuectl` on the PATH; `make demo` puts them there. Leaves nothing behind.
# The variables in single quotes are for the shells of the jobs.
# shellcheck disable=SC2016
set -euo pipefail

place=$(mktemp -d "${TMPDIR:-/tmp}/queued-demo.XXXXXX")
waiter=
export QUEUECTL_DB="$place/queue.db" QUEUECTL_CONF="$place/queuectl.conf"
cat >"$QUEUECTL_CONF" <<'CONF'
backoff_base = 1.5
shutdown_grace = 5
CONF

clean_up() {
    code=$?
    trap '' INT TERM HUP
    trap - EXIT
    [ -z "$waiter" ] || kill "$waiter" 2>/dev/null || true
    queuectl worker stop --timeout 20s >"$place/stop" 2>&1 || {
        cat "$place/stop" "$place"/*.log >&2 || true
        code=1
    }
    rm -rf "$place"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { printf '\n\033[1m# %s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[01]m//g'; fi; }

# Prints a command as one would type it, and runs it.
show() {
    printf '$'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_.,=/@%+:-]*) printf " '%s'" "${word//\'/\'\\\'\'}" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

add() { show queuectl enqueue "$@"; }

# How the jobs go, until they are all done: redrawn in place on a terminal, else a line for each change.
watch_until_done() {
    queuectl wait --timeout 60s "$@" >"$place/wait" 2>&1 &
    waiter=$!
    local before='' now breaks lines=0
    while :; do
        alive=yes
        kill -0 "$waiter" 2>/dev/null || alive=
        now=$(queuectl status)
        if [ -t 1 ]; then
            [ "$lines" -eq 0 ] || printf '\033[%dA\033[J' "$lines"
            printf '%s\n' "$now"
            # No $(...) within $((...)): a trap that comes there ends bash with a syntax error.
            breaks=${now//[!$'\n']/}
            lines=$((${#breaks} + 1))
        else
            now=$(printf '%s\n' "$now" | awk '$2 ~ /^[0-9]+$/ { printf "%s%s %s", sep, $1, $2; sep = "   " }')
            [ "$now" = "$before" ] || printf '%s\n' "$now"
            before=$now
        fi
        [ -n "$alive" ] || break
        sleep 0.25
    done
    # 1 says that a job did not complete: the demo has such jobs.
    wait "$waiter" || [ $? -eq 1 ] || { cat "$place/wait" >&2; return 1; }
    waiter=
}

say 'A service with three workers, on a new database'
show queuectl worker start --count 3 --background

say 'A dozen jobs: from words, from JSON, and with options'
add --id hello 'echo "hello from job $QUEUED_JOB_ID, attempt $QUEUED_ATTEMPT"'
add '{"id": "json", "command": "echo \"at home in $HOME\"", "priority": 1}'
add --id words printf '<%s>\n' 'these are' 'three arguments,' '$HOME as it is'
add --id flaky -- 'test "$QUEUED_ATTEMPT" -gt 1 || { echo "not yet" >&2; exit 1; }'
add --id hopeless --max-retries 2 -- 'echo "the disk of tape 7 is torn" >&2; exit 3'
add --id typo --max-retries 1 -- 'sl -l'
add --id slow --timeout 1s --max-retries 1 -- 'sleep 60'
add --id crash --max-retries 1 -- 'kill -SEGV $$'
add --id binary -- 'printf "not UTF-8: \377\376\n"'
add --id later --delay 3s -- 'date'
add --id low --priority -5 -- 'sleep 0.5; echo low'
add --id urgent --priority 10 -- 'sleep 0.5; echo urgent'
add --id work -- 'for i in 1 2 3; do echo "step $i"; sleep 0.5; done'

say 'How many jobs are in each state, after each change'
watch_until_done hello json words flaky hopeless typo slow crash binary later low urgent work

say 'Everything about the one that failed once'
show queuectl show flaky

say 'What jobs printed'
show queuectl logs words
show queuectl logs work

say 'The number of jobs in each state'
show queuectl status

say 'All jobs'
show queuectl list

say 'Those that are dead, and why'
show queuectl dlq list

say 'The service stops when its jobs have finished'
show queuectl worker stop
