//! What a recipe reads: one entry of `[inputs]`, as text or as a table. Knows no recipe but its own.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

/// One input of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where it comes from.
    pub from: InputFrom,
    /// If not empty: only these paths of the tree are seen, and only they enter the key.
    pub paths: Vec<String>,
    /// For a list ([`InputFrom::Modules`], [`InputFrom::Layers`]): the recipe that makes the input out of each item.
    pub through: Option<String>,
    /// The script is told its digest and does not see it.
    pub digest_only: bool,
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputFrom {
    /// An output of a stage, by the stage's name; without an output name it must have just one.
    Stage {
        /// For a recipe with a parameter `recipe:stage/output`.
        stage: String,
        /// The output's name.
        output: Option<String>,
    },
    /// The parameter of the recipe: what stands after the `:` of the stage's name.
    Of,
    /// The files and init hooks of the profiles that are on.
    Profiles,
    /// The trees of kernel modules that the profiles that are on bring.
    Modules,
    /// The trees that the profiles that are on lay over the root; the topmost first.
    Layers,
}

impl InputFrom {
    /// Reads "stage/output", "stage", "recipe:stage/output" (whole: its output has to be named apart) or "$word".
    pub(in crate::load) fn parse(text: &str) -> Self {
        match text {
            "$of" => Self::Of,
            "$profiles" => Self::Profiles,
            "$modules" => Self::Modules,
            "$layers" => Self::Layers,
            _ => match text.rsplit_once('/') {
                Some((stage, output)) if !stage.contains(':') => {
                    Self::Stage { stage: stage.to_owned(), output: Some(output.to_owned()) }
                }
                _ => Self::Stage { stage: text.to_owned(), output: None },
            },
        }
    }

    /// It stands for as many inputs as the profiles bring.
    pub fn is_list(&self) -> bool {
        matches!(self, Self::Modules | Self::Layers)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct InputTable {
    from: String,
    output: Option<String>,
    through: Option<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    digest_only: bool,
}

/// `"stage/output"` or `{ from = …, output = …, paths = […] }`; by hand, because serde's untagged enums lose the reason.
pub(super) struct InputField(pub Input);

impl<'de> Deserialize<'de> for InputField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = InputField;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"stage/output\" or { from = \"stage\", output = \"…\", paths = [\"…\"] }")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<InputField, E> {
                let from = InputFrom::parse(text);
                Ok(InputField(Input { from, paths: Vec::new(), through: None, digest_only: false }))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<InputField, A::Error> {
                let table = InputTable::deserialize(MapAccessDeserializer::new(map))?;
                let wrong = |what: String| Err(serde::de::Error::custom(what));
                let mut from = InputFrom::parse(&table.from);
                match (&mut from, table.output) {
                    (InputFrom::Stage { output: slot @ None, .. }, Some(output)) => *slot = Some(output),
                    (_, Some(output)) => {
                        return wrong(format!(
                            "`{}` already names an output, so `output = \"{output}\"` is one too many",
                            table.from
                        ));
                    }
                    (_, None) => {}
                }
                if table.through.is_some() && !from.is_list() {
                    return wrong(format!("`through` is for $modules and $layers, not for `{}`", table.from));
                }
                let (paths, through, digest_only) = (table.paths, table.through, table.digest_only);
                Ok(InputField(Input { from, paths, through, digest_only }))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
