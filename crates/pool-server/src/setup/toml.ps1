# TOML, line by line: knows where a statement begins and ends, so nothing inside a long string or an array is taken for one.
$Joint = [string][char]1

# A dotted key at the start of a text: its parts joined, and what follows.
function Read-TomlKey([string]$Text) {
  $Path = ''
  while ($true) {
    $Part = [regex]::Match($Text, '\A[ \t]*(?:"([^"]*)"|''([^'']*)''|([A-Za-z0-9_-]+))[ \t]*')
    if (-not $Part.Success) { throw 'this is no key' }
    $Path += $Joint + $Part.Groups[1].Value + $Part.Groups[2].Value + $Part.Groups[3].Value
    $Text = $Text.Substring($Part.Length)
    if (-not $Text.StartsWith('.')) { return @{ Path = $Path; Rest = $Text } }
    $Text = $Text.Substring(1)
  }
}

# Reads a value's text on: $Lexer.Open is the kind of string, $Lexer.Depth the brackets left open. Returns where a comment begins, or -1.
function Read-TomlValue([string]$Text, $Lexer) {
  $At = 0
  while ($At -lt $Text.Length) {
    $Letter = [string]$Text[$At]
    $Three = $Text.Substring($At, [Math]::Min(3, $Text.Length - $At))
    if ($Lexer.Open) {
      if ($Letter -eq '\' -and $Lexer.Open -eq '"""') { $At += 2 }
      elseif ($Three -eq $Lexer.Open) {
        for ($Count = 0; $Count -lt 5 -and $At -lt $Text.Length -and [string]$Text[$At] -eq $Letter; $Count++) { $At++ }
        $Lexer.Open = ''
      } else { $At++ }
    } elseif ($Letter -eq '#') { return $At }
    elseif ($Three -eq '"""' -or $Three -eq "'''") { $Lexer.Open = $Three; $At += 3 }
    elseif ($Letter -eq '"' -or $Letter -eq "'") {
      for ($At++; $At -lt $Text.Length -and [string]$Text[$At] -ne $Letter; $At++) {
        if ($Letter -eq '"' -and $Text[$At] -eq '\') { $At++ }
      }
      if ($At -ge $Text.Length) { throw 'a string does not end' }
      $At++
    } else {
      if ('[{'.Contains($Letter)) { $Lexer.Depth++ }
      if (']}'.Contains($Letter) -and $Lexer.Depth -gt 0) { $Lexer.Depth-- }
      $At++
    }
  }
  return -1
}

function Edit-toml([string]$Text, $Edits) {
  $End = "`n"
  if ($Text.Contains("`r`n")) { $End = "`r`n" }
  foreach ($Edit in $Edits) {
    $Edit.Full = $Joint + ($Edit.Path -join $Joint)
    $Edit.Name = $Edit.Path[-1]
    $Edit.Table = $Edit.Full.Substring(0, $Edit.Full.Length - $Edit.Name.Length - 1)
    $Edit.Done = $false
  }
  $Lexer = @{ Open = ''; Depth = 0 }
  $Out = New-Object Collections.Generic.List[string]
  $Heads = @{}
  $Dotted = @{}
  $Table = ''
  $Dropping = $false
  $Number = 0
  foreach ($Match in [regex]::Matches($Text, '([^\n]*?)(\r?\n|\z)')) {
    if (-not $Match.Length) { continue }
    $Number++
    $Line = $Match.Groups[1].Value
    $Break = $Match.Groups[2].Value
    try {
      if ($Lexer.Open -or $Lexer.Depth) {
        [void](Read-TomlValue $Line $Lexer)
        if (-not $Dropping) { $Out.Add($Line + $Break) }
        continue
      }
      $Dropping = $false
      $Start = $Line.TrimStart([char[]]" `t")
      if ($Start.StartsWith('[')) {
        $Key = Read-TomlKey $Start.TrimStart('[')
        if (-not $Key.Rest.StartsWith(']')) { throw "a table's name does not end" }
        $Table = $Key.Path
        if ($Start.StartsWith('[[')) { $Table = "$Joint[[$Table" } else { $Heads[$Table] = $Out.Count + 1 }
      } elseif ($Start -and -not $Start.StartsWith('#')) {
        $Key = Read-TomlKey $Line
        if (-not $Key.Rest.StartsWith('=')) { throw 'neither a table nor `key = value`' }
        $Value = $Key.Rest.Substring(1)
        $Hash = Read-TomlValue $Value $Lexer
        $Full = $Table + $Key.Path
        foreach ($Edit in $Edits) {
          $Inside = $Edit.Table -and $Full.StartsWith($Edit.Table + $Joint, 'Ordinal')
          if ($Inside -and -not ($Table + $Joint).StartsWith($Edit.Table + $Joint, 'Ordinal')) { $Dotted[$Edit.Table] = $true }
        }
        $Mine = @($Edits | Where-Object { $_.Full -ceq $Full })
        if ($Mine.Count) {
          $Mine[0].Done = $true
          $Dropping = $true
          $Comment = ''
          if ($Hash -ge 0) { $Comment = ' ' + $Value.Substring($Hash) }
          $Left = $Line.Substring(0, $Line.Length - $Value.Length)
          if ($Mine[0].Action -ne 'drop') { $Out.Add("$Left $($Mine[0].Value)$Comment$Break") }
          continue
        }
        foreach ($Edit in $Edits) {
          if ($Edit.Full.StartsWith($Full + $Joint, 'Ordinal')) { throw 'this is written as one value; write it as a table' }
        }
      }
    } catch { throw "line ${Number}: $($_.Exception.Message)" }
    $Out.Add($Line + $Break)
  }
  if ($Lexer.Open -or $Lexer.Depth) { throw 'a string or an array does not end' }
  $Top = ''
  $Below = @{}
  $Body = @{}
  $Order = @()
  foreach ($Edit in $Edits) {
    if ($Edit.Done -or $Edit.Action -ne 'set') { continue }
    $New = "$($Edit.Name) = $($Edit.Value)$End"
    if (-not $Edit.Table) { $Top += $New }
    elseif ($Heads.ContainsKey($Edit.Table)) { $Below[$Heads[$Edit.Table]] += $New }
    elseif ($Dotted.ContainsKey($Edit.Table)) { throw 'the block has keys but no table; write it as a table' }
    else {
      if (-not $Body.ContainsKey($Edit.Table)) { $Order += $Edit.Table }
      $Body[$Edit.Table] += $New
    }
  }
  $Tail = ''
  foreach ($One in $Order) { $Tail += $End + '[' + $One.Substring(1).Replace($Joint, '.') + ']' + $End + $Body[$One] }
  $Result = New-Object Text.StringBuilder
  [void]$Result.Append($Top)
  if ($Top -and $Out.Count -and $Out[0].Trim()) { [void]$Result.Append($End) }
  for ($At = 0; $At -lt $Out.Count; $At++) {
    [void]$Result.Append($Out[$At])
    if (-not $Out[$At].EndsWith("`n") -and ($Tail -or $Below.ContainsKey($At + 1))) { [void]$Result.Append($End) }
    if ($Below.ContainsKey($At + 1)) { [void]$Result.Append($Below[$At + 1]) }
  }
  if (-not $Result.Length) { $Tail = $Tail.TrimStart([char[]]"`r`n") }
  $Result.Append($Tail).ToString()
}
