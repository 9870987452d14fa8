//! Who goes first, and what models cost.

use std::path::Path;
use std::sync::Arc;

use pool_core::Prices;
use pool_core::wishes::KindOrder;

use super::values::Values;

pub(super) struct Routing {
    pub(super) kinds: KindOrder,
    pub(super) prices: Arc<Prices>,
}

/// `folder` is where a relative `prices_file` starts from.
pub(super) fn resolve(values: &mut Values, folder: &Path) -> Routing {
    Routing { kinds: kinds(values), prices: Arc::new(prices(values, folder)) }
}

fn kinds(values: &mut Values) -> KindOrder {
    match values.text("routing.kinds").as_str() {
        "subscriptions-first" => KindOrder::SubscriptionsFirst,
        "api-keys-first" => KindOrder::ApiKeysFirst,
        "together" => KindOrder::Together,
        other => {
            let why = format!("cannot be {other:?}");
            values.wrong("routing.kinds", why, "Write subscriptions-first, api-keys-first or together");
            KindOrder::default()
        }
    }
}

fn prices(values: &mut Values, folder: &Path) -> Prices {
    let known = Prices::default();
    let Some(file) = values.optional("prices_file") else { return known };
    let read = std::fs::read_to_string(folder.join(&file)).map_err(|error| error.to_string());
    match read.and_then(|text| Prices::read(&text).map_err(|error| error.to_string())) {
        Ok(own) => known.with(own),
        Err(why) => {
            let mend = "Write it as {\"models\": {\"some-model\": {\"input\": 2.5, \"output\": 15}}}, in dollars for a million tokens";
            values.wrong("prices_file", format_args!("{file} cannot be read: {why}"), mend);
            known
        }
    }
}
