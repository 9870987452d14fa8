#!/bin/sh
# Installs the pinned clients into a cache folder of their own, once. Prints the folder.
#
#   CODEX_POOL_CLIENTS   the folder (default: ${XDG_CACHE_HOME:-~/.cache}/codex-pool-clients)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${CODEX_POOL_CLIENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/codex-pool-clients}
mkdir -p "$folder"

# Made anew only when a pinned version changed.
wanted=$(cat "$here/package-lock.json" "$here/requirements.txt" | cksum)
if [ "$(cat "$folder/installed" 2>/dev/null || true)" = "$wanted" ]; then
    echo "$folder"
    exit 0
fi

cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$folder/"
(cd "$folder" && npm ci --no-progress) >&2
python3 -m venv "$folder/py" >&2
"$folder/py/bin/pip" install --quiet --requirement "$here/requirements.txt" >&2
echo "$wanted" > "$folder/installed"
echo "$folder"
