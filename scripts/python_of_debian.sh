#!/usr/bin/env bash
# Get an interpreter of Debian's without installing anything: python_of_debian.sh 3.14 FOLDER
# It is FOLDER/usr/bin/python3.14, makes virtual environments and compiles extensions, and is gone with the folder.
# Needs what debian_packages.sh needs.
set -euo pipefail

fail() { printf 'python_of_debian.sh: %s\n' "$*" >&2; exit 1; }

[ $# = 2 ] || fail "usage: python_of_debian.sh VERSION FOLDER, such as 3.14 .python-3.14"
name=python$1
"$BASH" "${BASH_SOURCE[0]%/*}/debian_packages.sh" sid "$2" "$name-minimal" "$name" "$name-venv" "$name-dev"
folder=$(cd "$2" && pwd)

# ensurepip finds pip's wheel where Debian would have put it.
sed -i "s|'/usr/share/python-wheels|'$folder/usr/share/python-wheels|" "$folder/usr/lib/$name"/_sysconfigdata*.py
# Debian's pyconfig.h includes the machine's own from a folder that no compiler looks into here.
for own in "$folder"/usr/include/*/"$name"/pyconfig.h; do
    cp "$own" "$folder/usr/include/$name/pyconfig.h"
done

"$folder/usr/bin/$name" -c 'import ssl, sqlite3, ensurepip, sys; print(sys.version)' || fail "$name does not run"
