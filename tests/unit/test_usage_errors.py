"""Explanations of wrong command lines, made without the texts of docopt's exceptions."""

import pytest
from docopt import DocoptExit, docopt
from hypothesis import given
from hypothesis import strategies as st

from queued.usage_errors import explain, split_words

USAGE = """\
Usage: program [options] [--tag TAG]... [--] SOURCE TARGET

Options:
  -n, --limit N        a number
  --tag TAG            a tag
  --force              a flag
  --format FORMAT      a form
"""

WRONG = {
    "": "SOURCE and TARGET are missing",
    "a": "TARGET is missing",
    "--limit 3 a": "TARGET is missing",
    "a b c": "unexpected argument 'c'",
    "a b --limit": "--limit needs a value",
    "-n -- a b": "-n needs a value",
    "a b --force=yes": "--force takes no value",
    "a b --limt 3": "unknown option --limt; did you mean '--limit'?",
    "a b --zzz": "unknown option --zzz",
    "a b -x": "unknown option -x",
    "a b --fo": "--fo may mean --force or --format",
    "-n1 --limit 2 a b": "--limit is given twice",
}


@pytest.mark.parametrize("line", WRONG)
def test_an_explanation_names_the_wrong_word(line: str) -> None:
    with pytest.raises(DocoptExit):
        docopt(USAGE, line.split(), default_help=False)
    assert explain(USAGE, line.split()) == WRONG[line]


WORDS = ["--limit", "-n", "-n5", "--lim=3", "--force", "--tag", "--tag=x", "a", "-5", "-", "b"]


@given(st.lists(st.sampled_from(WORDS), max_size=6), st.lists(st.sampled_from(WORDS), max_size=2))
def test_words_are_split_as_docopt_splits_them(before: list[str], after: list[str]) -> None:
    argv = [*before, *(["--", *after] if after else [])]
    try:
        found = docopt(USAGE, argv, default_help=False)
    except DocoptExit:
        assert explain(USAGE, argv)
        return
    options, arguments, _ = split_words(USAGE, argv)
    assert arguments == [found["SOURCE"], found["TARGET"]]
    assert [option.value for option in options if option.name == "--tag"] == found["--tag"]
    assert found["--force"] == any(option.name == "--force" for option in options)
