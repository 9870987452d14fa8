# NAME=value, a line each.
function Edit-env([string]$Text, $Edits) {
  $End = "`n"
  if ($Text.Contains("`r`n")) { $End = "`r`n" }
  $Found = @{}
  $Out = New-Object Text.StringBuilder
  foreach ($Match in [regex]::Matches($Text, '([^\n]*?)(\r?\n|\z)')) {
    $Line = $Match.Groups[1].Value
    foreach ($Edit in $Edits) {
      $Name = $Edit.Path[0]
      $Own = [regex]::Match($Line, '\A[ \t]*(?:export [ \t]*)?' + [regex]::Escape($Name) + '[ \t]*=[ \t]*(.*)\z')
      if (-not $Own.Success) { continue }
      $Value = $Own.Groups[1].Value
      if ($Value -match '^["''`]' -and $Value.IndexOf($Value[0], 1) -lt 0) { throw "$Name has a value of several lines" }
      $Found[$Name] = $true
      $Line = "$Name=$($Edit.Value)"
    }
    [void]$Out.Append($Line).Append($Match.Groups[2].Value)
  }
  foreach ($Edit in $Edits) {
    if ($Found[$Edit.Path[0]]) { continue }
    if ($Out.Length -and $Out[$Out.Length - 1] -ne "`n") { [void]$Out.Append($End) }
    [void]$Out.Append("$($Edit.Path[0])=$($Edit.Value)$End")
  }
  $Out.ToString()
}
