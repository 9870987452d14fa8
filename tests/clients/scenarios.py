#!/usr/bin/env python3
"""Runs the real clients through codex-pool while accounts fail on purpose.

    cargo build -p codex-pool -p pool-testkit
    tests/clients/scenarios.py                         every scenario, every client
    tests/clients/scenarios.py --scenario ok,all-limit --only codex-readme
    tests/clients/scenarios.py --list

Each scenario starts its own fake-upstream and its own codex-pool in a temporary folder. In every scenario but `all-limit`
the clients must notice nothing; after it, upstream's books must show no pool credential, no client account id, and no
conversation on two accounts, and with `--sockets` Codex must not have fallen back to HTTP. In `midway-*` the account
that serves a client fails after its first answer, so the conversation has to move in the middle of a turn. In `all-
limit` each client must show a limit text soon.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import modes
import run

KINDS = ["chatgpt", "openai-key", "claude", "setup-token", "anthropic-key", "gemini", "gemini-key"]
KEY = "pool-credential-of-a-client-8d1f"
# Texts of the clients' own that must never reach upstream.
PRIVATE = [KEY, "client-side-account", "client-side-user", "client-side-refresh-token"]
LIMIT_SECONDS = 2400
# How long a client may take to say that there is nothing left.
LIMIT_PATIENCE = 30

# Every answer falls silent after its first words for so long (and for a quarter of it inside an event), while the pool gives a
# sign of life every so many seconds, and Codex, whose patience can be set, waits so long for an event.
LONG_SILENCE = "long-silence"
SILENCE_MS, SIGN_SECONDS, CODEX_PATIENCE_MS = 24000, 2, 10000

FAILURES = ["limit", "expired", "revoked", "overloaded", "close", "reset", "cut_first"]
MIDWAY = ["limit", "revoked", "close"]
MORE_FAILURES = ["overload_first", "server_error", "throttle", "cdn_html", "unpaid", "forbidden", "credit_too_low"]


class Fake:
    """A running fake-upstream."""

    def __init__(self, base: str) -> None:
        self.base = base

    def order(self, command: str, **fields: object) -> dict:
        data = json.dumps(fields).encode() if fields or command != "books" else None
        request = urllib.request.Request(f"{self.base}/_fake/{command}", data=data)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@dataclasses.dataclass
class Outcome:
    scenario: str
    results: list[run.Result]
    faults: list[str]  # what upstream's books say against it

    @property
    def ok(self) -> bool:
        return not self.faults and all(result.ok for result in self.results)


def break_account(fake: Fake, name: str, how: str) -> None:
    """Makes an account fail for good, in the way the provider would have it."""
    is_key = "key" in name
    if how == "expired" and not is_key:
        fake.order("expire", account=name)
    elif how == "revoked" and not is_key:
        fake.order("revoke-all", account=name)
    elif how == "limit":
        fake.order("exhaust", account=name, seconds=LIMIT_SECONDS)
    else:
        fake.order("fault", account=name, fault=how)


def spring(fake: Fake, scenario: str, each: int) -> None:
    """Breaks accounts once the pool is up, so that it meets the failure in the middle of its work."""
    if scenario == "all-limit":
        fake.order("exhaust", seconds=LIMIT_SECONDS)
    if scenario.startswith("first-"):
        for kind in KINDS:
            break_account(fake, f"{kind}-1", scenario.removeprefix("first-"))
    if scenario.startswith("midway-"):
        for kind in KINDS:
            fake.order("fault", account=f"{kind}-1", fault="fine", times=1)
            fake.order("fault", account=f"{kind}-1", fault=scenario.removeprefix("midway-"))
    if scenario == LONG_SILENCE:
        fake.order("fault", fault=f"silence={SILENCE_MS}")
    if scenario == "only-last":
        for kind in KINDS:
            for number in range(1, each):
                break_account(fake, f"{kind}-{number}", FAILURES[(number - 1) % len(FAILURES)])


def scenarios() -> list[str]:
    first = [f"first-{failure}" for failure in FAILURES + MORE_FAILURES]
    midway = [f"midway-{failure}" for failure in MIDWAY]
    return ["ok", *first, *midway, LONG_SILENCE, "only-last", "all-limit"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(url: str, process: subprocess.Popen, log: pathlib.Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{process.args[0]} did not come up at {url}:\n{log.read_text(errors='replace')[-3000:]}")


@contextlib.contextmanager
def running(command: list[str], folder: pathlib.Path, name: str, env: dict[str, str], url: str):
    """A server, until the end of the block."""
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until_up(url, process, log)
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def bare(**more: str) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "TZ": "UTC", **more}


def play(scenario: str, chosen: list[modes.Mode], flags: argparse.Namespace) -> Outcome:
    each = flags.each if scenario == "only-last" else 2
    with tempfile.TemporaryDirectory(prefix="codex-pool-scenario-") as name:
        folder = pathlib.Path(name)
        fake = Fake(f"http://127.0.0.1:{free_port()}")
        addr = fake.base.removeprefix("http://")
        command = [str(flags.fake_bin), "--addr", addr, "--pool", str(folder / "pool"), "--each", str(each)]
        with running(command, folder, "fake", bare(), f"{fake.base}/_fake/books") as fake_log:
            # It listens a moment before it has written its files; the last line it prints is this.
            while "# listening" not in fake_log.read_text():
                time.sleep(0.02)
            exports = re.findall(r"^export (\w+)=(\S+)$", fake_log.read_text(), re.MULTILINE)
            for text in PRIVATE:
                fake.order("forbid", text=text)
            port = free_port()
            home = folder / "home"
            home.mkdir()
            env = bare(
                HOME=str(home),
                POOL_DIR=str(folder / "pool"),
                PROXY_LISTEN_ADDR=f"127.0.0.1:{port}",
                PROXY_DB_PATH=str(folder / "data/proxy.db"),
                UPSTREAM_WEBSOCKETS=str(flags.sockets).lower(),
                POOL_TIMEOUT_KEEP_ALIVE_SECONDS=str(SIGN_SECONDS if scenario == LONG_SILENCE else 15),
                **dict(exports),
            )
            url = f"http://127.0.0.1:{port}"
            with running([str(flags.pool_bin)], folder, "pool", env, f"{url}/healthz") as pool_log:
                time.sleep(flags.settle)
                spring(fake, scenario, each)
                setting = modes.Setting(url, run.clients_folder(), modes.credentials(None, KEY))
                if scenario == LONG_SILENCE:
                    setting.codex_patience_ms = CODEX_PATIENCE_MS

                def turn(mode: modes.Mode) -> run.Result:
                    print(f"{scenario}: {mode.name} …", file=sys.stderr, flush=True)
                    return run.run_mode(mode, setting, flags.timeout)

                # Those who wait can wait together.
                crew = concurrent.futures.ThreadPoolExecutor(8 if scenario == LONG_SILENCE else 1)
                with crew:
                    results = list(crew.map(turn, chosen))
                books = fake.order("books")
                # Overload inside a 200 hits streams only: after a plain answer it is a turn of fate, too.
                may_move = scenario.startswith("midway-") or scenario == "first-overload_first"
                faults = against(books, may_move)
                if scenario == LONG_SILENCE:
                    faults += impatient(books)
                if scenario == "all-limit":
                    results = [judged(result, books) for result in results]
                elif flags.sockets:
                    faults += [f"{result.name} left its socket" for result in results if left_socket(result)]
                if flags.logs:
                    print(pool_log.read_text(errors="replace"), file=sys.stderr)
    return Outcome(scenario, results, faults)


def left_socket(result: run.Result) -> bool:
    """Codex goes over to HTTP without telling the user, but it logs that it could not have its socket."""
    return "failed to connect to Responses WebSocket" in result.shown


def impatient(books: dict) -> list[str]:
    """Answers that a client did not wait for."""
    log = [one for one in books["log"] if one["inference"]]
    faults = [f"{one['model']}: an answer ended as {one['ended']}" for one in log if one["ended"] != "whole"]
    return faults if any(one["fault"] == "silence" for one in log) else [*faults, "no answer fell silent"]


def judged(result: run.Result, books: dict) -> run.Result:
    """With nothing left, a client has to say so in its own words, with the time of the reset, and at once."""
    soon = result.exit is not None and result.seconds <= LIMIT_PATIENCE
    codex_cli = result.name.startswith("codex-")
    words = "hit your usage limit" if codex_cli else "at their limit"
    said = words in result.shown
    if codex_cli or result.name.startswith("claude-"):
        # Every window was filled at once: they all reset together, give or take the second.
        reset = min(window["resets_at"] for account in books["accounts"] for window in account["windows"])
        times = {time.strftime("%-I:%M %p", time.gmtime(reset + late)) for late in (0, 30, 60)}
        said = said and any(one in result.shown for one in times)
    result.ok = soon and said
    return result


def against(books: dict, may_move: bool) -> list[str]:
    """What upstream's books say against the pool."""
    faults = [f"request {one['request']}: {one['what']}" for one in books["violations"]]
    homes: dict[str, set[str]] = {}
    for entry in books["log"]:
        if entry["inference"] and entry["conversation"] and entry["ended"] == "whole" and entry["status"] == 200:
            # Gemini CLI's routing question is asked once before, of another model.
            homes.setdefault(f"{entry['conversation']} {entry['model']}", set()).add(entry["account"])
    for conversation, accounts in homes.items():
        if len(accounts) > 1 and not may_move:
            faults.append(f"conversation {conversation} on {', '.join(sorted(accounts))}")
    return faults


def main() -> int:
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", metavar="NAMES", help="separated by commas (default: all)")
    parser.add_argument("--only", metavar="CLIENTS", help="separated by commas (default: all)")
    parser.add_argument("--pool-bin", type=pathlib.Path, default=root / "target/debug/codex-pool")
    parser.add_argument("--fake-bin", type=pathlib.Path, default=root / "target/debug/fake-upstream")
    parser.add_argument("--each", type=int, default=7, help="accounts of each kind in only-last (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=90, help="seconds for each client (default: %(default)s)")
    parser.add_argument("--settle", type=float, default=1.0, help="seconds for the pool's first probes")
    parser.add_argument("--sockets", action="store_true", help="let the pool carry WebSockets")
    parser.add_argument("--logs", action="store_true", help="print the pool's log after each scenario")
    parser.add_argument("--show", action="store_true", help="print all that each client showed")
    parser.add_argument("--list", action="store_true", help="print the names of the scenarios")
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    if flags.list:
        print("\n".join(scenarios()))
        return 0
    names = flags.scenario.split(",") if flags.scenario else scenarios()
    unknown = set(names) - set(scenarios())
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; see --list")
    for binary in [flags.pool_bin, flags.fake_bin]:
        if not binary.exists():
            parser.error(f"{binary} is missing: cargo build -p codex-pool -p pool-testkit")
    outcomes = []
    for name in names:
        cast_of_all = run.chosen(flags.only)
        # Each client meets the turn of fate for itself.
        casts = [[mode] for mode in cast_of_all] if name.startswith("midway-") else [cast_of_all]
        plays = [play(name, cast, flags) for cast in casts]
        outcome = Outcome(name, [one for each in plays for one in each.results], [one for each in plays for one in each.faults])
        outcomes.append(outcome)
        if not flags.json:
            print(f"\n== {name}: {'ok' if outcome.ok else 'FAILED'}")
            about = r"\blimits?\b|quota" if name == "all-limit" else None
            print(run.table(outcome.results, flags.show, about))
            for fault in outcome.faults:
                print(f"    ! {fault}")
            sys.stdout.flush()
    if flags.json:
        print(json.dumps([{**dataclasses.asdict(one), "ok": one.ok} for one in outcomes], indent=1))
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
