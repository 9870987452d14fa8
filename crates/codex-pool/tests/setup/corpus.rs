//! Hand-made settings, as people have them.

pub struct Case {
    pub name: &'static str,
    pub cli: &'static str,
    /// Below the home folder.
    pub files: &'static [(&'static str, Shape, &'static str)],
    pub works: bool,
    /// What must stand in the files afterwards.
    pub wants: &'static [&'static str],
}

#[derive(Clone, Copy)]
pub enum Shape {
    Plain,
    /// The file lies among dotfiles, and a link leads there.
    Linked,
    /// The link leads nowhere.
    Dangling,
    ReadOnly,
    /// Something is where the new file is to be written first.
    Blocked,
}

use Shape::{Blocked, Dangling, Linked, Plain, ReadOnly};

const CODEX: &str = ".codex/config.toml";
const CLAUDE: &str = ".claude/settings.json";
const GEMINI: &str = ".gemini/settings.json";
const GEMINI_ENV: &str = ".gemini/.env";

const CODEX_BLOCK: &[&str] = &[
    "model_provider = \"codex-pool\"",
    "[model_providers.codex-pool]",
    "base_url = \"http://127.0.0.1:8989/v1\"",
    "experimental_bearer_token = \"pool-made-up_key-1\"",
];
const CLAUDE_ENV: &[&str] = &["\"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:8989\"", "\"ANTHROPIC_API_KEY\": \"\""];
const GEMINI_TYPE: &[&str] = &["\"selectedType\": \"gemini-api-key\"", "GEMINI_API_KEY=pool-made-up_key-1\n"];

const fn works(
    name: &'static str,
    cli: &'static str,
    files: &'static [(&'static str, Shape, &'static str)],
    wants: &'static [&'static str],
) -> Case {
    Case { name, cli, files, works: true, wants }
}

const fn fails(name: &'static str, cli: &'static str, files: &'static [(&'static str, Shape, &'static str)]) -> Case {
    Case { name, cli, files, works: false, wants: &[] }
}

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    works("nothing", "codex", &[], CODEX_BLOCK),
    works("an empty file", "codex", &[(CODEX, Plain, "")], CODEX_BLOCK),
    works("only spaces", "codex", &[(CODEX, Plain, "\n\n")], CODEX_BLOCK),
    works("comments and tables", "codex", &[(CODEX, Plain, COMMENTED)], &[
        "model_provider = \"codex-pool\" # mine, do not touch\n", "# my models\n", "trust_level = \"trusted\"",
        "[model_providers.other]\nname = \"Other\"",
    ]),
    works("lines end as on Windows", "codex", &[(CODEX, Plain, "model = \"gpt\"\r\n[tui]\r\nx = 1\r\n")], &[
        "model_provider = \"codex-pool\"\r\n\r\nmodel = \"gpt\"\r\n", "\r\n[model_providers.codex-pool]\r\n",
    ]),
    works("no end to the last line", "codex", &[(CODEX, Plain, "model = \"gpt\"\n[tui]\nx = 1")], &["x = 1\n\n[model_providers"]),
    works("the block of the README", "codex", &[(CODEX, Plain, README)], &["stream_max_retries = 7", "supports_websockets = true"]),
    works("a block with another credential", "codex", &[(CODEX, Plain, KEYED)], &["# keep me", "[model_providers.codex-pool.http_headers]\nx = \"y\""]),
    works("a header that ends the file", "codex", &[(CODEX, Plain, "[model_providers.codex-pool]")], CODEX_BLOCK),
    works("long strings and arrays", "codex", &[(CODEX, Plain, TRICKY)], &["[model_providers.codex-pool]\nbase_url = \"not a table\"\n'''"]),
    works("keys in quotes and with dots", "codex", &[(CODEX, Plain, "\"model_provider\" = 'x'\nmodel_providers.other.name = \"o\"\n[model_providers.\"codex-pool\"]\n'name' = \"n\"\n")],
        &["\"model_provider\" = \"codex-pool\"", "'name' = \"codex-pool\""]),
    works("a byte order mark", "codex", &[(CODEX, Plain, "\u{feff}model = \"gpt\"\n")], &["\u{feff}model_provider"]),
    works("a link to dotfiles", "codex", &[(CODEX, Linked, "model = \"gpt\"\n")], CODEX_BLOCK),
    works("letters of any script", "codex", &[(CODEX, Plain, "# Łódź ünïcode 池\nmodel = \"gpt\"\n")], &["# Łódź ünïcode 池"]),
    works("an array of tables", "codex", &[(CODEX, Plain, "[[hooks]]\nmodel_provider = \"inside\"\n[[hooks]]\nx = [1,\n 2]\n")], &["model_provider = \"inside\""]),
    fails("an inline table", "codex", &[(CODEX, Plain, "model_providers = { codex-pool = { name = \"x\" } }\n")]),
    fails("an inline block", "codex", &[(CODEX, Plain, "[model_providers]\ncodex-pool = { name = \"x\" }\n")]),
    fails("a block of dotted keys", "codex", &[(CODEX, Plain, "model_providers.codex-pool.name = \"x\"\n")]),
    fails("a string without an end", "codex", &[(CODEX, Plain, "model = \"gpt\nx = 1\n")]),
    fails("an array without an end", "codex", &[(CODEX, Plain, "x = [1,\n")]),
    fails("no TOML", "codex", &[(CODEX, Plain, "hello there\n")]),
    fails("a zero byte", "codex", &[(CODEX, Plain, "model = \"a\0b\"\n")]),
    fails("read-only", "codex", &[(CODEX, ReadOnly, "model = \"gpt\"\n")]),
    fails("it cannot be written", "codex", &[(CODEX, Blocked, "model = \"gpt\"\n")]),
    fails("a link that leads nowhere", "codex", &[(CODEX, Dangling, "")]),

    works("nothing", "claude", &[], CLAUDE_ENV),
    works("an empty file", "claude", &[(CLAUDE, Plain, "")], CLAUDE_ENV),
    works("an empty object", "claude", &[(CLAUDE, Plain, "{}")], CLAUDE_ENV),
    works("an empty object in lines", "claude", &[(CLAUDE, Plain, "{\n}\n")], CLAUDE_ENV),
    works("an empty object with a note", "claude", &[(CLAUDE, Plain, "{ // nothing yet\n}\n")], &["{ // nothing yet\n  \"env\": {"]),
    works("everything of one's own", "claude", &[(CLAUDE, Plain, OWN)], &[
        "\"apiKeyHelper\": \"\"", "\"CLAUDE_CODE_USE_BEDROCK\": \"\"", "\"FOO\": \"bar\"", "\"Bash(ls:*)\"",
    ]),
    works("comments and trailing commas", "claude", &[(CLAUDE, Plain, JSONC)], &["// why this is here", "/* block */", "\"theme\": \"dark\","]),
    works("tabs and Windows lines", "claude", &[(CLAUDE, Plain, "{\r\n\t\"env\": {\r\n\t\t\"A\": \"b\"\r\n\t}\r\n}\r\n")], &["\r\n\t\t\"ANTHROPIC_BASE_URL\""]),
    works("one line", "claude", &[(CLAUDE, Plain, "{\"a\":[1,{\"env\":2}],\"env\":{\"A\":\"}\"}}")], &["\"A\":\"}\", \"ANTHROPIC_BASE_URL\""]),
    works("a comment at the very end", "claude", &[(CLAUDE, Plain, "{\n  \"a\": 1 // one\n  // two\n}\n// three")], &["\"a\": 1, // one\n  // two\n  \"env\""]),
    works("a comment where the line does not break", "claude", &[(CLAUDE, Plain, "{ \"a\": 1 // one\n}")], &["\"a\": 1, // one\n\"env\""]),
    works("quotes in strings", "claude", &[(CLAUDE, Plain, "{\"x\": \"a\\\"}{//\", \"y\": \"\\\\\"}")], CLAUDE_ENV),
    works("an empty env", "claude", &[(CLAUDE, Plain, "{\n    \"env\": {}\n}\n")], &["{\n      \"ANTHROPIC_BASE_URL\""]),
    works("a byte order mark", "claude", &[(CLAUDE, Plain, "\u{feff}{\"a\": 1}")], &["\u{feff}{"]),
    works("a link to dotfiles", "claude", &[(CLAUDE, Linked, OWN)], CLAUDE_ENV),
    fails("env is no object", "claude", &[(CLAUDE, Plain, "{\"env\": null}")]),
    fails("env twice", "claude", &[(CLAUDE, Plain, "{\"env\": {}, \"env\": {}}")]),
    fails("a list", "claude", &[(CLAUDE, Plain, "[]")]),
    fails("a comma too few", "claude", &[(CLAUDE, Plain, "{\"a\": 1 \"b\": 2}")]),
    fails("cut off", "claude", &[(CLAUDE, Plain, "{\"a\": {\"b\": \"c")]),
    fails("two objects", "claude", &[(CLAUDE, Plain, "{} {}")]),
    fails("read-only", "claude", &[(CLAUDE, ReadOnly, "{}")]),

    works("nothing", "gemini", &[], GEMINI_TYPE),
    works("comments", "gemini", &[(GEMINI, Plain, "{\n  // mine\n  \"security\": { \"auth\": { \"selectedType\": \"oauth-personal\" } }\n}\n")],
        &["// mine\n  \"security\": { \"auth\": { \"selectedType\": \"gemini-api-key\" } }"]),
    works("its own variables", "gemini", &[(GEMINI_ENV, Plain, "# mine\nexport GEMINI_API_KEY = \"canary\"\nOTHER=1")],
        &["# mine\nGEMINI_API_KEY=pool-made-up_key-1\nOTHER=1\nGOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8989\n"]),
    works("Windows lines", "gemini", &[(GEMINI_ENV, Plain, "A=1\r\nGEMINI_API_KEY=\r\n")], &["GEMINI_API_KEY=pool-made-up_key-1\r\nGOOGLE"]),
    works("linked variables", "gemini", &[(GEMINI_ENV, Linked, "A=1\n")], GEMINI_TYPE),
    fails("a value of several lines", "gemini", &[(GEMINI_ENV, Plain, "GEMINI_API_KEY=\"a\nb\"\n")]),
    fails("the second file cannot be written, after the first", "gemini", &[(GEMINI, Plain, "{}"), (GEMINI_ENV, Blocked, "A=1\n")]),
    fails("the second file cannot be written", "gemini", &[(GEMINI, Plain, "{}"), (GEMINI_ENV, ReadOnly, "A=1\n")]),
];

const COMMENTED: &str = r#"# my models
model = "gpt-5" # the good one
  model_provider = "openai" # mine, do not touch

[projects."/srv/app"]
trust_level = "trusted"

[model_providers.other]
name = "Other"

# the end
"#;

const README: &str = r#"model_provider = "codex-pool"
chatgpt_base_url = "http://127.0.0.1:8989/backend-api"
[model_providers.codex-pool]
name = "OpenAI via codex-pool proxy"
base_url = "http://127.0.0.1:9/v1"
wire_api = "responses"
requires_openai_auth = true
stream_max_retries = 7
[tui]
notifications = true
"#;

const KEYED: &str = r#"[model_providers.codex-pool] # ours
# keep me
name = "n"
env_key = "MY_KEY"
experimental_bearer_token = """
canary""" # of last year
[model_providers.codex-pool.http_headers]
x = "y"
"#;

const TRICKY: &str = r#"developer_instructions = '''
model_provider = "not a key"
[model_providers.codex-pool]
base_url = "not a table"
'''
x = """a \""" [b] # c"""
list = [
  "[model_providers.codex-pool]", # one
  ["model_provider = 1"],
]
inline = { a = "]", b = [1, 2] }
path = 'C:\dir\'
[t]
y = """""two quotes"""""
"#;

const OWN: &str = r#"{
  "apiKeyHelper": "/opt/canary-helper",
  "env": {
    "FOO": "bar",
    "ANTHROPIC_API_KEY": "canary",
    "CLAUDE_CODE_USE_BEDROCK": "1"
  },
  "permissions": {
    "allow": ["Bash(ls:*)", { "env": { "env": 1 } }]
  }
}
"#;

const JSONC: &str = r#"// why this is here
{
  /* block */
  "env": {
    "A": "b", // first
    // "ANTHROPIC_API_KEY": "commented out",
  },
  "theme": "dark",
}
"#;
