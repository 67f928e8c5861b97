#!/bin/sh
# install.sh VENV: installs an environment that make-venv.sh made for /opt/queued, as `sudo make install`
# does. Run again, it is an upgrade: running jobs may finish first.
set -eu
umask 022
venv=$1
here=$(dirname "$0")
[ "$(id -u)" = 0 ] || { echo 'run it as root: sudo make install' >&2; exit 1; }

rm -rf /opt/queued.new /opt/queued.old
cp -r --no-preserve=ownership "$venv" /opt/queued.new
# A running service loads its code from /opt/queued until it has ended.
others=$(systemctl list-units --plain --no-legend --state=active,activating,reloading 'queued@*.service' |
    cut -d' ' -f1)
[ ! -e /usr/local/lib/systemd/system/queued.service ] || systemctl stop queued.service 'queued@*.service'
[ ! -e /opt/queued ] || mv /opt/queued /opt/queued.old
mv /opt/queued.new /opt/queued
rm -rf /opt/queued.old
"$here/install-files.sh" /usr/local
systemd-sysusers /usr/local/lib/sysusers.d/queued.conf
systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/queued.conf
systemctl daemon-reload
systemctl enable --now queued.service
# The delimiter keeps the backslashes of escaped unit names.
[ -z "$others" ] || printf '%s\n' "$others" | xargs --delimiter='\n' systemctl start
echo 'queued runs: systemctl status queued. To let a user run queuectl: adduser NAME queued'
