//! Two pictures, drawn here: levels of water between the graduated borders of a chart, rising and falling with the hours.

use std::io::Write as _;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use http::Response;

use super::front::asset;
use crate::pages::Visit;
use crate::relay::deliver::ReplyBody;

/// Ink, paper, shoal, tint, water, land, magenta: the colours of the pages.
const PALETTE: [[u8; 3]; 7] = [
    [0x14, 0x21, 0x2a],
    [0xf4, 0xf7, 0xf8],
    [0xa5, 0xcf, 0xe8],
    [0xcf, 0xe5, 0xf2],
    [0x1d, 0x6f, 0xa5],
    [0xf5, 0xe6, 0xb8],
    [0xa8, 0x15, 0x6a],
];
const INK: u8 = 0;
const PAPER: u8 = 1;
const SHOAL: u8 = 2;
const TINT: u8 = 3;
const WATER: u8 = 4;
const LAND: u8 = 5;
const MAGENTA: u8 = 6;

static PREVIEW: LazyLock<Vec<u8>> = LazyLock::new(|| png(1200, 630));
static HERO: LazyLock<Vec<u8>> = LazyLock::new(|| png(1440, 360));

/// `GET /og-image.png`.
pub async fn preview(_: Visit<()>) -> Response<ReplyBody> {
    asset("image/png", &PREVIEW)
}

/// `GET /hero.png`.
pub async fn hero(_: Visit<()>) -> Response<ReplyBody> {
    asset("image/png", &HERO)
}

/// The colour of a point.
fn colour(x: u32, y: u32, (width, height): (u32, u32)) -> u8 {
    const BORDER: u32 = 18;
    const HOURS: u32 = 24;
    if x < 2 || y < 2 || x + 2 >= width || y + 2 >= height {
        return INK;
    }
    let edge = x < BORDER || y < BORDER || x + BORDER >= width || y + BORDER >= height;
    if edge {
        // Black and white by the hour, as a chart's scale.
        let along = if y < BORDER || y + BORDER >= height { x } else { y };
        return if (along * HOURS / width).is_multiple_of(2) { INK } else { PAPER };
    }
    let (across, up) = (f64::from(x) / f64::from(width), 1.0 - f64::from(y) / f64::from(height));
    let level = 0.46 + 0.17 * (across * 12.6).sin() + 0.09 * (across * 31.0 + 1.0).sin();
    if (across - 0.62).abs() < 1.5 / f64::from(width) {
        return MAGENTA;
    }
    match level - up {
        depth if depth.abs() < 2.0 / f64::from(height) => WATER,
        depth if depth > 0.26 => SHOAL,
        depth if depth > 0.0 => TINT,
        // What has run dry, where the water stands lowest.
        _ if level < 0.3 && up < 0.3 => LAND,
        _ => PAPER,
    }
}

/// One byte a point, against the palette (PNG, W3C Recommendation, third edition).
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut raw = Vec::with_capacity(((width + 1) * height) as usize);
    for y in 0..height {
        raw.push(0);
        raw.extend((0..width).map(|x| colour(x, y, (width, height))));
    }
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    // Writing to memory cannot fail; if it did, the picture would be missing and nothing else.
    let packed = packed.write_all(&raw).and_then(|()| packed.finish()).unwrap_or_default();
    let mut head = Vec::from(width.to_be_bytes());
    head.extend(height.to_be_bytes());
    head.extend([8, 3, 0, 0, 0]);
    let mut out = Vec::from(*b"\x89PNG\r\n\x1a\n");
    for (kind, data) in
        [(b"IHDR", head.as_slice()), (b"PLTE", PALETTE.as_flattened()), (b"IDAT", &packed), (b"IEND", &[])]
    {
        out.extend((data.len() as u32).to_be_bytes());
        let from = out.len();
        out.extend(kind);
        out.extend(data);
        let mut sum = flate2::Crc::new();
        sum.update(&out[from..]);
        out.extend(sum.sum().to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_are_small_and_whole() {
        for (picture, size) in [(&*PREVIEW, (1200_u32, 630_u32)), (&*HERO, (1440, 360))] {
            assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n") && picture.len() < 30_000, "{}", picture.len());
            assert_eq!(picture[16..24], [size.0.to_be_bytes(), size.1.to_be_bytes()].concat());
            assert!(picture.ends_with(&[b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82]));
        }
    }
}
