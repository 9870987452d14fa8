//! A PostgreSQL server of the tests' own: Debian's programs, a temporary folder, a socket in it, gone with the process.
//!
//! One server a test process, one database a test. Where the programs are absent, a test that asks is skipped loudly; with `CI=true`
//! that fails instead.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A server that runs until this process ends.
#[derive(Debug)]
pub struct PgServer {
    /// With the server's socket and data.
    folder: PathBuf,
    programs: PathBuf,
    databases: AtomicU32,
    /// The shell that watches over the server: it ends it when this process is gone, however that went.
    _keeper: Mutex<Child>,
}

/// Ends the server and removes its folder as soon as nobody holds the other end of its input.
const KEEPER: &str = r#"read _; kill -INT "$(head -n 1 "$1/data/postmaster.pid")" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e "$1/data/postmaster.pid" ] || break; sleep 0.5; done
rm -rf "$1""#;

impl PgServer {
    /// The server of this process; the first who asks starts it. `None`: it cannot be had here, and that was said.
    pub fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<PgServer>> = OnceLock::new();
        let start = || match Self::start() {
            Ok(server) => Some(server),
            Err(error) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => {
                panic!("PostgreSQL cannot be started, and CI=true forbids to skip its tests: {error}")
            }
            Err(error) => {
                eprintln!("SKIPPED on PostgreSQL: {error}; install it (Debian: apt-get install postgresql)");
                None
            }
        };
        SERVER.get_or_init(start).as_ref()
    }

    /// An address of a new and empty database.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(self.programs.join("createdb"))
            .args(["--host", &self.folder.display().to_string(), "--username", "tests", &name])
            .output()
            .expect("createdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let host = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://tests:canary-of-a-password@{host}/{name}")
    }

    /// The database of a pool in this folder, the same each time, if `CODEX_POOL_TEST_DATABASE=postgresql` asks for tests on a
    /// server. `None`: the pool keeps its file.
    pub fn database_of(folder: &Path) -> Option<String> {
        if std::env::var_os("CODEX_POOL_TEST_DATABASE").is_none_or(|asked| asked != "postgresql") {
            return None;
        }
        let note = folder.join("database");
        if let Ok(address) = std::fs::read_to_string(&note) {
            return Some(address);
        }
        let address = Self::shared()?.database();
        std::fs::write(note, &address).expect("noted");
        Some(address)
    }

    fn start() -> io::Result<Self> {
        let programs = programs().ok_or_else(|| io::Error::other("no PostgreSQL in PATH or /usr/lib/postgresql"))?;
        // Not below TMPDIR, which may be too long for a socket's name.
        let temporary = tempfile::Builder::new().prefix("pg-").tempdir_in("/tmp")?;
        let folder = temporary.path().to_owned();
        // It refuses to run as root, so then it is somebody else who must get in.
        let user = if is_root()? { Some("postgres") } else { None };
        if let Some(user) = user {
            checked(&Command::new("chown").arg(user).arg(&folder).output()?)?;
        }
        // A language whose order of letters is not that of their bytes: what relies on that is to be found.
        let data = folder.join("data").display().to_string();
        let language = ["--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8", "--encoding=UTF8"];
        let init = ["--no-sync", "--auth=trust", "--username=tests", "--pgdata", &data];
        checked(&as_user(user, &programs.join("initdb")).args(init).args(language).current_dir(&folder).output()?)?;
        let folder = temporary.keep();
        let keeper = Command::new("sh").args(["-c", KEEPER, "keeper"]).arg(&folder).stdin(Stdio::piped()).spawn()?;
        let mut server = as_user(user, &programs.join("postgres"));
        server.args(["-D", &data, "-k"]).arg(&folder).args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        server.args(["-c", "max_connections=200", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"]);
        let log = std::fs::File::create(folder.join("log"))?;
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir(&folder).spawn()?;
        let server = Self { folder, programs, databases: AtomicU32::new(0), _keeper: Mutex::new(keeper) };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> io::Result<()> {
        let begun = Instant::now();
        let ready = || {
            let folder = self.folder.display().to_string();
            let asked = Command::new(self.programs.join("pg_isready")).args(["-q", "-h", &folder]).status();
            asked.is_ok_and(|status| status.success())
        };
        while !ready() {
            if begun.elapsed() > Duration::from_mins(1) {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("the server does not start: {log}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn as_user(user: Option<&str>, program: &Path) -> Command {
    let Some(user) = user else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups"]).arg(program);
    command
}

fn is_root() -> io::Result<bool> {
    Ok(checked(&Command::new("id").arg("-u").output()?)?.trim() == "0")
}

/// Where `initdb` and `postgres` are: Debian keeps them out of `PATH`, a folder for each version.
fn programs() -> Option<PathBuf> {
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let of_debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = of_debian.map(|version| version.path().join("bin")).collect();
    versions.sort();
    let has = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    versions.into_iter().rev().chain(std::env::split_paths(&in_path)).find(has)
}

fn checked(output: &Output) -> io::Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let _ = io::stderr().write_all(&output.stdout);
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}
