#!/usr/bin/env python3
"""Runs the real clients through codex-pool while accounts fail on purpose.

    cargo build -p codex-pool -p pool-testkit
    tests/clients/scenarios.py                         every scenario, every client
    tests/clients/scenarios.py --scenario ok,all-limit --only codex-readme
    tests/clients/scenarios.py --only codex-socket,codex-base-url --scenario ok,sockets-silent
    tests/clients/scenarios.py --list

Each scenario starts its own fake-upstream and its own codex-pool in a temporary folder. In every scenario but `all-limit`
the clients must notice nothing; after it, upstream's books must show no pool credential, no client account id, and no
conversation on two accounts, the pool's ledger must hold what the books hold, turn by turn, and Codex must not have left
its socket. In `midway-*` the account that serves a client fails after its first answer, so the conversation has to move in
the middle of a turn. In `kept`, SDKs use what they had one account keep when another has become the better one.
In `sockets-*` upstream has no sockets, or no longer, and Codex goes over to HTTP. In `all-limit` each
client must show a limit text soon. In `own-*` the clients are a pool user's: in `own-limit` that user's budget is used up, and each
client must tell just that with the right time; in `own-pace` they may make a few requests a minute, and sit the rest out. After `ok` in the same run, the others say what they cost in seconds.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
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
# Limits of the pool user whose clients these are.
OWN = {
    "own-limit": {"budgets": [{"period": "day", "amount": {"tokens": 0}}]},
    "own-pace": {"requests_per_minute": 3},
}
OWN_WORDS = "own limit in this pool"
# How long a client may take to say that there is nothing left.
LIMIT_PATIENCE = 30

# Every answer falls silent after its first words for so long (and for a quarter of it inside an event), while the pool gives a
# sign of life every so many seconds, and Codex, whose patience can be set, waits so long for an event.
LONG_SILENCE = "long-silence"
SILENCE_MS, SIGN_SECONDS, CODEX_PATIENCE_MS = 24000, 2, 10000

FAILURES = ["limit", "expired", "revoked", "overloaded", "close", "reset", "cut_first"]
MIDWAY = ["limit", "revoked", "close"]
# Which handshakes fail, and how: from the start, or once a conversation is under way.
SOCKETS = {
    "sockets-refused": "status=404",
    "sockets-426": "status=426",
    "sockets-broken": "reset",
    "sockets-silent": "silent",
    "sockets-refused-later": "status=404",
    "sockets-silent-later": "silent",
    "sockets-ended-later": "status=404",
}
# What Codex prints when something goes wrong on the way.
CODEX_TROUBLE = re.compile(r"reconnecting|stream (error|disconnected)|unexpected status|falling back", re.IGNORECASE)
SOCKET_CLIENTS = ["codex-socket", "codex-base-url"]
TOKENS = ["input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning"]
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
    if scenario in SOCKETS:
        refuse_sockets(fake, scenario)
    if scenario == "kept":
        for kind in KINDS:
            fake.order("exhaust", account=f"{kind}-1", seconds=modes.KEPT_LIMIT)
    if scenario == "only-last":
        for kind in KINDS:
            for number in range(1, each):
                break_account(fake, f"{kind}-{number}", FAILURES[(number - 1) % len(FAILURES)])


def refuse_sockets(fake: Fake, scenario: str) -> None:
    """Takes the sockets away: at once, or from the second handshake on."""
    if scenario.endswith("-later"):
        fake.order("fault", account="chatgpt-1", target="handshake", fault="fine", times=1)
    if scenario == "sockets-ended-later":
        # Long enough for the pool's limit on the life of a socket, which then ends after the first turn.
        fake.order("fault", fault="paced=250", times=2)
    elif scenario.endswith("-later"):
        # The prewarming and the first turn; then the conversation has to move to an account without sockets.
        fake.order("fault", account="chatgpt-1", fault="fine", times=2)
        fake.order("fault", account="chatgpt-1", fault="limit")
    fake.order("fault", target="handshake", fault=SOCKETS[scenario])


def scenarios() -> list[str]:
    first = [f"first-{failure}" for failure in FAILURES + MORE_FAILURES]
    midway = [f"midway-{failure}" for failure in MIDWAY]
    return ["ok", *first, *midway, *SOCKETS, LONG_SILENCE, "kept", "only-last", "all-limit", *OWN]


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
                POOL_TIMEOUT_KEEP_ALIVE_SECONDS=str(SIGN_SECONDS if scenario == LONG_SILENCE else 15),
                UPSTREAM_WEBSOCKETS=str(not flags.http).lower(),
                POOL_TIMEOUT_SOCKET_LIFE_SECONDS="1" if scenario == "sockets-ended-later" else "3300",
                **dict(exports),
            )
            url = f"http://127.0.0.1:{port}"
            with running([str(flags.pool_bin)], folder, "pool", env, f"{url}/healthz") as pool_log:
                time.sleep(flags.settle)
                spring(fake, scenario, each)
                key = somebody(url, OWN[scenario]) if scenario in OWN else KEY
                fake.order("forbid", text=key)
                setting = modes.Setting(url, run.clients_folder(), modes.credentials(None, key, scenario in OWN))
                if scenario == LONG_SILENCE:
                    setting.codex_patience_ms = CODEX_PATIENCE_MS
                if scenario == "own-pace":
                    setting.sdk_retries = 5

                def turn(mode: modes.Mode) -> run.Result:
                    print(f"{scenario}: {mode.name} …", file=sys.stderr, flush=True)
                    return run.run_mode(mode, setting, flags.timeout)

                # Those who wait can wait together.
                crew = concurrent.futures.ThreadPoolExecutor(8 if scenario == LONG_SILENCE else 1)
                with crew:
                    results = list(crew.map(turn, chosen))
                books = fake.order("books")
                # Overload inside a 200 hits streams only: after a plain answer it is a turn of fate, too.
                may_move = scenario.startswith("midway-") or scenario in {"first-overload_first", *SOCKETS}
                faults = against(books, may_move)
                if scenario == LONG_SILENCE:
                    faults += impatient(books)
                if scenario == "kept":
                    faults += strayed(books)
                if scenario == "all-limit":
                    results = [judged(result, books) for result in results]
                elif scenario == "own-limit":
                    results = [judged_own(result) for result in results]
                    faults += ["an account was asked" for one in books["log"] if one["inference"]]
                else:
                    results = [judged_pace(result) for result in results] if scenario == "own-pace" else results
                    faults += [fault for result in results for fault in seen_by_codex(result, scenario, flags.http)]
                if flags.logs:
                    print(pool_log.read_text(errors="replace"), file=sys.stderr)
            # The pool has written everything by now.
            faults += unlike(folder / "data/proxy.db", books)
    return Outcome(scenario, results, faults)


def somebody(url: str, limits: dict) -> str:
    """The credential of a new pool user with these limits."""
    person = json.dumps({"name": "Mira", "limits": limits}).encode()
    headers = {"content-type": "application/json", "x-pool-page": "1"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/api/people", person, headers), timeout=10) as answer:
        return json.load(answer)["credential"]["secret"]


def judged_pace(result: run.Result) -> run.Result:
    """google-genai tries nothing again by itself: it has to tell the wait."""
    result.ok = result.ok or (result.name == "py-genai" and OWN_WORDS in result.shown)
    return result


def judged_own(result: run.Result) -> run.Result:
    """Whose own budget is used up has to be told so, with the end of the day, and at once."""
    soon = result.exit is not None and result.seconds <= LIMIT_PATIENCE
    told = OWN_WORDS in result.shown and "12:00 AM" in result.shown
    result.ok = soon and told
    return result


def strayed(books: dict) -> list[str]:
    """Calls about what an account keeps belong on the one where it was made: the second, since the first was at its limit."""
    about = re.compile(r"/(files|batches|vector_stores|conversations|cachedContents)\b")
    calls = [one for one in books["log"] if about.search(one["path"]) and one["status"] == 200]
    faults = [] if calls else ["nothing was kept"]
    return faults + [f"{one['path']} on {one['account']}" for one in calls if not one["account"].endswith("-2")]


def seen_by_codex(result: run.Result, scenario: str, http: bool) -> list[str]:
    """What Codex shows of trouble, and whether it left its socket: it does not tell the user, but logs the failed handshake."""
    if not result.name.startswith("codex-"):
        return []
    faults = [f"{result.name} showed: {line}" for line in result.shown.splitlines() if CODEX_TROUBLE.search(line)]
    left = "failed to connect to Responses WebSocket" in result.shown
    if left and not http and scenario not in SOCKETS:
        faults.append(f"{result.name} left its socket")
    if not left and result.name in SOCKET_CLIENTS and scenario in SOCKETS:
        faults.append(f"{result.name} stayed on a socket, where there should have been none")
    return faults


def unlike(ledger: pathlib.Path, books: dict) -> list[str]:
    """Where the pool's ledger and upstream's books differ: every whole answer with usage is one record of the same tokens."""
    columns = ", ".join(TOKENS)
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        rows = database.execute(f"SELECT model, {columns} FROM usage_records WHERE ending = 'complete'").fetchall()
    left = collections.Counter(rows)
    faults = []
    for one in books["log"]:
        if not (one["inference"] and one["tokens"] and one["ended"] == "whole"):
            continue
        row = (one["model"], *(one["tokens"][name] for name in TOKENS))
        # A chat stream tells its usage only if it is asked to.
        untold = (one["model"], *(None for _ in TOKENS)) if one["path"].endswith("/chat/completions") else row
        found = next((candidate for candidate in (row, untold) if left[candidate]), None)
        if found:
            left[found] -= 1
        else:
            faults.append(f"only upstream has {row}")
    return faults + [f"only the ledger has {row}" for row in left.elements() if row[1] is not None]


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
    parser.add_argument("--http", action="store_true", help="the pool declines WebSockets")
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
        everybody = run.chosen(flags.only, modes.KEPT if name == "kept" else modes.MODES)
        cast_of_all = [mode for mode in everybody if name not in SOCKETS or mode.name in SOCKET_CLIENTS]
        # Each client meets the turn of fate for itself.
        apart = name.startswith("midway-") or name.endswith("-later") or name == "kept"
        casts = [[mode] for mode in cast_of_all] if apart else [cast_of_all]
        plays = [play(name, cast, flags) for cast in casts]
        outcome = Outcome(name, [one for each in plays for one in each.results], [one for each in plays for one in each.faults])
        outcomes.append(outcome)
        compared = outcomes[0].scenario == "ok" and len(outcomes) > 1
        usual = {result.name: result.seconds for result in outcomes[0].results} if compared else {}
        if not flags.json:
            print(f"\n== {name}: {'ok' if outcome.ok else 'FAILED'}")
            about = r"\blimits?\b|quota" if name in {"all-limit", "own-limit"} else None
            print(run.table(outcome.results, flags.show, about))
            for result in (result for result in outcome.results if result.name in usual):
                print(f"    {result.name}: {result.seconds - usual[result.name]:+.1f} s compared with ok")
            for fault in outcome.faults:
                print(f"    ! {fault}")
            sys.stdout.flush()
    if flags.json:
        print(json.dumps([{**dataclasses.asdict(one), "ok": one.ok} for one in outcomes], indent=1))
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
