//! What is said of a TOML file that cannot be read, and where.

use super::*;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only read")]
struct Sample {
    version: u64,
    kind: Option<Kind>,
    #[serde(default)]
    lists: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    File,
    Tree,
}

/// The error as a line, the label, and the hints.
fn fails(text: &str) -> (String, String, Vec<String>) {
    let error = Document::new(Path::new("f"), text).parse::<Sample>().unwrap_err();
    (error.to_string(), error.place().unwrap().label().to_owned(), error.hints().to_vec())
}

#[test]
fn an_unknown_key_or_value_is_placed_and_the_nearest_named_or_all_of_them() {
    let (error, label, hints) = fails("version = 1\nknd = \"file\"\n");
    assert_eq!((error.as_str(), label.as_str()), ("f:2:1: unknown field `knd`", "not known here"));
    assert_eq!(hints, ["did you mean `kind`?", "there are: version, kind, lists"]);
    let (error, _, hints) = fails("version = 1\nkind = \"fiel\"\n");
    assert_eq!((error.as_str(), &hints[0][..]), ("f:2:8: unknown value `fiel`", "did you mean `file`?"));
    assert_eq!(fails("version = 1\nxyzzy = 1\n").2, ["there are: version, kind, lists"]);
    // A name that looks like the end of serde's own words.
    let (error, _, hints) = fails("version = 1\n\"x`, expected one of `evil\" = 1\n");
    assert!(error.ends_with("unknown field `x`, expected one of `evil`"), "{error}");
    assert_eq!(hints, ["there are: version, kind, lists"]);
}

#[test]
fn a_file_that_is_masked_is_empty_and_any_other_device_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let linked = |device: &str| {
        let path = dir.path().join(device.replace('/', "."));
        std::os::unix::fs::symlink(device, &path).unwrap();
        Document::load(&path)
    };
    assert_eq!(linked("/dev/null").unwrap().unwrap().text(), "");
    assert!(linked("/dev/zero").unwrap_err().to_string().starts_with("cannot read "));
}

#[test]
fn what_is_missing_twice_or_of_another_type_is_placed() {
    let (error, label, _) = fails("# first\nkind = \"file\"\n");
    assert!(error.ends_with("missing field `version`") && error.starts_with("f:1:1: "), "{error}");
    assert_eq!(label, "`version` is missing");
    let (error, label, hints) = fails("version = 1\nkind = \"file\"\nversion = 2\n");
    assert_eq!((error.as_str(), label.as_str()), ("f:3:1: duplicate key", "already set above"));
    assert!(hints.is_empty(), "{hints:?}");
    let (error, _, _) = fails("version = \"1\"\n");
    assert!(error.starts_with("f:1:11: invalid type: string \"1\""), "{error}");
    assert!(fails("").0.starts_with("f:1:1: missing field `version`"));
}

#[test]
fn text_without_quotes_is_told_how_it_is_written() {
    for (line, word) in [("kind = 2G", "2G"), ("kind = 6.1.170 # stable", "6.1.170"), ("kind = tree\r", "tree")] {
        let (error, _, hints) = fails(&format!("version = 1\n{line}\n"));
        assert!(error.starts_with("f:2:"), "{error}");
        assert_eq!(hints, [format!("write text in quotes: \"{word}\"")], "{error}");
    }
    assert!(fails("version = 1\nkind = [\n").2.is_empty());
    assert!(fails("version = 1 1\n").2.is_empty());
}

#[test]
fn what_ends_too_early_is_placed_where_it_ends() {
    let (error, _, _) = fails("version = 1\n[lists]\na = [\"x\",\n\n\n");
    assert!(error.starts_with("f:3:"), "{error}");
    let (error, _, _) = fails("version = 1\nkind = \"");
    assert!(error.starts_with("f:2:"), "{error}");
}

#[test]
fn a_file_that_is_no_text_is_told_where() {
    let error = Document::of_bytes(Path::new("f"), b"a = 1\nb = \"\xc3\xa4\xff\xff\"\n").unwrap_err();
    assert_eq!(error.to_string(), "f:2:7: the file is no UTF-8 text");
    assert_eq!(error.place().unwrap().parts()[1], "\u{fffd}");
}

#[test]
fn keys_values_and_items_are_found_however_their_tables_are_written() {
    for text in [
        "[a]\nb = [\"x\", \"y\"]\n",
        "a.b = [\"x\", \"y\"]\n",
        "a = { b = [\"x\", \"y\"] }\r\n",
        "[[other]]\n[a]\n\"b\" = [\n  \"x\",\n  \"y\"]\n",
    ] {
        let document = Document::new(Path::new("f"), text);
        let shown = |place: Place| place.parts()[1].to_owned();
        assert_eq!(shown(document.key(&["a", "b"])).trim_matches('"'), "b", "{text}");
        assert_eq!(shown(document.value(&["a", "b", "1"])), "\"y\"", "{text}");
        assert!(shown(document.value(&["a", "b", "7"])).starts_with('['), "{text}");
        assert_eq!(document.key(&["c"]).to_string(), "f:1:1");
    }
    let pins = Document::new(Path::new("f"), "[[pin]]\na = 1\n[[pin]]\nis.git = { b = 2 }\n");
    assert_eq!(pins.value(&["pin", "1", "is", "git", "b"]).to_string(), "f:4:16");
    let lists = Document::new(Path::new("f"), "[[pin]]\na = { x = [\"s\", \"t\"], y = \"s\" }\n[[pin]]\na = \"s\"\n");
    assert_eq!(lists.word(&["pin", "0"], "s").to_string(), "f:2:27");
    assert_eq!(lists.word(&["pin", "0"], "u").to_string(), "f:1:1");
}

#[test]
fn nearest_finds_typos_and_leaves_strangers() {
    assert_eq!(nearest("kernl", ["kernel", "rootfs"]), Some("kernel"));
    assert_eq!(nearest("xyzzy", ["kernel", "rootfs"]), None);
}
