//! What recipes and profiles need of the host: a program by its name, or a file by its path, and the Debian package that has it.
//!
//! A project may come from anybody: a name is taken only if nothing but the machine's own folders can have such a program or file.

use crate::document::Document;
use crate::error::{Error, Result};
use crate::source;
use std::collections::BTreeMap;
use toml::Spanned;

/// Where the files lie that a script can see.
const ROOTS: &[&str] = &["/usr/", "/etc/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"];

/// A table of tools, as it is written: name → package.
pub(super) type Field = BTreeMap<String, Spanned<String>>;

/// Checks a table of the file.
pub(super) fn read(file: &Document, field: &Field) -> Result<BTreeMap<String, String>> {
    let mut tools = BTreeMap::new();
    for (name, package) in field {
        let wrong = |what: String| Error::input(what).at(file.place(&package.span()));
        let package = package.get_ref();
        if name.starts_with('/') && !is_file(name) {
            return Err(wrong(format!("`{name}` is no file that a script can see"))
                .hint("a script sees /usr, /etc, /bin, /sbin and /lib*: write the whole path, without `.` and `..`: /usr/include/stdio.h"));
        }
        if !name.starts_with('/') && !is_program(name) {
            return Err(wrong(format!("`{name}` is no name of a program")).hint(
                "a program is named as it is typed, such as gcc; a file by its whole path: /usr/include/stdio.h",
            ));
        }
        if !source::is_package(package) {
            return Err(wrong(format!("`{package}` is no name of a Debian package"))
                .hint("small letters, digits, `+`, `-` and `.`: what `dpkg -S` says"));
        }
        tools.insert(name.clone(), package.clone());
    }
    Ok(tools)
}

/// A file's name without folders, which nothing takes for an option.
fn is_program(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._[".contains(&b))
}

/// The whole path of a file below one of the roots.
fn is_file(path: &str) -> bool {
    let plain = |part: &str| !["", ".", ".."].contains(&part);
    ROOTS.iter().any(|root| path.starts_with(root))
        && path[1..].split('/').all(plain)
        && !path.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn document(text: &str) -> Document {
        Document::new(Path::new("recipe.toml"), text)
    }

    fn refused(line: &str) -> Error {
        let text = format!("gcc = \"gcc\"\n{line}\n");
        let field: Field = toml::from_str(&text).unwrap();
        read(&document(&text), &field).unwrap_err()
    }

    #[test]
    fn names_and_whole_paths_are_tools() {
        let text = "\"[\" = \"coreutils\"\n\"g++-12\" = \"g++-12\"\n\"python3.11\" = \"python3.11\"\n\
                    \"/usr/include/stdio.h\" = \"libc6-dev\"\n\"/lib64/x..y\" = \"x\"\n";
        assert_eq!(read(&document(text), &toml::from_str(text).unwrap()).unwrap().len(), 5);
    }

    #[test]
    fn what_could_lie_in_a_project_is_no_tool() {
        for name in ["../x", "../../x", "a/b", "./x", "..", ".", "", "-x", "~", "a b", "a\\u0000b", "a:b", "$x"] {
            let error = refused(&format!("\"{name}\" = \"x\""));
            assert!(error.to_string().starts_with("recipe.toml:2:"), "{error}");
            assert!(error.to_string().ends_with("is no name of a program"), "{error}");
        }
        for path in
            ["/tmp/x", "/usr/../tmp/x", "/usr/./x", "/usr//x", "/usr/x/", "/", "/usr", "/proc/self/exe", "/dev/zero"]
        {
            let error = refused(&format!("\"{path}\" = \"x\""));
            assert!(error.to_string().ends_with("is no file that a script can see"), "{error}");
        }
    }

    #[test]
    fn what_apt_takes_for_something_else_is_no_package() {
        for package in
            ["", "-oDir::Etc=/x", "./x.deb", "/x.deb", "bash-", "a b", "?essential", "x=1", "x/sid", "X", "a*"]
        {
            let error = refused(&format!("x = \"{package}\""));
            assert!(error.to_string().ends_with("is no name of a Debian package"), "{error}");
            assert!(error.to_string().starts_with("recipe.toml:2:5: "), "{error}");
        }
    }
}
