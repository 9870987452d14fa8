# Points @client@ at the pool at @url@.
# It changes what it names and nothing else, keeps what was there, and ends with the line that brings it back.
& {
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 2

$Cli = '@cli@'
$Url = '@url@'
$Code = '@code@'
$Key = '@key@'
$State = [IO.Path]::Combine($HOME, '.codex-pool', 'undo', $Cli)
$Folder = Join-Path $HOME '@folder@'
if ('@folder_env@' -and [Environment]::GetEnvironmentVariable('@folder_env@')) { $Folder = [Environment]::GetEnvironmentVariable('@folder_env@') }
$Plain = New-Object Text.UTF8Encoding($false, $true)

function Stop-SetUp([string]$Why) { throw "codex-pool: $Why. Nothing was changed." }
function Read-Text([string]$Path) { $Plain.GetString([IO.File]::ReadAllBytes($Path)) }

@tools@

# The file that a link leads to: the link stays.
function Resolve-Behind([string]$Path) {
  for ($Hops = 0; $Hops -lt 20; $Hops++) {
    $Item = Get-Item -LiteralPath $Path -Force -ErrorAction SilentlyContinue
    if (-not $Item -or -not $Item.LinkType -or -not $Item.Target) { return $Path }
    $Path = [IO.Path]::Combine([IO.Path]::GetDirectoryName($Path), @($Item.Target)[0])
    if (-not (Test-Path -LiteralPath $Path)) { break }
  }
  Stop-SetUp "$Path is a link that leads nowhere"
}

# Works out what a file becomes; nothing is written yet.
function Edit-File([string]$Format, [string]$Name, [string]$Lines) {
  $File = Resolve-Behind (Join-Path $Folder $Name)
  $Now = ''
  $Exists = Test-Path -LiteralPath $File
  if ($Exists) {
    if ((Get-Item -LiteralPath $File -Force).IsReadOnly) { Stop-SetUp "$File is read-only; make it writable first" }
    try { $Now = Read-Text $File } catch { Stop-SetUp "$File is not a text" }
    if ($Now.Contains([string][char]0)) { Stop-SetUp "$File is not a text" }
  }
  $Record = Join-Path $State "at.$Name"
  if ((Test-Path -LiteralPath $Record) -and (Read-Text $Record) -ne $File) {
    Stop-SetUp "this was set up before in $(Read-Text $Record); undo that first"
  }
  $Edits = @()
  foreach ($Line in ($Lines -split "`r?`n")) {
    if (-not $Line) { continue }
    $Part = $Line.Split([char[]]' ', 3)
    $Value = ''
    if ($Part.Count -gt 2) { $Value = $Part[2] }
    if ($Part[0] -eq 'blank') { $Value = '""' }
    $Edits += @{ Action = $Part[0]; Path = $Part[1].Split('.'); Value = $Value }
  }
  $Mark = ''
  $Text = $Now
  if ($Text.Length -and $Text[0] -eq [char]0xFEFF) { $Mark = [string][char]0xFEFF; $Text = $Text.Substring(1) }
  try { $New = $Mark + (& "Edit-$Format" $Text $Edits) } catch { Stop-SetUp "$File cannot be edited: $($_.Exception.Message)" }
  @{ Name = $Name; File = $File; Exists = $Exists; Now = $Now; New = $New }
}

function Get-Plan {
@edits@
}

# The code brings a credential for this machine. It works once, so it is used when nothing else can go wrong.
function Get-Key {
  $Machine = [Environment]::MachineName -replace '[^A-Za-z0-9._-]', ''
  try { $Found = (Invoke-RestMethod -UseBasicParsing -Method Post -Uri "$Url/setup/$Cli/${Code}?machine=$Machine") } catch { $Found = '' }
  if ("$Found" -cnotmatch '^[A-Za-z0-9._-]+$') {
    Stop-SetUp 'the pool gave no credential: this line was used, or has ended; ask for a new one'
  }
  "$Found"
}

# What changes. Nothing after the name of a secret is shown, and no line that might be the rest of one.
function Show-Change($Plan) {
  "$($Plan.File):"
  $Old = @($Plan.Now -split "`r?`n")
  $New = @($Plan.New -split "`r?`n")
  foreach ($One in (Compare-Object $Old $New)) {
    $Sign = '+'
    if ($One.SideIndicator -eq '<=') { $Sign = '-' }
    $Line = [string]$One.InputObject
    if ($Sign -eq '-' -and $Line -notmatch '[:=]') { continue }
    if ($Line -match 'key|token|secret|pass') { $Line = $Line -replace '([:=]).*', '$1 (not shown)' }
    "  $Sign $Line"
  }
}

function Set-Whole([string]$Path, [string]$Text) {
  [IO.File]::WriteAllText("$Path.codex-pool", $Text, (New-Object Text.UTF8Encoding($false)))
  if (Test-Path -LiteralPath $Path) { [IO.File]::Replace("$Path.codex-pool", $Path, [NullString]::Value) } else { [IO.File]::Move("$Path.codex-pool", $Path) }
}

# What stood there first is kept, however often this runs.
function Save-Plan($Plan) {
  $Record = Join-Path $State "at.$($Plan.Name)"
  if (-not (Test-Path -LiteralPath $Record)) {
    if ($Plan.Exists) { Copy-Item -LiteralPath $Plan.File -Destination (Join-Path $State "before.$($Plan.Name)") }
    Set-Whole $Record $Plan.File
  }
  Set-Whole (Join-Path $State "after.$($Plan.Name)") $Plan.New
  [void][IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($Plan.File))
  Set-Whole $Plan.File $Plan.New
}

$Undo = @'
@undo@
'@

foreach ($Name in @(@rivals@)) {
  if ([Environment]::GetEnvironmentVariable($Name)) {
    Stop-SetUp "$Name is set in this shell and would win over what is set up here; take it out and open a new terminal"
  }
}
$Given = $Key
if (-not $Given) { $Key = 'pool' }
$Plans = @(Get-Plan)
if (-not $Given) {
  $Key = Get-Key
  $Plans = @(Get-Plan)
}
$Changed = @($Plans | Where-Object { $_.Now -cne $_.New })
if (-not $Changed.Count) {
  "@client@ already uses the pool at $Url."
  return
}
[void][IO.Directory]::CreateDirectory($State)
$UndoFile = Join-Path $State 'undo.ps1'
Set-Whole $UndoFile $Undo
try {
  foreach ($Plan in $Changed) {
    Show-Change $Plan
    Save-Plan $Plan
  }
} catch {
  $Why = $_.Exception.Message
  & ([scriptblock]::Create($Undo)) $State
  Stop-SetUp "a file could not be written: $Why"
}
''
"@client@ now uses the pool at $Url."
'@note@'
"Undo: powershell -ExecutionPolicy Bypass -File `"$UndoFile`""
}
