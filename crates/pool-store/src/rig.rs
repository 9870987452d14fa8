//! Where the tests' databases are: each test that walks through [`homes`] runs on both kinds.

use pool_testkit::PgServer;
use tempfile::TempDir;

use crate::database::Location;

/// The home of one database.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) location: Location,
    /// The path, or the URL.
    pub(crate) address: String,
    /// Of what a message says.
    pub(crate) name: &'static str,
    _folder: Option<TempDir>,
}

/// A new file of SQLite, and a new database of PostgreSQL where that can be had.
pub(crate) fn homes() -> impl Iterator<Item = Home> {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("data/proxy.db");
    let file = Home {
        address: path.display().to_string(),
        location: Location::File(path),
        name: "SQLite",
        _folder: Some(folder),
    };
    let server = PgServer::shared().map(|server| {
        let address = server.database();
        Home {
            location: Location::Server(address.parse().expect("an address")),
            address,
            name: "PostgreSQL",
            _folder: None,
        }
    });
    std::iter::once(file).chain(server)
}
