//! The options of a profile: what may be written behind its name, as in `memdev:count=2,size=1G`, and what hooks are told.

use crate::error::{Error, Result};
use crate::load::document::nearest;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One option, as profile.toml has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OptionField {
    r#type: OptionType,
    default: toml::Value,
    about: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OptionType {
    /// A number from 1 on.
    Int,
    /// Bytes: 512M, 1G. Hooks are told the number of bytes.
    Size,
}

/// Splits `name:key=value,key=value`.
pub(super) fn split(text: &str) -> (&str, Vec<(&str, &str)>) {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    let pair =
        |item: &'_ str| item.split_once('=').map_or((item.len(), item.len()), |(key, _)| (key.len(), key.len() + 1));
    let given = rest.split(',').filter(|item| !item.is_empty()).map(|item| {
        let (key, value) = pair(item);
        (&item[..key], &item[value.min(item.len())..])
    });
    (name, given.collect())
}

/// The words that tell the guest what the options of a profile are: `QUIZ_<PROFILE>_<OPTION>=value`. The kernel hands such words
/// of its command line to the first process as environment, so that no image has to be made for them.
///
/// # Errors
/// An option that the profile does not have, or a value that is none of its type; named with the profile.
pub(super) fn words(
    profile: &str,
    fields: &BTreeMap<String, OptionField>,
    given: &[(&str, &str)],
) -> Result<Vec<String>> {
    if let Some((wrong, _)) = given.iter().find(|(key, _)| !fields.contains_key(*key)) {
        let error = Error::input(format!("the profile {profile} has no option `{wrong}`"));
        let known: Vec<String> = fields.iter().map(|(name, field)| format!("{name} ({})", field.about)).collect();
        return Err(match nearest(wrong, fields.keys().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => error.hint("it has none"),
            None => error.hint(format!("it has: {}", known.join(", "))),
        });
    }
    let word = |(name, field): (&String, &OptionField)| {
        // The last one counts, as with flags.
        let value = match given.iter().rev().find(|(key, _)| key == name) {
            Some((_, value)) => (*value).to_owned(),
            None => field.default.as_str().map_or_else(|| field.default.to_string(), str::to_owned),
        };
        let number = field.r#type.read(&value).ok_or_else(|| {
            let wanted = match field.r#type {
                OptionType::Int => "a number from 1 on",
                OptionType::Size => "a size, as in 512M or 1G,",
            };
            Error::input(format!("{profile}:{name}={value}: {wanted} is wanted"))
        })?;
        Ok(format!("QUIZ_{profile}_{name}={number}").to_uppercase().replace('-', "_"))
    };
    fields.iter().map(word).collect()
}

impl OptionType {
    fn read(self, text: &str) -> Option<u64> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|n| *n > 0 && !text.starts_with('+'));
        match (self, text.char_indices().last()?) {
            (Self::Int, _) => number(text),
            (Self::Size, (at, unit)) => {
                let shift = match unit.to_ascii_uppercase() {
                    'K' => 10,
                    'M' => 20,
                    'G' => 30,
                    'T' => 40,
                    _ => return number(text),
                };
                number(&text[..at])?.checked_mul(1 << shift)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memdev(text: &str) -> Result<Vec<String>> {
        let fields = "[count]\ntype = \"int\"\ndefault = 4\nabout = \"how many\"\n\
                      [size]\ntype = \"size\"\ndefault = \"256M\"\nabout = \"of each\"\n";
        let (name, given) = split(text);
        words(name, &toml::from_str(fields).unwrap(), &given)
    }

    #[test]
    fn what_is_given_wins_over_the_default_and_sizes_are_bytes() {
        assert_eq!(memdev("memdev").unwrap(), ["QUIZ_MEMDEV_COUNT=4", "QUIZ_MEMDEV_SIZE=268435456"]);
        assert_eq!(
            memdev("memdev:size=1G,count=2,count=3").unwrap(),
            ["QUIZ_MEMDEV_COUNT=3", "QUIZ_MEMDEV_SIZE=1073741824"]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_the_profile() {
        let error = memdev("memdev:cuont=2").unwrap_err();
        assert_eq!(error.to_string(), "the profile memdev has no option `cuont`");
        assert_eq!(error.hints(), ["did you mean `count`?"]);
        for wrong in ["count=0", "count=-1", "count=two", "count", "size=1X", "size=G", "size=99999999T"] {
            assert!(memdev(&format!("memdev:{wrong}")).unwrap_err().to_string().contains("is wanted"), "{wrong}");
        }
    }
}
