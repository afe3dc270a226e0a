//! How structured files of the cache become bytes and back: a checked header, then bincode. The only user of bincode.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `quizbin\n` |
//! | 8 | 4 | format version, little-endian: 1 |
//! | 12 | 4 | what the payload is (see [`What`]), little-endian |
//! | 16 | 8 | length of the payload, little-endian |
//! | 24 | 32 | blake3 of the payload |
//! | 56 | length | payload: bincode 2, `config::standard()` |
//!
//! Nothing is decoded before all of the header holds, so a damaged file is never a panic and never a wrong value.
//! bincode is pinned to 2.0.1 and unmaintained (RUSTSEC-2025-0141): its format is frozen, and the checksum and the limit here
//! stand between it and the disk.
//!
//! Does not know where files lie or what the values mean.

use serde::{Serialize, de::DeserializeOwned};

/// Bumped when the meaning of any payload changes; the `version` file of the cache changes with it.
pub(crate) const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"quizbin\n";
const HEADER: usize = 56;
/// Larger payloads are refused when written: a tree of two million files fits.
const LARGEST: usize = 256 * 1024 * 1024;
/// bincode counts a variable-length integer, at least one byte on disk, as up to 8 bytes; what could be written can be read.
const LIMIT: usize = 8 * LARGEST;

/// The longest file that can be good, in bytes.
pub(crate) const LONGEST: u64 = (HEADER + LARGEST) as u64;

/// What a payload is. A file of one kind is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Record = 1,
    Tree = 2,
    Subtree = 3,
    Memo = 4,
    Latest = 5,
    Scratch = 8,
    // 6 and 7 were older layouts of `Stats`. Their files may still lie in a cache, so nothing else gets these numbers.
    Stats = 9,
    Glance = 10,
    Passing = 11,
    Whole = 12,
    Named = 13,
    Pin = 14,
    Need = 15,
}

/// Header and payload. The error says why it cannot be done.
pub(crate) fn encode<T: Serialize>(what: What, value: &T) -> Result<Vec<u8>, String> {
    encode_up_to(LARGEST, what, value)
}

fn encode_up_to<T: Serialize + ?Sized>(largest: usize, what: What, value: &T) -> Result<Vec<u8>, String> {
    let mut file = vec![0; HEADER];
    bincode::serde::encode_into_std_write(value, &mut file, bincode::config::standard()).map_err(|e| e.to_string())?;
    let payload = &file[HEADER..];
    if payload.len() > largest {
        return Err(format!("{} bytes are too large: the limit is {largest}", payload.len()));
    }
    let header = header(what, payload);
    file[..HEADER].copy_from_slice(&header);
    Ok(file)
}

/// The value, or `None` when anything at all is wrong with the file.
pub(crate) fn decode<T: DeserializeOwned>(what: What, file: &[u8]) -> Option<T> {
    let (found, payload) = file.split_at_checked(HEADER)?;
    if payload.len() > LARGEST || found != header(what, payload) {
        return None;
    }
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (value, read) = bincode::serde::decode_from_slice(payload, config).ok()?;
    (read == payload.len()).then_some(value)
}

/// Whether a file has a head of some kind, and what it says.
pub(crate) fn is_whole(file: &[u8]) -> bool {
    let Some((found, payload)) = file.split_at_checked(HEADER) else { return false };
    // Everything is compared but the kind: whoever reads the file knows which one he wants.
    let head = header(What::Record, payload);
    payload.len() <= LARGEST && found[..12] == head[..12] && found[16..] == head[16..]
}

/// For `#[serde(with = "codec::pieces")]`: a long list as pieces that several threads read at the same time.
pub(crate) mod pieces {
    use super::LIMIT;
    use rayon::prelude::*;
    use serde::de::{DeserializeOwned, Deserializer, Error as _};
    use serde::ser::{Error as _, Serializer};
    use serde::{Deserialize, Serialize};
    use serde_bytes::ByteBuf;

    /// Items of a piece.
    const PIECE: usize = 2048;

    pub(crate) fn serialize<T: Serialize, S: Serializer>(items: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        let pack = |piece: &[T]| bincode::serde::encode_to_vec(piece, bincode::config::standard()).map(ByteBuf::from);
        let pieces: Vec<ByteBuf> = items.chunks(PIECE).map(pack).collect::<Result<_, _>>().map_err(S::Error::custom)?;
        pieces.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: DeserializeOwned + Send,
        D: Deserializer<'de>,
    {
        let pieces = Vec::<ByteBuf>::deserialize(deserializer)?;
        let unpack = |piece: &ByteBuf| {
            let config = bincode::config::standard().with_limit::<LIMIT>();
            match bincode::serde::decode_from_slice::<Vec<T>, _>(piece, config) {
                Ok((items, read)) if read == piece.len() => Ok(items),
                Ok(_) => Err("a piece has bytes after its end".to_owned()),
                Err(e) => Err(e.to_string()),
            }
        };
        let unpacked: Vec<Vec<T>> =
            pieces.par_iter().map(unpack).collect::<Result<_, _>>().map_err(D::Error::custom)?;
        let mut items = Vec::with_capacity(unpacked.iter().map(Vec::len).sum());
        unpacked.into_iter().for_each(|piece| items.extend(piece));
        Ok(items)
    }
}

fn header(what: What, payload: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..16].copy_from_slice(&(what as u32).to_le_bytes());
    header[16..24].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    header[24..].copy_from_slice(blake3::hash(payload).as_bytes());
    header
}

/// The bytes as a whole file, and as the payload of one whose header holds, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz<T: DeserializeOwned>(what: What, bytes: &[u8]) -> Option<T> {
    decode(what, bytes).or_else(|| decode(what, &[&header(what, bytes)[..], bytes].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Value = (String, Vec<u64>, Option<bool>);

    fn value() -> Value {
        ("text".to_owned(), vec![0, 250, 251, 65_536, u64::MAX], Some(true))
    }

    #[test]
    fn round_trip_and_golden_header() {
        let file = encode(What::Record, &value()).unwrap();
        assert_eq!(decode::<Value>(What::Record, &file), Some(value()));
        assert_eq!(&file[..24], b"quizbin\n\x01\0\0\0\x01\0\0\0\x1b\0\0\0\0\0\0\0");
        let payload = b"\x04text\x05\0\xfa\xfb\xfb\0\xfc\0\0\x01\0\xfd\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01";
        assert_eq!(&file[56..], payload);
        assert_eq!(&file[24..56], blake3::hash(&file[56..]).as_bytes());
    }

    #[test]
    fn every_flipped_bit_and_every_length_is_noticed() {
        let file = encode(What::Record, &value()).unwrap();
        for length in 0..file.len() {
            assert_eq!(decode::<Value>(What::Record, &file[..length]), None, "cut to {length}");
        }
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode::<Value>(What::Record, &damaged), None, "bit {bit}");
        }
        let mut longer = file.clone();
        longer.push(0);
        assert_eq!(decode::<Value>(What::Record, &longer), None);
        assert_eq!(decode::<Value>(What::Memo, &file), None);
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Long(#[serde(with = "pieces")] Vec<(String, u64)>);

    #[test]
    fn a_list_in_pieces_is_the_same_list_and_a_piece_that_lies_is_refused() {
        let long = Long((0..5000).map(|n| (format!("item {n}"), n)).collect());
        let file = encode(What::Stats, &long).unwrap();
        assert_eq!(decode::<Long>(What::Stats, &file), Some(long));
        assert_eq!(
            decode::<Long>(What::Stats, &encode(What::Stats, &Long(Vec::new())).unwrap()),
            Some(Long(Vec::new()))
        );
        // One item, and a byte after it.
        let lying = vec![serde_bytes::ByteBuf::from(b"\x01\x01a\x05\x00".to_vec())];
        assert_eq!(decode::<Long>(What::Stats, &encode(What::Stats, &lying).unwrap()), None);
    }

    /// A header that holds over a payload that bincode must refuse: too long, trailing, or nonsense.
    #[test]
    fn a_payload_that_lies_is_refused() {
        let sealed = |payload: &[u8]| [&header(What::Memo, payload)[..], payload].concat();
        // A string of u64::MAX bytes: without a limit bincode asks for the memory first.
        assert_eq!(decode::<String>(What::Memo, &sealed(&[253, 255, 255, 255, 255, 255, 255, 255, 255])), None);
        assert_eq!(decode::<Vec<u64>>(What::Memo, &sealed(&[253, 255, 255, 255, 255, 255, 255, 255, 127])), None);
        assert_eq!(decode::<u64>(What::Memo, &sealed(&[1, 2])), None);
        assert_eq!(decode::<bool>(What::Memo, &sealed(&[7])), None);
        assert_eq!(decode::<u64>(What::Memo, &sealed(&[])), None);
        assert_eq!(decode::<u64>(What::Memo, &sealed(&[1])), Some(1));
    }

    #[test]
    fn what_is_too_large_to_read_is_not_written() {
        assert!(encode_up_to(6, What::Memo, "12345").is_ok());
        assert_eq!(encode_up_to(5, What::Memo, "12345").unwrap_err(), "6 bytes are too large: the limit is 5");
        // The worst case of what bincode counts: one byte on disk, eight bytes in its books.
        const NUMBERS: usize = 200;
        let file = encode_up_to(NUMBERS + 1, What::Memo, &vec![250u64; NUMBERS]).unwrap();
        let config = bincode::config::standard().with_limit::<{ LIMIT / LARGEST * (NUMBERS + 1) }>();
        let (numbers, _) = bincode::serde::decode_from_slice::<Vec<u64>, _>(&file[HEADER..], config).unwrap();
        assert_eq!(numbers.len(), NUMBERS);
    }
}
