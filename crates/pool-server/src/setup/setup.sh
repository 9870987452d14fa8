#!/bin/sh
# Points @client@ at the pool at @url@.
# It changes what it names and nothing else, keeps what was there, and ends with the line that brings it back.
set -eu
umask 077
LC_ALL=C
export LC_ALL

cli='@cli@'
url='@url@'
code='@code@'
key='@key@'
folder=@folder@
state="$HOME/.codex-pool/undo/$cli"
work="$state/work.$$"

fail() {
  printf 'codex-pool: %s.\nNothing was changed.\n' "$1" >&2
  exit 1
}

# What would win over the files.
rival() {
  [ -z "$2" ] || fail "$1 is set in this shell and would win over what is set up here; take it out of your profile and open a new terminal"
}

# The file that a link leads to: the link stays.
behind() {
  at=$1
  hops=0
  while [ -L "$at" ]; do
    hops=$((hops + 1))
    [ "$hops" -lt 20 ] || fail "$1 is a link that leads nowhere"
    to=$(readlink "$at")
    case $to in /*) at=$to ;; *) at=$(dirname "$at")/$to ;; esac
  done
  [ "$hops" -eq 0 ] || [ -e "$at" ] || fail "$1 is a link that leads nowhere"
  printf '%s' "$at"
}

# edit FORMAT NAME: works out what a file becomes. The edits come on standard input; nothing is written yet.
edit() {
  cat > "$work/edits"
  file=$(behind "$folder/$2") || exit 1
  if [ -e "$file" ]; then
    [ -f "$file" ] && [ -r "$file" ] || fail "$file is not a file that can be read"
    [ -w "$file" ] && [ -n "$(find "$file" -prune -perm -200)" ] || fail "$file is read-only; make it writable first"
    cat "$file" > "$work/now.$2"
    tr -d '\000' < "$file" | cmp -s - "$file" || fail "$file is not a text"
  else
    : > "$work/now.$2"
  fi
  if [ -e "$state/at.$2" ] && [ "$(cat "$state/at.$2")" != "$file" ]; then
    fail "this was set up before in $(cat "$state/at.$2"); undo that first: sh $state/undo.sh"
  fi
  printf '%s' "$file" > "$work/at.$2"
  { cat "$work/now.$2"; printf x; } | EDITS="$work/edits" awk -f "$work/$1.awk" > "$work/new.$2" 2> "$work/why" ||
    fail "$file cannot be edited: $(cat "$work/why")"
}

edits() {
@edits@
}

# The code brings a credential for this machine. It works once, so it is used when nothing else can go wrong.
redeem() {
  ask="$url/setup/$cli/$code?machine=$(uname -n | tr -cd 'A-Za-z0-9._-')"
  if command -v curl > /dev/null; then
    key=$(curl -gfsS -X POST "$ask") || key=
  else
    key=$(wget -qO- --post-data= "$ask") || key=
  fi
  case $key in
    '' | *[!A-Za-z0-9._-]*) fail "the pool gave no credential: this line was used, or has ended; ask for a new one" ;;
  esac
}

# What changes. Nothing after the name of a secret is shown, and no line that might be the rest of one.
show() {
  command -v diff > /dev/null || return 0
  printf '%s:\n' "$(cat "$work/at.$1")"
  diff "$work/now.$1" "$work/new.$1" | sed -n -e '/^<[^:=]*$/d' \
    -e '/[Kk][Ee][Yy]/s/\([:=]\).*/\1 (not shown)/' -e '/[Tt][Oo][Kk][Ee][Nn]/s/\([:=]\).*/\1 (not shown)/' \
    -e '/[Ss][Ee][Cc][Rr][Ee][Tt]/s/\([:=]\).*/\1 (not shown)/' -e '/[Pp][Aa][Ss][Ss]/s/\([:=]\).*/\1 (not shown)/' \
    -e 's/^</  -/p' -e 's/^>/  +/p' || :
}

# What stood there first is kept, however often this runs.
write() {
  file=$(cat "$work/at.$1") || return 1
  if [ ! -e "$state/at.$1" ]; then
    if [ -e "$file" ]; then cp -p "$file" "$state/before.$1" || return 1; fi
    cp "$work/at.$1" "$state/at.$1" || return 1
  fi
  cp "$work/new.$1" "$state/after.$1" || return 1
  mkdir -p "$(dirname "$file")" && rm -f "$file.codex-pool" &&
    cp "$work/new.$1" "$file.codex-pool" && mv -f "$file.codex-pool" "$file"
}

tools() {
  cat > "$work/undo.sh" << 'END'
@undo@
END
@tools@
}

main() {
@rivals@
  mkdir -p "$work" || fail "$work cannot be made"
  trap 'rm -rf "$work"; rmdir "$state" "$HOME/.codex-pool/undo" "$HOME/.codex-pool" 2> /dev/null || :' EXIT
  tools
  given=$key
  key=${given:-pool}
  edits
  if [ -z "$given" ]; then
    redeem
    edits
  fi
  changed=
  for name in @names@; do
    cmp -s "$work/now.$name" "$work/new.$name" || changed="$changed $name"
  done
  if [ -z "$changed" ]; then
    printf '%s already uses the pool at %s.\n' '@client@' "$url"
    return
  fi
  cp "$work/undo.sh" "$state/undo.sh"
  for name in $changed; do
    show "$name"
    write "$name" || {
      sh "$state/undo.sh" >&2
      fail "$(cat "$work/at.$name") could not be written"
    }
  done
  printf '\n%s now uses the pool at %s.\n%s\nUndo: sh "%s/undo.sh"\n' '@client@' "$url" '@note@' "$state"
}

main
