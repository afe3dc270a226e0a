//! What debug information says of a guest that crashed: the lines of its trace, and what lay in its memory.
//!
//! Pure readers of files. Knows no stages: the folders come from [`super::symbols`].

pub mod dbgmsg;
mod file;
mod guest;
pub mod lines;
pub mod tasks;
mod types;

/// For the fuzz target: a file of debug information.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let Some(file) = file::File::read(bytes.to_vec()) else { return };
    lines::fuzz(&file);
    let dwarf = file.dwarf();
    let types = types::Types::new(&dwarf, &[".c"]);
    let _ = (types.offset("outer", &["inner", "last"]), types.offset("outer", &["unnamed"]), types.size("outer"));
}
