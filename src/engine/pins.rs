//! Results that are pinned: found by the name of a stage or by digits of a digest, with all that they need to be used.

use super::Engine;
use crate::build::StageState;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::machine::image;
use quiz_cache::{Digest, Kind, Pin, Record};

/// A word of at least so many hexadecimal digits is taken for the beginning of a digest, and not for the name of a stage.
const DIGITS: usize = 8;

/// Pins what a stage of the project is now, or the result with that digest.
///
/// # Errors
/// There is no such stage or result, several results have such a digest, or it is not made.
pub fn pin(engine: &Engine<'_>, word: &str) -> Result<Pin> {
    let waiting = || (engine.events)(Event::Paused { what: "`quiz gc`".to_owned() });
    let _held = engine.cache.hold(&waiting).map_err(unreadable)?;
    let all = engine.cache.results().map_err(unreadable)?;
    let found = by_digest(word, all.iter().map(|(record, _)| record))?;
    let record = match found {
        Some(record) => record.clone(),
        None => of_stage(engine, word)?,
    };
    for (name, output) in &record.outputs {
        if !engine.cache.is_present(output).map_err(unreadable)? {
            let error = Error::input(format!("{}/{name} is not in the cache any more", record.stage));
            return Err(error.hint(format!("quiz build {} makes it again", record.stage)));
        }
    }
    let known = engine.cache.made_of(&record, &all).map_err(unreadable)?.into_iter().collect();
    let pin = Pin { key: record.key, stage: record.stage.clone(), needs: needs(engine, &record), known };
    engine.cache.pin(&pin).map_err(|e| Error::build("the pin cannot be stored").because(e))?;
    Ok(pin)
}

/// Takes a pin away, which was that of a stage or of the result with that key.
///
/// # Errors
/// Nothing is pinned under that word, or several results are.
pub fn unpin(engine: &Engine<'_>, word: &str) -> Result<Pin> {
    let all = engine.cache.pins().map_err(unreadable)?;
    let is_it = |pin: &&Pin| {
        pin.stage == word || is_digits(word) && (starts(&pin.key.to_string(), word) || has_output(engine, pin, word))
    };
    let found: Vec<&Pin> = all.iter().filter(is_it).collect();
    match &found[..] {
        [pin] => {
            engine.cache.unpin(&pin.key).map_err(|e| Error::build("the pin cannot be removed").because(e))?;
            Ok((*pin).clone())
        }
        [] => {
            let pinned: Vec<String> = all.iter().map(|pin| format!("{} {}", pin.stage, pin.key.short())).collect();
            let error = Error::input(format!("{word:?} is not pinned"));
            Err(if pinned.is_empty() {
                error.hint("nothing is pinned")
            } else {
                error.hint(format!("pinned are: {}", pinned.join(", ")))
            })
        }
        several => {
            let keys: Vec<String> = several.iter().map(|pin| pin.key.short()).collect();
            Err(Error::input(format!("{word:?} is pinned more than once")).hint(format!(
                "name one by its key, as in `quiz cache pin {} --rm`; the keys are: {}",
                keys[0],
                keys.join(", ")
            )))
        }
    }
}

/// What a stage is by what the sources and settings are now.
fn of_stage(engine: &Engine<'_>, name: &str) -> Result<Record> {
    let stages = engine.stages_with(name)?;
    let wanted = stages.graph.find(name)?;
    // Bound once more, alone, so that no source is looked at but those that it is made of.
    let stages = engine.stages([stages.graph.stage(wanted).name.as_str()])?;
    let wanted = stages.graph.find(name)?;
    match engine.plan(&stages)?.into_iter().find(|(id, _)| *id == wanted) {
        Some((_, StageState::Known(record))) => Ok(record),
        _ => Err(Error::input(format!("{name} is not built in its current state"))
            .hint(format!("quiz build {name} builds it"))),
    }
}

/// The one result that has such a key or output; none if the word is no digest.
fn by_digest<'a>(word: &str, all: impl Iterator<Item = &'a Record>) -> Result<Option<&'a Record>> {
    if !is_digits(word) {
        return Ok(None);
    }
    let is_it = |record: &&Record| {
        let outputs = record.outputs.values().map(|output| output.digest.to_string());
        outputs.chain([record.key.to_string()]).any(|digest| starts(&digest, word))
    };
    let mut found: Vec<&Record> = all.filter(is_it).collect();
    // Equal results of several keys: any of them keeps what was meant, and the last one is the likeliest to be asked for.
    if found.windows(2).all(|pair| pair[0].outputs == pair[1].outputs) {
        found.sort_by_key(|record| std::cmp::Reverse(record.made_at));
        found.truncate(1);
    }
    match &found[..] {
        [record] => Ok(Some(record)),
        [] => Err(Error::input(format!("no result in the cache has a digest that begins with {word}"))
            .hint("`quiz cache -v` shows the keys of all results, `quiz --json graph` those of stages")),
        several => {
            let all: Vec<String> = several.iter().map(|r| format!("{} {}", r.stage, r.key.short())).collect();
            Err(Error::input(format!("several results have a digest that begins with {word}"))
                .hint(format!("name one by its key: {}", all.join(", "))))
        }
    }
}

fn is_digits(word: &str) -> bool {
    (DIGITS..=64).contains(&word.len()) && word.chars().all(|c| c.is_ascii_hexdigit())
}

fn starts(digest: &str, word: &str) -> bool {
    digest.starts_with(&word.to_ascii_lowercase())
}

/// The contents without which the result could not be used: the kernel and layers that an image's description names by digest.
fn needs(engine: &Engine<'_>, record: &Record) -> Vec<Digest> {
    let files = record.outputs.values().filter(|output| output.kind == Kind::File);
    let images = files.filter_map(|output| image::read(&engine.cache.path(output)).ok());
    images.flat_map(|image| image.layers.into_iter().chain([image.kernel])).collect()
}

fn has_output(engine: &Engine<'_>, pin: &Pin, word: &str) -> bool {
    let record = engine.cache.record(&pin.key).ok().flatten();
    record.is_some_and(|r| r.outputs.values().any(|output| starts(&output.digest.to_string(), word)))
}

fn unreadable(error: quiz_cache::Error) -> Error {
    Error::build("the cache cannot be read").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_a_digest_are_no_name_and_the_other_way_round() {
        for digits in ["0123abcd", &"f".repeat(64), "DEADBEEF"] {
            assert!(is_digits(digits), "{digits}");
        }
        for other in ["0123abc", "kernel-1", &"f".repeat(65), "toolchain:kernel"] {
            assert!(!is_digits(other), "{other}");
        }
    }
}
