//! One quiz.toml: tables to dotted names, each checked for name and type, each with its line.

use super::{Origin, Setting, Value};
use crate::error::{Error, Result};
use crate::load::document::{line, nearest, place, syntax_error};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Reads one file; no file means no settings.
pub(super) fn read(path: &Path, types: &BTreeMap<String, Value>) -> Result<Vec<(String, Setting)>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::input(format!("cannot read {}", path.display())).because(e)),
    };
    parse(path, &text, types)
}

/// The settings in a file's text.
pub(super) fn parse(path: &Path, text: &str, types: &BTreeMap<String, Value>) -> Result<Vec<(String, Setting)>> {
    let table = DeTable::parse(text).map_err(|e| syntax_error(path, text, &e))?;
    let mut reader = Reader { path, text, types, found: Vec::new() };
    reader.table("", table.get_ref())?;
    Ok(reader.found)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
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
                let origin = Origin::File { path: self.path.to_owned(), line: line(self.text, &key.span()) };
                self.found.push((name, Setting { value, origin }));
            } else if self.types.keys().any(|known| known.starts_with(&inside)) {
                let DeValue::Table(table) = value.get_ref() else {
                    return Err(self.wrong(&value.span(), &format!("`{name}` is a table: write [{name}]")));
                };
                self.table(&inside, table)?;
            } else {
                return Err(self.unknown(&name, &key.span()));
            }
        }
        Ok(())
    }

    fn value(&self, name: &str, wanted: &Value, value: &DeValue<'_>, span: &Range<usize>) -> Result<Value> {
        let (read, kind) = match wanted {
            Value::Text(_) | Value::File { .. } => {
                (value.as_str().map(|text| Value::Text(text.to_owned())), "a text in quotes")
            }
            Value::Flag(_) => (value.as_bool().map(Value::Flag), "true or false"),
            Value::Number(_) => {
                let integer = value.as_integer().map(|i| u64::from_str_radix(i.as_str(), i.radix()));
                (integer.and_then(std::result::Result::ok).map(Value::Number), "a number that is not negative")
            }
            Value::List(_) => {
                let items = value.as_array().map(|items| items.iter().map(|item| item.get_ref().as_str()));
                let items = items.and_then(|items| items.map(|item| item.map(str::to_owned)).collect());
                (items.map(Value::List), "a list of texts: [\"a\", \"b\"]")
            }
        };
        read.ok_or_else(|| self.wrong(span, &format!("`{name}` is {kind}, not {}", value.type_str())))
    }

    fn unknown(&self, name: &str, span: &Range<usize>) -> Error {
        let error = self.wrong(span, &format!("there is no setting `{name}`"));
        match nearest(
            name,
            self.types.keys().map(String::as_str).chain(["kernel", "rootfs", "machine", "build", "runs", "zfs"]),
        ) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`quiz config` lists the settings"),
        }
    }

    fn wrong(&self, span: &Range<usize>, what: &str) -> Error {
        Error::input(format!("{}: {what}", place(self.path, self.text, span)))
    }
}
