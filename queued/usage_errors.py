"""What is wrong with a command line, in words: docopt says only that it does not match.

For both programs. docopt itself is called in the two `__main__`.
"""

import re
from collections.abc import Iterable

from queued.core.suggestions import nearest


def usage_lines(usage: str) -> str:
    """The lines of a usage text that show how the command is called."""
    return usage.partition("\n\n")[0]


def explain(complaint: str, usage: str, argv: Iterable[str]) -> str:
    """What is wrong, in words, where docopt said `complaint` of `argv`."""
    needs = re.match(r"(\S+) requires argument", complaint)
    if needs:
        return f"{needs[1]} needs a value"
    needless = re.match(r"(\S+) must not have an argument", complaint)
    if needless:
        return f"{needless[1]} takes no value"
    if misused := _misused_option(usage, argv):
        return misused
    surplus = re.findall(r"Argument\(None, (.*?)\)(?=[],])", complaint)
    commands = usage_lines(usage).removeprefix("Usage:").split()[1:3]
    if surplus and surplus[0].strip("'") not in commands:
        return f"unexpected argument {surplus[0]}"
    exclusive = re.search(r"Option\(.*?'(--.*?)'", complaint)
    return f"{exclusive[1]} does not go with the others" if exclusive else "a word is missing"


def _misused_option(usage: str, argv: Iterable[str]) -> str | None:
    known = sorted(set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", usage)))
    typed = [
        word.partition("=")[0] for word in argv if word.startswith("-") and not _is_value(word)
    ]
    for name in typed:
        meant = [option for option in known if option.startswith(name)]
        if not meant:
            hint = nearest(name.lstrip("-"), [option.lstrip("-") for option in known])
            return f"unknown option {name}" + hint.replace("mean '", "mean '--")
        if len(meant) > 1 and name not in known:
            return f"{name} may mean {' or '.join(meant)}"
        if typed.count(name) > 1 and "..." not in usage.partition(f"[{name} ")[2][:20]:
            return f"{name} is given twice"
    return None


def _is_value(word: str) -> bool:
    return re.fullmatch(r"-([0-9.].*)?", word) is not None
