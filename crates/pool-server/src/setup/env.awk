# NAME=value, a line each.
function fail(what) { printf "%s\n", what > "/dev/stderr"; failed = 1; exit 1 }

BEGIN {
  while ((getline edit < ENVIRON["EDITS"]) > 0) {
    split(edit, part, " "); edits++
    name[edits] = part[2]; new[edits] = substr(edit, length(part[1]) + length(part[2]) + 3)
  }
}

{
  if (NR == 1 && substr($0, 1, 3) == "\357\273\277") { bom = "\357\273\277"; $0 = substr($0, 4) }
  if (held) take(last)
  last = $0; held = 1
}

function take(line,    own, value, quote, i) {
  end = cut ? "" : "\n"
  if (!cut && substr(line, length(line)) == "\r") { end = "\r\n"; crlf = "\r"; line = substr(line, 1, length(line) - 1) }
  own = index(line, "=") ? substr(line, 1, index(line, "=") - 1) : ""
  gsub(/^[ \t]+|[ \t]+$/, "", own); sub(/^export [ \t]*/, "", own)
  for (i = 1; i <= edits; i++) {
    if (own != name[i]) continue
    value = substr(line, index(line, "=") + 1); sub(/^[ \t]+/, "", value)
    quote = substr(value, 1, 1)
    if (index("\"'`", quote) && quote != "" && !index(substr(value, 2), quote)) fail(own " has a value of several lines")
    found[i] = 1; line = name[i] "=" new[i]
  }
  out[++lines] = line end
}

END {
  if (failed) exit 1
  sub(/x$/, "", last)
  if (last != "") { cut = 1; take(last) }
  for (i = 1; i <= edits; i++) if (!found[i]) tail = tail name[i] "=" new[i] crlf "\n"
  printf "%s", bom
  if (lines && tail != "" && out[lines] !~ /\n$/) out[lines] = out[lines] crlf "\n"
  for (i = 1; i <= lines; i++) printf "%s", out[i]
  printf "%s", tail
}
