//! Compression of a batch's payload: what we write, and what we can read of foreign producers.

use ::pulsar::message::proto::CompressionType;

use super::entry::DecodeError;

/// How a batch is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4's raw block, as all Pulsar clients write it.
    #[default]
    Lz4,
    /// A Zstandard frame, at this level (1 is the fast one).
    Zstd(i32),
}

impl Compression {
    pub(super) fn wire_type(self) -> CompressionType {
        match self {
            Self::None => CompressionType::None,
            Self::Lz4 => CompressionType::Lz4,
            Self::Zstd(_) => CompressionType::Zstd,
        }
    }
}

/// Compresses batches with buffers and contexts that are kept between them.
#[derive(Default)]
pub(super) struct Codec {
    scratch: Vec<u8>,
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("scratch_bytes", &self.scratch.len()).finish_non_exhaustive()
    }
}

impl Codec {
    /// The compressed payload; borrowed from the scratch buffer, or `payload` itself where nothing is compressed.
    /// A compressor that fails (out of memory, a level it does not know) is an [`std::io::Error`].
    pub(super) fn compress<'a>(
        &'a mut self,
        payload: &'a [u8],
        compression: Compression,
    ) -> Result<&'a [u8], std::io::Error> {
        let length = match compression {
            Compression::None => return Ok(payload),
            Compression::Lz4 => {
                grow(&mut self.scratch, lz4_flex::block::get_maximum_output_size(payload.len()));
                lz4_flex::block::compress_into(payload, &mut self.scratch).map_err(std::io::Error::other)?
            }
            Compression::Zstd(level) => {
                grow(&mut self.scratch, zstd::zstd_safe::compress_bound(payload.len()));
                let compressor = match &mut self.zstd {
                    Some((kept, compressor)) if *kept == level => compressor,
                    kept => &mut kept.insert((level, zstd::bulk::Compressor::new(level)?)).1,
                };
                compressor.compress_to_buffer(payload, self.scratch.as_mut_slice())?
            }
        };
        Ok(&self.scratch[..length])
    }
}

/// Makes the scratch buffer at least `length` bytes. It never shrinks: its bytes are written once, not per batch.
fn grow(scratch: &mut Vec<u8>, length: usize) {
    if scratch.len() < length {
        scratch.resize(length, 0);
    }
}

/// How many bytes one byte of a payload can become at most. LZ4: each further byte of a match's length is 255 bytes.
/// Zstandard: a block of 4 bytes is up to 128 KiB of one byte. Deflate: a match of 258 bytes takes two bits.
fn growth_max(codec: CompressionType) -> usize {
    match codec {
        CompressionType::Lz4 => 255,
        CompressionType::Zstd => 32 * 1024,
        CompressionType::Zlib => 1032,
        CompressionType::None | CompressionType::Snappy => 1,
    }
}

/// Takes a payload apart into exactly `size` bytes, as its metadata announced; `size` has been checked against a limit.
///
/// Invariant: no memory is taken for a size that the payload cannot become, whatever its metadata says.
pub(super) fn decompress(payload: &[u8], codec: CompressionType, size: usize) -> Result<Vec<u8>, DecodeError> {
    let broken = DecodeError::Decompression { codec: codec.as_str_name() };
    if codec != CompressionType::Snappy && size.div_ceil(growth_max(codec)) > payload.len() {
        return Err(broken);
    }
    let plain = match codec {
        CompressionType::None => payload.to_vec(),
        CompressionType::Lz4 => lz4_flex::block::decompress(payload, size).map_err(|_| broken.clone())?,
        CompressionType::Zstd => zstd::bulk::decompress(payload, size).map_err(|_| broken.clone())?,
        CompressionType::Zlib => {
            miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(payload, size).map_err(|_| broken.clone())?
        }
        CompressionType::Snappy => return Err(DecodeError::UnsupportedCodec { codec: codec.as_str_name() }),
    };
    if plain.len() == size { Ok(plain) } else { Err(broken) }
}
