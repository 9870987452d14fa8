"""The ways in which people point a client at codex-pool: what each needs in its home, its environment and its command.

Every mode gets an empty home. Nothing of the user's own configuration is read, nothing leaves the machine (unless asked to).
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import pathlib
import time
from typing import Callable

PROMPT = "Run the shell command `echo hi` with your tool, then say what it printed."


@dataclasses.dataclass
class Setting:
    """Where a client is sent, and with what."""

    url: str
    clients: pathlib.Path
    # What a client shows to the pool, by sort of credential; see `credentials`.
    secrets: dict[str, str]
    # The pool is the fake itself: clients bring the accounts' own credentials.
    direct: bool = False
    # How long Codex waits for an event; this is what it does by itself.
    codex_patience_ms: int = 300_000
    # How often SDKs try again by themselves.
    sdk_retries: int = 0


@dataclasses.dataclass
class Prepared:
    """A command (in which `{home}` stands for its home), and what must be in that home."""

    command: list[str]
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    links: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Mode:
    name: str
    provider: str
    prepare: Callable[[Setting], Prepared]


def jwt(claims: dict) -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header = part(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    return ".".join([header, part(json.dumps(claims).encode()), part(b"made-up-signature")])


def chatgpt_login(access: str | None = None) -> str:
    """An auth.json that Codex CLI takes for a ChatGPT login, as a pool hands them out: long-lived and made up. `access`: a pool
    credential as its access token."""
    claims = {
        "email": "user@example.invalid",
        "exp": int(time.time()) + 10 * 365 * 86400,
        "https://api.openai.com/auth": {
            "chatgpt_account_id": "client-side-account",
            "chatgpt_plan_type": "pro",
            "chatgpt_user_id": "client-side-user",
        },
    }
    tokens = {
        "id_token": jwt(claims),
        "access_token": access or jwt(claims),
        "refresh_token": "client-side-refresh-token",
        "account_id": "client-side-account",
    }
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": now})


def credentials(pool: pathlib.Path | None, key: str, person: bool = False) -> dict[str, str]:
    """What clients show: made-up logins and `key`, or the accounts' own from a folder of the fake's credential files. `person`:
    `key` is a pool user's, and counts."""
    if pool is None:
        names = ["openai_key", "anthropic_key", "claude_token", "gemini_key", "google_token"]
        return {"chatgpt": chatgpt_login(key if person else None), **dict.fromkeys(names, key)}

    def read(name: str) -> dict:
        return json.loads((pool / name).read_text())

    return {
        "chatgpt": (pool / "codex/chatgpt-1.json").read_text(),
        "openai_key": read("codex/openai-key-1.json")["OPENAI_API_KEY"],
        "anthropic_key": read("claude/anthropic-key-1.json")["api_key"],
        "claude_token": read("claude/claude-1.json")["claudeAiOauth"]["accessToken"],
        "gemini_key": read("gemini/gemini-key-1.json")["api_key"],
        "google_token": read("gemini/gemini-1.json")["access_token"],
    }


# Codex CLI

README_CONFIG = """\
model_provider = "codex-pool"
chatgpt_base_url = "{url}/backend-api"
[model_providers.codex-pool]
name = "OpenAI via codex-pool proxy"
base_url = "{url}/v1"
wire_api = "responses"
requires_openai_auth = true
stream_idle_timeout_ms = {patience_ms}
[analytics]
enabled = false
"""

SOCKET_CONFIG = README_CONFIG.replace("requires_openai_auth = true", "requires_openai_auth = true\nsupports_websockets = true")

BASE_URL_CONFIG = """\
openai_base_url = "{url}/v1"
chatgpt_base_url = "{url}/backend-api"
[analytics]
enabled = false
"""


def codex(config: str, auth: Callable[[Setting], str]) -> Callable[[Setting], Prepared]:
    def prepare(setting: Setting) -> Prepared:
        command = [str(setting.clients / "node_modules/.bin/codex"), "exec", "--skip-git-repo-check"]
        return Prepared(
            [*command, "--dangerously-bypass-approvals-and-sandbox", PROMPT],
            files={".codex/config.toml": config.format(url=setting.url, patience_ms=setting.codex_patience_ms), ".codex/auth.json": auth(setting)},
        )

    return prepare


def codex_login(setting: Setting) -> str:
    return setting.secrets["chatgpt"]


def codex_key(setting: Setting) -> str:
    return json.dumps({"OPENAI_API_KEY": setting.secrets["openai_key"]})


# Claude Code


def claude(variable: str, secret: str) -> Callable[[Setting], Prepared]:
    def prepare(setting: Setting) -> Prepared:
        name = variable
        if setting.direct and variable == "ANTHROPIC_AUTH_TOKEN":
            # Anthropic itself takes a login's token only with its beta header, which this variable brings along.
            name = "CLAUDE_CODE_OAUTH_TOKEN"
        env = {
            "ANTHROPIC_BASE_URL": setting.url,
            name: setting.secrets[secret],
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
        }
        command = [str(setting.clients / "node_modules/.bin/claude"), "-p", PROMPT, "--allowedTools", "Bash"]
        return Prepared(command, env)

    return prepare


# Gemini CLI


def gemini(env: Callable[[Setting], dict[str, str]], auth_type: str) -> Callable[[Setting], Prepared]:
    def prepare(setting: Setting) -> Prepared:
        settings = {
            "security": {"auth": {"selectedType": auth_type}, "folderTrust": {"enabled": False}},
            "privacy": {"usageStatisticsEnabled": False},
            "general": {"enableAutoUpdate": False, "disableAutoUpdate": True},
            "telemetry": {"enabled": False},
        }
        command = [str(setting.clients / "node_modules/.bin/gemini"), "--approval-mode", "yolo", "-p", PROMPT]
        return Prepared(command, env(setting), {".gemini/settings.json": json.dumps(settings)})

    return prepare


def gemini_key_env(setting: Setting) -> dict[str, str]:
    return {"GOOGLE_GEMINI_BASE_URL": setting.url, "GEMINI_API_KEY": setting.secrets["gemini_key"]}


def gemini_gca_env(setting: Setting) -> dict[str, str]:
    return {
        "CODE_ASSIST_ENDPOINT": setting.url,
        "GOOGLE_GENAI_USE_GCA": "true",
        "GOOGLE_CLOUD_ACCESS_TOKEN": setting.secrets["google_token"],
    }


# SDKs


def sdk(script: str, secret: str) -> Callable[[Setting], Prepared]:
    def prepare(setting: Setting) -> Prepared:
        source = pathlib.Path(__file__).resolve().parent / "sdk" / script
        env = {
            "POOL_URL": setting.url,
            "POOL_KEY": setting.secrets[secret],
            "POOL_WAIT": str(KEPT_WAIT),
            "POOL_RETRIES": str(setting.sdk_retries),
        }
        if script.endswith(".py"):
            return Prepared([str(setting.clients / "py/bin/python"), str(source)], env)
        # Node looks for packages beside the script.
        return Prepared(
            ["node", f"{{home}}/sdk/{script}"],
            env,
            files={f"sdk/{script}": source.read_text()},
            links={"sdk/node_modules": setting.clients / "node_modules"},
        )

    return prepare


MODES = [
    Mode("codex-readme", "codex", codex(README_CONFIG, codex_login)),
    Mode("codex-socket", "codex", codex(SOCKET_CONFIG, codex_login)),
    Mode("codex-base-url", "codex", codex(BASE_URL_CONFIG, codex_login)),
    Mode("codex-api-key", "codex", codex(README_CONFIG, codex_key)),
    Mode("claude-api-key", "claude", claude("ANTHROPIC_API_KEY", "anthropic_key")),
    Mode("claude-auth-token", "claude", claude("ANTHROPIC_AUTH_TOKEN", "claude_token")),
    Mode("gemini-api-key", "gemini", gemini(gemini_key_env, "gemini-api-key")),
    Mode("gemini-gca", "gemini", gemini(gemini_gca_env, "oauth-personal")),
    Mode("py-openai", "codex", sdk("openai_py.py", "openai_key")),
    Mode("py-anthropic", "claude", sdk("anthropic_py.py", "anthropic_key")),
    Mode("py-genai", "gemini", sdk("genai_py.py", "gemini_key")),
    Mode("js-openai", "codex", sdk("openai_js.mjs", "openai_key")),
    Mode("js-anthropic", "claude", sdk("anthropic_js.mjs", "anthropic_key")),
]


# What SDKs have an account keep; for a scenario of its own.
KEPT = [
    Mode("py-openai-kept", "codex", sdk("kept_openai.py", "openai_key")),
    Mode("py-anthropic-kept", "claude", sdk("kept_anthropic.py", "anthropic_key")),
    Mode("py-genai-kept", "gemini", sdk("kept_genai.py", "gemini_key")),
]
# How long these wait between making things and using them, in seconds, and how long one account is at its limit from the start.
KEPT_WAIT = 24
KEPT_LIMIT = 20


def environment(home: pathlib.Path, prepared: Prepared, online: bool) -> dict[str, str]:
    """A bare environment with an empty home; offline, whatever is not loopback meets a closed door at once."""
    env = {
        "HOME": str(home),
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "CI": "1",
    }
    if not online:
        closed = "http://127.0.0.1:9"
        for name in ["HTTPS_PROXY", "https_proxy"]:
            env[name] = closed
        for name in ["NO_PROXY", "no_proxy"]:
            env[name] = "127.0.0.1,localhost"
    return {**env, **prepared.env}
