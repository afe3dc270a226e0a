//! What of a recipe can be set: one entry of `[options]`. Does not know what the script does with it.

use super::Fault;
use super::instead::no_setting;
use crate::load::settings::Value;
use serde::Deserialize;

/// A value that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionSpec {
    /// What it is when nobody sets it; also tells the type.
    pub default: Value,
    /// The value names a file, and the script is given that.
    pub is_file: bool,
    /// The setting that fills it; without one it is `[recipe.NAME] option`.
    pub setting: Option<String>,
    /// One line for people.
    pub about: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OptionField {
    r#type: OptionType,
    default: toml::Value,
    setting: Option<String>,
    about: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OptionType {
    String,
    List,
    Int,
    Bool,
    File,
}

/// Checks one option.
pub(super) fn read(name: &str, field: OptionField) -> Result<OptionSpec, Fault> {
    let default = match (field.r#type, &field.default) {
        (OptionType::String | OptionType::File, toml::Value::String(text)) => Some(Value::Text(text.clone())),
        (OptionType::Int, toml::Value::Integer(number)) => u64::try_from(*number).ok().map(Value::Number),
        (OptionType::Bool, toml::Value::Boolean(flag)) => Some(Value::Flag(*flag)),
        (OptionType::List, toml::Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>().map(Value::List)
        }
        _ => None,
    };
    let default = default.ok_or_else(|| {
        let wanted = match field.r#type {
            OptionType::String | OptionType::File => "a text in quotes",
            OptionType::List => "a list of texts",
            OptionType::Int => "a number that is not negative",
            OptionType::Bool => "true or false",
        };
        let fault = Fault::new(format!("option `{name}`: its default is not of its type"));
        fault.inside(&["options", name, "default"]).labelled(format!("{wanted} is wanted"))
    })?;
    if let Some(fault) = field.setting.as_deref().and_then(no_setting) {
        return Err(fault.inside(&["options", name, "setting"]));
    }
    let is_file = matches!(field.r#type, OptionType::File);
    Ok(OptionSpec { default, is_file, setting: field.setting, about: field.about })
}
