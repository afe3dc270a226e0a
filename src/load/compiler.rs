//! The compiler of kernels and their modules, by the word of `kernel.compiler`: which programs it needs, and what `make` of Kbuild is told.

use super::settings::Settings;
use crate::error::Result;

/// The name of the setting.
pub(super) const SETTING: &str = "kernel.compiler";

/// What `LLVM=1` has Kbuild run in place of GNU's, each with its Debian package (Documentation/kbuild/llvm.rst).
const LLVM: &[(&str, &str)] = &[
    ("clang", "clang"),
    ("ld.lld", "lld"),
    ("llvm-ar", "llvm"),
    ("llvm-nm", "llvm"),
    ("llvm-objcopy", "llvm"),
    ("llvm-objdump", "llvm"),
    ("llvm-readelf", "llvm"),
    ("llvm-strip", "llvm"),
];

/// A compiler, and the `-19` at the end of its programs' and packages' names, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    is_llvm: bool,
    suffix: String,
}

impl Compiler {
    /// The one that the settings name.
    ///
    /// # Errors
    /// It is none that Kbuild knows, or the kernel is compiled already.
    pub(super) fn of(settings: &Settings) -> Result<Self> {
        let word = settings.text(SETTING);
        let Some(compiler) = Self::named(word) else {
            return Err(settings
                .wrong(SETTING, word, format!("{SETTING}: `{word}` is no compiler for kernels"))
                .hint("gcc, clang, or one of them with its number, such as gcc-11 or clang-19"));
        };
        if settings.text("kernel.source") == "package" && !compiler.kbuild().is_empty() {
            return Err(settings
                .wrong(SETTING, word, format!(
                    "{SETTING} = {word} does not go with a kernel that the distribution compiled, which has modules of the distribution's compiler"
                ))
            .hint("without `package` the kernel is compiled here, by the compiler that you name"));
        }
        Ok(compiler)
    }

    fn named(word: &str) -> Option<Self> {
        let (name, suffix) = word.split_at(word.find('-').unwrap_or(word.len()));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_known = matches!(name, "gcc" | "clang") && suffix.strip_prefix('-').is_none_or(is_number);
        is_known.then(|| Self { is_llvm: name == "clang", suffix: suffix.to_owned() })
    }

    /// The programs that it needs beside those which every kernel needs, each with its package.
    pub(super) fn tools(&self) -> Vec<(String, String)> {
        let named = |(program, package): &(&str, &str)| {
            (format!("{program}{}", self.suffix), format!("{package}{}", self.suffix))
        };
        match (self.is_llvm, self.suffix.is_empty()) {
            (true, _) => LLVM.iter().map(named).collect(),
            (false, false) => vec![named(&("gcc", "gcc"))],
            (false, true) => Vec::new(),
        }
    }

    /// The word for `make` of Kbuild; empty for the plain gcc. A number is known to Linux 5.18 and later where it is clang's.
    #[must_use]
    pub fn kbuild(&self) -> String {
        match (self.is_llvm, self.suffix.as_str()) {
            (true, "") => "LLVM=1".to_owned(),
            (true, suffix) => format!("LLVM={suffix}"),
            (false, "") => String::new(),
            (false, suffix) => format!("CC=gcc{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_compiler_has_its_programs_and_its_word_for_make() {
        let all = |word: &str| {
            let compiler = Compiler::named(word).unwrap();
            (compiler.kbuild(), compiler.tools().into_iter().map(|(a, b)| format!("{a}:{b}")).collect::<Vec<_>>())
        };
        assert_eq!(all("gcc"), (String::new(), vec![]));
        assert_eq!(all("gcc-11"), ("CC=gcc-11".to_owned(), vec!["gcc-11:gcc-11".to_owned()]));
        let (word, tools) = all("clang");
        assert!(word == "LLVM=1" && tools.contains(&"ld.lld:lld".to_owned()), "{tools:?}");
        let (word, tools) = all("clang-19");
        assert!(word == "LLVM=-19" && tools[..2] == ["clang-19:clang-19", "ld.lld-19:lld-19"], "{tools:?}");
        for word in ["", "tcc", "gcc-", "gcc-x", "gcc-1 2", "clang--1", "gcc-11 LLVM=1", "Gcc", "/usr/bin/gcc"] {
            assert_eq!(Compiler::named(word), None, "{word}");
        }
    }
}
