//! Runs the simulated providers by hand.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use pool_testkit::{FakeUpstream, Fault, World};

/// Simulated `OpenAI`, Anthropic and Google on loopback, with accounts of every kind.
#[derive(Debug, Parser)]
struct Flags {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9900")]
    addr: SocketAddr,
    /// Write the accounts' credential files below this folder.
    #[arg(long, value_name = "FOLDER")]
    pool: Option<PathBuf>,
    /// How many accounts of every kind: chatgpt-1, chatgpt-2, openai-key-1 and so on.
    #[arg(long, default_value_t = 2)]
    each: usize,
    /// Make an account misbehave from the start: ACCOUNT=FAULT, as chatgpt-1=limit or claude-2=slow_head=500.
    #[arg(long, value_name = "ACCOUNT=FAULT")]
    fault: Vec<String>,
    /// List the faults and leave.
    #[arg(long)]
    faults: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    if flags.faults {
        for (name, _) in Fault::all() {
            println!("{name}");
        }
        return Ok(());
    }
    if !flags.addr.ip().is_loopback() {
        return Err("the fake listens on loopback only".into());
    }
    let fake = FakeUpstream::start_at(flags.addr, World::of_each(flags.each)).await?;
    for planned in &flags.fault {
        let (account, name) = planned.split_once('=').ok_or("--fault takes ACCOUNT=FAULT")?;
        let fault = Fault::parse(name).ok_or_else(|| format!("no fault {name}; see --faults"))?;
        let known = fake.accounts().into_iter().find(|known| known.name() == account);
        known.ok_or_else(|| format!("no account {account}"))?.fault(fault);
    }
    if let Some(folder) = &flags.pool {
        for file in fake.write_credentials(folder)? {
            println!("# {}", file.display());
        }
    }
    for (name, value) in fake.settings() {
        println!("export {name}={value}");
    }
    println!("# listening on {}; end with Ctrl-C", fake.base());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
