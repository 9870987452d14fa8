//! The door of our own pages: besides credentials it knows sessions, the sign-in link and this machine's own key, and it slows
//! down whoever guesses.
//!
//! None of these opens a provider's route: a browser must not be able to spend anything.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use http::HeaderMap;
use parking_lot::Mutex;
use pool_core::guard::{Guard, Network, Wait};
use pool_core::people::SecretHash;
use pool_core::{Secret, Span, UnixMs};

use crate::people::{ChangeError, random_text};
use crate::sessions::{Sessions, Signed};

/// A sign-in link is used at once or not at all.
const LINK_LIFE: Span = Span::from_mins(15);

/// What changes something by the authority of a cookie carries this header. A form or a link cannot; a script of another page
/// can only after asking us (CORS), and we never allow it.
pub const FROM_OUR_PAGE: &str = "x-pool-page";

/// See the module's page.
#[derive(Debug, Default)]
pub struct Door {
    sessions: Mutex<Sessions>,
    link: Mutex<Option<(SecretHash, UnixMs)>>,
    /// Passwords and codes.
    guesses: Mutex<Guard>,
    /// Credentials that are nobody's. They cannot be guessed; this only keeps the log short and the answer plain.
    strays: Mutex<Guard>,
    /// The key in this machine's key file.
    machine: Option<SecretHash>,
}

impl Door {
    /// With a key for whoever may read this pool's files on this machine: they own the pool.
    pub fn with_machine_key(key: &Secret) -> Self {
        Self { machine: Some(SecretHash::of(key.expose())), ..Self::default() }
    }

    pub fn is_machine_key(&self, presented: &str) -> bool {
        self.machine == Some(SecretHash::of(presented))
    }

    /// Begins a session; the result is its cookie's value.
    pub fn begin(&self, signed: Signed, now: UnixMs) -> Result<Secret, ChangeError> {
        let cookie = random_text::<32>("")?;
        self.sessions.lock().begin(SecretHash::of(cookie.expose()), signed, now);
        Ok(cookie)
    }

    pub fn find(&self, cookie: &str, now: UnixMs) -> Option<(Signed, UnixMs)> {
        self.sessions.lock().find(SecretHash::of(cookie), now)
    }

    /// Has the session not ended? Asking does not count as using it.
    pub fn is_open(&self, cookie: &str, now: UnixMs) -> bool {
        self.sessions.lock().is_open(SecretHash::of(cookie), now)
    }

    pub fn end(&self, cookie: &str) {
        self.sessions.lock().end(SecretHash::of(cookie));
    }

    /// A code that signs the operator in, once and soon. A new one ends the one before.
    pub fn make_link(&self, now: UnixMs) -> Result<Secret, ChangeError> {
        let code = random_text::<32>("")?;
        *self.link.lock() = Some((SecretHash::of(code.expose()), now + LINK_LIFE));
        Ok(code)
    }

    /// Uses the sign-in link up.
    pub fn take_link(&self, from: IpAddr, code: &str, now: UnixMs) -> Result<bool, Wait> {
        let mut link = self.link.lock();
        let right = link.is_some_and(|(hash, end)| hash == SecretHash::of(code) && now < end);
        let taken = self.guess(from, right, now);
        if taken == Ok(true) {
            *link = None;
        }
        taken
    }

    /// A password or a code that was right or not, unless its network has to wait.
    pub fn guess(&self, from: IpAddr, right: bool, now: UnixMs) -> Result<bool, Wait> {
        self.guesses.lock().judge(Network::of(from), right, now)
    }

    /// A credential that opens nothing.
    pub fn stray(&self, from: IpAddr, now: UnixMs) -> Result<(), Wait> {
        self.strays.lock().judge(Network::of(from), false, now).map(|_| ())
    }
}

/// The name of a session's cookie. Under https the browser itself holds it to this host and path.
pub fn cookie_name(secure: bool) -> &'static str {
    if secure { "__Host-pool_session" } else { "pool_session" }
}

/// The session's cookie, if the request has one.
pub fn cookie(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let lines = headers.get_all(http::header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == cookie_name(secure)).then_some(value))
}

/// Where this machine's key stands: beside the database.
pub fn key_file(db_path: &Path) -> PathBuf {
    db_path.with_file_name("operator.key")
}

/// Makes a key for this run and writes it where only this user can read it.
///
/// # Errors
/// What the system says. The server can do without; then the terminal needs the operator's credential.
pub fn write_key(db_path: &Path) -> io::Result<Secret> {
    let key = random_text::<32>("").map_err(io::Error::other)?;
    let path = key_file(db_path);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // A new file, whatever stood there: an old one might be a link, or somebody else's.
    let fresh = path.with_extension(format!("key.{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = writeln!(file, "{}", key.expose()).and_then(|()| fs::rename(&fresh, &path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written.map(|()| key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_sign_in_link_works_once_and_soon() {
        let (door, me) = (Door::default(), address("127.0.0.1"));
        assert_eq!(door.take_link(me, "", NOW), Ok(false));
        let code = door.make_link(NOW).expect("random");
        assert_eq!(door.take_link(me, code.expose(), NOW + LINK_LIFE), Ok(false));
        assert_eq!(door.take_link(me, code.expose(), NOW), Ok(true));
        assert_eq!(door.take_link(me, code.expose(), NOW), Ok(false));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=b; pool_session=one; __Host-pool_session=two".parse().expect("a header"));
        headers.append("cookie", "c=d".parse().expect("a header"));
        assert_eq!((cookie(&headers, false), cookie(&headers, true)), (Some("one"), Some("two")));
        headers.clear();
        assert_eq!(cookie(&headers, false), None);
    }

    #[test]
    fn the_machines_key_is_its_owners_alone_and_new_each_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("data/proxy.db");
        let first = write_key(&database).expect("written");
        fs::set_permissions(key_file(&database), fs::Permissions::from_mode(0o644)).expect("changed");
        let second = write_key(&database).expect("written");
        assert_ne!(first, second);
        let path = key_file(&database);
        assert_eq!(fs::read_to_string(&path).expect("read").trim(), second.expose());
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("listed").count(), 1);
        let door = Door::with_machine_key(&second);
        assert!(door.is_machine_key(second.expose()) && !door.is_machine_key(first.expose()));
        assert!(!Door::default().is_machine_key(""));
    }
}
