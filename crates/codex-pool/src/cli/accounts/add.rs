//! `accounts add`: a copy of a credential file, or a file around an API key, into the pool folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pool_core::Account;
use pool_providers::Registry;
use pool_providers::provider::{FileContent, Provider};
use pool_server::pool::files::{self, keys};

use super::folder::{self, Entry};
use super::{AddArguments, now};
use crate::cli::{Output, terminal};
use crate::problem::{Failure, Problem};

pub(super) fn run(dir: &Path, registry: &Registry, arguments: AddArguments) -> Result<Output, Failure> {
    let AddArguments { file, api_key, provider, name, replace } = arguments;
    let place = Place { dir, name: name.as_deref(), replace, again: false };
    match (file, api_key) {
        (Some(file), _) => add_file(&place, registry, &file, provider.as_deref()),
        (None, Some(provider)) => {
            let provider = key_provider(registry, &provider)?;
            let key = terminal::read_secret(&format!("API key of {}", provider.title()))?;
            let bytes = provider.api_key_file(&key).map_err(|fault| refused("that key cannot be added", &fault))?;
            let added = import(&place, registry, provider, bytes, "api-key")?;
            Ok(Output::fine(added.told(registry)))
        }
        (None, None) => {
            Err(Failure::wrong_use(Problem::new("nothing to add", "", "Name a file, or --api-key PROVIDER")))
        }
    }
}

/// Where an account is to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) dir: &'a Path,
    pub(super) name: Option<&'a str>,
    /// An account that is in the way may be archived.
    pub(super) replace: bool,
    /// Somebody signs in anew: an account of that name whose files do not tell their owner is taken to be the same.
    pub(super) again: bool,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Added {
    pub(super) account: Account,
    /// The account was known before: this is a newer login of it.
    pub(super) renewed: bool,
    /// Its login can be renewed, so nobody else may do that.
    pub(super) renews: bool,
    /// Another account was in the way and lies here now.
    pub(super) archived: Option<PathBuf>,
    pub(super) warning: Option<String>,
}

impl Added {
    pub(super) fn told(&self, registry: &Registry) -> String {
        let Account { name, file, .. } = &self.account;
        let verb = if self.renewed { "Renewed" } else { "Added" };
        let mut out = format!("{verb} {name}: {} ({file}).\n", folder::describe(&self.account, registry));
        if let Some(path) = &self.archived {
            let _ = writeln!(out, "The account that was there lies in {}.", path.display());
        }
        if let Some(warning) = &self.warning {
            let _ = writeln!(out, "Note: {warning}.");
        }
        out
    }
}

/// Copies a credential file into the pool.
pub(super) fn add_file(
    place: &Place<'_>,
    registry: &Registry,
    file: &Path,
    provider: Option<&str>,
) -> Result<Output, Failure> {
    let bytes = files::read_secret(file).map_err(|error| {
        let what = format!("cannot read {}", file.display());
        Problem::new(what, error.to_string(), "Name the credential file, such as ~/.codex/auth.json")
    })?;
    let provider = match provider {
        Some(name) => named(registry, name)?,
        None => detect(registry, file, &bytes)?,
    };
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let added = import(place, registry, provider, bytes, default_name(stem))?;
    let mut out = added.told(registry);
    if added.renews {
        let _ = write!(
            out,
            "\nWarning: two programs must not renew one login, or they log each other out. {title} still has its own copy of this \
             one ({}).\nPoint it at the pool and use it no other way, or give the pool a login of its own:\n  \
             codex-pool accounts login {} --name {}\n",
            file.display(),
            provider.id(),
            added.account.file.rsplit('/').next().unwrap_or_default().trim_end_matches(".json"),
            title = provider.title(),
        );
    }
    Ok(Output::fine(out))
}

pub(super) fn named<'a>(registry: &'a Registry, name: &str) -> Result<&'a dyn Provider, Failure> {
    registry.named(&name.to_ascii_lowercase()).ok_or_else(|| {
        // The name is not repeated: it may be a key that was put in the wrong place.
        Failure::wrong_use(Problem::new("that is no provider", "", format!("Name one of: {}", all(registry))))
    })
}

fn key_provider<'a>(registry: &'a Registry, name: &str) -> Result<&'a dyn Provider, Failure> {
    registry.named(&name.to_ascii_lowercase()).ok_or_else(|| {
        let why = "the key itself is asked for, or read from standard input: arguments can be read by other users";
        let mend = format!("Say whose key it is, as in: codex-pool accounts add --api-key {}", first(registry));
        let mend = format!("{mend}\nThe providers are: {}", all(registry));
        Failure::wrong_use(Problem::new("--api-key takes the name of a provider", why, mend))
    })
}

fn all(registry: &Registry) -> String {
    registry.iter().map(|provider| provider.id().0).collect::<Vec<_>>().join(", ")
}

fn first(registry: &Registry) -> &'static str {
    registry.iter().next().map_or("PROVIDER", |provider| provider.id().0)
}

/// Whose file is it? The provider that can read it; if several can, the one that its path speaks of.
fn detect<'a>(registry: &'a Registry, file: &Path, bytes: &[u8]) -> Result<&'a dyn Provider, Failure> {
    let mut faults = String::new();
    let mut readers: Vec<&dyn Provider> = Vec::new();
    for provider in registry.iter() {
        match provider.read_file(&format!("{}/new.json", provider.id()), bytes) {
            Ok(_) => readers.push(provider),
            Err(fault) => {
                let _ = writeln!(faults, "as a file of {}: {fault}", provider.title());
            }
        }
    }
    let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let speaks_of = |provider: &&&dyn Provider| {
        let id = provider.id().0;
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        folder.trim_start_matches('.') == id
            || name.starts_with(&format!("{id}_"))
            || name.starts_with(&format!("{id}."))
    };
    match readers.as_slice() {
        [] => Err(Problem::new(
            format!("{} is no credential file that the pool can use", file.display()),
            faults.trim_end(),
            "Sign in with the provider's own program and name the file that it writes",
        )
        .into()),
        [one] => Ok(*one),
        several => several.iter().find(speaks_of).copied().ok_or_else(|| {
            let ids: Vec<_> = several.iter().map(|provider| provider.id().0).collect();
            Failure::wrong_use(Problem::new(
                format!("cannot tell whose file {} is", file.display()),
                format!("it could be one of: {}", ids.join(", ")),
                format!("Say it: --provider {}", ids[0]),
            ))
        }),
    }
}

/// The programs' own file names say nothing of the account.
fn default_name(stem: &str) -> &str {
    let generic = ["auth", "credentials", ".credentials", "oauth_creds", "creds", ""].contains(&stem);
    if generic { "main" } else { stem }
}

/// Writes a provider's file into the pool, under the name asked for or one like `fallback`.
pub(super) fn import(
    place: &Place<'_>,
    registry: &Registry,
    provider: &dyn Provider,
    bytes: Vec<u8>,
    fallback: &str,
) -> Result<Added, Failure> {
    let entries = folder::read(place.dir, registry)?;
    let id = provider.id();
    let read = |rel: &str, bytes: &[u8]| {
        provider.read_file(rel, bytes).map_err(|fault| refused("that cannot be added", &fault))
    };
    let new = read(&format!("{id}/new.json"), &bytes)?;
    // Without claims the file's name is its identity, so it can be nobody else's.
    let same = new.identity.is_some().then(|| same_account(&entries, provider, &new)).flatten();
    let name = match (place.name, same) {
        (Some(name), _) => checked(name)?,
        (None, Some(entry)) => return renew(place.dir, entry, provider, bytes, new),
        (None, None) => free_name(&entries, place.dir, provider, checked(fallback)?),
    };
    let rel = format!("{id}/{name}.json");
    if let Some(entry) = same.filter(|entry| entry.file.rel != rel && !goes_by(entry, &name)) {
        return Err(duplicate(entry, provider).into());
    }
    if let Some(entry) = same {
        return renew(place.dir, entry, provider, bytes, new);
    }
    if let Some(entry) =
        entries.iter().find(|entry| entry.file.rel != rel && has_key_of(entry, provider, &new)).filter(|_| !place.again)
    {
        return Err(known_key(entry).into());
    }
    let here = |entry: &&Entry| {
        entry.file.provider == Some(id)
            && (entry.file.rel == rel || goes_by(entry, &name))
            && is_nameless(entry, provider)
    };
    if let Some(entry) = entries.iter().find(here).filter(|_| place.again && new.identity.is_none()) {
        return renew(place.dir, entry, provider, bytes, new);
    }
    let path = place.dir.join(&rel);
    let archived = if path.symlink_metadata().is_ok() { Some(make_way(place, &entries, &rel)?) } else { None };
    for folder in [place.dir, &place.dir.join(id.0)] {
        files::ensure_private_dir(folder).map_err(|error| {
            let what = format!("cannot make the folder {}", folder.display());
            Problem::new(what, error.to_string(), "Make it writable, or name another: --pool-dir FOLDER")
        })?;
    }
    files::write_new(&path, &bytes).map_err(|error| Problem::new(error.to_string(), "", ""))?;
    let content = read(&rel, &bytes)?;
    let account = content.account(&rel, provider);
    let renews = content.credentials.refresh.is_some();
    Ok(Added { account, renewed: false, renews, archived, warning: content.warning })
}

/// An account that is known gets its newer login, and keeps what was set for it.
fn renew(
    pool_dir: &Path,
    entry: &Entry,
    provider: &dyn Provider,
    bytes: Vec<u8>,
    new: FileContent,
) -> Result<Added, Failure> {
    let rel = &entry.file.rel;
    let mut content = new;
    let change = |old: &[u8]| {
        let bytes = keys::carried_over(old, bytes);
        if let Ok(read) = provider.read_file(rel, &bytes) {
            content = read;
        }
        Ok(bytes)
    };
    files::edit(pool_dir, &entry.file.path, change).map_err(|error| {
        Problem::new(format!("cannot renew {rel}"), error.to_string(), "Make it readable and writable")
    })?;
    let account = content.account(rel, provider);
    let renews = content.credentials.refresh.is_some();
    Ok(Added { account, renewed: true, renews, archived: None, warning: content.warning })
}

/// Archives what stands at `rel`, if that was allowed.
fn make_way(place: &Place<'_>, entries: &[Entry], rel: &str) -> Result<PathBuf, Failure> {
    if !place.replace {
        let there = entries.iter().find(|entry| entry.file.rel == rel).and_then(|entry| entry.account.as_ref().ok());
        let what = match there {
            Some(found) => {
                let email = found.account.email.clone().map(|email| format!(" ({email})")).unwrap_or_default();
                format!("{rel} is another account already: {}{email}", found.account.id)
            }
            None => format!("{rel} is there already"),
        };
        let mend = "Choose another name: --name NAME\nOr archive the one that is there: --replace";
        return Err(Failure::wrong_use(Problem::new(what, "", mend)));
    }
    let failed = |error: std::io::Error| Problem::new(format!("cannot archive {rel}"), error.to_string(), "");
    Ok(files::archive(place.dir, rel, now()).map_err(failed)?)
}

fn same_account<'a>(entries: &'a [Entry], provider: &dyn Provider, new: &FileContent) -> Option<&'a Entry> {
    let id = new.identity("").account_id(provider.id());
    entries.iter().find(|entry| entry.account.as_ref().is_ok_and(|found| found.account.id == id))
}

/// Does the file not tell whose account it is? Then its name is what makes it the same.
fn is_nameless(entry: &Entry, provider: &dyn Provider) -> bool {
    let by_file = pool_core::account::Identity::File(entry.file.rel.clone()).account_id(provider.id());
    entry.account.as_ref().is_ok_and(|found| found.account.id == by_file)
}

fn goes_by(entry: &Entry, name: &str) -> bool {
    entry.account.as_ref().is_ok_and(|found| found.account.name == name)
}

fn duplicate(entry: &Entry, provider: &dyn Provider) -> Problem {
    let name = entry.account.as_ref().map_or(entry.file.rel.as_str(), |found| found.account.name.as_str());
    Problem::new(
        format!("that is the same account as {name} ({})", entry.file.rel),
        format!("two files with one login of {} would log each other out", provider.title()),
        "To renew that account's login, leave out --name",
    )
}

fn has_key_of(entry: &Entry, provider: &dyn Provider, new: &FileContent) -> bool {
    let holds = |found: &folder::Found| found.holds(&new.credentials.access);
    entry.file.provider == Some(provider.id()) && entry.account.as_ref().is_ok_and(holds)
}

fn known_key(entry: &Entry) -> Problem {
    let rel = &entry.file.rel;
    Problem::new(
        format!("the pool has this key or login already, in {rel}"),
        "two files with the same one are one account with one quota",
        format!("To give it another name, set \"name\" in {rel}"),
    )
}

/// A name that is safe as a file's.
fn checked(name: &str) -> Result<String, Failure> {
    let name = name.strip_suffix(".json").unwrap_or(name);
    if files::check_name(&format!("{name}.json")).is_ok() && !name.starts_with('.') && !name.is_empty() {
        return Ok(name.to_owned());
    }
    let why = "a name has letters, digits, `.`, `_` and `-` only, no `.` at its beginning, and at most 59 of them";
    let what = format!("{} cannot be an account's name", name.escape_debug());
    Err(Failure::wrong_use(Problem::new(what, why, "Give it another: --name NAME")))
}

/// `wanted`, or with a number if another account has it.
fn free_name(entries: &[Entry], dir: &Path, provider: &dyn Provider, wanted: String) -> String {
    let taken = |name: &str| {
        let at = dir.join(provider.id().0).join(format!("{name}.json"));
        at.symlink_metadata().is_ok() || entries.iter().any(|entry| goes_by(entry, name))
    };
    let numbered = (2..10_000).map(|number| format!("{wanted}-{number}"));
    let found = std::iter::once(wanted.clone()).chain(numbered).find(|name| !taken(name));
    found.unwrap_or(wanted)
}

fn refused(what: &str, fault: &pool_providers::provider::FileFault) -> Problem {
    Problem::new(what, fault.what.clone(), fault.mend.clone())
}
