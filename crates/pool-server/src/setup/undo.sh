#!/bin/sh
# Brings back what stood in a client's files before codex-pool was set up, byte for byte.
set -eu
umask 077
state=$(cd "$(dirname "$0")" && pwd)
for record in "$state"/at.*; do
  [ -e "$record" ] || break
  name=${record##*/at.}
  file=$(cat "$record")
  if [ -e "$file" ] && ! cmp -s "$file" "$state/after.$name" && ! cmp -s "$file" "$state/before.$name"; then
    cp -p "$file" "$file.with-codex-pool"
    printf 'You changed %s since: that version is now %s.with-codex-pool\n' "$file" "$file"
  fi
  if cmp -s "$file" "$state/before.$name"; then
    : # It was not reached, or is as it was.
  elif [ -e "$state/before.$name" ]; then
    rm -f "$file.codex-pool"
    cp -p "$state/before.$name" "$file.codex-pool"
    mv -f "$file.codex-pool" "$file"
  else
    rm -f "$file"
  fi
  rm -f "$state/before.$name" "$state/after.$name" "$record"
  printf 'Restored %s\n' "$file"
done
rm -f "$state/undo.sh"
# What holds nothing any more goes, too.
rmdir "$state" "${state%/*}" "${state%/*/*}" 2> /dev/null || :
