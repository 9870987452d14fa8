# TOML, line by line: knows where a statement begins and ends, so nothing inside a long string or an array is taken for one.
function fail(what) { printf "%s\n", what > "/dev/stderr"; failed = 1; exit 1 }
function trim(s) { sub(/^[ \t]+/, "", s); return s }

# A dotted key at the start of s: its parts in `path`, each with \001 before it; what follows in `rest`.
function key(s,    quote, len) {
  path = ""
  for (;;) {
    s = trim(s); quote = substr(s, 1, 1)
    if (quote == "\"" || quote == "'") {
      len = index(substr(s, 2), quote); if (!len) fail("line " number ": a key does not end")
      path = path "\001" substr(s, 2, len - 1); s = substr(s, len + 2)
    } else {
      if (!match(s, /^[A-Za-z0-9_-]+/)) fail("line " number ": this is no key")
      path = path "\001" substr(s, 1, RLENGTH); s = substr(s, RLENGTH + 1)
    }
    s = trim(s)
    if (substr(s, 1, 1) != ".") { rest = s; return }
    s = substr(s, 2)
  }
}

# Reads a value's text on; `open` is the kind of string, `depth` the brackets left open. Returns where a comment begins, or 0.
function read(s,    i, n, c, t) {
  n = length(s); i = 1
  while (i <= n) {
    c = substr(s, i, 1); t = substr(s, i, 3)
    if (open != "") {
      if (c == "\\" && open == "\"\"\"") i += 2
      else if (t == open) { for (t = 0; t < 5 && substr(s, i, 1) == c; t++) i++; open = "" }
      else i++
    } else if (c == "#") return i
    else if (t == "\"\"\"" || t == "'''") { open = t; i += 3 }
    else if (c == "\"" || c == "'") {
      for (i++; i <= n && substr(s, i, 1) != c; i++) if (c == "\"" && substr(s, i, 1) == "\\") i++
      if (i > n) fail("line " number ": a string does not end")
      i++
    } else {
      if (c == "[" || c == "{") depth++
      if ((c == "]" || c == "}") && depth > 0) depth--
      i++
    }
  }
  return 0
}

function statement(line,    left, value, hash, full, i) {
  key(line)
  if (substr(rest, 1, 1) != "=") fail("line " number ": neither a table nor `key = value`")
  value = substr(rest, 2); left = substr(line, 1, length(line) - length(value))
  hash = read(value); full = table path
  for (i = 1; i <= edits; i++)
    if (within[i] != "" && index(full, within[i] "\001") == 1 && index(table "\001", within[i] "\001") != 1) dotted[within[i]] = 1
  for (i = 1; i <= edits; i++) {
    if (want[i] == full) {
      done[i] = 1; dropping = 1
      if (action[i] != "drop") out[++lines] = left " " new[i] (hash ? " " substr(value, hash) : "") end
      return
    }
  }
  for (i = 1; i <= edits; i++) {
    if (index(want[i], full "\001") == 1) fail("line " number ": " words(full) " is written as one value; write it as a table")
  }
  out[++lines] = line end
}

function words(p) { p = substr(p, 2); gsub(/\001/, ".", p); return p }

BEGIN {
  while ((getline edit < ENVIRON["EDITS"]) > 0) {
    edits++; split(edit, part, " ")
    action[edits] = part[1]; want[edits] = "\001" part[2]; gsub(/\./, "\001", want[edits])
    new[edits] = substr(edit, length(part[1]) + length(part[2]) + 3)
    name[edits] = part[2]; sub(/.*\./, "", name[edits])
    within[edits] = substr(want[edits], 1, length(want[edits]) - length(name[edits]) - 1)
  }
}

{ # A mark behind the last line tells whether it ended.
  line = $0
  if (NR == 1 && substr(line, 1, 3) == "\357\273\277") { bom = "\357\273\277"; line = substr(line, 4) }
  if (held) take(last)
  last = line; held = 1
}

function take(line,    start, header) {
  number++; end = cut ? "" : "\n"
  if (!cut && substr(line, length(line)) == "\r") { end = "\r\n"; crlf = "\r"; line = substr(line, 1, length(line) - 1) }
  if (open != "" || depth > 0) { read(line); if (!dropping) out[++lines] = line end; return }
  dropping = 0; start = trim(line)
  if (substr(start, 1, 1) == "[") {
    header = start; sub(/^\[+/, "", header); key(header)
    if (substr(rest, 1, 1) != "]") fail("line " number ": a table's name does not end")
    table = path
    if (substr(start, 1, 2) == "[[") table = "\001[[" path; else head[table] = lines + 1
  } else if (start != "" && substr(start, 1, 1) != "#") { statement(line); return }
  out[++lines] = line end
}

END {
  if (failed) exit 1
  sub(/x$/, "", last)
  if (last != "") { cut = 1; take(last) }
  if (open != "" || depth > 0) fail("a string or an array does not end")
  top = tail = ""
  for (i = 1; i <= edits; i++) {
    if (done[i] || action[i] != "set") continue
    text = name[i] " = " new[i] crlf "\n"
    if (within[i] == "") top = top text
    else if (within[i] in head) below[head[within[i]]] = below[head[within[i]]] text
    else if (within[i] in dotted) fail(words(within[i]) " has keys but no table; write it as a table")
    else { if (!(within[i] in body)) order[++tables] = within[i]; body[within[i]] = body[within[i]] text }
  }
  for (i = 1; i <= tables; i++) tail = tail crlf "\n[" words(order[i]) "]" crlf "\n" body[order[i]]
  printf "%s%s", bom, top
  if (top != "" && lines > 0 && out[1] !~ /^[ \t\r\n]*$/) printf "%s\n", crlf
  for (i = 1; i <= lines; i++) {
    if (out[i] !~ /\n$/ && (tail != "" || (i in below))) out[i] = out[i] crlf "\n"
    printf "%s", out[i]
    if (i in below) printf "%s", below[i]
  }
  if (lines == 0 && top == "") sub(/^\r?\n/, "", tail)
  printf "%s", tail
}
