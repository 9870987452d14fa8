//! One listener: server-sent events, until it leaves, may no longer listen, or the server stops.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};

use super::{Eyes, News, view};
use crate::admit::Caller;
use crate::app::App;
use crate::clock;
use crate::pages::reply::guarded;
use crate::relay::deliver::ReplyBody;

/// Between two signs of life.
pub const HEARTBEAT: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(15) };
/// Pieces on their way to a listener that does not take them. What comes later waits in the ring.
const PENDING: usize = 4;

/// Answers with a stream. `seen`: the id of the last event that the listener has, if it has one. `cookie`: the session that it came
/// in with.
pub fn open(app: Arc<App>, caller: Caller, seen: Option<String>, cookie: Option<String>) -> Response<ReplyBody> {
    let (tell, pieces) = mpsc::channel(PENDING);
    tokio::spawn(Listener { app, caller, cookie, tell }.run(seen));
    let mut response = guarded(Response::new(ReplyBody::Events(pieces)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies of the usual kind hold back what they may.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Listener {
    app: Arc<App>,
    caller: Caller,
    cookie: Option<String>,
    tell: mpsc::Sender<Bytes>,
}

impl Listener {
    async fn run(self, seen: Option<String>) {
        let tenure = self.app.people.tenure(&self.caller);
        tokio::select! {
            biased;
            () = tenure.over() => {}
            () = self.tell.closed() => {}
            _ = self.talk(seen) => {}
        }
    }

    /// `None`: the listener has left, or has to.
    async fn talk(&self, seen: Option<String>) -> Option<()> {
        let (events, eyes) = (&self.app.events, Eyes::of(&self.caller));
        let mut told = events.listen();
        let mut seen = seen.and_then(|id| events.number(&id));
        let mut words = String::from("retry: 2000\n\n");
        let mut beat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        loop {
            let number = *told.borrow_and_update();
            seen = Some(match seen.map(|seen| events.after(seen)) {
                Some(News::Since(news)) => {
                    for (number, happening) in &news {
                        if let Some((name, data)) = view::told(happening, &eyes) {
                            say(&mut words, name, &events.id(*number), &data);
                        }
                    }
                    news.last().map(|(number, _)| *number).or(seen).unwrap_or(number)
                }
                Some(News::Gap) | None => {
                    // Numbered before it is taken: what happens meanwhile is told again after it.
                    let number = events.last();
                    let snapshot = view::snapshot(&self.app, &self.caller);
                    say(&mut words, "snapshot", &events.id(number), &serde_json::to_string(&snapshot).ok()?);
                    number
                }
            });
            if !words.is_empty() {
                self.tell.send(std::mem::take(&mut words).into()).await.ok()?;
            }
            if events.is_over() {
                return None;
            }
            tokio::select! {
                changed = told.changed() => changed.ok()?,
                _ = beat.tick() => {
                    self.may_stay().then_some(())?;
                    words.push_str(": here\n\n");
                }
            }
        }
    }

    /// Is the session still open, and the person still who they were?
    fn may_stay(&self) -> bool {
        let session = self.cookie.as_ref().is_none_or(|cookie| self.app.door.is_open(cookie, clock::now()));
        let person = self.caller.user().is_none_or(|then| {
            let now = self.app.people.read(|people| people.user(&then.id).cloned());
            now.is_some_and(|now| now.role == then.role && now.accounts == then.accounts)
        });
        session && person
    }
}

fn say(words: &mut String, name: &str, id: &str, data: &str) {
    for part in ["id: ", id, "\nevent: ", name, "\ndata: ", data, "\n\n"] {
        words.push_str(part);
    }
}
