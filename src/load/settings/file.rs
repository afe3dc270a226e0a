//! One quiz.toml: tables to dotted names, each checked for name and type, each with its line.

use super::{Origin, Setting, Value};
use crate::document::{Document, nearest};
use crate::error::{Error, Place, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// The settings in a file.
pub(super) fn read(document: &Document, types: &BTreeMap<String, Value>) -> Result<Vec<(String, Setting)>> {
    let tables = document.tables()?;
    let mut reader = Reader { document, types, found: Vec::new() };
    reader.table("", tables.get_ref())?;
    Ok(reader.found)
}

struct Reader<'a> {
    document: &'a Document,
    types: &'a BTreeMap<String, Value>,
    found: Vec<(String, Setting)>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<()> {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let inside = format!("{name}.");
            if let Some(wanted) = self.types.get(&name) {
                let value = self.value(&name, wanted, value.get_ref(), &value.span())?;
                let (path, line) = (self.document.path().to_owned(), self.document.place(&key.span()).line());
                self.found.push((name, Setting { value, origin: Origin::File { path, line } }));
            } else if self.types.keys().any(|known| known.starts_with(&inside)) {
                let DeValue::Table(table) = value.get_ref() else {
                    let place = self.document.place(&value.span()).labelled("no table");
                    return Err(Error::input(format!("`{name}` is a table: write [{name}]")).at(place));
                };
                self.table(&inside, table)?;
            } else {
                return Err(self.unknown(&name, &key.span()));
            }
        }
        Ok(())
    }

    fn value(&self, name: &str, wanted: &Value, value: &DeValue<'_>, span: &Range<usize>) -> Result<Value> {
        let place = self.document.place(span);
        let wrong = |kind: &str| wrong(name, kind, value.type_str(), place.clone());
        match wanted {
            Value::Text(_) | Value::File { .. } => {
                let quoted = || Err(wrong("a text in quotes").hint(format!("write \"{}\"", place.parts()[1])));
                match value {
                    DeValue::Array(_) | DeValue::Table(_) => Err(wrong("a text in quotes")),
                    _ => value.as_str().map_or_else(quoted, |text| Ok(Value::Text(text.to_owned()))),
                }
            }
            Value::Flag(_) => value.as_bool().map(Value::Flag).ok_or_else(|| wrong("true or false")),
            Value::Number(_) => {
                let bare = || {
                    let error = wrong("a number that is not negative");
                    match value.as_str().filter(|text| text.parse::<u64>().is_ok()) {
                        Some(number) => error.hint(format!("without quotes: {number}")),
                        None => error,
                    }
                };
                let integer = value.as_integer().ok_or_else(bare)?;
                let (digits, radix) = (integer.as_str(), integer.radix());
                u64::from_str_radix(digits, radix).map(Value::Number).map_err(|_| match digits.strip_prefix('-') {
                    Some(_) => self::wrong(name, "a number that is not negative", digits, place.clone()),
                    None => Error::input(format!("`{name}` is too large"))
                        .at(place.clone().labelled("more than 64 bits hold")),
                })
            }
            Value::List(_) => {
                const KIND: &str = "a list of texts: [\"a\", \"b\"]";
                let item = |item: &toml::Spanned<DeValue<'_>>| {
                    let wrong =
                        || self::wrong(name, KIND, item.get_ref().type_str(), self.document.place(&item.span()));
                    item.get_ref().as_str().map(str::to_owned).ok_or_else(wrong)
                };
                let items = value.as_array().ok_or_else(|| wrong(KIND))?;
                items.iter().map(item).collect::<Result<_>>().map(Value::List)
            }
        }
    }

    fn unknown(&self, name: &str, span: &Range<usize>) -> Error {
        let place = self.document.place(span).labelled("not known here");
        let error = Error::input(format!("there is no setting `{name}`")).at(place);
        let names = || self.types.keys().map(String::as_str);
        // The name of a setting without its table: `version` for `kernel.version`.
        let last = |known: &&str| known.rsplit_once('.').is_some_and(|(_, last)| last == name);
        let inside: Vec<&str> = names().filter(last).collect();
        if !inside.is_empty() {
            return error.hint(format!("did you mean `{}`?", inside.join("` or `")));
        }
        let tables: BTreeSet<&str> =
            names().filter_map(|known| known.split_once('.')).map(|(table, _)| table).collect();
        match nearest(name, names().chain(tables)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`quiz config` lists the settings"),
        }
    }
}

/// The error for a value that has to be a `kind` and is a `found`.
fn wrong(name: &str, kind: &str, found: &str, place: Place) -> Error {
    Error::input(format!("`{name}` has to be {kind}, not {found}")).at(place.labelled(found))
}
