"""The head and the tail of a stream are kept, and handed on piece by piece."""

from hypothesis import example, given
from hypothesis import strategies as st

from queued.service.worker.capture import CHUNK, Capture

TEXT = bytes(range(251))  # a prime length: no piece looks like another


def printed(size: int, start: int = 0) -> bytes:
    """Returns bytes that differ by their position in the stream."""
    begin = start % len(TEXT)
    return (TEXT * (size // len(TEXT) + 2))[begin : begin + size]


class Database:
    """Keeps pieces as the dispatcher does: it drops repeated ones and what they say is not kept."""

    def __init__(self) -> None:
        self.kept: dict[int, bytes] = {}

    def store(self, capture: Capture) -> int | None:
        """Stores the next piece; returns its end."""
        piece = capture.next_piece()
        if piece is None:
            return None
        chunk = piece.chunk
        assert self.kept.get(chunk.position, chunk.content) == chunk.content
        self.kept[chunk.position] = chunk.content
        if piece.tail_start > piece.head_end:
            self.kept = {
                position: content
                for position, content in self.kept.items()
                if not piece.head_end <= position < piece.tail_start
            }
        return chunk.position + len(chunk.content)

    @property
    def size(self) -> int:
        return sum(map(len, self.kept.values()))

    def content(self) -> bytes:
        return b"".join(content for _, content in sorted(self.kept.items()))


def test_pieces_are_never_larger_than_a_message_may_be() -> None:
    capture = Capture(1, 1 << 20)
    capture.append(printed(1 << 21))
    while (piece := capture.next_piece()) is not None:
        assert len(piece.chunk.content) <= CHUNK


def test_the_recent_bytes_are_the_last_ones() -> None:
    capture = Capture(1, 10)
    for size in (3, 400, 300, 5000, 2):
        capture.append(printed(size, capture.total))
        assert capture.last_bytes == printed(capture.total)[-512:]


def should_flush(*sizes: int) -> bool:
    capture = Capture(1, 4 << 20)
    for size in sizes:
        capture.append(printed(size))
    return capture.should_flush


def test_much_of_a_head_is_pressing_and_a_tail_is_not() -> None:
    assert not should_flush(7 * CHUNK)
    assert should_flush(7 * CHUNK, 2 * CHUNK)
    tail = Capture(1, 10 * CHUNK)
    for _ in range(100):
        tail.append(printed(CHUNK))
    assert not tail.should_flush


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 700)),
        st.tuples(st.just("take"), st.integers(1, 20)),
        st.tuples(st.just("acknowledge"), st.integers(0, 20)),
        st.tuples(st.just("rewind"), st.just(0)),
    ),
    max_size=60,
)


@example(limit=100, steps=[("append", 45), ("take", 1), ("append", 10)])  # across the two parts
@given(limit=st.integers(0, 1500), steps=STEPS)
def test_any_sequence_of_events_keeps_the_right_bytes(
    limit: int, steps: list[tuple[str, int]]
) -> None:
    """Each rewind is a new dispatcher. Acknowledged pieces are never handed on again."""
    capture, database = Capture(1, limit), Database()
    handed: list[int] = []  # the ends of the pieces that are not acknowledged
    durable = 0
    for step, count in [*steps, ("rewind", 0), ("take", 10_000)]:
        if step == "append":
            capture.append(printed(count, capture.total))
        elif step == "take":
            for _ in range(count):
                if (end := database.store(capture)) is not None:
                    assert end > durable, "handed on after it was acknowledged"
                    handed.append(end)
        elif step == "acknowledge":
            durable = max([durable, *handed[:count]])
            capture.acknowledge(durable)
            handed = [end for end in handed if end > durable]
        else:
            capture.rewind()
            handed.clear()
        assert database.size <= limit
        assert capture.unacknowledged == len(handed)
    assert capture.next_piece() is None
    assert capture.waiting == 0
    total = capture.total
    for position, content in database.kept.items():
        assert content == printed(len(content), position)
    head, tail = (limit + 1) // 2, limit // 2
    assert not any(at < head < at + len(content) for at, content in database.kept.items())
    content = database.content()
    assert content[:head] == printed(min(total, head))
    kept_tail = min(total, max(0, tail - max(1, tail // 4)))
    assert content[len(content) - kept_tail :] == printed(kept_tail, total - kept_tail)
    if total <= head + kept_tail:
        assert content == printed(total)


@given(limit=st.integers(0, 1500), sizes=st.lists(st.integers(0, 700)))
def test_output_that_is_not_sent_yet_is_counted_and_bounded(limit: int, sizes: list[int]) -> None:
    capture = Capture(1, limit)
    for size in sizes:
        capture.append(printed(size, capture.total))
        assert capture.waiting <= limit
    counted = capture.waiting
    taken = 0
    while (piece := capture.next_piece()) is not None:
        taken += len(piece.chunk.content)
    assert taken == counted
    capture.rewind()
    assert capture.waiting <= counted
