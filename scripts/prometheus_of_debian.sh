#!/usr/bin/env bash
# Get Debian's Prometheus without installing anything: prometheus_of_debian.sh FOLDER [VERSION]
# It is FOLDER/usr/bin/prometheus with promtool beside it, and is gone with the folder. tests/signals uses each that is
# in a folder .prometheus-* of the repository. Without a version it is the one of this machine's suite (2.42 in Debian
# 12); another must be in a suite that apt has a source of. Works as any user.
set -euo pipefail

fail() { printf 'prometheus_of_debian.sh: %s\n' "$*" >&2; exit 1; }

[ $# = 1 ] || [ $# = 2 ] || fail "usage: prometheus_of_debian.sh FOLDER [VERSION], such as .prometheus-2.42"
for command in apt-get apt-cache dpkg-deb; do
    command -v "$command" >/dev/null || fail "$command is needed and not there"
done

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
apt-cache show prometheus >/dev/null 2>&1 || fail "apt has no prometheus: run apt-get update"
package=prometheus
if [ $# = 2 ]; then
    version=$(apt-cache madison prometheus | awk '{print $3}' | grep "^$2[.+-]" | head -1) || true
    [ -n "$version" ] || fail "apt has no prometheus $2"
    package="prometheus=$version"
fi
(cd "$state" && apt-get -qq download -o APT::Sandbox::User= "$package") || fail "apt cannot get $package"
mkdir -p "$1"
dpkg-deb -x "$state"/prometheus_*.deb "$1"
if [ ! -x "$1/usr/bin/promtool" ]; then # since Debian 13 it is a package of its own
    (cd "$state" && apt-get -qq download -o APT::Sandbox::User= "${package/prometheus/promtool}") || fail "apt cannot get promtool"
    dpkg-deb -x "$state"/promtool_*.deb "$1"
fi
"$1/usr/bin/prometheus" --version 2>&1 | head -1
