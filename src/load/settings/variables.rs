//! Settings out of the environment: `QUIZ_KERNEL_VERSION` is `kernel.version`.

use super::{Origin, Setting, Value};
use crate::document::nearest;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// The environment.
pub(super) type Variables = Vec<(OsString, OsString)>;

/// `QUIZ_*` variables that are no settings.
const OTHER_VARIABLES: &[&str] = &["QUIZ_CACHE_DIR", crate::load::trust::VARIABLE];

/// The variable that sets `name`: `kernel.version` → `QUIZ_KERNEL_VERSION`.
fn variable_name(name: &str) -> String {
    format!("QUIZ_{}", name.to_uppercase().replace(['.', '-'], "_"))
}

/// Those of quiz's settings, as `NAME=value`. What is not UTF-8 is none: [`read`] says so.
pub(super) fn words(all: &Variables) -> Vec<String> {
    let word = |(name, value): &(OsString, OsString)| Some(format!("{}={}", name.to_str()?, value.to_str()?));
    let mut words: Vec<String> = all.iter().filter(|(name, _)| is_setting(name)).filter_map(word).collect();
    words.sort();
    words
}

/// Whether a word of [`words`] sets one of the settings whose names begin so.
pub(super) fn is_one_of(word: &str, begin: &[&str]) -> bool {
    begin.iter().any(|name| word.starts_with(&variable_name(name)))
}

fn is_setting(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("QUIZ_") && !OTHER_VARIABLES.contains(&name))
}

/// The settings that the environment has.
///
/// # Errors
/// A variable that begins as quiz's do and is none, or whose value is none of its setting's type.
pub(super) fn read(all: Variables, types: &BTreeMap<String, Value>) -> Result<Vec<(String, Setting)>> {
    let known: BTreeMap<String, &String> = types.keys().map(|name| (variable_name(name), name)).collect();
    let mut found = Vec::new();
    for (variable, text) in all {
        let Some(variable) = variable.to_str().filter(|_| is_setting(&variable)) else { continue };
        let Some(&name) = known.get(variable) else {
            let names = known.keys().map(String::as_str).chain(OTHER_VARIABLES.iter().copied());
            let error = Error::input(format!("quiz reads no environment variable {variable}"));
            return Err(match nearest(variable, names) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error.hint("`quiz config` lists the settings; QUIZ_KERNEL_VERSION sets kernel.version"),
            });
        };
        let text =
            text.into_string().map_err(|text| Error::input(format!("{variable}={} is not UTF-8", text.display())))?;
        let wrong = |wanted: &str| Error::input(format!("{variable}={text}: {wanted} is wanted"));
        let value = match &types[name] {
            Value::Text(_) => Value::Text(text),
            Value::List(_) if text.contains('\n') => {
                Value::List(text.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect())
            }
            Value::List(_) => Value::List(text.split_whitespace().map(str::to_owned).collect()),
            Value::Number(_) => Value::Number(text.parse().map_err(|_| wrong("a number"))?),
            Value::Flag(_) => Value::Flag(text.parse().map_err(|_| wrong("true or false"))?),
            Value::File { .. } => Value::Text(text),
        };
        found.push((name.clone(), Setting { value, origin: Origin::Variable(variable.to_owned()) }));
    }
    Ok(found)
}
