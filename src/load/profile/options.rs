//! The options of a profile: what may be written behind its name, as in `memdev:count=2,size=1G`, and what hooks are told.
//!
//! Knows nothing of what an option is for.

use crate::document::nearest;
use crate::error::{Error, Result};
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

/// Splits `a,b:key=value,flag,c:key=value` into one text for each profile. Behind a profile's colon a word is an option of it if
/// it has a value, or if the profile has such an option; else it begins the next profile. `all` are the options of each.
///
/// # Errors
/// A value before any colon, or a word behind one that is neither an option nor a profile.
pub(super) fn several<'t>(text: &'t str, all: &BTreeMap<&str, &BTreeMap<String, OptionField>>) -> Result<Vec<&'t str>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut next = 0;
    for word in text.split(',') {
        let here = next..next + word.len();
        next = here.end + 1;
        if word.is_empty() {
            continue;
        }
        let Some(last) = found.last_mut() else {
            found.push(here);
            continue;
        };
        let before = &text[last.clone()];
        if is_option(word, split(before).0, before.contains(':'), all)? {
            last.end = here.end;
        } else {
            found.push(here);
        }
    }
    Ok(found.into_iter().map(|range| &text[range]).collect())
}

/// Whether a word behind the profile `name`, and behind its colon, is an option of it.
fn is_option(
    word: &str,
    name: &str,
    colon: bool,
    all: &BTreeMap<&str, &BTreeMap<String, OptionField>>,
) -> Result<bool> {
    match word.find([':', '=']).map(|at| &word[at..=at]) {
        Some("=") if !colon => Err(Error::input(format!("`{word}` is an option of no profile"))
            .hint(format!("options follow the profile's name and a colon: {name}:{word}"))),
        Some(sign) => Ok(sign == "="),
        None if !colon => Ok(false),
        None => {
            // A profile that is not known is an error later on, with its name.
            let Some(options) = all.get(name) else { return Ok(false) };
            if options.contains_key(word) || all.contains_key(word) {
                return Ok(options.contains_key(word));
            }
            let error = Error::input(format!("`{word}` is neither an option of the profile {name} nor a profile"));
            let known = options.keys().map(String::as_str).chain(all.keys().copied());
            Err(nearest(word, known).into_iter().fold(error, |e, near| e.hint(format!("did you mean `{near}`?"))))
        }
    }
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
            None if known.is_empty() => error.hint("the profile has no options"),
            None => error.hint(format!("its options are: {}", known.join(", "))),
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
            // Any other character could end a word of the kernel's command line, or mean something to a shell.
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

/// "512", "500M", "20G" as bytes; K, M, G and T are binary units.
pub fn size(text: &str) -> Option<u64> {
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

    /// Of two profiles: `dev`, with the options of above and one called as the other profile, and `net`.
    fn apart(text: &str) -> Result<String> {
        let flag = "type = \"flag\"\ndefault = false\nabout = \"x\"\n";
        let dev = toml::from_str(&format!("[count]\n{flag}[keep]\n{flag}[pool]\n{flag}")).unwrap();
        let none = BTreeMap::new();
        let all = BTreeMap::from([("dev", &dev), ("net", &none), ("pool", &none), ("zfs", &none)]);
        several(text, &all).map(|texts| texts.join(" "))
    }

    #[test]
    fn several_profiles_with_commas_between() {
        for (text, profiles) in [
            ("zfs", "zfs"),
            ("zfs,dev", "zfs dev"),
            ("dev:count=2,size=1G", "dev:count=2,size=1G"),
            ("zfs,dev:count=2,size=1G,net", "zfs dev:count=2,size=1G net"),
            ("dev:count=2,keep,net", "dev:count=2,keep net"),
            ("dev:keep,net,zfs", "dev:keep net zfs"),
            ("dev:count=2,net:port=1,pool:layout=raidz", "dev:count=2 net:port=1 pool:layout=raidz"),
            ("dev:name=a:b,net", "dev:name=a:b net"),
            // The option of the profile before it; behind another profile, or none, it is the profile.
            ("dev:count=2,pool", "dev:count=2,pool"),
            ("pool,dev:count=2,net,pool", "pool dev:count=2 net pool"),
            (",zfs,,dev:keep,", "zfs dev:keep"),
            // A name that is no profile is an error only later, when the profile is looked for.
            ("zsf,dve:count=2,net", "zsf dve:count=2 net"),
        ] {
            assert_eq!(apart(text).unwrap(), profiles, "{text}");
        }
        let error = apart("dev:count=2,kepe").unwrap_err();
        assert_eq!(error.to_string(), "`kepe` is neither an option of the profile dev nor a profile");
        assert_eq!(error.hints(), ["did you mean `keep`?"]);
        assert_eq!(apart("dev:count=2,ntt").unwrap_err().hints(), ["did you mean `net`?"]);
        let error = apart("zfs,dev,count=2").unwrap_err();
        assert_eq!(error.to_string(), "`count=2` is an option of no profile");
        assert_eq!(error.hints(), ["options follow the profile's name and a colon: dev:count=2"]);
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
