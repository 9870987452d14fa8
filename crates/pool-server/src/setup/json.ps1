# JSON, with comments or without: values are put into the text, which is never written anew. One pass notes where everything is
# ($Json.Places: by path, where a value begins and ends; of objects also where something can be put in).
$Joint = [string][char]1

function Stop-Json($Json, [string]$Expected) {
  $Line = $Json.Text.Substring(0, [Math]::Min($Json.At, $Json.Text.Length)).Split("`n").Count
  throw "line $Line cannot be read: expected $Expected"
}

function Get-JsonLetter($Json) {
  if ($Json.At -lt $Json.Text.Length) { [string]$Json.Text[$Json.At] } else { '' }
}

# Over spaces and comments. Noted is where the last comment ends (or -1), ToLineEnd whether its line ends it.
function Skip-Json($Json) {
  $Json.Noted = -1
  while ($Json.At -lt $Json.Text.Length) {
    $Found = [regex]::Match($Json.Text.Substring($Json.At), '\A(?:([ \t\r\n]+)|(//[^\n]*?)(?=\r?\n|\z)|(/\*[\s\S]*?\*/))')
    if (-not $Found.Success) {
      if ($Json.Text.Substring($Json.At).StartsWith('/*', 'Ordinal')) { Stop-Json $Json 'the end of a comment' }
      return
    }
    $Json.At += $Found.Length
    if (-not $Found.Groups[1].Success) {
      $Json.Noted = $Json.At
      $Json.ToLineEnd = $Found.Groups[2].Success
    }
  }
}

# What stands between the quotes, as written.
function Read-JsonString($Json) {
  $Found = [regex]::Match($Json.Text.Substring($Json.At), '\A"((?:[^"\\\n]|\\[\s\S])*)"')
  if (-not $Found.Success) { Stop-Json $Json 'the end of a string' }
  $Json.At += $Found.Length
  $Found.Groups[1].Value
}

function Read-JsonValue($Json, [string]$Path, [int]$Depth) {
  $Place = @{ Start = $Json.At; End = 0; Object = $null }
  $Letter = Get-JsonLetter $Json
  if (($Letter -eq '{' -or $Letter -eq '[') -and $Depth -ge 64) { Stop-Json $Json 'less depth' }
  if ($Letter -eq '{') { $Place.Object = Read-JsonObject $Json $Path $Depth }
  elseif ($Letter -eq '[') { Read-JsonArray $Json $Depth }
  elseif ($Letter -eq '"') { [void](Read-JsonString $Json) }
  else {
    $Found = [regex]::Match($Json.Text.Substring($Json.At), '\A[A-Za-z0-9+.-]+')
    if (-not $Found.Success) { Stop-Json $Json 'a value' }
    $Json.At += $Found.Length
  }
  $Place.End = $Json.At
  if ($Json.Arrays) { return }
  if ($Json.Places.ContainsKey($Path)) { throw 'a key is written twice' }
  $Json.Places[$Path] = $Place
}

function Read-JsonObject($Json, [string]$Path, [int]$Depth) {
  $Json.At++
  $Inside = @{ First = 0; ValueEnd = 0; Last = $Json.At; Members = 0; Comma = $false; Line = $false }
  while ($true) {
    Skip-Json $Json
    if ($Json.Noted -ge 0) { $Inside.Last = $Json.Noted; $Inside.Line = $Json.ToLineEnd }
    $Letter = Get-JsonLetter $Json
    if ($Letter -eq '}') { $Json.At++; return $Inside }
    if ($Inside.Members -and -not $Inside.Comma) { Stop-Json $Json 'a comma' }
    if ($Letter -ne '"') { Stop-Json $Json 'a key' }
    $Start = $Json.At
    $Child = $Path + $Joint + (Read-JsonString $Json)
    Skip-Json $Json
    if ((Get-JsonLetter $Json) -ne ':') { Stop-Json $Json 'a colon' }
    $Json.At++
    Skip-Json $Json
    Read-JsonValue $Json $Child ($Depth + 1)
    if (-not $Inside.Members) { $Inside.First = $Start }
    $Inside.Members++
    $Inside.ValueEnd = $Json.At
    $Inside.Last = $Json.At
    $Inside.Comma = $false
    $Inside.Line = $false
    Skip-Json $Json
    if ($Json.Noted -ge 0) { $Inside.Last = $Json.Noted; $Inside.Line = $Json.ToLineEnd }
    if ((Get-JsonLetter $Json) -eq ',') {
      $Json.At++
      $Inside.Last = $Json.At
      $Inside.Comma = $true
      $Inside.Line = $false
    }
  }
}

# What lies in arrays has no path.
function Read-JsonArray($Json, [int]$Depth) {
  $Json.At++
  $Json.Arrays++
  $Comma = $true
  while ($true) {
    Skip-Json $Json
    if ((Get-JsonLetter $Json) -eq ']') { $Json.At++; $Json.Arrays--; return }
    if (-not $Comma) { Stop-Json $Json 'a comma' }
    Read-JsonValue $Json '' ($Depth + 1)
    Skip-Json $Json
    $Comma = (Get-JsonLetter $Json) -eq ','
    if ($Comma) { $Json.At++ }
  }
}

function Read-Json([string]$Text) {
  # Keys differ in case.
  $Places = New-Object 'Collections.Generic.Dictionary[string,object]' ([StringComparer]::Ordinal)
  $Json = @{ Text = $Text; At = 0; Noted = -1; ToLineEnd = $false; Arrays = 0; Places = $Places }
  Skip-Json $Json
  if ((Get-JsonLetter $Json) -ne '{') { Stop-Json $Json 'an object' }
  Read-JsonValue $Json '' 0
  Skip-Json $Json
  if ($Json.At -lt $Text.Length) { Stop-Json $Json 'nothing more' }
  $Json
}

function Add-JsonMember([string]$Text, $Place, [string]$Member, [string]$End) {
  $Inside = $Place.Object
  if (-not $Inside.Members) {
    $Indent = [regex]::Match($Text.Substring(0, $Place.Start), '[^\n]*\z').Value
    $Indent = [regex]::Match($Indent + $Text.Substring($Place.Start), '\A[ \t]*').Value
    $Unit = '  '
    if ($Indent.StartsWith("`t")) { $Unit = "`t" }
    $Gap = [regex]::Match($Text.Substring($Inside.Last), '\A[ \t\r\n]*').Value
    $Close = $End + $Indent
    if ($Gap.Contains("`n")) { $Close = '' }
    return $Text.Insert($Inside.Last, $End + $Indent + $Unit + $Member + $Close)
  }
  $Before = $Text.Substring($Place.Start + 1, $Inside.First - $Place.Start - 1)
  $Own = [regex]::Match($Before, '\n([ \t]*)\z')
  $Space = ' '
  if ($Own.Success) { $Space = $End + $Own.Groups[1].Value } elseif ($Inside.Line) { $Space = $End }
  $Text = $Text.Insert($Inside.Last, $Space + $Member)
  if (-not $Inside.Comma) { $Text = $Text.Insert($Inside.ValueEnd, ',') }
  $Text
}

function Edit-json([string]$Text, $Edits) {
  $End = "`n"
  if ($Text.Contains("`r`n")) { $End = "`r`n" }
  if ($Text -match '\A[ \t\r\n]*\z') { $Text = "{}$End" }
  foreach ($Edit in $Edits) {
    $Places = (Read-Json $Text).Places
    $Wanted = $Joint + ($Edit.Path -join $Joint)
    if ($Places.ContainsKey($Wanted)) {
      $Place = $Places[$Wanted]
      if ($Place.Object) { throw "$($Edit.Path -join '.') is not a plain value" }
      $Text = $Text.Substring(0, $Place.Start) + $Edit.Value + $Text.Substring($Place.End)
      continue
    }
    if ($Edit.Action -ne 'set') { continue }
    $Outer = ''
    for ($At = 0; $At -lt $Edit.Path.Count; $At++) {
      $Inner = $Outer + $Joint + $Edit.Path[$At]
      $Places = (Read-Json $Text).Places
      if (-not $Places.ContainsKey($Inner)) {
        if (-not $Places[$Outer].Object) { throw "$($Edit.Path[0]) is not an object" }
        $Value = '{}'
        if ($At -eq $Edit.Path.Count - 1) { $Value = $Edit.Value }
        $Text = Add-JsonMember $Text $Places[$Outer] "`"$($Edit.Path[$At])`": $Value" $End
      }
      $Outer = $Inner
    }
  }
  $Text
}
