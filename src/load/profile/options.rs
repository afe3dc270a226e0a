//! The options of a profile: what may be written behind its name, as in `memdev:count=2,size=1G`, and what hooks are told.
//!
//! Knows nothing of what an option is for.

use crate::error::{Error, Result};
use crate::load::document::nearest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// One option, as profile.toml has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OptionField {
    r#type: OptionType,
    default: Spanned<toml::Value>,
    about: String,
    /// The only texts that may be given.
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OptionType {
    /// A number from 1 on.
    Int,
    /// Bytes: 512M, 1G. Hooks are told the number of bytes.
    Size,
    /// Yes or no; the name alone says yes. Hooks are told 1 or 0.
    Flag,
    /// A word.
    String,
}

/// An option of a profile, for people and for what is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileOption {
    /// What it is now: a number, a number of bytes, 1 or 0, or a word.
    pub value: String,
    /// What it is when nobody says anything, as profile.toml has it.
    pub default: String,
    /// One line for people.
    pub about: String,
}

/// Splits `name:key=value,key=value,flag`.
pub(super) fn split(text: &str) -> (&str, Vec<(&str, Option<&str>)>) {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    let pair = |item| match str::split_once(item, '=') {
        Some((key, value)) => (key, Some(value)),
        None => (item, None),
    };
    (name, rest.split(',').filter(|item| !item.is_empty()).map(pair).collect())
}

/// Every option of a profile with the value it has when `given` was written behind the profile's name.
///
/// # Errors
/// An option that the profile does not have, or a value that is none of its type; named with the profile.
pub(super) fn read(
    profile: &str,
    fields: &BTreeMap<String, OptionField>,
    given: &[(&str, Option<&str>)],
) -> Result<BTreeMap<String, ProfileOption>> {
    if let Some((wrong, _)) = given.iter().find(|(key, _)| !fields.contains_key(*key)) {
        let error = Error::input(format!("the profile {profile} has no option `{wrong}`"));
        let known: Vec<String> = fields.iter().map(|(name, field)| format!("{name} ({})", field.about)).collect();
        return Err(match nearest(wrong, fields.keys().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => error.hint("it has none"),
            None => error.hint(format!("it has: {}", known.join(", "))),
        });
    }
    let one = |(name, field): (&String, &OptionField)| {
        let default = field.default();
        // The last one counts, as with flags.
        let text = match given.iter().rev().find(|(key, _)| key == name) {
            Some((_, Some(value))) => *value,
            Some((_, None)) if matches!(field.r#type, OptionType::Flag) => "true",
            Some((_, None)) => "",
            None => &default,
        };
        let value = field.value(text).ok_or_else(|| {
            Error::input(format!("{profile}:{name}={text}: {} is wanted", field.wanted())).hint(field.about.clone())
        })?;
        Ok((name.clone(), ProfileOption { value, about: field.about.clone(), default }))
    };
    fields.iter().map(one).collect()
}

/// The words that tell the guest what the options of a profile are: `quiz.<profile>.<option>=value`. They travel on the kernel's
/// command line, so that no image has to be made for them.
pub(super) fn words(profile: &str, options: &BTreeMap<String, ProfileOption>) -> Vec<String> {
    options.iter().map(|(name, option)| format!("quiz.{profile}.{name}={}", option.value)).collect()
}

impl OptionField {
    fn default(&self) -> String {
        let value = self.default.get_ref();
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    /// Whether the default is of the type; `wrong` is told where it stands and what is wanted.
    pub(super) fn check(&self, wrong: impl Fn(&Range<usize>, &str) -> Error) -> Result<()> {
        let is_right = self.value(&self.default()).is_some();
        if is_right { Ok(()) } else { Err(wrong(&self.default.span(), &self.wanted())) }
    }

    fn value(&self, text: &str) -> Option<String> {
        let value = match self.r#type {
            OptionType::Int => number(text)?.to_string(),
            OptionType::Size => size(text)?.to_string(),
            OptionType::Flag => ["0", "1"][usize::from(text.parse::<bool>().ok()?)].to_owned(),
            // What else could be there would end a word of the kernel's command line, or mean something to a shell.
            OptionType::String => {
                let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:+@".contains(&b));
                plain.then(|| text.to_owned())?
            }
        };
        (self.values.is_empty() || self.values.contains(&value)).then_some(value)
    }

    fn wanted(&self) -> String {
        match self.r#type {
            _ if !self.values.is_empty() => format!("one of {}", self.values.join(", ")),
            OptionType::Int => "a number from 1 on".to_owned(),
            OptionType::Size => "a size, as in 512M or 1G,".to_owned(),
            OptionType::Flag => "true or false".to_owned(),
            OptionType::String => "a word of letters, digits and -_./:+@".to_owned(),
        }
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|n| *n > 0 && !text.starts_with('+'))
}

fn size(text: &str) -> Option<u64> {
    let (at, unit) = text.char_indices().last()?;
    let shift = match unit.to_ascii_uppercase() {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return number(text),
    };
    number(&text[..at])?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Result<Vec<String>> {
        let fields = "[count]\ntype = \"int\"\ndefault = 4\nabout = \"how many\"\n\
                      [size]\ntype = \"size\"\ndefault = \"256M\"\nabout = \"of each\"\n\
                      [keep]\ntype = \"flag\"\ndefault = false\nabout = \"for ever\"\n\
                      [layout]\ntype = \"string\"\ndefault = \"mirror\"\nabout = \"of all\"\nvalues = [\"mirror\", \"raidz\"]\n\
                      [name]\ntype = \"string\"\ndefault = \"tank\"\nabout = \"its name\"\n";
        let (name, given) = split(text);
        read(name, &toml::from_str(fields).unwrap(), &given).map(|options| words(name, &options))
    }

    #[test]
    fn what_is_given_wins_over_the_default_and_sizes_are_bytes() {
        let words = |count: u32, keep: u32, layout: &str, size: u64| {
            let (count, keep, size) = (format!("count={count}"), format!("keep={keep}"), format!("size={size}"));
            [count, keep, format!("layout={layout}"), "name=tank".to_owned(), size]
                .map(|word| format!("quiz.dev.{word}"))
        };
        assert_eq!(given("dev").unwrap(), words(4, 0, "mirror", 256 << 20));
        assert_eq!(given("dev:size=1G,count=2,count=3,keep,layout=raidz").unwrap(), words(3, 1, "raidz", 1 << 30));
        assert_eq!(given("dev:keep=true,keep=false").unwrap(), words(4, 0, "mirror", 256 << 20));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_profile() {
        let error = given("dev:cuont=2").unwrap_err();
        assert_eq!(error.to_string(), "the profile dev has no option `cuont`");
        assert_eq!(error.hints(), ["did you mean `count`?"]);
        for wrong in [
            "count=0",
            "count=-1",
            "count=two",
            "count",
            "size=1X",
            "size=G",
            "size=99999999T",
            "size",
            "keep=yes",
            "layout=star",
            "name=a b",
            "name=a;b",
        ] {
            assert!(given(&format!("dev:{wrong}")).unwrap_err().to_string().contains("is wanted"), "{wrong}");
        }
    }
}
