"""Which groups a sweep removes, on plain directories in place of control groups."""

import os
from pathlib import Path

from queued.service.linux.cgroup import RunCgroups
from queued.service.linux.procfs import RunName


def test_a_run_that_begins_during_a_sweep_keeps_its_group(tmp_path: Path) -> None:
    groups = RunCgroups(str(tmp_path), "i", memory=False)
    groups.create("over", 1)
    groups.create("current", 1)

    def busy() -> list[RunName]:
        groups.create("next", 1)  # after `busy` was asked
        return [RunName(b"current", b"1")]

    groups.sweep(busy=busy)
    assert sorted(os.listdir(tmp_path)) == ["i.current.1", "i.next.1"]


def test_a_sweep_removes_the_groups_of_one_instance_only(tmp_path: Path) -> None:
    RunCgroups(str(tmp_path), "i", memory=False).create("job", 1)
    RunCgroups(str(tmp_path), "j", memory=False).create("job", 1)
    RunCgroups(str(tmp_path), "k", memory=False).sweep("i")
    assert os.listdir(tmp_path) == ["j.job.1"]


def test_a_group_whose_processes_cannot_be_listed_counts_as_alive(tmp_path: Path) -> None:
    group = RunCgroups(str(tmp_path), "i", memory=False).create("job", 1)
    (tmp_path / "i.job.1" / "cgroup.procs").mkdir()  # cannot be read, also by root
    (tmp_path / "i.job.1" / "cgroup.events").mkdir()
    assert group.processes() == []
    assert not group.remove()
