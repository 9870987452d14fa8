# Brings back what stood in a client's files before codex-pool was set up, byte for byte.
param([string]$State = $PSScriptRoot)
$ErrorActionPreference = 'Stop'
# What a file holds, as a text that can be compared; nothing if there is none.
function Get-Bytes([string]$Path) {
  if (Test-Path -LiteralPath $Path) { 'of ' + [Convert]::ToBase64String([IO.File]::ReadAllBytes($Path)) }
}
foreach ($Record in @(Get-ChildItem -LiteralPath $State -Filter 'at.*' -Force)) {
  $Name = $Record.Name.Substring(3)
  $File = [IO.File]::ReadAllText($Record.FullName)
  $Before = Join-Path $State "before.$Name"
  $After = Join-Path $State "after.$Name"
  $Now = Get-Bytes $File
  $Was = Get-Bytes $Before
  if ($Now -and $Now -cne $Was -and $Now -cne (Get-Bytes $After)) {
    Copy-Item -LiteralPath $File -Destination "$File.with-codex-pool" -Force
    "You changed $File since: that version is now $File.with-codex-pool"
  }
  if ($Was -and $Now -cne $Was) {
    [IO.File]::WriteAllBytes("$File.codex-pool", [IO.File]::ReadAllBytes($Before))
    if ($Now) { [IO.File]::Replace("$File.codex-pool", $File, [NullString]::Value) } else { [IO.File]::Move("$File.codex-pool", $File) }
  } elseif (-not $Was -and $Now) {
    Remove-Item -LiteralPath $File -Force
  }
  foreach ($Done in @($Before, $After, $Record.FullName)) {
    if (Test-Path -LiteralPath $Done) { Remove-Item -LiteralPath $Done -Force }
  }
  "Restored $File"
}
$Own = Join-Path $State 'undo.ps1'
if (Test-Path -LiteralPath $Own) { Remove-Item -LiteralPath $Own -Force }
