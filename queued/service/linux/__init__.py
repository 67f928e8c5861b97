"""Linux: epoll, signals, timers, /proc and control groups. Nothing here knows jobs or storage."""
