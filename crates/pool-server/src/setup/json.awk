# JSON, with comments or without: values are put into the text, which is never written anew.
function fail(what) { printf "%s\n", what > "/dev/stderr"; failed = 1; exit 1 }
function wrong(expected,    before) { before = substr(text, 1, at - 1); fail("line " gsub(/\n/, "", before) + 1 " cannot be read: expected " expected) }
function words(p) { p = substr(p, 2); gsub(/\001/, ".", p); return p }

# Over spaces and comments. `noted` is where the last comment ends, `to_line_end` whether its line ends it.
function skip(    c, len) {
  noted = 0
  for (;;) {
    c = substr(text, at, 1)
    if (c == "" || !index(" \t\r\n/", c)) return
    if (c != "/") { at++; continue }
    c = substr(text, at, 2)
    if (c == "//") {
      len = index(substr(text, at), "\n"); at = len ? at + len - 1 : length(text) + 1
      if (substr(text, at - 1, 1) == "\r") at--
      noted = at; to_line_end = 1
    } else if (c == "/*") {
      len = index(substr(text, at + 2), "*/"); if (!len) wrong("the end of a comment")
      at += len + 3; noted = at; to_line_end = 0
    } else return
  }
}

function string(    from, c) {
  from = ++at
  for (;;) {
    c = substr(text, at, 1)
    if (c == "\"") break
    if (c == "" || c == "\n") wrong("the end of a string")
    at += (c == "\\") ? 2 : 1
  }
  return substr(text, from, at++ - from)
}

# Notes where the value of each path begins and ends; of objects also where something can be put in.
function value(p, depth,    from, c, object) {
  from = at; c = substr(text, at, 1)
  if ((c == "{" || c == "[") && depth >= 64) wrong("less depth")
  if (c == "{") { object = 1; members(p, depth) }
  else if (c == "[") array(depth)
  else if (c == "\"") string()
  else { if (!match(substr(text, at, 64), /^[A-Za-z0-9+.-]+/)) wrong("a value"); while (match(substr(text, at, 1), /[A-Za-z0-9+.-]/)) at++ }
  if (arrays) return
  if (p in begins) fail(words(p) " is written twice")
  begins[p] = from; ends[p] = at; if (object) objects[p] = 1
}

function members(p, depth,    from, inner, count, first_at, value_at, last_at, comma, line) {
  at++; last_at = at; count = comma = line = 0
  for (;;) {
    skip(); if (noted) last_at = noted
    line = noted ? to_line_end : line
    if (substr(text, at, 1) == "}") break
    if (count && !comma) wrong("a comma")
    if (substr(text, at, 1) != "\"") wrong("a key")
    from = at; inner = p "\001" string()
    skip(); if (substr(text, at, 1) != ":") wrong("a colon")
    at++; skip(); value(inner, depth + 1)
    if (!count++) first_at = from
    value_at = last_at = at; comma = line = 0
    skip(); if (noted) { last_at = noted; line = to_line_end }
    if (substr(text, at, 1) == ",") { at++; last_at = at; comma = 1; line = 0 }
  }
  at++
  if (arrays) return
  number[p] = count; first[p] = first_at; ended[p] = value_at; last[p] = last_at; trailing[p] = comma; noted_line[p] = line
}

function array(depth,    comma) {
  at++; arrays++; comma = 1
  for (;;) {
    skip()
    if (substr(text, at, 1) == "]") { at++; arrays--; return }
    if (!comma) wrong("a comma")
    value("", depth + 1); skip()
    comma = (substr(text, at, 1) == ","); at += comma
  }
}

function scan() {
  split("", begins); split("", ends); split("", objects)
  at = 1; arrays = 0; skip()
  if (substr(text, at, 1) != "{") wrong("an object")
  value("", 0); skip()
  if (at <= length(text)) wrong("nothing more")
}

function put(position, piece) { text = substr(text, 1, position - 1) piece substr(text, position) }

function add(p, member,    before, indent, gap, space) {
  if (!number[p]) {
    before = substr(text, 1, begins[p] - 1); sub(/.*\n/, "", before)
    indent = before; sub(/[^ \t].*/, "", indent)
    gap = substr(text, last[p]); match(gap, /^[ \t\r\n]*/); gap = substr(gap, 1, RLENGTH)
    put(last[p], eol indent (indent ~ /^\t/ ? "\t" : "  ") member (index(gap, "\n") ? "" : eol indent))
    return
  }
  before = substr(text, begins[p] + 1, first[p] - begins[p] - 1); indent = before; sub(/.*\n/, "", indent)
  if (index(before, "\n") && indent ~ /^[ \t]*$/) space = eol indent
  else space = noted_line[p] ? eol : " "
  put(last[p], space member)
  if (!trailing[p]) put(ended[p], ",")
}

function insert(path, new,    n, key, i, p, inner) {
  n = split(path, key, "."); p = ""
  for (i = 1; i <= n; i++) {
    inner = p "\001" key[i]; scan()
    if (!(inner in begins)) {
      if (!(p in objects)) fail(words(p) " is not an object")
      add(p, "\"" key[i] "\": " (i == n ? new : "{}"))
    }
    p = inner
  }
}

{ text = text (NR > 1 ? "\n" : "") $0 }

END {
  if (failed) exit 1
  sub(/x$/, "", text)
  if (substr(text, 1, 3) == "\357\273\277") { bom = "\357\273\277"; text = substr(text, 4) }
  eol = index(text, "\r\n") ? "\r\n" : "\n"
  if (text ~ /^[ \t\r\n]*$/) text = "{}" eol
  while ((getline edit < ENVIRON["EDITS"]) > 0) {
    split(edit, part, " "); wanted = "\001" part[2]; gsub(/\./, "\001", wanted)
    new = (part[1] == "blank") ? "\"\"" : substr(edit, length(part[1]) + length(part[2]) + 3)
    scan()
    if (wanted in begins) {
      if (wanted in objects) fail(part[2] " is not a plain value")
      text = substr(text, 1, begins[wanted] - 1) new substr(text, ends[wanted])
    } else if (part[1] == "set") insert(part[2], new)
  }
  printf "%s%s", bom, text
}
