//! The accounts of a pool folder, as their files tell them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use pool_core::{Account, AccountId, AccountKind, ProviderId, Secret};
use pool_providers::Registry;
use pool_providers::provider::Provider;
use pool_server::pool::files::{self, PoolFile};

use crate::problem::Problem;

/// One file of the pool folder.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) file: PoolFile,
    /// The account, or what is wrong with the file.
    pub(crate) account: Result<Found, String>,
}

#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) account: Account,
    pub(crate) warning: Option<String>,
    /// To know the same key in another file.
    access: Secret,
}

impl Found {
    /// Is this its very key or token?
    pub(super) fn holds(&self, access: &Secret) -> bool {
        self.access == *access
    }
}

/// Every file that is, or wants to be, an account. A folder that is not there has none.
pub(crate) fn read(dir: &Path, registry: &Registry) -> Result<Vec<Entry>, Problem> {
    let files = match files::scan(dir, registry) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let what = format!("cannot read the pool folder {}", dir.display());
            return Err(Problem::new(what, error.to_string(), "Make it readable, or name another: --pool-dir FOLDER"));
        }
    };
    let entry = |file: PoolFile| Entry { account: read_one(&file, registry), file };
    Ok(files.into_iter().map(entry).collect())
}

fn read_one(file: &PoolFile, registry: &Registry) -> Result<Found, String> {
    if let Some(fault) = &file.fault {
        return Err(fault.clone());
    }
    let provider = file.provider.and_then(|id| registry.get(id)).ok_or("no provider is known for it")?;
    let bytes = files::read_secret(&file.path)
        .map_err(|error| format!("it cannot be read: {error}; make it a file that you may read"))?;
    let content = provider.read_file(&file.rel, &bytes).map_err(|fault| fault.to_string())?;
    let account = content.account(&file.rel, provider);
    Ok(Found { account, warning: content.warning, access: content.credentials.access })
}

/// `Codex subscription, plus, m…@example.com`.
pub(crate) fn describe(account: &Account, registry: &Registry) -> String {
    let title = registry.get(account.provider).map_or(account.provider.0, Provider::title);
    let mut words = vec![format!("{title} {}", kind(account.kind))];
    words.extend(account.plan.clone());
    words.extend(account.email.clone());
    if account.settings.disabled {
        words.push("paused".into());
    }
    words.join(", ")
}

pub(super) fn kind(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Subscription => "subscription",
        AccountKind::ApiKey => "API key",
    }
}

/// Files that hold the same account: the pool uses one of them, and two that are renewed would log each other out.
pub(crate) fn duplicates(entries: &[Entry]) -> Vec<Problem> {
    let mut by_id: BTreeMap<&AccountId, Vec<&str>> = BTreeMap::new();
    // A key tells no owner: two files with the same one have ids of their own.
    let mut by_key: HashMap<(ProviderId, &str), &AccountId> = HashMap::new();
    for entry in entries {
        if let Ok(Found { account, access, .. }) = &entry.account {
            let id = by_key.entry((account.provider, access.expose())).or_insert(&account.id);
            by_id.entry(*id).or_default().push(&entry.file.rel);
        }
    }
    let several = by_id.into_values().filter(|files| files.len() > 1);
    let problem = |files: Vec<&str>| {
        Problem::new(
            format!("{} are the same account", files.join(" and ")),
            "only one of them is used",
            format!("Keep the newest login and take the other out: codex-pool accounts remove {}", files[0]),
        )
    };
    several.map(problem).collect()
}

pub(crate) fn no_accounts(dir: &Path) -> Problem {
    Problem::new(
        format!("there are no accounts in {}", dir.display()),
        "the pool can serve nobody yet",
        "Add one: codex-pool accounts login PROVIDER, or accounts add FILE, or accounts add --api-key PROVIDER",
    )
}
