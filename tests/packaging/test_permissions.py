"""Permissions of real users: the service's own, two of its group, a stranger, and root."""

import pytest

from tests.packaging.systemd_testbed import DATABASE, SystemdTestbed, Unit
from tests.service import eventually


def files(testbed: SystemdTestbed) -> dict[str, str]:
    """Owner, group and mode of the database, the files beside it, and its directory."""
    text = testbed.text("sh", "-c", "cd /var/lib/queued && stat --format '%n %U:%G %a' . *")
    found = dict(line.split(" ", 1) for line in text.splitlines())
    found.pop("jobs", None)
    return {("lock" if name.endswith(".lock") else name): rest for name, rest in found.items()}


def others(testbed: SystemdTestbed) -> set[str]:
    """Returns group and mode of the files."""
    return {rest.split(":")[1] for name, rest in files(testbed).items() if name != "."}


def test_all_that_the_service_makes_is_the_groups(unit: Unit) -> None:
    assert files(unit.testbed).keys() == {".", "queue.db", "queue.db-wal", "queue.db-shm", "lock"}
    assert files(unit.testbed)["."] == "queued:queued 2770"
    assert others(unit.testbed) == {"queued 660"}


def test_two_users_of_the_group_work_in_turn(unit: Unit) -> None:
    for user in ("alice", "bob", "alice"):
        name = unit.add("id -un", user=user)
        unit.wait(name)
        assert unit.queuectl("logs", name, user="bob") == "queued"
    assert others(unit.testbed) == {"queued 660"}


@pytest.mark.parametrize("umask", ["000", "777"])
@pytest.mark.parametrize("user", ["root", "alice", "queued"])
def test_the_first_user_of_a_database_locks_no_other_out(
    stopped: Unit, user: str, umask: str
) -> None:
    command = f"umask {umask}; exec queuectl enqueue --db {DATABASE} -- id -un"
    name = stopped.testbed.text("sh", "-c", command, user=user)
    assert others(stopped.testbed) == {"queued 660"}
    stopped.queuectl("list", user="bob")
    stopped.systemctl("start")
    assert stopped.wait(name)["state"] == "completed"


def test_root_that_reads_the_database_locks_no_user_out(stopped: Unit) -> None:
    name = stopped.add("sleep 0.2", user="root")
    follower = stopped.testbed.start("queuectl", "wait", "--db", DATABASE, name)
    eventually(lambda: "queue.db-wal" in files(stopped.testbed))
    assert others(stopped.testbed) == {"queued 660"}
    stopped.systemctl("start")
    assert follower.wait(20) == 0
    follower.communicate()
    assert others(stopped.testbed) == {"queued 660"}


def test_a_stranger_is_refused(unit: Unit) -> None:
    done = unit.testbed.run("queuectl", "list", "--db", DATABASE, user="carol", check=False)
    assert done.returncode == 77
    assert done.stderr.count("\n") == 1
    assert "or as a member of the group queued" in done.stderr


@pytest.mark.parametrize("user", ["alice", "root"])
def test_a_service_refuses_a_database_of_another_user(stopped: Unit, user: str) -> None:
    stopped.add("id -un", user="alice")
    done = stopped.testbed.run("queued", "--db", DATABASE, user=user, check=False)
    assert done.returncode == 77
    assert f"belongs to the user queued, we run as {user}" in done.stderr


OPEN_DIRECTORIES = {
    "chmod o+w /var/lib/queued": "/var/lib/queued is refused: everybody can write it",
    "chmod g-s /var/lib/queued": "/var/lib/queued is refused: its group can write it",
    "chown carol /var/lib/queued": "/var/lib/queued is refused: it belongs to the user carol",
}
OPEN_FILES = {
    f"chmod o+w {DATABASE}": f"{DATABASE} is refused: everybody can write it",
    f"chgrp carol {DATABASE}": f"{DATABASE} is refused: its group can write it",
    f"chmod g-w {DATABASE}; chown carol:carol {DATABASE}": "belongs to the user carol",
    f"chmod 600 {DATABASE}; chown root:queued {DATABASE}": f"no permission to write {DATABASE}",
    f"install -m 666 /dev/null {DATABASE}-wal": f"{DATABASE}-wal is refused: everybody can write",
    f"install -m 666 /dev/null {DATABASE}-shm": f"{DATABASE}-shm is refused: everybody can write",
    "chmod o+w /etc/queuectl.conf": "/etc/queuectl.conf is refused: others than its owner can",
    "chown carol /etc/queuectl.conf": "/etc/queuectl.conf is refused: it belongs to the user carol",
}


def refused(unit: Unit, damage: str) -> str:
    """Does the damage; returns the message of the service, which is also that of --check."""
    unit.add("true", user="queued")
    unit.testbed.run("sh", "-c", damage)
    done = [
        unit.testbed.run(*words, "--db", DATABASE, user="queued", check=False)
        for words in (("queued", "--check"), ("queued",))
    ]
    assert [one.returncode for one in done] == [77, 77]
    assert done[0].stderr == done[1].stderr
    assert done[0].stderr.count("\n") == 1
    return done[0].stderr


@pytest.mark.parametrize("damage", OPEN_FILES)
def test_a_file_that_others_can_write_is_refused(stopped: Unit, damage: str) -> None:
    assert OPEN_FILES[damage] in refused(stopped, damage)
    assert stopped.systemctl("start", check=False).returncode != 0
    assert stopped.show("ExecMainStatus", "NRestarts") == ["77", "0"]
    assert OPEN_FILES[damage] in stopped.testbed.text("journalctl", "--unit=queued", "--output=cat")


@pytest.mark.parametrize("damage", OPEN_DIRECTORIES)
def test_a_directory_that_others_can_write_is_refused_and_healed_by_systemd(
    stopped: Unit, damage: str
) -> None:
    assert OPEN_DIRECTORIES[damage] in refused(stopped, damage)
    stopped.systemctl("start")
    assert files(stopped.testbed)["."] == "queued:queued 2770"


def test_the_users_own_service_is_theirs_alone(testbed: SystemdTestbed, stopped: Unit) -> None:
    testbed.run("loginctl", "enable-linger", "carol")
    user = testbed.text("id", "-u", "carol")
    eventually(
        lambda: testbed.run("test", "-S", f"/run/user/{user}/bus", check=False).returncode == 0
    )

    def systemctl(*words: str) -> str:
        environment = f"XDG_RUNTIME_DIR=/run/user/{user}"
        return testbed.text("env", environment, "systemctl", "--user", *words, user="carol")

    systemctl("start", "queued")
    try:
        testbed.run("sh", "-c", "cd; queuectl enqueue --wait -- test -d ~", user="carol")
        systemctl("reload", "queued")
        assert "4 workers, 0 busy, 0 waiting" in systemctl("status", "--no-pager", "queued")
        state = "/home/carol/.local/state/queued"
        modes = testbed.text("sh", "-c", f"stat --format '%U %a' {state} {state}/*").splitlines()
        assert set(modes) == {"carol 700", "carol 600"}
    finally:
        systemctl("stop", "queued")
        testbed.run("loginctl", "disable-linger", "carol")


# queued --check


def _tree(testbed: SystemdTestbed) -> str:
    return testbed.text(
        "sh", "-c", "stat --format '%n %i %s %Y %Z %a' /var/lib/queued /var/lib/queued/*"
    )


def test_check_says_what_is_good_and_changes_nothing(stopped: Unit) -> None:
    check = ("queued", "--check", "--db", DATABASE, "--config", "/etc/queuectl.conf")
    before = stopped.testbed.text("ls", "-la", "/var/lib/queued")
    assert "does not exist yet" in stopped.testbed.text(*check, user="queued")
    assert stopped.testbed.text("ls", "-la", "/var/lib/queued") == before
    name = stopped.add("true", user="queued")
    before = _tree(stopped.testbed)
    shown = stopped.testbed.text(*check, user="queued")
    assert shown.splitlines() == [
        "conf      /etc/queuectl.conf: good",
        f"database  {DATABASE}: good, schema 1",
    ]
    assert _tree(stopped.testbed) == before
    stopped.systemctl("start")
    stopped.wait(name)
    before = _tree(stopped.testbed)
    assert "good, schema 1" in stopped.testbed.text(*check, user="queued")
    assert _tree(stopped.testbed) == before


@pytest.mark.parametrize(
    ("damage", "code", "reason"),
    [
        ("echo 'workers = 0' > /etc/queuectl.conf", 78, "workers takes a whole number"),
        (f"echo rubbish > {DATABASE}", 78, "is damaged or no database"),
        (f"rm {DATABASE}; mkdir {DATABASE}", 78, "is not a regular file"),
        ("rm /etc/queuectl.conf", 78, "cannot read /etc/queuectl.conf"),
    ],
)
def test_check_names_what_is_wrong(stopped: Unit, damage: str, code: int, reason: str) -> None:
    stopped.add("true", user="queued")
    stopped.testbed.run("sh", "-c", damage)
    check = ("queued", "--check", "--db", DATABASE, "--config", "/etc/queuectl.conf")
    done = stopped.testbed.run(*check, user="queued", check=False)
    assert done.returncode == code
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
