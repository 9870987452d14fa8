//! What a browser sees before it is let in, and the moment after: the first page, the sign-in, an invitation, the welcome.
//!
//! To strangers these pages tell the name that the operator gave the pool, and nothing of what is in it.

use http::{HeaderValue, Response, StatusCode, header};
use pool_core::UnixMs;
use pool_core::people::Role;
use pool_providers::Provider;
use pool_providers::reply::Reply;
use serde::Deserialize;

use super::html::{Frame, Markup, html, page};
use super::welcome::Welcomed;
use crate::admit::{Caller, Denied};
use crate::app::App;
use crate::clock;
use crate::pages::reply::{guarded, text};
use crate::pages::{Visit, denied, reply, session, status, status_of};
use crate::relay::deliver::{self, ReplyBody};
use crate::setup::Line;

type Page = Response<ReplyBody>;

/// `GET /`: the accounts for the operator's terminal, one's own page for a browser that is signed in, else the door.
pub async fn front(visit: Visit<Result<Caller, Denied>>) -> Page {
    let browser = reply::wants_html(&visit.parts.headers);
    match &visit.who {
        Ok(_) if browser => reply::see_other("/me"),
        Ok(caller) if caller.role() == Role::Operator => status::table(&visit.app).await,
        Ok(_) => text(
            StatusCode::OK,
            "You are in. Your own page is /me, for a browser; for programs: /api/pool/whoami\n".into(),
        ),
        Err(why @ Denied::TooMany(_)) => denied(*why),
        Err(_) if browser => landing(&visit.app, StatusCode::OK, None),
        Err(why) => text(StatusCode::OK, format!("{}\nThis is a codex-pool: {why}.\n", owner(&visit.app))),
    }
}

/// `GET /friend`: the same for who comes by an old link.
pub async fn friend(visit: Visit<()>) -> Page {
    landing(&visit.app, StatusCode::OK, None)
}

/// The first page once more, with what was wrong.
pub fn again(visit: &Visit<()>, status: StatusCode, wrong: &str) -> Page {
    landing(&visit.app, status, Some(wrong))
}

fn landing(app: &App, status: StatusCode, wrong: Option<&str>) -> Page {
    let friends = &app.config.friends;
    let tagline = (!friends.tagline.is_empty()).then(|| html!("<p class=\"lead\">{}</p>", friends.tagline));
    let way_in = if friends.code.is_some() {
        html!(
            r#"<form class="fields" method="post" action="/friend/claim">
<label>Friend code <input name="friend_code" type="password" autocomplete="off" required maxlength="200"></label>
<label>Your name <small>As others here may see it.</small> <input name="name" autocomplete="nickname" required maxlength="64"></label>
<label>E-mail <small>If you like: only {} sees it.</small> <input name="user_email" type="email" autocomplete="email" maxlength="254"></label>
<div><button>Come in</button></div>
</form>
<p class="small">You get a credential of your own and one line for each client. The pool keeps how much you use and when, never
what you write.</p>"#,
            friends.name
        )
    } else {
        html!("<p>To come in you need an invitation: a link that works once. Ask {} for one.</p>", friends.name)
    };
    let body = html!(
        r#"<img class="hero" src="/hero.png" alt="" width="1440" height="360">
<h1>{}</h1>
{}{}{}
<p>You have been here before? <a href="/sign-in">Sign in</a>.</p>"#,
        owner(app),
        tagline,
        said(wrong),
        way_in
    );
    framed(app, status, "Come in", false, &body)
}

/// Whose pool it is, as a heading.
fn owner(app: &App) -> String {
    format!("Friends of {}", app.config.friends.name)
}

fn said(wrong: Option<&str>) -> Option<Markup> {
    wrong.map(|wrong| html!(r#"<p class="wrong" role="alert">{}.</p>"#, sentence(wrong)))
}

/// Our messages are fragments; on a page they stand alone.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}", letters.as_str()).trim_end_matches('.').to_owned()
}

/// A page in the pool's frame.
pub fn framed(app: &App, status: StatusCode, title: &str, signed_in: bool, body: &Markup) -> Page {
    let pool = owner(app);
    page(status, Frame { title: &format!("{title} · {pool}"), pool: &pool, signed_in }, body)
}

/// A page that says one thing.
pub fn notice<W>(visit: &Visit<W>, status: StatusCode, title: &str, words: &str) -> Page {
    let body = html!(r#"<h1>{}</h1><p>{}.</p><p><a href="/">To the first page</a></p>"#, title, sentence(words));
    framed(&visit.app, status, title, false, &body)
}

/// The form of an invitation.
pub fn joining(
    visit: &Visit<()>,
    status: StatusCode,
    name: Option<&str>,
    ends: Option<UnixMs>,
    wrong: Option<&str>,
) -> Page {
    let until = ends.map(|ends| {
        html!("<p class=\"lead\">It works once, in the next {}.</p>", ends.since(clock::now()).to_string())
    });
    let named = match name {
        Some(name) => html!("<p>You will be called <b>{}</b>.</p>", name),
        None => html!(
            r#"<label>Your name <small>As others here may see it.</small> <input name="name" autocomplete="nickname" required maxlength="64"></label>"#
        ),
    };
    let body = html!(
        r#"<h1>You are invited</h1>
{}{}<form class="fields" method="post">
{}
<div><button>Come in</button></div>
</form>
<p class="small">You get a credential of your own and one line for each client. The pool keeps how much you use and when, never
what you write.</p>"#,
        until,
        said(wrong),
        named
    );
    framed(&visit.app, status, "You are invited", false, &body)
}

/// What somebody new gets, once.
pub fn welcome(visit: &Visit<()>, new: &Welcomed) -> Page {
    let app = &visit.app;
    let lines: Vec<Markup> = new.setup.iter().map(|(client, line)| set_up(app, client, line)).collect();
    let body = html!(
        r#"<h1>Welcome, {}</h1>
<p class="lead">One line points a client at this pool. It edits that client's own settings, shows what it changes, and ends with the
line that undoes it.</p>
{}
<p class="small">Each line works once, within a day. More of them, for other machines, are on <a href="/me">your page</a>.</p>
<h2>Your credential</h2>
<p>Shown only now. You sign in with it, and any other program takes it as its API key, with <code>{}</code> (or
<code>{}/v1</code>) as its base address.</p>
<pre>{}</pre>"#,
        new.name,
        lines,
        new.public_url,
        new.public_url,
        new.credential.secret
    );
    framed(app, StatusCode::CREATED, "Welcome", true, &body)
}

/// The line that sets a client up, for both kinds of shell.
pub fn set_up(app: &App, client: &str, line: &Line) -> Markup {
    let title = app.registry.named(client).and_then(Provider::set_up).map_or(client, |set_up| set_up.client);
    html!(
        "<h3>{}</h3>
<pre>{}</pre>
<details><summary>In PowerShell</summary><pre>{}</pre></details>
",
        title,
        line.sh,
        line.powershell
    )
}

/// `GET /sign-in`.
pub async fn sign_in(visit: Visit<()>) -> Page {
    sign_in_page(&visit.app, StatusCode::OK, None)
}

fn sign_in_page(app: &App, status: StatusCode, wrong: Option<&str>) -> Page {
    let password = app.config.admin_password.is_some().then_some(" or the operator's password");
    let body = html!(
        r#"<h1>Sign in</h1>
{}<form class="fields" method="post" action="/sign-in">
<label>Your credential{} <input name="secret" type="password" autocomplete="current-password" required maxlength="500"></label>
<div><button>Sign in</button></div>
</form>
<p class="small">Whoever runs this pool can also open the link that <code>codex-pool users sign-in</code> prints.</p>"#,
        said(wrong),
        password
    );
    framed(app, status, "Sign in", false, &body)
}

/// A browser is shown the way in, in the place of a page that is not for it.
pub fn barred(app: &App, why: Denied) -> Page {
    let status = status_of(why);
    let wrong = (!matches!(why, Denied::NoCredential | Denied::OnlyLocal)).then(|| why.to_string());
    // By a name that is not ours nothing may be typed in.
    if status == StatusCode::MISDIRECTED_REQUEST { denied(why) } else { sign_in_page(app, status, wrong.as_deref()) }
}

#[derive(Deserialize)]
struct Secret {
    secret: String,
}

/// `POST /sign-in`: the form.
pub async fn signed_in(mut visit: Visit<()>) -> Page {
    let wrong = match visit.sent::<Secret>().await {
        Ok(Secret { secret }) => match session::by_secret(&visit, secret.trim()) {
            Ok(signed) => return session::with_cookie(&visit, signed, reply::see_other("/me")),
            Err(fault) => fault,
        },
        Err(fault) => fault,
    };
    sign_in_page(&visit.app, wrong.status, Some(&wrong.message))
}

/// `POST /sign-out`.
pub async fn sign_out(visit: Visit<Caller>) -> Page {
    session::over(&visit, reply::see_other("/"))
}

/// `GET /friend/style.css`.
pub async fn style(_: Visit<()>) -> Page {
    asset("text/css; charset=utf-8", include_bytes!("style.css"))
}

/// Something that is the same for everybody and may be kept for an hour.
pub fn asset(kind: &'static str, bytes: &'static [u8]) -> Page {
    let mut reply = Reply::empty(StatusCode::OK);
    reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply.body = bytes::Bytes::from_static(bytes);
    let mut response = guarded(deliver::reply(reply));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}
