#!/usr/bin/env bash
# Get Debian's Prometheus without installing anything: prometheus_of_debian.sh SUITE FOLDER
# It is FOLDER/usr/bin/prometheus with promtool beside it, and is gone with the folder. tests/signals asks each that is
# in a folder .prometheus-* of the repository. bookworm has 2.42, trixie 2.53, forky 3.5; all run on Debian 12.
# Needs apt with a source of Debian's; works as any user.
set -euo pipefail

fail() { printf 'prometheus_of_debian.sh: %s\n' "$*" >&2; exit 1; }

[ $# = 2 ] || fail "usage: prometheus_of_debian.sh SUITE FOLDER, such as bookworm .prometheus-2.42"
for command in apt-get apt-cache dpkg-deb; do
    command -v "$command" >/dev/null || fail "$command is needed and not there"
done
mkdir -p "$2"
folder=$(cd "$2" && pwd)

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
touch "$state/status"

# The host's settings, such as a proxy, without its folders, and without what it runs after an update.
apt-config dump | grep -vE '^Dir\b|-Invoke\b' >"$state/apt.conf"
cat >>"$state/apt.conf" <<END
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::State "$state";
Dir::State::status "$state/status";
Dir::Cache "$state/cache";
APT::Sandbox::User "";
END

# Where the host's own packages come from is where another suite is, too.
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -1)
[ -n "$uri" ] || fail "apt has no list of Debian's: run apt-get update"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keys" ] && options="[signed-by=$keys]" || options=
echo "deb $options $uri $1 main" >"$state/sources.list"
printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "/dev/null";\n' "$state/sources.list" >>"$state/apt.conf"
export APT_CONFIG=$state/apt.conf
apt-get -qq update || fail "apt cannot read Debian's suite $1"

cd "$state"
for package in prometheus promtool; do # promtool is a package of its own since trixie
    if apt-cache show "$package" >/dev/null 2>&1; then
        apt-get -qq download "$package" >/dev/null || fail "apt cannot get $package"
        dpkg-deb -x "$package"_*.deb "$folder"
    fi
done
[ -x "$folder/usr/bin/promtool" ] || fail "Debian's suite $1 has no promtool"
"$folder/usr/bin/prometheus" --version 2>&1 | sed -n 1p
