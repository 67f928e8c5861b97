#!/bin/sh
# install.sh: what `sudo make install` does. Again: an upgrade; running jobs may finish first.
set -eu
here=$(dirname "$0")
[ "$(id -u)" = 0 ] || { echo 'run it as root: sudo make install' >&2; exit 1; }

"$here/make-venv.sh" /opt/queued.new /opt/queued
# A service that runs takes its code from there until it has ended.
[ ! -e /usr/local/lib/systemd/system/queued.service ] || systemctl stop queued.service
[ ! -e /opt/queued ] || mv /opt/queued /opt/queued.old
mv /opt/queued.new /opt/queued
rm -rf /opt/queued.old
"$here/install-files.sh" /usr/local
systemd-sysusers /usr/local/lib/sysusers.d/queued.conf
systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/queued.conf
systemctl daemon-reload
systemctl enable --now queued.service
echo 'queued runs: systemctl status queued. Who may use queuectl: adduser NAME queued'
