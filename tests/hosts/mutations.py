"""Breaks the product on purpose, and runs the test that must find it: a table of defects.

`python -m tests.hosts.mutations [DEFECT...]` exits with 1 if one of these tests does not fail. The
defects are in `tests.crash.mutants`, which also has those of tests/crash/test_mutations.py.
"""

import os
import subprocess
import sys

TABLE = {
    "no_warden": "hosts/test_partitions.py::test_a_job_is_taken_over_after_its_host_has_ended_it",
    "leases_by_wall_clock": "hosts/test_partitions.py"
    "::test_a_job_is_taken_over_after_its_host_has_ended_it",
    "claims_not_durable": "hosts/test_server_crash.py::test_a_crash_of_the_server_loses_no_claim",
    "settled_without_token": "store/test_claims.py::test_a_stale_key_settles_nothing",
    "notifications_lost": "hosts/test_idle.py"
    "::test_an_idle_service_starts_a_job_before_its_next_renewal",
    "no_quarantine": "hosts/test_failover.py"
    "::test_after_a_failover_that_lost_commits_no_job_runs_twice_at_once",
}


def is_found(defect: str) -> bool:
    """Returns whether the test fails with the defect."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-o", "timeout=600"]
    env = {**os.environ, "QUEUED_TEST_DEFECT": defect}
    done = subprocess.run(
        [*pytest, f"tests/{TABLE[defect]}"], env=env, capture_output=True, text=True, check=False
    )
    reasons = [line for line in done.stdout.splitlines() if line.startswith("E  ")]
    found = done.returncode == 1 and "Timeout (>" not in done.stdout
    verdict = "found" if found else f"NOT FOUND ({done.returncode})"
    print(f"{defect}: {verdict} by {TABLE[defect]}: {' '.join(reasons[:1])[:200]}", flush=True)
    return found


if __name__ == "__main__":
    found = [is_found(defect) for defect in sys.argv[1:] or TABLE]
    sys.exit(not all(found))
