//! Links that packages' scripts would make by update-alternatives(1): `cc`, `awk`, `which`. The scripts are read, not run: text in, data out.
//!
//! What such a script says in words of its own is understood, with variables that it sets to a plain value; a loop or the output of a command is not,
//! and is passed over.

use std::collections::BTreeMap;

/// One link, and what it leads to while this alternative is the chosen one. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alternative {
    /// The link.
    pub link: String,
    /// Where it leads.
    pub path: String,
    /// Of several with this link the one with the highest is chosen.
    pub priority: i64,
    /// Further links, which come and go with this one.
    pub slaves: Vec<(String, String)>,
}

/// What ends a command among its words.
const ENDS: &[&str] = &[";", "&&", "||", "|", "}", "fi", "done", "then", "do"];

/// All that the text of a script asks for.
pub(super) fn read(script: &str) -> Vec<Alternative> {
    let mut variables = BTreeMap::new();
    let mut found = Vec::new();
    for line in script.replace("\\\n", " ").replace(';', " ; ").lines() {
        let set = assignments(line);
        for (name, value) in &set {
            let value = value.and_then(|value| expanded(value, &variables));
            variables.insert((*name).to_owned(), value);
        }
        if !set.is_empty() {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        let commands = words.split(|word| ENDS.contains(word));
        found.extend(commands.filter_map(|words| alternative(words, &variables)));
    }
    found
}

/// The names that the line sets, and to what, if it does nothing else and that is plain.
fn assignments(line: &str) -> Vec<(&str, Option<&str>)> {
    let mut words = line.split_whitespace().filter(|word| *word != ";").peekable();
    let is_name = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match words.peek() {
        Some(&("for" | "read")) => words.skip(1).filter(is_name).map(|name| (name, None)).collect(),
        Some(_) => {
            let words: Vec<&str> = words.skip_while(|word| ["export", "local", "readonly"].contains(word)).collect();
            let set = |word: &&str| word.split_once('=').filter(|(name, _)| is_name(name)).is_some();
            if !words.first().is_some_and(set) {
                return Vec::new();
            }
            // More behind one is a value in quotes, or a command that has it in its environment.
            let is_alone = words.iter().all(set);
            let pairs = words.into_iter().filter_map(|word| word.split_once('='));
            pairs.map(|(name, value)| (name, Some(value).filter(|_| is_alone))).collect()
        }
        None => Vec::new(),
    }
}

/// Whether it is an absolute path without a detour.
fn is_plain(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|path| path.split('/').all(|part| !["", ".", ".."].contains(&part)))
}

fn alternative(words: &[&str], variables: &BTreeMap<String, Option<String>>) -> Option<Alternative> {
    let start =
        words.iter().position(|word| *word == "update-alternatives" || word.ends_with("/update-alternatives"))?;
    let words: Vec<Option<String>> = words[start..].iter().map(|word| expanded(word, variables)).collect();
    let at = |index: usize| words.get(index).cloned().flatten();
    let path = |index| at(index).filter(|path| is_plain(path));
    let is = |word: &str| words.iter().position(move |other| other.as_deref() == Some(word));
    let install = is("--install")?;
    let slaves = (0..words.len()).filter(|index| words[*index].as_deref() == Some("--slave"));
    Some(Alternative {
        link: path(install + 1)?,
        path: path(install + 3)?,
        priority: at(install + 4)?.parse().ok()?,
        slaves: slaves.filter_map(|slave| Some((path(slave + 1)?, path(slave + 3)?))).collect(),
    })
}

/// A word without its quotes and with the values of its variables; nothing where one is not known, or the shell would make several words of it.
fn expanded(word: &str, variables: &BTreeMap<String, Option<String>>) -> Option<String> {
    if word.contains('\'') {
        return Some(word.replace('\'', "")).filter(|plain| !plain.contains(['$', '`', '"']));
    }
    let word = word.replace('"', "");
    let mut parts = word.split('$');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (name, rest) = match part.strip_prefix('{') {
            Some(part) => part.split_once('}')?,
            None => part.split_at(part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len())),
        };
        text += variables.get(name)?.as_ref()?;
        text += rest;
    }
    (!text.contains(['`', '*', '?', '[', '(', ')', '{', '<', '>', ';', '&', '|'])).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &str) -> Vec<String> {
        let slaves = |all: &[(String, String)]| all.iter().map(|(l, p)| format!(" +{l}->{p}")).collect::<String>();
        let told = |a: Alternative| format!("{}->{} {}{}", a.link, a.path, a.priority, slaves(&a.slaves));
        read(script).into_iter().map(told).collect()
    }

    /// In the ways in which Debian's packages write it.
    #[test]
    fn what_scripts_ask_for_is_read_out_of_their_text() {
        for (script, links) in [
            (
                "if [ \"$1\" = configure ]; then\n\tupdate-alternatives --install /usr/bin/which which /usr/bin/which.debianutils 0 \\\n\
                 \t\t--slave /usr/share/man/man1/which.1.gz which.1.gz /usr/share/man/man1/which.debianutils.1.gz\nfi\n",
                &["/usr/bin/which->/usr/bin/which.debianutils 0 \
                   +/usr/share/man/man1/which.1.gz->/usr/share/man/man1/which.debianutils.1.gz"][..],
            ),
            (
                "update-alternatives --quiet \\\n    --install /usr/bin/cc cc /usr/bin/gcc 20 \\\n    #--slave /usr/x cc.1.gz /usr/y\n",
                &["/usr/bin/cc->/usr/bin/gcc 20"],
            ),
            (
                "ver=1.16\n  prio=30;\nupdate-alternatives --install /usr/bin/automake automake /usr/bin/automake-$ver \"${prio}\" \\\n\
                 --slave /usr/bin/aclocal aclocal /usr/bin/aclocal-\"$ver\"\n",
                &["/usr/bin/automake->/usr/bin/automake-1.16 30 +/usr/bin/aclocal->/usr/bin/aclocal-1.16"],
            ),
            (
                "[ -e /usr/bin/yacc ] || /usr/bin/update-alternatives --install /usr/bin/yacc yacc /usr/bin/bison.yacc 100; true",
                &["/usr/bin/yacc->/usr/bin/bison.yacc 100"],
            ),
            (
                "[ -e /usr/bin/yacc ] || update-alternatives --install '/usr/bin/yacc' yacc /usr/bin/bison.yacc 100 && true",
                &["/usr/bin/yacc->/usr/bin/bison.yacc 100"],
            ),
            (
                "update-alternatives --install /usr/bin/lzma lzma /usr/bin/xz 20 $(\n\tslave /usr/bin unlzma unxz\n)",
                &["/usr/bin/lzma->/usr/bin/xz 20"],
            ),
        ] {
            assert_eq!(told(script), links, "{script}");
        }
    }

    #[test]
    fn what_is_not_plain_is_passed_over() {
        for script in [
            "update-alternatives --install /usr/bin/$name $name /usr/bin/$name.procps 50",
            "name=$(basename x)\nupdate-alternatives --install /usr/bin/$name x /usr/bin/x 50",
            "update-alternatives --install `x` x /usr/bin/x 50",
            "update-alternatives --install usr/bin/x x /usr/bin/y 50",
            "update-alternatives --install /usr/bin/../x x /usr/bin/y 50",
            "update-alternatives --install /usr//bin/x x /usr/bin/y 50",
            "prio=10\nprio=$(expr 1 + 2)\nupdate-alternatives --install /usr/bin/x x /usr/bin/y $prio",
            "prio=10\nexport prio=\"a b\"\nupdate-alternatives --install /usr/bin/x x /usr/bin/y $prio",
            "prio=10\nread -r prio\nupdate-alternatives --install /usr/bin/x x /usr/bin/y $prio",
            "prio=10\nfor prio in 1 2; do\nupdate-alternatives --install /usr/bin/x x /usr/bin/y $prio\ndone",
            "update-alternatives --install /usr/bin/x x /usr/bin/y many",
            "update-alternatives --install /usr/bin/x x",
            "update-alternatives --install /usr/bin/'$x' x /usr/bin/y 1",
            "# update-alternatives --install /usr/bin/x x /usr/bin/y 1",
            "update-alternatives --remove rcp /usr/bin/scp",
            "echo --install /usr/bin/x x /usr/bin/y 1",
        ] {
            assert_eq!(told(script), [""; 0], "{script}");
        }
    }
}
