"""The event loop of a process: sleeps in epoll and calls what is registered for a descriptor."""

import select
from collections.abc import Callable

_LONGEST_S = 86_400.0  # epoll takes milliseconds in an int, so that 24 days would overflow


class EventLoop:
    """Sleeps until a descriptor is ready, then calls the function registered for it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[], None]] = {}
        self._masks: dict[int, int] = {}

    def add(self, descriptor: int, call: Callable[[], None]) -> None:
        """Calls `call` whenever the descriptor can be read or has hung up."""
        self._add(descriptor, call, select.EPOLLIN)

    def add_hang_up(self, descriptor: int, call: Callable[[], None]) -> None:
        """Calls `call` whenever the descriptor has hung up, not if a command wrote to it."""
        self._add(descriptor, call, 0)

    def _add(self, descriptor: int, call: Callable[[], None], mask: int) -> None:
        self._epoll.register(descriptor, mask)  # the kernel always reports a hang-up, too
        self._calls[descriptor] = call
        self._masks[descriptor] = mask

    def watch_writable(self, descriptor: int, *, wanted: bool) -> None:
        """Also wakes when the descriptor can be written, while that is wanted."""
        mask = select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN
        if self._masks.get(descriptor, mask) != mask:
            self._epoll.modify(descriptor, mask)
            self._masks[descriptor] = mask

    def remove(self, descriptor: int) -> None:
        """Forgets the descriptor; call it before closing."""
        if self._calls.pop(descriptor, None) is not None:
            del self._masks[descriptor]
            self._epoll.unregister(descriptor)

    def watches(self, descriptor: int) -> bool:
        """Whether the descriptor was added."""
        return descriptor in self._calls

    def wait(self, timeout_s: float | None) -> None:
        """Sleeps, at most `timeout_s` if given, and calls the functions of ready descriptors."""
        if timeout_s is not None:
            timeout_s = min(timeout_s, _LONGEST_S)
        for descriptor, _ in self._epoll.poll(timeout_s):
            call = self._calls.get(descriptor)
            if call is not None:
                call()
