//! Where upstream calls go, and through which proxy.

use std::net::IpAddr;

use http::Uri;
use pool_providers::request::Bases;
use pool_server::config::OutboundProxy;

use super::values::Values;

pub(super) fn resolve(values: &mut Values) -> (Bases, Option<OutboundProxy>) {
    let bases = Bases {
        responses: base(values, "upstream.responses_base"),
        wham: base(values, "upstream.wham_base"),
        refresh: base(values, "upstream.refresh_base"),
        openai: base(values, "upstream.openai_base"),
        claude: base(values, "upstream.claude_base"),
        claude_refresh: base(values, "upstream.claude_refresh_base"),
        gemini: base(values, "upstream.gemini_base"),
        gemini_api: base(values, "upstream.gemini_api_base"),
        google_token: base(values, "upstream.google_token_base"),
    };
    (bases, proxy(values))
}

/// Tokens go there: so `https`, or `http` no farther than this machine.
fn base(values: &mut Values, key: &'static str) -> String {
    let text = values.text(key);
    let trimmed = text.trim_end_matches('/').to_owned();
    if let Some(why) = fault(&trimmed) {
        // The address is not repeated: what stands before an @ may be a password.
        values.wrong(key, why, "Write it as https://host/path; http is for loopback addresses only");
    }
    trimmed
}

fn fault(text: &str) -> Option<&'static str> {
    let Ok(uri) = text.parse::<Uri>() else { return Some("is not a web address") };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Some("is not a whole web address");
    };
    match () {
        () if authority.as_str().contains('@') => Some("must not hold a user or password"),
        () if uri.query().is_some() || text.contains('#') => Some("must not have a query or fragment"),
        () if authority.host().is_empty() => Some("names no host"),
        () if scheme == "https" => None,
        () if scheme == "http" && is_loopback(authority.host()) => None,
        () if scheme == "http" => Some("would send tokens unencrypted over the network"),
        () => Some("is neither https nor http"),
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn proxy(values: &mut Values) -> Option<OutboundProxy> {
    let text = values.optional("upstream.proxy")?;
    let uri = text.trim_end_matches('/').parse::<Uri>().ok();
    let whole = uri.filter(|uri| uri.port_u16().is_some() && uri.host().is_some_and(|host| !host.is_empty()));
    let plain = whole.filter(|uri| uri.query().is_none() && matches!(uri.path(), "" | "/"));
    if plain.as_ref().and_then(Uri::authority).is_some_and(|authority| authority.as_str().contains('@')) {
        // Nothing would be said to the proxy of them, and the address is shown in places.
        values.wrong(
            "upstream.proxy",
            "must not hold a user or password: proxies that ask for one are not supported",
            "Name a proxy that lets this machine in by its address, such as a local one that signs in for it",
        );
        return None;
    }
    match plain.as_ref().and_then(Uri::scheme_str) {
        Some("http") => plain.map(OutboundProxy::Http),
        Some("socks5") => plain.map(OutboundProxy::Socks5),
        _ => {
            values.wrong(
                "upstream.proxy",
                "is not the address of a proxy",
                "Write it as http://host:port or socks5://host:port",
            );
            None
        }
    }
}
