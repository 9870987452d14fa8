//! What can go wrong on command. How it is done: `deliver.rs`.

use std::time::Duration;

/// A way to misbehave.
///
/// The first group answers for the account: the provider's own refusal. The second breaks the transport. The third is
/// odd but proper, and a client must get its answer all the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// None: an untroubled turn in a plan.
    Fine,

    /// The plan's quota is used up (429); the windows are filled, so that every reply says the same.
    Limit,
    /// A short throttle (429) that says nothing of quotas.
    Throttle {
        retry_after: u64,
    },
    /// 401: the access token has ended.
    Expired,
    /// 401: the access token was taken back.
    Revoked,
    /// 402: workspace deactivated, billing stopped.
    Unpaid,
    /// 403: the account may not.
    Forbidden,
    /// 403 with a CDN's HTML page.
    CdnHtml,
    /// The prepaid credit is used up (400 of Anthropic, 429 `insufficient_quota` of OpenAI).
    CreditTooLow,
    /// This plan does not have the model.
    ModelNotSupported,
    /// The request is to blame, on every account: 400 of the provider's kind.
    BadRequest,
    /// 413, 422, or whatever else, with a plain error body.
    Status(u16),
    /// 500.
    ServerError,
    /// The model has no capacity: 503 or 529, in the provider's words.
    Overloaded,
    /// 200, and overload as the first thing after the preamble. Streams only.
    OverloadFirst,
    /// 200, and overload after the first content. Streams only.
    ErrMid,
    /// A redirect to another place on this server.
    Redirect,

    /// Closes instead of answering.
    CloseBeforeHead,
    /// Resets instead of answering.
    Reset,
    /// Something that is not HTTP.
    Garbage,
    /// Two different values of `content-length`.
    DuplicateContentLength,
    /// Never answers.
    Silent,
    /// Head, then the end.
    CutFirst,
    /// Head and first content, then the end.
    CutMid,
    /// Head and first content, then a reset.
    RstMid,
    /// Head and first content, then silence.
    Stall,
    /// Head and first content, then something that is no chunk.
    BadChunk,
    /// A gzip body that breaks off, in proper framing.
    ShortGzip,
    /// `content-length` promises more than comes.
    LongContentLength,
    /// A clean end without the terminal event. Streams only.
    NoTerminal,
    /// One line that does not end, of so many MiB, then the end.
    EndlessLine {
        mib: u64,
    },

    /// The head comes late.
    SlowHead(Duration),
    /// Events come apart.
    Paced(Duration),
    /// Head and first content, then silence for so long, then the rest; on an event stream with a quarter of the silence again
    /// in the middle of the next event.
    Silence(Duration),
    /// HTTP/1.0: no chunks, the end of the connection ends the body.
    Http10,
    Trailers,
    ChunkExtensions,
    /// An interim 103 before the answer.
    EarlyHints,
    /// The terminal event (or the JSON answer) is so large; usage stands at its end.
    HugeEvent {
        mib: u64,
    },
    /// The same, compressed to next to nothing.
    GzipBomb {
        mib: u64,
    },
    /// An unknown event with bytes that are not UTF-8.
    InvalidUtf8,
    /// An event that is no JSON, and one of an unknown type.
    Malformed,
    /// An unknown event, nested 100,000 deep.
    DeepJson,
    /// ChatGPT only: an early `codex.rate_limits` event says that the limit is reached; the answer is good all the same.
    LimitEvent,
    Crlf,
    Comments,
    MultiData,
    /// One byte a chunk.
    Tiny,
    /// Headers that tell who the account is.
    LeakyHeaders,
    /// Token counts beyond all reason.
    AbsurdUsage,
}

impl Fault {
    /// Every fault once, with its name as commands and the log use it.
    pub fn all() -> Vec<(&'static str, Self)> {
        vec![
            ("fine", Self::Fine),
            ("limit", Self::Limit),
            ("throttle", Self::Throttle { retry_after: 1 }),
            ("expired", Self::Expired),
            ("revoked", Self::Revoked),
            ("unpaid", Self::Unpaid),
            ("forbidden", Self::Forbidden),
            ("cdn_html", Self::CdnHtml),
            ("credit_too_low", Self::CreditTooLow),
            ("model_not_supported", Self::ModelNotSupported),
            ("bad_request", Self::BadRequest),
            ("status", Self::Status(422)),
            ("server_error", Self::ServerError),
            ("overloaded", Self::Overloaded),
            ("overload_first", Self::OverloadFirst),
            ("err_mid", Self::ErrMid),
            ("redirect", Self::Redirect),
            ("close", Self::CloseBeforeHead),
            ("reset", Self::Reset),
            ("garbage", Self::Garbage),
            ("duplicate_content_length", Self::DuplicateContentLength),
            ("silent", Self::Silent),
            ("cut_first", Self::CutFirst),
            ("cut_mid", Self::CutMid),
            ("rst_mid", Self::RstMid),
            ("stall", Self::Stall),
            ("bad_chunk", Self::BadChunk),
            ("short_gzip", Self::ShortGzip),
            ("long_content_length", Self::LongContentLength),
            ("no_terminal", Self::NoTerminal),
            ("endless_line", Self::EndlessLine { mib: 64 }),
            ("slow_head", Self::SlowHead(Duration::from_secs(5))),
            ("paced", Self::Paced(Duration::from_millis(50))),
            ("silence", Self::Silence(Duration::from_secs(30))),
            ("http10", Self::Http10),
            ("trailers", Self::Trailers),
            ("chunk_extensions", Self::ChunkExtensions),
            ("early_hints", Self::EarlyHints),
            ("huge_event", Self::HugeEvent { mib: 64 }),
            ("gzip_bomb", Self::GzipBomb { mib: 256 }),
            ("invalid_utf8", Self::InvalidUtf8),
            ("malformed", Self::Malformed),
            ("deep_json", Self::DeepJson),
            ("limit_event", Self::LimitEvent),
            ("crlf", Self::Crlf),
            ("comments", Self::Comments),
            ("multi_data", Self::MultiData),
            ("tiny", Self::Tiny),
            ("leaky_headers", Self::LeakyHeaders),
            ("absurd_usage", Self::AbsurdUsage),
        ]
    }

    pub fn name(&self) -> &'static str {
        let same = |other: &Self| std::mem::discriminant(other) == std::mem::discriminant(self);
        Self::all().into_iter().find(|(_, fault)| same(fault)).map_or("fault", |(name, _)| name)
    }

    /// `cut_mid`, or with a number: `huge_event=8` (MiB), `slow_head=500` (ms), `status=413`, `throttle=30` (s).
    pub fn parse(text: &str) -> Option<Self> {
        let (name, number) = match text.split_once('=') {
            Some((name, number)) => (name, Some(number.parse::<u64>().ok()?)),
            None => (text, None),
        };
        let fault = Self::all().into_iter().find(|(known, _)| *known == name)?.1;
        let Some(n) = number else { return Some(fault) };
        Some(match fault {
            Self::Throttle { .. } => Self::Throttle { retry_after: n },
            Self::Status(_) => Self::Status(u16::try_from(n).ok()?),
            Self::EndlessLine { .. } => Self::EndlessLine { mib: n },
            Self::HugeEvent { .. } => Self::HugeEvent { mib: n },
            Self::GzipBomb { .. } => Self::GzipBomb { mib: n },
            Self::SlowHead(_) => Self::SlowHead(Duration::from_millis(n)),
            Self::Paced(_) => Self::Paced(Duration::from_millis(n)),
            Self::Silence(_) => Self::Silence(Duration::from_millis(n)),
            _ => return None,
        })
    }

    /// Does it need a stream? A plain answer goes out untroubled.
    pub(crate) fn is_for_streams(&self) -> bool {
        matches!(self, Self::OverloadFirst | Self::ErrMid | Self::NoTerminal)
    }

    /// Does the client get all of the answer, so that it counts?
    pub(crate) fn keeps_answer_whole(&self) -> bool {
        use Fault as F;
        matches!(
            self,
            F::Fine
                | F::SlowHead(_)
                | F::Paced(_)
                | F::Silence(_)
                | F::Http10
                | F::Trailers
                | F::ChunkExtensions
                | F::EarlyHints
                | F::HugeEvent { .. }
                | F::GzipBomb { .. }
                | F::InvalidUtf8
                | F::Malformed
                | F::DeepJson
                | F::LimitEvent
                | F::Crlf
                | F::Comments
                | F::MultiData
                | F::Tiny
                | F::LeakyHeaders
        )
    }

    /// Are the payloads the same as without it, so that they can be compared?
    pub(crate) fn keeps_payload(&self) -> bool {
        self.keeps_answer_whole() && !matches!(self, Self::HugeEvent { .. } | Self::GzipBomb { .. } | Self::MultiData)
            || *self == Self::AbsurdUsage
    }
}

/// How long a limit set by [`Fault::Limit`] lasts if the window does not say.
pub(crate) const LIMIT: Duration = Duration::from_mins(40);
