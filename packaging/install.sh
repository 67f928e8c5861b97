#!/bin/sh
# install.sh VENV: what `sudo make install` does with what make-venv.sh made for /opt/queued. A second
# time it is an upgrade, and running jobs may finish first.
set -eu
umask 022
venv=$1
here=$(dirname "$0")
[ "$(id -u)" = 0 ] || { echo 'run it as root: sudo make install' >&2; exit 1; }

rm -rf /opt/queued.new /opt/queued.old
cp -r --no-preserve=ownership "$venv" /opt/queued.new
# A service that runs takes its code from there until it has ended.
others=$(systemctl list-units --plain --no-legend --state=active,activating,reloading 'queued@*.service' |
    cut -d' ' -f1)
[ ! -e /usr/local/lib/systemd/system/queued.service ] || systemctl stop queued.service $others
[ ! -e /opt/queued ] || mv /opt/queued /opt/queued.old
mv /opt/queued.new /opt/queued
rm -rf /opt/queued.old
"$here/install-files.sh" /usr/local
systemd-sysusers /usr/local/lib/sysusers.d/queued.conf
systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/queued.conf
systemctl daemon-reload
systemctl enable --now queued.service
[ -z "$others" ] || systemctl start $others
echo 'queued runs: systemctl status queued. Who may use queuectl: adduser NAME queued'
