#!/usr/bin/env python3
"""Sets the real clients up with the one-line scripts, lets each complete a turn, and undoes it again, byte for byte.

    cargo build -p codex-pool -p pool-testkit
    tests/clients/setup.py                    every client, in an empty home and in one with settings of its own
    tests/clients/setup.py --only codex --show

Twice: on a pool that asks nobody for a credential, and, once somebody is known to it, as that person with a one-time code. Leaves with
0 if all is well.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import modes
import run
import scenarios

COMMANDS = {
    "codex": ["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", modes.PROMPT],
    "claude": ["claude", "-p", modes.PROMPT, "--allowedTools", "Bash"],
    "gemini": ["gemini", "--approval-mode", "yolo", "-p", modes.PROMPT],
}

# Settings as people have them; each holds something that must survive and something that is in the way.
OWN = {
    "codex": {
        ".codex/config.toml": '# mine\nmodel_provider = "openai" # for now\n\n[analytics]\nenabled = false\n\n'
        '[model_providers.other]\nname = "Other" # keep\n',
        ".codex/auth.json": modes.chatgpt_login(),
    },
    "claude": {
        ".claude/settings.json": '{\n  "apiKeyHelper": "echo private-key-of-the-user",\n  "env": {\n    "FOO": "bar",\n'
        '    "ANTHROPIC_API_KEY": "private-key-of-the-user"\n  },\n  "permissions": { "allow": ["Bash(ls:*)"] }\n}\n',
    },
    "gemini": {
        ".gemini/settings.json": '{\n  // mine\n  "privacy": { "usageStatisticsEnabled": false },\n'
        '  "security": { "auth": { "selectedType": "oauth-personal" } }\n}\n',
        ".gemini/.env": "# mine\r\nFOO=bar\r\nGEMINI_API_KEY=private-key-of-the-user\r\n",
    },
}
# What the set-up may write.
WRITTEN = {"codex": [".codex/config.toml"], "claude": [".claude/settings.json"], "gemini": [".gemini/settings.json", ".gemini/.env"]}
PRIVATE = ["private-key-of-the-user", "client-side-account", "client-side-user", "client-side-refresh-token"]


class Fault(Exception):
    pass


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise Fault(what)


class Home:
    def __init__(self, folder: pathlib.Path, cli: str, own: bool) -> None:
        self.cli = cli
        self.path = folder / "home"
        self.work = folder / "work"
        for part in (self.path, self.work):
            part.mkdir()
        files = dict(OWN[cli]) if own else {}
        if cli == "gemini":
            # Whoever works in a folder has told Gemini CLI that it may be trusted.
            files[".gemini/trustedFolders.json"] = json.dumps({str(self.work): "TRUST_FOLDER"})
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
            file.chmod(0o640)

    def settings(self) -> dict[str, tuple[int, bytes] | None]:
        def look(name: str) -> tuple[int, bytes] | None:
            file = self.path / name
            return (file.stat().st_mode & 0o777, file.read_bytes()) if file.exists() else None

        return {name: look(name) for name in [*WRITTEN[self.cli], ".codex/auth.json"]}

    def shell(self, line: str) -> subprocess.CompletedProcess:
        env = {"HOME": str(self.path), "PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", "LANG": "C.UTF-8"}
        return subprocess.run(
            ["sh", "-c", line], cwd=self.work, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
        )

    def turn(self, clients: pathlib.Path, timeout: float) -> tuple[bool, str]:
        program, *arguments = COMMANDS[self.cli]
        env = modes.environment(self.path, modes.Prepared([]), online=False)
        env |= {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
        # Such keys of the shell must not be sent to a pool.
        if self.cli == "claude":
            env |= {"ANTHROPIC_API_KEY": PRIVATE[0]}
        process = subprocess.Popen(
            [str(clients / "node_modules/.bin" / program), *arguments], cwd=self.work, env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        try:
            shown, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            shown = "it had to be stopped"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        return process.returncode == 0 and run.MARKER in shown, shown


class Pool:
    def __init__(self, url: str) -> None:
        self.url = url
        self.operator: str | None = None

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        headers = {"content-type": "application/json"}
        if self.operator:
            headers["authorization"] = f"Bearer {self.operator}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def try_one(cli: str, own: bool, line: str, key: str | None, flags: argparse.Namespace, clients: pathlib.Path) -> str:
    """One home: set up, a turn, set up in vain once more, undo. Returns the credential that was written."""
    with tempfile.TemporaryDirectory(prefix="codex-pool-setup-") as name:
        home = Home(pathlib.Path(name), cli, own)
        before = home.settings()
        done = home.shell(line)
        if flags.show:
            print(done.stdout)
        expect(done.returncode == 0, f"the line failed:\n{done.stdout}")
        expect(not any(text in done.stdout for text in PRIVATE), f"the line shows a secret:\n{done.stdout}")
        after = home.settings()
        written = b"".join(content[1] for content in after.values() if content).decode()
        found = re.search(r"pool-[A-Za-z0-9_-]{43}", written)
        expect(bool(found) == (key is None), f"a wrong credential was written:\n{written}")
        expect(all(content is None or content[0] == 0o600 for name, content in after.items() if content != before[name]),
               "others may read what was written")
        expect(after[".codex/auth.json"] == before[".codex/auth.json"], "auth.json was touched")
        works, shown = home.turn(clients, flags.timeout)
        expect(works, f"no turn:\n{shown[-3000:]}")
        if key is None:
            again = home.shell(line)
            expect(again.returncode != 0 and "Nothing was changed" in again.stdout, f"a code worked twice:\n{again.stdout}")
        undo = re.search(r"^Undo: (.+)$", done.stdout, re.MULTILINE)
        expect(undo is not None, f"no line that undoes it:\n{done.stdout}")
        undone = home.shell(undo.group(1))
        expect(undone.returncode == 0, f"undo failed:\n{undone.stdout}")
        expect(home.settings() == before, f"undo left something else:\n{undone.stdout}\n{home.settings()}")
        return found.group(0) if found else "pool"


def check_all(pool: Pool, flags: argparse.Namespace, clients: pathlib.Path) -> list[str]:
    faults = []
    person: dict | None = None

    def attempt(name: str, cli: str, own: bool, line: str, key: str | None) -> None:
        begun = time.monotonic()
        try:
            written = try_one(cli, own, line, key, flags, clients)
            if person:
                labels = json.dumps(pool.ask("GET", f"/api/people/{person['id']}"))
                expect(f"{cli} on".casefold() in labels.casefold(), f"the credential has no label: {labels}")
                expect(written not in labels, "a list of credentials shows one")
            verdict = "ok"
        except Fault as fault:
            faults.append(f"{name}: {fault}")
            verdict = "FAILED"
        print(f"{name:<40} {verdict:<7} {time.monotonic() - begun:>6.1f}s", flush=True)

    chosen = flags.only.split(",") if flags.only else list(COMMANDS)
    for cli in chosen:
        for own in (False, True):
            name = f"{cli}, {'own settings' if own else 'empty home'}"
            attempt(name, cli, own, f"curl -fsSL {pool.url}/setup/{cli} | sh", "pool")
    added = pool.ask("POST", "/api/people", {"name": "Mira", "role": "user", "label": "first"})
    person = added.get("person", added)
    person = {"id": person["id"]}
    pool.operator = added["operator"]["secret"]
    for cli in chosen:
        refused = subprocess.run(["sh", "-c", f"curl -fsSL {pool.url}/setup/{cli} | sh"], capture_output=True, text=True, check=False)
        if refused.returncode == 0 or "one-time code" not in refused.stderr:
            faults.append(f"{cli}: a pool with people set a stranger up: {refused}")
        for own in (False, True):
            line = pool.ask("POST", f"/api/people/{person['id']}/setup/{cli}")["line"]["sh"]
            attempt(f"{cli}, {'own settings' if own else 'empty home'}, with a code", cli, own, line, None)
    faults += powershell(pool, chosen, person["id"], clients)
    if "codex" in chosen:
        faults += handed_out_file(pool, person["id"], flags, clients)
    return faults


def powershell(pool: Pool, chosen: list[str], person: str, clients: pathlib.Path) -> list[str]:
    """The scripts for PowerShell, which a grammar has to accept."""
    with tempfile.TemporaryDirectory(prefix="codex-pool-setup-") as name:
        scripts = []
        for cli in chosen:
            code = pool.ask("POST", f"/api/people/{person}/setup/{cli}")["code"]
            scripts.append(pathlib.Path(name) / f"{cli}.ps1")
            with urllib.request.urlopen(f"{pool.url}/setup/{cli}/{code}?shell=powershell", timeout=10) as answer:
                scripts[-1].write_bytes(answer.read())
        parser = pathlib.Path(__file__).with_name("powershell.py")
        parsed = subprocess.run(
            [str(clients / "py/bin/python"), str(parser), *map(str, scripts)], capture_output=True, text=True, check=False,
        )
        fits = parsed.returncode == 0 and all(script.stat().st_size > 1000 for script in scripts)
        print(f"{'PowerShell scripts parse':<40} {'ok' if fits else 'FAILED'}", flush=True)
        return [] if fits else [f"PowerShell: {parsed.stdout}{parsed.stderr}"]


def handed_out_file(pool: Pool, person: str, flags: argparse.Namespace, clients: pathlib.Path) -> list[str]:
    """Codex CLI with the auth.json that /config hands out, as the Go original's set-up installs it."""
    with tempfile.TemporaryDirectory(prefix="codex-pool-setup-") as name:
        home = Home(pathlib.Path(name), "codex", False)
        code = pool.ask("POST", f"/api/people/{person}/setup/codex")["code"]
        (home.path / ".codex").mkdir()
        (home.path / ".codex/config.toml").write_text(modes.README_CONFIG.format(url=pool.url, patience_ms=300_000))
        fetched = home.shell(f"curl -fsSL {pool.url}/config/codex/{code} > $HOME/.codex/auth.json")
        works, shown = home.turn(clients, flags.timeout)
        print(f"{'codex, auth.json of /config':<40} {'ok' if works else 'FAILED'}", flush=True)
        return [] if works else [f"codex with the auth.json of /config: {fetched.stdout}\n{shown[-3000:]}"]


def main() -> int:
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAMES", help="separated by commas: codex, claude, gemini")
    parser.add_argument("--pool-bin", type=pathlib.Path, default=root / "target/debug/codex-pool")
    parser.add_argument("--fake-bin", type=pathlib.Path, default=root / "target/debug/fake-upstream")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for each turn (default: %(default)s)")
    parser.add_argument("--show", action="store_true", help="print what the scripts say")
    flags = parser.parse_args()
    clients = run.clients_folder()
    with tempfile.TemporaryDirectory(prefix="codex-pool-setup-pool-") as name:
        folder = pathlib.Path(name)
        fake = scenarios.Fake(f"http://127.0.0.1:{scenarios.free_port()}")
        command = [str(flags.fake_bin), "--addr", fake.base.removeprefix("http://"), "--pool", str(folder / "pool")]
        with scenarios.running(command, folder, "fake", scenarios.bare(), f"{fake.base}/_fake/books") as fake_log:
            while "# listening" not in fake_log.read_text():
                time.sleep(0.02)
            exports = re.findall(r"^export (\w+)=(\S+)$", fake_log.read_text(), re.MULTILINE)
            for text in PRIVATE:
                fake.order("forbid", text=text)
            pool = Pool(f"http://127.0.0.1:{scenarios.free_port()}")
            env = scenarios.bare(
                HOME=str(folder), POOL_DIR=str(folder / "pool"), PROXY_DB_PATH=str(folder / "data/proxy.db"),
                PROXY_LISTEN_ADDR=pool.url.removeprefix("http://"), **dict(exports),
            )
            with scenarios.running([str(flags.pool_bin)], folder, "pool", env, f"{pool.url}/healthz") as log:
                faults = check_all(pool, flags, clients)
                said = log.read_text(errors="replace")
            faults += [f"the pool's log shows {text}" for text in PRIVATE if text in said]
            faults += [f"the pool's log shows {key[:12]}…" for key in re.findall(r"pool-[A-Za-z0-9_-]{43}", said)]
            books = fake.order("books")
            faults += [f"request {one['request']}: {one['what']}" for one in books["violations"]]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.url}: {error.code} {error.read().decode(errors='replace')}")
