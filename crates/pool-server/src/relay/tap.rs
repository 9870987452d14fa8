//! The tap: reads an answer beside its delivery. It cannot delay, alter or fail what it reads; what it cannot understand makes
//! it deaf, nothing else.

use std::io::{self, Write};
use std::ops::Range;

use http::{HeaderMap, header};
use pool_core::TokenCounts;
use pool_providers::reply::{News, Reader, Stage};

/// A provider's reader behind a decoder.
pub struct Tap {
    decoder: Decoder,
    /// The reader sees the very bytes that the client gets.
    plain: bool,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("stage", &self.stage()).field("plain", &self.plain).finish_non_exhaustive()
    }
}

/// Decoders write straight into the reader, so that a bomb costs no memory.
enum Decoder {
    Identity(Ear),
    Gzip(Box<flate2::write::MultiGzDecoder<Ear>>),
    Deflate(Box<flate2::write::ZlibDecoder<Ear>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Ear>>),
    Brotli(Box<brotli::DecompressorWriter<Ear>>),
    /// Could not be decoded, or no longer.
    Deaf,
}

struct Ear {
    reader: Box<dyn Reader>,
    news: News,
}

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.news.add(self.reader.feed(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tap {
    pub fn new(reader: Box<dyn Reader>, headers: &HeaderMap) -> Self {
        let ear = Ear { reader, news: News::default() };
        let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("unreadable").trim());
        let decoder = match encoding {
            None | Some("" | "identity") => Decoder::Identity(ear),
            Some("gzip" | "x-gzip") => Decoder::Gzip(Box::new(flate2::write::MultiGzDecoder::new(ear))),
            Some("deflate") => Decoder::Deflate(Box::new(flate2::write::ZlibDecoder::new(ear))),
            Some("zstd") => {
                zstd::stream::write::Decoder::new(ear).map_or(Decoder::Deaf, |decoder| Decoder::Zstd(Box::new(decoder)))
            }
            Some("br") => Decoder::Brotli(Box::new(brotli::DecompressorWriter::new(ear, 4096))),
            Some(_) => Decoder::Deaf,
        };
        let plain = matches!(decoder, Decoder::Identity(_));
        Self { decoder, plain }
    }

    /// Does the reader see the bytes that the client gets? Only then can anything be taken out of them.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    pub fn feed(&mut self, bytes: &[u8]) -> News {
        let heard = match &mut self.decoder {
            Decoder::Identity(ear) => ear.write_all(bytes),
            Decoder::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Decoder::Deflate(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Decoder::Zstd(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Decoder::Brotli(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Decoder::Deaf => Ok(()),
        };
        let news = self.ear_mut().map(|ear| std::mem::take(&mut ear.news)).unwrap_or_default();
        if heard.is_err() {
            tracing::debug!("an encoded answer could not be decoded for reading; its usage stays unknown");
            self.decoder = Decoder::Deaf;
        }
        news
    }

    pub fn finish(&mut self) -> News {
        let Some(ear) = self.ear_mut() else { return News::default() };
        ear.news.add(ear.reader.finish());
        std::mem::take(&mut ear.news)
    }

    /// A deaf tap holds nothing back.
    pub fn stage(&self) -> Stage {
        self.ear().map_or(Stage::Meaningful, |ear| ear.reader.stage())
    }

    pub fn usage(&self) -> Option<TokenCounts> {
        self.ear()?.reader.usage()
    }

    pub fn model(&self) -> Option<&str> {
        self.ear()?.reader.model()
    }

    pub fn hidden(&mut self) -> (Vec<Range<u64>>, u64) {
        if !self.plain {
            return (Vec::new(), u64::MAX);
        }
        self.ear_mut().map_or((Vec::new(), u64::MAX), |ear| ear.reader.hidden())
    }

    fn ear(&self) -> Option<&Ear> {
        match &self.decoder {
            Decoder::Identity(ear) => Some(ear),
            Decoder::Gzip(decoder) => Some(decoder.get_ref()),
            Decoder::Deflate(decoder) => Some(decoder.get_ref()),
            Decoder::Zstd(decoder) => Some(decoder.get_ref()),
            Decoder::Brotli(decoder) => Some(decoder.get_ref()),
            Decoder::Deaf => None,
        }
    }

    fn ear_mut(&mut self) -> Option<&mut Ear> {
        match &mut self.decoder {
            Decoder::Identity(ear) => Some(ear),
            Decoder::Gzip(decoder) => Some(decoder.get_mut()),
            Decoder::Deflate(decoder) => Some(decoder.get_mut()),
            Decoder::Zstd(decoder) => Some(decoder.get_mut()),
            Decoder::Brotli(decoder) => Some(decoder.get_mut()),
            Decoder::Deaf => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// Counts what it is told.
    struct Counter(Arc<Mutex<(u64, bool)>>);

    impl Reader for Counter {
        fn feed(&mut self, bytes: &[u8]) -> News {
            self.0.lock().0 += bytes.len() as u64;
            News::default()
        }
        fn finish(&mut self) -> News {
            self.0.lock().1 = true;
            News::default()
        }
        fn stage(&self) -> Stage {
            Stage::Preamble
        }
        fn usage(&self) -> Option<TokenCounts> {
            None
        }
        fn model(&self) -> Option<&str> {
            None
        }
    }

    fn encoded(encoding: &str, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            "gzip" => {
                let mut writer = flate2::write::GzEncoder::new(&mut out, flate2::Compression::best());
                writer.write_all(text).expect("encodes");
                writer.finish().expect("encodes");
            }
            "deflate" => {
                let mut writer = flate2::write::ZlibEncoder::new(&mut out, flate2::Compression::best());
                writer.write_all(text).expect("encodes");
                writer.finish().expect("encodes");
            }
            "zstd" => out = zstd::encode_all(text, 3).expect("encodes"),
            "br" => {
                let mut writer = brotli::CompressorWriter::new(&mut out, 4096, 5, 22);
                writer.write_all(text).expect("encodes");
            }
            _ => out = text.to_vec(),
        }
        out
    }

    #[test]
    fn every_encoding_is_read_in_any_chunks_and_garbage_only_makes_deaf() {
        let text = b"data: {}\n\n".repeat(5000);
        for encoding in ["identity", "gzip", "deflate", "zstd", "br"] {
            let heard = Arc::new(Mutex::new((0, false)));
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, encoding.parse().expect("a header"));
            let mut tap = Tap::new(Box::new(Counter(heard.clone())), &headers);
            encoded(encoding, &text).chunks(7).for_each(|chunk| {
                tap.feed(chunk);
            });
            tap.finish();
            assert_eq!(*heard.lock(), (text.len() as u64, true), "{encoding}");

            let mut tap = Tap::new(Box::new(Counter(heard.clone())), &headers);
            tap.feed(b"\x00\x01made up and not encoded at all");
            tap.finish();
            if encoding != "identity" && encoding != "br" {
                assert_eq!(tap.stage(), Stage::Meaningful, "{encoding}: deaf, so nothing is held back");
            }
        }
    }
}
