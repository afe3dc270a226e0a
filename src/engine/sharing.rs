//! Whose the cache is: the setting `cache.shared`, and what is said of a cache that a group has.
//!
//! The setting is the user's own: the folder is the user's in all projects, and a project that came from somebody else would open it to others. It counts
//! when a cache is made; a cache that is there says by itself whether it is a group's, so that a member without the setting spoils nothing. How that is
//! kept only the cache knows.

use super::Engine;
use crate::error::{Error, Result};
use crate::load::{Origin, Project, nearest};
use quiz_cache::{Cache, group_name};

/// The setting.
pub const SETTING: &str = "cache.shared";
const GROUP: &str = "group";

/// Opens the cache of a project's user.
///
/// # Errors
/// The setting has a wrong value, or a project set it; the cache cannot be used, or is not what the setting asks for.
pub(super) fn open(project: &Project) -> Result<Cache> {
    let wants_group = wanted(project)?;
    let dir = &project.cache_dir;
    let opened = if wants_group { Cache::open_shared(dir) } else { Cache::open(dir) };
    opened.map_err(|e| {
        Error::build(format!("the cache {} cannot be used", dir.display()))
            .because(e)
            .hint("QUIZ_CACHE_DIR sets another place")
    })
}

fn wanted(project: &Project) -> Result<bool> {
    let settings = &project.settings;
    let own = project.config_dir.join("quiz.toml");
    let text = settings.text(SETTING);
    if let Some(Origin::File { path, .. }) = settings.get(SETTING).map(|setting| &setting.origin)
        && *path != own
    {
        return Err(settings
            .wrong(SETTING, "", format!("{SETTING} cannot be set by a project: it is about all that you build"))
            .hint(format!("set it in your own {}, or by QUIZ_CACHE_SHARED={GROUP} quiz …", own.display())));
    }
    if text.is_empty() || text == GROUP {
        return Ok(text == GROUP);
    }
    let error = settings.wrong(SETTING, text, format!("{SETTING}: a cache cannot be shared with `{text}`"));
    Err(match nearest(text, [GROUP]) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("`{GROUP}`: with those in the group of its folder; empty: with nobody")),
    })
}

/// With whom the cache is shared, and what that means; nothing of one that is its user's alone.
#[must_use]
pub fn told(engine: &Engine<'_>) -> Option<String> {
    let name = group_name(engine.cache.group()?);
    Some(format!("shared by the group {name}, whose members decide what is built and run here"))
}
