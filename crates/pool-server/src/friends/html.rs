//! Pages for people, as text: what a template says is ours, what is put into it is escaped, and the type tells which is which.

use std::fmt::Write as _;

use http::{HeaderValue, Response, StatusCode, header};
use pool_providers::reply::Reply;

use crate::pages::reply::guarded;
use crate::relay::deliver::{self, ReplyBody};

/// Finished HTML.
#[derive(Clone, Debug, Default)]
pub struct Markup(String);

/// Something that can stand in a page.
pub trait Part {
    fn write(&self, out: &mut String);
}

impl Part for Markup {
    fn write(&self, out: &mut String) {
        out.push_str(&self.0);
    }
}

impl Part for str {
    fn write(&self, out: &mut String) {
        for letter in self.chars() {
            match letter {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                letter => out.push(letter),
            }
        }
    }
}

impl Part for String {
    fn write(&self, out: &mut String) {
        self.as_str().write(out);
    }
}

impl<T: Part + ?Sized> Part for &T {
    fn write(&self, out: &mut String) {
        (**self).write(out);
    }
}

impl Part for u64 {
    fn write(&self, out: &mut String) {
        let _ = write!(out, "{self}");
    }
}

impl<T: Part> Part for Option<T> {
    fn write(&self, out: &mut String) {
        if let Some(part) = self {
            part.write(out);
        }
    }
}

impl<T: Part> Part for Vec<T> {
    fn write(&self, out: &mut String) {
        for part in self {
            part.write(out);
        }
    }
}

/// The template with its parts in the places of `{}`. Use [`html!`].
pub fn fill(template: &'static str, parts: &[&dyn Part]) -> Markup {
    let mut out = String::with_capacity(template.len() * 2);
    let mut parts = parts.iter();
    for (at, piece) in template.split("{}").enumerate() {
        if at > 0
            && let Some(part) = parts.next()
        {
            part.write(&mut out);
        }
        out.push_str(piece);
    }
    debug_assert!(parts.next().is_none(), "a part has no place in {template:?}");
    Markup(out)
}

/// `html!("<p>{}</p>", text)`: a text is escaped, [`Markup`] stands as it is.
macro_rules! html {
    ($template:literal $(, $part:expr)* $(,)?) => {
        $crate::friends::html::fill($template, &[$(&$part as &dyn $crate::friends::html::Part),*])
    };
}
pub(crate) use html;

/// What frames a page.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Of the window, and of search engines, which are asked to stay away.
    pub title: &'a str,
    /// Whose pool it is.
    pub pool: &'a str,
    /// Somebody is signed in.
    pub signed_in: bool,
}

/// A whole page.
pub fn page(status: StatusCode, frame: Frame<'_>, body: &Markup) -> Response<ReplyBody> {
    let way_out = frame
        .signed_in
        .then(|| html!(r#"<form method="post" action="/sign-out"><button class="quiet">Sign out</button></form>"#));
    let Markup(text) = html!(
        r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<meta property="og:title" content="{}">
<meta property="og:image" content="/og-image.png">
<title>{}</title>
<link rel="stylesheet" href="/friend/style.css">
</head>
<body>
<a class="skip" href="#main">To the content</a>
<header><a class="name" href="/">{}</a>{}</header>
<main id="main">
{}
</main>
</body>
</html>
"##,
        frame.pool,
        frame.title,
        frame.pool,
        way_out,
        body
    );
    let mut reply = Reply::empty(status);
    reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    reply.body = text.into();
    let mut response = guarded(deliver::reply(reply));
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        // A form that was sent without a referrer has no origin either, and could not be told from another page's.
        ("referrer-policy", "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_text_wherever_it_stands() {
        let evil = "\"><script>alert('x')</script>&{}";
        let Markup(text) = html!("<p title=\"{}\">{}</p>{}", evil, evil.to_owned(), html!("<b>{}</b>", 3_u64));
        assert!(!text.contains("<script"), "{text}");
        assert_eq!(
            text.matches("&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;{}").count(),
            2,
            "{text}"
        );
        assert!(text.ends_with("</p><b>3</b>"), "{text}");
    }

    #[test]
    fn no_page_runs_anything() {
        let response = page(StatusCode::OK, Frame { title: "<t>", pool: "a & b", signed_in: true }, &html!("x"));
        let policy = response.headers()["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("script") && !policy.contains("unsafe"));
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
}
