//! What a client needs in its own files to use a pool, and how a file is edited without touching the rest of it.
//!
//! Each provider's folder says it as data ([`SetUp`]); three readers carry it out: [`edit`] here, and the same rules in awk and in
//! PowerShell in the set-up scripts of `pool-server/src/setup/`. They must give the same bytes
//! (`crates/codex-pool/tests/setup.rs` compares them).

mod env;
mod json;
mod toml;

/// How a provider's own command-line client is pointed at a pool.
#[derive(Clone, Copy, Debug)]
pub struct SetUp {
    /// The client, as people write it: `Codex CLI`.
    pub client: &'static str,
    /// The variable that moves the client's folder.
    pub folder_env: &'static str,
    /// Where that folder is without it, below the home folder.
    pub folder: &'static str,
    pub files: &'static [File],
    /// Variables that would win over the files, so that the pool would be passed by or be shown somebody else's credential.
    pub rivals: &'static [&'static str],
    /// What one should know afterwards.
    pub note: &'static str,
}

/// A file of the client's, by its path below the folder.
#[derive(Clone, Copy, Debug)]
pub struct File {
    pub path: &'static str,
    pub format: Format,
    pub edits: &'static [Edit],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Toml,
    /// With comments or without.
    Json,
    /// `NAME=value`, a line each.
    Env,
}

/// One value. A path is keys with dots between; a value is as the file writes it, where `$url` is the pool's address and `$key`
/// the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Set(&'static str, &'static str),
    /// Makes it `""`, if it is there: it would take precedence.
    Blank(&'static str),
    /// Takes it out, if it is there.
    Drop(&'static str),
}

/// An edit with its value filled in.
type Filled<'a> = (Action, Vec<&'a str>, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Set,
    Blank,
    Drop,
}

/// Why a file cannot be edited. Says where, never what stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Uneditable(pub(crate) String);

impl Format {
    /// As the scripts call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Json => "json",
            Self::Env => "env",
        }
    }
}

impl File {
    /// The edits for the scripts, a line each: `set PATH VALUE`, `blank PATH`, `drop PATH`.
    pub fn lines(&self) -> String {
        self.edits.iter().flat_map(|edit| [edit.line(), "\n".to_owned()]).collect()
    }
}

impl Edit {
    fn line(self) -> String {
        match self {
            Self::Set(path, value) => format!("set {path} {value}"),
            Self::Blank(path) => format!("blank {path}"),
            Self::Drop(path) => format!("drop {path}"),
        }
    }

    fn filled(&self, url: &str, key: &str) -> Filled<'static> {
        let (action, path, value) = match self {
            Self::Set(path, value) => (Action::Set, path, value.replace("$url", url).replace("$key", key)),
            Self::Blank(path) => (Action::Blank, path, "\"\"".to_owned()),
            Self::Drop(path) => (Action::Drop, path, String::new()),
        };
        (action, path.split('.').collect(), value)
    }
}

/// Can this stand in a file of any format, and in a script, as it is? So an address needs no escaping anywhere.
pub fn is_plain_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:/[]~".contains(&byte);
        rest.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'[')
            && rest.bytes().all(plain)
            && !rest.ends_with('/')
    })
}

/// The same of a credential.
pub fn is_plain_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The file's new text. An absent file is an empty one. What needs no change stays as it is, to the byte.
pub fn edit(file: &File, text: &str, url: &str, key: &str) -> Result<String, Uneditable> {
    if text.contains('\0') {
        return fault("it is not a text");
    }
    let edits: Vec<Filled<'_>> = file.edits.iter().map(|edit| edit.filled(url, key)).collect();
    // A byte order mark stays where it is.
    let (mark, text) = if text.starts_with('\u{feff}') { text.split_at('\u{feff}'.len_utf8()) } else { ("", text) };
    let edited = match file.format {
        Format::Toml => toml::edit(text, &edits),
        Format::Json => json::edit(text, &edits),
        Format::Env => env::edit(text, &edits),
    }?;
    Ok(format!("{mark}{edited}"))
}

fn fault<T>(what: impl Into<String>) -> Result<T, Uneditable> {
    Err(Uneditable(what.into()))
}

/// How the text ends its lines.
fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_need_escaping_is_no_address() {
        for (url, plain) in [
            ("http://127.0.0.1:8989", true),
            ("http://[::1]:8989", true),
            ("https://pool.example/base", true),
            ("https://pool.example/", false),
            ("http://", false),
            ("http:///x", false),
            ("ftp://pool.example", false),
            ("http://a b", false),
            ("http://$(id)", false),
            ("http://a'b", false),
            ("http://a\"b", false),
            ("http://a`b", false),
            ("http://a\nb", false),
            ("http://a\\b", false),
        ] {
            assert_eq!(is_plain_url(url), plain, "{url}");
        }
        assert!(is_plain_key("pool-aZ_0") && !is_plain_key("") && !is_plain_key("a b") && !is_plain_key("a$b"));
    }
}
