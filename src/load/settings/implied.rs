//! Settings that nobody has written, and that follow from what was.

use super::{Origin, Setting, Settings, Value};
use std::collections::BTreeMap;

impl Settings {
    /// Sets a text that nobody has set, as a profile wants it.
    pub(in crate::load) fn default_to(&mut self, name: &str, text: &str, profile: &str) {
        if let Some(setting) = self.values.get_mut(name).filter(|setting| setting.origin == Origin::Default) {
            let (value, origin) = (Value::Text(text.to_owned()), Origin::Profile(profile.to_owned()));
            *setting = Setting { value, origin };
        }
    }
}

/// A kernel's version may say where it comes from: `package` and `6.12@package` are kernels that the distribution compiled, whoever set
/// kernel.source before.
pub(super) fn name_source(values: &mut BTreeMap<String, Setting>) {
    const PACKAGE: &str = "package";
    let Some(Setting { value: Value::Text(text), origin }) = values.get_mut("kernel.version") else { return };
    let version = match text.strip_suffix(PACKAGE) {
        Some("") => "default".to_owned(),
        Some(rest) if rest.len() > 1 && rest.ends_with('@') => rest[..rest.len() - 1].to_owned(),
        _ => return,
    };
    *text = version;
    let source = Setting { value: Value::Text(PACKAGE.to_owned()), origin: origin.clone() };
    values.insert("kernel.source".to_owned(), source);
}
