#!/bin/sh
# uninstall.sh: removes what `sudo make install` installed. The conf file, the queues and the user stay.
set -eu
[ "$(id -u)" = 0 ] || { echo 'run it as root: sudo make uninstall' >&2; exit 1; }

systemctl stop 'queued@*.service'
systemctl disable --now queued.service queued-metrics.timer
rm -f /etc/systemd/system/*.wants/queued@*.service
rm -rf /opt/queued /usr/local/share/doc/queued
cd /usr/local
rm -f bin/queued bin/queuectl lib/systemd/system/queued.service lib/systemd/system/queued@.service \
    lib/systemd/system/queued-metrics.service lib/systemd/system/queued-metrics.timer \
    lib/systemd/user/queued.service lib/sysusers.d/queued.conf lib/tmpfiles.d/queued.conf \
    share/man/man[158]/queue* share/bash-completion/completions/queue* \
    share/zsh/site-functions/_queuectl share/fish/vendor_completions.d/queue*.fish
systemctl daemon-reload
echo 'queued is removed; the queue stays in /var/lib/queued, the settings in /etc/queuectl.conf'
