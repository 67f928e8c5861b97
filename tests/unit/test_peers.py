"""The tables in tests/peers say what holds: their sums are in the README, their tests exist."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLES = sorted((ROOT / "tests/peers").glob("*.tsv"))
VERDICTS = ("have", "partly", "differs", "missing", "n/a")
NAMED = re.compile(r"(?P<file>tests/[\w/]+\.py)(?:::(?P<test>\w+))?|, (?P<next>test_\w+)")


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_the_sums_are_those_of_the_tables() -> None:
    sums = {table.stem: Counter(row["verdict"] for row in _rows(table)) for table in TABLES}
    assert {verdict for counts in sums.values() for verdict in counts} == set(VERDICTS)
    sums["sum"] = sum(sums.values(), Counter())
    expected = {
        name: [*(str(counts[verdict]) for verdict in VERDICTS)] for name, counts in sums.items()
    }
    lines = (ROOT / "tests/peers/README.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {name: numbers for name, *numbers in cells if name in sums} == expected


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.stem)
def test_a_row_names_tests_that_exist(table: Path) -> None:
    missing = []
    for row in _rows(table):
        assert row["verdict"] == "n/a" or row["note"], row
        text = ""
        for named in NAMED.finditer(row["note"]):
            if named["file"]:
                path = ROOT / named["file"]
                text = path.read_text("utf-8") if path.exists() else ""
            test = named["test"] or named["next"]
            if not text or (test and f"def {test}(" not in text):
                missing.append((row["test"], named[0]))
    assert missing == []
