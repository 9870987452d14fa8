#!/usr/bin/env python3
"""Runs the real clients against a codex-pool: one turn with a tool call each.

    tests/clients/run.py --url http://127.0.0.1:8989            every mode against a pool that is running
    tests/clients/run.py --only codex-readme,py-openai --json
    tests/clients/run.py --direct http://127.0.0.1:9900 --pool DIR    straight against `fake-upstream --pool DIR`

Clients are installed by install.sh into a cache folder on first use. Leaves with 0 if every client printed the marker.
`scenarios.py` starts the fake and the pool itself and breaks accounts on purpose.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import modes

MARKER = "POOL-E2E-OK"


@dataclasses.dataclass
class Result:
    name: str
    ok: bool
    exit: int | None  # None: it had to be stopped
    seconds: float
    shown: str  # what a person would have seen: output, then errors


def clients_folder() -> pathlib.Path:
    """Where the clients are; installs them if they are not there."""
    install = pathlib.Path(__file__).resolve().parent / "install.sh"
    given = os.environ.get("CODEX_POOL_CLIENTS")
    if given and (pathlib.Path(given) / "node_modules/.bin").is_dir() and (pathlib.Path(given) / "py").is_dir():
        return pathlib.Path(given)
    return pathlib.Path(subprocess.run([str(install)], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def run_mode(mode: modes.Mode, setting: modes.Setting, timeout: float, online: bool = False) -> Result:
    """One client in a home of its own."""
    with tempfile.TemporaryDirectory(prefix="codex-pool-client-") as folder:
        home = pathlib.Path(folder) / "home"
        work = pathlib.Path(folder) / "work"
        for part in [home, work, pathlib.Path(folder) / "tmp"]:
            part.mkdir()
        prepared = mode.prepare(setting)
        for name, text in prepared.files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o600)
        for name, target in prepared.links.items():
            (home / name).symlink_to(target)
        out_path = pathlib.Path(folder) / "out"
        err_path = pathlib.Path(folder) / "err"
        begun = time.monotonic()
        with out_path.open("wb") as out, err_path.open("wb") as err:
            process = subprocess.Popen(
                [word.replace("{home}", str(home)) for word in prepared.command],
                cwd=work,
                env={**modes.environment(home, prepared, online), "TMPDIR": f"{folder}/tmp"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                code: int | None = process.wait(timeout)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                # The client's own children too.
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()
        seconds = time.monotonic() - begun
        output = out_path.read_text(errors="replace").strip()
        errors = err_path.read_text(errors="replace").strip()
    # The marker has to be in what the client says, not in what it logs.
    said = output.count(MARKER)
    wanted = 2 if mode.name.endswith("-openai") else 1
    shown = "\n".join(part for part in [output, errors] if part)
    return Result(mode.name, code == 0 and said >= wanted, code, round(seconds, 1), shown)


def table(results: list[Result], full: bool, about: str | None = None) -> str:
    """A line a client. Below it all that was shown, if `full`; the lines that match `about`; the end of it, if it failed."""
    lines = [f"{'client':<19} {'result':<8} {'exit':>5} {'time':>7}  last words"]
    for result in results:
        verdict = "ok" if result.ok else "FAILED"
        code = "stopped" if result.exit is None else str(result.exit)
        words = result.shown.splitlines() or [""]
        last = next((line for line in reversed(words) if MARKER in line), words[-1])
        lines.append(f"{result.name:<19} {verdict:<8} {code:>5} {result.seconds:>6.1f}s  {last[:100]}")
        below = []
        if full:
            below = words
        elif about:
            below = [line for line in words if re.search(about, line, re.IGNORECASE)][:4]
        elif not result.ok:
            below = words[-12:]
        lines += [f"    | {line[:300]}" for line in below]
    return "\n".join(lines)


def chosen(only: str | None, among: list[modes.Mode] = modes.MODES) -> list[modes.Mode]:
    if not only:
        return among
    names = only.split(",")
    everybody = [*modes.MODES, *modes.KEPT]
    unknown = set(names) - {mode.name for mode in everybody}
    if unknown:
        known = ", ".join(mode.name for mode in everybody)
        sys.exit(f"no such client: {', '.join(sorted(unknown))}; there are {known}")
    return [mode for mode in among if mode.name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", default="http://127.0.0.1:8989", help="the pool (default: %(default)s)")
    where.add_argument("--direct", metavar="URL", help="a fake-upstream, without a pool between")
    parser.add_argument("--pool", type=pathlib.Path, help="with --direct: the folder of its credential files")
    parser.add_argument("--key", default="pool", help="what clients show as key or token (default: %(default)s)")
    parser.add_argument("--only", metavar="NAMES", help="separated by commas")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for each client (default: %(default)s)")
    parser.add_argument("--online", action="store_true", help="let clients reach other hosts as well")
    parser.add_argument("--show", action="store_true", help="print all that each client showed")
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    if flags.direct and not flags.pool:
        parser.error("--direct needs --pool, the folder that fake-upstream wrote its credential files to")
    secrets = modes.credentials(flags.pool if flags.direct else None, flags.key)
    setting = modes.Setting((flags.direct or flags.url).rstrip("/"), clients_folder(), secrets, bool(flags.direct))
    results = []
    for mode in chosen(flags.only):
        print(f"{mode.name} …", file=sys.stderr, flush=True)
        results.append(run_mode(mode, setting, flags.timeout, flags.online))
    if flags.json:
        print(json.dumps([dataclasses.asdict(result) for result in results], indent=1))
    else:
        print(table(results, flags.show))
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
