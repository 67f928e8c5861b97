"""The command logs: prints the stored output of attempts, byte for byte."""

import sys
from codecs import IncrementalDecoder, getincrementaldecoder
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from queued.core.errors import Exit, NotFoundError, UsageError
from queued.core.records import Attempt, Job
from queued.core.runs import STDERR, STDOUT, Chunk
from queued.ctl.arguments import COLOR_OPTION, COMMON, Arguments
from queued.ctl.batches import named
from queued.ctl.change_watch import Watch
from queued.ctl.context import Context
from queued.ctl.filters import FILTER_OPTIONS, job_filter
from queued.ctl.live_services import ServiceWarning
from queued.ctl.render import LAYOUT, escaped, json_text, print_err, print_out, terminal_size
from queued.ctl.table import colored, truncate, uses_color
from queued.ctl.wait import FINAL, exit_code_of

if TYPE_CHECKING:
    from queued.store.protocols import Store

LOGS = (
    """\
Usage:
  queuectl logs [options] [--stdout | --stderr] [--] JOBS...
  queuectl logs [options] [--stdout | --stderr]

Prints the output of the last attempt of a job, byte for byte; on a terminal,
control characters are escaped. For several jobs, or all that match the options,
a line with the id stands before the output of each. Output that was not kept is
counted on standard error. --json prints one object per stored piece; a piece
that is not UTF-8 is under "base64".

Options:
"""
    + FILTER_OPTIONS
    + """\
  -a, --all            all jobs; needed if no other option restricts them
  --attempt N          the output of run N of one job
  --stdout             only standard output (it contains standard error unless
                       the job has --split)
  --stderr             only standard error of a job with --split
  -n, --tail N         the last N lines of each stream
  --tag                begin each line with the id of its job and a tab, instead
                       of a line before the output of each of several jobs
  --raw                print control characters unchanged on a terminal, too
  -f, --follow         of one job: continue until it ends, across retries, and
                       exit with its exit code
"""
    + COLOR_OPTION
    + COMMON
    + """
Examples:
  queuectl logs -f @last
  queuectl logs --tail 20 --attempt 2 job1
  queuectl logs --state dead --since 12h
"""
)

_HEADER = 120  # characters of the line before the output of one of several jobs
_STREAMS = {STDOUT: "stdout", STDERR: "stderr"}
Writer = Callable[[int, Chunk], None]  # of an attempt's number and a piece of its output


def logs(context: Context, arguments: Arguments) -> int:
    """Prints the output of one attempt of each job, or follows one job to its end."""
    tail = arguments.integer("--tail", 0)
    number = arguments.integer("--attempt", 1)
    seqs = named(context, arguments, "print the output of")
    if len(seqs) == 1:
        return _print_one(context, arguments, seqs[0], number, tail)
    if number is not None or arguments.flag("--follow"):
        msg = f"{'--follow' if number is None else '--attempt'} is for one job"
        raise UsageError(msg)
    found = map(context.store.show, seqs) if seqs else context.store.list(job_filter(arguments))
    job = None
    for job in found:
        _print_with_header(context, arguments, job, tail)
    if job is None:
        print_err("no jobs")
    return Exit.DONE


def _print_one(
    context: Context, arguments: Arguments, seq: int, number: int | None, tail: int | None
) -> int:
    follows = arguments.flag("--follow")
    job = context.store.show(seq)
    printer = Printer(context.store, seq, _streams(arguments), _writer(context, arguments, job))
    if number is not None and number > job.runs:
        msg = f"{job.id} has no run {number}; its runs: {job.runs}"
        raise NotFoundError(msg)
    if number is not None and number not in {run.number for run in context.store.attempts(seq)}:
        msg = f"run {number} of {job.id} is not kept; see: queuectl show {job.id}"
        raise NotFoundError(msg)
    if not (job.runs or follows):
        print_err(f"queuectl: {job.id} has not run yet")
        return Exit.NO
    printer.begin(number or max(job.runs, 1))
    printer.print_new(tail)
    if follows:
        return exit_code_of(context.store, follow(context, printer))
    printer.end()
    return Exit.DONE


def _print_with_header(context: Context, arguments: Arguments, job: Job, tail: int | None) -> None:
    """Prints a line with the id, state and command of a job, then what its last run printed."""
    if not (context.json or arguments.flag("--tag")):
        line = truncate(escaped(f"==> {job.id} {job.label}: {job.command}"), _HEADER)
        color = uses_color(arguments.text("--color"))
        print_out(colored(line, job.label, f"{job.id} ") if color else line)
        sys.stdout.flush()
    write, last = _writer(context, arguments, job), b"\n"

    def note(attempt: int, chunk: Chunk) -> None:
        nonlocal last
        last = chunk.content[-1:]
        write(attempt, chunk)

    printer = Printer(context.store, job.seq, _streams(arguments), note)
    printer.begin(max(job.runs, 1))
    printer.print_new(tail)
    if last != b"\n" and not context.json:
        print_out("")  # the next line begins a line
    sys.stdout.flush()
    printer.end()


def follow(context: Context, printer: "Printer") -> Job:
    """Prints the output of all attempts from here on until the job ends. Returns the ended job."""
    warning = ServiceWarning(context)
    with closing(Watch(context.store)) as watch:
        while True:
            with watch.outages():
                # Read first, so that the output of an ended job is complete.
                job = context.store.show(printer.job)
                printer.print_new()
                while printer.number < job.runs:
                    printer.end()
                    printer.begin(printer.number + 1)
                    printer.print_new()
                if job.state in FINAL:
                    printer.end()
                    return job
                watch.wait(warning.remaining_s())
                warning.check()


class Printer:
    """Prints the stored output of a job's attempts, each byte once."""

    def __init__(self, store: "Store", job: int, streams: Sequence[int], write: Writer) -> None:
        self.job = job
        self.number = 1
        self._store = store
        self._streams = streams
        self._write = write
        self.begin(1)

    def begin(self, number: int) -> None:
        """Moves to the start of an attempt."""
        self.number = number
        self._printed = dict.fromkeys(self._streams, 0)  # stream position, dropped bytes included
        self._piece = dict.fromkeys(self._streams, 0)  # start of the last piece, which may grow

    def print_new(self, tail: int | None = None) -> None:
        """Prints new output, or only the last `tail` lines of it for each stream."""
        for stream in self._streams:
            for chunk in self._new(stream) if tail is None else self._last(stream, tail):
                self._announce(chunk.position - self._printed[stream], stream)
                self._printed[stream] = chunk.position + len(chunk.content)
                self._write(self.number, chunk)
        sys.stdout.flush()

    def end(self) -> None:
        """Reports the bytes at the end of a finished attempt that are not stored."""
        for attempt in self._store.attempts(self.job):
            if attempt.number == self.number and attempt.ended_ms is not None:
                for stream in self._streams:
                    self._announce(_total(attempt, stream) - self._printed[stream], stream)

    def _new(self, stream: int) -> Iterator[Chunk]:
        printed = self._printed[stream]
        for piece in self._store.output(self.job, self.number, stream, self._piece[stream]):
            self._piece[stream] = piece.position
            fresh = piece.content[max(0, printed - piece.position) :]
            if fresh:
                printed = piece.position + len(piece.content)
                yield Chunk(stream, printed - len(fresh), fresh)

    def _last(self, stream: int, lines: int) -> list[Chunk]:
        """Returns the last lines of the new output; the lines before them count as printed."""
        end = self._printed[stream]

        def new() -> Iterator[Chunk]:
            nonlocal end
            for chunk in self._new(stream):
                end = chunk.position + len(chunk.content)
                yield chunk

        kept = last_lines(new(), lines)
        self._printed[stream] = kept[0].position if kept else end
        return kept

    def _announce(self, dropped: int, stream: int) -> None:
        if dropped > 0:
            sys.stdout.flush()
            print_err(f"queuectl: {dropped} bytes of {_STREAMS[stream]} were not kept")


def last_lines(chunks: Iterable[Chunk], count: int) -> list[Chunk]:
    """Returns the pieces that hold the last `count` lines; the first piece may be shortened.

    At any time only these pieces are in memory.
    """
    kept: deque[Chunk] = deque()
    breaks = 0
    for chunk in chunks:
        kept.append(chunk)
        breaks += chunk.content.count(b"\n")
        while breaks - kept[0].content.count(b"\n") > count:
            breaks -= kept.popleft().content.count(b"\n")
    unended = bool(kept) and not kept[-1].content.endswith(b"\n")
    return _without_lines(kept, breaks + unended - count)


def _without_lines(chunks: Iterable[Chunk], count: int) -> list[Chunk]:
    """Returns the pieces without their first `count` lines."""
    kept = []
    for chunk in chunks:
        start = 0
        while count > 0 and start < len(chunk.content):
            end = chunk.content.find(b"\n", start)
            start = len(chunk.content) if end < 0 else end + 1
            count -= end >= 0
        if start < len(chunk.content):
            kept.append(Chunk(chunk.stream, chunk.position + start, chunk.content[start:]))
    return kept


def _total(attempt: Attempt, stream: int) -> int:
    return attempt.stdout_bytes if stream == STDOUT else attempt.stderr_bytes


def _streams(arguments: Arguments) -> tuple[int, ...]:
    chosen = tuple(n for n, name in _STREAMS.items() if arguments.flag(f"--{name}"))
    return chosen or tuple(_STREAMS)


def _writer(context: Context, arguments: Arguments, job: Job) -> Writer:
    if context.json:
        return partial(_write_json, job.id)
    plain = arguments.flag("--raw") or terminal_size() is None
    write: Writer = _write_bytes if plain else EscapingWriter()
    return _Tagger(f"{job.id}\t".encode(), write) if arguments.flag("--tag") else write


def _write_bytes(attempt: int, chunk: Chunk) -> None:  # noqa: ARG001  a Writer
    sys.stdout.buffer.write(chunk.content)


class EscapingWriter:
    """A Writer that escapes control characters, and bytes that are not UTF-8."""

    def __init__(self) -> None:
        self._decoders: dict[tuple[int, int], IncrementalDecoder] = {}

    def __call__(self, attempt: int, chunk: Chunk) -> None:
        """Prints a piece; bytes of a character that the next piece completes wait for it."""
        key = (attempt, chunk.stream)
        if key not in self._decoders:
            self._decoders[key] = getincrementaldecoder("utf-8")("backslashreplace")
        sys.stdout.write(escaped(self._decoders[key].decode(chunk.content), LAYOUT))


class _Tagger:
    """A Writer that begins each line with a tag."""

    def __init__(self, tag: bytes, write: Writer) -> None:
        self._tag = tag
        self._write = write
        self._begins_line = True

    def __call__(self, attempt: int, chunk: Chunk) -> None:
        """Prints a piece, which may begin and end within a line."""
        text = self._tag + chunk.content if self._begins_line else chunk.content
        self._begins_line = text.endswith(b"\n")
        text = text[:-1].replace(b"\n", b"\n" + self._tag) + text[-1:]
        self._write(attempt, chunk._replace(content=text))


def write_to_own_stream(attempt: int, chunk: Chunk) -> None:  # noqa: ARG001  a Writer
    """Prints a piece to the stream of the same name."""
    target = sys.stdout if chunk.stream == STDOUT else sys.stderr
    if target is not None:
        target.buffer.write(chunk.content)
        target.flush()


def _write_json(name: str, attempt: int, chunk: Chunk) -> None:
    record = {
        "id": name,
        "attempt": attempt,
        "stream": _STREAMS[chunk.stream],
        "position": chunk.position,
    }
    try:
        content = {"text": chunk.content.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode

        content = {"base64": b64encode(chunk.content).decode()}
    print_out(json_text({**record, **content}))
