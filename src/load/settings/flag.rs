//! A setting that a flag of the command line gives.

use super::Value;

/// A setting given as a flag.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// The setting's name.
    pub key: &'static str,
    /// What it is set to; the items of a list are added to those of the files.
    pub value: Value,
    /// The flag, for messages.
    pub flag: &'static str,
}

impl FlagValue {
    /// As words of a command line.
    pub(super) fn words(&self) -> Vec<String> {
        match &self.value {
            Value::List(items) => items.iter().map(|item| format!("{}={item}", self.flag)).collect(),
            Value::Text(text) => vec![format!("{}={text}", self.flag)],
            Value::Number(number) => vec![format!("{}={number}", self.flag)],
            Value::Flag(_) | Value::File { .. } => vec![self.flag.to_owned()],
        }
    }
}
