#!/bin/sh
# install-files.sh PREFIX [DESTDIR]: installs all files except the virtual environment. PREFIX is
# /usr/local for `make install` and /usr for the package. An existing conf file is kept.
set -eu
prefix=$1 root=${2:-}
source=$(cd "$(dirname "$0")/.." && pwd)
systemd=$source/packaging/systemd
lib=$root$prefix/lib
doc=$root$prefix/share/doc/queued

umask 022
install -d "$root$prefix/bin" "$root/etc"
ln -sf /opt/queued/bin/queued /opt/queued/bin/queuectl "$root$prefix/bin/"
install -D -m 644 -t "$lib/systemd/system" "$systemd/queued.service" "$systemd/queued@.service" \
    "$systemd/queued-metrics.service" "$systemd/queued-metrics.timer"
install -D -m 644 -t "$lib/systemd/user" "$systemd/user/queued.service"
install -D -m 644 "$systemd/queued.sysusers" "$lib/sysusers.d/queued.conf"
install -D -m 644 "$systemd/queued.tmpfiles" "$lib/tmpfiles.d/queued.conf"
install -D -m 644 -t "$doc" "$source/README.md" "$systemd/loosen.conf" "$source/packaging/grafana/queued.json"
install -D -m 644 "$source/LICENSE" "$doc/copyright"
install -D -m 644 "$source/packaging/supervisor/queued.conf" "$doc/supervisor.conf"
[ -e "$root/etc/queuectl.conf" ] || install -m 644 "$source/etc/queuectl.conf" "$root/etc/queuectl.conf"

python=$root/opt/queued/bin/python share=$root$prefix/share
rm -f "$share"/man/man[158]/queue*
"$python" -IB -m queued.pages.man_pages "$share/man"
gzip -9n "$share"/man/man[158]/queue*

# completion SHELL FILE [OTHER_NAME]
completion() {
    install -d "$(dirname "$2")"
    "$python" -IB -m queued.pages.completions "$1" >"$2"
    [ -z "${3:-}" ] || ln -sf "$(basename "$2")" "$(dirname "$2")/$3"
}
[ "$prefix" = /usr ] && zsh=vendor-completions || zsh=site-functions
completion bash "$share/bash-completion/completions/queuectl" queued
completion zsh "$share/zsh/$zsh/_queuectl"
completion fish "$share/fish/vendor_completions.d/queuectl.fish" queued.fish
