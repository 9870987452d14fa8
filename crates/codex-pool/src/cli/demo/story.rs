//! What happens in the demo, and what is said about it.

use std::net::SocketAddr;
use std::time::Duration;

use pool_testkit::{Fault, Refusal};

use super::Stage;

/// The scenes, each after a pause. They are played again and again.
pub(super) async fn tell(stage: &Stage) {
    let (anna, mia, leo) = (stage.fake.account("anna"), stage.fake.account("mia"), stage.fake.account("leo"));
    loop {
        wait(6).await;
        say("anna's 5-hour window is spent for 20 s. Her conversations go on with ben; the clients notice nothing.");
        anna.limit("5h", Duration::from_secs(20));
        wait(9).await;
        say("mia's login is revoked, refresh token and all. Her conversations move to leo; `status` says what to do.");
        mia.revoke_all(Refusal::Invalidated);
        wait(9).await;
        say("the model is overloaded on leo, twice. The API key team-key steps in.");
        leo.fault_next(2, Fault::Overloaded);
        wait(9).await;
        say("anna's window has refilled, and mia has signed in again: her new file is dropped into the pool.");
        anna.set_used("5h", 0.05);
        mia.sign_in();
        if let Err(error) = stage.pool.add(&mia) {
            say(&format!("(her file could not be written: {error})"));
        }
        wait(9).await;
    }
}

async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn say(text: &str) {
    println!("\n  -- {text}\n");
}

pub(super) fn opening(address: SocketAddr) -> String {
    let elsewhere =
        if address.port() == super::ADDRESS.port() { String::new() } else { format!(" --listen {address}") };
    format!(
        "codex-pool demo: six simulated accounts, simulated providers, this machine only. No real credential is touched.\n\n  \
         look at it:   codex-pool status{elsewhere}\n  or:           curl http://{address}/\n  \
         your client:  point it at http://{address} as the README says; it will get made-up answers\n  \
         end it:       Ctrl-C\n\n\
         time      client  conversation  account                        status  took"
    )
}

pub(super) fn closing(stage: &Stage) -> String {
    let books = stage.fake.books();
    let served: u64 = books.accounts.values().map(|account| account.completed).sum();
    let tokens = books.total().total();
    format!("The simulated providers answered {served} requests with {tokens} tokens.")
}
