# Brings back what stood in a client's files before codex-pool was set up, byte for byte.
param([string]$State = $PSScriptRoot)
$ErrorActionPreference = 'Stop'
foreach ($Record in @(Get-ChildItem -LiteralPath $State -Filter 'at.*' -Force)) {
  $Name = $Record.Name.Substring(3)
  $File = [IO.File]::ReadAllText($Record.FullName)
  $Before = Join-Path $State "before.$Name"
  $After = Join-Path $State "after.$Name"
  if ((Test-Path -LiteralPath $File) -and (Test-Path -LiteralPath $After)) {
    $One = [Convert]::ToBase64String([IO.File]::ReadAllBytes($File))
    $Two = [Convert]::ToBase64String([IO.File]::ReadAllBytes($After))
    if ($One -cne $Two) {
      Copy-Item -LiteralPath $File -Destination "$File.with-codex-pool" -Force
      "You changed $File since: that version is now $File.with-codex-pool"
    }
  }
  if (Test-Path -LiteralPath $Before) {
    [IO.File]::WriteAllBytes("$File.codex-pool", [IO.File]::ReadAllBytes($Before))
    if (Test-Path -LiteralPath $File) { [IO.File]::Replace("$File.codex-pool", $File, [NullString]::Value) } else { [IO.File]::Move("$File.codex-pool", $File) }
  } elseif (Test-Path -LiteralPath $File) {
    Remove-Item -LiteralPath $File -Force
  }
  foreach ($Done in @($Before, $After, $Record.FullName)) {
    if (Test-Path -LiteralPath $Done) { Remove-Item -LiteralPath $Done -Force }
  }
  "Restored $File"
}
$Own = Join-Path $State 'undo.ps1'
if (Test-Path -LiteralPath $Own) { Remove-Item -LiteralPath $Own -Force }
