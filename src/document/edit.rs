//! A list in a TOML file of the user's, changed so that comments, order and all else stay as they are.
//!
//! Knows nothing of what the list means.

use super::Document;
use crate::error::{Error, Result};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use toml_edit::{Array, DocumentMut, Item, Table, Value};

/// Puts texts into the list `key` of the table `table` of a file, which need not be there yet. One that `replaces` says is about the same as
/// one of the list takes its place, others come behind. Where there is no such list, it begins with `first`.
///
/// # Errors
/// The file is no TOML, the key is no list of texts, or the file cannot be written.
pub fn add_to_list(
    path: &Path,
    [table, key]: [&str; 2],
    texts: &[String],
    first: &[String],
    replaces: &dyn Fn(&str, &str) -> bool,
) -> Result<()> {
    // What a link leads to is written, so that it stays a link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = Document::load(path)?.unwrap_or_else(|| Document::new(path, ""));
    let after = added(&before, [table, key], texts, first, replaces)?;
    write(path, &after).map_err(|e| Error::build(format!("cannot write {}", path.display())).because(e))
}

fn added(
    before: &Document,
    [table, key]: [&str; 2],
    texts: &[String],
    first: &[String],
    replaces: &dyn Fn(&str, &str) -> bool,
) -> Result<String> {
    let no_list = || Error::input(format!("`{table}.{key}` is no list of texts")).at(before.value(&[table, key]));
    // Read first as everywhere else, whose error for what is no TOML has a place.
    before.tables()?;
    let mut document: DocumentMut = before.text().parse().map_err(|e| Error::input("this is no TOML").because(e))?;
    let inside = document.entry(table).or_insert_with(|| Item::Table(Table::new()));
    let inside = inside.as_table_like_mut().ok_or_else(no_list)?;
    let start = || Item::Value(first.iter().collect::<Array>().into());
    let list = inside.entry(key).or_insert_with(start).as_array_mut().ok_or_else(no_list)?;
    for text in texts {
        let is_same = |at: &usize| list.get(*at).and_then(Value::as_str).is_some_and(|old| replaces(text, old));
        let same = (0..list.len()).rev().find(is_same);
        match same.and_then(|at| list.get_mut(at)) {
            Some(old) => {
                let decor = old.decor().clone();
                *old = Value::from(text.as_str());
                *old.decor_mut() = decor;
            }
            None => push(list, text),
        }
    }
    Ok(with_ends_of(before.text(), &document.to_string()))
}

/// The text with the ends of lines that it had: toml_edit has ends of its own. New lines end like the first one.
fn with_ends_of(before: &str, after: &str) -> String {
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').map(bare).collect();
    let is_same = |(old, new): &(&&str, &&str)| bare(old) == **new;
    let first = old.iter().zip(&new).take_while(is_same).count();
    let last = old[first..].iter().rev().zip(new[first..].iter().rev()).take_while(is_same).count();
    let ends = |line: &str| line[bare(line).len()..].to_owned();
    let usual = old.first().map(|line| ends(line)).filter(|end| !end.is_empty()).unwrap_or("\n".to_owned());
    let count = new.len();
    let line = |(number, text): (usize, &&str)| {
        let was = match number {
            _ if number < first => ends(old[number]),
            _ if number + last >= count => ends(old[number + old.len() - count]),
            _ => usual.clone(),
        };
        // The last line may have no end, and be another one than before.
        let end = match (number + 1 < count || after.ends_with('\n'), was.is_empty()) {
            (true, true) => &usual,
            (true, false) => &was,
            (false, _) => "",
        };
        format!("{text}{end}")
    };
    new.iter().enumerate().map(line).collect()
}

/// A line without its end.
fn bare(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Adds an item behind the last one, as that stands: in a line of its own if that does. A comment behind the last item stays with that.
fn push(list: &mut Array, text: &str) {
    let white = |raw: Option<&toml_edit::RawString>| raw.and_then(|raw| raw.as_str()).unwrap_or_default().to_owned();
    let Some(last) = list.iter().last() else {
        list.push(text);
        return;
    };
    let (prefix, suffix) = (white(last.decor().prefix()), white(last.decor().suffix()));
    let indent = prefix.rsplit('\n').next().unwrap_or_default().to_owned();
    let behind = if list.trailing_comma() { white(Some(list.trailing())) } else { suffix };
    if !prefix.contains('\n') && !behind.contains('\n') {
        list.push(text);
        return;
    }
    let at = list.len();
    if !list.trailing_comma()
        && let Some(last) = list.get_mut(at - 1)
    {
        last.decor_mut().set_suffix("");
    }
    let mut item = Value::from(text);
    *item.decor_mut() = toml_edit::Decor::new(format!("{}\n{indent}", behind.trim_end()), "");
    list.push_formatted(item);
    list.set_trailing("\n");
    list.set_trailing_comma(true);
}

/// Writes the file whole or not at all, with the mode that it has.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::host::folder(folder)?;
    let mut builder = tempfile::Builder::new();
    let mode = fs::metadata(path).map(|meta| meta.permissions());
    let umask = fs::Permissions::from_mode(0o666);
    let mut file =
        builder.prefix(".quiz.toml.").permissions(mode.as_ref().map_or(umask, Clone::clone)).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    if let Ok(mode) = mode {
        file.as_file().set_permissions(mode)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, texts: &[&str]) -> Result<String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let same = |new: &str, old: &str| new.split('=').next() == old.split('=').next();
        let after = added(&Document::new(Path::new("f"), text), ["k", "c"], &texts, &["B=b".to_owned()], &same)?;
        Document::new(Path::new("f"), &after).tables().unwrap_or_else(|e| panic!("{e}\n{after}"));
        Ok(after)
    }

    #[test]
    fn comments_order_and_all_else_stay() {
        let text = "# head\n[k] # k's\nz = 1\nc = [\n    # why\n    \"A=1\", # a\n    \"B=2\", # b\n]\n\n[other]\nx = 'y' # z\n";
        let wanted = "# head\n[k] # k's\nz = 1\nc = [\n    # why\n    \"A=3\", # a\n    \"B=2\", # b\n    \"C=4\",\n    \"D=5\",\n]\n\n\
                      [other]\nx = 'y' # z\n";
        assert_eq!(edited(text, &["A=3", "C=4", "D=5"]).unwrap(), wanted);
        let no_comma = text.replace("\"B=2\",", "\"B=2\"");
        assert_eq!(edited(&no_comma, &["A=3", "C=4", "D=5"]).unwrap(), wanted);
    }

    #[test]
    fn a_list_is_found_however_it_is_written_and_made_where_there_is_none() {
        for (text, wanted) in [
            ("[k]\nc = [\"A=1\"] # c\n", "[k]\nc = [\"A=1\", \"C=4\"] # c\n"),
            ("k.c = [\"A=1\"]\r\n", "k.c = [\"A=1\", \"C=4\"]\r\n"),
            ("# a\r\n# b\nk.c = [\"A=1\"]\n# c\r\n", "# a\r\n# b\nk.c = [\"A=1\", \"C=4\"]\r\n# c\r\n"),
            ("x = 1\n\n[k]\r\nz = 1", "x = 1\n\n[k]\r\nz = 1\nc = [\"B=b\", \"C=4\"]\n"),
            ("k = { c = [ \"A=1\" ] }\n", "k = { c = [ \"A=1\" , \"C=4\"] }\n"),
            ("", "[k]\nc = [\"B=b\", \"C=4\"]\n"),
            ("x = 1\n\n[k]\nz = 1\n", "x = 1\n\n[k]\nz = 1\nc = [\"B=b\", \"C=4\"]\n"),
            ("[k]\nc = []\n", "[k]\nc = [\"C=4\"]\n"),
        ] {
            assert_eq!(edited(text, &["C=4"]).unwrap(), wanted);
        }
    }

    #[test]
    fn of_two_about_the_same_the_last_one_counts_and_is_replaced() {
        assert_eq!(edited("k.c = [\"A=1\", \"A=2\"]\n", &["A=3"]).unwrap(), "k.c = [\"A=1\", \"A=3\"]\n");
    }

    #[test]
    fn what_is_no_such_list_is_placed_and_nothing_is_written() {
        assert_eq!(edited("k = 1\n", &["A=1"]).unwrap_err().to_string(), "f:1:5: `k.c` is no list of texts");
        assert_eq!(edited("[k]\nc = 1\n", &["A=1"]).unwrap_err().to_string(), "f:2:5: `k.c` is no list of texts");
        assert!(edited("[k\n", &["A=1"]).unwrap_err().to_string().starts_with("f:1:"));
    }

    #[test]
    fn a_link_stays_a_link_and_a_mode_a_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("quiz.toml"));
        fs::write(&real, "").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let add = |path: &Path| add_to_list(path, ["k", "c"], &["A".to_owned()], &[], &|_, _| false).unwrap();
        add(&link);
        add(&dir.path().join("deep/quiz.toml"));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        for path in [real, dir.path().join("deep/quiz.toml")] {
            assert_eq!(fs::read_to_string(path).unwrap(), "[k]\nc = [\"A\"]\n");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "something else was left in the folder");
    }
}
