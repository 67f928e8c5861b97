"""Tables: no line is wider than it may be where that can be helped."""

import pytest
from wcwidth import wcswidth

from queued.core.settings import Source
from queued.ctl.config import CONFIG_COLUMNS, _setting_lines
from queued.ctl.jobs import ATTEMPT_COLUMNS
from queued.ctl.table import Column, heading, row_lines, wrap
from queued.ctl.workers import WORKER_COLUMNS

JOB_COLUMNS = (
    *(Column("ID", 16), Column("STATE", 10), Column("TRIES", 5)),
    *(Column("WHEN", 10, right=True), Column("COMMAND", 0)),
)
TABLES = (JOB_COLUMNS, WORKER_COLUMNS, CONFIG_COLUMNS, ATTEMPT_COLUMNS)
LAST = ("", "true", "a command of many words", "\u4e16\u754c" * 60, "\x1b[31m" * 30)


def _fixed(columns: tuple[Column, ...]) -> int:
    return sum(column.width + 2 for column in columns[:-1]) - 2


@pytest.mark.parametrize("width", [40, 45, 60, 80, 132])
@pytest.mark.parametrize("columns", TABLES, ids=lambda columns: str(columns[0].title))
def test_no_line_is_wider_than_the_terminal(columns: tuple[Column, ...], width: int) -> None:
    most = max(width, _fixed(columns))
    assert all(wcswidth(line) <= most for line in heading(columns, width).splitlines())
    for last in LAST:
        lines = list(row_lines(columns, ["x" * c.width for c in columns[:-1]] + [last], width))
        assert all(wcswidth(line) <= most for line in lines)
        assert len(lines) <= 2


def test_the_last_cell_has_a_line_of_its_own_where_there_is_no_room_beside() -> None:
    cells = ("a", "pending", "0/3", "1s ago", "sleep 1000; echo over")
    beside = "a                 pending     0/3        1s ago"
    assert list(row_lines(JOB_COLUMNS, cells, 80)) == [f"{beside}  sleep 1000; echo over"]
    assert list(row_lines(JOB_COLUMNS, cells, 61)) == [
        f"{beside}  sleep 1000;\N{HORIZONTAL ELLIPSIS}"
    ]
    assert list(row_lines(JOB_COLUMNS, cells, 60)) == [beside, "  sleep 1000; echo over"]
    assert list(row_lines(JOB_COLUMNS, (*cells[:4], "x"), 50)) == [f"{beside}  x"]
    assert heading(JOB_COLUMNS, 45).splitlines()[1:] == ["  COMMAND"]


@pytest.mark.parametrize("width", [40, 45, 60, 80])
def test_a_long_setting_is_shown_whole(width: int) -> None:
    path = "/srv/" + "deep/" * 20 + "queue.db"
    lines = list(_setting_lines("db", Source(path, "environment"), width))
    assert max(map(len, lines)) <= width
    assert len(lines) <= 7
    words = [word for line in lines for word in line.split()]
    assert words[:2] == ["db", "environment"]
    assert "".join(words[2:]) == path
    assert list(_setting_lines("workers", Source(4, "default"), width)) == [
        "workers                 default      4"
    ]


def test_a_long_value_is_broken_between_words() -> None:
    assert wrap("no such file", 9) == ["no such ", "file"]
    assert wrap("/a/long/path", 9) == ["/a/long/p", "ath"]
    assert wrap("in \u4e16\u754c\u4e16\u754c", 9) == ["in ", "\u4e16\u754c\u4e16\u754c"]
